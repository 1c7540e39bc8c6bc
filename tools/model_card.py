#!/usr/bin/env python3
"""The card of a model that Plumb trained, made of what was measured and nothing else.

usage: tools/model_card.py --model DIR --run RUN --recipe FILE.yaml --eval FILE.json... --commit HASH
           [--threads N] [--first RUN2/step-000020] [--plumb build/plumb] [--ask QUESTION]... > README.md

--model    what `plumb export` wrote: files, digests, configuration, tensors
--run      the run it came from: metrics.jsonl, and the recipe its newest checkpoint recorded
--recipe   the recipe in the tree; where the run had other values, the command to repeat it says so
--eval     what `plumb eval problems DIR --json` printed (several: other kinds, sizes or numbers of problems)
--commit   of the program that trained it;   --threads: as many as it trained on, for core-hours
--first    an early checkpoint of a second run of the same recipe: its digest is what can be repeated in minutes
--plumb    asks the program for this machine's processor, and the model each --ask QUESTION

The standard library only.
"""
import argparse
import hashlib
import json
import math
import os
import shlex
import struct
import subprocess
import sys

MEANT = {"add": 5, "sub": 5, "mul": 3, "compare": 5, "sort": 6, "word": 3}    # up to which size
KINDS = {
    "add": ("addition", "digits of the longer number"),
    "sub": ("subtraction", "digits of the longer number"),
    "mul": ("multiplication by one digit", "digits of the other number"),
    "mul2": ("multiplication by two digits", "digits of the other number"),
    "compare": ("which of two numbers is larger", "digits of the longer one"),
    "sort": ("sorting", "how many numbers, of up to three digits"),
    "extreme": ("the largest or smallest", "how many numbers, of up to three digits"),
    "parity": ("even or odd", "digits"),
    "word": ("word problems of one step", "digits of the longer number"),
    "word2": ("word problems of two steps", "digits of the longest number"),
}
QUESTIONS = 100     # so many ordinary ones there are; other counts ask some twice, or not at all, and are passed over


def fail(text):
    sys.exit("model_card: " + text)


def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


# ---- the recipe -------------------------------------------------------------------------------------

def read_recipe(path):
    """{"train.batch": "32"}: the mappings and scalars that our recipes are written in; lists stay text."""
    out, stack = {}, []
    with open(path, encoding="utf-8") as f:
        for line in f:
            text = line.split(" #")[0].rstrip()
            if not text.strip() or text.lstrip().startswith("#"):
                continue
            depth = len(text) - len(text.lstrip())
            key, _, value = text.strip().partition(":")
            while stack and stack[-1][0] >= depth:
                stack.pop()
            stack.append((depth, key))
            if value.strip():
                out[".".join(k for _, k in stack)] = value.strip()
    return out


def same_value(written, used):
    if isinstance(used, list):
        items = [x.strip() for x in written.strip("[]").split(",") if x.strip()]
        return len(items) == len(used) and all(map(same_value, items, used))
    if isinstance(used, bool):
        return written == str(used).lower()
    if isinstance(used, (int, float)):
        try:
            return float(written) == float(used)
        except ValueError:
            return False
    return written.strip("'\"") == used


def as_text(v):
    if isinstance(v, list):
        return "[" + ", ".join(map(as_text, v)) + "]"
    return str(v).lower() if isinstance(v, bool) else str(v)


def differences(recipe, used):
    """--set KEY=VALUE of everything that the file has and the run had otherwise."""
    out = []
    for key, written in recipe.items():
        if key not in used:
            fail(f"the run has recorded no '{key}'")
        if not same_value(written, used[key]):
            out.append(f"{key}={as_text(used[key])}")
    return out


# ---- the run -----------------------------------------------------------------------------------------

def read_metrics(path, step):
    rows = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            row = json.loads(line)
            if row["step"] <= step:
                rows.append(row)
    if [r["step"] for r in rows] != list(range(1, step + 1)):
        fail(f"{path} does not have every step from 1 to {step}")
    return rows


def describe_run(rows, used, threads):
    seconds = sum(r["seconds"] for r in rows)
    last = rows[-100:]
    out = [f"| steps | {len(rows)} of {used['train.steps']}, each {used['train.batch'] * used['train.accumulate']} × "
           f"{used['train.length']} tokens |",
           f"| tokens | {rows[-1]['tokens'] / 1e6:.1f} million, padding left out |",
           f"| time in steps | {seconds / 3600:.2f} hours, {rows[-1]['tokens'] / seconds:.0f} tokens a second |"]
    if threads:
        out.append(f"| cost | {seconds * threads / 3600:.2f} core-hours ({threads} thread{'s' * (threads > 1)}) |")
    out.append(f"| training loss | {sum(r['loss'] for r in last) / len(last):.4f} (mean of the last {len(last)} steps; "
               f"{rows[0]['loss']:.3f} at the first) |")
    validated = [r for r in rows if "validation_loss" in r]
    if validated:
        out.append(f"| validation loss | {validated[-1]['validation_loss']:.4f} (step {validated[-1]['step']}) |")
    skipped = sum("skipped" in r for r in rows)
    out.append(f"| steps left out | {skipped} |")
    return out


# ---- the model ----------------------------------------------------------------------------------------

def describe_model(path):
    config = read_json(os.path.join(path, "config.json"))
    with open(os.path.join(path, "model.safetensors"), "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        head = json.loads(f.read(size))
    head.pop("__metadata__", None)
    count = {}
    for t in head.values():
        count[t["dtype"]] = count.get(t["dtype"], 0) + math.prod(t["shape"])
    real = {k: v for k, v in count.items() if k in ("F32", "BF16")}
    files = read_json(os.path.join(path, "manifest.json"))["files"]
    for f in files:
        if sha256(os.path.join(path, f["name"])) != f["sha256"]:
            fail(f"{f['name']} is not the file of the manifest")
    kinds = config.get("layer_types") or []
    attention = ", ".join(f"{kinds.count(k)} {k.replace('_', ' ')}" for k in dict.fromkeys(kinds))
    out = [f"| architecture | {config['model_type']}: {config['num_hidden_layers']} layers of {config['hidden_size']}"
           + (f" ({attention})" if attention else "") + " |"]
    if "n_routed_experts" in config:
        out.append(f"| experts | {config['n_routed_experts']} routed, {config['num_experts_per_tok']} a token, and "
                   f"{config.get('n_shared_experts', 0)} shared; {config['moe_intermediate_size']} wide |")
    if config.get("hc_mult"):
        out.append(f"| hyper-connections | {config['hc_mult']} streams |")
    out += [f"| vocabulary | {config['vocab_size']} tokens, digits one by one |",
            f"| context | {config['max_position_embeddings']} tokens |",
            f"| parameters | {sum(real.values())} ({', '.join(f'{v} {k}' for k, v in sorted(real.items()))}) |",
            f"| size | {sum(f['bytes'] for f in files) / 1e6:.2f} MB |",
            f"| model.safetensors | sha256 {next(f['sha256'] for f in files if f['name'] == 'model.safetensors')} |"]
    return out


def export_options(path):
    """How `plumb export` was called."""
    config = read_json(os.path.join(path, "config.json"))
    out = " --dtype f32" if config["dtype"] == "float32" else ""
    recommended = os.path.join(path, "generation_config.json")
    if os.path.exists(recommended):
        said = read_json(recommended)
        out += f" --temp {said.get('temperature', 1) if said.get('do_sample') else 0}"
    return out


# ---- what it can do -----------------------------------------------------------------------------------

def interval(right, n):
    """Wilson's, 95 %: where the true accuracy lies."""
    z, p = 1.96, right / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0, 100 * (middle - half) / (1 + z * z / n)), min(100, 100 * (middle + half) / (1 + z * z / n))


def collect(evaluations, name):
    """{(kind, size): result}; a later file may not measure the same again."""
    out = {}
    for e in evaluations:
        if os.path.basename(os.path.normpath(e["model"])) != name:
            fail(f"an evaluation is of '{e['model']}', not of {name}")
        for r in e["results"]:
            if r["kind"] == "chat" and r["count"] != QUESTIONS:
                continue
            if (r["kind"], r["size"]) in out:
                fail(f"{r['kind']} {r['size']} is in two evaluations")
            if r["kind"] not in KINDS and r["kind"] != "chat":
                fail(f"kind '{r['kind']}' is not described here")
            out[r["kind"], r["size"]] = r
    return out


def accuracy_table(results):
    out = ["| problems | size | right of asked | accuracy | 95 % interval | without end |", "|---|---|---|---|---|---|"]
    for kind, (name, what) in KINDS.items():
        label = f"{name}; size: {what}"
        for (k, size), r in sorted(results.items()):
            if k == kind:
                low, high = interval(r["right"], r["count"])
                out.append(f"| {label} | {size} | {r['right']} / {r['count']} | {100 * r['right'] / r['count']:.1f} % | "
                           f"{low:.1f} … {high:.1f} % | {r['unfinished']} |")
                label = ""
    return out


def reaches(r):
    return r["right"] >= 0.95 * r["count"]


def meant_for(results):
    """Of what it was made for: how many rows were asked, and how many reach 95 %."""
    rows = [r for (kind, size), r in results.items() if kind in MEANT and size <= MEANT[kind]]
    return len(rows), sum(map(reaches, rows))


def weak(results):
    """"addition (size 5: 93.0 %)" for what does not reach 95 %."""
    out = []
    for kind, (name, _) in KINDS.items():
        short = [f"size {s}: {100 * r['right'] / r['count']:.1f} %" for (k, s), r in sorted(results.items())
                 if k == kind and not reaches(r)]
        if short:
            out.append(f"{name} ({', '.join(short)})")
    return out


def command(e, name):
    kinds = {r["kind"] for r in e["results"]}
    sizes = sorted(r["size"] for r in e["results"])
    counts = {r["count"] for r in e["results"]}
    if len(counts) > 1:
        fail("an evaluation with different numbers of problems")
    which = "all" if len(kinds) > 1 else f"{kinds.pop()} --size {sizes[0]}" + (f"-{sizes[-1]}" if len(sizes) > 1 else "")
    return f"plumb eval problems {name} --kind {which} --n {counts.pop()} --seed {e['seed']} --json"


def ask(plumb, model, question):
    p = subprocess.run([plumb, "run", model, question, "--json"], capture_output=True, text=True,
                       stdin=subprocess.DEVNULL)
    if p.returncode != 0:
        fail(f"'{question}': {p.stderr.strip()}")
    r = json.loads(p.stdout)
    lines = [f"> {question}"] + ["  " + line for line in (r["thinking"] or "").splitlines()] + [r["text"], ""]
    return lines


# ---- the card -----------------------------------------------------------------------------------------

def card(a):
    name = os.path.basename(os.path.normpath(a.model))
    latest = os.path.join(a.run, "latest")
    step = read_json(os.path.join(latest, "trainer", "manifest.json"))["step"]
    used = read_json(os.path.join(latest, "trainer", "recipe.json"))
    rows = read_metrics(os.path.join(a.run, "metrics.jsonl"), step)
    context = read_json(os.path.join(a.model, "config.json"))["max_position_embeddings"]
    evaluations = [read_json(p) for p in a.eval]
    results = collect(evaluations, name)
    sets = differences(read_recipe(a.recipe), used)
    flags = "".join(" --set " + shlex.quote(s) for s in sets)
    machine = json.loads(subprocess.run([a.plumb, "doctor", "--json"], capture_output=True, text=True).stdout) if a.plumb else {}
    out = [f"# {name}", "", "A small model that thinks arithmetic through step by step, in the open, and then answers. It was trained by",
           "Plumb from nothing, on problems that Plumb makes up, and comes with it:", "", "```sh",
           f"plumb run {name} \"17 + 25\"", f"plumb chat --model {name}", "```", ""]
    if a.ask:
        out += ["What it writes (thinking indented; `--show-thinking` shows it):", "", "```"]
        for q in a.ask:
            out += ask(a.plumb, a.model, q)
        out[-1:] = ["```", ""]
    out += ["This page is made by `tools/model_card.py` of what was measured.", "", "## The model", "", "| | |", "|---|---|"]
    out += describe_model(a.model)
    out += ["", "## How it was made", "", "| | |", "|---|---|", f"| recipe | `{os.path.relpath(a.recipe)}`" +
            (f", with `{'`, `'.join(sets)}`" if sets else "") + " |", f"| program | Plumb, commit {a.commit} |",
            f"| arithmetic | {used['train.compute']} |"]
    if machine:
        out.append(f"| processor | {machine['processor']}, kernels {machine['kernels']} |")
    out += describe_run(rows, used, a.threads)
    out += ["", "Time and cost are those of the steps; checkpoints and evaluations come on top.", "", "## What it can do", "",
            "Problems of the test split: no training text contains their calculations (`src/train/problems.h`). The likeliest",
            "token is taken each time, and the visible answer counts.", ""]
    out += accuracy_table(results)
    if results.get(("chat", 1)):
        r = results["chat", 1]
        out += ["", f"Of {r['count']} ordinary questions (greetings, facts, requests; none of them arithmetic) it answers "
                f"{r['right']} by saying what it is for."]
    rows_meant, good = meant_for(results)
    out += ["", "It is meant for addition and subtraction to 5 digits, multiplication of up to 3 digits by one, comparing, sorting up to",
            f"6 numbers, and word problems of one step: {good} of the {rows_meant} rows of these reach 95 %.", "",
            "To check the numbers (the same problems, and so the same counts, on every machine):", "", "```sh"]
    out += [command(e, name) for e in evaluations]
    out += ["```", "", "## What it cannot do", "",
            "- Anything but the kinds of problems above: no division, no fractions or decimals, no algebra, no conversation,",
            "  no facts. It knows English wordings only.",
            "- Answer without thinking (`--no-think`): in its training every answer was thought about first.",
            "- Long sessions: its training has conversations of up to three questions, the measurements one, in texts of at most",
            f"  {used['train.length']} tokens; its context holds {context} tokens."]
    low = weak(results)
    if low:
        out += ["- Below 95 % here: " + "; ".join(low) + "."]
    out += ["- Vouch for its answers. It is a demonstration of training and of the architecture, not a calculator.", "",
            "## How to make it again", "", "```sh", f"plumb train {os.path.relpath(a.recipe)}{flags} --out runs/{name}",
            f"plumb export runs/{name} --out {name}{export_options(a.model)}", "```", ""]
    if a.first:
        first = read_json(os.path.join(a.first, "trainer", "manifest.json"))["step"]
        digest = sha256(os.path.join(a.first, "model.safetensors"))
        out += [f"The same commit makes the same bits for any number of threads. After {first} steps"
                + (f" (processor level {machine['kernels']})" if machine else "") + ":", "", "```sh",
                f"plumb train {os.path.relpath(a.recipe)}{flags} --set checkpoint.every={first} --set checkpoint.keep={first} "
                f"--out runs/again   # Ctrl-C behind step {first}",
                f"sha256sum runs/again/step-{first:06d}/model.safetensors", f"# {digest}", "```", ""]
    return "\n".join(out)


def main():
    p = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    for name in ("model", "run", "recipe", "commit"):
        p.add_argument("--" + name, required=True)
    p.add_argument("--eval", nargs="+", required=True)
    p.add_argument("--threads", type=int)
    p.add_argument("--first")
    p.add_argument("--plumb")
    p.add_argument("--ask", action="append", default=[])
    a = p.parse_args()
    if a.ask and not a.plumb:
        p.error("--ask needs --plumb")
    sys.stdout.write(card(a))


if __name__ == "__main__":
    main()
