/* Coefficients of hyper-connections: a row's (2+M)·M numbers from its products with fn (deepseek-v4.md §2.3),
 * and their gradients.
 *
 * Plan. Lanes are rows: sixteen of them at a time are turned around, so that coefficient i of all is one
 * vector, and everything between is element-wise. Twenty iterations of Sinkhorn on a matrix of four by
 * four are 156 divisions that depend on each other in a row of their own, and hardly more for sixteen.
 *
 * Sinkhorn multiplies rows and columns by numbers, so its matrix is at any time
 *     C[j][k] = a[j] · C0[j][k] · b[k],   C0 = softmax + eps, a = b = 1 at first,
 * and a step is   b[k] ← b[k] / (b[k]·Σ_j C0[j][k]·a[j] + eps)   for columns, the same with a for rows.
 * Going back, with t = Σ C0·other, u = old·t + eps, new = old/u:
 *     ∂new/∂t = −new²        ∂new/∂old = eps/u² = eps·(new/old)²
 * with no difference of nearly equal numbers in it. The vectors a and b of all steps are kept, HISTORY steps
 * at a time; earlier ones are computed again from the start, which nobody's twenty iterations need. */
#include "kernels/lanes/lanes.h"
#include "kernels/lanes/vec_math.h"

#define STREAMS HYPER_STREAMS_MAX
#define COEFFICIENTS ((2 + STREAMS) * STREAMS)
#define HISTORY 64

/* How many coefficients a row has, and which of the three scales coefficient i takes. */
static int64_t coefficients(const HyperShape *s)
{
    return s->head ? s->M : (2 + s->M) * s->M;
}

static int part_of(const HyperShape *s, int64_t i)
{
    return i < s->M ? 0 : i < 2 * s->M ? 1 : 2;
}

/* ---- sixteen rows turned around ---- */

/* out[i] lane l = rows[l][i]; lanes from `count` on are 0. */
static void turn_in(vreal *out, const real *rows, int64_t ld, int64_t n, int64_t count)
{
    for (int64_t i = 0; i < n; i++) {
        real lanes[LANES] = {0};
        for (int64_t l = 0; l < count; l++)
            lanes[l] = rows[l * ld + i];
        out[i] = v_load(lanes);
    }
}

static void turn_out(real *rows, int64_t ld, const vreal *in, int64_t n, int64_t count)
{
    for (int64_t i = 0; i < n; i++) {
        real lanes[LANES];
        v_store(lanes, in[i]);
        for (int64_t l = 0; l < count; l++)
            rows[l * ld + i] = lanes[l];
    }
}

static real sum_of_squares(const real *x, int64_t d)
{
    vreal sum = v_zero();
    int64_t i = 0;
    for (; i + LANES <= d; i += LANES) {
        const vreal a = v_load(x + i);
        sum = v_fma(a, a, sum);
    }
    if (i < d) {
        const vreal a = v_load_part(x + i, d - i);
        sum = v_fma(a, a, sum);
    }
    return v_reduce_add(sum);
}

/* 1/sqrt(mean square + eps) of each row, a lane each; 1 in lanes without a row. */
static vreal inverse_sizes(const HyperShape *s, const real *x, int64_t ldx, int64_t count)
{
    real g[LANES];
    for (int64_t l = 0; l < LANES; l++)
        g[l] = l < count ? sum_of_squares(x + l * ldx, s->M * s->d) / (real)(s->M * s->d) + (real)s->rms_eps : 1;
    return v_div(v_set1(1), v_sqrt(v_load(g)));
}

/* ---- Sinkhorn ---- */

/* One step: `scaled` becomes what it is after normalising its side of C0, `other` is the other side's vector.
 * out may be scaled. */
INLINE void sinkhorn_step(const int M, vreal *out, const vreal *scaled, const vreal *other, const vreal *c0,
                          bool columns, vreal eps)
{
    const int mine = columns ? 1 : M, theirs = columns ? M : 1;
    for (int j = 0; j < M; j++) {
        vreal t = v_mul(c0[j * mine], other[0]);
        for (int k = 1; k < M; k++)
            t = v_fma(c0[j * mine + k * theirs], other[k], t);
        out[j] = v_div(scaled[j], v_fma(scaled[j], t, eps));
    }
}

/* The vectors after `steps` steps: step s (columns first) renews ab[s & 1] with the help of the other. */
INLINE void sinkhorn_run_of(const int M, vreal ab[2][STREAMS], const vreal *c0, int64_t steps, vreal eps)
{
    for (int j = 0; j < M; j++)
        ab[0][j] = ab[1][j] = v_set1(1);
    for (int64_t s = 0; s < steps; s += 2) {
        sinkhorn_step(M, ab[0], ab[0], ab[1], c0, true, eps);
        if (s + 1 < steps)
            sinkhorn_step(M, ab[1], ab[1], ab[0], c0, false, eps);
    }
}

static void sinkhorn_run(int64_t M, vreal ab[2][STREAMS], const vreal *c0, int64_t steps, vreal eps)
{
    if (M == 4)
        sinkhorn_run_of(4, ab, c0, steps, eps);
    else
        sinkhorn_run_of((int)M, ab, c0, steps, eps);
}

/* p[j][k] = softmax over k of z[j][k] */
static void softmax_rows(int64_t M, vreal *p, const vreal *z)
{
    for (int64_t j = 0; j < M; j++) {
        vreal max = z[j * M], sum = v_zero();
        for (int64_t k = 1; k < M; k++)
            max = v_max(z[j * M + k], max);
        for (int64_t k = 0; k < M; k++) {
            p[j * M + k] = v_exp(v_sub(z[j * M + k], max));
            sum = v_add(sum, p[j * M + k]);
        }
        for (int64_t k = 0; k < M; k++)
            p[j * M + k] = v_div(p[j * M + k], sum);
    }
}

static int64_t steps_of(const HyperShape *s)
{
    return 2 * s->iterations - 1;
}

static void mixing_matrix(const HyperShape *s, vreal *c, const vreal *z)
{
    const int64_t M = s->M;
    const vreal eps = v_set1((real)s->hc_eps);
    vreal c0[STREAMS * STREAMS], ab[2][STREAMS];
    softmax_rows(M, c0, z);
    for (int64_t i = 0; i < M * M; i++)
        c0[i] = v_add(c0[i], eps);
    sinkhorn_run(M, ab, c0, steps_of(s), eps);
    for (int64_t j = 0; j < M; j++)
        for (int64_t k = 0; k < M; k++)
            c[j * M + k] = v_mul(v_mul(ab[1][j], c0[j * M + k]), ab[0][k]);
}

/* ---- Sinkhorn, back ---- */

/* Gradients go back through one step: in da[j] of its result `new`, out da[j] of `old`; adds to dother and dc0. */
INLINE void sinkhorn_step_back(const int M, vreal *da, vreal *dother, vreal *dc0, const vreal *new, const vreal *old,
                               const vreal *other, const vreal *c0, bool columns, vreal eps)
{
    const int mine = columns ? 1 : M, theirs = columns ? M : 1;
    for (int j = 0; j < M; j++) {
        const vreal ratio = v_div(new[j], old[j]);
        const vreal dt = v_sub(v_zero(), v_mul(v_mul(new[j], new[j]), da[j]));
        da[j] = v_mul(v_mul(v_mul(ratio, ratio), eps), da[j]);
        for (int k = 0; k < M; k++) {
            const int at = j * mine + k * theirs;
            dc0[at] = v_fma(dt, other[k], dc0[at]);
            dother[k] = v_fma(dt, c0[at], dother[k]);
        }
    }
}

/* Steps first … last−1, backwards. h[0], h[1] are the vectors before step `first`: of step first's own side, then
 * of the other; h[n+2] is what step first + n makes of h[n] with the help of h[n+1]. */
INLINE void sinkhorn_piece_back(const int M, vreal dab[2][STREAMS], vreal *dc0, vreal (*h)[STREAMS], const vreal *c0,
                                int64_t first, int64_t last, vreal eps)
{
    for (int64_t s = first; s < last; s++)
        sinkhorn_step(M, h[s - first + 2], h[s - first], h[s - first + 1], c0, s % 2 == 0, eps);
    for (int64_t s = last - 1; s >= first; s--)
        sinkhorn_step_back(M, dab[s & 1], dab[(s + 1) & 1], dc0, h[s - first + 2], h[s - first], h[s - first + 1], c0,
                           s % 2 == 0, eps);
}

static void sinkhorn_back(int64_t M, vreal dab[2][STREAMS], vreal *dc0, const vreal *c0, int64_t steps, vreal eps)
{
    vreal h[HISTORY + 2][STREAMS], ab[2][STREAMS];
    for (int64_t last = steps, first; last > 0; last = first) {
        first = last > HISTORY ? last - HISTORY : 0;
        sinkhorn_run(M, ab, c0, first, eps);
        memcpy(h[0], ab[first & 1], sizeof h[0]);
        memcpy(h[1], ab[(first + 1) & 1], sizeof h[1]);
        if (M == 4)
            sinkhorn_piece_back(4, dab, dc0, h, c0, first, last, eps);
        else
            sinkhorn_piece_back((int)M, dab, dc0, h, c0, first, last, eps);
    }
}

/* dz = (before the softmax) from dc */
static void mixing_matrix_back(const HyperShape *s, vreal *dz, const vreal *z, const vreal *dc)
{
    const int64_t M = s->M;
    const vreal eps = v_set1((real)s->hc_eps);
    vreal p[STREAMS * STREAMS], c0[STREAMS * STREAMS], dc0[STREAMS * STREAMS];
    vreal ab[2][STREAMS], dab[2][STREAMS];
    softmax_rows(M, p, z);
    for (int64_t i = 0; i < M * M; i++)
        c0[i] = v_add(p[i], eps);
    sinkhorn_run(M, ab, c0, steps_of(s), eps);
    for (int64_t j = 0; j < M; j++)
        dab[0][j] = dab[1][j] = v_zero();
    for (int64_t j = 0; j < M; j++)
        for (int64_t k = 0; k < M; k++) {
            const int64_t i = j * M + k;
            const vreal by_a = v_mul(dc[i], ab[1][j]), by_b = v_mul(dc[i], ab[0][k]);
            dc0[i] = v_mul(by_a, ab[0][k]);
            dab[1][j] = v_fma(by_b, c0[i], dab[1][j]);
            dab[0][k] = v_fma(by_a, c0[i], dab[0][k]);
        }
    sinkhorn_back(M, dab, dc0, c0, steps_of(s), eps);
    for (int64_t j = 0; j < M; j++) {
        vreal mean = v_zero();
        for (int64_t k = 0; k < M; k++)
            mean = v_fma(p[j * M + k], dc0[j * M + k], mean);
        for (int64_t k = 0; k < M; k++)
            dz[j * M + k] = v_mul(p[j * M + k], v_sub(dc0[j * M + k], mean));
    }
}

/* ---- split ---- */

/* v = z·g·scale + base; v may be z. zg (NULL: not wanted) gets z·g. */
static void affine(const HyperShape *s, vreal *v, vreal *zg, const vreal *z, vreal g, const real *scale,
                   const real *base)
{
    for (int64_t i = 0; i < coefficients(s); i++) {
        const vreal product = v_mul(z[i], g);
        if (zg)
            zg[i] = product;
        v[i] = v_fma(product, v_set1(scale[part_of(s, i)]), v_set1(base[i]));
    }
}

void KERNEL(hyper_split)(const HyperShape *s, void *c, int64_t ldc, const void *z, int64_t ldz, const void *x,
                         int64_t ldx, const void *scale, const void *base, int64_t rows)
{
    const int64_t M = s->M, n = coefficients(s);
    const vreal eps = v_set1((real)s->hc_eps), two = v_set1(2);
    for (int64_t t = 0; t < rows; t += LANES) {
        const int64_t count = rows - t < LANES ? rows - t : LANES;
        vreal v[COEFFICIENTS];
        turn_in(v, (const real *)z + t * ldz, ldz, n, count);
        affine(s, v, NULL, v, inverse_sizes(s, (const real *)x + t * ldx, ldx, count), scale, base);
        for (int64_t i = 0; i < M; i++)
            v[i] = v_add(v_sigmoid(v[i]), eps);
        if (!s->head) {
            for (int64_t i = M; i < 2 * M; i++)
                v[i] = v_mul(two, v_sigmoid(v[i]));
            mixing_matrix(s, v + 2 * M, v + 2 * M);
        }
        turn_out((real *)c + t * ldc, ldc, v, n, count);
    }
}

/* dx[t] = factor[t]·x[t] */
static void scale_rows(const HyperShape *s, real *dx, int64_t lddx, const real *x, int64_t ldx, vreal factor,
                       int64_t count)
{
    real factors[LANES];
    v_store(factors, factor);
    for (int64_t l = 0; l < count; l++)
        for (int64_t i = 0, n = s->M * s->d; i < n; i += LANES) {
            const vreal a = v_load_part(x + l * ldx + i, n - i);
            v_store_part(dx + l * lddx + i, v_mul(a, v_set1(factors[l])), n - i);
        }
}

/* Gradients of z·g·scale + base from those of its result: dscale [3], dz (in place of dv), and the result is
 * that of g·(sum over coefficients), still to be multiplied by what g depends on. */
static vreal affine_back(const HyperShape *s, vreal *dv, vreal dscale[3], const vreal *z, const vreal *zg, vreal g,
                         const real *scale)
{
    vreal dg = v_zero();
    dscale[0] = dscale[1] = dscale[2] = v_zero();
    for (int64_t i = 0; i < coefficients(s); i++) {
        const int part = part_of(s, i);
        const vreal by_scale = v_mul(dv[i], v_set1(scale[part]));
        dscale[part] = v_fma(dv[i], zg[i], dscale[part]);
        dg = v_fma(by_scale, z[i], dg);
        dv[i] = v_mul(by_scale, g);
    }
    return dg;
}

void KERNEL(hyper_split_back)(const HyperShape *s, void *dz, int64_t lddz, void *dx, int64_t lddx, void *dbase,
                              int64_t lddbase, void *dscale, int64_t lddscale, const void *z, int64_t ldz,
                              const void *x, int64_t ldx, const void *scale, const void *base, const void *dc,
                              int64_t lddc, int64_t rows)
{
    const int64_t M = s->M, n = coefficients(s);
    const vreal two = v_set1(2), by_size = v_set1((real)-1 / (real)(M * s->d));
    for (int64_t t = 0; t < rows; t += LANES) {
        const int64_t count = rows - t < LANES ? rows - t : LANES;
        const real *const x16 = (const real *)x + t * ldx;
        const vreal g = inverse_sizes(s, x16, ldx, count);
        vreal z16[COEFFICIENTS], zg[COEFFICIENTS], v[COEFFICIENTS], dv[COEFFICIENTS], dscale3[3];
        turn_in(z16, (const real *)z + t * ldz, ldz, n, count);
        affine(s, v, zg, z16, g, scale, base);
        turn_in(dv, (const real *)dc + t * lddc, lddc, n, count);
        for (int64_t i = 0; i < M; i++)
            dv[i] = v_mul(dv[i], v_sigmoid_slope(v[i]));
        if (!s->head) {
            for (int64_t i = M; i < 2 * M; i++)
                dv[i] = v_mul(v_mul(two, dv[i]), v_sigmoid_slope(v[i]));
            mixing_matrix_back(s, dv + 2 * M, v + 2 * M, dv + 2 * M);
        }
        turn_out((real *)dbase + t * lddbase, lddbase, dv, n, count);
        const vreal dg = affine_back(s, dv, dscale3, z16, zg, g, scale);
        turn_out((real *)dscale + t * lddscale, lddscale, dscale3, s->head ? 1 : 3, count);
        turn_out((real *)dz + t * lddz, lddz, dv, n, count);
        /* g = (mean + eps)^(−1/2):  ∂g/∂x = −g³·x / (M·d) */
        scale_rows(s, (real *)dx + t * lddx, lddx, x16, ldx, v_mul(v_mul(v_mul(dg, by_size), v_mul(g, g)), g), count);
    }
}
