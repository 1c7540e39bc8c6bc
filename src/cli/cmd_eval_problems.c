/* plumb eval problems. */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/model_arg.h"
#include "cli/options.h"
#include "eval/problem_eval.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCORES_MAX 128
#define JSON_BYTES_MAX ((size_t)256 << 20)

typedef struct {
    ProblemScore items[SCORES_MAX];
    int64_t count;
} Scores;

/* ---- what is asked ------------------------------------------------------------------------------- */

static void add_sizes(Scores *s, ProblemKind kind, int from, int to, int64_t n)
{
    for (int size = from; size <= to; size++) {
        CHECK(s->count < SCORES_MAX);
        s->items[s->count++] = (ProblemScore){.kind = kind, .size = size, .count = n};
    }
}

/* "3" or "1-5" */
static bool parse_sizes(const char *text, int *from, int *to)
{
    char *end;
    const long a = strtol(text, &end, 10);
    long b = a;
    if (end == text)
        return false;
    if (*end == '-') {
        const char *const second = end + 1;
        b = strtol(second, &end, 10);
        if (end == second)
            return false;
    }
    *from = (int)a;
    *to = (int)b;
    return *end == 0 && a >= 1 && a <= b && b <= 99;
}

/* Returns an exit code. */
static int choose_scores(const Cli *cli, Scores *s)
{
    Error err = {0};
    const char *const name = cli_string(cli, "kind", "all"), *const sizes = cli_string(cli, "size", NULL);
    const int64_t n = cli_int(cli, "n", 100);
    ProblemKind kind;
    int from, to;
    if (strcmp(name, "all") == 0) {
        if (sizes)
            return cli_usage(cli, "--size needs a --kind");
        for (int k = 0; k < PROBLEM_KIND_COUNT; k++)
            add_sizes(s, (ProblemKind)k, problem_kind_info((ProblemKind)k)->size_min,
                      problem_kind_info((ProblemKind)k)->size_usual, n);
        return 0;
    }
    if (problem_kind_parse(&kind, name, &err) != ST_OK)
        return cli_usage(cli, "%s, and all", err.msg);
    const ProblemKindInfo *const info = problem_kind_info(kind);
    from = info->size_min;
    to = info->size_usual;
    if (sizes && !parse_sizes(sizes, &from, &to))
        return cli_usage(cli, "--size '%.30s': expected a size, or two as 1-5", sizes);
    if (from < info->size_min || to > info->size_max)
        return cli_usage(cli, "--size %s: %s has sizes %d to %d (%s)", sizes, name, info->size_min, info->size_max,
                         info->size_means);
    add_sizes(s, kind, from, to, n);
    return 0;
}

/* ---- what came out ------------------------------------------------------------------------------- */

static void write_int(JsonWriter *w, const char *key, int64_t v)
{
    json_write_key(w, key);
    json_write_int(w, v);
}

static void write_text(JsonWriter *w, const char *key, const char *text)
{
    json_write_key(w, key);
    json_write_string(w, text);
}

static void write_counts(JsonWriter *w, int64_t count, int64_t right)
{
    write_int(w, "count", count);
    write_int(w, "right", right);
    json_write_key(w, "accuracy");
    json_write_double(w, count > 0 ? (double)right / (double)count : 0);
}

static int64_t count_right(const Scores *s)
{
    int64_t right = 0;
    for (int64_t i = 0; i < s->count; i++)
        right += s->items[i].right;
    return right;
}

/* The wrong answers, at most `most`, one by one; p is made again for each. */
typedef void (*WrongFn)(void *arg, const Problem *p, const ProblemAnswer *a);

static Status each_wrong(const Scores *s, const ProblemResult *r, uint64_t seed, int64_t most, WrongFn fn, void *arg,
                         Error *err)
{
    Status st = ST_OK;
    Problem p = {0};
    for (int64_t i = 0; i < r->count && most > 0; i++) {
        const ProblemAnswer *const a = &r->answers[i];
        const ProblemScore *const score = &s->items[a->score];
        if (a->right)
            continue;
        most--;
        TRY(problem_make(&p, score->kind, score->size, PROBLEM_TEST, seed, (uint64_t)a->index, err));
        fn(arg, &p, a);
    }
out:
    problem_free(&p);
    return st;
}

static void write_wrong(void *arg, const Problem *p, const ProblemAnswer *a)
{
    JsonWriter *const w = arg;
    json_write_object_begin(w);
    write_text(w, "kind", problem_kind_info(p->kind)->name);
    write_int(w, "size", p->size);
    write_int(w, "index", a->index);
    write_text(w, "question", (const char *)p->question.data);
    write_text(w, "expected", (const char *)p->answer.data);
    write_text(w, "expected_thinking", (const char *)p->thinking.data);
    write_text(w, "thinking", a->thinking);
    write_text(w, "text", a->text);
    json_write_key(w, "unfinished");
    json_write_bool(w, a->unfinished);
    json_write_object_end(w);
}

static void print_wrong(void *arg, const Problem *p, const ProblemAnswer *a)
{
    (void)arg;
    printf("\n%s %d, number %" PRId64 ": %s\nexpected %s, the answer %s: %s\nthinking:\n%s\n",
           problem_kind_info(p->kind)->name, p->size, a->index, (const char *)p->question.data,
           (const char *)p->answer.data, a->unfinished ? "had no end" : "was", a->text, a->thinking);
}

static void write_scores(JsonWriter *w, const Scores *s)
{
    json_write_key(w, "results");
    json_write_array_begin(w);
    for (int64_t i = 0; i < s->count; i++) {
        const ProblemScore *const x = &s->items[i];
        json_write_object_begin(w);
        write_text(w, "kind", problem_kind_info(x->kind)->name);
        write_int(w, "size", x->size);
        write_counts(w, x->count, x->right);
        write_int(w, "unfinished", x->unfinished);
        write_int(w, "tokens", x->tokens);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

static int print_json(Cli *cli, const Scores *s, const ProblemResult *r, const ProblemEvalParams *p, int64_t wrong)
{
    Error err = {0};
    JsonWriter w;
    json_write_init(&w, 0, JSON_BYTES_MAX);
    json_write_object_begin(&w);
    write_text(&w, "model", cli_positional(cli, 0));
    write_int(&w, "seed", (int64_t)p->seed);
    write_counts(&w, r->count, count_right(s));
    json_write_key(&w, "seconds");
    json_write_double(&w, r->seconds);
    write_scores(&w, s);
    Status st = ST_OK;
    if (wrong > 0) {
        json_write_key(&w, "wrong");
        json_write_array_begin(&w);
        st = each_wrong(s, r, p->seed, wrong, write_wrong, &w, &err);
        json_write_array_end(&w);
    }
    json_write_object_end(&w);
    const int code = st == ST_OK ? cli_print_json(cli, &w) : cli_fail(cli, st, &err);
    json_write_deinit(&w);
    return code;
}

static int print_table(Cli *cli, const Scores *s, const ProblemResult *r, const ProblemEvalParams *p, int64_t wrong)
{
    Error err = {0};
    printf("%-8s  %4s  %8s  %8s  %9s  %10s\n", "kind", "size", "problems", "right", "accuracy", "unfinished");
    for (int64_t i = 0; i < s->count; i++) {
        const ProblemScore *const x = &s->items[i];
        printf("%-8s  %4d  %8" PRId64 "  %8" PRId64 "  %7.2f %%  %10" PRId64 "\n", problem_kind_info(x->kind)->name, x->size,
               x->count, x->right, 100.0 * (double)x->right / (double)x->count, x->unfinished);
    }
    printf("%-8s  %4s  %8" PRId64 "  %8" PRId64 "  %7.2f %%\n", "all", "", r->count, count_right(s),
           100.0 * (double)count_right(s) / (double)r->count);
    const Status st = each_wrong(s, r, p->seed, wrong, print_wrong, NULL, &err);
    return st == ST_OK ? 0 : cli_fail(cli, st, &err);
}

static bool show_progress(void *arg, int64_t done, int64_t total, int64_t right)
{
    (void)arg;
    fprintf(stderr, "\r%" PRId64 "/%" PRId64 " problems, %.1f %% right ", done, total, 100.0 * (double)right / (double)done);
    if (done == total)
        fputc('\n', stderr);
    return true;
}

static int run_eval_problems(Cli *cli)
{
    Error err = {0};
    Scores scores = {.count = 0};
    ProblemResult result = {0};
    const int64_t wrong = cli_int(cli, "wrong", 0);
    ProblemEvalParams params = {.seed = (uint64_t)cli_int(cli, "seed", 0), .tokens_max = cli_int(cli, "max-tokens", 0),
                                .no_thinking = !cli_flag(cli, "think"), .keep_texts = wrong > 0};
    char *path = NULL;
    Status st = ST_OK;
    int code = choose_scores(cli, &scores);
    if (code != 0)
        return code;
    if (isatty(STDERR_FILENO) && !cli_flag(cli, "quiet"))
        params.progress = show_progress;
    params.model.threads = (int)cli_int(cli, "threads", 0);
    TRY(mode_parse(&params.model.mode, cli_string(cli, "mode", "auto"), &err));
    TRY(model_arg_path(&path, cli_positional(cli, 0), &err));
    TRY(problem_eval(&result, scores.items, scores.count, path, &params, &err));
    code = cli_json(cli) ? print_json(cli, &scores, &result, &params, wrong)
                         : print_table(cli, &scores, &result, &params, wrong);
out:
    mem_free(path);
    problem_result_free(&result);
    return st == ST_OK ? code : cli_fail(cli, st, &err);
}

static const CliOption options[] = {
    {.name = "kind", .kind = OPT_STRING, .value = "KIND",
     .help = "add, sub, mul, mul2, compare, sort, extreme, parity, word, word2, chat, or all (default)"},
    {.name = "size", .kind = OPT_STRING, .value = "N",
     .help = "digits, or how many numbers; two as 1-5 (default: those the embedded model is meant for)"},
    {.name = "n", .kind = OPT_INT, .value = "COUNT", .min = 1, .max = 1000000,
     .help = "problems of each kind and size (default 100)"},
    {.name = "seed", .kind = OPT_INT, .value = "S", .min = 0, .max = 9e15, .help = "other problems (default 0)"},
    {.name = "think", .kind = OPT_FLAG, .on = true,
     .help = "--no-think: ask for answers without thinking (models that can be told to)"},
    {.name = "wrong", .kind = OPT_INT, .value = "N", .min = 0, .max = 1000000, .help = "show the first N wrong answers as well"},
    {.name = "max-tokens", .kind = OPT_INT, .value = "N", .min = 1, .max = 65536,
     .help = "an answer that has not ended after N tokens is wrong (default 512)"},
    CLI_OPTIONS_COMPUTE,
    CLI_OPTION_QUIET,
    CLI_OPTION_JSON,
    {0},
};

const CliCommand cmd_eval_problems = {
    .name = "eval problems",
    .args = "MODEL",
    .help = "how many made-up problems a model solves",
    .about = "Asks problems that Plumb makes up and that no training of its own contains, each in a conversation of its "
             "own, and takes the likeliest answer. What counts is the visible answer: of numbers the last one, of lists "
             "as many of the last ones, else the first yes, no, even, odd or equal, or the last sign. Of ordinary "
             "questions (chat, a list of 100) it counts whether the answer speaks of arithmetic.\n\n"
             "With --json one object: model, seed, count, right, accuracy, seconds, results (kind, size, count, right, "
             "accuracy, unfinished, tokens) and, with --wrong, wrong.",
    .example = "plumb eval problems ./run1/latest --kind add --size 5 --n 1000 --seed 1 --json\n"
               "plumb eval problems ./run1/latest --kind all --n 200",
    .options = options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = run_eval_problems,
};
