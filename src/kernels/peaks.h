/* What this machine can do at most, measured: the bounds that benchmarks print beside their results.
 *
 * Every number is the best of several short runs, because on a machine shared with others the best one
 * is the nearest to the truth. */
#ifndef PLUMB_KERNELS_PEAKS_H
#define PLUMB_KERNELS_PEAKS_H

#include "base/error.h"
#include "base/pool.h"
#include "kernels/kernels.h"

typedef struct {
    double flops;      /* a second: float (double at level f64) multiply-adds, each counted as two */
    double bf16_flops; /* the same of the products of kernels/bf16.h; flops where they are float multiply-adds */
    double byte_ops;   /* a second: products of bytes and their sums, each pair counted as two */
    double read_bytes; /* a second: reading memory that is in no cache, best of 1 … all threads */
    int read_threads;  /* with how many threads that was */
} Peaks;

/* Measure with the workers of `pool` and the instructions of `k`; takes about 0.1 s for each of the two
 * rates and 0.1 s per number of threads tried for reading. Allocates PEAKS_BYTES for the time of the
 * call; ST_NOMEM otherwise, with *out untouched. No other job may run on the pool. */
#define PEAKS_BYTES ((size_t)192 << 20)
MUST_USE Status peaks_measure(Peaks *out, const Kernels *k, ThreadPool *pool, Error *err);

#endif
