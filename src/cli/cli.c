/* From arguments to a running command, what a command may ask about them, and how it ends.
 *
 * Standard output belongs to the command; everything people should see besides goes to stderr. When the
 * reader of standard output goes away (a closed pipe), that is the end of the work and not an error. */
#include "cli/cli.h"

#include "base/cpu.h"
#include "cli/cli_internal.h"
#include "cli/term.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- Values ---- */

static const CliOption *option_of(const Cli *cli, const char *name)
{
    for (const CliOption *o = cli->command->options; o && o->name; o++)
        if (strcmp(o->name, name) == 0)
            return o;
    CHECK(!"a command asked for an option that is not in its table");
    return NULL;
}

/* The last occurrence of the option, NULL when there is none. */
static const CliGiven *given(const Cli *cli, const char *name)
{
    const CliOption *o = option_of(cli, name);
    for (size_t k = cli->given_count; k-- > 0;)
        if (cli->given[k].option == o)
            return &cli->given[k];
    return NULL;
}

bool cli_given(const Cli *cli, const char *name)
{
    return given(cli, name) != NULL;
}

bool cli_flag(const Cli *cli, const char *name)
{
    const CliOption *o = option_of(cli, name);
    CHECK(o->kind == OPT_FLAG);
    const CliGiven *g = given(cli, name);
    return g ? g->flag : o->on;
}

int cli_count(const Cli *cli, const char *name)
{
    const CliOption *o = option_of(cli, name);
    int n = 0;
    for (size_t k = 0; k < cli->given_count; k++)
        n += cli->given[k].option == o;
    return n;
}

const char *cli_string(const Cli *cli, const char *name, const char *fallback)
{
    CHECK(option_of(cli, name)->kind == OPT_STRING);
    const CliGiven *g = given(cli, name);
    return g ? g->text : fallback;
}

int64_t cli_int(const Cli *cli, const char *name, int64_t fallback)
{
    const OptKind kind = option_of(cli, name)->kind;
    CHECK(kind == OPT_INT || kind == OPT_SIZE);
    const CliGiven *g = given(cli, name);
    return g ? g->i : fallback;
}

double cli_float(const Cli *cli, const char *name, double fallback)
{
    CHECK(option_of(cli, name)->kind == OPT_FLOAT);
    const CliGiven *g = given(cli, name);
    return g ? g->f : fallback;
}

int cli_list_count(const Cli *cli, const char *name)
{
    CHECK(option_of(cli, name)->kind == OPT_LIST);
    return cli_count(cli, name);
}

const char *cli_list_at(const Cli *cli, const char *name, int i)
{
    const CliOption *o = option_of(cli, name);
    for (size_t k = 0; k < cli->given_count; k++)
        if (cli->given[k].option == o && i-- == 0)
            return cli->given[k].text;
    return NULL;
}

int cli_positional_count(const Cli *cli)
{
    return (int)cli->positional_count;
}

const char *cli_positional(const Cli *cli, int i)
{
    return i >= 0 && (size_t)i < cli->positional_count ? cli->positionals[i] : NULL;
}

const CliCommand *const *cli_table(const Cli *cli)
{
    return cli->commands;
}

bool cli_json(const Cli *cli)
{
    return cli->json;
}

/* ---- Output ---- */

bool cli_output_closed(void)
{
    return fflush(stdout) != 0 || ferror(stdout);
}

void cli_warn(const Cli *cli, const char *fmt, ...)
{
    (void)cli;
    va_list ap;
    va_start(ap, fmt);
    fputs("plumb: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

static void print_json_error(Status st, const char *message, const char *hint)
{
    JsonWriter w;
    json_write_init(&w, 0, 8192);
    json_write_object_begin(&w);
    json_write_key(&w, "error");
    json_write_object_begin(&w);
    json_write_key(&w, "code");
    json_write_string(&w, status_word(st));
    json_write_key(&w, "message");
    json_write_string(&w, message);
    if (hint) {
        json_write_key(&w, "hint");
        json_write_string(&w, hint);
    }
    json_write_object_end(&w);
    json_write_object_end(&w);
    if (json_write_finish(&w, NULL) == ST_OK)
        puts(w.buf);
    json_write_deinit(&w);
}

int cli_fail_hint(const Cli *cli, Status st, const Error *err, const char *hint)
{
    const char *message = err && err->msg[0] ? err->msg : status_text(st);
    fflush(stdout);
    if (hint)
        fprintf(stderr, "plumb: %s; %s\n", message, hint);
    else
        fprintf(stderr, "plumb: %s\n", message);
    if (cli->json)
        print_json_error(st, message, hint);
    return status_exit_code(st);
}

int cli_fail(const Cli *cli, Status st, const Error *err)
{
    return cli_fail_hint(cli, st, err, NULL);
}

static int fail_usage(const Cli *cli, Status st, const Error *err)
{
    char hint[120];
    if (st != ST_USAGE)
        return cli_fail(cli, st, err);
    snprintf(hint, sizeof hint, "see 'plumb %s --help'", cli->command->name);
    return cli_fail_hint(cli, st, err, hint);
}

int cli_usage(const Cli *cli, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    Error err = {0};
    return fail_usage(cli, error_set(&err, ST_USAGE, "%s: %s", cli->command->name, text), &err);
}

int cli_print_json(const Cli *cli, JsonWriter *w)
{
    Error err = {0};
    const Status st = json_write_finish(w, &err);
    if (st != ST_OK)
        return cli_fail(cli, st, &err);
    puts(w->buf);
    return 0;
}

/* ---- The program ---- */

static int print_buffer(const Cli *cli, Status st, ByteBuf *out)
{
    int code = 0;
    if (st == ST_OK)
        fwrite(out->data, 1, out->count, stdout);
    else
        code = cli_fail(cli, st, NULL);
    bytebuf_free(out);
    return code;
}

static int run_command(Cli *cli, int argc, char *const *argv)
{
    Error err = {0};
    const Status st = cli_parse(cli, argc, argv, &err);
    if (st != ST_OK)
        return fail_usage(cli, st, &err);
    if (cli->warning[0])
        cli_warn(cli, "%s", cli->warning);
    if (cli->help) {
        ByteBuf out = {0};
        const Status help_st = help_command(&out, cli->command, term_columns(STDOUT_FILENO), cli->help_all);
        return print_buffer(cli, help_st, &out);
    }
    if (!cli->command->diagnostic && cpu_check_environment(&err) != ST_OK)
        return cli_fail(cli, ST_USAGE, &err);
    return cli->command->run(cli);
}

/* Errors of writing show late, when buffers are flushed. A reader that has seen enough is fine; a full
 * disk is not. */
static int finish_output(const Cli *cli, int code)
{
    errno = 0;
    const bool failed = ferror(stdout) | (fflush(stdout) != 0);
    if (!failed || errno == EPIPE || code != 0)
        return code;
    Error err = {0};
    if (errno == 0) /* it happened in an earlier write */
        errno = EIO;
    const Status st = error_errno(&err, "cannot write to standard output");
    return st == ST_OK ? code : cli_fail(cli, st, &err);
}

/* `plumb --help` and its like mean the commands of that name. */
static const char *word_of_switch(const char *arg)
{
    if (strcmp(arg, "--version") == 0 || strcmp(arg, "-V") == 0)
        return "version";
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0 || strcmp(arg, "--help-all") == 0)
        return "help";
    return NULL;
}

int cli_main(const CliCommand *const *commands, int argc, char *const *argv)
{
    Cli cli = {.commands = commands};
    Error err = {0};
    int code, words = 0;
    if (argc < 2) {
        ByteBuf out = {0};
        code = print_buffer(&cli, help_overview(&out, commands), &out);
        return finish_output(&cli, code);
    }
    const char *word = word_of_switch(argv[1]);
    if (word) {
        words = 1;
        cli.command = cli_command_named(commands, word);
    } else {
        cli.command = cli_find_command(commands, argc - 1, argv + 1, &words, &err);
    }
    if (cli.command)
        code = run_command(&cli, argc - 1 - words, argv + 1 + words);
    else
        code = cli_fail_hint(&cli, ST_USAGE, &err, "'plumb help' lists the commands");
    code = finish_output(&cli, code);
    cli_deinit(&cli);
    return code;
}
