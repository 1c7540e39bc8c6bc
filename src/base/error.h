/* Errors the outside world can cause, as values.
 *
 * The returned Status says what kind of thing happened, for code; the Error says what happened, for
 * people: which object, where, what was found and what was expected, in one line. Library code never
 * prints and never exits. `err` is always the last argument and may be NULL. */
#ifndef PLUMB_BASE_ERROR_H
#define PLUMB_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* name, text, exit code of the program (spec: ux.md §2.6), code word of --json errors */
#define STATUS_TABLE(X)                                                     \
    X(ST_OK, "ok", 0, "ok")                                                 \
    X(ST_INTERNAL, "internal error", 1, "internal")                         \
    X(ST_USAGE, "wrong usage", 2, "usage")                                  \
    X(ST_INVALID, "invalid value", 1, "invalid")                            \
    X(ST_NOTFOUND, "not found", 3, "not_found")                             \
    X(ST_CORRUPT, "invalid or corrupt file", 4, "corrupt")                  \
    X(ST_UNSUPPORTED, "not supported", 1, "unsupported")                    \
    X(ST_NOMEM, "not enough memory", 5, "no_memory")                        \
    X(ST_NOSPACE, "no space left", 5, "no_space")                           \
    X(ST_IO, "input/output error", 1, "io")                                 \
    X(ST_NETWORK, "network failure", 6, "network")                          \
    X(ST_FULL, "context full", 1, "context_full")                           \
    X(ST_MISMATCH, "comparison did not hold", 10, "mismatch")               \
    X(ST_BUSY, "busy, try again", 75, "busy")                               \
    X(ST_CANCELLED, "interrupted", 130, "cancelled")

typedef enum {
#define X(name, text, code, word) name,
    STATUS_TABLE(X)
#undef X
    ST_COUNT
} Status;

typedef struct {
    Status status;
    char msg[512];
} Error;

/* Set the message and return `st`, so that `return error_set(err, ST_CORRUPT, "…", …)` reads well.
 * Control bytes in the formatted message (names come from files) are replaced by '?'. */
Status error_set(Error *err, Status st, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Put "context: " in front of the message; returns `st`. */
Status error_context(Error *err, Status st, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As error_set, with ": strerror(errno)" behind the text; ENOSPC → ST_NOSPACE, ENOENT → ST_NOTFOUND,
 * ENOMEM → ST_NOMEM, else ST_IO. */
Status error_errno(Error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

const char *status_text(Status st);
const char *status_word(Status st);
int status_exit_code(Status st);

/* Leave the function through its one `out:` label when a call fails. Needs a local `Status st`. */
#define TRY(expr)              \
    do {                       \
        st = (expr);           \
        if (st != ST_OK)       \
            goto out;          \
    } while (0)

/* Our own mistakes, never input: stays on in release. Prints the condition and aborts. */
#define CHECK(cond) ((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))
_Noreturn void check_failed(const char *cond, const char *file, int line);

#endif
