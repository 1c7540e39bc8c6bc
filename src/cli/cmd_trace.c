/* plumb trace: what a model computes, for comparing implementations. */
#include "base/mapfile.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/model_arg.h"
#include "cli/options.h"
#include "eval/trace.h"

#include <stdio.h>

#define IDS_FILE_MAX ((size_t)1 << 28)

MUST_USE static Status read_ids(IdBuf *ids, const char *path, Error *err)
{
    uint8_t *text = NULL;
    size_t size = 0;
    Status st = ST_OK;
    TRY(file_read_all(&text, &size, path, IDS_FILE_MAX, err));
    st = trace_parse_ids(ids, (const char *)text, size, err);
    if (st != ST_OK)
        st = error_context(err, st, "'%s'", path);
out:
    mem_free(text);
    return st;
}

MUST_USE static Status open_model(Model **out, const Cli *cli, Error *err)
{
    const ModelParams params = {.mode = cli_flag(cli, "f64") ? MODE_F64 : MODE_F32,
                                .threads = (int)cli_int(cli, "threads", 0),
                                .no_tokenizer = true};
    char *path = NULL;
    Status st = model_arg_path(&path, cli_positional(cli, 0), err);
    if (st == ST_OK)
        st = model_open(out, path, &params, err);
    mem_free(path);
    return st;
}

static int64_t likeliest(const float *logits, int64_t vocab)
{
    int64_t best = 0;
    for (int64_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* Without --out: a few lines for people. */
static void print_summary(const Trace *t)
{
    const float *last = t->logits + (t->count - 1) * t->vocab;
    const int64_t best = likeliest(last, t->vocab);
    printf("positions %lld, vocabulary %lld, layers %lld\n", (long long)t->count, (long long)t->vocab,
           (long long)t->layers);
    printf("after the last position: id %lld, logit %.6f\n", (long long)best, (double)last[best]);
    if (t->gradients.count)
        printf("loss %.6f, gradients of %d tensors\n", (double)t->loss, t->gradients.count);
    if (t->greedy)
        printf("greedy:");
    for (int64_t i = 0; i < t->greedy; i++)
        printf(" %lld", (long long)t->greedy_ids[i]);
    if (t->greedy)
        printf("\n");
}

static int run_trace(Cli *cli)
{
    Error err = {0};
    IdBuf ids = {0};
    Model *model = NULL;
    Trace trace = {0};
    const char *out_path = cli_string(cli, "out", NULL);
    Status st = ST_OK;
    if (!cli_given(cli, "ids"))
        return cli_usage(cli, "--ids FILE is missing");
    TRY(read_ids(&ids, cli_string(cli, "ids", NULL), &err));
    TRY(open_model(&model, cli, &err));
    const TraceParams params = {ids.data, ids.count, cli_int(cli, "split", 0), cli_int(cli, "greedy", 0),
                                cli_flag(cli, "hidden"), cli_flag(cli, "gradients")};
    TRY(trace_run(&trace, model, &params, &err));
    if (out_path)
        TRY(trace_save(&trace, out_path, &err));
    else
        print_summary(&trace);
out:
    trace_free(&trace);
    model_close(model);
    idbuf_free(&ids);
    return st == ST_OK ? 0 : cli_fail(cli, st, &err);
}

static const CliOption options[] = {
    {.name = "ids", .kind = OPT_STRING, .value = "FILE", .help = "token ids separated by white space; - is standard input"},
    {.name = "out", .letter = 'o', .kind = OPT_STRING, .value = "FILE", .help = "write a safetensors file"},
    {.name = "hidden", .kind = OPT_FLAG, .help = "also record hidden.N, the output of layer N"},
    {.name = "gradients", .kind = OPT_FLAG,
     .help = "also record loss, the mean cross-entropy of the next id, and grad.NAME for every tensor of the file that has one"},
    {.name = "split", .kind = OPT_INT, .value = "K", .min = 1, .max = 1073741824,
     .help = "evaluate K ids at once and the others one by one (default: all at once)"},
    {.name = "greedy", .kind = OPT_INT, .value = "N", .min = 0, .max = 1048576,
     .help = "also record N further ids, each the likeliest"},
    {.name = "f64", .kind = OPT_FLAG, .help = "compute in double precision"},
    {.name = "threads", .letter = 't', .kind = OPT_INT, .value = "N", .min = 1, .max = 64,
     .help = "threads to compute with; the result does not depend on it"},
    {0},
};

const CliCommand cmd_trace = {
    .name = "trace",
    .args = "MODEL",
    .help = "record what a model computes",
    .about = "Evaluates token ids with exact weights in float32, whatever faster ways there are, and records the "
             "logits of every position.\n\n"
             "The file holds logits [T,V] (F32); with --hidden also hidden.N [T,D], the residual stream behind "
             "layer N from 0; with --greedy also greedy_ids (I64); with --gradients also loss and grad.NAME. Without --out a short summary is printed.",
    .example = "echo 1 2 3 | plumb trace smollm2-135m-instruct --ids - --hidden --out a.safetensors",
    .options = options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = run_trace,
};
