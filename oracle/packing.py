#!/usr/bin/env python3
"""Packing as src/train/data.h describes it, written from that description alone.

Prints tests/vectors/packing.json: document lengths (tokens, BOS and EOS included) and where the parts of the
documents lie: [row, rows, document, first].

usage: oracle/packing.py > tests/vectors/packing.json
"""
import json
import random

BUFFER = 512
DOCUMENTS = 1000


def parts(lengths, length):
    for document, n in enumerate(lengths):
        for first in range(0, n, length):
            rows = min(length, n - first)
            # The only token of a last part has no token behind it: nothing to learn, so it is left out.
            if first + 1 < n:
                yield rows, document, first


def pack(lengths, length):
    source = parts(lengths, length)
    waiting, placed, row, pending = [], [], 0, {}
    ended = False
    while True:
        # Documents enter the buffer whole, while it holds less than BUFFER parts.
        while not ended and len(waiting) < BUFFER:
            part = pending.pop("next", None) or next(source, None)
            if part is None:
                ended = True
                break
            document = part[1]
            while part is not None and part[1] == document:
                waiting.append(part)
                part = next(source, None)
            pending["next"] = part
            ended = part is None
        if not waiting:
            return placed
        free, at, choice = length, row, waiting[0]
        while choice is not None:
            waiting.remove(choice)
            placed.append([at, choice[0], choice[1], choice[2]])
            at += choice[0]
            free -= choice[0]
            fitting = [p for p in waiting if p[0] <= free]
            most = max((p[0] for p in fitting), default=0)
            choice = next((p for p in fitting if p[0] == most), None)
        row += length


def main():
    random.seed(5)
    cases = []
    for length, largest in ((16, 12), (64, 300), (100, 101)):
        lengths = [random.randint(2, largest) for _ in range(DOCUMENTS)]
        cases.append({"length": length, "lengths": lengths, "sequences": pack(lengths, length)})
    print(json.dumps(cases, separators=(",", ":")))


main()
