/* Messages → ids and text. Both walk the same pieces: markers, and the text between two markers, which is
 * encoded in one go because the reference's pre-tokenizer sees it in one go as well (a line break that ends
 * the header and one that begins the content may be one token). */
#include "chat/chat_internal.h"

#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

int64_t chat_last_message(const ChatMessage *messages, int64_t count, ChatRole role)
{
    while (count > 0 && messages[count - 1].role != role)
        count--;
    return count - 1;
}

static Status add_loss(Renderer *r, bool loss)
{
    const uint8_t byte = loss;
    return r->loss ? bytebuf_append(r->loss, &byte, 1) : ST_OK;
}

Status chat_put_marker(Renderer *r, int32_t id, bool loss)
{
    if (r->ids) {
        const Status st = idbuf_push(r->ids, id);
        return st != ST_OK ? st : add_loss(r, loss);
    }
    const Str s = tokenizer_id_bytes(r->format->tokenizer, id);
    return bytebuf_append(r->text, s.ptr, s.len);
}

/* A normaliser may change the content's bytes, but never the header's, which are ASCII and end a line. */
Status chat_put_piece(Renderer *r, size_t header, bool words)
{
    Status st = ST_OK;
    if (!r->ids)
        return bytebuf_append(r->text, r->piece.data, r->piece.count);
    const int64_t first = r->ids->count;
    TRY(tokenizer_encode(r->format->tokenizer, (const char *)r->piece.data, r->piece.count,
                         r->format->text_flags, r->ids, r->err));
    size_t bytes = 0;
    for (int64_t i = first; i < r->ids->count; i++) {
        bytes += tokenizer_id_bytes(r->format->tokenizer, r->ids->data[i]).len;
        TRY(add_loss(r, words && bytes > header));
    }
out:
    return st;
}

static Status set_piece(Renderer *r, const char *a, const char *b, const char *c)
{
    Status st = ST_OK;
    r->piece.count = 0;
    TRY(bytebuf_append(&r->piece, a, strlen(a)));
    TRY(bytebuf_append(&r->piece, b, strlen(b)));
    TRY(bytebuf_append(&r->piece, c, strlen(c)));
out:
    return st;
}

static Status put_turn(Renderer *r, ChatRole role, const char *content, bool words)
{
    static const char *const names[] = {"system", "user", "assistant"};
    Status st = ST_OK;
    CHECK((unsigned)role < sizeof names / sizeof *names);
    TRY(chat_put_marker(r, r->format->start_id, false));
    TRY(set_piece(r, names[role], "\n", content));
    TRY(chat_put_piece(r, strlen(names[role]) + 1, words));
    TRY(chat_put_marker(r, r->format->end_id, words));
    TRY(set_piece(r, "\n", "", ""));
    TRY(chat_put_piece(r, 0, false));
out:
    return st;
}

static Status put_chatml(Renderer *r, const ChatMessage *messages, int64_t count, unsigned flags)
{
    Status st = ST_OK;
    const int64_t first = flags & CHAT_LOSS_LAST ? chat_last_message(messages, count, CHAT_ASSISTANT) : 0;
    if (r->format->shape.bos)
        TRY(chat_put_marker(r, r->format->bos_id, false));
    if (r->format->shape.default_system && messages[0].role != CHAT_SYSTEM)
        TRY(put_turn(r, CHAT_SYSTEM, r->format->shape.default_system, false));
    for (int64_t i = 0; i < count; i++) {
        st = put_turn(r, messages[i].role, messages[i].content, messages[i].role == CHAT_ASSISTANT && i >= first);
        if (st != ST_OK)
            return error_context(r->err, st, "message %" PRId64, i + 1);
    }
    if (flags & CHAT_GENERATION_PROMPT) {
        TRY(chat_put_marker(r, r->format->start_id, false));
        TRY(set_piece(r, "assistant\n", "", ""));
        TRY(chat_put_piece(r, 0, false));
    }
out:
    return st;
}

static Status put_all(Renderer *r, const ChatMessage *messages, int64_t count, unsigned flags)
{
    if (count < 1)
        return error_set(r->err, ST_INVALID, "chat: a conversation without messages");
    return r->format->kind == CHAT_KIND_V4 ? chat_v4_render(r, messages, count, flags)
                                           : put_chatml(r, messages, count, flags);
}

unsigned chat_training_flags(const ChatFormat *f, const ChatMessage *messages, int64_t count)
{
    const int64_t last_user = chat_last_message(messages, count, CHAT_USER);
    unsigned flags = 0;
    for (int64_t i = 0; chat_format_has_modes(f) && i < count; i++)
        if (messages[i].role == CHAT_ASSISTANT && messages[i].thinking)
            flags |= CHAT_THINK | (i < last_user ? CHAT_LOSS_LAST : 0);
    return flags;
}

Status chat_render(const ChatFormat *f, const ChatMessage *messages, int64_t count, unsigned flags,
                   IdBuf *ids, ByteBuf *loss, Error *err)
{
    Error own = {0};
    Renderer r = {.format = f, .ids = ids, .loss = loss, .err = err ? err : &own};
    const int64_t old_ids = ids->count;
    const size_t old_loss = loss ? loss->count : 0;
    r.err->msg[0] = 0;
    const Status st = put_all(&r, messages, count, flags);
    bytebuf_free(&r.piece);
    if (st == ST_OK)
        return st;
    ids->count = old_ids;
    if (loss)
        loss->count = old_loss;
    return r.err->msg[0] ? st : error_set(err, st, "chat: %s", status_text(st));
}

Status chat_render_text(const ChatFormat *f, const ChatMessage *messages, int64_t count, unsigned flags,
                        char **text, Error *err)
{
    Error own = {0};
    ByteBuf out = {0};
    Renderer r = {.format = f, .text = &out, .err = err ? err : &own};
    r.err->msg[0] = 0;
    Status st = put_all(&r, messages, count, flags);
    bytebuf_free(&r.piece);
    if (st == ST_OK && !bytebuf_cstr(&out))
        st = ST_NOMEM;
    if (st == ST_OK) {
        *text = (char *)out.data;
        return ST_OK;
    }
    bytebuf_free(&out);
    return r.err->msg[0] ? st : error_set(err, st, "chat: %s", status_text(st));
}
