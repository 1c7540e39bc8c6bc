/* A graph lowered for the CPU: steps over buffers of one arena, and how a batch runs through them.
 *
 * Steps form groups; a barrier stands between groups and nowhere else. Inside a group, chains are
 * independent of one another, and the steps of a chain share one partition into units (rows, panels of
 * sixteen columns, heads): a worker takes a unit through the whole chain. Which worker takes which unit
 * never changes a bit, because every unit's arithmetic depends on indices only.
 *
 * A program is immutable after lowering; any number of threads may read it. One run at a time uses an
 * arena. Running allocates nothing. */
#ifndef PLUMB_BACKEND_PROGRAM_H
#define PLUMB_BACKEND_PROGRAM_H

#include "base/error.h"
#include "base/pool.h"
#include "graph/graph.h"
#include "graph/parts.h"
#include "kernels/kernels.h"

/* ---- what a program runs on -------------------------------------------------------------------- */

/* One row of the model's tensor table, as the executor sees it. Filled in by weights/. */
typedef struct {
    int64_t N, K;        /* matrix [N,K]; vector: N elements, K = 1 */
    Dtype stored_type;   /* rows as in the file, for OP_EMBED */
    const void *stored;  /* mapped; NULL when not needed */
    PackForm form;       /* panels for OP_LINEAR */
    const void *panels;  /* NULL when not needed */
    int64_t groups;      /* of a matrix that multiplies by parts: each packed by itself, ⌈N/groups/16⌉ panels; 0 is 1 */
    const void *vector;  /* reals [N·K], for gains, biases and the like; NULL when not needed */
    const int32_t *ids;  /* [N][K], for tables of choices; NULL when not needed */
} WeightView;

/* Where keys and values of a state part lie in a page of ATTENTION_PAGE positions (kernels.h,
 * AttentionArgs). */
typedef struct {
    Dtype type; /* DT_F32, DT_F16; DT_F64 in f64 programs */
    int64_t value_pad;
    size_t head_bytes, page_bytes; /* of one head in a page, of a page of all heads */
    size_t value_offset;           /* of the values behind the keys of a head; STATE_KEYS has none */
} StateLayout;

StateLayout state_layout(const StatePart *part, Dtype type);

/* Consecutive rows of the batch that belong to one sequence. */
typedef struct {
    int64_t row0, rows;
    int64_t past;                   /* positions filled before: row row0 stands at position `past` */
    void *const *const *part_pages; /* [part][page] */
} BatchSequence;

#define BATCH_TARGETS 2

typedef struct {
    int64_t rows;
    const int32_t *ids;       /* [rows] */
    const int32_t *positions; /* [rows] */
    const BatchSequence *sequences;
    int64_t sequence_count;
    const int32_t *logit_rows; /* rows whose logits are wanted, ascending */
    int64_t logit_row_count;

    /* Training: what a program of a differentiated graph needs. Its sequences have no past. */
    const int32_t *next_ids;                      /* [rows]: the id behind each; 0 where there is none */
    const int32_t *targets[BATCH_TARGETS];        /* [rows]; −1: no loss here */
    const float *target_weights[BATCH_TARGETS];   /* [rows]: share of the row in the mean */
    double balance_scale;                         /* share of a row in the balance loss */
} Batch;

/* ---- lowering ---------------------------------------------------------------------------------- */

typedef struct {
    const Kernels *kernels;
    bool int8;                  /* quantised weights meet quantised activations */
    bool bf16;                  /* weights that are BF16 pairs meet activations rounded to BF16 (kernels/bf16.h) */
    int64_t rows_max;           /* the bucket: memory is laid out for so many rows */
    int64_t logit_rows_max;
    int64_t entries_max;        /* positions that a sequence may reach: scratch of the index; 0: rows_max */
    const WeightView *weights;  /* forms and shapes decide the steps; borrowed for the program's life */
    const StatePart *parts;     /* borrowed likewise */
    int32_t part_count;
    Dtype state_type;
    const float *const *constants; /* by constant number; borrowed likewise */
} LowerParams;

typedef struct Program Program;

/* The graph is read only during the call. *out is owned. */
MUST_USE Status program_lower(Program **out, const Graph *g, const LowerParams *p, Error *err);
void program_destroy(Program *p);

size_t program_arena_bytes(const Program *p);  /* 64-byte aligned block the caller provides */
size_t program_scratch_bytes(const Program *p); /* a worker */
int64_t program_barriers(const Program *p);    /* of one run: a golden number */
int64_t program_steps(const Program *p);

/* ---- running ----------------------------------------------------------------------------------- */

/* Sees the output of a layer between two groups, on worker 0: rows [count][width] of the program's
 * real type. */
typedef void (*ProgramTap)(void *arg, int64_t layer, const void *rows, int64_t count, int64_t width);

typedef struct {
    void *arena;
    void *scratch; /* pool_threads × program_scratch_bytes, 64-byte aligned */
    ProgramTap tap; /* NULL: none */
    void *tap_arg;
    void *const *gradients; /* by tensor row: reals [N][K] that sinks add to; NULL without sinks */
} RunMemory;

/* Run the batch. Rows, ids and positions were checked by the caller (CHECKed here against the bucket). */
void program_run(const Program *p, ThreadPool *pool, const Batch *batch, const RunMemory *memory);

/* Operations of a run over `rows` rows by the op table's costs (attention left out): for speeds. */
double program_flops(const Program *p, int64_t rows);

/* Output number i (graph_output order): reals [rows or logit rows][width] inside the arena. */
const void *program_output(const Program *p, int i, const void *arena, int64_t *width);

#endif
