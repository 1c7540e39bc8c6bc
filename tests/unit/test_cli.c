/* The command line: parsing by table, suggestions, and that every command can explain itself. */
#include "cli/cli_internal.h"
#include "cli/options.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int run_nothing(Cli *cli)
{
    (void)cli;
    return 0;
}

static const CliOption sample_options[] = {
    CLI_OPTION_MODEL,
    CLI_OPTION_CONTEXT,
    CLI_OPTION_MAX_TOKENS,
    CLI_OPTIONS_COMPUTE,
    CLI_OPTIONS_SAMPLING,
    CLI_OPTIONS_SYSTEM,
    CLI_OPTION_JSON,
    CLI_OPTION_QUIET,
    {.name = "verbose", .letter = 'v', .kind = OPT_FLAG, .help = "say more"},
    {.name = "special", .kind = OPT_FLAG, .on = true, .help = "add no special tokens"},
    {.name = "think", .kind = OPT_STRING, .value = "LEVEL", .choices = "low high max off", .optional = true,
     .help = "think before answering"},
    {.name = "progress", .kind = OPT_STRING, .value = "HOW", .choices = "auto plain bar json none", .rare = true,
     .help = "progress"},
    {0},
};

static const CliCommand sample = {.name = "run", .args = "MODEL [PROMPT]", .help = "run", .options = sample_options,
                                  .positionals_min = 1, .positionals_max = 2, .run = run_nothing};
static const CliCommand words_a = {.name = "eval perplexity", .help = "a", .run = run_nothing};
static const CliCommand words_b = {.name = "eval tasks", .help = "b", .run = run_nothing};
static const CliCommand list = {.name = "ls", .also = "list", .help = "c", .run = run_nothing};
static const CliCommand secret = {.name = "secret", .help = "d", .hidden = true, .run = run_nothing};
static const CliCommand *const samples[] = {&sample, &words_a, &words_b, &list, &secret, NULL};

/* Split at spaces: enough for these cases. */
static int split(char *text, char **argv, int max)
{
    int n = 0;
    for (char *p = text; *p && n < max;) {
        argv[n++] = p;
        p += strcspn(p, " ");
        if (*p)
            *p++ = 0;
    }
    return n;
}

/* Parse "line" by the sample command and describe what was understood. */
static void describe(const char *line, char *out, size_t size, Cli *keep)
{
    static char text[600];
    char *argv[40];
    snprintf(text, sizeof text, "%s", line);
    const int argc = split(text, argv, 40);
    Cli cli = {.command = &sample, .commands = samples};
    Error err = {0};
    const Status st = cli_parse(&cli, argc, argv, &err);
    size_t n = 0;
    out[0] = 0;
    if (st != ST_OK)
        n += (size_t)snprintf(out + n, size - n, "%s", err.msg);
    for (size_t k = 0; st == ST_OK && k < cli.given_count; k++) {
        const CliGiven *g = &cli.given[k];
        n += (size_t)snprintf(out + n, size - n, "%s=", g->option->name);
        switch (g->option->kind) {
        case OPT_FLAG: n += (size_t)snprintf(out + n, size - n, "%d ", g->flag); break;
        case OPT_INT:
        case OPT_SIZE: n += (size_t)snprintf(out + n, size - n, "%lld ", (long long)g->i); break;
        case OPT_FLOAT: n += (size_t)snprintf(out + n, size - n, "%.17g ", g->f); break;
        default: n += (size_t)snprintf(out + n, size - n, "<%s> ", g->text); break;
        }
    }
    for (size_t k = 0; st == ST_OK && k < cli.positional_count; k++)
        n += (size_t)snprintf(out + n, size - n, "[%s]", cli.positionals[k]);
    if (keep)
        *keep = cli;
    else
        cli_deinit(&cli);
}

typedef struct {
    const char *line, *want;
} Case;

static void check_cases(const Case *cases, size_t count)
{
    char got[2000];
    for (size_t k = 0; k < count; k++) {
        describe(cases[k].line, got, sizeof got, NULL);
        if (strcmp(got, cases[k].want) != 0)
            fail_msg("'%s'\n  gave  '%s'\n  not   '%s'", cases[k].line, got, cases[k].want);
    }
}

static void options_are_read_in_every_spelling(void **state)
{
    (void)state;
    static const Case cases[] = {
        {"m", "[m]"},
        {"m hello", "[m][hello]"},
        {"m --threads=4", "threads=4 [m]"},
        {"m --threads 4", "threads=4 [m]"},
        {"-t4 m", "threads=4 [m]"},
        {"-t 4 m", "threads=4 [m]"},
        {"-t=4 m", "threads=4 [m]"},
        {"m -qv", "quiet=1 verbose=1 [m]"},
        {"m -qt4", "quiet=1 threads=4 [m]"},
        {"m --no-quiet", "quiet=0 [m]"},
        {"m --quiet --no-quiet", "quiet=1 quiet=0 [m]"},
        {"m --no-special", "special=0 [m]"},
        {"m --special", "special=1 [m]"},
        {"-- -t4 --json", "[-t4][--json]"},
        {"m -- --", "[m][--]"},
        {"m -", "[m][-]"},
        {"m --ctx 4096 --num-ctx=2K", "ctx-size=4096 ctx-size=2048 [m]"},
        {"m -c 32k", "ctx-size=32768 [m]"},
        {"m -c 1M", "ctx-size=1048576 [m]"},
        {"m -c 1G", "ctx-size=1073741824 [m]"},
        {"m --predict 7 --n-predict 8 --tokens 9", "max-tokens=7 max-tokens=8 max-tokens=9 [m]"},
        {"m --temperature 0.5 --temp 1e-3", "temp=0.5 temp=0.001 [m]"},
        {"m --presence-penalty -1.5", "presence-penalty=-1.5 [m]"},
        {"m -sys hi", "system=<hi> [m]"},
        {"m -sys=hi", "system=<hi> [m]"},
        {"m -s hi", "system=<hi> [m]"},
        {"m -shi", "system=<hi> [m]"},
        {"m --system=--json", "system=<--json> [m]"},
        {"m --system=", "system=<> [m]"},
        {"m --stop a --stop b", "stop=<a> stop=<b> [m]"},
        {"m --think high", "think=<> [m][high]"},
        {"m --think=high", "think=<high> [m]"},
        {"m --progress json", "progress=<json> [m]"},
        {"m --seed 9007199254740993", "seed=9007199254740993 [m]"},
    };
    check_cases(cases, sizeof cases / sizeof *cases);
}

static void wrong_options_are_named_with_their_value(void **state)
{
    (void)state;
    static const Case cases[] = {
        {"", "run: an argument is missing: expected MODEL [PROMPT]"},
        {"a b c", "run: one argument too many: 'c' (expected MODEL [PROMPT])"},
        {"m --threads", "run: --threads needs a value: N"},
        {"m -t", "run: -t needs a value: N"},
        {"m --threads --json", "run: --threads needs a value: N; if '--json' is meant, write --threads=--json"},
        {"m --threads four", "run: --threads takes a whole number, not 'four'"},
        {"m --threads=", "run: --threads takes a whole number, not ''"},
        {"m --threads=4x", "run: --threads takes a whole number, not '4x'"},
        {"m --threads 4K", "run: --threads takes a whole number, not '4K'"},
        {"m -t0x10", "run: -t takes a whole number, not '0x10'"},
        {"m -t 0", "run: -t must be between 1 and 64, not '0'"},
        {"m --threads 65", "run: --threads must be between 1 and 64, not '65'"},
        {"m --threads 99999999999999999999", "run: --threads takes a whole number, not '99999999999999999999'"},
        {"m -c 9999999999G", "run: -c takes a whole number (K, M, G allowed), not '9999999999G'"},
        {"m -c 4KB", "run: -c takes a whole number (K, M, G allowed), not '4KB'"},
        {"m -c -1", "run: -c must be between 0 and 1073741824, not '-1'"},
        {"m --ctx -1", "run: --ctx must be between 0 and 1073741824, not '-1'"},
        {"m --temp hot", "run: --temp takes a number, not 'hot'"},
        {"m --temp nan", "run: --temp takes a number, not 'nan'"},
        {"m --temp 1e999", "run: --temp takes a number, not '1e999'"},
        {"m --temp 0,5", "run: --temp takes a number, not '0,5'"},
        {"m --top-p 1.5", "run: --top-p must be between 0 and 1, not '1.5'"},
        {"m --quiet=yes", "run: --quiet takes no value, 'yes' was given"},
        {"m --think=hihg", "run: --think takes one of: low high max off; 'hihg' is none (did you mean 'high'?)"},
        {"m --progress fancy", "run: --progress takes one of: auto plain bar json none; 'fancy' is none"},
        {"m --thraeds 4", "run: no option '--thraeds'; did you mean '--threads'?"},
        {"m --top_k=4", "run: no option '--top_k'; did you mean '--top-k'?"},
        {"m --temper 1", "run: no option '--temper'; did you mean '--temperature'?"},
        {"m --no-queit", "run: no option '--no-queit'; did you mean '--no-quiet'?"},
        {"m --no-threads", "run: no option '--no-threads'"},
        {"m --frobnicate", "run: no option '--frobnicate'"},
        {"m -z", "run: no option '-z'"},
        {"m -qz", "run: no option '-qz'"},
        {"m -ngl 99", "run: no option '-ngl' here: models are computed on the processor; leave it out"},
        {"m --n-gpu-layers=99",
         "run: no option '--n-gpu-layers' here: models are computed on the processor; leave it out"},
        {"m -cnv", "run: no option '-cnv' here: 'plumb chat' is interactive on a terminal"},
    };
    check_cases(cases, sizeof cases / sizeof *cases);
}

static void values_are_asked_for_by_name(void **state)
{
    (void)state;
    char text[600];
    Cli cli;
    describe("m -v -v --temp 1 --temp 2 --stop a --stop b -c 2K --json --json", text, sizeof text, &cli);
    assert_int_equal(cli_count(&cli, "verbose"), 2);
    assert_true(cli_float(&cli, "temp", 7) == 2);
    assert_int_equal(cli_list_count(&cli, "stop"), 2);
    assert_string_equal(cli_list_at(&cli, "stop", 0), "a");
    assert_string_equal(cli_list_at(&cli, "stop", 1), "b");
    assert_null(cli_list_at(&cli, "stop", 2));
    assert_int_equal(cli_int(&cli, "ctx-size", 5), 2048);
    assert_int_equal(cli_int(&cli, "threads", 5), 5);
    assert_false(cli_given(&cli, "threads"));
    assert_true(cli_flag(&cli, "special"));
    assert_true(cli_json(&cli));
    assert_string_equal(cli_string(&cli, "system", "none"), "none");
    assert_string_equal(cli_positional(&cli, 0), "m");
    assert_null(cli_positional(&cli, 1));
    cli_deinit(&cli);
    describe("m --json --no-such", text, sizeof text, &cli);
    assert_true(cli_json(&cli)); /* so that the error is JSON as well */
    cli_deinit(&cli);
    describe("m -s 42", text, sizeof text, &cli);
    assert_non_null(strstr(cli.warning, "--seed 42"));
    cli_deinit(&cli);
    describe("--no-such --help", text, sizeof text, &cli);
    assert_false(cli.help);
    cli_deinit(&cli);
    describe("--help", text, sizeof text, &cli);
    assert_true(cli.help); /* although MODEL is missing */
    cli_deinit(&cli);
}

static void commands_are_found_by_their_words(void **state)
{
    (void)state;
    static const struct {
        const char *line, *name;
        int words;
        const char *msg;
    } cases[] = {
        {"run m", "run", 1, ""},
        {"list", "ls", 1, ""},
        {"eval perplexity m", "eval perplexity", 2, ""},
        {"eval", NULL, 0, "'eval' needs a second word: perplexity, tasks"},
        {"eval --json", NULL, 0, "'eval' needs a second word: perplexity, tasks"},
        {"eval perplxity", NULL, 0, "no command 'eval perplxity'; did you mean 'eval perplexity'?"},
        {"eval zzz", NULL, 0, "no command 'eval zzz'; 'eval' goes with: perplexity, tasks"},
        {"rnu", NULL, 0, "no command 'rnu'; did you mean 'run'?"},
        {"secrte", NULL, 0, "no command 'secrte'"},
        {"frobnicate", NULL, 0, "no command 'frobnicate'"},
        {"delete x", NULL, 0, "no command 'delete': use 'plumb rm NAME'"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char text[100];
        char *argv[8];
        int words;
        Error err = {0};
        snprintf(text, sizeof text, "%s", cases[k].line);
        const int argc = split(text, argv, 8);
        const CliCommand *c = cli_find_command(samples, argc, argv, &words, &err);
        if ((c ? cases[k].name == NULL || strcmp(c->name, cases[k].name) != 0 : cases[k].name != NULL) ||
            words != cases[k].words || strcmp(err.msg, cases[k].msg) != 0)
            fail_msg("'%s': found '%s', %d words, '%s'", cases[k].line, c ? c->name : "-", words, err.msg);
    }
}

/* ---- The real table ---- */

static void every_command_and_option_explains_itself(void **state)
{
    (void)state;
    int common = 0;
    for (const CliCommand *const *p = cli_commands; *p; p++) {
        const CliCommand *c = *p;
        if (!c->help || !*c->help || !c->run || strlen(c->help) > 70 || c->help[strlen(c->help) - 1] == '.')
            fail_msg("command '%s' needs run and a help line without full stop, at most 70 characters", c->name);
        if ((c->positionals_max != 0) != (c->args != NULL))
            fail_msg("command '%s' takes %d arguments, its help says '%s'", c->name, c->positionals_max, c->args);
        assert_ptr_equal(cli_command_named(cli_commands, c->name), c); /* no name twice */
        common += c->common && !c->hidden;
        for (const CliOption *o = c->options; o && o->name; o++) {
            if (!o->help || !*o->help || (o->kind == OPT_FLAG) != (o->value == NULL))
                fail_msg("%s --%s needs a help line, and a placeholder unless it is a flag", c->name, o->name);
            if (o->kind == OPT_FLAG && strncmp(o->name, "no-", 3) == 0)
                fail_msg("%s --%s: every flag has a --no- form; name the positive one", c->name, o->name);
            for (const CliOption *other = c->options; other != o; other++)
                if (strcmp(other->name, o->name) == 0 || (o->letter && other->letter == o->letter))
                    fail_msg("%s --%s: its name or letter is taken by --%s", c->name, o->name, other->name);
        }
    }
    assert_in_range(common, 0, 7); /* with 5 lines around them: the overview is at most 12 lines */
}

static bool contains(ByteBuf *b, const char *text)
{
    const char *all = bytebuf_cstr(b);
    assert_non_null(all);
    return strstr(all, text) != NULL;
}

static void help_and_pages_show_every_option(void **state)
{
    (void)state;
    for (const CliCommand *const *p = cli_commands; *p; p++) {
        const CliCommand *c = *p;
        ByteBuf help = {0}, page = {0};
        assert_int_equal(help_command(&help, c, 80, true), ST_OK);
        assert_int_equal(man_command(&page, c), ST_OK);
        for (const CliOption *o = c->options; o && o->name; o++) {
            char left[160], text[200];
            help_option_text(left, sizeof left, o);
            snprintf(text, sizeof text, "  %s", left);
            if (!contains(&help, text))
                fail_msg("help of '%s' lacks '%s'", c->name, left);
            size_t n = 0;
            for (const char *q = left; *q && n + 3 < sizeof text; q++) {
                if (*q == '-')
                    text[n++] = '\\';
                text[n++] = *q;
            }
            text[n] = 0;
            if (!contains(&page, text))
                fail_msg("page of '%s' lacks '%s'", c->name, text);
        }
        bytebuf_free(&help);
        bytebuf_free(&page);
    }
}

static void help_keeps_to_the_width(void **state)
{
    (void)state;
    for (int columns = 60; columns <= 120; columns += 20)
        for (const CliCommand *const *p = samples; *p; p++) {
            ByteBuf help = {0};
            assert_int_equal(help_command(&help, *p, columns, true), ST_OK);
            for (const char *line = bytebuf_cstr(&help); *line;) {
                const size_t n = strcspn(line, "\n");
                if (n >= (size_t)columns && n > 100)
                    fail_msg("%d columns: '%.*s'", columns, (int)n, line);
                line += n + (line[n] == '\n');
            }
            bytebuf_free(&help);
        }
}

static void parsing_and_help_report_lack_of_memory(void **state)
{
    (void)state;
    char *argv[] = {(char *)(uintptr_t) "m", (char *)(uintptr_t) "-q"};
    for (int n = 1; n < 100; n++) {
        Cli cli = {.command = &sample, .commands = samples};
        Error err = {0};
        mem_fail_at(n);
        const Status st = cli_parse(&cli, 2, argv, &err);
        mem_fail_at(0);
        cli_deinit(&cli);
        if (st == ST_OK)
            break;
        assert_int_equal(st, ST_NOMEM);
        assert_in_range(n, 1, 4);
    }
    for (int n = 1;; n++) {
        ByteBuf out = {0};
        mem_fail_at(n);
        const Status st = help_command(&out, &sample, 80, true);
        mem_fail_at(0);
        bytebuf_free(&out);
        if (st == ST_OK)
            break;
        assert_int_equal(st, ST_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_read_in_every_spelling),
        cmocka_unit_test(wrong_options_are_named_with_their_value),
        cmocka_unit_test(values_are_asked_for_by_name),
        cmocka_unit_test(commands_are_found_by_their_words),
        cmocka_unit_test(every_command_and_option_explains_itself),
        cmocka_unit_test(help_and_pages_show_every_option),
        cmocka_unit_test(help_keeps_to_the_width),
        cmocka_unit_test(parsing_and_help_report_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
