/* Showing an answer as it comes.
 *
 * To a terminal: control characters of the model's text become '?' (it could drive the terminal), thinking
 * is dimmed under a line "thinking…" and folded into "thought for 12 s (830 tokens)" when it is over. To
 * anything else: the visible text, byte for byte; thinking to stderr, if wanted. */
#ifndef PLUMB_CLI_CHAT_VIEW_H
#define PLUMB_CLI_CHAT_VIEW_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    bool terminal;      /* standard output is one, and this is a session on it */
    bool colour, moves; /* of the terminal: dimming; cursor movements */
    bool show_thinking; /* terminal: in full while it comes; else: on stderr */
    bool silent;        /* nothing until the end (--json, --stream=off) */
} ViewStyle;

typedef struct {
    ViewStyle style;
    bool thinking;      /* thinking is on the screen */
    bool line_begun;    /* the last line of text lacks its end */
    bool any_text;
    int output_errno;   /* why standard output took no more, 0: it does; EPIPE: its reader went away */
    int columns, rows;  /* of the terminal */
    int column, rows_used; /* by thinking, the line above it counted */
    ByteBuf clean;
} ChatView;

/* The style for this process's standard output. */
ViewStyle view_style(bool interactive);

void view_init(ChatView *v, ViewStyle style);
void view_deinit(ChatView *v);

void view_text(ChatView *v, const char *bytes, size_t len);
void view_thinking(ChatView *v, const char *bytes, size_t len);
void view_thought(ChatView *v, double seconds, int64_t tokens); /* thinking is over */
/* End the last line if it lacks that; an answer without text is an empty line. */
void view_end(ChatView *v);

#endif
