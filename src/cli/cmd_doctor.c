/* plumb doctor: what this machine offers, and what is missing. */
#include "base/buf.h"
#include "base/cpu.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "cli/model_path.h"
#include "cli/options.h"
#include "cli/term.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

typedef struct {
    CpuInfo cpu;
    uint32_t hardware;     /* CPU_ bits of the machine */
    const char *level;     /* of the kernels in use */
    Error environment;     /* status ST_OK: PLUMB_CPU is fine */
    char huge_pages[40];   /* "always", "madvise", "never", "unknown" */
    struct utsname system;
    Models models;
    int64_t store_free, model_count; /* -1: unknown */
    char pip[60];                    /* its version, "" when it is missing */
    Error tools;                     /* what a pull lacks */
} Report;

/* ---- Gathering ---- */

/* The bracketed word of "always [madvise] never". */
static void find_huge_pages(char *out, size_t size)
{
    uint8_t *text = NULL;
    size_t n = 0;
    snprintf(out, size, "unknown");
    if (file_read_all(&text, &n, "/sys/kernel/mm/transparent_hugepage/enabled", 4096, NULL) != ST_OK)
        return;
    const char *begin = strchr((const char *)text, '[');
    if (begin)
        snprintf(out, size, "%.*s", (int)strcspn(begin + 1, "]"), begin + 1);
    mem_free(text);
}

MUST_USE static Status gather(Report *r, Error *err)
{
    StoreList list = {0};
    Status st = ST_OK;
    cpu_info(&r->cpu);
    r->hardware = cpu_hardware();
    r->level = kernels_level_name(kernels_best_level());
    r->environment.status = cpu_check_environment(&r->environment);
    find_huge_pages(r->huge_pages, sizeof r->huge_pages);
    if (uname(&r->system) != 0)
        r->system = (struct utsname){0};
    r->tools.status = pull_check_tools(r->pip, sizeof r->pip, &r->tools);
    r->store_free = r->model_count = -1;
    TRY(models_open(&r->models, err));
    r->store_free = store_free_bytes(r->models.store);
    TRY(store_list(r->models.store, NULL, &list, err));
    r->model_count = (int64_t)list.count;
out:
    store_list_free(&list);
    return st;
}

/* ---- What could be better ---- */

typedef struct {
    char text[12][400];
    int count;
} Advice;

static void advise(Advice *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void advise(Advice *a, const char *fmt, ...)
{
    CHECK(a->count < 12);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(a->text[a->count++], sizeof a->text[0], fmt, ap);
    va_end(ap);
}

static void collect_advice(const Report *r, Status store_st, const Error *store_err, Advice *a)
{
    const CatalogueModel *model = r->models.catalogue ? catalogue_default(r->models.catalogue) : NULL;
    if (r->environment.status != ST_OK)
        advise(a, "%s", r->environment.msg);
    if (store_st != ST_OK)
        advise(a, "the model store: %s", store_err->msg);
    if (r->tools.status != ST_OK)
        advise(a, "'plumb pull' will not work: %s", r->tools.msg);
    if (strcmp(r->huge_pages, "never") == 0)
        advise(a, "huge pages are switched off: weights are read slower "
                  "(echo madvise >/sys/kernel/mm/transparent_hugepage/enabled)");
    if (model && r->store_free >= 0 && r->store_free < 3 * model->files[0].bytes)
        advise(a, "little disk space in %s; PLUMB_MODELS names another directory", store_dir(r->models.store));
    if (r->model_count == 0 && model)
        advise(a, "no model is here yet: 'plumb pull %s'", model->name);
    if (model && r->cpu.memory_free_bytes > 0 && r->cpu.memory_free_bytes < 3 * model->files[0].bytes)
        advise(a, "little free memory: even the default model may not fit");
}

/* ---- Printing ---- */

/* Levels of the processor in their order, those it lacks in brackets when `all`. */
static void list_levels(const Report *r, char *buf, size_t size)
{
    size_t n = 0;
    buf[0] = 0;
    for (int level = 0; level < CPU_LEVEL_COUNT && n < size; level++) {
        const bool here = cpu_level_of(r->hardware) >= (CpuLevel)level;
        const int m = snprintf(buf + n, size - n, here ? "%s%s" : "%s(no %s)", n ? " " : "",
                               cpu_level_name((CpuLevel)level));
        n += m > 0 ? (size_t)m : 0;
    }
    if (r->hardware & CPU_BF16 && n < size)
        snprintf(buf + n, size - n, " +bf16");
}

static void print_row(const char *label, const char *text)
{
    printf("%-14s %s\n", label, text);
}

static void print_people(const Report *r, const Advice *advice)
{
    char a[24], b[24], text[512];
    print_row("processor", r->cpu.model);
    list_levels(r, text, sizeof text);
    print_row("levels", text);
    print_row("kernels", r->level);
    snprintf(text, sizeof text, "%d", r->cpu.cores);
    print_row("cores", text);
    format_bytes(a, sizeof a, (double)r->cpu.memory_bytes);
    format_bytes(b, sizeof b, (double)r->cpu.memory_free_bytes);
    snprintf(text, sizeof text, "%s, %s available", a, b);
    print_row("memory", text);
    print_row("huge pages", r->huge_pages);
    snprintf(text, sizeof text, "%.60s %.60s %.60s", r->system.sysname, r->system.release, r->system.machine);
    print_row("system", text);
    if (r->model_count >= 0) {
        format_bytes(a, sizeof a, (double)r->store_free);
        printf("%-14s %s (%lld model%s, %s free)\n", "store", store_dir(r->models.store),
               (long long)r->model_count, r->model_count == 1 ? "" : "s", a);
    }
    print_row("pip", r->pip[0] ? r->pip : "missing");
    snprintf(text, sizeof text, "%s, %d columns, %s, %s", term_is_tty(STDOUT_FILENO) ? "terminal" : "no terminal",
             term_columns(STDOUT_FILENO), term_colour(STDOUT_FILENO) ? "colour" : "no colour",
             term_utf8() ? "UTF-8" : "not UTF-8");
    print_row("output", text);
    putchar('\n');
    for (int k = 0; k < advice->count; k++)
        printf("* %s\n", advice->text[k]);
    if (advice->count == 0)
        printf("nothing is missing\n");
}

static void write_text(JsonWriter *w, const char *key, const char *text)
{
    json_write_key(w, key);
    json_write_string(w, text);
}

static void write_number(JsonWriter *w, const char *key, int64_t v)
{
    json_write_key(w, key);
    if (v >= 0)
        json_write_int(w, v);
    else
        json_write_null(w);
}

static void write_path(JsonWriter *w, const char *key, const char *path)
{
    json_write_key(w, key);
    if (path && *path)
        json_write_string(w, path);
    else
        json_write_null(w);
}

static void write_report(JsonWriter *w, const Report *r, const Advice *advice)
{
    json_write_object_begin(w);
    write_text(w, "processor", r->cpu.model);
    json_write_key(w, "levels");
    json_write_object_begin(w);
    for (int level = 0; level < CPU_LEVEL_COUNT; level++) {
        json_write_key(w, cpu_level_name((CpuLevel)level));
        json_write_bool(w, cpu_level_of(r->hardware) >= (CpuLevel)level);
    }
    json_write_key(w, "bf16");
    json_write_bool(w, r->hardware & CPU_BF16);
    json_write_object_end(w);
    write_text(w, "kernels", r->level);
    write_number(w, "cores", r->cpu.cores);
    write_number(w, "memory_bytes", r->cpu.memory_bytes);
    write_number(w, "memory_available_bytes", r->cpu.memory_free_bytes);
    write_text(w, "huge_pages", r->huge_pages);
    write_text(w, "system", r->system.sysname);
    write_text(w, "release", r->system.release);
    write_text(w, "machine", r->system.machine);
    write_path(w, "store", r->models.store ? store_dir(r->models.store) : NULL);
    write_number(w, "store_free_bytes", r->store_free);
    write_number(w, "models", r->model_count);
    write_path(w, "pip", r->pip);
    json_write_key(w, "advice");
    json_write_array_begin(w);
    for (int k = 0; k < advice->count; k++)
        json_write_string(w, advice->text[k]);
    json_write_array_end(w);
    json_write_object_end(w);
}

static int run_doctor(Cli *cli)
{
    Error err = {0};
    Report r = {0};
    Advice advice = {0};
    int code = 0;
    const Status st = gather(&r, &err);
    collect_advice(&r, st, &err, &advice);
    if (cli_json(cli)) {
        JsonWriter w;
        json_write_init(&w, 0, (size_t)1 << 20);
        write_report(&w, &r, &advice);
        code = cli_print_json(cli, &w);
        json_write_deinit(&w);
    } else {
        print_people(&r, &advice);
    }
    models_close(&r.models);
    return code;
}

static const CliOption options[] = {CLI_OPTION_JSON, {0}};

const CliCommand cmd_doctor = {
    .name = "doctor",
    .help = "report on processor, memory, disk, and what is missing",
    .about = "Levels are sets of processor instructions; kernels is the one in use. PLUMB_CPU=NAME uses a lower one.",
    .options = options,
    .common = true,
    .diagnostic = true,
    .run = run_doctor,
};
