/* See state_dir.h. */
#include "cli/state_dir.h"

#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *env(const char *name)
{
    const char *const v = getenv(name);
    return v && *v ? v : NULL;
}

static Status state_dir(ByteBuf *out, Error *err)
{
    if (env("PLUMB_STATE_DIR"))
        return bytebuf_printf(out, "%s", env("PLUMB_STATE_DIR"));
    if (env("XDG_STATE_HOME") && env("XDG_STATE_HOME")[0] == '/') /* a relative one is to be ignored */
        return bytebuf_printf(out, "%s/plumb", env("XDG_STATE_HOME"));
    if (env("HOME"))
        return bytebuf_printf(out, "%s/.local/state/plumb", env("HOME"));
    return error_set(err, ST_NOTFOUND, "no directory for saved sessions: HOME is not set");
}

/* Make every directory of `path`; it is changed and restored. */
static Status make_dirs(char *path, Error *err)
{
    for (char *p = path + 1;; p++) {
        const char c = *p;
        if (c != '/' && c != 0)
            continue;
        *p = 0;
        const bool failed = mkdir(path, 0700) != 0 && errno != EEXIST;
        const Status st = failed ? error_errno(err, "cannot make the directory '%s'", path) : ST_OK;
        *p = c;
        if (st != ST_OK || c == 0)
            return st;
    }
}

Status state_path(char **out, const char *folder, const char *name, bool create, Error *err)
{
    ByteBuf b = {0};
    Status st = state_dir(&b, err);
    if (st == ST_OK && folder)
        st = bytebuf_printf(&b, "/%s", folder);
    if (st == ST_OK && create)
        st = bytebuf_cstr(&b) ? make_dirs((char *)b.data, err) : ST_NOMEM;
    if (st == ST_OK)
        st = bytebuf_printf(&b, "/%s", name);
    if (st == ST_OK && !bytebuf_cstr(&b))
        st = ST_NOMEM;
    if (st == ST_OK) {
        *out = (char *)b.data;
        return ST_OK;
    }
    bytebuf_free(&b);
    return st == ST_NOMEM ? error_set(err, st, "no memory for a path") : st;
}
