/* An answer as it comes from the model: ids in, events out.
 *
 *   id → bytes (whole characters) → thinking and text → stop texts → events
 *
 * Special tokens are left out, but for the tags of thinking. Stop texts are looked for in the visible
 * text: the first one whose last byte arrives ends the answer, at the longest when several end there;
 * neither it nor any part of it is ever shown, however the tokens cut it. One thread at a time. */
#ifndef PLUMB_CHAT_ANSWER_H
#define PLUMB_CHAT_ANSWER_H

#include "chat/chat.h"

#define ANSWER_STOP_BYTES_MAX 4096

typedef struct ChatAnswer ChatAnswer;

/* `f` may be NULL: plain text without thinking. `flags`: those the prompt was rendered with. f and t are
 * borrowed until destroy, stops until return.
 * An empty stop text, or one above ANSWER_STOP_BYTES_MAX: ST_INVALID. *out is owned. */
MUST_USE Status chat_answer_create(ChatAnswer **out, const ChatFormat *f, const Tokenizer *t, unsigned flags,
                                   const char *const *stops, int64_t stop_count, ChatEventFn fn, void *arg,
                                   Error *err);
void chat_answer_destroy(ChatAnswer *a); /* NULL is fine */

/* After a stop text ids are ignored. */
MUST_USE Status chat_answer_push(ChatAnswer *a, int32_t id, Error *err);
MUST_USE Status chat_answer_finish(ChatAnswer *a, Error *err); /* emits what was held back */

bool chat_answer_stopped(const ChatAnswer *a);     /* a stop text came */
bool chat_answer_is_thinking(const ChatAnswer *a); /* between the tags */
int64_t chat_answer_thinking_tokens(const ChatAnswer *a); /* ids between the tags, tags not counted */

#endif
