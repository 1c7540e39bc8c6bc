/* A computation as data: nodes that name an op, their inputs and parameters.
 *
 * A graph is pure: it holds no weights, no buffers and never executes. A backend lowers it to a
 * program (backend/program.h). Nodes are appended in an order in which inputs come first, so the array
 * order is an execution order. What every op means, needs and yields is one row of the op table.
 *
 * Shapes are row-major, outermost first. The first dimension of an activation is symbolic, because the
 * number of rows is known at run time only: DIM_ROWS (all rows of the batch) or DIM_LOGIT_ROWS (those
 * whose logits are wanted). */
#ifndef PLUMB_GRAPH_GRAPH_H
#define PLUMB_GRAPH_GRAPH_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define DIM_ROWS ((int64_t)-1)
#define DIM_LOGIT_ROWS ((int64_t)-2)
#define GRAPH_DIMS_MAX 4
#define NODE_INPUTS_MAX 4

typedef int32_t NodeId;
#define NO_NODE ((NodeId)-1)

typedef struct {
    int ndim;
    int64_t dims[GRAPH_DIMS_MAX];
} Shape;

/* What kind of thing a node's value is. */
typedef enum {
    VALUE_REAL,   /* activation or constant of the program's real type */
    VALUE_INDEX,  /* int32: ids, positions */
    VALUE_WEIGHT, /* row `weight` of the model's tensor table, in whatever form it is stored */
    VALUE_STATE,  /* a version of one part of the sequence's state */
} ValueKind;

/* op, name, inputs at least and at most, shape rule, operations a row (cost rule) */
#define OP_TABLE(X)                                       \
    X(OP_IDS, "ids", 0, 0, shape_index, cost_none)        \
    X(OP_POSITIONS, "positions", 0, 0, shape_index, cost_none) \
    X(OP_WEIGHT, "weight", 0, 0, shape_given, cost_none)  \
    X(OP_CONSTANT, "constant", 0, 0, shape_given, cost_none) \
    X(OP_STATE, "state", 0, 0, shape_given, cost_none)    \
    X(OP_EMBED, "embed", 2, 2, shape_embed, cost_none)    \
    X(OP_ROPE_TABLE, "rope_table", 2, 2, shape_rope_table, cost_elements) \
    X(OP_RMSNORM, "rmsnorm", 2, 2, shape_rmsnorm, cost_elements) \
    X(OP_LINEAR, "linear", 2, 3, shape_linear, cost_linear) \
    X(OP_ROPE, "rope", 2, 2, shape_rope, cost_elements)   \
    X(OP_STATE_WRITE, "state_write", 3, 3, shape_state_write, cost_none) \
    X(OP_ATTENTION, "attention", 2, 2, shape_attention, cost_none) \
    X(OP_SILU_MUL, "silu_mul", 2, 2, shape_same, cost_elements) \
    X(OP_ADD, "add", 2, 2, shape_same, cost_elements)     \
    X(OP_SELECT_ROWS, "select_rows", 1, 1, shape_select, cost_none)

typedef enum {
#define X(op, name, lo, hi, shape, cost) op,
    OP_TABLE(X)
#undef X
    OP_COUNT
} Op;

/* Parameters; an op reads those that its line names and ignores the rest.
 *   EMBED       (w[V,D], ids[T]) → [T,D]: row ids[t] of w
 *   ROPE_TABLE  (positions[T], inv_freq[R/2]) → [T,R]: R/2 cosines then R/2 sines of position · inv_freq,
 *               times `scale`; angle and result rounded to float as the reference library does
 *   RMSNORM     (x[T,D], g[D]) eps
 *   LINEAR      (x[T,K], w[N,K] (, bias[N])) → [T,N]
 *   SILU_MUL    (gate, up) limit (0: none)
 *   ROPE        (x[T,heads·head_dim], table[T,R]) heads, head_dim, interleaved
 *   STATE_WRITE (state, k[T,kv_heads·head_dim], v[…]) → state; writes at the rows' positions
 *   ATTENTION   (q[T,heads·head_dim], state) heads, kv_heads, head_dim, scale, window → [T,heads·head_dim]
 *   SELECT_ROWS (x[T,D]) → [logit rows, D] */
typedef struct {
    double eps, scale, limit;
    int64_t heads, kv_heads, head_dim, window;
    bool interleaved;
} OpParams;

typedef struct {
    Op op;
    ValueKind kind;
    int input_count;
    NodeId inputs[NODE_INPUTS_MAX];
    OpParams params;
    Shape shape;
    int32_t index;    /* WEIGHT: tensor table row; CONSTANT: constant number; STATE: part number */
    int32_t layer;    /* −1 outside layers */
    const char *site; /* "attn.q", "hidden": static text, for traces and profiles */
} Node;

typedef struct Graph Graph;

struct OpRow;
typedef struct OpRow {
    const char *name;
    int inputs_min, inputs_max;
    /* Fill n->shape and n->kind from the inputs, or say what does not fit. */
    Status (*shape)(const Graph *g, Node *n, Error *err);
    /* Multiply-adds (counted as two) and other operations for one row. */
    double (*cost)(const Graph *g, const Node *n);
    /* Append the nodes that give the gradients of the inputs from that of the output. NULL: not
     * differentiable (yet). */
    Status (*gradient)(Graph *g, NodeId n, NodeId out_gradient, NodeId *in_gradients, Error *err);
} OpRow;

const OpRow *op_row(Op op);

struct Graph {
    Node *nodes; /* owned */
    int32_t count;
    size_t cap;
    NodeId *outputs; /* owned; kept alive to the end of the program */
    int32_t output_count;
    size_t output_cap;
    int32_t layer;    /* given to nodes appended from now on */
    const char *site;
};

void graph_init(Graph *g);
void graph_deinit(Graph *g);

/* Append a node; checks arity and shapes. *out is its id. */
MUST_USE Status graph_add(Graph *g, Op op, const NodeId *inputs, int input_count, const OpParams *params,
                          NodeId *out, Error *err);
/* Leaves: weight (row of the tensor table), constant, state part. */
MUST_USE Status graph_leaf(Graph *g, Op op, int32_t index, Shape shape, NodeId *out, Error *err);
MUST_USE Status graph_output(Graph *g, NodeId n, Error *err);

static inline const Node *graph_node(const Graph *g, NodeId n)
{
    return &g->nodes[n];
}

Shape shape_1d(int64_t a);
Shape shape_2d(int64_t a, int64_t b);
/* Elements behind the first dimension: the width of a row. */
int64_t shape_row_elements(const Shape *s);

#endif
