/* How the work of each op is cut into units, and what a unit reads of the others' results.
 *
 * Rows where a row needs only itself; panels of columns for products, because a worker then reads its part of
 * a weight once; sequences where rows of one sequence depend on one another. Cuts never change a bit. */
#include "backend/program_internal.h"

static int64_t width_of(const Graph *g, NodeId n)
{
    return shape_row_elements(&graph_node(g, n)->shape);
}

static Rows rows_of(const Shape *s)
{
    return (Rows){s->dims[0], s->rows_times > 0 ? s->rows_times : 1, s->rows_over > 0 ? s->rows_over : 1};
}

/* Columns of a product; each of several groups begins a panel of its own. */
static int64_t padded_width(const Node *n)
{
    const int64_t width = shape_row_elements(&n->shape), groups = n->params.groups;
    return groups > 1 ? groups * panels_of(width / groups) * PANEL_ROWS : width;
}

/* With one row, heads are the only thing to cut between the projections and the attention's output, and then no
 * barrier is needed between them; with many rows the cache is written by rows, and attention needs a barrier
 * behind that. */
static Chain head_cut(const Node *n, const LowerParams *p, Split many)
{
    const bool one_row = p->rows_max == 1 && n->params.kv_heads > 0;
    return (Chain){.split = one_row ? SPLIT_HEADS : many,
                   .rows = {DIM_ROWS, 1, 1},
                   .width = one_row || many == SPLIT_HEAD_ROWS ? n->params.kv_heads : 0};
}

Chain cut_of(const Graph *g, const Node *n, const LowerParams *p)
{
    const Rows rows = rows_of(&n->shape);
    switch (n->op) {
    case OP_LINEAR:
    case OP_LINEAR_BACK:
        return (Chain){.split = SPLIT_COLUMNS, .rows = rows, .width = padded_width(n)};
    case OP_EMBED_GRAD:
    case OP_COLUMN_SUM:
        return (Chain){.split = SPLIT_COLUMNS, .rows = rows_of(&graph_node(g, n->inputs[0])->shape),
                       .width = width_of(g, n->inputs[0]) / (n->params.heads > 1 ? n->params.heads : 1)};
    case OP_LINEAR_GRAD:
        return (Chain){.split = SPLIT_COLUMNS, .rows = rows_of(&graph_node(g, n->inputs[0])->shape),
                       .width = width_of(g, n->inputs[0]), .coarse = true};
    case OP_ROPE:
    case OP_STATE_WRITE: return head_cut(n, p, SPLIT_ROWS);
    case OP_ATTENTION: return head_cut(n, p, SPLIT_HEAD_ROWS);
    case OP_ATTENTION_BACK:
        return (Chain){.split = SPLIT_SEQUENCE_HEADS, .rows = rows, .width = n->params.kv_heads * n->params.lanes};
    case OP_COMPRESS:
    case OP_COMPRESS_BACK:
    case OP_ROUTE_BACK: return (Chain){.split = SPLIT_SEQUENCES, .rows = rows};
    case OP_EXPERT_LINEAR:
    case OP_EXPERT_LINEAR_BACK:
        return (Chain){.split = SPLIT_EXPERT_COLUMNS, .rows = rows, .width = shape_row_elements(&n->shape),
                       .experts = graph_node(g, n->inputs[2])->shape.dims[0]};
    case OP_EXPERT_GRAD:
        return (Chain){.split = SPLIT_EXPERT_COLUMNS, .rows = rows_of(&graph_node(g, n->inputs[0])->shape),
                       .width = width_of(g, n->inputs[0]), .experts = n->params.experts, .coarse = true};
    case OP_DISPATCH:
    case OP_ROUTE_COUNT: return (Chain){.split = SPLIT_ONE, .rows = {1, 1, 1}};
    case OP_COMBINE_BACK:
        return (Chain){.split = SPLIT_SCATTER_ROWS, .rows = rows_of(&graph_node(g, n->inputs[3])->shape)};
    default: return (Chain){.split = SPLIT_ROWS, .rows = rows};
    }
}

/* Bit i: a unit reads more of input i than the same unit of a step with the same cut has written. */
unsigned inputs_across(const Node *n)
{
    switch (n->op) {
    case OP_LINEAR:
    case OP_LINEAR_BACK: return 1u << 0;
    case OP_LINEAR_GRAD: return n->params.groups > 1 ? 3u : 1u << 1;
    case OP_COLUMN_SUM: return n->params.heads > 1 ? 1u << 0 : 0;
    case OP_INDEX_CHOOSE: return 1u << 2;
    case OP_COMBINE: return 1u << 0;
    case OP_SELECT_ROWS:
    case OP_GATHER:
    case OP_GATHER_BACK:
    case OP_DISPATCH:
    case OP_ROUTE_COUNT:
    case OP_COMPRESS:
    case OP_COMPRESS_BACK:
    case OP_ROUTE_BACK:
    case OP_ATTENTION_BACK:
    case OP_EXPERT_LINEAR:
    case OP_EXPERT_LINEAR_BACK:
    case OP_EXPERT_GRAD:
    case OP_COMBINE_BACK: return ~0u;
    default: return 0;
    }
}
