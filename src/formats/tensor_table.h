/* The named tensors that a format's reader finds in one file: a list in the order of the file, and an
 * index by name. Internal to src/formats and its tests. */
#ifndef PLUMB_FORMATS_TENSOR_TABLE_H
#define PLUMB_FORMATS_TENSOR_TABLE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/kv.h"
#include "base/strmap.h"
#include "formats/tensordir.h"

#define TENSORS_MAX 2000000     /* in one checkpoint; the largest published one has 150,000 */
#define TENSOR_NAME_MAX 1024    /* bytes */

typedef struct TensorTable TensorTable;

/* Zeroed is empty. */
struct TensorTable {
    TensorEntry *items; /* owned */
    size_t count, cap;
    StrMap index;       /* name → position */
    Arena names;        /* owned */
};

void tensor_table_free(TensorTable *t);

/* Append a copy of `entry` under a copy of `name` (entry->name is ignored). ST_CORRUPT for a name that
 * is empty, too long, holds a zero byte or is there already; ST_UNSUPPORTED for too many tensors. */
MUST_USE Status tensor_table_add(TensorTable *t, Str name, const TensorEntry *entry, Error *err);

/* NULL when absent */
const TensorEntry *tensor_table_find(const TensorTable *t, Str name);

/* The product of the dimensions into entry->elements and the bytes it takes into entry->bytes. ST_CORRUPT
 * when a number does not fit, or the last dimension (all of them for types packed without rows:
 * `whole`) is no multiple of the type's block. */
MUST_USE Status tensor_entry_size(TensorEntry *entry, bool whole, Error *err);

/* "[2, 3]" into buf; "[]" for a scalar. Returns buf. */
#define SHAPE_TEXT_MAX (TENSOR_DIMS_MAX * 22 + 3)
char *tensor_shape_text(char buf[SHAPE_TEXT_MAX], int ndim, const int64_t *dims);

#endif
