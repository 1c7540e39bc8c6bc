/* Running one program and watching it: no shell, no input, its own process group. Internal to the store. */
#ifndef PLUMB_STORE_CHILD_H
#define PLUMB_STORE_CHILD_H

#include "base/buf.h"
#include "base/error.h"

#include <stdint.h>

#define CHILD_TEXT_MAX 16384

typedef struct {
    const char *const *argv; /* ends with NULL; argv[0] is looked up in PATH */
    const char *dir;         /* working directory and TMPDIR */
    /* Standard output, as it comes; NULL: it is collected with standard error. A failure ends the child. */
    Status (*on_output)(void *arg, const uint8_t *data, size_t size, Error *err);
    bool (*tick)(void *arg); /* about ten times a second; false ends the child: ST_CANCELLED. May be NULL */
    void *arg;
} ChildParams;

typedef struct {
    int exit_code; /* 128 + signal when it was killed */
    ByteBuf text;  /* the last CHILD_TEXT_MAX bytes of its messages, terminated; owned */
} ChildResult;

/* ST_NOTFOUND: there is no such program. A child that is ended gets SIGTERM, and SIGKILL two seconds later;
 * no process of its group is left when this returns. `result` is set (text may be empty) in every case. */
MUST_USE Status child_run(const ChildParams *p, ChildResult *result, Error *err);

#endif
