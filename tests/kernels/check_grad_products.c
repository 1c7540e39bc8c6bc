/* linear_back and weight_grad at every level. Their contract fixes every operation (one fused multiply-add a
 * product, in ascending order), so that the oracle is that loop itself, on weights that dtype_decode_f32 read:
 * bit for bit, at double too, for every split into ranges. That the loop is the gradient is shown in
 * tests/unit/test_grad_kernels.c. */
#include "weights.h"

typedef struct {
    int64_t M, N, K;
} Shape;

static const Shape shapes[] = {
    {1, 1, 1},     {1, 16, 16},   {2, 15, 17},  {3, 17, 15},    {6, 31, 33},   {7, 33, 130},
    {13, 97, 47},  {16, 48, 129}, {97, 37, 19}, {100, 16, 16},  {5, 257, 34},  {4, 300, 145},
    {257, 20, 35}, {300, 7, 66},  {31, 199, 5}, {37, 211, 163}, {2, 523, 131}, {523, 6, 3},
    {0, 5, 7},     {5, 0, 7},     {5, 7, 0},
};
#define SHAPES (int)(sizeof shapes / sizeof shapes[0])

/* a·b + c as the level rounds it. */
static double fused(const Level *l, double a, double b, double c)
{
    return is_double(l) ? fma(a, b, c) : (double)fmaf((float)a, (float)b, (float)c);
}

static bool same_value(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

/* A matrix of this level with `pad` reals behind each row but the last. */
static Guarded matrix(const Level *l, const float *x, int64_t rows, int64_t columns, int64_t pad)
{
    Guarded g = reals(l, rows > 0 ? rows * (columns + pad) - pad : 0);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            real_set(l, g.p, r * (columns + pad) + c, x[r * columns + c]);
    return g;
}

static void complain(Run *run, const char *kernel, const Shape *s, const char *what, int64_t row, int64_t column)
{
    failed(run, "%s M %d N %d K %d: %s at row %d, column %d", kernel, (int)s->M, (int)s->N, (int)s->K, what,
           (int)row, (int)column);
}

/* ---- linear_back ---- */

typedef struct {
    Shape shape;
    Dtype type;
    PackForm form;
    uint8_t *stored;
    Guarded panels;
    float *dy, *w; /* [M][N], [N][K] */
} Back;

static Back back_open(Run *run, const Shape *shape, Dtype type, InputKind kind)
{
    Back b = {.shape = *shape, .type = type, .form = form_of_dtype(type)};
    const int64_t el = dtype_info(type)->block_elements, N = b.shape.N;
    const int64_t K = b.shape.K = (shape->K + el - 1) / el * el;
    b.stored = random_weights(run, type, N * K, kind);
    b.panels = guarded(form_bytes(&b.form, N, K));
    b.w = floats(N * K);
    for (int64_t p = 0; p * PANEL_ROWS < N; p++)
        form_pack_panel(&b.form, b.panels.p + form_panel_bytes(&b.form, K) * (size_t)p, type, b.stored, p, N, K);
    for (int64_t n = 0; n < N; n++)
        dtype_decode_f32(type, b.w + n * K, b.stored + dtype_row_bytes(type, K) * (size_t)n, K);
    b.dy = random_floats(run, kind, shape->M * N);
    return b;
}

/* Columns of panels [p0, p1) of dx (row stride K + 2). */
static void back_run(Run *run, const Back *b, void *dx, int64_t p0, int64_t p1)
{
    const Level *const l = &run->level;
    const Shape *const s = &b->shape;
    const LinearShape shape = {&b->form, b->panels.p, s->N, s->K, p0, p1, s->M};
    Guarded dy = matrix(l, b->dy, s->M, s->N, 3);
    l->k->grad->linear_back(&shape, dx, s->K + 2, dy.p, s->N + 3, run->scratch.p);
    if (!guarded_free(&dy))
        failed(run, "linear_back: wrote in front of dy");
}

static void back_check(Run *run, const Shape *shape, Dtype type, InputKind kind)
{
    const Level *const l = &run->level;
    Back b = back_open(run, shape, type, kind);
    const int64_t M = b.shape.M, N = b.shape.N, K = b.shape.K, ld = K + 2, panels = (K + 15) / 16;
    const int64_t cut = random_below(run, panels + 1), edge = cut * 16 < K ? cut * 16 : K;
    Guarded dx = reals(l, M * ld);
    run->cases++;
    back_run(run, &b, dx.p, cut, panels);
    for (int64_t m = 0; m < M; m++)
        if (!is_canary(real_at(l, dx.p, m * ld), (size_t)edge * l->k->real_bytes) ||
            !is_canary(real_at(l, dx.p, m * ld + K), 2 * l->k->real_bytes))
            complain(run, "linear_back", &b.shape, "wrote outside its panels", m, 0);
    back_run(run, &b, dx.p, 0, cut);
    for (int64_t m = 0; m < M; m++)
        for (int64_t k = 0; k < K; k++) {
            double sum = 0;
            for (int64_t n = 0; n < N; n++)
                sum = fused(l, (double)b.dy[m * N + n], (double)b.w[n * K + k], sum);
            if (!same_value(sum, real_get(l, dx.p, m * ld + k)))
                complain(run, dtype_info(type)->name, &b.shape, input_names[kind], m, k);
        }
    if (!GUARDED_FREE(&dx, &b.panels))
        failed(run, "linear_back: wrote in front of a buffer");
    mem_free(b.stored);
    mem_free(b.w);
    mem_free(b.dy);
}

static void linear_back(Run *run)
{
    static const Dtype types[] = {DT_F32,  DT_F16,  DT_BF16, DT_F8_E4M3, DT_Q4_0, DT_Q4_1, DT_Q5_0,
                                  DT_Q5_1, DT_Q8_0, DT_Q2_K, DT_Q3_K,    DT_Q4_K, DT_Q5_K, DT_Q6_K};
    for (int i = 0; i < SHAPES; i++)
        back_check(run, &shapes[i], DT_F32, IN_PLAIN);
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (int i = 0; i < (run->quick ? 4 : 12); i++) {
            const Shape *const s = &shapes[random_below(run, SHAPES)];
            back_check(run, s, types[t], (InputKind)(i % IN_COUNT));
        }
}

/* ---- weight_grad ---- */

static void weight_check(Run *run, const Shape *s, InputKind kind)
{
    const Level *const l = &run->level;
    const int64_t M = s->M, N = s->N, K = s->K, ld = K + 2;
    const int64_t n0 = random_below(run, N + 1), n1 = n0 + random_below(run, N - n0 + 1);
    float *const dy = random_floats(run, kind, M * N), *const x = random_floats(run, kind, M * K);
    float *const before = random_floats(run, kind, N * K);
    Guarded a = matrix(l, dy, M, N, 1), b = matrix(l, x, M, K, 5), dw = matrix(l, before, N, K, 2);
    run->cases++;
    /* a middle range first, then what is left on both sides */
    l->k->grad->weight_grad(dw.p, ld, a.p, N + 1, b.p, K + 5, M, n0, n1, K, run->scratch.p);
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K && (n < n0 || n >= n1); k++)
            if (!same_value(real_get(l, dw.p, n * ld + k), (double)before[n * K + k]))
                complain(run, "weight_grad", s, "wrote outside its rows", n, k);
    l->k->grad->weight_grad(dw.p, ld, a.p, N + 1, b.p, K + 5, M, 0, n0, K, run->scratch.p);
    l->k->grad->weight_grad(dw.p, ld, a.p, N + 1, b.p, K + 5, M, n1, N, K, run->scratch.p);
    for (int64_t n = 0; n < N; n++) {
        for (int64_t k = 0; k < K; k++) {
            double sum = (double)before[n * K + k];
            for (int64_t m = 0; m < M; m++)
                sum = fused(l, (double)dy[m * N + n], (double)x[m * K + k], sum);
            if (!same_value(sum, real_get(l, dw.p, n * ld + k)))
                complain(run, "weight_grad", s, input_names[kind], n, k);
        }
        if (n + 1 < N && !is_canary(real_at(l, dw.p, n * ld + K), 2 * l->k->real_bytes))
            complain(run, "weight_grad", s, "wrote behind a row", n, K);
    }
    if (!GUARDED_FREE(&a, &b, &dw))
        failed(run, "weight_grad: wrote in front of a buffer");
    mem_free(dy);
    mem_free(x);
    mem_free(before);
}

static void weight_grad(Run *run)
{
    for (int i = 0; i < SHAPES; i++)
        for (int kind = 0; kind < (run->quick ? 1 : IN_COUNT); kind++)
            weight_check(run, &shapes[i], (InputKind)kind);
    for (int kind = 0; kind < IN_COUNT; kind++)
        weight_check(run, &shapes[6], (InputKind)kind);
}

int main(int argc, char **argv)
{
    static const KernelCheck checks[] = {{"linear_back", linear_back}, {"weight_grad", weight_grad}};
    return check_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
