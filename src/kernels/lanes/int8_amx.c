/* Sixteen rows of linear_int8 on the matrix tiles of AMX (level vnni, processors that have it).
 *
 * A: q of sixteen rows, a block of B = 32 or 16 bytes each.   B: a block of a panel unpacked to bytes,
 * [B/4][16][4], which is the layout the instruction wants.   C: 16 × 16 int32, exact, hence the bits of
 * every other level. Scales change with every block, so C is stored, converted and multiplied after each:
 *
 *   block of 32, 8,192 products      cycles of a Sapphire Rapids core
 *     tdpbsud                        16 (half of its depth is used)
 *     tilestored, 16 rows            16
 *     16 × (convert, multiply, multiply-add, and subtract the zero or multiply-add the minimum)
 *                                    64 operations on two ports: 32
 *     sixteen rows with vpdpbusd     16 × (8 + 4) on two ports: 96
 *
 * The three parts overlap: two C tiles take turns, so that a block's product runs under the float end of
 * the one before. That is three times vpdpbusd, and worth it; the float end is the roof. */
#include "kernels/lanes/int8.h"
#include "kernels/lanes/int8_vec.h"

#if defined(LEVEL_vnni)

#define ROWS 16
#define PRODUCTS 64 /* bytes a row of C and of B */

/* Tile registers are constants of the instructions. */
#define TILE_C0 0
#define TILE_C1 1
#define TILE_A 2
#define TILE_B 3

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} TileConfig;

_Static_assert(sizeof(TileConfig) == 64, "the instruction reads 64 bytes");

/* The intrinsics do not tell gcc that they read memory (of a configuration, more than eight bytes). */
INLINE void memory_written(void)
{
    __asm__ volatile("" ::: "memory");
}

void KERNEL(int8_amx_begin)(int block)
{
    TileConfig config = {.palette = 1};
    config.rows[TILE_C0] = config.rows[TILE_C1] = config.rows[TILE_A] = ROWS;
    config.row_bytes[TILE_C0] = config.row_bytes[TILE_C1] = config.row_bytes[TILE_B] = PRODUCTS;
    config.row_bytes[TILE_A] = (uint16_t)block;
    config.rows[TILE_B] = (uint8_t)(block / 4);
    memory_written();
    _tile_loadconfig(&config);
}

void KERNEL(int8_amx_end)(void)
{
    _tile_release();
}

/* Integers of block b into i, through tile C0 or C1. */
INLINE void product(const Int8Tile *t, const int B, int64_t b, int32_t *i)
{
    _tile_loadd(TILE_A, t->q + b * B, t->ldq);
    _tile_loadd(TILE_B, t->codes + b * B * LANES, PRODUCTS);
    if (b % 2 == 0) {
        _tile_zero(TILE_C0);
        _tile_dpbsud(TILE_C0, TILE_A, TILE_B);
        _tile_stored(TILE_C0, i, PRODUCTS);
    } else {
        _tile_zero(TILE_C1);
        _tile_dpbsud(TILE_C1, TILE_A, TILE_B);
        _tile_stored(TILE_C1, i, PRODUCTS);
    }
}

INLINE void block_end(const Int8Tile *t, const int B, int64_t b, const int32_t *products, vreal *acc)
{
    vint i[ROWS];
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
        i[r] = vi_load(products + LANES * r);
        if (t->form->zero != 0)
            i[r] = vi_sub(i[r], vi_set1(t->fix[r * t->ldfix + b].zero));
    }
    int8_block_end(t, ROWS, B, b, v_load(t->scale + LANES * b), i, acc);
    if (t->min)
        int8_block_min(t, ROWS, b, v_load(t->min + LANES * b), acc);
}

INLINE void tile(const Int8Tile *t, const int B)
{
    _Alignas(64) int32_t products[2][ROWS * LANES];
    vreal acc[ROWS];
    int8_open(t, ROWS, 0, acc);
    memory_written();
    product(t, B, 0, products[0]);
    for (int64_t b = 0; b < t->blocks; b++) {
        if (b + 1 < t->blocks)
            product(t, B, b + 1, products[(b + 1) % 2]);
        block_end(t, B, b, products[b % 2], acc);
    }
    int8_close(t, ROWS, 0, acc);
}

void KERNEL(int8_amx_tile)(const Int8Tile *t)
{
    if (t->form->block == 32)
        tile(t, 32);
    else
        tile(t, 16);
}

#endif
