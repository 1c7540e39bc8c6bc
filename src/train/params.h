/* The parameters of a model in training: masters in float, gradients, optimiser state, and the packed forms that
 * products read. One row of the tensor table each, in one block of memory each; masters lie as in checkpoints.
 *
 * The masters are what training moves; views() shows them packed for the kernels and must be refreshed (params_pack)
 * after they moved. Packing and clearing work on the pool; otherwise one thread at a time. */
#ifndef PLUMB_TRAIN_PARAMS_H
#define PLUMB_TRAIN_PARAMS_H

#include "backend/program.h"
#include "base/pool.h"
#include "formats/tensordir.h"
#include "models/model.h"

typedef struct Params Params;

/* One row. Tables of ids have only `ids`. `count` numbers, row-major. */
typedef struct {
    const TensorRow *row; /* borrowed from the spec */
    int64_t count;
    float *master, *gradient;
    float *first, *second; /* moments of the optimiser; second NULL when it needs one only */
    int32_t *ids;
} Param;

typedef struct {
    bool muon; /* matrices keep one moment */
    bool bf16; /* matrices are packed as pairs of BF16, but for rows that are float_only; masters stay float */
} ParamsKind;

/* Memory for all rows of the spec, which is borrowed for the parameters' life; masters are zero. Rows that are not
 * trainable have neither gradient nor moments, but a balance bias has a gradient (its counts) and no moments. *out is
 * owned. */
MUST_USE Status params_create(Params **out, const ModelSpec *spec, const ParamsKind *kind, Error *err);
void params_destroy(Params *p); /* NULL is fine */

/* As the rows say (TensorInit): numbers are a function of (seed, row, element). */
void params_initialise(Params *p, uint64_t seed);
/* From a checkpoint with the rows of `stored` (names as they are there), which has the same rows as the parameters' spec
 * in the same order. ST_CORRUPT names what does not fit. */
MUST_USE Status params_load(Params *p, const ModelSpec *stored, const TensorDir *dir, Error *err);

int32_t params_count(const Params *p);
Param *params_at(Params *p, int32_t row);
int64_t params_total(const Params *p); /* numbers of all rows, tables left out */
double params_active(const Params *p); /* of them, what one token meets */

/* Gradients of all rows become zero. */
void params_clear_gradients(Params *p, ThreadPool *pool);
/* Packed forms from masters. */
void params_pack(Params *p, ThreadPool *pool);

const WeightView *params_views(const Params *p);    /* by row */
void *const *params_gradients(const Params *p);     /* by row, for a pass; NULL where there is none */
const bool *params_wanted(const Params *p);         /* by row: has a gradient */

#endif
