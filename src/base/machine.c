/* What cpu_info tells about the machine, from /proc and the container's limits (control groups). */
#include "base/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* First line of `path` into `line`; false (and an empty line) when there is none. */
static bool first_line(const char *path, char *line, int size)
{
    FILE *f = fopen(path, "r");
    const bool ok = f && fgets(line, size, f);
    if (!ok)
        line[0] = 0;
    if (f)
        fclose(f);
    line[strcspn(line, "\n")] = 0;
    return ok;
}

/* The text behind "key … :" of the first line of `path` that starts with `key`. */
static bool find_field(const char *path, const char *key, char *out, size_t size)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !colon)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(out, size, "%.*s", (int)strcspn(colon, "\n"), colon);
        found = true;
    }
    fclose(f);
    return found;
}

/* Cores of the container's quota ("max 100000" or "200000 100000": microseconds a period). */
static int quota_cores(void)
{
    char line[64], *end;
    if (!first_line("/sys/fs/cgroup/cpu.max", line, sizeof line))
        return 0;
    const long long quota = strtoll(line, &end, 10);
    const long long period = strtoll(end, NULL, 10);
    if (quota <= 0 || period <= 0)
        return 0;
    return (int)((quota + period - 1) / period);
}

static int usable_cores(void)
{
    cpu_set_t set;
    int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        cores = CPU_COUNT(&set);
    const int quota = quota_cores();
    if (quota > 0 && quota < cores)
        cores = quota;
    return cores > 0 ? cores : 1;
}

static int64_t meminfo_bytes(const char *key)
{
    char text[64];
    if (!find_field("/proc/meminfo", key, text, sizeof text))
        return 0;
    return strtoll(text, NULL, 10) * 1024;
}

static void find_memory(CpuInfo *info)
{
    info->memory_bytes = meminfo_bytes("MemTotal");
    info->memory_free_bytes = meminfo_bytes("MemAvailable");
    char line[64];
    if (!first_line("/sys/fs/cgroup/memory.max", line, sizeof line))
        return;
    const int64_t limit = strtoll(line, NULL, 10); /* "max" reads as 0 */
    if (limit <= 0 || limit >= info->memory_bytes)
        return;
    info->memory_bytes = limit;
    first_line("/sys/fs/cgroup/memory.current", line, sizeof line);
    const int64_t left = limit - strtoll(line, NULL, 10);
    if (left < info->memory_free_bytes)
        info->memory_free_bytes = left > 0 ? left : 0;
}

void cpu_info(CpuInfo *info)
{
    static const char *const keys[] = {"model name", "Model", "Hardware"};
    *info = (CpuInfo){.model = "unknown"};
    for (int i = 0; i < 3; i++)
        if (find_field("/proc/cpuinfo", keys[i], info->model, sizeof info->model))
            break;
    info->cores = usable_cores();
    find_memory(info);
}
