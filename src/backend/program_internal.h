/* The inside of a program, for lowering (lower.c, cuts.c), memory planning (plan.c), steps (steps*.c) and
 * execution (execute.c). */
#ifndef PLUMB_BACKEND_PROGRAM_INTERNAL_H
#define PLUMB_BACKEND_PROGRAM_INTERNAL_H

#include "backend/program.h"

typedef int32_t ValueId;

/* How many rows something has: `dim` (DIM_ROWS, DIM_LOGIT_ROWS, DIM_BLOCK, or a number) times / over. */
typedef struct {
    int64_t dim;
    int32_t times, over; /* at least 1 */
} Rows;

/* Rows of a loss are taken in blocks of so many, so that their logits need not be kept (see Loop). */
#define DIM_BLOCK ((int64_t)-3)
#define LOSS_BLOCK 128

/* A buffer of the arena (or none: leaves have no memory of their own). */
typedef struct {
    bool in_arena;
    bool quantised;     /* QuantRows: q, d, sum one behind the other; not so BF16, whose element is 2 bytes */
    ValueId alias;      /* shares the memory of this value; −1: has its own */
    Rows rows;
    int64_t width;      /* elements a row */
    size_t element;     /* bytes */
    size_t bytes;       /* for all rows of the bucket */
    size_t offset;      /* plan.c */
    int32_t first, last; /* groups in which it is written first and read last */
} Value;

/* How a step's work is cut into units. */
typedef enum {
    SPLIT_ROWS,
    SPLIT_COLUMNS,        /* panels of sixteen columns of `width` */
    SPLIT_HEADS,          /* `width` key/value heads */
    SPLIT_HEAD_ROWS,      /* the same times blocks of rows */
    SPLIT_SEQUENCES,      /* sequences of the batch */
    SPLIT_SEQUENCE_HEADS, /* sequences times `width` */
    SPLIT_EXPERT_COLUMNS, /* `experts` times panels of `width` */
    SPLIT_SCATTER_ROWS,   /* rows whose results land in other rows */
    SPLIT_ONE,            /* not at all */
} Split;

typedef struct StepContext StepContext;
typedef struct Step Step;
typedef void (*StepFn)(const StepContext *c, const Step *s, int64_t unit0, int64_t unit1);

struct Step {
    StepFn run;
    Op op;
    OpParams params;
    ValueId in[NODE_INPUTS_MAX];           /* −1: none, or a leaf: */
    const WeightView *weight[NODE_INPUTS_MAX];
    int32_t part[NODE_INPUTS_MAX];         /* state part that this input is; −1 */
    ValueId out;                           /* −1: none */
    ValueId more[NODE_RESULTS_MAX - 1];    /* further results; −1: not wanted */
    const float *constant;
    int32_t index; /* tensor row of a sink; which ids */
    int32_t layer;
    bool quantise; /* this is the quantisation (bf16: rounding) of in[0], not an op of the graph */
    bool bf16;     /* a product of BF16 rows */
};

typedef struct {
    Split split;
    Rows rows;
    int64_t width, experts;
    bool coarse;           /* few large blocks of units: a step that packs what it reads */
    int32_t step0, step1;  /* in program order */
} Chain;

typedef struct {
    int32_t chain0, chain1;
    ValueId tap; /* value to show when the group is done; −1: none */
    int32_t tap_layer;
} Group;

/* Groups group0 … group1−1 run once for every LOSS_BLOCK rows. */
typedef struct {
    int32_t group0, group1;
} Loop;

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
    Loop *loops;
    int32_t loop_count;
    size_t loop_cap;
    ValueId *outputs;
    int32_t output_count;
    size_t arena_bytes;
    size_t scratch_bytes;
    double row_flops;
};

#define HEAD_ROWS_BLOCK 32 /* rows of an attention unit in a prompt */

/* What a step may look at while it runs. */
struct StepContext {
    const Program *program;
    const Kernels *k;
    const Batch *batch;
    uint8_t *arena;
    void *scratch;
    void *const *gradients;
    int64_t block0, block_rows; /* of the loop at hand, in rows of the batch */
};

static inline int64_t rows_scaled(const Rows *r, int64_t n)
{
    return n * r->times / r->over;
}

/* Inside a loop the rows of the batch are those of the block. */
static inline int64_t context_rows(const StepContext *c, const Rows *r)
{
    const int64_t rows = c->block_rows > 0 ? c->block_rows : c->batch->rows;
    const int64_t n = r->dim == DIM_ROWS || r->dim == DIM_BLOCK ? rows
                      : r->dim == DIM_LOGIT_ROWS                ? c->batch->logit_row_count
                                                                : r->dim;
    return rows_scaled(r, n);
}

static inline int64_t bucket_rows(const LowerParams *p, const Rows *r)
{
    const int64_t n = r->dim == DIM_ROWS         ? p->rows_max
                      : r->dim == DIM_LOGIT_ROWS ? p->logit_rows_max
                      : r->dim == DIM_BLOCK      ? (p->rows_max < LOSS_BLOCK ? p->rows_max : LOSS_BLOCK)
                                                 : r->dim;
    return rows_scaled(r, n);
}

static inline int64_t panels_of(int64_t columns)
{
    return (columns + PANEL_ROWS - 1) / PANEL_ROWS;
}

/* steps.c: the function of an op under a split; NULL when there is none. */
StepFn step_function(Op op, Split split, bool int8);
StepFn step_quantise(void);
StepFn step_round(Split split);
size_t quant_rows_bytes(int64_t rows, int64_t width);

/* cuts.c: how the work of a node is cut; which of its inputs are read across units. */
Chain cut_of(const Graph *g, const Node *n, const LowerParams *p);
unsigned inputs_across(const Node *n);

/* execute.c: how much scratch a worker needs for the graph's kernels. */
void program_set_scratch(Program *p, const Graph *g);

/* plan.c: offsets of all values from their first and last groups; sets arena_bytes. */
MUST_USE Status plan_memory(Program *p, Error *err);

#endif
