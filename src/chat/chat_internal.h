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

#define CHAT_STOPS_MAX 4

struct ChatFormat {
    const Tokenizer *tokenizer; /* borrowed until close */
    char *text; /* owned: the template */
    ChatShape shape;
    bool thinks;
    int32_t start_id, end_id, bos_id; /* <|im_start|>, <|im_end|>; bos only if the shape wants it */
    int32_t think_id, think_end_id;   /* -1: the vocabulary has none */
    unsigned text_flags;              /* of tokenizer_encode for the text of messages */
    int32_t stop_ids[CHAT_STOPS_MAX];
    int64_t stop_count;
};

#define CHAT_THINK_OPEN "<think>"
#define CHAT_THINK_CLOSE "</think>"

/* Whether the parser is between the tags. */
bool chat_parser_is_thinking(const ChatParser *p);

#endif
