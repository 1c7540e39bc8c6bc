/* Lowering: graph → steps, chains and groups.
 *
 * Nodes are taken in order. Each becomes a step with a partition (how its work is cut); in int8 programs
 * the first product with an activation is preceded by its quantisation, in bf16 programs by its rounding. A step that reads nothing the
 * current group writes opens a chain of its own in it. One that reads values of the current group
 * joins their chain when the partition is the same (cuts.c), merging chains if it reads from several. Anything
 * else starts a new group: that is where barriers come from. */
#include "backend/program_internal.h"

#include "base/mem.h"

#include <string.h>

typedef struct {
    Program *p;
    const Graph *g;
    ValueId *value_of;       /* by node; −1: a leaf without memory */
    ValueId *quantised_of;   /* by node; −1: not quantised so far (or rounded to BF16) */
    int32_t *chain_of_value; /* by value: the chain that writes it */
    size_t chain_of_value_cap;
    int32_t *chain_of_step;
    size_t chain_of_step_cap;
    uint8_t *wanted;         /* by node: which further results (bit i − 1) somebody reads */
    ValueId (*more_of)[NODE_RESULTS_MAX - 1]; /* by node: values of further results */
    ValueId *sink_of;        /* by tensor row that has sinks: what orders them; see sink_value */
    int32_t sink_count;
    size_t sink_cap;
    int32_t *sink_rows;
    size_t sink_rows_cap;
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
    const int64_t rows = bucket_rows(&p->p, &v.rows);
    size_t row_bytes;
    if (v.element == 0)
        v.element = p->p.kernels->real_bytes;
    if (v.quantised)
        v.bytes = quant_rows_bytes(rows, v.width);
    else if (!size_mul((size_t)v.width, v.element, &row_bytes) || !size_mul(row_bytes, (size_t)rows, &v.bytes))
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
    if (p->group_count > 0 && p->groups[p->group_count - 1].chain1 == p->groups[p->group_count - 1].chain0)
        return ST_OK; /* the current one is empty still */
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
    return a->split == b->split && a->rows.dim == b->rows.dim && a->rows.times == b->rows.times &&
           a->rows.over == b->rows.over && a->width == b->width && a->experts == b->experts;
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

/* Find or open the chain for a step that is cut like `cut` and reads the inputs of the mask across units;
 * starts a group when it must. */
MUST_USE static Status place(Lowering *l, const Step *s, Chain cut, unsigned across, int32_t *out)
{
    int32_t chain = -1;
    for (int i = 0; i < NODE_INPUTS_MAX; i++) {
        const int32_t writer = writer_in_group(l, s->in[i]);
        if (writer < 0 || (writer == chain && !(across >> i & 1)))
            continue;
        if ((across >> i & 1) || !same_partition(&l->p->chains[writer], &cut)) {
            const Status st = start_group(l);
            return st == ST_OK ? start_chain(l, cut, out) : st;
        }
        if (chain >= 0)
            merge_chain(l, writer, chain);
        else
            chain = writer;
    }
    *out = chain;
    if (chain < 0)
        return start_chain(l, cut, out);
    l->p->chains[chain].coarse |= cut.coarse;
    return ST_OK;
}

/* ---- steps ------------------------------------------------------------------------------------- */

/* A value, or what it shares memory with, is read in the current group. */
static void read_now(Lowering *l, ValueId v)
{
    for (; v >= 0; v = l->p->values[v].alias)
        l->p->values[v].last = current_group(l);
}

MUST_USE static Status push_step(Lowering *l, const Step *s, int32_t chain)
{
    Program *p = l->p;
    void *chains = l->chain_of_step;
    if (mem_grow(&chains, &l->chain_of_step_cap, (size_t)p->step_count + 1, sizeof(int32_t)) != ST_OK)
        return no_memory(l);
    l->chain_of_step = chains;
    l->chain_of_step[p->step_count] = chain;
    void *items = p->steps;
    const Status st = push(l, &items, &p->step_cap, &p->step_count, s, sizeof *s);
    p->steps = items;
    return st;
}

/* A value that the step placed in `chain` of the current group writes. */
MUST_USE static Status written_value(Lowering *l, Value v, int32_t chain, ValueId *out)
{
    v.first = v.last = current_group(l);
    v.alias = -1;
    const Status st = add_value(l, v, out);
    if (st == ST_OK)
        l->chain_of_value[*out] = chain;
    return st;
}

/* Append a step that yields `count` values, the first of which is s.out and the others s.more. A width of 0: not
 * wanted. */
MUST_USE static Status add_step(Lowering *l, Step *s, Chain cut, unsigned across, const Value *values, int count)
{
    Status st = ST_OK;
    int32_t chain;
    TRY(place(l, s, cut, across, &chain));
    for (int i = 0; i < NODE_INPUTS_MAX; i++)
        read_now(l, s->in[i]);
    s->out = -1;
    for (int i = 0; i < NODE_RESULTS_MAX; i++) {
        ValueId *out = i == 0 ? &s->out : &s->more[i - 1];
        *out = -1;
        if (i < count && (i == 0 || values[i].width > 0))
            TRY(written_value(l, values[i], chain, out));
    }
    TRY(push_step(l, s, chain));
out:
    return st;
}

static Rows rows_of(const Shape *s)
{
    return (Rows){s->dims[0], s->rows_times > 0 ? s->rows_times : 1, s->rows_over > 0 ? s->rows_over : 1};
}

/* The value of a result of this shape and kind. */
static Value value_of_shape(const Shape *s, ValueKind kind)
{
    const bool real = kind == VALUE_REAL, index = kind == VALUE_INDEX;
    return (Value){.in_arena = real || index, .rows = rows_of(s), .alias = -1,
                   .width = real || index ? shape_row_elements(s) : 0, .element = index ? sizeof(int32_t) : 0};
}

static const Node *input(const Lowering *l, const Node *n, int i)
{
    return graph_node(l->g, n->inputs[i]);
}

static bool runs_int8(const Lowering *l, const Node *n)
{
    return n->op == OP_LINEAR && l->p->p.int8 && n->params.groups <= 1 &&
           form_is_quantised(&l->p->p.weights[input(l, n, 1)->index].form);
}

/* Which inputs of a node are multiplied as BF16 (bit i): those of its products with a weight that is packed so. */
static unsigned bf16_inputs(const Lowering *l, const Node *n)
{
    const WeightView *w = NULL;
    unsigned inputs = 1;
    if (!l->p->p.bf16)
        return 0;
    switch (n->op) {
    case OP_LINEAR:
    case OP_LINEAR_BACK: w = &l->p->p.weights[input(l, n, 1)->index]; break;
    case OP_EXPERT_LINEAR:
    case OP_EXPERT_LINEAR_BACK: w = &l->p->p.weights[input(l, n, 2)->index]; break;
    case OP_LINEAR_GRAD:
    case OP_EXPERT_GRAD:
        w = &l->p->p.weights[n->index];
        inputs = 3;
        break;
    default: return 0;
    }
    return w->form.kind == FORM_BF16_PAIRS ? inputs : 0;
}

/* Element-wise ops follow whoever makes their input in this group, so that no barrier is needed. */
static Chain cut_like_inputs(const Lowering *l, const Node *n)
{
    const int64_t width = shape_row_elements(&n->shape);
    for (int i = 0; i < n->input_count; i++) {
        const int32_t writer = writer_in_group(l, l->value_of[n->inputs[i]]);
        if (writer < 0)
            continue;
        const Chain *c = &l->p->chains[writer];
        if (c->split == SPLIT_COLUMNS && c->width == width)
            return (Chain){.split = c->split, .rows = c->rows, .width = c->width};
    }
    return (Chain){.split = SPLIT_ROWS, .rows = rows_of(&n->shape)};
}

static Chain cut_here(const Lowering *l, const Node *n)
{
    if (n->op == OP_ADD || n->op == OP_SILU_MUL || n->op == OP_SILU_MUL_BACK)
        return cut_like_inputs(l, n);
    return cut_of(l->g, n, &l->p->p);
}

/* The quantised form of a node's value, made on first use. */
MUST_USE static Status quantised_value(Lowering *l, NodeId x, ValueId *out)
{
    if (l->quantised_of[x] >= 0) {
        *out = l->quantised_of[x];
        return ST_OK;
    }
    const Node *n = graph_node(l->g, x);
    Step s = {.run = step_quantise(), .op = n->op, .quantise = true, .layer = n->layer};
    memset(s.in, -1, sizeof s.in);
    s.in[0] = l->value_of[x];
    const Value v = {.in_arena = true, .quantised = true, .rows = rows_of(&n->shape),
                     .width = shape_row_elements(&n->shape)};
    const Status st = add_step(l, &s, (Chain){.split = SPLIT_ROWS, .rows = v.rows}, 0, &v, 1);
    if (st == ST_OK)
        *out = l->quantised_of[x] = s.out;
    return st;
}

/* A value rounded to BF16. `after`: a value that must be there before (−1: none). */
MUST_USE static Status add_rounding(Lowering *l, Op op, int32_t layer, ValueId x, ValueId after, ValueId *out)
{
    Step s = {.op = op, .quantise = true, .bf16 = true, .layer = layer};
    memset(s.in, -1, sizeof s.in);
    s.in[0] = x;
    s.in[1] = after;
    const Value *from = &l->p->values[x];
    const Value v = {.in_arena = true, .rows = from->rows, .width = from->width, .element = sizeof(uint16_t)};
    const int32_t writer = writer_in_group(l, x);
    const bool columns = writer >= 0 && l->p->chains[writer].split == SPLIT_COLUMNS && l->p->chains[writer].width == v.width;
    const Chain cut = {.split = columns ? SPLIT_COLUMNS : SPLIT_ROWS, .rows = v.rows, .width = columns ? v.width : 0};
    s.run = step_round(cut.split);
    const Status st = add_step(l, &s, cut, 0, &v, 1);
    *out = s.out;
    return st;
}

/* The rounded form of a node's value, made on first use. */
MUST_USE static Status rounded_value(Lowering *l, NodeId x, ValueId *out)
{
    Status st = ST_OK;
    if (l->quantised_of[x] < 0) {
        const Node *n = graph_node(l->g, x);
        st = add_rounding(l, n->op, n->layer, l->value_of[x], -1, &l->quantised_of[x]);
    }
    *out = l->quantised_of[x];
    return st;
}

/* Sinks of one tensor row add to the same numbers, so their order must stay: each reads and writes a value
 * without memory. */
MUST_USE static Status sink_value(Lowering *l, int32_t row, ValueId *out)
{
    for (int32_t i = 0; i < l->sink_count; i++)
        if (l->sink_rows[i] == row) {
            *out = l->sink_of[i];
            return ST_OK;
        }
    void *rows = l->sink_rows, *values = l->sink_of;
    int32_t count = l->sink_count;
    Status st = ST_OK;
    TRY(written_value(l, (Value){.rows = {1, 1, 1}}, -1, out));
    st = push(l, &rows, &l->sink_rows_cap, &count, &row, sizeof row);
    l->sink_rows = rows;
    if (st == ST_OK)
        st = push(l, &values, &l->sink_cap, &l->sink_count, out, sizeof *out);
    l->sink_of = values;
out:
    return st;
}

/* What a step reads: values, and the weights, constants and state parts among the inputs. */
static void bind_inputs(const Lowering *l, const Node *n, Step *s)
{
    for (int i = 0; i < NODE_INPUTS_MAX; i++) {
        s->in[i] = s->part[i] = -1;
        if (i >= n->input_count || n->inputs[i] < 0)
            continue;
        const Node *in = input(l, n, i);
        s->in[i] = l->value_of[n->inputs[i]];
        if (in->kind == VALUE_WEIGHT)
            s->weight[i] = &l->p->p.weights[in->index];
        if (in->kind == VALUE_STATE)
            s->part[i] = in->index;
        if (in->op == OP_CONSTANT)
            s->constant = l->p->p.constants[in->index];
        if (in->op == OP_IDS)
            s->params.target = in->index > 0;
    }
}

/* Another shape of the same memory. */
MUST_USE static Status lower_alias(Lowering *l, NodeId id)
{
    const Node *n = graph_node(l->g, id);
    const ValueId base = l->value_of[n->inputs[0]];
    Value v = value_of_shape(&n->shape, n->kind);
    v.in_arena = false;
    v.alias = base;
    v.first = v.last = l->p->values[base].first;
    const Status st = add_value(l, v, &l->value_of[id]);
    if (st == ST_OK)
        l->chain_of_value[l->value_of[id]] = l->chain_of_value[base];
    return st;
}

static void mark_tap(Lowering *l, const Node *n, NodeId id)
{
    if (!n->site || strcmp(n->site, "hidden") != 0)
        return;
    Group *group = &l->p->groups[current_group(l)];
    group->tap = l->value_of[id];
    group->tap_layer = n->layer;
}

MUST_USE static Status lower_step(Lowering *l, NodeId id)
{
    const Node *n = graph_node(l->g, id);
    Value values[NODE_RESULTS_MAX] = {value_of_shape(&n->shape, n->kind)};
    Step s = {.op = n->op, .params = n->params, .layer = n->layer, .index = n->index};
    Status st = ST_OK;
    bind_inputs(l, n, &s);
    if (runs_int8(l, n))
        TRY(quantised_value(l, n->inputs[0], &s.in[0]));
    const unsigned rounded = bf16_inputs(l, n);
    s.bf16 = rounded != 0;
    for (int i = 0; i < 2; i++)
        if (rounded >> i & 1)
            TRY(rounded_value(l, n->inputs[i], &s.in[i]));
    ValueId sink = -1;
    if (n->kind == VALUE_NONE) {
        TRY(sink_value(l, n->index, &sink));
        s.in[NODE_INPUTS_MAX - 1] = sink;
    }
    for (int i = 1; i < NODE_RESULTS_MAX; i++)
        if (l->wanted[id] >> (i - 1) & 1)
            values[i] = value_of_shape(&n->more[i - 1].shape, n->more[i - 1].kind);
    const Chain cut = cut_here(l, n);
    s.run = step_function(n->op, cut.split, runs_int8(l, n));
    CHECK(s.run);
    TRY(add_step(l, &s, cut, inputs_across(n) & ~(1u << (NODE_INPUTS_MAX - 1)), values, NODE_RESULTS_MAX));
    l->value_of[id] = s.out;
    memcpy(l->more_of[id], s.more, sizeof s.more);
    if (sink >= 0)
        l->chain_of_value[sink] = l->chain_of_step[l->p->step_count - 1];
    l->p->row_flops += op_row(n->op)->cost(l->g, n) * (double)(n->shape.rows_times > 1 ? n->shape.rows_times : 1) /
                       (double)(n->shape.rows_over > 1 ? n->shape.rows_over : 1);
    mark_tap(l, n, id);
out:
    return st;
}

/* ---- the loss ---------------------------------------------------------------------------------- */

static bool loss_in_bf16(const Lowering *l, const Node *n)
{
    return l->p->p.bf16 && l->p->p.weights[input(l, n, 1)->index].form.kind == FORM_BF16_PAIRS;
}

/* One step of the loss's loop. */
MUST_USE static Status loss_step(Lowering *l, NodeId id, Op op, ValueId in0, ValueId in1, Chain cut, unsigned across,
                                 const Value *v, ValueId *out)
{
    const Node *n = graph_node(l->g, id);
    Step s = {.op = op, .params = n->params, .layer = n->layer, .index = n->index};
    bind_inputs(l, n, &s);
    s.in[0] = in0;
    s.in[1] = in1;
    s.bf16 = op != OP_CROSS_ENTROPY && loss_in_bf16(l, n);
    s.run = step_function(op, cut.split, false);
    CHECK(s.run);
    const Status st = add_step(l, &s, cut, across, v, v ? 1 : 0);
    *out = s.out;
    return st;
}

/* CROSS_ENTROPY: blocks of rows go through logits → loss and dlogits → dx, dw, so that only one block of logits exists.
 * The groups of the loop stand alone, and all they touch lives through the whole of it. */
MUST_USE static Status lower_loss(Lowering *l, NodeId id)
{
    const Node *n = graph_node(l->g, id);
    const bool bf16 = loss_in_bf16(l, n), back = l->wanted[id] & 1;
    ValueId x = l->value_of[n->inputs[0]];
    const int64_t V = input(l, n, 1)->shape.dims[0], d = input(l, n, 1)->shape.dims[1];
    const Rows block = {DIM_BLOCK, 1, 1};
    const Value logits = {.in_arena = true, .rows = block, .width = V};
    const Value loss = value_of_shape(&n->shape, VALUE_REAL), dx = value_of_shape(&n->more[0].shape, VALUE_REAL);
    const Chain by_vocab = {.split = SPLIT_COLUMNS, .rows = block, .width = V};
    ValueId dlogits, done;
    Status st = ST_OK;
    if (bf16)
        TRY(rounded_value(l, n->inputs[0], &x));
    const int32_t value0 = l->p->value_count;
    TRY(start_group(l));
    Loop loop = {.group0 = current_group(l)};
    TRY(loss_step(l, id, OP_LINEAR, x, -1, by_vocab, 1, &logits, &dlogits));
    TRY(loss_step(l, id, OP_CROSS_ENTROPY, dlogits, -1, (Chain){.split = SPLIT_ROWS, .rows = block}, 1, &loss,
                  &l->value_of[id]));
    if (bf16 && (back || n->index >= 0))
        TRY(add_rounding(l, n->op, n->layer, dlogits, l->value_of[id], &dlogits));
    TRY(start_group(l));
    if (back)
        TRY(loss_step(l, id, OP_LINEAR_BACK, dlogits, -1, (Chain){.split = SPLIT_COLUMNS, .rows = block, .width = d}, 1,
                      &dx, &l->more_of[id][0]));
    if (n->index >= 0) {
        Chain cut = by_vocab;
        cut.coarse = true;
        TRY(loss_step(l, id, OP_LINEAR_GRAD, dlogits, x, cut, 3, NULL, &done));
    }
    TRY(start_group(l));
    loop.group1 = current_group(l);
    l->p->values[x].last = loop.group1;
    read_now(l, x);
    for (ValueId v = value0; v < l->p->value_count; v++) {
        l->p->values[v].first = loop.group0;
        l->p->values[v].last = loop.group1;
    }
    void *items = l->p->loops;
    st = push(l, &items, &l->p->loop_cap, &l->p->loop_count, &loop, sizeof loop);
    l->p->loops = items;
    l->p->row_flops += op_row(n->op)->cost(l->g, n);
out:
    return st;
}

MUST_USE static Status lower_node(Lowering *l, NodeId id)
{
    const Node *n = graph_node(l->g, id);
    l->value_of[id] = l->quantised_of[id] = -1;
    if (op_row(n->op)->inputs_max == 0)
        return ST_OK;
    switch (n->op) {
    case OP_RESULT:
        l->value_of[id] = l->more_of[n->inputs[0]][n->params.result - 1];
        CHECK(l->value_of[id] >= 0);
        return ST_OK;
    case OP_SPLIT_ROWS:
    case OP_JOIN_ROWS: return lower_alias(l, id);
    case OP_CROSS_ENTROPY: return lower_loss(l, id);
    default: return lower_step(l, id);
    }
}

static void find_wanted_results(Lowering *l)
{
    for (NodeId i = 0; i < l->g->count; i++) {
        const Node *n = graph_node(l->g, i);
        if (n->op == OP_RESULT)
            l->wanted[n->inputs[0]] |= (uint8_t)(1u << (n->params.result - 1));
    }
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
        for (ValueId v = p->outputs[i]; v >= 0; v = p->values[v].alias)
            p->values[v].last = p->group_count;
    }
    return ST_OK;
}

MUST_USE static Status lower_all(Lowering *l)
{
    Status st = ST_OK;
    l->value_of = mem_alloc((size_t)l->g->count, sizeof *l->value_of);
    l->quantised_of = mem_alloc((size_t)l->g->count, sizeof *l->quantised_of);
    l->wanted = mem_alloc((size_t)l->g->count, sizeof *l->wanted);
    l->more_of = mem_alloc((size_t)l->g->count, sizeof *l->more_of);
    if (!l->value_of || !l->quantised_of || !l->wanted || !l->more_of)
        return no_memory(l);
    find_wanted_results(l);
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
    program_set_scratch(p, g);
    Lowering l = {.p = p, .g = g, .err = err};
    const Status st = lower_all(&l);
    mem_free(l.value_of);
    mem_free(l.quantised_of);
    mem_free(l.chain_of_value);
    mem_free(l.chain_of_step);
    mem_free(l.wanted);
    mem_free(l.more_of);
    mem_free(l.sink_of);
    mem_free(l.sink_rows);
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
    mem_free(p->loops);
    mem_free(p->outputs);
    mem_free(p);
}
