/* Models that come with the program. Where: NAME in the store's directory, models/NAME beside the program (a build,
 * which has a link to the checkout's models/), ../share/plumb/models/NAME seen from it (an installation); the first
 * that has a manifest.json. Nothing of ours ever changes one. */
#include "store/store_internal.h"

#include "base/digest.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "store/record.h"

#include <string.h>
#include <unistd.h>

#define MANIFEST_FILE_MAX ((size_t)1 << 20)
#define FILES_MAX 64

/* ---- the manifest ---- */

void manifest_files_free(ManifestFiles *f)
{
    for (size_t k = 0; k < f->count; k++)
        record_file_deinit(&f->items[k]);
    mem_free(f->items);
    *f = (ManifestFiles){0};
}

MUST_USE static Status read_file(JsonReader *r, void *target, Error *err)
{
    ManifestFiles *const list = target;
    if (!list->items && !(list->items = mem_alloc(FILES_MAX, sizeof *list->items)))
        return error_set(err, ST_NOMEM, "no memory for the files");
    if (list->count == FILES_MAX)
        return error_set(err, ST_CORRUPT, "byte %zu: more than %d files", r->offset, FILES_MAX);
    return record_read_file(r, &list->items[list->count++], err);
}

MUST_USE static Status read_files(JsonReader *r, void *target, Error *err)
{
    return record_read_array(r, read_file, target, err);
}

Status manifest_parse_files(ManifestFiles *out, const void *text, size_t size, Error *err)
{
    Status st = ST_OK;
    int version = MANIFEST_VERSION;
    ManifestFiles list = {0};
    const Field fields[] = {
        {"version", FIELD_CUSTOM, true, &version, record_read_version},
        {"files", FIELD_CUSTOM, true, &list, read_files},
    };
    JsonReader r;
    json_init(&r, text, size);
    TRY(record_read(&r, false, fields, sizeof fields / sizeof *fields, err));
    TRY(json_expect(&r, JSON_TOK_END, err));
    if (list.count == 0)
        TRY(error_set(err, ST_CORRUPT, "the model has no files"));
    json_deinit(&r);
    *out = list;
    return ST_OK;
out:
    json_deinit(&r);
    manifest_files_free(&list);
    return st;
}

MUST_USE static Status open_manifest(ManifestFiles *out, const char *path, Error *err)
{
    uint8_t *text = NULL;
    size_t size = 0;
    Status st = file_read_all(&text, &size, path, MANIFEST_FILE_MAX, err);
    if (st == ST_OK)
        st = manifest_parse_files(out, text, size, err);
    mem_free(text);
    return st == ST_OK ? st : error_context(err, st, "%s", path);
}

/* ---- checking ---- */

MUST_USE static Status check_file(const StoreModel *m, const CatalogueFile *f, bool digest, Error *err)
{
    char hex[SHA256_HEX_SIZE];
    char *path = path_join(m->path, f->name, NULL);
    if (!path)
        return error_set(err, ST_NOMEM, "no memory for a path");
    const int64_t bytes = fs_file_bytes(path);
    Status st = ST_OK;
    if (bytes < 0)
        st = error_set(err, ST_CORRUPT, "its file %s is missing", path);
    else if (bytes != f->bytes)
        st = error_set(err, ST_CORRUPT, "its file %s has %lld bytes, expected %lld", path, (long long)bytes,
                       (long long)f->bytes);
    else if (digest)
        st = digest_file(hex, path, err);
    if (st == ST_OK && digest && strcmp(hex, f->sha256) != 0)
        st = error_set(err, ST_CORRUPT, "%s has SHA-256 %s, expected %s", path, hex, f->sha256);
    mem_free(path);
    return st;
}

MUST_USE static Status check_files(const StoreModel *m, const ManifestFiles *files, bool digest, Error *err)
{
    Status st = ST_OK;
    for (size_t k = 0; k < files->count && st == ST_OK; k++)
        st = check_file(m, &files->items[k], digest, err);
    return st;
}

Status embedded_verify(const StoreModel *m, Error *err)
{
    ManifestFiles files = {0};
    CHECK(m->embedded);
    Status st = open_manifest(&files, m->manifest, err);
    if (st == ST_OK)
        st = check_files(m, &files, true, err);
    manifest_files_free(&files);
    return st;
}

/* ---- finding ---- */

/* Above the running program: its directory's path in the buffer, or "" when it is unknown. */
static void program_dir(char *path, size_t size)
{
    const ssize_t n = readlink("/proc/self/exe", path, size - 1);
    path[n > 0 ? n : 0] = 0;
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = 0;
}

/* Takes `path`, a directory (NULL: no memory), into *dir when a model lies there. */
MUST_USE static Status try_dir(char *path, char **dir)
{
    char *manifest = path ? path_join(path, "manifest.json", NULL) : NULL;
    const Status st = manifest ? ST_OK : ST_NOMEM;
    if (manifest && fs_file_bytes(manifest) >= 0) {
        *dir = path;
        path = NULL;
    }
    mem_free(manifest);
    mem_free(path);
    return st;
}

/* *dir stays NULL when there is none. */
MUST_USE static Status find_dir(const Store *s, const char *name, char **dir)
{
    char program[4096];
    program_dir(program, sizeof program);
    Status st = try_dir(path_join(s->dir, name, NULL), dir);
    if (st == ST_OK && !*dir && *program)
        st = try_dir(path_join(program, "models", name, NULL), dir);
    if (st == ST_OK && !*dir && *program)
        st = try_dir(path_join(program, "..", "share", "plumb", "models", name, NULL), dir);
    return st;
}

MUST_USE static Status describe(StoreModel *m, const CatalogueModel *known, char *dir, Error *err)
{
    *m = (StoreModel){
        .embedded = true,
        .host = mem_strdup("plumb"),
        .owner = mem_strdup("plumb"),
        .name = mem_strdup(known->name),
        .tag = mem_strdup("embedded"),
        .title = mem_strdup(known->title),
        .licence = mem_strdup(known->licence),
        .source = mem_strdup("comes with Plumb"),
        .path = dir,
        .manifest = path_join(dir, "manifest.json", NULL),
    };
    if (m->host && m->owner && m->name && m->tag && m->title && m->licence && m->source && m->manifest)
        return ST_OK;
    store_model_free(m);
    return error_set(err, ST_NOMEM, "no memory for a model");
}

/* Sizes, and the digest of the first file, which is the weights. */
MUST_USE static Status fill(StoreModel *m, Error *err)
{
    ManifestFiles files = {0};
    Status st = open_manifest(&files, m->manifest, err);
    if (st == ST_OK)
        st = check_files(m, &files, false, err);
    for (size_t k = 0; k < files.count; k++)
        m->bytes += files.items[k].bytes < INT64_MAX - m->bytes ? files.items[k].bytes : 0;
    if (files.count > 0) {
        m->file = files.items[0].name;
        m->sha256 = files.items[0].sha256;
        files.items[0].name = files.items[0].sha256 = NULL;
    }
    manifest_files_free(&files);
    return st;
}

Status embedded_find(const Store *s, const CatalogueModel *known, StoreModel *out, Error *err)
{
    StoreModel m;
    Error why = {0};
    CHECK(catalogue_is_embedded(known));
    char *dir = NULL;
    if (find_dir(s, known->name, &dir) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for a path");
    if (!dir)
        return error_set(err, ST_NOTFOUND, "model '%s' comes with Plumb, but it lies neither beside this program nor in %s",
                         known->name, s->dir);
    Status st = describe(&m, known, dir, err);
    if (st != ST_OK)
        return st;
    st = fill(&m, &why);
    if (st != ST_OK && st != ST_NOMEM) {
        m.problem = mem_strdup(why.msg);
        st = m.problem ? ST_OK : ST_NOMEM;
    }
    if (st == ST_OK) {
        *out = m;
        return ST_OK;
    }
    store_model_free(&m);
    return error_set(err, ST_NOMEM, "no memory for a model");
}
