/* Memory planning: one arena, values packed so that two of them share bytes only when no group needs
 * both. Whole groups are the unit of time, because inside one nothing is ordered.
 *
 * Greedy by size: the largest value first, each at the lowest offset where it overlaps no value whose
 * time overlaps its own. */
#include "backend/program_internal.h"

#include "base/mem.h"

#include <stdlib.h>

#define ARENA_ALIGN 64

typedef struct {
    ValueId id;
    size_t bytes;
} BySize;

static int larger_first(const void *a, const void *b)
{
    const BySize *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x->id - y->id;
}

static bool times_overlap(const Value *a, const Value *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset for v beside the values placed before it: start at 0 and move behind every
 * conflicting value until none is left. */
static size_t lowest_offset(const Program *p, const BySize *placed, int32_t count, const Value *v)
{
    size_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int32_t i = 0; i < count; i++) {
            const Value *o = &p->values[placed[i].id];
            const bool apart = offset >= o->offset + o->bytes || offset + v->bytes <= o->offset;
            if (apart || !times_overlap(o, v))
                continue;
            offset = o->offset + o->bytes;
            moved = true;
        }
    }
    return offset;
}

Status plan_memory(Program *p, Error *err)
{
    BySize *order = mem_alloc((size_t)p->value_count, sizeof *order);
    if (!order)
        return error_set(err, ST_NOMEM, "no memory to plan %d buffers", p->value_count);
    int32_t n = 0;
    for (ValueId i = 0; i < p->value_count; i++) {
        Value *v = &p->values[i];
        if (!v->in_arena)
            continue;
        v->bytes = (v->bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
        order[n++] = (BySize){i, v->bytes};
    }
    qsort(order, (size_t)n, sizeof *order, larger_first);
    p->arena_bytes = 0;
    for (int32_t i = 0; i < n; i++) {
        Value *v = &p->values[order[i].id];
        v->offset = lowest_offset(p, order, i, v);
        if (v->offset + v->bytes > p->arena_bytes)
            p->arena_bytes = v->offset + v->bytes;
    }
    mem_free(order);
    for (ValueId i = 0; i < p->value_count; i++) /* what it shares comes first in the array */
        if (p->values[i].alias >= 0)
            p->values[i].offset = p->values[p->values[i].alias].offset;
    return ST_OK;
}
