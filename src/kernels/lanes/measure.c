/* Loops that do one thing as fast as this level can, for kernels/peaks.c: the roofs of the other kernels.
 *
 * Multiply-adds: as many independent sums as the registers hold beside the factor, so that neither
 * latency nor loads are felt. Bytes: the level's product of bytes and the addition that must follow it.
 * Reading: integer sums of four streams. */
#include "kernels/lanes/lanes.h"

#define SUMS (VEC_REGISTERS > 8 ? 12 : 6) /* sums of sixteen lanes */

int64_t KERNEL(measure_fma)(int64_t steps, double *sink)
{
    const vreal factor = v_set1((real)0.999), term = v_set1((real)0.001);
    vreal sum[SUMS];
    for (int i = 0; i < SUMS; i++)
        sum[i] = v_set1((real)i);
    for (int64_t s = 0; s < steps; s++)
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++)
            sum[i] = v_fma(sum[i], factor, term);
    for (int i = 0; i < SUMS; i++)
        *sink += (double)v_reduce_add(sum[i]);
    return steps * SUMS * LANES * 2;
}

/* The sum itself serves as codes, or a compiler would take the product out of the loop. */
#if defined(LEVEL_vnni)
#define BYTE_PRODUCTS 64
INLINE vint byte_step(vint sum, vint values)
{
    return _mm512_dpbusd_epi32(sum, sum, values);
}
#elif defined(LEVEL_avx512)
#define BYTE_PRODUCTS 64
INLINE vint byte_step(vint sum, vint values)
{
    return _mm512_add_epi16(sum, _mm512_maddubs_epi16(sum, values));
}
#elif defined(LEVEL_avx2)
#define BYTE_PRODUCTS 64
INLINE vint byte_step(vint sum, vint values)
{
    return (vint){_mm256_add_epi16(sum.lo, _mm256_maddubs_epi16(sum.lo, values.lo)),
                  _mm256_add_epi16(sum.hi, _mm256_maddubs_epi16(sum.hi, values.hi))};
}
#else
#define BYTE_PRODUCTS LANES
INLINE vint byte_step(vint sum, vint values)
{
    for (int i = 0; i < LANES; i++)
        sum.v[i] = (sum.v[i] & 0xFF) * (values.v[i] & 0x7F) + (sum.v[i] >> 1);
    return sum;
}
#endif

static double first_int(vint a)
{
    int32_t x;
    memcpy(&x, &a, sizeof x);
    return x;
}

int64_t KERNEL(measure_bytes)(int64_t steps, double *sink)
{
    const vint values = vi_set1(0x01FF02FE);
    vint sum[SUMS];
    for (int i = 0; i < SUMS; i++)
        sum[i] = vi_set1(i + 1);
    for (int64_t s = 0; s < steps; s++)
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++)
            sum[i] = byte_step(sum[i], values);
    for (int i = 1; i < SUMS; i++)
        sum[0] = vi_xor(sum[0], sum[i]);
    *sink += first_int(sum[0]);
    return steps * SUMS * BYTE_PRODUCTS * 2;
}

#define STREAMS 4 /* one alone leaves a fifth of the bandwidth unused, measured on Zen 3 */

int64_t KERNEL(measure_read)(const void *p, int64_t bytes, double *sink)
{
    const int64_t stream = bytes / STREAMS / 64 * 64;
    vint sum[STREAMS];
    for (int i = 0; i < STREAMS; i++)
        sum[i] = vi_set1(0);
    for (int64_t at = 0; at < stream; at += 64)
#pragma GCC unroll 4
        for (int i = 0; i < STREAMS; i++)
            sum[i] = vi_add(sum[i], vi_load((const char *)p + stream * i + at));
    for (int i = 1; i < STREAMS; i++)
        sum[0] = vi_xor(sum[0], sum[i]);
    *sink += first_int(sum[0]);
    return stream * STREAMS;
}
