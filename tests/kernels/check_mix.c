/* Hyper-connections and pooling (kernels/mix.h) at every level: against the formulas in long double, gradients
 * against differences of those formulas, the scalar level's bits on hostile inputs, what lies around the buffers. */
#include "formula.h"

/* ---- hyper-connections: coefficients ---- */

static int64_t coefficients(const HyperShape *s)
{
    return s->head ? s->M : (2 + s->M) * s->M;
}

static wide sigmoid(wide x)
{
    return 1 / (1 + expl(-x));
}

/* in: z, x, scale, base */
static void split_formula(const void *shape, wide *const *in, wide *out)
{
    const HyperShape *const s = shape;
    const int64_t M = s->M;
    wide sum = 0, *const C = out + 2 * M;
    for (int64_t i = 0; i < M * s->d; i++)
        sum += in[1][i] * in[1][i];
    const wide g = 1 / sqrtl(sum / (wide)(M * s->d) + (wide)s->rms_eps), eps = (wide)s->hc_eps;
    for (int64_t i = 0; i < coefficients(s); i++)
        out[i] = in[0][i] * g * in[2][i < M ? 0 : i < 2 * M ? 1 : 2] + in[3][i];
    for (int64_t i = 0; i < M; i++)
        out[i] = sigmoid(out[i]) + eps;
    if (s->head)
        return;
    for (int64_t i = M; i < 2 * M; i++)
        out[i] = 2 * sigmoid(out[i]);
    for (int64_t j = 0; j < M; j++) {
        wide total = 0;
        for (int64_t k = 0; k < M; k++)
            total += C[j * M + k] = expl(C[j * M + k]);
        for (int64_t k = 0; k < M; k++)
            C[j * M + k] = C[j * M + k] / total + eps;
    }
    for (int64_t step = 0; step < 2 * s->iterations - 1; step++) { /* columns, rows, columns, … */
        const int64_t line = step % 2 ? M : 1, along = step % 2 ? 1 : M;
        for (int64_t j = 0; j < M; j++) {
            wide total = eps;
            for (int64_t k = 0; k < M; k++)
                total += C[j * line + k * along];
            for (int64_t k = 0; k < M; k++)
                C[j * line + k * along] /= total;
        }
    }
}

static const Formula split = {split_formula, 4, false};

static void call_split(const Kernels *k, const Call *c, void *const *p)
{
    k->mix->hyper_split(c->shape, p[4], ld(c, 4), p[0], ld(c, 0), p[1], ld(c, 1), p[2], p[3], c->arg[0].rows);
}

static void call_split_back(const Kernels *k, const Call *c, void *const *p)
{
    k->mix->hyper_split_back(c->shape, p[5], ld(c, 5), p[6], ld(c, 6), p[7], ld(c, 7), p[8], ld(c, 8), p[0], ld(c, 0),
                             p[1], ld(c, 1), p[2], p[3], p[4], ld(c, 4), c->arg[0].rows);
}

static void check_split(Run *run, const HyperShape *s, int64_t rows, InputKind kind)
{
    const int64_t n = coefficients(s), scales = s->head ? 1 : 3;
    Call c = {.what = "hyper_split", .shape = s, .kernel = call_split, .kind = kind};
    for (int back = 0; back < 2; back++) {
        c.count = 0;
        add_in(run, &c, rows, n, 3);
        add_in(run, &c, rows, s->M * s->d, 1);
        add_in(run, &c, 1, scales, 0);
        add_in(run, &c, 1, n, 0);
        for (int64_t i = 0; i < rows * n && kind == IN_PLAIN; i++)
            c.arg[0].init[i] *= 4;
        for (int64_t i = 0; i < rows * s->M * s->d && kind == IN_PLAIN; i++) /* where 1/|x| is tame */
            c.arg[1].init[i] += copysignf(0.25f, c.arg[1].init[i]);
        if (!back) {
            add_out(&c, rows, n, 2);
            check_forward(run, &c, &split, (const int[]){0, 1, 2, 3}, 4, 24);
        } else {
            c.what = "hyper_split_back";
            c.kernel = call_split_back;
            add_in(run, &c, rows, n, 1);
            add_out(&c, rows, n, 5);
            add_out(&c, rows, s->M * s->d, 2);
            add_out(&c, rows, n, 0);
            add_out(&c, rows, scales, 1);
            check_backward(run, &c, &split, (const int[]){0, 1, 2, 3}, 4, (const int[]){5, 6, 8, 7}, 100,
                           (const double[]){0, 0.02 * (double)n / (double)(s->M * s->d), 0, 0});
        }
        call_free(&c);
    }
}

static void hyper_split(Run *run)
{
    static const int64_t streams[] = {1, 2, 3, 4, 5, 8}, widths[] = {1, 7, 16, 33}, iterations[] = {1, 2, 3, 20, 80};
    static const int64_t rows[] = {0, 1, 3, 16, 17};
    for (int kind = 0; kind < IN_COUNT; kind++)
        for (int i = 0; i < (run->quick ? 12 : 40); i++) {
            const HyperShape s = {.M = PICK(run, streams),
                                  .d = PICK(run, widths),
                                  .rms_eps = 1e-6,
                                  .hc_eps = i % 3 ? 1e-6 : 1e-2,
                                  .iterations = PICK(run, iterations),
                                  .head = i % 4 == 0};
            check_split(run, &s, PICK(run, rows), (InputKind)kind);
        }
}

/* deepseek-v4.md §10 */
static void hyper_split_anchor(Run *run)
{
    static const double expected[24] = {0.2839412, 0.5621775, 0.5124984, 0.6283172, 1.1305015, 0.8086385,
                                        1.1732352, 0.8511150, 0.1095379, 0.5634129, 0.2074593, 0.1195888,
                                        0.2495769, 0.0052466, 0.4727022, 0.2724733, 0.1669331, 0.4263918,
                                        0.3161685, 0.0905056, 0.4739512, 0.0049477, 0.0036690, 0.5174312};
    const HyperShape s = {.M = 4, .d = 1, .hc_eps = 1e-6, .iterations = 20};
    float z[24], base[24];
    const float scale[3] = {0.5f, 0.25f, 2}, x[4] = {1, 1, 1, 1}; /* g is 1 */
    for (int i = 0; i < 24; i++) {
        z[i] = (float)(7 * i % 11 - 5) / 4;
        base[i] = (float)(3 * i % 7 - 3) / 10;
    }
    const Level *const l = &run->level;
    Guarded gz = reals_of(l, z, 24), gbase = reals_of(l, base, 24), gscale = reals_of(l, scale, 3);
    Guarded gx = reals_of(l, x, 4), c = reals(l, 24);
    l->k->mix->hyper_split(&s, c.p, 24, gz.p, 24, gx.p, 4, gscale.p, gbase.p, 1);
    for (int i = 0; i < 24; i++)
        if (!(fabs(real_get(l, c.p, i) - expected[i]) <= (is_double(l) ? 0.6e-7 : 3e-7)))
            failed(run, "coefficient %d is %.9f, should be %.7f", i, real_get(l, c.p, i), expected[i]);
    GUARDED_FREE(&gz, &gbase, &gscale, &gx, &c);
    run->cases++;
}

/* ---- hyper-connections: streams ---- */

/* in: x, c */
static void pre_formula(const void *shape, wide *const *in, wide *out)
{
    const HyperShape *const s = shape;
    for (int64_t i = 0; i < s->d; i++) {
        out[i] = 0;
        for (int64_t j = 0; j < s->M; j++)
            out[i] += in[1][j] * in[0][j * s->d + i];
    }
}

static const Formula pre = {pre_formula, 2, false};

static void call_pre(const Kernels *k, const Call *c, void *const *p)
{
    k->mix->hyper_pre(c->shape, p[2], ld(c, 2), p[0], ld(c, 0), p[1], ld(c, 1), c->arg[0].rows);
}

static void call_pre_back(const Kernels *k, const Call *c, void *const *p)
{
    k->mix->hyper_pre_back(c->shape, p[3], ld(c, 3), p[4], ld(c, 4), p[0], ld(c, 0), p[1], ld(c, 1), p[2], ld(c, 2),
                           c->arg[0].rows);
}

static void check_pre(Run *run, const HyperShape *s, int64_t rows, InputKind kind)
{
    Call c = {.what = "hyper_pre", .shape = s, .kernel = call_pre, .kind = kind};
    add_in(run, &c, rows, s->M * s->d, 2);
    add_in(run, &c, rows, coefficients(s), 1);
    add_out(&c, rows, s->d, 3);
    check_forward(run, &c, &pre, (const int[]){0, 1}, 2, 8);
    c.what = "hyper_pre_back";
    c.kernel = call_pre_back;
    c.count = 2;
    add_in(run, &c, rows, s->d, 1);
    add_out(&c, rows, s->M * s->d, 4);
    add_out(&c, rows, coefficients(s), 2);
    check_backward(run, &c, &pre, (const int[]){0, 1}, 2, (const int[]){3, 4}, 16, NULL);
    call_free(&c);
}

/* in: x, c, f */
static void post_formula(const void *shape, wide *const *in, wide *out)
{
    const HyperShape *const s = shape;
    const wide *const post = in[1] + s->M, *const comb = in[1] + 2 * s->M;
    for (int64_t k = 0; k < s->M; k++)
        for (int64_t i = 0; i < s->d; i++) {
            out[k * s->d + i] = post[k] * in[2][i];
            for (int64_t j = 0; j < s->M; j++)
                out[k * s->d + i] += comb[j * s->M + k] * in[0][j * s->d + i];
        }
}

static const Formula post = {post_formula, 3, false};

static void call_post(const Kernels *k, const Call *c, void *const *p)
{
    k->mix->hyper_post(c->shape, p[3], ld(c, 3), p[0], ld(c, 0), p[1], ld(c, 1), p[2], ld(c, 2), c->arg[0].rows);
}

static void call_post_back(const Kernels *k, const Call *c, void *const *p)
{
    k->mix->hyper_post_back(c->shape, p[4], ld(c, 4), p[5], ld(c, 5), p[6], ld(c, 6), p[0], ld(c, 0), p[1], ld(c, 1),
                            p[2], ld(c, 2), p[3], ld(c, 3), c->arg[0].rows);
}

static void check_post(Run *run, const HyperShape *s, int64_t rows, InputKind kind)
{
    Call c = {.what = "hyper_post", .shape = s, .kernel = call_post, .kind = kind};
    add_in(run, &c, rows, s->M * s->d, 2);
    add_in(run, &c, rows, coefficients(s), 1);
    add_in(run, &c, rows, s->d, 3);
    add_out(&c, rows, s->M * s->d, 1);
    check_forward(run, &c, &post, (const int[]){0, 1, 2}, 3, 12);
    c.what = "hyper_post_back";
    c.kernel = call_post_back;
    c.count = 3;
    add_in(run, &c, rows, s->M * s->d, 1);
    add_out(&c, rows, s->M * s->d, 4);
    add_out(&c, rows, coefficients(s), 2);
    add_out(&c, rows, s->d, 1);
    check_backward(run, &c, &post, (const int[]){0, 1, 2}, 3, (const int[]){4, 5, 6}, 16, NULL);
    call_free(&c);
}

static void hyper_streams(Run *run)
{
    static const int64_t streams[] = {1, 2, 3, 4, 5, 8}, widths[] = {1, 7, 15, 16, 17, 33, 64}, rows[] = {0, 1, 3};
    for (int kind = 0; kind < IN_COUNT; kind++)
        for (int i = 0; i < (run->quick ? 10 : 40); i++) {
            HyperShape s = {.M = PICK(run, streams), .d = PICK(run, widths), .head = i % 4 == 0};
            check_pre(run, &s, PICK(run, rows), (InputKind)kind);
            s.head = false;
            check_post(run, &s, PICK(run, rows), (InputKind)kind);
        }
    for (int i = 0; i < 2; i++) { /* more than one piece */
        const HyperShape s = {.M = i ? 2 : 4, .d = i ? 512 : 259};
        check_post(run, &s, 1, IN_PLAIN);
        check_pre(run, &s, 1, IN_PLAIN);
    }
}

/* ---- pooling ---- */

typedef struct {
    int64_t rows, c;
    const bool *present;
} PoolShape;

/* in: a, b, ape, rows of c */
static void pool_formula(const void *shape, wide *const *in, wide *out)
{
    const PoolShape *const s = shape;
    for (int64_t i = 0; i < s->c; i++) {
        wide total = 0, sum = 0, max = -(wide)INFINITY;
        for (int64_t r = 0; r < s->rows; r++)
            if (s->present[r])
                max = fmaxl(max, in[1][r * s->c + i] + in[2][r * s->c + i]);
        for (int64_t r = 0; r < s->rows; r++)
            if (s->present[r]) {
                const wide w = expl(in[1][r * s->c + i] + in[2][r * s->c + i] - max);
                total += w;
                sum += w * in[0][r * s->c + i];
            }
        out[i] = sum / total;
    }
}

static const Formula pooling = {pool_formula, 3, true};

#define POOL_ROWS 128

/* Arguments: a, b, ape, then e, or de, da, db. */
static void call_pool(const Kernels *k, const Call *c, void *const *p)
{
    const PoolShape *const s = c->shape;
    const Level level = {"", k};
    const void *a[POOL_ROWS], *b[POOL_ROWS], *ape[POOL_ROWS];
    void *da[POOL_ROWS] = {0}, *db[POOL_ROWS] = {0};
    for (int64_t r = 0; r < s->rows; r++) {
        a[r] = s->present[r] ? real_at(&level, p[0], r * ld(c, 0)) : NULL;
        b[r] = s->present[r] ? real_at(&level, p[1], r * ld(c, 1)) : NULL;
        ape[r] = real_at(&level, p[2], r * ld(c, 2));
        for (int i = 4; i < c->count && s->present[r]; i++)
            *(i == 4 ? &da[r] : &db[r]) = real_at(&level, p[i], r * ld(c, i));
    }
    const PoolArgs args = {.a = a, .b = b, .ape = ape, .rows = s->rows, .c = s->c};
    if (c->count == 4)
        k->mix->pool(&args, p[3]);
    else
        k->mix->pool_back(&args, p[3], da, db);
}

static void check_pool(Run *run, const PoolShape *s, InputKind kind)
{
    Call c = {.what = "pool", .shape = s, .kernel = call_pool, .kind = kind};
    add_in(run, &c, s->rows, s->c, 3);
    for (int i = 0; i < 2; i++)
        add_in(run, &c, s->rows, s->c, 1);
    for (int64_t i = 0; i < s->rows * s->c && kind == IN_PLAIN; i++)
        c.arg[1].init[i] *= 6;
    add_out(&c, 1, s->c, 0);
    check_forward(run, &c, &pooling, (const int[]){0, 1, 2}, 3, 40);
    c.what = "pool_back";
    c.count = 3;
    add_in(run, &c, 1, s->c, 0);
    for (int i = 0; i < 2; i++) { /* of rows that are absent nothing is written: 0 stays 0 */
        add_in(run, &c, s->rows, s->c, 2);
        c.arg[4 + i].kind = ARG_INOUT;
        memset(c.arg[4 + i].init, 0, (size_t)(s->rows * s->c) * sizeof(float));
    }
    check_backward(run, &c, &pooling, (const int[]){0, 1, 2}, 3, (const int[]){4, 5, 5}, 60, NULL);
    call_free(&c);
}

static void pool(Run *run)
{
    static const int64_t rows[] = {1, 4, 8, 5, 128}, widths[] = {1, 15, 16, 17, 40};
    for (int kind = 0; kind < IN_COUNT; kind++)
        for (int i = 0; i < (run->quick ? 5 : 15); i++) {
            bool present[POOL_ROWS];
            const PoolShape s = {.rows = rows[i % 5], .c = PICK(run, widths), .present = present};
            for (int64_t r = 0; r < s.rows; r++)
                present[r] = i % 2 || r >= s.rows / 2;
            if (s.rows < 100 || (i < 5 && !run->quick))
                check_pool(run, &s, (InputKind)kind);
        }
}

int main(int argc, char **argv)
{
    static const KernelCheck checks[] = {
        {"hyper_split", hyper_split},
        {"hyper_split_anchor", hyper_split_anchor},
        {"hyper_streams", hyper_streams},
        {"pool", pool},
    };
    return check_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
