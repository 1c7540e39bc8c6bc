/* Shape rules: what a node yields, or what does not fit. */
#include "graph/graph_internal.h"

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

static int64_t at_least_1(int64_t x)
{
    return x > 0 ? x : 1;
}

MUST_USE static Status expect_kind(const Node *n, Error *err, const char *what, const Node *in, ValueKind kind)
{
    return expect(n, err, what, in->kind, kind);
}

/* Two inputs with the same rows. */
MUST_USE static Status expect_rows(const Node *n, Error *err, const Node *a, const Node *b)
{
    Status st = ST_OK;
    TRY(expect(n, err, "rows of an input", b->shape.dims[0], a->shape.dims[0]));
    TRY(expect(n, err, "multiple of rows of an input", at_least_1(b->shape.rows_times), at_least_1(a->shape.rows_times)));
    TRY(expect(n, err, "fraction of rows of an input", at_least_1(b->shape.rows_over), at_least_1(a->shape.rows_over)));
out:
    return st;
}

static void result(Node *n, int i, Shape shape, ValueKind kind)
{
    n->more[i - 1].shape = shape;
    n->more[i - 1].kind = kind;
}

/* ---- leaves ------------------------------------------------------------------------------------ */

Status shape_given(const Graph *g, Node *n, Error *err)
{
    (void)g, (void)err;
    n->kind = n->op == OP_WEIGHT || n->op == OP_EXPERTS ? VALUE_WEIGHT : n->op == OP_STATE ? VALUE_STATE : VALUE_REAL;
    return ST_OK;
}

Status shape_index(const Graph *g, Node *n, Error *err)
{
    (void)g, (void)err;
    n->kind = VALUE_INDEX;
    n->shape = shape_2d(DIM_ROWS, 1);
    return ST_OK;
}

Status shape_none(const Graph *g, Node *n, Error *err)
{
    (void)g, (void)err;
    CHECK(n->index >= 0);
    n->kind = VALUE_NONE;
    return ST_OK;
}

Status shape_result(const Graph *g, Node *n, Error *err)
{
    (void)err;
    const Node *of = input(g, n, 0);
    CHECK(n->params.result >= 1);
    CHECK(n->params.result < NODE_RESULTS_MAX);
    n->shape = of->more[n->params.result - 1].shape;
    n->kind = of->more[n->params.result - 1].kind;
    CHECK(n->shape.ndim > 0);
    return ST_OK;
}

/* ---- layers ------------------------------------------------------------------------------------ */

Status shape_embed(const Graph *g, Node *n, Error *err)
{
    const Node *w = input(g, n, 0), *ids = input(g, n, 1);
    Status st = ST_OK;
    TRY(expect(n, err, "dimensions of the table", w->shape.ndim, 2));
    TRY(expect_kind(n, err, "kind of the ids", ids, VALUE_INDEX));
    n->shape = shape_rows_of(&ids->shape, w->shape.dims[1]);
out:
    return st;
}

Status shape_rope_table(const Graph *g, Node *n, Error *err)
{
    Status st = ST_OK;
    TRY(expect_kind(n, err, "kind of the positions", input(g, n, 0), VALUE_INDEX));
    n->shape = shape_2d(DIM_ROWS, 2 * input(g, n, 1)->shape.dims[0]);
out:
    return st;
}

Status shape_rmsnorm(const Graph *g, Node *n, Error *err)
{
    const int64_t heads = at_least_1(n->params.heads), w = width(input(g, n, 0));
    Status st = ST_OK;
    TRY(expect(n, err, "width left over by the heads", w % heads, 0));
    if (n->input_count > 1)
        TRY(expect(n, err, "length of the gain", input(g, n, 1)->shape.dims[0], w / heads));
    n->shape = input(g, n, 0)->shape;
out:
    return st;
}

Status shape_linear(const Graph *g, Node *n, Error *err)
{
    const Node *x = input(g, n, 0), *w = input(g, n, 1);
    const int64_t groups = at_least_1(n->params.groups);
    Status st = ST_OK;
    TRY(expect(n, err, "dimensions of the weight", w->shape.ndim, 2));
    TRY(expect(n, err, "columns of the weight times groups", w->shape.dims[1] * groups, width(x)));
    TRY(expect(n, err, "rows of the weight left over by the groups", w->shape.dims[0] % groups, 0));
    if (n->input_count == 3)
        TRY(expect(n, err, "length of the bias", input(g, n, 2)->shape.dims[0], w->shape.dims[0]));
    n->shape = shape_rows_of(&x->shape, w->shape.dims[0]);
out:
    return st;
}

Status shape_rope(const Graph *g, Node *n, Error *err)
{
    const Node *x = input(g, n, 0), *table = input(g, n, 1);
    Status st = ST_OK;
    TRY(expect(n, err, "heads times head size", n->params.heads * n->params.head_dim, width(x)));
    if (n->params.offset + width(table) > n->params.head_dim)
        TRY(mismatch(n, err, "rotated part of a head", width(table), n->params.head_dim - n->params.offset));
    n->shape = x->shape;
out:
    return st;
}

Status shape_state_write(const Graph *g, Node *n, Error *err)
{
    Status st = ST_OK;
    TRY(expect_kind(n, err, "kind of the state", input(g, n, 0), VALUE_STATE));
    if (n->input_count > 2)
        TRY(expect(n, err, "width of the values", width(input(g, n, 2)), width(input(g, n, 1))));
    n->shape = input(g, n, 0)->shape;
    n->kind = VALUE_STATE;
    n->index = input(g, n, 0)->index;
out:
    return st;
}

Status shape_attention(const Graph *g, Node *n, Error *err)
{
    const OpParams *p = &n->params;
    const Node *q = input(g, n, 0);
    Status st = ST_OK;
    TRY(expect_kind(n, err, "kind of the state", input(g, n, 1), VALUE_STATE));
    TRY(expect(n, err, "heads times head size", p->heads * p->head_dim, width(q)));
    TRY(expect(n, err, "heads left over by the key/value heads", p->heads % p->kv_heads, 0));
    if (n->input_count > 2 && n->inputs[2] >= 0)
        TRY(expect(n, err, "length of the sinks", input(g, n, 2)->shape.dims[0], p->heads));
    if (n->input_count > 3 && n->inputs[3] >= 0)
        TRY(expect_kind(n, err, "kind of the entries", input(g, n, 3), VALUE_STATE));
    if (n->input_count > 4 && n->inputs[4] >= 0)
        TRY(expect_kind(n, err, "kind of the chosen entries", input(g, n, 4), VALUE_INDEX));
    n->shape = q->shape;
    result(n, 1, shape_rows_of(&q->shape, p->heads), VALUE_REAL);
out:
    return st;
}

Status shape_same(const Graph *g, Node *n, Error *err)
{
    const Node *a = input(g, n, 0), *b = input(g, n, 1);
    Status st = ST_OK;
    TRY(expect_rows(n, err, a, b));
    TRY(expect(n, err, "width of the second input", width(b), width(a)));
    n->shape = a->shape;
out:
    return st;
}

Status shape_same_first(const Graph *g, Node *n, Error *err)
{
    (void)err;
    n->shape = input(g, n, 0)->shape;
    return ST_OK;
}

Status shape_select(const Graph *g, Node *n, Error *err)
{
    const Node *x = input(g, n, 0);
    Status st = ST_OK;
    TRY(expect(n, err, "first dimension", x->shape.dims[0], DIM_ROWS));
    n->shape = x->shape;
    n->shape.dims[0] = DIM_LOGIT_ROWS;
out:
    return st;
}

Status shape_split_rows(const Graph *g, Node *n, Error *err)
{
    const Node *x = input(g, n, 0);
    Status st = ST_OK;
    TRY(expect(n, err, "width left over by the streams", width(x) % n->params.streams, 0));
    n->shape = shape_rows_of(&x->shape, width(x) / n->params.streams);
    n->shape.rows_times = (int32_t)(at_least_1(x->shape.rows_times) * n->params.streams);
out:
    return st;
}

Status shape_join_rows(const Graph *g, Node *n, Error *err)
{
    const Node *x = input(g, n, 0);
    Status st = ST_OK;
    TRY(expect(n, err, "rows left over by the streams", at_least_1(x->shape.rows_times) % n->params.streams, 0));
    n->shape = shape_rows_of(&x->shape, width(x) * n->params.streams);
    n->shape.rows_times = (int32_t)(at_least_1(x->shape.rows_times) / n->params.streams);
out:
    return st;
}

/* ---- DeepSeek-V4 ------------------------------------------------------------------------------- */

/* Coefficients of a token. */
static int64_t hyper_width(const OpParams *p)
{
    return p->head ? p->streams : (2 + p->streams) * p->streams;
}

Status shape_hyper_expand(const Graph *g, Node *n, Error *err)
{
    (void)err;
    n->shape = shape_rows_of(&input(g, n, 0)->shape, width(input(g, n, 0)) * n->params.streams);
    return ST_OK;
}

Status shape_hyper_split(const Graph *g, Node *n, Error *err)
{
    Status st = ST_OK;
    TRY(expect_rows(n, err, input(g, n, 0), input(g, n, 1)));
    TRY(expect(n, err, "width of the mix", width(input(g, n, 0)), hyper_width(&n->params)));
    TRY(expect(n, err, "width left over by the streams", width(input(g, n, 1)) % n->params.streams, 0));
    TRY(expect(n, err, "length of the scale", input(g, n, 2)->shape.dims[0], n->params.head ? 1 : 3));
    TRY(expect(n, err, "length of the base", input(g, n, 3)->shape.dims[0], hyper_width(&n->params)));
    n->shape = input(g, n, 0)->shape;
out:
    return st;
}

Status shape_hyper_pre(const Graph *g, Node *n, Error *err)
{
    Status st = ST_OK;
    TRY(expect(n, err, "width of the coefficients", width(input(g, n, 1)), hyper_width(&n->params)));
    n->shape = shape_rows_of(&input(g, n, 0)->shape, width(input(g, n, 0)) / n->params.streams);
out:
    return st;
}

Status shape_hyper_post(const Graph *g, Node *n, Error *err)
{
    Status st = ST_OK;
    TRY(expect(n, err, "width of the coefficients", width(input(g, n, 1)), hyper_width(&n->params)));
    TRY(expect(n, err, "width of the layer's output", width(input(g, n, 2)) * n->params.streams, width(input(g, n, 0))));
    n->shape = input(g, n, 0)->shape;
out:
    return st;
}

Status shape_compress(const Graph *g, Node *n, Error *err)
{
    const OpParams *p = &n->params;
    const int64_t c = input(g, n, 4)->shape.dims[0], parts = p->overlap ? 2 : 1;
    Status st = ST_OK;
    for (int i = 0; i < 3; i++)
        TRY(expect_kind(n, err, "kind of the state", input(g, n, i), VALUE_STATE));
    TRY(expect(n, err, "rows of the position bias", input(g, n, 3)->shape.dims[0], p->tokens));
    TRY(expect(n, err, "columns of the position bias", input(g, n, 3)->shape.dims[1], parts * c));
    for (int i = 1; i < 3; i++)
        TRY(expect(n, err, "width of the pooled rows", input(g, n, i)->shape.dims[1], parts * c));
    TRY(expect(n, err, "rotated part of an entry", p->rot, 2 * input(g, n, 5)->shape.dims[0]));
    if (p->rot > c)
        TRY(mismatch(n, err, "rotated part of an entry", p->rot, c));
    n->shape = input(g, n, 0)->shape;
    n->kind = VALUE_STATE;
    n->index = input(g, n, 0)->index;
out:
    return st;
}

Status shape_index_choose(const Graph *g, Node *n, Error *err)
{
    const OpParams *p = &n->params;
    Status st = ST_OK;
    TRY(expect(n, err, "heads times head size", p->heads * p->head_dim, width(input(g, n, 0))));
    TRY(expect(n, err, "weights of the heads", width(input(g, n, 1)), p->heads));
    TRY(expect_kind(n, err, "kind of the keys", input(g, n, 2), VALUE_STATE));
    n->kind = VALUE_INDEX;
    n->shape = shape_2d(DIM_ROWS, p->topk);
out:
    return st;
}

Status shape_route(const Graph *g, Node *n, Error *err)
{
    const OpParams *p = &n->params;
    const Node *logits = input(g, n, 0), *by = input(g, n, 1);
    Status st = ST_OK;
    TRY(expect(n, err, "number of experts", width(logits), p->experts));
    if (n->input_count == 3)
        TRY(expect(n, err, "columns of the table", by->shape.dims[1], p->topk));
    else
        TRY(expect(n, err, "length of the bias", by->shape.dims[0], p->experts));
    n->shape = shape_rows_of(&logits->shape, p->topk);
    result(n, 1, n->shape, VALUE_INDEX);
out:
    return st;
}

Status shape_dispatch(const Graph *g, Node *n, Error *err)
{
    const Node *chosen = input(g, n, 0);
    Status st = ST_OK;
    TRY(expect_kind(n, err, "kind of the choice", chosen, VALUE_INDEX));
    n->shape = chosen->shape;
    n->kind = VALUE_INDEX;
    Shape tokens = shape_rows_of(&chosen->shape, 1);
    tokens.rows_times = (int32_t)(at_least_1(tokens.rows_times) * width(chosen));
    result(n, 1, tokens, VALUE_INDEX);
    result(n, 2, shape_2d(1, n->params.experts + 1), VALUE_INDEX);
out:
    return st;
}

Status shape_gather(const Graph *g, Node *n, Error *err)
{
    (void)err;
    n->shape = shape_rows_of(&input(g, n, 1)->shape, width(input(g, n, 0)));
    return ST_OK;
}

Status shape_expert_linear(const Graph *g, Node *n, Error *err)
{
    const Node *w = input(g, n, 2);
    Status st = ST_OK;
    TRY(expect(n, err, "dimensions of the experts", w->shape.ndim, 3));
    TRY(expect(n, err, "columns of the experts", w->shape.dims[2], width(input(g, n, 0))));
    n->shape = shape_rows_of(&input(g, n, 0)->shape, w->shape.dims[1]);
out:
    return st;
}

Status shape_combine(const Graph *g, Node *n, Error *err)
{
    (void)err;
    n->shape = shape_rows_of(&input(g, n, 1)->shape, width(input(g, n, 0)));
    return ST_OK;
}

/* ---- losses and gradients ---------------------------------------------------------------------- */

Status shape_cross_entropy(const Graph *g, Node *n, Error *err)
{
    const Node *x = input(g, n, 0), *w = input(g, n, 1);
    Status st = ST_OK;
    TRY(expect(n, err, "columns of the head", w->shape.dims[1], width(x)));
    n->shape = shape_rows_of(&x->shape, 1);
    result(n, 1, x->shape, VALUE_REAL);
out:
    return st;
}

Status shape_linear_back(const Graph *g, Node *n, Error *err)
{
    const Node *dy = input(g, n, 0), *w = input(g, n, 1);
    Status st = ST_OK;
    TRY(expect(n, err, "rows of the weight", w->shape.dims[0], width(dy)));
    n->shape = shape_rows_of(&dy->shape, w->shape.dims[1] * at_least_1(n->params.groups));
out:
    return st;
}

Status shape_expert_linear_back(const Graph *g, Node *n, Error *err)
{
    const Node *dy = input(g, n, 0), *w = input(g, n, 2);
    Status st = ST_OK;
    TRY(expect(n, err, "rows of the experts", w->shape.dims[1], width(dy)));
    n->shape = shape_rows_of(&dy->shape, w->shape.dims[2]);
out:
    return st;
}

Status shape_rmsnorm_back(const Graph *g, Node *n, Error *err)
{
    (void)err;
    n->shape = input(g, n, 0)->shape;
    result(n, 1, n->shape, VALUE_REAL);
    return ST_OK;
}

Status shape_silu_mul_back(const Graph *g, Node *n, Error *err)
{
    (void)err;
    n->shape = input(g, n, 0)->shape;
    result(n, 1, n->shape, VALUE_REAL);
    return ST_OK;
}

Status shape_attention_back(const Graph *g, Node *n, Error *err)
{
    (void)err;
    const OpParams *p = &n->params;
    const Shape *q = &input(g, n, 0)->shape;
    const Shape keys = shape_rows_of(q, p->kv_heads * p->lanes * p->head_dim);
    Shape entries = keys;
    n->shape = *q;
    result(n, 1, keys, VALUE_REAL);
    result(n, 2, keys, VALUE_REAL);
    entries.rows_over = (int32_t)at_least_1(p->tokens);
    result(n, 3, entries, VALUE_REAL);
    result(n, 4, shape_rows_of(q, p->heads), VALUE_REAL);
    return ST_OK;
}

Status shape_fold(const Graph *g, Node *n, Error *err)
{
    const Node *x = input(g, n, 0);
    Status st = ST_OK;
    TRY(expect(n, err, "width left over by the parts", width(x) % n->params.streams, 0));
    n->shape = shape_rows_of(&x->shape, width(x) / n->params.streams);
out:
    return st;
}

Status shape_hyper_split_back(const Graph *g, Node *n, Error *err)
{
    (void)err;
    n->shape = input(g, n, 0)->shape;
    result(n, 1, input(g, n, 1)->shape, VALUE_REAL);
    result(n, 2, n->shape, VALUE_REAL);
    result(n, 3, shape_rows_of(&n->shape, n->params.head ? 1 : 3), VALUE_REAL);
    return ST_OK;
}

Status shape_hyper_pre_back(const Graph *g, Node *n, Error *err)
{
    (void)err;
    n->shape = input(g, n, 0)->shape;
    result(n, 1, input(g, n, 1)->shape, VALUE_REAL);
    return ST_OK;
}

Status shape_hyper_post_back(const Graph *g, Node *n, Error *err)
{
    (void)err;
    n->shape = input(g, n, 0)->shape;
    result(n, 1, input(g, n, 1)->shape, VALUE_REAL);
    result(n, 2, input(g, n, 2)->shape, VALUE_REAL);
    return ST_OK;
}

/* (a state, b state, ape, gain, inv_freq, dentries) */
Status shape_compress_back(const Graph *g, Node *n, Error *err)
{
    (void)err;
    n->shape = shape_2d(DIM_ROWS, input(g, n, 0)->shape.dims[1]);
    result(n, 1, n->shape, VALUE_REAL);
    result(n, 2, input(g, n, 5)->shape, VALUE_REAL);
    return ST_OK;
}

/* (dxs, slots) */
Status shape_gather_back(const Graph *g, Node *n, Error *err)
{
    (void)err;
    n->shape = shape_rows_of(&input(g, n, 1)->shape, width(input(g, n, 0)));
    return ST_OK;
}

/* (ys, slots, weights, dy) */
Status shape_combine_back(const Graph *g, Node *n, Error *err)
{
    (void)err;
    n->shape = input(g, n, 0)->shape;
    result(n, 1, input(g, n, 2)->shape, VALUE_REAL);
    return ST_OK;
}
