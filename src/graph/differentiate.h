/* Gradients of a graph: nodes appended behind it.
 *
 * Losses are the CROSS_ENTROPY nodes. Going backwards from them, the rule of each op (OpRow.gradient) appends
 * nodes that turn the gradient of its result into those of its inputs; a value that several nodes read gets
 * the sum, in the order of the walk. Gradients of weights leave the graph through sinks (…_GRAD, COLUMN_SUM), which
 * add to the row of the tensor table. The batch of a differentiated graph is whole sequences without past.
 *
 * With `recompute` a value inside a layer is not kept for the way back but computed again from what entered the
 * layer (activation recomputation, arXiv:1604.06174): clones give the same bits. */
#ifndef PLUMB_GRAPH_DIFFERENTIATE_H
#define PLUMB_GRAPH_DIFFERENTIATE_H

#include "graph/graph.h"

typedef struct {
    const bool *wanted; /* by tensor row: whose gradients; NULL: all */
    bool recompute;
} DifferentiateParams;

MUST_USE Status graph_differentiate(Graph *g, const DifferentiateParams *p, Error *err);

/* ---- for the rules ----------------------------------------------------------------------------- */

typedef struct Differentiation Differentiation;

Graph *diff_graph(const Differentiation *d);
Error *diff_error(const Differentiation *d);
/* Whether anything that wants a gradient lies behind node n (NO_NODE: no). */
bool diff_needs(const Differentiation *d, NodeId n);
/* Whether tensor row `row` wants a gradient. */
bool diff_wants(const Differentiation *d, int32_t row);
/* The node that has the value of forward node n on the way back: n, or its clone. */
MUST_USE Status diff_value(Differentiation *d, NodeId n, NodeId *out);
/* Append a node of the layer at hand. Inputs are ids as they are to be read. */
MUST_USE Status diff_append(Differentiation *d, Op op, const NodeId *inputs, int count, const OpParams *p, NodeId *out);
MUST_USE Status diff_result(Differentiation *d, NodeId n, int result, NodeId *out);
/* Add `gradient` to the gradient of forward node n. */
MUST_USE Status diff_add(Differentiation *d, NodeId n, NodeId gradient);
/* The gradient of a weight leaf, when it is wanted. */
MUST_USE Status diff_sink(Differentiation *d, Op op, NodeId weight, const NodeId *inputs, int count, const OpParams *p);

#endif
