/* The training kernels of this level. */
#include "kernels/lanes/lanes.h"

const GradKernels KERNEL(grad_table) = {
    .linear_back = KERNEL(linear_back),
    .weight_grad = KERNEL(weight_grad),
    .attention_back = KERNEL(attention_back),
    .column_sum = KERNEL(column_sum),
    .rmsnorm_back = KERNEL(rmsnorm_back),
    .silu_mul_back = KERNEL(silu_mul_back),
    .cross_entropy = KERNEL(cross_entropy),
    .embed_back = KERNEL(embed_back),
#if !REAL_IS_DOUBLE
    .adamw = KERNEL(adamw),
    .sum_squares = KERNEL(sum_squares),
#endif
};
