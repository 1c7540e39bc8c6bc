/* What `plumb chat` and `plumb run` are made of: the opened model with its settings, one answer of it, and
 * the two ways of talking to it. Internal to cmd_chat.c and the chat_*.c files. */
#ifndef PLUMB_CLI_CHAT_APP_H
#define PLUMB_CLI_CHAT_APP_H

#include "base/buf.h"
#include "chat/chat.h"
#include "cli/chat_view.h"
#include "cli/cli.h"
#include "cli/conversation.h"
#include "engine/engine.h"
#include "engine/generate.h"
#include "engine/generation_config.h"

typedef struct {
    const Cli *cli; /* borrowed */
    /* Settings; /set changes them. */
    SamplerParams sampler;
    LogitBias *bias; /* owned; sampler.bias */
    char **stops;    /* owned, with its texts */
    int64_t stop_count;
    int64_t max_tokens; /* 0: until the context is full */
    unsigned mode; /* CHAT_THINK and an effort, for formats that have modes; the others ignore it */
    bool interactive; /* a session: it draws unless the model or an option says otherwise */
    bool verbose, quiet;
    ViewStyle view;
    /* The model. */
    char *name; /* owned: as the user called it */
    const char *label; /* its last component, for the screen */
    Model *model;
    Session *session;
    ChatFormat *format; /* NULL: no chat template, texts are completed */
    GenerationConfig recommended;
    Conversation conversation;
} ChatApp;

/* From the options of the command; prints what is wrong and returns the exit code, 0: fine. *app is zeroed
 * before, and must be closed after either. `interactive` chooses the default sampling. */
int chat_app_configure(ChatApp *app, const Cli *cli, bool interactive);
/* Find, open and prepare the model (NULL: the default one, fetched if need be). As above. */
int chat_app_open(ChatApp *app, const char *model);
void chat_app_close(ChatApp *app);

MUST_USE Status chat_app_add_stop(ChatApp *app, const char *text, Error *err);
void chat_app_clear_stops(ChatApp *app);

/* ---- one answer: chat_turn.c ---- */

typedef struct {
    ByteBuf text, thinking; /* owned; of the answer so far */
    GenerateStats stats;    /* finish: FINISH_STOP for a stop text, too */
    int64_t thinking_tokens;
    double thinking_seconds;
    uint64_t seed, sequence;
    int signal; /* that ended it, 0: none */
} ChatTurn;

void chat_turn_free(ChatTurn *t); /* zeroed is fine */

/* Answer app->conversation, or (without a chat template) continue its last text, showing it by `view`. What
 * was said until a failure is in *t, which the caller frees. Needs interrupts held. */
MUST_USE Status chat_turn_run(ChatApp *app, ChatView *view, ChatTurn *t, Error *err);

/* ST_FULL with both numbers, for an answer that ended because the context is full. */
Status chat_turn_full(const ChatApp *app, Error *err);

double chat_turn_prefill_speed(const ChatTurn *t); /* tokens a second, 0: nothing was read */
double chat_turn_decode_speed(const ChatTurn *t);  /* 0: fewer than two */

/* "37 tokens read (20 of them cached, 412 tok/s), 120 written (108 tok/s), stop"; for --verbose and /stats. */
void chat_turn_describe(const ChatTurn *t, char *buf, size_t size);

/* ---- the two ways ---- */

/* One answer to `prompt` on standard output; returns the exit code. */
int chat_once(ChatApp *app, const char *prompt, size_t len);
/* The terminal session; returns the exit code. */
int chat_repl(ChatApp *app);

/* ---- a command of the session ("/help …"): chat_command.c ---- */

typedef enum { COMMAND_DONE, COMMAND_ANSWER /* generate again */, COMMAND_LEAVE } CommandResult;

typedef struct {
    ChatApp *app;
    bool history; /* lines are remembered */
    ChatTurn last;
    bool has_last;
} ChatSession;

CommandResult chat_command(ChatSession *s, const char *line);

#endif
