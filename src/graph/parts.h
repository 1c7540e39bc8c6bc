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

/* One part of the state of a sequence: entries that grow with it and are rewound by forgetting. An entry
 * stands for `tokens` consecutive positions and exists once the last of them is there. */
typedef enum {
    STATE_KEYS_VALUES, /* keys and values of kv_heads heads */
    STATE_SHARED,      /* keys that are their own values */
    STATE_KEYS,        /* keys alone */
    STATE_ROWS,        /* rows of head_dim numbers (kv_heads 1) */
} StateKind;

typedef struct {
    int32_t layer;
    int64_t kv_heads, head_dim;
    StateKind kind;
    int64_t tokens; /* 0 is 1 */
} StatePart;

static inline int64_t state_part_tokens(const StatePart *p)
{
    return p->tokens > 0 ? p->tokens : 1;
}

#endif
