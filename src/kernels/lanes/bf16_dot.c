/* The leaf of bf16_pairs.c on vdpbf16ps (level vnni, processors with AVX512_BF16): one instruction multiplies a pair
 * of k of sixteen outputs with the same pair of a row, broadcast once for the vectors of a tile.
 *
 * A step of 12×2 is 24 products on 2 loads and 12 broadcasts: a Zen 4 core starts one 512-bit product a cycle and two
 * loads, so that products are the roof, twice the float multiply-adds. 24 sums hide the latency of 5 to 6. */
#include "kernels/lanes/bf16_pairs.h"
#include "kernels/lanes/block.h"

#if defined(LEVEL_vnni)

#define ROWS 12
#define VECS 8 /* most vectors, for one row */

INLINE vreal dot(vreal sum, vint a, vint b)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

INLINE vint pair_at(const uint16_t *p)
{
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return vi_set1(pair);
}

/* Rows row … of vectors v …; R and V are constants at every call. */
INLINE void tile(const PairBlock *t, const int R, const int V, int64_t row, int64_t v0)
{
    const uint16_t *const a = t->a + row * t->lda;
    const uint32_t *const b = t->b + v0 * t->step_v;
    float *const c = t->c + row * t->ldc + v0 * LANES;
    const int64_t lda = t->lda, step_v = t->step_v, last = t->columns - (v0 + V - 1) * LANES;
    vreal acc[ROWS][VECS];
#pragma GCC unroll 12
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            acc[r][v] = t->fresh ? v_zero() : v_load_part(c + r * t->ldc + v * LANES, v == V - 1 ? last : LANES);
    for (int64_t p = 0; p < t->pairs; p++) {
        vint w[VECS];
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            w[v] = vi_load(b + v * step_v + p * LANES);
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            const vint x = pair_at(a + r * lda + 2 * p);
#pragma GCC unroll 8
            for (int v = 0; v < V; v++)
                acc[r][v] = dot(acc[r][v], x, w[v]);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            v_store_part(c + r * t->ldc + v * LANES, acc[r][v], v == V - 1 ? last : LANES);
}

#define TILES(X)                                                                                                      \
    X(1, 1) X(1, 2) X(1, 4) X(1, 8) X(2, 1) X(2, 2) X(3, 1) X(3, 2) X(4, 1) X(4, 2) X(5, 1) X(5, 2) X(6, 1) X(6, 2)   \
    X(7, 1) X(7, 2) X(8, 1) X(8, 2) X(9, 1) X(9, 2) X(10, 1) X(10, 2) X(11, 1) X(11, 2) X(12, 1) X(12, 2)

#define X(R, V)                                                                                             \
    static __attribute__((noinline)) void tile_##R##x##V(const PairBlock *t, int64_t row, int64_t v)        \
    {                                                                                                       \
        tile(t, R, V, row, v);                                                                              \
    }
TILES(X)
#undef X

static void any_tile(const PairBlock *t, int R, int V, int64_t row, int64_t v)
{
    switch (R * 16 + V) {
#define X(R, V)                       \
    case R * 16 + V:                  \
        tile_##R##x##V(t, row, v);    \
        break;
        TILES(X)
#undef X
    }
}

/* `tiles` tiles of R rows from `row` on. */
static void sweep(const PairBlock *b, int64_t row, int64_t tiles, int R)
{
    int V = R == 1 ? VECS : 2;
    for (int64_t v = 0; v < b->vecs; v += V) {
        while (V > b->vecs - v)
            V /= 2;
        for (int64_t i = 0; i < tiles; i++)
            any_tile(b, R, V, row + i * R, v);
    }
}

void KERNEL(pair_rows_dot)(const PairBlock *b, int64_t rows)
{
    const int64_t tiles = (rows + ROWS - 1) / ROWS;
    if (tiles == 0)
        return;
    const int64_t R = rows / tiles, taller = rows % tiles;
    if (taller)
        sweep(b, 0, taller, (int)R + 1);
    sweep(b, taller * (R + 1), tiles - taller, (int)R);
}

#define SUMS 12

int64_t KERNEL(measure_dot)(int64_t steps, double *sink)
{
    const vint one = vi_set1(0x3F803F80);
    vreal sum[SUMS];
    for (int i = 0; i < SUMS; i++)
        sum[i] = v_set1((float)i);
    for (int64_t s = 0; s < steps; s++)
#pragma GCC unroll 12
        for (int i = 0; i < SUMS; i++)
            sum[i] = dot(sum[i], v_bits(sum[i]), one);
    for (int i = 0; i < SUMS; i++)
        *sink += (double)v_reduce_add(sum[i]);
    return steps * SUMS * LANES * 2 * 2;
}

#endif
