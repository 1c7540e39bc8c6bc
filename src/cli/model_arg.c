/* Models on the command line. */
#include "cli/model_arg.h"

#include "base/mem.h"
#include "cli/model_path.h"

Status model_arg_path(char **path, const char *name, Error *err)
{
    Models models = {0};
    Status st = models_open(&models, err);
    if (st == ST_OK)
        st = store_resolve(models.store, models.catalogue, name, path, err);
    models_close(&models);
    return st;
}

Status model_arg_open(Model **out, const Cli *cli, const char *name, const ModelParams *defaults, Error *err)
{
    ModelParams params = *defaults;
    params.threads = (int)cli_int(cli, "threads", defaults->threads);
    char *path = NULL;
    Status st = ST_OK;
    if (cli_given(cli, "mode"))
        TRY(mode_parse(&params.mode, cli_string(cli, "mode", "auto"), err));
    TRY(model_arg_path(&path, name, err));
    TRY(model_open(out, path, &params, err));
out:
    mem_free(path);
    return st;
}
