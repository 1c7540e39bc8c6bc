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

/* The format of a model, from its metadata and tokenizer:
 *   deepseek-v4  the model says it is one (config.json model_type or architectures, GGUF
 *                general.architecture) and the vocabulary has the markers. The published format is a
 *                program and no template (specification §5.3), so a template beside it is not read
 *   chatml       by its template (GGUF tokenizer.chat_template; for directories chat_template.jinja or
 *                tokenizer_config.json beside the weights), with the template's own default system text
 * ST_UNSUPPORTED when the template is none we know (the message shows its beginning). A model without
 * template: ST_NOTFOUND. The tokenizer is borrowed until close. */
MUST_USE Status chat_format_open(ChatFormat **out, const Kv *kv, const char *model_path,
                                 const Tokenizer *tokenizer, Error *err);
/* deepseek-v4 where there is no model yet: training. ST_UNSUPPORTED names the marker that is missing. */
MUST_USE Status chat_format_deepseek_v4(ChatFormat **out, const Tokenizer *tokenizer, Error *err);
void chat_format_close(ChatFormat *f);

const char *chat_format_name(const ChatFormat *f);           /* "chatml", "deepseek-v4" */
const char *chat_format_default_system(const ChatFormat *f); /* NULL: none */
const char *chat_format_template(const ChatFormat *f);       /* its text as the model has it; NULL: none */
bool chat_format_thinks(const ChatFormat *f);
bool chat_format_has_modes(const ChatFormat *f); /* CHAT_THINK and the efforts mean something */
const int32_t *chat_format_stop_ids(const ChatFormat *f, int64_t *count);

/* Without CHAT_KEEP_THINKING what was thought before the last text of the user is left out, as the format's
 * authors do. An effort is a text in front of everything; low is no flag. Which text high stands for depends
 * on the checkpoint: none in the first releases. Of these flags chatml knows the first and the last. */
typedef enum {
    CHAT_GENERATION_PROMPT = 1, /* end with the header of the assistant's next turn */
    CHAT_THINK = 2,             /* it thinks first (formats that have modes) */
    CHAT_KEEP_THINKING = 4,
    CHAT_EFFORT_HIGH = 8,       /* with CHAT_THINK */
    CHAT_EFFORT_MAX = 16,
    CHAT_LOSS_LAST = 32,        /* loss on the last message of the assistant only: in turns whose thinking
                                   was left out it would teach to answer without */
} ChatFlags;

/* The flags to render a conversation with for training: thinking when any answer has some, and then, when an
 * earlier turn's was left out, loss on the last answer only. 0 for formats without modes. */
unsigned chat_training_flags(const ChatFormat *f, const ChatMessage *messages, int64_t count);

/* Append ids to `ids` and, when `loss` is not NULL, one byte (0 or 1) an id to it. */
MUST_USE Status chat_render(const ChatFormat *f, const ChatMessage *messages, int64_t count, unsigned flags,
                            IdBuf *ids, ByteBuf *loss, Error *err);
/* The same as text, for people and for comparing with the template (owned by the caller, mem_free). */
MUST_USE Status chat_render_text(const ChatFormat *f, const ChatMessage *messages, int64_t count,
                                 unsigned flags, char **text, Error *err);

/* Split a streamed answer into thinking and visible text. Same events for every way of cutting the
 * bytes. For formats that do not think everything is CHAT_EVENT_TEXT. `flags`: those of the prompt; with
 * modes the answer begins inside thinking, or there is none, and no byte but the tag is dropped. */
typedef enum { CHAT_EVENT_TEXT, CHAT_EVENT_THINKING } ChatEventKind;
typedef void (*ChatEventFn)(void *arg, ChatEventKind kind, const char *bytes, size_t len);
typedef struct ChatParser ChatParser;
MUST_USE Status chat_parser_create(ChatParser **out, const ChatFormat *f, unsigned flags, ChatEventFn fn,
                                   void *arg, Error *err);
void chat_parser_feed(ChatParser *p, const char *bytes, size_t len);
void chat_parser_finish(ChatParser *p); /* emits what was held back */
void chat_parser_destroy(ChatParser *p);

#endif
