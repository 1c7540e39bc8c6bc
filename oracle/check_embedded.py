#!/usr/bin/env python3
"""The embedded model in transformers: the same logits, the same words.

    check_embedded.py [MODEL] [--plumb build/plumb] [--count 20]

MODEL (default models/reckoner) is loaded as DeepseekV4ForCausalLM in float32. For `count` problems of the test split
the reference takes the likeliest token until the end of its answer; `plumb run` has to think and answer the same text,
and `plumb trace` over question, work and answer has to have logits within 1e-4. Exit status 1 if anything differs.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import AutoTokenizer, DeepseekV4ForCausalLM

LIMIT = 1e-4
TOKENS_MAX = 300
PROMPT = "<｜begin▁of▁sentence｜><｜User｜>{}<｜Assistant｜><think>"
END = "<｜end▁of▁sentence｜>"


def call(*args, **more):
    p = subprocess.run([str(a) for a in args], capture_output=True, text=True, **more)
    if p.returncode != 0:
        sys.exit(f"{' '.join(map(str, args))}: {p.stderr.strip()}")
    return p.stdout


def continue_greedily(model, ids, end):
    """The ids with what follows them, and the logits at every position."""
    while True:
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
        ids = ids + [int(logits[-1].argmax())]
        if ids[-1] == end or len(ids) >= TOKENS_MAX:
            return ids, logits.numpy()


def main():
    ap = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    ap.add_argument("model", nargs="?", default="models/reckoner")
    ap.add_argument("--plumb", default="build/plumb")
    ap.add_argument("--count", type=int, default=20)
    a = ap.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    model = DeepseekV4ForCausalLM.from_pretrained(a.model, dtype=torch.float32, attn_implementation="eager").eval()
    end = tokenizer.convert_tokens_to_ids(END)
    problems = call(a.plumb, "problems", "--split", "test", "--seed", 5, "--n", a.count)
    different, worst = 0, 0.0
    for line in problems.splitlines():
        question = json.loads(line)["messages"][0]["content"]
        prompt = tokenizer.encode(PROMPT.format(question), add_special_tokens=False)
        ids, want = continue_greedily(model, prompt, end)
        thinking, _, text = tokenizer.decode(ids[len(prompt):-1]).partition("</think>")
        said = json.loads(call(a.plumb, "run", a.model, question, "--json", stdin=subprocess.DEVNULL))
        with tempfile.TemporaryDirectory() as tmp:
            out = os.path.join(tmp, "out.safetensors")
            call(a.plumb, "trace", a.model, "--ids", "-", "--out", out, input=" ".join(map(str, ids[:-1])))
            worst = max(worst, float(np.abs(load_file(out)["logits"] - want).max()))
        if (said["thinking"], said["text"]) != (thinking, text):
            different += 1
            print(f"{question!r}: {said['thinking']!r} {said['text']!r}, in transformers {thinking!r} {text!r}")
    print(f"{a.count} problems, {different} answered otherwise, logits within {worst:.1e}")
    sys.exit(1 if different or not worst <= LIMIT else 0)


if __name__ == "__main__":
    main()
