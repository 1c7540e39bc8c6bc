/* AVX-512 on processors without it, for tests: the sources of src/kernels/lanes/ are compiled with this
 * header in front, which makes SIMDe (Debian package libsimde-dev) stand in for the intrinsics. The
 * product never depends on it. Below are the intrinsics that version 0.7.4 lacks. */
#ifndef PLUMB_TESTS_KERNELS_EMULATE_H
#define PLUMB_TESTS_KERNELS_EMULATE_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wdouble-promotion"
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#pragma GCC diagnostic pop

#include "amx_model.h"

#include <string.h>

#define EMULATED static inline __attribute__((always_inline, unused))

/* A register as two halves, and as words. */
typedef union {
    simde__m512 f;
    simde__m512i i;
    __m256 halves[2];
    __m256i int_halves[2];
    float f32[16];
    int32_t i32[16];
} EmulatedRegister;

EMULATED __m512 emulated_maskz_loadu_ps(unsigned mask, const void *p)
{
    EmulatedRegister r;
    memset(&r, 0, sizeof r);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            memcpy(&r.f32[i], (const char *)p + 4 * i, 4);
    return r.f;
}
#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps(mask, p) emulated_maskz_loadu_ps(mask, p)

EMULATED void emulated_mask_storeu_ps(void *p, unsigned mask, __m512 a)
{
    const EmulatedRegister r = {.f = a};
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            memcpy((char *)p + 4 * i, &r.f32[i], 4);
}
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps(p, mask, a) emulated_mask_storeu_ps(p, mask, a)

EMULATED __m512 emulated_cvtph_ps(__m256i a)
{
    EmulatedRegister r;
    r.halves[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(a));
    r.halves[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1));
    return r.f;
}
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps(a) emulated_cvtph_ps(a)

EMULATED __m256i emulated_cvtps_ph(__m512 a)
{
    const EmulatedRegister r = {.f = a};
    const __m128i lo = _mm256_cvtps_ph(r.halves[0], 0), hi = _mm256_cvtps_ph(r.halves[1], 0);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(lo), hi, 1);
}
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph(a, rounding) emulated_cvtps_ph(a)

EMULATED __m512i emulated_cvtepu16_epi32(__m256i a)
{
    EmulatedRegister r;
    r.int_halves[0] = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(a));
    r.int_halves[1] = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1));
    return r.i;
}
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32(a) emulated_cvtepu16_epi32(a)

EMULATED __m256i emulated_cvtepi32_epi16(__m512i a)
{
    const EmulatedRegister r = {.i = a};
    uint16_t words[16];
    __m256i out;
    for (int i = 0; i < 16; i++)
        words[i] = (uint16_t)r.i32[i];
    memcpy(&out, words, sizeof out);
    return out;
}
#undef _mm512_cvtepi32_epi16
#define _mm512_cvtepi32_epi16(a) emulated_cvtepi32_epi16(a)

EMULATED __m512 emulated_cvtepi32_ps(__m512i a)
{
    EmulatedRegister r = {.i = a};
    r.halves[0] = _mm256_cvtepi32_ps(r.int_halves[0]);
    r.halves[1] = _mm256_cvtepi32_ps(r.int_halves[1]);
    return r.f;
}
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps(a) emulated_cvtepi32_ps(a)

EMULATED __m512i emulated_srai_epi32(__m512i a, unsigned n)
{
    EmulatedRegister r = {.i = a};
    for (int i = 0; i < 16; i++)
        r.i32[i] >>= n;
    return r.i;
}
#undef _mm512_srai_epi32
#define _mm512_srai_epi32(a, n) emulated_srai_epi32(a, n)

/* VDPBF16PS as the manual defines it: the odd product of a pair first, each a fused multiply-add that flushes
 * denormals. SIMDe's own rounds the two together. */
EMULATED __m512 emulated_dpbf16_ps(__m512 sum, __m512i a, __m512i b)
{
    EmulatedRegister s = {.f = sum};
    const EmulatedRegister x = {.i = a}, y = {.i = b};
    for (int i = 0; i < 16; i++)
        for (int odd = 1; odd >= 0; odd--) {
            const uint32_t u = odd ? (uint32_t)x.i32[i] & 0xFFFF0000u : (uint32_t)x.i32[i] << 16;
            const uint32_t v = odd ? (uint32_t)y.i32[i] & 0xFFFF0000u : (uint32_t)y.i32[i] << 16;
            s.f32[i] = amx_flush(fmaf(amx_flushed(u), amx_flushed(v), amx_flush(s.f32[i])));
        }
    return s.f;
}
#undef __m512bh
#define __m512bh simde__m512i
#undef _mm512_dpbf16_ps
#define _mm512_dpbf16_ps(sum, a, b) emulated_dpbf16_ps(sum, a, b)

/* SIMDe's name for this one takes the arguments of the masked form. */
#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)

#endif
