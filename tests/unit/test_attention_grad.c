/* Attention and its gradients at every level beside PyTorch's autograd: tests/vectors/attention_grad.txt, recorded
 * by oracle/attention_vectors.py, which says what stands in a case. */
#include "kernels/kernels.h"

#include "base/mapfile.h"
#include "base/mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VECTORS "tests/vectors/attention_grad.txt"
#define PAGES_MAX 2

typedef enum { Q, DOUT, K, V, E, SINK, LIST, OUT, LSE, DQ, DK, DV, DE, DSINK, PART_COUNT } Part;
static const char *const part_names[PART_COUNT] = {"q",   "dout", "k",  "v",  "e",  "sink", "list",
                                                   "out", "lse",  "dq", "dk", "dv", "de",   "dsink"};

typedef struct {
    char name[64];
    int64_t rows, head_dim, group, window, tokens, own, sinks, chosen;
    double *part[PART_COUNT]; /* NULL: not in the file */
    int64_t count[PART_COUNT];
} Case;

/* ---- reading ---- */

/* The integer behind the word `key` in a line. */
static int64_t value_of(const char *line, const char *key)
{
    char wanted[32];
    snprintf(wanted, sizeof wanted, " %s ", key);
    const char *const at = strstr(line, wanted);
    assert_non_null(at);
    return strtoll(at + strlen(wanted), NULL, 10);
}

static void read_part(Case *c, const char *line)
{
    for (int p = 0; p < PART_COUNT; p++) {
        const size_t n = strlen(part_names[p]);
        if (strncmp(line, part_names[p], n) != 0 || line[n] != ' ')
            continue;
        char *at;
        c->count[p] = strtoll(line + n, &at, 10);
        c->part[p] = mem_alloc((size_t)c->count[p], sizeof *c->part[p]);
        for (int64_t i = 0; i < c->count[p]; i++)
            c->part[p][i] = strtod(at, &at);
        return;
    }
    fail_msg("unknown line: %.20s", line);
}

static void read_case(Case *c, const char *line)
{
    const char *const words = line + strcspn(line, " ") + 1, *const sizes = words + strcspn(words, " ");
    *c = (Case){.rows = value_of(sizes, "rows"), .head_dim = value_of(sizes, "head_dim"),
                .group = value_of(sizes, "group"), .window = value_of(sizes, "window"),
                .tokens = value_of(sizes, "tokens"), .own = value_of(sizes, "own"),
                .sinks = value_of(sizes, "sinks"), .chosen = value_of(sizes, "chosen")};
    snprintf(c->name, sizeof c->name, "%.*s", (int)(sizes - words), words);
}

static void free_case(Case *c)
{
    for (int p = 0; p < PART_COUNT; p++)
        mem_free(c->part[p]);
}

/* ---- reals of a table ---- */

static void set(const Kernels *k, void *p, int64_t i, double x)
{
    if (k->real_bytes == sizeof(double))
        ((double *)p)[i] = x;
    else
        ((float *)p)[i] = (float)x;
}

static double get(const Kernels *k, const void *p, int64_t i)
{
    return k->real_bytes == sizeof(double) ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

static void *zeros(const Kernels *k, int64_t n)
{
    void *const p = mem_alloc((size_t)n + 1, k->real_bytes);
    assert_non_null(p);
    memset(p, 0, (size_t)n * k->real_bytes);
    return p;
}

static void *reals(const Kernels *k, const Case *c, Part part)
{
    void *const p = zeros(k, c->count[part]);
    for (int64_t i = 0; i < c->count[part]; i++)
        set(k, p, i, c->part[part][i]);
    return p;
}

/* ---- a case ---- */

typedef struct {
    void *page[PAGES_MAX];
    const void *at[PAGES_MAX];
    size_t value_offset;
} Cache;

static Cache cache_of(const Kernels *k, const Case *c, Part keys, Part values)
{
    const int64_t d = c->head_dim, n = c->count[keys] / d, pad = (d + 15) / 16 * 16;
    Cache cache = {.value_offset = k->real_bytes * (size_t)(d * ATTENTION_PAGE)};
    void *const kk = reals(k, c, keys), *const vv = reals(k, c, values);
    for (int64_t p = 0; p < PAGES_MAX; p++) {
        const int64_t left = n - p * ATTENTION_PAGE, rows = left < ATTENTION_PAGE ? left : ATTENTION_PAGE;
        const size_t at = k->real_bytes * (size_t)(p * ATTENTION_PAGE * d);
        cache.at[p] = cache.page[p] = zeros(k, (d + pad) * ATTENTION_PAGE);
        if (rows > 0)
            k->kv_write(cache.page[p], 0, cache.value_offset, DT_F32, 0, rows, (char *)kk + at, d, (char *)vv + at, d, d);
    }
    mem_free(kk);
    mem_free(vv);
    return cache;
}

static void cache_free(Cache *c)
{
    for (int p = 0; p < PAGES_MAX; p++)
        mem_free(c->page[p]);
}

static void compare(const Kernels *k, const Case *c, Part part, const void *found)
{
    const double allowed = k->real_bytes == sizeof(double) ? 1e-9 : 3e-6;
    double largest = 0;
    for (int64_t i = 0; i < c->count[part]; i++)
        largest = fmax(largest, fabs(c->part[part][i]));
    for (int64_t i = 0; i < c->count[part]; i++)
        if (!(fabs(get(k, found, i) - c->part[part][i]) <= allowed * largest))
            fail_msg("%s at level %s: %s[%d] is %.12g, PyTorch has %.12g", c->name,
                     k->real_bytes == sizeof(double) ? "f64" : k->name, part_names[part], (int)i, get(k, found, i),
                     c->part[part][i]);
}

/* dsinks is a row a token; the sum is what autograd gives. */
static void compare_sinks(const Kernels *k, const Case *c, const void *rows)
{
    void *const sum = zeros(k, c->group);
    for (int64_t i = 0; i < c->rows * c->group; i++)
        set(k, sum, i % c->group, get(k, sum, i % c->group) + get(k, rows, i));
    compare(k, c, DSINK, sum);
    mem_free(sum);
}

static void check_case(const Kernels *k, const Case *c, void *scratch)
{
    const int64_t d = c->head_dim, width = c->group * d;
    Cache keys = cache_of(k, c, K, c->own ? K : V), entries = cache_of(k, c, E, E);
    void *const q = reals(k, c, Q), *const dout = reals(k, c, DOUT), *const sinks = reals(k, c, SINK);
    void *const out = zeros(k, c->rows * width), *const lse = zeros(k, c->rows * c->group);
    void *const dq = zeros(k, c->rows * width), *const dk = zeros(k, c->rows * d), *const dv = zeros(k, c->rows * d);
    void *const de = zeros(k, c->count[E]), *const ds = zeros(k, c->rows * c->group);
    int32_t *const list = mem_alloc((size_t)c->count[LIST] + 1, sizeof *list);
    for (int64_t i = 0; i < c->count[LIST]; i++)
        list[i] = (int32_t)c->part[LIST][i];
    const AttentionArgs a = {
        .pages = keys.at, .value_offset = keys.value_offset, .kv_type = DT_F32, .head_dim = d, .group = c->group,
        .q = q, .out = out, .ld_q = width, .ld_out = width, .rows = c->rows, .window = c->window,
        .scale = 1 / sqrt((double)d), .entry_pages = entries.at, .entry_value_offset = entries.value_offset,
        .entry_tokens = c->tokens, .chosen = c->chosen ? list : NULL, .chosen_count = c->chosen,
        .sinks = c->sinks ? sinks : NULL, .lse = lse, .ld_lse = c->group};
    const AttentionBackArgs b = {
        .forward = &a, .dout = dout, .ld_dout = width, .dq = dq, .ld_dq = width, .dk = dk, .dv = c->own ? dk : dv,
        .ld_dk = d, .ld_dv = d, .dentries = de, .ld_de = d, .dsinks = c->sinks ? ds : NULL, .ld_ds = c->group};
    k->attention(&a, scratch);
    k->grad->attention_back(&b, scratch);
    compare(k, c, OUT, out);
    compare(k, c, LSE, lse);
    compare(k, c, DQ, dq);
    compare(k, c, DK, dk);
    compare(k, c, DV, dv);
    compare(k, c, DE, de);
    if (c->sinks)
        compare_sinks(k, c, ds);
    void *const all[] = {q, dout, sinks, out, lse, dq, dk, dv, de, ds, list};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        mem_free(all[i]);
    cache_free(&keys);
    cache_free(&entries);
}

static void check_levels(const Case *c)
{
    void *const scratch = mem_alloc_pages(GRAD_SCRATCH);
    assert_non_null(scratch);
    check_case(kernels_f64(), c, scratch);
    for (int l = 0; l < LEVEL_COUNT; l++)
        if (kernels_at((KernelLevel)l))
            check_case(kernels_at((KernelLevel)l), c, scratch);
    mem_free_pages(scratch, GRAD_SCRATCH);
}

static void attention_has_the_outputs_and_gradients_of_pytorch(void **state)
{
    (void)state;
    uint8_t *text;
    size_t size;
    int cases = 0;
    assert_int_equal(file_read_all(&text, &size, VECTORS, (size_t)1 << 20, NULL), ST_OK);
    Case c = {.rows = 0};
    for (char *line = (char *)text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = 0;
        if (*line == '#')
            continue;
        if (strncmp(line, "case ", 5) != 0) {
            read_part(&c, line);
            continue;
        }
        if (cases++)
            check_levels(&c);
        free_case(&c);
        read_case(&c, line);
    }
    check_levels(&c);
    free_case(&c);
    mem_free(text);
    assert_int_equal(cases, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_has_the_outputs_and_gradients_of_pytorch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
