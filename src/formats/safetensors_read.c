/* Reading safetensors: see safetensors.h. The header is walked once by the pull reader. */
#include "formats/safetensors.h"

#include "base/json.h"
#include "base/mem.h"
#include "formats/tensor_table.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER_AT = 8 };

static uint64_t read_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int k = 7; k >= 0; k--)
        v = v << 8 | p[k];
    return v;
}

/* The types of the format have no blocks, but for packed four-bit floats. */
static bool is_safetensors_type(Dtype t)
{
    return dtype_info(t)->block_elements == 1 || t == DT_F4;
}

/* ---- one tensor ---- */

typedef struct {
    bool dtype, shape, offsets;
} Seen;

MUST_USE static Status once(bool *seen, const char *field, const JsonReader *r, Error *err)
{
    if (*seen)
        return error_set(err, ST_CORRUPT, "JSON byte %zu: expected one '%s', found a second", r->offset, field);
    *seen = true;
    return ST_OK;
}

MUST_USE static Status read_dtype(JsonReader *r, TensorEntry *t, Error *err)
{
    const Status st = json_expect(r, JSON_TOK_STRING, err);
    if (st != ST_OK)
        return st;
    if (!dtype_from_name(r->str.ptr, r->str.len, &t->dtype) || !is_safetensors_type(t->dtype))
        return error_set(err, ST_UNSUPPORTED, "JSON byte %zu: dtype '%.*s' is not one that can be read",
                         r->offset, r->str.len < 40 ? (int)r->str.len : 40, r->str.ptr);
    return ST_OK;
}

/* A whole number of at least zero. */
MUST_USE static Status read_count(JsonReader *r, int64_t *out, Error *err)
{
    if (r->token != JSON_TOK_INT)
        return json_error_token(r, err, "a whole number");
    if (r->i < 0)
        return error_set(err, ST_CORRUPT, "JSON byte %zu: expected a number of at least 0, found %lld", r->offset,
                         (long long)r->i);
    *out = r->i;
    return ST_OK;
}

MUST_USE static Status read_shape(JsonReader *r, TensorEntry *t, Error *err)
{
    Status st = ST_OK;
    TRY(json_expect(r, JSON_TOK_ARRAY_BEGIN, err));
    for (t->ndim = 0;; t->ndim++) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_ARRAY_END)
            break;
        if (t->ndim == TENSOR_DIMS_MAX)
            return error_set(err, ST_UNSUPPORTED, "JSON byte %zu: expected at most %d dimensions, found more",
                             r->offset, TENSOR_DIMS_MAX);
        TRY(read_count(r, &t->dims[t->ndim], err));
    }
out:
    return st;
}

MUST_USE static Status read_offsets(JsonReader *r, int64_t range[2], Error *err)
{
    Status st = ST_OK;
    TRY(json_expect(r, JSON_TOK_ARRAY_BEGIN, err));
    for (int k = 0; k < 2; k++) {
        TRY(json_next(r, err));
        TRY(read_count(r, &range[k], err));
    }
    TRY(json_expect(r, JSON_TOK_ARRAY_END, err));
out:
    return st;
}

/* The object behind a tensor's name. range: its data_offsets. */
MUST_USE static Status read_info(JsonReader *r, TensorEntry *t, int64_t range[2], Error *err)
{
    Seen seen = {false, false, false};
    Status st = ST_OK;
    TRY(json_expect(r, JSON_TOK_OBJECT_BEGIN, err));
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_OBJECT_END)
            break;
        if (str_eq(r->str, "dtype")) {
            TRY(once(&seen.dtype, "dtype", r, err));
            TRY(read_dtype(r, t, err));
        } else if (str_eq(r->str, "shape")) {
            TRY(once(&seen.shape, "shape", r, err));
            TRY(read_shape(r, t, err));
        } else if (str_eq(r->str, "data_offsets")) {
            TRY(once(&seen.offsets, "data_offsets", r, err));
            TRY(read_offsets(r, range, err));
        } else {
            TRY(json_skip(r, err));
        }
    }
    const char *missing = !seen.dtype ? "dtype" : !seen.shape ? "shape" : !seen.offsets ? "data_offsets" : NULL;
    if (missing)
        return error_set(err, ST_CORRUPT, "JSON byte %zu: expected '%s' before the end of an object", r->offset,
                         missing);
out:
    return st;
}

/* Size against shape and file; on success the entry is complete but for its name. */
MUST_USE static Status place(TensorEntry *t, const int64_t range[2], const uint8_t *file_data, size_t data_at,
                             size_t data_bytes, Error *err)
{
    const Status st = tensor_entry_size(t, true, err);
    if (st != ST_OK)
        return st;
    const long long begin = range[0], end = range[1];
    char shape[SHAPE_TEXT_MAX];
    if (begin > end)
        return error_set(err, ST_CORRUPT, "begins at byte %lld of the data but ends at %lld", begin, end);
    if ((uint64_t)end > data_bytes)
        return error_set(err, ST_CORRUPT, "ends at byte %lld of the data, the file has %zu", end, data_bytes);
    if ((uint64_t)(end - begin) != t->bytes)
        return error_set(err, ST_CORRUPT, "has %lld bytes, but shape %s of %s takes %zu", end - begin,
                         tensor_shape_text(shape, t->ndim, t->dims), dtype_info(t->dtype)->name, t->bytes);
    t->offset = data_at + (size_t)begin;
    t->data = file_data + t->offset;
    return ST_OK;
}

/* ---- the header ---- */

typedef struct {
    TensorTable *table;
    const uint8_t *data;
    size_t size, data_at;
    int file;
    size_t first; /* position of this file's first tensor in the table */
    Error *err;
} Reader;

MUST_USE static Status read_tensor(const Reader *d, JsonReader *r)
{
    /* the reader's own copy of a name with escapes is gone once its value is read */
    char name[TENSOR_NAME_MAX + 1];
    const Str key = r->str;
    if (key.len > TENSOR_NAME_MAX)
        return error_set(d->err, ST_CORRUPT, "JSON byte %zu: expected a tensor name of at most %d bytes, found %zu",
                         r->offset, TENSOR_NAME_MAX, key.len);
    memcpy(name, key.ptr, key.len);
    name[key.len] = 0;
    TensorEntry t = {.file = d->file};
    int64_t range[2] = {0, 0};
    Status st = read_info(r, &t, range, d->err);
    if (st == ST_OK)
        st = place(&t, range, d->data, d->data_at, d->size - d->data_at, d->err);
    if (st != ST_OK)
        return error_context(d->err, st, "tensor '%s'", name);
    return tensor_table_add(d->table, (Str){name, key.len}, &t, d->err);
}

/* An object whose members are strings, or null; *text gets its bytes. */
MUST_USE static Status read_metadata(const Reader *d, JsonReader *r, Str *text)
{
    Error *err = d->err;
    Status st = ST_OK;
    TRY(json_next(r, err));
    if (r->token == JSON_TOK_NULL)
        return ST_OK;
    if (r->token != JSON_TOK_OBJECT_BEGIN)
        return json_error_token(r, err, "an object for __metadata__");
    const size_t start = r->offset;
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_OBJECT_END)
            break;
        TRY(json_expect(r, JSON_TOK_STRING, err));
    }
    *text = (Str){(const char *)d->data + HEADER_AT + start, r->end - start};
out:
    return st;
}

MUST_USE static Status read_header(const Reader *d, JsonReader *r, Str *metadata)
{
    Error *err = d->err;
    Status st = ST_OK;
    bool seen = false;
    TRY(json_expect(r, JSON_TOK_OBJECT_BEGIN, err));
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_OBJECT_END)
            break;
        if (str_eq(r->str, "__metadata__")) {
            TRY(once(&seen, "__metadata__", r, err));
            TRY(read_metadata(d, r, metadata));
        } else {
            TRY(read_tensor(d, r));
        }
    }
    TRY(json_expect(r, JSON_TOK_END, err));
out:
    return st;
}

/* ---- tiling ---- */

static int by_offset(const void *a, const void *b)
{
    const TensorEntry *const *x = a, *const *y = b;
    if ((*x)->offset != (*y)->offset)
        return (*x)->offset < (*y)->offset ? -1 : 1;
    return ((*x)->bytes > (*y)->bytes) - ((*x)->bytes < (*y)->bytes);
}

/* In order of their offsets each tensor must begin where the one before it ended. */
MUST_USE static Status check_tiling(const Reader *d, const TensorEntry *const *sorted, size_t n)
{
    uint64_t at = d->data_at;
    const char *before = NULL;
    for (size_t k = 0; k < n; k++) {
        const TensorEntry *t = sorted[k];
        if (t->offset != at)
            return error_set(d->err, ST_CORRUPT,
                             "tensor '%s' begins at byte %llu of the data, expected %llu (%s '%s')", t->name,
                             (unsigned long long)(t->offset - d->data_at), (unsigned long long)(at - d->data_at),
                             t->offset < at ? "it overlaps" : "there is a hole behind",
                             before ? before : "the header");
        at += t->bytes;
        before = t->name;
    }
    if (at != d->size)
        return error_set(d->err, ST_CORRUPT, "the last tensor '%s' ends at byte %llu of the data, the file has %zu",
                         before ? before : "(none)", (unsigned long long)(at - d->data_at), d->size - d->data_at);
    return ST_OK;
}

MUST_USE static Status check_order(const Reader *d)
{
    const size_t n = d->table->count - d->first;
    const TensorEntry **sorted = mem_alloc(n, sizeof *sorted);
    if (!sorted)
        return error_set(d->err, ST_NOMEM, "no memory to check %zu tensors", n);
    bool in_order = true;
    for (size_t k = 0; k < n; k++) {
        sorted[k] = &d->table->items[d->first + k];
        in_order = in_order && (k == 0 || by_offset(&sorted[k - 1], &sorted[k]) <= 0);
    }
    if (!in_order)
        qsort(sorted, n, sizeof *sorted, by_offset);
    const Status st = check_tiling(d, sorted, n);
    mem_free(sorted);
    return st;
}

Status safetensors_read(TensorTable *table, Str *metadata, const void *data, size_t size, int file, Error *err)
{
    const uint8_t *p = data;
    if (size < HEADER_AT)
        return error_set(err, ST_CORRUPT, "expected at least 8 bytes of a safetensors file, found %zu", size);
    const uint64_t n = read_u64(p);
    if (n > SAFETENSORS_HEADER_MAX || n > size - HEADER_AT)
        return error_set(err, ST_CORRUPT,
                         "byte 0: the header's length is %llu, expected at most %zu (is this a safetensors file?)",
                         (unsigned long long)n,
                         size - HEADER_AT < SAFETENSORS_HEADER_MAX ? size - HEADER_AT : SAFETENSORS_HEADER_MAX);
    if (n == 0 || p[HEADER_AT] != '{')
        return error_set(err, ST_CORRUPT, "byte 8: expected '{' at the start of the header, found %s0x%02x",
                         n ? "byte " : "an empty header before ", size > HEADER_AT ? p[HEADER_AT] : 0);
    const Reader d = {table, p, size, HEADER_AT + (size_t)n, file, table->count, err};
    Str text = {NULL, 0};
    JsonReader r;
    json_init(&r, p + HEADER_AT, (size_t)n);
    Status st = read_header(&d, &r, &text);
    json_deinit(&r);
    if (st != ST_OK)
        return error_context(err, st, "header at byte 8");
    st = check_order(&d);
    if (st == ST_OK)
        *metadata = text;
    return st;
}
