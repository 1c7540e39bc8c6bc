"""The three namings of DeepSeek-V4 tensors, and how a directory in each of them is written.

    release   as published: layers.0.attn.wq_a.weight, one tensor per expert
    saved     as save_pretrained writes it: model.layers.0.attn.wq_a.weight, one tensor per expert
    module    as in state_dict(): model.layers.0.self_attn.q_a_proj.weight, experts stacked
"""
import json
import os
import re

import torch
from safetensors.torch import save_file

# release leaf -> module leaf, tried in this order
MODULE = [
    (r"^embed\.weight$", "model.embed_tokens.weight"), (r"^head\.weight$", "lm_head.weight"),
    (r"^norm\.weight$", "model.norm.weight"), (r"^hc_head_(\w+)$", r"model.hc_head.hc_\1"),
    (r"^layers\.", "model.layers."),
    (r"\.attn_norm\.", ".input_layernorm."), (r"\.ffn_norm\.", ".post_attention_layernorm."),
    (r"\.hc_(attn|ffn)_(\w+)$", r".\1_hc.\2"),
    (r"\.attn\.indexer\.compressor\.norm\.", ".self_attn.compressor.indexer.kv_norm."),
    (r"\.attn\.compressor\.norm\.", ".self_attn.compressor.kv_norm."),
    (r"\.attn\.indexer\.compressor\.", ".self_attn.compressor.indexer."),
    (r"\.attn\.indexer\.weights_proj\.", ".self_attn.compressor.indexer.scorer.weights_proj."),
    (r"\.attn\.indexer\.wq_b\.", ".self_attn.compressor.indexer.q_b_proj."),
    (r"\.attn\.", ".self_attn."), (r"\.ffn\.", ".mlp."),
    (r"\.attn_sink$", ".sinks"), (r"\.q_norm\.", ".q_a_norm."), (r"\.ape$", ".position_bias"),
    (r"\.wq_a\.", ".q_a_proj."), (r"\.wq_b\.", ".q_b_proj."), (r"\.wkv\.", ".kv_proj."), (r"\.wgate\.", ".gate_proj."),
    (r"\.wo_a\.", ".o_a_proj."), (r"\.wo_b\.", ".o_b_proj."), (r"\.gate\.bias$", ".gate.e_score_correction_bias"),
    (r"\.shared_experts\.w1\.", ".shared_experts.gate_proj."), (r"\.shared_experts\.w2\.", ".shared_experts.down_proj."),
    (r"\.shared_experts\.w3\.", ".shared_experts.up_proj."),
]
EXPERT = re.compile(r"^(layers\.\d+\.ffn\.experts)\.(\d+)\.(w[123])\.weight$")


def module_name(release):
    name = release
    for pattern, to in MODULE:
        name = re.sub(pattern, to, name)
    return name


def saved_name(release):
    if release == "head.weight" or release.startswith("mtp."):
        return release
    if release == "embed.weight":
        return "model.embed_tokens.weight"
    if release.startswith("hc_head_"):
        return "model.hc_head.hc_" + release[len("hc_head_"):]
    return "model." + re.sub(r"\.attn\.kv_norm\.", ".attn.norm.", release)


def to_module(state):
    """Release -> module: renamed, and experts stacked (w1 rows before w3 rows). mtp.* keeps its names."""
    out, stacks = {}, {}
    for name, x in state.items():
        m = EXPERT.match(name)
        if m:
            stacks.setdefault(m[1], {})[int(m[2]), m[3]] = x
        else:
            out[name if name.startswith("mtp.") else module_name(name)] = x
    for prefix, parts in stacks.items():
        count = 1 + max(e for e, _ in parts)
        base = "model." + prefix.replace(".ffn.", ".mlp.")
        out[base + ".gate_up_proj"] = torch.stack(
            [torch.cat((parts[e, "w1"], parts[e, "w3"])) for e in range(count)])
        out[base + ".down_proj"] = torch.stack([parts[e, "w2"] for e in range(count)])
    return out


def to_release(module, release_shapes):
    """Module -> release, for a state dict or gradients (missing ones stay missing)."""
    out = {}
    for name in release_shapes:
        m = EXPERT.match(name)
        if not m:
            x = module.get(module_name(name))
        else:
            base, e = "model." + m[1].replace(".ffn.", ".mlp."), int(m[2])
            x = module.get(base + (".down_proj" if m[3] == "w2" else ".gate_up_proj"))
            if x is not None:
                half = x.shape[1] // 2
                x = x[e] if m[3] == "w2" else x[e][:half] if m[3] == "w1" else x[e][half:]
        if x is not None:
            out[name] = x
    return out


def named(state, naming):
    """Release -> any naming."""
    if naming == "module":
        return to_module(state)
    return {saved_name(k) if naming == "saved" else k: v for k, v in state.items()}


def released_config(c):
    """config.json of the saved spelling in that of the releases."""
    c = dict(c)
    kinds, rates, layers = c.pop("layer_types"), c.pop("compress_rates"), c.pop("mlp_layer_types")
    csa, hca = rates["compressed_sparse_attention"], rates["heavily_compressed_attention"]
    hashed = sum(k == "hash_moe" for k in layers)
    if "hash_moe" in layers[hashed:]:
        raise ValueError("hash layers come first in the released spelling")
    c["compress_ratios"] = [{"sliding_attention": 0, "compressed_sparse_attention": 4}.get(k, 128) for k in kinds] + [0]
    c["num_hash_layers"] = hashed
    if csa != 4:
        c["compress_rate_csa"] = csa
    if hca != 128:
        c["compress_rate_hca"] = hca
    rope = dict(c.pop("rope_parameters")["compress"])
    c.pop("partial_rotary_factor")
    for k in ("partial_rotary_factor", "rope_theta", "attention_factor"):
        rope.pop(k, None)
    rope["type"] = rope.pop("rope_type")
    if rope["type"] != "default":
        c["rope_scaling"] = rope
    c["torch_dtype"] = c.pop("dtype")
    c["topk_method"] = "noaux_tc"
    c["transformers_version"] = "4.57.1"
    return c


def write_files(directory, tensors, shards):
    """One file, or so many shards with their index."""
    names = list(tensors)
    tensors = {k: v.contiguous() for k, v in tensors.items()}
    if shards == 1:
        save_file(tensors, os.path.join(directory, "model.safetensors"), metadata={"format": "pt"})
        return
    where = {}
    for s in range(shards):
        part = names[s::shards]         # neighbours lie in different files on purpose
        file = f"model-{s + 1:05}-of-{shards:05}.safetensors"
        save_file({k: tensors[k] for k in part}, os.path.join(directory, file), metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    total = sum(v.numel() * v.element_size() for v in tensors.values())
    with open(os.path.join(directory, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}, f, indent=1)
