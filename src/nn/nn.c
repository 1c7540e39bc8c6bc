/* Layers as graph nodes. */
#include "nn/nn.h"

Status nn_linear(Graph *g, NodeId x, const NnLinear *w, int count, NodeId *out, Error *err)
{
    Status st = ST_OK;
    for (int i = 0; i < count && st == ST_OK; i++) {
        const NodeId inputs[3] = {x, w[i].weight, w[i].bias};
        g->site = w[i].site;
        st = graph_add(g, OP_LINEAR, inputs, w[i].bias == NO_NODE ? 2 : 3, NULL, &out[i], err);
    }
    g->site = NULL;
    return st;
}

Status nn_rmsnorm(Graph *g, NodeId x, NodeId gain, double eps, NodeId *out, Error *err)
{
    return graph_add(g, OP_RMSNORM, (NodeId[]){x, gain}, 2, &(OpParams){.eps = eps}, out, err);
}

Status nn_add(Graph *g, NodeId a, NodeId b, NodeId *out, Error *err)
{
    return graph_add(g, OP_ADD, (NodeId[]){a, b}, 2, NULL, out, err);
}

MUST_USE static Status rotate(Graph *g, const NnAttention *a, int64_t heads, NodeId x, NodeId *out, Error *err)
{
    const OpParams p = {.heads = heads, .kv_heads = a->kv_heads, .head_dim = a->head_dim,
                        .interleaved = a->interleaved};
    *out = x;
    if (a->rope_table == NO_NODE)
        return ST_OK;
    return graph_add(g, OP_ROPE, (NodeId[]){x, a->rope_table}, 2, &p, out, err);
}

Status nn_attention(Graph *g, NodeId x, const NnAttention *a, NodeId *out, Error *err)
{
    const OpParams p = {.heads = a->heads, .kv_heads = a->kv_heads, .head_dim = a->head_dim,
                        .window = a->window, .scale = a->scale};
    NodeId qkv[3], state, mixed;
    Status st = ST_OK;
    TRY(nn_linear(g, x, (NnLinear[]){a->q, a->k, a->v}, 3, qkv, err));
    TRY(rotate(g, a, a->heads, qkv[0], &qkv[0], err));
    TRY(rotate(g, a, a->kv_heads, qkv[1], &qkv[1], err));
    TRY(graph_add(g, OP_STATE_WRITE, (NodeId[]){a->state, qkv[1], qkv[2]}, 3, &p, &state, err));
    TRY(graph_add(g, OP_ATTENTION, (NodeId[]){qkv[0], state}, 2, &p, &mixed, err));
    TRY(nn_linear(g, mixed, &a->o, 1, out, err));
out:
    return st;
}

Status nn_swiglu(Graph *g, NodeId x, NnLinear gate, NnLinear up, NnLinear down, double limit, NodeId *out,
                 Error *err)
{
    NodeId both[2], product;
    Status st = ST_OK;
    TRY(nn_linear(g, x, (NnLinear[]){gate, up}, 2, both, err));
    TRY(graph_add(g, OP_SILU_MUL, both, 2, &(OpParams){.limit = limit}, &product, err));
    TRY(nn_linear(g, product, &down, 1, out, err));
out:
    return st;
}
