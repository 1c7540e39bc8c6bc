/* The learning rate as a function of the step: warm-up, stable, decay. */
#ifndef PLUMB_TRAIN_SCHEDULE_H
#define PLUMB_TRAIN_SCHEDULE_H

#include "train/recipe.h"

#include <stdint.h>

/* The share of the full learning rate, in [0, 1], that step number `step` (from 0) has:
 *     warm-up   (step + 1) / warmup
 *     stable    1
 *     decay     from 1 to `final`, along half a cosine or a line; its last step has `final`
 *     after it  final
 * With stable = -1 the decay ends with step train.steps - 1; if the run is too short for warm-up and
 * decay, both shrink in proportion. Pure, and from arithmetic alone: the same bits on every machine. */
double schedule_share(const Recipe *r, int64_t step);

#endif
