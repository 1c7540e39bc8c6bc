/* Completion scripts for shells, from the command table. Names of models come from `plumb ls --quiet`, which
 * reads the store only. Hidden commands are left out; values with a fixed choice are completed. */
#include "cli/cli_internal.h"

#include <string.h>

typedef struct {
    ByteBuf *out;
    const CliCommand *const *commands;
} Script;

/* The first command with this first word: each first word is listed once. */
static bool is_first_of_word(const Script *s, const CliCommand *c)
{
    const size_t n = strcspn(c->name, " ");
    for (const CliCommand *const *p = s->commands; *p != c; p++)
        if (!(*p)->hidden && strcspn((*p)->name, " ") == n && memcmp((*p)->name, c->name, n) == 0)
            return false;
    return !c->hidden;
}

static bool takes_model(const CliCommand *c)
{
    return c->args && (strstr(c->args, "MODEL") || strstr(c->args, "NAME"));
}

/* ---- bash, and zsh through its bashcompinit ---- */

MUST_USE static Status bash_options(ByteBuf *out, const CliCommand *c)
{
    Status st = ST_OK;
    TRY(bytebuf_printf(out, "    '%s') options='--help", c->name));
    for (const CliOption *o = c->options; o && o->name; o++) {
        const bool flag = o->kind == OPT_FLAG;
        TRY(bytebuf_printf(out, " --%s%s", flag && o->on ? "no-" : "", o->name));
        if (o->letter)
            TRY(bytebuf_printf(out, " -%c", o->letter));
    }
    TRY(bytebuf_printf(out, "' models=%d ;;\n", takes_model(c)));
out:
    return st;
}

MUST_USE static Status bash_choices(ByteBuf *out, const CliCommand *c)
{
    Status st = ST_OK;
    for (const CliOption *o = c->options; o && o->name; o++)
        if (o->choices)
            TRY(bytebuf_printf(out, "    '%s --%s') COMPREPLY=($(compgen -W '%s' -- \"$current\")); return ;;\n",
                               c->name, o->name, o->choices));
out:
    return st;
}

/* "tokenizer" is followed by a second word. */
MUST_USE static Status bash_groups(const Script *s)
{
    Status st = ST_OK;
    for (const CliCommand *const *c = s->commands; *c; c++) {
        const size_t n = strcspn((*c)->name, " ");
        if (!(*c)->name[n] || !is_first_of_word(s, *c))
            continue;
        TRY(bytebuf_printf(s->out, "    %.*s)\n        if [ \"$COMP_CWORD\" -eq 2 ]; then\n"
                           "            COMPREPLY=($(compgen -W '", (int)n, (*c)->name));
        for (const CliCommand *const *d = c; *d; d++)
            if (!(*d)->hidden && strncmp((*d)->name, (*c)->name, n + 1) == 0)
                TRY(bytebuf_printf(s->out, "%s%s", d == c ? "" : " ", (*d)->name + n + 1));
        TRY(bytebuf_printf(s->out, "' -- \"$current\"))\n            return\n        fi\n"
                           "        command=\"$command ${COMP_WORDS[2]}\" ;;\n"));
    }
out:
    return st;
}

MUST_USE static Status bash_script(const Script *s)
{
    Status st = ST_OK;
    TRY(bytebuf_printf(s->out, "_plumb() {\n"
                       "    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
                       "    local command=${COMP_WORDS[1]} options='' models=0\n"
                       "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W '"));
    for (const CliCommand *const *c = s->commands; *c; c++)
        if (is_first_of_word(s, *c))
            TRY(bytebuf_printf(s->out, "%.*s ", (int)strcspn((*c)->name, " "), (*c)->name));
    TRY(bytebuf_printf(s->out, "' -- \"$current\"))\n        return\n    fi\n    case $command in\n"));
    TRY(bash_groups(s));
    TRY(bytebuf_printf(s->out, "    esac\n    case \"$command $before\" in\n"));
    for (const CliCommand *const *c = s->commands; *c; c++)
        if (!(*c)->hidden)
            TRY(bash_choices(s->out, *c));
    TRY(bytebuf_printf(s->out, "    esac\n    case $command in\n"));
    for (const CliCommand *const *c = s->commands; *c; c++)
        if (!(*c)->hidden)
            TRY(bash_options(s->out, *c));
    TRY(bytebuf_printf(s->out, "    esac\n"
                       "    case $current in\n"
                       "    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$current\")) ;;\n"
                       "    *) COMPREPLY=($(compgen -f -- \"$current\"))\n"
                       "        if [ \"$models\" = 1 ] || [ \"$before\" = --model ] || [ \"$before\" = -m ]; then\n"
                       "            COMPREPLY+=($(compgen -W \"$(plumb ls --quiet --all 2>/dev/null)\" -- \"$current\"))\n"
                       "        fi ;;\n"
                       "    esac\n}\ncomplete -o filenames -F _plumb plumb\n"));
out:
    return st;
}

/* ---- fish ---- */

/* Single quotes of fish know the escapes \\ and \'. */
MUST_USE static Status fish_quoted(ByteBuf *out, const char *text)
{
    Status st = ST_OK;
    TRY(bytebuf_append(out, "'", 1));
    for (const char *p = text; *p; p++) {
        if (*p == '\'' || *p == '\\')
            TRY(bytebuf_append(out, "\\", 1));
        TRY(bytebuf_append(out, p, 1));
    }
    TRY(bytebuf_append(out, "'", 1));
out:
    return st;
}

MUST_USE static Status fish_option(ByteBuf *out, const CliCommand *c, const CliOption *o)
{
    Status st = ST_OK;
    const size_t n = strcspn(c->name, " ");
    const bool flag = o->kind == OPT_FLAG;
    TRY(bytebuf_printf(out, "complete -c plumb -n '__fish_seen_subcommand_from %.*s' -l %s%s", (int)n, c->name,
                       flag && o->on ? "no-" : "", o->name));
    if (o->letter)
        TRY(bytebuf_printf(out, " -s %c", o->letter));
    if (o->choices)
        TRY(bytebuf_printf(out, " -x -a '%s'", o->choices));
    else if (!flag)
        TRY(bytebuf_printf(out, " -r"));
    TRY(bytebuf_printf(out, " -d "));
    TRY(fish_quoted(out, o->help));
    TRY(bytebuf_printf(out, "\n"));
out:
    return st;
}

MUST_USE static Status fish_command(const Script *s, const CliCommand *c)
{
    Status st = ST_OK;
    const size_t n = strcspn(c->name, " ");
    if (is_first_of_word(s, c)) {
        TRY(bytebuf_printf(s->out, "complete -c plumb -n __fish_use_subcommand -f -a %.*s -d ", (int)n, c->name));
        TRY(fish_quoted(s->out, c->help));
        TRY(bytebuf_printf(s->out, "\n"));
    }
    if (c->name[n])
        TRY(bytebuf_printf(s->out, "complete -c plumb -n '__fish_seen_subcommand_from %.*s' -a %s\n", (int)n, c->name,
                           c->name + n + 1));
    if (takes_model(c))
        TRY(bytebuf_printf(s->out, "complete -c plumb -n '__fish_seen_subcommand_from %.*s' "
                           "-a '(plumb ls --quiet --all 2>/dev/null)'\n", (int)n, c->name));
    for (const CliOption *o = c->options; o && o->name; o++)
        TRY(fish_option(s->out, c, o));
out:
    return st;
}

MUST_USE static Status fish_script(const Script *s)
{
    Status st = ST_OK;
    for (const CliCommand *const *c = s->commands; *c; c++)
        if (!(*c)->hidden)
            TRY(fish_command(s, *c));
out:
    return st;
}

Status completion_script(ByteBuf *out, const CliCommand *const *commands, const char *shell, Error *err)
{
    const Script s = {out, commands};
    Status st = ST_OK;
    if (strcmp(shell, "bash") == 0) {
        st = bash_script(&s);
    } else if (strcmp(shell, "zsh") == 0) {
        st = bytebuf_printf(out, "autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n");
        st = st == ST_OK ? bash_script(&s) : st;
    } else if (strcmp(shell, "fish") == 0) {
        st = fish_script(&s);
    } else {
        return error_set(err, ST_USAGE, "completion: no shell '%s'; expected bash, zsh or fish", shell);
    }
    return st == ST_OK ? st : error_set(err, st, "no memory for the script");
}
