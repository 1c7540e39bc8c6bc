/* The parts of a training run, for the files trainer*.c. */
#ifndef PLUMB_TRAIN_TRAINER_INTERNAL_H
#define PLUMB_TRAIN_TRAINER_INTERNAL_H

#include "chat/chat.h"
#include "formats/json_kv.h"
#include "train/checkpoint.h"
#include "train/data.h"
#include "train/learner.h"
#include "train/problem_source.h"
#include "train/recipe.h"
#include "train/spike.h"
#include "train/trainer.h"

/* The files of a model beside its weights, as every checkpoint gets them. */
typedef struct {
    char *name; /* owned */
    ByteBuf bytes;
} TrainerFile;

#define TRAINER_FILES_MAX 16

typedef struct {
    const TrainerParams *p;
    Recipe recipe;
    Run *run;
    Checkpoint *start; /* to go on from; closed once its content is taken */

    ProblemSource made[RECIPE_SOURCES_MAX]; /* what corpus sources of problems borrow */
    Corpus *corpus;
    Tokenizer *tokenizer;
    ChatFormat *chat; /* NULL: the model has none */
    DataParams data;
    DataStream *stream, *validation;
    DataBatch *batches; /* owned; [accumulate] */
    int64_t batch_count;

    JsonKv *config;
    ModelSpec spec;
    TrainerFile files[TRAINER_FILES_MAX]; /* config.json, tokenizer */
    int file_count;
    char *from_path; /* owned; model.from */

    const Kernels *kernels;
    ThreadPool *pool;
    double peak_flops; /* a second, measured when the run begins */
    Learner *learner;
    PassSequence *sequences; /* owned; of a batch without its padding, as are these */
    int32_t *ids, *next_ids, *targets[BATCH_TARGETS];
    float *weights[BATCH_TARGETS];

    SpikeRule spike;
    int64_t step;    /* done */
    int64_t updates; /* steps that moved something */
    int64_t tokens;  /* seen, padding left out */
    int64_t saved;   /* step of the newest checkpoint; −1: none */
    double seconds;  /* of the last steps, smoothed */
} Trainer;

void trainer_say(const Trainer *t, const char *format, ...) PRINTF_LIKE(2, 3);

/* trainer_model.c: corpus, tokenizer, configuration and weights; from the checkpoint t->start when it is there. */
MUST_USE Status trainer_open_data(Trainer *t, Error *err);
MUST_USE Status trainer_open_model(Trainer *t, Error *err);

/* trainer_step.c */
MUST_USE Status trainer_open_steps(Trainer *t, Error *err);
typedef struct {
    double losses[LEARNER_LOSSES], norm, share;
    int64_t tokens, targets;
    const char *skipped; /* why; NULL: not */
    double flops;
} StepReport;
MUST_USE Status trainer_step(Trainer *t, StepReport *r, Error *err);
/* Mean loss of the validation documents; *targets 0: there are none. */
MUST_USE Status trainer_evaluate(Trainer *t, double *loss, int64_t *targets, Error *err);

/* trainer_sample.c: a few answers, to the log. They change nothing of the run. */
MUST_USE Status trainer_sample(Trainer *t, Error *err);

/* trainer_state.c */
MUST_USE Status trainer_save(Trainer *t, Error *err);
MUST_USE Status trainer_restore(Trainer *t, Error *err); /* weights, moments, cursor and counters of t->start */

#endif
