/* Execution: all workers walk the groups together; in a group they take blocks of units from a queue and
 * carry each block through its chain. */
#include "backend/program_internal.h"

#define BLOCKS_A_WORKER 8 /* enough to steal from when a worker is late, few enough to cost nothing */

typedef struct {
    const Program *p;
    ThreadPool *pool;
    const Batch *batch;
    const RunMemory *memory;
    WorkQueue queues[2]; /* worker 0 sets one up while the other is in use */
    int threads;
} Run;

static int64_t chain_units(const Run *r, const Chain *c)
{
    const int64_t rows = c->rows_dim == DIM_LOGIT_ROWS ? r->batch->logit_row_count : r->batch->rows;
    if (rows == 0)
        return 0;
    switch (c->split) {
    case SPLIT_ROWS: return rows;
    case SPLIT_COLUMNS: return (c->width + PANEL_ROWS - 1) / PANEL_ROWS;
    case SPLIT_HEADS: return c->width;
    case SPLIT_HEAD_ROWS: return c->width * ((rows + HEAD_ROWS_BLOCK - 1) / HEAD_ROWS_BLOCK);
    }
    return 0;
}

/* Units of a chain that make one block of the queue. */
static int64_t block_units(const Run *r, int64_t units)
{
    const int64_t n = units / ((int64_t)r->threads * BLOCKS_A_WORKER);
    return n > 1 ? n : 1;
}

static int64_t chain_blocks(const Run *r, const Chain *c)
{
    const int64_t units = chain_units(r, c), step = block_units(r, units);
    return (units + step - 1) / step;
}

static int64_t group_blocks(const Run *r, const Group *g)
{
    int64_t n = 0;
    for (int32_t c = g->chain0; c < g->chain1; c++)
        n += chain_blocks(r, &r->p->chains[c]);
    return n;
}

/* Block number `block` of a group: find its chain, run the chain's steps on its units. */
static void run_block(const Run *r, const StepContext *context, const Group *g, int64_t block)
{
    for (int32_t ci = g->chain0; ci < g->chain1; ci++) {
        const Chain *c = &r->p->chains[ci];
        const int64_t blocks = chain_blocks(r, c);
        if (block >= blocks) {
            block -= blocks;
            continue;
        }
        const int64_t units = chain_units(r, c), step = block_units(r, units);
        const int64_t unit0 = block * step, unit1 = unit0 + step < units ? unit0 + step : units;
        for (int32_t s = c->step0; s < c->step1; s++)
            r->p->steps[s].run(context, &r->p->steps[s], unit0, unit1);
        return;
    }
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
    const StepContext context = {p, p->p.kernels, r->batch, r->memory->arena,
                                 (uint8_t *)r->memory->scratch + (size_t)thread * program_scratch_bytes()};
    for (int32_t i = 0; i < p->group_count; i++) {
        const Group *g = &p->groups[i];
        WorkQueue *queue = &r->queues[i & 1];
        int64_t block;
        while (work_next(queue, thread, &block))
            run_block(r, &context, g, block);
        if (thread == 0 && i + 1 < p->group_count)
            work_init(&r->queues[(i + 1) & 1], group_blocks(r, &p->groups[i + 1]), threads);
        if (i + 1 < p->group_count)
            pool_barrier(r->pool);
        if (thread == 0 && i + 1 < p->group_count)
            show_tap(r, g);
    }
}

size_t program_scratch_bytes(void)
{
    return LINEAR_SCRATCH > ATTENTION_SCRATCH ? LINEAR_SCRATCH : ATTENTION_SCRATCH;
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
    work_init(&r.queues[0], group_blocks(&r, &p->groups[0]), r.threads);
    pool_run(pool, run_worker, &r);
}

const void *program_output(const Program *p, int i, const void *arena, int64_t *width)
{
    const Value *v = &p->values[p->outputs[i]];
    if (width)
        *width = v->width;
    return (const uint8_t *)arena + v->offset;
}
