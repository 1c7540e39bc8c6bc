"""A Llama from a GGUF file, saved as a Hugging Face directory: `plumb trace` of the directory is the trace of the file
and what transformers recorded for it. The directory is written by the unit test program of the parameters; what
transformers makes of it is checked by oracle/check_saved.py."""
import os
import subprocess

import pytest

from helpers import ROOT, largest_difference, need_command, plumb, read_safetensors

VECTORS = os.path.join(ROOT, "tests", "vectors", "llama")
WRITER = os.path.join(ROOT, "build", "tests", "unit", "test_params")
CASES = sorted(f[:-5] for f in os.listdir(VECTORS) if f.endswith(".gguf"))


@pytest.fixture(autouse=True)
def _command():
    need_command("trace")
    if not os.path.exists(WRITER):
        pytest.skip(f"no {WRITER}")


def trace(tmp_path, model, ids, *flags):
    out = tmp_path / "trace.safetensors"
    p = plumb("trace", model, "--ids", ids, "--out", out, "--hidden", *flags)
    assert p.returncode == 0, p.stderr
    return read_safetensors(out)[0]


@pytest.mark.parametrize("case", CASES)
def test_a_saved_model_is_the_model_of_the_file(case, tmp_path):
    gguf, ids = os.path.join(VECTORS, case + ".gguf"), os.path.join(VECTORS, case + ".ids")
    saved = tmp_path / "saved"
    saved.mkdir()
    env = dict(os.environ, PLUMB_SAVED_FROM=gguf, PLUMB_SAVED_TO=str(saved))
    p = subprocess.run([WRITER], env=env, capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    assert sorted(os.listdir(saved)) == ["config.json", "model.safetensors"]
    file, directory = trace(tmp_path, gguf, ids, "--f64"), trace(tmp_path, saved, ids, "--f64")
    assert file.keys() == directory.keys()
    for name, tensor in file.items():
        assert largest_difference(directory[name].values, tensor.values) <= 1e-5, name
    recorded = read_safetensors(os.path.join(VECTORS, case + ".expected.safetensors"))[0]
    assert largest_difference(trace(tmp_path, saved, ids)["logits"].values, recorded["logits"].values) <= 1e-4
