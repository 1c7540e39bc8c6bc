"""tools/model_card.py: its numbers are those of its inputs, and inputs that do not belong together are refused."""
import hashlib
import json
import os
import subprocess
import sys

import pytest

from helpers import PLUMB, ROOT, plumb

THINK = os.path.join(ROOT, "tests", "vectors", "chat", "think")
RECIPE = "# a recipe\nmodel:\n  hidden_size: 8  # small\n  ratios: [0, 4]\ntrain:\n  steps: 50\n  batch: 2\n"
USED = {"model.hidden_size": 8, "model.ratios": [0, 4], "train.steps": 50, "train.batch": 2, "train.length": 16,
        "train.accumulate": 1, "train.compute": "f32"}


class Inputs:
    def __init__(self, path):
        self.path, self.model, self.run = path, path / "tiny", path / "run"
        assert plumb("export", THINK, "--out", self.model).returncode == 0
        (self.run / "step-000003" / "trainer").mkdir(parents=True)
        os.symlink("step-000003", self.run / "latest")
        self.write("run/latest/trainer/manifest.json", {"version": 1, "step": 3})
        self.write("run/latest/trainer/recipe.json", USED)
        (self.run / "latest" / "model.safetensors").write_bytes(b"weights")
        self.metrics([{"step": s, "loss": 4.0 - s, "tokens": 500_000 * s, "seconds": 1200.0} for s in (1, 2, 3, 4)])
        (path / "recipe.yaml").write_text(RECIPE)
        self.results = [{"kind": "add", "size": 2, "count": 200, "right": 191, "unfinished": 1, "tokens": 5},
                        {"kind": "sort", "size": 6, "count": 200, "right": 150, "unfinished": 0, "tokens": 5}]
        self.evaluate("e.json", self.results, seed=7)

    def write(self, name, value):
        (self.path / name).write_text(json.dumps(value))

    def metrics(self, rows):
        (self.run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))

    def evaluate(self, name, results, model="tiny", seed=0):
        self.write(name, {"model": model, "seed": seed, "results": results})

    def card(self, *args, evaluations=("e.json",)):
        return subprocess.run([sys.executable, os.path.join(ROOT, "tools", "model_card.py"), "--model", "tiny", "--run", "run",
                               "--recipe", "recipe.yaml", "--commit", "abc123", "--eval", *evaluations, *args],
                              capture_output=True, text=True, cwd=self.path, stdin=subprocess.DEVNULL)


@pytest.fixture
def inputs(tmp_path):
    return Inputs(tmp_path)


def test_its_numbers_are_those_that_were_measured(inputs):
    inputs.evaluate("chat.json", [{"kind": "chat", "size": 1, "count": 100, "right": 98, "unfinished": 0, "tokens": 5}])
    p = inputs.card("--threads", "2", "--first", "run/step-000003", evaluations=("e.json", "chat.json"))
    assert p.returncode == 0, p.stderr
    for text in ("| 3 of 50, each 2 × 16 tokens |", "| 1.5 million", "| 1.00 hours, 417 tokens a second |",
                 "| 2.00 core-hours (2 threads) |", "2.0000 (mean of the last 3 steps; 3.000 at the first)",
                 "| 2 | 191 / 200 | 95.5 % | 91.7 … 97.6 % | 1 |", "| 6 | 150 / 200 | 75.0 % |", "1 of the 2 rows",
                 "sorting (size 6: 75.0 %)", "Of 100 ordinary questions", "answers 98 by", "commit abc123",
                 "plumb eval problems tiny --kind all --n 200 --seed 7 --json",
                 "plumb eval problems tiny --kind chat --size 1 --n 100 --seed 0 --json",
                 "# " + hashlib.sha256(b"weights").hexdigest(), "plumb train recipe.yaml --out runs/tiny",
                 hashlib.sha256((inputs.model / "model.safetensors").read_bytes()).hexdigest()):
        assert text in p.stdout, text + "\n" + p.stdout
    assert "--set checkpoint.every=3" in p.stdout and "addition (size" not in p.stdout


def test_what_the_run_had_otherwise_is_said(inputs):
    inputs.write("run/latest/trainer/recipe.json", {**USED, "train.steps": 60, "model.ratios": [0, 8]})
    assert "plumb train recipe.yaml --set 'model.ratios=[0, 8]' --set train.steps=60 --out" in inputs.card().stdout


def test_how_it_was_exported_is_said(inputs):
    assert "plumb export runs/tiny --out tiny\n" in inputs.card().stdout
    (inputs.path / "tiny").rename(inputs.path / "bf16")
    assert plumb("export", THINK, "--out", inputs.model, "--dtype", "f32", "--temp", "0").returncode == 0
    assert "plumb export runs/tiny --out tiny --dtype f32 --temp 0\n" in inputs.card().stdout


def test_a_question_is_asked_of_the_program(inputs):
    p = inputs.card("--plumb", str(PLUMB), "--ask", "2+2?")
    assert p.returncode == 0 and "> 2+2?\n  hm.\nParisé!\n" in p.stdout and "kernels" in p.stdout


def test_inputs_that_do_not_belong_together_are_refused(inputs):
    def refused(word, **more):
        p = inputs.card(**more)
        assert p.returncode == 1 and p.stdout == "" and word in p.stderr, p.stderr

    inputs.evaluate("other.json", inputs.results, model="runs/other")
    refused("not of tiny", evaluations=("other.json",))
    refused("in two evaluations", evaluations=("e.json", "e.json"))
    inputs.metrics([{"step": s, "loss": 1, "tokens": 1, "seconds": 1} for s in (1, 3)])
    refused("every step")
    with open(inputs.model / "tokenizer.json", "a", encoding="utf-8") as f:
        f.write(" ")
    inputs.metrics([{"step": s, "loss": 1, "tokens": 1, "seconds": 1} for s in (1, 2, 3)])
    refused("tokenizer.json is not the file of the manifest")
