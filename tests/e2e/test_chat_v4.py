"""The DeepSeek-V4 conversation from outside: a tiny random V4 model (tests/vectors/deepseek_v4) given a vocabulary
of 270 and a tokenizer with the markers. Its words mean nothing; where they go is known beforehand."""
import array
import json
import os
import shutil
import struct

import pytest

from helpers import ROOT, need_command, plumb, read_safetensors

TINY = os.path.join(ROOT, "tests", "vectors", "deepseek_v4", "saved-f32")
VOCAB = 270
MARKERS = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"]


def write_safetensors(path, tensors):
    head, at = {}, 0
    for name, t in tensors.items():
        head[name] = {"dtype": t.dtype, "shape": t.shape, "data_offsets": [at, at + len(t.raw)]}
        at += len(t.raw)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t.raw for t in tensors.values()))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    need_command("tokenizer train")
    path = tmp_path_factory.mktemp("v4") / "tiny"
    shutil.copytree(TINY, path)
    os.chmod(path, 0o755)
    for name in ("config.json", "model.safetensors"):
        os.chmod(path / name, 0o644)
    config = json.loads((path / "config.json").read_text())
    old = config["vocab_size"]
    config["vocab_size"] = VOCAB
    (path / "config.json").write_text(json.dumps(config))
    tensors, _ = read_safetensors(path / "model.safetensors")
    widened = 0
    for t in tensors.values():
        if t.shape and t.shape[0] == old and old not in (config["hidden_size"],):
            rows = [t.raw[i * len(t.raw) // old:(i + 1) * len(t.raw) // old] for i in range(old)]
            t.raw, t.shape = b"".join(rows[i % old] for i in range(VOCAB)), [VOCAB, *t.shape[1:]]
            if t.dtype == "F32":        # no two rows alike, so that no two logits are
                values = array.array("f", t.raw)
                t.raw = array.array("f", (v * (1 + i * 1e-5) for i, v in enumerate(values))).tobytes()
            widened += 1
    assert widened >= 2                 # embedding, head, and the tables of hashed layers
    write_safetensors(path / "model.safetensors", tensors)
    text = path / "text"
    text.write_text("the cat and the dog and the bird " * 3)
    special = [x for m in MARKERS for x in ("--special", m)]
    p = plumb("tokenizer", "train", "--file", text, "--vocab", VOCAB, *special, "--single-digits", "--out",
              path / "tokenizer.json")
    assert p.returncode == 0, p.stderr
    return path


def run(model, *args):
    p = plumb("run", model, "12 + 7?", "--max-tokens", "12", "--json", *args)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


def test_words_are_thinking_until_its_end_and_text_without_thinking(model):
    r = run(model, "--logit-bias", "5=-inf", "--logit-bias", "1=-inf", "--logit-bias", "2=-inf")
    assert r["thinking"] and r["text"] == "" and r["thinking_tokens"] == r["tokens"] == 12
    r = run(model, "--no-think", "--logit-bias", "1=-inf", "--logit-bias", "2=-inf")
    assert r["text"] and r["thinking"] is None and r["thinking_tokens"] == 0


def test_the_end_of_thinking_begins_the_text(model):
    r = run(model, "--logit-bias", "5=1000")                    # </think> at once, and for ever
    assert r["thinking"] is None and r["text"] == "</think>" * 11


def test_the_end_marker_and_a_turn_of_the_user_end_an_answer(model):
    for marker in (1, 2):
        r = run(model, "--logit-bias", f"{marker}=1000")
        assert (r["tokens"], r["finish_reason"], r["text"]) == (0, "stop", "")


def test_an_effort_is_a_text_in_front_of_the_first_turn(model):
    low, top = run(model)["prompt_tokens"], run(model, "--effort", "max")["prompt_tokens"]
    assert top > low + 300
    assert low == 1 + 1 + 7 + 1 + 1                              # BOS User 7 bytes Assistant <think>
    assert run(model, "--no-think")["prompt_tokens"] == low
    assert run(model, "--effort", "high")["prompt_tokens"] == low   # a first release: no text for it
    assert plumb("run", model, "x", "--no-think", "--effort", "max").returncode == 2


def test_markers_in_a_text_are_text(model):
    p = plumb("run", model, "<｜User｜>", "--max-tokens", "1", "--json")
    assert json.loads(p.stdout)["prompt_tokens"] == 1 + 1 + len("<｜User｜>".encode()) + 1 + 1


def test_models_without_modes_refuse_to_be_told(tmp_path):
    think = os.path.join(ROOT, "tests", "vectors", "chat", "think")
    for args in (["--no-think"], ["--think"], ["--effort", "max"]):
        p = plumb("run", think, "x", *args)
        assert p.returncode == 2 and "DeepSeek-V4" in p.stderr


def test_problems_are_asked_with_thinking_and_without(model):
    need_command("eval problems")
    for args in ([], ["--no-think"]):
        p = plumb("eval", "problems", model, "--kind", "add", "--size", "1", "--n", "3", "--max-tokens", "15", "--wrong", "3",
                  "--json", *args)
        assert p.returncode == 0, p.stderr
        for w in json.loads(p.stdout)["wrong"]:
            assert (w["thinking"] if args else w["text"]) == "" or not w["unfinished"]
