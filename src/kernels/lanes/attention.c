/* Softmax attention over a paged cache, and the writing of that cache.
 *
 * Plan. Queries (row, head of the group; heads fastest) are taken in sets of at most QUERIES, copied to
 * scratch so that they are equally far apart. A set walks the blocks of 64 keys it sees: the pages of the
 * cache, ascending, then the pages of compressed entries, ascending. On each block
 *   1. scores [query][64] = q · keys: the register tile with keys as its vectors, k along head_dim;
 *   2. the running softmax of each query (online softmax, arXiv:2205.14135): scores of keys it does not
 *      see become −inf, the maximum may grow, and what was summed before shrinks with it;
 *   3. sums [query][value_pad] += p · values: the same tile with values as its vectors, k along keys.
 * A page of one head (16 + 16 KiB at head_dim 64) stays in L1 for all queries of the set. A sink joins
 * maximum and denominator at the end.
 *
 * Chosen entries. The queries of a row take the entries of its list 64 at a time, as if the others had been
 * removed: a list of all visible entries gives the bits of no list. 64 entries that are the beginning of a
 * page are read where they lie; others are gathered into scratch, in pieces when head_dim is large.
 * A mask on each page was the alternative: at 512 of 250,000 entries it reads up to 64 times as much.
 *
 * What a query does not see must not matter, not even as 0 · inf: step 3 runs only over keys that all
 * queries of a tile see and lets each take its few others alone, before and after, so that the order
 * stays ascending. All values of one query depend on its own keys only.
 *
 * A float16 page that several tiles read is widened first, which is exact, or each of them would convert
 * it again (a third of the time at 24 queries).
 *
 * Scratch, in reals: for widening and gathering at most [value_pad][64], then queries [set][head_dim],
 * scores [set][64], sums [set][value_pad], the running maximum and denominator. */
#include "kernels/lanes/lanes.h"
#include "kernels/lanes/seen.h"
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
#define ATTENTION_ROWS 6
#define TILES(X) X(1, 1) X(1, 2) X(1, 4) X(2, 1) X(2, 2) X(3, 1) X(3, 2) X(4, 1) X(5, 1) X(6, 1)
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
    int64_t pad;       /* value_pad */
    int64_t first;     /* query number r·group + h of the set's first */
    int count;
    real *q, *scores, *sums, *max, *total;
    real *room;        /* of room_size reals, for keys or values that are not read where they lie */
    int64_t room_size;
    bool half, widen;  /* the cache holds float16; it is widened before use */
} Set;

/* 64 keys as some queries of the set see them. */
typedef struct {
    int begin, end;    /* queries begin … end−1 */
    uint8_t lo[QUERIES], hi[QUERIES]; /* of query i: keys lo[i] … hi[i]−1 */
    const void *keys, *values;
    const int32_t *list; /* entries, hi[i] of them, that are to be gathered; NULL: keys and values stand there */
} Block;

/* R rows, `vecs` vectors: as few tiles as their widths allow. */
static void run_tiles(Tile t, bool half, int R, int64_t vecs)
{
    const int64_t element = half ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(real);
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
        if (half)                   \
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

/* ---- keys and values as reals ---- */

#if !REAL_IS_DOUBLE
static void widen(real *out, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += LANES)
        v_store(out + i, v_load_f16(x + i));
}
#endif

/* Dimensions d0 … d1−1 of the keys of n entries, [d1−d0][64], zeros behind the last up to a whole vector. */
static const real *gather_keys(const Set *s, const int32_t *list, int64_t n, int64_t d0, int64_t d1)
{
    const int64_t element = s->half ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(real);
    const int64_t whole = (n + LANES - 1) / LANES * LANES;
    const char *from[PAGE];
    for (int64_t j = 0; j < n; j++)
        from[j] = (const char *)s->a->entry_pages[list[j] / PAGE] + s->a->entry_key_offset +
                  element * (list[j] % PAGE);
    for (int64_t d = d0; d < d1; d++) {
        real *const out = s->room + (d - d0) * PAGE;
        memset(out + whole - LANES, 0, LANES * sizeof *out);
#if !REAL_IS_DOUBLE
        if (s->half) {
            uint16_t row[PAGE] = {0};
            for (int64_t j = 0; j < n; j++)
                row[j] = ((const uint16_t *)(const void *)from[j])[d * PAGE];
            widen(out, row, whole);
            continue;
        }
#endif
        for (int64_t j = 0; j < n; j++)
            out[j] = ((const real *)(const void *)from[j])[d * PAGE];
    }
    return s->room;
}

/* The values of n entries, [n][value_pad]. */
static const real *gather_values(const Set *s, const int32_t *list, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        const char *const values = (const char *)s->a->entry_pages[list[j] / PAGE] + s->a->entry_value_offset;
        const int64_t at = list[j] % PAGE * s->pad;
#if !REAL_IS_DOUBLE
        if (s->half) {
            widen(s->room + j * s->pad, (const uint16_t *)(const void *)values + at, s->pad);
            continue;
        }
#endif
        memcpy(s->room + j * s->pad, (const real *)(const void *)values + at, (size_t)s->pad * sizeof(real));
    }
    return s->room;
}

/* Elements from … from+n−1 (multiples of 16) of keys or values, in their places. */
static const void *widened(const Set *s, const void *cache, int64_t from, int64_t n)
{
#if !REAL_IS_DOUBLE
    if (s->widen) {
        widen(s->room + from, (const uint16_t *)cache + from, n);
        return s->room;
    }
#else
    (void)s, (void)from, (void)n;
#endif
    return cache;
}

/* ---- 1. scores ---- */

/* Dimensions d0 … d1−1 of the products with keys [d1−d0][64], vectors vec0 … vec1−1. */
static void score_piece(const Set *s, const Block *b, const void *keys, bool half, int64_t d0, int64_t d1,
                        int64_t vec0, int64_t vec1)
{
    const int64_t element = half ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(real);
    Tile t = {.ldc = PAGE, .lda = s->a->head_dim, .step_k = PAGE, .step_v = LANES, .last = LANES};
    t.n = d1 - d0;
    t.fresh = d0 == 0;
    t.b = (const char *)keys + element * LANES * vec0;
    for (int i = b->begin, R; i < b->end; i += R) {
        R = b->end - i < ATTENTION_ROWS ? b->end - i : ATTENTION_ROWS;
        t.a = s->q + i * t.lda + d0;
        t.c = s->scores + i * PAGE + LANES * vec0;
        run_tiles(t, half, R, vec1 - vec0);
    }
}

static void score_block(const Set *s, const Block *b, int64_t first, int64_t last)
{
    const int64_t dim = s->a->head_dim, vec0 = first / LANES, vec1 = (last + LANES - 1) / LANES;
    if (!b->list) {
        score_piece(s, b, widened(s, b->keys, 0, dim * PAGE), s->half && !s->widen, 0, dim, vec0, vec1);
        return;
    }
    const int64_t piece = s->room_size / PAGE;
    for (int64_t d0 = 0, d1; d0 < dim; d0 = d1) {
        d1 = dim - d0 < piece ? dim : d0 + piece;
        score_piece(s, b, gather_keys(s, b->list, last, d0, d1), false, d0, d1, vec0, vec1);
    }
}

/* ---- 2. softmax ---- */

/* The maximum of query i becomes `max`. */
static void shrink_sums(const Set *s, int i, real max)
{
    real *const sums = s->sums + i * s->pad;
    const real factor = r_exp(s->max[i] - max);
    for (int64_t j = 0; j < s->pad; j += LANES)
        v_store(sums + j, v_mul(v_load(sums + j), v_set1(factor)));
    s->total[i] *= factor;
    s->max[i] = max;
}

/* Scores of query i become weights e^(score − maximum); vectors without a key in [lo, hi) are left alone, as if
 * their weights were the zeros that they would get. */
static void softmax_block(const Set *s, int i, int64_t lo, int64_t hi)
{
    real *const p = s->scores + i * PAGE;
    const vreal least = v_set1(-(real)INFINITY), scale = v_set1((real)s->a->scale);
    const int begin = (int)lo / LANES, end = ((int)hi + LANES - 1) / LANES;
    vreal x[PAGE_VECS];
    for (int v = 0; v < PAGE_VECS; v++) {
        x[v] = least;
        if (v >= begin && v < end)
            x[v] = v_mul(v_load(p + LANES * v), scale);
    }
    if (lo % LANES)
        x[begin] = v_select(v_first(lo % LANES), least, x[begin]);
    if (hi % LANES)
        x[end - 1] = v_select(v_first(hi % LANES), x[end - 1], least);
    const real block_max = v_reduce_max(v_max(v_max(x[0], x[1]), v_max(x[2], x[3])));
    const real max = r_max(s->max[i], block_max);
    if (max != s->max[i]) /* also when there is a NaN */
        shrink_sums(s, i, max);
    const vreal m = v_set1(max == -(real)INFINITY ? 0 : max);
    for (int v = 0; v < PAGE_VECS; v++) {
        if (v >= begin && v < end) {
            x[v] = v_exp(v_sub(x[v], m));
            v_store(p + LANES * v, x[v]);
        } else {
            x[v] = v_zero();
        }
    }
    s->total[i] += v_reduce_add(v_add(v_add(x[0], x[1]), v_add(x[2], x[3])));
}

/* A score without a value. */
static void softmax_sink(const Set *s, int i, real sink)
{
    const real max = r_max(s->max[i], sink);
    if (max != s->max[i])
        shrink_sums(s, i, max);
    s->total[i] += r_exp(sink - (max == -(real)INFINITY ? 0 : max));
}

/* ---- 3. values ---- */

/* Queries i … i+R−1 take keys [lo, hi) of the block; `values` are those of keys from `at` on. */
static void add_values(const Set *s, const void *values, int64_t at, bool half, int i, int R, int64_t lo,
                       int64_t hi)
{
    const int64_t element = half ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(real);
    if (lo >= hi)
        return;
    Tile t = {.ldc = s->pad, .lda = PAGE, .step_k = s->pad, .step_v = LANES, .last = LANES};
    t.n = hi - lo;
    t.a = s->scores + i * PAGE + lo;
    t.c = s->sums + i * s->pad;
    t.b = (const char *)values + element * s->pad * (lo - at);
    run_tiles(t, half, R, s->pad / LANES);
}

static void value_block(const Set *s, const Block *b, const void *values)
{
    const bool half = s->half && !s->widen;
    for (int i = b->begin, R; i < b->end; i += R) {
        int64_t from = 0, to = PAGE;
        R = b->end - i < ATTENTION_ROWS ? b->end - i : ATTENTION_ROWS;
        for (int r = i; r < i + R; r++) {
            from = b->lo[r] > from ? b->lo[r] : from;
            to = b->hi[r] < to ? b->hi[r] : to;
        }
        if (from >= to) { /* nothing in common */
            for (int r = i; r < i + R; r++)
                add_values(s, values, 0, half, r, 1, b->lo[r], b->hi[r]);
            continue;
        }
        for (int r = i; r < i + R; r++)
            add_values(s, values, 0, half, r, 1, b->lo[r], from);
        add_values(s, values, 0, half, i, R, from, to);
        for (int r = i; r < i + R; r++)
            add_values(s, values, 0, half, r, 1, to, b->hi[r]);
    }
}

/* All queries of the block see all of its n entries. */
static void value_gathered(const Set *s, const Block *b, int64_t n)
{
    const int64_t piece = s->room_size / s->pad;
    for (int64_t j0 = 0, j1; j0 < n; j0 = j1) {
        j1 = n - j0 < piece ? n : j0 + piece;
        const real *const values = gather_values(s, b->list + j0, j1 - j0);
        for (int i = b->begin, R; i < b->end; i += R) {
            R = b->end - i < ATTENTION_ROWS ? b->end - i : ATTENTION_ROWS;
            add_values(s, values, j0, false, i, R, j0, j1);
        }
    }
}

/* ---- blocks ---- */

static void visit_block(const Set *s, const Block *b)
{
    int64_t first = PAGE, last = 0;
    for (int i = b->begin; i < b->end; i++) {
        first = b->lo[i] < first ? b->lo[i] : first;
        last = b->hi[i] > last ? b->hi[i] : last;
    }
    if (first >= last)
        return;
    score_block(s, b, first, last);
    for (int i = b->begin; i < b->end; i++)
        if (b->lo[i] < b->hi[i])
            softmax_block(s, i, b->lo[i], b->hi[i]);
    if (b->list)
        value_gathered(s, b, last);
    else
        value_block(s, b, widened(s, b->values, first * s->pad, (last - first) * s->pad));
}

static int64_t row_of(const Set *s, int i)
{
    return (s->first + i) / s->a->group;
}

static void visit_keys(const Set *s)
{
    const AttentionArgs *const a = s->a;
    const int64_t last = a->position + row_of(s, s->count - 1);
    Block b = {.begin = 0, .end = s->count};
    for (int64_t page = seen_key_begin(a, row_of(s, 0)) / PAGE; page <= last / PAGE; page++) {
        b.keys = (const char *)a->pages[page] + a->key_offset;
        b.values = (const char *)a->pages[page] + a->value_offset;
        for (int i = 0; i < s->count; i++) {
            b.lo[i] = seen_in_page(seen_key_begin(a, row_of(s, i)), page);
            b.hi[i] = seen_in_page(a->position + row_of(s, i) + 1, page);
        }
        visit_block(s, &b);
    }
}

static void place_entries(const AttentionArgs *a, Block *b, int64_t page)
{
    b->keys = (const char *)a->entry_pages[page] + a->entry_key_offset;
    b->values = (const char *)a->entry_pages[page] + a->entry_value_offset;
}

static void visit_entries(const Set *s)
{
    const AttentionArgs *const a = s->a;
    const int64_t most = seen_entries(a, row_of(s, s->count - 1));
    Block b = {.begin = 0, .end = s->count};
    memset(b.lo, 0, sizeof b.lo);
    for (int64_t page = 0; page * PAGE < most; page++) {
        place_entries(a, &b, page);
        for (int i = 0; i < s->count; i++)
            b.hi[i] = seen_in_page(seen_entries(a, row_of(s, i)), page);
        visit_block(s, &b);
    }
}

/* Each row its own list. */
static void visit_chosen(const Set *s)
{
    const AttentionArgs *const a = s->a;
    Block b = {.end = 0};
    memset(b.lo, 0, sizeof b.lo);
    while (b.end < s->count) {
        const int64_t row = row_of(s, b.end), n = seen_chosen(a, row);
        const int32_t *const list = a->chosen + row * a->chosen_count;
        b.begin = b.end;
        while (b.end < s->count && row_of(s, b.end) == row)
            b.end++;
        for (int64_t j = 0; j < n; j += PAGE) {
            const int64_t m = n - j < PAGE ? n - j : PAGE;
            const bool page = list[j] % PAGE == 0 && list[j + m - 1] == list[j] + m - 1;
            b.list = page ? NULL : list + j;
            if (page)
                place_entries(a, &b, list[j] / PAGE);
            memset(b.hi, (int)m, sizeof b.hi);
            visit_block(s, &b);
        }
    }
}

/* ---- sets ---- */

/* Share out the scratch memory: how many queries a set may have, and whether pages are widened. */
static int plan_sets(Set *s, void *scratch)
{
    const AttentionArgs *const a = s->a;
    const int64_t room = (int64_t)(ATTENTION_SCRATCH / sizeof(real)), page = s->pad * PAGE;
    const int64_t per_query = s->pad + PAGE + a->head_dim + 2;
    const bool several = a->rows * a->group > 2 * ATTENTION_ROWS;
    s->half = !REAL_IS_DOUBLE && a->kv_type == DT_F16;
    s->widen = s->half && several && (room - page) / per_query >= QUERIES / 2;
    s->room = scratch;
    s->room_size = s->widen ? page : 0;
    if (a->entry_tokens > 0 && a->chosen && !s->widen)
        s->room_size = page < room / 2 ? page : room / 2;
    s->sums = s->room + s->room_size;
    const int64_t fit = (room - s->room_size) / per_query;
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
        const int64_t row = row_of(s, i), head = (first + i) % a->group;
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
        const int64_t row = row_of(s, i), head = (s->first + i) % a->group;
        real *const out = (real *)a->out + row * a->ld_out + head * a->head_dim;
        const real *const sums = s->sums + i * s->pad;
        if (a->sinks)
            softmax_sink(s, i, ((const real *)a->sinks)[head]);
        const vreal total = v_set1(s->total[i]);
        for (int64_t j = 0; j < a->head_dim; j += LANES)
            v_store_part(out + j, v_div(v_load(sums + j), total), a->head_dim - j);
        if (a->lse)
            ((real *)a->lse)[row * a->ld_lse + head] = (real)((double)s->max[i] + log((double)s->total[i]));
    }
}

void KERNEL(attention)(const AttentionArgs *a, void *scratch)
{
    const int64_t queries = a->rows * a->group;
    Set s = {.a = a, .pad = (a->head_dim + LANES - 1) / LANES * LANES};
    const int most = plan_sets(&s, scratch);
    for (int64_t i = 0; i < queries; i += s.count) {
        open_set(&s, i, most);
        visit_keys(&s);
        if (a->entry_tokens > 0 && a->chosen)
            visit_chosen(&s);
        else if (a->entry_tokens > 0)
            visit_entries(&s);
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
    for (int64_t r = 0; v && r < rows; r++)
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
        if (v)
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
