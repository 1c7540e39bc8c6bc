/* Routed experts written into a graph: the door for products with the matrices of many experts. */
#ifndef PLUMB_NN_EXPERTS_H
#define PLUMB_NN_EXPERTS_H

#include "graph/graph.h"

typedef struct {
    int32_t first;         /* tensor row of expert 0's gate matrix; up and down follow it, then the next expert's */
    int64_t experts, topk;
    int64_t hidden, width; /* of the stream; of an expert */
    double scale;          /* of the chosen experts' weights */
    double limit;          /* clamp of SwiGLU; 0: none */
    double balance_alpha;  /* see ROUTE */
    NodeId bias, table;    /* one of them; the other NO_NODE */
    NodeId ids;            /* with table */
} NnExperts;

/* Σ_chosen weight · down(silu(gate·x)·(up·x)), experts chosen by router logits [T,experts]. */
MUST_USE Status nn_experts(Graph *g, NodeId x, NodeId logits, const NnExperts *e, NodeId *out, Error *err);

#endif
