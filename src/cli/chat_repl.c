/* The terminal session: lines in, answers out, until Ctrl-D, /bye, or Ctrl-C twice. */
#include "cli/chat_app.h"

#include "base/mem.h"
#include "cli/chat_line.h"
#include "cli/interrupt.h"
#include "cli/state_dir.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define DIM "\033[2m"
#define PLAIN "\033[0m"

static void note(const ChatApp *app, const char *text)
{
    printf("%s%s%s\n", app->view.colour ? DIM : "", text, app->view.colour ? PLAIN : "");
}

static void print_error(const ChatApp *app, const Error *err, const char *hint)
{
    cli_warn(app->cli, "%s%s%s", err->msg, hint ? "; " : "", hint ? hint : "");
}

/* The answer becomes a message, also when it was stopped; one that said nothing at all does not. */
static Status keep_answer(ChatApp *app, const ChatTurn *t, Error *err)
{
    if (t->text.count == 0 && t->thinking.count == 0)
        return ST_OK;
    const char *const thinking = t->thinking.count ? (const char *)t->thinking.data : NULL;
    return conversation_add(&app->conversation, CHAT_ASSISTANT, t->text.data ? (const char *)t->text.data : "",
                            t->text.count, thinking, t->thinking.count, err);
}

static void finish_answer(ChatSession *s)
{
    ChatApp *const app = s->app;
    char text[300];
    Error err = {0};
    if (s->last.signal)
        note(app, "(stopped)");
    if (s->last.stats.finish == FINISH_LENGTH)
        note(app, "(cut at the limit of tokens: /set parameter max_tokens)");
    if (s->last.stats.finish == FINISH_CONTEXT) {
        (void)chat_turn_full(app, &err);
        print_error(app, &err, "the answer ends here; /clear begins anew, /undo drops the last turn");
    }
    if (app->verbose) {
        chat_turn_describe(&s->last, text, sizeof text);
        note(app, text);
    }
    putchar('\n');
    fflush(stdout);
}

/* Whether there is an answer now; what there was to say has been said. */
static bool try_answer(ChatSession *s, int *signal_number, bool *closed)
{
    ChatApp *const app = s->app;
    Error err = {0};
    ChatView view;
    ChatTurn turn = {0};
    const size_t before = app->conversation.count;
    view_init(&view, app->view);
    Status st = chat_turn_run(app, &view, &turn, &err);
    if (st == ST_OK)
        view_end(&view);
    if (st == ST_OK)
        st = keep_answer(app, &turn, &err);
    view_deinit(&view);
    *signal_number = turn.signal;
    *closed = view.output_errno != 0;
    if (st == ST_OK) {
        chat_turn_free(&s->last);
        s->last = turn;
        s->has_last = true;
        finish_answer(s);
    } else {
        chat_turn_free(&turn);
        print_error(app, &err, st == ST_FULL ? "the conversation is as before; /clear begins anew" : NULL);
    }
    return app->conversation.count > before;
}

/* Answer the conversation; with `again` in place of the last answer. Without an answer the conversation is
 * what it was before: no question stands there unanswered. Returns an exit code when the session is over,
 * -1: it goes on. */
static int answer(ChatSession *s, bool again)
{
    Conversation *const c = &s->app->conversation;
    Interrupts interrupts;
    int signal_number = 0;
    bool closed = false;
    ChatMessage old = {0};
    const bool had_old = again && c->count > 0 && c->items[c->count - 1].role == CHAT_ASSISTANT;
    if (had_old)
        old = conversation_take_last(c);
    interrupts_hold(&interrupts);
    const bool answered = try_answer(s, &signal_number, &closed);
    interrupts_release(&interrupts);
    if (had_old && answered)
        message_free(&old);
    else if (had_old)
        conversation_put_back(c, old);
    else if (!answered)
        conversation_drop_last(c);
    if (signal_number && signal_number != SIGINT)
        return interrupt_exit_code(signal_number);
    return closed ? 0 : -1;
}

/* One message or command; as answer(). */
static int take(ChatSession *s, const ByteBuf *line)
{
    const char *const text = (const char *)line->data;
    if (text[0] == '/' && !memchr(text, '\n', line->count)) {
        switch (chat_command(s, text)) {
        case COMMAND_LEAVE:
            return 0;
        case COMMAND_ANSWER:
            return answer(s, true);
        case COMMAND_DONE:
            return -1;
        }
    }
    Error err = {0};
    if (!s->app->format) { /* every text is completed by itself */
        while (s->app->conversation.count > 0)
            conversation_drop_last(&s->app->conversation);
    }
    if (conversation_add(&s->app->conversation, CHAT_USER, text, line->count, NULL, 0, &err) != ST_OK) {
        print_error(s->app, &err, NULL);
        return -1;
    }
    return answer(s, false);
}

static int loop(ChatSession *s, LineReader *reader)
{
    ByteBuf line = {0};
    int code = -1;
    bool asked = false; /* Ctrl-C at an empty prompt */
    while (code < 0) {
        bool was_empty = false;
        line_reader_keep_history(reader, s->history);
        switch (line_reader_next(reader, &line, &was_empty)) {
        case LINE_END:
            putchar('\n');
            code = 0;
            break;
        case LINE_INTERRUPTED:
            putchar('\n');
            if (was_empty && asked)
                code = interrupt_exit_code(SIGINT);
            else if (was_empty)
                note(s->app, "Ctrl-C again, Ctrl-D or /bye leaves.");
            asked = was_empty;
            break;
        case LINE_EMPTY:
            asked = false;
            break;
        case LINE_TEXT:
            asked = false;
            code = take(s, &line);
            break;
        }
    }
    bytebuf_free(&line);
    return code;
}

static void greet(const ChatApp *app)
{
    char text[300];
    if (app->quiet)
        return;
    snprintf(text, sizeof text, "%.120s, context of %" PRId64 " tokens. /help lists commands, Ctrl-D leaves.", app->label,
             session_context(app->session));
    note(app, text);
    if (!app->format)
        cli_warn(app->cli, "%s has no chat template: each text is completed by itself", app->label);
}

int chat_repl(ChatApp *app)
{
    Error err = {0};
    char *path = NULL;
    LineReader *reader = NULL;
    ChatSession s = {.app = app, .history = true};
    sigset_t interrupt, before;
    if (state_path(&path, NULL, "history", true, &err) != ST_OK)
        cli_warn(app->cli, "%s; this session has no history", err.msg);
    const Status st = line_reader_create(&reader, path, &err);
    mem_free(path);
    if (st != ST_OK)
        return cli_fail(app->cli, st, &err);
    /* Ctrl-C means something else here, at any moment: it never ends the program by itself. */
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_BLOCK, &interrupt, &before);
    greet(app);
    const int code = loop(&s, reader);
    line_reader_destroy(reader);
    while (sigtimedwait(&interrupt, NULL, &(struct timespec){0}) > 0)
        ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    chat_turn_free(&s.last);
    return code;
}
