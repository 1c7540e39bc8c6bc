/* Help texts from the command table. */
#include "cli/cli_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- Wrapping ---- */

#define COLUMN_HELP 28 /* where the explanation of an option begins */
#define WIDTH_MAX 100  /* longer lines are hard to read, however wide the window is */

/* Words of text[0..n) from column `column` on; further lines begin at column `indent`. */
MUST_USE static Status wrap_words(ByteBuf *out, const char *text, size_t n, int column, int indent, int width)
{
    Status st = ST_OK;
    bool first = true;
    for (size_t at = 0; at < n;) {
        size_t len = 0;
        while (at + len < n && text[at + len] != ' ')
            len++;
        if (!first && column + 1 + (int)len > width) {
            TRY(bytebuf_printf(out, "\n%*s", indent, ""));
            column = indent;
            first = true;
        }
        TRY(bytebuf_printf(out, "%s%.*s", first ? "" : " ", (int)len, text + at));
        column += (int)len + !first;
        first = false;
        for (at += len; at < n && text[at] == ' ';)
            at++;
    }
    TRY(bytebuf_append(out, "\n", 1));
out:
    return st;
}

/* Paragraphs, an empty line between; single newlines inside a paragraph are kept. */
MUST_USE static Status wrap_text(ByteBuf *out, const char *text, int width)
{
    Status st = ST_OK;
    for (const char *p = text; *p;) {
        const size_t n = strcspn(p, "\n");
        if (n == 0)
            TRY(bytebuf_append(out, "\n", 1));
        else
            TRY(wrap_words(out, p, n, 0, 0, width));
        p += n;
        p += *p == '\n';
    }
out:
    return st;
}

/* "  LEFT        RIGHT" with RIGHT wrapped; on a line of its own when LEFT is too long. */
MUST_USE static Status two_columns(ByteBuf *out, const char *left, const char *right, int right_column, int width)
{
    Status st = ST_OK;
    const int used = 2 + (int)strlen(left);
    TRY(bytebuf_printf(out, "  %s", left));
    if (used + 2 > right_column)
        TRY(bytebuf_printf(out, "\n%*s", right_column, ""));
    else
        TRY(bytebuf_printf(out, "%*s", right_column - used, ""));
    TRY(wrap_words(out, right, strlen(right), right_column, right_column, width));
out:
    return st;
}

static int text_width(int columns)
{
    return columns > WIDTH_MAX ? WIDTH_MAX : columns < 40 ? 40 : columns - 1;
}

/* ---- One command ---- */

void help_option_text(char *buf, size_t size, const CliOption *o)
{
    char letter[8] = "", value[80] = "";
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    if (o->kind != OPT_FLAG)
        snprintf(value, sizeof value, o->optional ? "[=%s]" : " %s", o->value);
    snprintf(buf, size, "%s--%s%s%s", letter, o->kind == OPT_FLAG && o->on ? "no-" : "", o->name, value);
}

/* The help line with the other names behind it. */
MUST_USE static Status option_row(ByteBuf *out, const CliOption *o, int width)
{
    Status st = ST_OK;
    ByteBuf text = {0};
    char left[160];
    help_option_text(left, sizeof left, o);
    TRY(bytebuf_printf(&text, "%s", o->help));
    if (o->also) {
        TRY(bytebuf_printf(&text, " (also"));
        for (const char *p = o->also; *p;) {
            const size_t n = strcspn(p, " ");
            TRY(bytebuf_printf(&text, " %s%.*s", *p == '-' ? "" : "--", (int)n, p));
            p += n;
            p += strspn(p, " ");
        }
        TRY(bytebuf_append(&text, ")", 1));
    }
    const char *right = bytebuf_cstr(&text);
    TRY(right ? ST_OK : ST_NOMEM);
    TRY(two_columns(out, left, right, COLUMN_HELP, width));
out:
    bytebuf_free(&text);
    return st;
}

MUST_USE static Status usage_line(ByteBuf *out, const CliCommand *c)
{
    return bytebuf_printf(out, "Usage: plumb %s%s%s%s\n", c->name, c->options && c->options->name ? " [OPTIONS]" : "",
                          c->args ? " " : "", c->args ? c->args : "");
}

MUST_USE static Status options_of(ByteBuf *out, const CliCommand *c, int width, bool all)
{
    Status st = ST_OK;
    bool rare = false;
    TRY(bytebuf_printf(out, "\nOptions:\n"));
    for (const CliOption *o = c->options; o && o->name; o++) {
        rare = rare || o->rare;
        if (all || !o->rare)
            TRY(option_row(out, o, width));
    }
    TRY(two_columns(out, "-h, --help", "this text", COLUMN_HELP, width));
    if (rare && !all)
        TRY(two_columns(out, "--help-all", "also the options that are rarely needed", COLUMN_HELP, width));
out:
    return st;
}

MUST_USE static Status examples_of(ByteBuf *out, const CliCommand *c)
{
    Status st = ST_OK;
    TRY(bytebuf_printf(out, "\nExamples:\n"));
    for (const char *p = c->example; *p;) {
        const size_t n = strcspn(p, "\n");
        TRY(bytebuf_printf(out, "  %.*s\n", (int)n, p));
        p += n;
        p += *p == '\n';
    }
out:
    return st;
}

Status help_command(ByteBuf *out, const CliCommand *c, int columns, bool all)
{
    Status st = ST_OK;
    const int width = text_width(columns);
    TRY(usage_line(out, c));
    TRY(bytebuf_printf(out, "\n"));
    TRY(wrap_text(out, c->help, width));
    if (c->about) {
        TRY(bytebuf_printf(out, "\n"));
        TRY(wrap_text(out, c->about, width));
    }
    TRY(options_of(out, c, width, all));
    if (c->example)
        TRY(examples_of(out, c));
out:
    return st;
}

/* ---- All commands ---- */

Status help_overview(ByteBuf *out, const CliCommand *const *commands)
{
    Status st = ST_OK;
    TRY(bytebuf_printf(out, "Plumb runs open language models on this machine.\n\n"
                            "Usage: plumb COMMAND [ARGUMENTS]\n\n"));
    for (; *commands; commands++)
        if ((*commands)->common && !(*commands)->hidden)
            TRY(bytebuf_printf(out, "  %-12s %s\n", (*commands)->name, (*commands)->help));
    TRY(bytebuf_printf(out, "\n'plumb help' lists every command, 'plumb help COMMAND' explains one.\n"));
out:
    return st;
}

Status help_all_commands(ByteBuf *out, const CliCommand *const *commands, int columns)
{
    Status st = ST_OK;
    const int width = text_width(columns);
    int column = 0;
    for (const CliCommand *const *c = commands; *c; c++)
        if (!(*c)->hidden && (int)strlen((*c)->name) + 4 > column)
            column = (int)strlen((*c)->name) + 4;
    TRY(bytebuf_printf(out, "Usage: plumb COMMAND [ARGUMENTS]\n\nCommands:\n"));
    for (const CliCommand *const *c = commands; *c; c++)
        if (!(*c)->hidden)
            TRY(two_columns(out, (*c)->name, (*c)->help, column, width));
    TRY(bytebuf_printf(out, "\n"));
    TRY(wrap_text(out, "'plumb help COMMAND' or 'plumb COMMAND --help' explains a command. Exit codes: 0 success, "
                       "1 failed, 2 wrong usage, 3 not found, 4 corrupt file, 5 not enough memory or disk, "
                       "6 network, 10 a comparison did not hold, 75 busy, 130 interrupted.", width));
out:
    return st;
}
