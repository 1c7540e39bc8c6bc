/* Lowering: graph → steps, chains and groups.
 *
 * Nodes are taken in order. Each becomes a step with a partition (how its work is cut); in int8 programs
 * the first product with an activation is preceded by its quantisation. A step that reads nothing the
 * current group writes opens a chain of its own in it. One that reads values of the current group
 * joins their chain when the partition is the same, merging chains if it reads from several. Anything
 * else starts a new group: that is where barriers come from. */
#include "backend/program_internal.h"

#include "base/mem.h"

#include <string.h>

typedef struct {
    Program *p;
    const Graph *g;
    ValueId *value_of;       /* by node; −1: a leaf without memory */
    ValueId *quantised_of;   /* by node; −1: not quantised so far */
    int32_t *chain_of_value; /* by value: the chain that writes it */
    size_t chain_of_value_cap;
    int32_t *chain_of_step;
    size_t chain_of_step_cap;
    Error *err;
} Lowering;

MUST_USE static Status no_memory(const Lowering *l)
{
    return error_set(l->err, ST_NOMEM, "no memory to lower a graph of %d nodes", l->g->count);
}

/* Append one item to an array that the program owns. */
MUST_USE static Status push(const Lowering *l, void **items, size_t *cap, int32_t *count, const void *item,
                            size_t size)
{
    if (mem_grow(items, cap, (size_t)*count + 1, size) != ST_OK)
        return no_memory(l);
    memcpy((char *)*items + (size_t)*count * size, item, size);
    ++*count;
    return ST_OK;
}

/* ---- values ------------------------------------------------------------------------------------ */

static int32_t current_group(const Lowering *l)
{
    return l->p->group_count - 1;
}

MUST_USE static Status add_value(Lowering *l, Value v, ValueId *out)
{
    Program *p = l->p;
    const int64_t rows = bucket_rows(&p->p, v.rows_dim);
    size_t row_bytes;
    if (v.quantised)
        v.bytes = quant_rows_bytes(rows, v.width);
    else if (!size_mul((size_t)v.width, p->p.kernels->real_bytes, &row_bytes) ||
             !size_mul(row_bytes, (size_t)rows, &v.bytes))
        return error_set(l->err, ST_NOMEM, "a buffer of %lld rows of %lld elements is too large",
                         (long long)rows, (long long)v.width);
    void *chains = l->chain_of_value;
    if (mem_grow(&chains, &l->chain_of_value_cap, (size_t)p->value_count + 1, sizeof(int32_t)) != ST_OK)
        return no_memory(l);
    l->chain_of_value = chains;
    l->chain_of_value[p->value_count] = -1;
    *out = p->value_count;
    void *items = p->values;
    const Status st = push(l, &items, &p->value_cap, &p->value_count, &v, sizeof v);
    p->values = items;
    return st;
}

/* ---- groups and chains ------------------------------------------------------------------------- */

MUST_USE static Status start_group(Lowering *l)
{
    Program *p = l->p;
    const Group group = {.chain0 = p->chain_count, .chain1 = p->chain_count, .tap = -1, .tap_layer = -1};
    void *items = p->groups;
    const Status st = push(l, &items, &p->group_cap, &p->group_count, &group, sizeof group);
    p->groups = items;
    return st;
}

MUST_USE static Status start_chain(Lowering *l, Chain c, int32_t *out)
{
    Program *p = l->p;
    *out = p->chain_count;
    void *items = p->chains;
    const Status st = push(l, &items, &p->chain_cap, &p->chain_count, &c, sizeof c);
    p->chains = items;
    p->groups[current_group(l)].chain1 = p->chain_count;
    return st;
}

static bool same_partition(const Chain *a, const Chain *b)
{
    return a->split == b->split && a->rows_dim == b->rows_dim && a->width == b->width;
}

/* The chain of the current group that writes value v, or −1 when v was there before. */
static int32_t writer_in_group(const Lowering *l, ValueId v)
{
    const int32_t c = v < 0 ? -1 : l->chain_of_value[v];
    return c >= l->p->groups[current_group(l)].chain0 ? c : -1;
}

static void merge_chain(Lowering *l, int32_t from, int32_t into)
{
    for (int32_t i = 0; i < l->p->step_count; i++)
        if (l->chain_of_step[i] == from)
            l->chain_of_step[i] = into;
    for (ValueId v = 0; v < l->p->value_count; v++)
        if (l->chain_of_value[v] == from)
            l->chain_of_value[v] = into;
}

/* A product reads all columns of its input, whatever columns it writes. */
static bool reads_across_units(const Step *s)
{
    return s->op == OP_LINEAR && !s->quantise;
}

/* Find or open the chain for a step that is cut like `cut`; starts a group when it must. */
MUST_USE static Status place(Lowering *l, const Step *s, Chain cut, int32_t *out)
{
    int32_t chain = -1;
    for (int i = 0; i < STEP_INPUTS_MAX; i++) {
        const int32_t writer = writer_in_group(l, s->in[i]);
        if (writer < 0 || writer == chain)
            continue;
        if (reads_across_units(s) || !same_partition(&l->p->chains[writer], &cut)) {
            const Status st = start_group(l);
            return st == ST_OK ? start_chain(l, cut, out) : st;
        }
        if (chain >= 0)
            merge_chain(l, writer, chain);
        else
            chain = writer;
    }
    *out = chain;
    return chain >= 0 ? ST_OK : start_chain(l, cut, out);
}

/* ---- steps ------------------------------------------------------------------------------------- */

/* Append a step that yields a new value `v`. */
MUST_USE static Status add_step(Lowering *l, Step s, Chain cut, Value v, ValueId *out)
{
    Program *p = l->p;
    Status st = ST_OK;
    int32_t chain;
    TRY(place(l, &s, cut, &chain));
    v.first = v.last = current_group(l);
    for (int i = 0; i < STEP_INPUTS_MAX; i++)
        if (s.in[i] >= 0)
            p->values[s.in[i]].last = current_group(l);
    TRY(add_value(l, v, &s.out));
    l->chain_of_value[s.out] = chain;
    *out = s.out;
    void *chains = l->chain_of_step;
    if (mem_grow(&chains, &l->chain_of_step_cap, (size_t)p->step_count + 1, sizeof(int32_t)) != ST_OK)
        return no_memory(l);
    l->chain_of_step = chains;
    l->chain_of_step[p->step_count] = chain;
    void *items = p->steps;
    st = push(l, &items, &p->step_cap, &p->step_count, &s, sizeof s);
    p->steps = items;
out:
    return st;
}

static const Node *input(const Lowering *l, const Node *n, int i)
{
    return graph_node(l->g, n->inputs[i]);
}

static const WeightView *weight_of(const Lowering *l, const Node *n, int i)
{
    return i < n->input_count ? &l->p->p.weights[input(l, n, i)->index] : NULL;
}

static bool runs_int8(const Lowering *l, const Node *n)
{
    return n->op == OP_LINEAR && l->p->p.int8 && form_is_quantised(&weight_of(l, n, 1)->form);
}

/* Element-wise ops follow whoever makes their input in this group, so that no barrier is needed. */
static Chain cut_like_inputs(const Lowering *l, const Node *n, int64_t width)
{
    for (int i = 0; i < n->input_count; i++) {
        const int32_t writer = writer_in_group(l, l->value_of[n->inputs[i]]);
        if (writer < 0)
            continue;
        const Chain *c = &l->p->chains[writer];
        if (c->split == SPLIT_COLUMNS && c->width == width)
            return *c;
    }
    return (Chain){.split = SPLIT_ROWS, .rows_dim = n->shape.dims[0]};
}

/* How the work of a node is cut. With one row, heads are the only thing to cut between the projections
 * and the attention's output, and then no barrier is needed between them; with many rows the cache is
 * written by rows, and attention needs a barrier behind that. */
static Chain cut_of(const Lowering *l, const Node *n)
{
    const int64_t width = shape_row_elements(&n->shape);
    const bool one_row = l->p->p.rows_max == 1;
    switch (n->op) {
    case OP_LINEAR:
        return (Chain){.split = SPLIT_COLUMNS, .rows_dim = n->shape.dims[0], .width = width};
    case OP_ADD:
    case OP_SILU_MUL:
        return cut_like_inputs(l, n, width);
    case OP_ROPE:
    case OP_STATE_WRITE:
        if (one_row)
            return (Chain){.split = SPLIT_HEADS, .rows_dim = DIM_ROWS, .width = n->params.kv_heads};
        return (Chain){.split = SPLIT_ROWS, .rows_dim = DIM_ROWS};
    case OP_ATTENTION:
        return (Chain){.split = one_row ? SPLIT_HEADS : SPLIT_HEAD_ROWS,
                       .rows_dim = DIM_ROWS,
                       .width = n->params.kv_heads};
    default:
        return (Chain){.split = SPLIT_ROWS, .rows_dim = n->shape.dims[0]};
    }
}

/* The quantised form of a node's value, made on first use. */
MUST_USE static Status quantised_value(Lowering *l, NodeId x, ValueId *out)
{
    if (l->quantised_of[x] >= 0) {
        *out = l->quantised_of[x];
        return ST_OK;
    }
    const Node *n = graph_node(l->g, x);
    const Step s = {.run = step_quantise(), .op = n->op, .in = {l->value_of[x], -1, -1, -1}, .quantise = true,
                    .layer = n->layer};
    const Value v = {.in_arena = true, .quantised = true, .rows_dim = n->shape.dims[0],
                     .width = shape_row_elements(&n->shape)};
    const Status st = add_step(l, s, (Chain){.split = SPLIT_ROWS, .rows_dim = v.rows_dim}, v, out);
    if (st == ST_OK)
        l->quantised_of[x] = *out;
    return st;
}

/* Operands that are not activations: which weight, vector or constant a step reads. */
static void bind_leaves(const Lowering *l, const Node *n, Step *s)
{
    switch (n->op) {
    case OP_EMBED: s->weight = weight_of(l, n, 0); break;
    case OP_RMSNORM: s->vector = weight_of(l, n, 1); break;
    case OP_LINEAR:
        s->weight = weight_of(l, n, 1);
        s->vector = weight_of(l, n, 2);
        break;
    case OP_ROPE_TABLE: s->constant = l->p->p.constants[input(l, n, 1)->index]; break;
    case OP_STATE_WRITE: s->part = n->index; break;
    case OP_ATTENTION: s->part = input(l, n, 1)->index; break;
    default: break;
    }
}

MUST_USE static Status lower_node(Lowering *l, NodeId id)
{
    const Node *n = graph_node(l->g, id);
    Status st = ST_OK;
    l->value_of[id] = l->quantised_of[id] = -1;
    if (op_row(n->op)->inputs_max == 0)
        return ST_OK;
    Step s = {.op = n->op, .params = n->params, .layer = n->layer, .part = -1};
    for (int i = 0; i < STEP_INPUTS_MAX; i++)
        s.in[i] = i < n->input_count ? l->value_of[n->inputs[i]] : -1;
    if (runs_int8(l, n))
        TRY(quantised_value(l, n->inputs[0], &s.in[0]));
    bind_leaves(l, n, &s);
    const Chain cut = cut_of(l, n);
    s.run = step_function(n->op, cut.split, runs_int8(l, n));
    CHECK(s.run);
    const Value v = {.in_arena = n->kind == VALUE_REAL, .rows_dim = n->shape.dims[0],
                     .width = n->kind == VALUE_REAL ? shape_row_elements(&n->shape) : 0};
    TRY(add_step(l, s, cut, v, &l->value_of[id]));
    if (n->site && strcmp(n->site, "hidden") == 0) {
        Group *group = &l->p->groups[current_group(l)];
        group->tap = l->value_of[id];
        group->tap_layer = n->layer;
    }
out:
    return st;
}

/* ---- the whole --------------------------------------------------------------------------------- */

/* Bring the steps into the order of their chains and give chains and groups their final ranges;
 * chains that were merged away vanish. Inside a chain the graph's order stays. */
MUST_USE static Status order_steps(Lowering *l)
{
    Program *p = l->p;
    Step *ordered = mem_alloc((size_t)p->step_count, sizeof *ordered);
    if (!ordered)
        return no_memory(l);
    int32_t done = 0, chains = 0;
    for (int32_t gi = 0; gi < p->group_count; gi++) {
        Group *group = &p->groups[gi];
        const int32_t from = group->chain0, to = group->chain1;
        group->chain0 = chains;
        for (int32_t c = from; c < to; c++) {
            Chain chain = p->chains[c];
            chain.step0 = done;
            for (int32_t s = 0; s < p->step_count; s++)
                if (l->chain_of_step[s] == c)
                    ordered[done++] = p->steps[s];
            chain.step1 = done;
            if (chain.step1 > chain.step0)
                p->chains[chains++] = chain;
        }
        group->chain1 = chains;
    }
    CHECK(done == p->step_count);
    p->chain_count = chains;
    mem_free(p->steps);
    p->steps = ordered;
    p->step_cap = (size_t)p->step_count;
    return ST_OK;
}

MUST_USE static Status lower_outputs(Lowering *l)
{
    Program *p = l->p;
    p->outputs = mem_alloc((size_t)l->g->output_count, sizeof *p->outputs);
    if (!p->outputs)
        return no_memory(l);
    p->output_count = l->g->output_count;
    for (int32_t i = 0; i < p->output_count; i++) {
        p->outputs[i] = l->value_of[l->g->outputs[i]];
        p->values[p->outputs[i]].last = p->group_count;
    }
    return ST_OK;
}

MUST_USE static Status lower_all(Lowering *l)
{
    Status st = ST_OK;
    l->value_of = mem_alloc((size_t)l->g->count, sizeof *l->value_of);
    l->quantised_of = mem_alloc((size_t)l->g->count, sizeof *l->quantised_of);
    if (!l->value_of || !l->quantised_of)
        return no_memory(l);
    TRY(start_group(l));
    for (NodeId n = 0; n < l->g->count; n++)
        TRY(lower_node(l, n));
    TRY(lower_outputs(l));
    TRY(order_steps(l));
    TRY(plan_memory(l->p, l->err));
out:
    return st;
}

Status program_lower(Program **out, const Graph *g, const LowerParams *params, Error *err)
{
    CHECK(params->rows_max >= 1);
    Program *p = mem_alloc(1, sizeof *p);
    if (!p)
        return error_set(err, ST_NOMEM, "no memory for a program");
    p->p = *params;
    Lowering l = {.p = p, .g = g, .err = err};
    const Status st = lower_all(&l);
    mem_free(l.value_of);
    mem_free(l.quantised_of);
    mem_free(l.chain_of_value);
    mem_free(l.chain_of_step);
    if (st == ST_OK)
        *out = p;
    else
        program_destroy(p);
    return st;
}

void program_destroy(Program *p)
{
    if (!p)
        return;
    mem_free(p->values);
    mem_free(p->steps);
    mem_free(p->chains);
    mem_free(p->groups);
    mem_free(p->outputs);
    mem_free(p);
}
