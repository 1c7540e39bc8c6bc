/* What a graph's leaves refer to by number: rows of the model's tensor table, parts of a sequence's
 * state. Plain data, filled by a model family, read by weights, backend, engine and trainer. */
#ifndef PLUMB_GRAPH_PARTS_H
#define PLUMB_GRAPH_PARTS_H

#include <stdint.h>

/* How a tensor is used; a tied embedding has two uses. */
enum {
    USE_ROWS = 1,   /* looked up by id */
    USE_MATRIX = 2, /* multiplied, nn_linear */
    USE_VECTOR = 4, /* gains and biases */
};

#define TENSOR_NAME_MAX 96

typedef struct {
    char name[TENSOR_NAME_MAX]; /* in the checkpoint at hand */
    unsigned uses;
    int ndim; /* 1 or 2 */
    int64_t dims[2];
    int32_t layer; /* −1: none */
} TensorRow;

/* One part of the state of a sequence. There is one kind so far: keys and values of a layer, a growing
 * part, which is rewound by forgetting entries. */
typedef struct {
    int32_t layer;
    int64_t kv_heads, head_dim;
} StatePart;

#endif
