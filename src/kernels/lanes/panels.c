/* Weights out of panels: every form becomes [k][16] reals. */
#include "kernels/lanes/decode.h"
#include "kernels/lanes/lanes.h"
#include "kernels/lanes/tile.h"

#if REAL_IS_DOUBLE

/* The weights are float32 numbers whatever the arithmetic: the plain decoder, widened. */
void KERNEL(decode_panel)(const PackForm *f, real *dst, const void *panel, int64_t k0, int64_t k1)
{
    float w[32 * PANEL_ROWS];
    for (int64_t k = k0; k < k1; k += f->block) {
        const int64_t n = k1 - k < f->block ? k1 - k : f->block;
        form_decode_panel(f, w, panel, k, k + n);
        for (int64_t i = 0; i < n * PANEL_ROWS; i++)
            *dst++ = (double)w[i];
    }
}

#else

INLINE void decode_codes(CodesKind kind, const PackForm *f, float *dst, const uint8_t *src,
                         int64_t blocks)
{
    const size_t bytes = form_block_bytes(f);
    const int groups = f->block / (codes_are_nibbles(kind) ? 8 : 4);
    const float zero = f->zero;
    for (int64_t b = 0; b < blocks; b++, src += bytes) {
        const BlockLanes lanes = block_open(kind, f, src);
        for (int i = 0; i < groups; i++) {
            const vint v = vi_load(lanes.codes + 64 * i);
            for (int j = 0; j < 4; j++, dst += LANES)
                v_store(dst, block_weight(kind, &lanes, v, j, zero));
            if (codes_are_nibbles(kind)) {
                const vint high = vi_shr(v, 4);
                for (int j = 0; j < 4; j++, dst += LANES)
                    v_store(dst, block_weight(kind, &lanes, high, j, zero));
            }
        }
    }
}

static void decode_halves(TileType type, float *dst, const uint16_t *src, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        v_store(dst + LANES * k, tile_load(type, src, LANES * k));
}

/* A word is two k of a row: the first in its lower half. */
static void decode_pairs(float *dst, const uint8_t *src, int64_t n)
{
    const vint high = vi_set1((int32_t)0xFFFF0000);
    int64_t k = 0;
    for (; k + 1 < n; k += 2, src += 64) {
        const vint v = vi_load(src);
        v_store(dst + LANES * k, v_of_bits(vi_shl(v, 16)));
        v_store(dst + LANES * (k + 1), v_of_bits(vi_and(v, high)));
    }
    if (k < n)
        v_store(dst + LANES * k, v_of_bits(vi_shl(vi_load(src), 16)));
}

void KERNEL(decode_panel)(const PackForm *f, real *dst, const void *panel, int64_t k0, int64_t k1)
{
    const int64_t blocks = (k1 - k0) / f->block;
    const uint8_t *const src = (const uint8_t *)panel + (size_t)(k0 / f->block) * form_block_bytes(f);
    if (f->kind == FORM_F32) {
        memcpy(dst, src, (size_t)(k1 - k0) * LANES * sizeof *dst);
        return;
    }
    if (f->kind == FORM_BF16_PAIRS) {
        decode_pairs(dst, src, k1 - k0);
        return;
    }
    if (f->kind == FORM_F16 || f->kind == FORM_BF16) {
        const TileType type = f->kind == FORM_F16 ? TILE_F16 : TILE_BF16;
        decode_halves(type, dst, (const uint16_t *)(const void *)src, blocks);
        return;
    }
    switch (codes_kind(f)) {
    case CODES_Q4_ZERO:
        decode_codes(CODES_Q4_ZERO, f, dst, src, blocks);
        break;
    case CODES_Q4_MIN:
        decode_codes(CODES_Q4_MIN, f, dst, src, blocks);
        break;
    case CODES_Q8_ZERO:
        decode_codes(CODES_Q8_ZERO, f, dst, src, blocks);
        break;
    case CODES_Q8_MIN:
        decode_codes(CODES_Q8_MIN, f, dst, src, blocks);
        break;
    }
}

#endif
