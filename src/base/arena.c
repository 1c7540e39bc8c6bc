/* See arena.h. Blocks double from 1 KiB to 256 KiB; a larger piece gets a block of its own size. */
#include "base/arena.h"

#include "base/mem.h"

#include <stdalign.h>
#include <string.h>

enum { BLOCK_MIN = 1 << 10, BLOCK_MAX = 1 << 18 };

struct ArenaBlock {
    struct ArenaBlock *next;
    size_t used, size;
    alignas(max_align_t) char bytes[];
};

static struct ArenaBlock *add_block(Arena *a, size_t bytes)
{
    size_t size = BLOCK_MIN;
    if (a->blocks)
        size = a->blocks->size < BLOCK_MAX / 2 ? a->blocks->size * 2 : BLOCK_MAX;
    if (size < bytes)
        size = bytes;
    size_t whole;
    if (!size_add(size, sizeof(struct ArenaBlock), &whole))
        return NULL;
    struct ArenaBlock *b = mem_alloc(whole, 1);
    if (!b)
        return NULL;
    b->size = size;
    b->next = a->blocks;
    a->blocks = b;
    return b;
}

static void *take(Arena *a, size_t bytes, size_t align)
{
    struct ArenaBlock *b = a->blocks;
    size_t at = b ? (b->used + align - 1) / align * align : 0;
    if (!b || at > b->size || b->size - at < bytes) {
        b = add_block(a, bytes);
        if (!b)
            return NULL;
        at = 0;
    }
    b->used = at + bytes;
    a->bytes += bytes;
    return b->bytes + at;
}

void *arena_alloc(Arena *a, size_t bytes)
{
    return take(a, bytes, alignof(max_align_t));
}

char *arena_strndup(Arena *a, const char *s, size_t n)
{
    size_t size;
    char *copy = size_add(n, 1, &size) ? take(a, size, 1) : NULL;
    if (!copy)
        return NULL;
    if (n)
        memcpy(copy, s, n);
    copy[n] = 0;
    return copy;
}

void arena_free(Arena *a)
{
    while (a->blocks) {
        struct ArenaBlock *next = a->blocks->next;
        mem_free(a->blocks);
        a->blocks = next;
    }
    *a = (Arena){0};
}
