/* plumb diff: where two traces part. */
#include "cli/cli.h"
#include "cli/options.h"
#include "eval/trace_diff.h"

#include <stdio.h>

#define TOLERANCE_DEFAULT 1e-4

typedef struct {
    bool verbose;
    char first[128]; /* the first tensor that parts; empty: none */
} Report;

static void print_line(const TensorDiff *d)
{
    if (d->only_in_one)
        printf("%-16s only in one of the two files\n", d->name);
    else if (d->shapes_differ)
        printf("%-16s shapes differ\n", d->name);
    else
        printf("%-16s largest difference %.3g (of %.3g) at row %lld, column %lld%s\n", d->name, d->max_difference,
               d->magnitude, (long long)d->row, (long long)d->column, d->parts ? "  <- parts" : "");
}

static void on_tensor(void *arg, const TensorDiff *d)
{
    Report *r = arg;
    const bool first = d->parts && !r->first[0];
    if (r->verbose || first)
        print_line(d);
    if (!first)
        return;
    snprintf(r->first, sizeof r->first, "%s", d->name);
    if (d->first_row >= 0)
        printf("%-16s first position with a difference: %lld\n", "", (long long)d->first_row);
}

static int run_diff(Cli *cli)
{
    Error err = {0};
    Report report = {.verbose = cli_flag(cli, "all")};
    bool parted = false;
    const double tolerance = cli_float(cli, "tolerance", TOLERANCE_DEFAULT);
    const Status st = trace_diff(cli_positional(cli, 0), cli_positional(cli, 1), tolerance, on_tensor, &report,
                                 &parted, &err);
    if (st != ST_OK)
        return cli_fail(cli, st, &err);
    if (!parted)
        printf("the traces agree (tolerance %g)\n", tolerance);
    else
        printf("the traces part at %s\n", report.first);
    return parted ? status_exit_code(ST_MISMATCH) : 0;
}

static const CliOption options[] = {
    {.name = "tolerance", .kind = OPT_FLOAT, .value = "X", .min = 0, .max = 1e30,
     .help = "differences up to X times the tensor's largest magnitude (at least 1) are none (default 1e-4)"},
    {.name = "all", .letter = 'a', .kind = OPT_FLAG, .help = "print a line for every tensor"},
    {0},
};

const CliCommand cmd_diff = {
    .name = "diff",
    .args = "A.safetensors B.safetensors",
    .help = "say where two traces part",
    .about = "Compares layer by layer (hidden.0, hidden.1, …), then the logits, then everything else, and names the "
             "first tensor that differs, by how much and where. Exit code 10 when they part.",
    .example = "plumb diff a.safetensors b.safetensors --all",
    .options = options,
    .positionals_min = 2,
    .positionals_max = 2,
    .run = run_diff,
};
