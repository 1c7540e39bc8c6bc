/* The pages of the manual, from the command table, in the man macros (groff_man(7)). */
#include "cli/cli_internal.h"

#include "base/mapfile.h"
#include "version.h" /* generated */

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Text with what roff reads as commands taken away: backslashes, hyphens (which would become dashes), and
 * a dot or quote at the beginning of a line. */
MUST_USE static Status roff(ByteBuf *out, const char *text, size_t n)
{
    Status st = ST_OK;
    for (size_t k = 0; k < n; k++) {
        const bool begins = k == 0 || text[k - 1] == '\n';
        if (begins && (text[k] == '.' || text[k] == '\''))
            TRY(bytebuf_append(out, "\\&", 2));
        if (text[k] == '\\')
            TRY(bytebuf_append(out, "\\e", 2));
        else if (text[k] == '-')
            TRY(bytebuf_append(out, "\\-", 2));
        else if (text[k] == '\'')
            TRY(bytebuf_append(out, "\\(aq", 4));
        else
            TRY(bytebuf_append(out, text + k, 1));
    }
out:
    return st;
}

MUST_USE static Status roff_line(ByteBuf *out, const char *before, const char *text, const char *after)
{
    Status st = ST_OK;
    TRY(bytebuf_printf(out, "%s", before));
    TRY(roff(out, text, strlen(text)));
    TRY(bytebuf_printf(out, "%s\n", after));
out:
    return st;
}

/* Paragraphs with .PP between. */
MUST_USE static Status roff_paragraphs(ByteBuf *out, const char *text)
{
    Status st = ST_OK;
    for (const char *p = text; *p;) {
        const size_t n = strcspn(p, "\n");
        if (n == 0) {
            TRY(bytebuf_printf(out, ".PP\n"));
        } else {
            TRY(roff(out, p, n));
            TRY(bytebuf_append(out, "\n", 1));
        }
        p += n;
        p += *p == '\n';
    }
out:
    return st;
}

/* "tokenizer train" → "plumb-tokenizer-train" */
static void page_name(char *buf, size_t size, const char *command)
{
    snprintf(buf, size, "plumb-%s", command);
    for (char *p = buf; *p; p++)
        if (*p == ' ')
            *p = '-';
}

MUST_USE static Status page_head(ByteBuf *out, const char *page, const char *help)
{
    Status st = ST_OK;
    char upper[100];
    snprintf(upper, sizeof upper, "%s", page);
    for (char *p = upper; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
    TRY(bytebuf_printf(out, ".TH \"%s\" 1 \"\" \"Plumb " PLUMB_VERSION "\" \"Plumb manual\"\n.SH NAME\n", upper));
    TRY(roff(out, page, strlen(page)));
    TRY(roff_line(out, " \\- ", help, ""));
    TRY(bytebuf_printf(out, ".SH SYNOPSIS\n"));
out:
    return st;
}

MUST_USE static Status option_entry(ByteBuf *out, const CliOption *o)
{
    Status st = ST_OK;
    char left[160];
    help_option_text(left, sizeof left, o);
    TRY(roff_line(out, ".TP\n.B ", left, ""));
    TRY(roff_line(out, "", o->help, ""));
    for (const char *p = o->also; p && *p;) {
        const size_t n = strcspn(p, " ");
        char name[80];
        snprintf(name, sizeof name, "%s%.*s", *p == '-' ? "" : "--", (int)n, p);
        TRY(roff_line(out, ".br\nAlso ", name, ""));
        p += n;
        p += strspn(p, " ");
    }
out:
    return st;
}

MUST_USE static Status exit_codes(ByteBuf *out)
{
    static const struct {
        int code;
        const char *meaning;
    } rows[] = {
        {0, "success"}, {1, "the operation failed"}, {2, "wrong usage"}, {3, "not found"},
        {4, "invalid or corrupt file"}, {5, "not enough memory or disk"}, {6, "network failure"},
        {10, "a test or comparison did not hold"}, {75, "busy, try again"}, {130, "interrupted"},
        {143, "terminated"},
    };
    Status st = ST_OK;
    TRY(bytebuf_printf(out, ".SH EXIT STATUS\n"));
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        TRY(bytebuf_printf(out, ".TP\n.B %d\n%s\n", rows[k].code, rows[k].meaning));
out:
    return st;
}

MUST_USE static Status examples(ByteBuf *out, const char *text)
{
    Status st = ST_OK;
    TRY(bytebuf_printf(out, ".SH EXAMPLES\n.nf\n"));
    TRY(roff(out, text, strlen(text)));
    TRY(bytebuf_printf(out, "\n.fi\n"));
out:
    return st;
}

Status man_command(ByteBuf *out, const CliCommand *c)
{
    Status st = ST_OK;
    char page[100];
    page_name(page, sizeof page, c->name);
    TRY(page_head(out, page, c->help));
    TRY(roff_line(out, ".B plumb ", c->name, ""));
    if (c->options && c->options->name)
        TRY(bytebuf_printf(out, "[OPTIONS]\n"));
    if (c->args)
        TRY(roff_line(out, "", c->args, ""));
    if (c->about) {
        TRY(bytebuf_printf(out, ".SH DESCRIPTION\n"));
        TRY(roff_paragraphs(out, c->about));
    }
    TRY(bytebuf_printf(out, ".SH OPTIONS\n"));
    for (const CliOption *o = c->options; o && o->name; o++)
        TRY(option_entry(out, o));
    TRY(bytebuf_printf(out, ".TP\n.B \\-h, \\-\\-help\nprint a summary\n"));
    TRY(exit_codes(out));
    if (c->example)
        TRY(examples(out, c->example));
    TRY(bytebuf_printf(out, ".SH SEE ALSO\n.BR plumb (1)\n"));
out:
    return st;
}

Status man_program(ByteBuf *out, const CliCommand *const *commands)
{
    static const struct {
        const char *name, *meaning;
    } environment[] = {
        {"PLUMB_MODELS", "directory of the model store; else $XDG_CACHE_HOME/plumb, else ~/.cache/plumb"},
        {"PLUMB_CPU", "use this level of processor instructions (scalar, avx2, avx512, vnni, amx) and none above it"},
        {"PLUMB_OFFLINE", "1 forbids the network"},
        {"PLUMB_PYTHON", "the Python whose pip fetches models; else python3"},
        {"PLUMB_CATALOGUE", "a file of models that can be fetched by name, in place of the built-in one"},
        {"NO_COLOR", "no colour, also on a terminal"},
    };
    Status st = ST_OK;
    TRY(page_head(out, "plumb", "run open language models on this machine"));
    TRY(bytebuf_printf(out, ".B plumb\n.I COMMAND\n[ARGUMENTS]\n.SH COMMANDS\n"));
    for (const CliCommand *const *c = commands; *c; c++) {
        if ((*c)->hidden)
            continue;
        char page[100];
        page_name(page, sizeof page, (*c)->name);
        TRY(roff_line(out, ".TP\n.BR ", page, " (1)"));
        TRY(roff_line(out, "", (*c)->help, ""));
    }
    TRY(bytebuf_printf(out, ".SH ENVIRONMENT\n"));
    for (size_t k = 0; k < sizeof environment / sizeof *environment; k++) {
        TRY(bytebuf_printf(out, ".TP\n.B %s\n", environment[k].name));
        TRY(roff_line(out, "", environment[k].meaning, ""));
    }
    TRY(exit_codes(out));
out:
    return st;
}

MUST_USE static Status write_page(const char *dir, const char *page, const ByteBuf *text, Error *err)
{
    char path[PATH_MAX];
    const int n = snprintf(path, sizeof path, "%s/%s.1", dir, page);
    if (n < 0 || (size_t)n >= sizeof path)
        return error_set(err, ST_INVALID, "path too long: '%s'", dir);
    return file_write_atomic(path, text->data, text->count, err);
}

Status man_write_pages(const char *dir, const CliCommand *const *commands, Error *err)
{
    Status st = ST_OK;
    ByteBuf text = {0};
    TRY(man_program(&text, commands));
    TRY(write_page(dir, "plumb", &text, err));
    for (const CliCommand *const *c = commands; *c; c++) {
        if ((*c)->hidden)
            continue;
        char page[100];
        page_name(page, sizeof page, (*c)->name);
        text.count = 0;
        TRY(man_command(&text, *c));
        TRY(write_page(dir, page, &text, err));
    }
out:
    bytebuf_free(&text);
    return st;
}
