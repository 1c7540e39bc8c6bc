/* The command line: one table of commands and options, from which parsing, --help, man pages and
 * completion are made. A command's source declares its options beside its code. */
#ifndef PLUMB_CLI_CLI_H
#define PLUMB_CLI_CLI_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Exit early in a command: `return cli_fail(&env, st, &err)`. */

typedef enum { OPT_FLAG, OPT_STRING, OPT_INT, OPT_FLOAT, OPT_SIZE, OPT_LIST } OptKind;

typedef struct {
    const char *name;  /* long name without dashes, "ctx-size" */
    char letter;       /* short name, 0: none */
    const char *also;  /* other accepted long names, separated by spaces; NULL: none */
    OptKind kind;
    const char *value; /* placeholder in help, "N"; NULL for flags */
    const char *help;  /* one line */
} CliOption;

typedef struct Cli Cli;

/* One command. `options` ends with a row whose name is NULL. `args` describes positionals ("MODEL [PROMPT]"). */
typedef struct {
    const char *name;  /* "tokenizer train" may hold a space: a subcommand */
    const char *args;
    const char *help;  /* one line */
    const char *about; /* paragraphs for --help and the man page */
    const char *example;
    const CliOption *options;
    int positionals_min, positionals_max; /* max < 0: any number */
    int (*run)(Cli *cli);
} CliCommand;

/* Values given on the command line. Every flag also has a --no- form. */
bool cli_flag(const Cli *cli, const char *name);
bool cli_given(const Cli *cli, const char *name);
const char *cli_string(const Cli *cli, const char *name, const char *fallback);
int64_t cli_int(const Cli *cli, const char *name, int64_t fallback);
double cli_float(const Cli *cli, const char *name, double fallback);
int64_t cli_list_count(const Cli *cli, const char *name);
const char *cli_list_at(const Cli *cli, const char *name, int64_t i);
int cli_positional_count(const Cli *cli);
const char *cli_positional(const Cli *cli, int i);

/* Print "plumb: MESSAGE" on stderr (with --json also {"error":{code,message}} on stdout) and give the exit
 * code of the status. */
int cli_fail(const Cli *cli, Status st, const Error *err);

/* A usage error found by the command itself; prints it with the command's usage line, returns 2. */
int cli_usage(const Cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);

extern const CliCommand *const cli_commands[]; /* ends with NULL; src/cli/commands.c */

#endif
