/* vec.h on AVX2, FMA and F16C: a vector of sixteen is two registers of eight. */
#ifndef PLUMB_KERNELS_LANES_VEC_AVX2_H
#define PLUMB_KERNELS_LANES_VEC_AVX2_H

#include <immintrin.h>

#define VEC_REGISTERS 8

typedef struct {
    __m256 lo, hi;
} vreal;
typedef struct {
    __m256i lo, hi;
} vint;
typedef struct {
    __m256 lo, hi; /* all bits or none */
} vmask;

INLINE vreal v_set1(float x)
{
    const __m256 a = _mm256_set1_ps(x);
    return (vreal){a, a};
}

INLINE vreal v_zero(void)
{
    return (vreal){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

INLINE vreal v_load(const float *p)
{
    return (vreal){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

INLINE void v_store(float *p, vreal a)
{
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}

INLINE vmask v_first(int64_t n)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const int32_t k = n < 0 ? 0 : n > LANES ? LANES : (int32_t)n;
    return (vmask){_mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(k), lanes)),
                   _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(k - 8), lanes))};
}

INLINE vreal v_load_part(const float *p, int64_t n)
{
    const vmask m = v_first(n);
    if (n >= LANES)
        return v_load(p);
    return (vreal){_mm256_maskload_ps(p, _mm256_castps_si256(m.lo)),
                   _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.hi))};
}

INLINE void v_store_part(float *p, vreal a, int64_t n)
{
    const vmask m = v_first(n);
    if (n >= LANES) { /* a masked store takes a dozen steps on AMD's processors */
        v_store(p, a);
        return;
    }
    _mm256_maskstore_ps(p, _mm256_castps_si256(m.lo), a.lo);
    _mm256_maskstore_ps(p + 8, _mm256_castps_si256(m.hi), a.hi);
}

INLINE vreal v_load_f16(const uint16_t *p)
{
    return (vreal){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                   _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}

INLINE vreal v_load_bf16(const uint16_t *p)
{
    const __m256i lo = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    const __m256i hi = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 8)));
    return (vreal){_mm256_castsi256_ps(_mm256_slli_epi32(lo, 16)),
                   _mm256_castsi256_ps(_mm256_slli_epi32(hi, 16))};
}

INLINE void v_store_f16(uint16_t *p, vreal a)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}

/* Eight floats as words: half of the last place is added, and a bit more when the result would be odd. */
INLINE __m256i v_round_bf16(__m256 a)
{
    const __m256i bits = _mm256_castps_si256(a), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    return _mm256_srli_epi32(_mm256_blendv_epi8(sum, quiet, nan), 16);
}

INLINE void v_store_bf16(uint16_t *p, vreal a)
{
    const __m256i words = _mm256_packus_epi32(v_round_bf16(a.lo), v_round_bf16(a.hi)); /* fours of lo, hi, lo, hi */
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_permute4x64_epi64(words, 0xD8));
}

INLINE vreal v_add(vreal a, vreal b)
{
    return (vreal){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}

INLINE vreal v_sub(vreal a, vreal b)
{
    return (vreal){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}

INLINE vreal v_mul(vreal a, vreal b)
{
    return (vreal){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}

INLINE vreal v_div(vreal a, vreal b)
{
    return (vreal){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}

INLINE vreal v_sqrt(vreal a)
{
    return (vreal){_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)};
}

INLINE vreal v_fma(vreal a, vreal b, vreal c)
{
    return (vreal){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

INLINE vreal v_fnma(vreal a, vreal b, vreal c)
{
    return (vreal){_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}

INLINE vreal v_max(vreal a, vreal b)
{
    return (vreal){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}

INLINE vreal v_min(vreal a, vreal b)
{
    return (vreal){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}

INLINE vmask v_lt(vreal a, vreal b)
{
    return (vmask){_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)};
}

INLINE vmask m_andnot(vmask a, vmask b)
{
    return (vmask){_mm256_andnot_ps(b.lo, a.lo), _mm256_andnot_ps(b.hi, a.hi)};
}

INLINE vreal v_select(vmask m, vreal a, vreal b)
{
    return (vreal){_mm256_blendv_ps(b.lo, a.lo, m.lo), _mm256_blendv_ps(b.hi, a.hi, m.hi)};
}

INLINE float v_reduce_add(vreal a)
{
    const __m256 s8 = _mm256_add_ps(a.lo, a.hi);
    const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}

INLINE float v_reduce_max(vreal a)
{
    const __m256 s8 = _mm256_max_ps(a.lo, a.hi);
    const __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_max_ss(s2, _mm_movehdup_ps(s2)));
}

INLINE vint vi_load(const void *p)
{
    return (vint){_mm256_loadu_si256((const __m256i *)p),
                  _mm256_loadu_si256((const __m256i *)((const char *)p + 32))};
}

INLINE vint vi_set1(int32_t x)
{
    return (vint){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}

INLINE vint vi_and(vint a, vint b)
{
    return (vint){_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
}

INLINE vint vi_or(vint a, vint b)
{
    return (vint){_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
}

INLINE vint vi_xor(vint a, vint b)
{
    return (vint){_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)};
}

INLINE vint vi_add(vint a, vint b)
{
    return (vint){_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}

INLINE vint vi_sub(vint a, vint b)
{
    return (vint){_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}

INLINE vint vi_shl(vint a, int n)
{
    return (vint){_mm256_slli_epi32(a.lo, n), _mm256_slli_epi32(a.hi, n)};
}

INLINE vint vi_shr(vint a, int n)
{
    return (vint){_mm256_srli_epi32(a.lo, n), _mm256_srli_epi32(a.hi, n)};
}

INLINE vint vi_sar(vint a, int n)
{
    return (vint){_mm256_srai_epi32(a.lo, n), _mm256_srai_epi32(a.hi, n)};
}

INLINE vreal v_from_int(vint a)
{
    return (vreal){_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
}

INLINE vint v_bits(vreal a)
{
    return (vint){_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)};
}

INLINE vreal v_of_bits(vint a)
{
    return (vreal){_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)};
}

#endif
