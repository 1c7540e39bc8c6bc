/* Files mapped read-only, and small files read whole. */
#ifndef PLUMB_BASE_MAPFILE_H
#define PLUMB_BASE_MAPFILE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *data; /* owned mapping; NULL for an empty file */
    size_t size;
} MapFile;

/* Map a regular file. Errors name the path: not found, a directory, not readable. On failure *m is
 * untouched. Immutable after open; any thread. */
MUST_USE Status mapfile_open(MapFile *m, const char *path, Error *err);
void mapfile_close(MapFile *m); /* zeroed or closed twice is fine */

/* Read a whole file of at most `max` bytes; *out is owned by the caller (mem_free), with a zero byte
 * behind the last one that *size does not count. "-" is standard input. */
MUST_USE Status file_read_all(uint8_t **out, size_t *size, const char *path, size_t max, Error *err);

/* The same for the file `name` in the directory that `path` is, or that its file lies in. ST_NOTFOUND: not there. */
MUST_USE Status file_read_beside(uint8_t **out, size_t *size, const char *path, const char *name, size_t max, Error *err);

/* Replace a file atomically: written to "PATH.tmp-PID" beside it, fsynced, renamed, directory fsynced.
 * On failure the old file is untouched and the temporary one is removed. */
MUST_USE Status file_write_atomic(const char *path, const void *data, size_t size, Error *err);

#endif
