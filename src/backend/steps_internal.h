/* What the steps share: addresses, and walks over the sequences of a batch. */
#ifndef PLUMB_BACKEND_STEPS_INTERNAL_H
#define PLUMB_BACKEND_STEPS_INTERNAL_H

#include "backend/program_internal.h"

/* Inside a loop, rows of the batch count from the block's first. */
static inline void *value_at(const StepContext *c, ValueId v, int64_t row, int64_t column)
{
    const Value *value = &c->program->values[v];
    if (value->rows.dim == DIM_ROWS)
        row += c->block0;
    return c->arena + value->offset + (size_t)(row * value->width + column) * value->element;
}

/* NULL when nobody wants the value. */
static inline void *value_or_null(const StepContext *c, ValueId v, int64_t row)
{
    return v < 0 ? NULL : value_at(c, v, row, 0);
}

static inline int64_t value_width(const StepContext *c, ValueId v)
{
    return v < 0 ? 0 : c->program->values[v].width;
}

static inline int64_t value_rows(const StepContext *c, ValueId v)
{
    return context_rows(c, &c->program->values[v].rows);
}

static inline void *real_at(const StepContext *c, const void *base, int64_t index)
{
    return (char *)(uintptr_t)base + (size_t)index * c->k->real_bytes;
}

static inline int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline StateLayout layout_of(const StepContext *c, int32_t part)
{
    const LowerParams *p = &c->program->p;
    return state_layout(&p->parts[part], p->state_type);
}

/* Row `position` of a part that holds rows. */
static inline void *state_row(const StepContext *c, const BatchSequence *q, int32_t part, int64_t position)
{
    char *page = q->part_pages[part][position / ATTENTION_PAGE];
    return real_at(c, page, position % ATTENTION_PAGE * c->program->p.parts[part].head_dim);
}

/* The ids that params.target names. */
static inline const int32_t *batch_ids(const StepContext *c, const Step *s)
{
    return s->params.target ? c->batch->next_ids : c->batch->ids;
}

/* The forward arguments of rows r0 … r1−1 of sequence q over key/value head h, for `heads` query heads from number
 * `head` on. q, out and lse are the values with those columns; part and entries −1 where there is none. */
typedef struct {
    ValueId q, out, lse;
    int32_t part, entries;
    const WeightView *sinks;
    ValueId chosen;
    const OpParams *p;
} AttentionStep;
AttentionArgs attention_args(const StepContext *c, const AttentionStep *a, const BatchSequence *q, int64_t h, int64_t head,
                             int64_t heads, int64_t r0, int64_t r1);

/* The products of a step, in float or of BF16 rows as the step says. */
void step_linear(const StepContext *c, const Step *s, const LinearShape *shape, void *y, int64_t ldy, const void *x,
                 int64_t ldx, const void *bias);
void step_linear_back(const StepContext *c, const Step *s, const LinearShape *shape, void *dx, int64_t lddx, const void *dy,
                      int64_t lddy);

/* dw [n][K] += dyᵀ · x for n0 <= n < n1; dy [M][N] and x [M][ldx] are float or BF16 as the step says. */
typedef struct {
    void *dw;
    const void *dy, *x;
    int64_t N, K, ldx, M, n0, n1;
} GradStep;
void step_weight_grad(const StepContext *c, const Step *s, const GradStep *g);

/* steps_train.c, steps_v4.c: NULL when the op is not theirs. */
StepFn step_of_training(Op op, Split split);
StepFn step_of_v4(Op op);

#endif
