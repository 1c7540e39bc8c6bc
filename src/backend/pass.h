/* Forward and back over a packed batch: a differentiated graph with the memory of its runs.
 *
 * A batch is whole sequences that lie one behind the other and see nothing of each other. Its loss is the weighted
 * sum over rows of the graph's CROSS_ENTROPY nodes, which are its outputs; the gradients are added to what the caller's
 * rows hold. Both are the same bits for any number of threads. One thread at a time. */
#ifndef PLUMB_BACKEND_PASS_H
#define PLUMB_BACKEND_PASS_H

#include "backend/program.h"
#include "backend/state.h"
#include "base/pool.h"

typedef struct {
    int64_t row0, rows;
} PassSequence;

typedef struct {
    int64_t rows; /* what the sequences cover, from row 0 on without holes */
    const int32_t *ids, *next_ids;              /* as in Batch */
    const int32_t *targets[BATCH_TARGETS];
    const float *target_weights[BATCH_TARGETS];
    const PassSequence *sequences;
    int64_t sequence_count;
    double balance_scale;
} PassBatch;

typedef struct Pass Pass;

/* The limits are those of one batch. `params` as for program_lower (rows_max and logit_rows_max are taken from here).
 * The graph is read only during the call; what params borrows is borrowed for the pass's life. *out is owned. */
MUST_USE Status pass_create(Pass **out, const Graph *g, const LowerParams *params, int64_t rows_max, int64_t sequences_max,
                            ThreadPool *pool, Error *err);
void pass_destroy(Pass *p); /* NULL is fine */

/* gradients: see RunMemory (NULL: the graph was not differentiated). losses [graph outputs] = the weighted sums, in row
 * order, in double. */
void pass_run(Pass *p, const PassBatch *batch, void *const *gradients, double *losses);

size_t pass_bytes(const Pass *p); /* memory of activations and state */
double pass_flops(const Pass *p, int64_t rows);

#endif
