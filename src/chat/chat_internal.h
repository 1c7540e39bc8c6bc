/* What the files of this module share. */
#ifndef PLUMB_CHAT_CHAT_INTERNAL_H
#define PLUMB_CHAT_CHAT_INTERNAL_H

#include "chat/chat.h"

/* What a template of the ChatML kind leaves open. */
typedef struct {
    char *default_system; /* owned; NULL: no system turn unless one is given */
    bool bos;             /* the template begins with the BOS token */
} ChatShape;

/* Recognise a Jinja template by its structure (see chat_template.c). ST_UNSUPPORTED, with the template's
 * beginning, when it is none we know; *out is then untouched. */
MUST_USE Status chat_template_recognise(ChatShape *out, const char *text, size_t len, Error *err);

#define CHAT_STOPS_MAX 5

typedef enum { CHAT_KIND_CHATML, CHAT_KIND_V4 } ChatKind;

struct ChatFormat {
    ChatKind kind;
    const Tokenizer *tokenizer; /* borrowed until close */
    char *text; /* owned: the template; NULL: none */
    ChatShape shape;
    bool thinks;
    int32_t start_id, end_id, bos_id; /* <|im_start|>, <|im_end|>; bos only if the shape wants it */
    int32_t think_id, think_end_id;   /* -1: the vocabulary has none */
    int32_t user_id, assistant_id, eos_id; /* V4 */
    bool later_efforts;               /* V4: the texts of the releases with a drafter */
    unsigned text_flags;              /* of tokenizer_encode for the text of messages */
    int32_t stop_ids[CHAT_STOPS_MAX];
    int64_t stop_count;
};

#define CHAT_THINK_OPEN "<think>"
#define CHAT_THINK_CLOSE "</think>"

int32_t chat_format_find_token(const Tokenizer *t, const char *text); /* an added token's id, or -1 */
void chat_format_add_stop(ChatFormat *f, int32_t id);                 /* -1 or one it has: nothing */

/* The V4 format (chat_v4.c). bind: zeroed *f; ST_UNSUPPORTED names the marker that is missing. */
bool chat_v4_is_model(const Kv *kv);
bool chat_v4_has_tokens(const Tokenizer *t);
MUST_USE Status chat_v4_bind(ChatFormat *f, const Kv *kv, const Tokenizer *t, Error *err);

/* Rendering: markers, and the text between two markers, gathered in `piece` and encoded in one go. */
typedef struct {
    const ChatFormat *format;
    IdBuf *ids;     /* NULL: text is wanted */
    ByteBuf *loss;  /* may be NULL */
    ByteBuf *text;
    ByteBuf piece;  /* since the last marker */
    bool words;     /* V4: the piece has loss */
    Error *err;
} Renderer;

/* The index of the last message of a role, or -1. */
int64_t chat_last_message(const ChatMessage *messages, int64_t count, ChatRole role);
MUST_USE Status chat_put_marker(Renderer *r, int32_t id, bool loss);
/* The piece's ids; loss on those that hold anything behind its first `header` bytes, if `words`. */
MUST_USE Status chat_put_piece(Renderer *r, size_t header, bool words);
MUST_USE Status chat_v4_render(Renderer *r, const ChatMessage *messages, int64_t count, unsigned flags);

/* Whether the parser is between the tags. */
bool chat_parser_is_thinking(const ChatParser *p);

#endif
