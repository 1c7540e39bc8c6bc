/* The directory of a run: its lock, its metrics, the names in it. See checkpoint.h. */
#include "train/checkpoint_internal.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void run_log(const Run *r, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    if (!r->log)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    r->log(r->log_arg, line);
}

/* ---- names ---- */

void step_name(char out[STEP_NAME_MAX], int64_t step)
{
    snprintf(out, STEP_NAME_MAX, "step-%06lld", (long long)step);
}

/* The step of a directory's name; -1 when it is no final name. */
static int64_t step_of(const char *name)
{
    char again[STEP_NAME_MAX];
    if (strncmp(name, "step-", 5) != 0)
        return -1;
    const size_t digits = strspn(name + 5, "0123456789");
    if (digits == 0 || digits > 18 || name[5 + digits])
        return -1;
    const int64_t step = strtoll(name + 5, NULL, 10);
    step_name(again, step);
    return strcmp(again, name) == 0 ? step : -1;
}

/* Left by somebody who did not come to the end: "step-000100.tmp", "latest.tmp". */
static bool is_temporary(const char *name)
{
    const size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".tmp") == 0 && (strncmp(name, "step-", 5) == 0 || strcmp(name, "latest.tmp") == 0);
}

typedef struct {
    int64_t *items;
    size_t count, cap;
} Steps;

static Status take_step(void *arg, const char *name, bool is_dir)
{
    Steps *s = arg;
    const int64_t step = is_dir ? step_of(name) : -1;
    void *items = s->items;
    if (step < 0)
        return ST_OK;
    if (mem_grow(&items, &s->cap, s->count + 1, sizeof *s->items) != ST_OK)
        return ST_NOMEM;
    s->items = items;
    s->items[s->count++] = step;
    return ST_OK;
}

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

Status run_steps(const Run *r, int64_t **steps, int64_t *count, Error *err)
{
    Steps s = {0};
    const Status st = r->fs->list(r->fs->self, r->dir, take_step, &s, err);
    if (st != ST_OK) {
        mem_free(s.items);
        return st == ST_NOMEM ? error_set(err, st, "no memory to list '%s'", r->dir) : st;
    }
    if (s.count > 0)
        qsort(s.items, s.count, sizeof *s.items, ascending);
    *steps = s.items;
    *count = (int64_t)s.count;
    return ST_OK;
}

/* ---- latest, removing ---- */

Status run_set_latest(const Run *r, int64_t step, Error *err)
{
    char name[STEP_NAME_MAX], path[FILES_PATH_MAX], tmp[FILES_PATH_MAX];
    const Files *fs = r->fs;
    Status st = ST_OK;
    step_name(name, step);
    TRY(files_join(path, r->dir, "latest", err));
    TRY(files_join(tmp, r->dir, "latest.tmp", err));
    (void)fs->remove(fs->self, tmp, NULL);
    TRY(fs->make_link(fs->self, name, tmp, err));
    TRY(fs->rename(fs->self, tmp, path, err));
    TRY(fs->sync_dir(fs->self, r->dir, err));
out:
    return st;
}

Status run_remove(const Run *r, const char *name, Error *err)
{
    char tmp_name[STEP_NAME_MAX], path[FILES_PATH_MAX], tmp[FILES_PATH_MAX];
    Status st = ST_OK;
    snprintf(tmp_name, sizeof tmp_name, "%.40s.tmp", name);
    TRY(files_join(path, r->dir, name, err));
    TRY(files_join(tmp, r->dir, tmp_name, err));
    TRY(files_remove_tree(r->fs, tmp, err));
    TRY(r->fs->rename(r->fs->self, path, tmp, err));
    TRY(r->fs->sync_dir(r->fs->self, r->dir, err));
    TRY(files_remove_tree(r->fs, tmp, err));
out:
    return st;
}

void run_remove_old(const Run *r)
{
    int64_t *steps = NULL, count = 0;
    Error err = {0};
    if (run_steps(r, &steps, &count, &err) != ST_OK) {
        run_log(r, "old checkpoints are not removed: %s", err.msg);
        return;
    }
    for (int64_t k = 0; k + 2 < count; k++) {
        char name[STEP_NAME_MAX];
        step_name(name, steps[k]);
        if (r->keep > 0 && steps[k] % r->keep == 0)
            continue;
        if (run_remove(r, name, &err) != ST_OK)
            run_log(r, "%s is not removed: %s", name, err.msg);
    }
    mem_free(steps);
}

/* ---- open ---- */

/* The directory and all above it that are missing. */
MUST_USE static Status make_dirs(const Files *fs, const char *path, Error *err)
{
    char part[FILES_PATH_MAX];
    const size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return error_set(err, ST_INVALID, "'%.80s' is no path for a run", path);
    for (size_t k = 1; k <= n; k++) {
        if (k < n && path[k] != '/')
            continue;
        memcpy(part, path, k);
        part[k] = 0;
        Status st = fs->make_dir(fs->self, part, err);
        if (st == ST_OK)
            st = files_sync_parent(fs, part, k < n ? NULL : err);
        if (st != ST_OK && k == n)
            return st; /* one above may be there without our being allowed to touch it */
    }
    return ST_OK;
}

typedef struct {
    bool has_step;
    char temporary[STEP_NAME_MAX]; /* one of them, empty: none */
} Look;

static Status look_at(void *arg, const char *name, bool is_dir)
{
    Look *look = arg;
    look->has_step = look->has_step || (is_dir && step_of(name) >= 0);
    if (is_temporary(name) && strlen(name) < sizeof look->temporary)
        memcpy(look->temporary, name, strlen(name) + 1);
    return ST_OK;
}

/* What somebody left half written is in nobody's way, but it takes room. */
MUST_USE static Status remove_temporary(const Run *r, Error *err)
{
    for (;;) {
        Look look = {0};
        char path[FILES_PATH_MAX];
        Status st = r->fs->list(r->fs->self, r->dir, look_at, &look, err);
        if (st != ST_OK || !*look.temporary)
            return st;
        st = files_join(path, r->dir, look.temporary, err);
        if (st == ST_OK)
            st = strcmp(look.temporary, "latest.tmp") == 0 ? r->fs->remove(r->fs->self, path, err)
                                                           : files_remove_tree(r->fs, path, err);
        if (st != ST_OK)
            return st;
    }
}

MUST_USE static Status open_metrics(Run *r, Error *err)
{
    char path[FILES_PATH_MAX];
    MapFile m = {0};
    Status st = files_join(path, r->dir, "metrics.jsonl", err);
    if (st != ST_OK)
        return st;
    st = r->fs->map(r->fs->self, &m, path, err);
    if (st == ST_OK) {
        r->metrics_size = m.size;
        r->fs->unmap(r->fs->self, &m);
        return r->fs->open(r->fs->self, &r->metrics, path, FILE_CHANGE, err);
    }
    if (st != ST_NOTFOUND)
        return st;
    st = r->fs->open(r->fs->self, &r->metrics, path, FILE_CREATE, err);
    return st == ST_OK ? r->fs->sync_dir(r->fs->self, r->dir, err) : st;
}

MUST_USE static Status open_run(Run *r, bool resume, Error *err)
{
    char lock[FILES_PATH_MAX];
    Look look = {0};
    Status st = ST_OK;
    TRY(make_dirs(r->fs, r->dir, err));
    TRY(files_join(lock, r->dir, "lock", err));
    st = r->fs->lock(r->fs->self, &r->lock, lock, err);
    if (st == ST_BUSY)
        return error_set(err, st, "another process is training in '%s'", r->dir);
    if (st != ST_OK)
        return st;
    TRY(r->fs->list(r->fs->self, r->dir, look_at, &look, err));
    TRY(open_metrics(r, err));
    if (!resume && (look.has_step || r->metrics_size > 0)) /* a start that came to nothing is no run */
        return error_set(err, ST_INVALID, "'%s' holds a run already: go on with it by --resume, or take another directory",
                         r->dir);
    TRY(remove_temporary(r, err));
out:
    return st;
}

Status run_open(Run **out, const RunParams *params, bool resume, Error *err)
{
    Run *r = mem_alloc(1, sizeof *r);
    char *dir = mem_strdup(params->dir);
    if (!r || !dir) {
        mem_free(r);
        mem_free(dir);
        return error_set(err, ST_NOMEM, "no memory for a run");
    }
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        dir[--n] = 0;
    *r = (Run){.fs = params->fs, .dir = dir, .keep = params->keep, .log = params->log, .log_arg = params->log_arg,
               .saved_step = -1};
    const Status st = open_run(r, resume, err);
    if (st == ST_OK)
        *out = r;
    else
        run_close(r);
    return st;
}

void run_close(Run *r)
{
    if (!r)
        return;
    (void)r->fs->close(r->fs->self, r->metrics, NULL);
    (void)r->fs->close(r->fs->self, r->lock, NULL);
    mem_free(r->dir);
    mem_free(r);
}

/* ---- metrics ---- */

Status run_add_metrics(Run *r, const char *line, Error *err)
{
    const size_t n = strlen(line);
    CHECK(!memchr(line, '\n', n));
    char *whole = mem_strndup(line, n + 1); /* room for the line end */
    if (!whole)
        return error_set(err, ST_NOMEM, "no memory for a line of metrics");
    whole[n] = '\n';
    const Status st = r->fs->write(r->fs->self, r->metrics, r->metrics_size, whole, n + 1, err);
    mem_free(whole);
    if (st == ST_OK)
        r->metrics_size += n + 1;
    else
        (void)r->fs->set_size(r->fs->self, r->metrics, r->metrics_size, NULL);
    return st;
}

/* "step" of a line; -1 when the line is broken. */
static int64_t line_step(const uint8_t *line, size_t size)
{
    JsonReader j;
    int64_t step = -1;
    json_init(&j, line, size);
    Status st = json_expect(&j, JSON_TOK_OBJECT_BEGIN, NULL);
    while (st == ST_OK && (st = json_next(&j, NULL)) == ST_OK && j.token == JSON_TOK_KEY) {
        if (str_eq(j.str, "step")) {
            st = json_expect(&j, JSON_TOK_INT, NULL);
            step = j.i;
        } else {
            st = json_skip(&j, NULL);
        }
    }
    if (st == ST_OK)
        st = json_next(&j, NULL);
    const bool whole = st == ST_OK && j.token == JSON_TOK_END;
    json_deinit(&j);
    return whole ? step : -1;
}

Status run_cut_metrics(Run *r, int64_t step, Error *err)
{
    char path[FILES_PATH_MAX];
    MapFile m = {0};
    Status st = files_join(path, r->dir, "metrics.jsonl", err);
    if (st == ST_OK)
        st = r->fs->map(r->fs->self, &m, path, err);
    if (st != ST_OK)
        return st;
    size_t keep = 0;
    while (keep < m.size) {
        const uint8_t *end = memchr(m.data + keep, '\n', m.size - keep);
        const int64_t at = end ? line_step(m.data + keep, (size_t)(end - m.data) - keep) : -1;
        if (at < 0 || at > step)
            break;
        keep = (size_t)(end - m.data) + 1;
    }
    r->fs->unmap(r->fs->self, &m);
    r->metrics_size = keep;
    return r->fs->set_size(r->fs->self, r->metrics, keep, err);
}
