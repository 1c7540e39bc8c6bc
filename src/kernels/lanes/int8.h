/* The parts of linear_int8 at the vector levels (avx2, avx512, vnni): what one call of a register tile
 * gets, and who provides tiles.
 *
 * A tile multiplies R rows with one panel (sixteen outputs, the lanes of a vector) over a piece of K.
 * Integers are summed inside a block of the form; a block ends with one float multiply-add a lane (two
 * with minima), in ascending order, as kernels.h defines. Integer sums are exact however they are taken,
 * so that all tiles of all levels give the same bits. Between pieces of K the sums wait in y. */
#ifndef PLUMB_KERNELS_LANES_INT8_H
#define PLUMB_KERNELS_LANES_INT8_H

#include "kernels/kernels.h"
#include "kernels/lanes/vec.h"

#if defined(LEVEL_avx2) || defined(LEVEL_avx512) || defined(LEVEL_vnni)

/* What a block of a row contributes besides Σ code·q:  zero·Σq  or  d·Σq  (never both). */
typedef union {
    int32_t zero;
    float min;
} Int8Fix;

typedef struct {
    const PackForm *form;
    int64_t blocks; /* of this piece */

    const uint8_t *codes; /* packed blocks; or unpacked codes, [blocks][B/4][16][4] bytes or
                             [blocks][B/2][16][2] words less the zero */
    size_t block_bytes;   /* between packed blocks */
    int64_t apart;        /* panels between the panels of a tile that takes several */
    size_t panel_bytes;   /* of a packed panel */
    const float *scale;   /* [blocks][16], unpacked only */
    const float *min;     /* the same; NULL: none */

    const int8_t *q;        /* [rows][ldq], or */
    const int16_t *q_words; /* [rows][ldq] with unpacked words */
    const float *d;         /* [rows][ldd], one for 32 of k */
    const Int8Fix *fix;     /* [rows][ldfix], one a block; not read by tiles on words without minima */
    int64_t ldq, ldd, ldfix;

    float *y; /* [rows][ldy] */
    int64_t ldy;
    int lanes;         /* outputs of this panel, 1 … 16: no other is read or written */
    bool fresh;        /* start from 0 instead of y */
    const float *bias; /* of these outputs, added last; NULL: none */
} Int8Tile;

/* Tiles of one kind, most rows first, of as many rows the one of most panels; the last takes one row and
 * one panel. */
typedef struct {
    int rows, panels;
    void (*run)(const Int8Tile *t);
} Int8Rows;

/* Tiles on packed panels: few rows, every level; any number of rows at level vnni. One row takes one or
 * four panels, two rows perhaps two, more rows one. */
const Int8Rows *KERNEL(int8_packed_tiles)(const PackForm *form);

/* Tiles on unpacked panels (avx2, avx512): codes below 16, 32 or 64 as bytes, any as words. */
typedef enum { INT8_CODES_16, INT8_CODES_32, INT8_CODES_64, INT8_WORDS } Int8Codes;
const Int8Rows *KERNEL(int8_unpacked_tiles)(const PackForm *form, Int8Codes codes);

/* Sixteen rows on a panel unpacked to bytes, with AMX (level vnni). Tiles of this thread belong to it
 * from begin, which says the form's block, to end. */
void KERNEL(int8_amx_begin)(int block);
void KERNEL(int8_amx_tile)(const Int8Tile *t);
void KERNEL(int8_amx_end)(void);

INLINE vreal int8_load_scales(const PackForm *f, const uint8_t *p)
{
    return f->scale_bytes == 2 ? v_load_f16((const uint16_t *)(const void *)p)
                               : v_load((const float *)(const void *)p);
}

/* Where a packed block keeps its minima and its codes. */
INLINE size_t int8_scales_bytes(const PackForm *f)
{
    return (size_t)PANEL_ROWS * f->scale_bytes;
}

/* Panels of few rows come from memory. Four read side by side, far apart, keep it busy; one or two do
 * with some help: the processor's own prefetching stops at every page. Measured on Zen 3, one thread, of
 * 25 GB/s that four plain streams reach: one panel 16, and 20 with what follows 2 KiB later asked for;
 * two 21, and 25 (1 KiB); four 26. */
INLINE void int8_prefetch(const Int8Tile *t, const int panels, const uint8_t *block)
{
    const size_t ahead = panels == 1 ? 2048 : 1024;
    for (size_t i = 0; panels < 4 && i < t->block_bytes; i += 64) /* an address, maybe behind the panels */
        _mm_prefetch((const char *)((uintptr_t)block + ahead + i), _MM_HINT_T0);
}

/* Sums of R rows on panel v of the tile. */
INLINE void int8_open(const Int8Tile *t, const int R, int v, vreal *acc)
{
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        const float *const y = t->y + r * t->ldy + v * t->apart * LANES;
        acc[r] = t->fresh ? v_zero() : t->lanes == LANES ? v_load(y) : v_load_part(y, t->lanes);
    }
}

INLINE void int8_close(const Int8Tile *t, const int R, int v, const vreal *acc)
{
    const int64_t n = v * t->apart * LANES;
    const vreal bias = t->bias ? v_load_part(t->bias + n, t->lanes) : v_zero();
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        float *const y = t->y + r * t->ldy + n;
        const vreal sum = t->bias ? v_add(acc[r], bias) : acc[r];
        if (t->lanes == LANES)
            v_store(y, sum);
        else
            v_store_part(y, sum, t->lanes);
    }
}

/* The float end of block b: i[r] are the integers of R rows, the zero's part already taken off. */
INLINE void int8_block_end(const Int8Tile *t, const int R, const int B, int64_t b, vreal scale,
                           const vint *i, vreal *acc)
{
    const float *const d = t->d + b * B / 32;
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
        acc[r] = v_fma(v_mul(scale, v_set1(d[r * t->ldd])), v_from_int(i[r]), acc[r]);
}

INLINE void int8_block_min(const Int8Tile *t, const int R, int64_t b, vreal min, vreal *acc)
{
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
        acc[r] = v_fma(min, v_set1(t->fix[r * t->ldfix + b].min), acc[r]);
}

#endif
#endif
