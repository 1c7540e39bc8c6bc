/* plumb completion SHELL: the script that completes plumb's commands and options. */
#include "cli/cli_internal.h"

#include <stdio.h>

static int run_completion(Cli *cli)
{
    Error err = {0};
    ByteBuf out = {0};
    const Status st = completion_script(&out, cli_table(cli), cli_positional(cli, 0), &err);
    if (st == ST_OK)
        fwrite(out.data, 1, out.count, stdout);
    bytebuf_free(&out);
    return st == ST_OK ? 0 : cli_fail(cli, st, &err);
}

const CliCommand cmd_completion = {
    .name = "completion",
    .args = "SHELL",
    .help = "print a completion script for bash, zsh or fish",
    .example = "plumb completion bash >~/.local/share/bash-completion/completions/plumb\n"
               "plumb completion zsh >~/.plumb-completion && echo 'source ~/.plumb-completion' >>~/.zshrc\n"
               "plumb completion fish >~/.config/fish/completions/plumb.fish",
    .positionals_min = 1,
    .positionals_max = 1,
    .run = run_completion,
};
