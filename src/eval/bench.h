/* How fast a model runs here, beside what the machine allows.
 *
 * Bounds are measured in the same run: decoding reads every matrix once a token, so its bound is the best
 * read bandwidth of 1…N threads over a buffer that fits in no cache, divided by those bytes; a prompt is
 * bound by the processor's rate of multiply-adds in the model's arithmetic. Each figure is the best of
 * several repetitions, which a busy machine disturbs least. */
#ifndef PLUMB_EVAL_BENCH_H
#define PLUMB_EVAL_BENCH_H

#include "base/error.h"
#include "engine/engine.h"

typedef struct {
    int64_t prompt; /* tokens of the prompt; 0: no prompt test */
    int64_t decode; /* tokens decoded one by one from an empty context; 0: no decode test */
    int repeats;    /* at least 1 */
} BenchParams;

typedef struct {
    double best, median; /* tokens a second */
    double bound, ratio; /* tokens a second that the machine allows; best / bound */
} BenchFigure;

typedef struct {
    BenchFigure prefill, decode;
    double read_gb_per_s; /* measured */
    double peak_gops;     /* measured, in the model's arithmetic: 2 operations a multiply-add */
    double token_bytes, prompt_token_ops;
} BenchResult;

MUST_USE Status bench_run(BenchResult *out, Model *m, const BenchParams *p, Error *err);

#endif
