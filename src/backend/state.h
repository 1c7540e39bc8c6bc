/* Memory for the state of sequences: pages of every part, and the tables through which kernels reach them. */
#ifndef PLUMB_BACKEND_STATE_H
#define PLUMB_BACKEND_STATE_H

#include "backend/program.h"

/* Pages of one sequence of up to `positions` positions: of one part, and the bytes of all parts. */
int64_t state_part_pages(const StatePart *part, int64_t positions);
size_t state_bytes(const StatePart *parts, int32_t count, Dtype type, int64_t positions);

/* A pool of pages for up to `sequences` sequences that together have up to `positions` positions. */
typedef struct {
    const StatePart *parts; /* borrowed */
    int32_t count;
    uint8_t *memory; /* owned pages */
    size_t bytes;
    void **pages;        /* owned: all pages, part by part */
    int64_t *first;      /* owned; [count+1]: where a part's pages begin in `pages` */
    int64_t *used;       /* owned; [count] pages given out */
    void ***part_pages;  /* owned; [sequences][count] */
    int64_t sequences, given;
} StatePool;

/* On failure nothing is owned. */
MUST_USE Status state_pool_init(StatePool *p, const StatePart *parts, int32_t count, Dtype type, int64_t positions,
                                int64_t sequences, Error *err);
void state_pool_deinit(StatePool *p); /* zeroed is fine */

/* Take everything back, and give pages to the next sequence of `positions`: what BatchSequence wants. What they
 * hold is left over from before. CHECKs the limits. One thread at a time. */
void state_pool_reset(StatePool *p);
void *const *const *state_pool_give(StatePool *p, int64_t positions);

#endif
