/* See answer.h. The search for stop texts goes byte by byte, so that the cut between tokens plays no part;
 * what could still become one is held back. A match begins at a character, so the cut before it does too. */
#include "chat/answer.h"

#include "base/mem.h"
#include "chat/chat_internal.h"

#include <inttypes.h>
#include <string.h>

typedef struct {
    char *text; /* owned */
    size_t len;
} StopText;

struct ChatAnswer {
    const ChatFormat *format; /* NULL: none */
    TokenStream stream;
    ChatParser *parser; /* owned */
    StopText *stops;    /* owned */
    int64_t stop_count;
    ChatEventFn fn;
    void *arg;
    ByteBuf bytes;   /* of the ids being pushed */
    ByteBuf pending; /* visible text that may be the beginning of a stop text */
    Status failed;   /* of the parser's callback, which cannot return it */
    bool stopped;
    int64_t thinking_tokens;
};

/* The longest stop text that text[0..n) ends with; 0: none. */
static size_t match_stop(const ChatAnswer *a, const char *text, size_t n)
{
    size_t best = 0;
    for (int64_t i = 0; i < a->stop_count; i++) {
        const StopText *const s = &a->stops[i];
        if (s->len > best && s->len <= n && memcmp(text + n - s->len, s->text, s->len) == 0)
            best = s->len;
    }
    return best;
}

/* How many bytes at the end of text[0..n) some stop text begins with, but does not end with. */
static size_t match_beginning(const ChatAnswer *a, const char *text, size_t n)
{
    size_t best = 0;
    for (int64_t i = 0; i < a->stop_count; i++) {
        const StopText *const s = &a->stops[i];
        size_t k = s->len - 1 < n ? s->len - 1 : n;
        while (k > best && memcmp(text + n - k, s->text, k) != 0)
            k--;
        best = k > best ? k : best;
    }
    return best;
}

static void show_pending(ChatAnswer *a, size_t n)
{
    if (n > 0)
        a->fn(a->arg, CHAT_EVENT_TEXT, (const char *)a->pending.data, n);
    if (n > 0)
        memmove(a->pending.data, a->pending.data + n, a->pending.count - n);
    a->pending.count -= n;
}

static void on_event(void *arg, ChatEventKind kind, const char *bytes, size_t len)
{
    ChatAnswer *const a = arg;
    if (a->stopped || a->failed != ST_OK)
        return;
    if (kind != CHAT_EVENT_TEXT || a->stop_count == 0) {
        a->fn(a->arg, kind, bytes, len);
        return;
    }
    const size_t old = a->pending.count;
    a->failed = bytebuf_append(&a->pending, bytes, len);
    if (a->failed != ST_OK)
        return;
    const char *const text = (const char *)a->pending.data;
    for (size_t n = old + 1; n <= a->pending.count; n++) {
        const size_t stop = match_stop(a, text, n);
        if (stop > 0) {
            a->stopped = true;
            show_pending(a, n - stop);
            a->pending.count = 0;
            return;
        }
    }
    show_pending(a, a->pending.count - match_beginning(a, text, a->pending.count));
}

static Status copy_stops(ChatAnswer *a, const char *const *stops, int64_t count, Error *err)
{
    a->stops = mem_alloc((size_t)count, sizeof *a->stops);
    if (!a->stops)
        return error_set(err, ST_NOMEM, "chat: no memory for stop texts");
    for (int64_t i = 0; i < count; i++) {
        const size_t len = strlen(stops[i]);
        if (len == 0 || len > ANSWER_STOP_BYTES_MAX)
            return error_set(err, ST_INVALID, "stop text %" PRId64 " has %zu bytes: expected 1 to %d", i + 1,
                             len, ANSWER_STOP_BYTES_MAX);
        a->stops[i] = (StopText){mem_strndup(stops[i], len), len};
        if (!a->stops[i].text)
            return error_set(err, ST_NOMEM, "chat: no memory for stop texts");
        a->stop_count = i + 1;
    }
    return ST_OK;
}

Status chat_answer_create(ChatAnswer **out, const ChatFormat *f, const Tokenizer *t, unsigned flags,
                          const char *const *stops, int64_t stop_count, ChatEventFn fn, void *arg,
                          Error *err)
{
    Status st = ST_OK;
    ChatAnswer *const a = mem_alloc(1, sizeof *a);
    if (!a)
        return error_set(err, ST_NOMEM, "chat: no memory for an answer");
    a->format = f;
    a->fn = fn;
    a->arg = arg;
    tokenstream_init(&a->stream, t, true);
    TRY(copy_stops(a, stops, stop_count, err));
    TRY(chat_parser_create(&a->parser, f, flags, on_event, a, err));
    *out = a;
    return ST_OK;
out:
    chat_answer_destroy(a);
    return st;
}

void chat_answer_destroy(ChatAnswer *a)
{
    if (!a)
        return;
    for (int64_t i = 0; i < a->stop_count; i++)
        mem_free(a->stops[i].text);
    mem_free(a->stops);
    chat_parser_destroy(a->parser);
    bytebuf_free(&a->bytes);
    bytebuf_free(&a->pending);
    mem_free(a);
}

Status chat_answer_push(ChatAnswer *a, int32_t id, Error *err)
{
    Status st = ST_OK;
    if (a->stopped)
        return ST_OK;
    const bool tag = a->format && a->format->thinks &&
                     (id == a->format->think_id || id == a->format->think_end_id);
    a->thinking_tokens += !tag && chat_parser_is_thinking(a->parser);
    a->bytes.count = 0;
    if (tag) { /* often special, so the stream would leave it out */
        const Str s = tokenizer_id_bytes(a->stream.tokenizer, id);
        TRY(tokenstream_flush(&a->stream, &a->bytes, err));
        TRY(bytebuf_append(&a->bytes, s.ptr, s.len));
    } else {
        TRY(tokenstream_push(&a->stream, id, &a->bytes, err));
    }
    chat_parser_feed(a->parser, (const char *)a->bytes.data, a->bytes.count);
    st = a->failed;
out:
    return st == ST_NOMEM ? error_set(err, st, "chat: no memory for the answer") : st;
}

Status chat_answer_finish(ChatAnswer *a, Error *err)
{
    Status st = ST_OK;
    a->bytes.count = 0;
    TRY(tokenstream_flush(&a->stream, &a->bytes, err));
    chat_parser_feed(a->parser, (const char *)a->bytes.data, a->bytes.count);
    chat_parser_finish(a->parser);
    TRY(a->failed);
    if (!a->stopped)
        show_pending(a, a->pending.count);
out:
    return st == ST_NOMEM ? error_set(err, st, "chat: no memory for the answer") : st;
}

bool chat_answer_stopped(const ChatAnswer *a)
{
    return a->stopped;
}

bool chat_answer_is_thinking(const ChatAnswer *a)
{
    return chat_parser_is_thinking(a->parser);
}

int64_t chat_answer_thinking_tokens(const ChatAnswer *a)
{
    return a->thinking_tokens;
}
