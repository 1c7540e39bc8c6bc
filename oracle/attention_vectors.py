#!/usr/bin/env python3
"""Record tests/vectors/attention_grad.txt: attention over keys, compressed entries and a sink, its outputs and the
gradients that PyTorch's autograd finds, in double.

Inputs are multiples of 1/16, exact in every float type. Without entries and sinks the forward pass is
torch.nn.functional.scaled_dot_product_attention; with them it is the softmax over all scores side by side,
the sink's column dropped afterwards, as transformers' eager attention does it. A case is

    case NAME rows R head_dim D group G window W tokens T own 0|1 sinks 0|1 chosen C
    list C*R integers           when C > 0: C entries a row, -1 behind the last
    q|dout|k|v|e|sink COUNT numbers              v: not when keys are their own values
    out|lse|dq|dk|dv|de|dsink COUNT numbers      dsink is summed over rows
Usage: python oracle/attention_vectors.py > tests/vectors/attention_grad.txt
"""
import sys

import torch
import torch.nn.functional as F

#        name                     R   D  G  W  T own sinks chosen
CASES = [("plain",                9,  5, 2, 0, 0, 0, 0, 0),
         ("two_pages",            66, 3, 1, 0, 0, 0, 0, 0),
         ("sliding_window",       13, 6, 2, 4, 0, 0, 0, 0),
         ("own_values_and_sinks", 11, 7, 3, 5, 0, 1, 1, 0),
         ("entries",              17, 6, 2, 6, 4, 1, 1, 0),
         ("chosen_entries",       18, 5, 2, 4, 2, 1, 1, 3),
         ("entries_of_two_pages", 67, 2, 1, 3, 1, 1, 1, 0)]


def exact(*shape, generator):
    return (torch.randn(*shape, generator=generator, dtype=torch.float64) * 16).round() / 16


def choose(rows, tokens, chosen, generator):
    """For each row up to `chosen` of the entries it may see, ascending."""
    lists = torch.full((rows, chosen), -1, dtype=torch.int64)
    for r in range(rows):
        visible = (r + 1) // tokens
        some = torch.randperm(visible, generator=generator)[:chosen].sort().values
        lists[r, :len(some)] = some
    return lists


def masks(rows, entries, window, tokens, lists):
    """What each row sees: keys, then entries."""
    r, j = torch.arange(rows)[:, None], torch.arange(rows)[None]
    keys = (j <= r) & ((j > r - window) if window else torch.ones_like(j, dtype=torch.bool))
    seen = torch.zeros(rows, entries, dtype=torch.bool)
    for row in range(rows):
        for entry in range(entries):
            seen[row, entry] = row >= (entry + 1) * tokens - 1 and (lists is None or entry in lists[row].tolist())
    return keys, seen


def attend(q, k, v, e, sink, see_keys, see_entries, scale):
    """q [G,R,D] over keys, entries (their own values) and a sink [G]: out and the log of the denominator."""
    scores = torch.cat([q @ k.T * scale, q @ e.T * scale], -1)
    scores = scores.masked_fill(~torch.cat([see_keys, see_entries], -1), float("-inf"))
    if sink is not None:
        scores = torch.cat([scores, sink[:, None, None].expand(-1, q.shape[1], 1)], -1)
    p = scores.softmax(-1)
    if sink is not None:
        p = p[..., :-1]
    return p @ torch.cat([v, e]), scores.logsumexp(-1)


def show(name, x):
    values = [f"{v:.10g}" for v in x.detach().reshape(-1).tolist()]
    print(name, len(values), *values)


def record(case, generator):
    name, R, D, G, W, T, own, sinks, chosen = case
    entries = R // T if T else 0
    q, dout = exact(R, G, D, generator=generator), exact(R, G, D, generator=generator)
    k = exact(R, D, generator=generator)
    v = k if own else exact(R, D, generator=generator)
    e, sink = exact(entries, D, generator=generator), exact(G, generator=generator) if sinks else None
    lists = choose(R, T, chosen, generator) if chosen else None
    inputs = [x.requires_grad_() for x in (q, k, e) + (() if own else (v,)) + ((sink,) if sinks else ())]
    see_keys, see_entries = masks(R, entries, W, T, lists)
    heads = q.transpose(0, 1)
    out, lse = attend(heads, k, v, e, sink, see_keys, see_entries, D ** -0.5)
    if not entries and not sinks:
        torch_out = F.scaled_dot_product_attention(heads, k.expand(G, R, D), v.expand(G, R, D), attn_mask=see_keys)
        assert (torch_out - out).abs().max() < 1e-12
        out = torch_out
    (out * dout.transpose(0, 1)).sum().backward()
    print(f"case {name} rows {R} head_dim {D} group {G} window {W} tokens {T} own {own} sinks {sinks} chosen {chosen}")
    if chosen:
        print("list", chosen * R, *lists.reshape(-1).tolist())
    for label, x in (("q", q), ("dout", dout), ("k", k), ("v", None if own else v), ("e", e), ("sink", sink),
                     ("out", out.transpose(0, 1)), ("lse", lse.T)):
        if x is not None and x.numel():
            show(label, x)
    for label, x in zip(("dq", "dk", "de") + (() if own else ("dv",)) + (("dsink",) if sinks else ()), inputs):
        if x.numel():
            show(label, x.grad)


def main():
    print(f"# oracle/attention_vectors.py: torch {torch.__version__}, python {sys.version.split()[0]}")
    generator = torch.Generator().manual_seed(20261)
    for case in CASES:
        record(case, generator)


if __name__ == "__main__":
    main()
