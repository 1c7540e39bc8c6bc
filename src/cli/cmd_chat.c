/* plumb chat, plumb run: talking to a model, on a terminal or once. */
#include "cli/chat_app.h"

#include "base/clock.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "cli/model_path.h"
#include "cli/options.h"
#include "cli/term.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define PROMPT_BYTES_MAX ((size_t)64 << 20)
#define LOAD_QUIET_NS 500000000LL

/* ---- settings ---------------------------------------------------------------------------------- */

Status chat_app_add_stop(ChatApp *app, const char *text, Error *err)
{
    char **const grown = mem_resize(app->stops, (size_t)app->stop_count + 1, sizeof *grown);
    if (!grown)
        return error_set(err, ST_NOMEM, "no memory for stop texts");
    app->stops = grown;
    grown[app->stop_count] = mem_strdup(text);
    if (!grown[app->stop_count])
        return error_set(err, ST_NOMEM, "no memory for stop texts");
    app->stop_count++;
    return ST_OK;
}

void chat_app_clear_stops(ChatApp *app)
{
    for (int64_t i = 0; i < app->stop_count; i++)
        mem_free(app->stops[i]);
    mem_free(app->stops);
    app->stops = NULL;
    app->stop_count = 0;
}

/* A seed that nobody chose: short enough to be read and typed. */
static uint64_t random_seed(void)
{
    uint32_t seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = (uint32_t)clock_ns();
    return seed;
}

/* Options over what is recommended. Greedy when nobody asked for draws and nobody sits in front of it. */
static void configure_sampler(ChatApp *app, const SamplerParams *recommended)
{
    const Cli *const cli = app->cli;
    const SamplerParams before = app->sampler;
    SamplerParams *const p = &app->sampler;
    const bool draws = cli_given(cli, "temp") || cli_given(cli, "top-k") || cli_given(cli, "top-p") ||
                       cli_given(cli, "min-p") || cli_given(cli, "seed");
    *p = app->interactive || draws ? *recommended : sampler_defaults();
    p->bias = before.bias;
    p->bias_count = before.bias_count;
    if (!app->interactive && !draws)
        p->temperature = 0;
    p->temperature = cli_float(cli, "temp", p->temperature);
    p->top_k = cli_int(cli, "top-k", p->top_k);
    p->top_p = cli_float(cli, "top-p", p->top_p);
    p->min_p = cli_float(cli, "min-p", p->min_p);
    p->repetition_penalty = cli_float(cli, "repeat-penalty", p->repetition_penalty);
    p->presence_penalty = cli_float(cli, "presence-penalty", p->presence_penalty);
    p->frequency_penalty = cli_float(cli, "frequency-penalty", p->frequency_penalty);
    p->seed = cli_given(cli, "seed") ? (uint64_t)cli_int(cli, "seed", 0) : random_seed();
}

/* "ID=X" */
static bool parse_bias(const char *text, LogitBias *out)
{
    char *end;
    const long long id = strtoll(text, &end, 10);
    if (end == text || *end != '=' || id < 0 || id > INT32_MAX)
        return false;
    const char *const number = end + 1;
    const double x = strtod(number, &end);
    if (end == number || *end != 0 || isnan(x) || (x > 0 && isinf(x)))
        return false;
    *out = (LogitBias){(int32_t)id, (float)x};
    return true;
}

static int configure_biases(ChatApp *app, const Cli *cli)
{
    const int n = cli_list_count(cli, "logit-bias");
    app->bias = mem_alloc((size_t)n, sizeof *app->bias);
    if (!app->bias)
        return cli_fail(cli, ST_NOMEM, NULL);
    for (int i = 0; i < n; i++) {
        const char *const text = cli_list_at(cli, "logit-bias", i);
        if (!parse_bias(text, &app->bias[i]))
            return cli_usage(cli, "--logit-bias '%.60s': expected ID=X, as 42=-1.5 or 42=-inf", text);
    }
    app->sampler.bias = app->bias;
    app->sampler.bias_count = n;
    return 0;
}

static int configure_system(ChatApp *app, const Cli *cli)
{
    Error err = {0};
    if (cli_given(cli, "system") && cli_given(cli, "system-file"))
        return cli_usage(cli, "--system and --system-file exclude each other");
    Status st = ST_OK;
    if (cli_given(cli, "system")) {
        st = conversation_set_system(&app->conversation, cli_string(cli, "system", ""), &err);
    } else if (cli_given(cli, "system-file")) {
        uint8_t *text = NULL;
        size_t len = 0;
        st = file_read_all(&text, &len, cli_string(cli, "system-file", ""), PROMPT_BYTES_MAX, &err);
        if (st == ST_OK) {
            if (len > 0 && text[len - 1] == '\n')
                text[len - 1] = 0;
            st = conversation_set_system(&app->conversation, (const char *)text, &err);
        }
        mem_free(text);
    }
    return st == ST_OK ? 0 : cli_fail(cli, st, &err);
}

static int configure_mode(ChatApp *app, const Cli *cli)
{
    const char *const effort = cli_string(cli, "effort", "low");
    app->mode = cli_flag(cli, "think") ? CHAT_THINK : 0;
    if (cli_given(cli, "effort") && !app->mode)
        return cli_usage(cli, "--effort is of thinking, and --no-think forbids it");
    if (strcmp(effort, "low") != 0)
        app->mode |= strcmp(effort, "max") == 0 ? CHAT_EFFORT_MAX : CHAT_EFFORT_HIGH;
    return 0;
}

int chat_app_configure(ChatApp *app, const Cli *cli, bool interactive)
{
    Error err = {0};
    app->cli = cli;
    app->max_tokens = cli_int(cli, "max-tokens", 0);
    app->verbose = cli_flag(cli, "verbose");
    app->quiet = cli_flag(cli, "quiet");
    app->view = view_style(interactive);
    if (cli_given(cli, "show-thinking"))
        app->view.show_thinking = cli_flag(cli, "show-thinking");
    app->view.silent = cli_json(cli) || strcmp(cli_string(cli, "stream", "on"), "off") == 0;
    app->interactive = interactive;
    const SamplerParams unknown = sampler_defaults();
    configure_sampler(app, &unknown);
    int code = configure_biases(app, cli);
    if (code == 0)
        code = configure_mode(app, cli);
    if (code == 0)
        code = configure_system(app, cli);
    for (int i = 0; code == 0 && i < cli_list_count(cli, "stop"); i++) {
        const char *const text = cli_list_at(cli, "stop", i);
        if (*text == 0)
            return cli_usage(cli, "--stop: an empty text");
        const Status st = chat_app_add_stop(app, text, &err);
        code = st == ST_OK ? 0 : cli_fail(cli, st, &err);
    }
    if (code != 0)
        return code;
    const Status st = sampler_check(&app->sampler, &err);
    return st == ST_OK ? 0 : cli_usage(cli, "%s", err.msg);
}

/* ---- the model --------------------------------------------------------------------------------- */

typedef struct {
    Progress progress;
    int64_t start_ns;
} LoadView;

static void on_load(void *arg, size_t done, size_t total)
{
    LoadView *const v = arg;
    if (clock_ns() - v->start_ns > LOAD_QUIET_NS)
        progress_update(&v->progress, "loading", (int64_t)done, (int64_t)total);
}

static Status open_model(ChatApp *app, const char *path, Error *err)
{
    const Cli *const cli = app->cli;
    Status st = ST_OK;
    LoadView view = {.start_ns = clock_ns()};
    const bool shown = term_is_tty(STDERR_FILENO) && !app->quiet;
    progress_init(&view.progress, shown ? PROGRESS_BAR : PROGRESS_NONE, app->label, NULL);
    ModelParams params = {.threads = (int)cli_int(cli, "threads", 0), .progress = on_load, .progress_arg = &view};
    const SessionParams session = {.context = cli_int(cli, "ctx-size", 0)};
    TRY(mode_parse(&params.mode, cli_string(cli, "mode", "auto"), err));
    TRY(model_open(&app->model, path, &params, err));
    TRY(session_create(&app->session, app->model, &session, err));
    TRY(generation_config_read(&app->recommended, path, model_kv(app->model), session_vocab(app->session), err));
    configure_sampler(app, &app->recommended.sampler);
    st = chat_format_open(&app->format, model_kv(app->model), path, model_tokenizer(app->model), err);
    if (st == ST_NOTFOUND)
        st = ST_OK;
out:
    progress_finish(&view.progress);
    return st;
}

int chat_app_open(ChatApp *app, const char *model)
{
    Error err = {0};
    char *path = NULL;
    const int code = model ? cli_model_path(app->cli, model, true, &path) : cli_some_model(app->cli, &app->name, &path);
    Status st = ST_OK;
    if (code != 0) {
        mem_free(path);
        return code;
    }
    if (model && !(app->name = mem_strdup(model)))
        st = error_set(&err, ST_NOMEM, "no memory");
    const char *const slash = app->name ? strrchr(app->name, '/') : NULL;
    app->label = slash && slash[1] ? slash + 1 : app->name;
    if (st == ST_OK)
        st = open_model(app, path, &err);
    mem_free(path);
    if (st != ST_OK)
        return cli_fail(app->cli, st, &err);
    if ((cli_given(app->cli, "think") || cli_given(app->cli, "effort")) &&
        !(app->format && chat_format_has_modes(app->format)))
        return cli_usage(app->cli, "%s cannot be told whether or how much to think: --think and --effort are for "
                         "DeepSeek-V4", app->label);
    return 0;
}

void chat_app_close(ChatApp *app)
{
    chat_app_clear_stops(app);
    conversation_free(&app->conversation);
    mem_free(app->bias);
    mem_free(app->name);
    chat_format_close(app->format);
    session_destroy(app->session);
    model_close(app->model);
}

/* ---- the prompt of a single answer -------------------------------------------------------------- */

/* PROMPT, then what comes from standard input, its last line break dropped. */
static int read_prompt(const Cli *cli, const char *given, ByteBuf *out)
{
    Error err = {0};
    uint8_t *input = NULL;
    size_t len = 0;
    Status st = ST_OK;
    if (given)
        st = bytebuf_append(out, given, strlen(given));
    if (st == ST_OK && !(given && term_is_tty(STDIN_FILENO)))
        st = file_read_all(&input, &len, "-", PROMPT_BYTES_MAX, &err);
    if (st == ST_OK && len > 0 && input[len - 1] == '\n')
        len -= len > 1 && input[len - 2] == '\r' ? 2 : 1;
    const void *const zero = st == ST_OK && len > 0 ? memchr(input, 0, len) : NULL;
    if (zero)
        st = error_set(&err, ST_INVALID, "the prompt is not text: byte %zu of standard input is zero",
                       (size_t)((const uint8_t *)zero - input));
    if (st == ST_OK && given && len > 0)
        st = bytebuf_append(out, "\n", 1);
    if (st == ST_OK)
        st = bytebuf_append(out, input, len);
    mem_free(input);
    if (st != ST_OK)
        return cli_fail(cli, st, &err);
    return out->count > 0 ? 0 : cli_usage(cli, "there is no prompt: give one, or text on standard input");
}

static int run(Cli *cli, const char *model, const char *prompt)
{
    ChatApp app = {0};
    ByteBuf text = {0};
    const bool interactive = !prompt && !cli_json(cli) && term_is_tty(STDIN_FILENO) && term_is_tty(STDOUT_FILENO);
    int code = chat_app_configure(&app, cli, interactive);
    if (code == 0 && !interactive)
        code = read_prompt(cli, prompt, &text);
    if (code == 0)
        code = chat_app_open(&app, model);
    if (code == 0)
        code = interactive ? chat_repl(&app) : chat_once(&app, (const char *)text.data, text.count);
    bytebuf_free(&text);
    chat_app_close(&app);
    return code;
}

static int run_chat(Cli *cli)
{
    return run(cli, cli_string(cli, "model", NULL), cli_positional(cli, 0));
}

static int run_run(Cli *cli)
{
    return run(cli, cli_positional(cli, 0), cli_positional(cli, 1));
}

/* ---- the tables -------------------------------------------------------------------------------- */

#define CHAT_OPTIONS                                                                                 \
    CLI_OPTIONS_SYSTEM,                                                                              \
    CLI_OPTION_MAX_TOKENS,                                                                           \
    CLI_OPTION_CONTEXT,                                                                              \
    CLI_OPTIONS_SAMPLING,                                                                            \
    {.name = "logit-bias", .kind = OPT_LIST, .value = "ID=X", .rare = true,                          \
     .help = "add X to the logit of token ID (-inf forbids it); may be given several times"},        \
    CLI_OPTIONS_COMPUTE,                                                                             \
    {.name = "think", .kind = OPT_FLAG, .on = true,                                                  \
     .help = "--no-think: answer without thinking first (models that can be told to)"},              \
    {.name = "effort", .kind = OPT_STRING, .value = "HOW", .choices = "low high max", .rare = true,  \
     .help = "how much to think, where the model knows efforts (default low)"},                      \
    {.name = "show-thinking", .kind = OPT_FLAG,                                                      \
     .help = "show thinking: once, on stderr; in a session it is shown unless --no-show-thinking"},  \
    {.name = "stream", .kind = OPT_STRING, .value = "HOW", .choices = "on off", .rare = true,        \
     .help = "on shows the answer as it comes, off at the end"},                                     \
    CLI_OPTION_JSON,                                                                                 \
    {.name = "verbose", .letter = 'v', .kind = OPT_FLAG, .help = "tokens and speeds behind each answer, on stderr"}, \
    CLI_OPTION_QUIET

#define CHAT_ABOUT                                                                                   \
    "On a terminal and without PROMPT this is a session; /help in it lists its commands. With PROMPT, or text " \
    "on standard input (appended to PROMPT, its last line break dropped), it is one answer, and only the answer " \
    "goes to standard output.\n\n"                                                                   \
    "One answer always takes the likeliest token unless --temp, --top-k, --top-p, --min-p or --seed is given; a " \
    "session draws as the model's generation_config.json recommends, for what it leaves open with temperature 0.8, " \
    "top-k 40, top-p 0.95 and min-p 0.05. A seed gives the same answer again. "                      \
    "A context that is full is an error with both numbers, never a silent cut.\n\n"                  \
    "With --json one object: model, text, thinking (or null), tokens, thinking_tokens, finish_reason (stop, length, " \
    "context, cancelled), prompt_tokens, cached_tokens, prefill_seconds, decode_seconds, prefill_tokens_per_s, " \
    "decode_tokens_per_s, and the seed if there was one."

static const CliOption chat_options[] = {CLI_OPTION_MODEL, CHAT_OPTIONS, {0}};
static const CliOption run_options[] = {CHAT_OPTIONS, {0}};

const CliCommand cmd_chat = {
    .name = "chat",
    .args = "[PROMPT]",
    .help = "talk to a model: the default one, or --model",
    .about = CHAT_ABOUT "\n\nWithout --model the default model of the catalogue is used, and fetched the first time. When that cannot "
             "be, the model that comes with Plumb answers instead, and a line on stderr says so.",
    .example = "plumb chat\necho \"What is the capital of Japan?\" | plumb chat",
    .options = chat_options,
    .positionals_min = 0,
    .positionals_max = 1,
    .common = true,
    .run = run_chat,
};

const CliCommand cmd_run = {
    .name = "run",
    .args = "MODEL [PROMPT]",
    .help = "talk to MODEL, or answer PROMPT once",
    .about = CHAT_ABOUT "\n\nMODEL is a name of the store or the catalogue, or the path of a GGUF file or of a directory "
             "with config.json and safetensors. A model without a chat template completes the text.",
    .example = "plumb run smollm2-135m-instruct \"Name three colours.\"\nplumb run ./model.gguf --json < question.txt",
    .options = run_options,
    .positionals_min = 1,
    .positionals_max = 2,
    .common = true,
    .run = run_run,
};
