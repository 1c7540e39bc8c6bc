/* The table of this level; with vnni also those of amx and of processors that multiply BF16, which differ in products. */
#include "kernels/lanes/lanes.h"

#define LEVEL_STRING(x) #x
#define LEVEL_STRING2(x) LEVEL_STRING(x)

/* The slots that all levels fill. */
#define COMMON                                    \
    .real_bytes = sizeof(real),                   \
    .grad = &KERNEL(grad_table),                  \
    .mix = &KERNEL(mix_table),                    \
    .linear = KERNEL(linear),                     \
    .rmsnorm_rows = KERNEL(rmsnorm_rows),         \
    .rope_rows = KERNEL(rope_rows),               \
    .attention = KERNEL(attention),               \
    .kv_write = KERNEL(kv_write),                 \
    .silu_mul = KERNEL(silu_mul),                 \
    .add = KERNEL(add),                           \
    .logsumexp = KERNEL(logsumexp),               \
    .measure_fma = KERNEL(measure_fma),           \
    .measure_bytes = KERNEL(measure_bytes),       \
    .measure_read = KERNEL(measure_read)

const Kernels KERNEL(kernel_table) = {
    .name = LEVEL_STRING2(LEVEL),
#if !REAL_IS_DOUBLE
    .linear_int8 = KERNEL(linear_int8),
    .quantise_rows = KERNEL(quantise_rows),
    .bf16 = &KERNEL(bf16_table),
#endif
    COMMON,
};

#ifdef LEVEL_vnni
const Kernels KERNEL(kernel_table_amx) = {
    .name = "amx",
    .linear_int8 = KERNEL(linear_int8_amx),
    .quantise_rows = KERNEL(quantise_rows),
    .bf16 = &KERNEL(bf16_table_amx),
    COMMON,
};

const Kernels KERNEL(kernel_table_bf16) = {
    .name = "vnni",
    .linear_int8 = KERNEL(linear_int8),
    .quantise_rows = KERNEL(quantise_rows),
    .bf16 = &KERNEL(bf16_table_dot),
    COMMON,
};
#endif
