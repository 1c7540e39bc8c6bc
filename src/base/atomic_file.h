/* A file that is replaced as a whole: written under a temporary name beside it, then fsynced and
 * renamed, so that a reader or a crash sees the old file or the new one and nothing between. */
#ifndef PLUMB_BASE_ATOMIC_FILE_H
#define PLUMB_BASE_ATOMIC_FILE_H

#include "base/error.h"
#include "base/fileio.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *path, *tmp; /* owned; NULL: not open */
    const Files *fs;
    FileHandle *handle;
} AtomicFile;

/* Creates "PATH.tmp-PID" among these files. On failure *f is untouched. Errors name the path. */
MUST_USE Status atomic_file_open(AtomicFile *f, const Files *fs, const char *path, Error *err);

/* Write at an offset, in any order; bytes never written are zero. */
MUST_USE Status atomic_file_write(AtomicFile *f, uint64_t offset, const void *data, size_t size, Error *err);

/* Make it durable under its own name and close it. On failure the old file is untouched and the
 * temporary one is removed. Either way *f is closed afterwards. */
MUST_USE Status atomic_file_commit(AtomicFile *f, Error *err);

/* Close and remove the temporary file; zeroed or closed is fine. */
void atomic_file_abandon(AtomicFile *f);

#endif
