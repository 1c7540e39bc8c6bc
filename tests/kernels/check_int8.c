/* The int8 mode at every level: quantise_rows and linear_int8 on hostile codes, scales and rows.
 *
 * The scalar level is held against plain double sums: over codes taken from the panel as forms.h lays
 * them out, and over dtype_decode_f32 of stored rows, which knows nothing of panels. Every other level
 * must give the scalar bits; and at every level a row alone has the bits it has in the batch, and a
 * range of panels those of the whole. */
#include "check.h"

/* ---- quantise_rows ---- */

typedef struct {
    Guarded q, d, sum;
} Quantised;

static Quantised quantised(int64_t M, int64_t K)
{
    return (Quantised){guarded((size_t)(M * K)), guarded((size_t)(M * (K / 32)) * sizeof(float)),
                       guarded((size_t)(M * (K / 16)) * sizeof(int32_t))};
}

static QuantRows rows_of(const Quantised *x)
{
    return (QuantRows){(int8_t *)x->q.p, (float *)x->d.p, (int32_t *)x->sum.p};
}

static void quantised_free(Run *run, Quantised *x)
{
    if (!GUARDED_FREE(&x->q, &x->d, &x->sum))
        failed(run, "wrote in front of quantised rows");
}

/* One block against the contract, in double. */
static void compare_block(Run *run, const float *x, const int8_t *q, float d, const int32_t *sum)
{
    double max = 0;
    int32_t sums[2] = {0, 0};
    bool finite = true, good = true;
    for (int i = 0; i < 32; i++) {
        finite = finite && isfinite(x[i]);
        max = fmax(max, fabs((double)x[i]));
        sums[i / 16] += q[i];
    }
    good = sum[0] == sums[0] && sum[1] == sums[1];
    if (!finite) {
        for (int i = 0; i < 32; i++)
            good = good && q[i] == 0;
        if (!good || !isnan(d))
            failed(run, "a block that is not finite became d = %g", (double)d);
        return;
    }
    good = good && d == (float)(max / 127);
    for (int i = 0; i < 32; i++) {
        const double r = d > 0 ? (double)x[i] / (double)d : 0;
        const double to = r > 127 ? 127 : r < -127 ? -127 : r;
        good = good && fabs(q[i] - to) <= 0.5 * (1 + 0x1p-15);
    }
    if (!good)
        failed(run, "a block with maximum %g became d = %g and other numbers", max, (double)d);
}

static void check_quantise(Run *run, InputKind kind, int64_t M, int64_t K)
{
    const int64_t ldx = K + 5;
    Guarded x = guarded((size_t)(M > 0 ? (M - 1) * ldx + K : 0) * sizeof(float));
    Quantised a = quantised(M, K), b = quantised(M, K);
    const QuantRows out = rows_of(&a), twin = rows_of(&b);
    float *const v = (float *)x.p;
    for (int64_t m = 0; m < M; m++)
        for (int64_t k = 0; k < K; k++)
            v[m * ldx + k] = random_float(run, kind);
    run->level.k->quantise_rows(&out, v, ldx, M, K);
    run->scalar->quantise_rows(&twin, v, ldx, M, K);
    run->cases++;
    for (int64_t m = 0; m < M; m++)
        for (int64_t i = 0; i < K / 32; i++)
            compare_block(run, v + m * ldx + 32 * i, out.q + m * K + 32 * i, out.d[m * (K / 32) + i],
                          out.sum + m * (K / 16) + 2 * i);
    bool same = memcmp(out.q, twin.q, (size_t)(M * K)) == 0;
    for (int64_t i = 0; i < M * (K / 32); i++)
        same = same && same_float(out.d[i], twin.d[i]);
    if (!same)
        failed(run, "%s M %d K %d: not the scalar bits", input_names[kind], (int)M, (int)K);
    if (!guarded_free(&x))
        failed(run, "wrote to x");
    quantised_free(run, &a);
    quantised_free(run, &b);
}

static void quantise_rows_of_all_kinds(Run *run)
{
    static const int64_t lengths[] = {0, 32, 64, 96, 576, 1536};
    if (!run->level.k->quantise_rows)
        return;
    for (int kind = 0; kind < IN_COUNT; kind++)
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
            for (int64_t M = 0; M < (run->quick ? 4 : 18); M++)
                check_quantise(run, (InputKind)kind, M, lengths[i]);
}

/* With a maximum of 127 d is 1 and q is x rounded; ties go to the even neighbour. A denormal d rounds
 * up to leave quotients above 127, which must not wrap around. */
static void quantise_rows_rounds_ties_to_even(Run *run)
{
    static const struct {
        float x, unit;
        int8_t q;
    } cases[] = {
        {0.5f, 1, 0},     {1.5f, 1, 2},     {2.5f, 1, 2},     {-0.5f, 1, 0},    {-1.5f, 1, -2},
        {-2.5f, 1, -2},   {125.5f, 1, 126}, {126.5f, 1, 126}, {-126.5f, 1, -126}, {-127, 1, -127},
        {126.49f, 1, 126}, {0.49999997f, 1, 0}, {190, 0x1p-149f, 127}, {-190, 0x1p-149f, -127},
    };
    if (!run->level.k->quantise_rows)
        return;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++)
        for (int at = 1; at < 32; at++) {
            float x[32] = {cases[c].unit == 1 ? 127 : 190 * cases[c].unit};
            int8_t q[32];
            float d[1];
            int32_t sum[2];
            const QuantRows out = {q, d, sum};
            x[at] = cases[c].x * cases[c].unit;
            run->level.k->quantise_rows(&out, x, 32, 1, 32);
            run->cases++;
            if (q[at] != cases[c].q || q[0] != 127 || d[0] != cases[c].unit)
                failed(run, "%g became %d times %g", (double)x[at], q[at], (double)d[0]);
        }
}

/* ---- linear_int8 ---- */

typedef enum { CODES_RANDOM, CODES_ZERO, CODES_MOST, CODES_ENDS, CODES_COUNT } CodesIn;
typedef enum { ROWS_RANDOM, ROWS_MOST, ROWS_LEAST, ROWS_ENDS, ROWS_ZERO, ROWS_COUNT } RowsIn;

typedef struct {
    PackForm form;
    int64_t N, K, M;
    int code_most; /* largest code, 15 for Q4 */
    CodesIn codes;
    RowsIn rows;
    InputKind scales; /* of weights and rows */
    bool bias;
} Shape;

typedef struct {
    Shape shape;
    Guarded panels;
    Quantised x;
    float *bias;
} Operands;

static const PackForm forms[] = {
    {FORM_Q4, 32, 2, 8, false},  {FORM_Q4, 32, 2, 0, true},    {FORM_Q4, 16, 4, 4, false},
    {FORM_Q4, 16, 4, 0, true},   {FORM_Q4, 32, 4, 0, true},    {FORM_Q4, 16, 2, 8, false},
    {FORM_Q8, 32, 2, 128, false}, {FORM_Q8, 32, 2, 16, false}, {FORM_Q8, 32, 2, 0, true},
    {FORM_Q8, 16, 4, 32, false}, {FORM_Q8, 32, 4, 0, true},    {FORM_Q8, 16, 2, 128, false},
    {FORM_Q8, 16, 4, 0, true},   {FORM_Q8, 32, 4, 0, false},
};
#define FORMS ((int)(sizeof forms / sizeof forms[0]))

static uint8_t random_code(Run *run, const Shape *s)
{
    switch (s->codes) {
    case CODES_ZERO:
        return 0;
    case CODES_MOST:
        return (uint8_t)s->code_most;
    case CODES_ENDS:
        return random_below(run, 2) ? (uint8_t)s->code_most : 0;
    default:
        return (uint8_t)random_below(run, s->code_most + 1);
    }
}

static int8_t random_q(Run *run, RowsIn kind)
{
    switch (kind) {
    case ROWS_MOST:
        return 127;
    case ROWS_LEAST:
        return -127;
    case ROWS_ENDS:
        return random_below(run, 2) ? 127 : -127;
    case ROWS_ZERO:
        return 0;
    default:
        return (int8_t)(random_below(run, 255) - 127);
    }
}

static void put_scale(const PackForm *f, uint8_t *p, float x)
{
    const uint16_t half = f32_to_f16(x);
    if (f->scale_bytes == 2)
        memcpy(p, &half, sizeof half);
    else
        memcpy(p, &x, sizeof x);
}

/* Panels as forms.h lays them out; rows from N on have scale, minimum and codes 0. */
static void fill_panel(Run *run, const Shape *s, uint8_t *panel, int64_t n0)
{
    const PackForm *const f = &s->form;
    const size_t scales = (size_t)PANEL_ROWS * f->scale_bytes;
    memset(panel, 0, form_panel_bytes(f, s->K));
    for (int64_t b = 0; b < s->K / f->block; b++, panel += form_block_bytes(f)) {
        uint8_t *const codes = panel + (f->has_min ? 2 : 1) * scales;
        for (int lane = 0; lane < PANEL_ROWS && n0 + lane < s->N; lane++) {
            put_scale(f, panel + f->scale_bytes * lane, random_float(run, s->scales));
            if (f->has_min)
                put_scale(f, panel + scales + f->scale_bytes * lane, random_float(run, s->scales));
            for (int k = 0; k < f->block; k++) {
                const uint8_t code = random_code(run, s);
                if (f->kind == FORM_Q8)
                    codes[64 * (k / 4) + 4 * lane + k % 4] = code;
                else
                    codes[64 * (k / 8) + 4 * lane + k % 4] |= (uint8_t)(code << (k / 4 % 2 ? 4 : 0));
            }
        }
    }
}

static Operands operands(Run *run, const Shape *s)
{
    Operands o = {.shape = *s,
                  .panels = guarded(form_bytes(&s->form, s->N, s->K)),
                  .x = quantised(s->M, s->K),
                  .bias = random_floats(run, s->scales, s->N)};
    const QuantRows x = rows_of(&o.x);
    for (int64_t p = 0; p * PANEL_ROWS < s->N; p++)
        fill_panel(run, s, o.panels.p + form_panel_bytes(&s->form, s->K) * (size_t)p, p * PANEL_ROWS);
    for (int64_t i = 0; i < s->M * s->K / 16; i++) {
        x.sum[i] = 0;
        for (int k = 0; k < 16; k++)
            x.sum[i] += x.q[16 * i + k] = random_q(run, s->rows);
    }
    for (int64_t i = 0; i < s->M * (s->K / 32); i++)
        x.d[i] = fabsf(random_float(run, s->scales));
    return o;
}

static void operands_free(Run *run, Operands *o)
{
    if (!guarded_free(&o->panels))
        failed(run, "wrote in front of the panels");
    quantised_free(run, &o->x);
    mem_free(o->bias);
}

static void product(Run *run, const Kernels *k, const Operands *o, float *y, int64_t ldy, int64_t row0,
                    int64_t M, int64_t p0, int64_t p1)
{
    const Shape *const s = &o->shape;
    const LinearShape shape = {&s->form, o->panels.p, s->N, s->K, p0, p1, M};
    const QuantRows all = rows_of(&o->x);
    const QuantRows x = {all.q + row0 * s->K, all.d + row0 * (s->K / 32), all.sum + row0 * (s->K / 16)};
    k->linear_int8(&shape, y, ldy, &x, s->bias ? o->bias : NULL, run->scratch.p);
}

static void describe(Run *run, const Shape *s, const char *what, int64_t row, int64_t column)
{
    failed(run, "Q%d block %d zero %d%s N %d K %d M %d, codes %d to %d, rows %d, scales %s: %s at row %d,"
           " column %d", s->form.kind == FORM_Q4 ? 4 : 8, s->form.block, s->form.zero,
           s->form.has_min ? " min" : "", (int)s->N, (int)s->K, (int)s->M, (int)s->codes, s->code_most,
           (int)s->rows, input_names[s->scales], what, (int)row, (int)column);
}

static int64_t panels_of(const Shape *s)
{
    return (s->N + PANEL_ROWS - 1) / PANEL_ROWS;
}

static Guarded whole(Run *run, const Kernels *k, const Operands *o)
{
    const Shape *const s = &o->shape;
    const int64_t ld = s->N + 2;
    Guarded y = guarded((size_t)(s->M * ld) * sizeof(float));
    product(run, k, o, (float *)y.p, ld, 0, s->M, 0, panels_of(s));
    for (int64_t m = 0; m < s->M; m++)
        if (!is_canary((float *)y.p + m * ld + s->N, 2 * sizeof(float)))
            describe(run, s, "wrote behind the columns", m, s->N);
    return y;
}

static double scale_at(const PackForm *f, const uint8_t *p)
{
    uint16_t half;
    float x;
    memcpy(&half, p, sizeof half);
    if (f->scale_bytes == 2)
        return (double)f16_to_f32(half);
    memcpy(&x, p, sizeof x);
    return (double)x;
}

/* Σ over blocks of scale·d·(Σ code·q − zero·Σ q) + min·d·Σ q, in double, and the size of its terms:
 * infinite where floats overflow. */
static double exact(const Operands *o, int64_t m, int64_t n, double *size)
{
    const Shape *const s = &o->shape;
    const PackForm *const f = &s->form;
    const QuantRows x = rows_of(&o->x);
    const size_t scales = (size_t)PANEL_ROWS * f->scale_bytes, lane = (size_t)(n % PANEL_ROWS);
    const uint8_t *block = o->panels.p + form_panel_bytes(f, s->K) * (size_t)(n / PANEL_ROWS);
    double sum = 0;
    *size = 0;
    for (int64_t b = 0; b < s->K / f->block; b++, block += form_block_bytes(f)) {
        const uint8_t *const codes = block + (f->has_min ? 2 : 1) * scales + 4 * lane;
        const double d = (double)x.d[m * (s->K / 32) + b * f->block / 32];
        const double scale = scale_at(f, block + f->scale_bytes * lane) * d;
        const double min = f->has_min ? scale_at(f, block + scales + f->scale_bytes * lane) * d : 0;
        int dot = 0, q_sum = 0;
        for (int k = 0; k < f->block; k++) {
            const int q = x.q[m * s->K + b * f->block + k];
            const int code = f->kind == FORM_Q8 ? codes[64 * (k / 4) + k % 4]
                                                : codes[64 * (k / 8) + k % 4] >> (k / 4 % 2 ? 4 : 0) & 15;
            dot += (code - f->zero) * q;
            q_sum += q;
        }
        sum += scale * dot + min * q_sum;
        *size += fabs(scale * dot) + fabs(min * q_sum);
        if (fabs(scale) > 1e36 || fabs(min) > 1e36) /* infinite in float, whatever it multiplies */
            *size = HUGE_VAL;
    }
    return sum;
}

static void compare_exact(Run *run, const Operands *o, const float *y)
{
    const Shape *const s = &o->shape;
    for (int64_t m = 0; m < s->M; m++)
        for (int64_t n = 0; n < s->N; n++) {
            double size, sum = exact(o, m, n, &size);
            if (s->bias)
                sum += (double)o->bias[n];
            size += s->bias ? fabs((double)o->bias[n]) : 0;
            /* a product of scales may be denormal, and is then multiplied by an integer below 2^20 */
            const double blocks = (double)(s->K / s->form.block), tiny = 0x1p-149 * 0x1p20;
            const double allowed = (2 * blocks + 4) * (0x1p-24 * size + tiny);
            if (size < 1e36 && !(fabs((double)y[m * (s->N + 2) + n] - sum) <= allowed))
                describe(run, s, "far from the exact sum", m, n);
        }
}

static void compare_rows(Run *run, const Shape *s, const char *what, const float *a, const float *b)
{
    const int64_t ld = s->N + 2;
    for (int64_t m = 0; m < s->M; m++) {
        const Level scalar = scalar_level(run);
        const int64_t d = first_difference(&scalar, a + m * ld, b + m * ld, s->N);
        if (d >= 0)
            describe(run, s, what, m, d);
    }
}

static void compare_parts(Run *run, const Operands *o, const float *y)
{
    const Shape *const s = &o->shape;
    const Level scalar = scalar_level(run);
    const int64_t ld = s->N + 2;
    for (int i = 0; i < 3 && s->M > 0; i++) {
        const int64_t row = random_below(run, s->M);
        Guarded alone = guarded((size_t)s->N * sizeof(float));
        product(run, run->level.k, o, (float *)alone.p, s->N, row, 1, 0, panels_of(s));
        const int64_t d = first_difference(&scalar, alone.p, y + row * ld, s->N);
        if (d >= 0)
            describe(run, s, "another value when alone", row, d);
        guarded_free(&alone);
    }
    const int64_t cut = random_below(run, panels_of(s) + 1);
    const int64_t edge = cut * PANEL_ROWS < s->N ? cut * PANEL_ROWS : s->N;
    Guarded parts = guarded((size_t)(s->M * ld) * sizeof(float));
    float *const p = (float *)parts.p;
    product(run, run->level.k, o, p, ld, 0, s->M, cut, panels_of(s));
    for (int64_t m = 0; m < s->M; m++)
        if (!is_canary(p + m * ld, (size_t)edge * sizeof(float)))
            describe(run, s, "wrote outside its panels", m, 0);
    product(run, run->level.k, o, p, ld, 0, s->M, 0, cut);
    compare_rows(run, s, "another value in panel ranges", p, y);
    guarded_free(&parts);
}

static void check_shape(Run *run, const Shape *shape)
{
    Operands o = operands(run, shape);
    Guarded y = whole(run, run->level.k, &o);
    run->cases++;
    if (has_twin(run)) {
        Guarded twin = whole(run, run->scalar, &o);
        compare_rows(run, shape, "not the scalar bits", (float *)y.p, (float *)twin.p);
        guarded_free(&twin);
    } else {
        compare_exact(run, &o, (float *)y.p);
    }
    compare_parts(run, &o, (float *)y.p);
    if (!guarded_free(&y))
        describe(run, shape, "wrote in front of y", 0, 0);
    operands_free(run, &o);
}

/* Largest codes of the file types, and those at which a sum of 16 bits would just overflow. */
static int random_code_most(Run *run, const PackForm *f)
{
    static const int most[] = {255, 255, 255, 128, 127, 64, 63, 32, 31, 16, 15, 1};
    return f->kind == FORM_Q4 ? 15 : PICK(run, most);
}

static void int8_rows(Run *run)
{
    if (!run->level.k->linear_int8)
        return;
    for (int f = 0; f < FORMS; f++)
        for (int64_t M = 0; M <= (run->quick ? 9 : 34); M++) {
            const Shape s = {.form = forms[f], /* few rows take several panels */
                             .N = M < 7 ? 150 : M % 3 ? 29 : 49, .K = 96, .M = M, .bias = M % 2,
                             .code_most = random_code_most(run, &forms[f])};
            check_shape(run, &s);
        }
}

static void int8_shapes(Run *run)
{
    static const int64_t lengths[] = {32, 64, 96, 576, 768, 800, 1536, 1568, 3200};
    static const int64_t rows[] = {1, 1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 32, 33, 63, 64, 65, 79, 130};
    static const int64_t columns[] = {1, 15, 16, 17, 31, 33, 80, 150, 208};
    if (!run->level.k->linear_int8)
        return;
    for (int f = 0; f < FORMS; f++)
        for (int i = 0; i < (run->quick ? 6 : 40); i++) {
            Shape s = {.form = forms[f], .N = PICK(run, columns), .K = PICK(run, lengths),
                       .M = PICK(run, rows), .bias = i % 3 == 0,
                       .code_most = random_code_most(run, &forms[f])};
            while (s.N * s.K * s.M > 4000000)
                s.M /= 2;
            check_shape(run, &s);
        }
}

/* Every combination of extreme codes, rows and scales, for few and for many rows. */
static void int8_extremes(Run *run)
{
    static const int64_t rows[] = {1, 3, 17};
    static const int most[] = {255, 63, 31, 15};
    if (!run->level.k->linear_int8)
        return;
    for (int f = 0; f < FORMS; f++)
        for (int i = 0; i < CODES_COUNT * ROWS_COUNT * IN_COUNT; i++) {
            if (run->quick && random_below(run, 8))
                continue;
            Shape s = {.form = forms[f], .N = 18, .K = 96, .M = rows[i % 3],
                       .codes = (CodesIn)(i % CODES_COUNT), .rows = (RowsIn)(i / CODES_COUNT % ROWS_COUNT),
                       .scales = (InputKind)(i / CODES_COUNT / ROWS_COUNT)};
            s.code_most = s.form.kind == FORM_Q4 ? 15 : PICK(run, most);
            check_shape(run, &s);
        }
}

/* The largest sums of each size of codes: where partial sums in 16 bits come nearest to their end, and
 * one code further would pass it. */
static void int8_largest_sums(Run *run)
{
    static const int most[] = {15, 16, 31, 32, 63, 64, 127, 128, 255};
    static const int64_t rows[] = {1, 2, 17};
    if (!run->level.k->linear_int8)
        return;
    for (int f = 0; f < FORMS; f++)
        for (size_t i = 0; i < 3 * sizeof most / sizeof most[0]; i++) {
            Shape s = {.form = forms[f], .N = 16, .K = 64, .M = rows[i % 3], .codes = CODES_MOST,
                       .code_most = forms[f].kind == FORM_Q4 ? 15 : most[i / 3]};
            s.rows = ROWS_MOST;
            check_shape(run, &s);
            s.rows = ROWS_LEAST;
            check_shape(run, &s);
        }
}

/* Longer than what fits the scratch memory at once. */
static void int8_long_rows(Run *run)
{
    if (!run->level.k->linear_int8)
        return;
    for (int f = 0; f < FORMS; f++) {
        const Shape few = {.form = forms[f], .N = 17, .K = 16384 + 64, .M = 3, .code_most = 15};
        const Shape many = {.form = forms[f], .N = 17, .K = 16384 + 96, .M = 19,
                            .code_most = random_code_most(run, &forms[f])};
        check_shape(run, &few);
        if (!run->quick)
            check_shape(run, &many);
    }
}

/* Stored rows of the file types, packed, times integers: with d = 1 nothing is quantised away, and the
 * product is the exact one of the decoded weights. */
static void int8_of_file_types(Run *run)
{
    static const Dtype types[] = {DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q8_0,
                                  DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K};
    enum { N = 21, K = 512, M = 18 };
    float x[K * M], w[K], y[M * N];
    int8_t q[K * M];
    float d[K * M / 32];
    int32_t sum[K * M / 16];
    const QuantRows rows = {q, d, sum};
    if (!run->level.k->linear_int8)
        return;
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        const PackForm f = form_of_dtype(types[t]);
        const size_t row_bytes = dtype_row_bytes(types[t], K), panel_bytes = form_panel_bytes(&f, K);
        uint8_t *const stored = mem_alloc(N * row_bytes, 1), *const panels = mem_alloc(2 * panel_bytes, 1);
        if (!stored || !panels)
            exit(3);
        for (size_t i = 0; i < N * row_bytes; i++) /* no byte that makes a scale infinite */
            stored[i] = (uint8_t)random_u64(run) & 0xBB;
        for (int p = 0; p < 2; p++)
            form_pack_panel(&f, panels + panel_bytes * (size_t)p, types[t], stored, p, N, K);
        for (int i = 0; i < K * M; i++)
            x[i] = i % 32 ? (float)(random_below(run, 255) - 127) : 127;
        run->level.k->quantise_rows(&rows, x, K, M, K);
        const LinearShape s = {&f, panels, N, K, 0, 2, M};
        run->level.k->linear_int8(&s, y, N, &rows, NULL, run->scratch.p);
        run->cases++;
        for (int n = 0; n < N; n++) {
            dtype_decode_f32(types[t], w, stored + row_bytes * (size_t)n, K);
            for (int m = 0; m < M; m++) {
                double exact_sum = 0, size = 0;
                for (int k = 0; k < K; k++) {
                    exact_sum += (double)x[m * K + k] * (double)w[k];
                    size += fabs((double)x[m * K + k] * (double)w[k]);
                }
                /* weights with minima are differences, rounded when decoded */
                if (!(fabs((double)y[m * N + n] - exact_sum) <= 200 * 0x1p-24 * size + 1e-4 * size / K))
                    failed(run, "%s row %d column %d: %g, should be %g", dtype_info(types[t])->name, m, n,
                           (double)y[m * N + n], exact_sum);
            }
        }
        mem_free(stored);
        mem_free(panels);
    }
}

int main(int argc, char **argv)
{
    static const KernelCheck checks[] = {
        {"quantise_rows_of_all_kinds", quantise_rows_of_all_kinds},
        {"quantise_rows_ties_to_even", quantise_rows_rounds_ties_to_even},
        {"int8_rows", int8_rows},
        {"int8_shapes", int8_shapes},
        {"int8_extremes", int8_extremes},
        {"int8_largest_sums", int8_largest_sums},
        {"int8_long_rows", int8_long_rows},
        {"int8_of_file_types", int8_of_file_types},
    };
    return check_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
