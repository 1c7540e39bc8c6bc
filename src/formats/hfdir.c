/* A Hugging Face model directory: config.json, and model.safetensors or the shards that
 * model.safetensors.index.json names. Tokenizer and generation files are for others. */
#include "formats/tensordir_internal.h"

#include "base/json.h"
#include "base/mem.h"
#include "formats/safetensors.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INDEX_NAME "model.safetensors.index.json"

/* ---- the index ---- */

void hf_index_free(HfIndex *index)
{
    arena_free(&index->text);
    strmap_free(&index->tensors);
    strmap_free(&index->by_shard);
    mem_free(index->names);
    mem_free(index->shards);
    *index = (HfIndex){.name_count = 0};
}

static Status no_memory(const HfIndex *index, Error *err)
{
    return error_set(err, ST_NOMEM, "no memory for an index of tensors (%zu so far)", index->name_count);
}

/* A plain name in the same directory, nothing that leads elsewhere. */
static bool is_plain_file_name(Str s)
{
    if (s.len == 0 || s.len > NAME_MAX || memchr(s.ptr, '/', s.len) || memchr(s.ptr, '\\', s.len) ||
        memchr(s.ptr, 0, s.len))
        return false;
    return !str_eq(s, ".") && !str_eq(s, "..");
}

/* The position of a shard, added when it is new. */
MUST_USE static Status shard_number(HfIndex *index, const JsonReader *r, int64_t *out, Error *err)
{
    const Str name = r->str;
    if (strmap_find(&index->by_shard, name, out))
        return ST_OK;
    if (!is_plain_file_name(name))
        return error_set(err, ST_CORRUPT,
                         "JSON byte %zu: expected a file name without separators, found '%.*s'", r->offset,
                         name.len < 100 ? (int)name.len : 100, name.ptr);
    if (index->shard_count == SHARDS_MAX)
        return error_set(err, ST_UNSUPPORTED, "JSON byte %zu: expected at most %d files", r->offset, SHARDS_MAX);
    void *shards = index->shards;
    Status st = mem_grow(&shards, &index->shard_cap, index->shard_count + 1, sizeof *index->shards);
    index->shards = shards;
    const char *copy = st == ST_OK ? arena_strndup(&index->text, name.ptr, name.len) : NULL;
    if (!copy || strmap_add(&index->by_shard, (Str){copy, name.len}, (int64_t)index->shard_count) != ST_OK)
        return no_memory(index, err);
    *out = (int64_t)index->shard_count;
    index->shards[index->shard_count++] = copy;
    return ST_OK;
}

/* One "tensor": "file" of the map; the reader stands at the key. */
MUST_USE static Status read_entry(HfIndex *index, JsonReader *r, Error *err)
{
    const size_t at = r->offset;
    if (index->name_count >= TENSORS_MAX)
        return error_set(err, ST_UNSUPPORTED, "JSON byte %zu: expected at most %d tensors", at, TENSORS_MAX);
    const char *copy = arena_strndup(&index->text, r->str.ptr, r->str.len);
    if (!copy)
        return no_memory(index, err);
    const Str name = {copy, r->str.len};
    void *names = index->names;
    Status st = mem_grow(&names, &index->name_cap, index->name_count + 1, sizeof *index->names);
    index->names = names;
    if (st != ST_OK)
        return no_memory(index, err);
    int64_t shard;
    TRY(json_expect(r, JSON_TOK_STRING, err));
    TRY(shard_number(index, r, &shard, err));
    st = strmap_add(&index->tensors, name, shard);
    if (st == ST_INVALID)
        return error_set(err, ST_CORRUPT, "JSON byte %zu: tensor '%.*s' appears twice", at,
                         name.len < 200 ? (int)name.len : 200, name.ptr);
    if (st != ST_OK)
        return no_memory(index, err);
    index->names[index->name_count++] = name;
out:
    return st;
}

MUST_USE static Status read_weight_map(HfIndex *index, JsonReader *r, Error *err)
{
    Status st = ST_OK;
    TRY(json_expect(r, JSON_TOK_OBJECT_BEGIN, err));
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_OBJECT_END)
            break;
        TRY(read_entry(index, r, err));
    }
out:
    return st;
}

Status hf_index_parse(HfIndex *index, const void *text, size_t size, Error *err)
{
    JsonReader r;
    Status st = ST_OK;
    bool seen = false;
    json_init(&r, text, size);
    TRY(json_expect(&r, JSON_TOK_OBJECT_BEGIN, err));
    for (;;) {
        TRY(json_next(&r, err));
        if (r.token == JSON_TOK_OBJECT_END)
            break;
        if (str_eq(r.str, "weight_map") && seen) {
            st = error_set(err, ST_CORRUPT, "JSON byte %zu: expected one 'weight_map', found a second", r.offset);
            goto out;
        }
        if (str_eq(r.str, "weight_map")) {
            seen = true;
            TRY(read_weight_map(index, &r, err));
        } else {
            TRY(json_skip(&r, err));
        }
    }
    TRY(json_expect(&r, JSON_TOK_END, err));
    if (!seen)
        st = error_set(err, ST_CORRUPT, "expected an object with 'weight_map'");
out:
    json_deinit(&r);
    return st;
}

/* ---- the directory ---- */

MUST_USE static Status join(char out[PATH_MAX], const TensorDir *dir, const char *name, Error *err)
{
    const size_t n = strlen(dir->path);
    const int len = snprintf(out, PATH_MAX, "%s%s%s", dir->path, n && dir->path[n - 1] == '/' ? "" : "/", name);
    if (len < 0 || len >= PATH_MAX)
        return error_set(err, ST_INVALID, "path too long: '%s/%s'", dir->path, name);
    return ST_OK;
}

MUST_USE static Status read_config(TensorDir *dir, Error *err)
{
    char path[PATH_MAX];
    uint8_t *text = NULL;
    size_t size = 0;
    Status st = ST_OK;
    TRY(join(path, dir, "config.json", err));
    if (access(path, F_OK) != 0)
        return error_set(err, ST_NOTFOUND, "'%s' has no config.json (is it a model directory?)", dir->path);
    TRY(file_read_all(&text, &size, path, CONFIG_BYTES_MAX, err));
    st = json_kv_parse(&dir->json, text, size, err);
    if (st != ST_OK)
        st = error_context(err, st, "'%s'", path);
out:
    mem_free(text);
    return st;
}

/* Add the file's tensors to the directory: all of them, or those that the index finds in it. */
MUST_USE static Status add_shard(TensorDir *dir, const char *name, const HfIndex *index, int64_t shard, Error *err)
{
    char path[PATH_MAX];
    const DirFile *file;
    TensorTable found = {0};
    Str metadata = {NULL, 0};
    Status st = ST_OK;
    TRY(join(path, dir, name, err));
    TRY(dir_add_file(dir, path, &file, err));
    const int number = (int)dir->file_count - 1;
    TensorTable *table = index ? &found : &dir->table;
    st = safetensors_read(table, &metadata, file->map.data, file->map.size, number, err);
    for (size_t k = 0; k < found.count && st == ST_OK; k++) {
        const Str tensor = {found.items[k].name, strlen(found.items[k].name)};
        int64_t where = -1;
        if (strmap_find(&index->tensors, tensor, &where) && where == shard)
            st = tensor_table_add(&dir->table, tensor, &found.items[k], err);
    }
    if (st != ST_OK)
        st = error_context(err, st, "'%s'", path);
out:
    tensor_table_free(&found);
    return st;
}

static int by_name(const void *a, const void *b, void *arg)
{
    const char *const *shards = arg;
    return strcmp(shards[*(const size_t *)a], shards[*(const size_t *)b]);
}

/* Every shard once, in the order of their names. */
MUST_USE static Status add_shards(TensorDir *dir, const HfIndex *index, Error *err)
{
    Status st = ST_OK;
    size_t *order = mem_alloc(index->shard_count, sizeof *order);
    if (!order)
        return error_set(err, ST_NOMEM, "no memory for %zu files", index->shard_count);
    for (size_t k = 0; k < index->shard_count; k++)
        order[k] = k;
    qsort_r(order, index->shard_count, sizeof *order, by_name, index->shards);
    for (size_t k = 0; k < index->shard_count; k++) {
        st = add_shard(dir, index->shards[order[k]], index, (int64_t)order[k], err);
        if (st != ST_OK) {
            st = error_context(err, st, "a file that %s names", INDEX_NAME);
            goto out;
        }
    }
    for (size_t k = 0; k < index->name_count; k++) {
        int64_t shard = 0;
        if (tensor_table_find(&dir->table, index->names[k]))
            continue;
        CHECK(strmap_find(&index->tensors, index->names[k], &shard));
        st = error_set(err, ST_CORRUPT, "'%s': %s names file '%s' for tensor '%.*s', which is not in it", dir->path,
                       INDEX_NAME, index->shards[shard], (int)(index->names[k].len < 200 ? index->names[k].len : 200),
                       index->names[k].ptr);
        break;
    }
out:
    mem_free(order);
    return st;
}

MUST_USE static Status read_indexed(TensorDir *dir, const char *path, Error *err)
{
    HfIndex index = {.name_count = 0};
    MapFile map = {0};
    Status st = ST_OK;
    TRY(mapfile_open(&map, path, err));
    st = map.size > INDEX_BYTES_MAX
             ? error_set(err, ST_CORRUPT, "%zu bytes, expected at most %zu", map.size, INDEX_BYTES_MAX)
             : hf_index_parse(&index, map.data, map.size, err);
    if (st != ST_OK) {
        st = error_context(err, st, "'%s'", path);
        goto out;
    }
    TRY(add_shards(dir, &index, err));
out:
    hf_index_free(&index);
    mapfile_close(&map);
    return st;
}

Status hfdir_read(TensorDir *dir, Error *err)
{
    char path[PATH_MAX];
    Status st = ST_OK;
    TRY(read_config(dir, err));
    TRY(join(path, dir, "model.safetensors", err));
    if (access(path, F_OK) == 0)
        return add_shard(dir, "model.safetensors", NULL, 0, err);
    TRY(join(path, dir, INDEX_NAME, err));
    if (access(path, F_OK) == 0)
        return read_indexed(dir, path, err);
    st = error_set(err, ST_NOTFOUND, "'%s' has a config.json but no weights: expected model.safetensors or %s",
                   dir->path, INDEX_NAME);
out:
    return st;
}
