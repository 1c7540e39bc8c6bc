"""`plumb trace` on tiny random DeepSeek-V4 models against what transformers computed for them.

The models and the expected tensors in tests/vectors/deepseek_v4 are recorded by oracle/deepseek_v4_tiny.py; the wider
set that it makes on demand is compared by oracle/check_deepseek_v4.py."""
import math
import os

import pytest

from helpers import ROOT, largest_difference, need_command, plumb, read_safetensors

VECTORS = os.path.join(ROOT, "tests", "vectors", "deepseek_v4")
END = ".expected.safetensors"
CASES = sorted(f[:-len(END)] for f in os.listdir(VECTORS) if f.endswith(END))
TOLERANCE = 1e-4
TOLERANCE_F64 = 2e-5        # a frequency may differ from transformers' float32 one in its last place
TOLERANCE_GRADIENT = 1e-3   # of max(norm of the tensor, 1e-4 of the largest norm)


@pytest.fixture(autouse=True)
def _command():
    need_command("trace")


def expected_of(case):
    return read_safetensors(os.path.join(VECTORS, case + END))[0]


def trace(tmp_path, case, *flags, env=None):
    out = tmp_path / "trace.safetensors"
    model = os.path.join(VECTORS, case)
    p = plumb("trace", model, "--ids", model + ".ids", "--out", out, *flags, env=env)
    assert p.returncode == 0, p.stderr
    return read_safetensors(out)[0]


def raw(tensors):
    return {k: t.raw for k, t in tensors.items()}


@pytest.mark.parametrize("case", CASES)
def test_logits_and_streams_are_those_of_transformers(case, tmp_path):
    got, want = trace(tmp_path, case, "--hidden"), expected_of(case)
    names = sorted(k for k in want if k == "logits" or k.startswith("hidden."))
    assert sorted(got) == names
    for name in names:
        assert (got[name].dtype, got[name].shape) == ("F32", want[name].shape), name
        assert largest_difference(got[name].values, want[name].values) <= TOLERANCE, name


@pytest.mark.parametrize("case", CASES)
def test_every_split_of_prefill_and_decode_gives_the_same_bits(case, tmp_path):
    whole = trace(tmp_path, case, "--hidden")
    count = whole["logits"].shape[0]
    for k in sorted({1, 2, 3, 4, 5, 7, 8, 9, 16, count - 1, count}):
        assert raw(trace(tmp_path, case, "--hidden", "--split", k)) == raw(whole), f"--split {k}"


@pytest.mark.parametrize("case", CASES)
def test_threads_and_levels_do_not_change_a_bit(case, tmp_path):
    one = raw(trace(tmp_path, case, "--hidden", "--threads", 1))
    for threads in (2, 3):
        assert raw(trace(tmp_path, case, "--hidden", "--threads", threads, "--split", 5)) == one, threads
    assert raw(trace(tmp_path, case, "--hidden", env={"PLUMB_CPU": "scalar"})) == one


@pytest.mark.parametrize("case", CASES)
def test_greedy_ids_are_those_of_transformers(case, tmp_path):
    want = expected_of(case)["greedy_ids"].values
    got = trace(tmp_path, case, "--greedy", len(want), "--split", 3)["greedy_ids"]
    assert got.values.tolist() == want.tolist()


@pytest.mark.parametrize("case", CASES)
def test_float64_mode_is_closer_to_the_float64_witness(case, tmp_path):
    got, want = trace(tmp_path, case, "--f64")["logits"], expected_of(case)["logits_f64_torch"]
    rows, width = want.shape        # the last rows of the run
    assert largest_difference(got.values[-rows * width:], want.values) <= TOLERANCE_F64


def norm(values):
    return math.sqrt(sum(x * x for x in values))


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_those_of_transformers(case, tmp_path):
    got, want = trace(tmp_path, case, "--gradients"), expected_of(case)
    assert abs(got["loss"].values[0] - want["loss"].values[0]) <= 1e-5
    norms = {k: norm(t.values) for k, t in want.items() if k.startswith("grad.")}
    floor = 1e-4 * max(norms.values())
    for name, size in norms.items():
        if name not in got and size == 0:
            continue
        assert got[name].shape == want[name].shape, name
        off = norm([a - b for a, b in zip(got[name].values, want[name].values)])
        assert off <= TOLERANCE_GRADIENT * max(size, floor), name
    for name in set(got) - set(want):
        assert not name.startswith("grad.") or not any(got[name].values), f"{name} should have no gradient"
