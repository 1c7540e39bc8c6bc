/* The index that chooses entries, the router of experts and what follows it (kernels/mix.h) at every level: as
 * check_mix.c, and who wins when scores are equal or no numbers. */
#include "formula.h"

/* ---- index ---- */

typedef struct {
    int64_t heads, dim, tokens, topk, rows, position;
    const float *q, *w, *keys; /* [rows][heads·dim], [rows][heads], [entries][dim] */
    const char *what;
} IndexCase;

static int64_t visible_to(const IndexCase *x, int64_t row)
{
    return (x->position + row + 1) / x->tokens;
}

/* The kernel's choice; entries that the last row does not see are NaN. chosen [rows][topk], to be freed. */
static int32_t *choose(Run *run, const Level *l, const IndexCase *x)
{
    const int64_t entries = visible_to(x, x->rows - 1), pages = (entries + ATTENTION_PAGE - 1) / ATTENTION_PAGE;
    const size_t page_bytes = (size_t)(x->dim * ATTENTION_PAGE) * l->k->real_bytes;
    Guarded q = reals(l, x->rows * (x->heads * x->dim + 3)), w = reals(l, x->rows * (x->heads + 1));
    Guarded chosen = guarded((size_t)(x->rows * x->topk) * sizeof(int32_t));
    Guarded scratch = guarded((MIX_SCRATCH + (size_t)entries * l->k->real_bytes + 63) / 64 * 64);
    Guarded *const page = mem_alloc((size_t)pages + 1, sizeof *page);
    const void **const p = mem_alloc((size_t)pages + 1, sizeof *p);
    for (int64_t t = 0; t < x->rows; t++) {
        for (int64_t i = 0; i < x->heads * x->dim; i++)
            real_set(l, q.p, t * (x->heads * x->dim + 3) + i, x->q[t * x->heads * x->dim + i]);
        for (int64_t h = 0; h < x->heads; h++)
            real_set(l, w.p, t * (x->heads + 1) + h, x->w[t * x->heads + h]);
    }
    for (int64_t i = 0; i < pages; i++) {
        page[i] = guarded(64 + page_bytes);
        p[i] = page[i].p;
        for (int64_t j = 0; j < ATTENTION_PAGE; j++)
            for (int64_t k = 0; k < x->dim; k++)
                real_set(l, page[i].p + 64, k * ATTENTION_PAGE + j,
                         i * ATTENTION_PAGE + j < entries ? x->keys[(i * ATTENTION_PAGE + j) * x->dim + k] : NAN);
    }
    const IndexArgs args = {.pages = p, .key_offset = 64, .heads = x->heads, .dim = x->dim, .tokens = x->tokens,
                            .topk = x->topk, .q = q.p, .w = w.p, .ld_q = x->heads * x->dim + 3,
                            .ld_w = x->heads + 1, .rows = x->rows, .position = x->position,
                            .chosen = (int32_t *)(void *)chosen.p};
    l->k->mix->index_choose(&args, scratch.p);
    int32_t *const out = mem_alloc((size_t)(x->rows * x->topk) + 1, sizeof *out);
    memcpy(out, chosen.p, (size_t)(x->rows * x->topk) * sizeof *out);
    for (int64_t i = 0; i < pages; i++)
        guarded_free(&page[i]);
    mem_free(page);
    mem_free(p);
    if (!GUARDED_FREE(&q, &w, &chosen, &scratch))
        failed(run, "index_choose %s: wrote in front of a buffer", x->what);
    return out;
}

static wide index_score(const IndexCase *x, int64_t t, int64_t j)
{
    wide sum = 0;
    for (int64_t h = 0; h < x->heads; h++) {
        wide dot = 0;
        for (int64_t k = 0; k < x->dim; k++)
            dot += (wide)x->q[(t * x->heads + h) * x->dim + k] * (wide)x->keys[j * x->dim + k];
        sum += (dot > 0 ? dot : 0) * (wide)x->w[t * x->heads + h];
    }
    return sum;
}

/* chosen must be ascending, then −1; every chosen score above every other, but for `near`; among exactly equal
 * scores the lower entries. */
static void judge_choice(Run *run, const IndexCase *x, int64_t t, const int32_t *chosen, wide near)
{
    const int64_t n = visible_to(x, t), count = n < x->topk ? n : x->topk;
    wide least = (wide)INFINITY;
    for (int64_t i = 0; i < x->topk; i++)
        if (i < count ? chosen[i] < 0 || chosen[i] >= n || (i > 0 && chosen[i] <= chosen[i - 1]) : chosen[i] != -1) {
            failed(run, "index_choose %s: place %d of row %d is %d", x->what, (int)i, (int)t, (int)chosen[i]);
            return;
        }
    for (int64_t i = 0; i < count; i++)
        least = fminl(least, index_score(x, t, chosen[i]));
    for (int64_t j = 0, i = 0; j < n; j++) {
        if (i < count && chosen[i] == j) {
            i++;
            continue;
        }
        const wide score = index_score(x, t, j);
        bool wrong = score > least + near;
        for (int64_t later = i; later < count && near == 0; later++) /* an equal one behind it was taken */
            wrong = wrong || index_score(x, t, chosen[later]) == score;
        if (wrong)
            failed(run, "index_choose %s: row %d of %d entries leaves out entry %d", x->what, (int)t, (int)n, (int)j);
    }
}

static void check_index(Run *run, const IndexCase *x, double near)
{
    int32_t *const chosen = choose(run, &run->level, x);
    run->cases++;
    if (has_twin(run)) {
        const Level scalar = scalar_level(run);
        int32_t *const twin = choose(run, &scalar, x);
        if (memcmp(chosen, twin, (size_t)(x->rows * x->topk) * sizeof *twin) != 0)
            failed(run, "index_choose %s: not the scalar choice", x->what);
        mem_free(twin);
    }
    for (int64_t t = 0; t < x->rows && near >= 0; t++)
        judge_choice(run, x, t, chosen + t * x->topk, (wide)near);
    mem_free(chosen);
}

/* Values: 0 plain; 1 small integers, whose scores are exact and often equal or 0; 2 hostile. */
static void index_of(Run *run, int values)
{
    static const int64_t heads[] = {1, 2, 3, 4, 7, 64, 65}, dims[] = {1, 8, 16, 33}, topk[] = {1, 4, 16, 63, 100};
    static const int64_t positions[] = {0, 3, 10, 250, 256, 517, 1100};
    for (int i = 0; i < (run->quick ? 15 : 60); i++) {
        IndexCase x = {.heads = PICK(run, heads), .dim = PICK(run, dims), .topk = PICK(run, topk)};
        x.tokens = i % 3 ? 4 : 1;
        x.rows = 1 + random_below(run, 5);
        x.position = PICK(run, positions);
        x.what = values == 0 ? "plain" : values == 1 ? "ties" : "special";
        const int64_t n_q = x.rows * x.heads * x.dim, n_keys = visible_to(&x, x.rows - 1) * x.dim;
        const InputKind kind = values == 2 ? IN_SPECIAL : IN_PLAIN;
        float *const q = random_floats(run, kind, n_q), *const w = random_floats(run, kind, x.rows * x.heads);
        float *const keys = random_floats(run, kind, n_keys);
        for (int64_t j = 0; j < n_q && values == 1; j++)
            q[j] = rintf(q[j]);
        for (int64_t j = 0; j < x.rows * x.heads && values == 1; j++)
            w[j] = rintf(2 * w[j]);
        for (int64_t j = 0; j < n_keys && values == 1; j++)
            keys[j] = rintf(keys[j]);
        x.q = q;
        x.w = w;
        x.keys = keys;
        check_index(run, &x, values == 0 ? 1e3 * roundoff(&run->level) * (double)x.heads : values == 1 ? 0 : -1);
        mem_free(q);
        mem_free(w);
        mem_free(keys);
    }
}

static void index_choose(Run *run)
{
    index_of(run, 0);
    index_of(run, 2);
}

/* One head of one number: the score of entry j is w·max(key j, 0) of row t. */
static void expect_choice(Run *run, const float *keys, int64_t entries, float w, const int32_t *expected, int64_t topk,
                          const char *what)
{
    const float q = 1;
    const IndexCase x = {.heads = 1, .dim = 1, .tokens = 1, .topk = topk, .rows = 1, .position = entries - 1,
                         .q = &q, .w = &w, .keys = keys, .what = what};
    int32_t *const chosen = choose(run, &run->level, &x);
    run->cases++;
    if (memcmp(chosen, expected, (size_t)topk * sizeof *expected) != 0)
        failed(run, "index_choose %s: %d %d %d", what, (int)chosen[0], (int)chosen[1], (int)chosen[topk - 1]);
    mem_free(chosen);
}

static void index_ties(Run *run)
{
    static const float zeros[] = {-1, 0.0f, -0.0f, -2, 0.0f}, equal[] = {3, 1, 2, 2, 2, 3}, one[] = {0, 5, 0, 0};
    static const float nans[] = {NAN, 1, -1, NAN, 2, INFINITY}, small[] = {1e-30f, 0, 0};
    index_of(run, 1);
    expect_choice(run, zeros, 5, 1, (const int32_t[]){0, 1, 2}, 3, "of zeros");
    expect_choice(run, zeros, 5, -1, (const int32_t[]){0, 1, 2}, 3, "of negative zeros");
    expect_choice(run, equal, 6, 1, (const int32_t[]){0, 2, 3, 5}, 4, "of equal scores");
    expect_choice(run, equal, 6, -1, (const int32_t[]){1, 2, 3}, 3, "of equal negative scores");
    expect_choice(run, one, 4, 1, (const int32_t[]){0, 1}, 2, "of one score");
    expect_choice(run, one, 4, -1, (const int32_t[]){0, 2, 3}, 3, "of all but one");
    expect_choice(run, nans, 6, 1, (const int32_t[]){1, 2, 4, 5}, 4, "with NaNs");
    expect_choice(run, equal, 3, 1, (const int32_t[]){0, 1, 2, -1, -1}, 5, "of fewer than wanted");
    if (!is_double(&run->level)) /* the product of the first rounds to −0, the others are 0 */
        expect_choice(run, small, 3, -1e-30f, (const int32_t[]){0, 1}, 2, "of 0 and -0");
}

/* ---- router ---- */

typedef struct {
    RouteShape shape;
    const float *bias;
    const int32_t *chosen; /* for gradients and formulas: [rows][k] */
} Router;

static wide affinity_of(wide x)
{
    return sqrtl(x > 20 ? x : x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x)));
}

/* Arguments: logits, bias, then weights and chosen. */
static void call_route(const Kernels *k, const Call *c, void *const *p)
{
    const Router *const r = c->shape;
    RouteShape s = r->shape;
    s.bias = s.table ? NULL : p[1];
    k->mix->route(&s, p[2], p[3], p[0], ld(c, 0), c->arg[0].rows);
}

/* The k best by repeated search: the first of the largest. */
static void best_of(const Router *r, const float *logits, const float *bias, int32_t *chosen, wide *margin)
{
    const int64_t n = r->shape.experts, k = r->shape.k;
    bool *const taken = mem_alloc((size_t)n, sizeof *taken);
    wide last = (wide)INFINITY, next = -(wide)INFINITY;
    for (int64_t i = 0; i <= k && i < n; i++) {
        int64_t best = -1;
        wide most = 0;
        for (int64_t e = 0; e < n; e++) {
            const wide s = affinity_of((wide)logits[e]) + (wide)bias[e];
            if (!taken[e] && (best < 0 || s > most)) {
                best = e;
                most = s;
            }
        }
        taken[best] = i < k;
        *(i < k ? &last : &next) = most;
    }
    for (int64_t e = 0, i = 0; e < n; e++)
        if (taken[e])
            chosen[i++] = (int32_t)e;
    *margin = last - next;
    mem_free(taken);
}

static void judge_route(Run *run, const Call *c, const Router *r, const double *weights, const double *found)
{
    const int64_t k = r->shape.k, n = r->shape.experts;
    for (int64_t t = 0; t < c->arg[0].rows; t++) {
        int32_t *const chosen = mem_alloc((size_t)k, sizeof *chosen);
        wide *const expected = wide_alloc(k), sum = 0, margin = 1;
        if (r->shape.table)
            memcpy(chosen, r->shape.table + r->shape.ids[t] * k, (size_t)k * sizeof *chosen);
        else
            best_of(r, c->arg[0].init + t * n, c->arg[1].init, chosen, &margin);
        for (int64_t i = 1; i < k; i++)
            for (int64_t j = i; j > 0 && chosen[j - 1] > chosen[j]; j--) {
                const int32_t swap = chosen[j];
                chosen[j] = chosen[j - 1];
                chosen[j - 1] = swap;
            }
        for (int64_t i = 0; i < k; i++)
            if (margin > 1e-6L && found[t * k + i] != (double)chosen[i])
                failed(run, "route: choice %d of row %d is %g, should be %d", (int)i, (int)t, found[t * k + i],
                       (int)chosen[i]);
        for (int64_t i = 0; i < k; i++)
            sum += expected[i] = affinity_of((wide)c->arg[0].init[t * n + (int64_t)found[t * k + i]]);
        for (int64_t i = 0; i < k; i++)
            expected[i] *= (wide)r->shape.scale / sum;
        compare_row(run, c, "weights", weights + t * k, expected, k, 12, 0, 0);
        mem_free(chosen);
        mem_free(expected);
    }
}

/* in: logits */
static void weights_formula(const void *shape, wide *const *in, wide *out)
{
    const Router *const r = shape;
    const int64_t k = r->shape.k;
    wide sum = 1e-20L;
    for (int64_t i = 0; i < k; i++)
        sum += out[i] = affinity_of(in[0][r->chosen[i]]);
    for (int64_t i = 0; i < k; i++)
        out[i] *= (wide)r->shape.scale / sum;
}

static const Formula weighing = {weights_formula, 1, false};

static void call_route_back(const Kernels *k, const Call *c, void *const *p)
{
    const Router *const r = c->shape;
    k->mix->route_back(&r->shape, p[2], ld(c, 2), p[0], ld(c, 0), r->chosen, p[1], c->arg[0].rows);
}

/* in: logits; all rows have one choice, as a formula takes one row */
static void balance_formula(const void *shape, wide *const *in, wide *out)
{
    const Router *const r = shape;
    wide sum = 0, dot = 0;
    for (int64_t e = 0; e < r->shape.experts; e++) {
        int64_t count = 0;
        for (int64_t i = 0; i < r->shape.k; i++)
            count += r->chosen[i] == e;
        sum += affinity_of(in[0][e]);
        dot += affinity_of(in[0][e]) * (wide)count;
    }
    out[0] = dot / sum * (wide)r->shape.experts / (wide)r->shape.k;
}

static const Formula balancing = {balance_formula, 1, false};

/* Arguments: logits, the factor before the loss (1 number, as alpha/rows is), dlogits += , loss */
static void call_balance(const Kernels *k, const Call *c, void *const *p)
{
    const Router *const r = c->shape;
    const Level level = {"", k};
    const double loss = k->mix->balance_back(&r->shape, p[2], ld(c, 2), p[0], ld(c, 0), r->chosen, c->arg[0].rows,
                                             (double)c->arg[0].rows);
    if (k->real_bytes == sizeof(double))
        *(double *)p[3] = loss;
    else
        real_set(&level, p[3], 0, (float)loss);
}

static void check_balance(Run *run, const Router *r, int64_t rows, InputKind kind)
{
    Call c = {.what = "balance_back", .shape = r, .kernel = call_balance, .kind = kind};
    double *found[BUFFERS], *more[BUFFERS];
    wide loss = 0;
    add_in(run, &c, rows, r->shape.experts, 2);
    add_in(run, &c, rows, 1, 0);
    add_in(run, &c, rows, r->shape.experts, 1);
    c.arg[2].kind = ARG_INOUT;
    memset(c.arg[2].init, 0, (size_t)(rows * r->shape.experts) * sizeof(float));
    add_out(&c, 1, 1, 0);
    for (int64_t t = 0; t < rows; t++)
        c.arg[1].init[t] = 1;
    check_backward(run, &c, &balancing, (const int[]){0}, 1, (const int[]){2}, 40, NULL);
    run_call(run, &run->level, &c, found);
    Values v = values_of(&balancing, &c, (const int[]){0}, 1);
    for (int64_t t = 0; t < rows; t++) {
        evaluate(&balancing, r, &v, t);
        loss += v.out[0];
    }
    if (kind == IN_PLAIN && !(fabsl((wide)found[3][0] - loss) <= 20 * (wide)roundoff(&run->level) * loss))
        failed(run, "balance_back: the loss is %.17g, should be %.17Lg", found[3][0], loss);
    values_free(&balancing, &v);
    for (int64_t i = 0; i < rows * r->shape.experts; i++) /* added to what is there */
        c.arg[2].init[i] = 0.5f;
    run_call(run, &run->level, &c, more);
    for (int64_t i = 0; i < rows * r->shape.experts && kind == IN_PLAIN; i++)
        if (fabs(found[2][i] + 0.5 - more[2][i]) > 1e-6)
            failed(run, "balance_back: element %d is not added", (int)i);
    free_results(&c, more);
    free_results(&c, found);
    call_free(&c);
}

static void check_route(Run *run, Router *r, int64_t rows, InputKind kind)
{
    const int64_t n = r->shape.experts, k = r->shape.k;
    Call c = {.what = "route", .shape = r, .kernel = call_route, .kind = kind};
    double *found[BUFFERS];
    add_in(run, &c, rows, n, 2);
    add_in(run, &c, 1, n, 0);
    for (int64_t i = 0; i < rows * n && kind == IN_PLAIN; i++)
        c.arg[0].init[i] *= i % 7 ? 4 : 30;
    add_out(&c, rows, k, 0);
    add_out(&c, rows, k, 0);
    c.arg[3].ints = true;
    run_checked(run, &c, found);
    if (kind == IN_PLAIN)
        judge_route(run, &c, r, found[2], found[3]);
    free_results(&c, found);
    call_free(&c);

    int32_t *const chosen = mem_alloc((size_t)(rows * k) + 1, sizeof *chosen);
    const int64_t first = random_below(run, n - k + 1);
    for (int64_t i = 0; i < rows * k; i++) /* one choice for all rows, see balance_formula */
        chosen[i] = (int32_t)(first + i % k);
    if (rows > 0 && r->shape.table && k > 1)
        for (int64_t t = 0; t < rows; t++)
            chosen[t * k + 1] = chosen[t * k]; /* an expert twice */
    r->chosen = chosen;
    c = (Call){.what = "route_back", .shape = r, .kernel = call_route_back, .kind = kind};
    add_in(run, &c, rows, n, 2);
    for (int64_t i = 0; i < rows * n && kind == IN_PLAIN; i++)
        c.arg[0].init[i] *= i % 7 ? 4 : 30;
    add_in(run, &c, rows, k, 0);
    add_out(&c, rows, n, 3);
    check_backward(run, &c, &weighing, (const int[]){0}, 1, (const int[]){2}, 40, (const double[]){0.02});
    call_free(&c);
    if (rows > 0)
        check_balance(run, r, rows, kind);
    mem_free(chosen);
}

static void route(Run *run)
{
    static const int64_t experts[] = {2, 8, 15, 16, 17, 40, 256}, chosen[] = {1, 2, 6, 17}, rows[] = {0, 1, 3};
    for (int kind = 0; kind < IN_COUNT; kind++)
        for (int i = 0; i < (run->quick ? 8 : 30); i++) {
            int32_t table[5 * 17], ids[3] = {4, 0, 2};
            Router r = {.shape = {.experts = PICK(run, experts), .k = PICK(run, chosen), .scale = 1.5}};
            if (r.shape.k > r.shape.experts)
                r.shape.k = r.shape.experts;
            for (int64_t j = 0; j < 5 * 17; j++)
                table[j] = (int32_t)random_below(run, r.shape.experts);
            if (i % 3 == 0) {
                r.shape.table = table;
                r.shape.ids = ids;
            }
            check_route(run, &r, PICK(run, rows), (InputKind)kind);
        }
}

static void expect_route(Run *run, const float *logits, const float *bias, int64_t n, const int32_t *expected,
                         int64_t k, const char *what)
{
    const Level *const l = &run->level;
    Guarded x = reals_of(l, logits, n), b = reals_of(l, bias, n), w = reals(l, k);
    Guarded chosen = guarded((size_t)k * sizeof(int32_t));
    const RouteShape s = {.experts = n, .k = k, .scale = 1, .bias = b.p};
    l->k->mix->route(&s, w.p, (int32_t *)(void *)chosen.p, x.p, n, 1);
    if (memcmp(chosen.p, expected, (size_t)k * sizeof *expected) != 0)
        failed(run, "route %s: another choice", what);
    GUARDED_FREE(&x, &b, &w, &chosen);
    run->cases++;
}

static void route_ties(Run *run)
{
    static const float equal[20] = {1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 2}, none[32] = {0};
    static const float low[] = {-2000, -3000, -1e30f, -2500}, minus[] = {0.0f, -0.0f, 0.0f, 1}, bias[] = {-1, 0, 0, -1};
    static const float nans[] = {NAN, 1, NAN, 0, 2}, late[32] = {[16] = 5, [24] = NAN};
    expect_route(run, equal, none, 20, (const int32_t[]){0, 1, 2, 17, 19}, 5, "with equal scores");
    expect_route(run, equal, none, 20, (const int32_t[]){2, 17}, 2, "with equal best scores");
    expect_route(run, low, none, 4, (const int32_t[]){0, 1}, 2, "with affinities of 0");
    expect_route(run, minus, none, 4, (const int32_t[]){0, 3}, 2, "with 0 and -0");
    expect_route(run, minus, bias, 4, (const int32_t[]){1, 2}, 2, "with a bias");
    expect_route(run, nans, none, 5, (const int32_t[]){1, 3, 4}, 3, "with NaNs");
    expect_route(run, nans, none, 5, (const int32_t[]){0, 1, 3, 4}, 4, "with NaNs to take");
    expect_route(run, late, none, 32, (const int32_t[]){0, 16}, 2, "with a NaN beside the best");
}

/* ---- experts' outputs ---- */

typedef struct {
    int64_t rows, k, d;
    const int32_t *slot;
} CombineShape;

/* in: ys, weights; all rows at once */
static void combine_formula(const void *shape, wide *const *in, wide *out)
{
    const CombineShape *const s = shape;
    for (int64_t t = 0; t < s->rows; t++)
        for (int64_t j = 0; j < s->d; j++) {
            out[t * s->d + j] = 0;
            for (int64_t i = t * s->k; i < (t + 1) * s->k; i++)
                out[t * s->d + j] += in[1][i] * in[0][s->slot[i] * s->d + j];
        }
}

static const Formula combining = {combine_formula, 2, true};

static void call_combine(const Kernels *k, const Call *c, void *const *p)
{
    const CombineShape *const s = c->shape;
    k->mix->combine(p[2], ld(c, 2), p[0], ld(c, 0), s->slot, p[1], s->rows, s->k, s->d);
}

static void call_combine_back(const Kernels *k, const Call *c, void *const *p)
{
    const CombineShape *const s = c->shape;
    k->mix->combine_back(p[3], ld(c, 3), p[4], p[0], ld(c, 0), s->slot, p[1], p[2], ld(c, 2), s->rows, s->k, s->d);
}

static void combine(Run *run)
{
    static const int64_t widths[] = {1, 15, 16, 17, 40}, chosen[] = {1, 2, 6};
    for (int kind = 0; kind < IN_COUNT; kind++)
        for (int i = 0; i < (run->quick ? 5 : 20); i++) {
            int32_t slot[18];
            const CombineShape s = {.rows = i % 4, .k = PICK(run, chosen), .d = PICK(run, widths), .slot = slot};
            const int64_t n = s.rows * s.k;
            for (int64_t j = 0; j < n; j++) { /* a permutation */
                const int64_t other = random_below(run, j + 1);
                slot[j] = slot[other];
                slot[other] = (int32_t)j;
            }
            Call c = {.what = "combine", .shape = &s, .kernel = call_combine, .kind = (InputKind)kind};
            add_in(run, &c, n, s.d, 2);
            add_in(run, &c, n, 1, 0);
            add_out(&c, s.rows, s.d, 1);
            /* a formula of all rows has no gaps in its results */
            check_forward(run, &c, &combining, (const int[]){0, 1}, 2, 16);
            c.what = "combine_back";
            c.kernel = call_combine_back;
            c.count = 2;
            add_in(run, &c, s.rows, s.d, 1);
            add_out(&c, n, s.d, 3);
            add_out(&c, n, 1, 0);
            check_backward(run, &c, &combining, (const int[]){0, 1}, 2, (const int[]){3, 4}, 16, NULL);
            call_free(&c);
        }
}

int main(int argc, char **argv)
{
    static const KernelCheck checks[] = {
        {"index_choose", index_choose}, {"index_ties", index_ties}, {"route", route},
        {"route_ties", route_ties},     {"combine", combine},
    };
    return check_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
