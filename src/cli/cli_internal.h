/* What the files of the command line share among themselves and with their tests. */
#ifndef PLUMB_CLI_INTERNAL_H
#define PLUMB_CLI_INTERNAL_H

#include "base/buf.h"
#include "cli/cli.h"

#include <stddef.h>

typedef struct {
    const CliOption *option;
    const char *text; /* borrowed from argv; "" for flags and left-out optional values */
    bool flag;
    int64_t i;
    double f;
} CliGiven;

struct Cli {
    const CliCommand *command;
    const CliCommand *const *commands;
    CliGiven *given; /* owned; in the order of the command line */
    size_t given_count, given_cap;
    const char **positionals; /* owned array of borrowed texts */
    size_t positional_count, positional_cap;
    bool json, help, help_all;
    char warning[200]; /* one thing to tell the user, or "" */
};

/* cli_parse.c: read argv[0..argc) (behind the command's words) by cli->command. ST_USAGE with the message
 * for the user, or ST_NOMEM. cli->json is set even when parsing fails. */
MUST_USE Status cli_parse(Cli *cli, int argc, char *const *argv, Error *err);
void cli_deinit(Cli *cli); /* zeroed is fine */

/* cli_find.c: the command that argv begins with, *words its number of words; NULL when there is none, with
 * the message for the user in err (ST_USAGE). */
const CliCommand *cli_find_command(const CliCommand *const *commands, int argc, char *const *argv,
                                   int *words, Error *err);
/* The exact command of that name, or NULL. */
const CliCommand *cli_command_named(const CliCommand *const *commands, const char *name);

/* Is `word` (n bytes) in a list separated by spaces? A NULL list is empty. */
bool word_in_list(const char *list, const char *word, size_t n);

/* cli_foreign.c: what we have instead of an option or command of another program; NULL: unknown. The name
 * comes without its dashes. */
const char *foreign_option(const char *name, size_t n);
const char *foreign_command(const char *name);

/* help.c. ST_NOMEM is the only failure. `columns`: width to wrap at. */
MUST_USE Status help_overview(ByteBuf *out, const CliCommand *const *commands);
MUST_USE Status help_all_commands(ByteBuf *out, const CliCommand *const *commands, int columns);
MUST_USE Status help_command(ByteBuf *out, const CliCommand *command, int columns, bool all);
/* "  -t, --threads N" as help, man page and tests write it: "-t, --threads N". */
void help_option_text(char *buf, size_t size, const CliOption *o);

/* man.c: pages in the man macros. */
MUST_USE Status man_program(ByteBuf *out, const CliCommand *const *commands);
MUST_USE Status man_command(ByteBuf *out, const CliCommand *command);
/* plumb.1 and plumb-COMMAND.1 for every command that is not hidden, into an existing directory. */
MUST_USE Status man_write_pages(const char *dir, const CliCommand *const *commands, Error *err);

/* completion.c: a script for "bash", "zsh" or "fish". */
MUST_USE Status completion_script(ByteBuf *out, const CliCommand *const *commands, const char *shell,
                                  Error *err);

#endif
