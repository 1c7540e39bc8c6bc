#!/usr/bin/env python3
"""Derive the Unicode tables of src/tokenizer/ from the reference library itself.

    python tools/gen_unicode.py > src/tokenizer/unicode_tables.c      (needs `tokenizers`)

Which Unicode version a library follows differs from part to part (tokenizers 0.23: its regular
expressions know 16.0, Rust's char::is_numeric of its Digits step 17.0, its NFC a much older one), so
nothing is taken from a Unicode data file: every property is asked of the library, code point by code
point, and the versions are recognised afterwards from the number of characters and written down.
"""
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

CATEGORIES = ("Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So "
              "Zs Zl Zp Cc Cf Co").split()
WHITE, NUMERIC, WORD = 0x20, 0x40, 0x80
ALL = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
CHUNK = 4096
LEAF = 64
# characters (without control, private use, surrogates) and decimal digits + letter numbers + others
VERSIONS = {149186: "15.0", 149813: "15.1", 154998: "16.0", 159801: "17.0"}
NUMERIC_VERSIONS = {1831: "15.0", 1911: "16.0", 1924: "17.0"}


def chunks():
    for i in range(0, len(ALL), CHUNK):
        yield ALL[i:i + CHUNK]


def members(pattern):
    """The code points that a one-character pattern of the library's regex engine matches."""
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    return {ord(ch) for part in chunks() for piece, _ in split.pre_tokenize_str("".join(map(chr, part)))
            for ch in piece}


def numeric():
    """What the Digits step isolates."""
    digits = pre_tokenizers.Digits(individual_digits=True)
    found = set()
    for part in chunks():
        text = "".join("a" + chr(c) for c in part) + "a"
        found.update(ord(p) for p, _ in digits.pre_tokenize_str(text) if len(p) == 1 and p != "a")
    return found


def word():
    """What counts as part of a word beside an added token with single_word."""
    t = Tokenizer(models.BPE(vocab={"<x>": 0}, merges=[]))
    t.add_tokens([AddedToken("<x>", single_word=True, normalized=False)])
    sides = []
    for before in (True, False):
        found = set()
        for part in chunks():
            text = "\n".join(chr(c) + "<x>" if before else "<x>" + chr(c) for c in part)
            hits = set(t.encode(text).offsets)
            for i, c in enumerate(part):
                start = 5 * i + (1 if before else 0)
                if (start, start + 3) not in hits:
                    found.add(c)
        sides.append(found)
    assert sides[0] == sides[1]
    return sides[0]


def stripped():
    """What lstrip and rstrip of an added token swallow."""
    t = Tokenizer(models.BPE(vocab={"<x>": 0}, merges=[]))
    t.add_tokens([AddedToken("<x>", lstrip=True, rstrip=True, normalized=False)])
    return {c for c in ALL if t.encode("a" + chr(c) + "<x>").offsets[0][0] == 1}


class Nfc:
    """Decompositions, combining classes and compositions of the library's NFD and NFC."""

    def __init__(self):
        self.nfd = normalizers.NFD().normalize_str
        self.nfc = normalizers.NFC().normalize_str
        hangul = range(0xAC00, 0xD7A4)
        self.decomposition = {c: d for c in ALL if c not in hangul and (d := self.nfd(chr(c))) != chr(c)}
        self.find_classes()
        self.find_compositions()
        maybe = {second for _, second in self.composition} | set(range(0x1161, 0x1176)) | \
            set(range(0x11A8, 0x11C3))
        # A character before which text may always be cut: it neither changes nor joins what is before.
        self.active = {c for c in ALL if c in maybe or c in self.ccc or
                       (c in self.decomposition and self.nfc(chr(c)) != chr(c))}

    def moves(self, first, second):
        return self.nfd("a" + first + second) == "a" + second + first

    def find_classes(self):
        plain = [c for c in ALL if c not in self.decomposition]
        low, high = "\u0334", "\u0345"                                    # classes 1 and 240
        marks = [c for c in plain if self.moves(high, chr(c)) or self.moves(chr(c), low)]
        # Sort the marks into classes by how they move past each other: a total preorder.
        groups = []
        for c in marks:
            for g in groups:
                if not self.moves(chr(g[0]), chr(c)) and not self.moves(chr(c), chr(g[0])):
                    g.append(c)
                    break
            else:
                groups.append([c])
        groups = sorted(groups, key=lambda g: sum(self.moves(chr(g[0]), chr(h[0])) for h in groups))
        # Only the order matters, so classes are numbered 1, 2, 3, … .
        self.ccc = {c: i + 1 for i, g in enumerate(groups) for c in g}

    def find_compositions(self):
        self.composition = {}
        for c, d in self.decomposition.items():
            if self.nfc(chr(c)) != chr(c):
                continue
            first = self.nfc(d[:-1])
            assert len(first) == 1 and self.nfc(first + d[-1]) == chr(c), hex(c)
            self.composition[ord(first), ord(d[-1])] = c


def stages(values, leaf):
    """values[0x110000] → top, middle and leaf arrays of 64-entry blocks; leaf blocks may be masks."""
    def dedupe(seq, size):
        seen, blocks, index = {}, [], []
        for i in range(0, len(seq), size):
            key = tuple(seq[i:i + size])
            if key not in seen:
                seen[key] = len(blocks)
                blocks.append(key)
            index.append(seen[key])
        return index, blocks
    index, leaves = dedupe(values, leaf)
    top, middle = dedupe(index, 64)
    return top, [x for b in middle for x in b], leaves


def emit(name, ctype, numbers, fmt="%d"):
    print("\nconst %s %s[%d] = {" % (ctype, name, len(numbers)))
    line = "   "
    for n in numbers:
        item = " " + fmt % n + ","
        if len(line) + len(item) > 98:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")


def emit_classes():
    category = {}
    for i, name in enumerate(CATEGORIES[1:], 1):
        for c in members(r"\p{%s}" % name):
            assert c not in category
            category[c] = i
    spaces, digits, words = members(r"\s"), numeric(), word()
    assert stripped() == spaces
    private = sum(1 for v in category.values() if CATEGORIES[v] in ("Co", "Cc"))
    print(" *   classes: Unicode %s; numeric (Digits): Unicode %s" % (
        VERSIONS.get(len(category) - private, "unknown"), NUMERIC_VERSIONS.get(len(digits), "unknown")))
    values = [category.get(c, 0) | (WHITE if c in spaces else 0) | (NUMERIC if c in digits else 0) |
              (WORD if c in words else 0) for c in range(0x110000)]
    return stages(values, LEAF)


def emit_all():
    print("/* Generated by tools/gen_unicode.py from tokenizers %s: do not edit." % tokenizers.__version__)
    top, middle, leaves = emit_classes()
    nfc = Nfc()
    print(" *   NFC: %d combining marks, %d decompositions, %d compositions */" % (
        len(nfc.ccc), len(nfc.decomposition), len(nfc.composition)))
    print('#include "tokenizer/unicode.h"')
    emit("unicode_class_top", "uint8_t", top)
    emit("unicode_class_middle", "uint16_t", middle)
    emit("unicode_class_leaf", "uint8_t", [v for b in leaves for v in b])
    masks_top, masks_middle, blocks = stages([1 if c in nfc.active else 0 for c in range(0x110000)], 64)
    emit("unicode_nfc_top", "uint8_t", masks_top)
    emit("unicode_nfc_middle", "uint8_t", masks_middle)
    emit("unicode_nfc_mask", "uint64_t", [sum(b << i for i, b in enumerate(x)) for x in blocks], "0x%x")
    emit_nfc(nfc)


def emit_nfc(nfc):
    ranges = []
    for c in sorted(nfc.ccc):
        if ranges and ranges[-1][1] + 1 == c and ranges[-1][2] == nfc.ccc[c]:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, nfc.ccc[c]])
    print("\n/* first, last, class: numbered in the order of the combining classes */")
    print("const int32_t unicode_ccc_count = %d;" % len(ranges))
    emit("unicode_ccc_first", "uint32_t", [r[0] for r in ranges], "0x%x")
    emit("unicode_ccc_last_class", "uint32_t", [r[1] << 8 | r[2] for r in ranges], "0x%x")
    pool, entries = [], []
    for c in sorted(nfc.decomposition):
        d = [ord(x) for x in nfc.decomposition[c]]
        entries.append((c, len(pool) << 3 | len(d)))
        pool += d
    assert max(len(d) for d in nfc.decomposition.values()) < 8
    print("\n/* character; start in the pool << 3 | length: full canonical decompositions */")
    print("const int32_t unicode_decomposition_count = %d;" % len(entries))
    emit("unicode_decomposition_char", "uint32_t", [e[0] for e in entries], "0x%x")
    emit("unicode_decomposition_place", "uint16_t", [e[1] for e in entries])
    emit("unicode_decomposition_pool", "uint32_t", pool, "0x%x")
    pairs = sorted(nfc.composition.items())
    print("\n/* first << 32 | second, ascending, and what they compose to */")
    print("const int32_t unicode_composition_count = %d;" % len(pairs))
    emit("unicode_composition_pair", "uint64_t", [a << 32 | b for (a, b), _ in pairs], "0x%x")
    emit("unicode_composition_char", "uint32_t", [c for _, c in pairs], "0x%x")


if __name__ == "__main__":
    emit_all()
