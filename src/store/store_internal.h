/* What the files of the store share among themselves and with their tests. */
#ifndef PLUMB_STORE_INTERNAL_H
#define PLUMB_STORE_INTERNAL_H

#include "base/buf.h"
#include "store/store.h"

#define MANIFEST_VERSION 1

struct Store {
    char *dir; /* owned */
    int lock_fd; /* -1: not locked */
};

/* ---- manifest.c ---- */

/* Fill the fields from `title` to `bytes`. On failure those read so far are in place, for the owner to free. */
MUST_USE Status manifest_parse(StoreModel *m, const void *text, size_t size, Error *err);
/* The text of a manifest, behind what `out` holds. */
MUST_USE Status manifest_write(ByteBuf *out, const StoreModel *m, Error *err);

/* ---- embedded.c ---- */

typedef struct {
    CatalogueFile *items; /* owned */
    size_t count;         /* at least 1 */
} ManifestFiles;

/* The manifest.json of a directory that 'plumb export' wrote. On failure nothing is owned. */
MUST_USE Status manifest_parse_files(ManifestFiles *out, const void *text, size_t size, Error *err);
void manifest_files_free(ManifestFiles *f); /* zeroed is fine */

/* Where a model that comes with Plumb lies, with its `problem` if a file is missing or of another size.
 * ST_NOTFOUND: nowhere. */
MUST_USE Status embedded_find(const Store *s, const CatalogueModel *known, StoreModel *out, Error *err);
/* All its files have their digests; else ST_CORRUPT. */
MUST_USE Status embedded_verify(const StoreModel *m, Error *err);

/* ---- store_fs.c ---- */

/* "a/b/c" from parts, NULL at their end; NULL: no memory. Owned by the caller. */
char *path_join(const char *first, ...) __attribute__((sentinel));
/* Make a directory with its parents; each new one is synced into its parent. */
MUST_USE Status fs_make_dirs(const char *path, Error *err);
/* Remove a tree without following links; a missing one is fine. */
MUST_USE Status fs_remove_tree(const char *path, Error *err);
/* Bytes of all regular files under `path` and the largest one of them; errors count as nothing. */
int64_t fs_tree_bytes(const char *path, int64_t *largest);
MUST_USE Status fs_sync_dir(const char *path, Error *err);
/* Bytes free for this user on the file system of `path` (or of its nearest parent); INT64_MAX: unknown. */
int64_t fs_free_bytes(const char *path);
/* Size of a regular file, links not followed; -1: there is none. */
int64_t fs_file_bytes(const char *path);

/* ---- store.c ---- */

/* "DIR/blobs/sha256-HEX"; NULL: no memory. */
char *store_blob_path(const Store *s, const char *sha256);
/* What is in `m` becomes DIR/manifests/…; the lock is held. */
MUST_USE Status store_write_manifest(Store *s, const StoreModel *m, Error *err);

#endif
