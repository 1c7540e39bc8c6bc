/* The byte-level alphabet: every byte as one printable character, so that tokens of arbitrary bytes can
 * be spelled in JSON (GPT-2). Bytes 21-7E, A1-AC, AE-FF stand for themselves, the other 68 in rising
 * order for U+0100 … U+0143. Pure functions; any thread. */
#ifndef PLUMB_TOKENIZER_BYTELEVEL_H
#define PLUMB_TOKENIZER_BYTELEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint32_t bytelevel_char(uint8_t byte);
/* The byte that a character stands for; -1 for a character outside the alphabet. */
int bytelevel_byte(uint32_t cp);

/* The bytes that text[0..n), valid UTF-8, spells, into out[n]; their count, or SIZE_MAX when a character
 * is outside the alphabet. */
size_t bytelevel_decode(uint8_t *out, const char *text, size_t n);

#endif
