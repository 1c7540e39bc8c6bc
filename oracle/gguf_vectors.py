"""Record tests/vectors/sample*.gguf, written by the `gguf` package, and what its reader finds in them.

sample.gguf has every value type, arrays of each, arrays of arrays, and tensors of several types;
split-0000K-of-00003.gguf is a small file in three parts. sample.gguf.txt and split.gguf.txt list keys and
tensors as tests/unit/test_gguf.c prints them: floats as hexadecimal bits of float64, strings in
hexadecimal, tensor data as a 64-bit FNV digest.
Usage: python oracle/gguf_vectors.py tests/vectors
"""
import os
import struct
import sys

import gguf
import numpy as np

V = gguf.GGUFValueType
T = gguf.GGMLQuantizationType
SCALARS = [("u8", V.UINT8, 200), ("i8", V.INT8, -100), ("u16", V.UINT16, 60000), ("i16", V.INT16, -30000),
           ("u32", V.UINT32, 4000000000), ("i32", V.INT32, -2000000000), ("f32", V.FLOAT32, 0.1),
           ("yes", V.BOOL, True), ("no", V.BOOL, False), ("text", V.STRING, "h\u00e9llo \U0001f600"), ("nothing", V.STRING, ""),
           ("u64", V.UINT64, 2 ** 64 - 1), ("i64", V.INT64, -2 ** 63), ("f64", V.FLOAT64, 1e-300)]
ARRAYS = [("ints", [1, -2, 3]), ("floats", [0.5, -0.25, 1e10]), ("bools", [True, False]),
          ("strings", ["a", "", "\u00e9\u00e9", "last"]), ("nested", [[1, 2], [3], [4, 5, 6]]),
          ("deep", [[["x", "y"], ["z"]], [["w"]]])]


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def show(v):
    if isinstance(v, (list, tuple)):
        return "[" + ",".join(show(x) for x in v) + "]"
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, int):
        return f"int {min(v, 2 ** 63 - 1)}"
    if isinstance(v, float):
        return f"float {struct.unpack('<Q', struct.pack('<d', v))[0]:016x}"
    return f"string {v.encode().hex()}"


def listing(paths, out):
    """Keys and tensors as the package's own reader sees them; arrays of arrays as they were given (it
    reads only one level)."""
    given = dict(ARRAYS)
    lines = []
    for k, path in enumerate(paths):
        r = gguf.GGUFReader(path)
        for name, field in r.fields.items():
            if k > 0 or name.startswith("GGUF."):
                continue
            value = given[name[5:]] if name in ("test.nested", "test.deep") else field.contents()
            value = value.item() if isinstance(value, np.generic) else value
            lines.append(f"key {name} {show(value)}")
        for t in r.tensors:
            dims = [int(d) for d in reversed(t.shape)]
            lines.append(f"tensor {t.name} {t.tensor_type.name} {dims} {int(t.n_bytes)} {k} {int(t.data_offset)} "
                         f"{fnv(t.data.tobytes()):016x}")
    with open(out, "w") as f:
        f.write(f"# oracle/gguf_vectors.py: gguf {__import__('importlib.metadata').metadata.version('gguf')}\n")
        f.write("\n".join(lines) + "\n")


def add_tensors(w, rng):
    x = rng.normal(size=(4, 64)).astype(np.float32)
    w.add_tensor("token_embd.weight", x)
    w.add_tensor("half", x.astype(np.float16))
    w.add_tensor("experts", rng.normal(size=(2, 3, 32)).astype(np.float32))
    w.add_tensor("norm", np.ones(5, dtype=np.float32))
    for kind in (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.BF16):
        w.add_tensor(f"quant.{kind.name}", gguf.quants.quantize(x, kind), raw_dtype=kind)
    block = rng.integers(0, 256, size=(2, 2 * 210), dtype=np.uint8)
    w.add_tensor("quant.Q6_K", block, raw_dtype=T.Q6_K)


def main():
    folder = sys.argv[1]
    rng = np.random.default_rng(5)
    path = os.path.join(folder, "sample.gguf")
    w = gguf.GGUFWriter(path, "llama")
    w.add_custom_alignment(64)
    for name, kind, value in SCALARS:
        w.add_key_value(f"test.{name}", value, kind)
    for name, value in ARRAYS:
        w.add_array(f"test.{name}", value)
    add_tensors(w, rng)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    listing([path], path + ".txt")

    base = os.path.join(folder, "split.gguf")
    w = gguf.GGUFWriter(base, "llama", split_max_tensors=2)
    w.add_key_value("test.text", "first", V.STRING)
    for k in range(5):
        w.add_tensor(f"blk.{k}.w", rng.normal(size=(2, 8)).astype(np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    listing([os.path.join(folder, f"split-{k:05d}-of-00003.gguf") for k in (1, 2, 3)], base + ".txt")


if __name__ == "__main__":
    main()
