/* Building graphs. */
#include "graph/graph.h"

#include "base/mem.h"

#include <string.h>

#define GRAPH_NODES_MAX (1 << 22)

Shape shape_1d(int64_t a)
{
    return (Shape){.ndim = 1, .dims = {a}};
}

Shape shape_2d(int64_t a, int64_t b)
{
    return (Shape){.ndim = 2, .dims = {a, b}};
}

Shape shape_3d(int64_t a, int64_t b, int64_t c)
{
    return (Shape){.ndim = 3, .dims = {a, b, c}};
}

Shape shape_rows_of(const Shape *s, int64_t width)
{
    return (Shape){2, {s->dims[0], width}, s->rows_times, s->rows_over};
}

int64_t shape_row_elements(const Shape *s)
{
    int64_t n = 1;
    for (int i = 1; i < s->ndim; i++)
        n *= s->dims[i];
    return n;
}

void graph_init(Graph *g)
{
    *g = (Graph){.layer = -1};
}

void graph_deinit(Graph *g)
{
    mem_free(g->nodes);
    mem_free(g->outputs);
    *g = (Graph){.layer = -1};
}

MUST_USE static Status append(Graph *g, Node n, NodeId *out, Error *err)
{
    n.layer = g->layer;
    n.site = g->site;
    if (g->count >= GRAPH_NODES_MAX)
        return error_set(err, ST_INVALID, "graph: more than %d nodes", GRAPH_NODES_MAX);
    const Status shape_st = op_row(n.op)->shape(g, &n, err);
    if (shape_st != ST_OK)
        return shape_st;
    void *nodes = g->nodes;
    if (mem_grow(&nodes, &g->cap, (size_t)g->count + 1, sizeof n) != ST_OK)
        return error_set(err, ST_NOMEM, "graph: no memory for node %d", g->count);
    g->nodes = nodes;
    g->nodes[g->count] = n;
    *out = g->count++;
    return ST_OK;
}

Status graph_add_indexed(Graph *g, Op op, const NodeId *inputs, int input_count, const OpParams *params,
                         int32_t index, NodeId *out, Error *err)
{
    const OpRow *row = op_row(op);
    CHECK(input_count >= row->inputs_min);
    CHECK(input_count <= row->inputs_max);
    Node n = {.op = op, .input_count = input_count, .index = index};
    for (int i = 0; i < input_count; i++) {
        CHECK(inputs[i] < g->count);
        CHECK(inputs[i] >= 0 || i >= row->inputs_min);
        n.inputs[i] = inputs[i];
    }
    if (params)
        n.params = *params;
    return append(g, n, out, err);
}

Status graph_add(Graph *g, Op op, const NodeId *inputs, int input_count, const OpParams *params, NodeId *out,
                 Error *err)
{
    return graph_add_indexed(g, op, inputs, input_count, params, -1, out, err);
}

Status graph_leaf(Graph *g, Op op, int32_t index, Shape shape, NodeId *out, Error *err)
{
    CHECK(op_row(op)->inputs_max == 0);
    return append(g, (Node){.op = op, .index = index, .shape = shape}, out, err);
}

Status graph_output(Graph *g, NodeId n, Error *err)
{
    CHECK(n >= 0 && n < g->count);
    void *outputs = g->outputs;
    if (mem_grow(&outputs, &g->output_cap, (size_t)g->output_count + 1, sizeof n) != ST_OK)
        return error_set(err, ST_NOMEM, "graph: no memory for an output");
    g->outputs = outputs;
    g->outputs[g->output_count++] = n;
    return ST_OK;
}
