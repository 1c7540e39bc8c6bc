/* The exponential on lanes, the same operations at every float level.
 *
 * x = n·ln 2 + r with |r| ≤ ln 2 / 2 (Cody and Waite's reduction, ln 2 in two floats, fused), then
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
