/* Softmax attention over a paged cache, and the writing of that cache.
 *
 * Plan. Queries (row, head of the group; heads fastest) are taken in sets of at most QUERIES, copied to
 * scratch so that they are equally far apart. A set walks the pages it sees, ascending; on each page
 *   1. scores [query][64] = q · keys: the register tile with keys as its vectors, k along head_dim;
 *   2. the running softmax of each query (online softmax, arXiv:2205.14135): scores of keys it does not
 *      see become −inf, the maximum may grow, and what was summed before shrinks with it;
 *   3. sums [query][value_pad] += p · values: the same tile with values as its vectors, k along keys.
 * A page of one head (16 + 16 KiB at head_dim 64) stays in L1 for all queries of the set.
 *
 * What a query does not see must not matter, not even as 0 · inf: step 3 runs only over keys that all
 * queries of a tile see and lets each take its few others alone, before and after, so that the order
 * stays ascending. All values of one query depend on its own range of keys only.
 *
 * A float16 page that several tiles read is widened first, which is exact, or each of them would convert
 * it again (a third of the time at 24 queries).
 *
 * Scratch, in reals: queries [set][head_dim], scores [set][64], sums [set][value_pad], the running maximum
 * and denominator, and, for widening, [value_pad][64]. */
#include "kernels/lanes/lanes.h"
#include "kernels/lanes/tile.h"
#include "kernels/lanes/vec_math.h"

#include <assert.h>

#define PAGE ATTENTION_PAGE
#define PAGE_VECS (PAGE / LANES)
#define QUERIES 24

#if TILE_ROWS == 12
#define ATTENTION_ROWS 6
#define TILES(X)                                                                                   \
    X(1, 1) X(1, 2) X(1, 4) X(2, 1) X(2, 2) X(2, 4) X(3, 1) X(3, 2) X(3, 4)                        \
    X(4, 1) X(4, 2) X(4, 4) X(5, 1) X(5, 2) X(5, 4) X(6, 1) X(6, 2) X(6, 4)
#elif TILE_ROWS == 6
#define ATTENTION_ROWS 3
#define TILES(X) X(1, 1) X(1, 2) X(1, 4) X(2, 1) X(2, 2) X(3, 1) X(3, 2)
#else
#define ATTENTION_ROWS 4
#define TILES(X) X(1, 1) X(2, 1) X(3, 1) X(4, 1)
#endif
#define ATTENTION_VECS(R) (TILE_VECS(R) > 4 ? 4 : TILE_VECS(R))

static_assert(PAGE % LANES == 0, "pages of whole vectors");

#define X(R, V)                                                          \
    static __attribute__((noinline)) void tile_real_##R##x##V(const Tile *t) \
    {                                                                    \
        tile_run(R, V, TILE_REAL, t);                                    \
    }
TILES(X)
#undef X
#if !REAL_IS_DOUBLE
#define X(R, V)                                                         \
    static __attribute__((noinline)) void tile_half_##R##x##V(const Tile *t) \
    {                                                                   \
        tile_run(R, V, TILE_F16, t);                                    \
    }
TILES(X)
#undef X
#endif

/* A set of queries. */
typedef struct {
    const AttentionArgs *a;
    bool half;         /* tiles read float16 */
    int64_t pad;       /* value_pad */
    int64_t first;     /* query number r·group + h of the set's first */
    int count;
    real *q, *scores, *sums, *max, *total;
    real *wide;        /* room for a page's keys or values as reals; NULL: tiles read the cache itself */
} Set;

/* R rows, `vecs` vectors: as few tiles as their widths allow. */
static void run_tiles(const Set *s, Tile t, int R, int64_t vecs)
{
    const int64_t element = s->half ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(real);
    int V = ATTENTION_VECS(R);
    for (; vecs > 0; vecs -= V) {
        while (V > vecs)
            V /= 2;
        switch (R * 16 + V) {
#if REAL_IS_DOUBLE
#define X(R, V)                     \
    case R * 16 + V:                \
        tile_real_##R##x##V(&t);    \
        break;
#else
#define X(R, V)                     \
    case R * 16 + V:                \
        if (s->half)                \
            tile_half_##R##x##V(&t); \
        else                        \
            tile_real_##R##x##V(&t); \
        break;
#endif
            TILES(X)
#undef X
        }
        t.b = (const char *)t.b + element * LANES * V;
        t.c += LANES * V;
    }
}

/* The keys of page `page` that query i of the set sees, relative to the page: [*lo, *hi). */
static void key_range(const Set *s, int i, int64_t page, int64_t *lo, int64_t *hi)
{
    const int64_t last = s->a->position + (s->first + i) / s->a->group;
    const int64_t begin = s->a->window > 0 && last + 1 > s->a->window ? last + 1 - s->a->window : 0;
    const int64_t from = begin - page * PAGE, to = last + 1 - page * PAGE;
    *lo = from < 0 ? 0 : from > PAGE ? PAGE : from;
    *hi = to < 0 ? 0 : to > PAGE ? PAGE : to;
}

/* ---- 1. scores ---- */

static void score_page(const Set *s, const void *keys, int64_t vec0, int64_t vec1)
{
    const int64_t element = s->half ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(real);
    Tile t = {.ldc = PAGE, .lda = s->a->head_dim, .step_k = PAGE, .step_v = LANES, .last = LANES};
    t.n = s->a->head_dim;
    t.fresh = true;
    t.b = (const char *)keys + element * LANES * vec0;
    for (int i = 0, R; i < s->count; i += R) {
        R = s->count - i < ATTENTION_ROWS ? s->count - i : ATTENTION_ROWS;
        t.a = s->q + i * t.lda;
        t.c = s->scores + i * PAGE + LANES * vec0;
        run_tiles(s, t, R, vec1 - vec0);
    }
}

/* ---- 2. softmax ---- */

static void shrink_sums(const Set *s, int i, real factor)
{
    real *const sums = s->sums + i * s->pad;
    for (int64_t j = 0; j < s->pad; j += LANES)
        v_store(sums + j, v_mul(v_load(sums + j), v_set1(factor)));
    s->total[i] *= factor;
}

/* Scores of query i become weights e^(score − maximum); keys outside [lo, hi) get 0. */
static void softmax_page(const Set *s, int i, int64_t lo, int64_t hi)
{
    real *const p = s->scores + i * PAGE;
    const vreal least = v_set1(-(real)INFINITY), scale = v_set1((real)s->a->scale);
    vreal x[PAGE_VECS];
    for (int v = 0; v < PAGE_VECS; v++)
        x[v] = v_mul(v_load(p + LANES * v), scale);
    if (lo > 0 || hi < PAGE)
        for (int v = 0; v < PAGE_VECS; v++) {
            const vmask seen = m_andnot(v_first(hi - LANES * v), v_first(lo - LANES * v));
            x[v] = v_select(seen, x[v], least);
        }
    const real page_max = v_reduce_max(v_max(v_max(x[0], x[1]), v_max(x[2], x[3])));
    const real max = r_max(s->max[i], page_max);
    if (max != s->max[i]) { /* also when there is a NaN */
        shrink_sums(s, i, r_exp(s->max[i] - max));
        s->max[i] = max;
    }
    const vreal m = v_set1(max == -(real)INFINITY ? 0 : max);
    for (int v = 0; v < PAGE_VECS; v++) {
        x[v] = v_exp(v_sub(x[v], m));
        v_store(p + LANES * v, x[v]);
    }
    s->total[i] += v_reduce_add(v_add(v_add(x[0], x[1]), v_add(x[2], x[3])));
}

/* ---- 3. values ---- */

/* Queries i … i+R−1 take keys [lo, hi) of the page. */
static void add_values(const Set *s, const void *values, int i, int R, int64_t lo, int64_t hi)
{
    const int64_t element = s->half ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(real);
    if (lo >= hi)
        return;
    Tile t = {.ldc = s->pad, .lda = PAGE, .step_k = s->pad, .step_v = LANES, .last = LANES};
    t.n = hi - lo;
    t.a = s->scores + i * PAGE + lo;
    t.c = s->sums + i * s->pad;
    t.b = (const char *)values + element * s->pad * lo;
    run_tiles(s, t, R, s->pad / LANES);
}

static void value_page(const Set *s, const void *values, int64_t page)
{
    for (int i = 0, R; i < s->count; i += R) {
        int64_t lo[ATTENTION_ROWS], hi[ATTENTION_ROWS], from = 0, to = PAGE;
        R = s->count - i < ATTENTION_ROWS ? s->count - i : ATTENTION_ROWS;
        for (int r = 0; r < R; r++) {
            key_range(s, i + r, page, &lo[r], &hi[r]);
            from = lo[r] > from ? lo[r] : from;
            to = hi[r] < to ? hi[r] : to;
        }
        if (from >= to) { /* nothing in common */
            for (int r = 0; r < R; r++)
                add_values(s, values, i + r, 1, lo[r], hi[r]);
            continue;
        }
        for (int r = 0; r < R; r++)
            add_values(s, values, i + r, 1, lo[r], from);
        add_values(s, values, i, R, from, to);
        for (int r = 0; r < R; r++)
            add_values(s, values, i + r, 1, to, hi[r]);
    }
}

/* ---- sets ---- */

#if REAL_IS_DOUBLE
#define widened(s, cache, from, n) (cache)
#else
/* Elements from … from+n−1 (multiples of 16) of keys or values as reals, in their places. */
static const void *widened(const Set *s, const void *cache, int64_t from, int64_t n)
{
    if (!s->wide)
        return cache;
    for (int64_t i = from; i < from + n; i += LANES)
        v_store(s->wide + i, v_load_f16((const uint16_t *)cache + i));
    return s->wide;
}
#endif

static void visit_page(const Set *s, int64_t page)
{
    const char *const base = s->a->pages[page];
    const void *const keys = base + s->a->key_offset, *const values = base + s->a->value_offset;
    int64_t lo, hi, first = PAGE, last = 0;
    for (int i = 0; i < s->count; i++) {
        key_range(s, i, page, &lo, &hi);
        first = lo < first ? lo : first;
        last = hi > last ? hi : last;
    }
    if (first >= last)
        return;
    score_page(s, widened(s, keys, 0, s->a->head_dim * PAGE), first / LANES, (last + LANES - 1) / LANES);
    for (int i = 0; i < s->count; i++) {
        key_range(s, i, page, &lo, &hi);
        if (lo < hi)
            softmax_page(s, i, lo, hi);
    }
    value_page(s, widened(s, values, first * s->pad, (last - first) * s->pad), page);
}

/* Share out the scratch memory: how many queries a set may have, and whether pages are widened. */
static int plan_sets(Set *s, void *scratch)
{
    const AttentionArgs *const a = s->a;
    const int64_t room = (int64_t)(ATTENTION_SCRATCH / sizeof(real)), page = s->pad * PAGE;
    const int64_t per_query = s->pad + PAGE + a->head_dim + 2;
    const bool several = a->rows * a->group > 2 * ATTENTION_ROWS;
    int64_t fit = room / per_query;
    s->half = !REAL_IS_DOUBLE && a->kv_type == DT_F16;
    s->wide = NULL;
    s->sums = scratch;
    if (s->half && several && (room - page) / per_query >= QUERIES / 2) {
        s->half = false;
        s->wide = scratch;
        s->sums = s->wide + page;
        fit = (room - page) / per_query;
    }
    CHECK(fit > 0); /* head_dim up to about 4,000 */
    return (int)(fit < QUERIES ? fit : QUERIES);
}

/* The set that begins with query `first`, of at most `most`. */
static void open_set(Set *s, int64_t first, int most)
{
    const AttentionArgs *const a = s->a;
    const int64_t left = a->rows * a->group - first;
    s->first = first;
    s->count = (int)(left < most ? left : most);
    s->scores = s->sums + s->count * s->pad;
    s->q = s->scores + s->count * PAGE;
    s->max = s->q + s->count * a->head_dim;
    s->total = s->max + s->count;
    memset(s->sums, 0, (size_t)(s->count * s->pad) * sizeof(real));
    for (int i = 0; i < s->count; i++) {
        const int64_t row = (first + i) / a->group, head = (first + i) % a->group;
        memcpy(s->q + i * a->head_dim, (const real *)a->q + row * a->ld_q + head * a->head_dim,
               (size_t)a->head_dim * sizeof(real));
        s->max[i] = -(real)INFINITY;
        s->total[i] = 0;
    }
}

static void close_set(const Set *s)
{
    const AttentionArgs *const a = s->a;
    for (int i = 0; i < s->count; i++) {
        const int64_t row = (s->first + i) / a->group, head = (s->first + i) % a->group;
        real *const out = (real *)a->out + row * a->ld_out + head * a->head_dim;
        const real *const sums = s->sums + i * s->pad;
        const vreal total = v_set1(s->total[i]);
        for (int64_t j = 0; j < a->head_dim; j += LANES)
            v_store_part(out + j, v_div(v_load(sums + j), total), a->head_dim - j);
    }
}

void KERNEL(attention)(const AttentionArgs *a, void *scratch)
{
    const int64_t queries = a->rows * a->group;
    Set s = {.a = a, .pad = (a->head_dim + LANES - 1) / LANES * LANES};
    const int most = plan_sets(&s, scratch);
    for (int64_t i = 0; i < queries; i += s.count) {
        open_set(&s, i, most);
        const int64_t last = a->position + (i + s.count - 1) / a->group;
        int64_t page = a->position + i / a->group + 1 - a->window; /* first key of the first row */
        page = a->window > 0 && page > 0 ? page / PAGE : 0;
        for (; page <= last / PAGE; page++)
            visit_page(&s, page);
        close_set(&s);
    }
}

/* ---- the cache ---- */

static void write_real(real *keys, real *values, int64_t pad, int64_t rows, const real *k, int64_t ldk,
                       const real *v, int64_t ldv, int64_t head_dim)
{
    for (int64_t d = 0; d < head_dim; d++)
        for (int64_t r = 0; r < rows; r++)
            keys[d * PAGE + r] = k[r * ldk + d];
    for (int64_t r = 0; r < rows; r++)
        memcpy(values + r * pad, v + r * ldv, (size_t)head_dim * sizeof(real));
}

#if !REAL_IS_DOUBLE
static void halves(uint16_t *out, const float *x, int64_t n)
{
    uint16_t piece[LANES];
    for (int64_t i = 0; i < n; i += LANES) {
        v_store_f16(piece, v_load_part(x + i, n - i));
        memcpy(out + i, piece, (size_t)(n - i < LANES ? n - i : LANES) * sizeof *piece);
    }
}

static void write_halves(uint16_t *keys, uint16_t *values, int64_t pad, int64_t rows, const float *k,
                         int64_t ldk, const float *v, int64_t ldv, int64_t head_dim)
{
    uint16_t piece[LANES];
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t d = 0; d < head_dim; d += LANES) {
            const int64_t n = head_dim - d < LANES ? head_dim - d : LANES;
            halves(piece, k + r * ldk + d, n);
            for (int64_t i = 0; i < n; i++)
                keys[(d + i) * PAGE + r] = piece[i];
        }
        halves(values + r * pad, v + r * ldv, head_dim);
    }
}
#endif

void KERNEL(kv_write)(void *page, size_t key_offset, size_t value_offset, Dtype kv_type,
                      int64_t entry0, int64_t rows, const void *k, int64_t ldk, const void *v,
                      int64_t ldv, int64_t head_dim)
{
    const int64_t pad = (head_dim + LANES - 1) / LANES * LANES;
    void *const keys = (char *)page + key_offset, *const values = (char *)page + value_offset;
#if !REAL_IS_DOUBLE
    if (kv_type == DT_F16) {
        write_halves((uint16_t *)keys + entry0, (uint16_t *)values + entry0 * pad, pad, rows, k, ldk, v,
                     ldv, head_dim);
        return;
    }
#else
    (void)kv_type;
#endif
    write_real((real *)keys + entry0, (real *)values + entry0 * pad, pad, rows, k, ldk, v, ldv, head_dim);
}
