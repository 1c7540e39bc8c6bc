/* Error values: formatting, context, and the texts of the status table. */
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text;
    int exit_code;
    const char *word;
} statuses[ST_COUNT] = {
#define X(name, text, code, word) {text, code, word},
    STATUS_TABLE(X)
#undef X
};

const char *status_text(Status st)
{
    return st < ST_COUNT ? statuses[st].text : "unknown status";
}

const char *status_word(Status st)
{
    return st < ST_COUNT ? statuses[st].word : "internal";
}

int status_exit_code(Status st)
{
    return st < ST_COUNT ? statuses[st].exit_code : 1;
}

/* Names inside messages come from files: keep a terminal safe and the message one line. */
static void replace_controls(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
}

Status error_set(Error *err, Status st, const char *fmt, ...)
{
    if (!err)
        return st;
    va_list ap;
    va_start(ap, fmt);
    err->status = st;
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    replace_controls(err->msg);
    return st;
}

Status error_context(Error *err, Status st, const char *fmt, ...)
{
    if (!err)
        return st;
    char old[sizeof err->msg];
    memcpy(old, err->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->msg) {
        const size_t left = sizeof err->msg - (size_t)n;
        const int m = snprintf(err->msg + n, left, ": %s", old);
        if (m < 0 || (size_t)m >= left)
            memcpy(err->msg + sizeof err->msg - 4, "...", 4);
    }
    err->status = st;
    replace_controls(err->msg);
    return st;
}

static Status status_of_errno(int e)
{
    switch (e) {
    case ENOSPC: return ST_NOSPACE;
    case ENOENT: return ST_NOTFOUND;
    case ENOMEM: return ST_NOMEM;
    default: return ST_IO;
    }
}

Status error_errno(Error *err, const char *fmt, ...)
{
    const int e = errno;
    const Status st = status_of_errno(e);
    if (!err)
        return st;
    char text[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(err, st, "%s: %s", text, strerror(e));
}

_Noreturn void check_failed(const char *cond, const char *file, int line)
{
    fprintf(stderr, "plumb: internal check failed: %s (%s:%d)\n", cond, file, line);
    abort();
}
