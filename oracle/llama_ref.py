"""The witness for the Llama family: transformers' own LlamaForCausalLM, run in float32 and in float64.

transformers computes a "double" model only in part: its RMSNorm goes through float32, its eager softmax is
float32, and the rotary tables are always float32. run() therefore gives one float32 run, exactly as the
library does it, and three float64 runs (norm and softmax in double) that differ in the rotary tables alone:

    torch    cos/sin float32 as transformers computes them (float32 powers, products and cosines)
    rounded  frequencies from double rounded to float32, product in float32, cos/sin rounded from double
    exact    everything in double

An engine's float64 mode can be compared with each; the distance between them is what the tables cost.
"""
import math

import torch
import transformers.models.llama.modeling_llama as modeling
from transformers import LlamaForCausalLM

TABLES = ("torch", "rounded", "exact")


def inv_freq_double(config):
    """Rotary frequencies and the factor on cos and sin, in double, written from the formulas."""
    p = config.rope_parameters
    kind, base, d = p["rope_type"], float(p["rope_theta"]), config.head_dim
    theta = torch.tensor([base ** (-2.0 * i / d) for i in range(d // 2)], dtype=torch.float64)
    scale = 1.0
    if kind == "linear":
        theta = theta / p["factor"]
    elif kind == "llama3":
        f, lo, hi = p["factor"], p["low_freq_factor"], p["high_freq_factor"]
        l0 = p["original_max_position_embeddings"]
        out = []
        for t in theta.tolist():
            w = 2 * math.pi / t
            if w > l0 / lo:
                out.append(t / f)
            elif w < l0 / hi:
                out.append(t)
            else:
                s = (l0 / w - lo) / (hi - lo)
                out.append((1 - s) * t / f + s * t)
        theta = torch.tensor(out, dtype=torch.float64)
    elif kind == "yarn":
        f, l0 = p["factor"], p["original_max_position_embeddings"]
        m, ma = p.get("mscale"), p.get("mscale_all_dim")

        def corr(rot):
            return d * math.log(l0 / (rot * 2 * math.pi)) / (2 * math.log(base))

        def mscale(x, k=1.0):
            return 1.0 if x <= 1 else 0.1 * k * math.log(x) + 1.0

        low, high = corr(p.get("beta_fast") or 32), corr(p.get("beta_slow") or 1)
        if p.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, d - 1)
        if low == high:
            high += 0.001
        ramp = ((torch.arange(d // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
        theta = theta / f * ramp + theta * (1 - ramp)
        scale = p.get("attention_factor")
        if scale is None:
            scale = mscale(f, m) / mscale(f, ma) if m and ma else mscale(f)
    elif kind not in ("default", "dynamic"):      # dynamic = default up to max_position_embeddings
        raise ValueError(kind)
    return theta, scale


def _tables(config, kind, positions):
    theta, scale = inv_freq_double(config)
    pos = torch.arange(positions)
    if kind == "exact":
        a = pos[:, None].double() * theta
        cos, sin = a.cos() * scale, a.sin() * scale
    else:
        a = (pos[:, None].float() * theta.float()).double()
        s = torch.tensor(scale, dtype=torch.float32)
        cos, sin = (a.cos().float() * s).double(), (a.sin().float() * s).double()
    return torch.cat((cos, cos), -1), torch.cat((sin, sin), -1)


def _norm_double(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def build(config, state, dtype, attn):
    """A model with these weights (float32 values, no re-rounding), eval mode."""
    config._attn_implementation = attn
    model = LlamaForCausalLM(config)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    missing, unexpected = model.load_state_dict(state, strict=False)
    if set(missing) - tied or unexpected:
        raise ValueError(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    return model.to(dtype).eval()


def forward(model, ids):
    """logits [T,V] and the list of decoder-layer outputs [T,D] (before the final norm)."""
    hidden, hooks = [], []
    for layer in model.model.layers:
        def grab(_m, _a, out):
            hidden.append((out[0] if isinstance(out, tuple) else out)[0].clone())
        hooks.append(layer.register_forward_hook(grab))
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    for h in hooks:
        h.remove()
    return logits, hidden


def gradients(config, state, ids):
    """Mean next-token cross-entropy in float32, and its gradient of every weight, as loss and grad.NAME."""
    model = build(config, state, torch.float32, "eager")
    x = torch.tensor([ids])
    loss = model(x, labels=x, use_cache=False).loss
    loss.backward()
    return {"loss": loss.detach().reshape(())} | {"grad." + k: p.grad.contiguous()
                                                   for k, p in model.named_parameters()}


class DoubleModel:
    """The float64 runs; the rotary tables can be exchanged between calls."""

    def __init__(self, config, state):
        self.config = config
        self.model = build(config, state, torch.float64, "sdpa")
        self.rotary = self.model.model.rotary_emb
        self.original = self.rotary.forward

    def forward(self, ids, tables="torch"):
        if tables == "torch":
            self.rotary.forward = self.original
        else:
            cos, sin = _tables(self.config, tables, len(ids))
            self.rotary.forward = lambda x, position_ids: (cos[None], sin[None])
        saved = modeling.LlamaRMSNorm.forward
        modeling.LlamaRMSNorm.forward = _norm_double
        try:
            return forward(self.model, ids)
        finally:
            modeling.LlamaRMSNorm.forward = saved


def greedy(double, ids, count):
    """`count` greedy ids after `ids`, and the smallest distance of the two best logits on the way."""
    ids, gap, out = list(ids), math.inf, []
    for _ in range(count):
        logits, _ = double.forward(ids)
        top = logits[-1].topk(2)
        gap = min(gap, float(top.values[0] - top.values[1]))
        out.append(int(top.indices[0]))
        ids.append(out[-1])
    return out, gap


def run(config, state, ids, greedy_count):
    """Everything that is recorded of one model: a dict of tensors, and the smallest greedy gap."""
    single = build(config, state, torch.float32, "eager")
    logits, hidden = forward(single, ids)
    double = DoubleModel(config, state)
    out = {"logits": logits.contiguous()}
    for i, h in enumerate(hidden):
        out[f"hidden.{i}"] = h.contiguous()
    for t in TABLES:
        out["logits_f64_" + t] = double.forward(ids, t)[0].contiguous()
    ids_next, gap = greedy(double, ids, greedy_count)
    out["greedy_ids"] = torch.tensor(ids_next, dtype=torch.int64)
    return out, gap
