/* Reading what a person types: libedit, with history, pasted blocks, and messages of several lines.
 *
 *   """ … """        everything between, on as many lines as it takes
 *   a trailing \     the message goes on in the next line
 *   a pasted block   its line breaks belong to the message
 *
 * The caller blocks SIGINT for as long as the reader lives. */
#ifndef PLUMB_CLI_CHAT_LINE_H
#define PLUMB_CLI_CHAT_LINE_H

#include "base/buf.h"

typedef struct LineReader LineReader; /* one thread at a time */

/* history_path: loaded now, and written (mode 0600) after every message; NULL: none. Copied. */
MUST_USE Status line_reader_create(LineReader **out, const char *history_path, Error *err);
void line_reader_destroy(LineReader *r); /* NULL is fine; the terminal is as before */

void line_reader_keep_history(LineReader *r, bool keep);

typedef enum {
    LINE_TEXT,
    LINE_EMPTY,
    LINE_INTERRUPTED, /* Ctrl-C; the message is dropped. Of an empty line: *was_empty */
    LINE_END,         /* Ctrl-D, or the terminal went away */
} LineResult;

/* The next message, terminated, in *out (which is cleared first). */
LineResult line_reader_next(LineReader *r, ByteBuf *out, bool *was_empty);

#endif
