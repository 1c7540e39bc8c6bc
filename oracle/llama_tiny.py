#!/usr/bin/env python3
"""Tiny random Llama models with what transformers computes for them.

    llama_tiny.py --out DIR --all          every case (on demand, some MB)
    llama_tiny.py --out DIR --recorded     the small cases that the tree keeps in tests/vectors/llama
    llama_tiny.py --out DIR NAME...        some of them;  --list names them

Per case: DIR/NAME (a Hugging Face directory) or DIR/NAME.gguf, DIR/NAME.ids (white space between ids),
DIR/NAME.expected.safetensors with logits, hidden.N (output of decoder layer N, before the final norm),
logits_f64_* (see llama_ref.py; `torch` only in the recorded ones), greedy_ids, and for directories loss (mean
next-token cross-entropy) and grad.NAME of it; its metadata (`about`) names versions, the smallest distance of the
two best logits on the greedy way, and the largest |logit|.
Everything is seeded: the same versions write the same files.
"""
import argparse
import json
import math
import os
import shutil
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import llama_gguf
import llama_ref

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

GREEDY = 16
GAP = 1e-3


def shape(hidden, heads, kv, inter, layers, vocab, **more):
    return dict(hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv, intermediate_size=inter,
                num_hidden_layers=layers, vocab_size=vocab, max_position_embeddings=256, rms_norm_eps=1e-5,
                **more)


def rope(kind="default", theta=10000.0, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **more))


LLAMA3 = rope("llama3", 10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
LINEAR = rope("linear", 10000.0, factor=4.0)
YARN = rope("yarn", 10000.0, factor=4.0, original_max_position_embeddings=64)
BIAS = dict(attention_bias=True, mlp_bias=True)
TIED = dict(tie_word_embeddings=True)
FOUR_BITS = {"token_embd": "Q8_0", "": "Q4_1"}
ZOO = {"token_embd": "Q5_1", "output.": "Q5_0", "attn_q": "Q4_0", "attn_k": "Q8_0", "attn_v": "F16",
       "attn_output": "Q4_1", "ffn_gate": "Q5_0", "ffn_up": "Q5_1", "ffn_down": "BF16", "": "F32"}
K256 = shape(256, 4, 2, 256, 1, 40)

# name: (form, config, options).  form: hf/DTYPE[/old][/sharded] or gguf.  options: T, types, gguf flags, edits
CASES = {
    # what the tree keeps (small on purpose)
    "plain-f32": ("hf/float32", shape(30, 5, 1, 22, 2, 41) | rope(), {"keep": 1}),
    "llama3-bf16-tied": ("hf/bfloat16", shape(66, 3, 1, 26, 1, 97) | LLAMA3 | TIED, {"keep": 1, "T": 36}),
    "bias-linear-f16-old-sharded": ("hf/float16/old/sharded", shape(24, 4, 2, 40, 2, 59, head_dim=10) | LINEAR | BIAS,
                                    {"keep": 1}),
    "gguf-f16-llama3": ("gguf", shape(36, 6, 3, 38, 2, 53) | LLAMA3, {"keep": 1, "types": {"": "F16"}, "T": 30}),
    "gguf-q4_1-tied": ("gguf", shape(64, 2, 1, 64, 2, 61) | rope(theta=1e5) | TIED, {"keep": 1, "types": FOUR_BITS}),
    "gguf-mixed-types": ("gguf", shape(32, 4, 4, 64, 2, 53) | rope(), {"keep": 1, "types": ZOO}),
    "gguf-q8_0-linear": ("gguf", shape(32, 2, 1, 32, 2, 37) | LINEAR,
                         {"keep": 1, "types": {"": "Q8_0"}, "gguf": ("kv_array",), "T": 20}),
    "gguf-f16-yarn-tied": ("gguf", shape(28, 2, 1, 20, 1, 43) | YARN | TIED, {"keep": 1, "types": {"": "F16"}, "T": 24}),

    # safetensors: shapes
    "hf-mha": ("hf/float32", shape(48, 4, 4, 80, 2, 97) | rope(), {}),
    "hf-odd66": ("hf/float32", shape(66, 3, 1, 50, 4, 131) | rope(), {"T": 40}),
    "hf-odd66-bf16": ("hf/bfloat16", shape(66, 3, 1, 50, 4, 131) | rope(), {"T": 40}),
    "hf-odd66-f16": ("hf/float16", shape(66, 3, 1, 50, 4, 131) | rope(), {"T": 40}),
    "hf-headdim6": ("hf/float32", shape(66, 3, 1, 50, 2, 131, head_dim=6) | rope(), {}),
    "hf-headdim-wide": ("hf/bfloat16", shape(40, 2, 1, 56, 2, 101, head_dim=64) | rope(), {}),
    "hf-headdim2": ("hf/float32", shape(14, 7, 7, 13, 2, 17) | rope(), {}),
    "hf-one-of-each": ("hf/float32", shape(2, 1, 1, 1, 1, 2) | rope(), {"T": 5}),
    "hf-one-token": ("hf/float32", shape(66, 3, 1, 50, 2, 131) | rope(), {"T": 1}),
    "hf-wide": ("hf/bfloat16", shape(320, 5, 5, 864, 2, 515) | rope(theta=5e5), {"T": 37}),
    "hf-tied-f32": ("hf/float32", shape(66, 3, 1, 50, 2, 131) | rope() | TIED, {}),
    "hf-long": ("hf/float32", shape(32, 4, 2, 40, 2, 41) | rope() | {"max_position_embeddings": 2048}, {"T": 1500}),
    "hf-vocab-large": ("hf/bfloat16", shape(34, 1, 1, 34, 1, 5003) | rope(), {"T": 12}),

    # biases
    "hf-bias": ("hf/float32", shape(66, 3, 1, 50, 2, 131) | rope() | BIAS, {}),
    "hf-bias-attention-only": ("hf/bfloat16", shape(48, 4, 2, 50, 2, 67, attention_bias=True) | rope(), {}),
    "hf-bias-mlp-only": ("hf/bfloat16", shape(48, 4, 2, 50, 2, 67, mlp_bias=True) | rope(), {}),

    # rotary scaling, both spellings
    "hf-llama3": ("hf/float32", shape(66, 3, 1, 50, 2, 131) | LLAMA3, {"T": 120}),
    "hf-llama3-old": ("hf/bfloat16/old", shape(66, 3, 1, 50, 2, 131) | LLAMA3, {"T": 120}),
    "hf-llama3-published": ("hf/bfloat16/old", shape(64, 2, 1, 50, 2, 131, head_dim=128) | {"max_position_embeddings": 131072}
                            | rope("llama3", 5e5, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                   original_max_position_embeddings=8192), {"T": 60}),
    "hf-llama3-equal-factors": ("hf/float32", shape(48, 4, 2, 50, 2, 67) |
                                rope("llama3", 1e4, factor=16.0, low_freq_factor=1.0, high_freq_factor=2.0,
                                     original_max_position_embeddings=32), {"T": 100}),
    "hf-linear": ("hf/float32", shape(66, 3, 1, 50, 2, 131) | LINEAR, {"T": 60}),
    "hf-linear-old-type": ("hf/float32/old", shape(66, 3, 1, 50, 2, 131) | LINEAR, {"T": 60, "edit": "type_key"}),
    "hf-yarn": ("hf/float32", shape(64, 2, 1, 50, 2, 131) | YARN, {"T": 120}),
    "hf-yarn-old": ("hf/float32/old", shape(64, 2, 1, 50, 2, 131) | YARN, {"T": 120}),
    "hf-yarn-all-keys": ("hf/float32", shape(64, 2, 1, 50, 2, 131) |
                         rope("yarn", 1e4, factor=8.0, original_max_position_embeddings=64, beta_fast=16.0,
                              beta_slow=2.0, attention_factor=1.25, truncate=False), {"T": 120}),
    "hf-yarn-mscale": ("hf/float32", shape(64, 2, 1, 50, 2, 131) |
                       rope("yarn", 1e4, factor=8.0, original_max_position_embeddings=64, mscale=1.0,
                            mscale_all_dim=0.5), {"T": 120}),
    "hf-dynamic-within": ("hf/float32", shape(66, 3, 1, 50, 2, 131) | rope("dynamic", 1e4, factor=2.0), {"T": 120}),

    # how configurations and files are written
    "hf-old-plain": ("hf/float32/old", shape(66, 3, 1, 50, 2, 131) | rope(theta=500000.0), {}),
    "hf-old-sparse-config": ("hf/float32/old", shape(48, 4, 4, 50, 2, 67) | rope(), {"edit": "sparse"}),
    "hf-null-keys": ("hf/float32/old", shape(48, 4, 2, 50, 2, 67) | rope(), {"edit": "nulls"}),
    "hf-integer-theta": ("hf/float32", shape(48, 4, 2, 50, 2, 67) | rope(theta=1000000), {"edit": "int_theta"}),
    "hf-sharded-bf16": ("hf/bfloat16/sharded", shape(66, 3, 1, 50, 4, 131) | rope(), {}),
    "hf-tied-with-head-in-file": ("hf/float32", shape(48, 4, 2, 50, 2, 67) | rope() | TIED, {"edit": "head_in_file"}),
    "hf-old-inv-freq-in-file": ("hf/float32/old", shape(48, 4, 2, 50, 2, 67) | rope(), {"edit": "inv_freq_in_file"}),
    "hf-eps-1e-6": ("hf/float32", shape(48, 4, 2, 50, 2, 67) | rope() | {"rms_norm_eps": 1e-6}, {"edit": "small_embeddings"}),
    "hf-mixed-dtypes": ("hf/bfloat16", shape(48, 4, 2, 50, 2, 67) | rope(), {"edit": "norms_f32"}),

    # GGUF
    "gguf-f32": ("gguf", shape(66, 3, 1, 50, 2, 131) | rope(), {"types": {"": "F32"}}),
    "gguf-f32-tied": ("gguf", shape(66, 3, 1, 50, 2, 131) | rope() | TIED, {"types": {"": "F32"}}),
    "gguf-f16-odd66": ("gguf", shape(66, 3, 1, 50, 4, 131) | rope(), {"types": {"": "F16"}, "T": 40}),
    "gguf-bf16": ("gguf", shape(66, 3, 1, 50, 2, 131) | rope(), {"types": {"": "BF16"}}),
    "gguf-f16-version2": ("gguf", shape(66, 3, 1, 50, 2, 131) | rope(), {"types": {"": "F16"}, "gguf": ("version2",)}),
    "gguf-f16-few-keys": ("gguf", shape(48, 4, 4, 50, 2, 67) | rope(),
                          {"types": {"": "F16"}, "gguf": ("no_optional_keys", "no_head_count_kv")}),
    "gguf-f16-kv-array": ("gguf", shape(48, 4, 2, 50, 2, 67) | rope(),
                          {"types": {"": "F16"}, "gguf": ("kv_array", "alignment64")}),
    "gguf-f16-headdim6": ("gguf", shape(66, 3, 1, 50, 2, 131, head_dim=6) | rope(), {"types": {"": "F16"}}),
    "gguf-f16-bias": ("gguf", shape(66, 3, 1, 50, 2, 131) | rope() | BIAS, {"types": {"": "F16"}}),
    "gguf-f16-linear": ("gguf", shape(66, 3, 1, 50, 2, 131) | LINEAR, {"types": {"": "F16"}, "T": 60}),
    "gguf-f16-yarn": ("gguf", shape(64, 2, 1, 50, 2, 131) | YARN, {"types": {"": "F16"}, "T": 120}),
    "gguf-f32-llama3": ("gguf", shape(66, 3, 1, 50, 2, 131) | LLAMA3, {"types": {"": "F32"}, "T": 120}),
    "gguf-q8_0-llama3": ("gguf", shape(96, 3, 1, 160, 2, 131) | LLAMA3, {"types": {"": "Q8_0"}, "T": 120}),
    "gguf-q8_0-tied": ("gguf", shape(64, 4, 2, 64, 1, 70) | rope() | TIED, {"types": {"": "Q8_0"}}),
    "gguf-q8_0": ("gguf", shape(96, 3, 1, 160, 3, 131) | rope(), {"types": {"": "Q8_0"}}),
    "gguf-q4_0": ("gguf", shape(96, 3, 1, 160, 2, 131) | rope(), {"types": {"": "Q4_0"}}),
    "gguf-q4_1": ("gguf", shape(96, 3, 1, 160, 2, 131) | rope(), {"types": {"": "Q4_1"}}),
    "gguf-q5_0": ("gguf", shape(96, 3, 1, 160, 2, 131) | rope(), {"types": {"": "Q5_0"}}),
    "gguf-q5_1": ("gguf", shape(96, 3, 1, 160, 2, 131) | rope(), {"types": {"": "Q5_1"}}),
    **{f"gguf-{k.lower()}": ("gguf", K256 | rope(), {"types": {"": k}}) for k in llama_gguf.BLOCK_DRAWN},
    "gguf-q4_k_m": ("gguf", shape(256, 4, 2, 512, 2, 99) | rope() | TIED,
                    {"types": {"token_embd": "Q6_K", "attn_v": "Q6_K", "ffn_down": "Q6_K", "": "Q4_K"}, "T": 33}),
    "gguf-long-q8_0": ("gguf", shape(64, 4, 2, 64, 2, 64) | rope() | {"max_position_embeddings": 2048},
                       {"types": {"": "Q8_0"}, "T": 1100}),
}


def make_state(config, seed, small_embeddings=False):
    """Weights with spreads that keep scores, logits and streams of order one at every size."""
    names = {k: v.shape for k, v in LlamaForCausalLM(config).state_dict().items()}
    if config.tie_word_embeddings:
        names.pop("lm_head.weight", None)
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name in sorted(names):
        size = tuple(names[name])
        x = torch.randn(size, generator=g)
        if name.endswith(".bias"):
            x *= 0.2
        elif len(size) == 1:
            x = (1 + 0.2 * x) * (6.0 if name == "model.norm.weight" and config.tie_word_embeddings else 1.0)
        elif "embed_tokens" in name:
            x *= (0.5 if config.tie_word_embeddings else 3.0) / math.sqrt(size[1])
            x *= 0.01 if small_embeddings else 1.0
        else:
            spread = 1.6 if "q_proj" in name or "k_proj" in name else 2.5 if "lm_head" in name else 0.8
            x *= spread / math.sqrt(size[1])
        state[name] = x
    return state


def old_spelling(path):
    """config.json as transformers 4 wrote it."""
    c = json.load(open(path))
    p = c.pop("rope_parameters")
    c["rope_theta"] = p.pop("rope_theta")
    c["rope_scaling"] = None if p["rope_type"] == "default" else p
    c["torch_dtype"] = c.pop("dtype")
    c["transformers_version"] = "4.43.3"
    json.dump(c, open(path, "w"), indent=2)


def edit_directory(directory, edit, state, config):
    path = os.path.join(directory, "config.json")
    c = json.load(open(path))
    weights = os.path.join(directory, "model.safetensors")
    if edit == "type_key":
        c["rope_scaling"]["type"] = c["rope_scaling"].pop("rope_type")
    elif edit == "sparse":
        keep = ("architectures", "model_type", "hidden_size", "intermediate_size", "num_attention_heads",
                "num_hidden_layers", "vocab_size", "rms_norm_eps", "max_position_embeddings")
        c = {k: c[k] for k in keep}
    elif edit == "nulls":
        c["head_dim"] = None
        c["rope_scaling"] = None
        c["pad_token_id"] = c["bos_token_id"] = c["eos_token_id"] = None
    elif edit == "int_theta":
        c["rope_parameters"]["rope_theta"] = int(c["rope_parameters"]["rope_theta"])
    elif edit == "head_in_file":        # tied models of older libraries: the copy must be ignored
        save_file(load_file(weights) | {"lm_head.weight": torch.full_like(state["model.embed_tokens.weight"], 7.0)}, weights,
                  metadata={"format": "pt"})
    elif edit == "inv_freq_in_file":    # a buffer that Llama checkpoints of 2023 carry
        extra = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.full((config.head_dim // 2,), 9.0)
                 for i in range(config.num_hidden_layers)}
        save_file(load_file(weights) | extra, weights, metadata={"format": "pt"})
    elif edit == "norms_f32":
        t = load_file(weights)
        save_file({k: v.float() if v.ndim == 1 else v for k, v in t.items()}, weights, metadata={"format": "pt"})
    json.dump(c, open(path, "w"), indent=2)


def write_hf(directory, config, state, form, edit):
    """Save a directory; returns the config and weights that transformers reads back from it."""
    parts = form.split("/")
    dtype = getattr(torch, parts[1])
    state = {k: v.to(dtype) for k, v in state.items()}
    model = llama_ref.build(config, state, dtype, "eager")
    total = sum(v.numel() * v.element_size() for v in state.values())
    model.save_pretrained(directory, max_shard_size=int(total / 2.5) if "sharded" in parts else "5GB")
    if "old" in parts:
        old_spelling(os.path.join(directory, "config.json"))
    if edit and edit != "small_embeddings":
        edit_directory(directory, edit, state, config)
    sharded = os.path.exists(os.path.join(directory, "model.safetensors.index.json"))
    if sharded != ("sharded" in parts):
        raise ValueError(f"{directory}: sharded is {sharded}")
    if os.path.exists(os.path.join(directory, "generation_config.json")):
        os.remove(os.path.join(directory, "generation_config.json"))
    back = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
    held = {k: v for k, v in back.state_dict().items() if k in state}
    for k, v in held.items():
        if not torch.equal(v, state[k].float()):
            raise ValueError(f"{directory}: {k} read back differs")
    return LlamaConfig.from_pretrained(directory), held


def make_case(out, name):
    form, fields, options = CASES[name]
    seed = int.from_bytes(name.encode(), "big") % 1_000_003
    config = LlamaConfig(**fields)
    config.dtype = form.split("/")[1] if form != "gguf" else "float32"
    state = make_state(config, seed, options.get("edit") == "small_embeddings")
    base = os.path.join(out, name)
    if form == "gguf":
        target = base + ".gguf"
        held = llama_gguf.write(target, config, state, options["types"], seed, options.get("gguf", ()))
    else:
        target = base
        shutil.rmtree(target, ignore_errors=True)
        config, held = write_hf(target, config, state, form, options.get("edit"))
    count = options.get("T", 24)
    steps = 2 if count > 1000 else GREEDY
    for attempt in range(100):
        g = torch.Generator().manual_seed(seed + 7919 * (attempt + 1))
        ids = torch.randint(0, config.vocab_size, (count,), generator=g).tolist()
        tensors, gap = llama_ref.run(config, held, ids, steps)
        if gap > GAP:
            break
    else:
        raise ValueError(f"{name}: no ids with a greedy gap above {GAP}")
    if options.get("keep"):
        tensors = {k: v for k, v in tensors.items() if not k.startswith("logits_f64") or k.endswith("torch")}
    if form != "gguf" and count > 1:
        tensors |= llama_ref.gradients(config, held, ids)
    single = tensors["logits"]
    noise = float((single.double() - tensors["logits_f64_torch"]).abs().max())
    note = {"torch": torch.__version__, "transformers": transformers.__version__,
            "gguf": __import__("importlib.metadata", fromlist=["x"]).version("gguf"),
            "greedy_gap": f"{gap:.4f}", "logit_max": f"{float(single.abs().max()):.3f}",
            "float32_noise": f"{noise:.2e}"}
    if options.get("keep"):
        tensors["logits_f64_torch"] = tensors["logits_f64_torch"][-2:].contiguous()   # the last rows are enough
    # one entry, because the writer puts several in an order that changes from run to run
    save_file(tensors, base + ".expected.safetensors", metadata={"about": json.dumps(note)})
    if form != "gguf":                  # safetensors writes files that only their owner reads
        for f in os.listdir(target):
            os.chmod(os.path.join(target, f), 0o644)
    os.chmod(base + ".expected.safetensors", 0o644)
    with open(base + ".ids", "w") as f:
        f.write("\n".join(" ".join(map(str, ids[i:i + 20])) for i in range(0, len(ids), 20)) + "\n")
    size = os.path.getsize(target) if form == "gguf" else sum(
        os.path.getsize(os.path.join(target, f)) for f in os.listdir(target))
    print(f"{name:32} {size:8} bytes  T {count:4}  |logit| {note['logit_max']:>8}  f32 noise {noise:.1e}  gap {gap:.4f}",
          flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out")
    ap.add_argument("--all", action="store_true")
    ap.add_argument("--recorded", action="store_true")
    ap.add_argument("--list", action="store_true")
    ap.add_argument("names", nargs="*")
    a = ap.parse_args()
    names = a.names or [n for n, c in CASES.items() if a.all or (a.recorded and c[2].get("keep"))]
    if a.list:
        print("\n".join(CASES))
        return
    if not a.out or not names:
        ap.error("--out DIR and --all, --recorded or names")
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(1)
    for name in names:
        make_case(a.out, name)


if __name__ == "__main__":
    main()
