/* The table of commands, in the order of the help. A new command is one line here and one file. */
#include "cli/cli.h"

#include <stddef.h>

#define COMMANDS(X) \
    X(cmd_chat)     \
    X(cmd_run)      \
    X(cmd_train)    \
    X(cmd_export)   \
    X(cmd_trace)    \
    X(cmd_diff)     \
    X(cmd_eval_perplexity) \
    X(cmd_eval_problems) \
    X(cmd_inspect)  \
    X(cmd_tokenize) \
    X(cmd_detokenize) \
    X(cmd_tokenizer_train) \
    X(cmd_problems) \
    X(cmd_bench)    \
    X(cmd_bench_train) \
    X(cmd_pull)     \
    X(cmd_ls)       \
    X(cmd_show)     \
    X(cmd_rm)       \
    X(cmd_verify)   \
    X(cmd_doctor)   \
    X(cmd_completion) \
    X(cmd_version)  \
    X(cmd_help)

#define X(name) extern const CliCommand name;
COMMANDS(X)
#undef X

const CliCommand *const cli_commands[] = {
#define X(name) &name,
    COMMANDS(X)
#undef X
    NULL,
};
