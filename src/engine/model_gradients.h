/* Loss and gradients of an opened model on one text: what `plumb trace --gradients` records. */
#ifndef PLUMB_ENGINE_MODEL_GRADIENTS_H
#define PLUMB_ENGINE_MODEL_GRADIENTS_H

#include "engine/engine.h"

#define GRADIENT_NAME_MAX 128

typedef struct {
    char name[GRADIENT_NAME_MAX]; /* of the tensor in the file */
    int ndim;
    int64_t dims[4];
    float *data; /* owned; row-major */
} ModelGradient;

typedef struct {
    double loss; /* mean cross-entropy of the next id, over positions 0 … n−2 */
    ModelGradient *items; /* owned */
    int32_t count;
} ModelGradients;

/* n >= 2 ids, no more than the model's longest context. Every tensor that takes part and can have a gradient is listed;
 * not those that only choose (an index, a balance bias). Computed in the model's mode: f32, or f64 rounded at the
 * end. On failure nothing is owned. */
MUST_USE Status model_gradients(ModelGradients *out, Model *m, const int32_t *ids, int64_t n, Error *err);
void model_gradients_free(ModelGradients *g); /* zeroed is fine */

#endif
