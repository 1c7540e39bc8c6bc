/* What a row of an attention sees: a run of keys, and a run of entries or a list of them. Forward and
 * backward must agree on it. */
#ifndef PLUMB_KERNELS_LANES_SEEN_H
#define PLUMB_KERNELS_LANES_SEEN_H

#include "kernels/args.h"
#include "kernels/lanes/vec.h"

/* Row `row` sees the keys of positions begin … position + row. */
INLINE int64_t seen_key_begin(const AttentionArgs *a, int64_t row)
{
    const int64_t end = a->position + row + 1;
    return a->window > 0 && end > a->window ? end - a->window : 0;
}

/* How many entries it may see, from 0 on. */
INLINE int64_t seen_entries(const AttentionArgs *a, int64_t row)
{
    return (a->position + row + 1) / a->entry_tokens;
}

/* How many of its list it sees: up to −1, or to the first that is not there yet. */
INLINE int64_t seen_chosen(const AttentionArgs *a, int64_t row)
{
    const int32_t *const list = a->chosen + row * a->chosen_count;
    const int64_t visible = seen_entries(a, row);
    int64_t n = 0;
    while (n < a->chosen_count && list[n] >= 0 && list[n] < visible)
        n++;
    return n;
}

/* An end of a run, as a place in a page: 0 … 64. */
INLINE uint8_t seen_in_page(int64_t at, int64_t page)
{
    const int64_t i = at - page * ATTENTION_PAGE;
    return (uint8_t)(i < 0 ? 0 : i > ATTENTION_PAGE ? ATTENTION_PAGE : i);
}

#endif
