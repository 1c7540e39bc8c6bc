/* The blocking of the gradient of weights, dw[N,K] += dyᵀ · x, for every type that dy and x may have: dyᵀ of a
 * block of n and a chunk of m is packed once, [n][m], and x of the chunk panel by panel, [m][16 k], so that the
 * tiles of block.h read both in order whatever the strides of the matrices. How rows of the type are packed is
 * the caller's. */
#ifndef PLUMB_KERNELS_LANES_WEIGHT_BLOCKS_H
#define PLUMB_KERNELS_LANES_WEIGHT_BLOCKS_H

#include "kernels/lanes/block.h"
#include "kernels/lanes/lanes.h"

#include <assert.h>

#define BLOCK_ROWS 192 /* n of a block */
#define BLOCK_PANELS 4 /* k panels packed at a time */

static_assert((BLOCK_ROWS + BLOCK_PANELS * LANES) * BLOCK_N * sizeof(real) <= GRAD_SCRATCH, "packed pieces fit");
static_assert(BLOCK_ROWS % TILE_ROWS == 0, "blocks of whole tiles");

/* Matrices [M][ld] of elements of `size` bytes. */
typedef struct {
    const char *at;
    int64_t ld;
    size_t size;
} WeightOperand;

/* From `src` [rows m][ld] so many columns, as reals; dst as below. */
typedef void (*PackPiece)(real *dst, const void *src, int64_t ld, int64_t rows, int64_t columns);

typedef struct {
    WeightOperand dy, x;
    PackPiece pack_rows;   /* dst[n][BLOCK_N]: transposed */
    PackPiece pack_panels; /* dst[panel][BLOCK_N][16 k], the last panel filled up with zeros */
} WeightBlocks;

INLINE const char *operand_at(const WeightOperand *o, int64_t m, int64_t column)
{
    return o->at + (size_t)(m * o->ld + column) * o->size;
}

/* Rows n0 to n1 of dw. */
INLINE void weight_blocks(const WeightBlocks *w, real *dw, int64_t lddw, int64_t M, int64_t n0, int64_t n1, int64_t K,
                          real *scratch)
{
    real *const rows = scratch, *const panels = rows + BLOCK_ROWS * BLOCK_N;
    const int64_t chunk = block_chunk(M), group = BLOCK_PANELS * LANES;
    Block b = {.ldc = lddw, .a = rows, .lda = BLOCK_N, .b = panels, .type = TILE_REAL, .step_v = BLOCK_N * LANES};
    for (int64_t n = n0; n < n1; n += BLOCK_ROWS) {
        const int64_t count = smaller(BLOCK_ROWS, n1 - n);
        for (int64_t m = 0; m < M; m += chunk) {
            b.n = smaller(chunk, M - m);
            w->pack_rows(rows, operand_at(&w->dy, m, n), w->dy.ld, b.n, count);
            for (int64_t k = 0; k < K; k += group) {
                b.columns = smaller(group, K - k);
                b.vecs = (b.columns + LANES - 1) / LANES;
                b.c = dw + n * lddw + k;
                w->pack_panels(panels, operand_at(&w->x, m, k), w->x.ld, b.n, b.columns);
                KERNEL(block_rows)(&b, count);
            }
        }
    }
}

#endif
