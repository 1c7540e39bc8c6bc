"""Record tests/vectors/reference.safetensors: tensors of every type, written by the reference library.

tests/unit/test_safetensors.c reads it, and writes the same tensors: the bytes must be equal.
Usage: python oracle/safetensors_vectors.py tests/vectors/reference.safetensors
"""
import sys

import torch
from safetensors.torch import save_file

TYPES = ("bool uint8 int8 float8_e5m2 float8_e4m3fn float8_e8m0fnu float4_e2m1fn_x2 int16 uint16 float16 bfloat16 "
         "int32 uint32 float32 complex64 float64 int64 uint64").split()


def main():
    tensors = {}
    for k, name in enumerate(TYPES):
        data = torch.arange(16, dtype=torch.uint8) * 3 + k
        if name == "bool":
            data = data % 2
        tensors[f"{name}.weight"] = data.view(getattr(torch, name)).reshape(2, -1)
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(3, 0, 2)
    tensors['odd "name"\\\u00e9\u2028\n'] = torch.tensor([1.0, -1.0])
    tensors["a"] = torch.tensor([7], dtype=torch.uint8)
    tensors["B"] = torch.tensor([9], dtype=torch.uint8)
    save_file(tensors, sys.argv[1], metadata={"format": "pt"})


if __name__ == "__main__":
    main()
