/* One answer: the conversation to ids, the loop, the events to the view. */
#include "cli/chat_app.h"

#include "base/clock.h"
#include "base/mem.h"
#include "chat/answer.h"
#include "cli/interrupt.h"
#include "cli/term.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_AFTER_NS 500000000LL
#define PROGRESS_EVERY_NS 100000000LL

typedef struct {
    ChatApp *app;
    ChatView *view;
    ChatTurn *turn;
    ChatAnswer *answer;
    Interrupts interrupts; /* only asked; the caller holds them */
    int64_t thinking_ns;   /* when it began, 0: it has not */
    bool thinking_over;
    int64_t prompt_ns, drawn_ns;
    int64_t prompt_cached;
    Status failed;
    Error *err;
} Teller;

void chat_turn_free(ChatTurn *t)
{
    bytebuf_free(&t->text);
    bytebuf_free(&t->thinking);
    *t = (ChatTurn){0};
}

/* ---- the events -------------------------------------------------------------------------------- */

static void end_thinking(Teller *t)
{
    if (t->thinking_ns == 0 || t->thinking_over)
        return;
    t->thinking_over = true;
    t->turn->thinking_seconds = (double)(clock_ns() - t->thinking_ns) * 1e-9;
    t->turn->thinking_tokens = chat_answer_thinking_tokens(t->answer);
    view_thought(t->view, t->turn->thinking_seconds, t->turn->thinking_tokens);
}

static void on_event(void *arg, ChatEventKind kind, const char *bytes, size_t len)
{
    Teller *const t = arg;
    ByteBuf *const all = kind == CHAT_EVENT_THINKING ? &t->turn->thinking : &t->turn->text;
    const Status st = bytebuf_append(all, bytes, len);
    if (st != ST_OK)
        t->failed = error_set(t->err, st, "no memory for the answer");
    if (kind == CHAT_EVENT_THINKING) {
        t->thinking_ns = t->thinking_ns ? t->thinking_ns : clock_ns();
        view_thinking(t->view, bytes, len);
        return;
    }
    end_thinking(t);
    view_text(t->view, bytes, len);
}

static bool keep_on(Teller *t)
{
    t->turn->signal = interrupts_seen(&t->interrupts);
    return t->failed == ST_OK && t->view->output_errno == 0 && t->turn->signal == 0;
}

static bool on_token(void *arg, int32_t id, double logprob)
{
    Teller *const t = arg;
    (void)logprob;
    const Status st = chat_answer_push(t->answer, id, t->err);
    if (st != ST_OK && t->failed == ST_OK)
        t->failed = st;
    return keep_on(t) && !chat_answer_stopped(t->answer);
}

/* 12288 → "12,288" */
static void format_count(char *buf, size_t size, int64_t n)
{
    char digits[24];
    const int len = snprintf(digits, sizeof digits, "%" PRId64, n);
    size_t out = 0;
    for (int i = 0; i < len && out + 2 < size; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            buf[out++] = ',';
        buf[out++] = digits[i];
    }
    buf[out] = 0;
}

static bool on_prompt(void *arg, int64_t done, int64_t total)
{
    Teller *const t = arg;
    const int64_t now = clock_ns();
    if (!t->app->quiet && term_is_tty(STDERR_FILENO) && now - t->prompt_ns > PROGRESS_AFTER_NS &&
        now - t->drawn_ns > PROGRESS_EVERY_NS) {
        char a[32], b[32];
        const int64_t cached = t->prompt_cached, all = cached + total;
        format_count(a, sizeof a, cached + done);
        format_count(b, sizeof b, all);
        fprintf(stderr, "\rreading prompt %s/%s tokens", a, b);
        if (cached > 0)
            fprintf(stderr, " (%d %% cached)", (int)(100 * cached / all));
        fputs("\033[K", stderr);
        fflush(stderr);
        t->drawn_ns = now;
    }
    return keep_on(t);
}

/* ---- ids --------------------------------------------------------------------------------------- */

static Status encode(ChatApp *app, IdBuf *ids, Error *err)
{
    const Conversation *const c = &app->conversation;
    if (app->format)
        return chat_render(app->format, c->items, (int64_t)c->count, CHAT_GENERATION_PROMPT | app->mode, ids,
                           NULL, err);
    CHECK(c->count > 0);
    const char *const text = c->items[c->count - 1].content;
    return tokenizer_encode(model_tokenizer(app->model), text, strlen(text), TOKENIZER_BOS, ids, err);
}

static Status add_stop(IdBuf *stops, int32_t id)
{
    return id >= 0 ? idbuf_push(stops, id) : ST_OK;
}

/* What ends an answer: the ends of a turn (without a template: of a text), and what the model's files say. */
static Status gather_stops(const ChatApp *app, IdBuf *stops, Error *err)
{
    const Tokenizer *const t = model_tokenizer(app->model);
    int64_t n = 0;
    const int32_t *const ids = app->format ? chat_format_stop_ids(app->format, &n) : NULL;
    Status st = app->format ? ST_OK : add_stop(stops, tokenizer_eos(t));
    if (!app->format && st == ST_OK)
        st = add_stop(stops, tokenizer_eot(t));
    for (int64_t i = 0; i < n && st == ST_OK; i++)
        st = add_stop(stops, ids[i]);
    for (int64_t i = 0; i < app->recommended.stop_count && st == ST_OK; i++)
        st = add_stop(stops, app->recommended.stops[i]);
    return st == ST_OK ? st : error_set(err, st, "no memory for an answer");
}

static Status tell(Teller *t, const IdBuf *ids, const IdBuf *stops, Error *err)
{
    ChatApp *const app = t->app;
    GenerateParams p = {.prompt = ids->data,
                        .prompt_count = ids->count,
                        .max_tokens = app->max_tokens,
                        .stop_ids = stops->data,
                        .stop_id_count = stops->count,
                        .sampler = app->sampler,
                        .on_prompt = on_prompt,
                        .on_token = on_token,
                        .arg = t};
    p.sampler.bias = app->bias;
    t->turn->seed = app->sampler.seed;
    t->turn->sequence = app->sampler.sequence;
    t->prompt_ns = clock_ns();
    const int32_t *const have = session_ids(app->session);
    while (t->prompt_cached < session_count(app->session) && t->prompt_cached < ids->count - 1 &&
           have[t->prompt_cached] == ids->data[t->prompt_cached])
        t->prompt_cached++;
    Status st = generate(app->session, &p, &t->turn->stats, err);
    if (st == ST_OK)
        st = t->failed;
    Error ignored = {0};
    const Status last = chat_answer_finish(t->answer, st == ST_OK ? err : &ignored);
    return st == ST_OK ? last : st;
}

Status chat_turn_run(ChatApp *app, ChatView *view, ChatTurn *turn, Error *err)
{
    IdBuf ids = {0}, stops = {0};
    Teller t = {.app = app, .view = view, .turn = turn, .err = err};
    *turn = (ChatTurn){0};
    Status st = encode(app, &ids, err);
    if (st == ST_OK)
        st = gather_stops(app, &stops, err);
    if (st == ST_OK)
        st = chat_answer_create(&t.answer, app->format, model_tokenizer(app->model), app->mode,
                                (const char *const *)app->stops, app->stop_count, on_event, &t, err);
    if (st == ST_OK)
        st = tell(&t, &ids, &stops, err);
    if (t.drawn_ns)
        fputs("\r\033[K", stderr);
    if (t.answer) {
        end_thinking(&t);
        if (chat_answer_stopped(t.answer))
            turn->stats.finish = FINISH_STOP;
    }
    chat_answer_destroy(t.answer);
    idbuf_free(&ids);
    idbuf_free(&stops);
    return st;
}

Status chat_turn_full(const ChatApp *app, Error *err)
{
    return error_set(err, ST_FULL, "context full: the conversation has %" PRId64 " tokens, the context holds %" PRId64,
                     session_count(app->session) + 1, session_context(app->session));
}

static double per_second(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

double chat_turn_prefill_speed(const ChatTurn *t)
{
    return per_second((double)(t->stats.prompt_tokens - t->stats.cached_tokens), t->stats.prompt_seconds);
}

double chat_turn_decode_speed(const ChatTurn *t)
{
    return t->stats.answer_tokens < 2 ? 0 : per_second((double)(t->stats.answer_tokens - 1), t->stats.answer_seconds);
}

void chat_turn_describe(const ChatTurn *t, char *buf, size_t size)
{
    snprintf(buf, size,
             "%" PRId64 " tokens read (%" PRId64 " of them cached; %.0f tok/s), %" PRId64 " written (%.1f tok/s), %s",
             t->stats.prompt_tokens, t->stats.cached_tokens, chat_turn_prefill_speed(t), t->stats.answer_tokens,
             chat_turn_decode_speed(t), finish_reason_name(t->stats.finish));
}
