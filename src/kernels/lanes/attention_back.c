/* Gradients of softmax attention over one whole sequence (the backward pass of FlashAttention,
 * arXiv:2205.14135, with the probabilities computed again from the log of the denominator).
 *
 *     P = exp(scale·q·k − lse)          delta = Σ dout·out         dS = P·(dout·v − delta)·scale
 *     dq += dS·k     dk += dSᵀ·q     dv += Pᵀ·dout     dsink = −exp(sink − lse)·delta
 *
 * A sink has no value, so delta is Σ_j P_j·dP_j with sinks, too.
 *
 * Plan. Pages of 64 keys, ascending, then pages of entries; on each page the queries (row, head of the group;
 * heads fastest) that may see some of it, in sets of at most QUERIES. Five products of about 48 × 64 × head_dim,
 * all by the register tile (block.h), whose second operand is packed as vectors of sixteen columns:
 *
 *     S [query][64]  = q · keys      columns are keys, lanes as in the page     packed once a page
 *     dP [query][64] = dout · values columns are keys: values transposed        packed once a page
 *     dq [query][d]  += dS · keys    columns are dimensions: keys transposed    packed once a page
 *     dk [key][d]    += dSᵀ · q      columns are dimensions, dSᵀ transposed     packed once a set
 *     dv [key][d]    += Pᵀ · dout    the same
 *
 * dk, dv and dentries are summed where they lie, rows ascending, heads ascending in a row; where dk and dv are
 * one buffer a set adds dSᵀ·q before Pᵀ·dout. dq is summed over pages in ascending order. What a query does
 * not see is a bit of 64 that is not set: P and dS are 0 there, and whole runs of keys that a few queries
 * (CHUNK) have not in common, or of queries that do not see a few keys, are left out. Keys that nobody sees are
 * never multiplied, so they may be NaNs; an infinite key that one query sees reaches the queries beside it.
 *
 * When head_dim is large, keys and values are packed in pieces of their dimensions, again for every set.
 *
 * Roof: the multiply-add rate. The rest is one exponential a score, packing and transposing. */
#include "kernels/lanes/block.h"
#include "kernels/lanes/lanes.h"
#include "kernels/lanes/seen.h"
#include "kernels/lanes/transpose.h"
#include "kernels/lanes/vec_math.h"

#define PAGE ATTENTION_PAGE
#define PAGE_VECS (PAGE / LANES)
#define QUERIES 48
#define CHUNK 12 /* whole tiles at every level */

/* A page of keys or entries, and where its gradients go. */
typedef struct {
    const real *keys, *values; /* [head_dim][64], [64][value_pad] */
    bool own_values;           /* values are the keys transposed */
    int64_t number;
    bool entries;
    int64_t row0, row1;        /* rows that may see some of it */
    real *dk, *dv;             /* of the page's first key */
    int64_t ld_dk, ld_dv;
} Page;

typedef struct {
    const AttentionBackArgs *args;
    const AttentionArgs *a;
    int64_t dim, pad, piece; /* dimensions packed at a time, a multiple of 16 */
    int64_t most;            /* queries of a set at most */

    /* a page, dimensions d0 … of a piece: vectors of sixteen columns */
    real *keys;         /* [4][piece][16] */
    real *values;       /* [4][piece][16]; `keys` with own values */
    real *value_room;
    real *key_rows;     /* [piece/16][64][16] */
    bool ready;         /* all dimensions of this page are packed */

    /* a set */
    int64_t first;
    int count;
    uint64_t seen[QUERIES];
    real *q, *dout, *dq;      /* [most][pad] */
    real *q_cols, *dout_cols; /* [pad/16][most][16] */
    real *p, *ds;             /* [most][64]; before that, S and dP */
    real *p_t, *ds_t;         /* [64][most] */
    real *lse, *delta;        /* [most] */

    real *deltas;             /* of all queries; NULL when there is no room for them */
} Back;

static int64_t row_of(const Back *w, int i)
{
    return (w->first + i) / w->a->group;
}

static int64_t head_of(const Back *w, int i)
{
    return (w->first + i) % w->a->group;
}

/* ---- what is seen ---- */

/* Places lo … hi−1 of a page. */
static uint64_t bits_of(int64_t lo, int64_t hi)
{
    const uint64_t below = hi < 64 ? ((uint64_t)1 << hi) - 1 : ~(uint64_t)0;
    return lo < hi ? below & ~(((uint64_t)1 << lo) - 1) : 0;
}

static uint64_t seen_bits(const AttentionArgs *a, const Page *page, int64_t row)
{
    if (!page->entries)
        return bits_of(seen_in_page(seen_key_begin(a, row), page->number), seen_in_page(row + 1, page->number));
    if (!a->chosen)
        return bits_of(0, seen_in_page(seen_entries(a, row), page->number));
    const int32_t *const list = a->chosen + row * a->chosen_count;
    const int64_t n = seen_chosen(a, row);
    uint64_t bits = 0;
    for (int64_t i = 0; i < n && list[i] < (page->number + 1) * PAGE; i++)
        if (list[i] >= page->number * PAGE)
            bits |= (uint64_t)1 << list[i] % PAGE;
    return bits;
}

static int first_bit(uint64_t bits)
{
    return bits ? __builtin_ctzll(bits) : PAGE;
}

static int end_bit(uint64_t bits)
{
    return bits ? PAGE - __builtin_clzll(bits) : 0;
}

/* What queries i0 … i1−1 see together. */
static uint64_t seen_by(const Back *w, int64_t i0, int64_t i1)
{
    uint64_t bits = 0;
    for (int64_t i = i0; i < i1; i++)
        bits |= w->seen[i];
    return bits;
}

/* ---- packing ---- */

/* dst[j·ldd + i] = src[i·lds + j] for i < rows, j < columns. */
static void transposed(real *dst, int64_t ldd, const real *src, int64_t lds, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i += LANES)
        for (int64_t j = 0; j < columns; j += LANES) {
            real *const to = dst + j * ldd + i;
            const real *const from = src + i * lds + j;
            if (rows - i >= LANES && columns - j >= LANES)
                transpose_16x16(to, ldd, from, lds);
            else
                transpose_part(to, ldd, from, lds, smaller(rows - i, LANES), smaller(columns - j, LANES));
        }
}

/* Dimensions d0 … d1−1 of the page: keys, values with keys as columns, keys with dimensions as columns (zeros
 * behind the last). */
static void pack_page(Back *w, const Page *page, int64_t d0, int64_t d1)
{
    const int64_t n = d1 - d0, step = w->piece * LANES;
    if (w->ready)
        return;
    w->ready = n == w->dim;
    w->values = page->own_values ? w->keys : w->value_room;
    for (int v = 0; v < PAGE_VECS; v++) {
        const real *const keys = page->keys + d0 * PAGE + v * LANES;
        for (int64_t d = 0; d < n; d++)
            v_store(w->keys + v * step + d * LANES, v_load(keys + d * PAGE));
        if (!page->own_values)
            transposed(w->values + v * step, LANES, page->values + v * LANES * w->pad + d0, w->pad, LANES, n);
        for (int64_t d = 0; d < n; d += LANES) {
            real *const to = w->key_rows + d * PAGE + v * LANES * LANES;
            if (n - d < LANES)
                memset(to, 0, LANES * LANES * sizeof *to);
            transposed(to, LANES, keys + d * PAGE, PAGE, smaller(n - d, LANES), LANES);
        }
    }
}

/* One head's row as a row of whole vectors, filled up with zeros, and as columns `step` apart. */
static void pack_row(real *row, real *columns, int64_t step, const real *from, int64_t dim)
{
    for (int64_t d = 0; d < dim; d += LANES, columns += step) {
        const vreal x = v_load_part(from + d, dim - d);
        v_store(row + d, x);
        v_store(columns, x);
    }
}

static void copy_row(real *row, const real *from, int64_t dim)
{
    for (int64_t d = 0; d < dim; d += LANES)
        v_store(row + d, v_load_part(from + d, dim - d));
}

/* Σ dout·out of one head, in sixteen lanes. */
static real delta_of(const AttentionBackArgs *b, int64_t row, int64_t head)
{
    const AttentionArgs *const a = b->forward;
    const real *const out = (const real *)a->out + row * a->ld_out + head * a->head_dim;
    const real *const dout = (const real *)b->dout + row * b->ld_dout + head * a->head_dim;
    vreal sum = v_zero();
    for (int64_t d = 0; d < a->head_dim; d += LANES)
        sum = v_fma(v_load_part(dout + d, a->head_dim - d), v_load_part(out + d, a->head_dim - d), sum);
    return v_reduce_add(sum);
}

static real *dq_of(const Back *w, int i)
{
    return (real *)w->args->dq + row_of(w, i) * w->args->ld_dq + head_of(w, i) * w->dim;
}

static void load_set(const Back *w)
{
    const AttentionBackArgs *const b = w->args;
    const AttentionArgs *const a = w->a;
    const int64_t dim = w->dim, step = w->most * LANES;
    for (int i = 0; i < w->count; i++) {
        const int64_t row = row_of(w, i), head = head_of(w, i);
        pack_row(w->q + i * w->pad, w->q_cols + i * LANES, step,
                 (const real *)a->q + row * a->ld_q + head * dim, dim);
        pack_row(w->dout + i * w->pad, w->dout_cols + i * LANES, step,
                 (const real *)b->dout + row * b->ld_dout + head * dim, dim);
        copy_row(w->dq + i * w->pad, dq_of(w, i), dim);
        w->lse[i] = ((const real *)a->lse)[row * a->ld_lse + head];
        w->delta[i] = w->deltas ? w->deltas[w->first + i] : delta_of(b, row, head);
    }
}

static void store_set(const Back *w)
{
    const int64_t dim = w->dim;
    for (int i = 0; i < w->count; i++) {
        const real *const from = w->dq + i * w->pad;
        real *const to = dq_of(w, i);
        for (int64_t d = 0; d < dim; d += LANES)
            v_store_part(to + d, v_load(from + d), dim - d);
    }
}

/* ---- the five products ---- */

/* S and dP over dimensions d0 … d1−1, for keys that somebody sees. */
static void score_products(const Back *w, int64_t d0, int64_t d1)
{
    Block b = {.ldc = PAGE, .lda = w->pad, .type = TILE_REAL, .step_v = w->piece * LANES, .n = d1 - d0};
    b.fresh = d0 == 0;
    for (int64_t i = 0; i < w->count; i += CHUNK) {
        const int64_t rows = smaller(CHUNK, w->count - i);
        const uint64_t seen = seen_by(w, i, i + rows);
        if (!seen)
            continue;
        const int64_t vec0 = first_bit(seen) / LANES, vec1 = (end_bit(seen) + LANES - 1) / LANES;
        b.vecs = vec1 - vec0;
        b.columns = b.vecs * LANES;
        b.c = w->p + i * PAGE + vec0 * LANES;
        b.a = w->q + i * w->pad + d0;
        b.b = w->keys + vec0 * b.step_v;
        KERNEL(block_rows)(&b, rows);
        b.c = w->ds + i * PAGE + vec0 * LANES;
        b.a = w->dout + i * w->pad + d0;
        b.b = w->values + vec0 * b.step_v;
        KERNEL(block_rows)(&b, rows);
    }
}

/* S and dP become P and dS. */
static void softmax_back(const Back *w)
{
    const vreal scale = v_set1((real)w->a->scale);
    for (int i = 0; i < w->count; i++) {
        real *const p = w->p + i * PAGE, *const ds = w->ds + i * PAGE;
        const vreal lse = v_set1(w->lse[i]), delta = v_set1(w->delta[i]);
        const int begin = first_bit(w->seen[i]) / LANES * LANES, end = end_bit(w->seen[i]);
        for (int j = begin; j < end; j += LANES) {
            const vreal x = v_exp(v_sub(v_mul(v_load(p + j), scale), lse));
            v_store(p + j, x);
            v_store(ds + j, v_mul(v_mul(x, v_sub(v_load(ds + j), delta)), scale));
        }
        for (uint64_t unseen = ~w->seen[i]; unseen; unseen &= unseen - 1)
            p[first_bit(unseen)] = ds[first_bit(unseen)] = 0;
    }
}

/* dq += dS · keys, over the runs of keys that somebody of a chunk sees. */
static void query_gradients(const Back *w, int64_t d0, int64_t d1)
{
    Block b = {.ldc = w->pad, .lda = PAGE, .type = TILE_REAL, .step_v = PAGE * LANES};
    b.vecs = (d1 - d0 + LANES - 1) / LANES;
    b.columns = b.vecs * LANES;
    for (int64_t i = 0; i < w->count; i += CHUNK) {
        const int64_t rows = smaller(CHUNK, w->count - i);
        uint64_t seen = seen_by(w, i, i + rows);
        while (seen) {
            const int from = first_bit(seen), to = first_bit(~(seen | bits_of(0, from)));
            seen &= ~bits_of(from, to);
            b.n = to - from;
            b.c = w->dq + i * w->pad + d0;
            b.a = w->ds + i * PAGE + from;
            b.b = w->key_rows + from * LANES;
            KERNEL(block_rows)(&b, rows);
        }
    }
}

/* dst[key] += Σ_queries x_t[key][query] · columns, over the queries that see some of a few keys. */
static void key_gradients(const Back *w, real *dst, int64_t ld, const real *x_t, const real *columns,
                          uint64_t seen)
{
    Block b = {.ldc = ld, .lda = w->most, .type = TILE_REAL, .step_v = w->most * LANES};
    b.vecs = w->pad / LANES;
    b.columns = w->dim;
    for (int64_t j = first_bit(seen), end = end_bit(seen); j < end; j += CHUNK) {
        const int64_t keys = smaller(CHUNK, end - j);
        const uint64_t some = bits_of(j, j + keys);
        int64_t from = 0, to = w->count;
        while (from < to && !(w->seen[from] & some))
            from++;
        while (to > from && !(w->seen[to - 1] & some))
            to--;
        if (from == to)
            continue;
        b.n = to - from;
        b.c = dst + j * ld;
        b.a = x_t + j * w->most + from;
        b.b = columns + from * LANES;
        KERNEL(block_rows)(&b, keys);
    }
}

/* ---- pages and sets ---- */

static void visit_set(Back *w, const Page *page, uint64_t seen)
{
    const int64_t begin = first_bit(seen) / LANES * LANES, columns = end_bit(seen) - begin;
    load_set(w);
    for (int64_t d = 0; d < w->dim; d += w->piece) {
        pack_page(w, page, d, smaller(w->dim, d + w->piece));
        score_products(w, d, smaller(w->dim, d + w->piece));
    }
    softmax_back(w);
    transposed(w->p_t + begin * w->most, w->most, w->p + begin, PAGE, w->count, columns);
    transposed(w->ds_t + begin * w->most, w->most, w->ds + begin, PAGE, w->count, columns);
    for (int64_t d = 0, end; d < w->dim; d = end) {
        end = smaller(w->dim, d + w->piece);
        pack_page(w, page, d, end);
        query_gradients(w, d, end);
    }
    key_gradients(w, page->dk, page->ld_dk, w->ds_t, w->q_cols, seen);
    key_gradients(w, page->dv, page->ld_dv, w->p_t, w->dout_cols, seen);
    store_set(w);
}

static void visit_page(Back *w, const Page *page)
{
    const int64_t end = page->row1 * w->a->group;
    w->ready = false;
    for (w->first = page->row0 * w->a->group; w->first < end; w->first += w->count) {
        w->count = (int)smaller(w->most, end - w->first);
        for (int i = 0; i < w->count; i++) {
            const int64_t row = row_of(w, i);
            w->seen[i] = i > 0 && head_of(w, i) > 0 ? w->seen[i - 1] : seen_bits(w->a, page, row);
        }
        const uint64_t seen = seen_by(w, 0, w->count);
        if (seen)
            visit_set(w, page, seen);
    }
}

static void visit_keys(Back *w)
{
    const AttentionBackArgs *const b = w->args;
    const AttentionArgs *const a = w->a;
    Page page = {.own_values = b->dv == b->dk, .ld_dk = b->ld_dk, .ld_dv = b->ld_dv};
    for (; page.number * PAGE < a->rows; page.number++) {
        const char *const base = a->pages[page.number];
        const int64_t key = page.number * PAGE;
        page.keys = (const real *)(const void *)(base + a->key_offset);
        page.values = (const real *)(const void *)(base + a->value_offset);
        page.row0 = key;
        page.row1 = a->window > 0 ? smaller(a->rows, key + PAGE - 1 + a->window) : a->rows;
        page.dk = (real *)b->dk + key * b->ld_dk;
        page.dv = (real *)b->dv + key * b->ld_dv;
        visit_page(w, &page);
    }
}

static void visit_entries(Back *w)
{
    const AttentionBackArgs *const b = w->args;
    const AttentionArgs *const a = w->a;
    Page page = {.own_values = true, .entries = true, .row1 = a->rows, .ld_dk = b->ld_de, .ld_dv = b->ld_de};
    for (; page.number * PAGE < a->rows / a->entry_tokens; page.number++) {
        const char *const base = a->entry_pages[page.number];
        page.keys = (const real *)(const void *)(base + a->entry_key_offset);
        page.values = (const real *)(const void *)(base + a->entry_value_offset);
        page.row0 = (page.number * PAGE + 1) * a->entry_tokens - 1;
        page.dk = page.dv = (real *)b->dentries + page.number * PAGE * b->ld_de;
        visit_page(w, &page);
    }
}

/* What does not depend on keys: dq = 0, deltas, and the sinks. */
static void start_rows(const Back *w)
{
    const AttentionBackArgs *const b = w->args;
    const AttentionArgs *const a = w->a;
    for (int64_t row = 0; row < a->rows; row++) {
        memset((real *)b->dq + row * b->ld_dq, 0, (size_t)(a->group * a->head_dim) * sizeof(real));
        for (int64_t head = 0; (w->deltas || a->sinks) && head < a->group; head++) {
            const real delta = delta_of(b, row, head), lse = ((const real *)a->lse)[row * a->ld_lse + head];
            if (w->deltas)
                w->deltas[row * a->group + head] = delta;
            if (a->sinks) {
                const real sink = ((const real *)a->sinks)[head];
                ((real *)b->dsinks)[row * b->ld_ds + head] = -r_exp(sink - lse) * delta;
            }
        }
    }
}

/* Share out the scratch memory: dimensions packed at a time, queries of a set, deltas. */
static void plan(Back *w, void *scratch)
{
    const int64_t room = (int64_t)(GRAD_SCRATCH / sizeof(real)), per_query = 5 * w->pad + 4 * PAGE + 2;
    w->piece = w->pad;
    while (w->piece > LANES && 3 * PAGE * w->piece + QUERIES / 4 * per_query > room)
        w->piece = (w->piece / 2 + LANES - 1) / LANES * LANES;
    w->most = smaller(QUERIES, (room - 3 * PAGE * w->piece) / per_query);
    CHECK(w->most > 0); /* head_dim up to about 4,000 */
    w->keys = scratch;
    w->value_room = w->keys + PAGE * w->piece;
    w->key_rows = w->value_room + PAGE * w->piece;
    w->q = w->key_rows + PAGE * w->piece;
    w->dout = w->q + w->most * w->pad;
    w->dq = w->dout + w->most * w->pad;
    w->q_cols = w->dq + w->most * w->pad;
    w->dout_cols = w->q_cols + w->most * w->pad;
    w->p = w->dout_cols + w->most * w->pad;
    w->ds = w->p + w->most * PAGE;
    w->p_t = w->ds + w->most * PAGE;
    w->ds_t = w->p_t + w->most * PAGE;
    w->lse = w->ds_t + w->most * PAGE;
    w->delta = w->lse + w->most;
    const int64_t left = room - (w->delta + w->most - w->keys);
    w->deltas = left >= w->a->rows * w->a->group ? w->delta + w->most : NULL;
}

void KERNEL(attention_back)(const AttentionBackArgs *b, void *scratch)
{
    const AttentionArgs *const a = b->forward;
    CHECK(a->position == 0);
    CHECK(a->lse);
    CHECK(REAL_IS_DOUBLE || a->kv_type == DT_F32);
    Back w = {.args = b, .a = a, .dim = a->head_dim, .pad = (a->head_dim + LANES - 1) / LANES * LANES};
    plan(&w, scratch);
    start_rows(&w);
    visit_keys(&w);
    if (a->entry_tokens > 0)
        visit_entries(&w);
}
