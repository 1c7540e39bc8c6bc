/* What the kernel checks share: levels, hostile inputs, guarded memory, comparison, and a runner that
 * gives every (level, check) a process of its own, so that a fault in one kernel fails that one only.
 *
 * A program here is a table of checks and `return check_main(argc, argv, checks, count)`. Arguments:
 * a level's or a check's name runs only that. With CHECK_QUICK in the environment a subset of the cases
 * is run, for `make test`. */
#ifndef PLUMB_TESTS_KERNELS_CHECK_H
#define PLUMB_TESTS_KERNELS_CHECK_H

#include "kernels/kernels.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK_UNUSED __attribute__((unused))

/* ---- levels ---- */

typedef struct {
    const char *name;
    const Kernels *k; /* NULL: not on this machine */
} Level;

#define LEVELS_MAX (LEVEL_COUNT + 4)

#ifdef HAVE_EMULATED
/* The AVX-512 sources compiled through SIMDe (see emulate.h). */
extern const Kernels kernel_table_emulated_avx512, kernel_table_emulated_vnni;
extern const Kernels kernel_table_amx_emulated_vnni; /* with a model of the tiles */
extern const Kernels kernel_table_bf16_emulated_vnni; /* with one of vdpbf16ps; for CHECK_BF16 alone */
#endif

/* f64, scalar, then all others; emulated ones where the processor has no real one. */
static inline int all_levels(Level *out)
{
    int n = 0;
    out[n++] = (Level){"f64", kernels_f64()};
    for (int l = 0; l < LEVEL_COUNT; l++)
        out[n++] = (Level){kernels_level_name((KernelLevel)l), kernels_at((KernelLevel)l)};
#ifdef HAVE_EMULATED
    if (!kernels_at(LEVEL_AVX512) && kernels_at(LEVEL_AVX2))
        out[n++] = (Level){"avx512 (emulated)", &kernel_table_emulated_avx512};
    if (!kernels_at(LEVEL_VNNI) && kernels_at(LEVEL_AVX2))
        out[n++] = (Level){"vnni (emulated)", &kernel_table_emulated_vnni};
    if (!kernels_at(LEVEL_AMX) && kernels_at(LEVEL_AVX2))
        out[n++] = (Level){"amx (emulated)", &kernel_table_amx_emulated_vnni};
#ifdef CHECK_BF16
    if (kernels_at(LEVEL_AVX2))
        out[n++] = (Level){"bf16 (emulated)", &kernel_table_bf16_emulated_vnni};
#endif
#endif
    return n;
}

static inline bool is_double(const Level *l)
{
    return l->k->real_bytes == sizeof(double);
}

/* ---- guarded memory ----
 * `bytes` that end at a page which may not be touched and have a page of canaries in front, so that
 * reading or writing past the end faults, and writing before the start is seen. */

typedef struct {
    uint8_t *map, *p;
    size_t map_bytes, bytes;
} Guarded;

#define CANARY 0xA5
#define GUARD_PAGE ((size_t)4096)

static inline Guarded guarded(size_t bytes)
{
    Guarded g = {.bytes = bytes};
    const size_t inner = (bytes + GUARD_PAGE - 1) / GUARD_PAGE * GUARD_PAGE + GUARD_PAGE;
    g.map_bytes = inner + GUARD_PAGE;
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.map == MAP_FAILED || mprotect(g.map + inner, GUARD_PAGE, PROT_NONE) != 0) {
        perror("guarded memory");
        exit(3);
    }
    g.p = g.map + inner - bytes;
    memset(g.map, CANARY, inner);
    return g;
}

/* Free it; false when something was written in front of it. */
static inline bool guarded_free(Guarded *g)
{
    bool whole = true;
    for (const uint8_t *c = g->map; c < g->p; c++)
        whole = whole && *c == CANARY;
    munmap(g->map, g->map_bytes);
    g->map = g->p = NULL;
    return whole;
}

/* Several at once; the list ends with NULL. */
static inline bool guarded_free_all(Guarded *const *list)
{
    bool whole = true;
    for (; *list; list++)
        whole = guarded_free(*list) && whole;
    return whole;
}

#define GUARDED_FREE(...) guarded_free_all((Guarded *const[]){__VA_ARGS__, NULL})

static inline bool is_canary(const void *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (((const uint8_t *)p)[i] != CANARY)
            return false;
    return true;
}

/* ---- one run of one check ---- */

#define SCRATCH_MAX GRAD_SCRATCH /* no kernel wants more */
_Static_assert(LINEAR_SCRATCH <= SCRATCH_MAX && ATTENTION_SCRATCH <= SCRATCH_MAX, "room for every kernel");

typedef struct {
    Level level;
    const Kernels *scalar;
    bool quick;
    uint64_t random;
    int failures;
    int64_t cases;
    Guarded scratch; /* as large as any kernel wants */
} Run;

CHECK_UNUSED PRINTF_LIKE(2, 3) static void failed(Run *run, const char *fmt, ...)
{
    va_list args;
    if (++run->failures > 5)
        return;
    va_start(args, fmt);
    printf("    ");
    vprintf(fmt, args);
    printf("\n");
    va_end(args);
}

static inline uint64_t random_u64(Run *run)
{
    uint64_t x = run->random += 0x9E3779B97F4A7C15u; /* splitmix64 */
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* 0 … n−1 */
static inline int64_t random_below(Run *run, int64_t n)
{
    return (int64_t)(random_u64(run) % (uint64_t)n);
}

static inline double random_unit(Run *run)
{
    return (double)(random_u64(run) >> 11) * 0x1p-52 - 1; /* [−1, 1) */
}

#define PICK(run, list) ((list)[random_below(run, (int64_t)(sizeof(list) / sizeof(list)[0]))])

/* ---- inputs ---- */

typedef enum { IN_PLAIN, IN_WIDE, IN_ZEROS, IN_DENORMAL, IN_MAX, IN_SPECIAL, IN_COUNT } InputKind;
static const char *const input_names[IN_COUNT] CHECK_UNUSED = {"plain",    "wide", "zeros",
                                                               "denormal", "max",  "special"};

static inline float random_float(Run *run, InputKind kind)
{
    const float unit = (float)random_unit(run);
    switch (kind) {
    case IN_WIDE:
        return ldexpf(unit, (int)random_below(run, 41) - 20);
    case IN_ZEROS:
        return random_below(run, 4) ? copysignf(0, unit) : unit;
    case IN_DENORMAL:
        return ldexpf(unit, -126 - (int)random_below(run, 20));
    case IN_MAX:
        return random_below(run, 3) ? unit : copysignf(3.4028234e38f, unit);
    case IN_SPECIAL:
        switch (random_below(run, 24)) {
        case 0:
            return copysignf(INFINITY, unit);
        case 1:
            return NAN;
        case 2:
            return copysignf(3.4028234e38f, unit);
        default:
            return unit;
        }
    default:
        return unit;
    }
}

/* ---- reals of a level ---- */

static inline Guarded reals(const Level *l, int64_t n)
{
    return guarded(l->k->real_bytes * (size_t)n);
}

static inline void *real_at(const Level *l, const void *p, int64_t i)
{
    return (char *)p + (int64_t)l->k->real_bytes * i;
}

static inline double real_get(const Level *l, const void *p, int64_t i)
{
    return is_double(l) ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

static inline void real_set(const Level *l, void *p, int64_t i, float x)
{
    if (is_double(l))
        ((double *)p)[i] = (double)x;
    else
        ((float *)p)[i] = x;
}

/* The same values for this level. */
static inline Guarded reals_of(const Level *l, const float *x, int64_t n)
{
    Guarded g = reals(l, n);
    for (int64_t i = 0; i < n; i++)
        real_set(l, g.p, i, x[i]);
    return g;
}

static inline float *floats(int64_t n)
{
    float *const p = mem_alloc((size_t)n + 1, sizeof *p);
    if (!p)
        exit(3);
    return p;
}

static inline float *random_floats(Run *run, InputKind kind, int64_t n)
{
    float *const p = floats(n);
    for (int64_t i = 0; i < n; i++)
        p[i] = random_float(run, kind);
    return p;
}

/* ---- comparison ---- */

/* Bit for bit, but any NaN equals any other. */
static inline bool same_float(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static inline bool same_real(const Level *l, const void *a, const void *b)
{
    if (!is_double(l))
        return same_float(*(const float *)a, *(const float *)b);
    return memcmp(a, b, sizeof(double)) == 0 || (isnan(*(const double *)a) && isnan(*(const double *)b));
}

/* Index of the first difference of two rows of n reals, −1 for none. */
static inline int64_t first_difference(const Level *l, const void *a, const void *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!same_real(l, real_at(l, a, i), real_at(l, b, i)))
            return i;
    return -1;
}

/* Unit roundoff of the level's arithmetic. */
static inline double roundoff(const Level *l)
{
    return is_double(l) ? 0x1p-53 : 0x1p-24;
}

/* Levels that must give the scalar level's bits. */
static inline bool has_twin(const Run *run)
{
    return !is_double(&run->level) && run->level.k != run->scalar;
}

static inline Level scalar_level(const Run *run)
{
    return (Level){"scalar", run->scalar};
}

/* ---- runner ---- */

typedef struct {
    const char *name;
    void (*run)(Run *run);
} KernelCheck;

CHECK_UNUSED static bool check_run(const Level *level, const KernelCheck *check, bool quick)
{
    int status = 0;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        Run run = {.level = *level, .scalar = kernels_at(LEVEL_SCALAR), .quick = quick, .random = 1};
        run.scratch = guarded(SCRATCH_MAX);
        check->run(&run);
        if (!guarded_free(&run.scratch))
            failed(&run, "wrote in front of the scratch memory");
        if (run.failures == 0)
            printf("  %-18s %-29s ok  (%" PRId64 " cases)\n", level->name, check->name, run.cases);
        else
            printf("  %-18s %-29s FAILED: %d of %" PRId64 " cases\n", level->name, check->name,
                   run.failures, run.cases);
        fflush(stdout);
        _exit(run.failures != 0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("check");
        return false;
    }
    if (WIFSIGNALED(status))
        printf("  %-18s %-29s FAILED: %s\n", level->name, check->name, strsignal(WTERMSIG(status)));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

CHECK_UNUSED static int check_main(int argc, char **argv, const KernelCheck *checks, int count)
{
    Level levels[LEVELS_MAX];
    const int n = all_levels(levels);
    const char *const only = argc > 1 ? argv[1] : NULL;
    const bool quick = getenv("CHECK_QUICK") != NULL;
    int failures = 0, passed = 0;
    for (int l = 0; l < n; l++) {
        if (!levels[l].k) {
            printf("not run: level %s (this processor lacks it)\n", levels[l].name);
            continue;
        }
        for (int c = 0; c < count; c++) {
            if (only && strcmp(only, checks[c].name) != 0 && strcmp(only, levels[l].name) != 0)
                continue;
            if (check_run(&levels[l], &checks[c], quick))
                passed++;
            else
                failures++;
        }
    }
    printf("[  PASSED  ] %d checks, at the levels", passed);
    for (int l = 0; l < n; l++)
        if (levels[l].k)
            printf("%s %s", l ? "," : "", levels[l].name);
    printf("\n");
    if (failures)
        printf("[  FAILED  ] %d checks\n", failures);
    return failures != 0;
}

#endif
