/* Processor levels and what is said about the machine. */
#include "base/cpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LINE_MAX_BYTES 8192

/* The flags line of /proc/cpuinfo, with a space at both ends; empty when there is none. */
static void read_flags(char *line)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    bool found = false;
    while (f && !found && fgets(line, LINE_MAX_BYTES, f))
        found = strncmp(line, "flags", 5) == 0;
    if (f)
        fclose(f);
    if (!found)
        line[0] = 0;
    line[strcspn(line, "\n")] = ' ';
}

static bool has_all(const char *flags, const char *const *names)
{
    for (; *names; names++) {
        char word[32];
        snprintf(word, sizeof word, " %s ", *names);
        if (!strstr(flags, word))
            return false;
    }
    return true;
}

/* The kernel lists a flag only when it is usable, which makes it an independent witness. Tiles may be
 * listed and yet forbidden to this process. */
static void bits_agree_with_the_kernels_list(void **state)
{
    (void)state;
    static const char *const avx2[] = {"avx2", "fma", "f16c", "bmi2", NULL};
    static const char *const avx512[] = {"avx512f", "avx512bw", "avx512dq", "avx512vl", NULL};
    static const char *const vnni[] = {"avx512_vnni", "avx512f", NULL};
    static const char *const bf16[] = {"avx512_bf16", "avx512f", NULL};
    static const char *const amx[] = {"amx_tile", "amx_int8", "amx_bf16", NULL};
    const struct {
        uint32_t bit;
        const char *const *flags;
    } rows[] = {{CPU_AVX2, avx2}, {CPU_AVX512, avx512}, {CPU_VNNI, vnni}, {CPU_BF16, bf16},
                {CPU_AMX, amx}};
    char flags[LINE_MAX_BYTES + 1] = "";
    read_flags(flags);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].bit != CPU_AMX || (cpu_hardware() & CPU_AMX))
            assert_int_equal((cpu_hardware() & rows[i].bit) != 0, has_all(flags, rows[i].flags));
}

static void levels_have_names_and_include_the_ones_below(void **state)
{
    (void)state;
    static const char *const names[] = {"scalar", "avx2", "avx512", "vnni", "amx"};
    uint32_t below = 0;
    for (int l = 0; l < CPU_LEVEL_COUNT; l++) {
        CpuLevel level = CPU_LEVEL_COUNT;
        assert_int_equal(cpu_level_parse(&level, names[l], NULL), ST_OK);
        assert_int_equal(level, l);
        assert_string_equal(cpu_level_name(level), names[l]);
        assert_int_equal(cpu_level_mask(level) & below, below);
        assert_int_equal(cpu_level_of(cpu_level_mask(level)), level);
        below = cpu_level_mask(level);
    }
    assert_int_equal(cpu_level_mask(CPU_LEVEL_SCALAR), 0);
    assert_int_equal(cpu_level_of(CPU_AVX2 | CPU_VNNI), CPU_LEVEL_AVX2);
}

static void unknown_level_is_a_usage_error_that_lists_the_levels(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "sse9", "AVX2", "avx2 ", "avx"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CpuLevel level = CPU_LEVEL_AVX2;
        Error err = {0};
        assert_int_equal(cpu_level_parse(&level, bad[i], &err), ST_USAGE);
        assert_int_equal(level, CPU_LEVEL_AVX2);
        assert_non_null(strstr(err.msg, "vnni"));
    }
}

/* In a child, because the answer is kept for the life of the process. */
static int in_child_with(const char *value)
{
    const pid_t child = fork();
    if (child == 0) {
        setenv("PLUMB_CPU", value, 1);
        CpuLevel level;
        const bool known = cpu_level_parse(&level, value, NULL) == ST_OK;
        const bool said = cpu_check_environment(NULL) == (known ? ST_OK : ST_USAGE);
        const uint32_t expected = cpu_hardware() & (known ? cpu_level_mask(level) : UINT32_MAX);
        _exit(said && cpu_detect() == expected ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

static void environment_masks_levels_off(void **state)
{
    (void)state;
    static const char *const values[] = {"scalar", "avx2", "avx512", "vnni", "amx", "nonsense"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        assert_int_equal(in_child_with(values[i]), 0);
}

static void machine_facts_are_plausible(void **state)
{
    (void)state;
    CpuInfo info;
    cpu_info(&info);
    assert_true(strlen(info.model) > 0);
    assert_in_range(info.cores, 1, sysconf(_SC_NPROCESSORS_CONF));
    assert_true(info.memory_bytes > (int64_t)16 << 20);
    assert_true(info.memory_bytes <= sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
    assert_true(info.memory_free_bytes >= 0);
    assert_true(info.memory_free_bytes <= info.memory_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(environment_masks_levels_off), /* first: before anything is kept */
        cmocka_unit_test(bits_agree_with_the_kernels_list),
        cmocka_unit_test(levels_have_names_and_include_the_ones_below),
        cmocka_unit_test(unknown_level_is_a_usage_error_that_lists_the_levels),
        cmocka_unit_test(machine_facts_are_plausible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
