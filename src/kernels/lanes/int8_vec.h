/* Operations on bytes and 16-bit words, beside those of vec.h: what the int8 kernels need at the vector
 * levels. A vint holds four bytes, two words or one int32 in each lane.
 *
 *   vi_zero() vi_store(p,a)
 *   vi_splat4(p)         the four bytes at p in every lane
 *   vi_set1_16(x)        x in all 32 words
 *   vi_low4(a)           the low nibble of each byte             vi_high4(a)   the high one
 *   vi_add16(a,b) vi_sub16(a,b)   words, modulo 2^16
 *   vi_maddubs(u,s)      words: u0·s0 + u1·s1, unsigned times signed bytes, saturated
 *   vi_madd16(a,b)       lanes: a0·b0 + a1·b1 of signed words
 *   vi_widen_swapped(w,b)   32 signed bytes to 32 words in memory, of every four the middle two swapped
 *   vi_dot(c,u,s)        c + Σ of four products of unsigned and signed bytes, exact (level vnni)
 *   vi_pin(&a)           nothing; keeps gcc from turning a chain of integer sums into a tree, whose
 *                        leaves it then spills (two thirds of the speed of an AVX2 tile)
 */
#ifndef PLUMB_KERNELS_LANES_INT8_VEC_H
#define PLUMB_KERNELS_LANES_INT8_VEC_H

#include "kernels/lanes/vec.h"

#if defined(LEVEL_avx2)

INLINE vint vi_zero(void)
{
    return (vint){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

INLINE void vi_store(void *p, vint a)
{
    _mm256_storeu_si256((__m256i *)p, a.lo);
    _mm256_storeu_si256((__m256i *)((char *)p + 32), a.hi);
}

INLINE vint vi_set1_16(int16_t x)
{
    return (vint){_mm256_set1_epi16(x), _mm256_set1_epi16(x)};
}

INLINE vint vi_add16(vint a, vint b)
{
    return (vint){_mm256_add_epi16(a.lo, b.lo), _mm256_add_epi16(a.hi, b.hi)};
}

INLINE vint vi_sub16(vint a, vint b)
{
    return (vint){_mm256_sub_epi16(a.lo, b.lo), _mm256_sub_epi16(a.hi, b.hi)};
}

INLINE vint vi_maddubs(vint u, vint s)
{
    return (vint){_mm256_maddubs_epi16(u.lo, s.lo), _mm256_maddubs_epi16(u.hi, s.hi)};
}

INLINE vint vi_madd16(vint a, vint b)
{
    return (vint){_mm256_madd_epi16(a.lo, b.lo), _mm256_madd_epi16(a.hi, b.hi)};
}

#elif defined(LEVEL_avx512) || defined(LEVEL_vnni)

INLINE vint vi_zero(void)
{
    return _mm512_setzero_si512();
}

INLINE void vi_store(void *p, vint a)
{
    _mm512_storeu_si512(p, a);
}

INLINE vint vi_set1_16(int16_t x)
{
    return _mm512_set1_epi16(x);
}

INLINE vint vi_add16(vint a, vint b)
{
    return _mm512_add_epi16(a, b);
}

INLINE vint vi_sub16(vint a, vint b)
{
    return _mm512_sub_epi16(a, b);
}

INLINE vint vi_maddubs(vint u, vint s)
{
    return _mm512_maddubs_epi16(u, s);
}

INLINE vint vi_madd16(vint a, vint b)
{
    return _mm512_madd_epi16(a, b);
}

#ifdef LEVEL_vnni
INLINE vint vi_dot(vint c, vint u, vint s)
{
    return _mm512_dpbusd_epi32(c, u, s);
}
#endif

#endif

#if defined(LEVEL_avx2) || defined(LEVEL_avx512) || defined(LEVEL_vnni)

INLINE vint vi_splat4(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return vi_set1(x);
}

INLINE vint vi_low4(vint a)
{
    return vi_and(a, vi_set1(0x0F0F0F0F));
}

INLINE vint vi_high4(vint a)
{
    return vi_and(vi_shr(a, 4), vi_set1(0x0F0F0F0F));
}

INLINE void vi_widen_swapped(int16_t *words, const int8_t *bytes)
{
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
    const __m256i b = _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)bytes), order);
    _mm256_storeu_si256((__m256i *)words, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(b)));
    _mm256_storeu_si256((__m256i *)(words + 16),
                        _mm256_cvtepi8_epi16(_mm256_extracti128_si256(b, 1)));
}

INLINE void vi_pin(vint *a)
{
#if defined(LEVEL_avx2) && !defined(__clang__)
    __asm__("" : "+x"(a->lo), "+x"(a->hi));
#else
    (void)a;
#endif
}

#endif
#endif
