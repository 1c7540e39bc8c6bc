/* Manifests: JSON ↔ StoreModel. */
#include "store/store_internal.h"

#include "base/json_write.h"
#include "base/mem.h"
#include "store/record.h"

#include <string.h>

#define MANIFEST_BYTES_MAX ((size_t)1 << 20)

typedef struct {
    StoreModel *model;
    int count;
} FileReader;

MUST_USE static Status read_file(JsonReader *r, void *target, Error *err)
{
    FileReader *const f = target;
    if (f->count++ > 0)
        return error_set(err, ST_UNSUPPORTED, "the model has several files; this program knows models of one file");
    const Field fields[] = {
        {"name", FIELD_TEXT, true, &f->model->file, NULL},
        {"bytes", FIELD_INT, true, &f->model->bytes, NULL},
        {"sha256", FIELD_TEXT, true, &f->model->sha256, NULL},
    };
    const size_t at = r->offset;
    const Status st = record_read(r, true, fields, sizeof fields / sizeof *fields, err);
    if (st == ST_OK && !record_is_sha256(f->model->sha256))
        return error_set(err, ST_CORRUPT, "byte %zu: 'sha256' is not 64 lower-case hexadecimal digits", at);
    return st;
}

MUST_USE static Status read_files(JsonReader *r, void *target, Error *err)
{
    FileReader *const f = target;
    const size_t at = r->end;
    const Status st = record_read_array(r, read_file, target, err);
    if (st == ST_OK && f->count == 0)
        return error_set(err, ST_CORRUPT, "byte %zu: the model has no files", at);
    return st;
}

Status manifest_parse(StoreModel *m, const void *text, size_t size, Error *err)
{
    Status st = ST_OK;
    int version = MANIFEST_VERSION;
    FileReader files = {m, 0};
    const Field fields[] = {
        {"version", FIELD_CUSTOM, true, &version, record_read_version},
        {"title", FIELD_TEXT, false, &m->title, NULL},
        {"licence", FIELD_TEXT, false, &m->licence, NULL},
        {"source", FIELD_TEXT, false, &m->source, NULL},
        {"pulled", FIELD_TEXT, false, &m->pulled, NULL},
        {"files", FIELD_CUSTOM, true, &files, read_files},
    };
    JsonReader r;
    json_init(&r, text, size);
    TRY(record_read(&r, false, fields, sizeof fields / sizeof *fields, err));
    TRY(json_expect(&r, JSON_TOK_END, err));
out:
    json_deinit(&r);
    return st;
}

static void write_pair(JsonWriter *w, const char *key, const char *value)
{
    if (!value)
        return;
    json_write_key(w, key);
    json_write_string(w, value);
}

Status manifest_write(ByteBuf *out, const StoreModel *m, Error *err)
{
    JsonWriter w;
    json_write_init(&w, 2, MANIFEST_BYTES_MAX);
    json_write_object_begin(&w);
    json_write_key(&w, "version");
    json_write_int(&w, MANIFEST_VERSION);
    write_pair(&w, "title", m->title);
    write_pair(&w, "licence", m->licence);
    write_pair(&w, "source", m->source);
    write_pair(&w, "pulled", m->pulled);
    json_write_key(&w, "files");
    json_write_array_begin(&w);
    json_write_object_begin(&w);
    write_pair(&w, "name", m->file);
    json_write_key(&w, "bytes");
    json_write_int(&w, m->bytes);
    write_pair(&w, "sha256", m->sha256);
    json_write_object_end(&w);
    json_write_array_end(&w);
    json_write_object_end(&w);
    Status st = json_write_finish(&w, err);
    if (st == ST_OK) {
        st = bytebuf_printf(out, "%s\n", w.buf);
        if (st != ST_OK)
            error_set(err, st, "no memory for a manifest");
    }
    json_write_deinit(&w);
    return st;
}
