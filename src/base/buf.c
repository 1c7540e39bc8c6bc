/* Growable buffers. */
#include "base/buf.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

Status bytebuf_append(ByteBuf *b, const void *bytes, size_t n)
{
    size_t need;
    if (n == 0)
        return ST_OK;
    if (!size_add(b->count, n, &need))
        return ST_NOMEM;
    void *p = b->data;
    const Status st = mem_grow(&p, &b->cap, need, 1);
    if (st != ST_OK)
        return st;
    b->data = p;
    memcpy(b->data + b->count, bytes, n);
    b->count = need;
    return ST_OK;
}

Status bytebuf_printf(ByteBuf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    Status st = n < 0 ? ST_INTERNAL : ST_OK;
    size_t need = 0;
    if (st == ST_OK && !size_add(b->count, (size_t)n + 1, &need))
        st = ST_NOMEM;
    void *p = b->data;
    if (st == ST_OK)
        st = mem_grow(&p, &b->cap, need, 1);
    if (st == ST_OK) {
        b->data = p;
        vsnprintf((char *)b->data + b->count, (size_t)n + 1, fmt, again);
        b->count += (size_t)n;
    }
    va_end(again);
    return st;
}

const char *bytebuf_cstr(ByteBuf *b)
{
    if (bytebuf_append(b, "", 1) != ST_OK)
        return NULL;
    b->count--;
    return (const char *)b->data;
}

void bytebuf_free(ByteBuf *b)
{
    mem_free(b->data);
    *b = (ByteBuf){0};
}

Status idbuf_append(IdBuf *b, const int32_t *ids, int64_t n)
{
    if (n <= 0)
        return ST_OK;
    void *p = b->data;
    size_t cap = (size_t)b->cap;
    const Status st = mem_grow(&p, &cap, (size_t)(b->count + n), sizeof *ids);
    if (st != ST_OK)
        return st;
    b->data = p;
    b->cap = (int64_t)cap;
    memcpy(b->data + b->count, ids, (size_t)n * sizeof *ids);
    b->count += n;
    return ST_OK;
}

Status idbuf_push(IdBuf *b, int32_t id)
{
    return idbuf_append(b, &id, 1);
}

void idbuf_free(IdBuf *b)
{
    mem_free(b->data);
    *b = (IdBuf){0};
}
