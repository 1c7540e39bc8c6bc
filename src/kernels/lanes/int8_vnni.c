/* Tiles of linear_int8 on vpdpbusd (level vnni): one instruction multiplies four k of sixteen outputs
 * with four q of a row and adds them to sixteen int32, exactly.
 *
 * Every tile reads packed panels: nibbles are taken apart with operations that run beside the dot
 * products (3 for 8 k, shared by up to 8 rows), and q is broadcast by the instruction's memory operand.
 * A block of 32 of one row: 8 dot products, then convert, multiply, multiply-add (and another with
 * minima). 8 rows take 8 registers of integers and 8 of sums. A Zen 4 core starts one 512-bit product a
 * cycle: 8 / (8 + 3) of its 64 products a cycle remain, 2.9 times what its f32 multiply-adds do. */
#include "kernels/lanes/int8.h"
#include "kernels/lanes/int8_vec.h"

#if defined(LEVEL_vnni)

#define ROWS 8

INLINE void step(const Int8Tile *t, const int R, vint codes, const int8_t *q, vint *i)
{
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
        i[r] = vi_dot(i[r], codes, vi_splat4(q + r * t->ldq));
}

/* One row would wait for its own sums: it uses two, for even and odd steps. */
INLINE void block_dot(const Int8Tile *t, const FormKind kind, const int R, const int B,
                      const uint8_t *codes, const int8_t *q, vint *i)
{
    vint odd[ROWS];
    vint *const other = R == 1 ? odd : i;
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
        i[r] = odd[r] = vi_zero();
    if (kind == FORM_Q4) {
#pragma GCC unroll 4
        for (int g = 0; g < B / 8; g++) {
            const vint c = vi_load(codes + 64 * g);
            step(t, R, vi_low4(c), q + 8 * g, i);
            step(t, R, vi_high4(c), q + 8 * g + 4, other);
        }
    } else {
#pragma GCC unroll 4
        for (int g = 0; g < B / 8; g++) {
            step(t, R, vi_load(codes + 128 * g), q + 8 * g, i);
            step(t, R, vi_load(codes + 128 * g + 64), q + 8 * g + 4, other);
        }
    }
    if (R == 1)
        i[0] = vi_add(i[0], odd[0]);
}

INLINE void packed_block(const Int8Tile *t, const FormKind kind, const int R, const int B, int64_t b,
                         const uint8_t *block, const int8_t *q, vreal *acc)
{
    const PackForm *const f = t->form;
    const size_t scales = int8_scales_bytes(f);
    vint i[ROWS];
    block_dot(t, kind, R, B, block + (f->has_min ? 2 * scales : scales), q, i);
    if (f->zero != 0) {
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
            i[r] = vi_sub(i[r], vi_set1(t->fix[r * t->ldfix + b].zero));
    }
    int8_block_end(t, R, B, b, int8_load_scales(f, block), i, acc);
    if (f->has_min)
        int8_block_min(t, R, b, int8_load_scales(f, block + scales), acc);
}

/* P panels: the same block of each in turn. */
INLINE void packed_tile(const Int8Tile *t, const FormKind kind, const int R, const int P, const int B)
{
    const size_t apart = (size_t)t->apart * t->panel_bytes;
    const uint8_t *block = t->codes;
    const int8_t *q = t->q;
    vreal acc[ROWS]; /* R · P */
#pragma GCC unroll 4
    for (int v = 0; v < P; v++)
        int8_open(t, R, v, acc + R * v);
    for (int64_t b = 0; b < t->blocks; b++, block += t->block_bytes, q += B)
#pragma GCC unroll 4
        for (int v = 0; v < P; v++) {
            if (R <= 4)
                int8_prefetch(t, P, block + (size_t)v * apart);
            packed_block(t, kind, R, B, b, block + (size_t)v * apart, q, acc + R * v);
        }
#pragma GCC unroll 4
    for (int v = 0; v < P; v++)
        int8_close(t, R, v, acc + R * v);
}

#define PACKED(kind, R, P, B)                                      \
    static void packed_##kind##_##B##_##R##x##P(const Int8Tile *t) \
    {                                                              \
        packed_tile(t, FORM_##kind, R, P, B);                      \
    }
#define PACKED_ALL(kind, B)                                                                      \
    PACKED(kind, 8, 1, B)                                                                        \
    PACKED(kind, 4, 1, B)                                                                        \
    PACKED(kind, 2, 2, B)                                                                        \
    PACKED(kind, 2, 1, B)                                                                        \
    PACKED(kind, 1, 4, B)                                                                        \
    PACKED(kind, 1, 1, B)                                                                        \
    static const Int8Rows rows_##kind##_##B[] = {                                                \
        {8, 1, packed_##kind##_##B##_8x1}, {4, 1, packed_##kind##_##B##_4x1},                    \
        {2, 2, packed_##kind##_##B##_2x2}, {2, 1, packed_##kind##_##B##_2x1},                    \
        {1, 4, packed_##kind##_##B##_1x4}, {1, 1, packed_##kind##_##B##_1x1}};

PACKED_ALL(Q4, 32)
PACKED_ALL(Q4, 16)
PACKED_ALL(Q8, 32)
PACKED_ALL(Q8, 16)

const Int8Rows *KERNEL(int8_packed_tiles)(const PackForm *form)
{
    if (form->kind == FORM_Q4)
        return form->block == 32 ? rows_Q4_32 : rows_Q4_16;
    return form->block == 32 ? rows_Q8_32 : rows_Q8_16;
}

#endif
