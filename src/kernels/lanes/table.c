/* The table of this level. */
#include "kernels/lanes/lanes.h"

#define LEVEL_STRING(x) #x
#define LEVEL_STRING2(x) LEVEL_STRING(x)

const Kernels KERNEL(kernel_table) = {
    .name = LEVEL_STRING2(LEVEL),
    .real_bytes = sizeof(real),
    .linear = KERNEL(linear),
    .rmsnorm_rows = KERNEL(rmsnorm_rows),
    .rope_rows = KERNEL(rope_rows),
    .attention = KERNEL(attention),
    .kv_write = KERNEL(kv_write),
    .silu_mul = KERNEL(silu_mul),
    .add = KERNEL(add),
    .logsumexp = KERNEL(logsumexp),
    .measure_fma = KERNEL(measure_fma),
    .measure_bytes = KERNEL(measure_bytes),
    .measure_read = KERNEL(measure_read),
};
