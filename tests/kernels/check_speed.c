/* Speeds of the kernels, printed when BENCH=1: GFLOP/s or GB/s, and the fraction of what the same level
 * reached in its own loop of multiply-adds, or of what reading memory reached, in the same run.
 *
 *   make check-kernels BENCH=1       on one thread; BENCH_THREADS=n for the peaks of n
 *
 * The best of several short bursts counts, in processor time of the thread, so that a busy machine shows
 * in caches and memory only.
 * Without BENCH it only sees to it that the bounds themselves are plausible. */
#include "check.h"

#include "kernels/peaks.h"

#include <time.h>

#define BURSTS 5
#define BURST_NS 20000000

typedef struct {
    Run *run;
    Peaks peaks;
} Bench;

typedef void (*Work)(void *arg);

static int64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Seconds of one call, best of BURSTS. */
static double seconds_of(Work work, void *arg)
{
    double best = 1e9;
    for (int b = 0; b < BURSTS; b++) {
        int64_t calls = 0, ns;
        const int64_t start = thread_ns();
        do {
            work(arg);
            calls++;
            ns = thread_ns() - start;
        } while (ns < BURST_NS / BURSTS);
        const double s = (double)ns * 1e-9 / (double)calls;
        best = s < best ? s : best;
    }
    return best;
}

static void report(const Bench *b, const char *what, double seconds, double flops, double bytes)
{
    printf("  %-10s %-30s %10.1f us %8.1f GFLOP/s %5.1f %%  %7.2f GB/s %5.1f %%\n", b->run->level.name,
           what, seconds * 1e6, flops / seconds * 1e-9, 100 * flops / seconds / b->peaks.flops,
           bytes / seconds * 1e-9, 100 * bytes / seconds / b->peaks.read_bytes);
    fflush(stdout);
}

/* ---- products ---- */

typedef struct {
    const Kernels *k;
    LinearShape shape;
    float *x, *y;
    void *scratch;
    QuantRows quant;
} Product;

static void run_linear(void *arg)
{
    const Product *const p = arg;
    p->k->linear(&p->shape, p->y, p->shape.N, p->x, p->shape.K, NULL, p->scratch);
}

static void run_int8(void *arg)
{
    const Product *const p = arg;
    p->k->linear_int8(&p->shape, p->y, p->shape.N, &p->quant, NULL, p->scratch);
}

static void bench_product(Bench *b, Dtype t, int64_t M, int64_t N, int64_t K, bool int8)
{
    const PackForm form = form_of_dtype(t);
    const size_t row = dtype_row_bytes(t, K), bytes = form_bytes(&form, N, K);
    Product p = {.k = b->run->level.k, .shape = {&form, NULL, N, K, 0, (N + 15) / 16, M}};
    uint8_t *const stored = mem_alloc(16, row);
    uint8_t *const packed = mem_alloc_pages(bytes);
    char what[64];
    p.x = random_floats(b->run, IN_PLAIN, M * K);
    p.y = floats(M * N);
    p.scratch = b->run->scratch.p;
    p.quant = (QuantRows){mem_alloc((size_t)(M * K), 1), mem_alloc((size_t)(M * K / 32), 4),
                          mem_alloc((size_t)(M * K / 16), 4)};
    for (size_t i = 0; i < 16 * row; i++)
        stored[i] = (uint8_t)(random_u64(b->run) & 0x3B); /* as float16: normal, below 1 */
    for (int64_t n = 0; n * PANEL_ROWS < N; n++)
        form_pack_panel(&form, packed + form_panel_bytes(&form, K) * (size_t)n, t, stored, 0, 16, K);
    p.shape.panels = packed;
    if (int8)
        b->run->level.k->quantise_rows(&p.quant, p.x, K, M, K);
    const double s = seconds_of(int8 ? run_int8 : run_linear, &p);
    snprintf(what, sizeof what, "%s %s M %d", int8 ? "int8" : "linear", dtype_info(t)->name, (int)M);
    Bench at = *b;
    if (int8)
        at.peaks.flops = b->peaks.byte_ops;
    report(&at, what, s, 2.0 * (double)(M * N * K), (double)bytes + 4.0 * (double)(M * (N + K)));
    mem_free(p.quant.q);
    mem_free(p.quant.d);
    mem_free(p.quant.sum);
    mem_free_pages(packed, bytes);
    mem_free(stored);
    mem_free(p.x);
    mem_free(p.y);
}

static void bench_products(Bench *b, bool int8)
{
    static const Dtype types[] = {DT_F32, DT_F16, DT_BF16, DT_Q8_0, DT_Q4_0, DT_Q4_1, DT_Q4_K, DT_Q6_K};
    static const int64_t rows[] = {1, 4, 8, 512};
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        const PackForm f = form_of_dtype(types[t]);
        if (int8 && !form_is_quantised(&f))
            continue;
        for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) /* one row: more than the caches hold */
            bench_product(b, types[t], rows[r], rows[r] == 1 ? 49152 : 1536, 768, int8);
    }
}

/* ---- products of training: forward, gradient of the input, gradient of the weights ---- */

typedef struct {
    Product product;
    float *dw; /* [N][K] */
    PackForm pairs;
    const void *pair_panels;
    const uint16_t *x, *dy; /* rounded: [M][K], [M][N] */
} Training;

static void run_linear_back(void *arg)
{
    const Training *const t = arg;
    LinearShape shape = t->product.shape;
    shape.panel1 = (shape.K + PANEL_ROWS - 1) / PANEL_ROWS;
    t->product.k->grad->linear_back(&shape, t->product.x, shape.K, t->product.y, shape.N, t->product.scratch);
}

static void run_weight_grad(void *arg)
{
    const Training *const t = arg;
    const LinearShape *const s = &t->product.shape;
    t->product.k->grad->weight_grad(t->dw, s->K, t->product.y, s->N, t->product.x, s->K, s->M, 0, s->N, s->K,
                                    t->product.scratch);
}

static LinearShape pair_shape(const Training *t, int64_t columns)
{
    LinearShape shape = t->product.shape;
    shape.form = &t->pairs;
    shape.panels = t->pair_panels;
    shape.panel1 = (columns + PANEL_ROWS - 1) / PANEL_ROWS;
    return shape;
}

static void run_linear_bf16(void *arg)
{
    const Training *const t = arg;
    const LinearShape shape = pair_shape(t, t->product.shape.N);
    t->product.k->bf16->linear(&shape, t->product.y, shape.N, t->x, shape.K, NULL, t->product.scratch);
}

static void run_back_bf16(void *arg)
{
    const Training *const t = arg;
    const LinearShape shape = pair_shape(t, t->product.shape.K);
    t->product.k->bf16->linear_back(&shape, t->product.x, shape.K, t->dy, shape.N, t->product.scratch);
}

static void run_grad_bf16(void *arg)
{
    const Training *const t = arg;
    const LinearShape *const s = &t->product.shape;
    t->product.k->bf16->weight_grad(t->dw, s->K, t->dy, s->N, t->x, s->K, s->M, 0, s->N, s->K, t->product.scratch);
}

/* The same three with rounded factors. */
static void bench_training_bf16(Bench *b, Training *t)
{
    static const struct {
        const char *name;
        Work work;
    } products[] = {{"forward", run_linear_bf16}, {"input grad", run_back_bf16}, {"weight grad", run_grad_bf16}};
    const int64_t M = t->product.shape.M, N = t->product.shape.N, K = t->product.shape.K;
    t->pairs = form_bf16_pairs();
    const size_t panels = form_bytes(&t->pairs, N, K), bytes = panels + 2 * (size_t)(M * N + M * K);
    uint8_t *const packed = mem_alloc_pages(bytes);
    uint16_t *const x = (uint16_t *)(void *)(packed + panels), *const dy = x + M * K;
    Bench at = *b;
    at.peaks.flops = b->peaks.bf16_flops;
    for (int64_t p = 0; p * PANEL_ROWS < N; p++)
        form_pack_panel(&t->pairs, packed + form_panel_bytes(&t->pairs, K) * (size_t)p, DT_F32, t->dw, p, N, K);
    t->product.k->bf16->round_rows(x, K, t->product.x, K, M, K);
    t->product.k->bf16->round_rows(dy, N, t->product.y, N, M, N);
    t->pair_panels = packed;
    t->x = x;
    t->dy = dy;
    for (int i = 0; i < 3; i++) {
        char what[64];
        snprintf(what, sizeof what, "%dx%dx%d %s bf16", (int)M, (int)N, (int)K, products[i].name);
        report(&at, what, seconds_of(products[i].work, t), 2.0 * (double)(M * N * K),
               2.0 * (double)(M * N + M * K + N * K));
    }
    mem_free_pages(packed, bytes);
}

static void bench_training_shape(Bench *b, int64_t M, int64_t N, int64_t K)
{
    const PackForm form = form_of_dtype(DT_F32);
    const double flops = 2.0 * (double)(M * N * K), bytes = 4.0 * (double)(M * N + M * K + N * K);
    const size_t packed_bytes = form_bytes(&form, N, K), arena_bytes = packed_bytes + (size_t)bytes + 64;
    float *const packed = mem_alloc_pages(arena_bytes); /* one block, as a program has its memory */
    Training t = {.product = {.k = b->run->level.k, .scratch = b->run->scratch.p}};
    t.dw = packed + packed_bytes / sizeof *packed;
    t.product.x = t.dw + N * K;
    t.product.y = t.product.x + M * K;
    for (int64_t i = 0; i < N * K + M * K + M * N; i++)
        t.dw[i] = (float)(i % 17) / 64;
    for (int64_t p = 0; p * PANEL_ROWS < N; p++)
        form_pack_panel(&form, packed + p * PANEL_ROWS * K, DT_F32, t.dw, p, N, K);
    t.product.shape = (LinearShape){&form, packed, N, K, 0, (N + PANEL_ROWS - 1) / PANEL_ROWS, M};
    static const struct {
        const char *name;
        Work work;
    } products[] = {{"forward", run_linear}, {"input grad", run_linear_back}, {"weight grad", run_weight_grad}};
    for (int i = 0; i < 3; i++) {
        char what[64];
        snprintf(what, sizeof what, "%dx%dx%d %s", (int)M, (int)N, (int)K, products[i].name);
        report(b, what, seconds_of(products[i].work, &t), flops, bytes);
    }
    bench_training_bf16(b, &t);
    mem_free_pages(packed, arena_bytes);
}

/* M rows, N outputs, K inputs: the cube, SmolLM2's layers and vocabulary, layers of a small V4 model. */
static void bench_training(Bench *b)
{
    static const int64_t shapes[][3] = {
        {1024, 1024, 1024}, {512, 576, 576},  {512, 192, 576},  {512, 1536, 576}, {512, 576, 1536}, {512, 49152, 576},
        {2048, 64, 64},     {2048, 64, 256},  {2048, 256, 64},  {2048, 256, 256}, {2048, 512, 256}, {2048, 256, 512},
        {2048, 512, 512},   {300, 512, 256},  {64, 256, 256},   {16, 256, 256},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        bench_training_shape(b, shapes[i][0], shapes[i][1], shapes[i][2]);
}

/* ---- attention ---- */

typedef struct {
    const Kernels *k;
    AttentionArgs args;
    void *scratch;
} Attend;

static void run_attention(void *arg)
{
    const Attend *const a = arg;
    a->k->attention(&a->args, a->scratch);
}

static void bench_attention(Bench *b, Dtype type, int64_t group, int64_t rows, int64_t keys)
{
    const int64_t d = 64, pages = (keys + rows) / ATTENTION_PAGE + 1;
    const size_t element = type == DT_F16 ? 2 : 4, page_bytes = element * 2 * (size_t)(d * ATTENTION_PAGE);
    char *const memory = mem_alloc_pages(page_bytes * (size_t)pages);
    const void **const table = mem_alloc((size_t)pages, sizeof *table);
    float *const k = random_floats(b->run, IN_PLAIN, ATTENTION_PAGE * d);
    float *const q = random_floats(b->run, IN_PLAIN, rows * group * d), *const out = floats(rows * group * d);
    char what[64];
    for (int64_t p = 0; p < pages; p++) {
        table[p] = memory + page_bytes * (size_t)p;
        b->run->level.k->kv_write(memory + page_bytes * (size_t)p, 0, page_bytes / 2, type, 0, ATTENTION_PAGE, k,
                                  d, k, d, d);
    }
    Attend a = {.k = b->run->level.k, .scratch = b->run->scratch.p};
    a.args = (AttentionArgs){.pages = table, .value_offset = page_bytes / 2, .kv_type = type, .head_dim = d,
                             .group = group, .q = q, .out = out, .ld_q = group * d, .ld_out = group * d,
                             .rows = rows, .position = keys, .scale = 0.125};
    const double s = seconds_of(run_attention, &a);
    const double seen = (double)rows * ((double)keys + (double)(rows + 1) / 2);
    snprintf(what, sizeof what, "attention %s g %d r %d", dtype_info(type)->name, (int)group, (int)rows);
    report(b, what, s, 4.0 * seen * (double)(group * d), (double)(page_bytes / ATTENTION_PAGE) * (double)(keys + rows));
    mem_free(k);
    mem_free(q);
    mem_free(out);
    mem_free(table);
    mem_free_pages(memory, page_bytes * (size_t)pages);
}

typedef struct {
    const Kernels *k;
    AttentionBackArgs args;
    void *scratch;
} AttendBack;

static void run_attention_back(void *arg)
{
    const AttendBack *const a = arg;
    a->k->grad->attention_back(&a->args, a->scratch);
}

/* A sequence of `rows` as training sees it, forward and backward: keys, and with a window also sinks and one
 * compressed entry for every four keys, where keys are their own values. */
static void bench_sequence(Bench *b, int64_t d, int64_t group, int64_t rows, int64_t window)
{
    const int64_t pages = (rows + ATTENTION_PAGE - 1) / ATTENTION_PAGE, ld = group * d, tokens = window ? 4 : 0;
    const size_t page_bytes = sizeof(float) * 2 * (size_t)(d * ATTENTION_PAGE);
    char *const memory = mem_alloc_pages(page_bytes * (size_t)pages);
    const void **const table = mem_alloc((size_t)pages, sizeof *table);
    float *const q = random_floats(b->run, IN_PLAIN, rows * ld), *const out = floats(rows * ld);
    float *const dout = random_floats(b->run, IN_PLAIN, rows * ld), *const dq = floats(rows * ld);
    float *const sinks = random_floats(b->run, IN_PLAIN, group), *const ds = floats(rows * group);
    float *const lse = floats(rows * group), *const k = random_floats(b->run, IN_ZEROS, 3 * rows * d);
    char what[64];
    double seen = 0;
    for (int64_t p = 0; p < pages; p++) {
        table[p] = memory + page_bytes * (size_t)p;
        b->run->level.k->kv_write(memory + page_bytes * (size_t)p, 0, page_bytes / 2, DT_F32, 0, ATTENTION_PAGE, dout,
                                  d, dout, d, d);
    }
    for (int64_t r = 1; r <= rows; r++)
        seen += (double)(window && r > window ? window : r) + (double)(tokens ? r / tokens : 0);
    Attend f = {.k = b->run->level.k, .scratch = b->run->scratch.p};
    f.args = (AttentionArgs){.pages = table, .value_offset = page_bytes / 2, .kv_type = DT_F32, .head_dim = d,
                             .group = group, .q = q, .out = out, .ld_q = ld, .ld_out = ld, .rows = rows,
                             .window = window, .scale = 0.125, .entry_pages = table,
                             .entry_value_offset = page_bytes / 2, .entry_tokens = tokens,
                             .sinks = window ? sinks : NULL, .lse = lse, .ld_lse = group};
    AttendBack back = {.k = b->run->level.k, .scratch = b->run->scratch.p};
    back.args = (AttentionBackArgs){.forward = &f.args, .dout = dout, .ld_dout = ld, .dq = dq, .ld_dq = ld, .dk = k,
                                    .dv = window ? k : k + rows * d, .ld_dk = d, .ld_dv = d,
                                    .dentries = k + 2 * rows * d, .ld_de = d, .dsinks = window ? ds : NULL,
                                    .ld_ds = group};
    snprintf(what, sizeof what, "attention d %d g %d%s", (int)d, (int)group, window ? " entries" : "");
    report(b, what, seconds_of(run_attention, &f), 4 * seen * (double)ld, 8.0 * (double)(rows * (ld + d)));
    snprintf(what, sizeof what, "its gradients d %d g %d%s", (int)d, (int)group, window ? " ent." : "");
    report(b, what, seconds_of(run_attention_back, &back), 10 * seen * (double)ld, 16.0 * (double)(rows * (ld + d)));
    float *const all[] = {q, dout, out, dq, sinks, lse, ds, k};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        mem_free(all[i]);
    mem_free(table);
    mem_free_pages(memory, page_bytes * (size_t)pages);
}

/* ---- rows ---- */

typedef struct {
    const Kernels *k;
    float *x, *y, *z;
    int32_t positions[64];
    int64_t rows, d;
} Rows;

static void run_norm(void *arg)
{
    const Rows *const r = arg;
    r->k->rmsnorm_rows(r->y, r->d, r->x, r->d, r->z, r->rows, r->d, 1e-5);
}

static void run_silu(void *arg)
{
    const Rows *const r = arg;
    r->k->silu_mul(r->y, r->x, r->z, r->rows * r->d, 0);
}

static void run_rope(void *arg)
{
    const Rows *const r = arg;
    r->k->rope_rows(r->y, r->d, r->positions, r->z, r->rows, r->d / 64, 64, 64, false);
}

static void run_rope_pairs(void *arg)
{
    const Rows *const r = arg;
    r->k->rope_rows(r->y, r->d, r->positions, r->z, r->rows, r->d / 64, 64, 64, true);
}

static void run_lse(void *arg)
{
    const Rows *const r = arg;
    r->y[0] = (float)r->k->logsumexp(r->x, r->rows * r->d);
}

static void bench_rows(Bench *b)
{
    Rows r = {.k = b->run->level.k, .rows = 64, .d = 576};
    const double n = (double)(r.rows * r.d);
    r.x = random_floats(b->run, IN_PLAIN, r.rows * r.d);
    r.y = random_floats(b->run, IN_PLAIN, r.rows * r.d);
    r.z = random_floats(b->run, IN_PLAIN, r.rows * r.d);
    report(b, "rmsnorm 64 x 576", seconds_of(run_norm, &r), 4 * n, 8 * n);
    report(b, "silu_mul 36864", seconds_of(run_silu, &r), 30 * n, 12 * n);
    report(b, "rope halves 64 x 576", seconds_of(run_rope, &r), 3 * n, 8 * n);
    report(b, "rope pairs 64 x 576", seconds_of(run_rope_pairs, &r), 3 * n, 8 * n);
    report(b, "logsumexp 36864", seconds_of(run_lse, &r), 20 * n, 4 * n);
    mem_free(r.x);
    mem_free(r.y);
    mem_free(r.z);
}

/* ---- training: rows, loss, optimiser ---- */

typedef struct {
    const Kernels *k;
    float *a, *b, *c, *d; /* [rows][n] each */
    int32_t target[64];
    float weight[64], loss[64];
    int64_t rows, n;
} Grads;

static void run_norm_back(void *arg)
{
    const Grads *const g = arg;
    g->k->grad->rmsnorm_back(g->a, g->n, g->b, g->n, g->c, g->n, g->c, g->d, g->n, g->rows, g->n, 1e-5);
}

static void run_silu_back(void *arg)
{
    const Grads *const g = arg;
    g->k->grad->silu_mul_back(g->a, g->b, g->c, g->d, g->d, g->rows * g->n, 0);
}

static void run_column_sum(void *arg)
{
    const Grads *const g = arg;
    g->k->grad->column_sum(g->a, g->b, g->n, g->rows, g->n);
}

static void run_cross_entropy(void *arg)
{
    Grads *const g = arg;
    g->k->grad->cross_entropy(g->a, g->n, g->rows, g->n, g->target, g->weight, g->loss);
}

static void run_adamw(void *arg)
{
    const Grads *const g = arg;
    const AdamStep step = {1e-3, 0.9, 0.95, 1e-8, 0.1, 1, 1, 1};
    g->k->grad->adamw(g->a, g->b, g->c, g->d, g->rows * g->n, &step);
}

static void run_squares(void *arg)
{
    Grads *const g = arg;
    g->loss[0] = (float)g->k->grad->sum_squares(g->a, g->rows * g->n);
}

/* 64 rows of a hidden stream, a vocabulary, or parameters. */
static void bench_grads(Bench *b)
{
    static const struct {
        const char *name;
        Work work;
        int64_t n;
        double bytes; /* an element */
    } list[] = {
        {"rmsnorm_back 64 x 576", run_norm_back, 576, 16},   {"silu_mul_back 64 x 1536", run_silu_back, 1536, 20},
        {"column_sum 64 x 1536", run_column_sum, 1536, 4},   {"cross_entropy 64 x 49152", run_cross_entropy, 49152, 8},
        {"adamw 64 x 49152", run_adamw, 49152, 28},          {"sum_squares 64 x 49152", run_squares, 49152, 4},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        Grads g = {.k = b->run->level.k, .rows = 64, .n = list[i].n};
        const int64_t count = g.rows * g.n;
        g.a = mem_alloc_pages((size_t)count * 16);
        g.b = g.a + count;
        g.c = g.b + count;
        g.d = g.c + count;
        for (int64_t j = 0; j < 4 * count; j++)
            g.a[j] = (float)(j % 19) / 16;
        for (int j = 0; j < 64; j++)
            g.weight[j] = 1;
        report(b, list[i].name, seconds_of(list[i].work, &g), 0, list[i].bytes * (double)count);
        mem_free_pages(g.a, (size_t)count * 16);
    }
}

/* ---- packing ---- */

typedef struct {
    PackForm form;
    Dtype type;
    const uint8_t *stored;
    uint8_t *packed;
    int64_t N, K;
} Packing;

static void run_packing(void *arg)
{
    const Packing *const p = arg;
    for (int64_t n = 0; n * PANEL_ROWS < p->N; n++)
        form_pack_panel(&p->form, p->packed + form_panel_bytes(&p->form, p->K) * (size_t)n, p->type, p->stored,
                        n, p->N, p->K);
}

static void bench_packing(void)
{
    static const Dtype types[] = {DT_F32, DT_F16, DT_Q4_0, DT_Q4_1, DT_Q5_1, DT_Q8_0, DT_Q2_K, DT_Q4_K, DT_Q6_K};
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        Packing p = {.form = form_of_dtype(types[t]), .type = types[t], .N = 1024, .K = 1536};
        const size_t bytes = (size_t)p.N * dtype_row_bytes(types[t], p.K);
        p.stored = mem_alloc(bytes, 1);
        p.packed = mem_alloc_pages(form_bytes(&p.form, p.N, p.K));
        const double s = seconds_of(run_packing, &p);
        printf("  packing %-5s %6.2f GB/s of file: %4.0f ms for 100 MB on one thread\n",
               dtype_info(types[t])->name, (double)bytes / s * 1e-9, 1e8 / (double)bytes * s * 1e3);
        mem_free_pages(p.packed, form_bytes(&p.form, p.N, p.K));
        mem_free((void *)(uintptr_t)p.stored);
    }
}

/* ---- the program ---- */

/* Cycles a second: a chain of additions takes one each. 0 where we have no such chain. */
static double clock_rate(void)
{
    double best = 0;
#if defined(__x86_64__)
    for (int b = 0; b < 8; b++) {
        const int64_t start = thread_ns(), steps = 1000000;
        int64_t x = 0;
        for (int64_t i = 0; i < steps; i++)
            __asm__ volatile("add $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\tadd $1, %0" : "+r"(x));
        const double rate = 5e9 * (double)steps / (double)(thread_ns() - start);
        best = rate > best ? rate : best;
    }
#endif
    return best;
}

static bool measured(const char *name, const Kernels *k, int threads, Peaks *out)
{
    ThreadPool *pool;
    Error err = {0};
    if (pool_create(&pool, threads, &err) != ST_OK || peaks_measure(out, k, pool, &err) != ST_OK) {
        printf("%s: %s\n", name, err.msg);
        return false;
    }
    pool_destroy(pool);
    printf("  %-18s peak of %d thread%s: %7.1f GFLOP/s, %7.1f Gop/s of bytes, %6.2f GB/s read (%d threads)\n",
           name, threads, threads > 1 ? "s" : "", out->flops * 1e-9, out->byte_ops * 1e-9, out->read_bytes * 1e-9,
           out->read_threads);
    if (k->bf16 && out->bf16_flops != out->flops)
        printf("  %-18s %.1f GFLOP/s of %s\n", name, out->bf16_flops * 1e-9, k->bf16->instruction);
    const double clock = clock_rate();
    if (clock > 0)
        printf("  %-18s %.1f operations of multiply-adds a cycle and thread (clock %.2f GHz)\n", name,
               out->flops / clock / threads, clock * 1e-9);
    return out->flops > 1e7 && out->byte_ops > 1e7 && out->read_bytes > 1e8;
}

int main(int argc, char **argv)
{
    Level levels[LEVELS_MAX];
    const int n = all_levels(levels);
    const bool bench = getenv("BENCH") && strcmp(getenv("BENCH"), "0") != 0;
    const int threads = getenv("BENCH_THREADS") ? (int)strtol(getenv("BENCH_THREADS"), NULL, 10) : 1;
    bool good = true;
    for (int l = 0; l < n; l++) {
        Run run = {.level = levels[l], .random = 1};
        Bench b = {.run = &run};
        if (!levels[l].k || strstr(levels[l].name, "emulated") || (argc > 1 && strcmp(argv[1], levels[l].name)))
            continue;
        good = measured(levels[l].name, levels[l].k, threads, &b.peaks) && good;
        if (!bench || is_double(&run.level) || (levels[l].k == kernels_at(LEVEL_SCALAR) && argc == 1))
            continue;
        run.scratch = guarded(SCRATCH_MAX);
        bench_training(&b);
        bench_products(&b, false);
        if (levels[l].k->linear_int8)
            bench_products(&b, true);
        bench_attention(&b, DT_F32, 3, 1, 512);
        bench_attention(&b, DT_F16, 3, 1, 512);
        bench_attention(&b, DT_F32, 3, 512, 0);
        bench_attention(&b, DT_F16, 3, 512, 0);
        bench_attention(&b, DT_F32, 1, 64, 448);
        bench_sequence(&b, 64, 3, 256, 0);
        bench_sequence(&b, 128, 1, 512, 0);
        bench_sequence(&b, 32, 8, 512, 128);
        bench_sequence(&b, 64, 8, 512, 128);
        bench_rows(&b);
        bench_grads(&b);
        guarded_free(&run.scratch);
    }
    if (bench)
        bench_packing();
    printf(good ? "[  PASSED  ] bounds measured\n" : "[  FAILED  ] a bound is implausible\n");
    return !good;
}
