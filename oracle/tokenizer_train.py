#!/usr/bin/env python3
"""The reference library's own trainer on the same texts: what `plumb tokenizer train` must make.

    python oracle/tokenizer_train.py VOCAB OUT.json [--special TOKEN]… [--single-digits] FILE…   the reference's tokenizer
    python oracle/tokenizer_train.py --check OURS.json REFERENCE.json FILE…        same vocabulary, merges, ids

The library's default trainer breaks ties as ours does (smaller pair of ids). Texts are cut at the special
tokens first, which the library's trainer does not do by itself."""
import json
import re
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


def read(path):
    return open(path, encoding="utf-8", newline="").read()


def pieces(paths, special):
    pattern = "|".join(re.escape(s) for s in sorted(special, key=len, reverse=True))
    for path in paths:
        yield from (re.split(pattern, read(path)) if special else [read(path)])


def train(vocab, out, special, digits, paths):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if digits:
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), t.pre_tokenizer])
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(pieces(paths, special), trainer)
    t.save(out)


def model(path):
    m = json.load(open(path, encoding="utf-8"))["model"]
    return m["vocab"], [tuple(x.split(" ")) if isinstance(x, str) else tuple(x) for x in m["merges"]]


def check(ours, reference, paths):
    (vocab, merges), (ref_vocab, ref_merges) = model(ours), model(reference)
    first = next((i for i, (a, b) in enumerate(zip(merges, ref_merges)) if a != b), None)
    print("merges", len(merges), len(ref_merges), "first difference", first)
    assert merges == ref_merges and vocab == ref_vocab
    a, b = Tokenizer.from_file(ours), Tokenizer.from_file(reference)
    for path in paths:
        assert a.encode(read(path)).ids == b.encode(read(path)).ids, path
        assert a.decode(a.encode(read(path)).ids, skip_special_tokens=False) == read(path), path
    print("vocabulary, merges and ids equal")


def main(args):
    if args[0] == "--check":
        return check(args[1], args[2], args[3:])
    special = []
    while "--special" in args:
        i = args.index("--special")
        special.append(args.pop(i + 1))
        args.pop(i)
    digits = "--single-digits" in args
    args = [a for a in args if a != "--single-digits"]
    return train(int(args[0]), args[1], special, digits, args[2:])


if __name__ == "__main__":
    main(sys.argv[1:])
