"""Record tests/vectors/optimiser.safetensors: what AdamW and Muon make of given weights and gradients.

AdamW is torch.optim.AdamW in float64; Muon is written here in float64 from training.md 3.2 (every matrix alone, a tensor
of groups cut into its matrices first). Clipping is torch's norm; the schedule's share multiplies the learning rates.
Weights and gradients are float32 numbers. Per case CASE: CASE.tN.NAME, the tensor behind step N; CASE.first.NAME and
CASE.second.NAME, the moments at the end; CASE.norms, of the gradients before clipping. begin.NAME and grad.tN.NAME are
common to all. tests/unit/test_optimiser.c reads the file and knows the constants below.
Usage: python oracle/optimiser_vectors.py tests/vectors/optimiser.safetensors
"""
import json
import math
import sys

import torch
from safetensors.torch import save_file

SHAPES = {"tall": (24, 10), "wide": (6, 20), "groups": (12, 7), "embedding": (9, 5), "gain": (11,), "sink": (3,)}
MATRICES = {"tall": 1, "wide": 1, "groups": 3}     # how many matrices a tensor is
STEPS, SEEN = 6, (1, 6)
SHARES = (0.25, 0.5, 1.0, 1.0, 0.55, 0.1)
LOUDNESS = (1.0, 30.0, 0.02, 1.0, 5.0, 0.3)         # of the gradients: some are clipped, some are not
CLIP = 3.0
ADAMW = dict(lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1)
MUON = dict(lr=2e-2, momentum=0.95, weight_decay=0.05, rms=0.18)
FIRST, SECOND = (3.4445, -4.7750, 2.0315), (2.0, -1.5, 0.5)
# case: epsilon of AdamW, Newton-Schulz iterations (None: AdamW moves the matrices too)
CASES = {"adamw": (1e-8, None), "muon": (1e-20, 10), "muon5": (1e-20, 5)}


def newton_schulz(g, iterations):
    norm = g.norm()
    if norm == 0:
        return torch.zeros_like(g)
    x = g / norm
    for i in range(iterations):
        a, b, c = FIRST if i < iterations - 2 else SECOND
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Muon:
    def __init__(self, parameters, iterations):
        self.parameters, self.iterations = parameters, iterations
        self.momentum = {name: torch.zeros_like(p) for name, p in parameters.items()}

    def step(self, share):
        mu, lr = MUON["momentum"], MUON["lr"] * share
        for name, w in self.parameters.items():
            m = self.momentum[name].mul_(mu).add_(w.grad)
            ahead = mu * m + w.grad
            parts = [newton_schulz(part, self.iterations) * math.sqrt(max(part.shape)) * MUON["rms"]
                     for part in ahead.chunk(MATRICES[name])]
            with torch.no_grad():
                w.mul_(1 - lr * MUON["weight_decay"]).sub_(lr * torch.cat(parts))


def run(case, begin, grads, out):
    eps, iterations = CASES[case]
    w = {name: torch.nn.Parameter(x.double()) for name, x in begin.items()}
    by_muon = MATRICES if iterations else {}
    adamw = torch.optim.AdamW([p for name, p in w.items() if name not in by_muon], eps=eps, **ADAMW)
    muon = Muon({name: w[name] for name in by_muon}, iterations)
    norms = []
    for t in range(1, STEPS + 1):
        for name, p in w.items():
            p.grad = grads[t, name].double()
        norm = torch.nn.utils.get_total_norm([p.grad for p in w.values()])
        norms.append(norm)
        if norm > CLIP:     # clip_grad_norm_ adds 1e-6 to the norm
            for p in w.values():
                p.grad.mul_(CLIP / norm)
        adamw.param_groups[0]["lr"] = ADAMW["lr"] * SHARES[t - 1]
        adamw.step()
        muon.step(SHARES[t - 1])
        if t in SEEN:
            for name, p in w.items():
                out[f"{case}.t{t}.{name}"] = p.detach().clone()
    out[case + ".norms"] = torch.stack(norms)
    for name, p in w.items():
        state = adamw.state.get(p)
        out[f"{case}.first.{name}"] = state["exp_avg"] if state else muon.momentum[name]
        if state:
            out[f"{case}.second.{name}"] = state["exp_avg_sq"]


def main():
    torch.set_num_threads(1)
    torch.manual_seed(20)
    begin = {name: 0.3 * torch.randn(shape) for name, shape in SHAPES.items()}
    grads = {(t, name): LOUDNESS[t - 1] * 0.2 * torch.randn(shape)
             for t in range(1, STEPS + 1) for name, shape in SHAPES.items()}
    grads[1, "wide"][2].zero_()
    out = {}
    for case in CASES:
        run(case, begin, grads, out)
    out = {name: x.float() if ".t" in name else x for name, x in out.items()}
    for name, x in out.items():
        if ".first." in name or ".second." in name:
            out[name] = x.float()
    out |= {"begin." + name: x for name, x in begin.items()} | {f"grad.t{t}.{name}": x for (t, name), x in grads.items()}
    about = dict(torch=torch.__version__)
    save_file({k: v.contiguous() for k, v in out.items()}, sys.argv[1], metadata={"about": json.dumps(about)})


main()
