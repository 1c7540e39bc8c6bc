/* plumb bench: speed beside the bound measured in the same run. */
#include "cli/cli.h"
#include "cli/model_arg.h"
#include "cli/options.h"
#include "eval/bench.h"

#include <stdio.h>

#define PROMPT_DEFAULT 512
#define DECODE_DEFAULT 128
#define REPEATS_DEFAULT 3

static void write_number(JsonWriter *w, const char *key, double value)
{
    json_write_key(w, key);
    json_write_double(w, value);
}

static void write_figure(JsonWriter *w, const char *name, const BenchFigure *f)
{
    char key[64];
    const struct {
        const char *suffix;
        double value;
    } fields[] = {{"tokens_per_s", f->best}, {"median_tokens_per_s", f->median},
                  {"bound_tokens_per_s", f->bound}, {"ratio", f->ratio}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        snprintf(key, sizeof key, "%s_%s", name, fields[i].suffix);
        write_number(w, key, fields[i].value);
    }
}

static int print_json(const Cli *cli, const ModelInfo *info, const BenchParams *p, const BenchResult *r)
{
    JsonWriter w;
    json_write_init(&w, 0, 8192);
    json_write_object_begin(&w);
    json_write_key(&w, "model");
    json_write_string(&w, info->name);
    json_write_key(&w, "mode");
    json_write_string(&w, mode_name(info->mode));
    json_write_key(&w, "level");
    json_write_string(&w, info->level);
    json_write_key(&w, "threads");
    json_write_int(&w, info->threads);
    if (p->prompt)
        write_figure(&w, "prefill", &r->prefill);
    if (p->decode)
        write_figure(&w, "decode", &r->decode);
    write_number(&w, "read_gb_per_s", r->read_gb_per_s);
    write_number(&w, "peak_gops", r->peak_gops);
    write_number(&w, "token_bytes", r->token_bytes);
    write_number(&w, "prompt_token_ops", r->prompt_token_ops);
    json_write_object_end(&w);
    const int code = cli_print_json(cli, &w);
    json_write_deinit(&w);
    return code;
}

static void print_figure(const char *name, int64_t tokens, const BenchFigure *f, const char *bound)
{
    if (tokens)
        printf("%-8s %6lld tokens  %9.1f tok/s (median %.1f)   bound %9.1f (%s)   ratio %.2f\n", name,
               (long long)tokens, f->best, f->median, f->bound, bound, f->ratio);
}

static void print_text(const ModelInfo *info, const BenchParams *p, const BenchResult *r)
{
    printf("%s: %s, level %s, %d threads\n", info->name, mode_name(info->mode), info->level, info->threads);
    printf("machine  reads %.1f GB/s, multiplies and adds %.0f Gop/s in this arithmetic; a token reads %.1f MB\n",
           r->read_gb_per_s, r->peak_gops, r->token_bytes / 1e6);
    print_figure("prefill", p->prompt, &r->prefill, "arithmetic");
    print_figure("decode", p->decode, &r->decode, "bandwidth");
}

static int run_bench(Cli *cli)
{
    Error err = {0};
    Model *model = NULL;
    BenchResult result;
    ModelInfo info;
    const BenchParams params = {cli_int(cli, "prompt", PROMPT_DEFAULT), cli_int(cli, "decode", DECODE_DEFAULT),
                                (int)cli_int(cli, "repeat", REPEATS_DEFAULT)};
    Status st = ST_OK;
    TRY(model_arg_open(&model, cli, cli_positional(cli, 0), &(ModelParams){.no_tokenizer = true}, &err));
    TRY(bench_run(&result, model, &params, &err));
    model_info(model, &info);
    if (!cli_json(cli))
        print_text(&info, &params, &result);
    else if (print_json(cli, &info, &params, &result) != 0)
        st = ST_IO;
out:
    model_close(model);
    return st == ST_OK ? 0 : cli_fail(cli, st, &err);
}

static const CliOption options[] = {
    {.name = "prompt", .letter = 'p', .also = "n-prompt", .kind = OPT_INT, .value = "N", .min = 0, .max = 1048576,
     .help = "tokens of the prompt (default 512); 0: no prompt"},
    {.name = "decode", .letter = 'n', .also = "n-gen", .kind = OPT_INT, .value = "N", .min = 0, .max = 1048576,
     .help = "tokens to decode (default 128); 0: none"},
    {.name = "repeat", .letter = 'r', .also = "repetitions", .kind = OPT_INT, .value = "N", .min = 1, .max = 64,
     .help = "repetitions of each; the best counts (default 3)"},
    CLI_OPTIONS_COMPUTE,
    CLI_OPTION_JSON,
    {0},
};

const CliCommand cmd_bench = {
    .name = "bench",
    .args = "MODEL",
    .help = "measure speed, beside what the machine allows",
    .about = "Times a prompt and decoding, and in the same run the machine itself: how fast it reads memory (the "
             "bound of decoding) and how many operations a second it does in the model's "
             "arithmetic (the bound of a prompt).",
    .example = "plumb bench smollm2-135m-instruct -t 2 -p 512 -n 128 --json",
    .options = options,
    .positionals_min = 1,
    .positionals_max = 1,
    .common = true,
    .run = run_bench,
};
