/* UTF-8: see utf8.h. The ranges are those of table 3-7 of the Unicode standard. */
#include "base/utf8.h"

#include "base/error.h"

static int is_tail(uint8_t b)
{
    return (b & 0xc0) == 0x80;
}

int utf8_decode(const uint8_t *p, size_t n, uint32_t *cp)
{
    if (n == 0)
        return 0;
    const uint32_t a = p[0];
    uint32_t c = a;
    int len = 0;
    if (a < 0x80) {
        len = 1;
    } else if (a >= 0xc2 && a <= 0xdf && n >= 2 && is_tail(p[1])) {
        len = 2;
        c = (a & 0x1f) << 6 | (p[1] & 0x3fu);
    } else if ((a & 0xf0) == 0xe0 && n >= 3 && is_tail(p[1]) && is_tail(p[2])) {
        c = (a & 0x0f) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
        len = c >= 0x800 && (c < 0xd800 || c > 0xdfff) ? 3 : 0;
    } else if (a >= 0xf0 && a <= 0xf4 && n >= 4 && is_tail(p[1]) && is_tail(p[2]) && is_tail(p[3])) {
        c = (a & 0x07) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
        len = c >= 0x10000 && c <= 0x10ffff ? 4 : 0;
    }
    if (cp && len)
        *cp = c;
    return len;
}

int utf8_encode(uint8_t *dst, uint32_t cp)
{
    CHECK(cp <= 0x10ffff);
    CHECK(cp < 0xd800 || cp > 0xdfff);
    if (cp < 0x80) {
        dst[0] = (uint8_t)cp;
        return 1;
    }
    if (cp < 0x800) {
        dst[0] = (uint8_t)(0xc0 | cp >> 6);
        dst[1] = (uint8_t)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        dst[0] = (uint8_t)(0xe0 | cp >> 12);
        dst[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
        dst[2] = (uint8_t)(0x80 | (cp & 0x3f));
        return 3;
    }
    dst[0] = (uint8_t)(0xf0 | cp >> 18);
    dst[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
    dst[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
    dst[3] = (uint8_t)(0x80 | (cp & 0x3f));
    return 4;
}
