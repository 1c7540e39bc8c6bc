/* Steps of training that every family has: gradients of its layers, the loss, sums into gradient rows. */
#include "backend/steps_internal.h"

#include <string.h>

/* ---- rows -------------------------------------------------------------------------------------- */

static void rmsnorm_back_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const int64_t heads = max64(s->params.heads, 1), d = value_width(c, s->out) / heads;
    c->k->grad->rmsnorm_back(value_at(c, s->out, row0, 0), d, value_or_null(c, s->more[0], row0), d,
                             value_at(c, s->in[0], row0, 0), d, s->weight[2] ? s->weight[2]->vector : NULL,
                             value_at(c, s->in[1], row0, 0), d, (row1 - row0) * heads, d, s->params.eps);
}

/* n consecutive elements from (row, column) on. */
static void silu_back(const StepContext *c, const Step *s, int64_t row, int64_t column, int64_t n)
{
    c->k->grad->silu_mul_back(value_at(c, s->out, row, column), value_at(c, s->more[0], row, column),
                              value_at(c, s->in[0], row, column), value_at(c, s->in[1], row, column),
                              value_at(c, s->in[2], row, column), n, s->params.limit);
}

static void silu_back_columns(const StepContext *c, const Step *s, int64_t panel0, int64_t panel1)
{
    const int64_t column = panel0 * PANEL_ROWS, n = min64(panel1 * PANEL_ROWS, value_width(c, s->out)) - column;
    for (int64_t r = 0; r < value_rows(c, s->out); r++)
        silu_back(c, s, r, column, n);
}

static void silu_back_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    silu_back(c, s, row0, 0, (row1 - row0) * value_width(c, s->out));
}

static void fold_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const int64_t d = value_width(c, s->out);
    for (int64_t r = row0; r < row1; r++) {
        void *y = value_at(c, s->out, r, 0);
        memcpy(y, value_at(c, s->in[0], r, 0), (size_t)d * c->k->real_bytes);
        for (int64_t i = 1; i < s->params.streams; i++)
            c->k->add(y, y, value_at(c, s->in[0], r, i * d), d);
    }
}

/* Logits of the block become their gradients. */
static void cross_entropy_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const int64_t V = value_width(c, s->in[0]), row = c->block0 + row0;
    const int which = s->params.target;
    c->k->grad->cross_entropy(value_at(c, s->in[0], row0, 0), V, row1 - row0, V, c->batch->targets[which] + row,
                              c->batch->target_weights[which] + row, value_at(c, s->out, row0, 0));
}

/* ---- products ---------------------------------------------------------------------------------- */

void step_linear_back(const StepContext *c, const Step *s, const LinearShape *shape, void *dx, int64_t lddx, const void *dy,
                      int64_t lddy)
{
    if (s->bf16)
        c->k->bf16->linear_back(shape, dx, lddx, dy, lddy, c->scratch);
    else
        c->k->grad->linear_back(shape, dx, lddx, dy, lddy, c->scratch);
}

void step_weight_grad(const StepContext *c, const Step *s, const GradStep *g)
{
    if (s->bf16)
        c->k->bf16->weight_grad(g->dw, g->K, g->dy, g->N, g->x, g->ldx, g->M, g->n0, g->n1, g->K, c->scratch);
    else
        c->k->grad->weight_grad(g->dw, g->K, g->dy, g->N, g->x, g->ldx, g->M, g->n0, g->n1, g->K, c->scratch);
}

static void linear_back_columns(const StepContext *c, const Step *s, int64_t panel0, int64_t panel1)
{
    const WeightView *w = s->weight[1];
    const int64_t groups = max64(s->params.groups, 1), N = w->N / groups, per = panels_of(w->K);
    const size_t group_bytes = (size_t)panels_of(N) * form_panel_bytes(&w->form, w->K);
    for (int64_t g = panel0 / per; g < groups && g * per < panel1; g++) {
        const LinearShape shape = {&w->form, (const uint8_t *)w->panels + (size_t)g * group_bytes, N, w->K,
                                   max64(panel0 - g * per, 0), min64(panel1 - g * per, per), value_rows(c, s->in[0])};
        step_linear_back(c, s, &shape, value_at(c, s->out, 0, g * w->K), groups * w->K, value_at(c, s->in[0], 0, g * N),
                         groups * N);
    }
}

static void linear_grad_columns(const StepContext *c, const Step *s, int64_t panel0, int64_t panel1)
{
    const int64_t groups = max64(s->params.groups, 1), N = value_width(c, s->in[0]), ldx = value_width(c, s->in[1]);
    const int64_t K = ldx / groups, per = N / groups, n0 = panel0 * PANEL_ROWS, n1 = min64(panel1 * PANEL_ROWS, N);
    for (int64_t g = n0 / per; g < groups && g * per < n1; g++)
        step_weight_grad(c, s,
                         &(GradStep){c->gradients[s->index], value_at(c, s->in[0], 0, 0), value_at(c, s->in[1], 0, g * K), N,
                                     K, ldx, value_rows(c, s->in[0]), max64(n0, g * per), min64(n1, (g + 1) * per)});
}

/* ---- sums over rows ---------------------------------------------------------------------------- */

static void column_sum_columns(const StepContext *c, const Step *s, int64_t panel0, int64_t panel1)
{
    const int64_t heads = max64(s->params.heads, 1), width = value_width(c, s->in[0]) / heads;
    const int64_t column = panel0 * PANEL_ROWS, n = min64(panel1 * PANEL_ROWS, width) - column;
    const int64_t rows = value_rows(c, s->in[0]) * heads, modulus = s->params.modulus;
    const void *x = value_at(c, s->in[0], 0, column);
    void *sum = c->gradients[s->index];
    if (modulus == 0) {
        c->k->grad->column_sum(real_at(c, sum, column), x, width, rows, n);
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        c->k->grad->column_sum(real_at(c, sum, c->batch->positions[r] % modulus * width + column),
                               real_at(c, x, r * width), width, 1, n);
}

static void embed_grad_columns(const StepContext *c, const Step *s, int64_t panel0, int64_t panel1)
{
    const int64_t d = value_width(c, s->in[0]);
    c->k->grad->embed_back(c->gradients[s->index], d, value_at(c, s->in[0], 0, 0), d, batch_ids(c, s),
                           value_rows(c, s->in[0]), panel0 * PANEL_ROWS, min64(panel1 * PANEL_ROWS, d));
}

/* ---- attention --------------------------------------------------------------------------------- */

static void clear(const StepContext *c, ValueId v, int64_t row, int64_t rows, int64_t column, int64_t columns)
{
    for (int64_t r = 0; v >= 0 && r < rows; r++)
        memset(value_at(c, v, row + r, column), 0, (size_t)columns * c->k->real_bytes);
}

/* One sequence, and `heads` query heads from number `head` on of key/value head h; their gradients of the keys go to part
 * `lane` of the results. */
static void attention_back_lane(const StepContext *c, const Step *s, const BatchSequence *q, int64_t h, int64_t lane,
                                int64_t head, int64_t heads)
{
    const OpParams *p = &s->params;
    const AttentionStep step = {s->in[0], s->in[2], s->in[3], s->part[1], s->part[6], s->weight[5], s->in[7], p};
    const AttentionArgs forward = attention_args(c, &step, q, h, head, heads, q->row0, q->row0 + q->rows);
    const int64_t d = p->head_dim, column = (h * p->lanes + lane) * d;
    const int64_t entry0 = p->tokens ? q->row0 / p->tokens : 0;
    const ValueId dk = s->more[0], dv = s->more[1], de = s->more[2], ds = s->more[3];
    clear(c, dk, q->row0, q->rows, column, d);
    clear(c, dv, q->row0, q->rows, column, d);
    if (de >= 0)
        clear(c, de, entry0, q->rows / p->tokens, column, d);
    const AttentionBackArgs a = {
        .forward = &forward,
        .dout = value_at(c, s->in[4], q->row0, head * d),
        .ld_dout = value_width(c, s->in[4]),
        .dq = value_at(c, s->out, q->row0, head * d),
        .ld_dq = value_width(c, s->out),
        .dk = value_at(c, dk, q->row0, column),
        .dv = value_at(c, dv >= 0 ? dv : dk, q->row0, column),
        .ld_dk = value_width(c, dk),
        .ld_dv = value_width(c, dk),
        .dentries = de >= 0 ? value_at(c, de, entry0, column) : NULL,
        .ld_de = value_width(c, de),
        .dsinks = ds >= 0 ? value_at(c, ds, q->row0, head) : NULL,
        .ld_ds = value_width(c, ds),
    };
    c->k->grad->attention_back(&a, c->scratch);
}

static void attention_back_units(const StepContext *c, const Step *s, int64_t unit0, int64_t unit1)
{
    const OpParams *p = &s->params;
    const int64_t width = p->kv_heads * p->lanes, group = p->heads / p->kv_heads, heads = group / p->lanes;
    for (int64_t u = unit0; u < unit1; u++) {
        const int64_t h = u % width / p->lanes, lane = u % p->lanes;
        attention_back_lane(c, s, &c->batch->sequences[u / width], h, lane, h * group + lane * heads, heads);
    }
}

StepFn step_of_training(Op op, Split split)
{
    switch (op) {
    case OP_RMSNORM_BACK: return rmsnorm_back_rows;
    case OP_SILU_MUL_BACK: return split == SPLIT_COLUMNS ? silu_back_columns : silu_back_rows;
    case OP_FOLD: return fold_rows;
    case OP_CROSS_ENTROPY: return cross_entropy_rows;
    case OP_LINEAR_BACK: return linear_back_columns;
    case OP_LINEAR_GRAD: return linear_grad_columns;
    case OP_COLUMN_SUM: return column_sum_columns;
    case OP_EMBED_GRAD: return embed_grad_columns;
    case OP_ATTENTION_BACK: return attention_back_units;
    default: return NULL;
    }
}
