#!/usr/bin/env python3
"""A slow, obvious BPE trainer, to show that only the rule for ties separates our merges from the published
reference in ../shared/data/tokenizer-vectors/bpe-train.

    python oracle/bpe_train_witness.py DIRECTORY OURS.json

DIRECTORY holds corpus.en and train-bpe-reference-merges.txt (vocabulary 500, special <|endoftext|>), OURS.json
is what `plumb tokenizer train` made of the same. The reference takes the pair with the greater bytes among
equally frequent ones, we (as the tokenizers library) the one with the smaller ids."""
import collections
import json
import sys

import regex  # knows \\p{L}; comes with transformers

GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    other = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(other)}}


CHAR = alphabet()
FIRST_ID = {b: 1 + i for i, b in enumerate(sorted(range(256), key=lambda b: CHAR[b]))}   # 0: <|endoftext|>


def train(text, vocab, by_ids):
    words = collections.Counter()
    for part in text.split("<|endoftext|>"):
        words.update(regex.findall(GPT2, part))
    words = [([bytes([b]) for b in w.encode()], n) for w, n in words.items()]
    ids = {bytes([b]): i for b, i in FIRST_ID.items()}
    merges = []
    while 1 + len(ids) < vocab:
        counts = collections.Counter()
        for word, n in words:
            for pair in zip(word, word[1:]):
                counts[pair] += n
        if by_ids:
            best = min(counts, key=lambda p: (-counts[p], ids[p[0]], ids[p[1]]))
        else:
            best = max(counts, key=lambda p: (counts[p], p))
        merges.append(best)
        ids[best[0] + best[1]] = 1 + len(ids)
        for word, _ in words:
            i = 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == best:
                    word[i:i + 2] = [best[0] + best[1]]
                i += 1
    return [" ".join("".join(CHAR[b] for b in part) for part in m) for m in merges]


def main(directory, ours):
    text = open(directory + "/corpus.en", encoding="utf-8", newline="").read()
    published = open(directory + "/train-bpe-reference-merges.txt", encoding="utf-8").read().split("\n")
    assert train(text, 500, False) == [m for m in published if m]
    assert train(text, 500, True) == json.load(open(ours, encoding="utf-8"))["model"]["merges"]
    print("the witness makes the published merges with their rule for ties, and ours with ours")


if __name__ == "__main__":
    main(*sys.argv[1:])
