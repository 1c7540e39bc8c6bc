/* The two gradients of the product y = x · wᵀ, as the product itself is done: blocks of panels that are ready
 * to be multiplied, rows by register tiles (block.h), sums carried from chunk to chunk in the result.
 *
 *   linear_back   dx[M,K] = dy · w: lanes are k. The panels of the forward product have lanes n, so a chunk of
 *                 them is decoded and transposed into scratch, [group of k panels][n][16 k].
 *   weight_grad   dw[N,K] += dyᵀ · x: lanes are k, rows are n (weight_blocks.h).
 *
 * Roof: the multiply-add rate. Packing is a few per cent of the time from about fifty rows on. */
#include "kernels/lanes/block.h"
#include "kernels/lanes/lanes.h"
#include "kernels/lanes/transpose.h"
#include "kernels/lanes/weight_blocks.h"

#include <assert.h>

/* ---- gradient of the input ---- */

#define GROUP 8 /* k panels decoded at a time */
#define ROW_BLOCK 96
#define PIECE 32 /* k decoded at a time: a multiple of every block */

static_assert(GROUP * BLOCK_N * LANES * sizeof(real) <= LINEAR_SCRATCH, "a group fits the scratch");
static_assert(BLOCK_N % LANES == 0, "chunks of whole panels");

void KERNEL(turn_panel)(const LinearShape *s, real *dst, int64_t step, const char *src, int64_t panel, int64_t count)
{
    real piece[PIECE * LANES];
    const int64_t first = panel * LANES, end = smaller(first + count * LANES, s->K);
    const bool plain = !REAL_IS_DOUBLE && s->form->kind == FORM_F32;
    for (int64_t k = first / PIECE * PIECE; k < end; k += PIECE) {
        const int64_t last = smaller(k + PIECE, s->K);
        const real *from = piece;
        if (plain && last == k + PIECE) {
            from = (const real *)(const void *)src + k * LANES;
        } else {
            KERNEL(decode_panel)(s->form, piece, src, k, last);
            memset(piece + (last - k) * LANES, 0, (size_t)(k + PIECE - last) * LANES * sizeof(real));
        }
        for (int64_t i = k < first ? first : k; i < smaller(k + PIECE, end); i += LANES)
            transpose_16x16(dst + (i - first) / LANES * step, LANES, from + (i - k) * LANES, LANES);
    }
}

void KERNEL(linear_back)(const LinearShape *s, void *dx, int64_t lddx, const void *dy, int64_t lddy,
                         void *scratch)
{
    const size_t stride = form_panel_bytes(s->form, s->K);
    const int64_t chunk = block_chunk(s->N);
    real *const turned = scratch;
    Block b = {.ldc = lddx, .lda = lddy, .b = turned, .type = TILE_REAL, .step_v = BLOCK_N * LANES};
    for (int64_t p = s->panel0; p < s->panel1; p += GROUP) {
        int64_t n0 = 0;
        b.vecs = smaller(GROUP, s->panel1 - p);
        b.columns = s->K - p * LANES;
        do { /* once even when N is 0 */
            b.n = smaller(chunk, s->N - n0);
            b.fresh = n0 == 0;
            for (int64_t n = n0; n < n0 + b.n; n += LANES)
                KERNEL(turn_panel)(s, turned + (n - n0) * LANES, b.step_v,
                                   (const char *)s->panels + stride * (size_t)(n / LANES), p, b.vecs);
            for (int64_t row = 0; row < s->M; row += ROW_BLOCK) {
                b.c = (real *)dx + row * lddx + p * LANES;
                b.a = (const real *)dy + row * lddy + n0;
                KERNEL(block_rows)(&b, smaller(ROW_BLOCK, s->M - row));
            }
            n0 += b.n;
        } while (n0 < s->N);
    }
}

/* ---- gradient of the weights ---- */

static void pack_rows(real *dst, const void *src, int64_t lddy, int64_t rows, int64_t columns)
{
    const real *const dy = src;
    for (int64_t n = 0; n < columns; n += LANES)
        for (int64_t m = 0; m < rows; m += LANES) {
            real *const to = dst + n * BLOCK_N + m;
            const real *const from = dy + m * lddy + n;
            if (rows - m >= LANES && columns - n >= LANES)
                transpose_16x16(to, BLOCK_N, from, lddy);
            else
                transpose_part(to, BLOCK_N, from, lddy, smaller(rows - m, LANES), smaller(columns - n, LANES));
        }
}

static void pack_panels(real *dst, const void *src, int64_t ldx, int64_t rows, int64_t columns)
{
    const real *const x = src;
    for (int64_t k = 0; k < columns; k += LANES, dst += BLOCK_N * LANES)
        for (int64_t m = 0; m < rows; m++)
            v_store(dst + m * LANES, v_load_part(x + m * ldx + k, columns - k));
}

void KERNEL(weight_grad)(void *dw, int64_t lddw, const void *dy, int64_t lddy, const void *x, int64_t ldx,
                         int64_t M, int64_t n0, int64_t n1, int64_t K, void *scratch)
{
    const WeightBlocks w = {{dy, lddy, sizeof(real)}, {x, ldx, sizeof(real)}, pack_rows, pack_panels};
    weight_blocks(&w, dw, lddw, M, n0, n1, K, scratch);
}
