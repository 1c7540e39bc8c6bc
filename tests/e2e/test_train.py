"""`plumb train` from outside: what it leaves behind, what kills and threads change (nothing), what it says to bad input."""
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from helpers import PLUMB, plumb, read_safetensors

RECIPE = """
model:
  hidden_size: 32
  num_hidden_layers: 3
  compress_ratios: [0, 4, 128]
  compress_rate_hca: 8
  num_attention_heads: 2
  head_dim: 16
  qk_rope_head_dim: 8
  q_lora_rank: 16
  o_groups: 2
  o_lora_rank: 16
  sliding_window: 16
  n_routed_experts: 4
  num_experts_per_tok: 2
  moe_intermediate_size: 32
  num_hash_layers: 1
  index_n_heads: 2
  index_head_dim: 16
  index_topk: 32
  hc_mult: 2
  hc_sinkhorn_iters: 4
  max_position_embeddings: 256
  num_nextn_predict_layers: 1
tokenizer:
  train: 300
data:
  text: book.txt
  validation:
    share: 0.1
train:
  steps: 24
  batch: 2
  length: 64
  accumulate: 2
optimiser:
  adamw:
    lr: 3e-3
  muon:
    lr: 5e-3
    iterations: 5
schedule:
  warmup: 4
  decay: 8
checkpoint:
  every: 4
evaluate:
  every: 8
  batches: 2
"""


@pytest.fixture
def place(tmp_path):
    """A directory with a recipe and a text to learn."""
    words = ["the", "plumb", "line", "hangs", "straight", "down", "and", "every", "wall", "follows", "it", "up"]
    rng = random.Random(7)
    lines = (" ".join(rng.choice(words) for _ in range(rng.randint(3, 14))).capitalize() + "." for _ in range(400))
    (tmp_path / "book.txt").write_text("\n".join(lines))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def train(place, out, *flags, recipe="recipe.yaml"):
    return plumb("train", recipe, "--out", out, *flags, cwd=place)


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digests(run):
    last = run / "latest"
    return sha(last / "model.safetensors"), sha(last / "trainer" / "state.safetensors")


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_checkpoints_metrics_and_a_model_that_runs(place):
    p = train(place, "run", "--threads", 2)
    assert p.returncode == 0, p.stderr
    run = place / "run"
    assert os.path.realpath(run / "latest") == str(run / "step-000024")
    assert sorted(d for d in os.listdir(run) if d.startswith("step-")) == ["step-000020", "step-000024"]
    lines = metrics(run)
    assert [m["step"] for m in lines] == list(range(1, 25))
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5
    assert [m["step"] for m in lines if "validation_loss" in m] == [8, 16, 24]
    assert all(m["mtp_loss"] > 0 for m in lines)
    said = plumb("run", run / "latest", "--temp", "0", "-n", "8", "The", cwd=place)
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip()


def test_threads_change_no_bit(place):
    found = set()
    for threads in 1, 2, 3:
        p = train(place, f"run{threads}", "--threads", threads)
        assert p.returncode == 0, p.stderr
        found.add(digests(place / f"run{threads}"))
    assert len(found) == 1


def kill_and_resume(place, out, threads, seed, *flags):
    """Start again and again, each time killed at some moment, until a run ends by itself. How often it was killed."""
    rng = random.Random(seed)
    kills = 0
    for attempt in range(40):
        command = [PLUMB, "train", "recipe.yaml", "--out", out, "--threads", str(threads), "--resume", *flags]
        p = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            p.wait(timeout=rng.uniform(0.05, 0.9) if kills < 10 else 120)
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
            kills += 1
        said = p.communicate()[1].decode()
        if p.returncode == 0 and kills >= 10:
            return kills
        if p.returncode == 0:
            shutil.rmtree(place / out)          # too quick: once more from nothing
        assert p.returncode in (0, -signal.SIGKILL), said
    pytest.fail("the run never ended")


def test_killed_ten_times_it_ends_in_the_same_bits(place):
    assert train(place, "straight", "--threads", 2).returncode == 0
    for threads in 1, 2:
        assert kill_and_resume(place, f"killed{threads}", threads, threads) >= 10
        assert digests(place / f"killed{threads}") == digests(place / "straight")
        seen = [m["step"] for m in metrics(place / f"killed{threads}")]
        assert seen == list(range(1, 25))


BF16 = "--set", "train.compute=bf16"


def test_in_bf16_threads_and_kills_change_no_bit_either(place):
    found = set()
    for threads in 1, 2, 3:
        assert train(place, f"run{threads}", "--threads", threads, *BF16).returncode == 0
        found.add(digests(place / f"run{threads}"))
    assert len(found) == 1
    assert kill_and_resume(place, "killed", 2, 5, *BF16) >= 10
    assert digests(place / "killed") in found
    assert train(place, "float", "--threads", 2).returncode == 0
    assert digests(place / "float") not in found


def test_in_bf16_a_model_learns_as_in_f32(place):
    steps = "--set", "train.steps=50"
    assert train(place, "rounded", *steps, *BF16, "--set", "evaluate.samples=1").returncode == 0
    assert train(place, "float", *steps).returncode == 0
    losses = [[m["loss"] for m in metrics(place / run)] for run in ("rounded", "float")]
    assert losses[1][-1] < losses[1][0] - 0.5
    for rounded, exact in zip(*losses):
        assert abs(rounded - exact) < 0.01 * exact


def test_a_run_goes_on_where_more_steps_are_asked_for(place):
    keep = "--set", "schedule.decay=0"
    assert train(place, "half", "--set", "train.steps=12", *keep).returncode == 0
    assert train(place, "half", "--resume", *keep).returncode == 0
    assert train(place, "whole", *keep).returncode == 0
    assert digests(place / "half") == digests(place / "whole")


def test_recomputation_gives_the_same_bits(place):
    few = "--set", "train.steps=4"
    assert train(place, "kept", *few).returncode == 0
    assert train(place, "again", *few, "--set", "train.recompute=true").returncode == 0
    assert digests(place / "kept") == digests(place / "again")


def test_resuming_nothing_begins_and_resuming_the_end_is_fine(place):
    few = "--set", "train.steps=4"
    p = train(place, "run", "--resume", *few)
    assert p.returncode == 0 and "begins at step 0" in p.stderr
    before = digests(place / "run")
    p = train(place, "run", "--resume", *few)
    assert p.returncode == 0
    assert digests(place / "run") == before
    assert len(metrics(place / "run")) == 4


def test_an_existing_run_is_not_overwritten(place):
    few = "--set", "train.steps=4"
    assert train(place, "run", *few).returncode == 0
    before = digests(place / "run")
    p = train(place, "run", *few)
    assert p.returncode != 0 and "--resume" in p.stderr
    assert digests(place / "run") == before


def test_a_recipe_that_no_longer_fits_is_named_and_nothing_is_lost(place):
    few = "--set", "train.steps=4"
    assert train(place, "run", *few).returncode == 0
    before = digests(place / "run")
    p = train(place, "run", "--resume", *few, "--set", "model.hidden_size=48")
    assert p.returncode != 0 and "model.hidden_size" in p.stderr and "32" in p.stderr and "48" in p.stderr
    (place / "book.txt").write_text("Another text.\n" * 100)
    p = train(place, "run", "--resume", "--set", "train.steps=6")
    assert p.returncode != 0 and "data" in p.stderr
    assert digests(place / "run") == before


@pytest.mark.parametrize("flags,words", [
    (["--set", "data.text=missing.txt"], ["missing.txt"]),
    (["--set", "train.stepz=3"], ["train.stepz", "train.steps"]),
    (["--set", "train.steps=many"], ["train.steps", "many"]),
    (["--set", "train.length=100000"], ["train.length", "256"]),
])
def test_bad_values_are_named(place, flags, words):
    p = train(place, "run", *flags)
    assert p.returncode != 0
    for word in words:
        assert word in p.stderr, p.stderr


def test_a_bad_line_is_named(place):
    (place / "bad.yaml").write_text("train:\n  steps: 3\n  batch: [1\n")
    p = train(place, "run", recipe="bad.yaml")
    assert p.returncode != 0 and "bad.yaml:" in p.stderr
    (place / "bad.yaml").write_text(RECIPE.replace("  batch: 2", "  batch: two"))
    p = train(place, "run", recipe="bad.yaml")
    line = RECIPE.splitlines().index("  batch: 2") + 1
    assert p.returncode != 0 and f"bad.yaml:{line}: train.batch" in p.stderr


def test_conversations_teach_the_assistants_words_only(place):
    """The loss falls to nothing on answers that are always the same, whatever the questions are."""
    rng = random.Random(3)
    with open(place / "talk.jsonl", "w") as f:
        for _ in range(200):
            question = "".join(rng.choice("abcdefghij") for _ in range(12))
            f.write(json.dumps({"messages": [{"role": "user", "content": question},
                                             {"role": "assistant", "content": "plumb line"}]}) + "\n")
    recipe = RECIPE.replace("text: book.txt", "jsonl: talk.jsonl").replace("steps: 24", "steps: 60")
    (place / "talk.yaml").write_text(recipe)
    p = train(place, "run", recipe="talk.yaml")
    assert p.returncode == 0, p.stderr
    assert metrics(place / "run")[-1]["loss"] < 0.2


def test_a_text_ends_where_its_documents_ended(place):
    """Documents that are always the same are said whole and then end."""
    (place / "book.txt").write_text("<|endoftext|>\n".join(["The wall is straight.\n"] * 400))
    p = train(place, "run", "--set", "train.steps=80")
    assert p.returncode == 0, p.stderr
    said = plumb("run", place / "run" / "latest", "The wall", "-n", "60", "--json")
    assert said.returncode == 0, said.stderr
    answer = json.loads(said.stdout)
    assert (answer["text"].strip(), answer["finish_reason"]) == ("is straight.", "stop")


def test_a_trained_checkpoint_has_the_names_of_the_library(place):
    assert train(place, "run", "--set", "train.steps=4").returncode == 0
    tensors = read_safetensors(place / "run" / "latest" / "model.safetensors")[0]
    assert {"model.embed_tokens.weight", "head.weight", "model.layers.0.attn.wq_a.weight",
            "mtp.0.e_proj.weight"} <= set(tensors)
    assert {t.dtype for n, t in tensors.items() if not n.endswith("tid2eid")} == {"F32"}
