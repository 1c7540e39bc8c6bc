/* The DeepSeek-V4 conversation (specification §5.3), without tools.
 *
 *   BOS effort system <｜User｜>question<｜Assistant｜><think>thinking</think>answer EOS <｜User｜>…
 *
 * What opens an answer, <｜Assistant｜> with <think> or </think>, belongs to the user's turn; the answer's
 * own are the thinking, its </think>, the text and EOS. Texts of the user that follow each other are one
 * turn. A turn whose thinking is left out reads as one that did not think: </think>answer. */
#include "chat/chat_internal.h"

#include "tokenizer/unicode.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

static const struct {
    const char *text;
    size_t field; /* of ChatFormat */
} markers[] = {
    {"<｜begin▁of▁sentence｜>", offsetof(ChatFormat, bos_id)},
    {"<｜end▁of▁sentence｜>", offsetof(ChatFormat, eos_id)},
    {"<｜User｜>", offsetof(ChatFormat, user_id)},
    {"<｜Assistant｜>", offsetof(ChatFormat, assistant_id)},
    {CHAT_THINK_OPEN, offsetof(ChatFormat, think_id)},
    {CHAT_THINK_CLOSE, offsetof(ChatFormat, think_end_id)},
};
#define MARKER_COUNT (sizeof markers / sizeof *markers)

static const char effort_absolute[] =
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
    "You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root "
    "cause, rigorously stress-testing your logic against all potential paths, edge cases, and adversarial "
    "scenarios.\n"
    "Explicitly write out your entire deliberation process, documenting every intermediate step, considered "
    "alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.\n\n";
static const char effort_beyond[] =
    "Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.\n"
    "You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: exhaustively decompose "
    "the problem into its most fundamental components, trace every causal chain to its root, and resolve the "
    "underlying cause rather than any surface symptom.\n"
    "Do not stop reasoning until you have independently verified the solution from multiple angles and are "
    "certain that no assumption remains unchecked and no error remains undiscovered.\n\n";

/* ---- recognising --------------------------------------------------------------------------------- */

static bool names_v4(Str s)
{
    return str_eq(s, "deepseek_v4") || str_eq(s, "DeepseekV4ForCausalLM") || str_eq(s, "deepseek4");
}

bool chat_v4_is_model(const Kv *kv)
{
    KvValue list, first;
    const void *cursor = NULL;
    if (!kv)
        return false;
    if (names_v4(kv_str(kv, "model_type")) || names_v4(kv_str(kv, "general.architecture")))
        return true;
    return kv->get(kv, "architectures", &list) && list.type == KV_ARRAY && kv->next(kv, &list, &cursor, &first) &&
           first.type == KV_STRING && names_v4(first.s);
}

bool chat_v4_has_tokens(const Tokenizer *t)
{
    for (size_t i = 0; i < MARKER_COUNT; i++)
        if (chat_format_find_token(t, markers[i].text) < 0)
            return false;
    return true;
}

Status chat_v4_bind(ChatFormat *f, const Kv *kv, const Tokenizer *t, Error *err)
{
    f->kind = CHAT_KIND_V4;
    f->tokenizer = t;
    f->start_id = f->end_id = -1;
    for (size_t i = 0; i < MARKER_COUNT; i++) {
        const int32_t id = chat_format_find_token(t, markers[i].text);
        if (id < 0)
            return error_set(err, ST_UNSUPPORTED, "chat format deepseek-v4: the vocabulary has no token %s",
                             markers[i].text);
        memcpy((char *)f + markers[i].field, &id, sizeof id);
    }
    f->thinks = true;
    f->later_efforts = kv && kv_has(kv, "dspark_block_size");
    /* Some files mark role tokens as ordinary, so no added token is looked for in texts at all. */
    f->text_flags = TOKENIZER_PLAIN;
    chat_format_add_stop(f, f->eos_id);
    chat_format_add_stop(f, tokenizer_eos(t));
    chat_format_add_stop(f, tokenizer_eot(t));
    chat_format_add_stop(f, f->user_id); /* a model that goes on as the user has ended its turn */
    return ST_OK;
}

/* ---- rendering ----------------------------------------------------------------------------------- */

static Status flush(Renderer *r)
{
    const Status st = r->piece.count > 0 ? chat_put_piece(r, 0, r->words) : ST_OK;
    r->piece.count = 0;
    return st;
}

static Status put_marker(Renderer *r, int32_t id, bool words)
{
    const Status st = flush(r);
    return st != ST_OK ? st : chat_put_marker(r, id, words);
}

static Status put_text(Renderer *r, const char *text, bool words)
{
    const Status st = words != r->words ? flush(r) : ST_OK;
    r->words = words;
    return st != ST_OK ? st : bytebuf_append(&r->piece, text, strlen(text));
}

/* Before texts are joined: two halves of a character must not become one. */
static Status check_text(const Renderer *r, int64_t message, const char *text)
{
    const size_t len = text ? strlen(text) : 0;
    const size_t valid = r->ids && len > 0 ? utf8_valid_prefix((const uint8_t *)text, len) : len;
    return valid == len ? ST_OK : error_set(r->err, ST_INVALID, "message %" PRId64 ": byte %zu is not valid UTF-8",
                                            message + 1, valid);
}

static const char *effort_text(const ChatFormat *f, unsigned flags)
{
    if (!(flags & CHAT_THINK))
        return "";
    if (flags & CHAT_EFFORT_MAX)
        return f->later_efforts ? effort_beyond : effort_absolute;
    return flags & CHAT_EFFORT_HIGH && f->later_efforts ? effort_absolute : "";
}

static Status put_answer(Renderer *r, const ChatMessage *m, bool thinking, bool words)
{
    Status st = ST_OK;
    if (thinking) {
        TRY(put_text(r, m->thinking ? m->thinking : "", words));
        TRY(put_marker(r, r->format->think_end_id, words));
    }
    TRY(put_text(r, m->content, words));
    TRY(put_marker(r, r->format->eos_id, words));
out:
    return st;
}

/* What opens an answer. */
static Status put_opening(Renderer *r, bool thinking)
{
    Status st = ST_OK;
    TRY(put_marker(r, r->format->assistant_id, false));
    TRY(put_marker(r, thinking ? r->format->think_id : r->format->think_end_id, false));
out:
    return st;
}

Status chat_v4_render(Renderer *r, const ChatMessage *messages, int64_t count, unsigned flags)
{
    Status st = ST_OK;
    const int64_t last_user = chat_last_message(messages, count, CHAT_USER);
    const int64_t first_loss = flags & CHAT_LOSS_LAST ? chat_last_message(messages, count, CHAT_ASSISTANT) : 0;
    const bool thinks = flags & CHAT_THINK, keeps = flags & CHAT_KEEP_THINKING;
    TRY(put_marker(r, r->format->bos_id, false));
    TRY(put_text(r, effort_text(r->format, flags), false));
    for (int64_t i = 0; i < count; i++) {
        const ChatMessage *const m = &messages[i];
        TRY(check_text(r, i, m->content));
        TRY(check_text(r, i, m->thinking));
        if (m->role == CHAT_ASSISTANT) {
            TRY(put_answer(r, m, thinks && (keeps || i > last_user), i >= first_loss));
            continue;
        }
        if (m->role == CHAT_USER && i > 0 && messages[i - 1].role == CHAT_USER)
            TRY(put_text(r, "\n\n", false));
        else if (m->role == CHAT_USER)
            TRY(put_marker(r, r->format->user_id, false));
        TRY(put_text(r, m->content, false));
        const bool answered = i + 1 < count ? messages[i + 1].role == CHAT_ASSISTANT : flags & CHAT_GENERATION_PROMPT;
        if (m->role == CHAT_USER && answered)
            TRY(put_opening(r, thinks && (keeps || i >= last_user)));
    }
    TRY(flush(r));
out:
    return st;
}
