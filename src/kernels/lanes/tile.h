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

INLINE vreal tile_load_c(const real *p, int lanes)
{
    return lanes == LANES ? v_load(p) : v_load_part(p, lanes);
}

INLINE void tile_finish(const int R, const int V, vreal acc[TILE_ROWS][TILE_VECS_MAX], const Tile *t)
{
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) {
        const int lanes = v == V - 1 ? t->last : LANES;
        const vreal bias = t->bias ? tile_load_c(t->bias + LANES * v, lanes) : v_zero();
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            real *const c = t->c + r * t->ldc + LANES * v;
            const vreal sum = t->bias ? v_add(acc[r][v], bias) : acc[r][v];
            if (lanes == LANES)
                v_store(c, sum);
            else
                v_store_part(c, sum, lanes);
        }
    }
}

/* R, V and type are constants at every call. */
INLINE void tile_run(const int R, const int V, const TileType type, const Tile *t)
{
    vreal acc[TILE_ROWS][TILE_VECS_MAX];
    const real *const a = t->a;
    const int64_t lda = t->lda, step_v = t->step_v;
#pragma GCC unroll 12
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            acc[r][v] = t->fresh ? v_zero()
                                 : tile_load_c(t->c + r * t->ldc + LANES * v,
                                               v == V - 1 ? t->last : LANES);
    int64_t i = 0;
    for (int64_t k = 0; k < t->n; k++, i += t->step_k) {
        vreal w[TILE_VECS_MAX];
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            w[v] = tile_load(type, t->b, i + v * step_v);
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            const vreal x = v_set1(a[r * lda + k]);
#pragma GCC unroll 8
            for (int v = 0; v < V; v++)
                acc[r][v] = v_fma(x, w[v], acc[r][v]);
        }
    }
    tile_finish(R, V, acc, t);
}

#endif
