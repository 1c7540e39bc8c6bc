/* Products of a block: a[rows, n] times vectors of columns that are ready to be multiplied. */
#ifndef PLUMB_KERNELS_LANES_BLOCK_H
#define PLUMB_KERNELS_LANES_BLOCK_H

#include "kernels/lanes/tile.h"

/* c[r, 16·v + lane] += Σ_i a[r,i] · b[v][i][lane] for v < vecs, i ascending; see tile.h. Of the last vector only
 * the lanes below `columns` − 16·(vecs − 1) are read and written. */
typedef struct {
    real *c;
    int64_t ldc, columns;
    const real *a;
    int64_t lda;
    const void *b; /* of `type`; vector v begins step_v elements behind v − 1 */
    TileType type; /* TILE_REAL where there are several rows */
    int64_t step_v, vecs, n;
    bool fresh;       /* start from 0 instead of c */
    const real *bias; /* added to the sum, one a column; NULL: none */
} Block;

/* Rows in tiles of as equal a height as can be. A vector of b is used by all rows before the next one is touched: it
 * should fit L1 (n up to BLOCK_N), all rows of a L2. */
void KERNEL(block_rows)(const Block *b, int64_t rows);

#define BLOCK_N 256

/* A sum of length n goes by chunks of this length: at most BLOCK_N, a multiple of 32, about equal. */
INLINE int64_t block_chunk(int64_t n)
{
    const int64_t chunks = (n + BLOCK_N - 1) / BLOCK_N;
    return chunks < 2 ? BLOCK_N : ((n + chunks - 1) / chunks + 31) / 32 * 32;
}

INLINE int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

#endif
