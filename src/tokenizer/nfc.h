/* Unicode normalisation form C, as the reference library's normaliser computes it. */
#ifndef PLUMB_TOKENIZER_NFC_H
#define PLUMB_TOKENIZER_NFC_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True when the text surely is in NFC already (no character in it that NFC could touch). */
bool nfc_is_plain(const uint8_t *s, size_t n);

/* Append the NFC of s[0..n), which is valid UTF-8, to *out. ST_NOMEM only. O(n log n). */
MUST_USE Status nfc_append(const uint8_t *s, size_t n, ByteBuf *out);

#endif
