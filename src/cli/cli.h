/* The command line: one table of commands and options, from which parsing, --help, man pages and
 * completion are made. A command's source declares its options beside its code:
 *
 *     static const CliOption options[] = {
 *         CLI_OPTIONS_MODEL,                     shared rows, see cli/options.h
 *         {.name = "pages", .letter = 'p', .kind = OPT_INT, .value = "N", .min = 1, .max = 99,
 *          .help = "how many pages"},
 *         {0},
 *     };
 *     const CliCommand cmd_print = {.name = "print", .args = "FILE", .options = options, …, .run = run};
 *
 * and one line in commands.c makes it known. Rules of parsing: docs of cli_parse.c. */
#ifndef PLUMB_CLI_CLI_H
#define PLUMB_CLI_CLI_H

#include "base/error.h"
#include "base/json_write.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum {
    OPT_FLAG,   /* --x, --no-x; may repeat (cli_count) */
    OPT_STRING, /* any text; with `choices` one of those words */
    OPT_INT,    /* whole number */
    OPT_FLOAT,  /* finite number */
    OPT_SIZE,   /* whole number, K M G T suffixes (1024); read with cli_int */
    OPT_LIST,   /* text, may be given several times */
} OptKind;

typedef struct {
    const char *name;    /* long name without dashes, "ctx-size" */
    char letter;         /* short name, 0: none */
    const char *also;    /* other accepted names, separated by spaces: "ctx num-ctx"; a dash in front
                            makes it a word of one dash ("-sys") */
    OptKind kind;
    const char *value;   /* placeholder in help, "N"; NULL for flags */
    const char *help;    /* one line; of a flag that is on by default: about its --no- form */
    const char *choices; /* OPT_STRING: the words allowed, separated by spaces */
    double min, max;     /* numbers: allowed range; both 0: any */
    bool optional;       /* the value may be left out, and is given as --x=v only: text "" without it */
    bool on;             /* a flag that is on unless --no-x is given */
    bool rare;           /* --help leaves it to --help-all */
} CliOption;

typedef struct Cli Cli;

typedef struct {
    const char *name;    /* "tokenizer train" may hold a space: a subcommand */
    const char *also;    /* another accepted name, or NULL */
    const char *args;    /* positionals as help shows them: "MODEL [PROMPT]"; NULL: none */
    const char *help;    /* one line, lower case, no full stop */
    const char *about;   /* paragraphs for --help and the man page, an empty line between; or NULL */
    const char *example; /* lines of shell; or NULL */
    const CliOption *options; /* ends with a row whose name is NULL; NULL: none */
    int positionals_min, positionals_max; /* max < 0: any number */
    bool common;         /* shown in the overview */
    bool diagnostic;     /* runs even when PLUMB_CPU names no level: help, doctor */
    bool hidden;         /* a tool of development: in no list, no page */
    int (*run)(Cli *cli); /* returns the exit code */
} CliCommand;

extern const CliCommand *const cli_commands[]; /* ends with NULL; commands.c */

/* Run the program: returns its exit code. argv[0] is skipped. */
int cli_main(const CliCommand *const *commands, int argc, char *const *argv);

/* ---- What was given. `name` is the long name of an option of this command (CHECKed). ---- */

bool cli_flag(const Cli *cli, const char *name); /* the last of --x and --no-x, else CliOption.on */
int cli_count(const Cli *cli, const char *name); /* how often it was given */
bool cli_given(const Cli *cli, const char *name);
const char *cli_string(const Cli *cli, const char *name, const char *fallback); /* the last one */
int64_t cli_int(const Cli *cli, const char *name, int64_t fallback);            /* OPT_INT, OPT_SIZE */
double cli_float(const Cli *cli, const char *name, double fallback);
int cli_list_count(const Cli *cli, const char *name);
const char *cli_list_at(const Cli *cli, const char *name, int i);
int cli_positional_count(const Cli *cli);
const char *cli_positional(const Cli *cli, int i); /* NULL behind the last one */
const CliCommand *const *cli_table(const Cli *cli);

/* ---- Output. A closed standard output is no error: the program ends with 0 (see cli_main). ---- */

bool cli_json(const Cli *cli); /* --json was given; false for commands that have no such option */

/* Finish `w` and print it as one line, or indented when `w` indents. On failure as cli_fail. Returns
 * the exit code; does not deinit `w`. */
int cli_print_json(const Cli *cli, JsonWriter *w);

/* Print "plumb: MESSAGE" on stderr (with --json also {"error":{"code","message","hint"}} on stdout) and
 * give the exit code of the status. `hint`: the next thing to try, printed behind the message; or NULL. */
int cli_fail(const Cli *cli, Status st, const Error *err);
int cli_fail_hint(const Cli *cli, Status st, const Error *err, const char *hint);

/* A usage error found by the command itself; printed like cli_fail, with "see 'plumb X --help'". Returns 2. */
int cli_usage(const Cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "plumb: MESSAGE" on stderr, the program goes on. */
void cli_warn(const Cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Nobody reads standard output any more: stop producing. Flushes. */
bool cli_output_closed(void);

#endif
