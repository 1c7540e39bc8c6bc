/* Gradients of kernels on rows and on elements, the loss, and sums over rows.
 *
 * All are bound by the bytes they read, cross_entropy by its one exponential an element. Sums along a row run in
 * sixteen lanes, then by the fixed tree of v_reduce_add; sums over rows ascend from what is there. */
#include "kernels/lanes/lanes.h"
#include "kernels/lanes/vec_math.h"

/* ---- sums over rows ---- */

#define SUM_VECS (VEC_REGISTERS > 8 ? 8 : 4)

/* V vectors of columns; lanes from n on are neither read nor written. */
INLINE void sum_columns(const int V, real *dst, const real *x, int64_t ldx, int64_t rows, int64_t n)
{
    vreal sum[8];
#pragma GCC unroll 8
    for (int v = 0; v < V; v++)
        sum[v] = v_load_part(dst + LANES * v, n - LANES * v);
    for (int64_t t = 0; t < rows; t++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            sum[v] = v_add(sum[v], v_load_part(x + t * ldx + LANES * v, n - LANES * v));
#pragma GCC unroll 8
    for (int v = 0; v < V; v++)
        v_store_part(dst + LANES * v, sum[v], n - LANES * v);
}

void KERNEL(column_sum)(void *dst, const void *x, int64_t ldx, int64_t rows, int64_t columns)
{
    const int64_t wide = SUM_VECS * LANES;
    int64_t j = 0;
    for (; j + wide <= columns; j += wide)
        sum_columns(SUM_VECS, (real *)dst + j, (const real *)x + j, ldx, rows, wide);
    for (; j < columns; j += LANES)
        sum_columns(1, (real *)dst + j, (const real *)x + j, ldx, rows, columns - j);
}

void KERNEL(embed_back)(void *dtable, int64_t lddt, const void *dx, int64_t lddx, const int32_t *ids,
                        int64_t rows, int64_t c0, int64_t c1)
{
    for (int64_t t = 0; t < rows; t++) {
        real *const dst = (real *)dtable + ids[t] * lddt;
        const real *const src = (const real *)dx + t * lddx;
        for (int64_t j = c0; j < c1; j += LANES)
            v_store_part(dst + j, v_add(v_load_part(dst + j, c1 - j), v_load_part(src + j, c1 - j)), c1 - j);
    }
}

/* ---- normalisation ---- */

/* Σ x² and Σ gain·dy·x of a row. */
static void norm_sums(const real *x, const real *gain, const real *dy, int64_t d, real *squares, real *product)
{
    vreal s = v_zero(), p = v_zero();
    for (int64_t i = 0; i < d; i += LANES) {
        const vreal a = v_load_part(x + i, d - i);
        vreal g = v_load_part(dy + i, d - i);
        if (gain)
            g = v_mul(v_load_part(gain + i, d - i), g);
        s = v_fma(a, a, s);
        p = v_fma(g, a, p);
    }
    *squares = v_reduce_add(s);
    *product = v_reduce_add(p);
}

/* With n = x·rstd: dn = gain·dy, dx = rstd·(dn − n·mean(dn·n)). dx and dgain may be dy: each vector is read before
 * it is written. */
void KERNEL(rmsnorm_back)(void *dx, int64_t lddx, void *dgain_rows, int64_t lddgain, const void *x,
                          int64_t ldx, const void *gain, const void *dy, int64_t lddy, int64_t rows,
                          int64_t d, double eps)
{
    const real *const g = gain;
    for (int64_t t = 0; t < rows; t++) {
        const real *const a = (const real *)x + t * ldx, *const b = (const real *)dy + t * lddy;
        real *const out = (real *)dx + t * lddx;
        real *const dgain = dgain_rows ? (real *)dgain_rows + t * lddgain : NULL;
        real squares, product;
        norm_sums(a, g, b, d, &squares, &product);
        const real scale = 1 / r_sqrt(squares / (real)d + (real)eps);
        const vreal rstd = v_set1(scale), mean = v_set1(product * scale / (real)d);
        for (int64_t i = 0; i < d; i += LANES) {
            const vreal n = v_mul(v_load_part(a + i, d - i), rstd), y = v_load_part(b + i, d - i);
            const vreal dn = g ? v_mul(v_load_part(g + i, d - i), y) : y;
            v_store_part(out + i, v_mul(rstd, v_fnma(n, mean, dn)), d - i);
            if (dgain)
                v_store_part(dgain + i, v_mul(y, n), d - i);
        }
    }
}

/* ---- gated activation ---- */

/* silu(x) and its derivative σ(x)·(1 + x·σ(−x)); see v_silu for h. */
INLINE void silu_and_slope(vreal x, vreal *silu, vreal *slope)
{
    const vreal zero = v_zero(), one = v_set1(1);
    const vreal size = v_max(v_sub(zero, x), x);
    const vreal h = v_exp(v_mul(v_set1((real)-0.5), size));
    const vreal square = v_mul(h, h), part = v_div(one, v_fma(h, h, one)); /* σ(|x|) */
    const vmask negative = v_lt(x, zero);
    const vreal rest = v_mul(square, part);
    const vreal sigma = v_select(negative, rest, part), other = v_select(negative, part, rest); /* σ(x), σ(−x) */
    const vreal below = v_mul(v_mul(v_max(v_set1(-2000), x), h), h);
    const vreal near = v_min(v_set1(2000), v_max(v_set1(-2000), x)); /* infinity must not meet 0 */
    *silu = v_mul(v_select(negative, below, x), part);
    *slope = v_fma(v_mul(near, sigma), other, sigma);
}

void KERNEL(silu_mul_back)(void *dgate, void *dup, const void *gate, const void *up, const void *dy,
                           int64_t n, double limit)
{
    const vreal high = v_set1((real)limit), low = v_set1(-(real)limit), zero = v_zero();
    for (int64_t i = 0; i < n; i += LANES) {
        const vreal a = v_load_part((const real *)gate + i, n - i), b = v_load_part((const real *)up + i, n - i);
        const vreal g = v_load_part((const real *)dy + i, n - i);
        /* The operands are in the order that keeps a NaN. */
        const vreal x = limit > 0 ? v_min(high, a) : a;
        const vreal u = limit > 0 ? v_max(low, v_min(high, b)) : b;
        vreal silu, slope;
        silu_and_slope(x, &silu, &slope);
        vreal da = v_mul(v_mul(g, u), slope), db = v_mul(g, silu);
        if (limit > 0) {
            da = v_select(v_lt(high, a), zero, da);
            db = v_select(v_lt(high, b), zero, v_select(v_lt(b, low), zero, db));
        }
        v_store_part((real *)dgate + i, da, n - i);
        v_store_part((real *)dup + i, db, n - i);
    }
}

/* ---- cross-entropy ---- */

#define SUM_PIECE 1024 /* elements summed in float lanes before they join the double sum: as in logsumexp */

/* Largest element of a row; *finite: all are. */
static real row_maximum(const real *x, int64_t n, bool *finite)
{
    vreal m = v_set1(-(real)INFINITY), zeros = v_zero();
    for (int64_t i = 0; i < n; i += LANES) {
        const vreal a = v_load_part(x + i, n - i);
        m = v_max(m, n - i < LANES ? v_select(v_first(n - i), a, m) : a);
        zeros = v_fma(a, v_zero(), zeros); /* NaN for a NaN or an infinity */
    }
    *finite = v_reduce_add(zeros) == 0;
    return v_reduce_max(m);
}

/* x becomes e^(x − max); returns the sum. */
static double exponentials(real *x, int64_t n, real max)
{
    const vreal m = v_set1(max);
    double total = 0;
    for (int64_t from = 0; from < n; from += SUM_PIECE) {
        const int64_t to = n - from < SUM_PIECE ? n : from + SUM_PIECE;
        vreal sum = v_zero();
        for (int64_t i = from; i < to; i += LANES) {
            const vreal e = v_exp(v_sub(v_load_part(x + i, to - i), m));
            v_store_part(x + i, e, to - i);
            sum = v_add(sum, to - i < LANES ? v_select(v_first(to - i), e, v_zero()) : e);
        }
        total += (double)v_reduce_add(sum);
    }
    return total;
}

static void multiply(real *x, int64_t n, real factor)
{
    for (int64_t i = 0; i < n; i += LANES)
        v_store_part(x + i, v_mul(v_load_part(x + i, n - i), v_set1(factor)), n - i);
}

static void fill(real *x, int64_t n, real value)
{
    for (int64_t i = 0; i < n; i += LANES)
        v_store_part(x + i, v_set1(value), n - i);
}

static real row_loss(real *x, int64_t V, int32_t target, double weight)
{
    bool finite;
    if (target < 0) {
        fill(x, V, 0);
        return 0;
    }
    const double logit = (double)x[target];
    const real max = row_maximum(x, V, &finite);
    if (!finite) {
        fill(x, V, (real)NAN);
        return (real)NAN;
    }
    const double sum = exponentials(x, V, max);
    multiply(x, V, (real)(weight / sum));
    x[target] -= (real)weight;
    return (real)(weight * ((double)max + log(sum) - logit));
}

void KERNEL(cross_entropy)(void *logits, int64_t ld, int64_t rows, int64_t V, const int32_t *target,
                           const float *weight, void *loss)
{
    for (int64_t t = 0; t < rows; t++)
        ((real *)loss)[t] = row_loss((real *)logits + t * ld, V, target[t], (double)weight[t]);
}
