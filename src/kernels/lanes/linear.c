/* y = x · wᵀ in float: one fused multiply-add a product, ascending k.
 *
 * Plan. Panels of sixteen outputs are taken in groups of GROUP, and k in chunks, so that a decoded chunk
 * of a panel ([k][16] reals, at most 16 KiB) stays in L1 and that of a group in L2; sums are carried
 * from chunk to chunk in y, which is exact. Rows go by blocks of ROW_BLOCK, whose x stays in L2, and
 * inside a block by register tiles (tile.h).
 *   several rows   quantised and half forms are decoded once per call into `scratch`
 *   one row        nothing is stored: floats and halves go straight into the tile, quantised panels two
 *                  at a time, block by block in registers (decode.h)
 *
 * Roof: several rows, the multiply-add rate; one row, the memory's bandwidth (F32, F16, BF16, Q8) or the
 * 4 to 5 vector operations a weight of the Q4 forms. `make check-kernels BENCH=1` prints both. */
#include "kernels/lanes/decode.h"
#include "kernels/lanes/lanes.h"
#include "kernels/lanes/tile.h"

#include <assert.h>

#define CHUNK_K 256
#define GROUP 8
#define ROW_BLOCK 96
#define ROW_PANELS 2 /* of quantised weights, for one row */

static_assert(GROUP * CHUNK_K * LANES * sizeof(real) <= LINEAR_SCRATCH, "a group fits the scratch");
static_assert(ROW_BLOCK % TILE_ROWS == 0, "blocks of whole tiles");
static_assert(LANES == PANEL_ROWS, "a panel is a vector wide");

/* The operands of a call, typed. */
typedef struct {
    const LinearShape *s;
    real *y;
    const real *x, *bias;
    int64_t ldy, ldx;
} Operands;

/* ---- tiles by number of rows and vectors ---- */

#define TILE_FUNCTION(R, V, type)                                                 \
    static __attribute__((noinline)) void tile_##type##_##R##x##V(const Tile *t)  \
    {                                                                             \
        tile_run(R, V, type, t);                                                  \
    }
#if TILE_ROWS == 12
#define TILES_BY_ROWS(X)                                                                          \
    X(1, 1) X(1, 2) X(1, 4) X(1, 8) X(2, 1) X(2, 2) X(2, 4) X(3, 1) X(3, 2) X(3, 4)               \
    X(4, 1) X(4, 2) X(4, 4) X(5, 1) X(5, 2) X(5, 4) X(6, 1) X(6, 2) X(6, 4) X(7, 1) X(7, 2)       \
    X(8, 1) X(8, 2) X(9, 1) X(9, 2) X(10, 1) X(10, 2) X(11, 1) X(11, 2) X(12, 1) X(12, 2)
#define TILES_OF_ONE(X) X(1, 1) X(1, 2) X(1, 4) X(1, 8)
#elif TILE_ROWS == 6
#define TILES_BY_ROWS(X)                                                                          \
    X(1, 1) X(1, 2) X(1, 4) X(2, 1) X(2, 2) X(3, 1) X(3, 2) X(4, 1) X(5, 1) X(6, 1)
#define TILES_OF_ONE(X) X(1, 1) X(1, 2) X(1, 4)
#else
#define TILES_BY_ROWS(X) X(1, 1) X(2, 1) X(3, 1) X(4, 1)
#define TILES_OF_ONE(X) X(1, 1)
#endif

#define X(R, V) TILE_FUNCTION(R, V, TILE_REAL)
TILES_BY_ROWS(X)
#undef X
#if !REAL_IS_DOUBLE
#define X(R, V) TILE_FUNCTION(R, V, TILE_F16) TILE_FUNCTION(R, V, TILE_BF16)
TILES_OF_ONE(X)
#undef X
#endif

static void tile_any(int R, int V, TileType type, const Tile *t)
{
    switch ((int)type * 256 + R * 16 + V) {
#define X(R, V)                                \
    case (int)TILE_REAL * 256 + R * 16 + V:    \
        tile_TILE_REAL_##R##x##V(t);           \
        break;
        TILES_BY_ROWS(X)
#undef X
#if !REAL_IS_DOUBLE
#define X(R, V)                                \
    case (int)TILE_F16 * 256 + R * 16 + V:     \
        tile_TILE_F16_##R##x##V(t);            \
        break;                                 \
    case (int)TILE_BF16 * 256 + R * 16 + V:    \
        tile_TILE_BF16_##R##x##V(t);           \
        break;
        TILES_OF_ONE(X)
#undef X
#endif
    }
}

/* ---- weights out of panels ---- */

#if REAL_IS_DOUBLE

/* The weights are float32 numbers whatever the arithmetic: the plain decoder, widened. */
static void decode_chunk(const PackForm *f, real *dst, const void *panel, int64_t k0, int64_t k1)
{
    float w[32 * PANEL_ROWS];
    for (int64_t k = k0; k < k1; k += f->block) {
        form_decode_panel(f, w, panel, k, k + f->block);
        for (int i = 0; i < f->block * PANEL_ROWS; i++)
            *dst++ = (double)w[i];
    }
}

#else

INLINE void decode_codes(CodesKind kind, const PackForm *f, float *dst, const uint8_t *src,
                         int64_t blocks)
{
    const size_t bytes = form_block_bytes(f);
    const int groups = f->block / (codes_are_nibbles(kind) ? 8 : 4);
    const float zero = f->zero;
    for (int64_t b = 0; b < blocks; b++, src += bytes) {
        const BlockLanes lanes = block_open(kind, f, src);
        for (int i = 0; i < groups; i++) {
            const vint v = vi_load(lanes.codes + 64 * i);
            for (int j = 0; j < 4; j++, dst += LANES)
                v_store(dst, block_weight(kind, &lanes, v, j, zero));
            if (codes_are_nibbles(kind)) {
                const vint high = vi_shr(v, 4);
                for (int j = 0; j < 4; j++, dst += LANES)
                    v_store(dst, block_weight(kind, &lanes, high, j, zero));
            }
        }
    }
}

static void decode_halves(TileType type, float *dst, const uint16_t *src, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        v_store(dst + LANES * k, tile_load(type, src, LANES * k));
}

static void decode_chunk(const PackForm *f, real *dst, const void *panel, int64_t k0, int64_t k1)
{
    const int64_t blocks = (k1 - k0) / f->block;
    const uint8_t *const src = (const uint8_t *)panel + (size_t)(k0 / f->block) * form_block_bytes(f);
    if (f->kind == FORM_F16 || f->kind == FORM_BF16) {
        const TileType type = f->kind == FORM_F16 ? TILE_F16 : TILE_BF16;
        decode_halves(type, dst, (const uint16_t *)(const void *)src, blocks);
        return;
    }
    switch (codes_kind(f)) {
    case CODES_Q4_ZERO:
        decode_codes(CODES_Q4_ZERO, f, dst, src, blocks);
        break;
    case CODES_Q4_MIN:
        decode_codes(CODES_Q4_MIN, f, dst, src, blocks);
        break;
    case CODES_Q8_ZERO:
        decode_codes(CODES_Q8_ZERO, f, dst, src, blocks);
        break;
    case CODES_Q8_MIN:
        decode_codes(CODES_Q8_MIN, f, dst, src, blocks);
        break;
    }
}

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

/* Where the panels of a group lie for one chunk of k, decoded or as they are. */
typedef struct {
    const char *b;
    TileType type;
    int64_t step_v;       /* elements from panel to panel */
    int64_t panel, count; /* first panel, and how many */
    int64_t k0, k1;
} Group;

/* `tiles` tiles of R rows from `row` on, all panels of the group. A vector of weights is used by all
 * tiles before the next one is touched. */
static void sweep(const Operands *o, const Group *g, int64_t row, int64_t tiles, int R)
{
    const size_t element = g->type == TILE_REAL ? sizeof(real) : sizeof(uint16_t);
    int V = TILE_VECS(R);
    for (int64_t p = 0; p < g->count; p += V) {
        while (V > g->count - p)
            V /= 2;
        const int64_t n = (g->panel + p) * LANES, left = o->s->N - n - (V - 1) * LANES;
        Tile t = {.ldc = o->ldy, .lda = o->ldx, .step_k = LANES, .step_v = g->step_v};
        t.b = g->b + (size_t)(p * g->step_v) * element;
        t.n = g->k1 - g->k0;
        t.last = (int)(left < LANES ? left : LANES);
        t.fresh = g->k0 == 0;
        t.bias = o->bias && g->k1 == o->s->K ? o->bias + n : NULL;
        for (int64_t i = 0; i < tiles; i++) {
            t.c = o->y + (row + i * R) * o->ldy + n;
            t.a = o->x + (row + i * R) * o->ldx + g->k0;
            tile_any(R, V, g->type, &t);
        }
    }
}

/* Rows in tiles of as equal a height as can be: 7 are 4 + 3, not 6 + 1. */
static void group_rows(const Operands *o, const Group *g, int64_t row0, int64_t rows)
{
    const int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    const int64_t R = rows / tiles, taller = rows % tiles;
    if (taller)
        sweep(o, g, row0, taller, (int)R + 1);
    sweep(o, g, row0 + taller * (R + 1), tiles - taller, (int)R);
}

static TileType tile_type(const PackForm *f)
{
    return f->kind == FORM_F16 ? TILE_F16 : f->kind == FORM_BF16 ? TILE_BF16 : TILE_REAL;
}

/* Fill in b: decode the group's chunk into scratch, or point at it. */
static void open_group(const Operands *o, Group *g, bool decode, real *scratch)
{
    const PackForm *const f = o->s->form;
    const size_t stride = form_panel_bytes(f, o->s->K);
    const char *const first = (const char *)o->s->panels + stride * (size_t)g->panel;
    if (!decode) {
        const size_t element = form_block_bytes(f) / LANES;
        g->type = tile_type(f);
        g->b = first + (size_t)(g->k0 * LANES) * element;
        g->step_v = (int64_t)(stride / element);
        return;
    }
    g->type = TILE_REAL;
    g->b = (const char *)scratch;
    g->step_v = (g->k1 - g->k0) * LANES;
    for (int64_t p = 0; p < g->count; p++)
        decode_chunk(f, scratch + p * g->step_v, first + stride * (size_t)p, g->k0, g->k1);
}

/* At most CHUNK_K, a multiple of 32 (of every block), chunks of about equal length. */
static int64_t chunk_length(int64_t K)
{
    const int64_t chunks = (K + CHUNK_K - 1) / CHUNK_K;
    return chunks < 2 ? CHUNK_K : ((K + chunks - 1) / chunks + 31) / 32 * 32;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void several_rows(const Operands *o, bool decode, real *scratch)
{
    const LinearShape *const s = o->s;
    const int64_t step = chunk_length(s->K);
    for (int64_t p = s->panel0; p < s->panel1; p += GROUP) {
        Group g = {.panel = p, .count = smaller(GROUP, s->panel1 - p)};
        do { /* once even when K is 0 */
            g.k1 = smaller(g.k0 + step, s->K);
            open_group(o, &g, decode, scratch);
            for (int64_t row = 0; row < s->M; row += ROW_BLOCK)
                group_rows(o, &g, row, smaller(ROW_BLOCK, s->M - row));
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
    if (s->M == 1) {
        Group g = {.panel = s->panel0, .count = s->panel1 - s->panel0, .k1 = s->K};
        open_group(&o, &g, false, NULL);
        sweep(&o, &g, 0, 1, 1);
        return;
    }
#endif
    several_rows(&o, REAL_IS_DOUBLE || quantised || s->form->kind != FORM_F32, scratch);
}
