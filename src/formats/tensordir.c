/* One door to the three kinds of checkpoint: see tensordir.h. */
#include "formats/tensordir.h"

#include "base/mem.h"
#include "formats/safetensors.h"
#include "formats/tensordir_internal.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Status dir_add_file(TensorDir *dir, const char *path, const DirFile **out, Error *err)
{
    void *files = dir->files;
    Status st = mem_grow(&files, &dir->file_cap, dir->file_count + 1, sizeof *dir->files);
    dir->files = files;
    DirFile f = {.path = st == ST_OK ? mem_strdup(path) : NULL};
    if (!f.path)
        return error_set(err, ST_NOMEM, "no memory to open '%s'", path);
    st = mapfile_open(&f.map, path, err);
    if (st != ST_OK) {
        mem_free(f.path);
        return st;
    }
    dir->files[dir->file_count++] = f;
    *out = &dir->files[dir->file_count - 1];
    return ST_OK;
}

/* ---- GGUF, in one file or split ---- */

/* Read file number `number` (the last one added); *g gets its keys. */
MUST_USE static Status read_gguf_file(TensorDir *dir, const char *path, Gguf **g, Error *err)
{
    const DirFile *file;
    Status st = dir_add_file(dir, path, &file, err);
    if (st != ST_OK)
        return st;
    st = gguf_read(g, &dir->table, file->map.data, file->map.size, (int)dir->file_count - 1, err);
    return st == ST_OK ? st : error_context(err, st, "'%s'", path);
}

/* "NAME-00001-of-0000N.gguf" → the same with `part`, which counts from 1. false: not such a name. */
static bool part_path(char out[PATH_MAX], const char *first, int64_t part, int64_t count)
{
    char tail[40], want[40];
    snprintf(want, sizeof want, "-%05d-of-%05lld.gguf", 1, (long long)count);
    snprintf(tail, sizeof tail, "-%05lld-of-%05lld.gguf", (long long)part, (long long)count);
    const size_t n = strlen(first), w = strlen(want);
    if (n < w || n >= PATH_MAX || strcmp(first + n - w, want) != 0)
        return false;
    memcpy(out, first, n - w);
    memcpy(out + n - w, tail, w + 1);
    return true;
}

MUST_USE static Status read_part(TensorDir *dir, int64_t part, int64_t count, Error *err)
{
    char path[PATH_MAX];
    Gguf *g = NULL;
    if (!part_path(path, dir->path, part, count))
        return error_set(err, ST_INVALID,
                         "'%s': the first of %lld parts, expected a name that ends in -00001-of-%05lld.gguf", dir->path,
                         (long long)count, (long long)count);
    Status st = read_gguf_file(dir, path, &g, err);
    if (st != ST_OK)
        return st;
    const int64_t no = kv_int(gguf_kv(g), "split.no", -1), of = kv_int(gguf_kv(g), "split.count", -1);
    if (no != part - 1 || of != count)
        st = error_set(err, ST_CORRUPT, "'%s': split.no %lld of %lld, expected %lld of %lld", path, (long long)no,
                       (long long)of, (long long)part - 1, (long long)count);
    gguf_destroy(g);
    return st;
}

MUST_USE static Status read_gguf(TensorDir *dir, Error *err)
{
    Status st = ST_OK;
    TRY(read_gguf_file(dir, dir->path, &dir->gguf, err));
    const Kv *kv = gguf_kv(dir->gguf);
    const int64_t count = kv_int(kv, "split.count", 0), no = kv_int(kv, "split.no", 0);
    if (count <= 1)
        return ST_OK;
    if (count > SHARDS_MAX || no != 0)
        return error_set(err, ST_INVALID, "'%s': part %lld of %lld, expected the first (of at most %d)", dir->path,
                         (long long)no + 1, (long long)count, SHARDS_MAX);
    for (int64_t part = 2; part <= count; part++)
        TRY(read_part(dir, part, count, err));
    const int64_t tensors = kv_int(kv, "split.tensors.count", (int64_t)dir->table.count);
    if (tensors != (int64_t)dir->table.count)
        st = error_set(err, ST_CORRUPT, "'%s': split.tensors.count is %lld, the %lld parts have %zu", dir->path,
                       (long long)tensors, (long long)count, dir->table.count);
out:
    return st;
}

/* ---- one safetensors file ---- */

/* The text of the config.json beside the file; *text stays NULL when there is none. */
MUST_USE static Status read_config_beside(const TensorDir *dir, uint8_t **text, size_t *size, Error *err)
{
    char path[PATH_MAX];
    const char *slash = strrchr(dir->path, '/');
    const int folder = slash ? (int)(slash + 1 - dir->path) : 0;
    const int n = snprintf(path, sizeof path, "%.*sconfig.json", folder, dir->path);
    if (n < 0 || (size_t)n >= sizeof path || access(path, R_OK) != 0)
        return ST_OK;
    return file_read_all(text, size, path, CONFIG_BYTES_MAX, err);
}

MUST_USE static Status read_safetensors(TensorDir *dir, Error *err)
{
    const DirFile *file;
    Str metadata = {NULL, 0};
    uint8_t *config = NULL;
    size_t config_size = 0;
    Status st = ST_OK;
    TRY(dir_add_file(dir, dir->path, &file, err));
    TRY(read_config_beside(dir, &config, &config_size, err));
    st = safetensors_read(&dir->table, &metadata, file->map.data, file->map.size, 0, err);
    if (st == ST_OK && config)
        st = json_kv_parse(&dir->json, config, config_size, err);
    else if (st == ST_OK && metadata.ptr)
        st = json_kv_parse(&dir->json, metadata.ptr, metadata.len, err);
    else if (st == ST_OK)
        st = json_kv_parse(&dir->json, "{}", 2, err);
    if (st != ST_OK)
        st = error_context(err, st, "'%s'", dir->path);
out:
    mem_free(config);
    return st;
}

/* ---- opening ---- */

/* GGUF files say so in their first bytes; a safetensors header begins with '{'. */
MUST_USE static Status sniff(TensorDirKind *kind, const char *path, Error *err)
{
    uint8_t head[9] = {0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", path);
    const ssize_t n = pread(fd, head, sizeof head, 0);
    close(fd);
    const char *dot = strrchr(path, '.');
    if (n >= 4 && memcmp(head, "GGUF", 4) == 0)
        *kind = TENSORDIR_GGUF;
    else if ((n == 9 && head[8] == '{') || (dot && strcmp(dot, ".safetensors") == 0))
        *kind = TENSORDIR_SAFETENSORS;
    else if (dot && strcmp(dot, ".gguf") == 0)
        *kind = TENSORDIR_GGUF;
    else
        return error_set(err, ST_INVALID,
                         "'%s': expected a GGUF file, a safetensors file or a model directory", path);
    return ST_OK;
}

MUST_USE static Status find_kind(TensorDirKind *kind, const char *path, Error *err)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return error_errno(err, "cannot open '%s'", path);
    if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode))
        return error_set(err, ST_INVALID, "'%s': expected a file or a model directory", path);
    if (!S_ISDIR(info.st_mode))
        return sniff(kind, path, err);
    *kind = TENSORDIR_HF;
    return ST_OK;
}

Status tensordir_open(TensorDir **out, const char *path, Error *err)
{
    TensorDirKind kind = TENSORDIR_HF;
    Status st = find_kind(&kind, path, err);
    if (st != ST_OK)
        return st;
    TensorDir *dir = mem_alloc(1, sizeof *dir);
    if (!dir)
        return error_set(err, ST_NOMEM, "no memory to open '%s'", path);
    dir->kind = kind;
    dir->path = mem_strdup(path);
    if (!dir->path)
        st = error_set(err, ST_NOMEM, "no memory to open '%s'", path);
    else if (kind == TENSORDIR_GGUF)
        st = read_gguf(dir, err);
    else
        st = kind == TENSORDIR_SAFETENSORS ? read_safetensors(dir, err) : hfdir_read(dir, err);
    if (st != ST_OK) {
        tensordir_close(dir);
        return st;
    }
    *out = dir;
    return ST_OK;
}

void tensordir_close(TensorDir *dir)
{
    if (!dir)
        return;
    gguf_destroy(dir->gguf);
    json_kv_destroy(dir->json);
    tensor_table_free(&dir->table);
    for (size_t k = 0; k < dir->file_count; k++) {
        mapfile_close(&dir->files[k].map);
        mem_free(dir->files[k].path);
    }
    mem_free(dir->files);
    mem_free(dir->path);
    mem_free(dir);
}

/* ---- looking ---- */

TensorDirKind tensordir_kind(const TensorDir *dir)
{
    return dir->kind;
}

const char *tensordir_path(const TensorDir *dir)
{
    return dir->path;
}

const Kv *tensordir_kv(const TensorDir *dir)
{
    return dir->gguf ? gguf_kv(dir->gguf) : json_kv_view(dir->json);
}

int64_t tensordir_count(const TensorDir *dir)
{
    return (int64_t)dir->table.count;
}

const TensorEntry *tensordir_at(const TensorDir *dir, int64_t i)
{
    CHECK(i >= 0);
    CHECK((size_t)i < dir->table.count);
    return &dir->table.items[i];
}

const TensorEntry *tensordir_find(const TensorDir *dir, const char *name)
{
    return tensor_table_find(&dir->table, (Str){name, strlen(name)});
}

int tensordir_file_count(const TensorDir *dir)
{
    return (int)dir->file_count;
}

const char *tensordir_file_path(const TensorDir *dir, int file)
{
    CHECK(file >= 0);
    CHECK((size_t)file < dir->file_count);
    return dir->files[file].path;
}
