/* The op table: one row an op. What an op computes is written in graph.h, how, in the kernels; shape
 * rules are in shapes.c, gradient rules in gradients.c. */
#include "graph/graph_internal.h"

static double cost_none(const Graph *g, const Node *n)
{
    (void)g, (void)n;
    return 0;
}

static double cost_elements(const Graph *g, const Node *n)
{
    (void)g;
    return (double)shape_row_elements(&n->shape);
}

static double cost_linear(const Graph *g, const Node *n)
{
    const Node *w = graph_node(g, n->inputs[1]);
    return 2.0 * (double)w->shape.dims[0] * (double)w->shape.dims[1];
}

/* Of one slot. */
static double cost_expert_linear(const Graph *g, const Node *n)
{
    const Node *w = graph_node(g, n->inputs[2]);
    return 2.0 * (double)w->shape.dims[1] * (double)w->shape.dims[2];
}

/* Logits, and the gradients of both factors. */
static double cost_cross_entropy(const Graph *g, const Node *n)
{
    return 3 * cost_linear(g, n);
}

static double cost_linear_grad(const Graph *g, const Node *n)
{
    return 2.0 * (double)shape_row_elements(&graph_node(g, n->inputs[0])->shape) *
           (double)shape_row_elements(&graph_node(g, n->inputs[1])->shape) /
           (double)(n->params.groups > 1 ? n->params.groups : 1);
}

static const OpRow rows[OP_COUNT] = {
#define X(op, name, lo, hi, shape, cost, gradient) {name, lo, hi, shape, cost, gradient},
    OP_TABLE(X)
#undef X
};

const OpRow *op_row(Op op)
{
    return &rows[op];
}
