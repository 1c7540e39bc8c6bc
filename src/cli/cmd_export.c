/* plumb export: a checkpoint as a model to hand on. */
#include "train/export.h"

#include "base/mem.h"
#include "cli/model_arg.h"
#include "cli/options.h"
#include "cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int run_export(Cli *cli)
{
    Error err = {0};
    ExportResult r = {0};
    char *from = NULL, size[24];
    Status st = ST_OK;
    if (!cli_given(cli, "out"))
        return cli_usage(cli, "--out DIR is missing");
    ExportParams p = {.fs = files_real(), .out = cli_string(cli, "out", NULL),
                      .temperature = cli_float(cli, "temp", -1)};
    p.dtype = strcmp(cli_string(cli, "dtype", "bf16"), "f32") == 0 ? DT_F32 : DT_BF16;
    TRY(model_arg_path(&from, cli_positional(cli, 0), &err));
    p.from = from;
    TRY(export_model(&p, &r, &err));
    format_bytes(size, sizeof size, (double)r.bytes);
    if (!cli_flag(cli, "quiet"))
        printf("%s: %" PRId64 " tensors, %" PRId64 " numbers, %s\n", p.out, r.tensors, r.numbers, size);
out:
    mem_free(from);
    return st == ST_OK ? 0 : cli_fail(cli, st, &err);
}

static const CliOption options[] = {
    {.name = "out", .letter = 'o', .kind = OPT_STRING, .value = "DIR", .help = "directory to make"},
    {.name = "dtype", .kind = OPT_STRING, .value = "TYPE", .choices = "bf16 f32",
     .help = "type of matrices and embeddings (default bf16)"},
    {.name = "temp", .also = "temperature", .kind = OPT_FLOAT, .value = "X", .min = 0, .max = 100,
     .help = "write a generation_config.json that recommends this temperature; 0: the likeliest token"},
    CLI_OPTION_QUIET,
    {0},
};

const CliCommand cmd_export = {
    .name = "export",
    .args = "MODEL",
    .help = "write a trained model without what training needs to go on",
    .about = "MODEL is the directory of a run (its newest checkpoint is taken), a checkpoint, or any model whose directory "
             "has a config.json. DIR gets config.json, model.safetensors, the tokenizer's files, and manifest.json with "
             "their sizes and digests. With bf16 matrices and embeddings are rounded to nearest even; gains, biases and "
             "other small tables stay float32.",
    .example = "plumb export runs/book --out book\nplumb run ./book \"Once upon\"",
    .options = options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = run_export,
};
