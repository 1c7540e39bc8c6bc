/* What a graph's leaves refer to by number: rows of the model's tensor table, parts of a sequence's
 * state. Plain data, filled by a model family, read by weights, backend, engine and trainer. */
#ifndef PLUMB_GRAPH_PARTS_H
#define PLUMB_GRAPH_PARTS_H

#include <stdbool.h>
#include <stdint.h>

/* How a tensor is used; a tied embedding has two uses. */
enum {
    USE_ROWS = 1,   /* looked up by id */
    USE_MATRIX = 2, /* multiplied, nn_linear */
    USE_VECTOR = 4, /* read as reals: gains, biases and other small tables, [N] or [N,K] */
    USE_IDS = 8,    /* a table of whole numbers, [N,K]; no parameter */
};

/* What a tensor is to the optimiser. */
typedef enum {
    ROLE_MATRIX,
    ROLE_EMBEDDING, /* also when tied to the head */
    ROLE_HEAD,
    ROLE_GAIN,    /* of a norm */
    ROLE_VECTOR,  /* biases, sinks, static parts and scales of mixtures */
    ROLE_BALANCE, /* moved by the balance rule of a router, never by a gradient */
    ROLE_IDS,
} TensorRole;

/* How a tensor begins when a model is made from nothing. */
typedef enum {
    INIT_NORMAL, /* mean 0, deviation init_std */
    INIT_ZERO,
    INIT_ONE,
    INIT_CHOICES, /* ids: each row K different ones below id_limit */
} TensorInit;

#define TENSOR_NAME_MAX 96
#define TENSOR_STORED_DIMS_MAX 3

typedef struct {
    char name[TENSOR_NAME_MAX]; /* in the checkpoint at hand */
    unsigned uses;
    int ndim; /* 1 or 2 */
    int64_t dims[2];
    /* USE_MATRIX: `groups` matrices of dims[0] / groups rows each, stacked, of which each multiplies its own
     * part of the input; packed one by one. 0 is 1. */
    int64_t groups;
    /* A slice: the tensor called `name` has stored_ndim dimensions, and these are the dims[0] rows from
     * first_row on, rows being counted over all but its last dimension. stored_ndim 0: not a slice. */
    int stored_ndim;
    int64_t stored_dims[TENSOR_STORED_DIMS_MAX];
    int64_t first_row;
    int64_t id_limit;   /* USE_IDS: every id is below it, and not negative */
    double token_share; /* share of the tokens that use the row (an expert); 0 is 1 */
    TensorRole role;
    TensorInit init;
    double init_std;
    bool trainable; /* has a gradient from the loss of tokens */
    bool float_only; /* a matrix whose products decide or mix, and stay float when others are of BF16 */
    char saved_name[TENSOR_NAME_MAX]; /* in checkpoints that we write (never a slice) */
    int64_t paired_head; /* rows are heads of so many with rotary pairs as neighbours, and saved half a head apart; 0: no */
    int32_t layer; /* −1: none */
} TensorRow;

/* Where row r of the stored tensor goes in the saved one. */
static inline int64_t tensor_saved_row(const TensorRow *row, int64_t r)
{
    const int64_t head = row->paired_head;
    return head > 0 ? r / head * head + r % 2 * (head / 2) + r % head / 2 : r;
}

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
