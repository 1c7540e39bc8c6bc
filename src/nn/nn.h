/* Layers written into a graph. Each function appends nodes and gives the id of its result.
 *
 * nn_linear is the only way to multiply by a weight: it takes several weights that share an input, and
 * what later attaches to products by name (adapters, other weight types, sharding) attaches there. */
#ifndef PLUMB_NN_NN_H
#define PLUMB_NN_NN_H

#include "graph/graph.h"

/* A weight as models name it: its node and, or NO_NODE, its bias. */
typedef struct {
    NodeId weight, bias;
    const char *site; /* "attn.q" */
} NnLinear;

/* out[i] = x · w[i]ᵀ (+ bias[i]). */
MUST_USE Status nn_linear(Graph *g, NodeId x, const NnLinear *w, int count, NodeId *out, Error *err);

MUST_USE Status nn_rmsnorm(Graph *g, NodeId x, NodeId gain, double eps, NodeId *out, Error *err);
MUST_USE Status nn_add(Graph *g, NodeId a, NodeId b, NodeId *out, Error *err);

typedef struct {
    int64_t heads, kv_heads, head_dim;
    int64_t window;      /* 0: all keys */
    bool interleaved;    /* rotary pairs are neighbours */
    double scale;        /* on q·k */
    NodeId rope_table;   /* NO_NODE: no rotation */
    NodeId state;        /* keys and values of this layer */
    NnLinear q, k, v, o;
} NnAttention;

/* Grouped-query attention (arXiv:2305.13245) of the normalised stream x: projections, rotation,
 * cache, softmax attention, output projection. */
MUST_USE Status nn_attention(Graph *g, NodeId x, const NnAttention *a, NodeId *out, Error *err);

/* down · (silu(gate·x) * (up·x))   (SwiGLU, arXiv:2002.05202); limit: see SILU_MUL. */
MUST_USE Status nn_swiglu(Graph *g, NodeId x, NnLinear gate, NnLinear up, NnLinear down, double limit, NodeId *out,
                          Error *err);

#endif
