"""Hostile Unicode, generated from a seed: the same texts as hostile_text() in tests/hostile.h.

Every choice is one draw of splitmix64, so that both languages make the same sequence."""

MASK = (1 << 64) - 1
WHITE = [0x20, 0x09, 0x0A, 0x0D, 0x0B, 0x0C, 0x85, 0xA0, 0x1680, 0x2000, 0x2003, 0x2028, 0x2029, 0x202F, 0x3000,
         0x200B]
ODD = [0xB5, 0x17F, 0x212A, 0x2126, 0xBD, 0xB2, 0x663, 0x2167, 0x3007, 0x30FC, 0x30FB, 0x3099, 0xFB00, 0x200D,
       0xFE0F, 0x1F600, 0x1F3FD, 0x1F1E6, 0xE9, 0x1E69, 0x1100, 0x1161, 0x11A8, 0xAC00, 0x0344, 0x0F73, 0x1D15E,
       0xFDFA, 0x2F8, 0x10FFFF, 0xE000, 0xFFFD, 0x378, 0x1C5, 0x2B0, 0x5D0]
TEXTS = ["'s", "'t", "'re", "'VE", "'m", "'lL", "'D", "'\u017f", "<|endoftext|>", "<|im_start|>", "<think>",
         "<\uff5cUser\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<|eot_id|>", "<|begin_of_text|>", "foo bar",
         " foo", "the", " and", "ing", "1234", "\r\n", "  ", "\n\n"]


class Draw:
    def __init__(self, seed):
        self.state = seed & MASK

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % n


def one(d, kind, last):
    if kind <= 2:
        return chr(32 + d.below(95))
    if kind <= 5:
        return chr(97 + d.below(26))
    if kind == 6:
        return chr(48 + d.below(10))
    if kind == 7:
        return " "
    if kind == 8:
        return chr(WHITE[d.below(len(WHITE))])
    if kind == 9:
        return chr(0x80 + d.below(0x2F80))
    if kind == 10:
        c = d.below(0x110000 - 0x800)
        return chr(c if c < 0xD800 else c + 0x800)
    if kind == 11:
        return chr(0x300 + d.below(0x70))
    if kind == 12:
        return chr(0x3040 + d.below(0x100)) if d.below(2) else chr(0x4E00 + d.below(0x5200))
    if kind == 13:
        return last * (1 + d.below(12))
    if kind == 14:
        return chr(ODD[d.below(len(ODD))])
    return TEXTS[d.below(len(TEXTS))]


def text(seed):
    d = Draw(seed)
    count = 1 + d.below(30)
    out, last = [], "a"
    for _ in range(count):
        s = one(d, d.below(16), last)
        last = s[-1]
        out.append(s)
    return "".join(out)
