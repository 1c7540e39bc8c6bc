/* vec.h on AVX-512 (F, BW, DQ, VL): a vector is one register. Levels avx512 and vnni. */
#ifndef PLUMB_KERNELS_LANES_VEC_AVX512_H
#define PLUMB_KERNELS_LANES_VEC_AVX512_H

#include <immintrin.h>

#define VEC_REGISTERS 32

typedef __m512 vreal;
typedef __m512i vint;
typedef __mmask16 vmask;

INLINE vreal v_set1(float x)
{
    return _mm512_set1_ps(x);
}

INLINE vreal v_zero(void)
{
    return _mm512_setzero_ps();
}

INLINE vreal v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

INLINE void v_store(float *p, vreal a)
{
    _mm512_storeu_ps(p, a);
}

INLINE vmask v_first(int64_t n)
{
    return n <= 0 ? 0 : n >= LANES ? (vmask)0xFFFF : (vmask)((1u << n) - 1);
}

INLINE vreal v_load_part(const float *p, int64_t n)
{
    return _mm512_maskz_loadu_ps(v_first(n), p);
}

INLINE void v_store_part(float *p, vreal a, int64_t n)
{
    _mm512_mask_storeu_ps(p, v_first(n), a);
}

INLINE vreal v_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

INLINE vreal v_load_bf16(const uint16_t *p)
{
    const __m512i a = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(a, 16));
}

INLINE void v_store_f16(uint16_t *p, vreal a)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

INLINE void v_store_bf16(uint16_t *p, vreal a)
{
    const __m512i bits = _mm512_castps_si512(a), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    const __m512i words = _mm512_srli_epi32(_mm512_mask_blend_epi32(nan, sum, quiet), 16);
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(words));
}

INLINE vreal v_add(vreal a, vreal b)
{
    return _mm512_add_ps(a, b);
}

INLINE vreal v_sub(vreal a, vreal b)
{
    return _mm512_sub_ps(a, b);
}

INLINE vreal v_mul(vreal a, vreal b)
{
    return _mm512_mul_ps(a, b);
}

INLINE vreal v_div(vreal a, vreal b)
{
    return _mm512_div_ps(a, b);
}

INLINE vreal v_sqrt(vreal a)
{
    return _mm512_sqrt_ps(a);
}

INLINE vreal v_fma(vreal a, vreal b, vreal c)
{
    return _mm512_fmadd_ps(a, b, c);
}

INLINE vreal v_fnma(vreal a, vreal b, vreal c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

INLINE vreal v_max(vreal a, vreal b)
{
    return _mm512_max_ps(a, b);
}

INLINE vreal v_min(vreal a, vreal b)
{
    return _mm512_min_ps(a, b);
}

INLINE vmask v_lt(vreal a, vreal b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

INLINE vmask m_andnot(vmask a, vmask b)
{
    return (vmask)(a & ~b);
}

INLINE vreal v_select(vmask m, vreal a, vreal b)
{
    return _mm512_mask_blend_ps(m, b, a);
}

INLINE __m256 v_upper(vreal a)
{
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
}

INLINE float v_reduce_add(vreal a)
{
    const __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(a), v_upper(a));
    const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}

INLINE float v_reduce_max(vreal a)
{
    const __m256 s8 = _mm256_max_ps(_mm512_castps512_ps256(a), v_upper(a));
    const __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_max_ss(s2, _mm_movehdup_ps(s2)));
}

INLINE vint vi_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

INLINE vint vi_set1(int32_t x)
{
    return _mm512_set1_epi32(x);
}

INLINE vint vi_and(vint a, vint b)
{
    return _mm512_and_si512(a, b);
}

INLINE vint vi_or(vint a, vint b)
{
    return _mm512_or_si512(a, b);
}

INLINE vint vi_xor(vint a, vint b)
{
    return _mm512_xor_si512(a, b);
}

INLINE vint vi_add(vint a, vint b)
{
    return _mm512_add_epi32(a, b);
}

INLINE vint vi_sub(vint a, vint b)
{
    return _mm512_sub_epi32(a, b);
}

INLINE vint vi_shl(vint a, int n)
{
    return _mm512_slli_epi32(a, (unsigned)n);
}

INLINE vint vi_shr(vint a, int n)
{
    return _mm512_srli_epi32(a, (unsigned)n);
}

INLINE vint vi_sar(vint a, int n)
{
    return _mm512_srai_epi32(a, (unsigned)n);
}

INLINE vreal v_from_int(vint a)
{
    return _mm512_cvtepi32_ps(a);
}

INLINE vint v_bits(vreal a)
{
    return _mm512_castps_si512(a);
}

INLINE vreal v_of_bits(vint a)
{
    return _mm512_castsi512_ps(a);
}

#endif
