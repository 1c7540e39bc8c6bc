/* Kernels on rows and on elements: normalisation, rotary positions, activations, log-sum-exp.
 *
 * All are bound by the bytes they read. Sums run in sixteen lanes (element i in lane i mod 16), then by
 * the fixed tree of v_reduce_add; a tail is a vector with zeros. */
#include "kernels/lanes/lanes.h"
#include "kernels/lanes/vec_math.h"

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

void KERNEL(rmsnorm_rows)(void *y, int64_t ldy, const void *x, int64_t ldx, const void *gain,
                          int64_t rows, int64_t d, double eps)
{
    const real *const g = gain;
    for (int64_t t = 0; t < rows; t++) {
        const real *const a = (const real *)x + t * ldx;
        real *const out = (real *)y + t * ldy;
        const real mean = sum_of_squares(a, d) / (real)d;
        const vreal scale = v_set1(1 / r_sqrt(mean + (real)eps));
        int64_t i = 0;
        for (; i + LANES <= d; i += LANES) {
            const vreal y16 = v_mul(v_load(a + i), scale);
            v_store(out + i, g ? v_mul(v_load(g + i), y16) : y16);
        }
        if (i < d) {
            const vreal tail = v_mul(v_load_part(a + i, d - i), scale);
            v_store_part(out + i, g ? v_mul(v_load_part(g + i, d - i), tail) : tail, d - i);
        }
    }
}

/* ---- rotary positions ---- */

/* (a, b) → (a·c − b·s, b·c + a·s), one product of each rounded, the other fused */
INLINE void rotate(vreal *a, vreal *b, vreal c, vreal s)
{
    const vreal x = *a, y = *b;
    *a = v_fnma(y, s, v_mul(x, c));
    *b = v_fma(x, s, v_mul(y, c));
}

/* Angles are floats at every level. */
INLINE vreal load_angles(const float *p, int64_t n)
{
#if REAL_IS_DOUBLE
    vreal a = v_zero();
    for (int i = 0; i < LANES && i < n; i++)
        a.v[i] = (double)p[i];
    return a;
#else
    return v_load_part(p, n);
#endif
}

static void rotate_halves(real *x, const float *cosine, const float *sine, int64_t half)
{
    for (int64_t i = 0; i < half; i += LANES) {
        const int64_t n = half - i;
        vreal a = v_load_part(x + i, n), b = v_load_part(x + half + i, n);
        rotate(&a, &b, load_angles(cosine + i, n), load_angles(sine + i, n));
        v_store_part(x + i, a, n);
        v_store_part(x + half + i, b, n);
    }
}

static void rotate_pairs(real *x, const float *cosine, const float *sine, int64_t half)
{
    for (int64_t i = 0; i < half; i += LANES) {
        const int64_t n = half - i < LANES ? half - i : LANES;
        real *const pairs = x + 2 * i;
        real even[LANES], odd[LANES];
        for (int64_t j = 0; j < n; j++) {
            even[j] = pairs[2 * j];
            odd[j] = pairs[2 * j + 1];
        }
        vreal a = v_load_part(even, n), b = v_load_part(odd, n);
        rotate(&a, &b, load_angles(cosine + i, n), load_angles(sine + i, n));
        v_store(even, a);
        v_store(odd, b);
        for (int64_t j = 0; j < n; j++) {
            pairs[2 * j] = even[j];
            pairs[2 * j + 1] = odd[j];
        }
    }
}

void KERNEL(rope_rows)(void *x, int64_t ldx, const int32_t *positions, const float *cos_sin,
                       int64_t rows, int64_t heads, int64_t head_dim, int64_t rot, bool interleaved)
{
    for (int64_t t = 0; t < rows; t++) {
        const float *const cosine = cos_sin + (int64_t)positions[t] * rot, *const sine = cosine + rot / 2;
        for (int64_t h = 0; h < heads; h++) {
            real *const head = (real *)x + t * ldx + h * head_dim;
            if (interleaved)
                rotate_pairs(head, cosine, sine, rot / 2);
            else
                rotate_halves(head, cosine, sine, rot / 2);
        }
    }
}

/* ---- element-wise ---- */

/* a < limit ? a : limit keeps limit for a NaN in a; the operands are in the order that keeps the NaN. */
INLINE vreal at_most(vreal a, vreal limit)
{
    return v_min(limit, a);
}

void KERNEL(silu_mul)(void *y, const void *gate, const void *up, int64_t n, double limit)
{
    const real *const g = gate, *const u = up;
    const vreal high = v_set1((real)limit), low = v_set1(-(real)limit);
    for (int64_t i = 0; i < n; i += LANES) {
        vreal a = v_load_part(g + i, n - i), b = v_load_part(u + i, n - i);
        if (limit > 0) {
            a = at_most(a, high);
            b = v_max(low, at_most(b, high));
        }
        v_store_part((real *)y + i, v_mul(v_silu(a), b), n - i);
    }
}

void KERNEL(add)(void *y, const void *a, const void *b, int64_t n)
{
    const real *const p = a, *const q = b;
    real *const out = y;
    for (int64_t i = 0; i < n; i++)
        out[i] = p[i] + q[i];
}

/* ---- log-sum-exp ---- */

#define SUM_PIECE 1024 /* elements summed in float lanes before they join the double sum */

static real maximum(const real *x, int64_t n)
{
    vreal m = v_set1(-(real)INFINITY);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        m = v_max(m, v_load(x + i));
    if (i < n)
        m = v_max(m, v_select(v_first(n - i), v_load_part(x + i, n - i), m));
    return v_reduce_max(m);
}

static real sum_of_exponentials(const real *x, int64_t n, real max)
{
    const vreal m = v_set1(max);
    vreal sum = v_zero();
    for (int64_t i = 0; i < n; i += LANES) {
        const vreal e = v_exp(v_sub(v_load_part(x + i, n - i), m));
        sum = v_add(sum, v_select(v_first(n - i), e, v_zero()));
    }
    return v_reduce_add(sum);
}

double KERNEL(logsumexp)(const void *x, int64_t n)
{
    const real *const a = x;
    const real max = maximum(a, n);
    double sum = 0;
    if (max == (real)INFINITY || max == -(real)INFINITY) {
        for (int64_t i = 0; i < n; i++)
            if (isnan(a[i]))
                return (double)NAN;
        return (double)max;
    }
    for (int64_t i = 0; i < n; i += SUM_PIECE)
        sum += (double)sum_of_exponentials(a + i, n - i < SUM_PIECE ? n - i : SUM_PIECE, max);
    return (double)max + log(sum);
}
