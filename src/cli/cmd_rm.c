/* plumb rm NAME…: remove models from the store. plumb verify NAME…: read them again and compare digests. */
#include "cli/model_path.h"
#include "cli/options.h"

#include <stdio.h>
#include <string.h>

/* One model that may be unusable: rm must be able to take those away as well. */
MUST_USE static Status find_any(const Models *models, const char *name, StoreModel *out, Error *err)
{
    const Status st = store_find(models->store, models->catalogue, name, out, err);
    if (st != ST_CORRUPT)
        return st;
    StoreList list = {0};
    const Status list_st = store_list(models->store, models->catalogue, &list, err);
    for (size_t k = 0; k < list.count && !out->name; k++)
        if (list.items[k].problem && strcmp(list.items[k].name, name) == 0) {
            *out = list.items[k];
            list.items[k] = (StoreModel){0};
        }
    store_list_free(&list);
    return list_st != ST_OK ? list_st : out->name ? ST_OK : st;
}

static int remove_one(const Cli *cli, const Models *models, const char *name)
{
    Error err = {0};
    StoreModel m = {0};
    int64_t freed = 0;
    char size[24];
    Status st = find_any(models, name, &m, &err);
    if (st == ST_OK)
        st = store_remove(models->store, &m, &freed, &err);
    if (st == ST_OK && !cli_flag(cli, "quiet")) {
        format_bytes(size, sizeof size, (double)freed);
        printf("removed %s (%s)\n", m.name, size);
    }
    store_model_free(&m);
    return st == ST_OK ? 0 : cli_fail(cli, st, &err);
}

static int verify_one(const Cli *cli, const Models *models, const char *name)
{
    Error err = {0};
    StoreModel m = {0};
    Status st = store_find(models->store, models->catalogue, name, &m, &err);
    if (st == ST_OK)
        st = store_verify(models->store, &m, &err);
    if (st == ST_OK && !cli_flag(cli, "quiet"))
        printf("%s: sha256 %s%s\n", m.name, m.sha256, m.embedded ? ", and its other files" : "");
    store_model_free(&m);
    return st == ST_OK ? 0 : cli_fail(cli, st, &err);
}

/* The first failure decides the exit code; the others are still tried. */
static int for_each(Cli *cli, int (*one)(const Cli *, const Models *, const char *))
{
    Error err = {0};
    Models models = {0};
    int code = 0;
    const Status st = models_open(&models, &err);
    if (st != ST_OK)
        code = cli_fail(cli, st, &err);
    for (int k = 0; st == ST_OK && k < cli_positional_count(cli); k++) {
        const int c = one(cli, &models, cli_positional(cli, k));
        code = code ? code : c;
    }
    models_close(&models);
    return code;
}

static int run_rm(Cli *cli)
{
    return for_each(cli, remove_one);
}

static int run_verify(Cli *cli)
{
    return for_each(cli, verify_one);
}

static const CliOption options[] = {CLI_OPTION_QUIET, {0}};

const CliCommand cmd_rm = {
    .name = "rm",
    .args = "NAME...",
    .help = "remove models from this machine",
    .about = "Drops the model's manifest, and its file unless another manifest names it.",
    .options = options,
    .positionals_min = 1,
    .positionals_max = -1,
    .run = run_rm,
};

const CliCommand cmd_verify = {
    .name = "verify",
    .args = "NAME...",
    .help = "check the files of models against their digests",
    .options = options,
    .positionals_min = 1,
    .positionals_max = -1,
    .run = run_verify,
};
