/* plumb eval perplexity. */
#include "base/mapfile.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/model_arg.h"
#include "cli/options.h"
#include "eval/perplexity.h"

#include <stdio.h>
#include <unistd.h>

#define TEXT_MAX ((size_t)1 << 31)
#define WINDOW_DEFAULT 512

static void show_progress(void *arg, int64_t done, int64_t total, double perplexity)
{
    (void)arg;
    fprintf(stderr, "\rwindow %lld/%lld, perplexity %.4f ", (long long)done, (long long)total, perplexity);
    if (done == total)
        fputc('\n', stderr);
}

static int print_json(Cli *cli, const PerplexityResult *r, const ModelInfo *info)
{
    JsonWriter w;
    json_write_init(&w, 0, 4096);
    json_write_object_begin(&w);
    json_write_key(&w, "perplexity");
    json_write_double(&w, r->perplexity);
    json_write_key(&w, "tokens");
    json_write_int(&w, r->tokens);
    json_write_key(&w, "windows");
    json_write_int(&w, r->windows);
    json_write_key(&w, "mean_nll");
    json_write_double(&w, r->mean_nll);
    json_write_key(&w, "stderr_nll");
    json_write_double(&w, r->stderr_nll);
    json_write_key(&w, "mode");
    json_write_string(&w, mode_name(info->mode));
    json_write_object_end(&w);
    const int code = cli_print_json(cli, &w);
    json_write_deinit(&w);
    return code;
}

static int run_perplexity(Cli *cli)
{
    Error err = {0};
    Model *model = NULL;
    uint8_t *text = NULL;
    size_t size = 0;
    PerplexityResult result;
    ModelInfo info;
    Status st = ST_OK;
    if (!cli_given(cli, "text"))
        return cli_usage(cli, "--text FILE is missing");
    PerplexityParams params = {.window = cli_int(cli, "ctx-size", WINDOW_DEFAULT),
                               .windows_max = cli_int(cli, "chunks", 0)};
    if (isatty(STDERR_FILENO) && !cli_flag(cli, "quiet"))
        params.progress = show_progress;
    TRY(file_read_all(&text, &size, cli_string(cli, "text", NULL), TEXT_MAX, &err));
    TRY(model_arg_open(&model, cli, cli_positional(cli, 0), &(ModelParams){.mode = MODE_F32}, &err));
    TRY(perplexity_measure(&result, model, (const char *)text, size, &params, &err));
    model_info(model, &info);
    if (cli_json(cli))
        st = print_json(cli, &result, &info) == 0 ? ST_OK : ST_IO;
    else
        printf("perplexity %.4f over %lld tokens (%lld windows of %lld, %s), mean -log p %.5f +- %.5f\n",
               result.perplexity, (long long)result.tokens, (long long)result.windows,
               (long long)params.window, mode_name(info.mode), result.mean_nll, result.stderr_nll);
out:
    model_close(model);
    mem_free(text);
    return st == ST_OK ? 0 : cli_fail(cli, st, &err);
}

static const CliOption options[] = {
    {.name = "text", .kind = OPT_STRING, .value = "FILE", .help = "the text; - is standard input"},
    {.name = "ctx-size", .letter = 'c', .also = "ctx num-ctx", .kind = OPT_SIZE, .value = "N", .min = 4,
     .max = 1073741824, .help = "tokens in a window (default 512)"},
    {.name = "chunks", .kind = OPT_INT, .value = "M", .min = 1, .max = 1073741824,
     .help = "measure the first M windows only"},
    {.name = "threads", .letter = 't', .kind = OPT_INT, .value = "N", .min = 1, .max = 64,
     .help = "threads to compute with (default: every processor; fewer for a tiny model)"},
    {.name = "mode", .kind = OPT_STRING, .value = "MODE", .choices = "auto f32 int8",
     .help = "arithmetic: auto, f32, int8 (default f32: exact weights, float activations)"},
    CLI_OPTION_QUIET,
    CLI_OPTION_JSON,
    {0},
};

const CliCommand cmd_eval_perplexity = {
    .name = "eval perplexity",
    .args = "MODEL",
    .help = "how well a model predicts a text",
    .about = "Counts as llama-perplexity does: the text's tokens are cut into windows, the tail is dropped, and in each "
             "window the second half is predicted (255 of 512). Where the model's tokenizer adds a BOS, it replaces "
             "the first id of each window.",
    .example = "plumb eval perplexity smollm2-135m-instruct --text wiki.test.raw --ctx 512 --chunks 16",
    .options = options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = run_perplexity,
};
