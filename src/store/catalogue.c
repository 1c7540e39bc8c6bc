/* The catalogue: JSON → structs, checked. */
#include "store/catalogue.h"

#include "base/mapfile.h"
#include "base/mem.h"
#include "store/catalogue_data.h"
#include "store/record.h"

#include <stdlib.h>
#include <string.h>

#define CATALOGUE_BYTES_MAX ((size_t)16 << 20)

struct Catalogue {
    CatalogueModel *models; /* owned */
    size_t count, cap;
};

/* The model being read, and the room behind its arrays. */
typedef struct {
    CatalogueModel *model;
    size_t alias_cap, file_cap;
} ModelReader;

static void model_deinit(CatalogueModel *m)
{
    for (size_t k = 0; k < m->alias_count; k++)
        mem_free(m->aliases[k]);
    for (size_t k = 0; k < m->file_count; k++)
        record_file_deinit(&m->files[k]);
    mem_free(m->aliases);
    mem_free(m->files);
    mem_free(m->name);
    mem_free(m->title);
    mem_free(m->licence);
    mem_free(m->purpose);
    mem_free(m->source.kind);
    mem_free(m->source.package);
    mem_free(m->source.version);
}

void catalogue_close(Catalogue *c)
{
    if (!c)
        return;
    for (size_t k = 0; k < c->count; k++)
        model_deinit(&c->models[k]);
    mem_free(c->models);
    mem_free(c);
}

/* ---- Reading ---- */

MUST_USE static Status read_alias(JsonReader *r, void *target, Error *err)
{
    ModelReader *const m = target;
    char *text = NULL;
    const Status st = record_text(r, &text, err);
    if (st != ST_OK)
        return st;
    void *p = m->model->aliases;
    if (mem_grow(&p, &m->alias_cap, m->model->alias_count + 1, sizeof text) != ST_OK) {
        mem_free(text);
        return error_set(err, ST_NOMEM, "no memory for the aliases");
    }
    m->model->aliases = p;
    m->model->aliases[m->model->alias_count++] = text;
    return ST_OK;
}

MUST_USE static Status read_aliases(JsonReader *r, void *target, Error *err)
{
    return record_read_array(r, read_alias, target, err);
}

MUST_USE static Status read_source(JsonReader *r, void *target, Error *err)
{
    CatalogueSource *const s = target;
    const Field fields[] = {
        {"kind", FIELD_TEXT, true, &s->kind, NULL},
        {"package", FIELD_TEXT, false, &s->package, NULL},
        {"version", FIELD_TEXT, false, &s->version, NULL},
        {"bytes", FIELD_INT, false, &s->bytes, NULL},
    };
    const size_t at = r->end;
    const Status st = record_read(r, false, fields, sizeof fields / sizeof *fields, err);
    if (st != ST_OK || strcmp(s->kind, "pypi") != 0)
        return st;
    if (!s->package || !record_name_is_safe(s->package) || !s->version || !record_name_is_safe(s->version))
        return error_set(err, ST_CORRUPT, "byte %zu: a source of kind pypi needs 'package' and 'version'", at);
    return ST_OK;
}

MUST_USE static Status read_file(JsonReader *r, void *target, Error *err)
{
    ModelReader *const m = target;
    void *p = m->model->files;
    if (mem_grow(&p, &m->file_cap, m->model->file_count + 1, sizeof *m->model->files) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for the files");
    m->model->files = p;
    CatalogueFile *const f = &m->model->files[m->model->file_count++];
    const size_t at = r->offset;
    const Status st = record_read_file(r, f, err);
    if (st == ST_OK && !f->member)
        return error_set(err, ST_CORRUPT, "byte %zu: the object lacks 'member'", at);
    return st;
}

MUST_USE static Status read_files(JsonReader *r, void *target, Error *err)
{
    return record_read_array(r, read_file, target, err);
}

MUST_USE static Status check_model(const Catalogue *c, const CatalogueModel *m, size_t at, Error *err)
{
    if (!record_name_is_safe(m->name))
        return error_set(err, ST_CORRUPT, "byte %zu: '%s' cannot be the name of a model", at, m->name);
    if (catalogue_is_embedded(m) && (m->is_default || m->file_count > 0))
        return error_set(err, ST_CORRUPT, "byte %zu: model '%s' is embedded, and can neither be the default nor list files",
                         at, m->name);
    if (m->file_count == 0 && !catalogue_is_embedded(m))
        return error_set(err, ST_CORRUPT, "byte %zu: model '%s' has no files", at, m->name);
    for (size_t k = 0; k + 1 < c->count; k++)
        if (strcmp(c->models[k].name, m->name) == 0)
            return error_set(err, ST_CORRUPT, "byte %zu: model '%s' is given twice", at, m->name);
    return ST_OK;
}

MUST_USE static Status read_model(JsonReader *r, void *target, Error *err)
{
    Catalogue *const c = target;
    void *p = c->models;
    if (mem_grow(&p, &c->cap, c->count + 1, sizeof *c->models) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for the catalogue");
    c->models = p;
    CatalogueModel *const m = &c->models[c->count++];
    *m = (CatalogueModel){0};
    ModelReader reader = {m, 0, 0};
    const Field fields[] = {
        {"name", FIELD_TEXT, true, &m->name, NULL},
        {"aliases", FIELD_CUSTOM, false, &reader, read_aliases},
        {"default", FIELD_BOOL, false, &m->is_default, NULL},
        {"title", FIELD_TEXT, true, &m->title, NULL},
        {"licence", FIELD_TEXT, true, &m->licence, NULL},
        {"purpose", FIELD_TEXT, false, &m->purpose, NULL},
        {"source", FIELD_CUSTOM, true, &m->source, read_source},
        {"files", FIELD_CUSTOM, false, &reader, read_files},
    };
    const size_t at = r->offset;
    const Status st = record_read(r, true, fields, sizeof fields / sizeof *fields, err);
    return st == ST_OK ? check_model(c, m, at, err) : st;
}

MUST_USE static Status read_models(JsonReader *r, void *target, Error *err)
{
    return record_read_array(r, read_model, target, err);
}

Status catalogue_parse(Catalogue **out, const void *text, size_t size, const char *what, Error *err)
{
    Status st = ST_OK;
    JsonReader r;
    json_init(&r, text, size);
    int version = CATALOGUE_VERSION;
    Catalogue *c = mem_alloc(1, sizeof *c);
    if (!c)
        TRY(error_set(err, ST_NOMEM, "no memory for the catalogue"));
    const Field fields[] = {
        {"version", FIELD_CUSTOM, true, &version, record_read_version},
        {"models", FIELD_CUSTOM, true, c, read_models},
    };
    TRY(record_read(&r, false, fields, sizeof fields / sizeof *fields, err));
    TRY(json_expect(&r, JSON_TOK_END, err));
    json_deinit(&r);
    *out = c;
    return ST_OK;
out:
    json_deinit(&r);
    catalogue_close(c);
    return error_context(err, st, "%s", what);
}

Status catalogue_open(Catalogue **out, Error *err)
{
    const char *path = getenv("PLUMB_CATALOGUE");
    if (!path || !*path)
        return catalogue_parse(out, catalogue_data_begin, (size_t)(catalogue_data_end - catalogue_data_begin),
                               "built-in catalogue", err);
    uint8_t *text = NULL;
    size_t size = 0;
    Status st = file_read_all(&text, &size, path, CATALOGUE_BYTES_MAX, err);
    if (st != ST_OK)
        return error_context(err, st, "PLUMB_CATALOGUE");
    st = catalogue_parse(out, text, size, path, err);
    mem_free(text);
    return st;
}

/* ---- Asking ---- */

bool catalogue_is_embedded(const CatalogueModel *m)
{
    return strcmp(m->source.kind, "embedded") == 0;
}

size_t catalogue_count(const Catalogue *c)
{
    return c->count;
}

const CatalogueModel *catalogue_at(const Catalogue *c, size_t i)
{
    CHECK(i < c->count);
    return &c->models[i];
}

const CatalogueModel *catalogue_find(const Catalogue *c, const char *name)
{
    for (size_t k = 0; k < c->count; k++) {
        const CatalogueModel *m = &c->models[k];
        if (strcmp(m->name, name) == 0)
            return m;
        for (size_t a = 0; a < m->alias_count; a++)
            if (strcmp(m->aliases[a], name) == 0)
                return m;
    }
    return NULL;
}

const CatalogueModel *catalogue_default(const Catalogue *c)
{
    for (size_t k = 0; k < c->count; k++)
        if (c->models[k].is_default)
            return &c->models[k];
    return NULL;
}
