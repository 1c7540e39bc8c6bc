/* The choice of compressed entries by the lightning indexer (deepseek-v4.md §2.6).
 *
 * Plan. A row that sees no more entries than it may choose gets them all, without a score. Else scores are
 * computed page by page: heads are the rows of the register tile, 64 keys its vectors; then one walk over the
 * page's products makes relu, weight and sum. The k-th largest score is found by its bits, eight at a
 * time from the top (a histogram of 256 counts each), which needs no copy of the scores, and a last walk takes
 * all above it and the first ones equal to it.
 *
 * Scratch, in reals: products [HEADS][64], then the scores of all visible entries. */
#include "kernels/lanes/lanes.h"
#include "kernels/lanes/tile.h"

#include <assert.h>

#define PAGE ATTENTION_PAGE
#define HEADS 64 /* heads that share a walk over a page */

static_assert((size_t)HEADS * PAGE * sizeof(real) <= MIX_SCRATCH, "products fit into the scratch memory");

#if TILE_ROWS == 12
#define INDEX_ROWS 6
#define INDEX_VECS 4
#elif TILE_ROWS == 6
#define INDEX_ROWS 3
#define INDEX_VECS 2
#else
#define INDEX_ROWS 4
#define INDEX_VECS 1
#endif

/* ---- scores ---- */

static __attribute__((noinline)) void tile_many(const Tile *t)
{
    tile_run(INDEX_ROWS, INDEX_VECS, TILE_REAL, t);
}

static __attribute__((noinline)) void tile_one(const Tile *t)
{
    tile_run(1, INDEX_VECS, TILE_REAL, t);
}

/* products[h][0 … keys−1, up to a multiple of the tile] = q[h] · keys */
static void multiply(const IndexArgs *a, real *products, const real *q, const real *keys, int64_t heads, int64_t count)
{
    Tile t = {.ldc = PAGE, .lda = a->dim, .step_k = PAGE, .step_v = LANES, .n = a->dim, .last = LANES, .fresh = true};
    for (int64_t i = 0; i < count; i += (int64_t)INDEX_VECS * LANES)
        for (int64_t h = 0, many; h < heads; h += many ? INDEX_ROWS : 1) {
            many = heads - h >= INDEX_ROWS;
            t.a = q + h * a->dim;
            t.b = keys + i;
            t.c = products + h * PAGE + i;
            if (many)
                tile_many(&t);
            else
                tile_one(&t);
        }
}

/* The first `count` scores of a page, of row t. */
static void score_page(const IndexArgs *a, int64_t t, const real *keys, real *scores, int64_t count, real *products)
{
    const real *const q = (const real *)a->q + t * a->ld_q, *const w = (const real *)a->w + t * a->ld_w;
    vreal sums[PAGE / LANES];
    for (int v = 0; v < PAGE / LANES; v++)
        sums[v] = v_zero();
    for (int64_t h0 = 0; h0 < a->heads; h0 += HEADS) {
        const int64_t heads = a->heads - h0 < HEADS ? a->heads - h0 : HEADS;
        multiply(a, products, q + h0 * a->dim, keys, heads, count);
        for (int v = 0; LANES * v < count; v++)
            for (int64_t h = 0; h < heads; h++) {
                const vreal relu = v_max(v_zero(), v_load(products + h * PAGE + LANES * v)); /* keeps a NaN */
                sums[v] = v_fma(relu, v_set1(w[h0 + h]), sums[v]);
            }
    }
    for (int v = 0; LANES * v < count; v++)
        v_store_part(scores + LANES * v, sums[v], count - LANES * v);
}

/* ---- the largest ---- */

#if REAL_IS_DOUBLE
typedef uint64_t Key;
#else
typedef uint32_t Key;
#endif
#define KEY_BITS ((int)(8 * sizeof(Key)))

/* A number that orders as x does: 0 and −0 the same, a NaN below everything. */
static Key key_of(real x)
{
    const Key sign = (Key)1 << (KEY_BITS - 1);
    Key bits;
    if (x != x)
        return 0;
    x += 0; /* −0 becomes 0 */
    memcpy(&bits, &x, sizeof bits);
    return bits & sign ? ~bits : bits | sign;
}

/* The k-th largest key of n scores (1 <= k <= n); *ties is how many of those equal to it are among the k. */
static Key kth_largest(const real *scores, int64_t n, int64_t k, int64_t *ties)
{
    Key found = 0;
    for (int shift = KEY_BITS - 8; shift >= 0; shift -= 8) {
        const Key known = shift + 8 < KEY_BITS ? ~(Key)0 << (shift + 8) : 0;
        int64_t counts[256] = {0};
        int digit = 255;
        for (int64_t j = 0; j < n; j++) {
            const Key key = key_of(scores[j]);
            if ((key & known) == found)
                counts[key >> shift & 255]++;
        }
        for (; counts[digit] < k; digit--)
            k -= counts[digit];
        found |= (Key)digit << shift;
    }
    *ties = k;
    return found;
}

static void choose(int32_t *chosen, const real *scores, int64_t n, int64_t k)
{
    int64_t ties, count = 0;
    const Key least = kth_largest(scores, n, k, &ties);
    for (int64_t j = 0; j < n && count < k; j++) {
        const Key key = key_of(scores[j]);
        if (key > least || (key == least && ties-- > 0))
            chosen[count++] = (int32_t)j;
    }
}

void KERNEL(index_choose)(const IndexArgs *a, void *scratch)
{
    real *const products = scratch, *const scores = (real *)((char *)scratch + MIX_SCRATCH);
    for (int64_t t = 0; t < a->rows; t++) {
        const int64_t visible = (a->position + t + 1) / a->tokens;
        int32_t *const chosen = a->chosen + t * a->topk;
        int64_t j = 0;
        if (a->topk > 0 && visible > a->topk) {
            for (; j < visible; j += PAGE) {
                const char *const page = a->pages[j / PAGE];
                score_page(a, t, (const real *)(page + a->key_offset), scores + j,
                           visible - j < PAGE ? visible - j : PAGE, products);
            }
            choose(chosen, scores, visible, a->topk);
            continue;
        }
        for (; j < visible && j < a->topk; j++)
            chosen[j] = (int32_t)j;
        for (; j < a->topk; j++)
            chosen[j] = -1;
    }
}
