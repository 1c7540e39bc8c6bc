"""plumb tokenize, detokenize and tokenizer train, from outside."""
import json
import os

import pytest

from helpers import ROOT, SHARED, need_command, plumb

VECTORS = os.path.join(ROOT, "tests", "vectors", "tokenizer_cases.json")


@pytest.fixture(scope="module", autouse=True)
def commands():
    for name in ("tokenize", "detokenize", "tokenizer train"):
        need_command(name)


@pytest.fixture(scope="module")
def vectors():
    with open(VECTORS, encoding="utf-8") as f:
        return json.load(f)


def case(vectors, name):
    return next(c for c in vectors["cases"] if c["name"] == name)


@pytest.fixture
def tokenizer(vectors, tmp_path):
    """Writes the tokenizer.json of a recorded case; gives its path."""
    def write(name):
        c = case(vectors, name)
        doc = {"added_tokens": c.get("added"), "normalizer": c.get("normalizer"), "pre_tokenizer": c["pre"],
               "post_processor": c.get("post"),
               "model": {**c.get("options", {}), **vectors["models"][c.get("model", "base")]}}
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(doc))
        return path
    return write


def ids(p):
    assert p.returncode == 0, p.stderr
    return [int(x) for x in p.stdout.split()]


@pytest.mark.parametrize("name", ["gpt2", "llama3", "qwen2-nfc", "deepseek-v3", "template-around"])
def test_ids_of_a_file_are_the_reference_ones(vectors, tokenizer, tmp_path, name):
    file, text = tokenizer(name), tmp_path / "text.txt"
    for want, content in zip(case(vectors, name)["ids"], vectors["texts"]):
        text.write_bytes(content.encode())
        assert ids(plumb("tokenize", "--tokenizer", file, "--file", text)) == want


def test_text_comes_from_the_command_line_a_file_or_standard_input(tokenizer, tmp_path):
    file, text = tokenizer("gpt2"), tmp_path / "text.txt"
    text.write_text("Hello world! 123")
    want = ids(plumb("tokenize", "--tokenizer", file, "Hello world! 123"))
    assert ids(plumb("tokenize", "--tokenizer", file, "--file", text)) == want
    assert ids(plumb("tokenize", "--tokenizer", file, input="Hello world! 123")) == want
    assert ids(plumb("tokenize", "--tokenizer", tmp_path, "Hello", "world!", "123")) == want   # a directory
    assert plumb("tokenize", "--tokenizer", file, "--file", text, "more").returncode == 2
    assert plumb("tokenize").returncode == 2


def test_no_special_takes_special_tokens_for_text_and_adds_none(tokenizer):
    file = tokenizer("llama3")
    with_special = ids(plumb("tokenize", "--tokenizer", file, "a<s>b"))
    without = ids(plumb("tokenize", "--tokenizer", file, "--no-special", "a<s>b"))
    assert with_special[0] == 640 and 640 in with_special[1:] and 640 not in without
    back = plumb("detokenize", "--tokenizer", file, *map(str, with_special))
    assert back.stdout == "<s>a<s>b"
    assert plumb("detokenize", "--tokenizer", file, "--no-special", *map(str, with_special)).stdout == "ab"


def test_bytes_come_back_exactly(tokenizer):
    file = tokenizer("gpt2")
    text = "\r\n a\u0301\U0001f600\x00\x7f  \n".encode()
    p = plumb("tokenize", "--tokenizer", file, text=False, input=text)
    assert p.returncode == 0 and p.stdout.endswith(b"\n")
    assert plumb("detokenize", "--tokenizer", file, text=False, input=p.stdout).stdout == text
    as_json = b"[" + b", ".join(p.stdout.split()) + b"]"
    assert plumb("detokenize", "--tokenizer", file, text=False, input=as_json).stdout == text


def test_errors_name_what_is_wrong(tokenizer, tmp_path):
    file = tokenizer("gpt2")
    p = plumb("tokenize", "--tokenizer", file, text=False, input=b"ab\xff")
    assert p.returncode == 1 and b"byte 2 (0xff)" in p.stderr and p.stdout == b""
    p = plumb("tokenize", "--tokenizer", tmp_path / "none.json", "x")
    assert p.returncode == 3 and "none.json" in p.stderr
    p = plumb("detokenize", "--tokenizer", file, "1", "99999")
    assert p.returncode == 1 and "99999" in p.stderr
    p = plumb("detokenize", "--tokenizer", file, "1", "x2")
    assert p.returncode == 1 and "'x2'" in p.stderr
    file.write_text('{"model":')
    p = plumb("tokenize", "--tokenizer", file, "x")
    assert p.returncode == 4 and "byte 9" in p.stderr
    gguf = os.path.join(SHARED, "data", "tokenizers", "gguf", "ggml-vocab-llama-spm.gguf")
    if not os.path.exists(gguf):
        pytest.skip("skipped: the error of a SentencePiece GGUF (no %s)" % gguf)
    p = plumb("tokenize", "--tokenizer", gguf, "x")
    assert p.returncode == 1 and "tokenizer.ggml.model 'llama' is not supported yet" in p.stderr


def test_training_makes_the_merges_of_the_reference_trainer(vectors, tmp_path):
    corpus = os.path.join(SHARED, "data", "tokenizer-vectors", "bpe-train", "corpus.en")
    if not os.path.exists(corpus):
        pytest.skip("skipped: training on corpus.en (no %s)" % corpus)
    one, many = tmp_path / "one.json", tmp_path / "many.json"
    order = ["tokenizer", "train", "--file", corpus, "--vocab", "500", "--special", "<|endoftext|>", "--special", "<think>"]
    assert plumb(*order, "--out", one).returncode == 0
    assert plumb(*order, "--out", many, "--threads", "3").returncode == 0
    assert one.read_bytes() == many.read_bytes()
    doc = json.loads(one.read_text())
    assert doc["model"]["merges"] == vectors["trained"]["corpus.en"]["merges"]
    assert [t["content"] for t in doc["added_tokens"]] == ["<|endoftext|>", "<think>"]
    text = tmp_path / "text"
    text.write_bytes(b"A text<think> with \xe2\x82\xac <|endoftext|>")
    p = plumb("tokenize", "--tokenizer", one, "--file", text)
    assert ids(p)[-1] == 0 and 1 in ids(p)
    assert plumb("detokenize", "--tokenizer", one, text=False, input=p.stdout.encode()).stdout == text.read_bytes()


def test_training_refuses_what_cannot_be(tmp_path):
    text = tmp_path / "text"
    text.write_bytes(b"ok\xc3")
    p = plumb("tokenizer", "train", "--file", text, "--vocab", "300", "--out", tmp_path / "t.json")
    assert p.returncode == 1 and "byte 2" in p.stderr and not (tmp_path / "t.json").exists()
    text.write_bytes(b"ok")
    p = plumb("tokenizer", "train", "--file", text, "--vocab", "256", "--special", "<s>", "--out", tmp_path / "t.json")
    assert p.returncode == 1 and "has no room" in p.stderr
    assert plumb("tokenizer", "train", "--file", text, "--vocab", "300").returncode == 2
    assert plumb("tokenizer", "train", "--file", tmp_path / "none", "--vocab", "300", "--out", text).returncode == 3
