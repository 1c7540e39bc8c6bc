/* A model over weights that somebody else holds: a learner's, while it learns. Nothing is read or packed; an answer comes
 * from the very numbers that training moves. */
#ifndef PLUMB_ENGINE_MODEL_OVER_H
#define PLUMB_ENGINE_MODEL_OVER_H

#include "backend/program.h"
#include "base/pool.h"
#include "engine/engine.h"
#include "models/model.h"

/* All borrowed for the model's life. */
typedef struct {
    const ModelSpec *spec;
    const WeightView *views; /* by tensor row; floats or pairs of BF16, at the kernels' level */
    const Kernels *kernels;
    ThreadPool *pool;        /* not used by anybody else while a session appends */
    const Tokenizer *tokenizer;
} ModelOver;

/* In mode f32, weights that are pairs of BF16 as the learner multiplies them. model_kv of it is NULL. Weights may change between appends, not during one. *out is owned (model_close). */
MUST_USE Status model_open_over(Model **out, const ModelOver *over, Error *err);

#endif
