/* The inside of a program, for lowering (lower.c), memory planning (plan.c), steps (steps.c) and
 * execution (execute.c). */
#ifndef PLUMB_BACKEND_PROGRAM_INTERNAL_H
#define PLUMB_BACKEND_PROGRAM_INTERNAL_H

#include "backend/program.h"

typedef int32_t ValueId;

/* A buffer of the arena (or none: leaves have no memory of their own). */
typedef struct {
    bool in_arena;
    bool quantised;     /* QuantRows: q, d, sum one behind the other */
    int64_t rows_dim;   /* DIM_ROWS or DIM_LOGIT_ROWS */
    int64_t width;      /* elements a row */
    size_t bytes;       /* for all rows of the bucket */
    size_t offset;      /* plan.c */
    int32_t first, last; /* groups in which it is written first and read last */
} Value;

/* How a step's work is cut into units. */
typedef enum { SPLIT_ROWS, SPLIT_COLUMNS, SPLIT_HEADS, SPLIT_HEAD_ROWS } Split;

typedef struct StepContext StepContext;
typedef struct Step Step;
typedef void (*StepFn)(const StepContext *c, const Step *s, int64_t unit0, int64_t unit1);

#define STEP_INPUTS_MAX 4

struct Step {
    StepFn run;
    Op op;
    OpParams params;
    ValueId in[STEP_INPUTS_MAX], out; /* −1: none */
    const WeightView *weight, *vector; /* matrix or table; gain or bias */
    const float *constant;
    int32_t part; /* state part */
    int32_t layer;
    bool quantise; /* this is the quantisation of in[0], not an op of the graph */
};

typedef struct {
    Split split;
    int64_t rows_dim, width; /* what `split` cuts: rows, columns, or (width) key/value heads */
    int32_t step0, step1;    /* in program order */
} Chain;

typedef struct {
    int32_t chain0, chain1;
    ValueId tap; /* value to show when the group is done; −1: none */
    int32_t tap_layer;
} Group;

struct Program {
    LowerParams p;
    Value *values;
    int32_t value_count;
    size_t value_cap;
    Step *steps;
    int32_t step_count;
    size_t step_cap;
    Chain *chains;
    int32_t chain_count;
    size_t chain_cap;
    Group *groups;
    int32_t group_count;
    size_t group_cap;
    ValueId *outputs;
    int32_t output_count;
    size_t arena_bytes;
};

#define HEAD_ROWS_BLOCK 32 /* rows of an attention unit in a prompt */

/* What a step may look at while it runs. */
struct StepContext {
    const Program *program;
    const Kernels *k;
    const Batch *batch;
    uint8_t *arena;
    void *scratch;
};

static inline int64_t context_rows(const StepContext *c, int64_t rows_dim)
{
    return rows_dim == DIM_LOGIT_ROWS ? c->batch->logit_row_count : c->batch->rows;
}

static inline int64_t bucket_rows(const LowerParams *p, int64_t rows_dim)
{
    return rows_dim == DIM_LOGIT_ROWS ? p->logit_rows_max : p->rows_max;
}

/* steps.c: the function of an op under a split; NULL when there is none. */
StepFn step_function(Op op, Split split, bool int8);
StepFn step_quantise(void);
size_t quant_rows_bytes(int64_t rows, int64_t width);

/* plan.c: offsets of all values from their first and last groups; sets arena_bytes. */
MUST_USE Status plan_memory(Program *p, Error *err);

#endif
