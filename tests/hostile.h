/* Hostile Unicode, generated from a seed: the same texts as text() in oracle/hostile.py. */
#ifndef PLUMB_TESTS_HOSTILE_H
#define PLUMB_TESTS_HOSTILE_H

#include "base/utf8.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HOSTILE_BYTES_MAX 4096

static inline uint64_t hostile_below(uint64_t *state, uint64_t n)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % n;
}

/* One code point of the kinds 0 … 14, but for 13. */
static inline uint32_t hostile_char(uint64_t *d, int kind)
{
    static const uint32_t white[] = {0x20, 0x09, 0x0a, 0x0d, 0x0b, 0x0c, 0x85, 0xa0, 0x1680, 0x2000, 0x2003, 0x2028,
                                     0x2029, 0x202f, 0x3000, 0x200b};
    static const uint32_t odd[] = {0xb5, 0x17f, 0x212a, 0x2126, 0xbd, 0xb2, 0x663, 0x2167, 0x3007, 0x30fc, 0x30fb, 0x3099,
                                   0xfb00, 0x200d, 0xfe0f, 0x1f600, 0x1f3fd, 0x1f1e6, 0xe9, 0x1e69, 0x1100, 0x1161, 0x11a8,
                                   0xac00, 0x0344, 0x0f73, 0x1d15e, 0xfdfa, 0x2f8, 0x10ffff, 0xe000, 0xfffd, 0x378, 0x1c5,
                                   0x2b0, 0x5d0};
    if (kind <= 2)
        return 32 + (uint32_t)hostile_below(d, 95);
    if (kind <= 5)
        return 97 + (uint32_t)hostile_below(d, 26);
    if (kind == 6)
        return 48 + (uint32_t)hostile_below(d, 10);
    if (kind == 7)
        return ' ';
    if (kind == 8)
        return white[hostile_below(d, sizeof white / sizeof *white)];
    if (kind == 9)
        return 0x80 + (uint32_t)hostile_below(d, 0x2f80);
    if (kind == 10) {
        const uint32_t c = (uint32_t)hostile_below(d, 0x110000 - 0x800);
        return c < 0xd800 ? c : c + 0x800;
    }
    if (kind == 11)
        return 0x300 + (uint32_t)hostile_below(d, 0x70);
    if (kind == 12)
        return hostile_below(d, 2) ? 0x3040 + (uint32_t)hostile_below(d, 0x100) : 0x4e00 + (uint32_t)hostile_below(d, 0x5200);
    return odd[hostile_below(d, sizeof odd / sizeof *odd)];
}

/* Write text number `seed` to out[HOSTILE_BYTES_MAX]; returns its length in bytes. */
static inline size_t hostile_text(char *out, uint64_t seed)
{
    static const char *const texts[] = {
        "'s", "'t", "'re", "'VE", "'m", "'lL", "'D", "'ſ", "<|endoftext|>", "<|im_start|>", "<think>", "<｜User｜>",
        "<｜end▁of▁sentence｜>", "<|eot_id|>", "<|begin_of_text|>", "foo bar", " foo", "the", " and", "ing", "1234", "\r\n",
        "  ", "\n\n"};
    uint64_t d = seed;
    const int count = 1 + (int)hostile_below(&d, 30);
    char last[4] = "a";
    size_t n = 0, last_len = 1;
    for (int i = 0; i < count; i++) {
        const int kind = (int)hostile_below(&d, 16);
        if (kind == 13) {
            for (int k = 1 + (int)hostile_below(&d, 12); k > 0; k--, n += last_len)
                memcpy(out + n, last, last_len);
        } else if (kind == 15) {
            const char *s = texts[hostile_below(&d, sizeof texts / sizeof *texts)];
            memcpy(out + n, s, strlen(s));
            n += strlen(s);
        } else {
            n += (size_t)utf8_encode((uint8_t *)out + n, hostile_char(&d, kind));
        }
        last_len = 1;
        while (((uint8_t)out[n - last_len] & 0xc0) == 0x80)
            last_len++;
        memcpy(last, out + n - last_len, last_len);
    }
    return n;
}

#endif
