/* The inside of models and sessions. */
#ifndef PLUMB_ENGINE_ENGINE_INTERNAL_H
#define PLUMB_ENGINE_ENGINE_INTERNAL_H

#include "backend/state.h"
#include "engine/engine.h"
#include "formats/tensordir.h"
#include "models/model.h"
#include "weights/weights.h"

#include <pthread.h>

struct Model {
    char *path; /* owned */
    char *name; /* owned */
    TensorDir *dir;
    ModelSpec spec;
    const Kernels *kernels;
    const char *level;
    ComputeMode mode;
    ThreadPool *pool;
    pthread_mutex_t pool_lock; /* one run at a time */
    Weights *weights;         /* NULL over another's */
    const WeightView *views;  /* by tensor row */
    const float **constants;  /* owned array, by number */
    Graph graph;
    Tokenizer *tokenizer;
    bool over; /* spec, pool and tokenizer are borrowed (model_over.h) */
};

/* Lower the model's graph for a bucket. */
MUST_USE Status model_lower(const Model *m, int64_t rows_max, int64_t logit_rows_max, int64_t context, Program **out,
                            Error *err);
Dtype model_state_type(const Model *m);
size_t model_state_bytes(const Model *m, int64_t positions); /* of all parts */
void model_run(Model *m, const Program *p, const Batch *batch, const RunMemory *memory);

#endif
