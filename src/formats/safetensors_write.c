/* Writing safetensors: see safetensors.h. Offsets are known before the first byte of data, so tensors are
 * written straight to their places, in any order, and nothing is held in memory but the header. */
#include "formats/safetensors.h"

#include "base/arena.h"
#include "base/atomic_file.h"
#include "base/json_write.h"
#include "base/mem.h"
#include "formats/tensor_table.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHARDS_MAX = 99999 };

typedef struct {
    AtomicFile file;
    uint64_t data_at; /* where the tensors' bytes begin */
    uint64_t bytes;   /* of all its tensors */
    char name[64];    /* of a shard, without directory */
} Shard;

typedef struct {
    const char *key, *value; /* in the arena */
} Meta;

struct SafetensorsWriter {
    const Files *fs;
    TensorTable tensors; /* offset: in the data of its shard; file: its shard */
    uint64_t *written;   /* per tensor */
    size_t *order;       /* positions in `tensors`, as they lie in the files */
    Shard *shards;
    size_t shard_count;
    Meta *metas;
    size_t meta_count, meta_cap;
    Arena text;
    char *dir; /* of a sharded checkpoint; NULL: one file */
    bool begun;
};

/* The reference writer's order of types: wide alignment first. */
static int type_rank(Dtype t)
{
    static const Dtype order[] = {DT_U64, DT_I64, DT_F64,  DT_C64,     DT_F32,     DT_U32,     DT_I32, DT_BF16, DT_F16,
                                  DT_U16, DT_I16, DT_F8_E8M0, DT_F8_E4M3, DT_F8_E5M2, DT_I8, DT_U8,  DT_F4,   DT_BOOL};
    const int n = sizeof order / sizeof *order;
    for (int k = 0; k < n; k++)
        if (order[k] == t)
            return k;
    return -1;
}

Status safetensors_writer_create(SafetensorsWriter **out, Error *err)
{
    SafetensorsWriter *w = mem_alloc(1, sizeof *w);
    if (!w)
        return error_set(err, ST_NOMEM, "no memory for a safetensors writer");
    w->fs = files_real();
    *out = w;
    return ST_OK;
}

void safetensors_writer_files(SafetensorsWriter *w, const Files *fs)
{
    CHECK(!w->begun);
    w->fs = fs;
}

void safetensors_writer_destroy(SafetensorsWriter *w)
{
    if (!w)
        return;
    for (size_t k = 0; k < w->shard_count; k++)
        atomic_file_abandon(&w->shards[k].file);
    mem_free(w->shards);
    mem_free(w->written);
    mem_free(w->order);
    mem_free(w->metas);
    mem_free(w->dir);
    tensor_table_free(&w->tensors);
    arena_free(&w->text);
    mem_free(w);
}

Status safetensors_writer_meta(SafetensorsWriter *w, const char *key, const char *value, Error *err)
{
    CHECK(!w->begun);
    for (size_t k = 0; k < w->meta_count; k++)
        if (strcmp(w->metas[k].key, key) == 0)
            return error_set(err, ST_INVALID, "metadata '%s' is given twice", key);
    void *metas = w->metas;
    const Status st = mem_grow(&metas, &w->meta_cap, w->meta_count + 1, sizeof *w->metas);
    w->metas = metas;
    const Meta m = {arena_strndup(&w->text, key, strlen(key)), arena_strndup(&w->text, value, strlen(value))};
    if (st != ST_OK || !m.key || !m.value)
        return error_set(err, ST_NOMEM, "no memory for the metadata of a safetensors file");
    w->metas[w->meta_count++] = m;
    return ST_OK;
}

Status safetensors_writer_declare(SafetensorsWriter *w, const char *name, Dtype dtype, int ndim, const int64_t *dims,
                                  Error *err)
{
    CHECK(!w->begun);
    CHECK(ndim >= 0);
    CHECK(ndim <= TENSOR_DIMS_MAX);
    if (type_rank(dtype) < 0)
        return error_set(err, ST_INVALID, "tensor '%s': safetensors has no type %s", name, dtype_info(dtype)->name);
    if (strcmp(name, "__metadata__") == 0)
        return error_set(err, ST_INVALID, "tensor '%s': the name is taken by the format", name);
    TensorEntry t = {.dtype = dtype, .ndim = ndim};
    for (int k = 0; k < ndim; k++) {
        CHECK(dims[k] >= 0);
        t.dims[k] = dims[k];
    }
    Status st = tensor_entry_size(&t, true, err);
    if (st != ST_OK)
        return error_context(err, ST_INVALID, "tensor '%s'", name);
    st = tensor_table_add(&w->tensors, (Str){name, strlen(name)}, &t, err);
    return st == ST_CORRUPT ? error_context(err, ST_INVALID, "writing safetensors") : st;
}

/* ---- layout ---- */

/* Greedy: a tensor that does not fit into the current shard opens the next one. */
MUST_USE static Status assign_shards(SafetensorsWriter *w, uint64_t bytes_max, Error *err)
{
    uint64_t filled = 0;
    int shard = 0;
    for (size_t k = 0; k < w->tensors.count; k++) {
        TensorEntry *t = &w->tensors.items[k];
        if (bytes_max && filled > 0 && (filled > bytes_max || t->bytes > bytes_max - filled)) {
            shard++;
            filled = 0;
        }
        t->file = shard;
        if (__builtin_add_overflow(filled, t->bytes, &filled) || shard >= SHARDS_MAX)
            return error_set(err, ST_INVALID, "tensor '%s': the checkpoint is too large (shard %d)", t->name, shard + 1);
    }
    w->shard_count = 0; /* until they exist */
    w->shards = mem_alloc((size_t)shard + 1, sizeof *w->shards);
    if (!w->shards)
        return error_set(err, ST_NOMEM, "no memory for %d shards", shard + 1);
    w->shard_count = (size_t)shard + 1;
    return ST_OK;
}

static int by_layout(const void *a, const void *b, void *arg)
{
    const TensorEntry *items = arg;
    const TensorEntry *x = &items[*(const size_t *)a], *y = &items[*(const size_t *)b];
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    const int rx = type_rank(x->dtype), ry = type_rank(y->dtype);
    return rx != ry ? (rx < ry ? -1 : 1) : strcmp(x->name, y->name);
}

MUST_USE static Status lay_out(SafetensorsWriter *w, Error *err)
{
    const size_t n = w->tensors.count;
    w->order = mem_alloc(n, sizeof *w->order);
    w->written = mem_alloc(n, sizeof *w->written);
    if (!w->order || !w->written)
        return error_set(err, ST_NOMEM, "no memory for the layout of %zu tensors", n);
    for (size_t k = 0; k < n; k++)
        w->order[k] = k;
    qsort_r(w->order, n, sizeof *w->order, by_layout, w->tensors.items);
    for (size_t k = 0; k < n; k++) {
        TensorEntry *t = &w->tensors.items[w->order[k]];
        t->offset = w->shards[t->file].bytes;
        w->shards[t->file].bytes += t->bytes;
    }
    return ST_OK;
}

/* ---- headers ---- */

static void put_meta(const SafetensorsWriter *w, JsonWriter *j)
{
    if (w->meta_count == 0)
        return;
    json_write_key(j, "__metadata__");
    json_write_object_begin(j);
    for (size_t k = 0; k < w->meta_count; k++) {
        json_write_key(j, w->metas[k].key);
        json_write_string(j, w->metas[k].value);
    }
    json_write_object_end(j);
}

static void put_tensor(const TensorEntry *t, JsonWriter *j)
{
    json_write_key(j, t->name);
    json_write_object_begin(j);
    json_write_key(j, "dtype");
    json_write_string(j, dtype_info(t->dtype)->name);
    json_write_key(j, "shape");
    json_write_array_begin(j);
    for (int k = 0; k < t->ndim; k++)
        json_write_int(j, t->dims[k]);
    json_write_array_end(j);
    json_write_key(j, "data_offsets");
    json_write_array_begin(j);
    json_write_int(j, (int64_t)t->offset);
    json_write_int(j, (int64_t)(t->offset + t->bytes));
    json_write_array_end(j);
    json_write_object_end(j);
}

MUST_USE static Status write_header(SafetensorsWriter *w, size_t shard, Error *err)
{
    Shard *s = &w->shards[shard];
    JsonWriter j;
    json_write_init(&j, 0, SAFETENSORS_HEADER_MAX);
    json_write_object_begin(&j);
    put_meta(w, &j);
    for (size_t k = 0; k < w->tensors.count; k++) {
        const TensorEntry *t = &w->tensors.items[w->order[k]];
        if ((size_t)t->file == shard)
            put_tensor(t, &j);
    }
    json_write_object_end(&j);
    Status st = ST_OK;
    TRY(json_write_finish(&j, err));
    const uint64_t n = (j.len + 7) / 8 * 8;
    uint8_t length[8];
    for (int k = 0; k < 8; k++)
        length[k] = (uint8_t)(n >> (8 * k));
    TRY(atomic_file_write(&s->file, 0, length, 8, err));
    TRY(atomic_file_write(&s->file, 8, j.buf, j.len, err));
    TRY(atomic_file_write(&s->file, 8 + j.len, "       ", n - j.len, err));
    s->data_at = 8 + n;
out:
    json_write_deinit(&j);
    return st;
}

/* ---- files ---- */

MUST_USE static Status join_path(char out[PATH_MAX], const char *dir, const char *name, Error *err)
{
    const int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);
    if (n < 0 || n >= PATH_MAX)
        return error_set(err, ST_INVALID, "path too long: '%s/%s'", dir, name);
    return ST_OK;
}

MUST_USE static Status open_shard(SafetensorsWriter *w, size_t shard, const char *path, Error *err)
{
    Shard *s = &w->shards[shard];
    char joined[PATH_MAX];
    Status st = ST_OK;
    if (w->dir) {
        if (w->shard_count == 1)
            snprintf(s->name, sizeof s->name, "model.safetensors");
        else
            snprintf(s->name, sizeof s->name, "model-%05zu-of-%05zu.safetensors", shard + 1, w->shard_count);
        TRY(join_path(joined, w->dir, s->name, err));
        path = joined;
    }
    TRY(atomic_file_open(&s->file, w->fs, path, err));
    TRY(write_header(w, shard, err));
out:
    return st;
}

Status safetensors_writer_begin(SafetensorsWriter *w, const char *path, uint64_t shard_bytes_max, Error *err)
{
    CHECK(!w->begun);
    w->begun = true;
    Status st = ST_OK;
    if (shard_bytes_max) {
        w->dir = mem_strdup(path);
        if (!w->dir)
            return error_set(err, ST_NOMEM, "no memory to write '%s'", path);
    }
    TRY(assign_shards(w, shard_bytes_max, err));
    TRY(lay_out(w, err));
    for (size_t k = 0; k < w->shard_count; k++)
        TRY(open_shard(w, k, path, err));
out:
    return st;
}

Status safetensors_writer_write(SafetensorsWriter *w, const char *name, const void *data, size_t bytes, Error *err)
{
    CHECK(w->begun);
    const TensorEntry *t = tensor_table_find(&w->tensors, (Str){name, strlen(name)});
    if (!t)
        return error_set(err, ST_INVALID, "tensor '%s' was not declared", name);
    uint64_t *written = &w->written[t - w->tensors.items];
    if (bytes > t->bytes - *written)
        return error_set(err, ST_INVALID, "tensor '%s': %zu bytes more than its %zu", name,
                         bytes - (t->bytes - (size_t)*written), t->bytes);
    Shard *s = &w->shards[t->file];
    CHECK(s->file.path);
    const Status st = atomic_file_write(&s->file, s->data_at + t->offset + *written, data, bytes, err);
    if (st == ST_OK)
        *written += bytes;
    return st;
}

MUST_USE static Status check_complete(const SafetensorsWriter *w, Error *err)
{
    for (size_t k = 0; k < w->tensors.count; k++) {
        const TensorEntry *t = &w->tensors.items[k];
        if (w->written[k] != t->bytes)
            return error_set(err, ST_INVALID, "tensor '%s': %llu of its %zu bytes were written", t->name,
                             (unsigned long long)w->written[k], t->bytes);
    }
    return ST_OK;
}

static int by_name(const void *a, const void *b, void *arg)
{
    const TensorEntry *items = arg;
    return strcmp(items[*(const size_t *)a].name, items[*(const size_t *)b].name);
}

/* {"metadata": {"total_size"}, "weight_map"} sorted by name, indented as the usual writer does. */
MUST_USE static Status write_index(SafetensorsWriter *w, Error *err)
{
    const size_t n = w->tensors.count;
    uint64_t total = 0;
    for (size_t k = 0; k < w->shard_count; k++)
        total += w->shards[k].bytes;
    qsort_r(w->order, n, sizeof *w->order, by_name, w->tensors.items);
    JsonWriter j;
    json_write_init(&j, 2, (size_t)1 << 31);
    json_write_object_begin(&j);
    json_write_key(&j, "metadata");
    json_write_object_begin(&j);
    json_write_key(&j, "total_size");
    json_write_int(&j, (int64_t)total);
    json_write_object_end(&j);
    json_write_key(&j, "weight_map");
    json_write_object_begin(&j);
    for (size_t k = 0; k < n; k++) {
        const TensorEntry *t = &w->tensors.items[w->order[k]];
        json_write_key(&j, t->name);
        json_write_string(&j, w->shards[t->file].name);
    }
    json_write_object_end(&j);
    json_write_object_end(&j);
    char path[PATH_MAX];
    AtomicFile file = {0};
    Status st = ST_OK;
    TRY(json_write_finish(&j, err));
    TRY(join_path(path, w->dir, "model.safetensors.index.json", err));
    TRY(atomic_file_open(&file, w->fs, path, err));
    TRY(atomic_file_write(&file, 0, j.buf, j.len, err));
    TRY(atomic_file_write(&file, j.len, "\n", 1, err));
    TRY(atomic_file_commit(&file, err));
out:
    atomic_file_abandon(&file);
    json_write_deinit(&j);
    return st;
}

Status safetensors_writer_finish(SafetensorsWriter *w, Error *err)
{
    CHECK(w->begun);
    Status st = ST_OK;
    TRY(check_complete(w, err));
    for (size_t k = 0; k < w->shard_count; k++)
        TRY(atomic_file_commit(&w->shards[k].file, err));
    if (w->dir && w->shard_count > 1)
        TRY(write_index(w, err));
out:
    return st;
}

Status safetensors_save_in(const Files *fs, const char *path, const SafetensorsItem *items, int64_t count,
                           const char *const *meta, Error *err)
{
    SafetensorsWriter *w = NULL;
    Status st = ST_OK;
    TRY(safetensors_writer_create(&w, err));
    safetensors_writer_files(w, fs);
    for (; meta && *meta; meta += 2)
        TRY(safetensors_writer_meta(w, meta[0], meta[1], err));
    for (int64_t k = 0; k < count; k++)
        TRY(safetensors_writer_declare(w, items[k].name, items[k].dtype, items[k].ndim, items[k].dims, err));
    TRY(safetensors_writer_begin(w, path, 0, err));
    for (int64_t k = 0; k < count; k++) {
        const TensorEntry *t = tensor_table_find(&w->tensors, (Str){items[k].name, strlen(items[k].name)});
        TRY(safetensors_writer_write(w, items[k].name, items[k].data, t->bytes, err));
    }
    TRY(safetensors_writer_finish(w, err));
out:
    safetensors_writer_destroy(w);
    return st;
}

Status safetensors_save(const char *path, const SafetensorsItem *items, int64_t count, const char *const *meta,
                        Error *err)
{
    return safetensors_save_in(files_real(), path, items, count, meta, err);
}
