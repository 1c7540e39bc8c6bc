/* The op table: shape and cost rules. One row an op; what an op computes is written in graph.h, how, in
 * the kernels. */
#include "graph/graph.h"

static const Node *input(const Graph *g, const Node *n, int i)
{
    return graph_node(g, n->inputs[i]);
}

MUST_USE static Status mismatch(const Node *n, Error *err, const char *what, int64_t found, int64_t expected)
{
    return error_set(err, ST_INVALID, "%s '%s' of layer %d: %s is %lld, expected %lld", op_row(n->op)->name,
                     n->site ? n->site : "", n->layer, what, (long long)found, (long long)expected);
}

MUST_USE static Status expect(const Node *n, Error *err, const char *what, int64_t found, int64_t expected)
{
    return found == expected ? ST_OK : mismatch(n, err, what, found, expected);
}

static int64_t width(const Node *n)
{
    return shape_row_elements(&n->shape);
}

MUST_USE static Status shape_given(const Graph *g, Node *n, Error *err)
{
    (void)g, (void)err;
    n->kind = n->op == OP_WEIGHT ? VALUE_WEIGHT : n->op == OP_STATE ? VALUE_STATE : VALUE_REAL;
    return ST_OK;
}

MUST_USE static Status shape_index(const Graph *g, Node *n, Error *err)
{
    (void)g, (void)err;
    n->kind = VALUE_INDEX;
    n->shape = shape_1d(DIM_ROWS);
    return ST_OK;
}

MUST_USE static Status shape_embed(const Graph *g, Node *n, Error *err)
{
    const Node *w = input(g, n, 0), *ids = input(g, n, 1);
    Status st = ST_OK;
    TRY(expect(n, err, "dimensions of the table", w->shape.ndim, 2));
    TRY(expect(n, err, "kind of the ids", ids->kind, VALUE_INDEX));
    n->shape = shape_2d(ids->shape.dims[0], w->shape.dims[1]);
out:
    return st;
}

MUST_USE static Status shape_rope_table(const Graph *g, Node *n, Error *err)
{
    Status st = ST_OK;
    TRY(expect(n, err, "kind of the positions", input(g, n, 0)->kind, VALUE_INDEX));
    n->shape = shape_2d(DIM_ROWS, 2 * input(g, n, 1)->shape.dims[0]);
out:
    return st;
}

MUST_USE static Status shape_rmsnorm(const Graph *g, Node *n, Error *err)
{
    Status st = ST_OK;
    TRY(expect(n, err, "length of the gain", input(g, n, 1)->shape.dims[0], width(input(g, n, 0))));
    n->shape = input(g, n, 0)->shape;
out:
    return st;
}

MUST_USE static Status shape_linear(const Graph *g, Node *n, Error *err)
{
    const Node *x = input(g, n, 0), *w = input(g, n, 1);
    Status st = ST_OK;
    TRY(expect(n, err, "dimensions of the weight", w->shape.ndim, 2));
    TRY(expect(n, err, "columns of the weight", w->shape.dims[1], width(x)));
    if (n->input_count == 3)
        TRY(expect(n, err, "length of the bias", input(g, n, 2)->shape.dims[0], w->shape.dims[0]));
    n->shape = shape_2d(x->shape.dims[0], w->shape.dims[0]);
out:
    return st;
}

MUST_USE static Status shape_rope(const Graph *g, Node *n, Error *err)
{
    const Node *x = input(g, n, 0), *table = input(g, n, 1);
    Status st = ST_OK;
    TRY(expect(n, err, "heads times head size", n->params.heads * n->params.head_dim, width(x)));
    if (width(table) > n->params.head_dim)
        TRY(mismatch(n, err, "rotated part of a head", width(table), n->params.head_dim));
    n->shape = x->shape;
out:
    return st;
}

MUST_USE static Status shape_state_write(const Graph *g, Node *n, Error *err)
{
    Status st = ST_OK;
    TRY(expect(n, err, "kind of the state", input(g, n, 0)->kind, VALUE_STATE));
    TRY(expect(n, err, "width of the values", width(input(g, n, 2)), width(input(g, n, 1))));
    n->shape = input(g, n, 0)->shape;
    n->kind = VALUE_STATE;
    n->index = input(g, n, 0)->index;
out:
    return st;
}

MUST_USE static Status shape_attention(const Graph *g, Node *n, Error *err)
{
    const OpParams *p = &n->params;
    Status st = ST_OK;
    TRY(expect(n, err, "kind of the state", input(g, n, 1)->kind, VALUE_STATE));
    TRY(expect(n, err, "heads times head size", p->heads * p->head_dim, width(input(g, n, 0))));
    TRY(expect(n, err, "heads left over by the key/value heads", p->heads % p->kv_heads, 0));
    n->shape = input(g, n, 0)->shape;
out:
    return st;
}

MUST_USE static Status shape_same(const Graph *g, Node *n, Error *err)
{
    const Node *a = input(g, n, 0), *b = input(g, n, 1);
    Status st = ST_OK;
    TRY(expect(n, err, "rows of the second input", b->shape.dims[0], a->shape.dims[0]));
    TRY(expect(n, err, "width of the second input", width(b), width(a)));
    n->shape = a->shape;
out:
    return st;
}

MUST_USE static Status shape_select(const Graph *g, Node *n, Error *err)
{
    const Node *x = input(g, n, 0);
    Status st = ST_OK;
    TRY(expect(n, err, "first dimension", x->shape.dims[0], DIM_ROWS));
    n->shape = x->shape;
    n->shape.dims[0] = DIM_LOGIT_ROWS;
out:
    return st;
}

static double cost_none(const Graph *g, const Node *n)
{
    (void)g, (void)n;
    return 0;
}

static double cost_elements(const Graph *g, const Node *n)
{
    (void)g;
    return (double)width(n);
}

static double cost_linear(const Graph *g, const Node *n)
{
    const Node *w = input(g, n, 1);
    return 2.0 * (double)w->shape.dims[0] * (double)w->shape.dims[1];
}

static const OpRow rows[OP_COUNT] = {
#define X(op, name, lo, hi, shape, cost) {name, lo, hi, shape, cost, NULL},
    OP_TABLE(X)
#undef X
};

const OpRow *op_row(Op op)
{
    return &rows[op];
}
