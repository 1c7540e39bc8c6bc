/* attention_back at every level: against the plain formulas in double, against the scalar bits, against finite
 * differences of the forward kernel in the f64 table, for one head of a group alone, with NaNs in everything
 * that nobody sees, and between guard bytes. */
#include "check.h"

typedef enum { ALL_ENTRIES, LIST_OF_ALL, LIST_OF_SOME, CHOICE_COUNT } Choice;

typedef struct {
    int64_t head_dim, group, rows, window, entry_tokens;
    Choice choice;
    bool sinks, own_values;
    InputKind kind;
} Shape;

/* Inputs as floats. */
typedef struct {
    Shape shape;
    int64_t entries;
    float *q, *dout, *k, *v, *e, *sinks; /* v is k with own_values */
    int32_t *chosen;                     /* [rows][entries + 1]; NULL: all */
    double scale;
} World;

static World world_of(Run *run, const Shape *s)
{
    World w = {.shape = *s, .scale = 1 / sqrt((double)s->head_dim)};
    const int64_t d = s->head_dim, n = s->rows * s->group * d;
    w.entries = s->entry_tokens > 0 ? s->rows / s->entry_tokens : 0;
    w.q = random_floats(run, s->kind, n);
    w.dout = random_floats(run, s->kind, n);
    w.k = random_floats(run, s->kind, s->rows * d);
    w.v = s->own_values ? w.k : random_floats(run, s->kind, s->rows * d);
    w.e = random_floats(run, s->kind, w.entries * d);
    w.sinks = random_floats(run, IN_PLAIN, s->group);
    for (int64_t i = 0; s->kind == IN_PLAIN && i < n; i++)
        w.q[i] *= 3;
    if (s->entry_tokens == 0 || s->choice == ALL_ENTRIES)
        return w;
    w.chosen = mem_alloc((size_t)(s->rows * (w.entries + 1)), sizeof *w.chosen);
    for (int64_t r = 0, at = 0; r < s->rows; r++) {
        for (int64_t j = 0; j < w.entries; j++)
            if (s->choice == LIST_OF_ALL || random_below(run, 3) == 0)
                w.chosen[at++] = (int32_t)j;
        while (at < (r + 1) * (w.entries + 1))
            w.chosen[at++] = -1;
    }
    return w;
}

static void world_free(World *w)
{
    if (w->v != w->k)
        mem_free(w->v);
    mem_free(w->q);
    mem_free(w->dout);
    mem_free(w->k);
    mem_free(w->e);
    mem_free(w->sinks);
    mem_free(w->chosen);
}

/* Key j < rows, or entry j − rows. */
static bool row_sees(const World *w, int64_t row, int64_t j)
{
    const Shape *const s = &w->shape;
    if (j < s->rows)
        return j <= row && (s->window == 0 || j > row - s->window);
    j -= s->rows;
    bool listed = !w->chosen;
    for (int64_t i = 0; w->chosen && i < w->entries; i++)
        listed = listed || w->chosen[row * (w->entries + 1) + i] == j;
    return listed && row >= (j + 1) * s->entry_tokens - 1;
}

static bool somebody_sees(const World *w, int64_t j)
{
    bool seen = false;
    for (int64_t r = 0; r < w->shape.rows; r++)
        seen = seen || row_sees(w, r, j);
    return seen;
}

/* ---- running the kernels ---- */

#define PAGES_MAX 8

typedef struct {
    Guarded page[PAGES_MAX];
    const void *at[PAGES_MAX];
    size_t value_offset;
    int64_t count;
} Cache;

/* Pages of n keys and values; what is not written, and rows for which `seen` says no, are NaNs. */
static Cache cache_of(const Level *level, const World *w, const float *k, const float *v, int64_t n, int64_t first)
{
    const int64_t d = w->shape.head_dim, pad = (d + 15) / 16 * 16;
    Cache c = {.value_offset = level->k->real_bytes * (size_t)(d * ATTENTION_PAGE)};
    c.count = (n + ATTENTION_PAGE - 1) / ATTENTION_PAGE;
    for (int64_t p = 0; p < c.count; p++) {
        c.page[p] = guarded(c.value_offset + level->k->real_bytes * (size_t)(pad * ATTENTION_PAGE));
        memset(c.page[p].p, 0xFF, c.page[p].bytes);
        c.at[p] = c.page[p].p;
    }
    for (int64_t j = 0; j < n; j++) {
        Guarded kj = reals_of(level, k + j * d, d), vj = reals_of(level, v + j * d, d);
        if (somebody_sees(w, first + j))
            level->k->kv_write(c.page[j / ATTENTION_PAGE].p, 0, c.value_offset, DT_F32, j % ATTENTION_PAGE, 1, kj.p,
                               d, vj.p, d, d);
        guarded_free(&kj);
        guarded_free(&vj);
    }
    return c;
}

static bool cache_free(Cache *c)
{
    bool whole = true;
    for (int64_t p = 0; p < c->count; p++)
        whole = guarded_free(&c->page[p]) && whole;
    return whole;
}

/* [rows][columns] with two reals of canary behind every row; x NULL: canary everywhere. */
#define PAD 2
static Guarded matrix(const Level *l, const float *x, int64_t rows, int64_t columns)
{
    Guarded g = reals(l, rows * (columns + PAD));
    for (int64_t i = 0; x && i < rows * columns; i++)
        real_set(l, g.p, i / columns * (columns + PAD) + i % columns, x[i]);
    return g;
}

/* Append its rows to `out` and free it. */
static void take(Run *run, const Level *l, Guarded *out, int64_t *at, Guarded *m, int64_t rows, int64_t columns)
{
    for (int64_t r = 0; r < rows; r++) {
        const void *const row = real_at(l, m->p, r * (columns + PAD));
        memcpy(real_at(l, out->p, *at), row, (size_t)columns * l->k->real_bytes);
        *at += columns;
        if (!is_canary(real_at(l, row, columns), PAD * l->k->real_bytes))
            failed(run, "wrote behind a row");
    }
    if (!guarded_free(m))
        failed(run, "wrote in front of a buffer");
}

/* Where the parts of a result begin: dq [rows][group·d], dk and dv [rows][d], dentries [entries][d],
 * dsinks [rows][group]. */
typedef struct {
    int64_t dk, dv, de, ds, end;
} Parts;

static Parts parts_of(const World *w)
{
    const Shape *const s = &w->shape;
    Parts p = {.dk = s->rows * s->group * s->head_dim};
    p.dv = p.dk + s->rows * s->head_dim;
    p.de = p.dv + (s->own_values ? 0 : s->rows * s->head_dim);
    p.ds = p.de + w->entries * s->head_dim;
    p.end = p.ds + (s->sinks ? s->rows * s->group : 0);
    return p;
}

/* A forward pass that has been made. */
typedef struct {
    Cache keys, entries;
    Guarded q, out, lse, sinks;
    AttentionArgs args;
} Forward;

static void forward_run(Run *run, const Level *l, const World *w, Forward *f)
{
    const Shape *const s = &w->shape;
    const int64_t width = s->group * s->head_dim;
    f->keys = cache_of(l, w, w->k, w->v, s->rows, 0);
    f->entries = cache_of(l, w, w->e, w->e, w->entries, s->rows);
    f->q = matrix(l, w->q, s->rows, width);
    f->out = matrix(l, NULL, s->rows, width);
    f->lse = matrix(l, NULL, s->rows, s->group);
    f->sinks = reals_of(l, w->sinks, s->group);
    f->args = (AttentionArgs){
        .pages = f->keys.at, .value_offset = f->keys.value_offset, .kv_type = DT_F32, .head_dim = s->head_dim,
        .group = s->group, .q = f->q.p, .out = f->out.p, .ld_q = width + PAD, .ld_out = width + PAD,
        .rows = s->rows, .window = s->window, .scale = w->scale, .entry_pages = f->entries.at,
        .entry_value_offset = f->entries.value_offset, .entry_tokens = s->entry_tokens, .chosen = w->chosen,
        .chosen_count = w->entries + 1, .sinks = s->sinks ? f->sinks.p : NULL, .lse = f->lse.p,
        .ld_lse = s->group + PAD};
    l->k->attention(&f->args, run->scratch.p);
}

static void forward_free(Run *run, Forward *f)
{
    if (!GUARDED_FREE(&f->q, &f->out, &f->lse, &f->sinks) || !cache_free(&f->keys) || !cache_free(&f->entries))
        failed(run, "wrote in front of an input");
}

/* The forward kernel, then the backward one. dk, dv and dentries start from `before`. */
static Guarded gradients(Run *run, const Level *l, const World *w, const float *before)
{
    const Shape *const s = &w->shape;
    const Parts at = parts_of(w);
    const int64_t d = s->head_dim, width = s->group * d;
    Guarded dout = matrix(l, w->dout, s->rows, width), dq = matrix(l, NULL, s->rows, width);
    Guarded dk = matrix(l, before + at.dk, s->rows, d), dv = matrix(l, before + at.dv, s->own_values ? 0 : s->rows, d);
    Guarded de = matrix(l, before + at.de, w->entries, d), ds = matrix(l, NULL, s->rows, s->group);
    Guarded result = reals(l, at.end);
    Forward f;
    forward_run(run, l, w, &f);
    const AttentionBackArgs b = {
        .forward = &f.args, .dout = dout.p, .ld_dout = width + PAD, .dq = dq.p, .ld_dq = width + PAD, .dk = dk.p,
        .dv = s->own_values ? dk.p : dv.p, .ld_dk = d + PAD, .ld_dv = d + PAD, .dentries = de.p, .ld_de = d + PAD,
        .dsinks = s->sinks ? ds.p : NULL, .ld_ds = s->group + PAD};
    l->k->grad->attention_back(&b, run->scratch.p);
    int64_t n = 0;
    take(run, l, &result, &n, &dq, s->rows, width);
    take(run, l, &result, &n, &dk, s->rows, d);
    take(run, l, &result, &n, &dv, s->own_values ? 0 : s->rows, d);
    take(run, l, &result, &n, &de, w->entries, d);
    take(run, l, &result, &n, &ds, s->sinks ? s->rows : 0, s->group);
    if (!guarded_free(&dout))
        failed(run, "wrote in front of dout");
    forward_free(run, &f);
    return result;
}

/* ---- the formulas ---- */

static const float *key_of(const World *w, int64_t j)
{
    return j < w->shape.rows ? w->k + j * w->shape.head_dim : w->e + (j - w->shape.rows) * w->shape.head_dim;
}

static const float *value_of(const World *w, int64_t j)
{
    return j < w->shape.rows ? w->v + j * w->shape.head_dim : key_of(w, j);
}

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static double dot_sizes(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += fabs((double)a[i] * (double)b[i]);
    return sum;
}

/* Probabilities p and dP of one query, and the size of what dP sums; returns the probability of the sink. */
static double one_query(const World *w, int64_t row, int64_t head, double *p, double *dp, double *dp_size)
{
    const int64_t d = w->shape.head_dim, n = w->shape.rows + w->entries, i = row * w->shape.group + head;
    double sink = w->shape.sinks ? (double)w->sinks[head] : -(double)INFINITY, max = sink, total = 0;
    for (int64_t j = 0; j < n; j++) {
        const bool seen = row_sees(w, row, j);
        p[j] = seen ? dot(w->q + i * d, key_of(w, j), d) * w->scale : -(double)INFINITY;
        dp[j] = seen ? dot(w->dout + i * d, value_of(w, j), d) : 0;
        dp_size[j] = seen ? dot_sizes(w->dout + i * d, value_of(w, j), d) : 0;
        max = p[j] > max ? p[j] : max;
    }
    for (int64_t j = 0; j < n; j++)
        total += exp(p[j] - max);
    total += exp(sink - max);
    for (int64_t j = 0; j < n; j++)
        p[j] = exp(p[j] - max) / total;
    return exp(sink - max) / total;
}

/* Gradients in double, in the order of Parts; `size` sums the absolute values of what was added. */
static void formula(const World *w, const float *before, double *g, double *size)
{
    const Shape *const s = &w->shape;
    const Parts at = parts_of(w);
    const int64_t d = s->head_dim, n = s->rows + w->entries;
    double *const p = mem_alloc((size_t)n, sizeof *p), *const dp = mem_alloc((size_t)n, sizeof *dp);
    double *const dp_size = mem_alloc((size_t)n, sizeof *dp_size);
    for (int64_t i = 0; i < at.end; i++) {
        g[i] = i >= at.dk && i < at.ds ? (double)before[i] : 0;
        size[i] = fabs(g[i]);
    }
    for (int64_t i = 0; i < s->rows * s->group; i++) {
        const double sink = one_query(w, i / s->group, i % s->group, p, dp, dp_size);
        double delta = 0, mass = 0;
        for (int64_t j = 0; j < n; j++) {
            delta += p[j] * dp[j];
            mass += p[j] * dp_size[j];
        }
        if (s->sinks) {
            g[at.ds + i] = -sink * delta;
            size[at.ds + i] = sink * mass;
        }
        for (int64_t j = 0; j < n; j++)
            for (int64_t e = 0; e < d && p[j] > 0; e++) {
                const double ds = p[j] * (dp[j] - delta) * w->scale, most = p[j] * (dp_size[j] + mass) * w->scale;
                const int64_t k = j < s->rows ? at.dk + j * d + e : at.de + (j - s->rows) * d + e;
                const int64_t v = j < s->rows && !s->own_values ? at.dv + j * d + e : k;
                const double key = (double)key_of(w, j)[e], q = (double)w->q[i * d + e], o = (double)w->dout[i * d + e];
                g[i * d + e] += ds * key;
                size[i * d + e] += most * fabs(key);
                g[k] += ds * q;
                size[k] += most * fabs(q);
                g[v] += p[j] * o;
                size[v] += p[j] * fabs(o);
            }
    }
    mem_free(p);
    mem_free(dp);
    mem_free(dp_size);
}

/* ---- checks ---- */

static void describe(Run *run, const Shape *s, const char *what, int64_t at, double found, double expected)
{
    static const char *const choices[] = {"all", "list of all", "list of some"};
    failed(run, "head %d group %d rows %d window %d entries of %d (%s)%s%s %s: %s, element %d is %g, not %g",
           (int)s->head_dim, (int)s->group, (int)s->rows, (int)s->window, (int)s->entry_tokens, choices[s->choice],
           s->sinks ? " sinks" : "", s->own_values ? " own values" : "", input_names[s->kind], what, (int)at, found,
           expected);
}

static void compare_formula(Run *run, const World *w, const float *before, const void *y)
{
    const int64_t n = parts_of(w).end;
    double *const g = mem_alloc((size_t)n, sizeof *g), *const size = mem_alloc((size_t)n, sizeof *size);
    const double units = 16 + 2 * (double)w->shape.head_dim + (double)(w->shape.rows + w->entries);
    formula(w, before, g, size);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(real_get(&run->level, y, i) - g[i]) <= units * roundoff(&run->level) * size[i] + 1e-40)) {
            describe(run, &w->shape, "far from the formula", i, real_get(&run->level, y, i), g[i]);
            break;
        }
    mem_free(g);
    mem_free(size);
}

/* A head of the group in a call of its own: the same dq and dsinks. */
static void compare_head(Run *run, const World *w, const float *before, const void *y)
{
    const Shape *const s = &w->shape;
    const Level *const l = &run->level;
    const int64_t head = random_below(run, s->group), d = s->head_dim;
    World one = *w;
    one.shape.group = 1;
    one.q = floats(s->rows * d);
    one.dout = floats(s->rows * d);
    one.sinks = w->sinks + head;
    for (int64_t r = 0; r < s->rows; r++) {
        memcpy(one.q + r * d, w->q + (r * s->group + head) * d, (size_t)d * sizeof(float));
        memcpy(one.dout + r * d, w->dout + (r * s->group + head) * d, (size_t)d * sizeof(float));
    }
    Guarded g = gradients(run, l, &one, before);
    for (int64_t r = 0; r < s->rows; r++)
        if (first_difference(l, real_at(l, g.p, r * d), real_at(l, y, (r * s->group + head) * d), d) >= 0 ||
            (s->sinks && !same_real(l, real_at(l, g.p, parts_of(&one).ds + r),
                                    real_at(l, y, parts_of(w).ds + r * s->group + head)))) {
            describe(run, s, "a head alone differs", r, 0, 0);
            break;
        }
    guarded_free(&g);
    mem_free(one.q);
    mem_free(one.dout);
}

static void check_shape(Run *run, const Shape *s)
{
    World w = world_of(run, s);
    const int64_t n = parts_of(&w).end;
    float *const before = random_floats(run, IN_PLAIN, n);
    Guarded y = gradients(run, &run->level, &w, before);
    run->cases++;
    if (has_twin(run)) {
        const Level scalar = scalar_level(run);
        Guarded twin = gradients(run, &scalar, &w, before);
        const int64_t at = first_difference(&scalar, y.p, twin.p, n);
        if (at >= 0)
            describe(run, s, "not the scalar bits", at, real_get(&scalar, y.p, at), real_get(&scalar, twin.p, at));
        guarded_free(&twin);
    } else if (s->kind == IN_PLAIN) {
        compare_formula(run, &w, before, y.p);
    }
    if (s->kind != IN_MAX && s->kind != IN_SPECIAL) /* an infinity reaches the queries beside it */
        compare_head(run, &w, before, y.p);
    guarded_free(&y);
    mem_free(before);
    world_free(&w);
}

static void attention_back(Run *run)
{
    static const int64_t dims[] = {1, 6, 15, 16, 17, 33, 64, 64, 128}, rows[] = {1, 2, 3, 15, 40, 63, 64, 65, 90, 129, 200};
    static const int64_t windows[] = {0, 0, 1, 5, 64, 70}, tokens[] = {0, 0, 4, 4, 8, 128}, groups[] = {1, 2, 3, 5, 8, 64};
    for (int i = 0; i < (run->quick ? 40 : 240); i++) {
        Shape s = {.head_dim = PICK(run, dims), .group = PICK(run, groups), .rows = PICK(run, rows),
                   .window = PICK(run, windows), .entry_tokens = PICK(run, tokens),
                   .choice = (Choice)(i % CHOICE_COUNT), .sinks = i / 2 % 2, .own_values = i % 2};
        if (i % 5 == 4)
            s.kind = (InputKind)(i / 5 % IN_COUNT);
        if (i % 20 == 19) /* larger than scratch: packed in pieces, and no room for deltas in float */
            s.head_dim = 600, s.rows = 160, s.group = 1;
        while (s.rows * s.group * s.head_dim > 20000 && s.group > 1)
            s.group /= 2;
        check_shape(run, &s);
    }
}

/* ---- finite differences ---- */

/* Σ dout·out of the forward kernel. */
static double loss(Run *run, const World *w)
{
    const int64_t width = w->shape.group * w->shape.head_dim;
    Forward f;
    double sum = 0;
    forward_run(run, &run->level, w, &f);
    for (int64_t i = 0; i < w->shape.rows * width; i++)
        sum += real_get(&run->level, f.out.p, i / width * (width + PAD) + i % width) * (double)w->dout[i];
    forward_free(run, &f);
    return sum;
}

/* The slope of the loss in one input. */
static double slope(Run *run, const World *w, float *x)
{
    const float middle = *x, left = middle - 0x1p-12f, right = middle + 0x1p-12f;
    *x = left;
    const double before = loss(run, w);
    *x = right;
    const double after = loss(run, w);
    *x = middle;
    return (after - before) / ((double)right - (double)left);
}

static void compare_slopes(Run *run, const World *w, const char *what, float *x, int64_t n, const void *y, int64_t at)
{
    for (int64_t i = 0; i < n; i++) {
        const double found = real_get(&run->level, y, at + i), expected = slope(run, w, x + i);
        if (!(fabs(found - expected) <= 2e-6 * (1 + fabs(expected))))
            describe(run, &w->shape, what, i, found, expected);
        run->cases++;
    }
}

/* In the f64 table. */
static void attention_back_is_the_slope_of_attention(Run *run)
{
    for (int i = 0; i < 2 * CHOICE_COUNT && is_double(&run->level); i++) {
        const Shape s = {.head_dim = 3 + i, .group = 1 + i % 3, .rows = 19, .window = i % 2 ? 0 : 5,
                         .entry_tokens = i == 5 ? 0 : 2 + i, .choice = (Choice)(i % CHOICE_COUNT), .sinks = i != 1,
                         .own_values = i < CHOICE_COUNT};
        World w = world_of(run, &s);
        const Parts at = parts_of(&w);
        float *const before = floats(at.end);
        memset(before, 0, (size_t)at.end * sizeof *before);
        Guarded y = gradients(run, &run->level, &w, before);
        compare_slopes(run, &w, "dq", w.q, at.dk, y.p, 0);
        compare_slopes(run, &w, "dk", w.k, s.rows * s.head_dim, y.p, at.dk);
        if (!s.own_values)
            compare_slopes(run, &w, "dv", w.v, s.rows * s.head_dim, y.p, at.dv);
        compare_slopes(run, &w, "dentries", w.e, w.entries * s.head_dim, y.p, at.de);
        for (int64_t h = 0; h < s.group && s.sinks; h++) {
            double sum = 0;
            for (int64_t r = 0; r < s.rows; r++)
                sum += real_get(&run->level, y.p, at.ds + r * s.group + h);
            const double expected = slope(run, &w, w.sinks + h);
            if (!(fabs(sum - expected) <= 2e-6 * (1 + fabs(expected))))
                describe(run, &s, "dsinks", h, sum, expected);
        }
        guarded_free(&y);
        mem_free(before);
        world_free(&w);
    }
}

int main(int argc, char **argv)
{
    static const KernelCheck checks[] = {
        {"attention_back", attention_back},
        {"attention_back_is_the_slope_of_attention", attention_back_is_the_slope_of_attention},
    };
    return check_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
