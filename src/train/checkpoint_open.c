/* Finding the newest complete checkpoint: see checkpoint.h. */
#include "train/checkpoint_internal.h"

#include "base/digest.h"
#include "base/json.h"
#include "base/mem.h"
#include "formats/tensor_table.h"

#include <stdio.h>
#include <string.h>

#define MANIFEST_FILES_MAX 1000
#define MANIFEST_NAME_MAX 200

typedef struct {
    char *name; /* owned */
    uint64_t bytes;
    char sha256[SHA256_HEX_SIZE];
    MapFile map;
} CheckpointFile;

struct Checkpoint {
    const Files *fs;
    char *path; /* owned */
    int64_t step;
    CheckpointFile *files; /* owned */
    size_t count, cap;
    TensorTable weights, state;
};

/* ---- manifest ---- */

/* A name stays inside the checkpoint: parts of letters, digits and "._-", none of which begins with a dot. */
static bool is_plain_name(Str s)
{
    bool first = true;
    if (s.len == 0 || s.len > MANIFEST_NAME_MAX)
        return false;
    for (size_t k = 0; k < s.len; k++) {
        const char c = s.ptr[k];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (c == '/' ? first || k + 1 == s.len : !(letter || c == '_' || c == '-' || (c == '.' && !first)))
            return false;
        first = c == '/';
    }
    return true;
}

static Status bad_manifest(Error *err, const char *what)
{
    return error_set(err, ST_CORRUPT, "%s", what);
}

MUST_USE static Status read_file_entry(JsonReader *j, CheckpointFile *f, Error *err)
{
    Status st = ST_OK;
    int64_t bytes = -1;
    for (;;) {
        TRY(json_next(j, err));
        if (j->token == JSON_TOK_OBJECT_END)
            break;
        if (str_eq(j->str, "name")) {
            TRY(json_expect(j, JSON_TOK_STRING, err));
            if (!is_plain_name(j->str) || f->name)
                return bad_manifest(err, "a file has a name that no file of a checkpoint has");
            f->name = mem_strndup(j->str.ptr, j->str.len);
            if (!f->name)
                return error_set(err, ST_NOMEM, "no memory for a manifest");
        } else if (str_eq(j->str, "bytes")) {
            TRY(json_expect(j, JSON_TOK_INT, err));
            bytes = j->i;
        } else if (str_eq(j->str, "sha256")) {
            TRY(json_expect(j, JSON_TOK_STRING, err));
            if (j->str.len != SHA256_HEX_SIZE - 1)
                return bad_manifest(err, "a digest has not 64 digits");
            memcpy(f->sha256, j->str.ptr, SHA256_HEX_SIZE - 1);
        } else {
            TRY(json_skip(j, err));
        }
    }
    if (!f->name || bytes < 0 || !*f->sha256)
        return bad_manifest(err, "a file lacks name, bytes or sha256");
    f->bytes = (uint64_t)bytes;
out:
    return st;
}

MUST_USE static Status read_file_list(Checkpoint *c, JsonReader *j, Error *err)
{
    Status st = ST_OK;
    TRY(json_expect(j, JSON_TOK_ARRAY_BEGIN, err));
    for (;;) {
        TRY(json_next(j, err));
        if (j->token == JSON_TOK_ARRAY_END)
            break;
        if (j->token != JSON_TOK_OBJECT_BEGIN)
            return json_error_token(j, err, "a file, an object");
        void *files = c->files;
        if (c->count == MANIFEST_FILES_MAX)
            return bad_manifest(err, "too many files");
        if (mem_grow(&files, &c->cap, c->count + 1, sizeof *c->files) != ST_OK)
            return error_set(err, ST_NOMEM, "no memory for a manifest");
        c->files = files;
        c->files[c->count++] = (CheckpointFile){0};
        TRY(read_file_entry(j, &c->files[c->count - 1], err));
    }
out:
    return st;
}

MUST_USE static Status read_manifest(Checkpoint *c, JsonReader *j, Error *err)
{
    int64_t version = -1, step = -1;
    Status st = ST_OK;
    TRY(json_expect(j, JSON_TOK_OBJECT_BEGIN, err));
    for (;;) {
        TRY(json_next(j, err));
        if (j->token == JSON_TOK_OBJECT_END)
            break;
        if (str_eq(j->str, "version")) {
            TRY(json_expect(j, JSON_TOK_INT, err));
            version = j->i;
            if (version != MANIFEST_VERSION)
                return error_set(err, ST_UNSUPPORTED, "version %lld, this program knows %d",
                                 (long long)version, MANIFEST_VERSION);
        } else if (str_eq(j->str, "step")) {
            TRY(json_expect(j, JSON_TOK_INT, err));
            step = j->i;
        } else if (str_eq(j->str, "files")) {
            TRY(read_file_list(c, j, err));
        } else {
            TRY(json_skip(j, err));
        }
    }
    TRY(json_next(j, err));
    if (version < 0 || step != c->step || c->count == 0)
        return bad_manifest(err, "it lacks its version or files, or is of another step");
out:
    return st;
}

/* ---- files ---- */

MUST_USE static Status open_file(const Checkpoint *c, CheckpointFile *f, Error *err)
{
    char path[FILES_PATH_MAX], hex[SHA256_HEX_SIZE];
    Status st = ST_OK;
    TRY(files_join(path, c->path, f->name, err));
    TRY(c->fs->map(c->fs->self, &f->map, path, err));
    if (f->map.size != f->bytes)
        return error_set(err, ST_CORRUPT, "%s has %zu bytes, the manifest says %llu", f->name, f->map.size,
                         (unsigned long long)f->bytes);
    TRY(digest_bytes(hex, f->map.data, f->map.size, err));
    if (strcmp(hex, f->sha256) != 0)
        return error_set(err, ST_CORRUPT, "%s has other bytes than the manifest says", f->name);
out:
    return st;
}

static const CheckpointFile *file_named(const Checkpoint *c, const char *name)
{
    for (size_t k = 0; k < c->count; k++)
        if (strcmp(c->files[k].name, name) == 0)
            return &c->files[k];
    return NULL;
}

MUST_USE static Status open_tensors(const Checkpoint *c, const char *name, TensorTable *table, Error *err)
{
    const CheckpointFile *f = file_named(c, name);
    Str metadata;
    if (!f)
        return error_set(err, ST_CORRUPT, "%s is not in the manifest", name);
    const Status st = safetensors_read(table, &metadata, f->map.data, f->map.size, 0, err);
    return st == ST_OK ? st : error_context(err, st, "%s", name);
}

MUST_USE static Status open_all(Checkpoint *c, Error *err)
{
    char path[FILES_PATH_MAX];
    MapFile m = {0};
    JsonReader j;
    Status st = files_join(path, c->path, MANIFEST_NAME, err);
    if (st == ST_OK)
        st = c->fs->map(c->fs->self, &m, path, err);
    if (st != ST_OK)
        return st;
    json_init(&j, m.data, m.size);
    st = read_manifest(c, &j, err);
    if (st != ST_OK) {
        (void)error_context(err, st, "%s", MANIFEST_NAME);
        goto out;
    }
    for (size_t k = 0; k < c->count; k++)
        TRY(open_file(c, &c->files[k], err));
    TRY(open_tensors(c, WEIGHTS_NAME, &c->weights, err));
    TRY(open_tensors(c, STATE_NAME, &c->state, err));
out:
    json_deinit(&j);
    c->fs->unmap(c->fs->self, &m);
    return st;
}

/* ---- the newest ---- */

MUST_USE static Status open_step(Checkpoint **out, const Run *r, int64_t step, Error *err)
{
    char name[STEP_NAME_MAX], path[FILES_PATH_MAX];
    step_name(name, step);
    Status st = files_join(path, r->dir, name, err);
    if (st != ST_OK)
        return st;
    Checkpoint *c = mem_alloc(1, sizeof *c);
    char *copy = mem_strdup(path);
    if (!c || !copy) {
        mem_free(c);
        mem_free(copy);
        return error_set(err, ST_NOMEM, "no memory to open '%s'", path);
    }
    *c = (Checkpoint){.fs = r->fs, .path = copy, .step = step};
    st = open_all(c, err);
    if (st == ST_OK)
        *out = c;
    else
        checkpoint_close(c);
    return st;
}

/* It stays there for who wants to look at it, and out of the way of the next checkpoint of this step. */
MUST_USE static Status set_aside(const Run *r, int64_t step, Error *err)
{
    char name[STEP_NAME_MAX], aside[STEP_NAME_MAX + 8], path[FILES_PATH_MAX], to[FILES_PATH_MAX];
    step_name(name, step);
    snprintf(aside, sizeof aside, "damaged-%s", name);
    Status st = ST_OK;
    TRY(files_join(path, r->dir, name, err));
    TRY(files_join(to, r->dir, aside, err));
    TRY(files_remove_tree(r->fs, to, err));
    TRY(r->fs->rename(r->fs->self, path, to, err));
    TRY(r->fs->sync_dir(r->fs->self, r->dir, err));
out:
    return st;
}

/* A checkpoint that is not what its manifest says, as opposed to a machine that cannot read it. */
static bool is_damage(Status st)
{
    return st == ST_CORRUPT || st == ST_NOTFOUND || st == ST_INVALID;
}

Status checkpoint_open_newest(Checkpoint **out, Run *r, Error *err)
{
    int64_t *steps = NULL, count = 0;
    Error why = {0};
    Status st = run_steps(r, &steps, &count, err);
    if (st != ST_OK)
        return st;
    Checkpoint *c = NULL;
    for (int64_t k = count - 1; k >= 0 && !c && st == ST_OK; k--) {
        const Status open_st = open_step(&c, r, steps[k], &why);
        if (open_st == ST_OK)
            break;
        if (!is_damage(open_st)) {
            st = error_set(err, open_st, "%s/step-%06lld: %.400s", r->dir, (long long)steps[k], why.msg);
        } else {
            run_log(r, "step-%06lld is damaged (%s); it is set aside and the run goes back to %s", (long long)steps[k],
                    why.msg, k > 0 ? "the one before" : "its beginning");
            st = set_aside(r, steps[k], err);
        }
    }
    mem_free(steps);
    if (st == ST_OK && c)
        st = run_set_latest(r, c->step, err);
    if (st != ST_OK) {
        checkpoint_close(c);
        return st;
    }
    if (!c)
        return error_set(err, ST_NOTFOUND, "'%s' holds no complete checkpoint", r->dir);
    r->saved_step = c->step;
    *out = c;
    return ST_OK;
}

void checkpoint_close(Checkpoint *c)
{
    if (!c)
        return;
    tensor_table_free(&c->weights);
    tensor_table_free(&c->state);
    for (size_t k = 0; k < c->count; k++) {
        c->fs->unmap(c->fs->self, &c->files[k].map);
        mem_free(c->files[k].name);
    }
    mem_free(c->files);
    mem_free(c->path);
    mem_free(c);
}

/* ---- reading ---- */

int64_t checkpoint_step(const Checkpoint *c)
{
    return c->step;
}

const char *checkpoint_path(const Checkpoint *c)
{
    return c->path;
}

const TensorEntry *checkpoint_weight(const Checkpoint *c, const char *name)
{
    return tensor_table_find(&c->weights, (Str){name, strlen(name)});
}

const TensorEntry *checkpoint_state(const Checkpoint *c, const char *name)
{
    return tensor_table_find(&c->state, (Str){name, strlen(name)});
}

Status checkpoint_state_data(const Checkpoint *c, const char *name, Dtype dtype, int64_t elements, const void **data,
                             Error *err)
{
    const TensorEntry *t = checkpoint_state(c, name);
    if (!t)
        return error_set(err, ST_NOTFOUND, "%s/%s: tensor '%s' is missing", c->path, STATE_NAME, name);
    if (t->dtype != dtype || t->elements != elements)
        return error_set(err, ST_CORRUPT, "%s/%s: tensor '%s' has %lld elements of %s, expected %lld of %s", c->path,
                         STATE_NAME, name, (long long)t->elements, dtype_info(t->dtype)->name, (long long)elements,
                         dtype_info(dtype)->name);
    *data = t->data;
    return ST_OK;
}

Str checkpoint_text(const Checkpoint *c, const char *name)
{
    const CheckpointFile *f = file_named(c, name);
    return f ? (Str){f->map.size ? (const char *)f->map.data : "", f->map.size} : (Str){NULL, 0};
}
