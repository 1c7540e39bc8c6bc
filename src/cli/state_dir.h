/* Where the program keeps what a user did: $PLUMB_STATE_DIR, else $XDG_STATE_HOME/plumb, else
 * ~/.local/state/plumb. */
#ifndef PLUMB_CLI_STATE_DIR_H
#define PLUMB_CLI_STATE_DIR_H

#include "base/error.h"

/* "STATE/name", or "STATE/folder/name" when folder is not NULL, into *out, owned by the caller (mem_free).
 * With `create` the directories are made, for this user only. */
MUST_USE Status state_path(char **out, const char *folder, const char *name, bool create, Error *err);

#endif
