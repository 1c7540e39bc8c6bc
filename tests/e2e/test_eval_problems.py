"""plumb eval problems: counts against the problems themselves, with a model whose answer is known beforehand.

The model of tests/vectors/chat/think says "Parisé!" to everything. With the names of a few bytes exchanged in
its tokenizer it says "no ,;:_!" instead: right wherever "No" is."""
import json
import os
import shutil

import pytest

from helpers import ROOT, need_command, plumb

MODELS = os.path.join(ROOT, "tests", "vectors", "chat")
THINK, LOOP, COMPLETE = (os.path.join(MODELS, n) for n in ("think", "loop.gguf", "complete.gguf"))


@pytest.fixture(autouse=True)
def _needs():
    need_command("eval problems")


@pytest.fixture(scope="module")
def naysayer(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "no"
    shutil.copytree(THINK, path)
    os.chmod(path / "tokenizer.json", 0o644)
    doc = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = doc["model"]["vocab"]
    for a, b in zip("ParisÃ©", "noĠ,;:_"):
        vocab[a], vocab[b] = vocab[b], vocab[a]
    (path / "tokenizer.json").write_text(json.dumps(doc, ensure_ascii=False), encoding="utf-8")
    assert plumb("run", path, "?").stdout == "no ,;:_!\n"
    return path


def evaluate(model, *args):
    p = plumb("eval", "problems", model, "--json", *args)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


def stream(kind, size, n, seed):
    p = plumb("problems", "--kind", kind, "--size", size, "--n", n, "--seed", seed, "--split", "test")
    return [tuple(m["content"] for m in json.loads(line)["messages"]) for line in p.stdout.splitlines()]


def test_right_answers_are_counted_by_kind_and_size(naysayer):
    r = evaluate(naysayer, "--kind", "compare", "--size", "1-3", "--n", "60", "--seed", "4")
    assert [(x["kind"], x["size"], x["count"]) for x in r["results"]] == [("compare", s, 60) for s in (1, 2, 3)]
    for x in r["results"]:
        want = sum(a == "No" for _, a in stream("compare", x["size"], 60, 4))
        assert 0 < want < 60
        assert (x["right"], x["accuracy"], x["unfinished"]) == (want, want / 60, 0)
        assert x["tokens"] == 60 * 13                  # <think>hm.</think>no ,;:_!
    assert r["right"] == sum(x["right"] for x in r["results"]) and r["count"] == 180
    assert evaluate(naysayer, "--kind", "compare", "--size", "1", "--n", "60", "--seed", "5")["results"] != r["results"][:1]


def test_any_number_of_threads_counts_the_same(naysayer):
    args = "--kind", "compare", "--size", "2", "--n", "50", "--wrong", "50"
    one, three = (evaluate(naysayer, *args, "--threads", t) for t in (1, 3))
    del one["seconds"], three["seconds"]
    assert one == three


def test_wrong_answers_can_be_seen(naysayer):
    r = evaluate(naysayer, "--kind", "compare", "--size", "2", "--n", "30", "--wrong", "5")
    asked = stream("compare", 2, 30, 0)
    assert len(r["wrong"]) == 5
    for w in r["wrong"]:
        assert (w["question"], w["expected"]) == asked[w["index"]]
        assert (w["thinking"], w["text"], w["unfinished"]) == ("hm.", "no ,;:_!", False)
    p = plumb("eval", "problems", naysayer, "--kind", "compare", "--size", "2", "--n", "30", "--wrong", "1")
    assert r["wrong"][0]["question"] in p.stdout and "thinking:\nhm." in p.stdout


def test_all_kinds_have_a_row_for_every_usual_size():
    r = evaluate(THINK, "--n", "2")
    sizes = {}
    for x in r["results"]:
        sizes.setdefault(x["kind"], []).append(x["size"])
    assert sizes["add"] == [1, 2, 3, 4, 5] and sizes["mul"] == [1, 2, 3] and sizes["sort"] == [2, 3, 4, 5, 6]
    assert set(sizes) == {"add", "sub", "mul", "mul2", "compare", "sort", "extreme", "parity", "word", "word2", "chat"}
    assert (r["count"], r["right"]) == (2 * len(r["results"]), 0)


def test_an_answer_without_end_is_wrong():
    r = evaluate(LOOP, "--kind", "parity", "--size", "2", "--n", "3", "--max-tokens", "20")
    assert r["results"][0]["unfinished"] == 3 and r["results"][0]["tokens"] == 60


def test_the_table_says_the_same(naysayer):
    r = evaluate(naysayer, "--kind", "compare", "--size", "2", "--n", "40")
    p = plumb("eval", "problems", naysayer, "--kind", "compare", "--size", "2", "--n", "40")
    row = p.stdout.splitlines()[1].split()
    assert row[:4] == ["compare", "2", "40", str(r["right"])] and p.stderr == ""


def test_what_cannot_be_asked_is_refused():
    for args in (["--kind", "cubes"], ["--size", "3"], ["--kind", "add", "--size", "10"], ["--kind", "add", "--size", "x"],
                 ["--kind", "add", "--size", "3-1"]):
        assert plumb("eval", "problems", THINK, *args).returncode == 2, args
    p = plumb("eval", "problems", COMPLETE, "--n", "1")
    assert p.returncode == 1 and "no chat format" in p.stderr
    assert plumb("eval", "problems", "/nowhere/x.gguf", "--n", "1").returncode == 3
