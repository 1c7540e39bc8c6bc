/* Steps of DeepSeek-V4: hyper-connections, compressed entries and their choice, routed experts. */
#include "backend/steps_internal.h"

#include <math.h>
#include <string.h>

/* ---- hyper-connections ------------------------------------------------------------------------- */

static HyperShape hyper_shape(const StepContext *c, const Step *s, ValueId streams)
{
    const OpParams *p = &s->params;
    return (HyperShape){p->streams, value_width(c, streams) / p->streams, p->eps, p->hc_eps, p->iterations, p->head};
}

static void hyper_expand_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const int64_t d = value_width(c, s->in[0]);
    for (int64_t r = row0; r < row1; r++)
        for (int64_t i = 0; i < s->params.streams; i++)
            memcpy(value_at(c, s->out, r, i * d), value_at(c, s->in[0], r, 0), (size_t)d * c->k->real_bytes);
}

static void hyper_split_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const HyperShape shape = hyper_shape(c, s, s->in[1]);
    c->k->mix->hyper_split(&shape, value_at(c, s->out, row0, 0), value_width(c, s->out), value_at(c, s->in[0], row0, 0),
                           value_width(c, s->in[0]), value_at(c, s->in[1], row0, 0), value_width(c, s->in[1]),
                           s->weight[2]->vector, s->weight[3]->vector, row1 - row0);
}

/* (z, X, scale, base, dc) → dz, dX, dbase rows, dscale rows */
static void hyper_split_back_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const HyperShape shape = hyper_shape(c, s, s->in[1]);
    const int64_t n = value_width(c, s->out), wide = value_width(c, s->in[1]);
    c->k->mix->hyper_split_back(&shape, value_at(c, s->out, row0, 0), n, value_at(c, s->more[0], row0, 0), wide,
                                value_at(c, s->more[1], row0, 0), n, value_at(c, s->more[2], row0, 0),
                                value_width(c, s->more[2]), value_at(c, s->in[0], row0, 0), n,
                                value_at(c, s->in[1], row0, 0), wide, s->weight[2]->vector, s->weight[3]->vector,
                                value_at(c, s->in[4], row0, 0), n, row1 - row0);
}

static void hyper_pre_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const HyperShape shape = hyper_shape(c, s, s->in[0]);
    c->k->mix->hyper_pre(&shape, value_at(c, s->out, row0, 0), shape.d, value_at(c, s->in[0], row0, 0),
                         value_width(c, s->in[0]), value_at(c, s->in[1], row0, 0), value_width(c, s->in[1]),
                         row1 - row0);
}

/* (X, c, dy) → dX, dc */
static void hyper_pre_back_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const HyperShape shape = hyper_shape(c, s, s->in[0]);
    const int64_t wide = value_width(c, s->in[0]), n = value_width(c, s->in[1]);
    c->k->mix->hyper_pre_back(&shape, value_at(c, s->out, row0, 0), wide, value_at(c, s->more[0], row0, 0), n,
                              value_at(c, s->in[0], row0, 0), wide, value_at(c, s->in[1], row0, 0), n,
                              value_at(c, s->in[2], row0, 0), shape.d, row1 - row0);
}

static void hyper_post_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const HyperShape shape = hyper_shape(c, s, s->in[0]);
    const int64_t wide = value_width(c, s->in[0]);
    c->k->mix->hyper_post(&shape, value_at(c, s->out, row0, 0), wide, value_at(c, s->in[0], row0, 0), wide,
                          value_at(c, s->in[1], row0, 0), value_width(c, s->in[1]), value_at(c, s->in[2], row0, 0),
                          shape.d, row1 - row0);
}

/* (X, c, f, dX') → dX, dc, df */
static void hyper_post_back_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const HyperShape shape = hyper_shape(c, s, s->in[0]);
    const int64_t wide = value_width(c, s->in[0]), n = value_width(c, s->in[1]);
    c->k->mix->hyper_post_back(&shape, value_at(c, s->out, row0, 0), wide, value_at(c, s->more[0], row0, 0), n,
                               value_at(c, s->more[1], row0, 0), shape.d, value_at(c, s->in[0], row0, 0), wide,
                               value_at(c, s->in[1], row0, 0), n, value_at(c, s->in[2], row0, 0), shape.d,
                               value_at(c, s->in[3], row0, 0), wide, row1 - row0);
}

/* ---- compressed entries ------------------------------------------------------------------------ */

#define POOL_ROWS_MAX 256 /* rows that an entry pools */

/* The rows of one entry: pointers into the state parts of a and b, and into the position bias. */
typedef struct {
    const void *a[POOL_ROWS_MAX], *b[POOL_ROWS_MAX], *ape[POOL_ROWS_MAX];
    PoolArgs args;
    int64_t position[POOL_ROWS_MAX]; /* of the row; −1: absent */
    int64_t column[POOL_ROWS_MAX];   /* where its part begins */
} Pool;

/* Entry j of sequence q. inputs: (…, a, b, ape, gain, …) from input `first` on. With overlap the window before gives its
 * first halves, the entry's own window its second halves (deepseek-v4.md §2.5). */
static void pool_open(Pool *p, const StepContext *c, const Step *s, int first, const BatchSequence *q, int64_t j)
{
    const int64_t r = s->params.tokens, width = s->weight[first + 3]->N, halves = s->params.overlap ? 2 : 1;
    p->args = (PoolArgs){p->a, p->b, p->ape, halves * r, width};
    for (int64_t i = 0; i < halves * r; i++) {
        const int64_t half = i / r, position = (j - (halves - 1) + half) * r + i % r, column = half * width;
        p->position[i] = position;
        p->column[i] = column;
        p->ape[i] = real_at(c, s->weight[first + 2]->vector, i % r * halves * width + column);
        p->a[i] = position < 0 ? NULL : real_at(c, state_row(c, q, s->part[first], position), column);
        p->b[i] = position < 0 ? NULL : real_at(c, state_row(c, q, s->part[first + 1], position), column);
    }
}

/* The angles of an entry, at the position of its window's first token; rounded as in the rotary table. */
static void entry_angles(float *table, const Step *s, int64_t half, int64_t position, bool inverse)
{
    for (int64_t i = 0; i < half; i++) {
        const float angle = (float)position * s->constant[i];
        table[i] = (float)cos((double)angle) * (float)s->params.scale;
        table[half + i] = (float)sin((double)angle) * (float)s->params.scale * (inverse ? -1.0f : 1.0f);
    }
}

/* Scratch of an entry: e [c], two rows of gradients [c], then the angles. */
static float *angles_of(const StepContext *c, int64_t width)
{
    return real_at(c, c->scratch, 3 * width);
}

static void turn_entry(const StepContext *c, const Step *s, void *e, int64_t width, int64_t rot, int64_t position,
                       bool inverse)
{
    float *const table = angles_of(c, width);
    const int32_t only = 0;
    entry_angles(table, s, rot / 2, position, inverse);
    c->k->rope_rows(real_at(c, e, width - rot), width, &only, table, 1, 1, width, rot, true);
}

/* (entries, a, b, ape, gain, inv_freq): pool, norm, rotate, and write entry j. */
static void compress_entry(const StepContext *c, const Step *s, const BatchSequence *q, int64_t j)
{
    const WeightView *gain = s->weight[4];
    const StateLayout layout = layout_of(c, s->part[0]);
    const int64_t width = gain->N, rot = s->params.rot;
    const bool alone = c->program->p.parts[s->part[0]].kind == STATE_KEYS;
    void *e = c->scratch;
    Pool pool;
    pool_open(&pool, c, s, 1, q, j);
    c->k->mix->pool(&pool.args, e);
    c->k->rmsnorm_rows(e, width, e, width, gain->vector, 1, width, s->params.eps);
    turn_entry(c, s, e, width, rot, j * s->params.tokens, false);
    c->k->kv_write(q->part_pages[s->part[0]][j / ATTENTION_PAGE], 0, layout.value_offset, layout.type, j % ATTENTION_PAGE,
                   1, e, width, alone ? NULL : e, width, width);
}

static void compress_sequences(const StepContext *c, const Step *s, int64_t unit0, int64_t unit1)
{
    const int64_t r = s->params.tokens;
    for (int64_t u = unit0; u < unit1; u++) {
        const BatchSequence *q = &c->batch->sequences[u];
        for (int64_t j = q->past / r; j < (q->past + q->rows) / r; j++)
            compress_entry(c, s, q, j);
    }
}

static void clear_rows(const StepContext *c, ValueId v, int64_t row0, int64_t row1)
{
    for (int64_t r = row0; r < row1; r++)
        memset(value_at(c, v, r, 0), 0, (size_t)value_width(c, v) * c->k->real_bytes);
}

/* (a, b, ape, gain, inv_freq, dentries) → da, db, dgain rows; entry j is row `row` of what is by entry. */
static void compress_back_entry(const StepContext *c, const Step *s, const BatchSequence *q, int64_t j, int64_t row)
{
    const WeightView *gain = s->weight[3];
    const int64_t width = gain->N;
    void *const e = c->scratch, *const dnorm = real_at(c, e, width), *const de = real_at(c, e, 2 * width);
    void *da[POOL_ROWS_MAX], *db[POOL_ROWS_MAX];
    Pool pool;
    pool_open(&pool, c, s, 0, q, j);
    c->k->mix->pool(&pool.args, e);
    memcpy(dnorm, value_at(c, s->in[5], row, 0), (size_t)width * c->k->real_bytes);
    turn_entry(c, s, dnorm, width, s->params.rot, j * s->params.tokens, true);
    c->k->grad->rmsnorm_back(de, width, value_or_null(c, s->more[1], row), width, e, width, gain->vector, dnorm, width, 1,
                             width, s->params.eps);
    for (int64_t i = 0; i < pool.args.rows; i++) {
        const int64_t at = q->row0 + pool.position[i];
        da[i] = pool.a[i] ? value_at(c, s->out, at, pool.column[i]) : NULL;
        db[i] = pool.a[i] ? value_at(c, s->more[0], at, pool.column[i]) : NULL;
    }
    c->k->mix->pool_back(&pool.args, de, da, db);
}

static void compress_back_sequences(const StepContext *c, const Step *s, int64_t unit0, int64_t unit1)
{
    const int64_t r = s->params.tokens;
    for (int64_t u = unit0; u < unit1; u++) {
        const BatchSequence *q = &c->batch->sequences[u];
        clear_rows(c, s->out, q->row0, q->row0 + q->rows);
        clear_rows(c, s->more[0], q->row0, q->row0 + q->rows);
        if (s->more[1] >= 0) /* up to where the next sequence begins: rows without an entry are summed too */
            clear_rows(c, s->more[1], q->row0 / r, (q->row0 + q->rows) / r);
        for (int64_t j = 0; j < q->rows / r; j++)
            compress_back_entry(c, s, q, j, q->row0 / r + j);
    }
}

static void index_choose_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const OpParams *p = &s->params;
    for (int64_t i = 0; i < c->batch->sequence_count; i++) {
        const BatchSequence *q = &c->batch->sequences[i];
        const int64_t from = max64(row0, q->row0), to = min64(row1, q->row0 + q->rows);
        if (from >= to)
            continue;
        const IndexArgs a = {
            .pages = (const void *const *)q->part_pages[s->part[2]],
            .heads = p->heads,
            .dim = p->head_dim,
            .tokens = p->tokens,
            .topk = p->topk,
            .q = value_at(c, s->in[0], from, 0),
            .w = value_at(c, s->in[1], from, 0),
            .ld_q = value_width(c, s->in[0]),
            .ld_w = value_width(c, s->in[1]),
            .rows = to - from,
            .position = q->past + (from - q->row0),
            .chosen = value_at(c, s->out, from, 0),
        };
        c->k->mix->index_choose(&a, c->scratch);
    }
}

/* ---- experts ----------------------------------------------------------------------------------- */

static RouteShape route_shape(const StepContext *c, const Step *s, int64_t row0)
{
    const OpParams *p = &s->params;
    const WeightView *by = s->weight[1];
    const bool table = by && s->op == OP_ROUTE && by->ids;
    return (RouteShape){.experts = p->experts, .k = p->topk, .scale = p->scale, .bias = by && !table ? by->vector : NULL,
                        .table = table ? by->ids : NULL, .ids = table ? batch_ids(c, s) + row0 : NULL};
}

static void route_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const RouteShape shape = route_shape(c, s, row0);
    int32_t *chosen = s->more[0] >= 0 ? value_at(c, s->more[0], row0, 0) : c->scratch;
    c->k->mix->route(&shape, value_at(c, s->out, row0, 0), chosen, value_at(c, s->in[0], row0, 0),
                     value_width(c, s->in[0]), row1 - row0);
}

/* (logits, chosen, dweights) → dlogits, with the balance loss's part */
static void route_back_sequences(const StepContext *c, const Step *s, int64_t unit0, int64_t unit1)
{
    const RouteShape shape = route_shape(c, s, 0);
    const int64_t ld = value_width(c, s->in[0]);
    for (int64_t u = unit0; u < unit1; u++) {
        const BatchSequence *q = &c->batch->sequences[u];
        const void *logits = value_at(c, s->in[0], q->row0, 0);
        const int32_t *chosen = value_at(c, s->in[1], q->row0, 0);
        void *dlogits = value_at(c, s->out, q->row0, 0);
        c->k->mix->route_back(&shape, dlogits, ld, logits, ld, chosen, value_at(c, s->in[2], q->row0, 0), q->rows);
        const double alpha = s->params.alpha * (double)q->rows * c->batch->balance_scale;
        if (alpha > 0)
            c->k->mix->balance_back(&shape, dlogits, ld, logits, ld, chosen, q->rows, alpha);
    }
}

/* Tokens sorted by expert, in token order within one: slots, tokens, offsets. */
static void dispatch_all(const StepContext *c, const Step *s, int64_t unit0, int64_t unit1)
{
    (void)unit0, (void)unit1;
    const int64_t n = value_rows(c, s->in[0]) * value_width(c, s->in[0]), k = value_width(c, s->in[0]);
    const int64_t E = s->params.experts;
    const int32_t *chosen = value_at(c, s->in[0], 0, 0);
    int32_t *slots = value_at(c, s->out, 0, 0), *tokens = value_at(c, s->more[0], 0, 0);
    int32_t *offsets = value_at(c, s->more[1], 0, 0);
    memset(offsets, 0, (size_t)(E + 1) * sizeof *offsets);
    for (int64_t i = 0; i < n; i++)
        offsets[chosen[i] + 1]++;
    for (int64_t e = 0; e < E; e++)
        offsets[e + 1] += offsets[e];
    for (int64_t i = 0; i < n; i++) {
        const int32_t slot = offsets[chosen[i]]++;
        slots[i] = slot;
        tokens[slot] = (int32_t)(i / k);
    }
    for (int64_t e = E; e > 0; e--) /* each has moved on to where the next begins */
        offsets[e] = offsets[e - 1];
    offsets[0] = 0;
}

static void gather_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const size_t bytes = (size_t)value_width(c, s->out) * c->k->real_bytes;
    const int32_t *tokens = value_at(c, s->in[1], 0, 0);
    for (int64_t r = row0; r < row1; r++)
        memcpy(value_at(c, s->out, r, 0), value_at(c, s->in[0], tokens[r], 0), bytes);
}

/* (dxs, slots): a token's slots, in their order */
static void gather_back_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const int64_t d = value_width(c, s->out), k = value_width(c, s->in[1]);
    for (int64_t r = row0; r < row1; r++) {
        const int32_t *slots = value_at(c, s->in[1], r, 0);
        void *y = value_at(c, s->out, r, 0);
        memcpy(y, value_at(c, s->in[0], slots[0], 0), (size_t)d * c->k->real_bytes);
        for (int64_t i = 1; i < k; i++)
            c->k->add(y, y, value_at(c, s->in[0], slots[i], 0), d);
    }
}

/* Units are panels of expert 0, then of expert 1, …: the panels of each expert among unit0 … unit1−1. */
typedef struct {
    int64_t expert, panel0, panel1;
    int64_t slot0, slots;
} ExpertPart;

static bool next_expert(ExpertPart *e, const int32_t *offsets, int64_t per, int64_t *unit, int64_t unit1)
{
    if (*unit >= unit1)
        return false;
    e->expert = *unit / per;
    e->panel0 = *unit % per;
    e->panel1 = min64(per, e->panel0 + unit1 - *unit);
    e->slot0 = offsets[e->expert];
    e->slots = offsets[e->expert + 1] - e->slot0;
    *unit += e->panel1 - e->panel0;
    return true;
}

static void expert_linear_units(const StepContext *c, const Step *s, int64_t unit0, int64_t unit1)
{
    const bool back = s->op == OP_EXPERT_LINEAR_BACK;
    const int64_t out = value_width(c, s->out), in = value_width(c, s->in[0]);
    const int32_t *offsets = value_at(c, s->in[1], 0, 0);
    for (ExpertPart e; next_expert(&e, offsets, panels_of(out), &unit0, unit1);) {
        const WeightView *w = &s->weight[2][e.expert * EXPERT_STRIDE];
        const LinearShape shape = {&w->form, w->panels, w->N, w->K, e.panel0, e.panel1, e.slots};
        void *y = value_at(c, s->out, e.slot0, 0);
        const void *x = value_at(c, s->in[0], e.slot0, 0);
        if (e.slots == 0)
            continue;
        if (back)
            step_linear_back(c, s, &shape, y, out, x, in);
        else
            step_linear(c, s, &shape, y, out, x, in, NULL);
    }
}

/* (dy, xs, offsets) */
static void expert_grad_units(const StepContext *c, const Step *s, int64_t unit0, int64_t unit1)
{
    const int64_t N = value_width(c, s->in[0]), K = value_width(c, s->in[1]);
    const int32_t *offsets = value_at(c, s->in[2], 0, 0);
    for (ExpertPart e; next_expert(&e, offsets, panels_of(N), &unit0, unit1);)
        if (e.slots > 0)
            step_weight_grad(c, s,
                             &(GradStep){c->gradients[s->index + e.expert * EXPERT_STRIDE], value_at(c, s->in[0], e.slot0, 0),
                                         value_at(c, s->in[1], e.slot0, 0), N, K, K, e.slots, e.panel0 * PANEL_ROWS,
                                         min64(e.panel1 * PANEL_ROWS, N)});
}

static void combine_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const int64_t d = value_width(c, s->out);
    c->k->mix->combine(value_at(c, s->out, row0, 0), d, value_at(c, s->in[0], 0, 0), d, value_at(c, s->in[1], row0, 0),
                       value_at(c, s->in[2], row0, 0), row1 - row0, value_width(c, s->in[1]), d);
}

/* (ys, slots, weights, dy) → dys, dweights */
static void combine_back_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const int64_t d = value_width(c, s->out);
    void *dweights = s->more[0] >= 0 ? value_at(c, s->more[0], row0, 0) : c->scratch;
    c->k->mix->combine_back(value_at(c, s->out, 0, 0), d, dweights, value_at(c, s->in[0], 0, 0), d,
                            value_at(c, s->in[1], row0, 0), value_at(c, s->in[2], row0, 0),
                            value_at(c, s->in[3], row0, 0), d, row1 - row0, value_width(c, s->in[1]), d);
}

static void route_count_all(const StepContext *c, const Step *s, int64_t unit0, int64_t unit1)
{
    (void)unit0, (void)unit1;
    const int64_t n = value_rows(c, s->in[0]) * value_width(c, s->in[0]);
    const int32_t *chosen = value_at(c, s->in[0], 0, 0);
    for (int64_t i = 0; i < n; i++) {
        void *count = real_at(c, c->gradients[s->index], chosen[i]);
        if (c->k->real_bytes == sizeof(float))
            *(float *)count += 1;
        else
            *(double *)count += 1;
    }
}

StepFn step_of_v4(Op op)
{
    switch (op) {
    case OP_HYPER_EXPAND: return hyper_expand_rows;
    case OP_HYPER_SPLIT: return hyper_split_rows;
    case OP_HYPER_SPLIT_BACK: return hyper_split_back_rows;
    case OP_HYPER_PRE: return hyper_pre_rows;
    case OP_HYPER_PRE_BACK: return hyper_pre_back_rows;
    case OP_HYPER_POST: return hyper_post_rows;
    case OP_HYPER_POST_BACK: return hyper_post_back_rows;
    case OP_COMPRESS: return compress_sequences;
    case OP_COMPRESS_BACK: return compress_back_sequences;
    case OP_INDEX_CHOOSE: return index_choose_rows;
    case OP_ROUTE: return route_rows;
    case OP_ROUTE_BACK: return route_back_sequences;
    case OP_DISPATCH: return dispatch_all;
    case OP_GATHER: return gather_rows;
    case OP_GATHER_BACK: return gather_back_rows;
    case OP_EXPERT_LINEAR:
    case OP_EXPERT_LINEAR_BACK: return expert_linear_units;
    case OP_EXPERT_GRAD: return expert_grad_units;
    case OP_COMBINE: return combine_rows;
    case OP_COMBINE_BACK: return combine_back_rows;
    case OP_ROUTE_COUNT: return route_count_all;
    default: return NULL;
    }
}
