/* What the files of checkpoints share. */
#ifndef PLUMB_TRAIN_CHECKPOINT_INTERNAL_H
#define PLUMB_TRAIN_CHECKPOINT_INTERNAL_H

#include "train/checkpoint.h"

#define STEP_NAME_MAX 64
#define MANIFEST_NAME "trainer/manifest.json"
#define MANIFEST_VERSION 1
#define WEIGHTS_NAME "model.safetensors"
#define STATE_NAME "trainer/state.safetensors"

struct Run {
    const Files *fs;
    char *dir; /* owned */
    int64_t keep;
    RunLogFn log;
    void *log_arg;
    FileHandle *lock, *metrics;
    uint64_t metrics_size;
    int64_t saved_step; /* -1: none yet */
};

void run_log(const Run *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "step-000100" */
void step_name(char out[STEP_NAME_MAX], int64_t step);

/* All steps that have a directory with a final name, ascending; *steps is owned by the caller. */
MUST_USE Status run_steps(const Run *r, int64_t **steps, int64_t *count, Error *err);

/* Point DIR/latest at a step. */
MUST_USE Status run_set_latest(const Run *r, int64_t step, Error *err);

/* Give a directory of the run a temporary name, then remove it: half of it is never a checkpoint. */
MUST_USE Status run_remove(const Run *r, const char *name, Error *err);

/* All checkpoints but the last two and the multiples of `keep` go. That it cannot be done is logged, and no
 * reason to stop. */
void run_remove_old(const Run *r);

#endif
