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
#define NODE_INPUTS_MAX 8
#define NODE_RESULTS_MAX 5

typedef int32_t NodeId;
#define NO_NODE ((NodeId)-1)

/* A symbolic first dimension may be multiplied (slots of routed tokens, streams as rows of their own) and
 * divided (entries that stand for several tokens). */
typedef struct {
    int ndim;
    int64_t dims[GRAPH_DIMS_MAX];
    int32_t rows_times, rows_over; /* 0 is 1 */
} Shape;

/* What kind of thing a node's value is. */
typedef enum {
    VALUE_REAL,   /* activation or constant of the program's real type */
    VALUE_INDEX,  /* int32: ids, positions, choices */
    VALUE_WEIGHT, /* row `index` of the model's tensor table, in whatever form it is stored */
    VALUE_STATE,  /* a version of one part of the sequence's state */
    VALUE_NONE,   /* a gradient that is added to row `index` of the gradients: nothing reads it */
} ValueKind;

/* op, name, inputs at least and at most, shape rule, operations a row (cost rule), gradient rule */
#define OP_TABLE(X)                                                                                    \
    X(OP_IDS, "ids", 0, 0, shape_index, cost_none, NULL)                                               \
    X(OP_POSITIONS, "positions", 0, 0, shape_index, cost_none, NULL)                                   \
    X(OP_WEIGHT, "weight", 0, 0, shape_given, cost_none, NULL)                                         \
    X(OP_EXPERTS, "experts", 0, 0, shape_given, cost_none, NULL)                                       \
    X(OP_CONSTANT, "constant", 0, 0, shape_given, cost_none, NULL)                                     \
    X(OP_STATE, "state", 0, 0, shape_given, cost_none, NULL)                                           \
    X(OP_RESULT, "result", 1, 1, shape_result, cost_none, NULL)                                        \
    X(OP_EMBED, "embed", 2, 2, shape_embed, cost_none, gradient_embed)                                 \
    X(OP_ROPE_TABLE, "rope_table", 2, 2, shape_rope_table, cost_elements, NULL)                        \
    X(OP_RMSNORM, "rmsnorm", 1, 2, shape_rmsnorm, cost_elements, gradient_rmsnorm)                     \
    X(OP_LINEAR, "linear", 2, 3, shape_linear, cost_linear, gradient_linear)                           \
    X(OP_ROPE, "rope", 2, 2, shape_rope, cost_elements, gradient_rope)                                 \
    X(OP_STATE_WRITE, "state_write", 2, 3, shape_state_write, cost_none, NULL)                         \
    X(OP_ATTENTION, "attention", 2, 5, shape_attention, cost_none, gradient_attention)                 \
    X(OP_SILU_MUL, "silu_mul", 2, 2, shape_same, cost_elements, gradient_silu_mul)                     \
    X(OP_ADD, "add", 2, 2, shape_same, cost_elements, gradient_add)                                    \
    X(OP_SELECT_ROWS, "select_rows", 1, 1, shape_select, cost_none, NULL)                              \
    X(OP_SPLIT_ROWS, "split_rows", 1, 1, shape_split_rows, cost_none, gradient_split_rows)             \
    X(OP_JOIN_ROWS, "join_rows", 1, 1, shape_join_rows, cost_none, gradient_join_rows)                 \
    X(OP_HYPER_EXPAND, "hyper_expand", 1, 1, shape_hyper_expand, cost_none, gradient_hyper_expand)     \
    X(OP_HYPER_SPLIT, "hyper_split", 4, 4, shape_hyper_split, cost_elements, gradient_hyper_split)     \
    X(OP_HYPER_PRE, "hyper_pre", 2, 2, shape_hyper_pre, cost_elements, gradient_hyper_pre)             \
    X(OP_HYPER_POST, "hyper_post", 3, 3, shape_hyper_post, cost_elements, gradient_hyper_post)         \
    X(OP_COMPRESS, "compress", 6, 6, shape_compress, cost_none, gradient_compress)                     \
    X(OP_INDEX_CHOOSE, "index_choose", 3, 3, shape_index_choose, cost_none, NULL)                      \
    X(OP_ROUTE, "route", 2, 3, shape_route, cost_elements, gradient_route)                             \
    X(OP_DISPATCH, "dispatch", 1, 1, shape_dispatch, cost_none, NULL)                                  \
    X(OP_GATHER, "gather", 3, 3, shape_gather, cost_none, gradient_gather)                             \
    X(OP_EXPERT_LINEAR, "expert_linear", 3, 3, shape_expert_linear, cost_expert_linear,                \
      gradient_expert_linear)                                                                          \
    X(OP_COMBINE, "combine", 3, 3, shape_combine, cost_elements, gradient_combine)                     \
    X(OP_CROSS_ENTROPY, "cross_entropy", 2, 2, shape_cross_entropy, cost_cross_entropy,                \
      gradient_cross_entropy)                                                                          \
    X(OP_LINEAR_BACK, "linear_back", 2, 2, shape_linear_back, cost_linear, NULL)                       \
    X(OP_EXPERT_LINEAR_BACK, "expert_linear_back", 3, 3, shape_expert_linear_back, cost_expert_linear, NULL) \
    X(OP_RMSNORM_BACK, "rmsnorm_back", 2, 3, shape_rmsnorm_back, cost_elements, NULL)                  \
    X(OP_SILU_MUL_BACK, "silu_mul_back", 3, 3, shape_silu_mul_back, cost_elements, NULL)               \
    X(OP_ATTENTION_BACK, "attention_back", 5, 8, shape_attention_back, cost_none, NULL)                \
    X(OP_FOLD, "fold", 1, 1, shape_fold, cost_elements, NULL)                                          \
    X(OP_HYPER_SPLIT_BACK, "hyper_split_back", 5, 5, shape_hyper_split_back, cost_elements, NULL)      \
    X(OP_HYPER_PRE_BACK, "hyper_pre_back", 3, 3, shape_hyper_pre_back, cost_elements, NULL)            \
    X(OP_HYPER_POST_BACK, "hyper_post_back", 4, 4, shape_hyper_post_back, cost_elements, NULL)         \
    X(OP_COMPRESS_BACK, "compress_back", 6, 6, shape_compress_back, cost_none, NULL)                   \
    X(OP_ROUTE_BACK, "route_back", 3, 3, shape_same_first, cost_elements, NULL)                        \
    X(OP_GATHER_BACK, "gather_back", 2, 2, shape_gather_back, cost_elements, NULL)                     \
    X(OP_COMBINE_BACK, "combine_back", 4, 4, shape_combine_back, cost_elements, NULL)                  \
    X(OP_EMBED_GRAD, "embed_grad", 2, 2, shape_none, cost_none, NULL)                                  \
    X(OP_LINEAR_GRAD, "linear_grad", 2, 2, shape_none, cost_linear_grad, NULL)                         \
    X(OP_EXPERT_GRAD, "expert_grad", 3, 3, shape_none, cost_linear_grad, NULL)                         \
    X(OP_COLUMN_SUM, "column_sum", 1, 1, shape_none, cost_elements, NULL)                              \
    X(OP_ROUTE_COUNT, "route_count", 1, 1, shape_none, cost_none, NULL)

typedef enum {
#define X(op, name, lo, hi, shape, cost, gradient) op,
    OP_TABLE(X)
#undef X
    OP_COUNT
} Op;

/* Parameters; an op reads those that its line names and ignores the rest. [T] is DIM_ROWS or what the first
 * input has; → a, b, c are results 0, 1, 2, of which those behind the first are reached by OP_RESULT.
 *
 * Leaves. IDS: the ids of the batch; index 1 the ids that follow them. EXPERTS: matrices [E,N,K], expert e is
 * tensor row index + e·EXPERT_STRIDE.
 *
 *   RESULT      (n) result: one of the further results of n
 *   EMBED       (w[V,D], ids[T]) → [T,D]: row ids[t] of w
 *   ROPE_TABLE  (positions[T], inv_freq[R/2]) → [T,R]: R/2 cosines then R/2 sines of position · inv_freq,
 *               times `scale`; angle and result rounded to float as the reference library does
 *   RMSNORM     (x[T,heads·D] (, g[D])) eps, heads (0: 1): each of `heads` parts by itself
 *   LINEAR      (x[T,K], w[N,K] (, bias[N])) → [T,N];  groups G > 1: x[T,G·K], w[N,K] in G blocks of N/G rows, each
 *               of which multiplies its own part of x
 *   SILU_MUL    (gate, up) limit (0: none)
 *   ROPE        (x[T,heads·head_dim], table[T,R]) heads, head_dim, interleaved, offset (of the rotated part in a
 *               head), inverse
 *   STATE_WRITE (state, k[T,kv_heads·head_dim] (, v[…])) → state; writes at the rows' positions
 *   ATTENTION   (q[T,heads·head_dim], state (, sinks[heads], entries, chosen[T,n])) heads, kv_heads, head_dim, scale,
 *               window, tokens (an entry) → [T,heads·head_dim], lse[T,heads]
 *   SELECT_ROWS (x[T,D]) → [logit rows, D]
 *   SPLIT_ROWS  (x[T,S·D]) streams S → [T·S,D];  JOIN_ROWS the way back; no work
 *
 * DeepSeek-V4 (deepseek-v4.md §2; kernels/mix.h has the formulas). M streams:
 *   HYPER_EXPAND (x[T,d]) streams → [T,M·d]
 *   HYPER_SPLIT  (z[T,n], X[T,M·d], scale, base[n]) streams, eps, hc_eps, iterations, head → c[T,n]
 *   HYPER_PRE    (X, c) streams, head → [T,d];   HYPER_POST (X, c, f[T,d]) streams → [T,M·d]
 *   COMPRESS     (entries state, a state, b state, ape[tokens,f·c], gain[c], inv_freq[R/2]) tokens, overlap, eps,
 *                rot = R (the last numbers of an entry), scale (of the angles) → entries state: those that the rows complete
 *   INDEX_CHOOSE (q[T,heads·head_dim], w[T,heads], keys state) heads, head_dim, tokens, topk → index [T,topk]
 *   ROUTE        (logits[T,E], bias[E] or table[V,k] (, ids with a table)) experts, topk, scale, alpha (weight of the
 *                sequence balance loss in the gradient) → weights[T,k], index [T,k]
 *   DISPATCH     (chosen[T,k]) experts → slots[T,k] of the tokens when sorted by expert, tokens[T·k,1] by slot,
 *                offsets[1,E+1] of the experts' slots
 *   GATHER       (x[T,d], tokens, slots) → [T·k,d]
 *   EXPERT_LINEAR (xs[T·k,K], offsets, experts[E,N,K]) → [T·k,N]
 *   COMBINE      (ys[T·k,d], slots, weights[T,k]) → [T,d]
 *
 *   CROSS_ENTROPY (x[T,d], w[V,d]) target (which of the batch's), scale → loss[T,1], dx[T,d]; adds the gradient of w to
 *                row index unless that is −1
 *
 * Gradients. X_BACK takes what X took and the gradient of its result, and gives those of X's inputs.
 *   ATTENTION_BACK (q, state, out, lse, dout (, sinks, entries, chosen)) + lanes → dq, dk, dv, dentries, dsinks: keys'
 *                gradients in `lanes` parts a head, to be added by FOLD
 *   FOLD         (x[T,n·D]) streams n → [T,D]: the sum of the parts
 *   HYPER_SPLIT_BACK → dz, dX, dbase rows, dscale rows
 *   ..._GRAD, COLUMN_SUM, ROUTE_COUNT: add to row `index`. COLUMN_SUM modulus r: row p mod r of a matrix [r,n] */
#define EXPERT_STRIDE 3
typedef struct {
    double eps, hc_eps, scale, limit, alpha;
    int64_t heads, kv_heads, head_dim, window, groups, offset, rot, streams, iterations, tokens, topk, experts, lanes, modulus;
    int result, target;
    bool interleaved, inverse, overlap, head;
} OpParams;

typedef struct {
    Op op;
    ValueKind kind;
    int input_count;
    NodeId inputs[NODE_INPUTS_MAX]; /* optional ones may be NO_NODE */
    OpParams params;
    Shape shape;
    struct {
        Shape shape;
        ValueKind kind;
    } more[NODE_RESULTS_MAX - 1]; /* results 1 … */
    int32_t index;    /* WEIGHT, EXPERTS and sinks: tensor table row; CONSTANT: constant number; STATE: part number */
    int32_t layer;    /* −1 outside layers */
    const char *site; /* "attn.q", "hidden": static text, for traces and profiles */
} Node;

typedef struct Graph Graph;

struct Differentiation;
typedef struct OpRow {
    const char *name;
    int inputs_min, inputs_max;
    /* Fill n->shape and n->kind from the inputs, or say what does not fit. */
    Status (*shape)(const Graph *g, Node *n, Error *err);
    /* Multiply-adds (counted as two) and other operations for one row. */
    double (*cost)(const Graph *g, const Node *n);
    /* Append the nodes that give the gradients of the inputs (graph/differentiate.h). NULL: not differentiable; what
     * lies behind it gets no gradient through it. */
    Status (*gradient)(struct Differentiation *d, NodeId n, NodeId dy);
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

/* Append a node; checks arity and shapes. *out is its id. Inputs behind the needed ones may be NO_NODE. */
MUST_USE Status graph_add(Graph *g, Op op, const NodeId *inputs, int input_count, const OpParams *params,
                          NodeId *out, Error *err);
/* The same with the number of a tensor row: sinks, CROSS_ENTROPY, IDS. */
MUST_USE Status graph_add_indexed(Graph *g, Op op, const NodeId *inputs, int input_count, const OpParams *params,
                                  int32_t index, NodeId *out, Error *err);
/* Leaves: weight or experts (row of the tensor table), constant, state part. */
MUST_USE Status graph_leaf(Graph *g, Op op, int32_t index, Shape shape, NodeId *out, Error *err);
MUST_USE Status graph_output(Graph *g, NodeId n, Error *err);

static inline const Node *graph_node(const Graph *g, NodeId n)
{
    return &g->nodes[n];
}

Shape shape_1d(int64_t a);
Shape shape_2d(int64_t a, int64_t b);
Shape shape_3d(int64_t a, int64_t b, int64_t c);
/* The same rows, another width. */
Shape shape_rows_of(const Shape *s, int64_t width);
/* Elements behind the first dimension: the width of a row. */
int64_t shape_row_elements(const Shape *s);

#endif
