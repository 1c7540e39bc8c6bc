/* What the fuzz targets of file formats do with an accepted file: read every value and some data. */
#ifndef PLUMB_TESTS_FUZZ_TOUCH_H
#define PLUMB_TESTS_FUZZ_TOUCH_H

#include "base/error.h"
#include "base/kv.h"
#include "base/mem.h"
#include "formats/tensordir.h"
#include "tensor/dtype.h"

#include <string.h>

/* Reads a value to its last byte; arrays element by element. */
static inline uint64_t touch_value(const Kv *kv, const KvValue *v)
{
    uint64_t sum = (uint64_t)v->i + v->b;
    for (size_t k = 0; v->type == KV_STRING && k < v->s.len; k++)
        sum += (uint8_t)v->s.ptr[k];
    if (v->type != KV_ARRAY)
        return sum;
    const void *cursor = NULL;
    KvValue item;
    int64_t n = 0;
    for (; kv->next(kv, v, &cursor, &item); n++)
        sum += touch_value(kv, &item);
    CHECK(n == v->count);
    return sum;
}

/* Every key is found again under its name, unless a zero byte cuts that short. */
static inline void touch_kv(const Kv *kv)
{
    uint64_t sum = 0;
    for (int64_t k = 0; k < kv->count(kv); k++) {
        KvValue v, again;
        const Str key = kv->at(kv, k, &v);
        sum += touch_value(kv, &v);
        if (key.len > 0 && memchr(key.ptr, 0, key.len))
            continue;
        char *name = mem_strndup(key.ptr, key.len);
        CHECK(name);
        CHECK(kv->get(kv, name, &again));
        CHECK(again.type == v.type);
        CHECK(again.count == v.count);
        mem_free(name);
    }
    CHECK(sum != 0x5a5a5a5a5a5a5a5a); /* keeps the compiler from leaving the reads out */
}

/* The entry is consistent, its bytes lie in data[0..size), and its first block decodes. */
static inline void touch_tensor(const TensorEntry *e, const uint8_t *data, size_t size)
{
    const DtypeInfo *info = dtype_info(e->dtype);
    int64_t elements = 1;
    for (int k = 0; k < e->ndim; k++)
        elements *= e->dims[k];
    CHECK(elements == e->elements);
    CHECK(e->bytes == dtype_row_bytes(e->dtype, elements));
    CHECK(e->offset <= size);
    CHECK(e->bytes <= size - e->offset);
    CHECK(e->data == data + e->offset);
    if (e->bytes == 0 || !info->is_real)
        return;
    float y[256];
    double z[256];
    const uint8_t *last = (const uint8_t *)e->data + e->bytes - (size_t)info->block_bytes;
    dtype_decode_f32(e->dtype, y, e->data, info->block_elements);
    dtype_decode_f64(e->dtype, z, last, info->block_elements);
}

#endif
