"""A witness for the DeepSeek-V4 text model, in float64 and written from the equations alone.

transformers computes the model in float32 (its norms and grouped experts refuse double) and leaves the block for
multi-token prediction out. This program has both, without simulated quantisation. Weights are a dict of float64
tensors under the names of the released checkpoints; autograd gives the gradients. Choices (experts, entries of
the indexer) are made with stable ties, lowest number first, and Margins remembers how close they were.

Rotary tables: "torch" takes float32 frequencies, products and cosines as transformers does; "exact" is double.
"""
import math

import torch

D64 = torch.float64


class Config:
    """Sizes, and the kind of every layer: ratio[l] is 0 (window only), or the tokens of a compressed entry;
    overlap[l] says whether it is of the sparse kind with an indexer; hashed[l] whether a table routes."""

    def __init__(self, **kw):
        self.__dict__.update(kw)

    @staticmethod
    def from_hf(c):
        kinds = c.layer_types
        rates = {"sliding_attention": 0, **c.compress_rates}
        main, compress = c.rope_parameters["main"], c.rope_parameters["compress"]
        return Config(
            layers=c.num_hidden_layers, d=c.hidden_size, heads=c.num_attention_heads, head_dim=c.head_dim,
            rope=int(c.head_dim * c.partial_rotary_factor), groups=c.o_groups, window=c.sliding_window,
            topk=c.num_experts_per_tok, experts=c.n_routed_experts, scaling=c.routed_scaling_factor,
            limit=c.swiglu_limit, M=c.hc_mult, iters=c.hc_sinkhorn_iters, hc_eps=c.hc_eps, eps=c.rms_norm_eps,
            index_heads=c.index_n_heads, index_dim=c.index_head_dim, index_topk=c.index_topk,
            ratio=[rates[k] for k in kinds], overlap=[k == "compressed_sparse_attention" for k in kinds],
            hashed=[k == "hash_moe" for k in c.mlp_layer_types], main=main, compress=compress)


class Margins:
    """The smallest distance between what was chosen and what was not."""

    def __init__(self):
        self.smallest = math.inf

    def see(self, x):
        self.smallest = min(self.smallest, float(x))


# ---- rotary positions -------------------------------------------------------------------------------

def frequencies(p, dim):
    """Double, from the formulas; and the factor on cos and sin."""
    base = float(p["rope_theta"])
    f = torch.tensor([base ** (-2.0 * i / dim) for i in range(dim // 2)], dtype=D64)
    if p.get("rope_type", "default") == "default":
        return f, 1.0
    if p["rope_type"] != "yarn":
        raise ValueError(p["rope_type"])
    s, L = p["factor"], p["original_max_position_embeddings"]

    def corr(n):
        return dim * math.log(L / (2 * math.pi * n)) / (2 * math.log(base))

    lo = max(math.floor(corr(p.get("beta_fast") or 32)), 0)
    hi = min(math.ceil(corr(p.get("beta_slow") or 1)), dim - 1)
    if lo == hi:
        hi += 0.001
    ramp = ((torch.arange(dim // 2, dtype=D64) - lo) / (hi - lo)).clamp(0, 1)
    factor = p.get("attention_factor")
    return f / s * ramp + f * (1 - ramp), (0.1 * math.log(s) + 1 if factor is None else factor)


class Rotation:
    def __init__(self, p, dim, tables):
        self.f, self.scale = frequencies(p, dim)
        self.dim, self.tables = dim, tables

    def angles(self, positions):
        if self.tables == "exact":
            a = positions[:, None].double() * self.f
            return a.cos() * self.scale, a.sin() * self.scale
        a = positions[:, None].float() * self.f.float()
        return (a.cos() * self.scale).double(), (a.sin() * self.scale).double()

    def turn(self, x, positions, inverse=False):
        """x [T, ..., n]: neighbours are pairs, of the last `dim` numbers."""
        cos, sin = self.angles(positions)
        shape = (len(positions),) + (1,) * (x.ndim - 2) + (self.dim // 2,)
        cos, sin = cos.view(shape), (-sin if inverse else sin).view(shape)
        keep, r = x[..., :x.shape[-1] - self.dim], x[..., x.shape[-1] - self.dim:]
        a, b = r[..., 0::2], r[..., 1::2]
        return torch.cat((keep, torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)), -1)


# ---- parts ------------------------------------------------------------------------------------------

def unit(x, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def rms(x, w, eps):
    return unit(x, eps) * w


def hc_pre(w, c, site, X):
    """X [T,M,d] -> input of the sublayer [T,d], post [T,M], comb [T,M,M]."""
    M = c.M
    u = X.flatten(1)
    g = torch.rsqrt(u.square().mean(-1, keepdim=True) + c.eps)
    z = (u @ w[site + "_fn"].T) * g
    scale, base = w[site + "_scale"], w[site + "_base"]
    pre = torch.sigmoid(z[:, :M] * scale[0] + base[:M]) + c.hc_eps
    post = 2 * torch.sigmoid(z[:, M:2 * M] * scale[1] + base[M:2 * M])
    C = (z[:, 2 * M:] * scale[2] + base[2 * M:]).view(-1, M, M)
    C = torch.softmax(C, -1) + c.hc_eps
    C = C / (C.sum(1, keepdim=True) + c.hc_eps)
    for _ in range(c.iters - 1):
        C = C / (C.sum(2, keepdim=True) + c.hc_eps)
        C = C / (C.sum(1, keepdim=True) + c.hc_eps)
    return torch.einsum("tj,tjd->td", pre, X), post, C


def hc_post(X, f, post, C):
    return post[:, :, None] * f[:, None, :] + torch.einsum("tjk,tjd->tkd", C, X)


def hc_head(w, c, prefix, X):
    u = X.flatten(1)
    g = torch.rsqrt(u.square().mean(-1, keepdim=True) + c.eps)
    z = (u @ w[prefix + "hc_head_fn"].T) * g
    pre = torch.sigmoid(z * w[prefix + "hc_head_scale"] + w[prefix + "hc_head_base"]) + c.hc_eps
    return torch.einsum("tj,tjd->td", pre, X)


def compress(w, c, name, x, r, overlap, rotation):
    """All complete entries of the rows x [T,d] (positions from 0): [T // r, width]."""
    a, b = x @ w[name + ".wkv.weight"].T, x @ w[name + ".wgate.weight"].T
    b = b + w[name + ".ape"][torch.arange(len(x)) % r]
    width = w[name + ".norm.weight"].shape[0]
    entries = []
    for j in range(len(x) // r):
        here = slice(j * r, j * r + r)
        va, vb = a[here], b[here]
        if overlap:
            va, vb = va[:, width:], vb[:, width:]
            if j > 0:
                before = slice(j * r - r, j * r)
                va = torch.cat((a[before, :width], va))
                vb = torch.cat((b[before, :width], vb))
        entries.append((torch.softmax(vb, 0) * va).sum(0))
    if not entries:
        return x.new_zeros((0, width))
    e = rms(torch.stack(entries), w[name + ".norm.weight"], c.eps)
    return rotation.turn(e, torch.arange(len(entries)) * r)


def indexed(w, c, p, x, qr, positions, r, rotation, margins):
    """Which entries each position sees, as a mask [T, entries]."""
    with torch.no_grad():
        q = (qr @ w[p + "indexer.wq_b.weight"].T).view(len(x), c.index_heads, c.index_dim)
        q = rotation.turn(q, positions)
        k = compress(w, c, p + "indexer.compressor", x, r, True, rotation)
        weights = (x @ w[p + "indexer.weights_proj.weight"].T) * (c.index_dim ** -0.5 * c.index_heads ** -0.5)
        dots = torch.einsum("thc,jc->thj", q, k)
        score = torch.einsum("thj,th->tj", dots.relu(), weights) + 0.0
        seen = torch.zeros(score.shape, dtype=torch.bool)
        for t in range(len(x)):
            visible = (int(positions[t]) + 1) // r
            s = score[t, :visible]
            order = torch.sort(s, descending=True, stable=True).indices
            seen[t, order[:c.index_topk]] = True
            if visible > c.index_topk and margins:
                last, first = s[order[c.index_topk - 1]], s[order[c.index_topk]]
                margins.see(last - first if last != first else
                            dots[t, :, :visible][:, s == last].max(0).values.abs().min())
        return seen


def attention(w, c, p, x, positions, r, overlap, rotation, margins):
    T, H, D = len(x), c.heads, c.head_dim
    qr = rms(x @ w[p + "wq_a.weight"].T, w[p + "q_norm.weight"], c.eps)
    q = unit((qr @ w[p + "wq_b.weight"].T).view(T, H, D), c.eps)
    q = rotation.turn(q, positions)
    kv = rotation.turn(rms(x @ w[p + "wkv.weight"].T, w[p + "kv_norm.weight"], c.eps), positions)
    back = positions[:, None] - positions[None, :]
    seen = (back >= 0) & (back < c.window)
    if r:
        entries = compress(w, c, p + "compressor", x, r, overlap, rotation)
        if overlap:
            sees = indexed(w, c, p, x, qr, positions, r, rotation, margins)
        else:
            sees = torch.arange(len(entries))[None, :] < ((positions + 1) // r)[:, None]
        kv, seen = torch.cat((kv, entries)), torch.cat((seen, sees), 1)
    score = torch.einsum("thc,ec->the", q, kv) * D ** -0.5
    score = score.masked_fill(~seen[:, None, :], -math.inf)
    sink = w[p + "attn_sink"][None, :, None].expand(T, H, 1)
    prob = torch.softmax(torch.cat((score, sink), -1), -1)[..., :-1]
    o = rotation.turn(torch.einsum("the,ec->thc", prob, kv), positions, inverse=True)
    G = c.groups
    wo_a = w[p + "wo_a.weight"].view(G, -1, H * D // G)
    t = torch.einsum("tgi,gri->tgr", o.reshape(T, G, -1), wo_a).flatten(1)
    return t @ w[p + "wo_b.weight"].T


def expert(w, c, name, x):
    g = (x @ w[name + ".w1.weight"].T).clamp(max=c.limit)
    u = (x @ w[name + ".w3.weight"].T).clamp(-c.limit, c.limit)
    return (torch.nn.functional.silu(g) * u) @ w[name + ".w2.weight"].T


def moe(w, c, p, x, ids, hashed, margins):
    z = x @ w[p + "gate.weight"].T
    s = torch.log1p(torch.exp(-z.abs())) + z.clamp(min=0)      # softplus
    s = s.sqrt()
    if hashed:
        chosen = w[p + "gate.tid2eid"][ids].long()
    else:
        biased = (s + w[p + "gate.bias"]).detach()
        order = torch.sort(biased, dim=-1, descending=True, stable=True)
        chosen = order.indices[:, :c.topk]
        if margins and c.topk < c.experts:
            margins.see((order.values[:, c.topk - 1] - order.values[:, c.topk]).min())
    share = s.gather(1, chosen)
    share = share / share.sum(-1, keepdim=True) * c.scaling
    out = expert(w, c, p + "shared_experts", x)
    for e in range(c.experts):
        rows, slot = torch.where(chosen == e)
        if len(rows):
            out = out.index_add(0, rows, expert(w, c, f"{p}experts.{e}", x[rows]) * share[rows, slot, None])
    return out


def block(w, c, p, X, ids, positions, r, overlap, hashed, rotation, margins):
    x, post, C = hc_pre(w, c, p + "hc_attn", X)
    x = attention(w, c, p + "attn.", rms(x, w[p + "attn_norm.weight"], c.eps), positions, r, overlap, rotation,
                  margins)
    X = hc_post(X, x, post, C)
    x, post, C = hc_pre(w, c, p + "hc_ffn", X)
    x = moe(w, c, p + "ffn.", rms(x, w[p + "ffn_norm.weight"], c.eps), ids, hashed, margins)
    return hc_post(X, x, post, C)


# ---- the whole --------------------------------------------------------------------------------------

def forward(w, c, ids, tables="torch", margins=None):
    """logits [T,V], and the streams [T, M*d] behind every layer."""
    ids = torch.as_tensor(ids)
    positions = torch.arange(len(ids))
    main, second = Rotation(c.main, c.rope, tables), Rotation(c.compress, c.rope, tables)
    X = w["embed.weight"][ids][:, None, :].expand(-1, c.M, -1)
    streams = []
    for l in range(c.layers):
        X = block(w, c, f"layers.{l}.", X, ids, positions, c.ratio[l], c.overlap[l], c.hashed[l],
                  second if c.ratio[l] else main, margins)
        streams.append(X.flatten(1))
    h = hc_head(w, c, "", X)
    return rms(h, w["norm.weight"], c.eps) @ w["head.weight"].T, streams


def predict_second(w, c, streams, ids, tables="torch", margins=None):
    """The block for multi-token prediction on the streams behind the last layer: logits [T-1,V], where row t
    (main stream of position t, id of position t+1) predicts the id of position t+2; and its own streams."""
    ids = torch.as_tensor(ids)
    n = len(ids) - 1
    p = "mtp.0."
    X = streams[:n].view(n, c.M, c.d)
    e = rms(w["embed.weight"][ids[1:]], w[p + "enorm.weight"], c.eps) @ w[p + "e_proj.weight"].T
    X = e[:, None, :] + rms(X, w[p + "hnorm.weight"], c.eps) @ w[p + "h_proj.weight"].T
    X = block(w, c, p, X, ids[1:], torch.arange(n), 0, False, False, Rotation(c.main, c.rope, tables), margins)
    h = hc_head(w, c, p, X)
    return rms(h, w[p + "norm.weight"], c.eps) @ w["head.weight"].T, X.flatten(1)


def next_loss(logits, ids, ahead=1):
    """Mean cross-entropy of the id `ahead` positions later, over the rows that have one."""
    ids = torch.as_tensor(ids)
    rows = len(ids) - ahead
    return torch.nn.functional.cross_entropy(logits[:rows], ids[ahead:])


def mtp_shapes(c, shapes):
    """Names and shapes of the extra block, from those of a model whose layer 0 has the same sizes."""
    d, M = c.d, c.M
    out = {}
    for name, shape in shapes.items():
        if name.startswith("layers.0.") and ".compressor." not in name and ".indexer." not in name \
                and "tid2eid" not in name:
            out["mtp.0." + name[len("layers.0."):]] = shape
    out["mtp.0.ffn.gate.bias"] = (c.experts,)
    out |= {f"mtp.0.{n}.weight": (d,) for n in ("enorm", "hnorm", "norm")}
    out |= {"mtp.0.e_proj.weight": (d, d), "mtp.0.h_proj.weight": (d, d), "mtp.0.hc_head_fn": (M, M * d),
            "mtp.0.hc_head_base": (M,), "mtp.0.hc_head_scale": (1,)}
    return out
