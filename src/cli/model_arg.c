/* Models on the command line. */
#include "cli/model_arg.h"

#include "base/mem.h"
#include "store/store.h"

Status model_arg_path(char **path, const char *name, Error *err)
{
    Store *store = NULL;
    Catalogue *catalogue = NULL;
    Status st = ST_OK;
    TRY(store_open(&store, NULL, err));
    TRY(catalogue_open(&catalogue, err));
    TRY(store_resolve(store, catalogue, name, path, err));
out:
    catalogue_close(catalogue);
    store_close(store);
    return st;
}

Status model_arg_open(Model **out, const Cli *cli, const char *name, ComputeMode mode, Error *err)
{
    ModelParams params = {.mode = mode, .threads = (int)cli_int(cli, "threads", 0)};
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
