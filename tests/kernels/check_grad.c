/* Gradients of rows and elements, sums over rows, cross-entropy and the optimiser at every level: against the
 * formulas in long double, against the scalar level's bits, in place, and in guarded memory. Sums over rows have
 * an order by contract, so that their oracle is the plain loop, bit for bit. */
#include "check.h"

static const int64_t sizes[] = {0, 1, 15, 16, 17, 31, 33, 63, 64, 97, 257, 1031};
#define SIZES (int)(sizeof sizes / sizeof sizes[0])

/* Kinds whose results stay in range, so that the formula holds. */
static bool is_tame(InputKind kind)
{
    return kind != IN_MAX && kind != IN_SPECIAL;
}

static long double least(const Run *run)
{
    return is_double(&run->level) ? 0x1p-1074L : 0x1p-149L;
}

/* Within `units` roundoffs of `size`, and a few denormals. */
static bool near(const Run *run, double found, long double expected, double units, long double size)
{
    return fabsl((long double)found - expected) <=
           (long double)(units * roundoff(&run->level)) * size + 4 * least(run);
}

/* [rows][columns] with `pad` reals of canary behind every row. */
static Guarded matrix(const Level *l, const float *x, int64_t rows, int64_t columns, int64_t pad)
{
    Guarded g = reals(l, rows * (columns + pad));
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; x && c < columns; c++)
            real_set(l, g.p, r * (columns + pad) + c, x[r * columns + c]);
    return g;
}

/* The rows of a padded matrix next to each other; the padding must be whole. */
static Guarded packed(Run *run, const Level *l, const char *what, const void *x, int64_t rows, int64_t columns,
                      int64_t pad)
{
    Guarded g = reals(l, rows * columns);
    for (int64_t r = 0; r < rows; r++) {
        const void *const row = real_at(l, x, r * (columns + pad));
        memcpy(real_at(l, g.p, r * columns), row, (size_t)columns * l->k->real_bytes);
        if (!is_canary(real_at(l, row, columns), (size_t)pad * l->k->real_bytes))
            failed(run, "%s of %d columns: wrote behind a row", what, (int)columns);
    }
    return g;
}

static void same_bits(Run *run, const Level *l, const char *what, const Guarded *a, const Guarded *b, int64_t n)
{
    const int64_t at = first_difference(l, a->p, b->p, n);
    if (at >= 0)
        failed(run, "%s: %.9g, not %.9g, at %d of %d", what, real_get(l, a->p, at), real_get(l, b->p, at), (int)at,
               (int)n);
}

/* ---- sums over rows ---- */

static double add_at(const Level *l, double a, double b)
{
    return is_double(l) ? a + b : (double)((float)a + (float)b);
}

static void column_sum(Run *run)
{
    const Level *const l = &run->level;
    for (int i = 0; i < SIZES; i++)
        for (int kind = 0; kind < IN_COUNT; kind++) {
            const int64_t n = sizes[i], rows = kind * 3;
            float *const x = random_floats(run, (InputKind)kind, rows * n), *const before = random_floats(run, IN_PLAIN, n);
            Guarded a = matrix(l, x, rows, n, 3), dst = reals_of(l, before, n), expected = reals_of(l, before, n);
            l->k->grad->column_sum(dst.p, a.p, n + 3, rows, n);
            for (int64_t j = 0; j < n; j++)
                for (int64_t t = 0; t < rows; t++) {
                    const double sum = add_at(l, real_get(l, expected.p, j), (double)x[t * n + j]);
                    if (is_double(l))
                        ((double *)(void *)expected.p)[j] = sum;
                    else
                        real_set(l, expected.p, j, (float)sum);
                }
            same_bits(run, l, "column_sum", &dst, &expected, n);
            if (!GUARDED_FREE(&a, &dst, &expected))
                failed(run, "column_sum: wrote in front of a buffer");
            mem_free(x);
            mem_free(before);
            run->cases++;
        }
}

static void embed_back(Run *run)
{
    static const int32_t ids[] = {3, 0, 3, 6, 3, 0};
    const Level *const l = &run->level;
    for (int i = 0; i < SIZES; i++) {
        const int64_t n = sizes[i], c0 = random_below(run, n + 1), c1 = c0 + random_below(run, n - c0 + 1);
        float *const x = random_floats(run, IN_WIDE, 6 * n), *const table = random_floats(run, IN_WIDE, 7 * n);
        Guarded dx = matrix(l, x, 6, n, 1), dt = matrix(l, table, 7, n, 2);
        l->k->grad->embed_back(dt.p, n + 2, dx.p, n + 1, ids, 6, c0, c1);
        Guarded found = packed(run, l, "embed_back", dt.p, 7, n, 2);
        for (int64_t v = 0; v < 7; v++)
            for (int64_t j = 0; j < n; j++) {
                double sum = (double)table[v * n + j];
                for (int t = 0; t < 6 && j >= c0 && j < c1; t++)
                    sum = ids[t] == v ? add_at(l, sum, (double)x[t * n + j]) : sum;
                if (real_get(l, found.p, v * n + j) != sum)
                    failed(run, "embed_back: row %d, column %d of [%d, %d)", (int)v, (int)j, (int)c0, (int)c1);
            }
        if (!GUARDED_FREE(&dx, &dt, &found))
            failed(run, "embed_back: wrote in front of a buffer");
        mem_free(x);
        mem_free(table);
        run->cases++;
    }
}

/* ---- rmsnorm_back ---- */

typedef struct {
    int64_t d;
    const float *x, *gain, *dy; /* gain may be NULL */
    bool wants_gain, in_place;
} Norm;

#define NORM_ROWS 3
#define NORM_EPS 1e-5

/* dx, then dgain_rows, of NORM_ROWS rows. */
static Guarded norm_run(Run *run, const Level *l, const Norm *n)
{
    const int64_t d = n->d, count = NORM_ROWS * d;
    Guarded x = matrix(l, n->x, NORM_ROWS, d, 1), dy = matrix(l, n->dy, NORM_ROWS, d, 2);
    Guarded dx = matrix(l, NULL, NORM_ROWS, d, 2), dg = matrix(l, NULL, NORM_ROWS, d, 4);
    Guarded gain = reals_of(l, n->gain ? n->gain : n->x, n->gain ? d : 0), out = reals(l, 2 * count);
    l->k->grad->rmsnorm_back(n->in_place ? dy.p : dx.p, d + 2, n->wants_gain ? dg.p : NULL, d + 4, x.p, d + 1,
                             n->gain ? gain.p : NULL, dy.p, d + 2, NORM_ROWS, d, NORM_EPS);
    Guarded a = packed(run, l, "rmsnorm_back", n->in_place ? dy.p : dx.p, NORM_ROWS, d, 2);
    Guarded b = packed(run, l, "rmsnorm_back's gain", dg.p, NORM_ROWS, d, 4);
    memcpy(out.p, a.p, a.bytes);
    memcpy(out.p + a.bytes, b.p, b.bytes);
    if (!GUARDED_FREE(&x, &dy, &dx, &dg, &gain, &a, &b))
        failed(run, "rmsnorm_back: wrote in front of a buffer");
    return out;
}

static void norm_formula(Run *run, const Norm *n, const Guarded *out, int64_t row, InputKind kind)
{
    const Level *const l = &run->level;
    const float *const x = n->x + row * n->d, *const dy = n->dy + row * n->d;
    const double units = 12 + (double)n->d / 4;
    long double squares = 0, product = 0, size = 0;
    for (int64_t i = 0; i < n->d; i++) {
        const long double dn = (long double)dy[i] * (n->gain ? (long double)n->gain[i] : 1);
        squares += (long double)x[i] * (long double)x[i];
        product += dn * (long double)x[i];
        size += fabsl(dn * (long double)x[i]);
    }
    const long double rstd = 1 / sqrtl(squares / (long double)n->d + (long double)NORM_EPS);
    for (int64_t i = 0; i < n->d; i++) {
        const long double dn = (long double)dy[i] * (n->gain ? (long double)n->gain[i] : 1);
        const long double hat = (long double)x[i] * rstd, mean = product * rstd / (long double)n->d;
        const long double room = rstd * (fabsl(dn) + fabsl(hat) * size * rstd / (long double)n->d);
        const long double gain = (long double)dy[i] * hat;
        if (!near(run, real_get(l, out->p, row * n->d + i), rstd * (dn - hat * mean), units, room + least(run) * rstd))
            failed(run, "rmsnorm_back d %d %s: dx[%d] is wrong", (int)n->d, input_names[kind], (int)i);
        if (!near(run, real_get(l, out->p, (NORM_ROWS + row) * n->d + i), gain, units, fabsl(gain)))
            failed(run, "rmsnorm_back d %d %s: dgain[%d] is wrong", (int)n->d, input_names[kind], (int)i);
    }
}

static void norm_check(Run *run, Norm n, InputKind kind)
{
    const Level *const l = &run->level;
    const int64_t count = NORM_ROWS * n.d;
    Guarded out = norm_run(run, l, &n);
    if (has_twin(run)) {
        const Level scalar = scalar_level(run);
        Guarded twin = norm_run(run, &scalar, &n);
        same_bits(run, l, "rmsnorm_back beside scalar", &out, &twin, 2 * count);
        guarded_free(&twin);
    }
    for (int64_t row = 0; row < NORM_ROWS && is_tame(kind); row++)
        norm_formula(run, &n, &out, row, kind);
    n.in_place = true;
    Guarded same = norm_run(run, l, &n);
    same_bits(run, l, "rmsnorm_back in place", &same, &out, 2 * count);
    n.wants_gain = false;
    Guarded less = norm_run(run, l, &n);
    same_bits(run, l, "rmsnorm_back without dgain", &less, &out, count);
    if (!is_canary(less.p + (size_t)count * l->k->real_bytes, (size_t)count * l->k->real_bytes))
        failed(run, "rmsnorm_back: wrote a dgain nobody wants");
    GUARDED_FREE(&out, &same, &less);
    run->cases++;
}

static void rmsnorm_back(Run *run)
{
    for (int i = 0; i < SIZES; i++)
        for (int kind = 0; kind < IN_COUNT; kind++) {
            float *const x = random_floats(run, (InputKind)kind, NORM_ROWS * sizes[i]);
            float *const dy = random_floats(run, (InputKind)kind, NORM_ROWS * sizes[i]);
            float *const gain = random_floats(run, IN_PLAIN, sizes[i]);
            const Norm n = {.d = sizes[i], .x = x, .gain = kind % 2 ? NULL : gain, .dy = dy, .wants_gain = true};
            norm_check(run, n, (InputKind)kind);
            mem_free(x);
            mem_free(dy);
            mem_free(gain);
        }
}

/* ---- silu_mul_back ---- */

typedef struct {
    int64_t n;
    const float *gate, *up, *dy;
    double limit;
} Gated;

/* dgate, then dup. in_place: they overwrite gate and up. */
static Guarded gated_run(Run *run, const Level *l, const Gated *g, bool in_place)
{
    const int64_t n = g->n;
    Guarded a = reals_of(l, g->gate, n), b = reals_of(l, g->up, n), dy = reals_of(l, g->dy, n);
    Guarded da = reals(l, n), db = reals(l, n), out = reals(l, 2 * n);
    const Guarded *const to[2] = {in_place ? &a : &da, in_place ? &b : &db};
    l->k->grad->silu_mul_back(to[0]->p, to[1]->p, a.p, b.p, dy.p, n, g->limit);
    memcpy(out.p, to[0]->p, da.bytes);
    memcpy(out.p + da.bytes, to[1]->p, db.bytes);
    if (!GUARDED_FREE(&a, &b, &dy, &da, &db))
        failed(run, "silu_mul_back: wrote in front of a buffer");
    return out;
}

/* Both gradients of element i by the formula; false where the numbers leave the range. */
static bool gated_formula(const Run *run, const Gated *g, int64_t i, double dgate, double dup)
{
    const long double limit = g->limit > 0 ? (long double)g->limit : (long double)INFINITY;
    const long double dy = (long double)g->dy[i];
    const long double x = (long double)g->gate[i] < limit ? (long double)g->gate[i] : limit;
    const long double u = fmaxl(-limit, fminl(limit, (long double)g->up[i]));
    const long double sigma = 1 / (1 + expl(-x)), other = 1 / (1 + expl(x)), slope = sigma * (1 + x * other);
    const long double room = least(run) * (2 + fabsl(x)) / (long double)roundoff(&run->level);
    const long double a = (long double)g->gate[i] > limit ? 0 : dy * u * slope;
    const long double b = fabsl((long double)g->up[i]) > limit ? 0 : dy * x * sigma;
    if (!isfinite(g->gate[i]) || !isfinite(g->up[i]) || !isfinite(dy) || fabsl(dy * u) > 1e38L || fabsl(dy * x) > 1e38L)
        return true;
    return near(run, dgate, a, 12, fabsl(dy * u) * (sigma * (1 + fabsl(x) * other) + room) + room) &&
           near(run, dup, b, 10, fabsl(dy) * (fabsl(x) * sigma + room));
}

static void gated_check(Run *run, const Gated *g)
{
    const Level *const l = &run->level;
    Guarded out = gated_run(run, l, g, false), same = gated_run(run, l, g, true);
    same_bits(run, l, "silu_mul_back in place", &same, &out, 2 * g->n);
    if (has_twin(run)) {
        const Level scalar = scalar_level(run);
        Guarded twin = gated_run(run, &scalar, g, false);
        same_bits(run, l, "silu_mul_back beside scalar", &out, &twin, 2 * g->n);
        guarded_free(&twin);
    }
    for (int64_t i = 0; i < g->n; i++) {
        const double a = real_get(l, out.p, i), b = real_get(l, out.p, g->n + i);
        if (!gated_formula(run, g, i, a, b))
            failed(run, "silu_mul_back(%a, %a, %a), limit %g: %a, %a", (double)g->gate[i], (double)g->up[i],
                   (double)g->dy[i], g->limit, a, b);
    }
    GUARDED_FREE(&out, &same);
    run->cases++;
}

static void gated_edges(Run *run)
{
    const Level *const l = &run->level;
    const float gate[] = {INFINITY, -INFINITY, NAN, 3, 2, 1, 1, 1, -3, 1, 1};
    const float up[] = {1, 1, 1, 1, 1, 3, -3, 2, 1, NAN, 1}, dy[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, NAN};
    const Gated free_ = {11, gate, up, dy, 0}, bound = {11, gate, up, dy, 2};
    Guarded a = gated_run(run, l, &free_, false), b = gated_run(run, l, &bound, false);
    const double nan_dgate = real_get(l, a.p, 2), nan_up = real_get(l, b.p, 9), nan_dy = real_get(l, b.p, 10);
    if (real_get(l, a.p, 0) != 1 || real_get(l, a.p, 1) != 0 || !isnan(nan_dgate) || !isnan(nan_up) || !isnan(nan_dy))
        failed(run, "silu_mul_back of infinities and NaNs");
    /* beyond the limit nothing, at it everything; gate has no lower limit */
    if (real_get(l, b.p, 0) != 0 || real_get(l, b.p, 3) != 0 || !(real_get(l, b.p, 4) > 1) ||
        real_get(l, b.p, 11 + 5) != 0 || real_get(l, b.p, 11 + 6) != 0 || !(real_get(l, b.p, 11 + 7) > 0.7) ||
        real_get(l, b.p, 8) == 0 || !isnan(real_get(l, b.p, 2)))
        failed(run, "silu_mul_back at its limits");
    GUARDED_FREE(&a, &b);
    run->cases++;
}

static void silu_mul_back(Run *run)
{
    for (int i = 0; i <= SIZES; i++)
        for (int kind = 0; kind < IN_COUNT; kind++) {
            const int64_t n = i < SIZES ? sizes[i] : 2048;
            float *const a = random_floats(run, (InputKind)kind, n), *const b = random_floats(run, (InputKind)kind, n);
            float *const dy = random_floats(run, (InputKind)kind, n);
            for (int64_t j = 0; j < n && i == SIZES; j++) /* where the exponential is neither 0 nor 1 */
                a[j] *= j % 2 ? 10.0f : 130.0f;
            gated_check(run, &(Gated){n, a, b, dy, 0});
            gated_check(run, &(Gated){n, a, b, dy, 0.6});
            mem_free(a);
            mem_free(b);
            mem_free(dy);
        }
    gated_edges(run);
}

/* ---- cross_entropy ---- */

#define LOSS_ROWS 4
static const float loss_weights[LOSS_ROWS] = {1, 0.00390625f, 0.3f, 2};

/* dlogits, then the losses. */
static Guarded loss_run(Run *run, const Level *l, const float *x, int64_t V, const int32_t *target)
{
    Guarded a = matrix(l, x, LOSS_ROWS, V, 3), loss = reals(l, LOSS_ROWS), out = reals(l, LOSS_ROWS * (V + 1));
    l->k->grad->cross_entropy(a.p, V + 3, LOSS_ROWS, V, target, loss_weights, loss.p);
    Guarded b = packed(run, l, "cross_entropy", a.p, LOSS_ROWS, V, 3);
    memcpy(out.p, b.p, b.bytes);
    memcpy(out.p + b.bytes, loss.p, loss.bytes);
    if (!GUARDED_FREE(&a, &b, &loss))
        failed(run, "cross_entropy: wrote in front of a buffer");
    return out;
}

static void loss_formula(Run *run, const float *x, int64_t V, int32_t target, int row, const Guarded *out)
{
    const Level *const l = &run->level;
    const long double w = (long double)loss_weights[row];
    long double max = -(long double)INFINITY, sum = 0;
    Guarded logits = reals_of(l, x, V);
    const long double lse = (long double)l->k->logsumexp(logits.p, V);
    const double loss = real_get(l, out->p, LOSS_ROWS * V + row);
    guarded_free(&logits);
    for (int64_t i = 0; i < V; i++)
        max = fmaxl(max, (long double)x[i]);
    for (int64_t i = 0; i < V; i++)
        sum += expl((long double)x[i] - max);
    if (target < 0) {
        for (int64_t i = 0; i < V; i++)
            if (real_get(l, out->p, row * V + i) != 0)
                failed(run, "cross_entropy: a gradient without a target");
        if (loss != 0)
            failed(run, "cross_entropy: a loss without a target");
        return;
    }
    if (!near(run, loss, w * (lse - (long double)x[target]), 2, w * (fabsl(lse) + fabsl((long double)x[target]))))
        failed(run, "cross_entropy of %d: loss %.9g, should be %.9Lg", (int)V, loss, w * (lse - (long double)x[target]));
    for (int64_t i = 0; i < V; i++) {
        const long double p = expl((long double)x[i] - max) / sum;
        const long double expected = w * (p - (i == target)), size = p * (80 + max - (long double)x[i]) + (i == target);
        if (!near(run, real_get(l, out->p, row * V + i), expected, 2, w * size))
            failed(run, "cross_entropy of %d: dlogits[%d] = %.9g, should be %.9Lg", (int)V, (int)i,
                   real_get(l, out->p, row * V + i), expected);
    }
}

static void loss_check(Run *run, const float *x, int64_t V, bool exact)
{
    const Level *const l = &run->level;
    const int32_t target[LOSS_ROWS] = {0, (int32_t)(V - 1), -1, (int32_t)random_below(run, V)};
    Guarded out = loss_run(run, l, x, V, target);
    if (has_twin(run)) {
        const Level scalar = scalar_level(run);
        Guarded twin = loss_run(run, &scalar, x, V, target);
        same_bits(run, l, "cross_entropy beside scalar", &out, &twin, LOSS_ROWS * (V + 1));
        guarded_free(&twin);
    }
    for (int row = 0; row < LOSS_ROWS && exact; row++)
        loss_formula(run, x + row * V, V, target[row], row, &out);
    for (int row = 0; row < LOSS_ROWS && !exact; row++) { /* anything that is not finite must be seen */
        bool finite = true;
        for (int64_t i = 0; i < V; i++)
            finite = finite && isfinite(x[row * V + i]);
        const double loss = real_get(l, out.p, LOSS_ROWS * V + row);
        if (target[row] < 0 ? loss != 0 : !finite && !isnan(loss))
            failed(run, "cross_entropy of %d: loss %g with logits that are not finite", (int)V, loss);
    }
    guarded_free(&out);
    run->cases++;
}

static void cross_entropy(Run *run)
{
    const Level *const l = &run->level;
    for (int i = 1; i < SIZES; i++)
        for (int kind = 0; kind < IN_COUNT; kind++) {
            float *const x = random_floats(run, (InputKind)kind, LOSS_ROWS * sizes[i]);
            loss_check(run, x, sizes[i], is_tame((InputKind)kind) && kind != IN_WIDE);
            for (int64_t j = 0; j < LOSS_ROWS * sizes[i]; j++)
                x[j] *= 30;
            loss_check(run, x, sizes[i], is_tame((InputKind)kind) && kind != IN_WIDE);
            mem_free(x);
        }
    float *const x = random_floats(run, IN_PLAIN, LOSS_ROWS * 49157);
    loss_check(run, x, 49157, true);
    mem_free(x);
    const float masked[LOSS_ROWS * 2] = {1, -INFINITY, INFINITY, 1, NAN, 1, 1, NAN};
    loss_check(run, masked, 2, false);
    const float sure[LOSS_ROWS * 2] = {500, -500, 500, -500, 1, 1, -3e38f, 3e38f};
    const int32_t target[LOSS_ROWS] = {0, 1, 0, 1};
    Guarded out = loss_run(run, l, sure, 2, target);
    if (real_get(l, out.p, 0) != 0 || real_get(l, out.p, 8) != 0 || real_get(l, out.p, 9) != 1000 * 0.00390625 ||
        real_get(l, out.p, 11) != 0)
        failed(run, "cross_entropy of sure rows");
    guarded_free(&out);
}

/* ---- optimisers: float at every level, none at f64 ---- */

typedef struct {
    int64_t n;
    float *w, *m, *v, *g;
} Adam;

static const AdamStep adam_steps[] = {
    {1e-3, 0.9, 0.95, 1e-8, 0.1, 1, 1 / (1 - 0.9), 1 / (1 - 0.95)},
    {3e-4, 0.9, 0.999, 1e-8, 0, 0.25, 1.2, 80},
    {1, 0, 0, 1e-3, 0.01, 1, 1, 1},
};

/* w, m, v behind each other. */
static Guarded adam_run(Run *run, const Kernels *k, const Adam *a, const AdamStep *s)
{
    const size_t bytes = (size_t)a->n * sizeof(float);
    Guarded w = guarded(bytes), m = guarded(bytes), v = guarded(bytes), g = guarded(bytes), out = guarded(3 * bytes);
    memcpy(w.p, a->w, bytes);
    memcpy(m.p, a->m, bytes);
    memcpy(v.p, a->v, bytes);
    memcpy(g.p, a->g, bytes);
    k->grad->adamw((float *)(void *)w.p, (float *)(void *)m.p, (float *)(void *)v.p, (const float *)(void *)g.p, a->n, s);
    memcpy(out.p, w.p, bytes);
    memcpy(out.p + bytes, m.p, bytes);
    memcpy(out.p + 2 * bytes, v.p, bytes);
    if (!GUARDED_FREE(&w, &m, &v, &g))
        failed(run, "adamw: wrote in front of a buffer");
    return out;
}

static void adam_formula(Run *run, const Adam *a, const AdamStep *s, const float *out)
{
    for (int64_t i = 0; i < a->n; i++) {
        const double g = s->scale * (double)a->g[i], w = (double)a->w[i];
        const double m1 = s->beta1 * (double)a->m[i], m2 = (1 - s->beta1) * g, m = m1 + m2;
        const double v = s->beta2 * (double)a->v[i] + (1 - s->beta2) * g * g;
        const double root = sqrt(v * s->correct2) + s->eps, step = s->lr * s->correct1 / root;
        const double size = fabs(w) + step * (fabs(m1) + fabs(m2)), next = w * (1 - s->lr * s->decay) - step * m;
        /* a denormal m or v has an error of its own, which eps no longer hides when it is divided by */
        const double tiny = 0x1p-147 / roundoff(&run->level), lost = v > 0 ? tiny / v : 0;
        const double rest = step * (tiny + (fabs(m1) + fabs(m2)) * lost);
        if (!near(run, (double)out[i], (long double)next, 12, (long double)(size + rest)) ||
            !near(run, (double)out[a->n + i], (long double)m, 4, (long double)(fabs(m1) + fabs(m2))) ||
            !near(run, (double)out[2 * a->n + i], (long double)v, 6, (long double)v))
            failed(run, "adamw: w %a m %a v %a g %a becomes %a %a %a", w, (double)a->m[i], (double)a->v[i],
                   (double)a->g[i], (double)out[i], (double)out[a->n + i], (double)out[2 * a->n + i]);
    }
}

static void adam_check(Run *run, const Adam *a, const AdamStep *s, bool exact)
{
    Guarded out = adam_run(run, run->level.k, a, s);
    if (has_twin(run)) {
        const Level scalar = scalar_level(run);
        Guarded twin = adam_run(run, run->scalar, a, s);
        same_bits(run, &scalar, "adamw beside scalar", &out, &twin, 3 * a->n);
        guarded_free(&twin);
    }
    if (exact)
        adam_formula(run, a, s, (const float *)(void *)out.p);
    guarded_free(&out);
    run->cases++;
}

static void adamw(Run *run)
{
    if (is_double(&run->level)) {
        if (run->level.k->grad->adamw || run->level.k->grad->sum_squares)
            failed(run, "the f64 table has optimisers");
        return;
    }
    for (int i = 0; i < SIZES; i++)
        for (int kind = 0; kind < IN_COUNT; kind++)
            for (size_t s = 0; s < sizeof adam_steps / sizeof adam_steps[0]; s++) {
                Adam a = {.n = sizes[i]};
                a.w = random_floats(run, (InputKind)kind, a.n);
                a.m = random_floats(run, (InputKind)kind, a.n);
                a.v = random_floats(run, (InputKind)kind, a.n);
                a.g = random_floats(run, (InputKind)kind, a.n);
                for (int64_t j = 0; j < a.n; j++)
                    a.v[j] = fabsf(a.v[j]);
                adam_check(run, &a, &adam_steps[s], is_tame((InputKind)kind));
                mem_free(a.w);
                mem_free(a.m);
                mem_free(a.v);
                mem_free(a.g);
            }
}

static double squares(Run *run, const Kernels *k, const float *x, int64_t n)
{
    Guarded g = guarded((size_t)n * sizeof *x);
    memcpy(g.p, x, g.bytes);
    const double sum = k->grad->sum_squares((const float *)(void *)g.p, n);
    if (!guarded_free(&g))
        failed(run, "sum_squares: wrote in front of x");
    return sum;
}

static void sum_squares(Run *run)
{
    for (int i = 0; i < SIZES && !is_double(&run->level); i++)
        for (int kind = 0; kind < IN_COUNT; kind++) {
            const int64_t n = sizes[i];
            float *const x = random_floats(run, (InputKind)kind, n);
            const double found = squares(run, run->level.k, x, n), twin = squares(run, run->scalar, x, n);
            long double sum = 0;
            for (int64_t j = 0; j < n; j++)
                sum += (long double)x[j] * (long double)x[j];
            if (memcmp(&found, &twin, sizeof twin) != 0 && !(isnan(found) && isnan(twin)))
                failed(run, "sum_squares of %d: not the scalar bits", (int)n);
            if (isfinite(sum) ? !(fabsl((long double)found - sum) <= (long double)(4 + n / 16) * 0x1p-53L * sum)
                              : isnan(sum) ? !isnan(found) : !isinf(found))
                failed(run, "sum_squares of %d %s: %.17g, should be %.17Lg", (int)n, input_names[kind], found, sum);
            mem_free(x);
            run->cases++;
        }
}

int main(int argc, char **argv)
{
    static const KernelCheck checks[] = {
        {"column_sum", column_sum},       {"embed_back", embed_back},       {"rmsnorm_back", rmsnorm_back},
        {"silu_mul_back", silu_mul_back}, {"cross_entropy", cross_entropy}, {"adamw", adamw},
        {"sum_squares", sum_squares},
    };
    return check_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
