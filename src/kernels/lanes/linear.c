/* y = x · wᵀ in float: one fused multiply-add a product, ascending k.
 *
 * Plan. Panels of sixteen outputs are taken in groups of GROUP, and k in chunks, so that a decoded chunk
 * of a panel ([k][16] reals, at most 16 KiB) stays in L1 and that of a group in L2; sums are carried
 * from chunk to chunk in y, which is exact. Rows go by blocks of ROW_BLOCK, whose x stays in L2, and
 * inside a block by register tiles (block.h).
 *   several rows   quantised and half forms are decoded once per call into `scratch`
 *   one row        nothing is stored: floats and halves go straight into the tile, quantised panels two
 *                  at a time, block by block in registers (decode.h)
 *
 * Roof: several rows, the multiply-add rate; one row, the memory's bandwidth (F32, F16, BF16, Q8) or the
 * 4 to 5 vector operations a weight of the Q4 forms. `make check-kernels BENCH=1` prints both. */
#include "kernels/lanes/block.h"
#include "kernels/lanes/decode.h"
#include "kernels/lanes/lanes.h"

#include <assert.h>

#define GROUP 8
#define ROW_BLOCK 96
#define ROW_PANELS 2 /* of quantised weights, for one row */

static_assert(GROUP * BLOCK_N * LANES * sizeof(real) <= LINEAR_SCRATCH, "a group fits the scratch");
static_assert(ROW_BLOCK % TILE_ROWS == 0, "blocks of whole tiles");
static_assert(LANES == PANEL_ROWS, "a panel is a vector wide");

/* The operands of a call, typed. */
typedef struct {
    const LinearShape *s;
    real *y;
    const real *x, *bias;
    int64_t ldy, ldx;
} Operands;

#if !REAL_IS_DOUBLE

/* ---- one row of quantised weights ---- */

/* One row times P panels (`stride` bytes apart), decoded in registers. acc [P]. Two panels, because one
 * chain of sums would wait for itself; word by word in turn, because interleaving each weight of both
 * spills (a quarter slower on Zen 3). */
INLINE void row_codes(const int P, CodesKind kind, const PackForm *f, vreal *acc, const uint8_t *src,
                      size_t stride, const float *x, int64_t blocks)
{
    const size_t bytes = form_block_bytes(f);
    const bool nibbles = codes_are_nibbles(kind);
    const int step = nibbles ? 8 : 4, words = f->block / step;
    const float zero = f->zero;
    vreal sum[ROW_PANELS];
    for (int p = 0; p < P; p++)
        sum[p] = v_zero();
    for (int64_t b = 0; b < blocks; b++, src += bytes) {
        BlockLanes lanes[ROW_PANELS];
        for (int p = 0; p < P; p++)
            lanes[p] = block_open(kind, f, src + stride * (size_t)p);
        for (int i = 0; i < words; i++, x += step) {
#pragma GCC unroll 2
            for (int p = 0; p < P; p++) {
                const vint v = vi_load(lanes[p].codes + 64 * i), high = vi_shr(v, 4);
                __builtin_prefetch(lanes[p].codes + 64 * i + 1024); /* a tenth faster on Zen 3 */
#pragma GCC unroll 4
                for (int j = 0; j < 4; j++)
                    sum[p] = v_fma(v_set1(x[j]), block_weight(kind, &lanes[p], v, j, zero), sum[p]);
#pragma GCC unroll 4
                for (int j = 0; nibbles && j < 4; j++)
                    sum[p] = v_fma(v_set1(x[4 + j]), block_weight(kind, &lanes[p], high, j, zero), sum[p]);
            }
        }
    }
    for (int p = 0; p < P; p++)
        acc[p] = sum[p];
}

#define ROW_FUNCTION(name, kind)                                                                   \
    static void name(int P, const PackForm *f, vreal *acc, const uint8_t *src, size_t stride,      \
                     const float *x, int64_t blocks)                                               \
    {                                                                                              \
        if (P == ROW_PANELS)                                                                       \
            row_codes(ROW_PANELS, kind, f, acc, src, stride, x, blocks);                                    \
        else                                                                                       \
            row_codes(1, kind, f, acc, src, stride, x, blocks);                                    \
    }
ROW_FUNCTION(row_q4_zero, CODES_Q4_ZERO)
ROW_FUNCTION(row_q4_min, CODES_Q4_MIN)
ROW_FUNCTION(row_q8_zero, CODES_Q8_ZERO)
ROW_FUNCTION(row_q8_min, CODES_Q8_MIN)

static void one_row_quantised(const Operands *o)
{
    const LinearShape *const s = o->s;
    void (*const rows[])(int, const PackForm *, vreal *, const uint8_t *, size_t, const float *,
                         int64_t) = {row_q4_zero, row_q4_min, row_q8_zero, row_q8_min};
    const size_t stride = form_panel_bytes(s->form, s->K);
    for (int64_t p = s->panel0; p < s->panel1; p += ROW_PANELS) {
        const int P = s->panel1 - p >= ROW_PANELS ? ROW_PANELS : 1;
        const uint8_t *const src = (const uint8_t *)s->panels + stride * (size_t)p;
        vreal acc[ROW_PANELS];
        rows[codes_kind(s->form)](P, s->form, acc, src, stride, o->x,
                                  s->K / s->form->block);
        for (int i = 0; i < P; i++) {
            const int64_t n = (p + i) * LANES, left = s->N - n;
            if (o->bias)
                acc[i] = v_add(acc[i], v_load_part(o->bias + n, left));
            v_store_part(o->y + n, acc[i], left);
        }
    }
}

#endif

/* ---- blocking ---- */

/* Panels of a group, for one chunk of k. */
typedef struct {
    int64_t panel, count; /* first panel, and how many */
    int64_t k0, k1;
} Group;

static TileType tile_type(const PackForm *f)
{
    return f->kind == FORM_F16 ? TILE_F16 : f->kind == FORM_BF16 ? TILE_BF16 : TILE_REAL;
}

/* The product of a group, for rows from 0 on: its chunk decoded into scratch (NULL: as it is). */
static Block open_group(const Operands *o, const Group *g, real *scratch)
{
    const LinearShape *const s = o->s;
    const PackForm *const f = s->form;
    const size_t stride = form_panel_bytes(f, s->K);
    const char *const first = (const char *)s->panels + stride * (size_t)g->panel;
    const int64_t column = g->panel * LANES;
    Block b = {.c = o->y + column, .ldc = o->ldy, .columns = s->N - column, .lda = o->ldx};
    b.a = o->x + g->k0;
    b.vecs = g->count;
    b.n = g->k1 - g->k0;
    b.fresh = g->k0 == 0;
    b.bias = o->bias && g->k1 == s->K ? o->bias + column : NULL;
    if (!scratch) {
        const size_t element = form_block_bytes(f) / LANES;
        b.type = tile_type(f);
        b.b = first + (size_t)(g->k0 * LANES) * element;
        b.step_v = (int64_t)(stride / element);
        return b;
    }
    b.type = TILE_REAL;
    b.b = scratch;
    b.step_v = b.n * LANES;
    for (int64_t p = 0; p < g->count; p++)
        KERNEL(decode_panel)(f, scratch + p * b.step_v, first + stride * (size_t)p, g->k0, g->k1);
    return b;
}

static void several_rows(const Operands *o, real *scratch)
{
    const LinearShape *const s = o->s;
    const int64_t step = block_chunk(s->K);
    for (int64_t p = s->panel0; p < s->panel1; p += GROUP) {
        Group g = {.panel = p, .count = smaller(GROUP, s->panel1 - p)};
        do { /* once even when K is 0 */
            g.k1 = smaller(g.k0 + step, s->K);
            Block b = open_group(o, &g, scratch);
            for (int64_t row = 0; row < s->M; row += ROW_BLOCK) {
                KERNEL(block_rows)(&b, smaller(ROW_BLOCK, s->M - row));
                b.a += ROW_BLOCK * b.lda;
                b.c += ROW_BLOCK * b.ldc;
            }
            g.k0 = g.k1;
        } while (g.k0 < s->K);
    }
}

void KERNEL(linear)(const LinearShape *s, void *y, int64_t ldy, const void *x, int64_t ldx,
                    const void *bias, void *scratch)
{
    const Operands o = {s, y, x, bias, ldy, ldx};
    const bool quantised = form_is_quantised(s->form);
    if (s->M <= 0 || s->panel0 >= s->panel1)
        return;
#if !REAL_IS_DOUBLE
    if (s->M == 1 && quantised) {
        one_row_quantised(&o);
        return;
    }
    if (s->M == 1 && s->form->kind != FORM_BF16_PAIRS) {
        const Group g = {.panel = s->panel0, .count = s->panel1 - s->panel0, .k1 = s->K};
        const Block b = open_group(&o, &g, NULL);
        KERNEL(block_rows)(&b, 1);
        return;
    }
#endif
    several_rows(&o, REAL_IS_DOUBLE || quantised || s->form->kind != FORM_F32 ? scratch : NULL);
}
