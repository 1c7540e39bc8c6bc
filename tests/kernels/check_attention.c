/* attention and kv_write at every level, against plain double softmax over the rows that were written,
 * against the scalar bits, row by row, and with everything that must not matter filled with NaNs. */
#include "check.h"

typedef struct {
    int64_t head_dim, group, rows, position, window;
    Dtype kv_type;
    InputKind kind;
} Shape;

/* Keys and values of positions 0 … keys−1, and queries, as floats (rounded to float16 when the cache is). */
typedef struct {
    Shape shape;
    int64_t keys, pages;
    float *k, *v, *q;
    double scale;
} World;

static void round_to_f16(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = f16_to_f32(f32_to_f16(x[i]));
}

static World world_of(Run *run, const Shape *s)
{
    World w = {.shape = *s, .keys = s->position + s->rows, .scale = 1 / sqrt((double)s->head_dim)};
    w.pages = (w.keys + ATTENTION_PAGE - 1) / ATTENTION_PAGE;
    w.k = random_floats(run, s->kind, w.keys * s->head_dim);
    w.v = random_floats(run, s->kind, w.keys * s->head_dim);
    w.q = random_floats(run, s->kind, s->rows * s->group * s->head_dim);
    for (int64_t i = 0; s->kind == IN_PLAIN && i < s->rows * s->group * s->head_dim; i++)
        w.q[i] *= 3;
    return w;
}

static void world_free(World *w)
{
    mem_free(w->k);
    mem_free(w->v);
    mem_free(w->q);
}

/* ---- the cache ---- */

typedef struct {
    Guarded page[16];
    const void *at[16];
    size_t key_offset, value_offset, element;
    int64_t pad;
} Cache;

static Cache cache_of(const Level *level, const World *w, uint8_t fill)
{
    Cache c = {.key_offset = 64, .pad = (w->shape.head_dim + 15) / 16 * 16};
    c.element = is_double(level) ? 8 : w->shape.kv_type == DT_F16 ? 2 : 4;
    const size_t keys = c.element * (size_t)(w->shape.head_dim * ATTENTION_PAGE);
    c.value_offset = c.key_offset + keys;
    for (int64_t p = 0; p < w->pages; p++) {
        c.page[p] = guarded(c.value_offset + c.element * (size_t)(c.pad * ATTENTION_PAGE));
        memset(c.page[p].p, fill, c.page[p].bytes);
        c.at[p] = c.page[p].p;
    }
    return c;
}

static void cache_free(Run *run, Cache *c, int64_t pages)
{
    for (int64_t p = 0; p < pages; p++)
        if (!guarded_free(&c->page[p]))
            failed(run, "wrote in front of a page");
}

/* Write positions from … to−1 in runs that end at pages, and here and there one earlier. */
static void cache_write(Run *run, const Level *level, const World *w, Cache *c, int64_t from, int64_t to)
{
    const int64_t d = w->shape.head_dim;
    while (from < to) {
        const int64_t page = from / ATTENTION_PAGE, entry = from % ATTENTION_PAGE;
        int64_t n = ATTENTION_PAGE - entry < to - from ? ATTENTION_PAGE - entry : to - from;
        if (n > 1 && random_below(run, 2))
            n = 1 + random_below(run, n - 1);
        Guarded k = reals_of(level, w->k + from * d, n * d), v = reals_of(level, w->v + from * d, n * d);
        level->k->kv_write(c->page[page].p, c->key_offset, c->value_offset, w->shape.kv_type, entry, n, k.p, d,
                           v.p, d, d);
        if (!GUARDED_FREE(&k, &v))
            failed(run, "kv_write: wrote to an input");
        from += n;
    }
}

/* Rows row0 … row0+rows−1 of the attention. */
static Guarded attend(Run *run, const Level *level, const World *w, const Cache *c, int64_t row0, int64_t rows)
{
    const Shape *const s = &w->shape;
    const int64_t d = s->group * s->head_dim, ld = d + 2;
    Guarded q = reals(level, rows * d + 1), raw = reals(level, rows * ld), out = reals(level, rows * d);
    for (int64_t i = 0; i < rows * d; i++)
        real_set(level, q.p, i, w->q[row0 * d + i]);
    const AttentionArgs a = {
        .pages = c->at, .key_offset = c->key_offset, .value_offset = c->value_offset, .kv_type = s->kv_type,
        .head_dim = s->head_dim, .group = s->group, .q = q.p, .out = raw.p, .ld_q = d, .ld_out = ld,
        .rows = rows, .position = s->position + row0, .window = s->window, .scale = w->scale};
    level->k->attention(&a, run->scratch.p);
    for (int64_t r = 0; r < rows; r++) {
        memcpy(real_at(level, out.p, r * d), real_at(level, raw.p, r * ld), (size_t)d * level->k->real_bytes);
        if (!is_canary(real_at(level, raw.p, r * ld + d), 2 * level->k->real_bytes))
            failed(run, "attention: wrote behind a row");
    }
    if (!GUARDED_FREE(&q, &raw))
        failed(run, "attention: wrote in front of a buffer");
    return out;
}

static Guarded attend_all(Run *run, const Level *level, const World *w)
{
    Cache c = cache_of(level, w, 0);
    cache_write(run, level, w, &c, 0, w->keys);
    Guarded y = attend(run, level, w, &c, 0, w->shape.rows);
    cache_free(run, &c, w->pages);
    return y;
}

/* ---- checks ---- */

static void describe(Run *run, const Shape *s, const char *what)
{
    failed(run, "head %d group %d rows %d at %d window %d %s %s: %s", (int)s->head_dim, (int)s->group,
           (int)s->rows, (int)s->position, (int)s->window, dtype_info(s->kv_type)->name,
           input_names[s->kind], what);
}

/* One query in double. weights [keys]. */
static double softmax_weights(const World *w, const float *q, int64_t row, double *weights, int64_t *first)
{
    const int64_t last = w->shape.position + row, d = w->shape.head_dim;
    double max = -(double)INFINITY, total = 0;
    *first = w->shape.window > 0 && last >= w->shape.window ? last - w->shape.window + 1 : 0;
    for (int64_t j = *first; j <= last; j++) {
        weights[j] = 0;
        for (int64_t i = 0; i < d; i++)
            weights[j] += (double)q[i] * (double)w->k[j * d + i];
        weights[j] *= w->scale;
        max = weights[j] > max ? weights[j] : max;
    }
    for (int64_t j = *first; j <= last; j++)
        total += weights[j] = exp(weights[j] - max);
    return total;
}

static void compare_oracle(Run *run, const World *w, const void *y)
{
    const Shape *const s = &w->shape;
    const int64_t d = s->head_dim;
    const double allowed = roundoff(&run->level) * (8 * (double)d + (double)w->keys);
    double *const weights = mem_alloc((size_t)w->keys, sizeof *weights);
    for (int64_t i = 0; i < s->rows * s->group; i++) {
        int64_t first;
        const double total = softmax_weights(w, w->q + i * d, i / s->group, weights, &first);
        for (int64_t e = 0; e < d; e++) {
            double sum = 0;
            for (int64_t j = first; j <= s->position + i / s->group; j++)
                sum += weights[j] / total * (double)w->v[j * d + e];
            if (!(fabs(real_get(&run->level, y, i * d + e) - sum) <= allowed)) {
                describe(run, s, "far from the exact softmax");
                e = d;
            }
        }
    }
    mem_free(weights);
}

/* Cache entries that no row sees, and those that a row does not see yet, hold NaNs or later rows. */
static void compare_alone(Run *run, const World *w, const void *y)
{
    const Shape *const s = &w->shape;
    const int64_t d = s->group * s->head_dim;
    Cache c = cache_of(&run->level, w, 0xFF);
    int64_t written = s->window > 0 && s->position + 1 > s->window ? s->position + 1 - s->window : 0;
    for (int64_t r = 0; r < s->rows; r++) {
        cache_write(run, &run->level, w, &c, written, s->position + r + 1);
        written = s->position + r + 1;
        Guarded alone = attend(run, &run->level, w, &c, r, 1);
        if (first_difference(&run->level, alone.p, real_at(&run->level, y, r * d), d) >= 0)
            describe(run, s, "another value when alone, or something unseen matters");
        guarded_free(&alone);
    }
    cache_free(run, &c, w->pages);
}

static void check_shape(Run *run, const Shape *s)
{
    World w = world_of(run, s);
    if (s->kv_type == DT_F16 && !is_double(&run->level)) {
        round_to_f16(w.k, w.keys * s->head_dim);
        round_to_f16(w.v, w.keys * s->head_dim);
    }
    Guarded y = attend_all(run, &run->level, &w);
    run->cases++;
    if (has_twin(run)) {
        const Level scalar = scalar_level(run);
        Guarded twin = attend_all(run, &scalar, &w);
        if (first_difference(&scalar, y.p, twin.p, s->rows * s->group * s->head_dim) >= 0)
            describe(run, s, "not the scalar bits");
        guarded_free(&twin);
    } else if (s->kind == IN_PLAIN) {
        compare_oracle(run, &w, y.p);
    }
    compare_alone(run, &w, y.p);
    guarded_free(&y);
    world_free(&w);
}

static void attention(Run *run)
{
    static const int64_t dims[] = {1, 6, 15, 16, 17, 22, 33, 64, 80, 97, 128};
    static const int64_t rows[] = {1, 1, 2, 3, 5, 24, 25, 64, 70}, windows[] = {0, 0, 1, 5, 64, 70};
    static const int64_t positions[] = {0, 0, 1, 15, 63, 64, 65, 130, 300};
    for (int i = 0; i < (run->quick ? 40 : 300); i++) {
        Shape s = {PICK(run, dims), 1 + random_below(run, 9), PICK(run, rows), PICK(run, positions),
                   PICK(run, windows), i % 2 ? DT_F32 : DT_F16, IN_PLAIN};
        if (i % 4 == 3)
            s.kind = (InputKind)(i / 4 % IN_COUNT);
        if (s.rows * s.group > 200)
            s.group = 1 + s.group % 3;
        check_shape(run, &s);
    }
}

/* What a query sees is masked by its own position even when later rows of the chunk stand in the page. */
static void attention_of_one_key_is_its_value(Run *run)
{
    const Shape s = {64, 2, 1, 0, 0, DT_F32, IN_PLAIN};
    World w = world_of(run, &s);
    Guarded y = attend_all(run, &run->level, &w);
    for (int64_t i = 0; i < 128; i++)
        if (real_get(&run->level, y.p, i) != (double)w.v[i % 64])
            failed(run, "element %d is not that of the only value", (int)i);
    run->cases++;
    guarded_free(&y);
    world_free(&w);
}

/* Byte for byte, with the rest of the page untouched. */
static void kv_write(Run *run)
{
    static const int64_t dims[] = {1, 6, 15, 16, 17, 64, 97};
    const Level *const level = &run->level;
    for (int i = 0; i < 200; i++) {
        const int64_t entry = random_below(run, ATTENTION_PAGE);
        const Shape s = {PICK(run, dims), 1, 1 + random_below(run, ATTENTION_PAGE - entry), 0, 0,
                         i % 2 ? DT_F32 : DT_F16, (InputKind)(i % IN_COUNT)};
        World w = world_of(run, &s);
        Cache c = cache_of(level, &w, CANARY);
        Guarded expected = guarded(c.page[0].bytes);
        Guarded k = reals_of(level, w.k, s.rows * s.head_dim), v = reals_of(level, w.v, s.rows * s.head_dim);
        level->k->kv_write(c.page[0].p, c.key_offset, c.value_offset, s.kv_type, entry, s.rows, k.p, s.head_dim,
                           v.p, s.head_dim, s.head_dim);
        for (int64_t r = 0; r < s.rows; r++)
            for (int64_t d = 0; d < s.head_dim; d++)
                for (int value = 0; value < 2; value++) {
                    const float x = (value ? w.v : w.k)[r * s.head_dim + d];
                    const int64_t at = value ? (entry + r) * c.pad + d : d * ATTENTION_PAGE + entry + r;
                    uint8_t *const p = expected.p + (value ? c.value_offset : c.key_offset) +
                                       c.element * (size_t)at;
                    const double wide = (double)x;
                    const uint16_t half = f32_to_f16(x);
                    memcpy(p, c.element == 8 ? (const void *)&wide : c.element == 4 ? (const void *)&x : &half,
                           c.element);
                    const bool nan = isnan(x); /* whose payload may differ */
                    if (nan)
                        memcpy(p, c.page[0].p + (p - expected.p), c.element);
                }
        if (memcmp(expected.p, c.page[0].p, expected.bytes) != 0)
            describe(run, &s, "the page is not what was written");
        run->cases++;
        guarded_free(&k);
        guarded_free(&v);
        guarded_free(&expected);
        cache_free(run, &c, w.pages);
        world_free(&w);
    }
}

int main(int argc, char **argv)
{
    static const KernelCheck checks[] = {
        {"kv_write", kv_write},
        {"attention", attention},
        {"attention_of_one_key_is_its_value", attention_of_one_key_is_its_value},
    };
    return check_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
