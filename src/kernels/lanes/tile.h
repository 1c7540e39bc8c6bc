/* The register tile under every product: R rows times V vectors of sixteen columns,
 *
 *     c[r, 16·v …] += Σ_k a[r,k] · b[k, v]      one fused multiply-add each, k ascending,
 *
 * with the R·V sums in registers. Products of weights, attention scores (b = keys) and weighted values
 * (b = values) differ only in strides and in the type of b. Where a tile ends and which rows share one
 * never changes a sum; carrying sums through memory between pieces of k does not either.
 *
 * AVX2: a step of k at 6×1 is 12 multiply-adds on 2 loads and 6 broadcasts, which both of its pipes
 * sustain with 12 sums of latency 4. AVX-512: 12×2. */
#ifndef PLUMB_KERNELS_LANES_TILE_H
#define PLUMB_KERNELS_LANES_TILE_H

#include "kernels/lanes/vec.h"

/* Most rows of a tile, and the vectors that a tile of R rows takes at most (a power of two). */
#if defined(LEVEL_avx512) || defined(LEVEL_vnni)
#define TILE_ROWS 12
#define TILE_VECS(R) ((R) == 1 ? 8 : (R) <= 6 ? 4 : 2)
#elif defined(LEVEL_avx2)
#define TILE_ROWS 6
#define TILE_VECS(R) ((R) == 1 ? 4 : (R) <= 3 ? 2 : 1)
#else
#define TILE_ROWS 4
#define TILE_VECS(R) 1
#endif
#define TILE_VECS_MAX 8

typedef enum { TILE_REAL, TILE_F16, TILE_BF16 } TileType;

typedef struct {
    real *c;
    int64_t ldc;
    const real *a;
    int64_t lda;
    const void *b;
    int64_t step_k, step_v; /* of b, in elements */
    int64_t n;              /* length of the sum */
    int last;               /* lanes of the last vector of c, 1 … 16: no other is read or written */
    bool fresh;             /* start from 0 instead of c */
    const real *bias;       /* added to the sum, one a column; NULL: none */
} Tile;

INLINE vreal tile_load(TileType type, const void *b, int64_t i)
{
#if !REAL_IS_DOUBLE
    if (type == TILE_F16)
        return v_load_f16((const uint16_t *)b + i);
    if (type == TILE_BF16)
        return v_load_bf16((const uint16_t *)b + i);
#else
    (void)type;
#endif
    return v_load((const real *)b + i);
}

/* The sums before and after the loop. Whole vectors and no bias are the case that must be quick. */
INLINE void tile_begin(const int R, const int V, vreal acc[TILE_ROWS][TILE_VECS_MAX], const Tile *t)
{
    const real *const c = t->c;
    const int64_t ldc = t->ldc;
    const int last = t->last;
    const bool fresh = t->fresh;
#pragma GCC unroll 12
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            acc[r][v] = v_zero();
    if (fresh)
        return;
    if (last == LANES) {
#pragma GCC unroll 12
        for (int r = 0; r < R; r++)
#pragma GCC unroll 8
            for (int v = 0; v < V; v++)
                acc[r][v] = v_load(c + r * ldc + LANES * v);
    } else {
#pragma GCC unroll 12
        for (int r = 0; r < R; r++)
#pragma GCC unroll 8
            for (int v = 0; v < V; v++)
                acc[r][v] = v_load_part(c + r * ldc + LANES * v, v == V - 1 ? last : LANES);
    }
}

INLINE void tile_add_bias(const int R, const int V, vreal acc[TILE_ROWS][TILE_VECS_MAX], const Tile *t)
{
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) {
        const vreal bias = v_load_part(t->bias + LANES * v, v == V - 1 ? t->last : LANES);
#pragma GCC unroll 12
        for (int r = 0; r < R; r++)
            acc[r][v] = v_add(acc[r][v], bias);
    }
}

INLINE void tile_end(const int R, const int V, vreal acc[TILE_ROWS][TILE_VECS_MAX], const Tile *t)
{
    real *const c = t->c;
    const int64_t ldc = t->ldc;
    const int last = t->last;
    if (t->bias)
        tile_add_bias(R, V, acc, t);
    if (last == LANES) {
#pragma GCC unroll 12
        for (int r = 0; r < R; r++)
#pragma GCC unroll 8
            for (int v = 0; v < V; v++)
                v_store(c + r * ldc + LANES * v, acc[r][v]);
    } else {
#pragma GCC unroll 12
        for (int r = 0; r < R; r++)
#pragma GCC unroll 8
            for (int v = 0; v < V; v++)
                v_store_part(c + r * ldc + LANES * v, acc[r][v], v == V - 1 ? last : LANES);
    }
}

/* R, V and type are constants at every call. */
INLINE void tile_run(const int R, const int V, const TileType type, const Tile *t)
{
    vreal acc[TILE_ROWS][TILE_VECS_MAX];
    const real *const a = t->a;
    const void *const b = t->b;
    const int64_t lda = t->lda, step_k = t->step_k, step_v = t->step_v, n = t->n;
    tile_begin(R, V, acc, t);
    int64_t i = 0;
    for (int64_t k = 0; k < n; k++, i += step_k) {
        vreal w[TILE_VECS_MAX];
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            w[v] = tile_load(type, b, i + v * step_v);
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            const vreal x = v_set1(a[r * lda + k]);
#pragma GCC unroll 8
            for (int v = 0; v < V; v++)
                acc[r][v] = v_fma(x, w[v], acc[r][v]);
        }
    }
    tile_end(R, V, acc, t);
}

#endif
