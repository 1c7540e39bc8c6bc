/* The speed of training steps on random tokens: forward, back and optimiser, as `plumb train` runs them. */
#ifndef PLUMB_EVAL_BENCH_TRAIN_H
#define PLUMB_EVAL_BENCH_TRAIN_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *shape;  /* "smollm2-135m", or the path of a recipe, whose model and optimiser are taken */
    int64_t batch, length; /* sequences of a step, tokens of each; 0: the recipe's, or 2 × 256 */
    int64_t steps;      /* measured, behind one that is not; 0: 5 */
    int threads;        /* 0: all processors this process may use */
    bool recompute;
    bool bf16;          /* products of BF16 factors */
} BenchTrainParams;

typedef struct {
    int64_t parameters;
    double active;          /* parameters that a token meets */
    int64_t rows;           /* tokens of a step */
    int threads;
    const char *level;
    double step_seconds, best_seconds; /* median and best */
    double pass_seconds, optimiser_seconds; /* parts of the median step */
    double gflops;          /* of the pass: products of the op table over its time, attention left out */
    double peak_gflops;     /* multiply-adds measured in the same run, in the mode's type */
    double loss;            /* of the last step */
} BenchTrainResult;

MUST_USE Status bench_train_run(BenchTrainResult *r, const BenchTrainParams *p, Error *err);

#endif
