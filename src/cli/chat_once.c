/* One answer, for pipes and scripts: only the visible answer on standard output. */
#include "cli/chat_app.h"

#include "cli/interrupt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void write_text(JsonWriter *w, const char *key, const ByteBuf *b)
{
    json_write_key(w, key);
    json_write_string_n(w, b->data ? (const char *)b->data : "", b->count);
}

static void write_count(JsonWriter *w, const char *key, int64_t v)
{
    json_write_key(w, key);
    json_write_int(w, v);
}

static void write_number(JsonWriter *w, const char *key, double v)
{
    json_write_key(w, key);
    json_write_double(w, v);
}

static int print_result(const ChatApp *app, const ChatTurn *t)
{
    JsonWriter w;
    json_write_init(&w, 0, CONVERSATION_BYTES_MAX);
    json_write_object_begin(&w);
    json_write_key(&w, "model");
    json_write_string(&w, app->name);
    write_text(&w, "text", &t->text);
    if (t->thinking.count > 0) {
        write_text(&w, "thinking", &t->thinking);
    } else {
        json_write_key(&w, "thinking");
        json_write_null(&w);
    }
    write_count(&w, "tokens", t->stats.answer_tokens);
    write_count(&w, "thinking_tokens", t->thinking_tokens);
    json_write_key(&w, "finish_reason");
    json_write_string(&w, finish_reason_name(t->stats.finish));
    write_count(&w, "prompt_tokens", t->stats.prompt_tokens);
    write_count(&w, "cached_tokens", t->stats.cached_tokens);
    write_number(&w, "prefill_seconds", t->stats.prompt_seconds);
    write_number(&w, "decode_seconds", t->stats.answer_seconds);
    write_number(&w, "prefill_tokens_per_s", chat_turn_prefill_speed(t));
    write_number(&w, "decode_tokens_per_s", chat_turn_decode_speed(t));
    if (app->sampler.temperature > 0)
        write_count(&w, "seed", (int64_t)t->seed);
    json_write_object_end(&w);
    const int code = cli_print_json(app->cli, &w);
    json_write_deinit(&w);
    return code;
}

/* A reader that has seen enough is no failure; a full disk is. */
static int finish_unwritten(const ChatApp *app, const ChatView *view)
{
    Error err = {0};
    clearerr(stdout);
    if (view->output_errno == EPIPE)
        return 0;
    errno = view->output_errno;
    return cli_fail(app->cli, error_errno(&err, "cannot write the answer to standard output"), &err);
}

/* How the answer ended, as an exit code; says what there is to say. */
static int finish(const ChatApp *app, ChatView *view, const ChatTurn *t)
{
    Error err = {0};
    char stats[300];
    int code = 0;
    if (cli_json(app->cli)) {
        code = print_result(app, t);
    } else {
        if (view->style.silent) {
            view->style.silent = false;
            view_text(view, (const char *)t->text.data, t->text.count);
        }
        view_end(view);
    }
    if (view->output_errno)
        return finish_unwritten(app, view);
    if (app->verbose) {
        chat_turn_describe(t, stats, sizeof stats);
        fprintf(stderr, "%s\n", stats);
        if (app->sampler.temperature > 0)
            fprintf(stderr, "seed %" PRIu64 "\n", t->seed);
    }
    if (t->signal)
        return interrupt_exit_code(t->signal);
    if (t->stats.finish != FINISH_CONTEXT)
        return code;
    const Status st = chat_turn_full(app, &err);
    cli_warn(app->cli, "%s; --ctx-size makes room", err.msg);
    return status_exit_code(st);
}

int chat_once(ChatApp *app, const char *prompt, size_t len)
{
    Error err = {0};
    ChatView view;
    ChatTurn turn = {0};
    Interrupts interrupts;
    int code;
    if (!app->format && !app->quiet)
        cli_warn(app->cli, "%s has no chat template: its text is completed", app->label);
    Status st = conversation_add(&app->conversation, CHAT_USER, prompt, len, NULL, 0, &err);
    if (st != ST_OK)
        return cli_fail(app->cli, st, &err);
    view_init(&view, app->view);
    interrupts_hold(&interrupts);
    st = chat_turn_run(app, &view, &turn, &err);
    if (st == ST_OK)
        code = finish(app, &view, &turn);
    else
        code = st == ST_FULL ? cli_fail_hint(app->cli, st, &err, "--ctx-size makes room") : cli_fail(app->cli, st, &err);
    interrupts_release(&interrupts);
    view_deinit(&view);
    chat_turn_free(&turn);
    return code;
}
