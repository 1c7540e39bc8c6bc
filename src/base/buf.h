/* Growable buffers with a maximum. Zero-initialise, append, mem_free(.data) through *_free. */
#ifndef PLUMB_BASE_BUF_H
#define PLUMB_BASE_BUF_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t *data; /* owned; not terminated unless bytebuf_cstr was called */
    size_t count, cap;
} ByteBuf;

MUST_USE Status bytebuf_append(ByteBuf *b, const void *bytes, size_t n); /* ST_NOMEM */
MUST_USE Status bytebuf_printf(ByteBuf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *bytebuf_cstr(ByteBuf *b); /* terminated, borrowed until the next append; NULL: no memory */
void bytebuf_free(ByteBuf *b);

typedef struct {
    int32_t *data; /* owned */
    int64_t count, cap;
} IdBuf;

MUST_USE Status idbuf_append(IdBuf *b, const int32_t *ids, int64_t n); /* ST_NOMEM */
MUST_USE Status idbuf_push(IdBuf *b, int32_t id);
void idbuf_free(IdBuf *b);

#endif
