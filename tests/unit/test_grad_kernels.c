/* Training kernels are the gradients of the forward ones: beside PyTorch's autograd (oracle/grad_vectors.py), in
 * the f64 table and in every float table, and beside finite differences of our own forward kernels in double.
 * Bits, sizes and hostile values are checked in tests/kernels/. */
#include "kernels/kernels.h"

#include "base/mem.h"
#include "formats/tensordir.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VECTORS "tests/vectors/grad_kernels.safetensors"

static TensorDir *vectors;

/* One test's table and the memory it took. */
typedef struct {
    const Kernels *k;
    bool wide; /* real is double */
    struct {
        void *p;
        size_t bytes;
    } taken[32];
    int count;
    void *scratch;
} Bench;

static void *take(Bench *b, size_t bytes)
{
    void *const p = mem_alloc_pages(bytes); /* zero, and aligned for panels */
    assert_non_null(p);
    assert_true(b->count < 32);
    b->taken[b->count].p = p;
    b->taken[b->count++].bytes = bytes;
    return p;
}

static void bench_open(Bench *b, const Kernels *k)
{
    *b = (Bench){.k = k, .wide = k->real_bytes == sizeof(double)};
    b->scratch = mem_alloc_pages(GRAD_SCRATCH);
    assert_non_null(b->scratch);
}

static void bench_close(Bench *b)
{
    for (int i = 0; i < b->count; i++)
        mem_free_pages(b->taken[i].p, b->taken[i].bytes);
    mem_free_pages(b->scratch, GRAD_SCRATCH);
}

static const TensorEntry *entry(const char *name)
{
    const TensorEntry *const e = tensordir_find(vectors, name);
    if (!e)
        fail_msg("%s has no %s", VECTORS, name);
    return e;
}

static double element(const TensorEntry *e, int64_t i)
{
    float f;
    double d;
    if (e->dtype == DT_F64) {
        memcpy(&d, (const char *)e->data + 8 * i, 8);
        return d;
    }
    memcpy(&f, (const char *)e->data + 4 * i, 4);
    return (double)f;
}

static double get(const Bench *b, const void *p, int64_t i)
{
    return b->wide ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

/* n reals of zero. */
static void *zeros(Bench *b, int64_t n)
{
    return take(b, b->k->real_bytes * (size_t)n);
}

static void *load(Bench *b, const char *name)
{
    const TensorEntry *const e = entry(name);
    void *const p = zeros(b, e->elements);
    for (int64_t i = 0; i < e->elements; i++) {
        if (b->wide)
            ((double *)p)[i] = element(e, i);
        else
            ((float *)p)[i] = (float)element(e, i);
    }
    return p;
}

static const void *load_raw(Bench *b, const char *name) /* aligned */
{
    const TensorEntry *const e = entry(name);
    return memcpy(take(b, e->bytes), e->data, e->bytes);
}

/* Every element within `float_units` roundoffs of the tensor's largest, in double 1e-13 of it. */
static void expect(const Bench *b, const char *name, const void *found, double float_units)
{
    const TensorEntry *const e = entry(name);
    const double unit = b->wide ? 1e-13 : float_units * 0x1p-24;
    double largest = 0;
    for (int64_t i = 0; i < e->elements; i++)
        largest = fmax(largest, fabs(element(e, i)));
    for (int64_t i = 0; i < e->elements; i++)
        if (!(fabs(get(b, found, i) - element(e, i)) <= unit * largest))
            fail_msg("%s at level %s: element %d is %.17g, PyTorch has %.17g", name, b->k->name, (int)i,
                     get(b, found, i), element(e, i));
}

static void each_table(void (*test)(Bench *b))
{
    for (int l = -1; l < LEVEL_COUNT; l++) {
        const Kernels *const k = l < 0 ? kernels_f64() : kernels_at((KernelLevel)l);
        Bench b;
        if (!k)
            continue;
        bench_open(&b, k);
        test(&b);
        bench_close(&b);
    }
}

/* ---- beside PyTorch ---- */

static const void *pack_weights(Bench *b, const float *w, int64_t N, int64_t K)
{
    const PackForm form = form_of_dtype(DT_F32);
    float *const panels = take(b, form_bytes(&form, N, K));
    for (int64_t p = 0; p * PANEL_ROWS < N; p++)
        form_pack_panel(&form, panels + p * PANEL_ROWS * K, DT_F32, w, p, N, K);
    return panels;
}

static void linear(Bench *b)
{
    enum { M = 5, N = 19, K = 22 };
    const PackForm form = form_of_dtype(DT_F32);
    const void *const panels = pack_weights(b, load_raw(b, "linear.w"), N, K);
    const void *const x = load(b, "linear.x"), *const dy = load(b, "linear.dy");
    void *const y = zeros(b, M * N), *const dx = zeros(b, M * K), *const dw = zeros(b, N * K), *const db = zeros(b, N);
    const LinearShape forward = {&form, panels, N, K, 0, 2, M};
    b->k->linear(&forward, y, N, x, K, load(b, "linear.b"), b->scratch);
    expect(b, "linear.y", y, 16);
    b->k->grad->linear_back(&forward, dx, K, dy, N, b->scratch); /* K has two panels too */
    expect(b, "linear.dx", dx, 16);
    b->k->grad->weight_grad(dw, K, dy, N, x, K, M, 0, N, K, b->scratch);
    expect(b, "linear.dw", dw, 8);
    b->k->grad->column_sum(db, dy, N, M, N);
    expect(b, "linear.db", db, 8);
}

static void rmsnorm(Bench *b)
{
    enum { ROWS = 4, D = 37 };
    const void *const x = load(b, "rmsnorm.x"), *const gain = load(b, "rmsnorm.gain"), *const dy = load(b, "rmsnorm.dy");
    void *const y = zeros(b, ROWS * D), *const dx = zeros(b, ROWS * D), *const rows = zeros(b, ROWS * D);
    void *const dgain = zeros(b, D);
    b->k->rmsnorm_rows(y, D, x, D, gain, ROWS, D, 1e-5);
    expect(b, "rmsnorm.y", y, 8);
    b->k->grad->rmsnorm_back(dx, D, rows, D, x, D, gain, dy, D, ROWS, D, 1e-5);
    expect(b, "rmsnorm.dx", dx, 8);
    b->k->grad->column_sum(dgain, rows, D, ROWS, D);
    expect(b, "rmsnorm.dgain", dgain, 8);
}

static void silu_mul_of(Bench *b, double limit, const char *const names[6])
{
    const int64_t n = entry(names[0])->elements;
    const void *const gate = load(b, names[0]), *const up = load(b, names[1]), *const dy = load(b, names[2]);
    void *const y = zeros(b, n), *const dgate = zeros(b, n), *const dup = zeros(b, n);
    b->k->silu_mul(y, gate, up, n, limit);
    expect(b, names[3], y, 8);
    b->k->grad->silu_mul_back(dgate, dup, gate, up, dy, n, limit);
    expect(b, names[4], dgate, 8);
    expect(b, names[5], dup, 8);
}

static void silu_mul(Bench *b)
{
    static const char *const plain[] = {"silu_mul.gate", "silu_mul.up",    "silu_mul.dy",
                                        "silu_mul.y",    "silu_mul.dgate", "silu_mul.dup"};
    static const char *const clamped[] = {"silu_mul_clamped.gate", "silu_mul_clamped.up",    "silu_mul_clamped.dy",
                                          "silu_mul_clamped.y",    "silu_mul_clamped.dgate", "silu_mul_clamped.dup"};
    silu_mul_of(b, 0, plain);
    silu_mul_of(b, 0.75, clamped);
}

static void cross_entropy(Bench *b)
{
    enum { ROWS = 5, V = 53 };
    void *const logits = load(b, "cross_entropy.logits"), *const loss = zeros(b, ROWS);
    b->k->grad->cross_entropy(logits, V, ROWS, V, load_raw(b, "cross_entropy.target"),
                              load_raw(b, "cross_entropy.weight"), loss);
    expect(b, "cross_entropy.loss", loss, 8);
    expect(b, "cross_entropy.dlogits", logits, 8);
}

static void embedding(Bench *b)
{
    enum { ROWS = 6, D = 18 };
    const int32_t *const ids = load_raw(b, "embedding.ids");
    const void *const dy = load(b, "embedding.dy");
    void *const dtable = zeros(b, 7 * D);
    b->k->grad->embed_back(dtable, D, dy, D, ids, ROWS, 0, 5);
    b->k->grad->embed_back(dtable, D, dy, D, ids, ROWS, 5, D);
    expect(b, "embedding.dtable", dtable, 4);
}

static void adamw(Bench *b)
{
    enum { N = 21, STEPS = 3 };
    if (b->wide) {
        assert_null(b->k->grad->adamw);
        assert_null(b->k->grad->sum_squares);
        return;
    }
    float *const w = load(b, "adamw.w0"), *const m = zeros(b, N), *const v = zeros(b, N);
    const float *const g = load(b, "adamw.g");
    for (int t = 0; t < STEPS; t++) {
        const double norm = sqrt(b->k->grad->sum_squares(g + t * N, N)), expected = element(entry("adamw.norm"), t);
        const AdamStep step = {.lr = 2e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1,
                               .scale = fmin(1, 1 / (norm + 1e-6)), .correct1 = 1 / (1 - pow(0.9, t + 1)),
                               .correct2 = 1 / (1 - pow(0.95, t + 1))};
        assert_true(fabs(norm - expected) <= 1e-14 * expected);
        b->k->grad->adamw(w, m, v, g + t * N, N, &step);
    }
    expect(b, "adamw.w3", w, 4);
    expect(b, "adamw.m3", m, 8);
    expect(b, "adamw.v3", v, 8);
}

#define TORCH_TEST(kernel)                                     \
    static void grad_##kernel##_equals_pytorch(void **s)       \
    {                                                          \
        (void)s;                                               \
        each_table(kernel);                                    \
    }
TORCH_TEST(linear)
TORCH_TEST(rmsnorm)
TORCH_TEST(silu_mul)
TORCH_TEST(cross_entropy)
TORCH_TEST(embedding)
TORCH_TEST(adamw)

/* ---- beside finite differences, in double ---- */

enum { ROWS = 3, D = 21, OUT = 18, PIECES = 4 };

/* A forward kernel as a function of its inputs; the loss is Σ y·dy. */
typedef struct Rule {
    double in[PIECES][ROWS * D + OUT * D];
    double y[ROWS * D], dy[ROWS * D];
    int64_t outputs;
    double limit;
    double (*loss)(struct Rule *r);
} Rule;

static double drawn(uint64_t i) /* a multiple of 2^-10 in [−1, 1) */
{
    const uint64_t x = (i + 1) * 0x9E3779B97F4A7C15u;
    return (double)((x ^ (x >> 29)) >> 53) / 1024 - 1;
}

static Rule *rule(int64_t outputs, double (*loss)(Rule *r))
{
    Rule *const r = mem_alloc(1, sizeof *r);
    assert_non_null(r);
    for (int p = 0; p < PIECES; p++)
        for (size_t i = 0; i < sizeof r->in[p] / sizeof(double); i++)
            r->in[p][i] = drawn(10000 * (uint64_t)p + i);
    for (int i = 0; i < ROWS * D; i++)
        r->dy[i] = drawn(77000 + (uint64_t)i);
    r->outputs = outputs;
    r->loss = loss;
    return r;
}

static double weighted(const Rule *r)
{
    double sum = 0;
    for (int64_t i = 0; i < r->outputs; i++)
        sum += r->y[i] * r->dy[i];
    return sum;
}

/* `grad` is the slope of the loss along each of the n numbers at x (inside r). Step h, differences of fourth order. */
static void expect_slopes(const char *what, Rule *r, double *x, int64_t n, const double *grad, double h)
{
    for (int64_t i = 0; i < n; i++) {
        const double at = x[i];
        double f[4];
        for (int j = 0; j < 4; j++) {
            x[i] = at + h * (j < 2 ? j - 2 : j - 1);
            f[j] = r->loss(r);
        }
        x[i] = at;
        const double slope = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
        if (!(fabs(slope - grad[i]) <= 1e-8 * (1 + fabs(slope))))
            fail_msg("%s: the slope along element %d is %.12g, not %.12g", what, (int)i, slope, grad[i]);
    }
}

/* in[0] is x, in[1] the weights: they go through float panels, and the loss is linear in them, so that a step
 * which floats hold is as good as a small one. */
static const void *rule_panels(Bench *b, const Rule *r)
{
    float *const w = take(b, OUT * D * sizeof *w);
    for (int i = 0; i < OUT * D; i++)
        w[i] = (float)r->in[1][i];
    return pack_weights(b, w, OUT, D);
}

static double linear_loss(Rule *r)
{
    const PackForm form = form_of_dtype(DT_F32);
    Bench b;
    bench_open(&b, kernels_f64());
    const LinearShape s = {&form, rule_panels(&b, r), OUT, D, 0, 2, ROWS};
    b.k->linear(&s, r->y, OUT, r->in[0], D, NULL, b.scratch);
    bench_close(&b);
    return weighted(r);
}

static void grad_linear_is_the_slope(void **state)
{
    const PackForm form = form_of_dtype(DT_F32);
    Rule *const r = rule(ROWS * OUT, linear_loss);
    double dx[ROWS * D], dw[OUT * D] = {0};
    Bench b;
    (void)state;
    bench_open(&b, kernels_f64());
    const LinearShape s = {&form, rule_panels(&b, r), OUT, D, 0, 2, ROWS};
    b.k->grad->linear_back(&s, dx, D, r->dy, OUT, b.scratch);
    b.k->grad->weight_grad(dw, D, r->dy, OUT, r->in[0], D, ROWS, 0, OUT, D, b.scratch);
    expect_slopes("linear_back", r, r->in[0], ROWS * D, dx, 0.0625);
    expect_slopes("weight_grad", r, r->in[1], OUT * D, dw, 0.0625);
    bench_close(&b);
    mem_free(r);
}

static double norm_loss(Rule *r)
{
    kernels_f64()->rmsnorm_rows(r->y, D, r->in[0], D, r->in[1], ROWS, D, 1e-5);
    return weighted(r);
}

static void grad_rmsnorm_is_the_slope(void **state)
{
    const GradKernels *const g = kernels_f64()->grad;
    Rule *const r = rule(ROWS * D, norm_loss);
    double dx[ROWS * D], rows[ROWS * D], dgain[D] = {0};
    (void)state;
    g->rmsnorm_back(dx, D, rows, D, r->in[0], D, r->in[1], r->dy, D, ROWS, D, 1e-5);
    g->column_sum(dgain, rows, D, ROWS, D);
    expect_slopes("rmsnorm_back", r, r->in[0], ROWS * D, dx, 1e-3);
    expect_slopes("rmsnorm_back's gain", r, r->in[1], D, dgain, 1e-3);
    mem_free(r);
}

static double silu_loss(Rule *r)
{
    kernels_f64()->silu_mul(r->y, r->in[0], r->in[1], r->outputs, r->limit);
    return weighted(r);
}

static void grad_silu_mul_is_the_slope(void **state)
{
    (void)state;
    for (int clamp = 0; clamp < 2; clamp++) {
        Rule *const r = rule(ROWS * D, silu_loss);
        double dgate[ROWS * D], dup[ROWS * D];
        r->limit = clamp ? 0.7007 : 0; /* drawn numbers keep away from it */
        kernels_f64()->grad->silu_mul_back(dgate, dup, r->in[0], r->in[1], r->dy, r->outputs, r->limit);
        expect_slopes("silu_mul_back, gate", r, r->in[0], ROWS * D, dgate, 1e-4);
        expect_slopes("silu_mul_back, up", r, r->in[1], ROWS * D, dup, 1e-4);
        mem_free(r);
    }
}

static const int32_t targets[ROWS] = {4, -1, D - 1};
static const float loss_weights[ROWS] = {1, 2, 0.375f};

/* Of copies of the logits: the losses add up, and the gradients lie in y. */
static double entropy_loss(Rule *r)
{
    double loss[ROWS];
    memcpy(r->y, r->in[0], sizeof r->y);
    kernels_f64()->grad->cross_entropy(r->y, D, ROWS, D, targets, loss_weights, loss);
    return loss[0] + loss[1] + loss[2];
}

static void grad_cross_entropy_is_the_slope(void **state)
{
    Rule *const r = rule(ROWS * D, entropy_loss);
    double dlogits[ROWS * D], expected = 0;
    (void)state;
    for (int t = 0; t < ROWS; t++) /* the loss itself, by the log-sum-exp there is */
        if (targets[t] >= 0)
            expected += (double)loss_weights[t] *
                        (kernels_f64()->logsumexp(r->in[0] + t * D, D) - r->in[0][t * D + targets[t]]);
    assert_true(fabs(entropy_loss(r) - expected) < 1e-13);
    memcpy(dlogits, r->y, sizeof dlogits);
    expect_slopes("cross_entropy", r, r->in[0], ROWS * D, dlogits, 1e-3);
    mem_free(r);
}

static double lookup_loss(Rule *r)
{
    static const int32_t ids[ROWS] = {2, 0, 2};
    for (int t = 0; t < ROWS; t++)
        memcpy(r->y + t * D, r->in[0] + ids[t] * D, D * sizeof(double));
    return weighted(r);
}

static void grad_embedding_is_the_slope(void **state)
{
    static const int32_t ids[ROWS] = {2, 0, 2};
    Rule *const r = rule(ROWS * D, lookup_loss);
    double dtable[3 * D] = {0};
    (void)state;
    kernels_f64()->grad->embed_back(dtable, D, r->dy, D, ids, ROWS, 0, D);
    expect_slopes("embed_back", r, r->in[0], 3 * D, dtable, 0.25);
    mem_free(r);
}

static int open_vectors(void **state)
{
    Error err = {0};
    (void)state;
    if (tensordir_open(&vectors, VECTORS, &err) != ST_OK) {
        print_error("%s\n", err.msg);
        return -1;
    }
    return 0;
}

static int close_vectors(void **state)
{
    (void)state;
    tensordir_close(vectors);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grad_linear_equals_pytorch),       cmocka_unit_test(grad_rmsnorm_equals_pytorch),
        cmocka_unit_test(grad_silu_mul_equals_pytorch),     cmocka_unit_test(grad_cross_entropy_equals_pytorch),
        cmocka_unit_test(grad_embedding_equals_pytorch),    cmocka_unit_test(grad_adamw_equals_pytorch),
        cmocka_unit_test(grad_linear_is_the_slope),         cmocka_unit_test(grad_rmsnorm_is_the_slope),
        cmocka_unit_test(grad_silu_mul_is_the_slope),       cmocka_unit_test(grad_cross_entropy_is_the_slope),
        cmocka_unit_test(grad_embedding_is_the_slope),
    };
    return cmocka_run_group_tests(tests, open_vectors, close_vectors);
}
