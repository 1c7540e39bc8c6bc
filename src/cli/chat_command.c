/* The commands of a session, from one table: what help shows is what there is. */
#include "cli/chat_app.h"

#include "base/mem.h"
#include "cli/state_dir.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 64

typedef struct {
    const char *name;
    const char *also; /* other names, separated by spaces */
    const char *args;
    const char *help;
    CommandResult (*run)(ChatSession *s, const char *args);
} Command;

static const Command *all_commands(void); /* ends with a row without name */

static void complain(const ChatSession *s, const char *what, const char *hint)
{
    cli_warn(s->app->cli, "%s%s%s", what, hint ? "; " : "", hint ? hint : "");
}

static CommandResult failed(const ChatSession *s, const Error *err)
{
    complain(s, err->msg, NULL);
    return COMMAND_DONE;
}

/* The first word of *text into buf (cut if it must be); *text moves behind it and the space there. */
static void take_word(const char **text, char *buf, size_t size)
{
    const size_t n = strcspn(*text, " \t");
    snprintf(buf, size, "%.*s", (int)(n < size ? n : size - 1), *text);
    *text += n;
    *text += strspn(*text, " \t");
}

static bool has_name(const char *names, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = names; p && *p;) {
        const size_t len = strcspn(p, " ");
        if (len == n && memcmp(p, word, n) == 0)
            return true;
        p += len + strspn(p + len, " ");
    }
    return false;
}

/* ---- the conversation --------------------------------------------------------------------------- */

static size_t first_turn(const ChatSession *s)
{
    return conversation_system(&s->app->conversation) ? 1 : 0;
}

static CommandResult run_clear(ChatSession *s, const char *args)
{
    (void)args;
    while (s->app->conversation.count > first_turn(s))
        conversation_drop_last(&s->app->conversation);
    puts("The conversation is forgotten.");
    return COMMAND_DONE;
}

static CommandResult run_retry(ChatSession *s, const char *args)
{
    const Conversation *const c = &s->app->conversation;
    (void)args;
    if (c->count <= first_turn(s)) {
        complain(s, "there is nothing to answer again", NULL);
        return COMMAND_DONE;
    }
    s->app->sampler.sequence++; /* other draws at the same positions */
    return COMMAND_ANSWER;
}

static CommandResult run_undo(ChatSession *s, const char *args)
{
    Conversation *const c = &s->app->conversation;
    (void)args;
    if (c->count <= first_turn(s)) {
        complain(s, "there is no turn to take back", NULL);
        return COMMAND_DONE;
    }
    if (c->items[c->count - 1].role == CHAT_ASSISTANT)
        conversation_drop_last(c);
    if (c->count > first_turn(s) && c->items[c->count - 1].role == CHAT_USER)
        conversation_drop_last(c);
    puts("The last turn is taken back.");
    return COMMAND_DONE;
}

/* Letters, digits, . _ - inside: a name, never a path. */
static bool name_is_safe(const char *name)
{
    const size_t n = strlen(name);
    if (n == 0 || n > NAME_MAX_BYTES || name[0] == '.' || name[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
            return false;
    return true;
}

/* The file of the session `name`; false: said why not. */
static bool session_path(const ChatSession *s, const char *name, char **path, bool create)
{
    char file[NAME_MAX_BYTES + 8];
    Error err = {0};
    if (!name_is_safe(name)) {
        complain(s, "a session's name is made of letters, digits, '.', '_' and '-', at most 64 of them, and begins "
                    "with a letter, a digit or '_'", NULL);
        return false;
    }
    snprintf(file, sizeof file, "%s.json", name);
    const Status st = state_path(path, "sessions", file, create, &err);
    if (st != ST_OK)
        failed(s, &err);
    return st == ST_OK;
}

static CommandResult run_save(ChatSession *s, const char *args)
{
    char *path = NULL;
    Error err = {0};
    if (!session_path(s, args, &path, true))
        return COMMAND_DONE;
    const Status st = conversation_save(&s->app->conversation, path, s->app->name, &err);
    if (st == ST_OK)
        printf("Saved as %s (%s).\n", args, path);
    else
        failed(s, &err);
    mem_free(path);
    return COMMAND_DONE;
}

static CommandResult run_load(ChatSession *s, const char *args)
{
    char *path = NULL;
    Error err = {0};
    if (!session_path(s, args, &path, false))
        return COMMAND_DONE;
    const Status st = conversation_load(&s->app->conversation, path, &err);
    if (st == ST_OK)
        printf("Loaded %s: %zu messages.\n", args, s->app->conversation.count);
    else
        failed(s, &err);
    mem_free(path);
    return COMMAND_DONE;
}

/* ---- /set --------------------------------------------------------------------------------------- */

typedef enum { PARAM_FLOAT, PARAM_INT } ParamKind;

typedef struct {
    const char *name, *also;
    ParamKind kind;
    size_t offset; /* in SamplerParams; SIZE_MAX: max_tokens of the app */
} Param;

static const Param params[] = {
    {"temperature", "temp", PARAM_FLOAT, offsetof(SamplerParams, temperature)},
    {"top_k", "top-k", PARAM_INT, offsetof(SamplerParams, top_k)},
    {"top_p", "top-p", PARAM_FLOAT, offsetof(SamplerParams, top_p)},
    {"min_p", "min-p", PARAM_FLOAT, offsetof(SamplerParams, min_p)},
    {"repeat_penalty", "repeat-penalty repetition_penalty", PARAM_FLOAT, offsetof(SamplerParams, repetition_penalty)},
    {"presence_penalty", "presence-penalty", PARAM_FLOAT, offsetof(SamplerParams, presence_penalty)},
    {"frequency_penalty", "frequency-penalty", PARAM_FLOAT, offsetof(SamplerParams, frequency_penalty)},
    {"repeat_last_n", "repeat-last-n penalty_last", PARAM_INT, offsetof(SamplerParams, penalty_last)},
    {"seed", "", PARAM_INT, offsetof(SamplerParams, seed)},
    {"max_tokens", "max-tokens num_predict", PARAM_INT, SIZE_MAX},
};

static void *param_at(ChatApp *app, const Param *p)
{
    return p->offset == SIZE_MAX ? (void *)&app->max_tokens : (void *)((char *)&app->sampler + p->offset);
}

static void print_param(ChatApp *app, const Param *p)
{
    const void *const at = param_at(app, p);
    if (p->kind == PARAM_FLOAT)
        printf("  %-18s %g\n", p->name, *(const double *)at);
    else
        printf("  %-18s %" PRId64 "\n", p->name, *(const int64_t *)at);
}

static bool read_param(const Param *p, const char *text, void *at)
{
    char *end;
    if (*text == 0)
        return false;
    if (p->kind == PARAM_FLOAT)
        *(double *)at = strtod(text, &end);
    else
        *(int64_t *)at = strtoll(text, &end, 10);
    return *end == 0;
}

/* The value goes into a copy first, so that a wrong one changes nothing. */
static CommandResult set_param(ChatSession *s, const Param *p, const char *value)
{
    ChatApp copy = *s->app;
    Error err = {0};
    if (!read_param(p, value, param_at(&copy, p)) || copy.max_tokens < 0 || (int64_t)copy.sampler.seed < 0) {
        complain(s, "that is no value for this parameter", "/show parameters lists them");
        return COMMAND_DONE;
    }
    if (sampler_check(&copy.sampler, &err) != ST_OK)
        return failed(s, &err);
    s->app->sampler = copy.sampler;
    s->app->max_tokens = copy.max_tokens;
    print_param(s->app, p);
    return COMMAND_DONE;
}

static CommandResult set_stop(ChatSession *s, const char *text)
{
    Error err = {0};
    if (*text == 0) {
        chat_app_clear_stops(s->app);
        puts("  No stop texts.");
        return COMMAND_DONE;
    }
    if (chat_app_add_stop(s->app, text, &err) != ST_OK)
        return failed(s, &err);
    printf("  %-18s %s\n", "stop", text);
    return COMMAND_DONE;
}

static CommandResult set_parameter(ChatSession *s, const char *args)
{
    char name[40];
    take_word(&args, name, sizeof name);
    if (strcmp(name, "stop") == 0)
        return set_stop(s, args);
    for (size_t i = 0; i < sizeof params / sizeof *params; i++)
        if (strcmp(params[i].name, name) == 0 || has_name(params[i].also, name))
            return set_param(s, &params[i], args);
    complain(s, *name ? "there is no such parameter" : "/set parameter NAME VALUE", "/show parameters lists them");
    return COMMAND_DONE;
}

static CommandResult set_system(ChatSession *s, const char *text)
{
    Error err = {0};
    if (conversation_set_system(&s->app->conversation, *text ? text : NULL, &err) != ST_OK)
        return failed(s, &err);
    puts(*text ? "The system text is set." : "The model's own system text is back.");
    return COMMAND_DONE;
}

static void set_think(ChatSession *s, bool on)
{
    if (!s->app->format || !chat_format_has_modes(s->app->format)) {
        complain(s, "this model cannot be told whether to think", NULL);
        return;
    }
    s->app->mode = on ? s->app->mode | CHAT_THINK : s->app->mode & ~(unsigned)CHAT_THINK;
    puts(on ? "Answers are thought about first." : "Answers come without thinking.");
}

static CommandResult run_set(ChatSession *s, const char *args)
{
    char what[40];
    take_word(&args, what, sizeof what);
    if (strcmp(what, "parameter") == 0)
        return set_parameter(s, args);
    if (strcmp(what, "system") == 0)
        return set_system(s, args);
    if (strcmp(what, "verbose") == 0 || strcmp(what, "quiet") == 0) {
        s->app->verbose = *what == 'v';
        puts(s->app->verbose ? "Tokens and speeds are shown behind each answer." : "Answers are shown alone.");
    } else if (strcmp(what, "think") == 0 || strcmp(what, "nothink") == 0) {
        set_think(s, *what == 't');
    } else if (strcmp(what, "history") == 0 || strcmp(what, "nohistory") == 0) {
        s->history = *what == 'h';
        puts(s->history ? "Lines are remembered." : "Lines are not remembered any more.");
    } else {
        complain(s, "/set parameter NAME VALUE, system TEXT, think, nothink, verbose, quiet, history or nohistory", NULL);
    }
    return COMMAND_DONE;
}

/* ---- /show -------------------------------------------------------------------------------------- */

static void show_info(const ChatApp *app)
{
    ModelInfo m;
    model_info(app->model, &m);
    printf("  model              %s\n  name in its file   %s\n  family             %s\n", app->name, m.name, m.family);
    printf("  parameters         %" PRId64 "\n  layers             %" PRId64 "\n  width              %" PRId64 "\n",
           m.parameters, m.layers, m.hidden);
    printf("  vocabulary         %" PRId64 "\n", m.vocab);
    printf("  context            %" PRId64 " of at most %" PRId64 ", %" PRId64 " filled\n", session_context(app->session),
           m.context_max, session_count(app->session));
    printf("  computed in        %s, %s, %d threads\n", mode_name(m.mode), m.level, m.threads);
    printf("  weights            %.1f MB\n", (double)m.weight_bytes / 1e6);
    printf("  chat format        %s\n", app->format ? chat_format_name(app->format) : "none");
}

static void show_parameters(ChatApp *app)
{
    for (size_t i = 0; i < sizeof params / sizeof *params; i++)
        print_param(app, &params[i]);
    for (int64_t i = 0; i < app->stop_count; i++)
        printf("  %-18s %s\n", "stop", app->stops[i]);
}

static void show_system(const ChatApp *app)
{
    const char *text = conversation_system(&app->conversation);
    if (!text && app->format)
        text = chat_format_default_system(app->format);
    puts(text ? text : "There is no system text.");
}

static void show_template(const ChatApp *app)
{
    const char *const text = app->format ? chat_format_template(app->format) : NULL;
    if (text)
        puts(text);
    else if (app->format)
        printf("The format %s is built in: there is no chat template.\n", chat_format_name(app->format));
    else
        puts("There is no chat template.");
}

static void show_stats(const ChatSession *s)
{
    char text[300];
    if (!s->has_last) {
        puts("  There was no answer yet.");
        return;
    }
    chat_turn_describe(&s->last, text, sizeof text);
    printf("  last answer        %s\n", text);
    if (s->last.thinking_tokens > 0)
        printf("  thinking           %" PRId64 " tokens, %.1f s\n", s->last.thinking_tokens, s->last.thinking_seconds);
    printf("  read in            %.3f s\n  written in         %.3f s\n", s->last.stats.prompt_seconds,
           s->last.stats.answer_seconds);
    printf("  context            %" PRId64 " of %" PRId64 " tokens\n", session_count(s->app->session),
           session_context(s->app->session));
    if (s->app->sampler.temperature > 0)
        printf("  seed               %" PRIu64 " (answer %" PRIu64 ")\n", s->last.seed, s->last.sequence + 1);
}

static CommandResult run_stats(ChatSession *s, const char *args)
{
    (void)args;
    show_stats(s);
    return COMMAND_DONE;
}

static CommandResult run_show(ChatSession *s, const char *args)
{
    if (strcmp(args, "info") == 0)
        show_info(s->app);
    else if (strcmp(args, "parameters") == 0)
        show_parameters(s->app);
    else if (strcmp(args, "system") == 0)
        show_system(s->app);
    else if (strcmp(args, "template") == 0)
        show_template(s->app);
    else if (strcmp(args, "stats") == 0)
        show_stats(s);
    else
        complain(s, "/show info, parameters, system, template or stats", NULL);
    return COMMAND_DONE;
}

/* ---- help, and finding a command ----------------------------------------------------------------- */

static CommandResult run_bye(ChatSession *s, const char *args)
{
    (void)s;
    (void)args;
    return COMMAND_LEAVE;
}

static const Command *find_command(const char *word)
{
    for (const Command *c = all_commands(); c->name; c++)
        if (strcmp(c->name, word) == 0 || has_name(c->also, word))
            return c;
    return NULL;
}

static void print_help(const Command *c)
{
    char usage[80];
    snprintf(usage, sizeof usage, "/%s %s", c->name, c->args);
    printf("  %-28s %s", usage, c->help);
    for (const char *p = c->also; *p;) {
        const size_t n = strcspn(p, " ");
        printf("%s/%.*s", p == c->also ? " (also " : ", ", (int)n, p);
        p += n + strspn(p + n, " ");
        if (*p == 0)
            putchar(')');
    }
    putchar('\n');
}

static CommandResult run_help(ChatSession *s, const char *args)
{
    if (*args) {
        const Command *const c = find_command(args + (*args == '/'));
        if (c)
            print_help(c);
        else
            complain(s, "there is no such command", "/help lists them");
        return COMMAND_DONE;
    }
    for (const Command *c = all_commands(); c->name; c++)
        print_help(c);
    puts("\n  \"\"\" begins and ends a text of several lines; a \\ at the end of a line continues it.\n"
         "  A space before a / makes it text. Ctrl-C stops an answer and keeps what was said.");
    return COMMAND_DONE;
}

static const Command commands[] = {
    {"help", "?", "[COMMAND]", "this list", run_help},
    {"clear", "new", "", "forget the conversation", run_clear},
    {"retry", "regen", "", "answer the last text again", run_retry},
    {"undo", "", "", "take back the last turn", run_undo},
    {"save", "", "NAME", "save the conversation", run_save},
    {"load", "", "NAME", "continue a saved conversation", run_load},
    {"set", "", "parameter NAME VALUE", "change how answers are drawn and where they end", run_set},
    {"set", "", "system [TEXT]", "change the system text; without TEXT the model's own", run_set},
    {"set", "", "think or nothink", "think before answering, or not (models that can be told to)", run_set},
    {"set", "", "verbose or quiet", "show tokens and speeds behind each answer, or not", run_set},
    {"set", "", "history or nohistory", "remember lines, or not", run_set},
    {"show", "", "WHAT", "info, parameters, system, template or stats", run_show},
    {"stats", "", "", "tokens and speeds of the last answer, and its seed", run_stats},
    {"bye", "exit quit", "", "leave; so does Ctrl-D", run_bye},
    {0},
};

static const Command *all_commands(void)
{
    return commands;
}

/* Letters to insert, drop or change; words above 31 letters are far from everything. */
static int distance(const char *a, const char *b)
{
    int row[32];
    const size_t n = strlen(a), m = strlen(b);
    if (n > 31 || m > 31)
        return 99;
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            const int change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            const int step = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = change < step ? change : step;
        }
    }
    return row[m];
}

static void suggest(const ChatSession *s, const char *word)
{
    char text[160];
    const char *best = NULL;
    int best_distance = 3;
    for (const Command *c = all_commands(); c->name; c++) {
        const int d = distance(word, c->name);
        if (d < best_distance) {
            best_distance = d;
            best = c->name;
        }
    }
    if (best)
        snprintf(text, sizeof text, "there is no command /%.40s; did you mean /%s?", word, best);
    else
        snprintf(text, sizeof text, "there is no command /%.40s; /help lists them", word);
    complain(s, text, NULL);
}

CommandResult chat_command(ChatSession *s, const char *line)
{
    char word[64];
    const char *args = line + 1;
    take_word(&args, word, sizeof word);
    const Command *const c = find_command(word);
    if (!c) {
        suggest(s, word);
        return COMMAND_DONE;
    }
    char *const copy = mem_strdup(args); /* without white space at the end */
    if (!copy) {
        complain(s, "no memory", NULL);
        return COMMAND_DONE;
    }
    for (size_t n = strlen(copy); n > 0 && isspace((unsigned char)copy[n - 1]); n--)
        copy[n - 1] = 0;
    const CommandResult result = c->run(s, copy);
    mem_free(copy);
    fflush(stdout);
    return result;
}
