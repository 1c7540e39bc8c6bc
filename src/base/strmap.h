/* A hash map from byte strings to numbers, for names that come from files.
 *
 * Keys are borrowed: their bytes must live as long as the map. The hash is SipHash-1-3 (Aumasson and
 * Bernstein, 2012) under a random key per map, so that no file can choose names that collide.
 * One thread at a time while adding; any thread afterwards. */
#ifndef PLUMB_BASE_STRMAP_H
#define PLUMB_BASE_STRMAP_H

#include "base/error.h"
#include "base/kv.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    struct StrMapSlot *slots; /* owned */
    size_t cap, count;        /* cap: a power of two */
    uint64_t key[2];
} StrMap;

/* A zeroed StrMap is empty and ready. */
void strmap_free(StrMap *m);

/* Add a key that is not there yet. ST_NOMEM; ST_INVALID when it is there (the map is unchanged). */
MUST_USE Status strmap_add(StrMap *m, Str key, int64_t value);

/* false, and *value untouched, when the key is absent. `value` may be NULL. */
bool strmap_find(const StrMap *m, Str key, int64_t *value);

#endif
