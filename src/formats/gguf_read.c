/* Reading GGUF: see gguf.h.
 *
 * A cursor walks the bytes; every read checks what is left. At opening, each value is walked once so that
 * the view later needs no checks. */
#include "formats/gguf.h"

#include "base/mem.h"
#include "base/strmap.h"
#include "formats/tensor_table.h"

#include <stdlib.h>
#include <string.h>

typedef enum {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
} GgufType;

/* Bytes of a value; the least an array or a string takes (its counts) */
static const uint8_t type_bytes[GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

typedef struct {
    Str key;
    uint32_t type;
    const uint8_t *value;
    size_t bytes; /* of the value, measured at opening */
} Key;

struct Gguf {
    Kv kv; /* first, so that the view is the object */
    const uint8_t *end; /* of the file */
    Key *keys;
    size_t count, cap;
    StrMap index;
    uint32_t version;
};

/* ---- little-endian bytes ---- */

static uint64_t read_le(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int k = bytes - 1; k >= 0; k--)
        v = v << 8 | p[k];
    return v;
}

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)read_le(p, 4);
}

static uint64_t read_u64(const uint8_t *p)
{
    return read_le(p, 8);
}

/* ---- values ---- */

/* Bytes of the value of this type at p, with `left` bytes behind it; 0 when it does not fit or is not
 * valid. Arrays of numbers are measured at once; of strings and arrays one by one. */
static size_t measure(uint32_t type, const uint8_t *p, size_t left, int depth)
{
    if (type >= GGUF_TYPE_COUNT || left < type_bytes[type])
        return 0;
    if (type == GGUF_STRING) {
        const uint64_t n = read_u64(p);
        return n <= left - 8 ? 8 + (size_t)n : 0;
    }
    if (type != GGUF_ARRAY)
        return type_bytes[type];
    const uint32_t element = read_u32(p);
    const uint64_t count = read_u64(p + 4);
    size_t at = 12;
    if (element >= GGUF_TYPE_COUNT || depth == 0 || count > (left - at) / type_bytes[element])
        return 0;
    if (element != GGUF_STRING && element != GGUF_ARRAY)
        return at + (size_t)count * type_bytes[element];
    for (uint64_t k = 0; k < count; k++) {
        const size_t n = measure(element, p + at, left - at, depth - 1);
        if (n == 0)
            return 0;
        at += n;
    }
    return at;
}

static KvValue int_value(int64_t i)
{
    return (KvValue){.type = KV_INT, .i = i, .f = (double)i};
}

/* A value that was measured, with the result of that. */
static KvValue value_at(uint32_t type, const uint8_t *p, size_t bytes)
{
    KvValue v = {.type = KV_NULL};
    switch ((GgufType)type) {
    case GGUF_U8: return int_value(p[0]);
    case GGUF_I8: return int_value((int8_t)p[0]);
    case GGUF_U16: return int_value((uint16_t)read_le(p, 2));
    case GGUF_I16: return int_value((int16_t)read_le(p, 2));
    case GGUF_U32: return int_value(read_u32(p));
    case GGUF_I32: return int_value((int32_t)read_u32(p));
    case GGUF_I64: return int_value((int64_t)read_u64(p));
    case GGUF_U64:
        v = int_value(read_u64(p) > INT64_MAX ? INT64_MAX : (int64_t)read_u64(p));
        v.f = (double)read_u64(p);
        return v;
    case GGUF_F32: {
        float f;
        memcpy(&f, p, 4);
        v.type = KV_FLOAT;
        v.f = (double)f;
        return v;
    }
    case GGUF_F64:
        v.type = KV_FLOAT;
        memcpy(&v.f, p, 8);
        return v;
    case GGUF_BOOL:
        v.type = KV_BOOL;
        v.b = p[0] != 0;
        return v;
    case GGUF_STRING:
        v.type = KV_STRING;
        v.s = (Str){(const char *)p + 8, (size_t)read_u64(p)};
        return v;
    case GGUF_ARRAY:
        v.type = KV_ARRAY;
        v.count = (int64_t)read_u64(p + 4);
        v.s = (Str){(const char *)p + 12, bytes - 12};
        v.raw = p + 12;
        v.raw_type = (int)read_u32(p);
        return v;
    case GGUF_TYPE_COUNT: break;
    }
    return v;
}

/* ---- the view ---- */

static bool view_get(const Kv *kv, const char *key, KvValue *out)
{
    const Gguf *g = (const Gguf *)kv;
    int64_t i;
    if (!strmap_find(&g->index, (Str){key, strlen(key)}, &i))
        return false;
    *out = value_at(g->keys[i].type, g->keys[i].value, g->keys[i].bytes);
    return true;
}

static int64_t view_count(const Kv *kv)
{
    return (int64_t)((const Gguf *)kv)->count;
}

static Str view_at(const Kv *kv, int64_t i, KvValue *out)
{
    const Gguf *g = (const Gguf *)kv;
    CHECK(i >= 0);
    CHECK((size_t)i < g->count);
    *out = value_at(g->keys[i].type, g->keys[i].value, g->keys[i].bytes);
    return g->keys[i].key;
}

/* The cursor is the byte behind the element handed out last. */
static bool view_next(const Kv *kv, const KvValue *array, const void **cursor, KvValue *out)
{
    const Gguf *g = (const Gguf *)kv;
    CHECK(array->type == KV_ARRAY);
    const uint8_t *begin = array->raw, *end = begin + array->s.len;
    const uint8_t *p = *cursor ? *cursor : begin;
    if (p == end)
        return false;
    const uint32_t type = (uint32_t)array->raw_type;
    const size_t n = measure(type, p, (size_t)(g->end - p), GGUF_ARRAY_DEPTH_MAX);
    *out = value_at(type, p, n);
    *cursor = p + n;
    return true;
}

const Kv *gguf_kv(const Gguf *g)
{
    return &g->kv;
}

uint32_t gguf_version(const Gguf *g)
{
    return g->version;
}

void gguf_destroy(Gguf *g)
{
    if (!g)
        return;
    mem_free(g->keys);
    strmap_free(&g->index);
    mem_free(g);
}

/* ---- reading ---- */

typedef struct {
    Gguf *g;
    TensorTable *table;
    const uint8_t *data;
    size_t size, at;
    int file;
    size_t first; /* position of this file's first tensor in the table */
    uint64_t tensor_count, key_count;
    uint64_t alignment;
    Error *err;
} Reader;

MUST_USE static Status need(const Reader *d, size_t bytes, const char *what)
{
    if (d->size - d->at >= bytes)
        return ST_OK;
    return error_set(d->err, ST_CORRUPT, "byte %zu: expected %zu bytes for %s, the file has %zu left", d->at, bytes,
                     what, d->size - d->at);
}

MUST_USE static Status take_u32(Reader *d, uint32_t *out, const char *what)
{
    const Status st = need(d, 4, what);
    if (st == ST_OK) {
        *out = read_u32(d->data + d->at);
        d->at += 4;
    }
    return st;
}

MUST_USE static Status take_u64(Reader *d, uint64_t *out, const char *what)
{
    const Status st = need(d, 8, what);
    if (st == ST_OK) {
        *out = read_u64(d->data + d->at);
        d->at += 8;
    }
    return st;
}

MUST_USE static Status take_string(Reader *d, Str *out, const char *what)
{
    uint64_t n;
    const Status st = take_u64(d, &n, what);
    if (st != ST_OK)
        return st;
    if (n > d->size - d->at)
        return error_set(d->err, ST_CORRUPT, "byte %zu: the length of %s is %llu, the file has %zu bytes left",
                         d->at - 8, what, (unsigned long long)n, d->size - d->at);
    *out = (Str){(const char *)d->data + d->at, (size_t)n};
    d->at += (size_t)n;
    return ST_OK;
}

MUST_USE static Status check_version(const Reader *d, uint32_t version)
{
    if (version == 2 || version == 3)
        return ST_OK;
    if (version == 1)
        return error_set(d->err, ST_UNSUPPORTED, "byte 4: GGUF version 1, expected 2 or 3 (convert the file again)");
    if ((version & 0xffff) == 0 && version != 0)
        return error_set(d->err, ST_UNSUPPORTED, "byte 4: a big-endian GGUF file, expected a little-endian one");
    return error_set(d->err, ST_UNSUPPORTED, "byte 4: GGUF version %u, expected 2 or 3", version);
}

/* A key takes at least 13 bytes and a tensor info 24: more than fit cannot be there. */
MUST_USE static Status read_head(Reader *d)
{
    enum { KEY_BYTES_MIN = 13, INFO_BYTES_MIN = 24 };
    Status st = ST_OK;
    if (d->size < 4 || memcmp(d->data, "GGUF", 4) != 0)
        return error_set(d->err, ST_CORRUPT, "byte 0: expected \"GGUF\" (is this a GGUF file?)");
    d->at = 4;
    TRY(take_u32(d, &d->g->version, "the version"));
    TRY(check_version(d, d->g->version));
    TRY(take_u64(d, &d->tensor_count, "the number of tensors"));
    TRY(take_u64(d, &d->key_count, "the number of keys"));
    const size_t left = d->size - d->at;
    if (d->tensor_count > left / INFO_BYTES_MIN || d->tensor_count > TENSORS_MAX)
        return error_set(d->err, ST_CORRUPT, "byte 8: %llu tensors, expected at most %zu in a file of %zu bytes",
                         (unsigned long long)d->tensor_count,
                         left / INFO_BYTES_MIN < TENSORS_MAX ? left / INFO_BYTES_MIN : (size_t)TENSORS_MAX, d->size);
    if (d->key_count > left / KEY_BYTES_MIN || d->key_count > GGUF_KEYS_MAX)
        return error_set(d->err, ST_CORRUPT, "byte 16: %llu keys, expected at most %zu in a file of %zu bytes",
                         (unsigned long long)d->key_count,
                         left / KEY_BYTES_MIN < GGUF_KEYS_MAX ? left / KEY_BYTES_MIN : (size_t)GGUF_KEYS_MAX, d->size);
out:
    return st;
}

MUST_USE static Status read_key(Reader *d)
{
    Gguf *g = d->g;
    Key k = {.type = 0};
    Status st = ST_OK;
    const size_t at = d->at;
    TRY(take_string(d, &k.key, "a key"));
    const int n = k.key.len < 100 ? (int)k.key.len : 100;
    TRY(take_u32(d, &k.type, "the type of a value"));
    if (k.type >= GGUF_TYPE_COUNT)
        return error_set(d->err, ST_CORRUPT, "key '%.*s': byte %zu: value type %u, expected at most %d", n, k.key.ptr,
                         d->at - 4, k.type, GGUF_TYPE_COUNT - 1);
    k.value = d->data + d->at;
    k.bytes = measure(k.type, k.value, d->size - d->at, GGUF_ARRAY_DEPTH_MAX);
    if (k.bytes == 0)
        return error_set(d->err, ST_CORRUPT,
                         "key '%.*s': byte %zu: its value of type %u does not fit into the %zu bytes left (or nests "
                         "deeper than %d)",
                         n, k.key.ptr, d->at, k.type, d->size - d->at, GGUF_ARRAY_DEPTH_MAX);
    d->at += k.bytes;
    void *keys = g->keys;
    st = mem_grow(&keys, &g->cap, g->count + 1, sizeof *g->keys);
    g->keys = keys;
    if (st == ST_OK)
        st = strmap_add(&g->index, k.key, (int64_t)g->count);
    if (st == ST_INVALID)
        return error_set(d->err, ST_CORRUPT, "key '%.*s': byte %zu: it appears a second time", n, k.key.ptr, at);
    if (st != ST_OK)
        return error_set(d->err, ST_NOMEM, "no memory for %zu keys", g->count);
    g->keys[g->count++] = k;
out:
    return st;
}

MUST_USE static Status read_alignment(Reader *d)
{
    KvValue v;
    d->alignment = 32;
    if (!view_get(&d->g->kv, "general.alignment", &v))
        return ST_OK;
    if (v.type != KV_INT || v.i < 1 || v.i > 1 << 30 || (v.i & (v.i - 1)) != 0)
        return error_set(d->err, ST_CORRUPT, "key 'general.alignment': %lld, expected a power of two up to 2^30",
                         v.type == KV_INT ? (long long)v.i : -1);
    d->alignment = (uint64_t)v.i;
    return ST_OK;
}

/* Dimensions, turned around: outermost first. */
MUST_USE static Status take_dims(Reader *d, TensorEntry *t)
{
    uint32_t ndim;
    Status st = ST_OK;
    TRY(take_u32(d, &ndim, "the number of dimensions"));
    if (ndim > GGUF_DIMS_MAX)
        return error_set(d->err, ST_CORRUPT, "byte %zu: %u dimensions, expected at most %d", d->at - 4, ndim,
                         GGUF_DIMS_MAX);
    t->ndim = (int)ndim;
    for (int k = t->ndim - 1; k >= 0; k--) {
        uint64_t n;
        TRY(take_u64(d, &n, "a dimension"));
        if (n > INT64_MAX)
            return error_set(d->err, ST_CORRUPT, "byte %zu: dimension %llu, expected less than 2^63", d->at - 8,
                             (unsigned long long)n);
        t->dims[k] = (int64_t)n;
    }
out:
    return st;
}

/* What stands behind the name; entry->offset is relative to the data yet. */
MUST_USE static Status take_info(Reader *d, TensorEntry *t)
{
    uint32_t type;
    Status st = ST_OK;
    TRY(take_dims(d, t));
    TRY(take_u32(d, &type, "a tensor's type"));
    if (!dtype_from_gguf(type, &t->dtype))
        return error_set(d->err, ST_UNSUPPORTED, "byte %zu: GGUF type %u is not one that can be read", d->at - 4, type);
    TRY(tensor_entry_size(t, false, d->err));
    TRY(take_u64(d, &t->offset, "a tensor's offset"));
    if (t->offset % d->alignment != 0)
        return error_set(d->err, ST_CORRUPT, "byte %zu: offset %llu, expected a multiple of %llu", d->at - 8,
                         (unsigned long long)t->offset, (unsigned long long)d->alignment);
out:
    return st;
}

MUST_USE static Status read_info(Reader *d)
{
    Str name;
    TensorEntry t = {.file = d->file};
    const size_t at = d->at;
    Status st = take_string(d, &name, "a tensor's name");
    if (st != ST_OK)
        return st;
    st = take_info(d, &t);
    if (st != ST_OK)
        return error_context(d->err, st, "tensor '%.*s'", name.len < 200 ? (int)name.len : 200, name.ptr);
    st = tensor_table_add(d->table, name, &t, d->err);
    return st == ST_OK ? st : error_context(d->err, st, "byte %zu", at);
}

/* ---- placing the data ---- */

MUST_USE static Status place_all(Reader *d)
{
    const uint64_t mask = d->alignment - 1;
    const uint64_t data_at = ((uint64_t)d->at + mask) & ~mask;
    for (size_t k = d->first; k < d->table->count; k++) {
        TensorEntry *t = &d->table->items[k];
        const uint64_t left = data_at < d->size ? d->size - data_at : 0;
        if (t->offset > left || t->bytes > left - t->offset)
            return error_set(d->err, ST_CORRUPT,
                             "tensor '%s': %zu bytes at offset %llu of the data (from byte %llu), the file has %zu bytes",
                             t->name, t->bytes, (unsigned long long)t->offset, (unsigned long long)data_at, d->size);
        if (data_at <= d->size) {
            t->offset += data_at;
            t->data = d->data + t->offset;
        } else { /* an empty tensor in a file that ends before its padding */
            t->offset = d->size;
            t->data = d->data + d->size;
        }
    }
    return ST_OK;
}

static int by_offset(const void *a, const void *b)
{
    const TensorEntry *const *x = a, *const *y = b;
    if ((*x)->offset != (*y)->offset)
        return (*x)->offset < (*y)->offset ? -1 : 1;
    return ((*x)->bytes > (*y)->bytes) - ((*x)->bytes < (*y)->bytes);
}

MUST_USE static Status check_overlaps(const Reader *d)
{
    const size_t n = d->table->count - d->first;
    const TensorEntry **sorted = mem_alloc(n, sizeof *sorted);
    if (!sorted)
        return error_set(d->err, ST_NOMEM, "no memory to check %zu tensors", n);
    for (size_t k = 0; k < n; k++)
        sorted[k] = &d->table->items[d->first + k];
    qsort(sorted, n, sizeof *sorted, by_offset);
    Status st = ST_OK;
    for (size_t k = 1; k < n && st == ST_OK; k++) {
        const TensorEntry *a = sorted[k - 1], *b = sorted[k];
        if (a->offset + a->bytes > b->offset)
            st = error_set(d->err, ST_CORRUPT, "tensor '%s' ends at byte %llu, but '%s' begins at byte %llu", a->name,
                           (unsigned long long)(a->offset + a->bytes), b->name, (unsigned long long)b->offset);
    }
    mem_free(sorted);
    return st;
}

Status gguf_read(Gguf **out, TensorTable *table, const void *data, size_t size, int file, Error *err)
{
    Reader d = {.table = table, .data = data, .size = size, .file = file, .first = table->count, .err = err};
    Status st = ST_OK;
    d.g = mem_alloc(1, sizeof *d.g);
    if (!d.g)
        return error_set(err, ST_NOMEM, "no memory for a GGUF file");
    d.g->kv = (Kv){view_get, view_count, view_at, view_next};
    TRY(read_head(&d));
    d.g->end = d.data + size; /* not before: an empty file has no data */
    for (uint64_t k = 0; k < d.key_count; k++)
        TRY(read_key(&d));
    TRY(read_alignment(&d));
    for (uint64_t k = 0; k < d.tensor_count; k++)
        TRY(read_info(&d));
    TRY(place_all(&d));
    TRY(check_overlaps(&d));
    *out = d.g;
    return ST_OK;
out:
    gguf_destroy(d.g);
    return st;
}
