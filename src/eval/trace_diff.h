/* Where two traces part. */
#ifndef PLUMB_EVAL_TRACE_DIFF_H
#define PLUMB_EVAL_TRACE_DIFF_H

#include "base/error.h"

#include <stdint.h>

/* One tensor of both files. A difference counts when |a − b| > tolerance · max(1, largest |a|), or when
 * exactly one of the two is not a number. */
typedef struct {
    const char *name;
    bool shapes_differ, only_in_one;
    double max_difference, magnitude; /* largest |a − b|, largest |a| */
    int64_t row, column;              /* of the largest difference, the tensor seen as [rows, last dimension] */
    int64_t first_row;                /* with a difference that counts; −1: none */
    bool parts;                       /* some difference counts */
} TensorDiff;

typedef void (*TensorDiffFn)(void *arg, const TensorDiff *d);

/* Compare hidden.0, hidden.1, …, logits, then every other name in order; calls fn for each. *parted
 * says whether any part. */
MUST_USE Status trace_diff(const char *path_a, const char *path_b, double tolerance, TensorDiffFn fn, void *arg,
                           bool *parted, Error *err);

#endif
