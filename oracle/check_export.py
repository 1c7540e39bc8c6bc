#!/usr/bin/env python3
"""Compare what `plumb export` writes with PyTorch's rounding and with transformers.

    check_export.py MODEL... [--plumb build/plumb]

MODEL: a directory that transformers loads. For each, exported as f32 and as bf16: every tensor is the original one,
rounded by PyTorch where the export says BF16; transformers 5.23 loads the export in float32 and its logits are those
of `plumb trace` within 1e-4; traces of the original and of the f32 export are the same bits. Exit status 1 if not.
Of DeepSeek-V4 it takes models whose index has nothing to choose at 48 positions: ties are broken in another way there.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file

LIMIT = 1e-4


def trace(plumb, model, ids, out):
    subprocess.run([plumb, "trace", model, "--ids", ids, "--out", out, "--threads", "1"], check=True)
    return load_file(out)["logits"]


def check(plumb, model, dtype, tmp):
    out = os.path.join(tmp, "export-" + dtype)
    subprocess.run([plumb, "export", model, "--out", out, "--dtype", dtype, "--quiet"], check=True)
    config = transformers.AutoConfig.from_pretrained(out)
    made = load_file(os.path.join(out, "model.safetensors"))
    hf = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, experts_implementation="eager").eval()
    original = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).state_dict()
    rounded, bad = 0, []
    for name, x in hf.state_dict().items():
        y = original[name]
        if dtype == "bf16" and not torch.equal(x, y):
            y = y.to(torch.bfloat16).to(torch.float32)
            rounded += 1
        if not torch.equal(x, y):
            bad.append(f"{name} is another tensor")
    narrow = sum(t.dtype == torch.bfloat16 for t in made.values())
    if (narrow > 0) != (dtype == "bf16"):
        bad.append(f"{narrow} tensors of BF16")
    ids = os.path.join(tmp, "ids")
    torch.manual_seed(1)
    given = torch.randint(0, config.vocab_size, (48,))
    with open(ids, "w") as f:
        f.write(" ".join(map(str, given.tolist())))
    with torch.no_grad():
        want = hf(given[None]).logits[0]
    got = trace(plumb, out, ids, os.path.join(tmp, "a"))
    before = trace(plumb, model, ids, os.path.join(tmp, "b"))
    off, change = (got - want).abs().max().item(), (got - before).abs().max().item()
    if not off <= LIMIT:
        bad.append(f"logits off by {off:.2e}")
    if dtype == "f32" and change != 0:
        bad.append(f"the f32 export differs by {change:.2e}")
    print(f"{model} {dtype}: {len(made)} tensors, {narrow} BF16 ({rounded} changed), to transformers {off:.1e}, "
          f"to the original {change:.1e} of {before.abs().max().item():.1f}" + "".join("\n    " + b for b in bad))
    return not bad


def main():
    p = argparse.ArgumentParser()
    p.add_argument("models", nargs="+")
    p.add_argument("--plumb", default="build/plumb")
    a = p.parse_args()
    good = True
    for model in a.models:
        for dtype in ("f32", "bf16"):
            with tempfile.TemporaryDirectory() as tmp:
                good &= check(a.plumb, model, dtype, tmp)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
