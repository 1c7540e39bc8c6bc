/* See document.h. */
#include "train/document.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/unicode.h"

#include <string.h>

#define MESSAGES_MAX 10000

void document_free(Document *d)
{
    arena_free(&d->arena);
    *d = (Document){0};
}

static Status no_memory(Error *err)
{
    return error_set(err, ST_NOMEM, "no memory for a document");
}

/* ---- text ---- */

int64_t text_bad_bytes(const uint8_t *text, size_t size)
{
    int64_t bad = 0;
    size_t at = 0;
    while ((at += utf8_valid_prefix(text + at, size - at)) < size) {
        at++;
        bad++;
    }
    return bad;
}

/* The length of the ill-formed sequence at p: bytes that could have begun a character stay together. */
static size_t ill_formed(const uint8_t *p, size_t n)
{
    int held = 0;
    while ((size_t)held < n && held < 4 && utf8_continue(p, held, p[held]) != 0)
        held++;
    return held ? (size_t)held : 1;
}

Status document_from_text(Document *out, const uint8_t *text, size_t size, Error *err)
{
    static const char replacement[] = "\xef\xbf\xbd";
    const size_t bad = (size_t)text_bad_bytes(text, size);
    size_t room;
    char *copy = size_add(size, 2 * bad, &room) && size_add(room, 1, &room) ? arena_alloc(&out->arena, room) : NULL;
    if (!copy)
        return no_memory(err);
    size_t n = 0;
    for (size_t at = 0; at < size;) {
        const size_t good = utf8_valid_prefix(text + at, size - at);
        memcpy(copy + n, text + at, good);
        n += good;
        at += good;
        if (at < size) {
            memcpy(copy + n, replacement, 3);
            n += 3;
            at += ill_formed(text + at, size - at);
        }
    }
    out->text = copy;
    out->size = n;
    return ST_OK;
}

/* ---- JSON ---- */

/* A string that must not hold a zero byte (texts are terminated), copied when there is a document. */
MUST_USE static Status take_string(JsonReader *r, Document *out, const char **text, Error *err)
{
    const Status st = json_expect(r, JSON_TOK_STRING, err);
    if (st != ST_OK)
        return st;
    if (r->str.len > 0 && memchr(r->str.ptr, 0, r->str.len))
        return error_set(err, ST_CORRUPT, "JSON byte %zu: a text holds a zero character", r->offset);
    if (!out) {
        *text = "";
        return ST_OK;
    }
    *text = arena_strndup(&out->arena, r->str.ptr, r->str.len);
    return *text ? ST_OK : no_memory(err);
}

MUST_USE static Status take_role(JsonReader *r, int *role, Error *err)
{
    const Status st = json_expect(r, JSON_TOK_STRING, err);
    if (st != ST_OK)
        return st;
    if (str_eq(r->str, "system"))
        *role = CHAT_SYSTEM;
    else if (str_eq(r->str, "user"))
        *role = CHAT_USER;
    else if (str_eq(r->str, "assistant"))
        *role = CHAT_ASSISTANT;
    else
        return error_set(err, ST_UNSUPPORTED, "JSON byte %zu: role '%.*s' is none of system, user, assistant", r->offset,
                         (int)(r->str.len < 40 ? r->str.len : 40), r->str.ptr);
    return ST_OK;
}

/* One object of "messages", whose begin is the current token. */
MUST_USE static Status take_message(JsonReader *r, Document *out, ChatMessage *m, Error *err)
{
    const size_t begin = r->offset;
    int role = -1;
    Status st = ST_OK;
    *m = (ChatMessage){0};
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_OBJECT_END)
            break;
        if (str_eq(r->str, "role"))
            TRY(take_role(r, &role, err));
        else if (str_eq(r->str, "content"))
            TRY(take_string(r, out, &m->content, err));
        else if (str_eq(r->str, "thinking") || str_eq(r->str, "reasoning_content"))
            TRY(take_string(r, out, &m->thinking, err));
        else
            TRY(json_skip(r, err));
    }
    if (role < 0 || !m->content)
        return error_set(err, ST_CORRUPT, "JSON byte %zu: a message lacks its %s", begin, role < 0 ? "role" : "content");
    m->role = (ChatRole)role;
    if (m->thinking && role != CHAT_ASSISTANT)
        return error_set(err, ST_CORRUPT, "JSON byte %zu: only the assistant can have thinking", begin);
out:
    return st;
}

/* The array behind "messages". The arena cannot grow an array, so messages move to a larger one at times. */
MUST_USE static Status take_messages(JsonReader *r, Document *out, int64_t *count, Error *err)
{
    int64_t cap = 0;
    Status st = ST_OK;
    *count = 0;
    TRY(json_expect(r, JSON_TOK_ARRAY_BEGIN, err));
    for (;;) {
        ChatMessage m;
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_ARRAY_END)
            break;
        if (r->token != JSON_TOK_OBJECT_BEGIN)
            return json_error_token(r, err, "a message, an object");
        if (*count == MESSAGES_MAX)
            return error_set(err, ST_CORRUPT, "JSON byte %zu: more than %d messages", r->offset, MESSAGES_MAX);
        TRY(take_message(r, out, &m, err));
        if (out && *count == cap) {
            cap = cap ? 2 * cap : 8;
            ChatMessage *more = arena_alloc(&out->arena, (size_t)cap * sizeof *more);
            if (!more)
                return no_memory(err);
            if (*count)
                memcpy(more, out->messages, (size_t)*count * sizeof *more);
            out->messages = more;
        }
        if (out)
            out->messages[*count] = m;
        ++*count;
    }
out:
    return st;
}

MUST_USE static Status take_line(JsonReader *r, Document *out, Error *err)
{
    const char *text = NULL;
    int64_t messages = -1;
    Status st = ST_OK;
    TRY(json_expect(r, JSON_TOK_OBJECT_BEGIN, err));
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_OBJECT_END)
            break;
        const bool is_text = str_eq(r->str, "text"), is_messages = str_eq(r->str, "messages");
        if ((is_text || is_messages) && (text || messages >= 0))
            return error_set(err, ST_CORRUPT, "JSON byte %zu: a second \"text\" or \"messages\"", r->offset);
        if (is_text)
            TRY(take_string(r, out, &text, err));
        else if (is_messages)
            TRY(take_messages(r, out, &messages, err));
        else
            TRY(json_skip(r, err));
    }
    TRY(json_next(r, err)); /* nothing behind it */
    if (!text && messages < 0)
        return error_set(err, ST_CORRUPT, "neither \"text\" nor \"messages\" is there");
    if (messages == 0)
        return error_set(err, ST_CORRUPT, "\"messages\" is empty");
    if (out) {
        out->text = text;
        out->size = text ? strlen(text) : 0;
        out->message_count = text ? 0 : messages;
        out->begins = out->ends = true;
    }
out:
    return st;
}

Status document_from_json(Document *out, const uint8_t *line, size_t size, Error *err)
{
    JsonReader r;
    json_init(&r, line, size);
    const Status st = take_line(&r, out, err);
    json_deinit(&r);
    return st;
}
