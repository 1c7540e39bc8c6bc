/* The byte-level alphabet: see bytelevel.h. */
#include "tokenizer/bytelevel.h"

#include "tokenizer/unicode.h"

static bool is_itself(uint32_t c)
{
    return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

uint32_t bytelevel_char(uint8_t byte)
{
    if (is_itself(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte <= 0xa0)
        return 0x121u + (byte - 0x7fu); /* 7F … A0 after the 33 first ones */
    return 0x143;                       /* AD */
}

int bytelevel_byte(uint32_t cp)
{
    if (is_itself(cp))
        return (int)cp;
    if (cp >= 0x100 && cp <= 0x120)
        return (int)(cp - 0x100);
    if (cp >= 0x121 && cp <= 0x142)
        return (int)(cp - 0x121 + 0x7f);
    return cp == 0x143 ? 0xad : -1;
}

size_t bytelevel_decode(uint8_t *out, const char *text, size_t n)
{
    const uint8_t *s = (const uint8_t *)text;
    size_t count = 0;
    for (size_t at = 0; at < n;) {
        if (s[at] >= 0x21 && s[at] <= 0x7e) {
            out[count++] = s[at++];
            continue;
        }
        unsigned len;
        const int byte = bytelevel_byte(utf8_get(s + at, &len));
        if (byte < 0)
            return SIZE_MAX;
        out[count++] = (uint8_t)byte;
        at += len;
    }
    return count;
}
