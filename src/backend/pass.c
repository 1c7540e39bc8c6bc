/* Passes: see pass.h. */
#include "backend/pass.h"

#include "base/mem.h"

struct Pass {
    ThreadPool *pool; /* borrowed */
    Program *program;
    int32_t outputs;
    size_t real_bytes;
    void *arena, *scratch; /* owned pages */
    size_t arena_bytes, scratch_bytes;
    StatePool state;
    int32_t *positions;       /* owned; [rows_max] */
    BatchSequence *sequences; /* owned; [sequences_max] */
    int64_t rows_max, sequences_max;
};

MUST_USE static Status create_parts(Pass *p, const Graph *g, const LowerParams *params, Error *err)
{
    LowerParams lower = *params;
    Status st = ST_OK;
    lower.rows_max = lower.entries_max = p->rows_max;
    lower.logit_rows_max = 1;
    TRY(program_lower(&p->program, g, &lower, err));
    TRY(state_pool_init(&p->state, params->parts, params->part_count, params->state_type, p->rows_max, p->sequences_max, err));
    p->arena_bytes = program_arena_bytes(p->program);
    p->scratch_bytes = program_scratch_bytes(p->program) * (size_t)pool_threads(p->pool);
    p->arena = mem_alloc_pages(p->arena_bytes);
    p->scratch = mem_alloc_pages(p->scratch_bytes);
    p->positions = mem_alloc((size_t)p->rows_max, sizeof *p->positions);
    p->sequences = mem_alloc((size_t)p->sequences_max, sizeof *p->sequences);
    if (!p->arena || !p->scratch || !p->positions || !p->sequences)
        TRY(error_set(err, ST_NOMEM, "no memory for the activations of %lld positions (%zu MB)", (long long)p->rows_max,
                      p->arena_bytes >> 20));
out:
    return st;
}

Status pass_create(Pass **out, const Graph *g, const LowerParams *params, int64_t rows_max, int64_t sequences_max,
                   ThreadPool *pool, Error *err)
{
    Pass *p = mem_alloc(1, sizeof *p);
    if (!p)
        return error_set(err, ST_NOMEM, "no memory for a pass");
    p->pool = pool;
    p->rows_max = rows_max;
    p->sequences_max = sequences_max;
    p->outputs = g->output_count;
    p->real_bytes = params->kernels->real_bytes;
    const Status st = create_parts(p, g, params, err);
    if (st == ST_OK)
        *out = p;
    else
        pass_destroy(p);
    return st;
}

void pass_destroy(Pass *p)
{
    if (!p)
        return;
    program_destroy(p->program);
    state_pool_deinit(&p->state);
    mem_free_pages(p->arena, p->arena_bytes);
    mem_free_pages(p->scratch, p->scratch_bytes);
    mem_free(p->positions);
    mem_free(p->sequences);
    mem_free(p);
}

/* Pages and positions of the batch's sequences. */
static void lay_out(Pass *p, const PassBatch *b)
{
    int64_t row = 0;
    CHECK(b->rows <= p->rows_max);
    CHECK(b->sequence_count <= p->sequences_max);
    state_pool_reset(&p->state);
    for (int64_t i = 0; i < b->sequence_count; i++) {
        const PassSequence *s = &b->sequences[i];
        CHECK(s->row0 == row);
        p->sequences[i] = (BatchSequence){s->row0, s->rows, 0, state_pool_give(&p->state, s->rows)};
        for (int64_t j = 0; j < s->rows; j++)
            p->positions[row++] = (int32_t)j;
    }
    CHECK(row == b->rows);
}

static double sum_rows(const Pass *p, int output, int64_t rows)
{
    const void *x = program_output(p->program, output, p->arena, NULL);
    double sum = 0;
    for (int64_t i = 0; i < rows; i++)
        sum += p->real_bytes == sizeof(double) ? ((const double *)x)[i] : (double)((const float *)x)[i];
    return sum;
}

void pass_run(Pass *p, const PassBatch *b, void *const *gradients, double *losses)
{
    lay_out(p, b);
    const Batch batch = {
        .rows = b->rows,
        .ids = b->ids,
        .positions = p->positions,
        .sequences = p->sequences,
        .sequence_count = b->sequence_count,
        .next_ids = b->next_ids,
        .targets = {b->targets[0], b->targets[1]},
        .target_weights = {b->target_weights[0], b->target_weights[1]},
        .balance_scale = b->balance_scale,
    };
    const RunMemory memory = {.arena = p->arena, .scratch = p->scratch, .gradients = gradients};
    program_run(p->program, p->pool, &batch, &memory);
    for (int i = 0; i < p->outputs; i++)
        losses[i] = sum_rows(p, i, b->rows);
}

size_t pass_bytes(const Pass *p)
{
    return p->arena_bytes + p->state.bytes;
}

double pass_flops(const Pass *p, int64_t rows)
{
    return program_flops(p->program, rows);
}
