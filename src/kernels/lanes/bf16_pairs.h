/* Products of a block on instructions that multiply pairs of BF16 (level vnni): what bf16_pairs.c prepares and what
 * a leaf per instruction (bf16_dot.c, bf16_amx.c) multiplies. */
#ifndef PLUMB_KERNELS_LANES_BF16_PAIRS_H
#define PLUMB_KERNELS_LANES_BF16_PAIRS_H

#include "kernels/lanes/lanes.h"

#if defined(LEVEL_vnni)

/* c[r, 16·v + lane] += Σ_p a[r, 2p]·b[v][p][lane][0] + a[r, 2p+1]·b[v][p][lane][1] for v < vecs, p ascending. Of
 * the last vector only the lanes below `columns` − 16·(vecs − 1) are read and written. */
typedef struct {
    float *c;
    int64_t ldc, columns;
    const uint16_t *a; /* [rows][lda] */
    int64_t lda;
    const uint32_t *b; /* words of two BF16; vector v begins step_v words behind v − 1 */
    int64_t step_v, vecs;
    int64_t pairs; /* a multiple of the leaf's unit */
    bool fresh;    /* start from 0 instead of c */
} PairBlock;

typedef void (*PairRowsFn)(const PairBlock *b, int64_t rows);

void KERNEL(pair_rows_dot)(const PairBlock *b, int64_t rows);
int64_t KERNEL(measure_dot)(int64_t steps, double *sink);
void KERNEL(pair_rows_amx)(const PairBlock *b, int64_t rows);
int64_t KERNEL(measure_amx)(int64_t steps, double *sink);

#endif
#endif
