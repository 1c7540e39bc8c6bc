/* Kernels of training: gradients of the forward kernels, losses, optimisers. One table a level, as in
 * kernels.h, whose rules hold here too: pure functions, the same bits at every f32 level, every sum in an
 * order that depends on indices only. `real` is float, or double in the f64 table; ld* are row strides in
 * elements. "dy" is the gradient of the loss with respect to y. "=" overwrites, "+=" adds to what is there. */
#ifndef PLUMB_KERNELS_GRAD_H
#define PLUMB_KERNELS_GRAD_H

#include "kernels/args.h"

/* One step of AdamW (arXiv:1711.05101), decoupled weight decay:
 *     g = scale·grad;  m = β1·m + (1−β1)·g;  v = β2·v + (1−β2)·g²
 *     w = w·(1 − lr·decay) − lr·(m·correct1) / (sqrt(v·correct2) + eps)
 * correct1 = 1/(1−β1^t) and correct2 = 1/(1−β2^t), computed by the caller in double. */
typedef struct {
    double lr, beta1, beta2, eps, decay, scale, correct1, correct2;
} AdamStep;

typedef struct {
    /* ---- products: see linear in kernels.h ---- */

    /* dx[M,K] = dy[M,N] · w[N,K] for the columns of panels panel0 … panel1−1, which here count sixteen columns
     * k each (16·panel0 … min(16·panel1, K) − 1). `panels` is w as the forward product has it, in any
     * form. One fused multiply-add a product, ascending n, from 0. scratch: LINEAR_SCRATCH. */
    void (*linear_back)(const LinearShape *s, void *dx, int64_t lddx, const void *dy, int64_t lddy, void *scratch);
    /* dw[n,k] += Σ_m dy[m,n] · x[m,k] for n0 <= n < n1, all k < K; m ascending, one fused multiply-add each,
     * starting from what dw holds. scratch: GRAD_SCRATCH. */
    void (*weight_grad)(void *dw, int64_t lddw, const void *dy, int64_t lddy, const void *x, int64_t ldx, int64_t M,
                        int64_t n0, int64_t n1, int64_t K, void *scratch);

    /* See AttentionBackArgs. Probabilities are computed again from lse. Rows ascending, keys ascending for dq;
     * dk, dv and dentries sum over rows ascending, heads ascending within a row block of the kernel's choice: a fixed order.
     * scratch: GRAD_SCRATCH. */
    void (*attention_back)(const AttentionBackArgs *a, void *scratch);

    /* dst[j] += Σ_t x[t,j], t ascending from what dst holds: gradients of biases, gains and other vectors. */
    void (*column_sum)(void *dst, const void *x, int64_t ldx, int64_t rows, int64_t columns);

    /* ---- rows ---- */

    /* Of rmsnorm_rows: dx = …; dgain_rows[t,i] = dy[t,i]·x[t,i]·rstd[t] (NULL: not wanted). gain NULL: 1. dx may be dy. */
    void (*rmsnorm_back)(void *dx, int64_t lddx, void *dgain_rows, int64_t lddgain, const void *x, int64_t ldx,
                         const void *gain, const void *dy, int64_t lddy, int64_t rows, int64_t d, double eps);
    /* Of silu_mul with its limit; gradient zero where a clamp is active (gate > limit, |up| > limit). dgate may be gate,
     * dup may be up. */
    void (*silu_mul_back)(void *dgate, void *dup, const void *gate, const void *up, const void *dy, int64_t n,
                          double limit);

    /* Softmax cross-entropy of `rows` rows of logits [rows][V], in place (dlogits overwrite logits):
     *     loss[t] = weight[t]·(lse − logits[t,target[t]]);  dlogits = weight[t]·(softmax − onehot(target[t]))
     * target −1: loss 0 and gradient 0. lse as in logsumexp. Non-finite logits, −inf too, give a NaN loss and gradient. */
    void (*cross_entropy)(void *logits, int64_t ld, int64_t rows, int64_t V, const int32_t *target,
                          const float *weight, void *loss);

    /* dtable[ids[t], j] += dx[t,j] for columns c0 <= j < c1; t ascending. */
    void (*embed_back)(void *dtable, int64_t lddt, const void *dx, int64_t lddx, const int32_t *ids, int64_t rows,
                       int64_t c0, int64_t c1);

    /* ---- optimisers: float at every level (NULL in the f64 table) ---- */

    void (*adamw)(float *w, float *m, float *v, const float *grad, int64_t n, const AdamStep *s);
    /* Σ x² in double: sixteen double lanes of consecutive elements, then the fixed tree. NaN and infinity show. */
    double (*sum_squares)(const float *x, int64_t n);
} GradKernels;

#define GRAD_SCRATCH ((size_t)1 << 19) /* bytes a thread */

#endif
