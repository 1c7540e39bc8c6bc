/* See export.h. Tensors go through one buffer each, in the order of the family's table. */
#include "train/export.h"

#include "base/digest.h"
#include "base/json_write.h"
#include "base/mem.h"
#include "engine/generation_config.h"
#include "formats/safetensors.h"
#include "models/model.h"

#include <stdio.h>
#include <string.h>

#define EXPORT_VERSION 1
#define TEXT_BYTES_MAX ((size_t)1 << 20)
#define FILE_BYTES_MAX ((size_t)1 << 30)
#define WEIGHTS "model.safetensors"

const char *const export_companions[] = {"tokenizer.json",         "tokenizer_config.json", "special_tokens_map.json",
                                         "generation_config.json", "chat_template.jinja",   "vocab.json",
                                         "merges.txt",             "added_tokens.json",     NULL};

typedef struct {
    const ExportParams *p;
    char from[FILES_PATH_MAX], tmp[FILES_PATH_MAX], out[FILES_PATH_MAX];
    TensorDir *dir;  /* owned */
    ModelSpec spec;  /* owned */
    JsonWriter list; /* files of the manifest */
    ExportResult result;
} Export;

/* ---- weights ----------------------------------------------------------------------------------- */

static Dtype type_of(const Export *e, const TensorRow *row)
{
    if (row->role == ROLE_IDS)
        return DT_I64;
    return row->uses & (USE_MATRIX | USE_ROWS) ? e->p->dtype : DT_F32;
}

static int64_t columns_of(const TensorRow *row)
{
    return row->ndim == 2 ? row->dims[1] : 1;
}

/* The tensor in the file, whose shape is what the table says. */
MUST_USE static Status find_row(const Export *e, const TensorRow *row, const TensorEntry **out, Error *err)
{
    const TensorEntry *t = tensordir_find(e->dir, row->name);
    const int ndim = row->stored_ndim ? row->stored_ndim : row->ndim;
    const int64_t *dims = row->stored_ndim ? row->stored_dims : row->dims;
    if (!t)
        return error_set(err, ST_CORRUPT, "'%s' has no tensor '%s'", e->from, row->name);
    if (t->ndim != ndim || memcmp(t->dims, dims, (size_t)ndim * sizeof *dims) != 0)
        return error_set(err, ST_CORRUPT, "'%s': tensor '%s' has another shape than config.json says", e->from, row->name);
    const bool fits = row->role == ROLE_IDS ? t->dtype == DT_I64 || t->dtype == DT_I32 : dtype_info(t->dtype)->is_real;
    if (!fits)
        return error_set(err, ST_CORRUPT, "'%s': tensor '%s' is of type %s, which is not expected of it", e->from,
                         row->name, dtype_info(t->dtype)->name);
    *out = t;
    return ST_OK;
}

/* Ids as I64. */
static void take_ids(int64_t *dst, const TensorEntry *t, const uint8_t *data, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int32_t narrow;
        if (t->dtype == DT_I64) {
            memcpy(&dst[i], data + (size_t)i * sizeof *dst, sizeof *dst);
        } else {
            memcpy(&narrow, data + (size_t)i * sizeof narrow, sizeof narrow);
            dst[i] = narrow;
        }
    }
}

/* Reals in the order of saved rows; rounded in place where BF16 is wanted. */
static void take_reals(float *dst, const TensorRow *row, const TensorEntry *t, const uint8_t *data, Dtype type)
{
    const int64_t K = columns_of(row);
    for (int64_t r = 0; r < row->dims[0]; r++)
        dtype_decode_f32(t->dtype, dst + tensor_saved_row(row, r) * K, data + (size_t)r * dtype_row_bytes(t->dtype, K), K);
    if (type != DT_BF16)
        return;
    uint8_t *const narrow = (uint8_t *)dst;
    for (int64_t i = 0; i < row->dims[0] * K; i++) { /* element i is read before its place is written */
        float x;
        memcpy(&x, narrow + (size_t)i * sizeof x, sizeof x);
        const uint16_t h = f32_to_bf16(x);
        memcpy(narrow + (size_t)i * sizeof h, &h, sizeof h);
    }
}

MUST_USE static Status write_row(Export *e, SafetensorsWriter *w, const TensorRow *row, Error *err)
{
    const TensorEntry *t = NULL;
    const int64_t n = row->dims[0] * columns_of(row);
    const Dtype type = type_of(e, row);
    Status st = find_row(e, row, &t, err);
    if (st != ST_OK)
        return st;
    void *buffer = mem_alloc((size_t)n, sizeof(int64_t));
    if (!buffer)
        return error_set(err, ST_NOMEM, "no memory for tensor '%s'", row->name);
    const uint8_t *data = (const uint8_t *)t->data + (size_t)row->first_row * dtype_row_bytes(t->dtype, columns_of(row));
    if (row->role == ROLE_IDS)
        take_ids(buffer, t, data, n);
    else
        take_reals(buffer, row, t, data, type);
    st = safetensors_writer_write(w, row->saved_name, buffer, dtype_row_bytes(type, n), err);
    mem_free(buffer);
    e->result.tensors++;
    e->result.numbers += row->role == ROLE_IDS ? 0 : n;
    e->result.bytes += dtype_row_bytes(type, n);
    return st;
}

MUST_USE static Status write_weights(Export *e, Error *err)
{
    SafetensorsWriter *w = NULL;
    char path[FILES_PATH_MAX];
    Status st = ST_OK;
    TRY(files_join(path, e->tmp, WEIGHTS, err));
    TRY(safetensors_writer_create(&w, err));
    safetensors_writer_files(w, e->p->fs);
    TRY(safetensors_writer_meta(w, "format", "pt", err));
    for (int32_t i = 0; i < e->spec.tensor_count; i++) {
        const TensorRow *row = &e->spec.tensors[i];
        TRY(safetensors_writer_declare(w, row->saved_name, type_of(e, row), row->ndim, row->dims, err));
    }
    TRY(safetensors_writer_begin(w, path, 0, err));
    for (int32_t i = 0; i < e->spec.tensor_count; i++)
        TRY(write_row(e, w, &e->spec.tensors[i], err));
    TRY(safetensors_writer_finish(w, err));
out:
    safetensors_writer_destroy(w);
    return st;
}

/* ---- other files -------------------------------------------------------------------------------- */

MUST_USE static Status write_text(const Export *e, const char *name, const void *data, size_t size, Error *err)
{
    char path[FILES_PATH_MAX];
    const Status st = files_join(path, e->tmp, name, err);
    return st == ST_OK ? files_write_new(e->p->fs, path, data, size, err) : st;
}

MUST_USE static Status write_config(const Export *e, Error *err)
{
    const Kv *kv = tensordir_kv(e->dir);
    const ModelConfigExtras extras = {.dtype = e->p->dtype == DT_BF16 ? "bfloat16" : "float32",
                                      .bos = kv_int(kv, "bos_token_id", -1), .eos = kv_int(kv, "eos_token_id", -1),
                                      .pad = kv_int(kv, "pad_token_id", -1)};
    JsonWriter w;
    json_write_init(&w, 2, TEXT_BYTES_MAX);
    Status st = e->spec.family->write_config(&e->spec, &extras, &w, err);
    if (st == ST_OK)
        st = json_write_finish(&w, err);
    if (st == ST_OK)
        st = write_text(e, "config.json", w.buf, w.len, err);
    json_write_deinit(&w);
    return st;
}

/* A line of the manifest: the digest is of what can be read back. */
MUST_USE static Status list_file(Export *e, const char *name, Error *err)
{
    const Files *fs = e->p->fs;
    char path[FILES_PATH_MAX], hex[SHA256_HEX_SIZE];
    MapFile m = {0};
    Status st = files_join(path, e->tmp, name, err);
    if (st == ST_OK)
        st = fs->map(fs->self, &m, path, err);
    if (st != ST_OK)
        return st;
    st = digest_bytes(hex, m.data, m.size, err);
    JsonWriter *const j = &e->list;
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
    fs->unmap(fs->self, &m);
    return st;
}

MUST_USE static Status copy_companion(Export *e, const char *name, Error *err)
{
    const Files *fs = e->p->fs;
    char path[FILES_PATH_MAX];
    uint8_t *bytes = NULL;
    size_t size = 0;
    Status st = ST_OK;
    if (!files_exist(fs, e->from, name))
        return ST_OK;
    TRY(files_join(path, e->from, name, err));
    TRY(files_read(fs, &bytes, &size, path, FILE_BYTES_MAX, err));
    TRY(write_text(e, name, bytes, size, err));
    TRY(list_file(e, name, err));
out:
    mem_free(bytes);
    return st;
}

MUST_USE static Status write_generation_config(Export *e, Error *err)
{
    const Kv *kv = tensordir_kv(e->dir);
    ByteBuf text = {0};
    Status st = generation_config_write(e->p->temperature, kv_int(kv, "bos_token_id", -1), kv_int(kv, "eos_token_id", -1),
                                        kv_int(kv, "pad_token_id", -1), &text, err);
    if (st == ST_OK)
        st = write_text(e, GENERATION_CONFIG, text.data, text.count, err);
    if (st == ST_OK)
        st = list_file(e, GENERATION_CONFIG, err);
    bytebuf_free(&text);
    return st;
}

MUST_USE static Status write_companions(Export *e, Error *err)
{
    Status st = ST_OK;
    for (int i = 0; export_companions[i] && st == ST_OK; i++) {
        const bool given = e->p->temperature >= 0 && strcmp(export_companions[i], GENERATION_CONFIG) == 0;
        st = given ? write_generation_config(e, err) : copy_companion(e, export_companions[i], err);
    }
    return st;
}

MUST_USE static Status write_all(Export *e, Error *err)
{
    const Files *fs = e->p->fs;
    JsonWriter *const j = &e->list;
    Status st = ST_OK;
    json_write_object_begin(j);
    json_write_key(j, "version");
    json_write_int(j, EXPORT_VERSION);
    json_write_key(j, "files");
    json_write_array_begin(j);
    TRY(fs->make_dir(fs->self, e->tmp, err));
    TRY(write_weights(e, err));
    TRY(list_file(e, WEIGHTS, err));
    TRY(write_config(e, err));
    TRY(list_file(e, "config.json", err));
    TRY(write_companions(e, err));
    json_write_array_end(j);
    json_write_object_end(j);
    TRY(json_write_finish(j, err));
    TRY(write_text(e, "manifest.json", j->buf, j->len, err));
    TRY(fs->sync_dir(fs->self, e->tmp, err));
out:
    return st;
}

/* ---- the whole ---------------------------------------------------------------------------------- */

MUST_USE static Status set_paths(Export *e, Error *err)
{
    const ExportParams *p = e->p;
    size_t n = strlen(p->out);
    while (n > 1 && p->out[n - 1] == '/')
        n--;
    if (n == 0 || n + 5 > sizeof e->tmp || strlen(p->from) >= sizeof e->from)
        return error_set(err, ST_INVALID, "a path of %zu bytes cannot be used", n);
    snprintf(e->out, sizeof e->out, "%.*s", (int)n, p->out);
    snprintf(e->tmp, sizeof e->tmp, "%.*s.tmp", (int)n, p->out);
    if (files_exist(p->fs, p->from, "latest") && !files_exist(p->fs, p->from, "config.json"))
        return files_join(e->from, p->from, "latest", err);
    snprintf(e->from, sizeof e->from, "%s", p->from);
    return ST_OK;
}

MUST_USE static Status refuse_name(void *arg, const char *name, bool is_dir)
{
    (void)arg;
    (void)name;
    (void)is_dir;
    return ST_INVALID;
}

MUST_USE static Status check_out(Export *e, Error *err)
{
    const Files *fs = e->p->fs;
    const Status st = fs->list(fs->self, e->out, refuse_name, e, NULL);
    if (st == ST_INVALID)
        return error_set(err, ST_INVALID, "'%s' is there already and not empty", e->out);
    return ST_OK; /* what else is wrong with it, renaming will say */
}

MUST_USE static Status open_source(Export *e, Error *err)
{
    Status st = ST_OK;
    TRY(tensordir_open(&e->dir, e->from, err));
    if (tensordir_kind(e->dir) != TENSORDIR_HF)
        TRY(error_set(err, ST_UNSUPPORTED, "'%s' is a single file; only directories with a config.json can be exported",
                      e->from));
    const ModelSource with_mtp = {.kv = tensordir_kv(e->dir), .dir = e->dir, .mtp = true};
    if (model_spec_from(&e->spec, &with_mtp, NULL) != ST_OK) /* it has no such block, or something else is wrong */
        TRY(model_spec_load(&e->spec, e->dir, err));
out:
    return st;
}

Status export_model(const ExportParams *p, ExportResult *result, Error *err)
{
    CHECK(p->dtype == DT_F32 || p->dtype == DT_BF16);
    const Files *fs = p->fs;
    bool begun = false;
    Status st = ST_OK;
    Export *e = mem_alloc(1, sizeof *e);
    if (!e)
        return error_set(err, ST_NOMEM, "no memory to export a model");
    e->p = p;
    json_write_init(&e->list, 2, TEXT_BYTES_MAX);
    TRY(set_paths(e, err));
    TRY(check_out(e, err));
    TRY(open_source(e, err));
    TRY(files_remove_tree(fs, e->tmp, err));
    begun = true;
    TRY(write_all(e, err));
    TRY(fs->rename(fs->self, e->tmp, e->out, err));
    begun = false;
    TRY(files_sync_parent(fs, e->out, err));
    *result = e->result;
out:
    if (begun && files_remove_tree(fs, e->tmp, NULL) != ST_OK)
        error_context(err, st, "'%s' is left behind", e->tmp);
    json_write_deinit(&e->list);
    model_spec_free(&e->spec);
    tensordir_close(e->dir);
    mem_free(e);
    return st;
}
