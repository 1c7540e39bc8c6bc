/* Memory with one lifetime: many small pieces, given back all at once.
 *
 * Pieces come from blocks that grow with the arena, so they never move. Zeroed is an empty arena.
 * One thread at a time. */
#ifndef PLUMB_BASE_ARENA_H
#define PLUMB_BASE_ARENA_H

#include <stddef.h>

typedef struct {
    struct ArenaBlock *blocks; /* owned, newest first */
    size_t bytes;              /* handed out so far */
} Arena;

/* Zeroed bytes aligned for any object; NULL without memory. */
void *arena_alloc(Arena *a, size_t bytes);

/* A terminated copy of n bytes (unaligned); NULL without memory. */
char *arena_strndup(Arena *a, const char *s, size_t n);

void arena_free(Arena *a); /* everything; the arena is empty again */

#endif
