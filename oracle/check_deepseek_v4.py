#!/usr/bin/env python3
"""Compare `plumb trace` with the cases that deepseek_v4_tiny.py wrote.

    check_deepseek_v4.py DIR [--plumb build/plumb] [--only PART] [--quick]

For every case in DIR: logits and streams against transformers in float32 (tolerance 1e-4), greedy ids, the same bits
for several --split values, for 1, 2 and 3 threads and for PLUMB_CPU=scalar, --f64 against the float64 witness
deepseek_v4_ref.py, and `trace --gradients` (loss, and every gradient within 1e-3 of max(its norm, 1e-4 of the norm of
the largest)). Prints one line a case; exit status 1 if anything failed.
    logits, hidden, to64   largest |difference|: to transformers float32, and of the logits to float64
    f64: torch exact       the same for --f64 and each kind of rotary tables
    grad                   the worst gradient, relative as above
"""
import argparse
import os
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from check_llama import LIMIT, LIMIT_F64, check_gradients, far, has_gradients, trace

SPLITS = (1, 3, 4, 5, 7, 8, 9, 16, 40)


def compare_values(got, want, bad):
    """Logits, streams and greedy ids; the largest differences of the first two."""
    layers = sum(k.startswith("hidden.") for k in want)
    mine = sorted(k for k in got if k.startswith("hidden."))
    if len(mine) != layers:
        bad.append(f"hidden streams: {mine}, expected {layers}")
    off = {k: far(got.get(k, np.zeros(0)), want[k]) for k in ["logits"] + [f"hidden.{i}" for i in range(layers)]}
    for k in sorted(off):
        if not off[k] <= LIMIT:
            shape = got[k].shape if k in got else None
            rows = np.abs(got[k] - want[k]).max(axis=1) if shape == want[k].shape else None
            where = "" if rows is None else f" (first row {int(np.argmax(rows > LIMIT))}, worst {int(np.argmax(rows))})"
            bad.append(f"{k} off by {off[k]:.2e}{where}, {shape}")
    if got["greedy_ids"].tolist() != want["greedy_ids"].tolist():
        bad.append(f"greedy {got['greedy_ids'].tolist()} expected {want['greedy_ids'].tolist()}")
    return off["logits"], max([v for k, v in off.items() if k != "logits"], default=0.0)


def check(plumb, directory, name, quick, gradients, tmp):
    bad = []
    model, ids = os.path.join(directory, name), os.path.join(directory, name + ".ids")
    want = load_file(os.path.join(directory, name + ".expected.safetensors"))
    out = os.path.join(tmp, "out.safetensors")
    got, why = trace(plumb, model, ids, out, "--hidden", "--greedy", len(want["greedy_ids"]), "--threads", 1)
    if got is None:
        return [f"FAILED TO RUN: {why}"], ""
    logits, hidden = compare_values(got, want, bad)
    witness = want["logits_f64_torch"]
    to64 = far(got["logits"][-len(witness):], witness)

    def same(label, *flags, env=None):
        other, reason = trace(plumb, model, ids, out, "--hidden", *flags, env=env)
        if other is None:
            bad.append(f"{label}: {reason}")
            return
        for key in [k for k in got if k == "logits" or k.startswith("hidden.")]:
            if other[key].tobytes() != got[key].tobytes():
                rows = np.flatnonzero((other[key] != got[key]).any(axis=1))
                bad.append(f"{label}: {key} has other bits ({far(other[key], got[key]):.1e}, first row {rows[:1]})")
                return

    count = got["logits"].shape[0]
    for k in [k for k in (SPLITS[2:4] if quick else SPLITS) if k < count]:
        same(f"split {k}", "--split", k, "--threads", 1 + k % 3)
    if not quick:
        same("threads 2", "--threads", 2)
        same("threads 3", "--threads", 3)
        same("PLUMB_CPU=scalar", "--threads", 2, env={"PLUMB_CPU": "scalar"})
    f64 = []
    double, why = trace(plumb, model, ids, out, "--f64")
    if double is None:
        bad.append(f"--f64: {why}")
    else:
        f64 = [far(double["logits"][-len(want[k]):], want[k]) for k in ("logits_f64_torch", "logits_f64_exact") if k in want]
        if not min(f64) <= LIMIT_F64:
            bad.append(f"--f64 off by {min(f64):.2e}")
    grad = check_gradients(plumb, model, ids, want, out, bad) if gradients else float("nan")
    return bad, f"{logits:8.1e} {hidden:8.1e} {to64:8.1e}   " + " ".join(f"{x:8.1e}" for x in f64) + f"   {grad:8.1e}"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("dir")
    ap.add_argument("--plumb", default="build/plumb")
    ap.add_argument("--only", default="")
    ap.add_argument("--quick", action="store_true", help="two splits, no scalar level")
    a = ap.parse_args()
    end = ".expected.safetensors"
    names = sorted(f[:-len(end)] for f in os.listdir(a.dir) if f.endswith(end) and a.only in f)
    gradients = has_gradients(a.plumb)
    if not gradients:
        print("gradients: not compared, this plumb has no `trace --gradients`")
    failed = 0
    print(f"{'case':28} {'logits':>8} {'hidden':>8} {'to64':>8}   {'torch':>8} {'exact':>8}   {'grad':>8}")
    with tempfile.TemporaryDirectory() as tmp:
        for name in names:
            bad, note = check(a.plumb, a.dir, name, a.quick, gradients, tmp)
            print(f"{name:28} {note}" + ("" if not bad else "   <-- FAIL"), flush=True)
            for b in bad:
                print(f"      {b}")
            failed += bool(bad)
    print(f"{len(names) - failed} of {len(names)} cases hold")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
