/* A training run: from a recipe to checkpoints (docs/TRAINING.md).
 *
 * The run is a function of the recipe and the data: threads, interruptions and where they fell change no bit of any
 * checkpoint. Everything that decides the next step is in a checkpoint (weights, moments, balance biases, cursor of the
 * data, window of the spike rule), and nothing else. */
#ifndef PLUMB_TRAIN_TRAINER_H
#define PLUMB_TRAIN_TRAINER_H

#include "base/error.h"
#include "base/fileio.h"

#include <stdint.h>

typedef struct {
    int64_t step, steps; /* done, of all */
    double loss, mtp_loss; /* of the step; mtp_loss 0 without the block */
    double norm;           /* of the gradient, before clipping */
    double share;          /* of the full learning rate */
    bool skipped;          /* left out by the spike rule */
    double tokens_per_s;   /* of the last steps, padding left out */
    double peak_share;     /* operations of the passes over what the machine's multiply-adds can do; 0: not measured */
    double seconds_left;
} TrainerProgress;

typedef struct {
    const char *recipe; /* a file */
    const char *const *sets; /* KEY=VALUE */
    int64_t set_count;
    const char *out;    /* directory of the run */
    bool resume;
    int threads;        /* 0: all processors this process may use */
    const Files *fs;
    /* Where a model of this name is; NULL: names are paths. *path is owned by the trainer (mem_free). */
    Status (*find_model)(void *arg, const char *name, char **path, Error *err);
    void (*progress)(void *arg, const TrainerProgress *p); /* behind every step */
    void (*log)(void *arg, const char *line);              /* without line end */
    bool (*stop)(void *arg); /* asked behind every step: true ends the run with a checkpoint (ST_CANCELLED) */
    void *arg;
} TrainerParams;

/* Ends with a checkpoint of the last step. A run that is done already is ST_OK at once. Errors: the recipe's, the data's,
 * ST_MISMATCH (the recipe is not the one of the checkpoint), ST_BUSY, ST_NOSPACE, ST_INVALID (too many steps left out by the
 * spike rule); the last complete checkpoint stays. */
MUST_USE Status trainer_run(const TrainerParams *p, Error *err);

#endif
