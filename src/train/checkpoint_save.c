/* Writing a checkpoint: see checkpoint.h for the order, which is what makes it survive. */
#include "train/checkpoint_internal.h"

#include "base/digest.h"
#include "base/json_write.h"

#include <stdio.h>
#include <string.h>

#define MANIFEST_MAX ((size_t)16 << 20)

/* ---- space ---- */

static uint64_t items_bytes(const SafetensorsItem *items, int64_t count)
{
    uint64_t bytes = 65536; /* header */
    for (int64_t k = 0; k < count; k++) {
        int64_t elements = 1;
        for (int d = 0; d < items[k].ndim; d++)
            elements *= items[k].dims[d];
        bytes += dtype_row_bytes(items[k].dtype, elements) + 256;
    }
    return bytes;
}

/* Better to say so before half of it is written. Others may take the room meanwhile: writing checks again. */
MUST_USE static Status check_space(const Run *r, const CheckpointContent *c, Error *err)
{
    uint64_t need = items_bytes(c->weights, c->weight_count) + items_bytes(c->state, c->state_count), space = 0;
    for (int64_t k = 0; k < c->text_count; k++)
        need += c->texts[k].size + 4096;
    const Status st = r->fs->space(r->fs->self, r->dir, &space, err);
    if (st != ST_OK || space >= need)
        return st;
    return error_set(err, ST_NOSPACE, "a checkpoint needs %.1f MB, and %.1f MB are free at '%s'", (double)need * 1e-6,
                     (double)space * 1e-6, r->dir);
}

/* ---- files ---- */

MUST_USE static Status write_texts(const Run *r, const char *dir, const CheckpointContent *c, Error *err)
{
    Status st = ST_OK;
    for (int64_t k = 0; k < c->text_count; k++) {
        char path[FILES_PATH_MAX];
        TRY(files_join(path, dir, c->texts[k].name, err));
        TRY(files_write_new(r->fs, path, c->texts[k].data, c->texts[k].size, err));
    }
out:
    return st;
}

MUST_USE static Status write_tensors(const Run *r, const char *dir, const CheckpointContent *c, Error *err)
{
    static const char *const meta[] = {"format", "pt", NULL};
    char path[FILES_PATH_MAX];
    Status st = ST_OK;
    TRY(files_join(path, dir, WEIGHTS_NAME, err));
    TRY(safetensors_save_in(r->fs, path, c->weights, c->weight_count, meta, err));
    TRY(files_join(path, dir, STATE_NAME, err));
    TRY(safetensors_save_in(r->fs, path, c->state, c->state_count, NULL, err));
out:
    return st;
}

/* ---- manifest ---- */

/* The digest is taken of what can be read back, not of what was meant to be written. */
MUST_USE static Status put_file(const Run *r, const char *dir, const char *name, JsonWriter *j, Error *err)
{
    char path[FILES_PATH_MAX], hex[SHA256_HEX_SIZE];
    MapFile m = {0};
    Status st = files_join(path, dir, name, err);
    if (st == ST_OK)
        st = r->fs->map(r->fs->self, &m, path, err);
    if (st != ST_OK)
        return st;
    st = digest_bytes(hex, m.data, m.size, err);
    if (st == ST_OK) {
        json_write_object_begin(j);
        json_write_key(j, "name");
        json_write_string(j, name);
        json_write_key(j, "bytes");
        json_write_int(j, (int64_t)m.size);
        json_write_key(j, "sha256");
        json_write_string(j, hex);
        json_write_object_end(j);
    }
    r->fs->unmap(r->fs->self, &m);
    return st;
}

MUST_USE static Status write_manifest(const Run *r, const char *dir, const CheckpointContent *c, Error *err)
{
    char path[FILES_PATH_MAX];
    JsonWriter j;
    Status st = ST_OK;
    json_write_init(&j, 2, MANIFEST_MAX);
    json_write_object_begin(&j);
    json_write_key(&j, "version");
    json_write_int(&j, MANIFEST_VERSION);
    json_write_key(&j, "step");
    json_write_int(&j, c->step);
    json_write_key(&j, "files");
    json_write_array_begin(&j);
    TRY(put_file(r, dir, WEIGHTS_NAME, &j, err));
    TRY(put_file(r, dir, STATE_NAME, &j, err));
    for (int64_t k = 0; k < c->text_count; k++)
        TRY(put_file(r, dir, c->texts[k].name, &j, err));
    json_write_array_end(&j);
    json_write_object_end(&j);
    TRY(json_write_finish(&j, err));
    TRY(files_join(path, dir, MANIFEST_NAME, err));
    TRY(files_write_new(r->fs, path, j.buf, j.len, err));
out:
    json_write_deinit(&j);
    return st;
}

/* ---- the whole ---- */

/* Everything durable under a temporary name. */
MUST_USE static Status write_all(const Run *r, const char *tmp, const CheckpointContent *c, Error *err)
{
    const Files *fs = r->fs;
    char trainer[FILES_PATH_MAX];
    Status st = ST_OK;
    TRY(files_join(trainer, tmp, "trainer", err));
    TRY(fs->make_dir(fs->self, tmp, err));
    TRY(fs->make_dir(fs->self, trainer, err));
    TRY(write_texts(r, tmp, c, err));
    TRY(write_tensors(r, tmp, c, err));
    TRY(fs->sync(fs->self, r->metrics, err)); /* its lines up to this step are part of what is kept */
    TRY(write_manifest(r, tmp, c, err));
    TRY(fs->sync_dir(fs->self, trainer, err));
    TRY(fs->sync_dir(fs->self, tmp, err));
out:
    return st;
}

Status checkpoint_save(Run *r, const CheckpointContent *content, Error *err)
{
    if (r->saved_step == content->step) {
        run_remove_old(r); /* a crash may have kept it from being done */
        return ST_OK;
    }
    char name[STEP_NAME_MAX], tmp_name[STEP_NAME_MAX + 4], path[FILES_PATH_MAX], tmp[FILES_PATH_MAX];
    step_name(name, content->step);
    snprintf(tmp_name, sizeof tmp_name, "%s.tmp", name);
    Status st = ST_OK;
    bool begun = false;
    TRY(files_join(path, r->dir, name, err));
    TRY(files_join(tmp, r->dir, tmp_name, err));
    TRY(check_space(r, content, err));
    TRY(files_remove_tree(r->fs, tmp, err));
    begun = true;
    TRY(write_all(r, tmp, content, err));
    TRY(r->fs->rename(r->fs->self, tmp, path, err));
    begun = false;
    TRY(r->fs->sync_dir(r->fs->self, r->dir, err));
    r->saved_step = content->step;
    TRY(run_set_latest(r, content->step, err));
    run_remove_old(r);
    return ST_OK;
out:
    if (begun && files_remove_tree(r->fs, tmp, NULL) != ST_OK)
        run_log(r, "%s is left behind; going on removes it", tmp);
    return error_context(err, st, "writing checkpoint '%s/%s'", r->dir, name);
}
