/* See chat_line.h. While a line is edited the terminal sends no signals for keys: Ctrl-C and Ctrl-Z are
 * editor functions, so that no handler and no global state is needed. */
#include "cli/chat_line.h"

#include "base/mem.h"

#include <fcntl.h>
#include <histedit.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 1000
#define PASTE_CHARS_MAX ((size_t)1 << 20)

struct LineReader {
    EditLine *el;
    History *history;
    char *path; /* owned; NULL: no history file */
    bool keep;  /* lines go to the history */
    bool interrupted, line_empty; /* by Ctrl-C, and whether anything stood in the line */
    bool continued; /* the prompt of a further line */
    wchar_t *paste;  /* owned; grows */
    size_t paste_cap;
};

static LineReader *reader_of(EditLine *el)
{
    void *r = NULL;
    el_get(el, EL_CLIENTDATA, &r);
    return r;
}

static char *prompt(EditLine *el)
{
    static char first[] = ">>> ", further[] = "... ";
    return reader_of(el)->continued ? further : first;
}

static unsigned char on_interrupt(EditLine *el, int key)
{
    (void)key;
    LineReader *const r = reader_of(el);
    const LineInfo *const info = el_line(el);
    r->interrupted = true;
    r->line_empty = info->lastchar == info->buffer;
    return CC_EOF;
}

static unsigned char on_suspend(EditLine *el, int key)
{
    (void)key;
    el_set(el, EL_PREP_TERM, 0);
    raise(SIGTSTP);
    el_set(el, EL_PREP_TERM, 1);
    return CC_REDISPLAY;
}

/* A block that the terminal marks as pasted, to its end mark; carriage returns are its line breaks. */
static unsigned char on_paste(EditLine *el, int key)
{
    static const wchar_t end[] = L"\033[201~";
    const size_t end_len = sizeof end / sizeof *end - 1;
    LineReader *const r = reader_of(el);
    size_t n = 0;
    wchar_t c;
    (void)key;
    while (n < PASTE_CHARS_MAX && el_wgetc(el, &c) == 1) {
        void *p = r->paste;
        if (mem_grow(&p, &r->paste_cap, n + 2, sizeof *r->paste) != ST_OK)
            return CC_ERROR;
        r->paste = p;
        r->paste[n++] = c == L'\r' ? L'\n' : c;
        if (n >= end_len && wmemcmp(r->paste + n - end_len, end, end_len) == 0) {
            n -= end_len;
            break;
        }
    }
    if (n == 0)
        return CC_REFRESH;
    r->paste[n] = 0;
    return el_winsertstr(el, r->paste) == 0 ? CC_REFRESH : CC_ERROR;
}

static void bind_keys(EditLine *el)
{
    static const struct {
        const wchar_t *name, *help, *key;
        unsigned char (*fn)(EditLine *, int);
    } keys[] = {
        {L"plumb-interrupt", L"drop the line", L"^C", on_interrupt},
        {L"plumb-suspend", L"suspend the program", L"^Z", on_suspend},
        {L"plumb-paste", L"insert a pasted block", L"\\e[200~", on_paste},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        /* The narrow call copies both texts and never frees them. */
        el_wset(el, EL_ADDFN, keys[i].name, keys[i].help, keys[i].fn);
        el_wset(el, EL_BIND, keys[i].key, keys[i].name, NULL);
    }
    el_set(el, EL_BIND, "^R", "em-inc-search-prev", NULL);
}

static void load_history(LineReader *r)
{
    HistEvent ev;
    history(r->history, &ev, H_SETSIZE, HISTORY_LINES);
    history(r->history, &ev, H_SETUNIQUE, 1);
    if (r->path)
        history(r->history, &ev, H_LOAD, r->path);
    el_set(r->el, EL_HIST, history, r->history);
}

Status line_reader_create(LineReader **out, const char *history_path, Error *err)
{
    LineReader *const r = mem_alloc(1, sizeof *r);
    if (!r)
        return error_set(err, ST_NOMEM, "no memory for the line editor");
    r->keep = true;
    r->path = history_path ? mem_strdup(history_path) : NULL;
    r->el = el_init("plumb", stdin, stdout, stderr);
    r->history = history_init();
    if (!r->el || !r->history || (history_path && !r->path)) {
        line_reader_destroy(r);
        return error_set(err, ST_NOMEM, "cannot start the line editor");
    }
    el_set(r->el, EL_CLIENTDATA, r);
    el_set(r->el, EL_PROMPT, prompt);
    el_set(r->el, EL_EDITOR, "emacs");
    el_set(r->el, EL_SIGNAL, 1);
    el_set(r->el, EL_SETTY, "-d", "-isig", NULL);
    bind_keys(r->el);
    load_history(r);
    el_source(r->el, NULL); /* ~/.editrc */
    *out = r;
    return ST_OK;
}

void line_reader_destroy(LineReader *r)
{
    if (!r)
        return;
    if (r->history)
        history_end(r->history);
    if (r->el)
        el_end(r->el);
    mem_free(r->path);
    mem_free(r->paste);
    mem_free(r);
}

void line_reader_keep_history(LineReader *r, bool keep)
{
    r->keep = keep;
}

static void remember(LineReader *r, const char *text)
{
    HistEvent ev;
    if (!r->keep)
        return;
    history(r->history, &ev, H_ENTER, text);
    if (!r->path)
        return;
    const mode_t before = umask(077);
    history(r->history, &ev, H_SAVE, r->path);
    umask(before);
}

/* A Ctrl-C that came before the editor had the terminal: a signal, which the caller has blocked. */
static bool interrupt_is_pending(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    return sigtimedwait(&set, NULL, &(struct timespec){0}) == SIGINT;
}

/* The editor shows its prompt before it takes the terminal over; a key pressed in between would be a signal.
 * The terminal marks pasted blocks only while it is asked to: other programs may not expect it. */
static const char *read_line(LineReader *r, int *count)
{
    el_set(r->el, EL_PREP_TERM, 1);
    if (interrupt_is_pending()) {
        el_set(r->el, EL_PREP_TERM, 0);
        r->interrupted = r->line_empty = true;
        return NULL;
    }
    fputs("\033[?2004h", stdout);
    const char *const line = el_gets(r->el, count);
    fputs("\033[?2004l", stdout);
    fflush(stdout);
    return line;
}

/* One line, without its end, behind what is there; false: none. */
static bool append_line(LineReader *r, ByteBuf *out)
{
    int n = 0;
    r->interrupted = false;
    const char *const line = read_line(r, &n);
    if (!line || n <= 0)
        return false;
    const size_t len = (size_t)n - (line[n - 1] == '\n');
    return bytebuf_append(out, line, len) == ST_OK && bytebuf_cstr(out);
}

static bool ends_with(const ByteBuf *b, const char *end)
{
    const size_t n = strlen(end);
    return b->count >= n && memcmp(b->data + b->count - n, end, n) == 0;
}

/* Lines up to the one that ends with """; the marks go, and so do line breaks right beside them. */
static bool finish_quoted(LineReader *r, ByteBuf *out)
{
    memmove(out->data, out->data + 3, out->count - 3);
    out->count -= 3;
    r->continued = true;
    while (!ends_with(out, "\"\"\"")) {
        if ((out->count > 0 && bytebuf_append(out, "\n", 1) != ST_OK) || !append_line(r, out))
            return false;
    }
    out->count -= 3;
    out->count -= ends_with(out, "\n");
    return true;
}

static bool finish_continued(LineReader *r, ByteBuf *out)
{
    r->continued = true;
    while (ends_with(out, "\\")) {
        out->data[out->count - 1] = '\n';
        if (!append_line(r, out))
            return false;
    }
    return true;
}

LineResult line_reader_next(LineReader *r, ByteBuf *out, bool *was_empty)
{
    out->count = 0;
    r->continued = false;
    bool got = append_line(r, out);
    const bool first_line = !got;
    if (got && out->count >= 3 && memcmp(out->data, "\"\"\"", 3) == 0)
        got = finish_quoted(r, out);
    else if (got)
        got = finish_continued(r, out);
    if (!got) {
        *was_empty = first_line && r->line_empty;
        out->count = 0;
        return r->interrupted ? LINE_INTERRUPTED : LINE_END;
    }
    const char *const text = bytebuf_cstr(out);
    if (!text || strspn(text, " \t\n") == out->count)
        return LINE_EMPTY;
    remember(r, text);
    return LINE_TEXT;
}
