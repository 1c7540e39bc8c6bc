/* Products of BF16 on float multiply-adds, and the rounding of rows (see kernels/bf16.h).
 *
 * Where the processor does not multiply BF16 itself, both factors are widened to floats, exactly, piece by
 * piece, and the tiles of block.h do the rest: the blocking is that of linear.c and weight_blocks.h. Widening
 * costs one load, shift and store for sixteen numbers that are used by 128 columns or by all rows, so that the
 * products run at the speed of the float ones. What is saved is memory: weights and activations are half. */
#include "kernels/lanes/block.h"
#include "kernels/lanes/lanes.h"
#include "kernels/lanes/transpose.h"
#include "kernels/lanes/weight_blocks.h"

#if !REAL_IS_DOUBLE

#include <assert.h>

#define GROUP 8      /* panels at a time */
#define ROW_BLOCK 96 /* rows widened at a time */

static_assert((GROUP * LANES + ROW_BLOCK) * BLOCK_N * sizeof(float) <= LINEAR_SCRATCH, "a group and its rows fit");
static_assert(ROW_BLOCK % TILE_ROWS == 0, "blocks of whole tiles");

void KERNEL(round_rows)(uint16_t *out, int64_t ldo, const float *x, int64_t ldx, int64_t M, int64_t K)
{
    for (int64_t m = 0; m < M; m++, out += ldo, x += ldx) {
        int64_t k = 0;
        for (; k + LANES <= K; k += LANES)
            v_store_bf16(out + k, v_load(x + k));
        for (; k < K; k++)
            out[k] = f32_to_bf16(x[k]);
    }
}

/* dst[rows][BLOCK_N]: `columns` of each row, and zeros up to a multiple of sixteen. */
static void widen_rows(float *dst, const uint16_t *x, int64_t ldx, int64_t rows, int64_t columns)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < columns; k += LANES)
            v_store(dst + r * BLOCK_N + k, v_load_bf16_part(x + r * ldx + k, columns - k));
}

/* All rows of a product whose columns are ready in b. a [M][lda], c [M][b->ldc] begin where the piece does. */
static void multiply(Block *b, int64_t M, const uint16_t *a, int64_t lda, float *c, float *rows)
{
    b->a = rows;
    b->lda = BLOCK_N;
    for (int64_t row = 0; row < M; row += ROW_BLOCK) {
        const int64_t count = smaller(ROW_BLOCK, M - row);
        widen_rows(rows, a + row * lda, lda, count, b->n);
        b->c = c + row * b->ldc;
        KERNEL(block_rows)(b, count);
    }
}

void KERNEL(linear_bf16)(const LinearShape *s, float *y, int64_t ldy, const uint16_t *x, int64_t ldx, const float *bias,
                         void *scratch)
{
    const size_t stride = form_panel_bytes(s->form, s->K);
    const int64_t step = block_chunk(s->K);
    float *const panels = scratch, *const rows = panels + GROUP * LANES * BLOCK_N;
    for (int64_t p = s->panel0; p < s->panel1; p += GROUP) {
        const int64_t column = p * LANES;
        Block b = {.ldc = ldy, .columns = s->N - column, .b = panels, .type = TILE_REAL, .step_v = BLOCK_N * LANES};
        int64_t k = 0;
        b.vecs = smaller(GROUP, s->panel1 - p);
        do { /* once even when K is 0 */
            b.n = smaller(step, s->K - k);
            b.fresh = k == 0;
            b.bias = bias && k + b.n == s->K ? bias + column : NULL;
            for (int64_t v = 0; v < b.vecs; v++)
                KERNEL(decode_panel)(s->form, panels + v * b.step_v, (const char *)s->panels + stride * (size_t)(p + v), k,
                                     k + b.n);
            multiply(&b, s->M, x + k, ldx, y + column, rows);
            k += b.n;
        } while (k < s->K);
    }
}

void KERNEL(linear_back_bf16)(const LinearShape *s, float *dx, int64_t lddx, const uint16_t *dy, int64_t lddy,
                              void *scratch)
{
    const size_t stride = form_panel_bytes(s->form, s->K);
    const int64_t step = block_chunk(s->N);
    float *const turned = scratch, *const rows = turned + GROUP * LANES * BLOCK_N;
    for (int64_t p = s->panel0; p < s->panel1; p += GROUP) {
        Block b = {.ldc = lddx, .columns = s->K - p * LANES, .b = turned, .type = TILE_REAL, .step_v = BLOCK_N * LANES};
        int64_t n0 = 0;
        b.vecs = smaller(GROUP, s->panel1 - p);
        do { /* once even when N is 0 */
            b.n = smaller(step, s->N - n0);
            b.fresh = n0 == 0;
            for (int64_t n = n0; n < n0 + b.n; n += LANES)
                KERNEL(turn_panel)(s, turned + (n - n0) * LANES, b.step_v,
                                   (const char *)s->panels + stride * (size_t)(n / LANES), p, b.vecs);
            multiply(&b, s->M, dy + n0, lddy, dx + p * LANES, rows);
            n0 += b.n;
        } while (n0 < s->N);
    }
}

/* ---- gradient of the weights ---- */

static void turn_rows(float *dst, const void *src, int64_t lddy, int64_t rows, int64_t columns)
{
    const uint16_t *const dy = src;
    float piece[LANES * LANES];
    memset(piece, 0, sizeof piece);
    for (int64_t n = 0; n < columns; n += LANES)
        for (int64_t m = 0; m < rows; m += LANES) {
            for (int64_t i = 0; i < smaller(rows - m, LANES); i++)
                v_store(piece + i * LANES, v_load_bf16_part(dy + (m + i) * lddy + n, columns - n));
            transpose_16x16(dst + n * BLOCK_N + m, BLOCK_N, piece, LANES);
        }
}

static void widen_panels(float *dst, const void *src, int64_t ldx, int64_t rows, int64_t columns)
{
    const uint16_t *const x = src;
    for (int64_t k = 0; k < columns; k += LANES, dst += BLOCK_N * LANES)
        for (int64_t m = 0; m < rows; m++)
            v_store(dst + m * LANES, v_load_bf16_part(x + m * ldx + k, columns - k));
}

void KERNEL(weight_grad_bf16)(float *dw, int64_t lddw, const uint16_t *dy, int64_t lddy, const uint16_t *x, int64_t ldx,
                              int64_t M, int64_t n0, int64_t n1, int64_t K, void *scratch)
{
    const WeightBlocks w = {{(const char *)dy, lddy, sizeof *dy}, {(const char *)x, ldx, sizeof *x}, turn_rows, widen_panels};
    weight_blocks(&w, dw, lddw, M, n0, n1, K, scratch);
}

const Bf16Kernels KERNEL(bf16_table) = {
    .instruction = "fma",
    .round_rows = KERNEL(round_rows),
    .linear = KERNEL(linear_bf16),
    .linear_back = KERNEL(linear_back_bf16),
    .weight_grad = KERNEL(weight_grad_bf16),
    .measure = KERNEL(measure_fma),
};

#endif
