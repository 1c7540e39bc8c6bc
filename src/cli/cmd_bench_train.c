/* plumb bench train. */
#include "cli/cli.h"
#include "cli/options.h"
#include "eval/bench_train.h"

#include <stdio.h>

static void put(JsonWriter *w, const char *key, double v)
{
    json_write_key(w, key);
    json_write_double(w, v);
}

static int print_json(Cli *cli, const BenchTrainParams *p, const BenchTrainResult *r)
{
    JsonWriter w;
    json_write_init(&w, 0, 4096);
    json_write_object_begin(&w);
    json_write_key(&w, "shape");
    json_write_string(&w, p->shape);
    put(&w, "train_tokens_per_s", (double)r->rows / r->step_seconds);
    put(&w, "best_tokens_per_s", (double)r->rows / r->best_seconds);
    put(&w, "step_seconds", r->step_seconds);
    put(&w, "pass_seconds", r->pass_seconds);
    put(&w, "optimiser_seconds", r->optimiser_seconds);
    put(&w, "parameters", (double)r->parameters);
    put(&w, "active_parameters", r->active);
    put(&w, "gflops", r->gflops);
    put(&w, "peak_gflops", r->peak_gflops);
    put(&w, "peak_share", r->gflops / r->peak_gflops);
    put(&w, "threads", r->threads);
    json_write_key(&w, "level");
    json_write_string(&w, r->level);
    json_write_object_end(&w);
    const int code = cli_print_json(cli, &w);
    json_write_deinit(&w);
    return code;
}

static void print_text(const BenchTrainParams *p, const BenchTrainResult *r)
{
    printf("%s: %.1f M parameters, %.1f M at work for a token; %lld tokens a step, level %s, %d threads\n", p->shape,
           (double)r->parameters / 1e6, r->active / 1e6, (long long)r->rows, r->level, r->threads);
    printf("step       %8.3f s (best %.3f): %.0f tokens/s (best %.0f)\n", r->step_seconds, r->best_seconds,
           (double)r->rows / r->step_seconds, (double)r->rows / r->best_seconds);
    printf("  pass     %8.3f s: %.0f GFLOP/s of products, %.2f of the %.0f measured\n", r->pass_seconds, r->gflops,
           r->gflops / r->peak_gflops, r->peak_gflops);
    printf("  optimiser%8.3f s\n", r->optimiser_seconds);
}

static int run_bench_train(Cli *cli)
{
    Error err = {0};
    BenchTrainResult r = {0};
    const BenchTrainParams p = {
        .shape = cli_positional(cli, 0),
        .batch = cli_int(cli, "batch", 0),
        .length = cli_int(cli, "seq", 0),
        .steps = cli_int(cli, "steps", 0),
        .threads = (int)cli_int(cli, "threads", 0),
        .recompute = cli_flag(cli, "recompute"),
        .bf16 = cli_flag(cli, "bf16"),
    };
    const Status st = bench_train_run(&r, &p, &err);
    if (st != ST_OK)
        return cli_fail(cli, st, &err);
    if (cli_json(cli))
        return print_json(cli, &p, &r);
    print_text(&p, &r);
    return 0;
}

static const CliOption options[] = {
    {.name = "batch", .letter = 'b', .kind = OPT_INT, .value = "N", .min = 1, .max = 65536, .help = "sequences of a step (default: the recipe's, or 2)"},
    {.name = "seq", .also = "length", .kind = OPT_INT, .value = "N", .min = 2, .max = 1048576,
     .help = "tokens of a sequence (default: the recipe's, or 256)"},
    {.name = "steps", .letter = 'n', .kind = OPT_INT, .value = "N", .min = 1, .max = 1000, .help = "steps measured, behind a first one (default 5)"},
    {.name = "recompute", .kind = OPT_FLAG, .help = "compute layers twice instead of keeping what they found"},
    {.name = "bf16", .kind = OPT_FLAG, .help = "multiply factors rounded to BF16, as train.compute: bf16 does"},
    {.name = "threads", .letter = 't', .kind = OPT_INT, .value = "N", .min = 1, .max = 64, .help = "threads to compute with"},
    CLI_OPTION_JSON,
    {0},
};

const CliCommand cmd_bench_train = {
    .name = "bench train",
    .args = "SHAPE",
    .help = "how fast a model is trained",
    .about = "Steps on random tokens: forward, back, clipping and optimiser. SHAPE is smollm2-135m (Llama, AdamW) or a recipe, whose "
             "model and optimiser are taken. Products are counted as the pass computes them, attention left out, beside the "
             "multiply-adds that the processor reached in the same run.",
    .example = "plumb bench train smollm2-135m --batch 2 --seq 256\nplumb bench train recipes/reckoner.yaml",
    .options = options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = run_bench_train,
};
