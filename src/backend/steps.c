/* The steps: from units of a chain to kernel calls. One function an op and split; each computes its
 * pointers and calls a kernel. Nothing here adds numbers. */
#include "backend/steps_internal.h"

#include <math.h>
#include <string.h>

/* ---- addresses --------------------------------------------------------------------------------- */

size_t quant_rows_bytes(int64_t rows, int64_t width)
{
    return (size_t)rows * (size_t)(width + width / 32 * 4 + width / 16 * 4);
}

/* The three arrays of a quantised value, from row `row` on; laid out for the rows of the bucket. */
static QuantRows quant_at(const StepContext *c, ValueId v, int64_t row)
{
    const Value *value = &c->program->values[v];
    const int64_t rows = bucket_rows(&c->program->p, &value->rows), K = value->width;
    uint8_t *q = c->arena + value->offset;
    uint8_t *d = q + rows * K;
    uint8_t *sum = d + rows * (K / 32) * 4;
    return (QuantRows){(int8_t *)q + row * K, (float *)d + row * (K / 32), (int32_t *)sum + row * (K / 16)};
}

/* ---- rows -------------------------------------------------------------------------------------- */

static void embed_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const WeightView *w = s->weight[0];
    const int32_t *ids = batch_ids(c, s);
    const size_t row_bytes = dtype_row_bytes(w->stored_type, w->K);
    for (int64_t r = row0; r < row1; r++) {
        const void *src = (const uint8_t *)w->stored + (size_t)ids[r] * row_bytes;
        void *dst = value_at(c, s->out, r, 0);
        if (c->k->real_bytes == 4)
            dtype_decode_f32(w->stored_type, dst, src, w->K);
        else
            dtype_decode_f64(w->stored_type, dst, src, w->K);
    }
}

/* Angle and result are rounded to float, as the reference library's tables are. */
static void rope_table_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const int64_t half = value_width(c, s->out) / 2;
    for (int64_t r = row0; r < row1; r++) {
        float *table = (float *)value_at(c, s->out, 0, 0) + r * 2 * half;
        for (int64_t i = 0; i < half; i++) {
            const float angle = (float)c->batch->positions[r] * s->constant[i];
            table[i] = (float)cos((double)angle) * (float)s->params.scale;
            table[half + i] = (float)sin((double)angle) * (float)s->params.scale;
        }
    }
}

static void rmsnorm_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const int64_t heads = max64(s->params.heads, 1), d = value_width(c, s->out) / heads;
    c->k->rmsnorm_rows(value_at(c, s->out, row0, 0), d, value_at(c, s->in[0], row0, 0), d,
                       s->weight[1] ? s->weight[1]->vector : NULL, (row1 - row0) * heads, d, s->params.eps);
}

static void quantise_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const int64_t K = value_width(c, s->in[0]);
    const QuantRows out = quant_at(c, s->out, row0);
    c->k->quantise_rows(&out, value_at(c, s->in[0], row0, 0), K, row1 - row0, K);
}

static void round_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const int64_t K = value_width(c, s->in[0]);
    c->k->bf16->round_rows(value_at(c, s->out, row0, 0), K, value_at(c, s->in[0], row0, 0), K, row1 - row0, K);
}

static void round_columns(const StepContext *c, const Step *s, int64_t panel0, int64_t panel1)
{
    const int64_t K = value_width(c, s->in[0]), column = panel0 * PANEL_ROWS;
    c->k->bf16->round_rows(value_at(c, s->out, 0, column), K, value_at(c, s->in[0], 0, column), K, value_rows(c, s->out),
                           min64(panel1 * PANEL_ROWS, K) - column);
}

static void select_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const size_t bytes = (size_t)value_width(c, s->out) * c->k->real_bytes;
    for (int64_t r = row0; r < row1; r++)
        memcpy(value_at(c, s->out, r, 0), value_at(c, s->in[0], c->batch->logit_rows[r], 0), bytes);
}

/* ---- heads ------------------------------------------------------------------------------------- */

/* The angles of row r, turned round for the inverse. */
static const float *rope_angles(const StepContext *c, const Step *s, int64_t r, int64_t rot)
{
    const float *table = (const float *)value_at(c, s->in[1], 0, 0) + r * rot;
    if (!s->params.inverse)
        return table;
    float *turned = c->scratch;
    for (int64_t i = 0; i < rot; i++)
        turned[i] = i < rot / 2 ? table[i] : -table[i];
    return turned;
}

/* Rotate heads h0 … h1−1 of rows r0 … r1−1 into the output. */
static void rope_block(const StepContext *c, const Step *s, int64_t r0, int64_t r1, int64_t h0, int64_t h1)
{
    const OpParams *p = &s->params;
    const int64_t ld = value_width(c, s->out), column = h0 * p->head_dim, rot = value_width(c, s->in[1]);
    const size_t bytes = (size_t)((h1 - h0) * p->head_dim) * c->k->real_bytes;
    const int32_t only = 0;
    for (int64_t r = r0; r < r1; r++) {
        void *x = value_at(c, s->out, r, column);
        memcpy(x, value_at(c, s->in[0], r, column), bytes);
        c->k->rope_rows(real_at(c, x, p->offset), ld, &only, rope_angles(c, s, r, rot), 1, h1 - h0, p->head_dim, rot,
                        p->interleaved);
    }
}

static void rope_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    rope_block(c, s, row0, row1, 0, s->params.heads);
}

static void rope_heads(const StepContext *c, const Step *s, int64_t head0, int64_t head1)
{
    const int64_t group = s->params.heads / s->params.kv_heads;
    rope_block(c, s, 0, c->batch->rows, head0 * group, head1 * group);
}

/* Rows r0 … r1−1 of one page for the heads h0 … h1−1. */
static void write_page(const StepContext *c, const Step *s, void *page, int64_t entry, int64_t r0, int64_t rows, int64_t h0,
                       int64_t h1)
{
    const StateLayout layout = layout_of(c, s->part[0]);
    const int64_t ld = value_width(c, s->in[1]), d = c->program->p.parts[s->part[0]].head_dim;
    const ValueId values = s->in[2] >= 0 ? s->in[2] : s->in[1];
    const bool alone = c->program->p.parts[s->part[0]].kind == STATE_KEYS;
    for (int64_t h = h0; h < h1; h++) {
        const size_t keys = (size_t)h * layout.head_bytes;
        c->k->kv_write(page, keys, keys + layout.value_offset, layout.type, entry, rows, value_at(c, s->in[1], r0, h * d),
                       ld, alone ? NULL : value_at(c, values, r0, h * d), ld, d);
    }
}

/* Write rows r0 … r1−1, all of sequence q, for the heads h0 … h1−1; cut where pages end. */
static void write_block(const StepContext *c, const Step *s, const BatchSequence *q, int64_t r0, int64_t r1,
                        int64_t h0, int64_t h1)
{
    const int32_t part = s->part[0];
    const bool plain = c->program->p.parts[part].kind == STATE_ROWS;
    while (r0 < r1) {
        const int64_t position = q->past + (r0 - q->row0), entry = position % ATTENTION_PAGE;
        const int64_t rows = min64(ATTENTION_PAGE - entry, r1 - r0);
        if (plain)
            memcpy(state_row(c, q, part, position), value_at(c, s->in[1], r0, 0),
                   (size_t)(rows * value_width(c, s->in[1])) * c->k->real_bytes);
        else
            write_page(c, s, q->part_pages[part][position / ATTENTION_PAGE], entry, r0, rows, h0, h1);
        r0 += rows;
    }
}

static void write_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    const int64_t heads = c->program->p.parts[s->part[0]].kv_heads;
    for (int64_t i = 0; i < c->batch->sequence_count; i++) {
        const BatchSequence *q = &c->batch->sequences[i];
        write_block(c, s, q, max64(row0, q->row0), min64(row1, q->row0 + q->rows), 0, heads);
    }
}

static void write_heads(const StepContext *c, const Step *s, int64_t head0, int64_t head1)
{
    for (int64_t i = 0; i < c->batch->sequence_count; i++) {
        const BatchSequence *q = &c->batch->sequences[i];
        write_block(c, s, q, q->row0, q->row0 + q->rows, head0, head1);
    }
}

AttentionArgs attention_args(const StepContext *c, const AttentionStep *a, const BatchSequence *q, int64_t h, int64_t head,
                             int64_t heads, int64_t r0, int64_t r1)
{
    const OpParams *p = a->p;
    const StateLayout layout = layout_of(c, a->part);
    AttentionArgs args = {
        .pages = (const void *const *)q->part_pages[a->part],
        .key_offset = (size_t)h * layout.head_bytes,
        .value_offset = (size_t)h * layout.head_bytes + layout.value_offset,
        .kv_type = layout.type,
        .head_dim = p->head_dim,
        .group = heads,
        .q = value_at(c, a->q, r0, head * p->head_dim),
        .out = value_at(c, a->out, r0, head * p->head_dim),
        .ld_q = value_width(c, a->q),
        .ld_out = value_width(c, a->out),
        .rows = r1 - r0,
        .position = q->past + (r0 - q->row0),
        .window = p->window,
        .scale = p->scale,
        .sinks = a->sinks ? real_at(c, a->sinks->vector, head) : NULL,
        .lse = a->lse >= 0 ? value_at(c, a->lse, r0, head) : NULL,
        .ld_lse = value_width(c, a->lse),
    };
    if (a->entries >= 0) {
        args.entry_pages = (const void *const *)q->part_pages[a->entries];
        args.entry_value_offset = layout_of(c, a->entries).value_offset;
        args.entry_tokens = p->tokens;
        args.chosen = a->chosen >= 0 ? value_at(c, a->chosen, r0, 0) : NULL;
        args.chosen_count = value_width(c, a->chosen);
    }
    return args;
}

/* Attention of rows r0 … r1−1 over key/value head h. */
static void attend_block(const StepContext *c, const Step *s, int64_t h, int64_t r0, int64_t r1)
{
    const AttentionStep a = {s->in[0], s->out, s->more[0], s->part[1], s->part[3], s->weight[2], s->in[4], &s->params};
    const int64_t group = s->params.heads / s->params.kv_heads;
    for (int64_t i = 0; i < c->batch->sequence_count; i++) {
        const BatchSequence *q = &c->batch->sequences[i];
        const int64_t from = max64(r0, q->row0), to = min64(r1, q->row0 + q->rows);
        if (from >= to)
            continue;
        const AttentionArgs args = attention_args(c, &a, q, h, h * group, group, from, to);
        c->k->attention(&args, c->scratch);
    }
}

static void attend_heads(const StepContext *c, const Step *s, int64_t head0, int64_t head1)
{
    for (int64_t h = head0; h < head1; h++)
        attend_block(c, s, h, 0, c->batch->rows);
}

/* Units: blocks of rows of head 0, then of head 1, … */
static void attend_head_rows(const StepContext *c, const Step *s, int64_t unit0, int64_t unit1)
{
    const int64_t rows = c->batch->rows, blocks = (rows + HEAD_ROWS_BLOCK - 1) / HEAD_ROWS_BLOCK;
    for (int64_t u = unit0; u < unit1; u++) {
        const int64_t row0 = u % blocks * HEAD_ROWS_BLOCK;
        attend_block(c, s, u / blocks, row0, min64(row0 + HEAD_ROWS_BLOCK, rows));
    }
}

/* ---- columns ----------------------------------------------------------------------------------- */

void step_linear(const StepContext *c, const Step *s, const LinearShape *shape, void *y, int64_t ldy, const void *x,
                 int64_t ldx, const void *bias)
{
    if (s->bf16)
        c->k->bf16->linear(shape, y, ldy, x, ldx, bias, c->scratch);
    else
        c->k->linear(shape, y, ldy, x, ldx, bias, c->scratch);
}

static LinearShape linear_shape(const StepContext *c, const Step *s, int64_t panel0, int64_t panel1)
{
    const WeightView *w = s->weight[1];
    return (LinearShape){&w->form, w->panels, w->N, w->K, panel0, panel1, value_rows(c, s->out)};
}

static const void *bias_of(const Step *s)
{
    return s->weight[2] ? s->weight[2]->vector : NULL;
}

/* Each group of the weight's rows multiplies its own part of x. */
static void linear_groups(const StepContext *c, const Step *s, int64_t panel0, int64_t panel1)
{
    const int64_t groups = s->params.groups, N = s->weight[1]->N / groups, per = panels_of(N);
    LinearShape shape = linear_shape(c, s, 0, 0);
    const size_t group_bytes = (size_t)per * form_panel_bytes(shape.form, shape.K);
    shape.N = N;
    for (int64_t g = panel0 / per; g < groups && g * per < panel1; g++) {
        shape.panels = (const uint8_t *)s->weight[1]->panels + (size_t)g * group_bytes;
        shape.panel0 = max64(panel0 - g * per, 0);
        shape.panel1 = min64(panel1 - g * per, per);
        step_linear(c, s, &shape, value_at(c, s->out, 0, g * N), groups * N, value_at(c, s->in[0], 0, g * shape.K),
                    groups * shape.K, NULL);
    }
}

static void linear_columns(const StepContext *c, const Step *s, int64_t panel0, int64_t panel1)
{
    const LinearShape shape = linear_shape(c, s, panel0, panel1);
    if (s->params.groups > 1)
        linear_groups(c, s, panel0, panel1);
    else
        step_linear(c, s, &shape, value_at(c, s->out, 0, 0), shape.N, value_at(c, s->in[0], 0, 0), shape.K, bias_of(s));
}

static void linear_int8_columns(const StepContext *c, const Step *s, int64_t panel0, int64_t panel1)
{
    const LinearShape shape = linear_shape(c, s, panel0, panel1);
    const QuantRows x = quant_at(c, s->in[0], 0);
    c->k->linear_int8(&shape, value_at(c, s->out, 0, 0), shape.N, &x, bias_of(s), c->scratch);
}

/* n consecutive elements from (row, column) on. */
static void elements(const StepContext *c, const Step *s, int64_t row, int64_t column, int64_t n)
{
    void *y = value_at(c, s->out, row, column);
    const void *a = value_at(c, s->in[0], row, column), *b = value_at(c, s->in[1], row, column);
    if (s->op == OP_ADD)
        c->k->add(y, a, b, n);
    else
        c->k->silu_mul(y, a, b, n, s->params.limit);
}

static void element_columns(const StepContext *c, const Step *s, int64_t panel0, int64_t panel1)
{
    const int64_t width = value_width(c, s->out), column = panel0 * PANEL_ROWS;
    const int64_t n = min64(panel1 * PANEL_ROWS, width) - column;
    const int64_t rows = value_rows(c, s->out);
    for (int64_t r = 0; r < rows; r++)
        elements(c, s, r, column, n);
}

static void element_rows(const StepContext *c, const Step *s, int64_t row0, int64_t row1)
{
    elements(c, s, row0, 0, (row1 - row0) * value_width(c, s->out));
}

/* ---- the table --------------------------------------------------------------------------------- */

StepFn step_quantise(void)
{
    return quantise_rows;
}

StepFn step_round(Split split)
{
    return split == SPLIT_COLUMNS ? round_columns : round_rows;
}

StepFn step_function(Op op, Split split, bool int8)
{
    switch (op) {
    case OP_EMBED: return embed_rows;
    case OP_ROPE_TABLE: return rope_table_rows;
    case OP_RMSNORM: return rmsnorm_rows;
    case OP_SELECT_ROWS: return select_rows;
    case OP_LINEAR: return int8 ? linear_int8_columns : linear_columns;
    case OP_ROPE: return split == SPLIT_HEADS ? rope_heads : rope_rows;
    case OP_STATE_WRITE: return split == SPLIT_HEADS ? write_heads : write_rows;
    case OP_ATTENTION: return split == SPLIT_HEADS ? attend_heads : attend_head_rows;
    case OP_SILU_MUL:
    case OP_ADD: return split == SPLIT_COLUMNS ? element_columns : element_rows;
    default: {
        const StepFn training = step_of_training(op, split);
        return training ? training : step_of_v4(op);
    }
    }
}

StateLayout state_layout(const StatePart *part, Dtype type)
{
    const int64_t pad = panels_of(part->head_dim) * PANEL_ROWS;
    if (part->kind == STATE_ROWS) { /* sums in progress: never halves */
        const Dtype real = type == DT_F64 ? DT_F64 : DT_F32;
        const size_t row = (size_t)part->head_dim * dtype_row_bytes(real, 1);
        return (StateLayout){real, part->head_dim, row * ATTENTION_PAGE, row * ATTENTION_PAGE, 0};
    }
    const size_t element = dtype_row_bytes(type, 1);
    const size_t keys = (size_t)(part->head_dim * ATTENTION_PAGE) * element;
    const size_t values = part->kind == STATE_KEYS ? 0 : (size_t)(ATTENTION_PAGE * pad) * element;
    const size_t head = keys + values;
    return (StateLayout){type, pad, head, head * (size_t)part->kv_heads, keys};
}
