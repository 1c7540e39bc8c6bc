/* UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef PLUMB_BASE_UTF8_H
#define PLUMB_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length (1..4) of the valid character at p[0..n), its code point in *cp when cp is not NULL;
 * 0 when the bytes there are not valid UTF-8 or the character is cut off. */
int utf8_decode(const uint8_t *p, size_t n, uint32_t *cp);

/* Write a code point (a scalar value: CHECKed) to dst[0..4); returns its length. */
int utf8_encode(uint8_t *dst, uint32_t cp);

#endif
