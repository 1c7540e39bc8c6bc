#!/usr/bin/env python3
"""Llama models that Plumb read from GGUF files and wrote as Hugging Face directories, in transformers.

    check_saved.py [--plumb build/plumb] [--writer build/tests/unit/test_params] [--text TEXT] [GGUF...]

Without files: those of tests/vectors/llama, with their recorded ids. For each, AutoModelForCausalLM opens the directory;
in float64 its logits must be those of `plumb trace --f64` on the GGUF file and on the directory within 1e-5 (1e-4
where they are larger than 10), in float32 within 1e-4 of what transformers recorded. A file with a vocabulary is tried on
TEXT, with the ids of AutoTokenizer, which must be those of `plumb tokenize`; and the chat template must render."""
import argparse
import glob
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run(*cmd, **env):
    p = subprocess.run(list(map(str, cmd)), capture_output=True, text=True, env=dict(os.environ, **env))
    if p.returncode:
        raise SystemExit(f"{cmd[0]}: {p.stderr.strip()}")
    return p.stdout


def logits(directory, ids, dtype):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().numpy()


def trace(plumb, model, ids, tmp):
    ids_path, out = os.path.join(tmp, "ids"), os.path.join(tmp, "trace.safetensors")
    with open(ids_path, "w", encoding="utf-8") as f:
        f.write(" ".join(map(str, ids)))
    run(plumb, "trace", model, "--ids", ids_path, "--out", out, "--f64")
    return load_file(out)["logits"].astype(np.float64)


def check_tokenizer(args, gguf, saved, bad):
    t = AutoTokenizer.from_pretrained(saved)
    ids = t(args.text)["input_ids"]
    for source in (gguf, saved):
        if list(map(int, run(args.plumb, "tokenize", "--tokenizer", source, args.text).split())) != ids:
            bad.append(f"ids of {source}")
    if t.chat_template:
        text = t.apply_chat_template([{"role": "user", "content": args.text}], tokenize=False, add_generation_prompt=True)
        if args.text not in text:
            bad.append(f"chat template: {text!r}")
    return ids


def check(args, gguf):
    bad, stem = [], gguf[:-5]
    with tempfile.TemporaryDirectory() as saved, tempfile.TemporaryDirectory() as tmp:
        run(args.writer, PLUMB_SAVED_FROM=gguf, PLUMB_SAVED_TO=saved)
        if os.path.exists(os.path.join(saved, "tokenizer.json")):
            ids = check_tokenizer(args, gguf, saved, bad)
        else:
            with open(stem + ".ids", encoding="utf-8") as f:
                ids = list(map(int, f.read().split()))
        scaling = AutoConfig.from_pretrained(saved).rope_parameters
        want = logits(saved, ids, torch.float64)
        limit = 1e-5 if np.abs(want).max() <= 10 else 1e-4
        far = {"file": np.abs(trace(args.plumb, gguf, ids, tmp) - want).max(),
               "directory": np.abs(trace(args.plumb, saved, ids, tmp) - want).max()}
        bad += [f"{k}: {v:.2e} above {limit:g}" for k, v in far.items() if not v <= limit]
        if os.path.exists(stem + ".expected.safetensors"):
            recorded = load_file(stem + ".expected.safetensors")["logits"].astype(np.float64)
            far["recorded"] = np.abs(logits(saved, ids, torch.float32) - recorded).max()
            if not far["recorded"] <= 1e-4:
                bad.append(f"recorded: {far['recorded']:.2e}")
    print(f"{'ok  ' if not bad else 'FAIL'} {os.path.basename(gguf):34} {len(ids)} ids, {scaling['rope_type']}: "
          + ", ".join(f"{k} {v:.1e}" for k, v in far.items()) + "".join("\n     " + b for b in bad), flush=True)
    return not bad


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--plumb", default=os.path.join(ROOT, "build", "plumb"))
    p.add_argument("--writer", default=os.path.join(ROOT, "build", "tests", "unit", "test_params"))
    p.add_argument("--text", default="The capital of Italy is Rome, and in 1861 it was Turin. Why?")
    p.add_argument("files", nargs="*")
    args = p.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    files = args.files or sorted(glob.glob(os.path.join(ROOT, "tests", "vectors", "llama", "*.gguf")))
    return 0 if all([check(args, f) for f in files]) else 1


if __name__ == "__main__":
    sys.exit(main())
