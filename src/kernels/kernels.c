/* The tables of all levels, and which of them this processor can run. */
#include "kernels/kernels.h"

#include "base/cpu.h"

extern const Kernels kernel_table_f64, kernel_table_scalar;
#if defined(__x86_64__)
extern const Kernels kernel_table_avx2, kernel_table_avx512, kernel_table_vnni, kernel_table_amx_vnni;
extern const Kernels kernel_table_bf16_vnni;
#endif

/* In the order of KernelLevel: the level of base/cpu.h that a table needs, and the table. */
static const struct {
    CpuLevel cpu;
    const Kernels *table; /* NULL: not in this build */
} levels[LEVEL_COUNT] = {
    [LEVEL_SCALAR] = {CPU_LEVEL_SCALAR, &kernel_table_scalar},
#if defined(__x86_64__)
    [LEVEL_AVX2] = {CPU_LEVEL_AVX2, &kernel_table_avx2},
    [LEVEL_AVX512] = {CPU_LEVEL_AVX512, &kernel_table_avx512},
    [LEVEL_VNNI] = {CPU_LEVEL_VNNI, &kernel_table_vnni},
    [LEVEL_AMX] = {CPU_LEVEL_AMX, &kernel_table_amx_vnni},
#else
    [LEVEL_AVX2] = {CPU_LEVEL_AVX2, NULL},
    [LEVEL_AVX512] = {CPU_LEVEL_AVX512, NULL},
    [LEVEL_VNNI] = {CPU_LEVEL_VNNI, NULL},
    [LEVEL_AMX] = {CPU_LEVEL_AMX, NULL},
#endif
};

const char *kernels_level_name(KernelLevel level)
{
    return cpu_level_name(levels[level].cpu);
}

const Kernels *kernels_at(KernelLevel level)
{
#if defined(__x86_64__)
    /* With AMX the products of vdpbf16ps are slower than float ones, which then stay. */
    const uint32_t bits = cpu_hardware();
    if (level == LEVEL_VNNI && cpu_level_of(bits) == CPU_LEVEL_VNNI && (bits & CPU_BF16))
        return &kernel_table_bf16_vnni;
#endif
    return cpu_level_of(cpu_hardware()) >= levels[level].cpu ? levels[level].table : NULL;
}

KernelLevel kernels_best_level(void)
{
    const CpuLevel allowed = cpu_level_of(cpu_detect());
    KernelLevel best = LEVEL_SCALAR;
    for (int l = 0; l < LEVEL_COUNT; l++)
        if (levels[l].cpu <= allowed && kernels_at((KernelLevel)l))
            best = (KernelLevel)l;
    return best;
}

const Kernels *kernels_f64(void)
{
    return &kernel_table_f64;
}
