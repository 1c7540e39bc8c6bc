/* The file system as an interface that is passed in, for code whose promises are about crashes: the
 * trainer's checkpoints, the safetensors writer. files_real() is the machine's; tests pass a world in
 * memory that tears writes, forgets what was not synced and runs full (tests/world.h).
 *
 * What may be relied on is what POSIX promises and no more: bytes written are durable after sync of
 * the file; names made, renamed and removed are durable after sync_dir of their directory; a rename
 * happens wholly or not at all. Paths are borrowed until return. Any thread, one handle by one. */
#ifndef PLUMB_BASE_FILEIO_H
#define PLUMB_BASE_FILEIO_H

#include "base/error.h"
#include "base/mapfile.h"

#include <stddef.h>
#include <stdint.h>

typedef struct FileHandle FileHandle; /* each implementation has its own */

typedef enum {
    FILE_CREATE, /* a new file, or an old one emptied */
    FILE_CHANGE, /* an old one as it is; ST_NOTFOUND when there is none */
} FileMode;

/* One name of a directory, without the directory; "." and ".." never appear. */
typedef Status (*FileNameFn)(void *arg, const char *name, bool is_dir);

typedef struct {
    void *self; /* first argument of every function */

    Status (*open)(void *self, FileHandle **out, const char *path, FileMode mode, Error *err);
    /* At any offset; a gap before it is zeros. All of `size` or an error. */
    Status (*write)(void *self, FileHandle *f, uint64_t offset, const void *data, size_t size, Error *err);
    Status (*set_size)(void *self, FileHandle *f, uint64_t size, Error *err);
    Status (*sync)(void *self, FileHandle *f, Error *err);
    /* The handle is gone afterwards, also on failure. NULL is fine. */
    Status (*close)(void *self, FileHandle *f, Error *err);

    /* A whole file for reading; unmap gives it back. */
    Status (*map)(void *self, MapFile *out, const char *path, Error *err);
    void (*unmap)(void *self, MapFile *m);

    Status (*make_dir)(void *self, const char *path, Error *err); /* ST_OK when it is there already */
    Status (*sync_dir)(void *self, const char *path, Error *err);
    Status (*rename)(void *self, const char *from, const char *to, Error *err); /* replaces a file */
    Status (*remove)(void *self, const char *path, Error *err); /* a file, a link or an empty directory */
    Status (*make_link)(void *self, const char *target, const char *path, Error *err); /* symbolic */
    /* In no order; `fn` may stop it by a status, which is returned. Names made or removed meanwhile may
     * be missing or there. */
    Status (*list)(void *self, const char *path, FileNameFn fn, void *arg, Error *err);
    Status (*space)(void *self, const char *path, uint64_t *bytes, Error *err); /* free, for this user */

    /* Hold `path` (made when missing) for this process until close; ST_BUSY when another one does. A
     * process that dies lets go. */
    Status (*lock)(void *self, FileHandle **out, const char *path, Error *err);
} Files;

const Files *files_real(void);

/* ---- in terms of these ------------------------------------------------------------------------- */

/* "DIR/NAME" into a buffer; ST_INVALID when it does not fit. */
#define FILES_PATH_MAX 4096
MUST_USE Status files_join(char out[FILES_PATH_MAX], const char *dir, const char *name, Error *err);

/* Sync the directory in which `path` has its name. */
MUST_USE Status files_sync_parent(const Files *fs, const char *path, Error *err);

/* Make a file durable with this content; its name still needs sync_dir. */
MUST_USE Status files_write_new(const Files *fs, const char *path, const void *data, size_t size, Error *err);

/* Read a whole file of at most `max` bytes; *out is owned by the caller (mem_free), with a zero byte
 * behind the last one that *size does not count. */
MUST_USE Status files_read(const Files *fs, uint8_t **out, size_t *size, const char *path, size_t max, Error *err);

/* Is there anything of this name? A directory that cannot be read counts as empty. */
bool files_exist(const Files *fs, const char *dir, const char *name);

/* Remove a directory with everything in it; ST_OK when it is not there. */
MUST_USE Status files_remove_tree(const Files *fs, const char *path, Error *err);

#endif
