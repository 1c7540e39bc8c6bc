/* A conversation in memory, and its file.
 *
 * A saved session is JSON (docs/FORMATS.md, "Saved sessions"): its version, when it was saved, the name of
 * the model it was held with (for people; any model may continue it), and the messages, a system text that
 * was set first among them. */
#ifndef PLUMB_CLI_CONVERSATION_H
#define PLUMB_CLI_CONVERSATION_H

#include "chat/chat.h"

#include <stddef.h>

#define CONVERSATION_VERSION 1
#define CONVERSATION_BYTES_MAX ((size_t)256 << 20)

typedef struct {
    ChatMessage *items; /* owned, with their texts */
    size_t count, cap;
} Conversation;

void conversation_free(Conversation *c); /* zeroed or twice is fine; leaves it empty and usable */

/* Append a copy. A zero byte, which texts cannot hold, becomes U+FFFD. `thinking` may be NULL. On ST_NOMEM
 * nothing has changed. */
MUST_USE Status conversation_add(Conversation *c, ChatRole role, const char *text, size_t len,
                                 const char *thinking, size_t thinking_len, Error *err);
void conversation_drop_last(Conversation *c); /* of an empty one: nothing */

/* Take the last message out, and put it back as the last one (which needs no memory). A message that is
 * out is freed by message_free. c->count > 0. */
ChatMessage conversation_take_last(Conversation *c);
void conversation_put_back(Conversation *c, ChatMessage m);
void message_free(ChatMessage *m);

/* Set the system text, the first message; NULL: none. */
MUST_USE Status conversation_set_system(Conversation *c, const char *text, Error *err);
const char *conversation_system(const Conversation *c); /* NULL: none was set */

/* Atomically, mode 0600. */
MUST_USE Status conversation_save(const Conversation *c, const char *path, const char *model, Error *err);
/* On failure *c is as it was. ST_NOTFOUND, ST_CORRUPT (names file and byte), ST_UNSUPPORTED (version). */
MUST_USE Status conversation_load(Conversation *c, const char *path, Error *err);
/* What load reads, from memory. */
MUST_USE Status conversation_parse(Conversation *c, const void *data, size_t size, Error *err);

#endif
