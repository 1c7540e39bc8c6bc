/* The exponential on lanes and what is made of it, the same operations at every float level.
 *
 * e^x: x = n·ln 2 + r with |r| ≤ ln 2 / 2 (Cody and Waite's reduction, ln 2 in two floats, fused), then
 * e^r = 1 + (r + r²·q(r)) with q of degree 5 fitted to the least relative error (2^-29.6), then times
 * 2^n in two halves so that results below 2^-126 round once. Errors stay below 1 ULP for normal
 * results; 0 → 1 exactly, −inf → 0, above 88.73 → inf, NaN → NaN. At level f64: libm on each lane. */
#ifndef PLUMB_KERNELS_LANES_VEC_MATH_H
#define PLUMB_KERNELS_LANES_VEC_MATH_H

#include "kernels/lanes/vec.h"

#if REAL_IS_DOUBLE

INLINE vreal v_exp(vreal x)
{
    for (int i = 0; i < LANES; i++)
        x.v[i] = exp(x.v[i]);
    return x;
}

INLINE real r_exp(real x)
{
    return exp(x);
}

#else

/* 2^n for −127 < n < 128 */
INLINE vreal v_power2(vint n)
{
    return v_of_bits(vi_shl(vi_add(n, vi_set1(127)), 23));
}

INLINE vreal v_exp(vreal x)
{
    /* Adding 1.5·2^23 leaves the nearest integer in the low bits of the sum. */
    const vreal magic = v_set1(0x1.8p23f);
    /* Beyond these the result is 0 or inf anyway; the second operand is what a NaN leaves. */
    const vreal c = v_min(v_set1(89.0f), v_max(v_set1(-105.0f), x));
    const vreal t = v_fma(c, v_set1(0x1.715476p+0f), magic);
    const vreal n = v_sub(t, magic);
    const vreal r = v_fnma(n, v_set1(-0x1.05c61p-29f), v_fnma(n, v_set1(0x1.62e43p-1f), c));
    vreal q = v_set1(0x1.9f02cap-13f);
    q = v_fma(q, r, v_set1(0x1.6d945cp-10f));
    q = v_fma(q, r, v_set1(0x1.11128p-7f));
    q = v_fma(q, r, v_set1(0x1.555486p-5f));
    q = v_fma(q, r, v_set1(0x1.555554p-3f));
    q = v_fma(q, r, v_set1(0.5f));
    const vreal p = v_add(v_set1(1.0f), v_fma(v_mul(r, r), q, r));
    const vint i = vi_sub(v_bits(t), v_bits(magic));
    const vint half = vi_sar(i, 1);
    return v_mul(v_mul(p, v_power2(half)), v_power2(vi_sub(i, half)));
}

INLINE real r_exp(real x)
{
    return v_reduce_max(v_exp(v_set1(x)));
}

#endif

/* log(1 + u) for 0 ≤ u ≤ 1 (NaN → NaN): 2·artanh(s) with s = u/(2 + u) ≤ 1/3, an odd series in s of which
 * s³·q(s²) is fitted with q of degree 4 (2^-30.7 relative). Below 2 ULP. */
INLINE vreal v_log1p_unit(vreal u)
{
#if REAL_IS_DOUBLE
    for (int i = 0; i < LANES; i++)
        u.v[i] = log1p(u.v[i]);
    return u;
#else
    const vreal s = v_div(u, v_add(u, v_set1(2)));
    const vreal w = v_mul(s, s);
    vreal q = v_set1(0x1.f1733cp-4f);
    q = v_fma(q, w, v_set1(0x1.b6e6cep-4f));
    q = v_fma(q, w, v_set1(0x1.2508bp-3f));
    q = v_fma(q, w, v_set1(0x1.9996bp-3f));
    q = v_fma(q, w, v_set1(0x1.555558p-2f));
    const vreal half = v_fma(v_mul(w, q), s, s);
    return v_add(half, half);
#endif
}

/* e^-|x|: what sigmoid and softplus are made of without overflow. */
INLINE vreal v_exp_size(vreal x)
{
    return v_exp(v_min(v_sub(v_zero(), x), x));
}

/* σ(x) = 1/(1 + e^-x), and its slope σ(x)·(1 − σ(x)) without the subtraction. */
INLINE vreal v_sigmoid(vreal x)
{
    const vreal e = v_exp_size(x), one = v_set1(1);
    return v_div(v_select(v_lt(x, v_zero()), e, one), v_add(one, e));
}

INLINE vreal v_sigmoid_slope(vreal x)
{
    const vreal e = v_exp_size(x), d = v_add(v_set1(1), e);
    return v_div(v_div(e, d), d);
}

/* log(1 + e^x); x itself above 20. */
INLINE vreal v_softplus(vreal x)
{
    const vreal sum = v_add(v_max(v_zero(), x), v_log1p_unit(v_exp_size(x)));
    return v_select(v_lt(v_set1(20), x), x, sum);
}

/* x·σ(x) = x / (1 + e^-x), written so that nothing overflows: with h = e^(-|x|/2) it is x / (1 + h²) for
 * x ≥ 0 and x·h·h / (1 + h²) below, where −inf must not meet h = 0. */
INLINE vreal v_silu(vreal x)
{
    const vreal zero = v_zero();
    const vreal size = v_max(v_sub(zero, x), x);
    const vreal h = v_exp(v_mul(v_set1((real)-0.5), size));
    const vreal below = v_mul(v_mul(v_max(v_set1(-2000), x), h), h);
    return v_div(v_select(v_lt(x, zero), below, x), v_fma(h, h, v_set1(1)));
}

#endif
