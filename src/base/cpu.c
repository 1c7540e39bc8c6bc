/* Processor levels. */
#include "base/cpu.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(word, n) (((word) >> (n)) & 1u)

/* Bits of XCR0: register state that the operating system saves. */
#define XCR0_AVX 0x6u
#define XCR0_AVX512 0xe6u
#define XCR0_AMX 0x60000u

/* arch_prctl: ask for the large state component 18, the tile data (since Linux 5.16). */
#define REQUEST_PERMISSION 0x1023
#define COMPONENT_TILE_DATA 18

static uint64_t read_xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static bool os_saves(uint64_t xcr0, uint64_t state)
{
    return (xcr0 & state) == state;
}

static uint32_t avx512_bits(uint32_t ebx7, uint32_t ecx7, uint32_t eax7_1)
{
    uint32_t bits = 0;
    if (!BIT(ebx7, 16) || !BIT(ebx7, 17) || !BIT(ebx7, 30) || !BIT(ebx7, 31))
        return 0; /* F, DQ, BW, VL */
    bits |= CPU_AVX512;
    if (BIT(ecx7, 11))
        bits |= CPU_VNNI;
    if (BIT(eax7_1, 5))
        bits |= CPU_BF16;
    return bits;
}

static bool amx_permitted(void)
{
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, COMPONENT_TILE_DATA) == 0;
}

static uint32_t find_bits(void)
{
    uint32_t a1, b1, c1, d1, a7, b7, c7, d7, a71 = 0, b71, c71, d71;
    if (!__get_cpuid(1, &a1, &b1, &c1, &d1) || !BIT(c1, 27)) /* OSXSAVE: xgetbv may be used */
        return 0;
    if (!__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7))
        return 0;
    if (a7 >= 1 && !__get_cpuid_count(7, 1, &a71, &b71, &c71, &d71))
        a71 = 0;
    const uint64_t xcr0 = read_xcr0();
    const bool fma = BIT(c1, 12), f16c = BIT(c1, 29), avx2 = BIT(b7, 5), bmi2 = BIT(b7, 8);
    if (!fma || !f16c || !avx2 || !bmi2 || !os_saves(xcr0, XCR0_AVX))
        return 0;
    uint32_t bits = CPU_AVX2;
    if (os_saves(xcr0, XCR0_AVX512))
        bits |= avx512_bits(b7, c7, a71);
    const bool tiles = BIT(d7, 24) && BIT(d7, 25) && BIT(d7, 22); /* TILE, INT8, BF16 */
    if (tiles && os_saves(xcr0, XCR0_AMX) && amx_permitted())
        bits |= CPU_AMX;
    return bits;
}
#else
static uint32_t find_bits(void)
{
    return 0;
}
#endif

static const struct {
    const char *name;
    uint32_t needs;
    uint32_t may;
} levels[CPU_LEVEL_COUNT] = {
#define X(level, name, needs, may) {name, needs, may},
    CPU_LEVEL_TABLE(X)
#undef X
};

const char *cpu_level_name(CpuLevel level)
{
    return levels[level].name;
}

uint32_t cpu_level_mask(CpuLevel level)
{
    uint32_t mask = 0;
    for (int l = 0; l <= (int)level; l++)
        mask |= levels[l].needs | levels[l].may;
    return mask;
}

CpuLevel cpu_level_of(uint32_t bits)
{
    int l = CPU_LEVEL_SCALAR;
    while (l + 1 < CPU_LEVEL_COUNT && (bits & levels[l + 1].needs) == levels[l + 1].needs)
        l++;
    return (CpuLevel)l;
}

Status cpu_level_parse(CpuLevel *out, const char *name, Error *err)
{
    for (int l = 0; l < CPU_LEVEL_COUNT; l++)
        if (strcmp(name, levels[l].name) == 0) {
            *out = (CpuLevel)l;
            return ST_OK;
        }
    return error_set(err, ST_USAGE,
                     "processor level '%.40s' is none of scalar, avx2, avx512, vnni, amx", name);
}

/* The processor's bits, found at the first call. Threads that come at the same time find the same. */
#define FOUND (1u << 31)

uint32_t cpu_hardware(void)
{
    static _Atomic uint32_t found;
    uint32_t bits = atomic_load(&found);
    if (!(bits & FOUND)) {
        bits = find_bits() | FOUND;
        atomic_store(&found, bits);
    }
    return bits & ~FOUND;
}

uint32_t cpu_detect(void)
{
    static _Atomic uint32_t usable;
    uint32_t bits = atomic_load(&usable);
    if (!(bits & FOUND)) {
        CpuLevel level = CPU_LEVEL_AMX;
        const char *name = getenv("PLUMB_CPU");
        if (name && cpu_level_parse(&level, name, NULL) != ST_OK)
            level = CPU_LEVEL_AMX;
        bits = (cpu_hardware() & cpu_level_mask(level)) | FOUND;
        atomic_store(&usable, bits);
    }
    return bits & ~FOUND;
}

Status cpu_check_environment(Error *err)
{
    CpuLevel level;
    const char *name = getenv("PLUMB_CPU");
    if (!name)
        return ST_OK;
    const Status st = cpu_level_parse(&level, name, err);
    return st == ST_OK ? ST_OK : error_context(err, st, "environment variable PLUMB_CPU");
}
