"""The real SmolLM2-135M-Instruct against what transformers computes from the same file (oracle/smollm2.py).

The model is $PLUMB_TEST_MODEL, or smollm2-135m-instruct of the model store."""
import hashlib
import json
import math
import os

import pytest

from helpers import ROOT, SHARED, largest_difference, need_command, plumb, read_safetensors

VECTORS = os.path.join(ROOT, "tests", "vectors")
TEXT = os.path.join(SHARED, "data", "text", "wikitext-2.test.txt")
NAME = "smollm2-135m-instruct"
TOLERANCE = 1e-3            # logits reach 38; float32 noise of transformers itself is 9e-5


@pytest.fixture(scope="module")
def want():
    with open(os.path.join(VECTORS, "smollm2.json")) as f:
        return json.load(f)


@pytest.fixture(scope="module")
def tensors():
    return read_safetensors(os.path.join(VECTORS, "smollm2.safetensors"))[0]


@pytest.fixture(scope="module")
def model(want):
    path = os.environ.get("PLUMB_TEST_MODEL")
    if path:
        with open(path, "rb") as f:
            if hashlib.file_digest(f, "sha256").hexdigest() != want["model_sha256"]:
                pytest.skip("SmolLM2 (PLUMB_TEST_MODEL is another file)")
        return path
    need_command("show")
    if plumb("show", NAME).returncode != 0:
        pytest.skip(f"SmolLM2 ({NAME} is not in the model store and PLUMB_TEST_MODEL is not set)")
    return NAME


@pytest.fixture(scope="module")
def text(tmp_path_factory, want):
    if not os.path.exists(TEXT):
        pytest.skip("WikiText-2 (no ../shared/data/text/wikitext-2.test.txt)")
    with open(TEXT, "rb") as f:
        data = f.read(want["ids"]["bytes"])
    assert hashlib.sha256(data).hexdigest() == want["ids"]["text_sha256"]
    path = tmp_path_factory.mktemp("text") / "wikitext"
    path.write_bytes(data)
    return path


def trace(tmp_path, model, ids, *flags):
    need_command("trace")
    (tmp_path / "ids").write_text(" ".join(map(str, ids)))
    out = tmp_path / "out.safetensors"
    p = plumb("trace", model, "--ids", tmp_path / "ids", "--out", out, *flags)
    assert p.returncode == 0, p.stderr
    return read_safetensors(out)[0]


def compare_logits(got, want, sample, stride):
    """The strided sample of some rows, and the five best ids of each recorded row."""
    assert got.dtype == "F32"
    width = sample.shape[1]
    for i, row in enumerate(want["rows"]):
        mine = got.row(row)
        assert largest_difference(mine[::stride], sample.values[i * width:(i + 1) * width]) <= TOLERANCE, f"row {row}"
    best = want["best"] if isinstance(want["best"], dict) else dict(enumerate(want["best"]))
    for row, top in best.items():
        mine = got.row(int(row))
        assert largest_difference([mine[i] for i in top["ids"]], top["logits"]) <= TOLERANCE + 1e-5, f"row {row}"
        ceiling = max(mine)
        assert ceiling <= top["logits"][0] + TOLERANCE, f"row {row}: another id has {ceiling}"


def test_logits_and_streams_of_a_chat_are_those_of_transformers(model, want, tensors, tmp_path):
    p = want["prompt"]
    got = trace(tmp_path, model, p["ids"], "--hidden", "--split", 30, "--greedy", len(p["greedy"]))
    compare_logits(got["logits"], p, tensors["prompt.logits"], want["stride"])
    assert got["greedy_ids"].values.tolist() == p["greedy"]     # "The capital of Japan is Tokyo."
    for name, tensor in tensors.items():
        if name.endswith(".last"):
            mine = got[name[len("prompt."):-len(".last")]].row(len(p["ids"]) - 1)
            scale = max(1.0, max(map(abs, tensor.values)))
            assert largest_difference(mine, tensor.values) <= 1e-5 * scale, name


def test_logits_of_512_ids_are_those_of_transformers(model, want, tensors, tmp_path):
    got = trace(tmp_path, model, want["window"]["ids"])
    compare_logits(got["logits"], want["window"], tensors["window.logits"], want["stride"])


def test_the_text_gives_the_ids_of_the_reference_tokenizer(model, want, text):
    need_command("tokenize")
    p = plumb("tokenize", model, "--file", text)
    assert p.returncode == 0, p.stderr
    ids = [int(x) for x in p.stdout.split()]
    assert ids[:len(want["ids"]["first"])] == want["ids"]["first"]
    assert len(ids) == want["ids"]["count"]
    assert hashlib.sha256(b"".join(i.to_bytes(4, "little") for i in ids)).hexdigest() == want["ids"]["sha256_i32"]


# Few of the 16 recorded windows, to stay within seconds. Eight-bit activations cost llama.cpp 0.4 % on
# the first three windows and 0.6 % on all.
@pytest.mark.parametrize("mode,windows,limit", [("f32", 2, 0.001), ("int8", 3, 0.006)])
def test_perplexity_is_that_of_transformers(mode, windows, limit, model, want, text):
    need_command("eval perplexity")
    p = plumb("eval", "perplexity", model, "--text", text, "--ctx", 512, "--chunks", windows, "--mode", mode, "--json")
    assert p.returncode == 0, p.stderr
    got = json.loads(p.stdout)
    assert got["tokens"] == 255 * windows
    reference = math.exp(sum(want["perplexity"]["nll"][:windows]) / (255 * windows))
    assert abs(got["perplexity"] / reference - 1) <= limit, (got["perplexity"], reference)


def test_trained_further_on_conversations_it_answers_in_their_style(tmp_path, model):
    """A few steps on one style of answer: the loss falls and the answers change; what is saved runs."""
    need_command("train")
    pairs = [("What is the capital of France?", "Paris"), ("What do bees make?", "honey"), ("Name a color.", "blue")]
    with open(tmp_path / "talk.jsonl", "w") as f:
        for i in range(60):
            question, word = pairs[i % len(pairs)]
            f.write(json.dumps({"messages": [{"role": "user", "content": question},
                                             {"role": "assistant", "content": f"Arr, it be {word}!"}]}) + "\n")
    (tmp_path / "more.yaml").write_text(f"""
model: {{from: {model}}}
data: {{jsonl: talk.jsonl}}
train: {{steps: 12, batch: 1, length: 128}}
optimiser: {{matrices: adamw, adamw: {{lr: 3.0e-5}}}}
schedule: {{warmup: 2, decay: 4}}
checkpoint: {{every: 100}}
""")
    p = plumb("train", "more.yaml", "--out", "run", cwd=tmp_path)
    assert p.returncode == 0, p.stderr
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] / 4, losses
    said = plumb("run", tmp_path / "run" / "latest", "What is the capital of Spain?")
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("Arr"), said.stdout
