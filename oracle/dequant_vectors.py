"""Record tests/vectors/dequant.txt: blocks and the float32 values that independent programs decode.

GGUF types by the `gguf` package, FP8, BF16 and F16 by PyTorch. Each line is
    decode TYPE ELEMENTS HEX-BYTES HEX-FLOATS       little-endian bytes
    to_f16|to_bf16 COUNT HEX-FLOATS HEX-HALVES
    all TYPE BYTES-PER-ELEMENT FNV                  digest of every code's float, NaN as 7fc00000
Usage: python oracle/dequant_vectors.py > tests/vectors/dequant.txt
"""
import importlib.metadata
import sys

import gguf
import numpy as np
import torch

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
# where a block keeps its float16 scales
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
HOSTILE_HALVES = [0x0000, 0x8000, 0x0001, 0x03FF, 0x7BFF, 0xFBFF, 0x7C00, 0x7E00]


def blocks_of(name, rng):
    """Three random blocks with ordinary scales, two with hostile ones, all zeros, all ones."""
    kind = gguf.GGMLQuantizationType[name]
    size = gguf.GGML_QUANT_SIZES[kind][1]
    out = []
    for k in range(5):
        b = rng.integers(0, 256, size, dtype=np.uint8)
        for at in HALVES[name]:
            h = np.float16(rng.normal() * 0.1).view(np.uint16) if k < 3 else rng.choice(HOSTILE_HALVES)
            b[at:at + 2] = np.array([h], dtype="<u2").view(np.uint8)
        out.append(b)
    out.append(np.zeros(size, dtype=np.uint8))
    ones = np.full(size, 255, dtype=np.uint8)
    for at in HALVES[name]:
        ones[at:at + 2] = np.array([0xFBFF], dtype="<u2").view(np.uint8)
    out.append(ones)
    return kind, np.stack(out)


def floats_of_codes(codes, name):
    """Every code as float32, by torch."""
    if name in ("F16", "BF16"):
        dtype = torch.float16 if name == "F16" else torch.bfloat16
        return torch.from_numpy(codes.astype("<u2").view(np.int16)).view(dtype).float().numpy()
    dtype = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu}[name]
    return torch.from_numpy(codes.astype(np.uint8)).view(dtype).float().numpy()


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def hostile_floats(rng):
    edge = [0.0, 2.0 ** -24, 2.0 ** -25, 1.5 * 2.0 ** -25, 3 * 2.0 ** -25, 2.0 ** -14, 2.0 ** -14 - 2.0 ** -25,
            65504, 65519.996, 65520, 65536, 3.4e38, float("inf"), 1 + 2.0 ** -11, 1 + 3 * 2.0 ** -11, 1 + 2.0 ** -9,
            1 + 2.0 ** -8, 1 + 3 * 2.0 ** -9, 1e-40, 1e-45]
    bits = rng.integers(0, 2 ** 32, 400, dtype=np.uint32)
    near = (rng.normal(size=200) * 2.0 ** rng.integers(-26, 18, 200)).astype(np.float32)
    x = np.concatenate([np.array(edge, np.float32), -np.array(edge, np.float32), bits.view(np.float32), near])
    return x[~np.isnan(x)]


def main():
    rng = np.random.default_rng(20240801)
    print(f"# oracle/dequant_vectors.py: gguf {importlib.metadata.version('gguf')}, torch {torch.__version__}, numpy {np.__version__}")
    for name in TYPES:
        kind, blocks = blocks_of(name, rng)
        with np.errstate(all="ignore"):
            y = gguf.quants.dequantize(blocks, kind)
        for b, v in zip(blocks, y):
            print("decode", name, v.size, b.tobytes().hex(), v.astype("<f4").tobytes().hex())
    for name, count in (("F16", 65536), ("BF16", 65536), ("F8_E4M3", 256), ("F8_E5M2", 256), ("F8_E8M0", 256)):
        v = floats_of_codes(np.arange(count), name).astype("<f4")
        bits = v.view("<u4").copy()
        bits[np.isnan(v)] = 0x7FC00000
        print("all", name, 2 if count > 256 else 1, f"{fnv(bits.tobytes()):016x}")
        if count == 256:
            print("decode", name, 256, bytes(range(256)).hex(), bits.tobytes().hex())
    x = hostile_floats(rng)
    t = torch.from_numpy(x)
    for name, dtype in (("to_f16", torch.float16), ("to_bf16", torch.bfloat16)):
        print(name, x.size, x.astype("<f4").tobytes().hex(), t.to(dtype).view(torch.int16).numpy().astype("<i2").tobytes().hex())


if __name__ == "__main__":
    sys.exit(main())
