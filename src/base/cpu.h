/* What the processor and the machine offer.
 *
 * Levels are bundles that exist in real processors and that the operating system supports (register
 * state of AVX, AVX-512 and AMX; Linux asks for the permission to use tiles, which is done here).
 * A kernel is compiled for one level and used when all bits of the level are set. */
#ifndef PLUMB_BASE_CPU_H
#define PLUMB_BASE_CPU_H

#include "base/error.h"

#include <stdint.h>

#define CPU_AVX2 (1u << 0)   /* AVX2, FMA, F16C, BMI2 */
#define CPU_AVX512 (1u << 1) /* AVX-512 F, BW, DQ, VL */
#define CPU_VNNI (1u << 2)   /* AVX-512 VNNI: dot products of bytes */
#define CPU_BF16 (1u << 3)   /* AVX-512 BF16: dot products of bfloat16 */
#define CPU_AMX (1u << 4)    /* tiles, with the int8 and the bfloat16 product */

/* name, bits the level needs, bits it may use besides. Each level includes the ones before it; a
 * processor has a level when it has all bits needed so far. */
#define CPU_LEVEL_TABLE(X)                        \
    X(CPU_LEVEL_SCALAR, "scalar", 0, 0)           \
    X(CPU_LEVEL_AVX2, "avx2", CPU_AVX2, 0)        \
    X(CPU_LEVEL_AVX512, "avx512", CPU_AVX512, 0)  \
    X(CPU_LEVEL_VNNI, "vnni", CPU_VNNI, CPU_BF16) \
    X(CPU_LEVEL_AMX, "amx", CPU_AMX, 0)

typedef enum {
#define X(level, name, needs, may) level,
    CPU_LEVEL_TABLE(X)
#undef X
    CPU_LEVEL_COUNT
} CpuLevel;

/* The CPU_ bits that may be used: what there is, less what the environment variable
 * PLUMB_CPU=scalar|avx2|avx512|vnni|amx masks off. Found once; the same answer ever after. Any
 * thread. An unknown value of the variable masks nothing: programs call cpu_check_environment. */
uint32_t cpu_detect(void);

/* ST_USAGE, naming the levels, when PLUMB_CPU is set to something else. */
MUST_USE Status cpu_check_environment(Error *err);

/* All bits of the machine, whatever the environment says. */
uint32_t cpu_hardware(void);

/* A level by name (ST_USAGE: none has it), its name, its bits with those of the levels below, and the
 * highest level whose needed bits are all in `bits`. */
MUST_USE Status cpu_level_parse(CpuLevel *out, const char *name, Error *err);
const char *cpu_level_name(CpuLevel level);
uint32_t cpu_level_mask(CpuLevel level);
CpuLevel cpu_level_of(uint32_t bits);

typedef struct {
    char model[96];         /* "unknown" when nobody says */
    int cores;              /* that this process may use: affinity and the container's quota */
    int64_t memory_bytes;   /* of the machine, or the container's limit when that is less */
    int64_t memory_free_bytes; /* available for new work, 0 when unknown */
} CpuInfo;

/* For people (`plumb doctor`) and for defaults. Reads /proc; cannot fail. */
void cpu_info(CpuInfo *info);

#endif
