/* Experts as graph nodes. */
#include "nn/experts.h"

MUST_USE static Status result(Graph *g, NodeId n, int which, NodeId *out, Error *err)
{
    return graph_add(g, OP_RESULT, &n, 1, &(OpParams){.result = which}, out, err);
}

/* Tokens in the order of their experts. */
typedef struct {
    NodeId slots, tokens, offsets;
} Dispatch;

MUST_USE static Status dispatch(Graph *g, NodeId weights, int64_t experts, Dispatch *d, Error *err)
{
    NodeId chosen;
    Status st = ST_OK;
    TRY(result(g, weights, 1, &chosen, err));
    TRY(graph_add(g, OP_DISPATCH, &chosen, 1, &(OpParams){.experts = experts}, &d->slots, err));
    TRY(result(g, d->slots, 1, &d->tokens, err));
    TRY(result(g, d->slots, 2, &d->offsets, err));
out:
    return st;
}

/* Matrix number `which` (gate, up, down) of every expert times the rows of its tokens. */
MUST_USE static Status product(Graph *g, NodeId x, const Dispatch *d, const NnExperts *e, int which, NodeId *out, Error *err)
{
    const int64_t N = which == 2 ? e->hidden : e->width, K = which == 2 ? e->width : e->hidden;
    NodeId leaf;
    Status st = ST_OK;
    TRY(graph_leaf(g, OP_EXPERTS, e->first + which, shape_3d(e->experts, N, K), &leaf, err));
    TRY(graph_add(g, OP_EXPERT_LINEAR, (NodeId[]){x, d->offsets, leaf}, 3, NULL, out, err));
out:
    return st;
}

Status nn_experts(Graph *g, NodeId x, NodeId logits, const NnExperts *e, NodeId *out, Error *err)
{
    const OpParams route = {.experts = e->experts, .topk = e->topk, .scale = e->scale, .alpha = e->balance_alpha};
    const bool by_table = e->table != NO_NODE;
    NodeId weights, xs, both[2], product_of, ys;
    Dispatch d;
    Status st = ST_OK;
    TRY(graph_add(g, OP_ROUTE, (NodeId[]){logits, by_table ? e->table : e->bias, e->ids}, by_table ? 3 : 2, &route,
                  &weights, err));
    TRY(dispatch(g, weights, e->experts, &d, err));
    TRY(graph_add(g, OP_GATHER, (NodeId[]){x, d.tokens, d.slots}, 3, NULL, &xs, err));
    TRY(product(g, xs, &d, e, 0, &both[0], err));
    TRY(product(g, xs, &d, e, 1, &both[1], err));
    TRY(graph_add(g, OP_SILU_MUL, both, 2, &(OpParams){.limit = e->limit}, &product_of, err));
    TRY(product(g, product_of, &d, e, 2, &ys, err));
    TRY(graph_add(g, OP_COMBINE, (NodeId[]){ys, d.slots, weights}, 3, NULL, out, err));
out:
    return st;
}
