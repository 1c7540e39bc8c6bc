/* From the word a user gives for a model to the path of its file, and to an open model. */
#ifndef PLUMB_CLI_MODEL_ARG_H
#define PLUMB_CLI_MODEL_ARG_H

#include "cli/cli.h"
#include "engine/engine.h"

/* A path, or a name of the store or the catalogue (store_resolve); NULL: the default model. *path is owned by
 * the caller (mem_free). */
MUST_USE Status model_arg_path(char **path, const char *name, Error *err);

/* Open the model that `name` means as `defaults` say, but for --threads and --mode where they are given; the
 * command has CLI_OPTIONS_COMPUTE. */
MUST_USE Status model_arg_open(Model **out, const Cli *cli, const char *name, const ModelParams *defaults, Error *err);

#endif
