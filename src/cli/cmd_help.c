/* plumb help [COMMAND]: from the command table; with --man DIR, the pages of the manual. */
#include "cli/cli_internal.h"
#include "cli/term.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* All commands that begin with `word` and a space. */
MUST_USE static Status help_group(ByteBuf *out, const CliCommand *const *commands, const char *word)
{
    Status st = ST_OK;
    const size_t n = strlen(word);
    for (; *commands; commands++)
        if (strncmp((*commands)->name, word, n) == 0 && (*commands)->name[n] == ' ' && !(*commands)->hidden)
            TRY(bytebuf_printf(out, "  plumb %-24s %s\n", (*commands)->name, (*commands)->help));
out:
    return st;
}

MUST_USE static Status help_on(ByteBuf *out, const Cli *cli, Error *err)
{
    const int columns = term_columns(STDOUT_FILENO);
    if (cli_positional_count(cli) == 0)
        return help_all_commands(out, cli_table(cli), columns);
    char *words[2] = {(char *)(uintptr_t)cli_positional(cli, 0), (char *)(uintptr_t)cli_positional(cli, 1)};
    const int count = cli_positional_count(cli);
    int used = 0;
    const CliCommand *c = cli_find_command(cli_table(cli), count, words, &used, err);
    if (c && used == count)
        return help_command(out, c, columns, cli_flag(cli, "all"));
    if (c)
        return error_set(err, ST_USAGE, "'%s' has no subcommand '%s'", c->name, words[1]);
    if (count == 1) {
        const Status st = help_group(out, cli_table(cli), words[0]);
        if (st != ST_OK || out->count > 0)
            return st;
    }
    return ST_USAGE;
}

static int run_help(Cli *cli)
{
    Error err = {0};
    const char *dir = cli_string(cli, "man", NULL);
    if (dir) {
        const Status st = man_write_pages(dir, cli_table(cli), &err);
        return st == ST_OK ? 0 : cli_fail(cli, st, &err);
    }
    ByteBuf out = {0};
    const Status st = help_on(&out, cli, &err);
    if (st == ST_OK)
        fwrite(out.data, 1, out.count, stdout);
    bytebuf_free(&out);
    return st == ST_OK ? 0 : cli_fail_hint(cli, st, &err, "'plumb help' lists the commands");
}

static const CliOption options[] = {
    {.name = "all", .letter = 'a', .kind = OPT_FLAG, .help = "also the options that are rarely needed"},
    {.name = "man", .kind = OPT_STRING, .value = "DIR", .rare = true,
     .help = "write the pages of the manual into the directory DIR"},
    {0},
};

const CliCommand cmd_help = {
    .name = "help",
    .args = "[COMMAND]",
    .help = "list the commands, or explain one",
    .example = "plumb help run\nplumb help tokenizer train",
    .options = options,
    .positionals_max = 2,
    .diagnostic = true,
    .run = run_help,
};
