/* The optimiser against torch.optim.AdamW and a float64 Muon (oracle/optimiser_vectors.py, tests/vectors/optimiser.safetensors),
 * what Newton-Schulz iterations promise (training.md §13.4), the rule that balances experts, and threads. */
#include "formats/tensordir.h"
#include "train/optimiser.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define VECTORS "tests/vectors/optimiser.safetensors"

#define OK(expr)                                   \
    do {                                           \
        Error ok_err = {0};                        \
        if ((expr) != ST_OK)                       \
            fail_msg("%s: %s", #expr, ok_err.msg); \
    } while (0)

/* ---- parameters without a model ---- */

#define MATRIX(n, k, parts) {.uses = USE_MATRIX, .ndim = 2, .dims = {n, k}, .groups = parts, .role = ROLE_MATRIX, .trainable = true}

enum { TALL, WIDE, GROUPS, EMBEDDING, GAIN, SINK, BALANCE, ROWS };
static const char *const names[] = {"tall", "wide", "groups", "embedding", "gain", "sink"};

static TensorRow rows[ROWS] = {
    [TALL] = MATRIX(24, 10, 0),
    [WIDE] = MATRIX(6, 20, 0),
    [GROUPS] = MATRIX(12, 7, 3),
    [EMBEDDING] = {.uses = USE_ROWS, .ndim = 2, .dims = {9, 5}, .role = ROLE_EMBEDDING, .trainable = true},
    [GAIN] = {.uses = USE_VECTOR, .ndim = 1, .dims = {11}, .role = ROLE_GAIN, .trainable = true},
    [SINK] = {.uses = USE_VECTOR, .ndim = 1, .dims = {3}, .role = ROLE_VECTOR, .trainable = true},
    [BALANCE] = {.uses = USE_VECTOR, .ndim = 1, .dims = {4}, .role = ROLE_BALANCE},
};
static const ModelSpec small_spec = {.tensors = rows, .tensor_count = ROWS};

typedef struct {
    Params *params;
    Optimiser *optimiser;
    ThreadPool *pool;
} Bench;

static Bench bench_open(const ModelSpec *spec, const OptimiserParams *o, int threads)
{
    Bench b = {0};
    OK(pool_create(&b.pool, threads, &ok_err));
    OK(params_create(&b.params, spec, &(ParamsKind){.muon = o->muon}, &ok_err));
    OK(optimiser_create(&b.optimiser, b.params, o, kernels_at(kernels_best_level()), b.pool, &ok_err));
    return b;
}

static void bench_close(Bench *b)
{
    optimiser_destroy(b->optimiser);
    params_destroy(b->params);
    pool_destroy(b->pool);
}

/* ---- against torch ---- */

/* The constants of the oracle. */
enum { STEPS = 6 };
static const double shares[STEPS] = {0.25, 0.5, 1.0, 1.0, 0.55, 0.1};
static const double clip = 3.0;

static OptimiserParams params_of(bool muon, int64_t iterations, double eps)
{
    return (OptimiserParams){.muon = muon, .adamw_lr = 3e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = eps, .adamw_decay = 0.1,
                             .muon_lr = 2e-2, .muon_decay = 0.05, .muon_params = {0.95, 0.18, iterations},
                             .balance_speed = 0.125};
}

static const TensorEntry *entry(const TensorDir *dir, const char *format, ...) PRINTF_LIKE(2, 3);
static const TensorEntry *entry(const TensorDir *dir, const char *format, ...)
{
    char name[64];
    va_list ap;
    va_start(ap, format);
    vsnprintf(name, sizeof name, format, ap);
    va_end(ap);
    const TensorEntry *e = tensordir_find(dir, name);
    if (!e)
        fail_msg("no tensor %s", name);
    return e;
}

static void fill(float *dst, const Param *p, const TensorEntry *e)
{
    assert_int_equal(e->elements, p->count);
    memcpy(dst, e->data, e->bytes);
}

/* `allowed`: how far an element may be off. */
static void expect(const char *what, const float *got, const TensorEntry *e, double allowed)
{
    for (int64_t i = 0; i < e->elements; i++) {
        float want;
        memcpy(&want, (const char *)e->data + 4 * i, sizeof want);
        if (!(fabs((double)got[i] - (double)want) <= allowed))
            fail_msg("%s: %s [%lld] is %.9g, not %.9g (allowed: %g)", what, e->name, (long long)i, (double)got[i],
                     (double)want, allowed);
    }
}

static double largest(const TensorEntry *e)
{
    double max = 0;
    for (int64_t i = 0; i < e->elements; i++) {
        float x;
        memcpy(&x, (const char *)e->data + 4 * i, sizeof x);
        max = fmax(max, fabs((double)x));
    }
    return max;
}

/* A weight may be off by its own rounding and by a part in 2000 of what its learning rate moves it in all steps. */
static void expect_weights(Bench *b, const TensorDir *dir, const char *name, const OptimiserParams *o, int t)
{
    for (int i = 0; i < BALANCE; i++) {
        const bool muon = o->muon && rows[i].role == ROLE_MATRIX;
        const double moved = (muon ? o->muon_lr * 0.18 : o->adamw_lr) * t;
        expect(name, params_at(b->params, i)->master, entry(dir, "%s.t%d.%s", name, t, names[i]), 3e-7 + 5e-4 * moved);
    }
}

static void expect_moments(Bench *b, const TensorDir *dir, const char *name)
{
    for (int i = 0; i < BALANCE; i++) {
        const Param *p = params_at(b->params, i);
        const TensorEntry *first = entry(dir, "%s.first.%s", name, names[i]);
        expect(name, p->first, first, 1e-6 * largest(first));
        if (!p->second)
            continue;
        const TensorEntry *second = entry(dir, "%s.second.%s", name, names[i]);
        expect(name, p->second, second, 1e-6 * largest(second));
    }
}

static void follow(const TensorDir *dir, const char *name, const OptimiserParams *o, int threads)
{
    Bench b = bench_open(&small_spec, o, threads);
    const TensorEntry *norms = entry(dir, "%s.norms", name);
    for (int i = 0; i < BALANCE; i++)
        fill(params_at(b.params, i)->master, params_at(b.params, i), entry(dir, "begin.%s", names[i]));
    for (int t = 1; t <= STEPS; t++) {
        double want;
        params_clear_gradients(b.params, b.pool);
        for (int i = 0; i < BALANCE; i++)
            fill(params_at(b.params, i)->gradient, params_at(b.params, i), entry(dir, "grad.t%d.%s", t, names[i]));
        const double norm = optimiser_norm(b.optimiser);
        memcpy(&want, (const char *)norms->data + 8 * (t - 1), sizeof want);
        assert_true(fabs(norm - want) < 1e-9 * want);
        optimiser_step(b.optimiser, t, norm > clip ? clip / norm : 1, shares[t - 1]);
        if (t == 1 || t == STEPS)
            expect_weights(&b, dir, name, o, t);
    }
    expect_moments(&b, dir, name);
    bench_close(&b);
}

static void weights_and_moments_are_those_of_the_reference(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool muon;
        int64_t iterations;
        double eps;
    } cases[] = {{"adamw", false, 0, 1e-8}, {"muon", true, 10, 1e-20}, {"muon5", true, 5, 1e-20}};
    TensorDir *dir;
    OK(tensordir_open(&dir, VECTORS, &ok_err));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const OptimiserParams o = params_of(cases[i].muon, cases[i].iterations, cases[i].eps);
        follow(dir, cases[i].name, &o, 2);
    }
    tensordir_close(dir);
}

/* ---- Newton-Schulz ---- */

enum { SIDE_MAX = 48 };

/* Rows of a [n,m] become orthonormal (n <= m), twice for accuracy. */
static void orthonormalise(double *a, int64_t n, int64_t m)
{
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < n; i++) {
            double *x = a + i * m, norm = 0;
            for (int64_t j = 0; j < i; j++) {
                double dot = 0;
                for (int64_t k = 0; k < m; k++)
                    dot += x[k] * a[j * m + k];
                for (int64_t k = 0; k < m; k++)
                    x[k] -= dot * a[j * m + k];
            }
            for (int64_t k = 0; k < m; k++)
                norm += x[k] * x[k];
            for (int64_t k = 0; k < m; k++)
                x[k] /= sqrt(norm);
        }
}

static void random_rows(double *a, int64_t n, int64_t m, uint64_t stream)
{
    for (int64_t i = 0; i < n * m; i++)
        a[i] = rng_normal_at(5, stream, (uint64_t)i);
    orthonormalise(a, n, m);
}

/* [n,m] with singular values from 1 down to 1/condition, at equal ratios. */
static void matrix_of_condition(float *out, int64_t n, int64_t m, double condition, uint64_t stream)
{
    static double u[SIDE_MAX * SIDE_MAX], v[SIDE_MAX * SIDE_MAX];
    const int64_t r = n < m ? n : m;
    random_rows(u, r, n, 2 * stream);
    random_rows(v, r, m, 2 * stream + 1);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            double sum = 0;
            for (int64_t k = 0; k < r; k++)
                sum += u[k * n + i] * v[k * m + j] * pow(condition, -(double)k / (double)(r - 1));
            out[i * m + j] = (float)sum;
        }
}

/* Eigenvalues of the symmetric a [r,r], which is overwritten, onto its diagonal: Jacobi's rotations. */
static void eigenvalues(double *a, int64_t r)
{
    for (int sweep = 0; sweep < 30; sweep++)
        for (int64_t p = 0; p < r; p++)
            for (int64_t q = p + 1; q < r; q++) {
                if (fabs(a[p * r + q]) < 1e-300)
                    continue;
                const double theta = (a[q * r + q] - a[p * r + p]) / (2 * a[p * r + q]);
                const double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
                const double c = 1 / sqrt(t * t + 1), s = t * c;
                for (int64_t k = 0; k < r; k++) {
                    const double x = a[k * r + p], y = a[k * r + q];
                    a[k * r + p] = c * x - s * y;
                    a[k * r + q] = s * x + c * y;
                }
                for (int64_t k = 0; k < r; k++) {
                    const double x = a[p * r + k], y = a[q * r + k];
                    a[p * r + k] = c * x - s * y;
                    a[q * r + k] = s * x + c * y;
                }
            }
}

/* Gram matrix of the shorter side. */
static void gram(double *out, const float *x, int64_t n, int64_t m)
{
    const int64_t r = n < m ? n : m, l = n < m ? m : n;
    for (int64_t i = 0; i < r; i++)
        for (int64_t j = 0; j < r; j++) {
            double sum = 0;
            for (int64_t k = 0; k < l; k++)
                sum += n < m ? (double)x[i * m + k] * (double)x[j * m + k] : (double)x[k * m + i] * (double)x[k * m + j];
            out[i * r + j] = sum;
        }
}

static void check_direction(const Kernels *k, int64_t n, int64_t m, uint64_t stream)
{
    static float g[SIDE_MAX * SIDE_MAX], M[SIDE_MAX * SIDE_MAX], out[SIDE_MAX * SIDE_MAX];
    static double a[SIDE_MAX * SIDE_MAX];
    const MuonParams p = {0.95, 0.18, 10};
    const int64_t r = n < m ? n : m, l = n < m ? m : n;
    double squares = 0;
    const size_t bytes = muon_scratch_bytes(n, m);
    void *scratch = mem_alloc_pages(bytes);
    assert_non_null(scratch);
    matrix_of_condition(g, n, m, 1e4, stream);
    memset(M, 0, sizeof M);
    muon_direction(out, M, g, n, m, 7, &p, k, scratch);
    mem_free_pages(scratch, bytes);
    for (int64_t i = 0; i < n * m; i++)
        squares += (double)out[i] * (double)out[i];
    const double rms = sqrt(squares / (double)(n * m));
    if (fabs(rms - 0.18) > 0.01 * 0.18)
        fail_msg("[%lld,%lld]: the update's root-mean-square is %g", (long long)n, (long long)m, rms);
    gram(a, out, n, m);
    eigenvalues(a, r);
    for (int64_t i = 0; i < r; i++) {
        const double singular = sqrt(a[i * r + i]) / (0.18 * sqrt((double)l));
        if (!(fabs(singular - 1) < 1e-2))
            fail_msg("[%lld,%lld]: singular value %lld is %.6f", (long long)n, (long long)m, (long long)i, singular);
    }
}

static void ill_conditioned_matrices_become_orthogonal(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{8, 8}, {16, 48}, {48, 16}, {47, 31}, {32, 32}, {5, 40}, {3, 2}};
    const KernelLevel levels[] = {LEVEL_SCALAR, kernels_best_level()};
    for (size_t level = 0; level < sizeof levels / sizeof *levels; level++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (uint64_t seed = 0; seed < 3; seed++)
                check_direction(kernels_at(levels[level]), sizes[i][0], sizes[i][1], 10 * i + seed);
}

static void nothing_learnt_moves_nothing(void **state)
{
    (void)state;
    static const float zero[6 * 20];
    float M[6 * 20] = {0}, out[6 * 20];
    const MuonParams p = {0.95, 0.18, 10};
    const size_t bytes = muon_scratch_bytes(6, 20);
    void *scratch = mem_alloc_pages(bytes);
    memset(out, 1, sizeof out);
    muon_direction(out, M, zero, 6, 20, 1, &p, kernels_at(kernels_best_level()), scratch);
    assert_memory_equal(out, zero, sizeof zero);
    mem_free_pages(scratch, bytes);
}

/* ---- what is not a number ---- */

static void the_norm_shows_what_is_not_finite(void **state)
{
    (void)state;
    const OptimiserParams o = params_of(true, 10, 1e-8);
    for (int i = 0; i < BALANCE; i++) {
        Bench b = bench_open(&small_spec, &o, 1);
        params_at(b.params, i)->gradient[params_at(b.params, i)->count - 1] = i % 2 ? (float)NAN : -INFINITY;
        assert_false(isfinite(optimiser_norm(b.optimiser)));
        bench_close(&b);
    }
}

/* ---- balance ---- */

static void balance_biases_move_by_the_sign_alone(void **state)
{
    (void)state;
    static const struct {
        float counts[4], moves[4];
    } cases[] = {{{5, 5, 5, 5}, {0, 0, 0, 0}},
                 {{9, 3, 5, 3}, {-0.125f, 0.125f, 0, 0.125f}},
                 {{1, 0, 0, 0}, {-0.125f, 0.125f, 0.125f, 0.125f}},
                 {{1e7f, 1e7f, 1e7f, 1e7f + 1}, {0.125f, 0.125f, 0.125f, -0.125f}}};
    const OptimiserParams o = params_of(true, 10, 1e-8);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bench b = bench_open(&small_spec, &o, 1);
        Param *p = params_at(b.params, BALANCE);
        memcpy(p->gradient, cases[i].counts, sizeof cases[i].counts);
        assert_true(optimiser_norm(b.optimiser) == 0); /* counts are no gradient */
        optimiser_step(b.optimiser, 1, 0.25, 0.5);     /* and neither clipping nor the schedule change the speed */
        assert_memory_equal(p->master, cases[i].moves, sizeof cases[i].moves);
        bench_close(&b);
    }
}

/* ---- threads ---- */

enum { BIG_ROWS = 6 };
static TensorRow big_rows[BIG_ROWS] = {
    MATRIX(96, 60, 4), MATRIX(40, 90, 0), {.uses = USE_ROWS, .ndim = 2, .dims = {700, 200}, .role = ROLE_EMBEDDING, .trainable = true},
    MATRIX(33, 17, 0), {.uses = USE_VECTOR, .ndim = 1, .dims = {5}, .role = ROLE_GAIN, .trainable = true}, MATRIX(8, 8, 0),
};
static const ModelSpec big_spec = {.tensors = big_rows, .tensor_count = BIG_ROWS};

static void step_big(float *out, double *norm, int threads)
{
    const OptimiserParams o = params_of(true, 10, 1e-8);
    Bench b = bench_open(&big_spec, &o, threads);
    for (int t = 1; t <= 2; t++) {
        for (int i = 0; i < BIG_ROWS; i++)
            for (int64_t j = 0; j < params_at(b.params, i)->count; j++)
                params_at(b.params, i)->gradient[j] = (float)rng_unit_at(9, (uint64_t)(10 * t + i), (uint64_t)j) - 0.5f;
        *norm = optimiser_norm(b.optimiser);
        optimiser_step(b.optimiser, t, 1 / *norm, 1);
    }
    for (int i = 0; i < BIG_ROWS; i++) {
        const Param *p = params_at(b.params, i);
        memcpy(out, p->master, (size_t)p->count * sizeof *out);
        out += p->count;
    }
    bench_close(&b);
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    const size_t n = 96 * 60 + 40 * 90 + 700 * 200 + 33 * 17 + 5 + 64;
    float *one = mem_alloc(n, sizeof *one), *many = mem_alloc(n, sizeof *many);
    double norm, other;
    step_big(one, &norm, 1);
    for (int threads = 2; threads <= 4; threads++) {
        step_big(many, &other, threads);
        assert_memory_equal(&norm, &other, sizeof norm);
        assert_memory_equal(one, many, n * sizeof *one);
    }
    mem_free(one);
    mem_free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_and_moments_are_those_of_the_reference),
        cmocka_unit_test(ill_conditioned_matrices_become_orthogonal),
        cmocka_unit_test(nothing_learnt_moves_nothing),
        cmocka_unit_test(the_norm_shows_what_is_not_finite),
        cmocka_unit_test(balance_biases_move_by_the_sign_alone),
        cmocka_unit_test(threads_change_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
