/* Rows of activations to int8 in blocks of 32 (QuantRows in kernels.h) on AVX2, which the levels above
 * use too: a block is four registers, and the four divisions (the contract wants x / d, not x · 1/d)
 * are what it costs, about 20 cycles for 32 values: less than 1 % of a product with 500 outputs. */
#include "kernels/lanes/lanes.h"

#if defined(LEVEL_avx2) || defined(LEVEL_avx512) || defined(LEVEL_vnni)

#include <immintrin.h>
#include <math.h>

INLINE int32_t max_lane(__m256i a)
{
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4E));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xB1));
    return _mm_cvtsi128_si32(m);
}

/* Bytes to their sums over bytes 0 … 15 and 16 … 31. */
INLINE void sum_halves(int32_t sum[2], __m256i q)
{
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
    __m256i s = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4E));
    s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0xB1));
    sum[0] = _mm_cvtsi128_si32(_mm256_castsi256_si128(s));
    sum[1] = _mm_cvtsi128_si32(_mm256_extracti128_si256(s, 1));
}

INLINE __m256i words_of(__m256 a, __m256 b, __m256 d)
{
    /* the conversion rounds half to even */
    return _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_div_ps(a, d)),
                              _mm256_cvtps_epi32(_mm256_div_ps(b, d)));
}

INLINE void quantise_block(int8_t *q, float *d, int32_t sum[2], const float *x)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
    __m256 v[4];
    __m256i max = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        max = _mm256_max_epi32(max, _mm256_and_si256(_mm256_castps_si256(v[i]), magnitude));
    }
    /* magnitudes are ordered as their bits are; infinities and NaNs come last */
    const int32_t bits = max_lane(max);
    float top;
    memcpy(&top, &bits, sizeof top);
    const float scale = bits < 0x7F800000 ? top / 127 : NAN;
    *d = scale;
    if (!(scale > 0)) {
        _mm256_storeu_si256((__m256i *)q, _mm256_setzero_si256());
        sum[0] = sum[1] = 0;
        return;
    }
    const __m256 s = _mm256_set1_ps(scale);
    const __m256i bytes = _mm256_packs_epi16(words_of(v[0], v[1], s), words_of(v[2], v[3], s));
    /* packs work in halves: put the groups of four back in order */
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i low = _mm256_set1_epi8(-127);
    const __m256i all = _mm256_max_epi8(_mm256_permutevar8x32_epi32(bytes, order), low);
    _mm256_storeu_si256((__m256i *)q, all);
    sum_halves(sum, all);
}

void KERNEL(quantise_rows)(const QuantRows *out, const float *x, int64_t ldx, int64_t M, int64_t K)
{
    for (int64_t m = 0; m < M; m++) {
        int8_t *const q = out->q + m * K;
        float *const d = out->d + m * (K / 32);
        int32_t *const sum = out->sum + m * (K / 16);
        for (int64_t b = 0; b < K / 32; b++)
            quantise_block(q + 32 * b, d + b, sum + 2 * b, x + m * ldx + 32 * b);
    }
}

#endif
