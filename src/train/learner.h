/* A model that learns: parameters, the pass that gives their gradients, and the optimiser that moves them.
 *
 * A step is learner_begin, learner_add for each of its batches, then learner_norm, and learner_move unless the step is to
 * be left out. Bits depend on the batches, not on threads. One thread at a time. */
#ifndef PLUMB_TRAIN_LEARNER_H
#define PLUMB_TRAIN_LEARNER_H

#include "backend/pass.h"
#include "models/model.h"
#include "train/optimiser.h"
#include "train/params.h"
#include "train/recipe.h"

typedef struct {
    OptimiserParams optimiser;
    double balance_alpha;   /* weight of the sequence balance loss */
    int64_t rows, sequences; /* of a batch, at most */
    int64_t length;         /* of a sequence, at most */
    bool recompute;
    bool bf16;              /* products of BF16 factors, see kernels/bf16.h */
} LearnerParams;

/* The optimiser that a recipe describes. */
OptimiserParams learner_optimiser(const Recipe *r);

typedef struct Learner Learner;

/* Parameters are zero. spec, kernels and pool are borrowed for the learner's life. *out is owned. */
MUST_USE Status learner_create(Learner **out, const ModelSpec *spec, const LearnerParams *p, const Kernels *k,
                               ThreadPool *pool, Error *err);
void learner_destroy(Learner *l); /* NULL is fine */

/* To be filled, or moved by hand; learner_refresh afterwards. */
Params *learner_params(Learner *l);
void learner_refresh(Learner *l);

#define LEARNER_LOSSES 2 /* of the next token, of the one after it (0 without such a block) */

void learner_begin(Learner *l);
void learner_add(Learner *l, const PassBatch *b, double losses[LEARNER_LOSSES]);
double learner_norm(Learner *l);
/* Step number t from 1; see optimiser_step. */
void learner_move(Learner *l, int64_t t, double scale, double share);

/* Losses without gradients. */
void learner_evaluate(Learner *l, const PassBatch *b, double losses[LEARNER_LOSSES]);

/* Operations of learner_add on so many rows, attention left out; bytes of everything. */
double learner_flops(const Learner *l, int64_t rows);
size_t learner_bytes(const Learner *l);

#endif
