/* Transposition of reals: dst[j·ldd + i] = src[i·lds + j]. */
#ifndef PLUMB_KERNELS_LANES_TRANSPOSE_H
#define PLUMB_KERNELS_LANES_TRANSPOSE_H

#include "kernels/lanes/vec.h"

/* Any rows (i) and columns (j) of src. */
INLINE void transpose_part(real *dst, int64_t ldd, const real *src, int64_t lds, int64_t rows, int64_t columns)
{
    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = 0; i < rows; i++)
            dst[j * ldd + i] = src[i * lds + j];
}

#if defined(LEVEL_avx2) || defined(LEVEL_avx512) || defined(LEVEL_vnni)

/* 8 × 8: pairs, then fours, then the halves of registers. */
INLINE void transpose_8x8(float *dst, int64_t ldd, const float *src, int64_t lds)
{
    __m256 r[8], s[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps(src + i * lds);
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xEE);
        r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xEE);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(dst + i * ldd, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(dst + (i + 4) * ldd, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

INLINE void transpose_16x16(real *dst, int64_t ldd, const real *src, int64_t lds)
{
    for (int i = 0; i < LANES; i += 8)
        for (int j = 0; j < LANES; j += 8)
            transpose_8x8(dst + j * ldd + i, ldd, src + i * lds + j, lds);
}

#else

INLINE void transpose_16x16(real *dst, int64_t ldd, const real *src, int64_t lds)
{
    transpose_part(dst, ldd, src, lds, LANES, LANES);
}

#endif

#endif
