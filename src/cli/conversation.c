/* See conversation.h. */
#include "cli/conversation.h"

#include "base/json.h"
#include "base/json_write.h"
#include "base/mapfile.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static const char *const role_names[] = {"system", "user", "assistant"};

void message_free(ChatMessage *m)
{
    mem_free((void *)(uintptr_t)m->content); /* ours, behind the const of the type */
    mem_free((void *)(uintptr_t)m->thinking);
}

void conversation_free(Conversation *c)
{
    while (c->count > 0)
        message_free(&c->items[--c->count]);
    mem_free(c->items);
    *c = (Conversation){0};
}

/* A terminated copy; NULL: no memory. */
static char *copy_text(const char *text, size_t len)
{
    size_t zeros = 0, n = 0;
    for (size_t i = 0; i < len; i++)
        zeros += text[i] == 0;
    char *const copy = mem_alloc(len + 2 * zeros + 1, 1);
    for (size_t i = 0; copy && i < len; i++) {
        if (text[i] != 0) {
            copy[n++] = text[i];
        } else {
            memcpy(copy + n, "\xef\xbf\xbd", 3);
            n += 3;
        }
    }
    return copy;
}

static Status insert_message(Conversation *c, size_t at, ChatRole role, const char *text, size_t len,
                             const char *thinking, size_t thinking_len, Error *err)
{
    void *items = c->items;
    const Status st = mem_grow(&items, &c->cap, c->count + 1, sizeof *c->items);
    if (st != ST_OK)
        return error_set(err, st, "no memory for the conversation");
    c->items = items;
    const ChatMessage m = {role, copy_text(text, len), thinking ? copy_text(thinking, thinking_len) : NULL};
    if (!m.content || (thinking && !m.thinking)) {
        mem_free((void *)(uintptr_t)m.content);
        mem_free((void *)(uintptr_t)m.thinking);
        return error_set(err, ST_NOMEM, "no memory for the conversation");
    }
    memmove(c->items + at + 1, c->items + at, (c->count - at) * sizeof *c->items);
    c->items[at] = m;
    c->count++;
    return ST_OK;
}

Status conversation_add(Conversation *c, ChatRole role, const char *text, size_t len, const char *thinking,
                        size_t thinking_len, Error *err)
{
    return insert_message(c, c->count, role, text, len, thinking, thinking_len, err);
}

void conversation_drop_last(Conversation *c)
{
    if (c->count > 0)
        message_free(&c->items[--c->count]);
}

ChatMessage conversation_take_last(Conversation *c)
{
    CHECK(c->count > 0);
    return c->items[--c->count];
}

void conversation_put_back(Conversation *c, ChatMessage m)
{
    CHECK(c->count < c->cap);
    c->items[c->count++] = m;
}

const char *conversation_system(const Conversation *c)
{
    return c->count > 0 && c->items[0].role == CHAT_SYSTEM ? c->items[0].content : NULL;
}

Status conversation_set_system(Conversation *c, const char *text, Error *err)
{
    const bool had = conversation_system(c) != NULL;
    if (text) {
        const Status st = insert_message(c, 0, CHAT_SYSTEM, text, strlen(text), NULL, 0, err);
        if (st != ST_OK)
            return st;
    }
    if (had) {
        const size_t old = text ? 1 : 0;
        message_free(&c->items[old]);
        memmove(c->items + old, c->items + old + 1, (c->count - old - 1) * sizeof *c->items);
        c->count--;
    }
    return ST_OK;
}

/* ---- the file ---------------------------------------------------------------------------------- */

static void write_pair(JsonWriter *w, const char *key, const char *value)
{
    json_write_key(w, key);
    json_write_string(w, value);
}

static void write_conversation(JsonWriter *w, const Conversation *c, const char *model)
{
    char now[32] = "";
    const time_t seconds = time(NULL);
    struct tm utc;
    if (gmtime_r(&seconds, &utc))
        strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_write_object_begin(w);
    json_write_key(w, "version");
    json_write_int(w, CONVERSATION_VERSION);
    write_pair(w, "saved", now);
    write_pair(w, "model", model);
    json_write_key(w, "messages");
    json_write_array_begin(w);
    for (size_t i = 0; i < c->count; i++) {
        json_write_object_begin(w);
        write_pair(w, "role", role_names[c->items[i].role]);
        write_pair(w, "content", c->items[i].content);
        if (c->items[i].thinking)
            write_pair(w, "thinking", c->items[i].thinking);
        json_write_object_end(w);
    }
    json_write_array_end(w);
    json_write_object_end(w);
}

Status conversation_save(const Conversation *c, const char *path, const char *model, Error *err)
{
    JsonWriter w;
    json_write_init(&w, 2, CONVERSATION_BYTES_MAX);
    write_conversation(&w, c, model);
    Status st = json_write_finish(&w, err);
    if (st == ST_OK) {
        const mode_t before = umask(077); /* from its first moment nobody else's to read */
        st = file_write_atomic(path, w.buf, w.len, err);
        umask(before);
    }
    json_write_deinit(&w);
    return st;
}

/* The next token, a string, as a copy in place of what *out holds. */
static Status read_text(JsonReader *r, char **out, Error *err)
{
    const Status st = json_expect(r, JSON_TOK_STRING, err);
    if (st != ST_OK)
        return st;
    mem_free(*out);
    *out = copy_text(r->str.ptr, r->str.len);
    return *out ? ST_OK : error_set(err, ST_NOMEM, "no memory for the conversation");
}

/* The current token is the begin of a message. */
static Status read_message(JsonReader *r, Conversation *c, Error *err)
{
    Status st = ST_OK;
    char *role = NULL, *content = NULL, *thinking = NULL;
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_OBJECT_END)
            break;
        if (str_eq(r->str, "role"))
            TRY(read_text(r, &role, err));
        else if (str_eq(r->str, "content"))
            TRY(read_text(r, &content, err));
        else if (str_eq(r->str, "thinking"))
            TRY(read_text(r, &thinking, err));
        else
            TRY(json_skip(r, err));
    }
    if (!role || !content)
        TRY(error_set(err, ST_CORRUPT, "byte %zu: a message without role or content", r->offset));
    size_t k = 0;
    while (k < 3 && strcmp(role, role_names[k]) != 0)
        k++;
    if (k == 3)
        TRY(error_set(err, ST_CORRUPT, "byte %zu: role '%.40s', expected system, user or assistant", r->offset, role));
    TRY(conversation_add(c, (ChatRole)k, content, strlen(content), thinking, thinking ? strlen(thinking) : 0, err));
out:
    mem_free(role);
    mem_free(content);
    mem_free(thinking);
    return st;
}

static Status read_messages(JsonReader *r, Conversation *c, Error *err)
{
    Status st = ST_OK;
    TRY(json_expect(r, JSON_TOK_ARRAY_BEGIN, err));
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_ARRAY_END)
            break;
        if (r->token != JSON_TOK_OBJECT_BEGIN)
            TRY(json_error_token(r, err, "a message"));
        TRY(read_message(r, c, err));
    }
out:
    return st;
}

Status conversation_parse(Conversation *c, const void *data, size_t size, Error *err)
{
    Status st = ST_OK;
    Conversation read = {0};
    JsonReader r;
    bool version = false, messages = false;
    json_init(&r, data, size);
    TRY(json_expect(&r, JSON_TOK_OBJECT_BEGIN, err));
    for (;;) {
        TRY(json_next(&r, err));
        if (r.token == JSON_TOK_OBJECT_END)
            break;
        if (str_eq(r.str, "version")) {
            TRY(json_expect(&r, JSON_TOK_INT, err));
            if (r.i != CONVERSATION_VERSION)
                TRY(error_set(err, ST_UNSUPPORTED, "version %" PRId64 ", this program reads %d", r.i,
                              CONVERSATION_VERSION));
            version = true;
        } else if (str_eq(r.str, "messages") && !messages) {
            TRY(read_messages(&r, &read, err));
            messages = true;
        } else {
            TRY(json_skip(&r, err));
        }
    }
    TRY(json_expect(&r, JSON_TOK_END, err));
    if (!version || !messages)
        TRY(error_set(err, ST_CORRUPT, "no \"%s\" in it", version ? "messages" : "version"));
    conversation_free(c);
    *c = read;
    read = (Conversation){0};
out:
    json_deinit(&r);
    conversation_free(&read);
    return st;
}

Status conversation_load(Conversation *c, const char *path, Error *err)
{
    uint8_t *data = NULL;
    size_t size = 0;
    Status st = file_read_all(&data, &size, path, CONVERSATION_BYTES_MAX, err);
    if (st == ST_OK) {
        st = conversation_parse(c, data, size, err);
        if (st != ST_OK)
            st = error_context(err, st, "saved session '%s'", path);
    }
    mem_free(data);
    return st;
}
