/* Weights of a panel as vectors of floats, in registers (levels scalar, avx2, avx512, vnni).
 *
 * Four consecutive k of sixteen rows are sixteen 32-bit words, one a lane, so a code is cut out with one
 * AND. It stays where it is in the word and the scale is divided by the same power of two instead: both
 * are exact, and a shift is saved. Per sixteen weights: and, convert, (subtract zero, multiply) or one
 * fused multiply-add. See forms.h for why the products are exact. */
#ifndef PLUMB_KERNELS_LANES_DECODE_H
#define PLUMB_KERNELS_LANES_DECODE_H

#include "kernels/forms.h"
#include "kernels/lanes/vec.h"

#if !REAL_IS_DOUBLE

/* What is constant in the code that is specialised for a form. */
typedef enum { CODES_Q4_ZERO, CODES_Q4_MIN, CODES_Q8_ZERO, CODES_Q8_MIN } CodesKind;

INLINE CodesKind codes_kind(const PackForm *f)
{
    if (f->kind == FORM_Q4)
        return f->has_min ? CODES_Q4_MIN : CODES_Q4_ZERO;
    return f->has_min ? CODES_Q8_MIN : CODES_Q8_ZERO;
}

INLINE bool codes_are_nibbles(CodesKind kind)
{
    return kind == CODES_Q4_ZERO || kind == CODES_Q4_MIN;
}

INLINE bool codes_have_min(CodesKind kind)
{
    return kind == CODES_Q4_MIN || kind == CODES_Q8_MIN;
}

/* One block of sixteen rows. scale[j] goes with byte j of a word, as the head comment says. */
typedef struct {
    vreal scale[4];
    vreal min;
    const uint8_t *codes;
} BlockLanes;

INLINE vreal load_scales(const PackForm *f, const uint8_t *p)
{
    return f->scale_bytes == 2 ? v_load_f16((const uint16_t *)(const void *)p)
                               : v_load((const float *)(const void *)p);
}

INLINE BlockLanes block_open(CodesKind kind, const PackForm *f, const uint8_t *block)
{
    const size_t scales = (size_t)PANEL_ROWS * f->scale_bytes;
    BlockLanes b;
    b.scale[0] = load_scales(f, block);
    b.scale[1] = v_mul(b.scale[0], v_set1(0x1p-8f));
    b.scale[2] = v_mul(b.scale[0], v_set1(0x1p-16f));
    /* the top byte of a word of bytes would be a sign, so it is shifted down */
    b.scale[3] = codes_are_nibbles(kind) ? v_mul(b.scale[0], v_set1(0x1p-24f)) : b.scale[0];
    b.min = codes_have_min(kind) ? load_scales(f, block + scales) : v_zero();
    b.codes = block + (codes_have_min(kind) ? 2 * scales : scales);
    return b;
}

/* Weight j (0 … 3) of the words in v (with nibbles: of their lower halves). */
INLINE vreal block_weight(CodesKind kind, const BlockLanes *b, vint v, int j, float zero)
{
    const bool top_byte = j == 3 && !codes_are_nibbles(kind);
    const int32_t mask = (codes_are_nibbles(kind) ? 0x0F : 0xFF) << (top_byte ? 0 : 8 * j);
    const vreal c = v_from_int(top_byte ? vi_shr(v, 24) : vi_and(v, vi_set1(mask)));
    if (codes_have_min(kind))
        return v_fma(b->scale[j], c, b->min);
    const float unit = top_byte ? 1 : (float)(1 << 8 * j);
    return v_mul(b->scale[j], v_sub(c, v_set1(zero * unit)));
}

#endif
#endif
