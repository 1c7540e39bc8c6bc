/* The kernels of one level, as table.c collects them. The contracts are in kernels/kernels.h. */
#ifndef PLUMB_KERNELS_LANES_LANES_H
#define PLUMB_KERNELS_LANES_LANES_H

#include "kernels/kernels.h"
#include "kernels/lanes/vec.h"

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
void KERNEL(kv_write)(void *page, size_t key_offset, size_t value_offset, Dtype kv_type,
                      int64_t entry0, int64_t rows, const void *k, int64_t ldk, const void *v,
                      int64_t ldv, int64_t head_dim);

int64_t KERNEL(measure_fma)(int64_t steps, double *sink);
int64_t KERNEL(measure_bytes)(int64_t steps, double *sink);
int64_t KERNEL(measure_read)(const void *p, int64_t bytes, double *sink);

extern const GradKernels KERNEL(grad_table);
extern const MixKernels KERNEL(mix_table);
extern const Kernels KERNEL(kernel_table);
#ifdef LEVEL_vnni
extern const Kernels KERNEL(kernel_table_amx);
#endif

#endif
