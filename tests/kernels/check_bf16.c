/* Products of BF16 (kernels/bf16.h) at every level. Where the instruction is the float multiply-add, the oracle is
 * the loop that the contract fixes, bit for bit; for the instructions that multiply pairs it is the sum in double of
 * the rounded factors, within the roundings that the sum's length allows. Factors are rounded by f32_to_bf16 here,
 * weights decoded from what was packed by dtype_decode_f32's words. */
#define CHECK_BF16
#include "weights.h"

typedef struct {
    int64_t M, N, K;
} Shape;

static const Shape shapes[] = {
    {1, 1, 1},     {1, 16, 16},   {2, 15, 17},   {3, 17, 15},  {6, 31, 33},   {7, 33, 130},  {13, 97, 47},
    {16, 48, 129}, {97, 37, 19},  {100, 16, 16}, {5, 257, 34}, {4, 300, 145}, {257, 20, 35}, {300, 7, 66},
    {31, 199, 5},  {37, 211, 163}, {2, 1100, 131}, {33, 6, 1061}, {1061, 6, 3}, {0, 5, 7},   {5, 0, 7},
    {5, 7, 0},     {64, 64, 64},
};
#define SHAPES (int)(sizeof shapes / sizeof shapes[0])
#define PAD 3 /* numbers behind a row */

/* ---- matrices ---- */

typedef struct {
    Guarded g;
    int64_t ld;
} Rows;

/* [rows][columns] rounded, with PAD numbers that must not matter behind each row but the last. */
static Rows bf16_rows(const float *x, int64_t rows, int64_t columns)
{
    Rows r = {guarded(sizeof(uint16_t) * (size_t)(rows > 0 ? rows * (columns + PAD) - PAD : 0)), columns + PAD};
    uint16_t *const p = (uint16_t *)(void *)r.g.p;
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++)
            p[i * r.ld + j] = f32_to_bf16(x[i * columns + j]);
        for (int64_t j = columns; i + 1 < rows && j < r.ld; j++)
            p[i * r.ld + j] = 0x7FC0;
    }
    return r;
}

static uint16_t *row_at(const Rows *r, int64_t i)
{
    return (uint16_t *)(void *)r->g.p + i * r->ld;
}

static float rounded(float x)
{
    return bf16_to_f32(f32_to_bf16(x));
}

/* What a sum must be: by the contract of fma, or near the sum in double. */
typedef struct {
    float exact;
    double sum, size; /* Σ ab and Σ |ab| */
    int64_t n;
    bool fma;
} Oracle;

static Oracle oracle_begin(const Run *run, float start)
{
    return (Oracle){.exact = start, .sum = (double)start, .size = fabs((double)start),
                    .fma = strcmp(run->level.k->bf16->instruction, "fma") == 0};
}

static void oracle_add(Oracle *o, float a, float b)
{
    a = rounded(a);
    b = rounded(b);
    o->exact = fmaf(a, b, o->exact);
    o->sum += (double)a * (double)b;
    o->size += fabs((double)a * (double)b);
    o->n++;
}

/* Every product and every addition rounds once, to 2^-24 of at most the sum of sizes; a flushed denormal factor or
 * sum is off by less than 2^-126 times the other factor. */
static bool oracle_holds(const Oracle *o, float y)
{
    if (o->fma)
        return same_float(o->exact, y);
    if (!isfinite(o->sum) || o->size > 3e38)
        return !isfinite(y) || isfinite(o->sum);
    return fabs((double)y - o->sum) <= 0x1p-24 * (double)(o->n + 3) * o->size + 0x1p-125 * (double)(o->n + 2);
}

static void complain(Run *run, const char *kernel, const Shape *s, const char *what, int64_t row, int64_t column)
{
    failed(run, "%s M %d N %d K %d: %s at row %d, column %d", kernel, (int)s->M, (int)s->N, (int)s->K, what,
           (int)row, (int)column);
}

/* Every float level has these products. */
static bool has_products(Run *run)
{
    if (!run->level.k->bf16 && !is_double(&run->level))
        failed(run, "the table has no products of BF16");
    return run->level.k->bf16 != NULL;
}

/* ---- rounding ---- */

static void round_rows(Run *run)
{
    static const int64_t widths[] = {0, 1, 15, 16, 17, 33, 101};
    if (!has_products(run))
        return;
    for (int kind = 0; kind < IN_COUNT; kind++)
        for (int i = 0; i < 7; i++) {
            const int64_t K = widths[i], M = 5;
            float *const x = random_floats(run, (InputKind)kind, M * K);
            for (int64_t j = 0; j < M * K; j += 3) { /* ties, and NaNs with any payload */
                uint32_t bits = (uint32_t)random_u64(run) << 16 | 0x8000u;
                memcpy(&x[j], &bits, sizeof bits);
            }
            Guarded in = guarded(sizeof(float) * (size_t)(M * K)), out = guarded(sizeof(uint16_t) * (size_t)(M * (K + 1)));
            uint16_t *const y = (uint16_t *)(void *)out.p;
            memcpy(in.p, x, in.bytes);
            run->cases++;
            run->level.k->bf16->round_rows(y, K + 1, (const float *)(void *)in.p, K, M, K);
            for (int64_t m = 0; m < M; m++) {
                for (int64_t k = 0; k < K; k++)
                    if (y[m * (K + 1) + k] != f32_to_bf16(x[m * K + k]))
                        failed(run, "round_rows: %a became %04x", (double)x[m * K + k], y[m * (K + 1) + k]);
                if (!is_canary(y + m * (K + 1) + K, 2))
                    failed(run, "round_rows: wrote behind a row");
            }
            if (!GUARDED_FREE(&in, &out))
                failed(run, "round_rows: wrote in front of a buffer");
            mem_free(x);
        }
}

/* ---- weights ---- */

typedef struct {
    Shape shape;
    PackForm form;
    Guarded panels;
    float *w, *x, *dy; /* [N][K], [M][K], [M][N] */
    Rows rx, rdy;
} Case;

static Case case_open(Run *run, const Shape *s, InputKind kind)
{
    Case c = {.shape = *s, .form = form_bf16_pairs()};
    c.w = random_floats(run, kind, s->N * s->K);
    c.x = random_floats(run, kind, s->M * s->K);
    c.dy = random_floats(run, kind, s->M * s->N);
    c.panels = guarded(form_bytes(&c.form, s->N, s->K));
    for (int64_t p = 0; p * PANEL_ROWS < s->N; p++)
        form_pack_panel(&c.form, c.panels.p + form_panel_bytes(&c.form, s->K) * (size_t)p, DT_F32, c.w, p, s->N, s->K);
    c.rx = bf16_rows(c.x, s->M, s->K);
    c.rdy = bf16_rows(c.dy, s->M, s->N);
    run->cases++;
    return c;
}

static void case_close(Run *run, Case *c)
{
    if (!GUARDED_FREE(&c->panels, &c->rx.g, &c->rdy.g))
        failed(run, "wrote in front of an input");
    mem_free(c->w);
    mem_free(c->x);
    mem_free(c->dy);
}

/* Packing rounds; the plain decoder and the kernels' own read the same numbers; float products work on pairs. */
static void pairs_form(Run *run)
{
    const Level *const l = &run->level;
    for (int i = 0; i < SHAPES; i++) {
        const int64_t N = shapes[i].N, K = shapes[i].K, M = shapes[i].M;
        if (N == 0 || K == 0 || M > 100)
            continue;
        Case c = case_open(run, &shapes[i], IN_WIDE);
        float *const plain = floats((K + 1) * PANEL_ROWS);
        for (int64_t p = 0; p * PANEL_ROWS < N; p++) {
            form_decode_panel(&c.form, plain, c.panels.p + form_panel_bytes(&c.form, K) * (size_t)p, 0, K);
            for (int64_t k = 0; k < K; k++)
                for (int64_t r = 0; r < PANEL_ROWS; r++) {
                    const int64_t n = p * PANEL_ROWS + r;
                    if (!same_float(plain[k * PANEL_ROWS + r], n < N ? rounded(c.w[n * K + k]) : 0))
                        complain(run, "form_decode_panel", &shapes[i], "another weight", n, k);
                }
        }
        const LinearShape shape = {&c.form, c.panels.p, N, K, 0, (N + 15) / 16, M};
        Guarded x = reals_of(l, c.x, M * K), y = reals(l, M * N);
        l->k->linear(&shape, y.p, N, x.p, K, NULL, run->scratch.p);
        for (int64_t m = 0; m < M; m++)
            for (int64_t n = 0; n < N; n++) {
                double sum = 0;
                for (int64_t k = 0; k < K; k++) {
                    const double a = (double)c.x[m * K + k], b = (double)rounded(c.w[n * K + k]);
                    sum = is_double(l) ? fma(a, b, sum) : (double)fmaf((float)a, (float)b, (float)sum);
                }
                if (real_get(l, y.p, m * N + n) != sum)
                    complain(run, "linear", &shapes[i], "another sum", m, n);
            }
        if (!GUARDED_FREE(&x, &y))
            failed(run, "linear: wrote in front of a buffer");
        mem_free(plain);
        case_close(run, &c);
    }
}

/* ---- the product and the gradient of its input ---- */

typedef struct {
    const char *name;
    bool back;
} Product;

static void product_run(Run *run, const Case *c, bool back, float *y, int64_t ldy, const float *bias, int64_t row0,
                        int64_t rows, int64_t p0, int64_t p1)
{
    const Bf16Kernels *const k = run->level.k->bf16;
    const LinearShape shape = {&c->form, c->panels.p, c->shape.N, c->shape.K, p0, p1, rows};
    if (back)
        k->linear_back(&shape, y, ldy, row_at(&c->rdy, row0), c->rdy.ld, run->scratch.p);
    else
        k->linear(&shape, y, ldy, row_at(&c->rx, row0), c->rx.ld, bias, run->scratch.p);
}

static void product_values(Run *run, const Case *c, const Product *p, const float *y, int64_t ldy, const float *bias)
{
    const Shape *const s = &c->shape;
    const int64_t columns = p->back ? s->K : s->N, length = p->back ? s->N : s->K;
    for (int64_t m = 0; m < s->M; m++)
        for (int64_t j = 0; j < columns; j++) {
            Oracle o = oracle_begin(run, 0);
            for (int64_t i = 0; i < length; i++)
                oracle_add(&o, p->back ? c->dy[m * length + i] : c->x[m * length + i],
                           p->back ? c->w[i * s->K + j] : c->w[j * s->K + i]);
            if (bias) {
                o.exact += bias[j];
                o.sum += (double)bias[j];
                o.size += fabs((double)bias[j]);
            }
            if (!oracle_holds(&o, y[m * ldy + j])) {
                complain(run, p->name, s, "another sum", m, j);
                return;
            }
        }
}

/* In one call, cut at a panel; and one row alone. */
static void product_check(Run *run, const Shape *s, const Product *p, InputKind kind, bool with_bias)
{
    Case c = case_open(run, s, kind);
    const int64_t columns = p->back ? s->K : s->N, ld = columns + 2, panels = (columns + 15) / 16;
    const int64_t cut = random_below(run, panels + 1), edge = cut * 16 < columns ? cut * 16 : columns;
    float *const bias = with_bias ? random_floats(run, IN_PLAIN, columns) : NULL;
    Guarded out = guarded(sizeof(float) * (size_t)(s->M > 0 ? s->M * ld - 2 : 0)), one = guarded(sizeof(float) * (size_t)columns);
    float *const y = (float *)(void *)out.p, *const alone = (float *)(void *)one.p;
    product_run(run, &c, p->back, y, ld, bias, 0, s->M, cut, panels);
    for (int64_t m = 0; m < s->M; m++)
        if (!is_canary(y + m * ld, sizeof(float) * (size_t)edge))
            complain(run, p->name, s, "wrote outside its panels", m, 0);
    product_run(run, &c, p->back, y, ld, bias, 0, s->M, 0, cut);
    for (int64_t m = 0; m + 1 < s->M; m++)
        if (!is_canary(y + m * ld + columns, 2 * sizeof(float)))
            complain(run, p->name, s, "wrote behind a row", m, columns);
    product_values(run, &c, p, y, ld, bias);
    for (int i = 0; i < 3 && s->M > 0; i++) {
        const int64_t m = random_below(run, s->M);
        product_run(run, &c, p->back, alone, columns, bias, m, 1, 0, panels);
        if (first_difference(&run->level, alone, y + m * ld, columns) >= 0)
            complain(run, p->name, s, "a row differs alone", m, first_difference(&run->level, alone, y + m * ld, columns));
    }
    if (!GUARDED_FREE(&out, &one))
        failed(run, "%s: wrote in front of its result", p->name);
    mem_free(bias);
    case_close(run, &c);
}

static void products(Run *run, const Product *p)
{
    if (!has_products(run))
        return;
    for (int i = 0; i < SHAPES; i++)
        for (int kind = 0; kind < (run->quick && i != 6 ? 1 : IN_COUNT); kind++)
            product_check(run, &shapes[i], p, (InputKind)kind, !p->back && i % 3 == 0 && kind == 0);
}

static void linear(Run *run)
{
    products(run, &(Product){"linear", false});
}

static void linear_back(Run *run)
{
    products(run, &(Product){"linear_back", true});
}

/* ---- gradient of the weights ---- */

static void grad_check(Run *run, const Shape *s, InputKind kind)
{
    const Bf16Kernels *const k = run->level.k->bf16;
    Case c = case_open(run, s, kind);
    const int64_t ld = s->K + 2, cut = random_below(run, s->N + 1);
    float *const before = random_floats(run, IN_PLAIN, s->N * ld);
    Guarded out = guarded(sizeof(float) * (size_t)(s->N > 0 ? s->N * ld - 2 : 0));
    float *const dw = (float *)(void *)out.p;
    memcpy(dw, before, out.bytes);
    k->weight_grad(dw, ld, row_at(&c.rdy, 0), c.rdy.ld, row_at(&c.rx, 0), c.rx.ld, s->M, cut, s->N, s->K, run->scratch.p);
    if (memcmp(dw, before, sizeof(float) * (size_t)(cut * ld < s->N * ld - 2 ? cut * ld : 0)) != 0)
        complain(run, "weight_grad", s, "wrote outside its rows", 0, 0);
    k->weight_grad(dw, ld, row_at(&c.rdy, 0), c.rdy.ld, row_at(&c.rx, 0), c.rx.ld, s->M, 0, cut, s->K, run->scratch.p);
    for (int64_t n = 0; n < s->N; n++) {
        for (int64_t j = 0; j < s->K; j++) {
            Oracle o = oracle_begin(run, before[n * ld + j]);
            for (int64_t m = 0; m < s->M; m++)
                oracle_add(&o, c.dy[m * s->N + n], c.x[m * s->K + j]);
            if (!oracle_holds(&o, dw[n * ld + j])) {
                complain(run, "weight_grad", s, input_names[kind], n, j);
                break;
            }
        }
        if (n + 1 < s->N && memcmp(dw + n * ld + s->K, before + n * ld + s->K, 2 * sizeof(float)) != 0)
            complain(run, "weight_grad", s, "wrote behind a row", n, s->K);
    }
    if (!guarded_free(&out))
        failed(run, "weight_grad: wrote in front of its result");
    mem_free(before);
    case_close(run, &c);
}

/* Rows cut elsewhere, the same bits: what threads do. */
static void grad_cuts(Run *run)
{
    const Shape s = {1061, 211, 35};
    const Bf16Kernels *const k = run->level.k->bf16;
    Case c = case_open(run, &s, IN_PLAIN);
    float *const whole = floats(s.N * s.K), *const parts = floats(s.N * s.K);
    memset(whole, 0, sizeof(float) * (size_t)(s.N * s.K));
    memset(parts, 0, sizeof(float) * (size_t)(s.N * s.K));
    k->weight_grad(whole, s.K, row_at(&c.rdy, 0), c.rdy.ld, row_at(&c.rx, 0), c.rx.ld, s.M, 0, s.N, s.K, run->scratch.p);
    for (int64_t n = 0; n < s.N; n += 16)
        k->weight_grad(parts, s.K, row_at(&c.rdy, 0), c.rdy.ld, row_at(&c.rx, 0), c.rx.ld, s.M, n,
                       n + 16 < s.N ? n + 16 : s.N, s.K, run->scratch.p);
    if (memcmp(whole, parts, sizeof(float) * (size_t)(s.N * s.K)) != 0)
        complain(run, "weight_grad", &s, "cuts change bits", 0, 0);
    mem_free(whole);
    mem_free(parts);
    case_close(run, &c);
}

static void weight_grad(Run *run)
{
    if (!has_products(run))
        return;
    for (int i = 0; i < SHAPES; i++)
        for (int kind = 0; kind < (run->quick && i != 6 ? 1 : IN_COUNT); kind++)
            grad_check(run, &shapes[i], (InputKind)kind);
    grad_cuts(run);
}

int main(int argc, char **argv)
{
    static const KernelCheck checks[] = {{"bf16 round_rows", round_rows},
                                         {"bf16 pairs", pairs_form},
                                         {"bf16 linear", linear},
                                         {"bf16 linear_back", linear_back},
                                         {"bf16 weight_grad", weight_grad}};
    return check_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
