/* Finding commands by name. */
#include "cli/cli_internal.h"

#include "base/nearest.h"

#include <string.h>

/* ---- Commands ---- */

const CliCommand *cli_command_named(const CliCommand *const *commands, const char *name)
{
    for (; *commands; commands++)
        if (strcmp((*commands)->name, name) == 0 || word_in_list((*commands)->also, name, strlen(name)))
            return *commands;
    return NULL;
}

/* Number of words of `name` that argv begins with, 0 when it does not begin with the whole name. */
static int words_matched(const char *name, int argc, char *const *argv)
{
    int words = 0;
    for (const char *p = name; *p;) {
        const size_t n = strcspn(p, " ");
        if (words >= argc || strlen(argv[words]) != n || memcmp(argv[words], p, n) != 0)
            return 0;
        words++;
        p += n;
        p += strspn(p, " ");
    }
    return words;
}

static bool is_group(const CliCommand *c, const char *word)
{
    const size_t n = strlen(word);
    return strncmp(c->name, word, n) == 0 && c->name[n] == ' ';
}

/* argv[0] is the first word of commands with two words, but the second one fits none of them. */
MUST_USE static Status group_error(const CliCommand *const *commands, int argc, char *const *argv, Error *err)
{
    const char *word = argv[0];
    char list[200] = "";
    size_t used = 0;
    Nearest near;
    nearest_init(&near, argc > 1 ? argv[1] : "", argc > 1 ? strlen(argv[1]) : 0);
    for (; *commands; commands++)
        if (is_group(*commands, word) && !(*commands)->hidden) {
            const char *rest = (*commands)->name + strlen(word) + 1;
            const size_t n = strlen(rest);
            nearest_try(&near, rest, n);
            if (used + n + 3 < sizeof list) {
                memcpy(list + used, used ? ", " : "", used ? 2 : 0);
                used += used ? 2 : 0;
                memcpy(list + used, rest, n + 1);
                used += n;
            }
        }
    if (argc < 2 || argv[1][0] == '-')
        return error_set(err, ST_USAGE, "'%s' needs a second word: %s", word, list);
    if (near.best)
        return error_set(err, ST_USAGE, "no command '%s %s'; did you mean '%s %.*s'?", word, argv[1], word,
                         (int)near.best_len, near.best);
    return error_set(err, ST_USAGE, "no command '%s %s'; '%s' goes with: %s", word, argv[1], word, list);
}

MUST_USE static Status unknown_command(const CliCommand *const *commands, const char *word, Error *err)
{
    const char *ours = foreign_command(word);
    if (ours)
        return error_set(err, ST_USAGE, "no command '%s': %s", word, ours);
    Nearest near;
    nearest_init(&near, word, strlen(word));
    for (; *commands; commands++)
        if (!(*commands)->hidden) {
            nearest_try(&near, (*commands)->name, strcspn((*commands)->name, " "));
            if ((*commands)->also)
                nearest_try(&near, (*commands)->also, strlen((*commands)->also));
        }
    if (near.best)
        return error_set(err, ST_USAGE, "no command '%s'; did you mean '%.*s'?", word, (int)near.best_len,
                         near.best);
    return error_set(err, ST_USAGE, "no command '%s'", word);
}

const CliCommand *cli_find_command(const CliCommand *const *commands, int argc, char *const *argv,
                                   int *words, Error *err)
{
    const CliCommand *best = NULL;
    bool group = false;
    *words = 0;
    for (const CliCommand *const *c = commands; *c; c++) {
        int n = words_matched((*c)->name, argc, argv);
        if (n == 0 && (*c)->also)
            n = words_matched((*c)->also, argc, argv);
        if (n > *words) {
            best = *c;
            *words = n;
        }
        group = group || (argc > 0 && is_group(*c, argv[0]));
    }
    if (best || argc < 1)
        return best;
    const Status st = group ? group_error(commands, argc, argv, err) : unknown_command(commands, argv[0], err);
    CHECK(st == ST_USAGE);
    return NULL;
}
