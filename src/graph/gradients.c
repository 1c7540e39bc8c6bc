/* The gradient rules of the op table. Each takes the gradient dy of node n's result and appends what gives the
 * gradients of its inputs; what an appended op computes is written in graph.h. */
#include "graph/graph_internal.h"

/* The node by value: appending moves the array. */
static Node node_of(const Differentiation *d, NodeId n)
{
    return *graph_node(diff_graph(d), n);
}

/* Forward values of the first `count` inputs, as they are to be read on the way back. */
MUST_USE static Status values(Differentiation *d, const Node *n, int count, NodeId *out)
{
    Status st = ST_OK;
    for (int i = 0; i < count; i++)
        TRY(diff_value(d, n->inputs[i], &out[i]));
out:
    return st;
}

/* ---- layers every family has ------------------------------------------------------------------- */

Status gradient_embed(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    return diff_sink(d, OP_EMBED_GRAD, node.inputs[0], (NodeId[]){dy, node.inputs[1]}, 2, NULL);
}

Status gradient_rmsnorm(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    const NodeId gain = node.input_count > 1 ? node.inputs[1] : NO_NODE;
    NodeId x, dx, rows;
    Status st = ST_OK;
    TRY(diff_value(d, node.inputs[0], &x));
    TRY(diff_append(d, OP_RMSNORM_BACK, (NodeId[]){x, dy, gain}, gain < 0 ? 2 : 3, &node.params, &dx));
    if (diff_needs(d, gain)) {
        TRY(diff_result(d, dx, 1, &rows));
        TRY(diff_sink(d, OP_COLUMN_SUM, gain, &rows, 1, &(OpParams){.heads = node.params.heads}));
    }
    TRY(diff_add(d, node.inputs[0], dx));
out:
    return st;
}

Status gradient_linear(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    NodeId x, dx;
    Status st = ST_OK;
    if (diff_needs(d, node.inputs[1])) {
        TRY(diff_value(d, node.inputs[0], &x));
        TRY(diff_sink(d, OP_LINEAR_GRAD, node.inputs[1], (NodeId[]){dy, x}, 2, &node.params));
    }
    if (node.input_count == 3)
        TRY(diff_sink(d, OP_COLUMN_SUM, node.inputs[2], &dy, 1, NULL));
    if (diff_needs(d, node.inputs[0])) {
        TRY(diff_append(d, OP_LINEAR_BACK, (NodeId[]){dy, node.inputs[1]}, 2, &node.params, &dx));
        TRY(diff_add(d, node.inputs[0], dx));
    }
out:
    return st;
}

/* A rotation's transpose turns the other way. */
Status gradient_rope(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    OpParams p = node.params;
    NodeId dx;
    Status st = ST_OK;
    p.inverse = !p.inverse;
    TRY(diff_append(d, OP_ROPE, (NodeId[]){dy, node.inputs[1]}, 2, &p, &dx));
    TRY(diff_add(d, node.inputs[0], dx));
out:
    return st;
}

Status gradient_silu_mul(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    NodeId in[3] = {0, 0, dy}, dgate, dup;
    Status st = ST_OK;
    TRY(values(d, &node, 2, in));
    TRY(diff_append(d, OP_SILU_MUL_BACK, in, 3, &node.params, &dgate));
    TRY(diff_result(d, dgate, 1, &dup));
    TRY(diff_add(d, node.inputs[0], dgate));
    TRY(diff_add(d, node.inputs[1], dup));
out:
    return st;
}

Status gradient_add(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    const Status st = diff_add(d, node.inputs[0], dy);
    return st == ST_OK ? diff_add(d, node.inputs[1], dy) : st;
}

Status gradient_split_rows(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    NodeId dx;
    const Status st = diff_append(d, OP_JOIN_ROWS, &dy, 1, &node.params, &dx);
    return st == ST_OK ? diff_add(d, node.inputs[0], dx) : st;
}

Status gradient_join_rows(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    NodeId dx;
    const Status st = diff_append(d, OP_SPLIT_ROWS, &dy, 1, &node.params, &dx);
    return st == ST_OK ? diff_add(d, node.inputs[0], dx) : st;
}

/* ---- attention --------------------------------------------------------------------------------- */

/* Into how many parts the query heads of one key/value head are cut, so that threads have something to share:
 * each part sums its own gradient of the keys. A function of the shape only. */
static int64_t attention_lanes(const OpParams *p)
{
    const int64_t group = p->heads / p->kv_heads;
    if (p->kv_heads > 1)
        return 1;
    return group % 4 == 0 ? 4 : group % 2 == 0 ? 2 : 1;
}

/* Result `result` of ATTENTION_BACK, its lanes added up, to node n. The result is there even when n needs none: the
 * kernel writes it. */
MUST_USE static Status add_keys(Differentiation *d, NodeId back, int result, int64_t lanes, NodeId n)
{
    NodeId dk;
    Status st = ST_OK;
    TRY(diff_result(d, back, result, &dk));
    if (!diff_needs(d, n))
        return ST_OK;
    if (lanes > 1)
        TRY(diff_append(d, OP_FOLD, &dk, 1, &(OpParams){.streams = lanes}, &dk));
    TRY(diff_add(d, n, dk));
out:
    return st;
}

/* In a batch without past the state is what the rows wrote, so its gradient is theirs. */
Status gradient_attention(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    const Node write = node_of(d, node.inputs[1]);
    const NodeId sinks = node.input_count > 2 ? node.inputs[2] : NO_NODE;
    const NodeId entries = node.input_count > 3 ? node.inputs[3] : NO_NODE;
    const NodeId chosen = node.input_count > 4 ? node.inputs[4] : NO_NODE;
    NodeId q, out, lse, kept, back, dsinks;
    OpParams p = node.params;
    Status st = ST_OK;
    p.lanes = attention_lanes(&p);
    TRY(diff_value(d, node.inputs[0], &q));
    TRY(diff_value(d, n, &out));
    TRY(diff_value(d, chosen, &kept));
    TRY(diff_result(d, out, 1, &lse));
    TRY(diff_append(d, OP_ATTENTION_BACK, (NodeId[]){q, node.inputs[1], out, lse, dy, sinks, entries, kept}, 8, &p,
                    &back));
    TRY(diff_add(d, node.inputs[0], back));
    TRY(add_keys(d, back, 1, p.lanes, write.inputs[1]));
    if (write.input_count > 2)
        TRY(add_keys(d, back, 2, p.lanes, write.inputs[2]));
    if (entries >= 0)
        TRY(add_keys(d, back, 3, p.lanes, entries));
    if (sinks >= 0) {
        TRY(diff_result(d, back, 4, &dsinks));
        TRY(diff_sink(d, OP_COLUMN_SUM, sinks, &dsinks, 1, NULL));
    }
out:
    return st;
}

/* dy: the gradient of the entries. */
Status gradient_compress(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    const NodeId *in = node.inputs;
    const Node a = node_of(d, in[1]), b = node_of(d, in[2]);
    NodeId da, db, dgain;
    Status st = ST_OK;
    TRY(diff_append(d, OP_COMPRESS_BACK, (NodeId[]){in[1], in[2], in[3], in[4], in[5], dy}, 6, &node.params, &da));
    TRY(diff_add(d, a.inputs[1], da));
    TRY(diff_result(d, da, 1, &db));
    TRY(diff_add(d, b.inputs[1], db));
    TRY(diff_sink(d, OP_COLUMN_SUM, in[3], &db, 1, &(OpParams){.modulus = node.params.tokens}));
    if (diff_needs(d, in[4])) {
        TRY(diff_result(d, da, 2, &dgain));
        TRY(diff_sink(d, OP_COLUMN_SUM, in[4], &dgain, 1, NULL));
    }
out:
    return st;
}

/* ---- hyper-connections ------------------------------------------------------------------------- */

Status gradient_hyper_expand(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    NodeId dx;
    const Status st = diff_append(d, OP_FOLD, &dy, 1, &node.params, &dx);
    return st == ST_OK ? diff_add(d, node.inputs[0], dx) : st;
}

Status gradient_hyper_split(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    NodeId in[5] = {0, 0, node.inputs[2], node.inputs[3], dy}, dz, other;
    Status st = ST_OK;
    TRY(values(d, &node, 2, in));
    TRY(diff_append(d, OP_HYPER_SPLIT_BACK, in, 5, &node.params, &dz));
    TRY(diff_add(d, node.inputs[0], dz));
    TRY(diff_result(d, dz, 1, &other));
    TRY(diff_add(d, node.inputs[1], other));
    TRY(diff_result(d, dz, 2, &other));
    TRY(diff_sink(d, OP_COLUMN_SUM, node.inputs[3], &other, 1, NULL));
    TRY(diff_result(d, dz, 3, &other));
    TRY(diff_sink(d, OP_COLUMN_SUM, node.inputs[2], &other, 1, NULL));
out:
    return st;
}

Status gradient_hyper_pre(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    NodeId in[3] = {0, 0, dy}, dx, dc;
    Status st = ST_OK;
    TRY(values(d, &node, 2, in));
    TRY(diff_append(d, OP_HYPER_PRE_BACK, in, 3, &node.params, &dx));
    TRY(diff_result(d, dx, 1, &dc));
    TRY(diff_add(d, node.inputs[0], dx));
    TRY(diff_add(d, node.inputs[1], dc));
out:
    return st;
}

Status gradient_hyper_post(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    NodeId in[4] = {0, 0, 0, dy}, dx, dc, df;
    Status st = ST_OK;
    TRY(values(d, &node, 3, in));
    TRY(diff_append(d, OP_HYPER_POST_BACK, in, 4, &node.params, &dx));
    TRY(diff_result(d, dx, 1, &dc));
    TRY(diff_result(d, dx, 2, &df));
    TRY(diff_add(d, node.inputs[0], dx));
    TRY(diff_add(d, node.inputs[1], dc));
    TRY(diff_add(d, node.inputs[2], df));
out:
    return st;
}

/* ---- experts ----------------------------------------------------------------------------------- */

/* The bias has no gradient; its row counts the tokens of each expert, for the balance rule. */
Status gradient_route(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    NodeId weights, chosen, logits, dlogits;
    Status st = ST_OK;
    TRY(diff_value(d, n, &weights));
    TRY(diff_result(d, weights, 1, &chosen));
    TRY(diff_value(d, node.inputs[0], &logits));
    if (node.input_count == 2)
        TRY(diff_sink(d, OP_ROUTE_COUNT, node.inputs[1], &chosen, 1, &node.params));
    if (diff_needs(d, node.inputs[0])) {
        TRY(diff_append(d, OP_ROUTE_BACK, (NodeId[]){logits, chosen, dy}, 3, &node.params, &dlogits));
        TRY(diff_add(d, node.inputs[0], dlogits));
    }
out:
    return st;
}

Status gradient_gather(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    NodeId slots, dx;
    Status st = ST_OK;
    TRY(diff_value(d, node.inputs[2], &slots));
    TRY(diff_append(d, OP_GATHER_BACK, (NodeId[]){dy, slots}, 2, NULL, &dx));
    TRY(diff_add(d, node.inputs[0], dx));
out:
    return st;
}

Status gradient_expert_linear(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    OpParams p = node.params;
    NodeId x, offsets, dx;
    Status st = ST_OK;
    p.experts = node_of(d, node.inputs[2]).shape.dims[0];
    TRY(diff_value(d, node.inputs[1], &offsets));
    if (diff_needs(d, node.inputs[2])) {
        TRY(diff_value(d, node.inputs[0], &x));
        TRY(diff_sink(d, OP_EXPERT_GRAD, node.inputs[2], (NodeId[]){dy, x, offsets}, 3, &p));
    }
    if (diff_needs(d, node.inputs[0])) {
        TRY(diff_append(d, OP_EXPERT_LINEAR_BACK, (NodeId[]){dy, offsets, node.inputs[2]}, 3, &node.params, &dx));
        TRY(diff_add(d, node.inputs[0], dx));
    }
out:
    return st;
}

Status gradient_combine(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    NodeId in[4] = {0, 0, 0, dy}, dys, dweights;
    Status st = ST_OK;
    TRY(values(d, &node, 3, in));
    TRY(diff_append(d, OP_COMBINE_BACK, in, 4, NULL, &dys));
    TRY(diff_add(d, node.inputs[0], dys));
    if (diff_needs(d, node.inputs[2])) {
        TRY(diff_result(d, dys, 1, &dweights));
        TRY(diff_add(d, node.inputs[2], dweights));
    }
out:
    return st;
}

/* ---- loss -------------------------------------------------------------------------------------- */

/* The loss computes its gradient at once, so that logits are made only once and never kept. */
Status gradient_cross_entropy(Differentiation *d, NodeId n, NodeId dy)
{
    const Node node = node_of(d, n);
    NodeId dx;
    Status st = ST_OK;
    (void)dy;
    if (diff_needs(d, node.inputs[1]))
        diff_graph(d)->nodes[n].index = node_of(d, node.inputs[1]).index;
    if (diff_needs(d, node.inputs[0])) {
        TRY(diff_result(d, n, 1, &dx));
        TRY(diff_add(d, node.inputs[0], dx));
    }
out:
    return st;
}
