"""Record tests/vectors/mix.safetensors: DeepSeek-V4's own parts, forward and backward, in float64.

The code that computes is transformers' own (modeling_deepseek_v4): the decoder layer around its two
hyper-connections, the head, both compressors, the indexer with its scorer, both routers. Their forward functions
run on stand-ins for the modules, so that projections, norms and rotations beside the point are the identity, and
with torch.Tensor.float and the softmax's dtype pointed at float64. Only the balance loss and the weighted sum of
experts are written here. Inputs are float32 numbers; every tensor of NAME has the gradient of Σ output·d_output in
grad.NAME. tests/unit/test_mix_kernels.c reads the file.
Usage: python oracle/mix_vectors.py tests/vectors/mix.safetensors
"""
import inspect
import sys
from types import SimpleNamespace as Stand

import torch
import transformers
from safetensors.torch import save_file
from transformers.activations import ACT2FN
from transformers.models.deepseek_v4 import modeling_deepseek_v4 as v4

RMS_EPS, HC_EPS = 1e-6, 1e-6
identity = lambda x: x


def in_float64():
    softmax = torch.softmax
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    torch.Tensor.softmax = lambda self, dim, dtype=None: softmax(self, dim)
    torch.softmax = lambda self, dim, dtype=None: softmax(self, dim)


class Recorder:
    """Inputs are made here and recorded; `backward` records outputs and gradients."""

    def __init__(self, seed):
        self.tensors, self.random = {}, torch.Generator().manual_seed(seed)

    def part(self, name):
        self.name, self.leaves = name, {}

    def make(self, name, *shape, std=1.0, mean=0.0, grad=True):
        x = (torch.randn(*shape, generator=self.random, dtype=torch.float64) * std + mean).float32()
        self.tensors[f"{self.name}.{name}"] = x
        x = x.to(torch.float64).requires_grad_(grad)
        if grad:
            self.leaves[name] = x
        return x

    def keep(self, name, x):
        self.tensors[f"{self.name}.{name}"] = x.detach().contiguous().clone()

    def backward(self, out, direction=None):
        if direction is None:
            direction = self.make("d_out", *out.shape, grad=False)
        self.keep("out", out)
        (out * direction).sum().backward()
        for name, x in self.leaves.items():
            self.keep(f"grad.{name}", x.grad)


torch.Tensor.float32 = lambda self: self.to(torch.float32)


# ---- hyper-connections --------------------------------------------------------------------------------------------

def site(r, name, streams, d, iterations):
    n = (2 + streams) * streams
    self = Stand(hc_mult=streams, hc_sinkhorn_iters=iterations, hc_eps=HC_EPS,
                 input_norm=v4.DeepseekV4UnweightedRMSNorm(eps=RMS_EPS),
                 fn=r.make(f"{name}.fn", n, streams * d, std=0.2), base=r.make(f"{name}.base", n),
                 scale=r.make(f"{name}.scale", 3, std=0.3, mean=1))
    return lambda x: v4.DeepseekV4HyperConnection.forward(self, x)


def hyper(r, name, rows, streams, d, iterations):
    """A decoder layer whose sublayers multiply each channel by a number."""
    r.part(name)
    x = r.make("x", 1, rows, streams, d)
    sublayer = [r.make(f"{s}.w", d) for s in ("attn", "ffn")]
    layer = Stand(attn_hc=site(r, "attn", streams, d, iterations), ffn_hc=site(r, "ffn", streams, d, iterations),
                  input_layernorm=identity, post_attention_layernorm=identity,
                  self_attn=lambda y: (y * sublayer[0], None), mlp=lambda y, input_ids: y * sublayer[1])
    r.backward(inspect.unwrap(v4.DeepseekV4DecoderLayer.forward)(layer, x))


def head(r, rows, streams, d):
    r.part("head")
    x = r.make("x", 1, rows, streams, d)
    self = Stand(hc_mult=streams, eps=HC_EPS, input_norm=v4.DeepseekV4UnweightedRMSNorm(eps=RMS_EPS),
                 hc_fn=r.make("fn", streams, streams * d, std=0.3), hc_base=r.make("base", streams),
                 hc_scale=r.make("scale", 1))
    r.backward(v4.DeepseekV4HyperHead.forward(self, x))


# ---- compressors and indexer --------------------------------------------------------------------------------------

def unrotated(x, position_ids, layer_type):
    one = torch.ones(1, position_ids.shape[1], 1)
    return one, one * 0


def compressor(r, rate, width, at):
    """Hidden states hold the projections: a from column `at` on, b behind it."""
    return dict(compress_rate=rate, kv_proj=lambda h: h[..., at:at + width],
                gate_proj=lambda h: h[..., at + width:at + 2 * width], kv_norm=identity, rotary_emb=unrotated,
                rope_layer_type="compress", position_bias=r.make("ape", rate, width))


def pool_heavy(r, tokens, rate, c):
    r.part("heavy")
    ab = r.make("ab", 1, tokens, 2 * c, std=2)
    self = Stand(head_dim=c, **compressor(r, rate, c, 0))
    out, _ = v4.DeepseekV4HCACompressor.forward(self, ab, None, torch.arange(tokens)[None], None, 0)
    r.backward(out[0, 0])


def pool_overlapping(r, tokens, c):
    r.part("overlapping")
    ab = r.make("ab", 1, tokens, 4 * c, std=2)
    self = Stand(head_dim=c, indexer=lambda *_: torch.zeros(1, tokens, 1, dtype=torch.long),
                 **compressor(r, 4, 2 * c, 0))
    out, _ = v4.DeepseekV4CSACompressor.forward(self, ab, None, torch.arange(tokens)[None], None, 0)
    r.backward(out[0, 0])


def index(r, tokens, heads, dim, topk):
    """Hidden states: index weights, then a and b of the keys; queries in the query latent."""
    r.part("index")
    h = r.make("h", 1, tokens, heads + 4 * dim, grad=False)
    q = r.make("q", 1, tokens, heads * dim, grad=False)
    scorer = Stand(softmax_scale=dim**-0.5, weights_scaling=heads**-0.5, weights_proj=lambda x: x[..., :heads])
    scores = []

    def score(*args):
        scores.append(v4.DeepseekV4IndexerScorer.forward(scorer, *args))
        return scores[-1]

    self = Stand(num_heads=heads, head_dim=dim, index_topk=topk, q_b_proj=identity, scorer=score,
                 **compressor(r, 4, 2 * dim, heads))
    chosen = v4.DeepseekV4Indexer.forward(self, h, q, torch.arange(tokens)[None], None, 0)[0]
    for t in range(tokens):  # nothing may hang on a tie or on rounding
        seen = scores[0][0, t, :(t + 1) // 4].sort(descending=True).values
        assert len(seen) <= topk or seen[topk - 1] - seen[topk] > 1e-4, t
    chosen = torch.where(chosen < 0, 1 << 20, chosen).sort(dim=-1).values
    r.keep("chosen", torch.where(chosen == 1 << 20, -1, chosen).to(torch.int32))


# ---- router -------------------------------------------------------------------------------------------------------

def ascending(weights, indices):
    order = indices.argsort(dim=-1)
    return weights.gather(1, order), indices.gather(1, order)


def router(r, rows, experts, k):
    r.part("router")
    x = r.make("x", rows, experts, std=6)
    bias = r.make("bias", experts, std=0.5, grad=False)
    self = Stand(hidden_dim=experts, weight=torch.eye(experts), score_fn=ACT2FN["sqrtsoftplus"], top_k=k,
                 e_score_correction_bias=bias, routed_scaling_factor=1.5)
    _, weights, indices = v4.DeepseekV4TopKRouter.forward(self, x)
    best = (self.score_fn(x) + bias).sort(descending=True).values
    assert (best[:, k - 1] - best[:, k]).min() > 1e-4 and (x > 20).sum() == 0
    weights, indices = ascending(weights, indices)
    r.keep("chosen", indices.to(torch.int32))
    r.backward(weights)


def hash_router(r, rows, experts, k, vocabulary):
    r.part("hash")
    x = r.make("x", rows, experts, std=16)
    table = torch.stack([torch.randperm(experts, generator=r.random)[:k] for _ in range(vocabulary)])
    ids = torch.randint(vocabulary, (rows,), generator=r.random)
    self = Stand(hidden_dim=experts, weight=torch.eye(experts), score_fn=ACT2FN["sqrtsoftplus"],
                 tid2eid=table, routed_scaling_factor=2.5)
    _, weights, indices = v4.DeepseekV4HashRouter.forward(self, x, ids)
    weights, indices = ascending(weights, indices)
    r.keep("table", table.to(torch.int32))
    r.keep("ids", ids.to(torch.int32))
    r.keep("chosen", indices.to(torch.int32))
    r.backward(weights)


def balance(r, rows, experts, k, alpha):
    """training.md 1.3 with sqrt(softplus)."""
    r.part("balance")
    x = r.make("x", rows, experts, std=3)
    s = ACT2FN["sqrtsoftplus"](x)
    chosen = s.topk(k).indices.sort(dim=-1).values
    count = torch.zeros(experts).index_add(0, chosen.flatten(), torch.ones(rows * k))
    share = (s / s.sum(dim=1, keepdim=True)).mean(dim=0)
    r.keep("chosen", chosen.to(torch.int32))
    r.backward(alpha * (experts / (k * rows) * count * share).sum(), torch.ones(()))


def combine(r, rows, k, d):
    r.part("combine")
    ys, weights = r.make("ys", rows * k, d), r.make("weights", rows, k)
    slot = torch.randperm(rows * k, generator=r.random).view(rows, k)
    r.keep("slot", slot.to(torch.int32))
    r.backward((ys[slot] * weights[..., None]).sum(dim=1))


def main():
    in_float64()
    r = Recorder(20260424)
    hyper(r, "hyper4", rows=5, streams=4, d=9, iterations=20)
    hyper(r, "hyper3", rows=2, streams=3, d=5, iterations=3)
    head(r, rows=4, streams=4, d=11)
    pool_heavy(r, tokens=21, rate=8, c=19)
    pool_overlapping(r, tokens=14, c=9)
    index(r, tokens=50, heads=8, dim=5, topk=4)
    router(r, rows=6, experts=24, k=4)
    hash_router(r, rows=5, experts=12, k=3, vocabulary=7)
    balance(r, rows=6, experts=20, k=3, alpha=0.25)
    combine(r, rows=3, k=2, d=21)
    save_file(r.tensors, sys.argv[1], metadata={"torch": torch.__version__, "transformers": transformers.__version__})


if __name__ == "__main__":
    main()
