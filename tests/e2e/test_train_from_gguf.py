"""`plumb train` that begins at a GGUF file: what it saves is a Hugging Face directory of the same model, with the file's
tokenizer and chat template, and it goes on from there. A run with learning rate 0 must not change the model."""
import json
import os
import random
import shutil
import struct

import pytest

from helpers import largest_difference, need_command, plumb, read_safetensors

HIDDEN, HEADS, KV_HEADS, WIDE, LAYERS = 16, 4, 2, 24, 2
SPECIAL = ["<|im_start|>", "<|im_end|>"]
TEMPLATE = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
            "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def byte_alphabet():
    """The characters that stand for the bytes 0 … 255."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = iter(range(0x100, 0x200))
    return [chr(b) if b in plain else chr(next(rest)) for b in range(256)]


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def value(v):
    """A key's type and value."""
    if isinstance(v, str):
        return struct.pack("<I", 8) + text(v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    if isinstance(v[0], str):
        return struct.pack("<IIQ", 9, 8, len(v)) + b"".join(map(text, v))
    return struct.pack("<IIQ", 9, 5, len(v)) + struct.pack(f"<{len(v)}i", *v)


def write_gguf(path, keys, tensors):
    """tensors: name → (shape with the rows first, floats)"""
    out = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))
    out += b"".join(text(k) + value(v) for k, v in keys.items())
    at, data = 0, b""
    for name, (shape, numbers) in tensors.items():
        out += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape)) + struct.pack("<IQ", 0, at)
        raw = struct.pack(f"<{len(numbers)}f", *numbers)
        data += raw + bytes(-len(raw) % 32)
        at = len(data)
    path.write_bytes(out + bytes(-len(out) % 32) + data)


@pytest.fixture
def place(tmp_path):
    """A small model and conversations to learn."""
    tokens = [*byte_alphabet(), "th", "\u0120th", *SPECIAL]
    rng = random.Random(3)
    vocab, kv = len(tokens), HIDDEN // HEADS * KV_HEADS
    shapes = {"token_embd.weight": (vocab, HIDDEN), "output_norm.weight": (HIDDEN,)}
    for i in range(LAYERS):
        shapes |= {f"blk.{i}.{n}.weight": s for n, s in {
            "attn_norm": (HIDDEN,), "attn_q": (HIDDEN, HIDDEN), "attn_k": (kv, HIDDEN), "attn_v": (kv, HIDDEN),
            "attn_output": (HIDDEN, HIDDEN), "ffn_norm": (HIDDEN,), "ffn_gate": (WIDE, HIDDEN), "ffn_up": (WIDE, HIDDEN),
            "ffn_down": (HIDDEN, WIDE)}.items()}
    count = lambda s: s[0] * (s[1] if len(s) > 1 else 1)
    tensors = {n: (s, [rng.gauss(1 if len(s) == 1 else 0, 0.3) for _ in range(count(s))]) for n, s in shapes.items()}
    write_gguf(tmp_path / "small.gguf", {
        "general.architecture": "llama", "llama.embedding_length": HIDDEN, "llama.block_count": LAYERS,
        "llama.context_length": 128, "llama.attention.head_count": HEADS, "llama.attention.head_count_kv": KV_HEADS,
        "llama.feed_forward_length": WIDE, "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * (vocab - 2) + [3, 3], "tokenizer.ggml.merges": ["t h", "\u0120 th"],
        "tokenizer.ggml.bos_token_id": vocab - 2, "tokenizer.ggml.eos_token_id": vocab - 1,
        "tokenizer.chat_template": TEMPLATE}, tensors)
    with open(tmp_path / "talk.jsonl", "w", encoding="utf-8") as f:
        for i in range(40):
            f.write(json.dumps({"messages": [{"role": "user", "content": f"What is the {i}th?"},
                                             {"role": "assistant", "content": f"It is {i * 7}."}]}) + "\n")
    (tmp_path / "short.txt").write_text("".join(f"The {i}th line of this.\n" for i in range(90)))
    return tmp_path


def train(place, lr, steps, *flags, data="jsonl: talk.jsonl"):
    (place / "recipe.yaml").write_text(
        f"model:\n  from: small.gguf\ndata:\n  {data}\ntrain:\n  steps: {steps}\n  batch: 2\n  length: 96\n"
        f"optimiser:\n  matrices: adamw\n  adamw:\n    lr: {lr}\n    decay: 0\ncheckpoint:\n  every: 2\n")
    p = plumb("train", "recipe.yaml", "--out", "run", *flags, cwd=place)
    assert p.returncode == 0, p.stderr
    return place / "run" / "latest"


def logits(place, model):
    out = place / "trace.safetensors"
    (place / "ids").write_text(" ".join(str(i * 11 % 260) for i in range(30)))
    p = plumb("trace", model, "--ids", place / "ids", "--out", out, "--f64")
    assert p.returncode == 0, p.stderr
    return read_safetensors(out)[0]["logits"].values


@pytest.fixture(autouse=True)
def _command():
    need_command("train")


def test_a_run_that_moves_nothing_saves_the_model_of_the_file(place):
    saved = train(place, "1e-30", 2)
    assert largest_difference(logits(place, saved), logits(place, place / "small.gguf")) <= 1e-5
    for words in ("the 7th\n  the <|im_end|>\u00e9", "12 345"):
        ids = [plumb("tokenize", "--tokenizer", t, words).stdout for t in (saved, place / "small.gguf")]
        assert ids[0] == ids[1] != ""
    config = json.loads((saved / "tokenizer_config.json").read_text())
    assert (config["bos_token"], config["eos_token"], config["chat_template"]) == (*SPECIAL, TEMPLATE)
    assert json.loads((saved / "config.json").read_text())["eos_token_id"] == 259


@pytest.mark.parametrize("data", ["jsonl: talk.jsonl", "text: short.txt"])
def test_it_learns_and_resumes_with_the_same_bits(place, data):
    saved = train(place, "1e-2", 6, data=data)
    losses = [json.loads(line)["loss"] for line in (place / "run" / "metrics.jsonl").read_text().splitlines() if "loss" in line]
    assert losses[-1] < losses[0]
    whole = (saved / "model.safetensors").read_bytes()
    shutil.rmtree(place / "run" / "step-000006")
    os.rename(place / "small.gguf", place / "gone.gguf")     # the run has all it needs
    saved = train(place, "1e-2", 6, "--resume", data=data)
    assert (saved / "model.safetensors").read_bytes() == whole
