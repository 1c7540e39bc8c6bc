/* From logits to the next id.
 *
 * Order: penalties and bias on logits → temperature → top-k → softmax → top-p → min-p → draw.
 * temperature 0 is greedy (largest logit, smaller id on ties). The draw at position p uses a random
 * number keyed by (seed, sequence, p) only, so a conversation can be replayed from any point. */
#ifndef PLUMB_ENGINE_SAMPLER_H
#define PLUMB_ENGINE_SAMPLER_H

#include "base/error.h"

#include <stdint.h>

typedef struct {
    int32_t id;
    float bias; /* added to the logit; -INFINITY forbids the id */
} LogitBias;

typedef struct {
    double temperature;        /* 0: greedy; default 0.8 */
    int64_t top_k;             /* 0: off; default 40 */
    double top_p;              /* 1: off; default 0.95 */
    double min_p;              /* 0: off; default 0.05 */
    double repetition_penalty; /* 1: off. Seen ids: logit > 0 divided, else multiplied (CTRL) */
    double presence_penalty;   /* 0: off. Subtracted once from seen ids */
    double frequency_penalty;  /* 0: off. Subtracted per occurrence */
    int64_t penalty_last;      /* the three look at this many last ids; default 64, -1: all */
    uint64_t seed;
    uint64_t sequence;     /* distinguishes parallel samples of one seed */
    const LogitBias *bias; /* borrowed until sampler_destroy */
    int64_t bias_count;
} SamplerParams;

SamplerParams sampler_defaults(void);
/* Ranges: temperature >= 0, 0 < top_p <= 1, 0 <= min_p <= 1, repetition_penalty > 0, …; names the value. */
MUST_USE Status sampler_check(const SamplerParams *p, Error *err);

typedef struct Sampler Sampler; /* one thread at a time */
MUST_USE Status sampler_create(Sampler **out, const SamplerParams *p, int64_t vocab, Error *err);
void sampler_destroy(Sampler *s);

/* Choose the id that follows `history` (count ids, all of the sequence so far; the new id gets position
 * `count`). *logprob (may be NULL) is its log-probability under the unmodified logits.
 * ST_INVALID when no logit is finite. */
MUST_USE Status sampler_pick(Sampler *s, const float *logits, const int32_t *history, int64_t count,
                             int32_t *id, double *logprob, Error *err);

#endif
