/* Models by name: resolving, and fetching what is not here. */
#include "cli/model_path.h"

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

int cli_pull(const Cli *cli, const Models *models, const CatalogueModel *model, ProgressMode mode, bool offline,
             PullResult *result)
{
    Error err = {0};
    PullView view;
    char digest[80];
    snprintf(digest, sizeof digest, "sha256:%.64s", model->files[0].sha256);
    progress_init(&view.progress, mode, model->name, digest);
    const PullParams params = {.offline = offline || cli_offline(), .progress = show_progress, .arg = &view};
    interrupts_hold(&view.interrupts);
    const Status st = store_pull(models->store, model, &params, result, &err);
    interrupts_release(&view.interrupts);
    progress_finish(&view.progress);
    return st == ST_OK ? 0 : pull_failed(cli, st, &err, model, view.interrupts.signal);
}

/* ---- Paths ---- */

/* Fetch `model` because it was asked for, and say so. */
static int fetch_first(const Cli *cli, const Models *models, const CatalogueModel *model, char **path)
{
    char size[24];
    PullResult result = {0};
    format_bytes(size, sizeof size, (double)model->source.bytes);
    if (!cli_offline())
        fprintf(stderr, "fetching %s (%s, %s, licence %s), once\n", model->name, model->title, size, model->licence);
    const int code = cli_pull(cli, models, model, progress_mode_auto(), false, &result);
    if (code == 0) {
        *path = result.model.path;
        result.model.path = NULL;
        store_model_free(&result.model);
    }
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
    if (known)
        code = fetch_first(cli, &models, known, path);
    else
        code = st == ST_OK ? 0 : cli_fail(cli, st, &err);
    models_close(&models);
    return code;
}
