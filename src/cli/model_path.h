/* From the word a user gives for a model to a path, for every command that opens one. */
#ifndef PLUMB_CLI_MODEL_PATH_H
#define PLUMB_CLI_MODEL_PATH_H

#include "cli/cli.h"
#include "cli/progress.h"
#include "store/pull.h"

/* The store and the catalogue together, as commands need them. */
typedef struct {
    Store *store;
    Catalogue *catalogue;
} Models;
MUST_USE Status models_open(Models *m, Error *err);
void models_close(Models *m); /* zeroed or closed twice is fine */

/* Fetch a model of the catalogue with progress on stderr (JSON: stdout); Ctrl-C ends it. Prints what goes
 * wrong and what to do about it, and returns the exit code; 0 fills *result. */
int cli_pull(const Cli *cli, const Models *models, const CatalogueModel *model, ProgressMode mode, bool offline,
             PullResult *result);

/* PLUMB_OFFLINE is set, and not to 0. */
bool cli_offline(void);

/* The path of the model `name` (NULL: the default model) into *path, owned by the caller (mem_free). With
 * `fetch`, a model that is not here and that the catalogue knows is pulled first. Prints the error and
 * returns its exit code; 0: fine. */
int cli_model_path(const Cli *cli, const char *name, bool fetch, char **path);

/* The model to talk to when none was named: the default one, fetched if need be; when that cannot be, the one that
 * comes with Plumb, and a line on stderr that says so and what it is for. *name and *path are owned by the caller
 * (mem_free). As cli_model_path. */
int cli_some_model(const Cli *cli, char **name, char **path);

#endif
