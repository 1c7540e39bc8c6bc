/* The store: finding, listing, locking, removing. */
#include "store/store.h"

#include "base/digest.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "store/record.h"
#include "store/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MANIFEST_FILE_MAX ((size_t)1 << 20)

/* ---- Opening ---- */

static const char *home_dir(void)
{
    const char *home = getenv("HOME");
    if (home && *home)
        return home;
    const struct passwd *user = getpwuid(getuid());
    return user ? user->pw_dir : NULL;
}

static const char *env(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* Owned by the caller; NULL: no memory, or no home directory (then *homeless). */
static char *default_dir(bool *homeless)
{
    const char *models = env("PLUMB_MODELS"), *cache = env("XDG_CACHE_HOME");
    if (models)
        return mem_strdup(models);
    if (cache && cache[0] == '/') /* the standard says to ignore others */
        return path_join(cache, "plumb", NULL);
    const char *home = home_dir();
    *homeless = !home;
    return home ? path_join(home, ".cache", "plumb", NULL) : NULL;
}

Status store_open(Store **out, const char *dir, Error *err)
{
    bool homeless = false;
    Store *s = mem_alloc(1, sizeof *s);
    char *path = dir ? mem_strdup(dir) : default_dir(&homeless);
    if (homeless) {
        mem_free(s);
        return error_set(err, ST_INVALID, "no place for models: HOME is not set; set PLUMB_MODELS to a directory");
    }
    if (!s || !path) {
        mem_free(s);
        mem_free(path);
        return error_set(err, ST_NOMEM, "no memory for the store");
    }
    *s = (Store){path, -1};
    *out = s;
    return ST_OK;
}

void store_close(Store *s)
{
    if (!s)
        return;
    store_unlock(s);
    mem_free(s->dir);
    mem_free(s);
}

const char *store_dir(const Store *s)
{
    return s->dir;
}

int64_t store_free_bytes(const Store *s)
{
    return fs_free_bytes(s->dir);
}

char *store_blob_path(const Store *s, const char *sha256)
{
    char name[80] = "sha256-";
    CHECK(record_is_sha256(sha256));
    memcpy(name + 7, sha256, 65);
    return path_join(s->dir, "blobs", name, NULL);
}

/* ---- Listing ---- */

void store_model_free(StoreModel *m)
{
    char *const texts[] = {m->name, m->host, m->owner, m->tag, m->title, m->licence, m->source,
                           m->pulled, m->file, m->sha256, m->manifest, m->path, m->problem};
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
        mem_free(texts[k]);
    *m = (StoreModel){0};
}

void store_list_free(StoreList *list)
{
    for (size_t k = 0; k < list->count; k++)
        store_model_free(&list->items[k]);
    mem_free(list->items);
    *list = (StoreList){0};
}

MUST_USE static Status no_memory(Error *err)
{
    return error_set(err, ST_NOMEM, "no memory for the list of models");
}

/* A model whose manifest or blob is wrong is listed with its problem, so that it can be removed. */
MUST_USE static Status load_manifest(const Store *s, StoreModel *m, Error *err)
{
    uint8_t *text = NULL;
    size_t size = 0;
    Error why = {0};
    Status st = file_read_all(&text, &size, m->manifest, MANIFEST_FILE_MAX, &why);
    if (st == ST_OK)
        st = manifest_parse(m, text, size, &why);
    if (st != ST_OK)
        error_context(&why, st, "%s", m->manifest);
    mem_free(text);
    if (st == ST_OK) {
        m->path = store_blob_path(s, m->sha256);
        if (!m->path)
            return no_memory(err);
        const int64_t bytes = fs_file_bytes(m->path);
        if (bytes < 0)
            st = error_set(&why, ST_CORRUPT, "its file %s is missing", m->path);
        else if (bytes != m->bytes)
            st = error_set(&why, ST_CORRUPT, "its file %s has %lld bytes, expected %lld", m->path,
                           (long long)bytes, (long long)m->bytes);
    }
    if (st == ST_NOMEM)
        return no_memory(err);
    if (st != ST_OK && !(m->problem = mem_strdup(why.msg)))
        return no_memory(err);
    return ST_OK;
}

/* A list that grows, and where in the tree of manifests we are. */
typedef struct {
    const Store *store;
    StoreList *list;
    size_t cap;
    const char *parts[3]; /* host, owner, name */
} Walk;

MUST_USE static Status add_model(Walk *w, const char *path, const char *tag, size_t tag_size, Error *err)
{
    void *p = w->list->items;
    if (mem_grow(&p, &w->cap, w->list->count + 1, sizeof *w->list->items) != ST_OK)
        return no_memory(err);
    w->list->items = p;
    StoreModel *const m = &w->list->items[w->list->count++];
    *m = (StoreModel){
        .host = mem_strdup(w->parts[0]),
        .owner = mem_strdup(w->parts[1]),
        .name = mem_strdup(w->parts[2]),
        .tag = mem_strndup(tag, tag_size),
        .manifest = mem_strdup(path),
    };
    if (!m->host || !m->owner || !m->name || !m->tag || !m->manifest)
        return no_memory(err);
    return load_manifest(w->store, m, err);
}

MUST_USE static Status walk(Walk *w, const char *path, int depth, Error *err);

MUST_USE static Status walk_entry(Walk *w, const char *path, const char *name, int depth, Error *err)
{
    if (!record_name_is_safe(name))
        return ST_OK; /* none of ours */
    const size_t n = strlen(name);
    char *below = path_join(path, name, NULL);
    if (!below)
        return no_memory(err);
    Status st = ST_OK;
    if (depth < 3) {
        w->parts[depth] = name;
        st = walk(w, below, depth + 1, err);
    } else if (n > 5 && strcmp(name + n - 5, ".json") == 0) {
        st = add_model(w, below, name, n - 5, err);
    }
    mem_free(below);
    return st;
}

MUST_USE static Status walk(Walk *w, const char *path, int depth, Error *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
        return ST_OK;
    DIR *const dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        const Status st = error_errno(err, "cannot read '%s'", path);
        if (fd >= 0)
            close(fd);
        return st;
    }
    Status st = ST_OK;
    for (const struct dirent *e; st == ST_OK && (e = readdir(dir)) != NULL;)
        st = walk_entry(w, path, e->d_name, depth, err);
    closedir(dir);
    return st;
}

static int by_name(const void *a, const void *b)
{
    const StoreModel *x = a, *y = b;
    int d = strcmp(x->name, y->name);
    return d ? d : strcmp(x->manifest, y->manifest);
}

/* Those of the catalogue's embedded models that are here. */
MUST_USE static Status add_embedded(Walk *w, const Catalogue *catalogue, Error *err)
{
    Status st = ST_OK;
    for (size_t k = 0; k < catalogue_count(catalogue) && st == ST_OK; k++) {
        const CatalogueModel *const known = catalogue_at(catalogue, k);
        void *p = w->list->items;
        if (!catalogue_is_embedded(known))
            continue;
        if (mem_grow(&p, &w->cap, w->list->count + 1, sizeof *w->list->items) != ST_OK)
            return no_memory(err);
        w->list->items = p;
        Error why = {0};
        st = embedded_find(w->store, known, &w->list->items[w->list->count], &why);
        w->list->count += st == ST_OK;
        if (st == ST_NOTFOUND)
            st = ST_OK;
        else if (st != ST_OK)
            return no_memory(err);
    }
    return st;
}

Status store_list(const Store *s, const Catalogue *catalogue, StoreList *out, Error *err)
{
    StoreList list = {0};
    Walk w = {.store = s, .list = &list};
    char *path = path_join(s->dir, "manifests", NULL);
    Status st = path ? walk(&w, path, 0, err) : no_memory(err);
    mem_free(path);
    if (st == ST_OK && catalogue)
        st = add_embedded(&w, catalogue, err);
    if (st != ST_OK) {
        store_list_free(&list);
        return st;
    }
    if (list.count > 1)
        qsort(list.items, list.count, sizeof *list.items, by_name);
    *out = list;
    return ST_OK;
}

/* ---- Finding ---- */

/* Does text[0..n) equal HOST/OWNER/NAME with a parts left out in front? */
static bool path_matches(const StoreModel *m, const char *text, size_t n)
{
    const char *const parts[] = {m->name, m->owner, m->host};
    for (size_t k = 0; k < 3; k++) {
        const size_t len = strlen(parts[k]);
        if (n < len || memcmp(text + n - len, parts[k], len) != 0)
            return false;
        n -= len;
        if (n == 0)
            return true;
        if (text[--n] != '/')
            return false;
    }
    return false;
}

static bool model_matches(const StoreModel *m, const char *name)
{
    const size_t n = strlen(name), tag = strlen(m->tag);
    if (path_matches(m, name, n))
        return true;
    return n > tag + 1 && name[n - tag - 1] == ':' && strcmp(name + n - tag, m->tag) == 0 &&
           path_matches(m, name, n - tag - 1);
}

/* An entry of the list for the name; usable ones are preferred. */
static StoreModel *find_in(StoreList *list, const char *name)
{
    StoreModel *found = NULL;
    for (size_t k = 0; k < list->count; k++)
        if (model_matches(&list->items[k], name) && (!found || (found->problem && !list->items[k].problem)))
            found = &list->items[k];
    return found;
}

Status store_find(const Store *s, const Catalogue *catalogue, const char *name, StoreModel *out, Error *err)
{
    StoreList list = {0};
    const CatalogueModel *known = catalogue ? catalogue_find(catalogue, name) : NULL;
    Status st = store_list(s, catalogue, &list, err);
    if (st != ST_OK)
        return st;
    StoreModel *m = find_in(&list, name);
    if (!m && known)
        m = find_in(&list, known->name);
    if (m && m->problem) {
        st = error_set(err, ST_CORRUPT, "model '%s' cannot be used: %s", name, m->problem);
    } else if (m) {
        *out = *m;
        *m = (StoreModel){0};
    } else if (known && catalogue_is_embedded(known)) {
        st = embedded_find(s, known, out, err); /* for its words */
    } else if (known) {
        st = error_set(err, ST_NOTFOUND, "model '%s' is not on this machine; 'plumb pull %s' fetches it (%.0f MB)",
                       name, name, (double)known->source.bytes / 1e6);
    } else {
        st = error_set(err, ST_NOTFOUND, "no model '%s'; 'plumb ls --all' lists those on this machine and those "
                       "that can be fetched", name);
    }
    store_list_free(&list);
    return st;
}

static bool path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

MUST_USE static Status copy_path(char **path, const char *text, Error *err)
{
    char *copy = mem_strdup(text);
    if (!copy)
        return error_set(err, ST_NOMEM, "no memory for a path");
    *path = copy;
    return ST_OK;
}

Status store_resolve(const Store *s, const Catalogue *catalogue, const char *name, char **path, Error *err)
{
    if (!name) {
        const CatalogueModel *known = catalogue ? catalogue_default(catalogue) : NULL;
        if (!known)
            return error_set(err, ST_NOTFOUND, "no model is named and there is no default");
        name = known->name;
    }
    if (strchr(name, '/') && path_exists(name))
        return copy_path(path, name, err);
    StoreModel m = {0};
    const Status st = store_find(s, catalogue, name, &m, err);
    if (st == ST_OK) {
        *path = m.path;
        m.path = NULL;
        store_model_free(&m);
        return ST_OK;
    }
    if (st == ST_NOTFOUND && path_exists(name))
        return copy_path(path, name, err);
    if (st == ST_NOTFOUND && strchr(name, '/'))
        return error_set(err, ST_NOTFOUND, "'%s' is neither a file nor a model on this machine", name);
    return st;
}

/* ---- Changing ---- */

Status store_lock(Store *s, bool (*wait)(void *arg), void *arg, Error *err)
{
    CHECK(s->lock_fd < 0);
    Status st = fs_make_dirs(s->dir, err);
    char *path = path_join(s->dir, "lock", NULL);
    int fd = -1;
    if (st == ST_OK && !path)
        st = error_set(err, ST_NOMEM, "no memory for the lock");
    if (st == ST_OK && (fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666)) < 0)
        st = error_errno(err, "cannot open '%s'", path);
    while (st == ST_OK && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            st = error_errno(err, "cannot lock '%s'", path);
        else if (!wait)
            st = error_set(err, ST_BUSY, "another plumb is changing the models in %s; try again when it is done",
                           s->dir);
        else if (!wait(arg))
            st = error_set(err, ST_CANCELLED, "interrupted");
        else
            nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    mem_free(path);
    if (st == ST_OK)
        s->lock_fd = fd;
    else if (fd >= 0)
        close(fd);
    return st;
}

void store_unlock(Store *s)
{
    if (s->lock_fd >= 0)
        close(s->lock_fd); /* the file stays: removing it would let two processes lock two files */
    s->lock_fd = -1;
}

Status store_write_manifest(Store *s, const StoreModel *m, Error *err)
{
    CHECK(s->lock_fd >= 0);
    Status st = ST_OK;
    ByteBuf text = {0}, name = {0};
    char *path = NULL, *dir = path_join(s->dir, "manifests", m->host, m->owner, m->name, NULL);
    if (bytebuf_printf(&name, "%s.json", m->tag) == ST_OK && dir && bytebuf_cstr(&name))
        path = path_join(dir, (const char *)name.data, NULL);
    if (!path)
        TRY(error_set(err, ST_NOMEM, "no memory for a manifest"));
    TRY(manifest_write(&text, m, err));
    TRY(fs_make_dirs(dir, err));
    TRY(file_write_atomic(path, text.data, text.count, err));
out:
    bytebuf_free(&text);
    bytebuf_free(&name);
    mem_free(path);
    mem_free(dir);
    return st;
}

/* Directories above a removed manifest, as long as they are empty. */
static void remove_empty_parents(const Store *s, const StoreModel *m)
{
    char *const dirs[] = {
        path_join(s->dir, "manifests", m->host, m->owner, m->name, NULL),
        path_join(s->dir, "manifests", m->host, m->owner, NULL),
        path_join(s->dir, "manifests", m->host, NULL),
    };
    bool empty = true;
    for (size_t k = 0; k < sizeof dirs / sizeof *dirs; k++) {
        empty = empty && dirs[k] && rmdir(dirs[k]) == 0;
        mem_free(dirs[k]);
    }
}

MUST_USE static Status blob_is_used(const Store *s, const char *sha256, bool *used, Error *err)
{
    StoreList list = {0};
    const Status st = store_list(s, NULL, &list, err);
    *used = false;
    for (size_t k = 0; k < list.count; k++)
        /* What we cannot read may be a newer program's, and may name the blob. */
        *used = *used || !list.items[k].path || strcmp(list.items[k].sha256, sha256) == 0;
    store_list_free(&list);
    return st;
}

Status store_remove(Store *s, const StoreModel *m, int64_t *freed, Error *err)
{
    Status st = ST_OK;
    bool used = true;
    int64_t bytes = 0;
    if (m->embedded)
        return error_set(err, ST_INVALID, "model '%s' comes with Plumb and is not removed", m->name);
    TRY(store_lock(s, NULL, NULL, err));
    if (unlink(m->manifest) != 0)
        TRY(error_errno(err, "cannot remove '%s'", m->manifest));
    remove_empty_parents(s, m);
    if (m->path)
        TRY(blob_is_used(s, m->sha256, &used, err));
    if (!used && (bytes = fs_file_bytes(m->path)) >= 0 && unlink(m->path) != 0)
        TRY(error_errno(err, "cannot remove '%s'", m->path));
    if (freed)
        *freed = bytes > 0 ? bytes : 0;
out:
    store_unlock(s);
    return st;
}

Status store_verify(const Store *s, const StoreModel *m, Error *err)
{
    (void)s;
    char hex[SHA256_HEX_SIZE];
    if (m->embedded)
        return embedded_verify(m, err);
    const Status st = digest_file(hex, m->path, err);
    if (st == ST_OK && strcmp(hex, m->sha256) != 0)
        return error_set(err, ST_CORRUPT, "%s has SHA-256 %s, expected %s", m->path, hex, m->sha256);
    return st;
}
