/* How many parameters a checkpoint holds, judged by the names of its tensors alone, so that it works for
 * families that we cannot run.
 *
 *  - A parameter is an element of a tensor of real numbers. Two FP4 weights in a byte are two (F4; and I8
 *    or U8 that has a scale beside it). Scales of quantised weights, integer tables (token → expert) and
 *    rotary constants are none.
 *  - A head that the configuration ties to the embedding counts once, also where the file holds both.
 *  - Layers that only predict further tokens (MTP, drafters) are counted apart: published totals leave
 *    them out.
 *  - Active: what one token is multiplied with. Of routed experts that is used/experts of them all. The
 *    embedding table is counted in; of an untied one a token reads one row, so the figure without it is
 *    given as well.
 * DeepSeek-V3 gives 671.0e9 in total and 37.6e9 active (36.6e9 without the table), as published. */
#ifndef PLUMB_FORMATS_CHECKPOINT_COUNT_H
#define PLUMB_FORMATS_CHECKPOINT_COUNT_H

#include "formats/tensordir.h"

typedef struct {
    int64_t total;      /* parameters, without the drafter */
    int64_t active;     /* of these, per token */
    int64_t embedding;  /* of these, in an embedding table that is not the head too (else 0) */
    int64_t experts;    /* of total, in routed experts */
    int64_t drafter;    /* parameters of layers that predict further tokens */
    int64_t scales;     /* elements of scale tensors */
    int64_t tables;     /* elements of integer tables and constants */
    int64_t expert_count, expert_used; /* per layer, by the metadata; 0: no experts */
    size_t bytes;       /* of all tensors */
    struct {
        int64_t tensors;
        size_t bytes;
    } by_dtype[DT_COUNT];
} CheckpointCount;

/* Cannot fail; metadata that is missing or absurd makes every expert active. */
void checkpoint_count(CheckpointCount *out, const TensorDir *dir);

#endif
