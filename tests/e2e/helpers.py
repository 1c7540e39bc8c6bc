"""What the end-to-end tests share: the binary, and readers made of the standard library alone."""
import array
import functools
import json
import os
import struct
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PLUMB = os.path.join(ROOT, os.environ.get("PLUMB", os.path.join("build", "plumb")))
SHARED = os.environ.get("PLUMB_SHARED", os.path.join(os.path.dirname(ROOT), "shared"))

CODES = {"F32": "f", "F64": "d", "I64": "q", "I32": "i"}


def plumb(*args, env=None, **more):
    """Run build/plumb; the result has returncode, stdout and stderr (text unless text=False is given)."""
    more.setdefault("text", True)
    return subprocess.run([PLUMB, *map(str, args)], capture_output=True, env={**os.environ, **(env or {})}, **more)


@functools.lru_cache(None)
def has_command(name):
    """Whether this build knows the command, "eval perplexity" say (its help then succeeds and names it)."""
    if not os.path.exists(PLUMB):
        return False
    p = plumb(*name.split(), "--help")
    return p.returncode == 0 and name in p.stdout + p.stderr


def need_command(name):
    if not has_command(name):
        pytest.skip(f"plumb {name} (this build has no such command)")


class Tensor:
    """dtype (as in the file), shape, raw bytes, and the values as a flat array."""

    def __init__(self, dtype, shape, raw):
        self.dtype, self.shape, self.raw = dtype, shape, raw

    @property
    def values(self):
        return array.array(CODES[self.dtype], self.raw)

    def row(self, i):
        width = self.shape[-1]
        return self.values[i * width:(i + 1) * width]


def read_safetensors(path):
    """{name: Tensor} and the metadata; the offsets are checked to tile the file."""
    with open(path, "rb") as f:
        data = f.read()
    (size,) = struct.unpack_from("<Q", data)
    head = json.loads(data[8:8 + size])
    meta = head.pop("__metadata__", {})
    body, out, at = data[8 + size:], {}, 0
    for name, entry in sorted(head.items(), key=lambda kv: kv[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        assert begin == at, f"{path}: {name} begins at {begin}, the tensor before ended at {at}"
        at = end
        out[name] = Tensor(entry["dtype"], entry["shape"], body[begin:end])
    assert at == len(body), f"{path}: tensors end at {at}, the file has {len(body)} bytes of data"
    return out, meta


def largest_difference(a, b):
    """Of two sequences of numbers; NaN anywhere counts as infinite."""
    assert len(a) == len(b), f"{len(a)} values, expected {len(b)}"
    worst = 0.0
    for x, y in zip(a, b):
        d = abs(x - y)
        if not d <= worst:
            worst = d if d == d else float("inf")
    return worst
