"""`plumb trace` on tiny random Llama models against what transformers computed for them.

The models and the expected tensors in tests/vectors/llama are recorded by oracle/llama_tiny.py; the wider set
that it makes on demand is compared by oracle/check_llama.py."""
import os
import shutil

import pytest

from helpers import ROOT, largest_difference, need_command, plumb, read_safetensors

VECTORS = os.path.join(ROOT, "tests", "vectors", "llama")
END = ".expected.safetensors"
CASES = sorted(f[:-len(END)] for f in os.listdir(VECTORS) if f.endswith(END))
TOLERANCE = 1e-4
TOLERANCE_F64 = 1e-5        # a frequency may differ from transformers' float32 one in its last place


@pytest.fixture(autouse=True)
def _command():
    need_command("trace")


def model_of(case):
    path = os.path.join(VECTORS, case)
    return path if os.path.isdir(path) else path + ".gguf"


def ids_of(case):
    return os.path.join(VECTORS, case + ".ids")


def expected_of(case):
    return read_safetensors(os.path.join(VECTORS, case + END))[0]


def trace(tmp_path, model, ids, *flags, env=None):
    out = tmp_path / "trace.safetensors"
    p = plumb("trace", model, "--ids", ids, "--out", out, *flags, env=env)
    assert p.returncode == 0, p.stderr
    return read_safetensors(out)[0]


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers(case, tmp_path):
    got, want = trace(tmp_path, model_of(case), ids_of(case))["logits"], expected_of(case)["logits"]
    assert (got.dtype, got.shape) == ("F32", want.shape)
    assert largest_difference(got.values, want.values) <= TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_layer_outputs_are_those_of_transformers_before_the_final_norm(case, tmp_path):
    got, want = trace(tmp_path, model_of(case), ids_of(case), "--hidden"), expected_of(case)
    layers = sorted(k for k in want if k.startswith("hidden."))
    assert sorted(k for k in got if k.startswith("hidden.")) == layers
    for name in layers:
        assert (got[name].dtype, got[name].shape) == ("F32", want[name].shape), name
        assert largest_difference(got[name].values, want[name].values) <= TOLERANCE, name


@pytest.mark.parametrize("case", CASES)
def test_every_split_of_prefill_and_decode_gives_the_same_bits(case, tmp_path):
    whole = trace(tmp_path, model_of(case), ids_of(case), "--hidden")
    count = whole["logits"].shape[0]
    for k in sorted({1, 2, 3, 7, 8, 15, 16, 17, count // 2, count - 1, count}):
        part = trace(tmp_path, model_of(case), ids_of(case), "--hidden", "--split", k)
        for name, tensor in whole.items():
            assert part[name].raw == tensor.raw, f"--split {k}: {name}"


@pytest.mark.parametrize("case", CASES)
def test_threads_do_not_change_a_bit(case, tmp_path):
    one = trace(tmp_path, model_of(case), ids_of(case), "--hidden", "--threads", 1)
    for threads in (2, 3):
        other = trace(tmp_path, model_of(case), ids_of(case), "--hidden", "--threads", threads, "--split", 5)
        assert {k: t.raw for k, t in other.items()} == {k: t.raw for k, t in one.items()}, threads


@pytest.mark.parametrize("case", CASES)
def test_the_scalar_level_gives_the_bits_of_the_default_level(case, tmp_path):
    best = trace(tmp_path, model_of(case), ids_of(case), "--hidden")
    scalar = trace(tmp_path, model_of(case), ids_of(case), "--hidden", env={"PLUMB_CPU": "scalar"})
    assert {k: t.raw for k, t in scalar.items()} == {k: t.raw for k, t in best.items()}


@pytest.mark.parametrize("case", CASES)
def test_greedy_ids_are_those_of_transformers(case, tmp_path):
    want = expected_of(case)["greedy_ids"]
    got = trace(tmp_path, model_of(case), ids_of(case), "--greedy", len(want.values), "--split", 3)["greedy_ids"]
    assert (got.dtype, got.shape) == ("I64", want.shape)
    assert got.values.tolist() == want.values.tolist()


@pytest.mark.parametrize("case", CASES)
def test_float64_mode_is_closer_to_the_float64_witness(case, tmp_path):
    got, want = trace(tmp_path, model_of(case), ids_of(case), "--f64")["logits"], expected_of(case)["logits_f64_torch"]
    rows, width = want.shape        # the last rows of the run
    assert largest_difference(got.values[-rows * width:], want.values) <= TOLERANCE_F64


def test_a_weight_file_beside_its_config_is_a_model_too(tmp_path):
    a = trace(tmp_path, model_of("plain-f32"), ids_of("plain-f32"))
    b = trace(tmp_path, os.path.join(model_of("plain-f32"), "model.safetensors"), ids_of("plain-f32"))
    assert a["logits"].raw == b["logits"].raw


def test_ids_may_be_separated_by_any_white_space(tmp_path):
    ids = open(ids_of("plain-f32")).read().split()
    other = tmp_path / "ids"
    other.write_text("\n\t " + "\r\n".join(ids[:5]) + "\t" + "  ".join(ids[5:]))
    a = trace(tmp_path, model_of("plain-f32"), ids_of("plain-f32"))
    b = trace(tmp_path, model_of("plain-f32"), other)
    assert a["logits"].raw == b["logits"].raw


# ---- errors: one line on stderr, no output file, and the words a person needs

def fails(tmp_path, model, ids_text, *flags):
    out = tmp_path / "never.safetensors"
    ids = tmp_path / "ids"
    if ids_text is not None:
        ids.write_text(ids_text)
    p = plumb("trace", model, "--ids", ids, "--out", out, *flags)
    assert p.returncode != 0
    assert p.returncode < 126, f"died: {p.returncode} {p.stderr}"
    assert not out.exists(), "a failed trace left its output behind"
    assert p.stderr.strip(), "nothing said"
    return p


def test_an_id_outside_the_vocabulary_is_named_with_the_size(tmp_path):
    p = fails(tmp_path, model_of("plain-f32"), "1 2 977 3")
    assert "977" in p.stderr and ("41" in p.stderr or "40" in p.stderr)
    fails(tmp_path, model_of("plain-f32"), "41")            # the first one outside


def test_a_negative_id_is_an_error(tmp_path):
    assert "-1" in fails(tmp_path, model_of("plain-f32"), "1 -1 3").stderr


def test_an_id_of_twenty_digits_is_an_error_not_a_wrapped_number(tmp_path):
    fails(tmp_path, model_of("plain-f32"), "1 18446744073709551617 3")
    fails(tmp_path, model_of("plain-f32"), "1 4294967297 3")


def test_an_empty_list_of_ids_is_an_error(tmp_path):
    fails(tmp_path, model_of("plain-f32"), "")
    fails(tmp_path, model_of("plain-f32"), " \n\t\n")


def test_garbage_among_the_ids_is_named_with_its_position(tmp_path):
    p = fails(tmp_path, model_of("plain-f32"), "1 2 3\n4 five 6")
    assert "five" in p.stderr
    assert "5" in p.stderr or "line 2" in p.stderr      # the fifth id, or its line
    assert "7x" in fails(tmp_path, model_of("plain-f32"), "7x").stderr
    fails(tmp_path, model_of("plain-f32"), "1 2.5 3")
    fails(tmp_path, model_of("plain-f32"), "1,2,3")


def test_a_missing_file_of_ids_is_named(tmp_path):
    p = fails(tmp_path, model_of("plain-f32"), None)
    assert str(tmp_path / "ids") in p.stderr


def test_a_missing_model_is_named_and_has_the_not_found_code(tmp_path):
    p = fails(tmp_path, tmp_path / "no-such-model", "1 2")
    assert "no-such-model" in p.stderr
    assert p.returncode == 3


def test_a_split_beyond_the_ids_is_an_error_with_both_numbers(tmp_path):
    p = fails(tmp_path, model_of("plain-f32"), "1 2 3 4", "--split", 15)
    assert "15" in p.stderr and "4" in p.stderr


def test_more_ids_than_the_context_holds_is_an_error_with_both_numbers(tmp_path):
    p = fails(tmp_path, model_of("plain-f32"), "1 " * 257)
    assert "257" in p.stderr and "256" in p.stderr


def test_a_missing_tensor_is_named(tmp_path):
    """A shard's index that forgets one weight."""
    case = "bias-linear-f16-old-sharded"
    model = tmp_path / "model"
    shutil.copytree(model_of(case), model)
    index = model / "model.safetensors.index.json"
    lines = [x for x in index.read_text().splitlines() if '"model.layers.1.mlp.up_proj.weight"' not in x]
    index.write_text("\n".join(lines))
    assert "up_proj.weight" in fails(tmp_path, model, "1 2").stderr


def test_a_missing_shard_is_named(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(model_of("bias-linear-f16-old-sharded"), model)
    shard = sorted(f for f in os.listdir(model) if f.endswith(".safetensors"))[1]
    os.remove(model / shard)
    assert shard in fails(tmp_path, model, "1 2").stderr


@pytest.mark.parametrize("case", ["plain-f32", "gguf-q4_1-tied"])
def test_a_truncated_file_is_an_error(case, tmp_path):
    model = tmp_path / "model"
    if os.path.isdir(model_of(case)):
        shutil.copytree(model_of(case), model)
        path = model / "model.safetensors"
    else:
        path = model = tmp_path / "model.gguf"
        shutil.copy(model_of(case), path)
    data = path.read_bytes()
    for keep in (len(data) - 1, len(data) // 2, 100, 9, 3, 0):
        path.write_bytes(data[:keep])
        fails(tmp_path, model, "1 2")
