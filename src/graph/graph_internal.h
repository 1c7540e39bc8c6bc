/* The rules behind the op table. */
#ifndef PLUMB_GRAPH_GRAPH_INTERNAL_H
#define PLUMB_GRAPH_GRAPH_INTERNAL_H

#include "graph/differentiate.h"
#include "graph/graph.h"

/* shapes.c: fill n->shape, n->kind and further results from the inputs, or say what does not fit. */
Status shape_given(const Graph *g, Node *n, Error *err);
Status shape_index(const Graph *g, Node *n, Error *err);
Status shape_none(const Graph *g, Node *n, Error *err);
Status shape_result(const Graph *g, Node *n, Error *err);
Status shape_embed(const Graph *g, Node *n, Error *err);
Status shape_rope_table(const Graph *g, Node *n, Error *err);
Status shape_rmsnorm(const Graph *g, Node *n, Error *err);
Status shape_linear(const Graph *g, Node *n, Error *err);
Status shape_rope(const Graph *g, Node *n, Error *err);
Status shape_state_write(const Graph *g, Node *n, Error *err);
Status shape_attention(const Graph *g, Node *n, Error *err);
Status shape_same(const Graph *g, Node *n, Error *err);
Status shape_same_first(const Graph *g, Node *n, Error *err);
Status shape_select(const Graph *g, Node *n, Error *err);
Status shape_split_rows(const Graph *g, Node *n, Error *err);
Status shape_join_rows(const Graph *g, Node *n, Error *err);
Status shape_hyper_expand(const Graph *g, Node *n, Error *err);
Status shape_hyper_split(const Graph *g, Node *n, Error *err);
Status shape_hyper_pre(const Graph *g, Node *n, Error *err);
Status shape_hyper_post(const Graph *g, Node *n, Error *err);
Status shape_compress(const Graph *g, Node *n, Error *err);
Status shape_index_choose(const Graph *g, Node *n, Error *err);
Status shape_route(const Graph *g, Node *n, Error *err);
Status shape_dispatch(const Graph *g, Node *n, Error *err);
Status shape_gather(const Graph *g, Node *n, Error *err);
Status shape_expert_linear(const Graph *g, Node *n, Error *err);
Status shape_combine(const Graph *g, Node *n, Error *err);
Status shape_cross_entropy(const Graph *g, Node *n, Error *err);
Status shape_linear_back(const Graph *g, Node *n, Error *err);
Status shape_expert_linear_back(const Graph *g, Node *n, Error *err);
Status shape_rmsnorm_back(const Graph *g, Node *n, Error *err);
Status shape_silu_mul_back(const Graph *g, Node *n, Error *err);
Status shape_attention_back(const Graph *g, Node *n, Error *err);
Status shape_fold(const Graph *g, Node *n, Error *err);
Status shape_hyper_split_back(const Graph *g, Node *n, Error *err);
Status shape_hyper_pre_back(const Graph *g, Node *n, Error *err);
Status shape_hyper_post_back(const Graph *g, Node *n, Error *err);
Status shape_compress_back(const Graph *g, Node *n, Error *err);
Status shape_gather_back(const Graph *g, Node *n, Error *err);
Status shape_combine_back(const Graph *g, Node *n, Error *err);

/* gradients.c: see OpRow. */
Status gradient_add(Differentiation *d, NodeId n, NodeId dy);
Status gradient_attention(Differentiation *d, NodeId n, NodeId dy);
Status gradient_combine(Differentiation *d, NodeId n, NodeId dy);
Status gradient_compress(Differentiation *d, NodeId n, NodeId dy);
Status gradient_cross_entropy(Differentiation *d, NodeId n, NodeId dy);
Status gradient_embed(Differentiation *d, NodeId n, NodeId dy);
Status gradient_expert_linear(Differentiation *d, NodeId n, NodeId dy);
Status gradient_gather(Differentiation *d, NodeId n, NodeId dy);
Status gradient_hyper_expand(Differentiation *d, NodeId n, NodeId dy);
Status gradient_hyper_post(Differentiation *d, NodeId n, NodeId dy);
Status gradient_hyper_pre(Differentiation *d, NodeId n, NodeId dy);
Status gradient_hyper_split(Differentiation *d, NodeId n, NodeId dy);
Status gradient_join_rows(Differentiation *d, NodeId n, NodeId dy);
Status gradient_linear(Differentiation *d, NodeId n, NodeId dy);
Status gradient_rmsnorm(Differentiation *d, NodeId n, NodeId dy);
Status gradient_rope(Differentiation *d, NodeId n, NodeId dy);
Status gradient_route(Differentiation *d, NodeId n, NodeId dy);
Status gradient_silu_mul(Differentiation *d, NodeId n, NodeId dy);
Status gradient_split_rows(Differentiation *d, NodeId n, NodeId dy);

#endif
