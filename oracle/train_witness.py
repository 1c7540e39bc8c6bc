"""Record tests/vectors/training.safetensors: ten steps of training by others, from weights that the tree has already.

    llama-adamw, llama-muon   tests/vectors/llama/plain-f32 by transformers in float32
    v4-adamw                  tests/vectors/deepseek_v4/saved-f32 by transformers in float32
    v4-mtp-muon               tests/vectors/deepseek_v4/saved-mtp by the float64 witness, loss of the next token plus 0.3
                              times that of the one after it
    v4-balance                the first as the float64 witness has it, with the sequence balance loss (training.md 1.3):
                              gradients alone, CASE.grad.NAME of some tensors

Each step has two sequences of random ids; the loss is the mean over all targets of both. AdamW is torch.optim.AdamW; Muon
(training.md 3.2) moves the matrices, in float64; the rest as in CONSTANTS. Balance biases and the indexer stay. Choices of
experts and entries must not be close (MARGIN), or the seed is another. Recorded per case: CASE.ids, CASE.losses (of the next
token), CASE.norms (of the gradient), CASE.second (losses of the token after it), and CASE.moved.NAME, the norm of what each
tensor was moved by. tests/unit/test_training.c reads the file and knows the constants.
Usage: python oracle/train_witness.py tests/vectors/training.safetensors
"""
import json
import math
import os
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import DeepseekV4ForCausalLM, LlamaForCausalLM

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import deepseek_v4_names as names
import deepseek_v4_ref as ref
from deepseek_v4_tiny import release_shapes

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

VECTORS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "vectors")
STEPS, LENGTHS = 10, (19, 12)
ADAMW = dict(lr=1e-2, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.1)
MUON = dict(lr=2e-2, momentum=0.95, weight_decay=0.1, rms=0.18, iterations=10)
CLIP, WARMUP, MTP_WEIGHT, ALPHA, MARGIN = 1.0, 4, 0.3, 0.5, 1e-4
FIRST, SECOND = (3.4445, -4.7750, 2.0315), (2.0, -1.5, 0.5)


def orthogonal(g):
    norm = g.norm()
    if norm == 0:
        return g
    x = g / norm
    for i in range(MUON["iterations"]):
        a, b, c = FIRST if i < MUON["iterations"] - 2 else SECOND
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x * math.sqrt(max(g.shape)) * MUON["rms"]


class Optimiser:
    """parts: for each matrix that Muon moves, of how many matrices it consists."""

    def __init__(self, weights, parts):
        self.weights, self.parts = weights, parts
        self.adamw = torch.optim.AdamW([p for n, p in weights.items() if n not in parts], foreach=False, **ADAMW)
        self.momentum = {n: torch.zeros_like(weights[n], dtype=torch.float64) for n in parts}

    def step(self, t):
        grads = [p.grad for p in self.weights.values() if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([g.double().norm() for g in grads]))
        share = min(1.0, (t + 1) / WARMUP)
        if norm > CLIP:
            for g in grads:
                g.mul_(CLIP / norm)
        self.adamw.param_groups[0]["lr"] = ADAMW["lr"] * share
        self.adamw.step()
        lr = MUON["lr"] * share
        for n, count in self.parts.items():
            w, g = self.weights[n], self.weights[n].grad.double()
            m = self.momentum[n].mul_(MUON["momentum"]).add_(g)
            o = torch.cat([orthogonal(x) for x in (MUON["momentum"] * m + g).chunk(count)])
            with torch.no_grad():
                w.copy_(w.double() * (1 - lr * MUON["weight_decay"]) - lr * o)
        return norm


def draw_ids(vocabulary, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocabulary, (STEPS, sum(LENGTHS)), generator=g)


def sequences(ids):
    return torch.split(ids, LENGTHS)


def loss_of(logits, ids, ahead=1):
    """Sum over the targets of one sequence."""
    rows = len(ids) - ahead
    return torch.nn.functional.cross_entropy(logits[:rows], ids[ahead:], reduction="sum")


def targets(ahead=1):
    return sum(n - ahead for n in LENGTHS)


def run(weights, parts, ids, step_losses):
    """step_losses(ids of a step): loss, and that of the second token or None."""
    begin = {n: p.detach().double().clone() for n, p in weights.items()}
    optimiser = Optimiser(weights, parts)
    losses, seconds, norms = [], [], []
    for t in range(STEPS):
        for p in weights.values():
            p.grad = None
        loss, second = step_losses(sequences(ids[t]))
        (loss if second is None else loss + MTP_WEIGHT * second).backward()
        for p in weights.values():
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        losses.append(loss.detach().double())
        seconds.append(torch.zeros(()).double() if second is None else second.detach().double())
        norms.append(optimiser.step(t))
    out = {"ids": ids.int(), "losses": torch.stack(losses), "second": torch.stack(seconds), "norms": torch.stack(norms)}
    return out | {"moved." + n: (p.detach().double() - begin[n]).norm().reshape(1) for n, p in weights.items()}


def run_llama(muon):
    model = LlamaForCausalLM.from_pretrained(os.path.join(VECTORS, "llama", "plain-f32"), dtype=torch.float32,
                                             attn_implementation="eager")
    weights = dict(model.named_parameters())
    parts = {n: 1 for n, p in weights.items() if p.ndim == 2 and "embed" not in n and "lm_head" not in n} if muon else {}

    def losses(step):
        return sum(loss_of(model(x[None], use_cache=False).logits[0], x) for x in step) / targets(), None

    return run(weights, parts, draw_ids(model.config.vocab_size, 1), losses)


FIXED = (".gate.bias", ".tid2eid")


def learns(name):
    return ".indexer." not in name and not name.endswith(FIXED)


def watch(margins):
    if margins.smallest < MARGIN:
        raise ValueError("a close choice: take another seed")


def run_v4(seed):
    model = DeepseekV4ForCausalLM.from_pretrained(os.path.join(VECTORS, "deepseek_v4", "saved-f32"), dtype=torch.float32,
                                                  attn_implementation="eager").float()
    model.set_experts_implementation("eager")
    shapes, c, margins = release_shapes(model.config), ref.Config.from_hf(model.config), ref.Margins()
    weights = {n: p for n, p in model.named_parameters() if ".indexer." not in n}

    def losses(step):
        with torch.no_grad():
            w = {n: x if n.endswith("tid2eid") else x.double() for n, x in names.to_release(model.state_dict(), shapes).items()}
            other = sum(loss_of(ref.forward(w, c, x.tolist(), margins=margins)[0], x) for x in step) / targets()
        watch(margins)
        loss = sum(loss_of(model(x[None], use_cache=False).logits[0], x) for x in step) / targets()
        if abs(float(loss.detach()) - float(other)) > 2e-5:
            raise ValueError(f"transformers and the witness are apart: {loss.item()} {float(other)}")
        return loss, None

    begin = {n: x.clone() for n, x in names.to_release(model.state_dict(), shapes).items()}
    out = run(weights, {}, draw_ids(model.config.vocab_size, seed), losses)
    out = {n: x for n, x in out.items() if not n.startswith("moved.")}
    for n, x in names.to_release(model.state_dict(), shapes).items():
        if learns(n):
            out["moved." + names.saved_name(n)] = (x.double() - begin[n].double()).norm().reshape(1)
    return out


def run_v4_mtp(seed):
    directory = os.path.join(VECTORS, "deepseek_v4", "saved-mtp")
    config = transformers.AutoConfig.from_pretrained(directory)
    c, shapes, margins = ref.Config.from_hf(config), release_shapes(config), ref.Margins()
    shapes |= ref.mtp_shapes(c, shapes)
    stored = load_file(os.path.join(directory, "model.safetensors"))
    w = {}
    for n in shapes:
        x = stored[names.saved_name(n)]
        w[n] = torch.nn.Parameter(x.double()) if learns(n) else x if n.endswith("tid2eid") else x.double()
    weights = {n: p for n, p in w.items() if learns(n)}
    parts = {n: config.o_groups if n.endswith(".wo_a.weight") else 1 for n, p in weights.items()
             if p.ndim == 2 and n not in ("embed.weight", "head.weight") and not n.endswith(".ape")}

    def losses(step):
        first = second = 0
        for x in step:
            logits, streams = ref.forward(w, c, x.tolist(), margins=margins)
            first = first + loss_of(logits, x)
            ahead, _ = ref.predict_second(w, c, streams[-1], x.tolist(), margins=margins)
            second = second + torch.nn.functional.cross_entropy(ahead[:-1], x[2:], reduction="sum")
        watch(margins)
        return first / targets(), second / targets(2)

    out = run(weights, parts, draw_ids(config.vocab_size, seed), losses)
    return {"moved." + names.saved_name(n[6:]) if n.startswith("moved.") else n: x for n, x in out.items()}


def balance_loss(w, c, gate, x):
    """Of one sequence: alpha times the sum over experts of their share of choices and their mean share of affinity."""
    s = torch.nn.functional.softplus(x @ w[gate + "weight"].T).sqrt()
    chosen = (s + w[gate + "bias"]).topk(c.topk).indices
    f = torch.bincount(chosen.flatten(), minlength=c.experts).double() * c.experts / (c.topk * len(x))
    return ALPHA * (f * (s / s.sum(1, keepdim=True)).mean(0)).sum()


def run_balance():
    config = transformers.AutoConfig.from_pretrained(os.path.join(VECTORS, "deepseek_v4", "saved-f32"))
    stored = load_file(os.path.join(VECTORS, "deepseek_v4", "saved-f32", "model.safetensors"))
    c, margins, found, moe = ref.Config.from_hf(config), ref.Margins(), [], ref.moe
    w = {n: stored[names.saved_name(n)] for n in release_shapes(config)}
    w = {n: torch.nn.Parameter(x.double()) if learns(n) else x if n.endswith("tid2eid") else x.double() for n, x in w.items()}

    def watched(w, c, p, x, ids, hashed, margins):
        if not hashed:
            found.append(len(x) / sum(LENGTHS) * balance_loss(w, c, p + "gate.", x))
        return moe(w, c, p, x, ids, hashed, margins)

    ref.moe = watched
    ids = draw_ids(config.vocab_size, 7)[:1]
    loss = sum(loss_of(ref.forward(w, c, x.tolist(), margins=margins)[0], x) for x in sequences(ids[0])) / targets()
    ref.moe = moe
    watch(margins)
    print(f"v4-balance: {len(found)} losses of {float(sum(found).detach()):.4f} in all")
    (loss + sum(found)).backward()
    kept = [f"layers.{l}.ffn.gate.weight" for l in range(config.num_hidden_layers)] + ["embed.weight", "layers.0.attn.wkv.weight"]
    return {"ids": ids.int()} | {"grad." + names.saved_name(n): w[n].grad for n in kept}


def first_seed(case):
    for seed in range(1, 200):
        try:
            return case(seed)
        except ValueError as e:
            print(f"seed {seed}: {e}", file=sys.stderr)
    raise SystemExit("no seed without close choices")


def main():
    torch.set_num_threads(1)
    cases = {"llama-adamw": run_llama(False), "llama-muon": run_llama(True), "v4-adamw": first_seed(run_v4),
             "v4-mtp-muon": first_seed(run_v4_mtp)}
    for case, out in cases.items():
        print(case, " ".join(f"{x:.4f}" for x in out["losses"].tolist()), "norms",
              " ".join(f"{x:.2f}" for x in out["norms"].tolist()))
    cases["v4-balance"] = run_balance()
    tensors = {f"{case}.{n}": x.contiguous() for case, out in cases.items() for n, x in out.items()}
    about = dict(torch=torch.__version__, transformers=transformers.__version__)
    save_file(tensors, sys.argv[1], metadata={"about": json.dumps(about)})
    os.chmod(sys.argv[1], 0o644)


main()
