"""GGUF files of arch `llama` from Hugging Face weights, written with the `gguf` package.

What the conversion does: q and k rows of every head go from half-split to adjacent pairs (weights and
biases), llama3 scaling becomes the divisors `rope_freqs.weight`, norms and biases stay F32. write() returns
the weights as the file holds them (dequantised, back in Hugging Face order), for the reference run.

K-quants have no quantiser in the package; their blocks are drawn at random (every bit pattern of scales and
codes occurs) with block scales chosen so that the weights have the wished spread, and the package's
dequantiser says what they mean.
"""
import math

import gguf
import numpy as np
import torch

T = gguf.GGMLQuantizationType
BLOCK_DRAWN = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")

NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def gguf_name(hf):
    top = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
           "lm_head.weight": "output.weight"}
    if hf in top:
        return top[hf]
    _, _, layer, rest = hf.split(".", 3)
    stem, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[stem]}.{kind}"


def to_pairs(x, heads):
    """Rows of each head: half-split order to adjacent pairs (new row 2i = old i, 2i+1 = old i + d/2)."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def from_pairs(x, heads):
    return x.reshape(heads, x.shape[0] // heads // 2, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def _half(x):
    return np.asarray(x, dtype=np.float16).reshape(-1, 1).view(np.uint8).reshape(-1, 2)


def draw_blocks(kind, shape, std, rng):
    """Random blocks of a K type with weights of about this standard deviation. [rows, bytes]"""
    n = shape[0] * shape[1] // 256
    u8 = lambda k: rng.integers(0, 256, size=(n, k), dtype=np.uint8)
    jitter = rng.uniform(0.7, 1.4, size=n)
    sign = rng.choice([-1.0, 1.0], size=n)

    def assemble(d, dmin):
        if kind == "Q2_K":
            return np.concatenate([u8(16), u8(64), _half(d), _half(dmin)], axis=1)
        if kind == "Q3_K":
            return np.concatenate([u8(32), u8(64), u8(12), _half(d)], axis=1)
        if kind == "Q4_K":
            return np.concatenate([_half(d), _half(dmin), u8(12), u8(128)], axis=1)
        if kind == "Q5_K":
            return np.concatenate([_half(d), _half(dmin), u8(12), u8(32), u8(128)], axis=1)
        return np.concatenate([u8(128), u8(64), u8(16), _half(d)], axis=1)

    # minima at d * (mean code) cancel the mean of the unsigned codes; then one draw fixes the scale
    level = {"Q2_K": 1.5, "Q4_K": 7.5, "Q5_K": 15.5}.get(kind, 0.0)
    probe = gguf.quants.dequantize(assemble(np.full(n, 1 / 64), np.full(n, level / 64)), T[kind])
    d = std / (float(probe.std()) * 64) * jitter
    blocks = assemble(d * (sign if kind in ("Q3_K", "Q6_K") else 1.0), d * level)
    return blocks.reshape(shape[0], -1)


def encode(x, kind, rng):
    """float32 [rows, cols] to the bytes of a type; returns (array for the writer, values it holds)."""
    qt = T[kind]
    if kind == "F32":
        return x, x
    if kind == "F16":
        h = x.astype(np.float16)
        return h, h.astype(np.float32)
    if kind in BLOCK_DRAWN:             # sub-blocks get offsets: half the spread gives streams like the others'
        raw = draw_blocks(kind, x.shape, 0.5 * float(x.std()), rng)
    else:
        raw = gguf.quants.quantize(x, qt)
    return raw, gguf.quants.dequantize(raw, qt).reshape(x.shape).astype(np.float32)


def rope_divisors(config):
    """llama3 scaling as divisors of base^(-2i/d), one per pair."""
    p = config.rope_parameters
    d, l0 = config.head_dim, p["original_max_position_embeddings"]
    out = []
    for i in range(d // 2):
        wave = 2 * math.pi * p["rope_theta"] ** (2 * i / d)
        if wave < l0 / p["high_freq_factor"]:
            out.append(1.0)
        elif wave > l0 / p["low_freq_factor"]:
            out.append(p["factor"])
        else:
            s = (l0 / wave - p["low_freq_factor"]) / (p["high_freq_factor"] - p["low_freq_factor"])
            out.append(1 / ((1 - s) / p["factor"] + s))
    return np.array(out, dtype=np.float32)


def type_of(name, types):
    """`types` maps parts of GGUF names to types; '' is the rest."""
    for part, kind in types.items():
        if part and part in name:
            return kind
    return types[""]


def write(path, config, state, types, seed, options=()):
    """Write the file; returns the weights it holds, float32, by Hugging Face name."""
    rng = np.random.default_rng(seed)
    w = gguf.GGUFWriter(str(path), "llama")
    if "alignment64" in options:
        w.add_custom_alignment(64)
    w.add_name("tiny random")
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_block_count(config.num_hidden_layers)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    if "no_head_count_kv" not in options:
        kv = config.num_key_value_heads
        w.add_head_count_kv([kv] * config.num_hidden_layers if "kv_array" in options else kv)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    p = config.rope_parameters
    w.add_rope_freq_base(float(p["rope_theta"]))
    if "no_optional_keys" not in options:
        w.add_vocab_size(config.vocab_size)
        w.add_rope_dimension_count(config.head_dim)
    if config.head_dim * config.num_attention_heads != config.hidden_size:
        w.add_key_length(config.head_dim)
        w.add_value_length(config.head_dim)
    if p["rope_type"] in ("linear", "yarn"):
        w.add_rope_scaling_type(gguf.RopeScalingType[p["rope_type"].upper()])
        w.add_rope_scaling_factor(float(p["factor"]))
        if p["rope_type"] == "yarn":
            w.add_rope_scaling_orig_ctx_len(p["original_max_position_embeddings"])
    elif p["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", rope_divisors(config))
    held = {}
    for hf, value in state.items():
        name, x = gguf_name(hf), value.float().numpy()
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
        h = next((n for part, n in heads.items() if f".{part}." in name), 0)
        if h:
            x = np.ascontiguousarray(to_pairs(x, h))
        kind = "F32" if x.ndim == 1 else type_of(name, types)
        raw, x = encode(x, kind, rng)
        w.add_tensor(name, raw, raw_dtype=None if kind in ("F32", "F16") else T[kind])
        held[hf] = torch.from_numpy(np.ascontiguousarray(from_pairs(x, h) if h else x))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    if "version2" in options:               # the layout of version 2 is that of 3
        with open(path, "r+b") as f:
            f.seek(4)
            f.write((2).to_bytes(4, "little"))
    return held
