/* The kernels of one level, as table.c collects them. The contracts are in kernels/kernels.h. */
#ifndef PLUMB_KERNELS_LANES_LANES_H
#define PLUMB_KERNELS_LANES_LANES_H

#include "kernels/kernels.h"
#include "kernels/lanes/vec.h"

/* Weights k0 … k1−1 (multiples of the form's block, or K) of a panel as [k1−k0][16] reals. */
void KERNEL(decode_panel)(const PackForm *f, real *dst, const void *panel, int64_t k0, int64_t k1);

/* For gradients of the input, k panel by k panel: dst + i·step = [16 n][16 k] of panels panel … panel+count−1, from
 * `src`, one panel of the product. Columns from K on are zero. */
void KERNEL(turn_panel)(const LinearShape *s, real *dst, int64_t step, const char *src, int64_t panel, int64_t count);

void KERNEL(linear)(const LinearShape *s, void *y, int64_t ldy, const void *x, int64_t ldx,
                    const void *bias, void *scratch);

#if !REAL_IS_DOUBLE
void KERNEL(linear_int8)(const LinearShape *s, float *y, int64_t ldy, const QuantRows *x,
                         const float *bias, void *scratch);
void KERNEL(quantise_rows)(const QuantRows *out, const float *x, int64_t ldx, int64_t M, int64_t K);
#endif
#ifdef LEVEL_vnni
/* With the tiles of AMX for groups of sixteen rows. */
void KERNEL(linear_int8_amx)(const LinearShape *s, float *y, int64_t ldy, const QuantRows *x,
                             const float *bias, void *scratch);
#endif

void KERNEL(rmsnorm_rows)(void *y, int64_t ldy, const void *x, int64_t ldx, const void *gain,
                          int64_t rows, int64_t d, double eps);
void KERNEL(rope_rows)(void *x, int64_t ldx, const int32_t *positions, const float *cos_sin,
                       int64_t rows, int64_t heads, int64_t head_dim, int64_t rot, bool interleaved);
void KERNEL(silu_mul)(void *y, const void *gate, const void *up, int64_t n, double limit);
void KERNEL(add)(void *y, const void *a, const void *b, int64_t n);
double KERNEL(logsumexp)(const void *x, int64_t n);

void KERNEL(attention)(const AttentionArgs *a, void *scratch);
void KERNEL(attention_back)(const AttentionBackArgs *a, void *scratch);
void KERNEL(kv_write)(void *page, size_t key_offset, size_t value_offset, Dtype kv_type,
                      int64_t entry0, int64_t rows, const void *k, int64_t ldk, const void *v,
                      int64_t ldv, int64_t head_dim);

/* ---- training: contracts in kernels/grad.h ---- */

void KERNEL(linear_back)(const LinearShape *s, void *dx, int64_t lddx, const void *dy, int64_t lddy,
                         void *scratch);
void KERNEL(weight_grad)(void *dw, int64_t lddw, const void *dy, int64_t lddy, const void *x, int64_t ldx,
                         int64_t M, int64_t n0, int64_t n1, int64_t K, void *scratch);
void KERNEL(column_sum)(void *dst, const void *x, int64_t ldx, int64_t rows, int64_t columns);
void KERNEL(rmsnorm_back)(void *dx, int64_t lddx, void *dgain_rows, int64_t lddgain, const void *x,
                          int64_t ldx, const void *gain, const void *dy, int64_t lddy, int64_t rows,
                          int64_t d, double eps);
void KERNEL(silu_mul_back)(void *dgate, void *dup, const void *gate, const void *up, const void *dy,
                           int64_t n, double limit);
void KERNEL(cross_entropy)(void *logits, int64_t ld, int64_t rows, int64_t V, const int32_t *target,
                           const float *weight, void *loss);
void KERNEL(embed_back)(void *dtable, int64_t lddt, const void *dx, int64_t lddx, const int32_t *ids,
                        int64_t rows, int64_t c0, int64_t c1);
#if !REAL_IS_DOUBLE
void KERNEL(adamw)(float *w, float *m, float *v, const float *grad, int64_t n, const AdamStep *s);
double KERNEL(sum_squares)(const float *x, int64_t n);
#endif

/* ---- DeepSeek-V4's own parts: contracts in kernels/mix.h ---- */

void KERNEL(hyper_split)(const HyperShape *s, void *c, int64_t ldc, const void *z, int64_t ldz, const void *x,
                         int64_t ldx, const void *scale, const void *base, int64_t rows);
void KERNEL(hyper_split_back)(const HyperShape *s, void *dz, int64_t lddz, void *dx, int64_t lddx, void *dbase,
                              int64_t lddbase, void *dscale, int64_t lddscale, const void *z, int64_t ldz,
                              const void *x, int64_t ldx, const void *scale, const void *base, const void *dc,
                              int64_t lddc, int64_t rows);
void KERNEL(hyper_pre)(const HyperShape *s, void *y, int64_t ldy, const void *x, int64_t ldx, const void *c,
                       int64_t ldc, int64_t rows);
void KERNEL(hyper_pre_back)(const HyperShape *s, void *dx, int64_t lddx, void *dc, int64_t lddc, const void *x,
                            int64_t ldx, const void *c, int64_t ldc, const void *dy, int64_t lddy, int64_t rows);
void KERNEL(hyper_post)(const HyperShape *s, void *out, int64_t ldo, const void *x, int64_t ldx, const void *c,
                        int64_t ldc, const void *f, int64_t ldf, int64_t rows);
void KERNEL(hyper_post_back)(const HyperShape *s, void *dx, int64_t lddx, void *dc, int64_t lddc, void *df,
                             int64_t lddf, const void *x, int64_t ldx, const void *c, int64_t ldc, const void *f,
                             int64_t ldf, const void *dout, int64_t lddo, int64_t rows);
void KERNEL(pool)(const PoolArgs *p, void *e);
void KERNEL(pool_back)(const PoolArgs *p, const void *de, void *const *da, void *const *db);
void KERNEL(index_choose)(const IndexArgs *a, void *scratch);
void KERNEL(route)(const RouteShape *s, void *weights, int32_t *chosen, const void *logits, int64_t ld, int64_t rows);
void KERNEL(route_back)(const RouteShape *s, void *dlogits, int64_t ldd, const void *logits, int64_t ld,
                        const int32_t *chosen, const void *dweights, int64_t rows);
double KERNEL(balance_back)(const RouteShape *s, void *dlogits, int64_t ldd, const void *logits, int64_t ld,
                            const int32_t *chosen, int64_t rows, double alpha);
void KERNEL(combine)(void *y, int64_t ldy, const void *ys, int64_t ldys, const int32_t *slot, const void *weights,
                     int64_t rows, int64_t k, int64_t d);
void KERNEL(combine_back)(void *dys, int64_t lddys, void *dweights, const void *ys, int64_t ldys, const int32_t *slot,
                          const void *weights, const void *dy, int64_t lddy, int64_t rows, int64_t k, int64_t d);

/* ---- BF16: contracts in kernels/bf16.h ---- */

#if !REAL_IS_DOUBLE
void KERNEL(round_rows)(uint16_t *out, int64_t ldo, const float *x, int64_t ldx, int64_t M, int64_t K);
void KERNEL(linear_bf16)(const LinearShape *s, float *y, int64_t ldy, const uint16_t *x, int64_t ldx, const float *bias,
                         void *scratch);
void KERNEL(linear_back_bf16)(const LinearShape *s, float *dx, int64_t lddx, const uint16_t *dy, int64_t lddy,
                              void *scratch);
void KERNEL(weight_grad_bf16)(float *dw, int64_t lddw, const uint16_t *dy, int64_t lddy, const uint16_t *x, int64_t ldx,
                              int64_t M, int64_t n0, int64_t n1, int64_t K, void *scratch);
extern const Bf16Kernels KERNEL(bf16_table);
#endif
#ifdef LEVEL_vnni
extern const Bf16Kernels KERNEL(bf16_table_dot), KERNEL(bf16_table_amx);
#endif

int64_t KERNEL(measure_fma)(int64_t steps, double *sink);
int64_t KERNEL(measure_bytes)(int64_t steps, double *sink);
int64_t KERNEL(measure_read)(const void *p, int64_t bytes, double *sink);

extern const GradKernels KERNEL(grad_table);
extern const MixKernels KERNEL(mix_table);
extern const Kernels KERNEL(kernel_table);
#ifdef LEVEL_vnni
extern const Kernels KERNEL(kernel_table_amx), KERNEL(kernel_table_bf16);
#endif

#endif
