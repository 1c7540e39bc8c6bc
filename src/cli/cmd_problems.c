/* plumb problems: what the built-in generators make. */
#include "cli/cli.h"
#include "cli/options.h"
#include "train/problems.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LINE_BYTES_MAX ((size_t)1 << 20)

typedef struct {
    bool mixed, text;
    ProblemKind kind;
    int size; /* 0: of a mixed stream, or any */
    ProblemSplit split;
    uint64_t seed;
} Wanted;

static void write_message(JsonWriter *w, const char *role, const Problem *p)
{
    const bool user = role[0] == 'u';
    json_write_object_begin(w);
    json_write_key(w, "role");
    json_write_string(w, role);
    if (!user) {
        json_write_key(w, "thinking");
        json_write_string(w, (const char *)p->thinking.data);
    }
    json_write_key(w, "content");
    json_write_string(w, (const char *)(user ? p->question : p->answer).data);
    json_write_object_end(w);
}

static int print_line(Cli *cli, const Problem *p)
{
    JsonWriter w;
    json_write_init(&w, 0, LINE_BYTES_MAX);
    json_write_object_begin(&w);
    json_write_key(&w, "kind");
    json_write_string(&w, problem_kind_info(p->kind)->name);
    json_write_key(&w, "size");
    json_write_int(&w, p->size);
    json_write_key(&w, "messages");
    json_write_array_begin(&w);
    write_message(&w, "user", p);
    write_message(&w, "assistant", p);
    json_write_array_end(&w);
    json_write_object_end(&w);
    const int code = cli_print_json(cli, &w);
    json_write_deinit(&w);
    return code;
}

static int print_all(Cli *cli, const Wanted *wanted, int64_t count)
{
    Error err = {0};
    Problem p = {0};
    int code = 0;
    for (int64_t i = 0; i < count && code == 0 && !cli_output_closed(); i++) {
        const ProblemKindInfo *const info = problem_kind_info(wanted->kind);
        const int size = wanted->size ? wanted->size : info->size_min + (int)(i % (info->size_max - info->size_min + 1));
        const Status st = wanted->mixed ? problem_mixed(&p, wanted->split, wanted->seed, (uint64_t)i, &err)
                                        : problem_make(&p, wanted->kind, size, wanted->split, wanted->seed, (uint64_t)i, &err);
        if (st != ST_OK)
            code = cli_fail(cli, st, &err);
        else if (wanted->text)
            printf("%s\n%s\n%s\n\n", (char *)p.question.data, (char *)p.thinking.data, (char *)p.answer.data);
        else
            code = print_line(cli, &p);
    }
    problem_free(&p);
    return code;
}

static int run_problems(Cli *cli)
{
    Error err = {0};
    Wanted wanted = {.size = (int)cli_int(cli, "size", 0), .seed = (uint64_t)cli_int(cli, "seed", 0),
                     .text = cli_flag(cli, "text")};
    const char *const kind = cli_string(cli, "kind", "mixed");
    wanted.mixed = strcmp(kind, "mixed") == 0;
    wanted.split = strcmp(cli_string(cli, "split", "train"), "test") == 0 ? PROBLEM_TEST : PROBLEM_TRAIN;
    if (wanted.mixed && wanted.size)
        return cli_usage(cli, "--size needs a --kind");
    if (!wanted.mixed && problem_kind_parse(&wanted.kind, kind, &err) != ST_OK)
        return cli_usage(cli, "%s, and mixed", err.msg);
    return print_all(cli, &wanted, cli_int(cli, "n", 10));
}

static const CliOption options[] = {
    {.name = "kind", .kind = OPT_STRING, .value = "KIND",
     .help = "add, sub, mul, mul2, compare, sort, extreme, parity, word, word2, chat, or mixed (default)"},
    {.name = "size", .kind = OPT_INT, .value = "N", .min = 1, .max = 99,
     .help = "digits, or how many numbers (default: all sizes in turn)"},
    {.name = "n", .kind = OPT_INT, .value = "COUNT", .min = 1, .max = 1e12, .help = "how many (default 10)"},
    {.name = "seed", .kind = OPT_INT, .value = "S", .min = 0, .max = 9e15, .help = "another stream (default 0)"},
    {.name = "split", .kind = OPT_STRING, .value = "SPLIT", .choices = "train test",
     .help = "train (default), or test: calculations that no training problem contains"},
    {.name = "text", .kind = OPT_FLAG, .help = "as text in place of JSON: question, work, answer, an empty line"},
    {0},
};

const CliCommand cmd_problems = {
    .name = "problems",
    .help = "make up problems with written work",
    .about = "Prints problems as the training makes them, one a line, as JSON with kind, size and messages (the "
             "assistant's has thinking): a data file for training. The same options give the same problems "
             "everywhere; problem number i does not depend on how many are asked for.",
    .example = "plumb problems --kind add --size 5 --n 3\n"
               "plumb problems --n 20000 --text > problems.txt",
    .options = options,
    .run = run_problems,
};
