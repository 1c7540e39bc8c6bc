/* See chat_view.h. */
#include "cli/chat_view.h"

#include "base/utf8.h"
#include "cli/term.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define DIM "\033[2m"
#define PLAIN "\033[0m"
#define TAB 8

ViewStyle view_style(bool interactive)
{
    ViewStyle s = {.terminal = term_is_tty(STDOUT_FILENO)};
    s.colour = s.terminal && term_colour(STDOUT_FILENO);
    /* Whatever can be coloured can be moved about in; a dumb terminal can do neither. */
    const char *const term = getenv("TERM");
    s.moves = interactive && s.terminal && term && *term && strcmp(term, "dumb") != 0;
    s.show_thinking = interactive;
    return s;
}

void view_init(ChatView *v, ViewStyle style)
{
    struct winsize size;
    *v = (ChatView){.style = style, .columns = 80, .rows = 24};
    if (style.terminal) {
        v->columns = term_columns(STDOUT_FILENO);
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 1)
            v->rows = size.ws_row;
    }
}

void view_deinit(ChatView *v)
{
    bytebuf_free(&v->clean);
}

/* Count where the cursor goes, so that thinking can be taken away again. */
static void advance(ChatView *v, uint32_t c)
{
    if (c == '\n') {
        v->column = 0;
        v->rows_used++;
        return;
    }
    int width = c == '\t' ? TAB - v->column % TAB : wcwidth((wchar_t)c);
    width = width < 0 ? 1 : width;
    if (v->column + width > v->columns) {
        v->column = 0;
        v->rows_used++;
    }
    v->column += width;
}

/* The bytes without what could drive a terminal. `count`: also follow the cursor. */
static const char *cleaned(ChatView *v, const char *bytes, size_t len, size_t *out_len, bool count)
{
    v->clean.count = 0;
    for (size_t i = 0; i < len;) {
        uint32_t c = '?';
        const int n = utf8_decode((const uint8_t *)bytes + i, len - i, &c);
        const bool control = n == 0 || (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0);
        const Status st = control ? bytebuf_append(&v->clean, "?", 1)
                                  : bytebuf_append(&v->clean, bytes + i, (size_t)n);
        if (st != ST_OK)
            break;
        if (count)
            advance(v, control ? '?' : c);
        i += n ? (size_t)n : 1;
    }
    *out_len = v->clean.count;
    return (const char *)v->clean.data;
}

static void flush(ChatView *v)
{
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout))
        v->output_errno = errno ? errno : EIO;
}

void view_text(ChatView *v, const char *bytes, size_t len)
{
    if (len == 0)
        return;
    v->any_text = true;
    v->line_begun = bytes[len - 1] != '\n';
    if (v->style.silent)
        return;
    if (v->style.terminal)
        bytes = cleaned(v, bytes, len, &len, false);
    fwrite(bytes, 1, len, stdout);
    flush(v);
}

static const char *ellipsis(void)
{
    return term_utf8() ? "\xe2\x80\xa6" : "...";
}

void view_thinking(ChatView *v, const char *bytes, size_t len)
{
    if (v->style.silent)
        return;
    if (!v->style.moves) {
        if (v->style.show_thinking) {
            if (v->style.terminal)
                bytes = cleaned(v, bytes, len, &len, false);
            fwrite(bytes, 1, len, stderr);
            fflush(stderr);
            v->thinking = true;
        }
        return;
    }
    if (!v->thinking) {
        printf("%sthinking%s%s\n", v->style.colour ? DIM : "", ellipsis(), v->style.colour ? PLAIN : "");
        v->thinking = true;
        v->rows_used = 1;
        v->column = 0;
    }
    if (v->style.show_thinking) {
        bytes = cleaned(v, bytes, len, &len, true);
        printf("%s%.*s%s", v->style.colour ? DIM : "", (int)len, bytes, v->style.colour ? PLAIN : "");
    }
    flush(v);
}

void view_thought(ChatView *v, double seconds, int64_t tokens)
{
    if (!v->thinking)
        return;
    v->thinking = false;
    if (!v->style.moves) {
        fputs("\n", stderr);
        return;
    }
    /* What has left the screen above cannot be taken away. */
    const int up = v->rows_used < v->rows ? v->rows_used : v->rows - 1;
    printf("\r\033[%dA\033[J%sthought for %.*f s (%lld tokens)%s\n\n", up, v->style.colour ? DIM : "",
           seconds < 9.95 ? 1 : 0, seconds, (long long)tokens, v->style.colour ? PLAIN : "");
    flush(v);
}

void view_end(ChatView *v)
{
    if (v->style.silent || (v->any_text && !v->line_begun))
        return;
    putchar('\n');
    v->line_begun = false;
    flush(v);
}
