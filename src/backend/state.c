/* State pools: see state.h. */
#include "backend/state.h"

#include "base/mem.h"

#include <string.h>

int64_t state_part_pages(const StatePart *part, int64_t positions)
{
    const int64_t entries = positions / state_part_tokens(part);
    return (entries + ATTENTION_PAGE - 1) / ATTENTION_PAGE;
}

size_t state_bytes(const StatePart *parts, int32_t count, Dtype type, int64_t positions)
{
    size_t bytes = 0;
    for (int32_t i = 0; i < count; i++)
        bytes += (size_t)state_part_pages(&parts[i], positions) * state_layout(&parts[i], type).page_bytes;
    return bytes;
}

/* Pages of a part for `sequences` sequences with `positions` in all: each may leave one unfinished. */
static int64_t pool_pages(const StatePart *part, int64_t positions, int64_t sequences)
{
    return positions / state_part_tokens(part) / ATTENTION_PAGE + sequences;
}

MUST_USE static Status allocate(StatePool *p, int64_t positions, Dtype type, Error *err)
{
    int64_t pages = 0;
    p->first = mem_alloc((size_t)p->count + 1, sizeof *p->first);
    p->used = mem_alloc((size_t)p->count, sizeof *p->used);
    p->part_pages = mem_alloc((size_t)(p->sequences * p->count), sizeof *p->part_pages);
    if (!p->first || !p->used || !p->part_pages)
        return error_set(err, ST_NOMEM, "no memory for the tables of %d state parts", p->count);
    for (int32_t i = 0; i < p->count; i++) {
        const int64_t n = pool_pages(&p->parts[i], positions, p->sequences);
        size_t bytes;
        p->first[i] = pages;
        pages += n;
        if (!size_mul((size_t)n, state_layout(&p->parts[i], type).page_bytes, &bytes) ||
            !size_add(p->bytes, bytes, &p->bytes))
            return error_set(err, ST_NOMEM, "a state of %lld positions is too large", (long long)positions);
    }
    p->first[p->count] = pages;
    p->pages = mem_alloc((size_t)pages, sizeof *p->pages);
    p->memory = mem_alloc_pages(p->bytes);
    if (!p->pages || !p->memory)
        return error_set(err, ST_NOMEM, "no memory for a state of %lld positions (%zu MB)", (long long)positions,
                         p->bytes >> 20);
    return ST_OK;
}

/* Pages of all parts for the same positions lie together. */
static void place_pages(StatePool *p, Dtype type)
{
    uint8_t *at = p->memory;
    bool placed = true;
    for (int64_t n = 0; placed; n++) {
        placed = false;
        for (int32_t i = 0; i < p->count; i++) {
            if (p->first[i] + n >= p->first[i + 1])
                continue;
            p->pages[p->first[i] + n] = at;
            at += state_layout(&p->parts[i], type).page_bytes;
            placed = true;
        }
    }
}

Status state_pool_init(StatePool *p, const StatePart *parts, int32_t count, Dtype type, int64_t positions,
                       int64_t sequences, Error *err)
{
    *p = (StatePool){.parts = parts, .count = count, .sequences = sequences};
    const Status st = allocate(p, positions, type, err);
    if (st == ST_OK)
        place_pages(p, type);
    else
        state_pool_deinit(p);
    return st;
}

void state_pool_deinit(StatePool *p)
{
    mem_free_pages(p->memory, p->bytes);
    mem_free(p->pages);
    mem_free(p->first);
    mem_free(p->used);
    mem_free(p->part_pages);
    *p = (StatePool){0};
}

void state_pool_reset(StatePool *p)
{
    p->given = 0;
    memset(p->used, 0, (size_t)p->count * sizeof *p->used);
}

void *const *const *state_pool_give(StatePool *p, int64_t positions)
{
    CHECK(p->given < p->sequences);
    void ***table = p->part_pages + p->given++ * p->count;
    for (int32_t i = 0; i < p->count; i++) {
        table[i] = p->pages + p->first[i] + p->used[i];
        p->used[i] += state_part_pages(&p->parts[i], positions);
        CHECK(p->first[i] + p->used[i] <= p->first[i + 1]);
    }
    return (void *const *const *)table;
}
