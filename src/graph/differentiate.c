/* The walk back through a graph: see differentiate.h. */
#include "graph/differentiate.h"

#include "base/mem.h"

struct Differentiation {
    Graph *g;
    const DifferentiateParams *p;
    int32_t count;     /* forward nodes; what is appended comes behind */
    NodeId *gradients; /* by forward node; NO_NODE: none so far */
    NodeId *clones;    /* by forward node; NO_NODE: not computed again */
    bool *needed;      /* by forward node */
    int32_t layer;     /* of the node whose rule runs */
    Error *err;
};

Graph *diff_graph(const Differentiation *d)
{
    return d->g;
}

Error *diff_error(const Differentiation *d)
{
    return d->err;
}

bool diff_wants(const Differentiation *d, int32_t row)
{
    return row >= 0 && (!d->p->wanted || d->p->wanted[row]);
}

bool diff_needs(const Differentiation *d, NodeId n)
{
    return n >= 0 && d->needed[n];
}

Status diff_append(Differentiation *d, Op op, const NodeId *inputs, int count, const OpParams *p, NodeId *out)
{
    d->g->layer = d->layer;
    return graph_add(d->g, op, inputs, count, p, out, d->err);
}

Status diff_result(Differentiation *d, NodeId n, int result, NodeId *out)
{
    return diff_append(d, OP_RESULT, &n, 1, &(OpParams){.result = result}, out);
}

/* Leaves, states and what other layers computed are there anyway. */
static bool stays(const Differentiation *d, NodeId n)
{
    const Node *node = graph_node(d->g, n);
    return !d->p->recompute || node->layer < 0 || node->layer != d->layer || node->kind == VALUE_STATE ||
           op_row(node->op)->inputs_max == 0;
}

Status diff_value(Differentiation *d, NodeId n, NodeId *out)
{
    Status st = ST_OK;
    *out = n;
    if (n < 0 || stays(d, n))
        return ST_OK;
    if (d->clones[n] < 0) {
        const Node node = *graph_node(d->g, n);
        NodeId inputs[NODE_INPUTS_MAX];
        for (int i = 0; i < node.input_count; i++)
            TRY(diff_value(d, node.inputs[i], &inputs[i]));
        TRY(diff_append(d, node.op, inputs, node.input_count, &node.params, &d->clones[n]));
    }
    *out = d->clones[n];
out:
    return st;
}

Status diff_add(Differentiation *d, NodeId n, NodeId gradient)
{
    if (!diff_needs(d, n))
        return ST_OK;
    if (d->gradients[n] < 0) {
        d->gradients[n] = gradient;
        return ST_OK;
    }
    return diff_append(d, OP_ADD, (NodeId[]){d->gradients[n], gradient}, 2, NULL, &d->gradients[n]);
}

Status diff_sink(Differentiation *d, Op op, NodeId weight, const NodeId *inputs, int count, const OpParams *p)
{
    const int32_t row = graph_node(d->g, weight)->index;
    NodeId sink;
    if (!diff_needs(d, weight))
        return ST_OK;
    d->g->layer = d->layer;
    return graph_add_indexed(d->g, op, inputs, count, p, row, &sink, d->err);
}

/* A weight is needed when it is wanted, another node when one of its inputs is. */
static void find_needed(Differentiation *d)
{
    for (NodeId n = 0; n < d->count; n++) {
        const Node *node = graph_node(d->g, n);
        d->needed[n] = (node->op == OP_WEIGHT || node->op == OP_EXPERTS) && diff_wants(d, node->index);
        for (int i = 0; i < node->input_count; i++)
            d->needed[n] |= diff_needs(d, node->inputs[i]);
        d->gradients[n] = d->clones[n] = NO_NODE;
    }
}

MUST_USE static Status walk_back(Differentiation *d)
{
    for (NodeId n = d->count - 1; n >= 0; n--) {
        const Node *node = graph_node(d->g, n);
        const bool reached = d->gradients[n] >= 0 || node->op == OP_CROSS_ENTROPY;
        if (!reached || !d->needed[n] || !op_row(node->op)->gradient)
            continue;
        d->layer = node->layer;
        const Status st = op_row(node->op)->gradient(d, n, d->gradients[n]);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

Status graph_differentiate(Graph *g, const DifferentiateParams *p, Error *err)
{
    const size_t count = (size_t)g->count;
    Differentiation d = {.g = g, .p = p, .count = g->count, .err = err};
    Status st = ST_OK;
    d.gradients = mem_alloc(count, sizeof *d.gradients);
    d.clones = mem_alloc(count, sizeof *d.clones);
    d.needed = mem_alloc(count, sizeof *d.needed);
    if (!d.gradients || !d.clones || !d.needed)
        TRY(error_set(err, ST_NOMEM, "no memory for the gradients of %d nodes", g->count));
    g->site = NULL;
    find_needed(&d);
    TRY(walk_back(&d));
out:
    g->layer = -1;
    mem_free(d.gradients);
    mem_free(d.clones);
    mem_free(d.needed);
    return st;
}
