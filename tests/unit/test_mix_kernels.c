/* The kernels of kernels/mix.h against transformers' modules and PyTorch's autograd in float64, recorded by
 * oracle/mix_vectors.py in tests/vectors/mix.safetensors: in the f64 table to 1e-11 of the largest element, in the
 * best float table to 2e-5. tests/kernels/check_mix.c and check_route.c compare with formulas, at all levels and sizes. */
#include "formats/tensordir.h"
#include "kernels/kernels.h"

#include "base/mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VECTORS "tests/vectors/mix.safetensors"
#define BLOCKS 512

/* A table, the part of the vectors that is looked at, and all memory that a test took. */
typedef struct {
    const Kernels *k;
    TensorDir *dir;
    const char *part;
    void *blocks[BLOCKS];
    int count;
} Bench;

static Bench bench_open(const Kernels *k, const char *part)
{
    Bench b = {.k = k, .part = part};
    Error err = {0};
    if (tensordir_open(&b.dir, VECTORS, &err) != ST_OK)
        fail_msg("%s", err.msg);
    return b;
}

static void bench_close(Bench *b)
{
    for (int i = 0; i < b->count; i++)
        mem_free(b->blocks[i]);
    tensordir_close(b->dir);
}

static void *take(Bench *b, int64_t n, size_t bytes)
{
    assert_true(b->count < BLOCKS);
    void *const p = mem_alloc((size_t)n + 8, bytes);
    assert_non_null(p);
    return b->blocks[b->count++] = p;
}

static void *reals(Bench *b, int64_t n)
{
    return take(b, n, b->k->real_bytes);
}

static bool is_double(const Bench *b)
{
    return b->k->real_bytes == sizeof(double);
}

static double get(const Bench *b, const void *p, int64_t i)
{
    return is_double(b) ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

static void set(const Bench *b, void *p, int64_t i, double x)
{
    if (is_double(b))
        ((double *)p)[i] = x;
    else
        ((float *)p)[i] = (float)x;
}

static void *at(const Bench *b, const void *p, int64_t i)
{
    return (char *)p + i * (int64_t)b->k->real_bytes;
}

static const TensorEntry *entry(const Bench *b, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "%s.%s", b->part, name);
    const TensorEntry *const e = tensordir_find(b->dir, full);
    if (!e)
        fail_msg("no tensor %s", full);
    return e;
}

static double recorded(const TensorEntry *e, int64_t i)
{
    float f;
    double d;
    if (e->dtype == DT_F32) {
        memcpy(&f, (const char *)e->data + 4 * i, sizeof f);
        return (double)f;
    }
    assert_int_equal(e->dtype, DT_F64);
    memcpy(&d, (const char *)e->data + 8 * i, sizeof d);
    return d;
}

static int64_t dim(const Bench *b, const char *name, int i)
{
    return entry(b, name)->dims[i];
}

/* A recorded tensor as reals of the table. */
static void *load(Bench *b, const char *name)
{
    const TensorEntry *const e = entry(b, name);
    void *const p = reals(b, e->elements);
    for (int64_t i = 0; i < e->elements; i++)
        set(b, p, i, recorded(e, i));
    return p;
}

static int32_t *load_ints(Bench *b, const char *name)
{
    const TensorEntry *const e = entry(b, name);
    int32_t *const p = take(b, e->elements, sizeof *p);
    assert_int_equal(e->dtype, DT_I32);
    memcpy(p, e->data, e->bytes);
    return p;
}

/* Errors are measured against the tensor's largest element. */
static void expect(const Bench *b, const void *found, const char *name)
{
    const TensorEntry *const e = entry(b, name);
    double max = 0;
    for (int64_t i = 0; i < e->elements; i++)
        max = fmax(max, fabs(recorded(e, i)));
    for (int64_t i = 0; i < e->elements; i++)
        if (!(fabs(get(b, found, i) - recorded(e, i)) <= (is_double(b) ? 1e-11 : 2e-5) * max))
            fail_msg("%s.%s[%d] is %.12g, should be %.12g (%s)", b->part, name, (int)i, get(b, found, i),
                     recorded(e, i), b->k->name);
}

static void expect_ints(const Bench *b, const int32_t *found, const char *name)
{
    const TensorEntry *const e = entry(b, name);
    for (int64_t i = 0; i < e->elements; i++) {
        int32_t x;
        memcpy(&x, (const char *)e->data + 4 * i, sizeof x);
        if (found[i] != x)
            fail_msg("%s.%s[%d] is %d, should be %d (%s)", b->part, name, (int)i, (int)found[i], (int)x, b->k->name);
    }
}

static void on_both_tables(void (*test)(const Kernels *k))
{
    test(kernels_f64());
    test(kernels_at(kernels_best_level()));
}

/* ---- hyper-connections ---- */

/* c[rows][n] = a[rows][k] · w[n][k]ᵀ, and its gradients da += and dw =. */
static void multiply(const Bench *b, void *c, const void *a, const void *w, int64_t rows, int64_t n, int64_t k)
{
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < n; i++) {
            double sum = 0;
            for (int64_t j = 0; j < k; j++)
                sum += get(b, a, t * k + j) * get(b, w, i * k + j);
            set(b, c, t * n + i, sum);
        }
}

static void multiply_back(const Bench *b, void *da, void *dw, const void *a, const void *w, const void *dc,
                          int64_t rows, int64_t n, int64_t k)
{
    for (int64_t j = 0; j < k; j++) {
        for (int64_t t = 0; t < rows; t++) {
            double sum = get(b, da, t * k + j);
            for (int64_t i = 0; i < n; i++)
                sum += get(b, dc, t * n + i) * get(b, w, i * k + j);
            set(b, da, t * k + j, sum);
        }
        for (int64_t i = 0; i < n; i++) {
            double sum = 0;
            for (int64_t t = 0; t < rows; t++)
                sum += get(b, dc, t * n + i) * get(b, a, t * k + j);
            set(b, dw, i * k + j, sum);
        }
    }
}

static void add_to(const Bench *b, void *y, const void *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        set(b, y, i, get(b, y, i) + get(b, x, i));
}

static void *column_sums(Bench *b, const void *x, int64_t rows, int64_t n)
{
    void *const y = reals(b, n);
    for (int64_t t = 0; t < rows; t++)
        add_to(b, y, at(b, x, t * n), n);
    return y;
}

/* One site: streams x, coefficients, a sublayer that multiplies by w, streams out. */
typedef struct {
    HyperShape s;
    int64_t rows, n; /* coefficients a row */
    const char *name;
    void *fn, *base, *scale, *w, *x, *z, *c, *y, *f, *out;
} Site;

static void *site_tensor(Bench *b, const Site *site, const char *name)
{
    char full[32];
    snprintf(full, sizeof full, "%s.%s", site->name, name);
    return load(b, full);
}

static void expect_of_site(const Bench *b, const Site *site, const void *found, const char *name)
{
    char full[32];
    snprintf(full, sizeof full, "grad.%s.%s", site->name, name);
    expect(b, found, full);
}

static void site_forward(Bench *b, Site *t, void *x)
{
    const HyperShape *const s = &t->s;
    const int64_t width = s->M * s->d;
    t->x = x;
    t->fn = site_tensor(b, t, "fn");
    t->base = site_tensor(b, t, "base");
    t->scale = site_tensor(b, t, "scale");
    t->w = site_tensor(b, t, "w");
    t->z = reals(b, t->rows * t->n);
    t->c = reals(b, t->rows * t->n);
    t->y = reals(b, t->rows * s->d);
    t->f = reals(b, t->rows * s->d);
    t->out = reals(b, t->rows * width);
    multiply(b, t->z, x, t->fn, t->rows, t->n, width);
    b->k->mix->hyper_split(s, t->c, t->n, t->z, t->n, x, width, t->scale, t->base, t->rows);
    b->k->mix->hyper_pre(s, t->y, s->d, x, width, t->c, t->n, t->rows);
    for (int64_t i = 0; i < t->rows * s->d; i++)
        set(b, t->f, i, get(b, t->y, i) * get(b, t->w, i % s->d));
    b->k->mix->hyper_post(s, t->out, width, x, width, t->c, t->n, t->f, s->d, t->rows);
}

/* Checks the gradients of the site's parameters, returns that of x. */
static void *site_backward(Bench *b, const Site *t, const void *dout)
{
    const HyperShape *const s = &t->s;
    const MixKernels *const mix = b->k->mix;
    const int64_t width = s->M * s->d, rows = t->rows, n = t->n, d = s->d;
    void *const dx = reals(b, rows * width), *const more = reals(b, rows * width);
    void *const dc = reals(b, rows * n), *const dc_pre = reals(b, rows * n), *const df = reals(b, rows * d);
    void *const dw = reals(b, rows * d), *const dz = reals(b, rows * n), *const dbase = reals(b, rows * n);
    void *const dscale = reals(b, rows * 3), *const dfn = reals(b, n * width);
    mix->hyper_post_back(s, dx, width, dc, n, df, d, t->x, width, t->c, n, t->f, d, dout, width, rows);
    for (int64_t i = 0; i < rows * d; i++) {
        set(b, dw, i, get(b, df, i) * get(b, t->y, i));
        set(b, df, i, get(b, df, i) * get(b, t->w, i % d)); /* of y now */
    }
    mix->hyper_pre_back(s, more, width, dc_pre, n, t->x, width, t->c, n, df, d, rows);
    add_to(b, dx, more, rows * width);
    add_to(b, dc, dc_pre, rows * n);
    mix->hyper_split_back(s, dz, n, more, width, dbase, n, dscale, 3, t->z, n, t->x, width, t->scale, t->base, dc, n,
                          rows);
    add_to(b, dx, more, rows * width);
    multiply_back(b, dx, dfn, t->x, t->fn, dz, rows, n, width);
    expect_of_site(b, t, dfn, "fn");
    expect_of_site(b, t, column_sums(b, dbase, rows, n), "base");
    expect_of_site(b, t, column_sums(b, dscale, rows, 3), "scale");
    expect_of_site(b, t, column_sums(b, dw, rows, d), "w");
    return dx;
}

static void check_layer(const Kernels *k, const char *part, int64_t iterations)
{
    Bench b = bench_open(k, part);
    const HyperShape s = {.M = dim(&b, "x", 2), .d = dim(&b, "x", 3), .rms_eps = 1e-6, .hc_eps = 1e-6,
                          .iterations = iterations};
    Site attn = {.s = s, .rows = dim(&b, "x", 1), .n = (2 + s.M) * s.M, .name = "attn"}, ffn = attn;
    ffn.name = "ffn";
    site_forward(&b, &attn, load(&b, "x"));
    site_forward(&b, &ffn, attn.out);
    expect(&b, ffn.out, "out");
    expect(&b, site_backward(&b, &attn, site_backward(&b, &ffn, load(&b, "d_out"))), "grad.x");
    bench_close(&b);
}

static void check_layers(const Kernels *k)
{
    check_layer(k, "hyper4", 20);
    check_layer(k, "hyper3", 3);
}

static void hyper_connections_of_a_layer_match_transformers(void **state)
{
    (void)state;
    on_both_tables(check_layers);
}

static void check_head(const Kernels *k)
{
    Bench b = bench_open(k, "head");
    const HyperShape s = {.M = dim(&b, "x", 2), .d = dim(&b, "x", 3), .rms_eps = 1e-6, .hc_eps = 1e-6, .iterations = 1,
                          .head = true};
    const int64_t rows = dim(&b, "x", 1), n = s.M, width = s.M * s.d;
    void *const x = load(&b, "x"), *const fn = load(&b, "fn"), *const scale = load(&b, "scale");
    void *const base = load(&b, "base"), *const dout = load(&b, "d_out");
    void *const z = reals(&b, rows * n), *const c = reals(&b, rows * n), *const y = reals(&b, rows * s.d);
    void *const dx = reals(&b, rows * width), *const more = reals(&b, rows * width), *const dc = reals(&b, rows * n);
    void *const dz = reals(&b, rows * n), *const dbase = reals(&b, rows * n), *const dscale = reals(&b, rows);
    void *const dfn = reals(&b, n * width);
    multiply(&b, z, x, fn, rows, n, width);
    k->mix->hyper_split(&s, c, n, z, n, x, width, scale, base, rows);
    k->mix->hyper_pre(&s, y, s.d, x, width, c, n, rows);
    expect(&b, y, "out");
    k->mix->hyper_pre_back(&s, dx, width, dc, n, x, width, c, n, dout, s.d, rows);
    k->mix->hyper_split_back(&s, dz, n, more, width, dbase, n, dscale, 1, z, n, x, width, scale, base, dc, n, rows);
    add_to(&b, dx, more, rows * width);
    multiply_back(&b, dx, dfn, x, fn, dz, rows, n, width);
    expect(&b, dx, "grad.x");
    expect(&b, dfn, "grad.fn");
    expect(&b, column_sums(&b, dbase, rows, n), "grad.base");
    expect(&b, column_sums(&b, dscale, rows, 1), "grad.scale");
    bench_close(&b);
}

static void hyper_head_matches_transformers(void **state)
{
    (void)state;
    on_both_tables(check_head);
}

/* ---- pooling ---- */

#define ROWS 8

/* Rows of hidden states hold a [f·c], then b [f·c]; ape is [rate][f·c]. f is 2 for overlapping windows. */
typedef struct {
    const void *ab, *ape;
    void *dab, *dape;
    int64_t ld, rate, c, f; /* ld of ab */
} Pooler;

/* Pool window j into e; with dab also back from de. */
static void pool_window(const Bench *b, const Pooler *p, int64_t j, void *e, const void *de)
{
    const void *a[ROWS], *gate[ROWS], *ape[ROWS];
    void *da[ROWS], *db[ROWS];
    int64_t n = 0;
    for (int64_t half = 0; half < p->f; half++)
        for (int64_t r = 0; r < p->rate; r++, n++) {
            const int64_t window = j - (p->f - 1 - half), row = window * p->rate + r, from = half * p->c;
            const int64_t value = row * p->ld + from, score = value + p->f * p->c;
            ape[n] = at(b, p->ape, r * p->f * p->c + from);
            a[n] = window < 0 ? NULL : at(b, p->ab, value);
            gate[n] = window < 0 ? NULL : at(b, p->ab, score);
            da[n] = window < 0 || !p->dab ? NULL : at(b, p->dab, value);
            db[n] = window < 0 || !p->dab ? NULL : at(b, p->dab, score);
        }
    const PoolArgs args = {.a = a, .b = gate, .ape = ape, .rows = n, .c = p->c};
    b->k->mix->pool(&args, e);
    if (!p->dab)
        return;
    b->k->mix->pool_back(&args, de, da, db);
    for (int64_t i = 0; i < n; i++) /* the gradient of ape, whose row this is */
        if (db[i]) {
            const ptrdiff_t bytes = (const char *)ape[i] - (const char *)p->ape;
            add_to(b, (char *)p->dape + bytes, db[i], p->c);
        }
}

static void check_pool(const Kernels *k, const char *part, int64_t f)
{
    Bench b = bench_open(k, part);
    const int64_t windows = dim(&b, "out", 0), c = dim(&b, "out", 1), tokens = dim(&b, "ab", 1);
    Pooler p = {.ab = load(&b, "ab"), .ape = load(&b, "ape"), .ld = dim(&b, "ab", 2), .rate = dim(&b, "ape", 0), .c = c,
                .f = f};
    p.dab = reals(&b, tokens * p.ld);
    p.dape = reals(&b, p.rate * f * c);
    void *const e = reals(&b, windows * c), *const de = load(&b, "d_out");
    for (int64_t j = 0; j < windows; j++)
        pool_window(&b, &p, j, at(&b, e, j * c), at(&b, de, j * c));
    expect(&b, e, "out");
    expect(&b, p.dab, "grad.ab");
    expect(&b, p.dape, "grad.ape");
    bench_close(&b);
}

static void check_pools(const Kernels *k)
{
    check_pool(k, "heavy", 1);
    check_pool(k, "overlapping", 2);
}

static void pooled_entries_match_both_compressors(void **state)
{
    (void)state;
    on_both_tables(check_pools);
}

/* ---- index ---- */

static void check_index(const Kernels *k)
{
    Bench b = bench_open(k, "index");
    const int64_t rows = dim(&b, "chosen", 0), topk = dim(&b, "chosen", 1), c = dim(&b, "ape", 1) / 2;
    const int64_t heads = dim(&b, "q", 2) / c, ld = dim(&b, "h", 2), entries = rows / 4;
    void *const h = load(&b, "h"), *const q = load(&b, "q"), *const w = reals(&b, rows * heads);
    void *const page = reals(&b, c * ATTENTION_PAGE), *const e = reals(&b, c);
    const Pooler p = {.ab = at(&b, h, heads), .ape = load(&b, "ape"), .ld = ld, .rate = 4, .c = c, .f = 2};
    for (int64_t j = 0; j < entries; j++) {
        pool_window(&b, &p, j, e, NULL);
        for (int64_t i = 0; i < c; i++)
            set(&b, page, i * ATTENTION_PAGE + j, get(&b, e, i));
    }
    for (int64_t i = 0; i < rows * heads; i++)
        set(&b, w, i, get(&b, h, i / heads * ld + i % heads) / sqrt((double)c * (double)heads));
    int32_t *const chosen = take(&b, rows * topk, sizeof *chosen);
    void *const scratch = mem_alloc_pages(MIX_SCRATCH + 4096);
    assert_non_null(scratch);
    const void *const pages[] = {page};
    IndexArgs args = {.pages = pages, .heads = heads, .dim = c, .tokens = 4, .topk = topk, .q = q, .ld_q = heads * c,
                      .w = w, .ld_w = heads, .rows = rows, .chosen = chosen};
    k->mix->index_choose(&args, scratch);
    expect_ints(&b, chosen, "chosen");
    memset(chosen, 0, (size_t)(rows * topk) * sizeof *chosen);
    for (int64_t t = 0; t < rows; t++) { /* and row by row, as tokens come */
        args.q = at(&b, q, t * heads * c);
        args.w = at(&b, w, t * heads);
        args.chosen = chosen + t * topk;
        args.position = t;
        args.rows = 1;
        k->mix->index_choose(&args, scratch);
    }
    expect_ints(&b, chosen, "chosen");
    mem_free_pages(scratch, MIX_SCRATCH + 4096);
    bench_close(&b);
}

static void index_chooses_what_transformers_chooses(void **state)
{
    (void)state;
    on_both_tables(check_index);
}

/* ---- router ---- */

static void check_router(const Kernels *k, const char *part, bool hash)
{
    Bench b = bench_open(k, part);
    const int64_t rows = dim(&b, "x", 0), experts = dim(&b, "x", 1), chosen_count = dim(&b, "out", 1);
    RouteShape s = {.experts = experts, .k = chosen_count, .scale = hash ? 2.5 : 1.5};
    void *const x = load(&b, "x"), *const w = reals(&b, rows * s.k), *const dx = reals(&b, rows * experts);
    int32_t *const chosen = take(&b, rows * s.k, sizeof *chosen);
    if (hash) {
        s.table = load_ints(&b, "table");
        s.ids = load_ints(&b, "ids");
    } else {
        s.bias = load(&b, "bias");
    }
    k->mix->route(&s, w, chosen, x, experts, rows);
    expect_ints(&b, chosen, "chosen");
    expect(&b, w, "out");
    k->mix->route_back(&s, dx, experts, x, experts, chosen, load(&b, "d_out"), rows);
    expect(&b, dx, "grad.x");
    bench_close(&b);
}

static void check_routers(const Kernels *k)
{
    check_router(k, "router", false);
    check_router(k, "hash", true);
}

static void routers_match_transformers(void **state)
{
    (void)state;
    on_both_tables(check_routers);
}

static void check_balance(const Kernels *k)
{
    Bench b = bench_open(k, "balance");
    const int64_t rows = dim(&b, "x", 0), experts = dim(&b, "x", 1);
    const RouteShape s = {.experts = experts, .k = dim(&b, "chosen", 1)};
    void *const dx = reals(&b, rows * experts), *const loss = reals(&b, 1);
    set(&b, loss, 0,
        k->mix->balance_back(&s, dx, experts, load(&b, "x"), experts, load_ints(&b, "chosen"), rows, 0.25));
    expect(&b, loss, "out");
    expect(&b, dx, "grad.x");
    bench_close(&b);
}

static void balance_loss_matches_autograd(void **state)
{
    (void)state;
    on_both_tables(check_balance);
}

static void check_combine(const Kernels *k)
{
    Bench b = bench_open(k, "combine");
    const int64_t rows = dim(&b, "weights", 0), count = dim(&b, "weights", 1), d = dim(&b, "ys", 1);
    void *const ys = load(&b, "ys"), *const w = load(&b, "weights"), *const y = reals(&b, rows * d);
    void *const dys = reals(&b, rows * count * d), *const dw = reals(&b, rows * count);
    const int32_t *const slot = load_ints(&b, "slot");
    k->mix->combine(y, d, ys, d, slot, w, rows, count, d);
    expect(&b, y, "out");
    k->mix->combine_back(dys, d, dw, ys, d, slot, w, load(&b, "d_out"), d, rows, count, d);
    expect(&b, dys, "grad.ys");
    expect(&b, dw, "grad.weights");
    bench_close(&b);
}

static void combined_experts_match_autograd(void **state)
{
    (void)state;
    on_both_tables(check_combine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hyper_connections_of_a_layer_match_transformers),
        cmocka_unit_test(hyper_head_matches_transformers),
        cmocka_unit_test(pooled_entries_match_both_compressors),
        cmocka_unit_test(index_chooses_what_transformers_chooses),
        cmocka_unit_test(routers_match_transformers),
        cmocka_unit_test(balance_loss_matches_autograd),
        cmocka_unit_test(combined_experts_match_autograd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
