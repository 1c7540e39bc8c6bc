/* plumb train: a recipe becomes a model. */
#include "base/fileio.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/model_arg.h"
#include "cli/options.h"
#include "train/trainer.h"

#include <stdio.h>
#include <unistd.h>

typedef struct {
    const Cli *cli;
    Interrupts interrupts;
    bool terminal, quiet;
    bool line_open; /* the progress line has no line end yet */
} Show;

static void end_line(Show *s)
{
    if (s->line_open)
        fputc('\n', stderr);
    s->line_open = false;
}

static void duration(char *buf, size_t size, double seconds)
{
    const long long s = (long long)seconds;
    if (s < 3600)
        snprintf(buf, size, "%lldm%02llds", s / 60, s % 60);
    else
        snprintf(buf, size, "%lldh%02lldm", s / 3600, s / 60 % 60);
}

/* One line: on a terminal always the same one, else one every tenth step, and the last. */
static void show_progress(void *arg, const TrainerProgress *p)
{
    Show *s = arg;
    char left[32];
    if (s->quiet || (!s->terminal && p->step % 10 != 0 && p->step != p->steps && p->step != 1))
        return;
    duration(left, sizeof left, p->seconds_left);
    fprintf(stderr, "%sstep %lld/%lld  loss %.4f  %.0f tokens/s  %.0f%% of peak  %s left%s%s", s->terminal ? "\r" : "",
            (long long)p->step, (long long)p->steps, p->loss, p->tokens_per_s, 100 * p->peak_share, left,
            p->skipped ? "  left out" : "", s->terminal ? "\033[K" : "\n");
    s->line_open = s->terminal;
    if (p->step == p->steps)
        end_line(s);
}

static void show_line(void *arg, const char *line)
{
    Show *s = arg;
    end_line(s);
    if (!s->quiet)
        fprintf(stderr, "%s\n", line);
}

static Status find_model(void *arg, const char *name, char **path, Error *err)
{
    (void)arg;
    return model_arg_path(path, name, err);
}

static bool interrupted(void *arg)
{
    Show *s = arg;
    return interrupts_seen(&s->interrupts) != 0;
}

static int run_train(Cli *cli)
{
    Error err = {0};
    Show show = {.cli = cli, .terminal = isatty(STDERR_FILENO), .quiet = cli_flag(cli, "quiet")};
    const int set_count = cli_list_count(cli, "set");
    if (!cli_given(cli, "out"))
        return cli_usage(cli, "--out DIR is missing");
    const char **sets = mem_alloc((size_t)set_count, sizeof *sets);
    if (!sets)
        return cli_fail(cli, error_set(&err, ST_NOMEM, "no memory"), &err);
    for (int i = 0; i < set_count; i++)
        sets[i] = cli_list_at(cli, "set", i);
    const TrainerParams params = {
        .recipe = cli_positional(cli, 0),
        .sets = sets,
        .set_count = set_count,
        .out = cli_string(cli, "out", NULL),
        .resume = cli_flag(cli, "resume"),
        .threads = (int)cli_int(cli, "threads", 0),
        .fs = files_real(),
        .find_model = find_model,
        .progress = show_progress,
        .log = show_line,
        .stop = interrupted,
        .arg = &show,
    };
    interrupts_hold(&show.interrupts);
    const Status st = trainer_run(&params, &err);
    end_line(&show);
    const int signal_number = interrupts_seen(&show.interrupts);
    interrupts_release(&show.interrupts);
    mem_free(sets);
    if (st == ST_OK)
        return 0;
    const int code = cli_fail(cli, st, &err);
    return st == ST_CANCELLED && signal_number ? interrupt_exit_code(signal_number) : code;
}

static const CliOption options[] = {
    {.name = "out", .letter = 'o', .kind = OPT_STRING, .value = "DIR",
     .help = "directory of the run: checkpoints step-N, latest, metrics.jsonl"},
    {.name = "set", .kind = OPT_LIST, .value = "KEY=VALUE", .help = "change one value of the recipe (may repeat)"},
    {.name = "resume", .kind = OPT_FLAG, .help = "go on from the newest complete checkpoint of DIR, if there is one"},
    {.name = "threads", .letter = 't', .kind = OPT_INT, .value = "N", .min = 1, .max = 64,
     .help = "threads to compute with; the result does not depend on it"},
    CLI_OPTION_QUIET,
    {0},
};

const CliCommand cmd_train = {
    .name = "train",
    .args = "RECIPE.yaml",
    .help = "train a model from a recipe",
    .about = "Makes a model from nothing, or trains one further (model.from), on text files, JSON Lines or problems that "
             "Plumb makes up. docs/TRAINING.md explains recipes, docs/RECIPES.md lists every key.\n\n"
             "The run survives any crash: --resume goes on from the last checkpoint with the bits of a run that never "
             "stopped. Checkpoints are Hugging Face directories; DIR/latest is the newest and can be given wherever a model "
             "is wanted. Ctrl-C saves a checkpoint behind the step at hand.",
    .example = "plumb train recipes/tiny-text.yaml --set data.text=book.txt --out runs/book\n"
               "plumb train recipes/tiny-text.yaml --set data.text=book.txt --out runs/book --resume\n"
               "plumb run runs/book/latest \"Once upon\"",
    .options = options,
    .common = true,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = run_train,
};
