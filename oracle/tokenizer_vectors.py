#!/usr/bin/env python3
"""Record what the reference library does, for tests/unit/test_tokenizer.c.

    python oracle/tokenizer_vectors.py ../shared > tests/vectors/tokenizer_cases.json

Two small models and many pipelines around them, each with ids of a few texts and a digest of the ids of
hostile texts (hostile.py); and digests for the real tokenizers and texts of ../shared."""
import json
import os
import sys

import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import hostile

HOSTILE = 1500
TEXTS = ["", " ", "  \n", "Hello world! 123 4567", "I'VE 'sure' we'll can'\u017ft don't", "a\r\n\r\n b\t c   ", "e\u0301\u0323 \u1e69\u0307",
         "\u4e00\u4e8c\u3042\u30a2\u30fc\u3040 \uac00\u1100\u1161\u11a8", "x<s>y</s> <tool> z<tool>w foo foobar  foo  ", "(a)[b]{c} ...!!!??",
         "1\u0663\u00bd\u2167\u3007 \U0001f600\U0001f3fd\u200d", "path/to/file.c:12: HTTPServer camelCase"]
LONG = [["a", 3000], ["ab", 2000], ["\u00e9", 1500], [" ", 2000], ["\n", 999], ["9", 1000], ["the quick ", 300], ["\u0301", 700], ["z", 60]]

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WHITE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
CL = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|" + WHITE
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = "".join(r"[^\r\n\p{L}\p{N}]?%s%s%s%s%%s|" % (UPPER, a, LOWER, b) for a, b in (("*", "+"), ("+", "*"))) + \
    r"\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + WHITE
TIKTOKEN = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
QWEN35 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + WHITE
DEEPSEEK = ["\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
            " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
CODER = ["[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"]


def level(prefix=False, regex=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def digits(individual):
    return {"type": "Digits", "individual_digits": individual}


def token(content, **flags):
    return {"id": 0, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": False, **flags}


def template(before, after, ids):
    part = [{"SpecialToken": {"id": x, "type_id": 0}} for x in before]
    rest = [{"SpecialToken": {"id": x, "type_id": 0}} for x in after]
    return {"type": "TemplateProcessing", "single": part + [{"Sequence": {"id": "A", "type_id": 0}}] + rest,
            "pair": part + [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {k: {"id": k, "ids": v, "tokens": [k] * len(v)} for k, v in ids.items()}}


def base_model():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    corpus = [hostile.text(10_000_000 + i) for i in range(4000)]
    corpus += ["the quick brown fox is running and jumping, isn't it? HTTPServer camelCase file.c 1234 5678 foo bar"] * 40
    corpus += ["aaaaaaaa abababab \u00e9\u00e9\u00e9\u00e9 e\u0301\u0323 \u4e00\u4e8c\u3042\u30a2 999999     \n\n\n\n"] * 40
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=640, show_progress=False,
                                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    m = json.loads(t.to_str())["model"]
    merges = [" ".join(x) if isinstance(x, list) else x for x in m["merges"]]
    return {"vocab": m["vocab"], "merges": merges}


def holes_model(base):
    """A vocabulary without some bytes, with an unknown token and some fallback tokens."""
    gone = set("abz\u0120")
    keep = [k for k in base["vocab"] if not gone & set(k)]
    vocab = {k: i for i, k in enumerate(keep)}
    for k in ("<unk>", "<0x61>", "<0xC4>", "<0xA0>"):
        vocab[k] = len(vocab)
    return {"vocab": vocab, "merges": [m for m in base["merges"] if not gone & set(m)]}


def cases():
    gpt2, nfc = level(regex=True), {"type": "NFC"}
    added = [token("<s>", special=True), token("</s>", special=True, lstrip=True), token("<tool>", rstrip=True),
             token("foo", single_word=True), token("fo"), token(" z<tool>w"), token("\u1e69", normalized=True),
             token("e\u0301\u0323", normalized=True, special=True), token("<|endoftext|>", special=True, lstrip=True, rstrip=True),
             token("<|im_start|>", special=True), token("<think>")]
    yield dict(name="gpt2", pre=gpt2)
    yield dict(name="gpt2-prefix-space", pre=level(True, True), added=added)
    yield dict(name="bytes-only", pre=level())
    yield dict(name="bytes-only-prefix-space", pre=level(True), added=added)
    yield dict(name="llama3", pre=sequence(split(CL % "{1,3}"), level()), options={"ignore_merges": True}, added=added,
               post={"type": "Sequence", "processors": [level(True), template(["<s>"], [], {"<s>": [640]})]})
    yield dict(name="template-around", pre=gpt2, added=added,
               post=template(["<s>", "x"], ["x", "</s>"], {"<s>": [640], "</s>": [641, 642], "x": [7]}))
    yield dict(name="qwen2-nfc", pre=sequence(split(CL % ""), level()), normalizer=nfc, added=added)
    yield dict(name="qwen2-nfc-no-special", pre=sequence(split(CL % ""), level()), added=added, no_special=True,
               normalizer={"type": "Sequence", "normalizers": [nfc, {"type": "Sequence", "normalizers": []}]})
    yield dict(name="qwen35", pre=sequence(split(QWEN35), level()), normalizer=nfc)
    yield dict(name="deepseek-v3", pre=sequence(*map(split, DEEPSEEK), level()), added=added)
    yield dict(name="deepseek-coder", pre=sequence(*map(split, CODER), digits(True), level()))
    yield dict(name="o200k", pre=sequence(split(O200K % ((CONTRACTIONS + "?",) * 2 + ("{1,3}",))), level()))
    yield dict(name="tekken", pre=sequence(split(O200K % ("", "", "")), level()), options={"ignore_merges": True})
    yield dict(name="tiktoken-possessive", pre=sequence(split(TIKTOKEN), level()))
    yield dict(name="smollm", pre=sequence(digits(True), gpt2), added=added)
    yield dict(name="digit-runs", pre=sequence(digits(False), level()))
    yield dict(name="removed", pre=sequence(split(r"\s+", "Removed"), level()))
    yield dict(name="removed-inverted", pre=sequence(split(r"\p{L}+|\p{N}", "Removed", True), level()))
    yield dict(name="merged-with-previous", pre=sequence(split(" ", "MergedWithPrevious", kind="String"), level()))
    yield dict(name="merged-with-next", pre=sequence(split(" ", "MergedWithNext", kind="String"), level(True)))
    yield dict(name="merged-with-previous-inverted", pre=sequence(split(r"\p{L}{2}", "MergedWithPrevious", True), level()))
    yield dict(name="merged-with-next-inverted", pre=sequence(split(r"\p{L}", "MergedWithNext", True), level()))
    yield dict(name="contiguous", pre=sequence(split(r"\p{P}|a", "Contiguous"), level(True)))
    yield dict(name="contiguous-inverted", pre=sequence(split(r"\p{N}", "Contiguous", True), level()))
    yield dict(name="anchors-lazy-look", pre=sequence(split(r"^\s+|\s+$|[A-z]{2,3}?|\S(?=\d)|\P{L}"), gpt2))
    yield dict(name="dropped-bytes", pre=gpt2, model="holes")
    yield dict(name="unknown", pre=gpt2, model="holes", options={"unk_token": "<unk>"})
    yield dict(name="unknown-fused", pre=gpt2, model="holes", options={"unk_token": "<unk>", "fuse_unk": True})
    yield dict(name="byte-fallback", pre=gpt2, model="holes",
               options={"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True})


def compose(case, all_models):
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, **case.get("options", {}),
             **all_models[case.get("model", "base")]}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": case.get("added", []),
            "normalizer": case.get("normalizer"), "pre_tokenizer": case["pre"], "post_processor": case.get("post"),
            "decoder": level(), "model": model}


def digest(sequences):
    """FNV-1a over the ids as little-endian 32-bit numbers, -1 behind each sequence; and their number."""
    h, count = 0xCBF29CE484222325, 0
    for ids in sequences:
        count += len(ids)
        for b in b"".join((i & 0xFFFFFFFF).to_bytes(4, "little") for i in [*ids, -1]):
            h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return {"count": count, "fnv": "%016x" % h}


def record(case, all_models):
    t = Tokenizer.from_str(json.dumps(compose(case, all_models)))
    t.encode_special_tokens = case.get("no_special", False)
    texts = TEXTS + [a * n for a, n in LONG]
    case["ids"] = [t.encode(x).ids for x in TEXTS]
    small = [hostile.text(i) for i in range(HOSTILE)]
    case["digest"] = digest(t.encode(x).ids for x in texts + ["".join(small)] + small)
    return case


def shared_digests(root):
    out = []
    for name in ("deepseek-r1", "deepseek-v4", "qwen3"):
        path = "data/tokenizers/%s/tokenizer.json" % name
        t = Tokenizer.from_file(os.path.join(root, path))
        out.append({"tokenizer": path, "text": "hostile", **digest(t.encode(hostile.text(i)).ids for i in range(4000))})
        for text in ("names", "tinystories_sample", "tinyshakespeare", "wikitext-2.test", "promessi_sposi", "war-and-peace",
                     "long_context_story_prompt"):
            text = "data/text/%s.txt" % text
            data = open(os.path.join(root, text), encoding="utf-8", newline="").read()
            out.append({"tokenizer": path, "text": text, **digest([t.encode(data).ids])})
    return out


def trained(root):
    """Merges of the library's trainer on hostile texts, special tokens cut out, and on corpus.en."""
    import re
    result = {}
    corpus = "\n".join(hostile.text(20_000_000 + i) for i in range(2000))
    english = open(os.path.join(root, "data/tokenizer-vectors/bpe-train/corpus.en"), encoding="utf-8", newline="").read()
    for name, text, size in (("hostile", corpus, 700), ("corpus.en", english, 500)):
        t = Tokenizer(models.BPE())
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        t.train_from_iterator(re.split(r"<\|endoftext\|>|<think>", text), trainers.BpeTrainer(
            vocab_size=size, special_tokens=["<|endoftext|>", "<think>"], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
        m = json.loads(t.to_str())["model"]
        result[name] = {"vocab_size": size, "merges": [" ".join(x) if isinstance(x, list) else x for x in m["merges"]]}
    return result


def main(root):
    base = base_model()
    all_models = {"base": base, "holes": holes_model(base)}
    doc = {"tokenizers": tokenizers.__version__, "hostile": HOSTILE, "texts": TEXTS, "long": LONG, "models": all_models,
           "cases": [record(c, all_models) for c in cases()], "shared": shared_digests(root), "trained": trained(root)}
    print(json.dumps(doc, ensure_ascii=True, separators=(",", ":")).replace('},{"name"', '},\n{"name"')
          .replace('},"', '},\n"'))


if __name__ == "__main__":
    main(sys.argv[1])
