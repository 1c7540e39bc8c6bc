#!/usr/bin/env python3
"""Record tests/vectors/grad_kernels.safetensors: forward and backward of PyTorch for the training kernels.

    grad_vectors.py --out tests/vectors/grad_kernels.safetensors

Inputs are float32 numbers; PyTorch computes in float64 and autograd gives the gradients, so that both the float64
and the float32 kernels can be held to them. tests/unit/test_grad_kernels.c reads the file. Tensors are named
CASE.NAME; d-names are gradients of the sum of y times dy (of the loss itself for cross-entropy). Versions are in the metadata.
"""
import argparse
import sys

import numpy
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = {}


def put(case, **tensors):
    for name, t in tensors.items():
        t = t.detach()
        OUT[f"{case}.{name}"] = t.to(torch.float32 if name in INPUTS else t.dtype).contiguous().clone()


INPUTS = {"x", "w", "b", "gain", "gate", "up", "dy", "logits", "weight", "table", "w0", "m0", "v0", "g"}


def numbers(*shape, scale=1.0):
    """Float32 numbers, as float64 leaves."""
    t = torch.randn(*shape, dtype=torch.float32) * scale
    return t.to(torch.float64).requires_grad_()


def linear():
    x, w, b, dy = numbers(5, 22), numbers(19, 22, scale=0.3), numbers(19), numbers(5, 19)
    y = F.linear(x, w, b)
    y.backward(dy.detach())
    put("linear", x=x, w=w, b=b, dy=dy, y=y, dx=x.grad, dw=w.grad, db=b.grad)


def rmsnorm():
    x, gain, dy = numbers(4, 37, scale=2.0), numbers(37), numbers(4, 37)
    y = F.rms_norm(x, (37,), gain, 1e-5)
    y.backward(dy.detach())
    put("rmsnorm", x=x, gain=gain, dy=dy, y=y, dx=x.grad, dgain=gain.grad)


def silu_mul(case, limit):
    gate, up, dy = numbers(3, 29, scale=2.0), numbers(3, 29), numbers(3, 29)
    a = gate.clamp(max=limit) if limit else gate
    b = up.clamp(min=-limit, max=limit) if limit else up
    y = F.silu(a) * b
    y.backward(dy.detach())
    put(case, gate=gate, up=up, dy=dy, y=y, dgate=gate.grad, dup=up.grad)


def cross_entropy():
    logits, weight = numbers(5, 53, scale=3.0), numbers(5).detach().abs()
    target = torch.tensor([3, 52, -1, 0, 17])
    rows = F.cross_entropy(logits, target, ignore_index=-1, reduction="none") * weight
    rows.sum().backward()
    put("cross_entropy", logits=logits, weight=weight, target=target.to(torch.int32), loss=rows, dlogits=logits.grad)


def embedding():
    table, dy = numbers(7, 18), numbers(6, 18)
    ids = torch.tensor([3, 0, 3, 6, 3, 0])
    F.embedding(ids, table).backward(dy.detach())
    put("embedding", table=table, ids=ids.to(torch.int32), dy=dy, dtable=table.grad)


def adamw():
    """Three steps of torch.optim.AdamW, gradients scaled as clipping to norm 1 does it."""
    w = numbers(21)
    grads = [numbers(21).detach() for _ in range(3)]
    first = w.detach().clone()
    opt = torch.optim.AdamW([w], lr=2e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    norms = []
    for g in grads:
        w.grad = g.clone()
        norms.append(torch.nn.utils.clip_grad_norm_([w], 1.0))
        opt.step()
    state = opt.state[w]
    put("adamw", w0=first, g=torch.stack(grads), norm=torch.stack(norms), w3=w, m3=state["exp_avg"], v3=state["exp_avg_sq"])


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--out", required=True)
    out = args.parse_args().out
    torch.manual_seed(20261124)
    linear()
    rmsnorm()
    silu_mul("silu_mul", 0)
    silu_mul("silu_mul_clamped", 0.75)
    cross_entropy()
    embedding()
    adamw()
    versions = {"python": sys.version.split()[0], "torch": torch.__version__, "numpy": numpy.__version__}
    save_file(OUT, out, metadata={k: str(v) for k, v in versions.items()})
    print(out, len(OUT), "tensors", versions)


if __name__ == "__main__":
    main()
