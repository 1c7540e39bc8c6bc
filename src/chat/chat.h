/* Messages ↔ tokens, in one place for serving and training.
 *
 * A ChatFormat knows how a model writes conversations: markers, default system text, thinking, stop
 * ids. Rendering gives ids and, beside each id, whether training puts loss on it (the assistant's own
 * words and the marker that ends them). Text of messages never becomes a marker: it is encoded without
 * matching special tokens. */
#ifndef PLUMB_CHAT_CHAT_H
#define PLUMB_CHAT_CHAT_H

#include "base/buf.h"
#include "base/error.h"
#include "base/kv.h"
#include "tokenizer/tokenizer.h"

typedef enum { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT } ChatRole;

typedef struct {
    ChatRole role;
    const char *content;  /* UTF-8, terminated; borrowed */
    const char *thinking; /* assistant only, may be NULL; families that think decide what is kept */
} ChatMessage;

typedef struct ChatFormat ChatFormat; /* immutable after create, any thread */

/* The format of a model, from its metadata (GGUF tokenizer.chat_template; for directories
 * chat_template.jinja or tokenizer_config.json beside the weights) and tokenizer: ChatML with the
 * template's own default system text. ST_UNSUPPORTED when the template is none we know (the message
 * shows its beginning). A model without template: ST_NOTFOUND. */
MUST_USE Status chat_format_open(ChatFormat **out, const Kv *kv, const char *model_path,
                                 const Tokenizer *tokenizer, Error *err);
void chat_format_close(ChatFormat *f);

const char *chat_format_name(const ChatFormat *f);           /* "chatml" */
const char *chat_format_default_system(const ChatFormat *f); /* NULL: none */
const char *chat_format_template(const ChatFormat *f);       /* its text as the model has it */
bool chat_format_thinks(const ChatFormat *f);
const int32_t *chat_format_stop_ids(const ChatFormat *f, int64_t *count);

typedef enum {
    CHAT_GENERATION_PROMPT = 1, /* end with the header of the assistant's next turn */
} ChatFlags;

/* Append ids to `ids` and, when `loss` is not NULL, one byte (0 or 1) an id to it. */
MUST_USE Status chat_render(const ChatFormat *f, const ChatMessage *messages, int64_t count, unsigned flags,
                            IdBuf *ids, ByteBuf *loss, Error *err);
/* The same as text, for people and for comparing with the template (owned by the caller, mem_free). */
MUST_USE Status chat_render_text(const ChatFormat *f, const ChatMessage *messages, int64_t count,
                                 unsigned flags, char **text, Error *err);

/* Split a streamed answer into thinking and visible text. Same events for every way of cutting the
 * bytes. For formats that do not think everything is CHAT_EVENT_TEXT. */
typedef enum { CHAT_EVENT_TEXT, CHAT_EVENT_THINKING } ChatEventKind;
typedef void (*ChatEventFn)(void *arg, ChatEventKind kind, const char *bytes, size_t len);
typedef struct ChatParser ChatParser;
MUST_USE Status chat_parser_create(ChatParser **out, const ChatFormat *f, ChatEventFn fn, void *arg,
                                   Error *err);
void chat_parser_feed(ChatParser *p, const char *bytes, size_t len);
void chat_parser_finish(ChatParser *p); /* emits what was held back */
void chat_parser_destroy(ChatParser *p);

#endif
