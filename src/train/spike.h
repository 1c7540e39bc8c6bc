/* Which steps are left out (training.md §8.4): those whose loss or gradient is not finite or lies far above those of the
 * last steps that counted. */
#ifndef PLUMB_TRAIN_SPIKE_H
#define PLUMB_TRAIN_SPIKE_H

#include "base/error.h"

#include <stdint.h>

#define SPIKE_STEPS_MIN 32 /* with fewer to compare with, only what is not finite is left out */

typedef struct {
    int64_t window;   /* steps kept */
    double limit;     /* standard deviations above the mean; 0: any finite step counts */
    double *losses, *norms; /* owned; [window] */
    int64_t count;    /* steps that counted so far; number i lies at i mod window */
    int64_t in_a_row; /* left out, up to now */
} SpikeRule;

MUST_USE Status spike_init(SpikeRule *s, int64_t window, double limit, Error *err);
void spike_free(SpikeRule *s); /* zeroed is fine */

/* NULL: the step counts, and is remembered. Else why it is left out (static text). */
const char *spike_judge(SpikeRule *s, double loss, double norm);

#endif
