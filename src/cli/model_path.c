/* Models by name: resolving, and fetching what is not here. */
#include "cli/model_path.h"

#include "base/mem.h"
#include "cli/interrupt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Status models_open(Models *m, Error *err)
{
    *m = (Models){0};
    const Status st = store_open(&m->store, NULL, err);
    return st == ST_OK ? catalogue_open(&m->catalogue, err) : st;
}

void models_close(Models *m)
{
    store_close(m->store);
    catalogue_close(m->catalogue);
    *m = (Models){0};
}

bool cli_offline(void)
{
    const char *v = getenv("PLUMB_OFFLINE");
    return v && *v && strcmp(v, "0") != 0;
}

/* ---- Pulling ---- */

typedef struct {
    Progress progress;
    Interrupts interrupts;
} PullView;

static bool show_progress(void *arg, const PullProgress *p)
{
    PullView *const v = arg;
    progress_update(&v->progress, pull_phase_name(p->phase), p->done, p->total);
    return interrupts_seen(&v->interrupts) == 0;
}

static int pull_failed(const Cli *cli, Status st, const Error *err, const CatalogueModel *model, int signal_number)
{
    char hint[300];
    if (st == ST_CANCELLED) {
        cli_fail(cli, st, err);
        return signal_number ? interrupt_exit_code(signal_number) : status_exit_code(st);
    }
    switch (st) {
    case ST_NETWORK:
        snprintf(hint, sizeof hint, "check the connection (HTTPS_PROXY and pip's settings count) and try 'plumb pull %s' "
                 "again, or name a model file of your own", model->name);
        break;
    case ST_NOSPACE:
        snprintf(hint, sizeof hint, "make room, or set PLUMB_MODELS to a directory on another disk");
        break;
    case ST_CORRUPT:
        snprintf(hint, sizeof hint, "try 'plumb pull %s' again", model->name);
        break;
    default:
        return cli_fail(cli, st, err);
    }
    return cli_fail_hint(cli, st, err, hint);
}

/* Without a word about failure; *signal_number is the signal that ended it, or 0. */
MUST_USE static Status pull(const Models *models, const CatalogueModel *model, ProgressMode mode, bool offline,
                            PullResult *result, int *signal_number, Error *err)
{
    PullView view;
    char digest[80];
    snprintf(digest, sizeof digest, "sha256:%.64s", model->file_count > 0 ? model->files[0].sha256 : "");
    progress_init(&view.progress, mode, model->name, digest);
    const PullParams params = {.offline = offline || cli_offline(), .progress = show_progress, .arg = &view};
    interrupts_hold(&view.interrupts);
    const Status st = store_pull(models->store, model, &params, result, err);
    interrupts_release(&view.interrupts);
    progress_finish(&view.progress);
    *signal_number = view.interrupts.signal;
    return st;
}

int cli_pull(const Cli *cli, const Models *models, const CatalogueModel *model, ProgressMode mode, bool offline,
             PullResult *result)
{
    Error err = {0};
    int signal_number = 0;
    const Status st = pull(models, model, mode, offline, result, &signal_number, &err);
    return st == ST_OK ? 0 : pull_failed(cli, st, &err, model, signal_number);
}

/* ---- Paths ---- */

static void say_fetching(const CatalogueModel *model)
{
    char size[24];
    format_bytes(size, sizeof size, (double)model->source.bytes);
    if (!cli_offline())
        fprintf(stderr, "fetching %s (%s, %s, licence %s), once\n", model->name, model->title, size, model->licence);
}

static void take_path(PullResult *result, char **path)
{
    *path = result->model.path;
    result->model.path = NULL;
    store_model_free(&result->model);
}

/* Fetch `model` because it was asked for, and say so. */
static int fetch_first(const Cli *cli, const Models *models, const CatalogueModel *model, char **path)
{
    PullResult result = {0};
    say_fetching(model);
    const int code = cli_pull(cli, models, model, progress_mode_auto(), false, &result);
    if (code == 0)
        take_path(&result, path);
    return code;
}

int cli_model_path(const Cli *cli, const char *name, bool fetch, char **path)
{
    Error err = {0};
    Models models = {0};
    int code;
    Status st = models_open(&models, &err);
    if (st == ST_OK)
        st = store_resolve(models.store, models.catalogue, name, path, &err);
    const CatalogueModel *known = NULL;
    if (st == ST_NOTFOUND && fetch)
        known = name ? catalogue_find(models.catalogue, name) : catalogue_default(models.catalogue);
    if (known && !catalogue_is_embedded(known))
        code = fetch_first(cli, &models, known, path);
    else
        code = st == ST_OK ? 0 : cli_fail(cli, st, &err);
    models_close(&models);
    return code;
}

/* ---- The default ---- */

/* The first model that comes with Plumb and is here, whole. */
static const CatalogueModel *find_embedded(const Models *models, char **path)
{
    for (size_t k = 0; k < catalogue_count(models->catalogue); k++) {
        const CatalogueModel *const m = catalogue_at(models->catalogue, k);
        if (catalogue_is_embedded(m) && store_resolve(models->store, models->catalogue, m->name, path, NULL) == ST_OK)
            return m;
    }
    return NULL;
}

/* The default could not be fetched, for the reason in `err`. Returns the model to go on with, or NULL. */
static const CatalogueModel *go_on_without(const Cli *cli, const Models *models, const CatalogueModel *model,
                                           const Error *err, char **path)
{
    const CatalogueModel *const other = find_embedded(models, path);
    if (other)
        cli_warn(cli, "going on with %s, which comes with Plumb and is for %s, since %s cannot be had: %s", other->name,
                 other->purpose ? other->purpose : "trying things out", model->name, err->msg);
    return other;
}

static int fetch_or_go_on(const Cli *cli, const Models *models, const CatalogueModel **model, char **path)
{
    Error err = {0};
    PullResult result = {0};
    int signal_number = 0;
    say_fetching(*model);
    const Status st = pull(models, *model, progress_mode_auto(), false, &result, &signal_number, &err);
    if (st == ST_OK) {
        take_path(&result, path);
        return 0;
    }
    const CatalogueModel *const other =
        st == ST_CANCELLED || st == ST_NOMEM ? NULL : go_on_without(cli, models, *model, &err, path);
    if (!other)
        return pull_failed(cli, st, &err, *model, signal_number);
    *model = other;
    return 0;
}

int cli_some_model(const Cli *cli, char **name, char **path)
{
    Error err = {0};
    Models models = {0};
    int code = 0;
    const CatalogueModel *model = NULL;
    Status st = models_open(&models, &err);
    if (st == ST_OK)
        st = store_resolve(models.store, models.catalogue, NULL, path, &err);
    if (st == ST_OK || st == ST_NOTFOUND)
        model = catalogue_default(models.catalogue);
    if (st == ST_NOTFOUND && model)
        code = fetch_or_go_on(cli, &models, &model, path);
    else if (st != ST_OK)
        code = cli_fail(cli, st, &err);
    if (code == 0 && !(*name = mem_strdup(model->name)))
        code = cli_fail(cli, error_set(&err, ST_NOMEM, "no memory"), &err);
    models_close(&models);
    return code;
}
