#!/usr/bin/env python3
"""Tiny random DeepSeek-V4 models with what transformers computes for them.

    deepseek_v4_tiny.py --out DIR --all          every case (on demand)
    deepseek_v4_tiny.py --out DIR --recorded     the small cases that the tree keeps in tests/vectors/deepseek_v4
    deepseek_v4_tiny.py --out DIR NAME...        some of them;  --list names them

Per case: DIR/NAME (a Hugging Face directory in one of the three namings), DIR/NAME.ids, and
DIR/NAME.expected.safetensors with, from transformers in float32,
    logits [T,V], hidden.N [T, M*d] (the streams behind decoder layer N), greedy_ids,
    loss (mean next-token cross-entropy) and grad.NAME of it, NAME as in the file; no entry: no gradient,
and from the float64 witness deepseek_v4_ref.py
    logits_f64_torch, logits_f64_exact (rotary tables as transformers computes them, or in double),
    where the file has a block for multi-token prediction: mtp.logits [T-1,V], mtp.hidden, mtp.loss (mean over the
    T-2 rows with a target), mtp.total = loss + 0.3 mtp.loss and mtp.grad.NAME of the total.
The indexer's choice is made stable in transformers (lowest entry first), and ids are drawn until no choice of
experts, entries or greedy ids is close. Every case is compared with the witness while it is made: logits, streams
and gradients. Everything is seeded: the same versions write the same files.
"""
import argparse
import json
import math
import os
import shutil
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import DeepseekV4Config, DeepseekV4ForCausalLM

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import deepseek_v4_names as names
import deepseek_v4_ref as ref

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

GREEDY = 16
GAP = 1e-3          # of the two best logits on the greedy way
MARGIN = 2e-5       # of chosen and not chosen experts and entries
MTP_WEIGHT = 0.3

S, C, H = "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"
YARN = dict(rope_type="yarn", factor=16.0, original_max_position_embeddings=64, beta_fast=32, beta_slow=1)
PLAIN = dict(rope_type="default")


def sizes(kinds, hashed, hca=8, csa=4, rope=YARN, **more):
    """Tiny-A of the specification, with other layers and whatever else is given."""
    layers = ["hash_moe" if h else "moe" for h in hashed] if isinstance(hashed, (list, tuple)) else \
        ["hash_moe"] * hashed + ["moe"] * (len(kinds) - hashed)
    c = dict(vocab_size=256, hidden_size=64, num_hidden_layers=len(kinds), layer_types=list(kinds), mlp_layer_types=layers,
             compress_rates={C: csa, H: hca}, num_attention_heads=4, head_dim=64, partial_rotary_factor=0.25,
             q_lora_rank=32, o_groups=2, o_lora_rank=16, sliding_window=8, n_routed_experts=8, num_experts_per_tok=2,
             moe_intermediate_size=32, hc_mult=4, hc_sinkhorn_iters=20, index_n_heads=2, index_head_dim=32, index_topk=4,
             routed_scaling_factor=1.5, swiglu_limit=10.0, rope_theta=10000.0, compress_rope_theta=160000.0,
             rope_parameters=dict(rope), max_position_embeddings=1024, bos_token_id=0, eos_token_id=1)
    return c | more


A = sizes([S, C, H, C, H], 2)
B = sizes([S, C, H, C], 1, hidden_size=128, num_attention_heads=2, head_dim=128, partial_rotary_factor=0.5, q_lora_rank=128,
          o_lora_rank=64, n_routed_experts=4, moe_intermediate_size=128, index_head_dim=128, index_topk=8, sliding_window=16)
MINI = dict(vocab_size=37, hidden_size=12, num_attention_heads=2, head_dim=8, partial_rotary_factor=0.5, q_lora_rank=6,
            o_lora_rank=4, n_routed_experts=3, moe_intermediate_size=5, index_head_dim=8, hc_mult=2, sliding_window=5,
            swiglu_limit=0.5, hc_sinkhorn_iters=3)

# name: (NAMING/DTYPE[/released][/sharded], config, options).  options: T, mtp, edit, keep
CASES = {
    # what the tree keeps (small on purpose)
    "saved-f32": ("saved/f32", sizes([S, C, H], 1, hca=6, index_topk=3, **MINI), {"keep": 1, "T": 33}),
    "release-bf16": ("release/bf16/released/sharded", sizes([H, C], 0, hca=5, index_topk=2, **(MINI | dict(
        o_groups=1, hidden_size=10, hc_mult=3))), {"keep": 1, "T": 29}),
    "module-f32": ("module/f32", sizes([C, S], 1, index_topk=2, rope=PLAIN, **(MINI | dict(
        num_attention_heads=3, o_groups=3, vocab_size=29))), {"keep": 1, "T": 27}),
    "saved-mtp": ("saved/f32", sizes([C], 0, index_topk=40, **(MINI | dict(vocab_size=23, hidden_size=8))),
                  {"keep": 1, "T": 18, "mtp": 1}),

    # the two of the specification and what they cannot see
    "a": ("saved/f32", A, {}),
    "a-clamp": ("saved/f32", A | dict(swiglu_limit=0.5), {}),
    "a-no-yarn": ("saved/f32", A | dict(rope_parameters=dict(PLAIN)), {}),
    "a-heads8": ("saved/f32", A | dict(index_n_heads=8), {}),
    "a-sinkhorn3": ("saved/f32", A | dict(hc_sinkhorn_iters=3), {}),
    "a-sinkhorn1": ("saved/f32", A | dict(hc_sinkhorn_iters=1), {}),
    "a-long": ("saved/f32", A | dict(index_n_heads=8), {"T": 300}),
    "a-release": ("release/f32/released", A, {}),
    "a-release-bf16": ("release/bf16/released/sharded", A, {}),
    "a-module": ("module/f32", A, {}),
    "a-module-bf16": ("module/bf16/sharded", A, {}),
    "a-saved-released-spelling": ("saved/f32/released", A, {}),
    "a-saved-bf16-sharded": ("saved/bf16/sharded", A, {}),
    "a-all-bf16": ("saved/allbf16", A, {}),
    "b": ("saved/f32", B, {}),
    "b-release-bf16": ("release/bf16/released", B | dict(index_n_heads=8), {"T": 130}),

    # odd sizes
    "odd-vocab": ("saved/f32", A | dict(vocab_size=211), {}),
    "odd-hidden48": ("release/f32/released", A | dict(hidden_size=48, o_lora_rank=8, vocab_size=97), {"T": 70}),
    "odd-hidden80": ("module/f32", A | dict(hidden_size=80, o_lora_rank=24), {"T": 64}),
    "odd-hidden50-inter19": ("saved/f32", A | dict(hidden_size=50, moe_intermediate_size=19, vocab_size=33), {}),
    "odd-heads3-group1": ("saved/f32", A | dict(num_attention_heads=3, o_groups=1), {}),
    "odd-heads3-groups3": ("saved/bf16", A | dict(num_attention_heads=3, o_groups=3, o_lora_rank=24), {}),
    "odd-heads4-groups4-lora20": ("module/f32", A | dict(o_groups=4, o_lora_rank=20), {}),
    "odd-head1": ("saved/f32", A | dict(num_attention_heads=1, o_groups=1), {}),
    "odd-headdim20-rope10": ("saved/f32", A | dict(head_dim=20, partial_rotary_factor=0.5, index_head_dim=14, q_lora_rank=18), {}),
    "odd-rope-whole-head": ("saved/f32", A | dict(head_dim=16, partial_rotary_factor=1.0, index_head_dim=16), {}),
    "odd-rope2": ("saved/f32", A | dict(head_dim=8, partial_rotary_factor=0.25, index_head_dim=3), {}),
    "hc2": ("saved/f32", A | dict(hc_mult=2), {}),
    "hc3": ("release/f32/released", A | dict(hc_mult=3), {}),
    "hc1": ("saved/f32", A | dict(hc_mult=1), {}),
    "hc-eps": ("saved/f32", A | dict(hc_eps=1e-3, rms_norm_eps=1e-2, hc_sinkhorn_iters=2), {}),
    "experts-all": ("saved/f32", A | dict(num_experts_per_tok=8), {}),
    "experts-one": ("saved/f32", A | dict(n_routed_experts=1, num_experts_per_tok=1), {}),
    "experts5-top3": ("module/f32", A | dict(n_routed_experts=5, num_experts_per_tok=3, routed_scaling_factor=2.5), {}),
    "experts24-top6": ("saved/bf16", A | dict(n_routed_experts=24, num_experts_per_tok=6, moe_intermediate_size=16), {}),

    # kinds of layers
    "only-sliding": ("saved/f32", sizes([S, S, S], 1), {}),
    "only-csa": ("saved/f32", sizes([C, C], 1), {"T": 90}),
    "only-hca": ("release/f32/released", sizes([H, H], 0), {"T": 90}),
    "no-hash": ("saved/f32", sizes([S, C, H], 0), {}),
    "all-hash": ("saved/f32", sizes([S, C, H], 3), {}),
    "hash-last": ("saved/f32", sizes([C, H, S], [0, 0, 1]), {}),
    "hash-i32": ("saved/f32", sizes([C, H], 1), {"edit": "tid2eid_i32"}),
    "one-layer-sliding": ("saved/f32", sizes([S], 1), {}),
    "hca-128": ("release/bf16/released", sizes([H, C, H], 1, hca=128), {"T": 150}),
    "hca-128-none-complete": ("saved/f32", sizes([H, C], 0, hca=128), {"T": 61}),
    "hca-5": ("saved/f32", sizes([H, C], 0, hca=5), {}),
    "hca-16": ("saved/f32", sizes([C, H], 0, hca=16), {"T": 100}),
    "hca-1": ("saved/f32", sizes([H, C], 0, hca=1), {}),
    "csa-2": ("saved/f32", sizes([C, H, C], 0, csa=2), {}),
    "csa-7-hca-3": ("saved/f32/released", sizes([C, H, C], 0, csa=7, hca=3), {"T": 90}),
    "window-1": ("saved/f32", sizes([S, C, H], 0, sliding_window=1), {}),
    "window-128": ("saved/f32", sizes([S, C, H], 0, sliding_window=128), {"T": 130}),
    "window-13": ("saved/f32", sizes([S, C, H], 0, sliding_window=13), {}),
    "topk-1": ("saved/f32", sizes([C, C], 0, index_topk=1), {}),
    "topk-covers": ("saved/f32", sizes([C, H, C], 0, index_topk=512), {}),
    "topk-7-heads-3": ("saved/f32", sizes([C, H, C], 0, index_topk=7, index_n_heads=3), {"T": 77}),
    "short-3": ("saved/f32", A, {"T": 3}),
    "short-4": ("saved/f32", A, {"T": 4}),
    "two": ("saved/f32", A, {"T": 2}),

    # spellings
    "yarn-factor": ("saved/f32", A, {"edit": "attention_factor"}),
    "yarn-no-factor": ("saved/f32", A, {"edit": "no_attention_factor"}),
    "yarn-betas": ("saved/f32", A | dict(rope_parameters=dict(YARN, factor=8.0, beta_fast=8, beta_slow=2,
                                                             original_max_position_embeddings=128)), {}),
    "theta": ("release/f32/released", A | dict(rope_theta=500.0, compress_rope_theta=40000.0), {}),
    "mtp-ignored": ("release/f32/released", sizes([C, H], 0), {"mtp": 1}),
    "mtp-a": ("release/f32/released", A, {"mtp": 1}),
    "mtp-saved-hc3": ("saved/f32", sizes([C, S], 1, hc_mult=3, hidden_size=48), {"mtp": 1}),
    "mtp-module": ("module/f32", sizes([S, H], 0, swiglu_limit=0.5), {"mtp": 1}),
}


# ---- transformers with stable choices ---------------------------------------------------------------

_topk = torch.Tensor.topk


def stable_topk(self, k, dim=-1, largest=True, sorted=True):
    if not largest:
        return _topk(self, k, dim, largest, sorted)
    values, indices = torch.sort(self, dim=dim, descending=True, stable=True)
    keep = slice(None, k)
    return torch.return_types.topk((values[..., keep], indices[..., keep]))


torch.Tensor.topk = stable_topk


# ---- weights ----------------------------------------------------------------------------------------

def release_shapes(config):
    with torch.device("meta"):
        state = DeepseekV4ForCausalLM(config).state_dict()
    shapes = {}
    back = {names.module_name(k): k for k in candidates(config)}
    for name, x in state.items():
        if name.endswith((".experts.gate_up_proj", ".experts.down_proj")):
            prefix = name[len("model."):].replace(".mlp.", ".ffn.").rsplit(".", 1)[0]
            for e in range(config.n_routed_experts):
                for w in (("w2",) if name.endswith("down_proj") else ("w1", "w3")):
                    shapes[f"{prefix}.{e}.{w}.weight"] = (x.shape[1] // len(("w1", "w3")) if w != "w2" else x.shape[1],
                                                          x.shape[2])
        else:
            shapes[back[name]] = tuple(x.shape)
    return shapes


def candidates(config):
    """Every release name but those of experts."""
    hc = [f"hc_{s}_{p}" for s in ("attn", "ffn") for p in ("fn", "base", "scale")]
    compressor = [f"compressor.{p}" for p in ("wkv.weight", "wgate.weight", "ape", "norm.weight")]
    attn = ["wq_a.weight", "q_norm.weight", "wq_b.weight", "wkv.weight", "kv_norm.weight", "attn_sink", "wo_a.weight",
            "wo_b.weight", *compressor, *("indexer." + p for p in compressor), "indexer.wq_b.weight",
            "indexer.weights_proj.weight"]
    ffn = ["gate.weight", "gate.bias", "gate.tid2eid", *(f"shared_experts.w{i}.weight" for i in (1, 2, 3))]
    layer = ["attn_norm.weight", "ffn_norm.weight", *hc, *("attn." + p for p in attn), *("ffn." + p for p in ffn)]
    return ["embed.weight", "head.weight", "norm.weight", "hc_head_fn", "hc_head_base", "hc_head_scale",
            *(f"layers.{l}.{p}" for l in range(config.num_hidden_layers) for p in layer)]


def make_state(config, shapes, seed):
    """Release names; spreads that leave no parameter without effect."""
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name in sorted(shapes):
        size = shapes[name]
        leaf = name.rsplit(".", 1)[-1]
        if leaf == "tid2eid":
            x = torch.stack([torch.randperm(config.n_routed_experts, generator=g)[:size[1]] for _ in range(size[0])])
        elif leaf.endswith("_fn"):
            x = torch.randn(size, generator=g) * (0.32 / math.sqrt(size[1]))
        elif leaf.endswith("_base") or leaf in ("attn_sink", "ape") or name == "embed.weight":
            x = torch.randn(size, generator=g)
        elif leaf.endswith("_scale") or len(size) == 1 and leaf == "weight":
            x = 0.5 + torch.rand(size, generator=g)
        elif leaf == "bias":
            x = torch.randn(size, generator=g) * 0.15
        else:
            x = torch.randn(size, generator=g) / math.sqrt(size[1])
        state[name] = x
    return state


def stored(state, dtype):
    """Values as a file of that kind holds them: f32; bf16, the mixture of the releases; allbf16."""
    def kind(name, x):
        if not x.is_floating_point() or dtype == "f32":
            return x
        leaf = name.rsplit(".", 1)[-1]
        single = leaf.startswith("hc_") or leaf in ("attn_sink", "ape", "bias")
        return x if single and dtype == "bf16" else x.to(torch.bfloat16)
    return {k: kind(k, v) for k, v in state.items()}


def write(directory, config, state, form, edit):
    parts = form.split("/")
    os.makedirs(directory)
    tensors = names.named(state, parts[0])
    if edit == "tid2eid_i32":
        tensors = {k: v.int() if k.endswith("tid2eid") else v for k, v in tensors.items()}
    names.write_files(directory, tensors, 3 if "sharded" in parts else 1)
    config.architectures = ["DeepseekV4ForCausalLM"]
    config.dtype = "float32" if parts[1] == "f32" else "bfloat16"
    c = json.loads(config.to_json_string(use_diff=False))
    c = {k: v for k, v in c.items() if k in KEEP_KEYS}
    if "released" in parts:
        c = names.released_config(c)
    if edit == "attention_factor":
        c["rope_parameters"]["compress"]["attention_factor"] = 1.25
    elif edit == "no_attention_factor":
        del c["rope_parameters"]["compress"]["attention_factor"]
    with open(os.path.join(directory, "config.json"), "w") as f:
        json.dump(c, f, indent=2, sort_keys=True)
        f.write("\n")


KEEP_KEYS = set("""architectures attention_bias attention_dropout bos_token_id compress_rates compress_rope_theta dtype
eos_token_id hc_eps hc_mult hc_sinkhorn_iters head_dim hidden_act hidden_size index_head_dim index_n_heads index_topk
initializer_range layer_types max_position_embeddings mlp_bias mlp_layer_types model_type moe_intermediate_size
n_routed_experts n_shared_experts norm_topk_prob num_attention_heads num_experts_per_tok num_hidden_layers
num_key_value_heads num_nextn_predict_layers o_groups o_lora_rank output_router_logits pad_token_id
partial_rotary_factor q_lora_rank qk_rope_head_dim rms_norm_eps rope_parameters rope_theta routed_scaling_factor
router_aux_loss_coef router_jitter_noise scoring_func sliding_window swiglu_limit tie_word_embeddings
transformers_version use_cache vocab_size""".split())


def names_of_the_library(config, state, naming):
    """What save_pretrained calls the tensors, to be sure of the tables in deepseek_v4_names.py."""
    model = DeepseekV4ForCausalLM(config)
    with tempfile.TemporaryDirectory() as d:
        model.save_pretrained(d, save_original_format=naming == "saved")
        theirs = {k: tuple(v.shape) for k, v in load_file(os.path.join(d, "model.safetensors")).items()}
    ours = {k: tuple(v.shape) for k, v in names.named(state, naming).items() if not k.startswith("mtp.")}
    if theirs != ours:
        raise ValueError(f"other names than the library's: {set(theirs) ^ set(ours)}")


def read_back(directory, state, shapes):
    model = DeepseekV4ForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").float().eval()
    model.set_experts_implementation("eager")
    held = names.to_release(model.state_dict(), shapes)
    for name in shapes:
        if not torch.equal(held[name].to(state[name].dtype), state[name]):
            raise ValueError(f"{directory}: {name} read back differs")
    return model


# ---- running ----------------------------------------------------------------------------------------

def run_library(model, ids, shapes):
    """float32: logits, hidden.N, loss and gradients by release names."""
    hidden, hooks = [], []
    for layer in model.model.layers:
        hooks.append(layer.register_forward_hook(lambda _m, _a, out: hidden.append(out[0].detach().flatten(1).clone())))
    model.zero_grad(set_to_none=True)
    x = torch.tensor([ids])
    out = model(x, labels=x, use_cache=False)
    for h in hooks:
        h.remove()
    out.loss.backward()
    grads = names.to_release({k: p.grad for k, p in model.named_parameters()}, shapes)
    return out.logits[0].detach(), hidden, out.loss.detach(), grads


def run_greedy(model, ids, count):
    ids, gap, out = list(ids), math.inf, []
    with torch.no_grad():
        for _ in range(count):
            top = _topk(model(torch.tensor([ids]), use_cache=False).logits[0, -1], 2)
            gap = min(gap, float(top.values[0] - top.values[1]))
            out.append(int(top.indices[0]))
            ids.append(out[-1])
    return out, gap


def differentiable(state):
    fixed = (".tid2eid", ".gate.bias")
    return {k: v if k.endswith(".tid2eid") else v.double().requires_grad_(not k.endswith(fixed)) for k, v in state.items()}


def same(what, a, b, limit):
    d = float((a.detach().double() - b.detach().double()).abs().max()) if a.numel() else 0.0
    if not d <= limit:
        raise ValueError(f"{what}: transformers and the witness are {d:.2e} apart")
    return d


def compare(c, state, ids, single):
    """Everything that transformers said, against the witness; returns what is recorded of the witness."""
    logits, hidden, loss, grads = single
    w = differentiable(state)
    ours, streams = ref.forward(w, c, ids)
    noise = same("logits", logits, ours, 5e-5)
    for l, (a, b) in enumerate(zip(hidden, streams)):
        same(f"hidden.{l}", a, b, 1e-4)
    total = ref.next_loss(ours, ids)
    same("loss", loss, total, 1e-5)
    record = {"logits_f64_torch": ours.detach()}
    with torch.no_grad():
        record["logits_f64_exact"] = ref.forward(w, c, ids, "exact")[0]
    main = [k for k in w if w[k].requires_grad and not k.startswith("mtp.")]
    for k, g in zip(main, torch.autograd.grad(total, [w[k] for k in main], retain_graph=True, allow_unused=True)):
        theirs = grads.get(k)
        if (g is None or not g.any()) and (theirs is None or not theirs.any()):
            continue
        same("gradient of " + k, theirs, g, 1e-6 + 1e-4 * float(g.abs().max()))
    if "mtp.0.e_proj.weight" in w:
        z, x = ref.predict_second(w, c, streams[-1], ids)
        second = torch.nn.functional.cross_entropy(z[:-1], torch.tensor(ids)[2:])
        both = total + MTP_WEIGHT * second
        record |= {"mtp.logits": z.detach(), "mtp.hidden": x.detach(), "mtp.loss": second.detach(), "mtp.total": both.detach()}
        keys = [k for k in w if w[k].requires_grad]
        for k, g in zip(keys, torch.autograd.grad(both, [w[k] for k in keys], allow_unused=True)):
            if g is not None:
                record["mtp.grad." + k] = g
    return record, noise


def draw(config, c, state, model, seed, count, steps):
    w = {k: v if k.endswith("tid2eid") else v.double() for k, v in state.items()}
    for attempt in range(400):
        g = torch.Generator().manual_seed(seed + 7919 * (attempt + 1))
        ids = torch.randint(0, config.vocab_size, (count,), generator=g).tolist()
        margins = ref.Margins()
        with torch.no_grad():
            ref.forward(w, c, ids, margins=margins)
        if margins.smallest <= MARGIN:
            continue
        further, gap = run_greedy(model, ids, steps)
        if gap <= GAP:
            continue
        with torch.no_grad():
            ours, streams = ref.forward(w, c, ids + further, margins=margins)
            if "mtp.0.e_proj.weight" in w:
                ref.predict_second(w, c, streams[-1], ids + further, margins=margins)
        if ours[count - 1:-1].argmax(-1).tolist() != further:
            raise ValueError("the witness continues otherwise")
        if margins.smallest > MARGIN:
            return ids, further, gap, margins.smallest
    raise ValueError("no ids without close choices")


def rename_grads(record, grads, naming, prefix):
    for k, v in names.named(grads, naming).items():
        record[prefix + k] = v.float().contiguous()


def whole(grads, shapes, naming):
    """Stacked experts need all their parts: those without a gradient have none at all or all zeros."""
    if naming != "module":
        return grads
    return grads | {k: torch.zeros(shapes[k]) for k in shapes if names.EXPERT.match(k) and k not in grads}


def make_case(out, name):
    form, fields, options = CASES[name]
    naming, dtype = form.split("/")[:2]
    seed = int.from_bytes(name.encode(), "big") % 1_000_003
    config = DeepseekV4Config(**json.loads(json.dumps(fields)))
    shapes = release_shapes(config)
    all_shapes = dict(shapes)
    if options.get("mtp"):
        all_shapes |= ref.mtp_shapes(ref.Config.from_hf(config), shapes)
    state = stored(make_state(config, all_shapes, seed), dtype)
    target = os.path.join(out, name)
    shutil.rmtree(target, ignore_errors=True)
    if naming != "release":
        names_of_the_library(config, state, naming)
    write(target, config, state, form, options.get("edit"))
    model = read_back(target, state, shapes)
    c = ref.Config.from_hf(model.config)
    values = {k: v if k.endswith("tid2eid") else v.float() for k, v in state.items()}
    count = options.get("T", 61)
    ids, further, gap, margin = draw(config, c, values, model, seed, count, 4 if count > 200 else GREEDY)
    single = run_library(model, ids, shapes)
    record, noise = compare(c, values, ids, single)
    logits, hidden, loss, grads = single
    tensors = {"logits": logits.contiguous(), "loss": loss.reshape(()), "greedy_ids": torch.tensor(further)}
    tensors |= {f"hidden.{l}": h.contiguous() for l, h in enumerate(hidden)}
    rename_grads(tensors, whole(grads, shapes, naming), naming, "grad.")
    mtp = {k[len("mtp.grad."):]: record.pop(k) for k in list(record) if k.startswith("mtp.grad.")}
    if mtp:
        rename_grads(tensors, whole(mtp, shapes, naming), naming, "mtp.grad.")
    tensors |= {k: (v if k.startswith("logits_f64") else v.float()).contiguous() for k, v in record.items()}
    if options.get("keep"):
        del tensors["logits_f64_exact"]
        tensors["logits_f64_torch"] = tensors["logits_f64_torch"][-2:].contiguous()
    about = {"torch": torch.__version__, "transformers": transformers.__version__, "greedy_gap": f"{gap:.4f}",
             "margin": f"{margin:.1e}", "logit_max": f"{float(logits.abs().max()):.3f}", "float32_noise": f"{noise:.2e}",
             "mtp_weight": MTP_WEIGHT}
    base = os.path.join(out, name)
    # one entry, because the writer puts several in an order that changes from run to run
    save_file(tensors, base + ".expected.safetensors", metadata={"about": json.dumps(about)})
    for f in os.listdir(target):        # safetensors writes files that only their owner reads
        os.chmod(os.path.join(target, f), 0o644)
    os.chmod(base + ".expected.safetensors", 0o644)
    with open(base + ".ids", "w") as f:
        f.write("\n".join(" ".join(map(str, ids[i:i + 20])) for i in range(0, len(ids), 20)) + "\n")
    size = sum(os.path.getsize(os.path.join(target, f)) for f in os.listdir(target))
    print(f"{name:28} {size:8} + {os.path.getsize(base + '.expected.safetensors'):8} bytes  T {count:4}  f32 noise "
          f"{noise:.1e}  margin {margin:.0e}  gap {gap:.4f}", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out")
    ap.add_argument("--all", action="store_true")
    ap.add_argument("--recorded", action="store_true")
    ap.add_argument("--list", action="store_true")
    ap.add_argument("cases", nargs="*")
    a = ap.parse_args()
    wanted = a.cases or [n for n, c in CASES.items() if a.all or (a.recorded and c[2].get("keep"))]
    if a.list:
        print("\n".join(CASES))
        return
    if not a.out or not wanted:
        ap.error("--out DIR and --all, --recorded or names")
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(1)
    failed = []
    for name in wanted:
        try:
            make_case(a.out, name)
        except Exception as e:
            failed.append(name)
            print(f"{name:28} NOT MADE: {type(e).__name__}: {e}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
