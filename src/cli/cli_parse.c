/* Reading a command's arguments by its option table.
 *
 *  --name=value and --name value; -n5 and -n 5; -qv is -q -v. A value that begins with "--" must be
 *  given with "=", so that a forgotten value is noticed. An optional value is given with "=" only.
 *  Every flag has a --no- form. "--" ends the options; "-" alone is a positional. Options and
 *  positionals may be mixed. Of a repeated option the last counts, lists collect, flags count.
 *  Numbers are decimal; nothing may follow them; their range is checked here.
 *
 * Every message names the option as it was written and the value it met. */
#include "cli/cli_internal.h"

#include "base/nearest.h"
#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Finding an option ---- */

bool word_in_list(const char *list, const char *word, size_t n)
{
    for (const char *p = list; p && *p;) {
        const size_t len = strcspn(p, " ");
        if (len == n && memcmp(p, word, n) == 0)
            return true;
        p += len;
        p += strspn(p, " ");
    }
    return false;
}

static const CliOption *option_long(const CliCommand *c, const char *name, size_t n)
{
    for (const CliOption *o = c->options; o && o->name; o++)
        if ((strlen(o->name) == n && memcmp(o->name, name, n) == 0) || word_in_list(o->also, name, n))
            return o;
    return NULL;
}

static const CliOption *option_letter(const CliCommand *c, char letter)
{
    for (const CliOption *o = c->options; o && o->name; o++)
        if (o->letter == letter)
            return o;
    return NULL;
}

static void try_words(Nearest *near, const char *list)
{
    for (const char *p = list; p && *p;) {
        const size_t len = strcspn(p, " ");
        nearest_try(near, p, len);
        p += len;
        p += strspn(p, " ");
    }
}

/* `written`: n bytes as the user wrote them, dashes included. */
MUST_USE static Status unknown_option(const Cli *cli, const char *written, size_t n, Error *err)
{
    const CliCommand *c = cli->command;
    const size_t dashes = strspn(written, "-");
    const char *name = written + dashes;
    const size_t len = n - dashes;
    const char *ours = foreign_option(name, len);
    if (ours)
        return error_set(err, ST_USAGE, "%s: no option '%.*s' here: %s", c->name, (int)n, written, ours);
    const bool negated = len > 3 && memcmp(name, "no-", 3) == 0;
    Nearest near;
    nearest_init(&near, negated ? name + 3 : name, negated ? len - 3 : len);
    for (const CliOption *o = c->options; o && o->name; o++) {
        if (negated && o->kind != OPT_FLAG)
            continue;
        nearest_try(&near, o->name, strlen(o->name));
        try_words(&near, o->also);
    }
    if (!negated)
        nearest_try(&near, "help", 4);
    if (near.best)
        return error_set(err, ST_USAGE, "%s: no option '%.*s'; did you mean '--%s%.*s'?", c->name, (int)n,
                         written, negated ? "no-" : "", (int)near.best_len, near.best);
    return error_set(err, ST_USAGE, "%s: no option '%.*s'", c->name, (int)n, written);
}

/* ---- Values ---- */

/* Where an option came from, for messages. */
typedef struct {
    const char *text;
    int len;
} Written;

MUST_USE static Status check_range(const Cli *cli, const CliOption *o, Written w, const char *text,
                                   double v, Error *err)
{
    if ((o->min == 0 && o->max == 0) || (v >= o->min && v <= o->max))
        return ST_OK;
    return error_set(err, ST_USAGE, "%s: %.*s must be between %.15g and %.15g, not '%s'", cli->command->name,
                     w.len, w.text, o->min, o->max, text);
}

static int suffix_shift(char c)
{
    switch (c) {
    case 'k': case 'K': return 10;
    case 'm': case 'M': return 20;
    case 'g': case 'G': return 30;
    case 't': case 'T': return 40;
    default: return 0;
    }
}

static bool parse_whole(const char *text, bool suffixes, int64_t *out)
{
    const char *digits = text + (*text == '-' || *text == '+');
    if (*digits < '0' || *digits > '9')
        return false;
    char *end;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    if (errno != 0)
        return false;
    const int shift = suffixes ? suffix_shift(*end) : 0;
    if (end[shift != 0] != 0 || v > INT64_MAX >> shift || v < INT64_MIN >> shift)
        return false;
    *out = (int64_t)v * ((int64_t)1 << shift);
    return true;
}

static bool parse_number(const char *text, double *out)
{
    if (!*text || strspn(text, "0123456789.eE+-") != strlen(text))
        return false; /* strtod also takes hex, "inf" and leading space */
    char *end;
    const double v = strtod(text, &end);
    if (*end || !isfinite(v))
        return false;
    *out = v;
    return true;
}

MUST_USE static Status check_choice(const Cli *cli, const CliOption *o, Written w, const char *text,
                                    Error *err)
{
    if (!o->choices || word_in_list(o->choices, text, strlen(text)) || (o->optional && !*text))
        return ST_OK;
    Nearest near;
    nearest_init(&near, text, strlen(text));
    try_words(&near, o->choices);
    if (near.best)
        return error_set(err, ST_USAGE, "%s: %.*s takes one of: %s; '%s' is none (did you mean '%.*s'?)",
                         cli->command->name, w.len, w.text, o->choices, text, (int)near.best_len, near.best);
    return error_set(err, ST_USAGE, "%s: %.*s takes one of: %s; '%s' is none", cli->command->name, w.len,
                     w.text, o->choices, text);
}

/* The other meaning of the letter in llama.cpp. */
static void warn_if_seed(Cli *cli, const CliOption *o, Written w, const char *text)
{
    if (strcmp(o->name, "system") == 0 && w.len == 2 && *text && strspn(text, "0123456789") == strlen(text))
        snprintf(cli->warning, sizeof cli->warning,
                 "-s %.40s sets the system text; for the random seed use --seed %.40s", text, text);
}

MUST_USE static Status add_given(Cli *cli, const CliGiven *g, Error *err)
{
    void *p = cli->given;
    if (mem_grow(&p, &cli->given_cap, cli->given_count + 1, sizeof *cli->given) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for the command line");
    cli->given = p;
    cli->given[cli->given_count++] = *g;
    return ST_OK;
}

MUST_USE static Status add_value(Cli *cli, const CliOption *o, Written w, const char *text, Error *err)
{
    CliGiven g = {.option = o, .text = text};
    Status st = ST_OK;
    switch (o->kind) {
    case OPT_FLAG:
        return error_set(err, ST_USAGE, "%s: %.*s takes no value, '%s' was given", cli->command->name, w.len,
                         w.text, text);
    case OPT_STRING:
    case OPT_LIST:
        warn_if_seed(cli, o, w, text);
        st = check_choice(cli, o, w, text, err);
        break;
    case OPT_INT:
    case OPT_SIZE:
        if (!parse_whole(text, o->kind == OPT_SIZE, &g.i))
            return error_set(err, ST_USAGE, "%s: %.*s takes a whole number%s, not '%s'", cli->command->name,
                             w.len, w.text, o->kind == OPT_SIZE ? " (K, M, G allowed)" : "", text);
        st = check_range(cli, o, w, text, (double)g.i, err);
        break;
    case OPT_FLOAT:
        if (!parse_number(text, &g.f))
            return error_set(err, ST_USAGE, "%s: %.*s takes a number, not '%s'", cli->command->name, w.len,
                             w.text, text);
        st = check_range(cli, o, w, text, g.f, err);
        break;
    }
    return st == ST_OK ? add_given(cli, &g, err) : st;
}

/* ---- Arguments ---- */

typedef struct {
    int count, next;
    char *const *args;
} Args;

/* The value of an option that had none attached: the next argument. */
MUST_USE static Status next_value(const Cli *cli, const CliOption *o, Written w, Args *a,
                                  const char **value, Error *err)
{
    const char *v = a->next < a->count ? a->args[a->next] : NULL;
    const char *placeholder = o->value ? o->value : "VALUE";
    if (!v)
        return error_set(err, ST_USAGE, "%s: %.*s needs a value: %s", cli->command->name, w.len, w.text,
                         placeholder);
    if (v[0] == '-' && v[1] == '-')
        return error_set(err, ST_USAGE, "%s: %.*s needs a value: %s; if '%s' is meant, write --%s=%s",
                         cli->command->name, w.len, w.text, placeholder, v, o->name, v);
    a->next++;
    *value = v;
    return ST_OK;
}

MUST_USE static Status parse_long(Cli *cli, const char *arg, Args *a, Error *err)
{
    const char *name = arg + 2;
    const size_t n = strcspn(name, "=");
    const char *value = name[n] == '=' ? name + n + 1 : NULL;
    const Written w = {arg, (int)(n + 2)};
    const CliOption *o = option_long(cli->command, name, n);
    bool flag = true;
    if (!o && n > 3 && memcmp(name, "no-", 3) == 0) {
        o = option_long(cli->command, name + 3, n - 3);
        if (o && o->kind != OPT_FLAG)
            o = NULL;
        flag = false;
    }
    if (!o && !value && (strcmp(name, "help") == 0 || strcmp(name, "help-all") == 0)) {
        cli->help = true;
        cli->help_all = strcmp(name, "help-all") == 0;
        return ST_OK;
    }
    if (!o)
        return unknown_option(cli, arg, n + 2, err);
    if (o->kind == OPT_FLAG && !value)
        return add_given(cli, &(CliGiven){.option = o, .text = "", .flag = flag}, err);
    if (o->optional && !value)
        return add_given(cli, &(CliGiven){.option = o, .text = ""}, err);
    if (!value) {
        const Status st = next_value(cli, o, w, a, &value, err);
        if (st != ST_OK)
            return st;
    }
    return add_value(cli, o, w, value, err);
}

/* A word of one dash that some option lists under `also` ("-sys"), or letters. */
MUST_USE static Status parse_letters(Cli *cli, const char *arg, Args *a, Error *err)
{
    const size_t word = strcspn(arg, "=");
    const CliOption *o = word > 2 ? option_long(cli->command, arg, word) : NULL;
    const char *value = NULL;
    if (o && o->kind != OPT_FLAG) {
        const Written w = {arg, (int)word};
        Status st = ST_OK;
        if (arg[word] == '=')
            value = arg + word + 1;
        else
            st = next_value(cli, o, w, a, &value, err);
        return st == ST_OK ? add_value(cli, o, w, value, err) : st;
    }
    for (const char *p = arg + 1; *p; p++) {
        const char shown[] = {'-', *p, 0};
        const Written w = {shown, 2};
        o = option_letter(cli->command, *p);
        if (!o && *p == 'h') {
            cli->help = true;
            continue;
        }
        if (!o)
            return unknown_option(cli, arg, word, err);
        if (o->kind == OPT_FLAG) {
            const Status st = add_given(cli, &(CliGiven){.option = o, .text = "", .flag = true}, err);
            if (st != ST_OK)
                return st;
            continue;
        }
        if (word > 2 && foreign_option(arg + 1, word - 1))
            return unknown_option(cli, arg, word, err); /* -ngl is no -n with value "gl" */
        value = p[1] == '=' ? p + 2 : p + 1;
        if (!*value) {
            const Status st = next_value(cli, o, w, a, &value, err);
            if (st != ST_OK)
                return st;
        }
        return add_value(cli, o, w, value, err);
    }
    return ST_OK;
}

MUST_USE static Status add_positional(Cli *cli, const char *text, Error *err)
{
    const CliCommand *c = cli->command;
    if (c->positionals_max >= 0 && cli->positional_count >= (size_t)c->positionals_max) {
        if (c->positionals_max == 0)
            return error_set(err, ST_USAGE, "%s: takes no argument, '%s' was given", c->name, text);
        return error_set(err, ST_USAGE, "%s: one argument too many: '%s' (expected %s)", c->name, text, c->args);
    }
    void *p = (void *)cli->positionals;
    if (mem_grow(&p, &cli->positional_cap, cli->positional_count + 1, sizeof *cli->positionals) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for the command line");
    cli->positionals = p;
    cli->positionals[cli->positional_count++] = text;
    return ST_OK;
}

/* Errors of parsing, too, must come as JSON where JSON was asked for. */
static bool wants_json(const CliCommand *c, int argc, char *const *argv)
{
    bool json = false;
    if (option_long(c, "json", 4))
        for (int k = 0; k < argc && strcmp(argv[k], "--") != 0; k++)
            json = strcmp(argv[k], "--json") == 0 || (json && strcmp(argv[k], "--no-json") != 0);
    return json;
}

Status cli_parse(Cli *cli, int argc, char *const *argv, Error *err)
{
    cli->json = wants_json(cli->command, argc, argv);
    Args a = {argc, 0, argv};
    Status st = ST_OK;
    bool options = true;
    while (a.next < argc) {
        const char *arg = argv[a.next++];
        if (!options || arg[0] != '-' || !arg[1])
            TRY(add_positional(cli, arg, err));
        else if (strcmp(arg, "--") == 0)
            options = false;
        else if (arg[1] == '-')
            TRY(parse_long(cli, arg, &a, err));
        else
            TRY(parse_letters(cli, arg, &a, err));
    }
    if (!cli->help && cli->positional_count < (size_t)cli->command->positionals_min)
        st = error_set(err, ST_USAGE, "%s: an argument is missing: expected %s", cli->command->name,
                       cli->command->args);
out:
    return st;
}

void cli_deinit(Cli *cli)
{
    mem_free(cli->given);
    mem_free((void *)cli->positionals);
    *cli = (Cli){0};
}
