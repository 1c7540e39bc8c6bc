/* Products whose factors are BF16 and whose sums are float: training with `compute: bf16`.
 *
 * Activations and gradients are rounded to BF16 once, a row of 16-bit numbers each; weights are packed as
 * pairs (form_bf16_pairs). The products are those of kernels.h and grad.h on these numbers, and so are their
 * rules: outputs are disjoint, a sum's order is a function of indices only, a row's result is the same alone
 * as in any batch. One instruction family a level decides about the bits:
 *   fma        scalar, avx2, avx512, vnni: a product of two BF16 is exact in float; one fused multiply-add
 *              each, ascending. The same bits at all these levels.
 *   vdpbf16ps  at level vnni on processors with AVX512_BF16 and without AMX: pairs ascending, and of a pair
 *              the odd one first, one multiply-add each; denormal factors and sums count as 0.
 *   tdpbf16ps  at level amx: 32 products at a time, ascending from 0; inside them even and odd ones are summed
 *              apart, then added, then added to the sum. Denormals as before. */
#ifndef PLUMB_KERNELS_BF16_H
#define PLUMB_KERNELS_BF16_H

#include "kernels/args.h"

typedef struct {
    const char *instruction; /* "fma", "vdpbf16ps", "tdpbf16ps" */

    /* out[m,k] = x[m,k] rounded to nearest even; a NaN stays one. The same bits at every level. */
    void (*round_rows)(uint16_t *out, int64_t ldo, const float *x, int64_t ldx, int64_t M, int64_t K);

    /* See linear in kernels.h. The form is form_bf16_pairs. scratch: LINEAR_SCRATCH. */
    void (*linear)(const LinearShape *s, float *y, int64_t ldy, const uint16_t *x, int64_t ldx, const float *bias,
                   void *scratch);
    /* See linear_back in grad.h. scratch: LINEAR_SCRATCH. */
    void (*linear_back)(const LinearShape *s, float *dx, int64_t lddx, const uint16_t *dy, int64_t lddy, void *scratch);
    /* See weight_grad in grad.h. scratch: GRAD_SCRATCH. */
    void (*weight_grad)(float *dw, int64_t lddw, const uint16_t *dy, int64_t lddy, const uint16_t *x, int64_t ldx,
                        int64_t M, int64_t n0, int64_t n1, int64_t K, void *scratch);

    /* Nothing but this instruction; see measure_fma in kernels.h. */
    int64_t (*measure)(int64_t steps, double *sink);
} Bf16Kernels;

#endif
