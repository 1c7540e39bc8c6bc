/* The tiles of tile.h by their numbers of rows and vectors, and the walk of a block (block.h) over them. */
#include "kernels/lanes/block.h"

/* ---- tiles by number of rows and vectors ---- */

#define TILE_FUNCTION(R, V, type)                                                 \
    static __attribute__((noinline)) void tile_##type##_##R##x##V(const Tile *t)  \
    {                                                                             \
        tile_run(R, V, type, t);                                                  \
    }
#if TILE_ROWS == 12
#define TILES_BY_ROWS(X)                                                                          \
    X(1, 1) X(1, 2) X(1, 4) X(1, 8) X(2, 1) X(2, 2) X(2, 4) X(3, 1) X(3, 2) X(3, 4)               \
    X(4, 1) X(4, 2) X(4, 4) X(5, 1) X(5, 2) X(5, 4) X(6, 1) X(6, 2) X(6, 4) X(7, 1) X(7, 2)       \
    X(8, 1) X(8, 2) X(9, 1) X(9, 2) X(10, 1) X(10, 2) X(11, 1) X(11, 2) X(12, 1) X(12, 2)
#define TILES_OF_ONE(X) X(1, 1) X(1, 2) X(1, 4) X(1, 8)
#elif TILE_ROWS == 6
#define TILES_BY_ROWS(X)                                                                          \
    X(1, 1) X(1, 2) X(1, 4) X(2, 1) X(2, 2) X(3, 1) X(3, 2) X(4, 1) X(5, 1) X(6, 1)
#define TILES_OF_ONE(X) X(1, 1) X(1, 2) X(1, 4)
#else
#define TILES_BY_ROWS(X) X(1, 1) X(2, 1) X(3, 1) X(4, 1)
#define TILES_OF_ONE(X) X(1, 1)
#endif

#define X(R, V) TILE_FUNCTION(R, V, TILE_REAL)
TILES_BY_ROWS(X)
#undef X
#if !REAL_IS_DOUBLE
#define X(R, V) TILE_FUNCTION(R, V, TILE_F16) TILE_FUNCTION(R, V, TILE_BF16)
TILES_OF_ONE(X)
#undef X
#endif

static void tile_any(int R, int V, TileType type, const Tile *t)
{
    switch ((int)type * 256 + R * 16 + V) {
#define X(R, V)                                \
    case (int)TILE_REAL * 256 + R * 16 + V:    \
        tile_TILE_REAL_##R##x##V(t);           \
        break;
        TILES_BY_ROWS(X)
#undef X
#if !REAL_IS_DOUBLE
#define X(R, V)                                \
    case (int)TILE_F16 * 256 + R * 16 + V:     \
        tile_TILE_F16_##R##x##V(t);            \
        break;                                 \
    case (int)TILE_BF16 * 256 + R * 16 + V:    \
        tile_TILE_BF16_##R##x##V(t);           \
        break;
        TILES_OF_ONE(X)
#undef X
#endif
    }
}

/* `tiles` tiles of R rows from `row` on. */
static void sweep(const Block *b, int64_t row, int64_t tiles, int R)
{
    const size_t element = b->type == TILE_REAL ? sizeof(real) : sizeof(uint16_t);
    int V = TILE_VECS(R);
    for (int64_t p = 0; p < b->vecs; p += V) {
        while (V > b->vecs - p)
            V /= 2;
        const int64_t left = b->columns - (p + V - 1) * LANES;
        Tile t = {.ldc = b->ldc, .lda = b->lda, .step_k = LANES, .step_v = b->step_v, .n = b->n};
        t.b = (const char *)b->b + (size_t)(p * b->step_v) * element;
        t.last = (int)smaller(left, LANES);
        t.fresh = b->fresh;
        t.bias = b->bias ? b->bias + p * LANES : NULL;
        for (int64_t i = 0; i < tiles; i++) {
            t.c = b->c + (row + i * R) * b->ldc + p * LANES;
            t.a = b->a + (row + i * R) * b->lda;
            tile_any(R, V, b->type, &t);
        }
    }
}

/* 7 rows are 4 + 3, not 6 + 1. */
void KERNEL(block_rows)(const Block *b, int64_t rows)
{
    const int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    if (tiles == 0)
        return;
    const int64_t R = rows / tiles, taller = rows % tiles;
    if (taller)
        sweep(b, 0, taller, (int)R + 1);
    sweep(b, taller * (R + 1), tiles - taller, (int)R);
}
