#!/usr/bin/env python3
"""Whether transformers computes the same with the config.json that we write.

    check_model_config.py DIR [--program build/tests/unit/test_deepseek_v4]

For every directory in DIR that llama_tiny.py or deepseek_v4_tiny.py made: the same weights are loaded with our
configuration and with the one that is there, and the logits must be the same to 1e-5.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import torch
import transformers

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import deepseek_v4_tiny                             # makes the choice of the indexer stable
from transformers import AutoModelForCausalLM

assert deepseek_v4_tiny.stable_topk
LIMIT = 1e-5


def logits(directory, ids):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").float().eval()
    if model.config.model_type == "deepseek_v4":
        model.set_experts_implementation("eager")
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0]


def check(program, directory, name):
    model = os.path.join(directory, name)
    ids = [int(x) for x in open(model + ".ids").read().split()]
    p = subprocess.run([program, "config", model], capture_output=True, text=True)
    if p.returncode:
        return "not written: " + p.stdout.strip()
    with tempfile.TemporaryDirectory() as tmp:
        for f in os.listdir(model):
            if f != "config.json":
                os.symlink(os.path.abspath(os.path.join(model, f)), os.path.join(tmp, f))
        with open(os.path.join(tmp, "config.json"), "w") as f:
            f.write(p.stdout)
        off = float((logits(tmp, ids) - logits(model, ids)).abs().max())
    return "" if off <= LIMIT else f"logits differ by {off:.2e}: " + json.dumps(json.loads(p.stdout))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("dir")
    ap.add_argument("--program", default="build/tests/unit/test_deepseek_v4")
    a = ap.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    names = sorted(n for n in os.listdir(a.dir) if os.path.isfile(os.path.join(a.dir, n, "config.json")))
    failed = 0
    for name in names:
        bad = check(a.program, a.dir, name)
        if bad:
            failed += 1
            print(f"{name}: {bad}", flush=True)
    print(f"{len(names) - failed} of {len(names)} directories hold")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
