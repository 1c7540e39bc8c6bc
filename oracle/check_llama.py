#!/usr/bin/env python3
"""Compare `plumb trace` with the cases that llama_tiny.py wrote.

    check_llama.py DIR [--plumb build/plumb] [--only PART] [--quick]

For every case in DIR: logits and hidden streams against transformers in float32 (tolerance 1e-4), greedy ids,
the same bits for several --split values, for 1, 2 and 3 threads and for PLUMB_CPU=scalar, and --f64 against
the three float64 witnesses of llama_ref.py. Where the case records gradients, `trace --gradients`: the loss, and
every gradient within 1e-3 of max(its norm, 1e-4 of the norm of the largest). Prints one line a case; exit status 1
if anything failed.
    logits, hidden, to64   largest |difference|: to transformers float32, and of the logits to float64 (torch tables)
    f64: torch rounded exact   the same for --f64 and each kind of rotary tables
    grad                       the worst gradient: |difference| / max(norm, 1e-4 largest norm); limit 1e-3
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file

LIMIT = 1e-4
LIMIT_GRADIENT = 1e-3
LIMIT_F64 = 2e-5        # one unit in the last place of a frequency, at position 120, moves logits by 1e-5


def trace(plumb, model, ids, out, *flags, env=None):
    cmd = [plumb, "trace", model, "--ids", ids, "--out", out, *map(str, flags)]
    p = subprocess.run(cmd, capture_output=True, text=True, env=dict(os.environ, **(env or {})))
    if p.returncode:
        return None, (p.stderr.strip() or f"exit {p.returncode}").splitlines()[-1]
    return load_file(out), ""


def far(a, b):
    if a.shape != b.shape:
        return float("inf")
    d = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return float("inf") if np.isnan(d).any() else float(d.max(initial=0.0))


def has_gradients(plumb):
    p = subprocess.run([plumb, "trace", "--help"], capture_output=True, text=True)
    return "--gradients" in p.stdout + p.stderr


def check_gradients(plumb, model, ids, want, out, bad, *flags):
    """Loss and grad.* of `trace --gradients` against those in `want`; the worst relative distance. A tensor without
    a recorded gradient may be absent or zero."""
    got, why = trace(plumb, model, ids, out, "--gradients", *flags)
    if got is None:
        bad.append(f"--gradients: {why}")
        return float("nan")
    if "loss" not in got or not abs(float(got["loss"].reshape(-1)[0]) - float(want["loss"])) <= 1e-5 * max(1, abs(float(want["loss"]))):
        bad.append(f"loss {got.get('loss')} expected {want['loss']}")
    norm = {k: float(np.linalg.norm(v.astype(np.float64))) for k, v in want.items() if k.startswith("grad.")}
    top, worst = max(norm.values()), 0.0
    for k in sorted(norm):
        mine = got.get(k)
        if mine is None and norm[k] == 0:
            continue
        if mine is None or mine.shape != want[k].shape:
            bad.append(f"{k}: {'missing' if mine is None else mine.shape}, expected {want[k].shape}")
            continue
        off = float(np.linalg.norm(mine.astype(np.float64) - want[k].astype(np.float64))) / max(norm[k], 1e-4 * top, 1e-300)
        if not off <= LIMIT_GRADIENT:
            bad.append(f"{k}: off by {off:.2e} of its norm {norm[k]:.2e} (largest {top:.2e})")
        worst = max(worst, off)
    for k in sorted(set(got) - set(want)):
        if k.startswith("grad.") and np.abs(got[k]).max(initial=0.0) != 0:
            bad.append(f"{k}: should have no gradient")
    return worst


def splits_of(count):
    wish = [1, 2, 3, 7, 8, 16, 17, count // 2, count - 1, count]
    if count > 600:
        wish = [count // 2, count - 3]
    return sorted({k for k in wish if 1 <= k <= count})


def check(plumb, directory, name, quick, tmp):
    bad = []
    model = os.path.join(directory, name)
    model = model if os.path.isdir(model) else model + ".gguf"
    ids = os.path.join(directory, name + ".ids")
    want = load_file(os.path.join(directory, name + ".expected.safetensors"))
    out = os.path.join(tmp, "out.safetensors")
    steps = len(want["greedy_ids"])
    got, why = trace(plumb, model, ids, out, "--hidden", "--greedy", steps, "--threads", 1)
    if got is None:
        return [f"FAILED TO RUN: {why}"], ""
    base = got["logits"]
    if got["logits"].dtype != np.float32:
        bad.append(f"logits are {got['logits'].dtype}")
    logits = far(base, want["logits"])
    witness = want["logits_f64_torch"]
    to64 = far(base[-len(witness):], witness)
    layers = sum(k.startswith("hidden.") for k in want)
    if sum(k.startswith("hidden.") for k in got) != layers:
        bad.append(f"hidden streams: {sorted(k for k in got if k.startswith('hidden.'))}, expected {layers}")
    hidden = max((far(got.get(f"hidden.{i}", np.zeros(0)), want[f"hidden.{i}"]) for i in range(layers)), default=0.0)
    if not logits <= LIMIT:
        row = int(np.argmax(np.abs(base - want["logits"]).max(axis=1))) if base.shape == want["logits"].shape else -1
        bad.append(f"logits off by {logits:.2e} (worst row {row})")
    if not hidden <= LIMIT:
        at = [i for i in range(layers) if not far(got.get(f"hidden.{i}", np.zeros(0)), want[f"hidden.{i}"]) <= LIMIT]
        bad.append(f"hidden off by {hidden:.2e}, first at layer {at[0]}")
    if got["greedy_ids"].dtype != np.int64 or got["greedy_ids"].tolist() != want["greedy_ids"].tolist():
        bad.append(f"greedy {got['greedy_ids'].tolist()} expected {want['greedy_ids'].tolist()}")

    def same(label, *flags, env=None):
        other, reason = trace(plumb, model, ids, out, "--hidden", *flags, env=env)
        if other is None:
            bad.append(f"{label}: {reason}")
            return
        for key in ["logits"] + [f"hidden.{i}" for i in range(layers)]:
            if other[key].tobytes() != got[key].tobytes():
                rows = np.flatnonzero((other[key] != got[key]).any(axis=1))
                first = f", first row {rows[0]}" if len(rows) else ""
                bad.append(f"{label}: {key} has other bits ({far(other[key], got[key]):.1e}{first})")
                return

    count = base.shape[0]
    for k in splits_of(count) if not quick else splits_of(count)[1:2]:
        same(f"split {k}", "--split", k, "--threads", 1 + k % 3)
    for t in () if quick else (2, 3):
        same(f"threads {t}", "--threads", t)
    if not quick:
        same("PLUMB_CPU=scalar", "--threads", 2, env={"PLUMB_CPU": "scalar"})
    f64 = []
    double, why = trace(plumb, model, ids, out, "--f64")
    if double is None:
        bad.append(f"--f64: {why}")
    else:
        for kind in ("torch", "rounded", "exact"):
            key = "logits_f64_" + kind
            f64.append(far(double["logits"][-len(want[key]):], want[key]) if key in want else float("nan"))
        best = np.nanmin(f64)
        if not best <= LIMIT_F64:
            bad.append(f"--f64 off by {best:.2e}")
    grad = float("nan")
    if "loss" in want and has_gradients(plumb):
        grad = check_gradients(plumb, model, ids, want, out, bad)
    note = f"{logits:8.1e} {hidden:8.1e} {to64:8.1e}   " + " ".join(f"{x:8.1e}" for x in f64) + f"   {grad:8.1e}"
    return bad, note + (f"  ({double['logits'].dtype})" if double is not None else "")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("dir")
    ap.add_argument("--plumb", default="build/plumb")
    ap.add_argument("--only", default="")
    ap.add_argument("--quick", action="store_true", help="one split, no scalar level")
    a = ap.parse_args()
    end = ".expected.safetensors"
    names = sorted(f[:-len(end)] for f in os.listdir(a.dir) if f.endswith(end) and a.only in f)
    failed = 0
    print(f"{'case':32} {'logits':>8} {'hidden':>8} {'to64':>8}   {'f64:torch':>8} {'rounded':>8} {'exact':>8}   {'grad':>8}")
    with tempfile.TemporaryDirectory() as tmp:
        for name in names:
            bad, note = check(a.plumb, a.dir, name, a.quick, tmp)
            print(f"{name:32} {note}" + ("" if not bad else "   <-- FAIL"), flush=True)
            for b in bad:
                print(f"      {b}")
            failed += bool(bad)
    print(f"{len(names) - failed} of {len(names)} cases hold")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
