"""plumb export from outside: what is in the directory, and that it is the same model."""
import hashlib
import json
import os
import shutil
import struct

import pytest

from helpers import ROOT, plumb, read_safetensors

MODELS = os.path.join(ROOT, "tests", "vectors")
THINK = os.path.join(MODELS, "chat", "think")
LLAMA = os.path.join(MODELS, "llama", "plain-f32")
V4 = os.path.join(MODELS, "deepseek_v4", "saved-mtp")


def export(model, out, *args):
    p = plumb("export", model, "--out", out, *args)
    assert p.returncode == 0, p.stderr
    tensors, meta = read_safetensors(out / "model.safetensors")
    assert meta == {"format": "pt"}
    return tensors


def logits(model, tmp_path, ids="1 2 3 4 5 6 7 8 9 10 11 12"):
    out = tmp_path / "trace.safetensors"
    p = plumb("trace", model, "--ids", "-", "--out", out, input=ids)
    assert p.returncode == 0, p.stderr
    return read_safetensors(out)[0]["logits"].raw


def to_bf16(bits):
    """Of a float32's bits, to nearest, ties to even."""
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


@pytest.mark.parametrize("model", [LLAMA, V4])
def test_f32_is_the_same_tensors_and_the_same_logits(model, tmp_path):
    old, new = read_safetensors(os.path.join(model, "model.safetensors"))[0], export(model, tmp_path / "a", "--dtype", "f32")
    assert {k: (t.dtype, t.shape, t.raw) for k, t in new.items()} == {k: (t.dtype, t.shape, t.raw) for k, t in old.items()}
    assert logits(tmp_path / "a", tmp_path) == logits(model, tmp_path)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.parametrize("model", [LLAMA, V4])
def test_bf16_rounds_matrices_to_nearest_even_and_leaves_vectors(model, tmp_path):
    old, new = read_safetensors(os.path.join(model, "model.safetensors"))[0], export(model, tmp_path / "a")
    kinds = set()
    for name, t in new.items():
        was = old[name]
        kinds.add(t.dtype)
        assert t.shape == was.shape
        if t.dtype != "BF16":
            assert (t.dtype, t.raw) == (was.dtype, was.raw), name
            continue
        assert len(t.shape) >= 2
        bits = struct.unpack(f"<{len(was.raw) // 4}I", was.raw)
        assert t.raw == struct.pack(f"<{len(bits)}H", *map(to_bf16, bits)), name
    assert {"BF16", "F32"} <= kinds
    assert json.loads((tmp_path / "a" / "config.json").read_text())["dtype"] == "bfloat16"
    assert logits(tmp_path / "a", tmp_path) != logits(model, tmp_path)
    export(tmp_path / "a", tmp_path / "again", "--dtype", "f32")        # what is rounded stays what it is
    assert logits(tmp_path / "again", tmp_path) == logits(tmp_path / "a", tmp_path)


def test_a_run_gives_its_newest_checkpoint_without_the_trainer(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(THINK, run / "step-000003")
    (run / "step-000003" / "trainer").mkdir()
    (run / "step-000003" / "trainer" / "state.safetensors").write_bytes(b"x")
    os.symlink("step-000003", run / "latest")
    export(run, tmp_path / "out", "--quiet")
    there = sorted(os.listdir(tmp_path / "out"))
    assert there == ["chat_template.jinja", "config.json", "manifest.json", "model.safetensors", "tokenizer.json",
                     "tokenizer_config.json"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["version"] == 1
    assert [f["name"] for f in manifest["files"]][0] == "model.safetensors"
    assert sorted(f["name"] for f in manifest["files"]) == [n for n in there if n != "manifest.json"]
    for f in manifest["files"]:
        data = (tmp_path / "out" / f["name"]).read_bytes()
        assert (f["bytes"], f["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert plumb("run", tmp_path / "out", "?").stdout == plumb("run", THINK, "?").stdout != ""


@pytest.mark.parametrize("temperature, said", [("0", {"do_sample": False}), ("0.6", {"do_sample": True, "temperature": 0.6})])
def test_the_recommended_temperature_is_written(tmp_path, temperature, said):
    export(THINK, tmp_path / "a", "--temp", temperature)
    export(tmp_path / "a", tmp_path / "b")                               # and kept
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    ids = {k: config[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id") if config[k] is not None}
    for out in ("a", "b"):
        assert json.loads((tmp_path / out / "generation_config.json").read_text()) == {**ids, **said}
        assert "generation_config.json" in (tmp_path / out / "manifest.json").read_text()


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("mine")
    (tmp_path / "broken").mkdir()
    shutil.copy(os.path.join(THINK, "model.safetensors"), tmp_path / "broken")
    with open(os.path.join(THINK, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    (tmp_path / "broken" / "config.json").write_text(json.dumps({**config, "vocab_size": config["vocab_size"] + 1}))
    for model, out, code, word in [(THINK, "full", 1, "not empty"), (tmp_path / "broken", "b", 4, "another shape"),
                                   (os.path.join(MODELS, "chat", "loop.gguf"), "c", 1, "single file"),
                                   (tmp_path / "nowhere", "d", 3, "nowhere")]:
        p = plumb("export", model, "--out", tmp_path / out)
        assert p.returncode == code and word in p.stderr, (p.returncode, p.stderr)
    assert sorted(os.listdir(tmp_path)) == ["broken", "full"] and os.listdir(tmp_path / "full") == ["a"]
    assert plumb("export", THINK).returncode == 2
