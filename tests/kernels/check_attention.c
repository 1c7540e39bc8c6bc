/* attention and kv_write at every level, against plain double softmax over the rows that were written,
 * against the scalar bits, row by row, and with everything that must not matter filled with NaNs. With and
 * without compressed entries, lists of chosen ones, sinks and the log of the denominator. */
#include "check.h"

typedef enum { ALL_ENTRIES, LIST_OF_ALL, LIST_OF_MOST, LIST_OF_FEW, LIST_OF_NONE, CHOICE_COUNT } Choice;
static const char *const choice_names[] = {"all", "list of all", "list of most", "list of few", "list of none"};

typedef struct {
    int64_t head_dim, group, rows, position, window;
    Dtype kv_type;
    InputKind kind;
    int64_t entry_tokens;
    Choice choice;
    bool sinks;
} Shape;

/* Keys and values of positions 0 … keys−1, of entries, and queries, as floats (rounded to float16 when the
 * cache is); one list of chosen entries a row. */
typedef struct {
    Shape shape;
    int64_t keys, entries;
    float *k, *v, *q, *ek, *ev, *sinks;
    int32_t *chosen; /* [rows][entries + 1] */
    double scale;
} World;

static void round_to_f16(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = f16_to_f32(f32_to_f16(x[i]));
}

static bool has_list(const World *w)
{
    return w->shape.entry_tokens > 0 && w->shape.choice != ALL_ENTRIES;
}

/* Entry j is there when row `row` looks. */
static bool entry_is_visible(const World *w, int64_t row, int64_t j)
{
    return w->shape.entry_tokens > 0 && w->shape.position + row >= (j + 1) * w->shape.entry_tokens - 1;
}

static const int32_t *list_of(const World *w, int64_t row)
{
    return w->chosen + row * (w->entries + 1);
}

static bool row_sees_entry(const World *w, int64_t row, int64_t j)
{
    bool listed = !has_list(w);
    for (int64_t i = 0; has_list(w) && i < w->entries; i++)
        listed = listed || list_of(w, row)[i] == j;
    return listed && entry_is_visible(w, row, j);
}

/* Lists of all and of most name entries that are not there yet, too. */
static void choose_entries(Run *run, World *w)
{
    static const int keep_of_8[CHOICE_COUNT] = {8, 8, 7, 1, 0};
    w->chosen = mem_alloc((size_t)(w->shape.rows * (w->entries + 1)), sizeof *w->chosen);
    for (int64_t r = 0; r < w->shape.rows; r++) {
        int32_t *const list = w->chosen + r * (w->entries + 1);
        int64_t n = 0;
        for (int64_t j = 0; j < w->entries; j++)
            if (random_below(run, 8) < keep_of_8[w->shape.choice])
                list[n++] = (int32_t)j;
        while (n <= w->entries)
            list[n++] = -1;
    }
}

static World world_of(Run *run, const Shape *s)
{
    World w = {.shape = *s, .keys = s->position + s->rows, .scale = 1 / sqrt((double)s->head_dim)};
    w.entries = s->entry_tokens > 0 ? w.keys / s->entry_tokens : 0;
    w.ek = random_floats(run, s->kind, w.entries * s->head_dim);
    w.ev = random_floats(run, s->kind, w.entries * s->head_dim);
    w.sinks = random_floats(run, s->kind, s->group);
    choose_entries(run, &w);
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
    mem_free(w->ek);
    mem_free(w->ev);
    mem_free(w->sinks);
    mem_free(w->chosen);
}

/* ---- the cache ---- */

typedef struct {
    Guarded page[16];
    const void *at[16];
    size_t key_offset, value_offset, element;
    int64_t pad, pages;
} Cache;

static Cache cache_of(const Level *level, const World *w, int64_t positions, uint8_t fill)
{
    Cache c = {.key_offset = 64, .pad = (w->shape.head_dim + 15) / 16 * 16};
    c.pages = (positions + ATTENTION_PAGE - 1) / ATTENTION_PAGE;
    c.element = is_double(level) ? 8 : w->shape.kv_type == DT_F16 ? 2 : 4;
    const size_t keys = c.element * (size_t)(w->shape.head_dim * ATTENTION_PAGE);
    c.value_offset = c.key_offset + keys;
    for (int64_t p = 0; p < c.pages; p++) {
        c.page[p] = guarded(c.value_offset + c.element * (size_t)(c.pad * ATTENTION_PAGE));
        memset(c.page[p].p, fill, c.page[p].bytes);
        c.at[p] = c.page[p].p;
    }
    return c;
}

static void cache_free(Run *run, Cache *c)
{
    for (int64_t p = 0; p < c->pages; p++)
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

static void entry_write(const Level *level, const World *w, Cache *c, int64_t j)
{
    const int64_t d = w->shape.head_dim;
    Guarded k = reals_of(level, w->ek + j * d, d), v = reals_of(level, w->ev + j * d, d);
    level->k->kv_write(c->page[j / ATTENTION_PAGE].p, c->key_offset, c->value_offset, w->shape.kv_type,
                       j % ATTENTION_PAGE, 1, k.p, d, v.p, d, d);
    guarded_free(&k);
    guarded_free(&v);
}

/* Reals in a row of the result: the heads' outputs, then the logs of their denominators. */
static int64_t row_width(const World *w)
{
    return w->shape.group * (w->shape.head_dim + 1);
}

/* Rows row0 … row0+rows−1 of the attention. With entries or sinks a row of the result is longer by the log of
 * the denominator of each head. */
static Guarded attend(Run *run, const Level *level, const World *w, const Cache *c, const Cache *e, int64_t row0,
                      int64_t rows)
{
    const Shape *const s = &w->shape;
    const int64_t d = s->group * s->head_dim, width = row_width(w), ld = d + 2, ld_lse = s->group + 1;
    Guarded q = reals(level, rows * d + 1), raw = reals(level, rows * ld), out = reals(level, rows * width);
    Guarded lse = reals(level, rows * ld_lse), sinks = reals_of(level, w->sinks, s->group);
    Guarded list = guarded((size_t)(rows * (w->entries + 1)) * sizeof(int32_t));
    for (int64_t i = 0; i < rows * d; i++)
        real_set(level, q.p, i, w->q[row0 * d + i]);
    memcpy(list.p, list_of(w, row0), list.bytes);
    const AttentionArgs a = {
        .pages = c->at, .key_offset = c->key_offset, .value_offset = c->value_offset, .kv_type = s->kv_type,
        .head_dim = s->head_dim, .group = s->group, .q = q.p, .out = raw.p, .ld_q = d, .ld_out = ld,
        .rows = rows, .position = s->position + row0, .window = s->window, .scale = w->scale,
        .entry_pages = e->at, .entry_key_offset = e->key_offset, .entry_value_offset = e->value_offset,
        .entry_tokens = s->entry_tokens, .chosen = has_list(w) ? (const int32_t *)(const void *)list.p : NULL,
        .chosen_count = w->entries + 1, .sinks = s->sinks ? sinks.p : NULL, .lse = lse.p, .ld_lse = ld_lse};
    level->k->attention(&a, run->scratch.p);
    for (int64_t r = 0; r < rows; r++) {
        memcpy(real_at(level, out.p, r * width), real_at(level, raw.p, r * ld), (size_t)d * level->k->real_bytes);
        memcpy(real_at(level, out.p, r * width + d), real_at(level, lse.p, r * ld_lse),
               (size_t)s->group * level->k->real_bytes);
        if (!is_canary(real_at(level, raw.p, r * ld + d), 2 * level->k->real_bytes) ||
            !is_canary(real_at(level, lse.p, r * ld_lse + s->group), level->k->real_bytes))
            failed(run, "attention: wrote behind a row");
    }
    if (!GUARDED_FREE(&q, &raw, &lse, &sinks, &list))
        failed(run, "attention: wrote in front of a buffer");
    return out;
}

static Guarded attend_all(Run *run, const Level *level, const World *w)
{
    Cache c = cache_of(level, w, w->keys, 0), e = cache_of(level, w, w->entries, 0);
    cache_write(run, level, w, &c, 0, w->keys);
    for (int64_t j = 0; j < w->entries; j++)
        entry_write(level, w, &e, j);
    Guarded y = attend(run, level, w, &c, &e, 0, w->shape.rows);
    cache_free(run, &c);
    cache_free(run, &e);
    return y;
}

/* ---- checks ---- */

static void describe(Run *run, const Shape *s, const char *what)
{
    failed(run, "head %d group %d rows %d at %d window %d entries of %d (%s)%s %s %s: %s", (int)s->head_dim,
           (int)s->group, (int)s->rows, (int)s->position, (int)s->window, (int)s->entry_tokens,
           choice_names[s->choice], s->sinks ? " sinks" : "", dtype_info(s->kv_type)->name, input_names[s->kind], what);
}

static double score(const World *w, const float *q, const float *k)
{
    double sum = 0;
    for (int64_t i = 0; i < w->shape.head_dim; i++)
        sum += (double)q[i] * (double)k[i];
    return sum * w->scale;
}

/* One query in double: probabilities of keys, then of entries (0: unseen). Returns the log of the denominator. */
static double probabilities(const World *w, int64_t row, int64_t head, double *p)
{
    const int64_t last = w->shape.position + row, d = w->shape.head_dim, n = w->keys + w->entries;
    const float *const q = w->q + (row * w->shape.group + head) * d;
    const double sink = w->shape.sinks ? (double)w->sinks[head] : -(double)INFINITY;
    double max = sink, total = 0;
    for (int64_t j = 0; j < w->keys; j++)
        p[j] = j <= last && (w->shape.window == 0 || j > last - w->shape.window) ? score(w, q, w->k + j * d)
                                                                                 : -(double)INFINITY;
    for (int64_t j = 0; j < w->entries; j++)
        p[w->keys + j] = row_sees_entry(w, row, j) ? score(w, q, w->ek + j * d) : -(double)INFINITY;
    for (int64_t j = 0; j < n; j++)
        max = p[j] > max ? p[j] : max;
    for (int64_t j = 0; j < n; j++)
        total += exp(p[j] - max);
    total += exp(sink - max);
    for (int64_t j = 0; j < n; j++)
        p[j] = exp(p[j] - max) / total;
    return max + log(total);
}

static void compare_oracle(Run *run, const World *w, const void *y)
{
    const Shape *const s = &w->shape;
    const int64_t d = s->head_dim, n = w->keys + w->entries;
    const double allowed = roundoff(&run->level) * (8 * (double)d + (double)n);
    double *const p = mem_alloc((size_t)n, sizeof *p);
    for (int64_t i = 0; i < s->rows * s->group; i++) {
        const int64_t row = i / s->group, head = i % s->group, at = row * row_width(w);
        const double lse = probabilities(w, row, head, p);
        if (!(fabs(real_get(&run->level, y, at + s->group * d + head) - lse) <= allowed * (1 + fabs(lse))))
            describe(run, s, "far from the exact log of the denominator");
        for (int64_t e = 0; e < d; e++) {
            double sum = 0;
            for (int64_t j = 0; j < n; j++)
                sum += p[j] * (double)(j < w->keys ? w->v[j * d + e] : w->ev[(j - w->keys) * d + e]);
            if (!(fabs(real_get(&run->level, y, at + head * d + e) - sum) <= allowed)) {
                describe(run, s, "far from the exact softmax");
                e = d;
            }
        }
    }
    mem_free(p);
}

/* Cache entries that no row sees, and those that a row does not see yet, hold NaNs or later rows; compressed
 * entries that a row does not see hold NaNs. */
static void compare_alone(Run *run, const World *w, const void *y)
{
    const Shape *const s = &w->shape;
    Cache c = cache_of(&run->level, w, w->keys, 0xFF);
    int64_t written = s->window > 0 && s->position + 1 > s->window ? s->position + 1 - s->window : 0;
    for (int64_t r = 0; r < s->rows; r++) {
        Cache e = cache_of(&run->level, w, w->entries, 0xFF);
        cache_write(run, &run->level, w, &c, written, s->position + r + 1);
        written = s->position + r + 1;
        for (int64_t j = 0; j < w->entries; j++)
            if (row_sees_entry(w, r, j))
                entry_write(&run->level, w, &e, j);
        Guarded alone = attend(run, &run->level, w, &c, &e, r, 1);
        if (first_difference(&run->level, alone.p, real_at(&run->level, y, r * row_width(w)), row_width(w)) >= 0)
            describe(run, s, "another value when alone, or something unseen matters");
        guarded_free(&alone);
        cache_free(run, &e);
    }
    cache_free(run, &c);
}

/* The same rows in two calls. */
static void compare_cut(Run *run, const World *w, const void *y)
{
    const int64_t cut = 1 + random_below(run, w->shape.rows - 1), width = row_width(w);
    Cache c = cache_of(&run->level, w, w->keys, 0), e = cache_of(&run->level, w, w->entries, 0);
    cache_write(run, &run->level, w, &c, 0, w->keys);
    for (int64_t j = 0; j < w->entries; j++)
        entry_write(&run->level, w, &e, j);
    Guarded a = attend(run, &run->level, w, &c, &e, 0, cut);
    Guarded b = attend(run, &run->level, w, &c, &e, cut, w->shape.rows - cut);
    if (first_difference(&run->level, a.p, y, cut * width) >= 0 ||
        first_difference(&run->level, b.p, real_at(&run->level, y, cut * width), (w->shape.rows - cut) * width) >= 0)
        describe(run, &w->shape, "another value when cut in two");
    guarded_free(&a);
    guarded_free(&b);
    cache_free(run, &c);
    cache_free(run, &e);
}

static void check_shape(Run *run, const Shape *s)
{
    World w = world_of(run, s);
    if (s->kv_type == DT_F16 && !is_double(&run->level)) {
        round_to_f16(w.k, w.keys * s->head_dim);
        round_to_f16(w.v, w.keys * s->head_dim);
        round_to_f16(w.ek, w.entries * s->head_dim);
        round_to_f16(w.ev, w.entries * s->head_dim);
    }
    Guarded y = attend_all(run, &run->level, &w);
    run->cases++;
    if (has_twin(run)) {
        const Level scalar = scalar_level(run);
        Guarded twin = attend_all(run, &scalar, &w);
        if (first_difference(&scalar, y.p, twin.p, s->rows * row_width(&w)) >= 0)
            describe(run, s, "not the scalar bits");
        guarded_free(&twin);
    } else if (s->kind == IN_PLAIN) {
        compare_oracle(run, &w, y.p);
    }
    compare_alone(run, &w, y.p);
    if (s->rows > 1)
        compare_cut(run, &w, y.p);
    guarded_free(&y);
    world_free(&w);
}

static void attention(Run *run)
{
    static const int64_t dims[] = {1, 6, 15, 16, 17, 22, 33, 64, 80, 97, 128};
    static const int64_t rows[] = {1, 1, 2, 3, 5, 24, 25, 64, 70}, windows[] = {0, 0, 1, 5, 64, 70};
    static const int64_t positions[] = {0, 0, 1, 15, 63, 64, 65, 130, 300};
    for (int i = 0; i < (run->quick ? 40 : 300); i++) {
        Shape s = {.head_dim = PICK(run, dims), .group = 1 + random_below(run, 9), .rows = PICK(run, rows),
                   .position = PICK(run, positions), .window = PICK(run, windows),
                   .kv_type = i % 2 ? DT_F32 : DT_F16};
        if (i % 4 == 3)
            s.kind = (InputKind)(i / 4 % IN_COUNT);
        if (s.rows * s.group > 200)
            s.group = 1 + s.group % 3;
        check_shape(run, &s);
    }
}

static void attention_with_entries(Run *run)
{
    static const int64_t dims[] = {1, 6, 16, 17, 64, 80, 128}, rows[] = {1, 2, 3, 5, 24, 64, 70};
    static const int64_t windows[] = {0, 1, 5, 64, 70}, tokens[] = {1, 4, 4, 8, 128};
    static const int64_t positions[] = {0, 0, 1, 3, 63, 64, 127, 130, 300};
    for (int i = 0; i < (run->quick ? 40 : 300); i++) {
        Shape s = {.head_dim = PICK(run, dims), .group = 1 + random_below(run, 9), .rows = PICK(run, rows),
                   .position = PICK(run, positions), .window = PICK(run, windows),
                   .kv_type = i % 2 ? DT_F32 : DT_F16, .entry_tokens = PICK(run, tokens),
                   .choice = (Choice)(i % CHOICE_COUNT), .sinks = i % 3 != 0};
        if (i % 4 == 3)
            s.kind = (InputKind)(i / 4 % IN_COUNT);
        if (i % 20 == 19) /* larger than scratch: gathered in pieces */
            s.head_dim = 600, s.rows = 3, s.group = 2;
        if (s.rows * s.group > 200)
            s.group = 1 + s.group % 3;
        check_shape(run, &s);
    }
}

/* Bit for bit. */
static void a_list_of_all_entries_is_no_list(Run *run)
{
    for (int i = 0; i < 8; i++) {
        const Shape s = {.head_dim = 64, .group = 3, .rows = 40, .position = 280, .window = 16,
                         .kv_type = i % 2 ? DT_F32 : DT_F16, .entry_tokens = 1 + i / 2};
        World w = world_of(run, &s);
        Guarded all = attend_all(run, &run->level, &w);
        w.shape.choice = LIST_OF_ALL;
        mem_free(w.chosen);
        choose_entries(run, &w);
        Guarded list = attend_all(run, &run->level, &w);
        if (first_difference(&run->level, all.p, list.p, s.rows * row_width(&w)) >= 0)
            describe(run, &w.shape, "not the bits of no list");
        run->cases++;
        guarded_free(&all);
        guarded_free(&list);
        world_free(&w);
    }
}

/* What a query sees is masked by its own position even when later rows of the chunk stand in the page. */
static void attention_of_one_key_is_its_value(Run *run)
{
    const Shape s = {.head_dim = 64, .group = 2, .rows = 1, .kv_type = DT_F32};
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
        const Shape s = {.head_dim = PICK(run, dims), .group = 1,
                         .rows = 1 + random_below(run, ATTENTION_PAGE - entry),
                         .kv_type = i % 2 ? DT_F32 : DT_F16, .kind = (InputKind)(i % IN_COUNT)};
        World w = world_of(run, &s);
        Cache c = cache_of(level, &w, w.keys, CANARY);
        Guarded expected = guarded(c.page[0].bytes);
        Guarded k = reals_of(level, w.k, s.rows * s.head_dim), v = reals_of(level, w.v, s.rows * s.head_dim);
        const int kinds = i % 3 == 0 ? 1 : 2; /* keys alone, or values too */
        level->k->kv_write(c.page[0].p, c.key_offset, c.value_offset, s.kv_type, entry, s.rows, k.p, s.head_dim,
                           kinds == 2 ? v.p : NULL, s.head_dim, s.head_dim);
        for (int64_t r = 0; r < s.rows; r++)
            for (int64_t d = 0; d < s.head_dim; d++)
                for (int value = 0; value < kinds; value++) {
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
        cache_free(run, &c);
        world_free(&w);
    }
}

int main(int argc, char **argv)
{
    static const KernelCheck checks[] = {
        {"kv_write", kv_write},
        {"attention", attention},
        {"attention_with_entries", attention_with_entries},
        {"a_list_of_all_entries_is_no_list", a_list_of_all_entries_is_no_list},
        {"attention_of_one_key_is_its_value", attention_of_one_key_is_its_value},
    };
    return check_main(argc, argv, checks, sizeof checks / sizeof checks[0]);
}
