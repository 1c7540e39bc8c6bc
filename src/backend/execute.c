/* Execution: all workers walk the groups together; in a group they take blocks of units from a queue and
 * carry each block through its chain. */
#include "backend/program_internal.h"

#define BLOCKS_A_WORKER 8 /* enough to steal from when a worker is late, few enough to cost nothing */

#define BLOCKS_COARSE 2   /* of a chain whose units share what they pack */

typedef struct {
    const Program *p;
    ThreadPool *pool;
    const Batch *batch;
    const RunMemory *memory;
    WorkQueue queues[2]; /* worker 0 sets one up while the other is in use */
    int threads;
} Run;

/* Where a worker is: a group, and inside a loop the block of rows. */
typedef struct {
    int32_t group, loop; /* loop −1: outside */
    int64_t block0, block_rows;
} Place;

static int64_t chain_units(const StepContext *c, const Chain *chain)
{
    const int64_t rows = context_rows(c, &chain->rows), sequences = c->batch->sequence_count;
    if (rows == 0)
        return 0;
    switch (chain->split) {
    case SPLIT_ROWS:
    case SPLIT_SCATTER_ROWS: return rows;
    case SPLIT_COLUMNS: return panels_of(chain->width);
    case SPLIT_HEADS: return chain->width;
    case SPLIT_HEAD_ROWS: return chain->width * ((rows + HEAD_ROWS_BLOCK - 1) / HEAD_ROWS_BLOCK);
    case SPLIT_SEQUENCES: return sequences;
    case SPLIT_SEQUENCE_HEADS: return sequences * chain->width;
    case SPLIT_EXPERT_COLUMNS: return chain->experts * panels_of(chain->width);
    case SPLIT_ONE: return 1;
    }
    return 0;
}

/* Units of a chain that make one block of the queue. */
static int64_t block_units(const Run *r, const Chain *c, int64_t units)
{
    const int64_t n = units / ((int64_t)r->threads * (c->coarse ? BLOCKS_COARSE : BLOCKS_A_WORKER));
    return n > 1 ? n : 1;
}

static int64_t chain_blocks(const Run *r, const StepContext *context, const Chain *c)
{
    const int64_t units = chain_units(context, c), step = block_units(r, c, units);
    return (units + step - 1) / step;
}

static int64_t group_blocks(const Run *r, const StepContext *context, const Group *g)
{
    int64_t n = 0;
    for (int32_t c = g->chain0; c < g->chain1; c++)
        n += chain_blocks(r, context, &r->p->chains[c]);
    return n;
}

/* Block number `block` of a group: find its chain, run the chain's steps on its units. */
static void run_block(const Run *r, const StepContext *context, const Group *g, int64_t block)
{
    for (int32_t ci = g->chain0; ci < g->chain1; ci++) {
        const Chain *c = &r->p->chains[ci];
        const int64_t blocks = chain_blocks(r, context, c);
        if (block >= blocks) {
            block -= blocks;
            continue;
        }
        const int64_t units = chain_units(context, c), step = block_units(r, c, units);
        const int64_t unit0 = block * step, unit1 = unit0 + step < units ? unit0 + step : units;
        for (int32_t s = c->step0; s < c->step1; s++)
            r->p->steps[s].run(context, &r->p->steps[s], unit0, unit1);
        return;
    }
}

/* ---- the way through groups and loops ---------------------------------------------------------- */

static void set_block(const Run *r, Place *p, int64_t row0)
{
    const int64_t left = r->batch->rows - row0;
    p->block0 = row0;
    p->block_rows = left < LOSS_BLOCK ? left : LOSS_BLOCK;
}

/* Entering group p->group: does a loop begin here? */
static void enter(const Run *r, Place *p)
{
    for (int32_t i = 0; i < r->p->loop_count; i++)
        if (p->loop < 0 && r->p->loops[i].group0 == p->group) {
            p->loop = i;
            set_block(r, p, 0);
        }
}

static Place first_place(const Run *r)
{
    Place p = {.loop = -1};
    enter(r, &p);
    return p;
}

static Place next_place(const Run *r, Place p)
{
    p.group++;
    if (p.loop >= 0 && p.group == r->p->loops[p.loop].group1) {
        if (p.block0 + p.block_rows < r->batch->rows) {
            p.group = r->p->loops[p.loop].group0;
            set_block(r, &p, p.block0 + p.block_rows);
        } else {
            p.loop = -1;
            p.block0 = p.block_rows = 0;
        }
    }
    enter(r, &p);
    return p;
}

static void show_tap(const Run *r, const Group *g)
{
    if (g->tap < 0 || !r->memory->tap)
        return;
    const Value *v = &r->p->values[g->tap];
    r->memory->tap(r->memory->tap_arg, g->tap_layer, (const uint8_t *)r->memory->arena + v->offset,
                   r->batch->rows, v->width);
}

static void run_worker(void *arg, int thread, int threads)
{
    Run *r = arg;
    const Program *p = r->p;
    StepContext context = {.program = p, .k = p->p.kernels, .batch = r->batch, .arena = r->memory->arena,
                           .scratch = (uint8_t *)r->memory->scratch + (size_t)thread * p->scratch_bytes,
                           .gradients = r->memory->gradients};
    Place place = first_place(r);
    for (int which = 0; place.group < p->group_count; which ^= 1) {
        const Group *g = &p->groups[place.group];
        WorkQueue *queue = &r->queues[which];
        int64_t block;
        context.block0 = place.block0;
        context.block_rows = place.block_rows;
        while (work_next(queue, thread, &block))
            run_block(r, &context, g, block);
        place = next_place(r, place);
        if (place.group >= p->group_count)
            break;
        context.block0 = place.block0;
        context.block_rows = place.block_rows;
        if (thread == 0)
            work_init(&r->queues[which ^ 1], group_blocks(r, &context, &p->groups[place.group]), threads);
        pool_barrier(r->pool);
        if (thread == 0)
            show_tap(r, g);
    }
}

/* What the heaviest kernel wants; the index also keeps a score an entry. */
static size_t scratch_needed(const LowerParams *p, const Graph *g)
{
    size_t bytes = LINEAR_SCRATCH > ATTENTION_SCRATCH ? LINEAR_SCRATCH : ATTENTION_SCRATCH;
    const int64_t positions = p->entries_max > 0 ? p->entries_max : p->rows_max;
    for (int32_t i = 0; i < g->count; i++) {
        const Node *n = graph_node(g, i);
        const bool index = n->op == OP_INDEX_CHOOSE, back = n->kind == VALUE_NONE || n->op == OP_ATTENTION_BACK;
        const size_t scores = index ? (size_t)(positions / n->params.tokens + 64) * p->kernels->real_bytes : 0;
        const size_t need = back ? GRAD_SCRATCH : index ? MIX_SCRATCH + scores : 0;
        bytes = need > bytes ? need : bytes;
    }
    return (bytes + 63) / 64 * 64;
}

void program_set_scratch(Program *p, const Graph *g)
{
    p->scratch_bytes = scratch_needed(&p->p, g);
}

size_t program_scratch_bytes(const Program *p)
{
    return p->scratch_bytes;
}

double program_flops(const Program *p, int64_t rows)
{
    return p->row_flops * (double)rows;
}

size_t program_arena_bytes(const Program *p)
{
    return p->arena_bytes;
}

int64_t program_barriers(const Program *p)
{
    return p->group_count - 1;
}

int64_t program_steps(const Program *p)
{
    return p->step_count;
}

void program_run(const Program *p, ThreadPool *pool, const Batch *batch, const RunMemory *memory)
{
    CHECK(batch->rows >= 1);
    CHECK(batch->rows <= p->p.rows_max);
    CHECK(batch->logit_row_count <= p->p.logit_rows_max);
    Run r = {.p = p, .pool = pool, .batch = batch, .memory = memory, .threads = pool_threads(pool)};
    const Place first = first_place(&r);
    const StepContext context = {.program = p, .batch = batch, .block0 = first.block0, .block_rows = first.block_rows};
    work_init(&r.queues[0], group_blocks(&r, &context, &p->groups[0]), r.threads);
    pool_run(pool, run_worker, &r);
}

const void *program_output(const Program *p, int i, const void *arena, int64_t *width)
{
    const Value *v = &p->values[p->outputs[i]];
    if (width)
        *width = v->width;
    return (const uint8_t *)arena + v->offset;
}
