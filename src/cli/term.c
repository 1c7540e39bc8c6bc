/* What the terminal can do. */
#include "cli/term.h"

#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool term_is_tty(int fd)
{
    return isatty(fd) == 1;
}

int term_columns(int fd)
{
    struct winsize size;
    long columns = 80;
    const char *env = getenv("COLUMNS");
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        columns = size.ws_col;
    else if (env && *env)
        columns = strtol(env, NULL, 10);
    return columns < 20 ? 20 : columns > 1000 ? 1000 : (int)columns;
}

/* https://no-color.org: any value but the empty one counts. */
static bool env_set(const char *name)
{
    const char *v = getenv(name);
    return v && *v;
}

bool term_colour(int fd)
{
    if (env_set("NO_COLOR"))
        return false;
    const char *force = getenv("CLICOLOR_FORCE");
    if (force && *force && strcmp(force, "0") != 0)
        return true;
    const char *term = getenv("TERM");
    return term_is_tty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

bool term_utf8(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}
