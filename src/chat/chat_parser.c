/* Splitting an answer into thinking and text, byte by byte, so that it does not matter how it arrives.
 *
 *   START      white space, perhaps <think>      anything else: TEXT, with what was held
 *   LEAD       behind <think>: white space goes  anything else: THINKING
 *   THINKING   white space is held, because it goes when </think> follows
 *   TEXT_LEAD  behind </think>: white space goes, anything else: TEXT
 *   TEXT       to the end; tags in it are text
 *
 * A format with modes says beforehand whether there is thinking: the answer begins in THINKING or TEXT,
 * white space counts, and TEXT follows </think> at once.
 *
 * What is held is ASCII, so events never begin or end inside a character unless the input does. */
#include "chat/chat_internal.h"

#include "base/mem.h"

#include <string.h>

#define SPACE_MAX 64 /* more white space than this is nobody's separator */

typedef enum { START, LEAD, THINKING, TEXT_LEAD, TEXT } ParserState;

struct ChatParser {
    ChatEventFn fn;
    void *arg;
    bool verbatim; /* white space is part of what is said */
    ParserState first, state;
    char held[SPACE_MAX + sizeof CHAT_THINK_CLOSE];
    size_t held_count; /* white space, then the beginning of a tag */
    size_t tag_count;  /* bytes of the tag among them */
};

Status chat_parser_create(ChatParser **out, const ChatFormat *f, unsigned flags, ChatEventFn fn, void *arg,
                          Error *err)
{
    ChatParser *const p = mem_alloc(1, sizeof *p);
    if (!p)
        return error_set(err, ST_NOMEM, "chat: no memory for a parser");
    p->fn = fn;
    p->arg = arg;
    p->verbatim = f && chat_format_has_modes(f);
    if (p->verbatim)
        p->first = flags & CHAT_THINK ? THINKING : TEXT;
    else
        p->first = f && chat_format_thinks(f) ? START : TEXT;
    p->state = p->first;
    *out = p;
    return ST_OK;
}

void chat_parser_destroy(ChatParser *p)
{
    mem_free(p);
}

bool chat_parser_is_thinking(const ChatParser *p)
{
    return p->state == LEAD || p->state == THINKING;
}

static ChatEventKind kind_of(const ChatParser *p)
{
    return chat_parser_is_thinking(p) ? CHAT_EVENT_THINKING : CHAT_EVENT_TEXT;
}

static void emit_held(ChatParser *p)
{
    if (p->held_count > 0)
        p->fn(p->arg, kind_of(p), p->held, p->held_count);
    p->held_count = p->tag_count = 0;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* START and THINKING: whether the byte is held (true) or everything is certain up to before it (false,
 * and nothing is held any more). Completing the tag moves to the next state. */
static bool hold(ChatParser *p, char c)
{
    const char *const tag = p->state == START ? CHAT_THINK_OPEN : CHAT_THINK_CLOSE;
    if (p->tag_count > 0 && c != tag[p->tag_count]) {
        emit_held(p);
        if (p->state == START) {
            p->state = TEXT;
            return false;
        }
    }
    if (c == tag[p->tag_count]) {
        p->held[p->held_count++] = c;
        if (tag[++p->tag_count] == 0) {
            p->held_count = p->tag_count = 0;
            p->state = p->state == START ? LEAD : p->verbatim ? TEXT : TEXT_LEAD;
        }
        return true;
    }
    if (!p->verbatim && is_space(c) && p->held_count < SPACE_MAX) {
        p->held[p->held_count++] = c;
        return true;
    }
    emit_held(p);
    if (p->state == START)
        p->state = TEXT;
    return false;
}

void chat_parser_feed(ChatParser *p, const char *bytes, size_t len)
{
    size_t run = 0; /* first byte that is neither emitted nor held nor dropped */
    for (size_t i = 0; i < len; i++) {
        if (p->state == TEXT)
            break;
        if (p->state == LEAD || p->state == TEXT_LEAD) {
            run = i + 1;
            if (is_space(bytes[i]))
                continue;
            run = i;
            p->state = p->state == LEAD ? THINKING : TEXT;
            if (p->state == TEXT)
                break;
        }
        /* What is held came before this byte, and the run before what is held. */
        if (p->state == THINKING && (is_space(bytes[i]) || bytes[i] == '<') && run < i) {
            p->fn(p->arg, CHAT_EVENT_THINKING, bytes + run, i - run);
            run = i;
        }
        if (hold(p, bytes[i]))
            run = i + 1;
    }
    if (run < len)
        p->fn(p->arg, kind_of(p), bytes + run, len - run);
}

void chat_parser_finish(ChatParser *p)
{
    emit_held(p);
    p->state = p->first;
}
