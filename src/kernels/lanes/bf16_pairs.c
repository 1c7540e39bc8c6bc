/* Products of BF16 on instructions that multiply pairs: the blocking around their leaves (level vnni).
 *
 *   linear        b is the packed panel as it lies in memory, [pair of k][16 n][2]: nothing is copied
 *   linear_back   pairs run over n: a chunk of the panels is turned into [pair of n][16 k][2] once for all rows
 *   weight_grad   pairs run over m: dyᵀ becomes [n][m] and x [pair of m][16 k][2], 32 m × 16 columns at a time
 *
 * A sum goes by chunks of CHUNK: eight panels of a chunk are 128 KiB and stay in L2, while rows of a come by in
 * blocks of ROW_BLOCK, in place. The leaf takes whole units only (8 pairs for vdpbf16ps, so that chunks begin at
 * panels; 16 for a tile of AMX); what is left of a sum is copied and filled up with zeros. Biases are added in a
 * pass of their own, since layers that are trained rarely have them.
 *
 * Roof: with vdpbf16ps 32 multiply-adds an instruction; with AMX 8,192 in sixteen cycles. These levels run in the
 * tests through models of the instructions; their speed was reasoned, not measured. */
#include "kernels/lanes/bf16_pairs.h"
#include "kernels/lanes/block.h"
#include "kernels/lanes/transpose.h"

#if defined(LEVEL_vnni)

#include <assert.h>

#define GROUP 8
#define CHUNK 512 /* numbers of a sum at a time */
#define ROW_BLOCK 96
#define UNIT_MAX 32 /* numbers of the larger unit */

/* The scratch of linear and linear_back. */
typedef struct {
    uint32_t turned[GROUP * CHUNK / 2 * LANES];
    uint32_t last[GROUP * UNIT_MAX / 2 * LANES]; /* what is left of the panels */
    uint16_t rows[ROW_BLOCK * UNIT_MAX];         /* what is left of the rows */
    float piece[GROUP * LANES * LANES];
} Work;

static_assert(sizeof(Work) <= LINEAR_SCRATCH, "the work space fits");
static_assert(CHUNK % UNIT_MAX == 0, "chunks of whole units");

typedef struct {
    PairRowsFn rows;
    int64_t unit; /* numbers of a sum: 16 or 32 */
} Leaf;

/* How much of a sum of length n comes next, from k on: whole units, or less than one at the end. */
static int64_t piece_of(const Leaf *leaf, int64_t n, int64_t k)
{
    const int64_t left = n - k;
    return left < leaf->unit ? left : smaller(CHUNK, left / leaf->unit * leaf->unit);
}

/* All rows of one piece of n numbers. a [M][lda] and c begin where the piece does. */
static void multiply(const Leaf *leaf, PairBlock *b, int64_t M, const uint16_t *a, int64_t lda, float *c, int64_t n, Work *w)
{
    const bool whole = n >= leaf->unit;
    b->pairs = (whole ? n : leaf->unit) / 2;
    b->lda = whole ? lda : leaf->unit;
    for (int64_t row = 0; row < M; row += ROW_BLOCK) {
        const int64_t count = smaller(ROW_BLOCK, M - row);
        b->a = whole ? a + row * lda : w->rows;
        b->c = c + row * b->ldc;
        if (!whole)
            memset(w->rows, 0, sizeof w->rows);
        for (int64_t r = 0; !whole && r < count; r++)
            memcpy(w->rows + r * leaf->unit, a + (row + r) * lda, (size_t)n * sizeof *a);
        leaf->rows(b, count);
    }
}

static void add_bias(float *y, int64_t ldy, const float *bias, int64_t M, int64_t n)
{
    for (int64_t m = 0; m < M; m++)
        for (int64_t i = 0; i < n; i += LANES)
            v_store_part(y + m * ldy + i, v_add(v_load_part(y + m * ldy + i, n - i), v_load_part(bias + i, n - i)), n - i);
}

/* The panels' words for one piece of k: in place, or filled up in w. */
static void place_panels(const Leaf *leaf, PairBlock *b, const LinearShape *s, int64_t panel, int64_t k, int64_t n, Work *w)
{
    const int64_t stride = (int64_t)(form_panel_bytes(s->form, s->K) / sizeof(uint32_t));
    const uint32_t *const from = (const uint32_t *)s->panels + panel * stride + k / 2 * LANES;
    b->b = from;
    b->step_v = stride;
    if (n >= leaf->unit)
        return;
    memset(w->last, 0, sizeof w->last);
    b->b = w->last;
    b->step_v = leaf->unit / 2 * LANES;
    for (int64_t v = 0; v < b->vecs; v++)
        memcpy(w->last + v * b->step_v, from + v * stride, (size_t)((n + 1) / 2 * LANES) * sizeof *from);
}

static void linear(const Leaf *leaf, const LinearShape *s, float *y, int64_t ldy, const uint16_t *x, int64_t ldx,
                   const float *bias, Work *w)
{
    for (int64_t p = s->panel0; p < s->panel1; p += GROUP) {
        const int64_t column = p * LANES;
        PairBlock b = {.ldc = ldy, .columns = s->N - column, .vecs = smaller(GROUP, s->panel1 - p), .fresh = true};
        int64_t k = 0;
        do { /* once even when K is 0 */
            const int64_t n = piece_of(leaf, s->K, k);
            place_panels(leaf, &b, s, p, k, n, w);
            multiply(leaf, &b, s->M, x + k, ldx, y + column, n, w);
            b.fresh = false;
            k += n;
        } while (k < s->K);
        if (bias)
            add_bias(y + column, ldy, bias + column, s->M, smaller(b.vecs * LANES, b.columns));
    }
}

/* ---- gradient of the input ---- */

/* Sixteen n of `count` k panels from number `panel` on, as eight pairs each, from one panel of the product. */
static void turn_pairs(const LinearShape *s, uint32_t *dst, int64_t step, const char *src, int64_t panel, int64_t count,
                       float *piece)
{
    const vint high = vi_set1((int32_t)0xFFFF0000);
    KERNEL(turn_panel)(s, piece, LANES * LANES, src, panel, count);
    for (int64_t v = 0; v < count; v++, dst += step)
        for (int64_t i = 0; i < LANES; i += 2, piece += 2 * LANES) {
            const vint even = v_bits(v_load(piece)), odd = v_bits(v_load(piece + LANES));
            v_store((float *)(void *)(dst + i / 2 * LANES), v_of_bits(vi_or(vi_shr(even, 16), vi_and(odd, high))));
        }
}

static void linear_back(const Leaf *leaf, const LinearShape *s, float *dx, int64_t lddx, const uint16_t *dy, int64_t lddy,
                        Work *w)
{
    const size_t stride = form_panel_bytes(s->form, s->K);
    for (int64_t p = s->panel0; p < s->panel1; p += GROUP) {
        PairBlock b = {.ldc = lddx, .columns = s->K - p * LANES, .b = w->turned, .step_v = CHUNK / 2 * LANES, .fresh = true};
        int64_t n0 = 0;
        b.vecs = smaller(GROUP, s->panel1 - p);
        do { /* once even when N is 0 */
            const int64_t n = piece_of(leaf, s->N, n0), filled = n < leaf->unit ? leaf->unit : n;
            for (int64_t i = 0; i < filled; i += LANES) {
                uint32_t *const to = w->turned + i / 2 * LANES;
                if (i < n)
                    turn_pairs(s, to, b.step_v, (const char *)s->panels + stride * (size_t)((n0 + i) / LANES), p, b.vecs,
                               w->piece);
                for (int64_t v = 0; i >= n && v < b.vecs; v++)
                    memset(to + v * b.step_v, 0, LANES / 2 * LANES * sizeof *to);
            }
            multiply(leaf, &b, s->M, dy + n0, lddy, dx + p * LANES, n, w);
            b.fresh = false;
            n0 += n;
        } while (n0 < s->N);
    }
}

/* ---- gradient of the weights ---- */

#define BLOCK_ROWS 192 /* n of a block */
#define BLOCK_PANELS 4 /* k panels packed at a time */

typedef struct {
    uint32_t rows[BLOCK_ROWS * CHUNK / 2];            /* [n][pair of m] */
    uint32_t panels[BLOCK_PANELS * CHUNK / 2 * LANES]; /* [panel][pair of m][16] */
} GradWork;

static_assert(sizeof(GradWork) <= GRAD_SCRATCH, "the work space fits");

/* Two rows of a matrix side by side, `columns` of up to sixteen, zeros behind them; only the first of `rows` is there
 * when they are 1, and none when they are less. */
INLINE vint pair_of_rows(const uint16_t *p, int64_t ld, int64_t rows, int64_t columns)
{
    const vint zero = vi_set1(0);
    const vint even = rows > 0 ? v_bits(v_load_bf16_part(p, columns)) : zero;
    return vi_or(vi_shr(even, 16), rows > 1 ? v_bits(v_load_bf16_part(p + ld, columns)) : zero);
}

INLINE void store_words(uint32_t *p, vint a)
{
    v_store((float *)(void *)p, v_of_bits(a));
}

/* dst[n][CHUNK/2]: `rows` m of `columns` n as pairs of m, transposed; zeros up to a multiple of 32 m. */
static void turn_rows(uint32_t *dst, const uint16_t *dy, int64_t lddy, int64_t rows, int64_t columns)
{
    uint32_t piece[LANES * LANES];
    for (int64_t n = 0; n < columns; n += LANES)
        for (int64_t m = 0; m < rows; m += 2 * LANES) {
            for (int64_t i = 0; i < LANES; i++)
                store_words(piece + i * LANES, pair_of_rows(dy + (m + 2 * i) * lddy + n, lddy, rows - m - 2 * i, columns - n));
            transpose_16x16((float *)(void *)(dst + n * (CHUNK / 2) + m / 2), CHUNK / 2, (const float *)(const void *)piece,
                            LANES);
        }
}

/* dst[panel][CHUNK/2][16]: the same m of `columns` k, with lanes k. */
static void pair_panels(uint32_t *dst, const uint16_t *x, int64_t ldx, int64_t rows, int64_t columns)
{
    for (int64_t k = 0; k < columns; k += LANES, dst += CHUNK / 2 * LANES)
        for (int64_t m = 0; m < (rows + UNIT_MAX - 1) / UNIT_MAX * UNIT_MAX; m += 2)
            store_words(dst + m / 2 * LANES, pair_of_rows(x + m * ldx + k, ldx, rows - m, columns - k));
}

static void weight_grad(const Leaf *leaf, float *dw, int64_t lddw, const uint16_t *dy, int64_t lddy, const uint16_t *x,
                        int64_t ldx, int64_t M, int64_t n0, int64_t n1, int64_t K, GradWork *w)
{
    const int64_t group = BLOCK_PANELS * LANES;
    PairBlock b = {.ldc = lddw, .a = (const uint16_t *)w->rows, .lda = CHUNK, .b = w->panels, .step_v = CHUNK / 2 * LANES};
    for (int64_t n = n0; n < n1; n += BLOCK_ROWS) {
        const int64_t count = smaller(BLOCK_ROWS, n1 - n);
        for (int64_t m = 0; m < M; m += CHUNK) {
            const int64_t rows = smaller(CHUNK, M - m);
            b.pairs = (rows + leaf->unit - 1) / leaf->unit * leaf->unit / 2;
            turn_rows(w->rows, dy + m * lddy + n, lddy, rows, count);
            for (int64_t k = 0; k < K; k += group) {
                b.columns = smaller(group, K - k);
                b.vecs = (b.columns + LANES - 1) / LANES;
                b.c = dw + n * lddw + k;
                pair_panels(w->panels, x + m * ldx + k, ldx, rows, b.columns);
                leaf->rows(&b, count);
            }
        }
    }
}

/* ---- the tables ---- */

#define LEAF_TABLE(leaf_name, leaf_unit, mnemonic)                                                                          \
    static const Leaf leaf_##leaf_name = {KERNEL(pair_rows_##leaf_name), leaf_unit};                                        \
    static void linear_##leaf_name(const LinearShape *s, float *y, int64_t ldy, const uint16_t *x, int64_t ldx,             \
                                   const float *bias, void *scratch)                                                        \
    {                                                                                                                       \
        linear(&leaf_##leaf_name, s, y, ldy, x, ldx, bias, scratch);                                                        \
    }                                                                                                                       \
    static void linear_back_##leaf_name(const LinearShape *s, float *dx, int64_t lddx, const uint16_t *dy, int64_t lddy,    \
                                        void *scratch)                                                                      \
    {                                                                                                                       \
        linear_back(&leaf_##leaf_name, s, dx, lddx, dy, lddy, scratch);                                                     \
    }                                                                                                                       \
    static void weight_grad_##leaf_name(float *dw, int64_t lddw, const uint16_t *dy, int64_t lddy, const uint16_t *x,       \
                                        int64_t ldx, int64_t M, int64_t n0, int64_t n1, int64_t K, void *scratch)           \
    {                                                                                                                       \
        weight_grad(&leaf_##leaf_name, dw, lddw, dy, lddy, x, ldx, M, n0, n1, K, scratch);                                  \
    }                                                                                                                       \
    const Bf16Kernels KERNEL(bf16_table_##leaf_name) = {mnemonic, KERNEL(round_rows), linear_##leaf_name,                   \
                                                        linear_back_##leaf_name, weight_grad_##leaf_name,                   \
                                                        KERNEL(measure_##leaf_name)};

LEAF_TABLE(dot, 16, "vdpbf16ps")
LEAF_TABLE(amx, 32, "tdpbf16ps")

#endif
