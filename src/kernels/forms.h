/* Packed weight forms: how a weight matrix w[N,K] lies in memory for multiplication.
 *
 * Sixteen output rows make a panel, and inside a panel the sixteen rows are the lanes of one vector:
 *
 *   float forms       panel = [K][16] elements (F32, F16 or BF16 as in the file)
 *   BF16 pairs        panel = [⌈K/2⌉][16][2] BF16: two consecutive k of a row side by side, as instructions that
 *                     multiply BF16 want them; behind an odd K a 0
 *   quantised forms   panel = blocks along K; a block of B weights a row (B = 16 or 32) is
 *                         scales  [16]                 f16 or f32
 *                         minima  [16]                 same type, only with has_min
 *                         codes   [B/4][16][4] bytes   8-bit: unsigned code, k fastest
 *                                 [B/8][16][4] bytes   4-bit: low nibble = codes of k-group 2i,
 *                                                      high nibble = codes of k-group 2i+1
 *
 * and means w = scale · (code − zero) + min in f32. For every form below the product is exact (an f16 or
 * an exact f16·int8 times a code has at most 24 bits), so that evaluating it with one fused multiply-add
 * or with a product and a sum gives the same bits, which are those that the file format defines.
 * At most one of zero and min is there: has_min implies zero == 0.
 *
 * Why lanes are rows: every output then sums its K products in ascending k without a horizontal sum,
 * at every vector width, so all levels give the same bits; 64 bytes of codes are one VNNI operand and
 * one row of an AMX tile. A 4-bit block of sixteen rows takes the bytes it had in the file.
 *
 * N is padded to a multiple of 16 with rows of zeros (scale, min and codes 0). K of quantised forms is a
 * multiple of B. A panel is padded with zero bytes to a multiple of 64, so that panels stacked
 * form_panel_bytes apart on an aligned base are all aligned; the parts of a block are not. */
#ifndef PLUMB_KERNELS_FORMS_H
#define PLUMB_KERNELS_FORMS_H

#include "tensor/dtype.h"

#define PANEL_ROWS 16

typedef enum { FORM_F32, FORM_F16, FORM_BF16, FORM_BF16_PAIRS, FORM_Q4, FORM_Q8 } FormKind;

typedef struct {
    FormKind kind;
    uint8_t block;       /* weights a row in a block: 16 or 32; 1 for float forms, 2 for pairs */
    uint8_t scale_bytes; /* 2 (f16) or 4 (f32); 0 for float forms */
    uint8_t zero;        /* subtracted from the code: 0, 4, 8, 16, 32 or 128 … */
    bool has_min;
} PackForm;

/* The form in which a file type is multiplied; types without one of their own (FP8, integers, F64, …)
 * become FORM_F32. Q4_0, Q4_1 → Q4 with f16 scales; Q5_0, Q5_1, Q8_0 → Q8 with f16 scales; the K types
 * → Q4 or Q8 with f32 scales (scale·sub-scale is exact in f32) and blocks of 16 or 32. */
PackForm form_of_dtype(Dtype t);
bool form_is_quantised(const PackForm *f);
/* Pairs of BF16, for training in BF16: packing rounds what is stored (of any float type) to nearest even. */
PackForm form_bf16_pairs(void);

size_t form_block_bytes(const PackForm *f); /* of sixteen rows; float forms: of one k */
size_t form_panel_bytes(const PackForm *f, int64_t K);
size_t form_bytes(const PackForm *f, int64_t N, int64_t K); /* ceil(N/16) panels */

/* Pack rows 16·panel … of w (stored: row-major, rows of dtype_row_bytes(t,K) bytes, N rows) into dst,
 * form_panel_bytes long, 64-byte aligned. Any thread, disjoint panels. Cannot fail. */
void form_pack_panel(const PackForm *f, void *dst, Dtype t, const void *stored, int64_t panel,
                     int64_t N, int64_t K);

/* The plain definition of a form: weights k0 … k1−1 (multiples of the block, or K) of the sixteen rows of a
 * panel, dst [k1−k0][16]. Slow; the float64 kernels and the tests use it. */
void form_decode_panel(const PackForm *f, float *dst, const void *panel, int64_t k0, int64_t k1);

#endif
