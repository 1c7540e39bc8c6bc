"""plumb inspect: metadata, tensors and parameter counts of files of every kind.

The counts of published checkpoints are those of their papers and of ../shared/spec; the files are built here
from lists of their tensors, with a hole in place of the data.
"""
import gzip
import json
import os
import struct

import pytest

from helpers import SHARED, plumb

BITS = {"F32": 32, "BF16": 16, "F16": 16, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E5M2": 8, "I8": 8, "U8": 8, "I64": 64, "I32": 32}


def write_hole(path, tensors):
    """A safetensors file of (name, dtype, shape) whose data takes no space on the disk."""
    head, at = {}, 0
    for name, dtype, shape in tensors:
        n = BITS[dtype] // 8
        for d in shape:
            n *= d
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(head).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        try:
            f.truncate(8 + len(text) + at)
        except OSError as e:
            pytest.skip(f"no sparse file of {at} bytes: {e}")
    return at


def model_dir(folder, config, tensors):
    (folder / "config.json").write_text(json.dumps(config))
    return write_hole(folder / "model.safetensors", tensors)


def inspect(path):
    p = plumb("inspect", path, "--json")
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


# list of tensors, configuration, total, active, without embedding, further-token layers
PUBLISHED = [
    ("deepseek-v3-r1", {"num_hidden_layers": 61, "n_routed_experts": 256, "num_experts_per_tok": 8},
     671026419200, 37552297472, 37552297472 - 129280 * 7168, 13463426304),
    ("deepseek-v4-flash-preview", {"num_hidden_layers": 43, "n_routed_experts": 256, "num_experts_per_tok": 6},
     284332240471, 13799632471, 13270101591, 6610048891),
]


@pytest.mark.parametrize("name,config,total,active,bare,further", PUBLISHED, ids=[p[0] for p in PUBLISHED])
def test_published_checkpoints_are_counted_as_published(tmp_path, name, config, total, active, bare, further):
    listing = os.path.join(SHARED, f"data/checkpoint-meta/tensors/{name}.tensors.tsv.gz")
    if not os.path.exists(listing):
        pytest.skip(f"no {listing}")
    with gzip.open(listing, "rt") as f:
        rows = [line.rstrip("\n").split("\t") for line in f][1:]
    tensors = [(n, d, [int(x) for x in s.split(",") if x]) for n, d, s in rows]
    size = model_dir(tmp_path, config, tensors)
    got = inspect(tmp_path)
    p = got["parameters"]
    assert (p["total"], p["active"], p["active_without_embedding"], p["further_token_layers"]) == (total, active, bare, further)
    assert len(got["tensors"]) == len(tensors)
    assert got["bytes"] == size


def test_every_tensor_and_key_of_a_gguf_file_is_listed():
    got = inspect("tests/vectors/sample.gguf")
    with open("tests/vectors/sample.gguf.txt") as f:
        rows = [line.split(" ", 2) for line in f if line.startswith("tensor ")]
    assert [t["name"] for t in got["tensors"]] == [r[1] for r in rows]
    for t, row in zip(got["tensors"], rows):
        dtype, rest = row[2].split(" ", 1)
        shape, bytes_, file, offset, _ = rest.replace("[", "").split("]")[0], *rest.split("] ")[1].split()
        assert t["dtype"] == dtype and t["shape"] == [int(x) for x in shape.split(",")]
        assert (t["bytes"], t["file"], t["offset"]) == (int(bytes_), int(file), int(offset))
    assert got["metadata"]["test.deep"] == [[["x", "y"], ["z"]], [["w"]]]
    assert got["metadata"]["test.u64"] == 2 ** 63 - 1
    assert got["kind"] == "gguf"
    text = plumb("inspect", "tests/vectors/sample.gguf")
    assert text.returncode == 0
    for t in got["tensors"]:
        assert any(line.split()[:2] == [t["name"], t["dtype"]] for line in text.stdout.splitlines())


def test_a_tied_head_counts_once_and_constants_do_not(tmp_path):
    tensors = [("model.embed_tokens.weight", "F32", [100, 8]), ("lm_head.weight", "F32", [100, 8]),
               ("model.layers.0.w.weight", "F32", [8, 8]), ("model.rotary_emb.inv_freq", "F32", [4])]
    model_dir(tmp_path, {"tie_word_embeddings": True}, tensors)
    p = inspect(tmp_path)["parameters"]
    assert (p["total"], p["active"], p["active_without_embedding"], p["tables"]) == (864, 864, 864, 4)
    model_dir(tmp_path, {"tie_word_embeddings": False}, tensors)
    p = inspect(tmp_path)["parameters"]
    assert (p["total"], p["active"], p["active_without_embedding"]) == (1664, 1664, 864)


def test_stacked_experts_count_by_their_share(tmp_path):
    model_dir(tmp_path, {"text_config": {"num_experts": 4, "num_experts_per_tok": 1}},
              [("model.layers.0.mlp.experts.gate_up_proj", "BF16", [4, 10, 6]), ("model.layers.0.mlp.gate.weight", "F32", [4, 6])])
    p = inspect(tmp_path)["parameters"]
    assert (p["total"], p["active"], p["experts"]) == (264, 84, 240)


def test_long_arrays_are_shown_by_their_first_elements(tmp_path):
    model_dir(tmp_path, {"short": list(range(16)), "long": list(range(1000)), "deep": [[]]}, [("w", "F32", [1])])
    meta = inspect(tmp_path)["metadata"]
    assert meta["short"] == list(range(16))
    assert meta["long"] == {"count": 1000, "first": list(range(8))}
    out = plumb("inspect", tmp_path).stdout
    assert "0, 1, 2, 3, 4, 5, 6, 7, ... (1000 in all)" in out and "999" not in out


def test_the_deepest_configuration_is_printed(tmp_path):
    config = "[" * 120 + "]" * 120
    (tmp_path / "config.json").write_text('{"deep": %s}' % config)
    write_hole(tmp_path / "model.safetensors", [("w", "F32", [1])])
    assert json.dumps(inspect(tmp_path)["metadata"]["deep"]) == config
    assert plumb("inspect", tmp_path).returncode == 0


def test_names_from_a_file_cannot_steer_the_terminal(tmp_path):
    model_dir(tmp_path, {"a\x1b[31m": "b\x1b]0;x\x07\x9b"}, [("w\x1b[2J", "F32", [1])])
    out = plumb("inspect", tmp_path)
    assert out.returncode == 0 and not set(out.stdout) & set("\x1b\x07\x9b")


def test_what_cannot_be_opened_is_one_error_with_its_exit_code(tmp_path):
    bad = tmp_path / "bad.gguf"
    with open("tests/vectors/sample.gguf", "rb") as f:
        bad.write_bytes(f.read()[:3000])
    p = plumb("inspect", bad)
    assert p.returncode == 4 and p.stdout == "" and len(p.stderr.splitlines()) == 1
    assert "bad.gguf" in p.stderr and "tensor 'half'" in p.stderr and "3000" in p.stderr
    p = plumb("inspect", bad, "--json")
    assert p.returncode == 4 and json.loads(p.stdout)["error"]["code"] == "corrupt"
    (tmp_path / "config.json").write_text("{}")
    p = plumb("inspect", tmp_path)
    assert p.returncode == 3 and "no weights" in p.stderr
