/* Tiles of linear_int8 without a dot-product instruction (levels avx2 and avx512).
 *
 * maddubs multiplies unsigned codes with signed q and adds pairs into words, saturating. Nothing
 * saturates here, because |q| ≤ 127 and the codes are small enough:
 *   codes < 16   8 steps of 4 k stay in a word (8·2·15·127 = 30,480)
 *   codes < 32   4 steps                       (4·2·31·127 = 31,496)
 *   codes < 64   2 steps                       (2·2·63·127 = 32,004)
 * and then one madd16 with ones widens a run. Codes up to 255 do not fit so (2·255·127 = 64,770):
 *   packed       both nibbles of a code separately, 16·high + low
 *   unpacked     words less the zero, madd16 at once
 *
 * Operations a step of 4 k × 16 outputs (64 products) on AVX2, which has 4 vector pipes, 2 of them with
 * multipliers: codes < 16: 4 and 0.5 load, 0.5 broadcast; < 64: 5; any code: 8. So at most 64, 51 and 32
 * products a cycle, where f32 multiply-adds reach 16. A block of 32 ends with 10 to 14 more a row.
 * Four rows share the loads of codes. The sums of 4 rows are 8 registers, and the words another 8: gcc
 * keeps the float sums on the stack and touches them once a block. */
#include "kernels/lanes/int8.h"
#include "kernels/lanes/int8_vec.h"

#if defined(LEVEL_avx2) || defined(LEVEL_avx512)

#define ROWS 4 /* of the largest tile */

INLINE void subtract_zero(const Int8Tile *t, const int R, int64_t b, vint *i)
{
    if (t->form->zero == 0)
        return;
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
        i[r] = vi_sub(i[r], vi_set1(t->fix[r * t->ldfix + b].zero));
}

/* word += codes · q for four k of R rows; the first of a run starts it. */
INLINE void step(const Int8Tile *t, const int R, vint codes, const int8_t *q, bool first, vint *word)
{
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
        const vint p = vi_maddubs(codes, vi_splat4(q + r * t->ldq));
        word[r] = first ? p : vi_add16(word[r], p);
        vi_pin(&word[r]);
    }
}

/* ---- packed ---- */

INLINE void packed_q4(const Int8Tile *t, const int R, const int B, const uint8_t *codes,
                      const int8_t *q, vint *i)
{
    vint word[ROWS];
#pragma GCC unroll 4
    for (int g = 0; g < B / 8; g++) {
        const vint c = vi_load(codes + 64 * g);
        step(t, R, vi_low4(c), q + 8 * g, g == 0, word);
        step(t, R, vi_high4(c), q + 8 * g + 4, false, word);
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
        i[r] = vi_madd16(word[r], vi_set1_16(1));
}

INLINE void packed_q8(const Int8Tile *t, const int R, const int B, const uint8_t *codes,
                      const int8_t *q, vint *i)
{
    vint low[ROWS], high[ROWS];
#pragma GCC unroll 8
    for (int g = 0; g < B / 4; g++) {
        const vint c = vi_load(codes + 64 * g);
        step(t, R, vi_low4(c), q + 4 * g, g == 0, low);
        step(t, R, vi_high4(c), q + 4 * g, g == 0, high);
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
        i[r] = vi_add(vi_madd16(low[r], vi_set1_16(1)), vi_madd16(high[r], vi_set1_16(16)));
}

INLINE void packed_block(const Int8Tile *t, const FormKind kind, const int R, const int B, int64_t b,
                         const uint8_t *block, const int8_t *q, vreal *acc)
{
    const PackForm *const f = t->form;
    const size_t scales = int8_scales_bytes(f);
    const uint8_t *const codes = block + (f->has_min ? 2 * scales : scales);
    vint i[ROWS];
    if (kind == FORM_Q4)
        packed_q4(t, R, B, codes, q, i);
    else
        packed_q8(t, R, B, codes, q, i);
    subtract_zero(t, R, b, i);
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
            int8_prefetch(t, P, block + (size_t)v * apart);
            packed_block(t, kind, R, B, b, block + (size_t)v * apart, q, acc + R * v);
        }
#pragma GCC unroll 4
    for (int v = 0; v < P; v++)
        int8_close(t, R, v, acc + R * v);
}

/* ---- unpacked ---- */

INLINE void float_end(const Int8Tile *t, const int R, const int B, int64_t b, const vint *i,
                      vreal *acc)
{
    int8_block_end(t, R, B, b, v_load(t->scale + LANES * b), i, acc);
    if (t->min)
        int8_block_min(t, R, b, v_load(t->min + LANES * b), acc);
}

/* run: steps of four k that a word holds. */
INLINE void bytes_tile(const Int8Tile *t, const int R, const int B, const int run)
{
    const uint8_t *codes = t->codes;
    const int8_t *q = t->q;
    vreal acc[ROWS];
    int8_open(t, R, 0, acc);
    for (int64_t b = 0; b < t->blocks; b++, codes += LANES * B, q += B) {
        vint word[ROWS], i[ROWS];
#pragma GCC unroll 8
        for (int g = 0; g < B / 4; g++) {
            step(t, R, vi_load(codes + 64 * g), q + 4 * g, g % run == 0, word);
            if (g % run < run - 1)
                continue;
#pragma GCC unroll 4
            for (int r = 0; r < R; r++) {
                const vint wide = vi_madd16(word[r], vi_set1_16(1));
                i[r] = g < run ? wide : vi_add(i[r], wide);
                vi_pin(&i[r]);
            }
        }
        subtract_zero(t, R, b, i);
        float_end(t, R, B, b, i, acc);
    }
    int8_close(t, R, 0, acc);
}

INLINE void words_tile(const Int8Tile *t, const int R, const int B)
{
    const uint8_t *codes = t->codes;
    const int16_t *q = t->q_words;
    vreal acc[ROWS];
    int8_open(t, R, 0, acc);
    for (int64_t b = 0; b < t->blocks; b++, codes += 2 * LANES * B, q += B) {
        vint i[ROWS];
#pragma GCC unroll 16
        for (int g = 0; g < B / 2; g++) {
            const vint c = vi_load(codes + 64 * g);
#pragma GCC unroll 4
            for (int r = 0; r < R; r++) {
                const vint p = vi_madd16(c, vi_splat4(q + r * t->ldq + 2 * g));
                i[r] = g == 0 ? p : vi_add(i[r], p);
                vi_pin(&i[r]);
            }
        }
        float_end(t, R, B, b, i, acc);
    }
    int8_close(t, R, 0, acc);
}

/* ---- which tile for what ---- */

#define PACKED(kind, R, P, B)                                    \
    static void packed_##kind##_##B##_##R##x##P(const Int8Tile *t) \
    {                                                              \
        packed_tile(t, FORM_##kind, R, P, B);                      \
    }
#define BYTES(R, B, run)                                    \
    static void bytes_##run##_##B##_##R(const Int8Tile *t) \
    {                                                      \
        bytes_tile(t, R, B, run);                          \
    }
#define WORDS(R, B)                                 \
    static void words_##B##_##R(const Int8Tile *t) \
    {                                              \
        words_tile(t, R, B);                       \
    }

PACKED(Q4, 4, 1, 32) PACKED(Q4, 2, 1, 32) PACKED(Q4, 1, 4, 32) PACKED(Q4, 1, 1, 32)
PACKED(Q4, 4, 1, 16) PACKED(Q4, 2, 1, 16) PACKED(Q4, 1, 4, 16) PACKED(Q4, 1, 1, 16)
PACKED(Q8, 2, 1, 32) PACKED(Q8, 1, 4, 32) PACKED(Q8, 1, 1, 32)
PACKED(Q8, 2, 1, 16) PACKED(Q8, 1, 4, 16) PACKED(Q8, 1, 1, 16)
BYTES(4, 32, 8) BYTES(1, 32, 8)
BYTES(4, 32, 4) BYTES(1, 32, 4)
BYTES(4, 32, 2) BYTES(1, 32, 2)
BYTES(4, 16, 4) BYTES(1, 16, 4)
BYTES(4, 16, 2) BYTES(1, 16, 2)
WORDS(4, 32) WORDS(1, 32)
WORDS(4, 16) WORDS(1, 16)

/* Two rows on two panels would have 8 registers of sums beside 4 of words: a third slower for being
 * spilled than on one panel. */
const Int8Rows *KERNEL(int8_packed_tiles)(const PackForm *form)
{
    static const Int8Rows q4_32[] = {{4, 1, packed_Q4_32_4x1},
                                     {2, 1, packed_Q4_32_2x1},
                                     {1, 4, packed_Q4_32_1x4},
                                     {1, 1, packed_Q4_32_1x1}};
    static const Int8Rows q4_16[] = {{4, 1, packed_Q4_16_4x1},
                                     {2, 1, packed_Q4_16_2x1},
                                     {1, 4, packed_Q4_16_1x4},
                                     {1, 1, packed_Q4_16_1x1}};
    static const Int8Rows q8_32[] = {
        {2, 1, packed_Q8_32_2x1}, {1, 4, packed_Q8_32_1x4}, {1, 1, packed_Q8_32_1x1}};
    static const Int8Rows q8_16[] = {
        {2, 1, packed_Q8_16_2x1}, {1, 4, packed_Q8_16_1x4}, {1, 1, packed_Q8_16_1x1}};
    if (form->kind == FORM_Q4)
        return form->block == 32 ? q4_32 : q4_16;
    return form->block == 32 ? q8_32 : q8_16;
}

const Int8Rows *KERNEL(int8_unpacked_tiles)(const PackForm *form, Int8Codes codes)
{
    static const Int8Rows run8_32[] = {{4, 1, bytes_8_32_4}, {1, 1, bytes_8_32_1}};
    static const Int8Rows run4_32[] = {{4, 1, bytes_4_32_4}, {1, 1, bytes_4_32_1}};
    static const Int8Rows run2_32[] = {{4, 1, bytes_2_32_4}, {1, 1, bytes_2_32_1}};
    static const Int8Rows run4_16[] = {{4, 1, bytes_4_16_4}, {1, 1, bytes_4_16_1}};
    static const Int8Rows run2_16[] = {{4, 1, bytes_2_16_4}, {1, 1, bytes_2_16_1}};
    static const Int8Rows words_32[] = {{4, 1, words_32_4}, {1, 1, words_32_1}};
    static const Int8Rows words_16[] = {{4, 1, words_16_4}, {1, 1, words_16_1}};
    switch (codes) {
    case INT8_CODES_16:
        return form->block == 32 ? run8_32 : run4_16;
    case INT8_CODES_32:
        return form->block == 32 ? run4_32 : run4_16;
    case INT8_CODES_64:
        return form->block == 32 ? run2_32 : run2_16;
    case INT8_WORDS:
        break;
    }
    return form->block == 32 ? words_32 : words_16;
}

#endif
