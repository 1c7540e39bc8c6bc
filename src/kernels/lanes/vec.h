/* Vectors of sixteen lanes: what every kernel in this folder is written on.
 *
 * Each source here is compiled once per instruction-set level (LEVEL, LEVEL_scalar, … come from the
 * Makefile) and sees the same operations on
 *     vreal   sixteen `real` (float; double at level f64)
 *     vint    sixteen int32
 *     vmask   sixteen truth values
 * implemented in vec_array.h (scalar, f64, any compiler), vec_avx2.h (two registers) or vec_avx512.h
 * (one register). Every operation rounds to nearest even once per lane, keeps denormals and leaves the
 * control register alone, so a kernel gives the same bits at every float level. What differs between
 * levels is only the payload and sign of NaNs.
 *
 * Loads and stores need the alignment of the element only. The operations:
 *
 *   v_zero() v_set1(x)              all lanes 0, all lanes x
 *   v_load(p) v_store(p,a)          16 reals
 *   v_load_part(p,n)                n lanes (above 16: 16) from memory, others 0; touches only those n
 *   v_store_part(p,a,n)             writes only the first n (above 16: 16)
 *   v_load_f16(p) v_load_bf16(p)    16 two-byte floats, exact; v_load_bf16_part(p,n) as above
 *   v_store_f16(p,a)                rounded to nearest even (f32 levels only)
 *   v_store_bf16(p,a)               the same; a NaN stays one (f32 levels only)
 *   v_add v_sub v_mul v_div v_sqrt
 *   v_fma(a,b,c)                    a·b + c rounded once      v_fnma(a,b,c)   c − a·b rounded once
 *   v_max(a,b) v_min(a,b)           a > b ? a : b and a < b ? a : b in each lane: b when either is NaN
 *   v_lt(a,b)                       mask
 *   v_first(n)                      mask of lanes 0 … n−1 (any n)
 *   m_andnot(a,b)                   mask a ∧ ¬b
 *   v_select(m,a,b)                 m ? a : b
 *   v_reduce_add(a) v_reduce_max(a) lanes i and i+8, then i+4, i+2, i+1: a fixed tree
 *   vi_load(p) vi_set1(i) vi_and vi_or vi_xor vi_add vi_sub
 *   vi_shl(a,n) vi_shr(a,n) vi_sar(a,n)   n a constant; logical and arithmetic right shift
 *   v_from_int(a)                   nearest real (f32 levels and f64)
 *   v_bits(a) v_of_bits(a)          reinterpretation, f32 levels only
 */
#ifndef PLUMB_KERNELS_LANES_VEC_H
#define PLUMB_KERNELS_LANES_VEC_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tensor/dtype.h"

#define LANES 16

#define KERNEL_PASTE(name, level) name##_##level
#define KERNEL_PASTE2(name, level) KERNEL_PASTE(name, level)
/* The symbol of a kernel at this level: KERNEL(linear) is linear_avx2, … */
#define KERNEL(name) KERNEL_PASTE2(name, LEVEL)

/* Code that must be specialised for its constant arguments. */
#if defined(SANITIZED) && (defined(LEVEL_scalar) || defined(LEVEL_f64))
#define INLINE static __attribute__((noinline, unused)) /* inlined and instrumented arrays take minutes to compile */
#else
#define INLINE static inline __attribute__((always_inline))
#endif

#ifdef LEVEL_f64
typedef double real;
#define REAL_IS_DOUBLE 1
#else
typedef float real;
#define REAL_IS_DOUBLE 0
#endif

#if defined(LEVEL_avx512) || defined(LEVEL_vnni)
#include "kernels/lanes/vec_avx512.h"
#elif defined(LEVEL_avx2)
#include "kernels/lanes/vec_avx2.h"
#else
#include "kernels/lanes/vec_array.h"
#endif

#if !REAL_IS_DOUBLE
/* n (1 …) of sixteen, zeros behind them; touches only those. */
INLINE vreal v_load_bf16_part(const uint16_t *p, int64_t n)
{
    uint16_t part[LANES] = {0};
    if (n >= LANES)
        return v_load_bf16(p);
    memcpy(part, p, (size_t)n * sizeof *p);
    return v_load_bf16(part);
}
#endif

/* Scalar twins, for the few places that work on one element. */
INLINE real r_fma(real a, real b, real c)
{
#if REAL_IS_DOUBLE
    return fma(a, b, c);
#else
    return fmaf(a, b, c);
#endif
}

INLINE real r_sqrt(real a)
{
#if REAL_IS_DOUBLE
    return sqrt(a);
#else
    return sqrtf(a);
#endif
}

INLINE real r_max(real a, real b)
{
    return a > b ? a : b;
}

#endif
