/* See tensor_table.h. Names are copied, because file headers do not terminate them. */
#include "formats/tensor_table.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

void tensor_table_free(TensorTable *t)
{
    mem_free(t->items);
    strmap_free(&t->index);
    arena_free(&t->names);
    *t = (TensorTable){0};
}

MUST_USE static Status check_name(Str name, Error *err)
{
    if (name.len == 0)
        return error_set(err, ST_CORRUPT, "a tensor has an empty name");
    if (name.len > TENSOR_NAME_MAX)
        return error_set(err, ST_CORRUPT, "a tensor's name has %zu bytes, expected at most %d ('%.40s...')",
                         name.len, TENSOR_NAME_MAX, name.ptr);
    if (memchr(name.ptr, 0, name.len))
        return error_set(err, ST_CORRUPT, "tensor '%.*s': its name holds a zero byte",
                         (int)strnlen(name.ptr, name.len), name.ptr);
    return ST_OK;
}

Status tensor_table_add(TensorTable *t, Str name, const TensorEntry *entry, Error *err)
{
    const Status name_st = check_name(name, err);
    if (name_st != ST_OK)
        return name_st;
    if (t->count >= TENSORS_MAX)
        return error_set(err, ST_UNSUPPORTED, "more than %d tensors", TENSORS_MAX);
    void *items = t->items;
    Status st = mem_grow(&items, &t->cap, t->count + 1, sizeof *t->items);
    t->items = items;
    const char *copy = st == ST_OK ? arena_strndup(&t->names, name.ptr, name.len) : NULL;
    if (copy)
        st = strmap_add(&t->index, (Str){copy, name.len}, (int64_t)t->count);
    if (st == ST_INVALID)
        return error_set(err, ST_CORRUPT, "tensor '%s' appears twice", copy);
    if (!copy || st != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for the list of tensors (%zu so far)", t->count);
    t->items[t->count] = *entry;
    t->items[t->count].name = copy;
    t->count++;
    return ST_OK;
}

const TensorEntry *tensor_table_find(const TensorTable *t, Str name)
{
    int64_t i;
    return strmap_find(&t->index, name, &i) ? &t->items[i] : NULL;
}

char *tensor_shape_text(char buf[SHAPE_TEXT_MAX], int ndim, const int64_t *dims)
{
    size_t len = 0;
    buf[len++] = '[';
    for (int k = 0; k < ndim; k++)
        len += (size_t)snprintf(buf + len, SHAPE_TEXT_MAX - len, "%s%lld", k ? ", " : "", (long long)dims[k]);
    buf[len++] = ']';
    buf[len] = 0;
    return buf;
}

Status tensor_entry_size(TensorEntry *entry, bool whole, Error *err)
{
    const DtypeInfo *info = dtype_info(entry->dtype);
    char shape[SHAPE_TEXT_MAX];
    int64_t n = 1;
    for (int k = 0; k < entry->ndim; k++)
        if (__builtin_mul_overflow(n, entry->dims[k], &n))
            return error_set(err, ST_CORRUPT, "shape %s has more elements than 63 bits count",
                             tensor_shape_text(shape, entry->ndim, entry->dims));
    const int64_t row = whole || entry->ndim == 0 ? n : entry->dims[entry->ndim - 1];
    if (row % info->block_elements != 0)
        return error_set(err, ST_CORRUPT, "shape %s does not fill blocks of %d elements (%s)",
                         tensor_shape_text(shape, entry->ndim, entry->dims), info->block_elements, info->name);
    size_t bytes;
    if (!size_mul((size_t)(n / info->block_elements), (size_t)info->block_bytes, &bytes))
        return error_set(err, ST_CORRUPT, "shape %s of %s has more bytes than 64 bits count",
                         tensor_shape_text(shape, entry->ndim, entry->dims), info->name);
    entry->elements = n;
    entry->bytes = bytes;
    return ST_OK;
}
