/* UTF-8 of hostile text: validation and step-by-step decoding, per Unicode table 3-7 (no overlong
 * forms, no surrogates, nothing above U+10FFFF). */
#include "tokenizer/unicode.h"

#include <string.h>

/* Length of the character that starts with `b`, 0 for a byte that starts none. */
static unsigned lead_length(uint8_t b)
{
    if (b < 0x80)
        return 1;
    if (b < 0xc2 || b > 0xf4)
        return 0;
    return b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}

unsigned utf8_continue(const uint8_t *held, int n, uint8_t b)
{
    if (n == 0)
        return lead_length(b);
    const uint8_t lead = held[0];
    uint8_t low = 0x80, high = 0xbf;
    if (n == 1) {
        low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    }
    return b >= low && b <= high ? lead_length(lead) : 0;
}

size_t utf8_valid_prefix(const uint8_t *s, size_t n)
{
    size_t at = 0;
    while (at < n) {
        uint64_t eight;
        while (n - at >= 8 && (memcpy(&eight, s + at, 8), (eight & 0x8080808080808080u) == 0))
            at += 8;
        if (at == n)
            break;
        const unsigned len = lead_length(s[at]);
        if (len == 0 || len > n - at)
            return at;
        for (unsigned i = 1; i < len; i++)
            if (utf8_continue(s + at, (int)i, s[at + i]) == 0)
                return at;
        at += len;
    }
    return n;
}
