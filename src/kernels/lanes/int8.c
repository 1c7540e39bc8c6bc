/* linear_int8 at the vector levels: how rows, panels and pieces of K are walked. The arithmetic is in
 * the tiles (int8_tiles.c, int8_vnni.c, int8_amx.c), whose results do not depend on any of this.
 *
 *   few rows    tiles read packed panels; one pass over the weights, which memory feeds
 *   many rows   pieces of K, inside them blocks of rows, inside them panels: a panel's piece is
 *               unpacked once (at most 24 KiB of codes, so that they stay in L1) for the block's rows,
 *               whose q stays in L2. Level vnni needs no unpacking but for AMX.
 *
 * Unpacking costs a panel about 15 cycles for 512 weights of 4 bits, 40 for words; on Zen 3 that pays
 * from 7 rows (M 6: packed 86 and unpacked 84 billion products a second for Q4_1; M 8: 87 and 93).
 *
 * Roofs: one row, the memory's bandwidth; many rows, the byte products. Reached on one core of Zen 3
 * (f32 multiply-adds: 51 billion a second): 110 Q4_1, 106 Q5_0, 82 Q6_K, 67 Q8_0, where products of words
 * and their sums fill all four vector pipes; one row 0.9 to 1.0 of the bandwidth with two threads. */
#include "kernels/lanes/int8.h"
#include "kernels/lanes/int8_vec.h"
#include "kernels/lanes/lanes.h"

#if defined(LEVEL_avx2) || defined(LEVEL_avx512) || defined(LEVEL_vnni)

#include <assert.h>

#define PACKED_ROWS 6
#define PACKED_BLOCKS 2048 /* of a piece of few rows */
#define ROW_BLOCK 128
#define ROW_BLOCK_WORDS 64 /* with q as words */
#define PIECE_BYTES 1536 /* of k, unpacked to bytes */
#define PIECE_WORDS 768  /* the same, to words */
#define FIX_MAX 16384

typedef struct {
    Int8Fix fix[FIX_MAX];
    int16_t q_words[ROW_BLOCK_WORDS * PIECE_WORDS];
    uint8_t codes[PIECE_BYTES * LANES];
    float scale[PIECE_BYTES / 16 * LANES], min[PIECE_BYTES / 16 * LANES];
} Work;

static_assert(sizeof(Work) <= LINEAR_SCRATCH, "the work space fits the scratch");
static_assert(PACKED_ROWS * PACKED_BLOCKS <= FIX_MAX, "few rows have room for their fixes");
static_assert(2 * PIECE_WORDS <= PIECE_BYTES, "words fit where bytes do");
static_assert(FIX_MAX / ROW_BLOCK * 16 >= PIECE_BYTES, "a piece of a block of rows has room for fixes");

typedef struct {
    const LinearShape *s;
    const QuantRows *x;
    float *y;
    int64_t ldy;
    const float *bias;
    size_t panel_bytes, block_bytes;
    Work *work;
} Call;

/* Rows m0 … m0+rows−1 and k0 … k1−1 of a call. */
typedef struct {
    int64_t m0, rows, k0, k1;
    int64_t blocks;
    bool words_ready;
} Piece;

static void prepare_fix(const Call *c, const Piece *p)
{
    const PackForm *const f = c->s->form;
    const int64_t per_block = f->block / 16, K = c->s->K;
    if (f->zero == 0 && !f->has_min)
        return;
    for (int64_t r = 0; r < p->rows; r++) {
        const int32_t *const sum = c->x->sum + (p->m0 + r) * (K / 16) + p->k0 / 16;
        const float *const d = c->x->d + (p->m0 + r) * (K / 32) + p->k0 / 32;
        Int8Fix *const fix = c->work->fix + r * p->blocks;
        for (int64_t b = 0; b < p->blocks; b++) {
            const int32_t s = per_block == 2 ? sum[2 * b] + sum[2 * b + 1] : sum[b];
            if (f->has_min)
                fix[b].min = d[per_block == 2 ? b : b / 2] * (float)s;
            else
                fix[b].zero = f->zero * s;
        }
    }
}

static void shift_panels(Int8Tile *t, int64_t panels)
{
    t->codes += panels * (int64_t)t->panel_bytes;
    t->y += panels * LANES;
    if (t->bias)
        t->bias += panels * LANES;
}

static void advance(Int8Tile *t, int64_t rows)
{
    if (t->q_words)
        t->q_words += rows * t->ldq;
    else
        t->q += rows * t->ldq;
    t->d += rows * t->ldd;
    t->fix += rows * t->ldfix;
    t->y += rows * t->ldy;
}

/* One tile, or where it takes one panel only and there are several, as many. */
static void run_panels(const Int8Rows *tile, const Int8Tile *t, int panels)
{
    if (tile->panels == panels) {
        tile->run(t);
        return;
    }
    Int8Tile one = *t;
    for (int v = 0; v < panels; v++) {
        tile->run(&one);
        shift_panels(&one, t->apart);
    }
}

/* All rows on `panels` panels, t->apart apart. */
static void run_rows(const Int8Rows *tiles, Int8Tile *t, int64_t rows, int panels)
{
    for (;; tiles++) {
        if (tiles->panels != 1 && tiles->panels != panels)
            continue;
        for (; rows >= tiles->rows; rows -= tiles->rows) {
            run_panels(tiles, t, panels);
            advance(t, tiles->rows);
        }
        if (tiles->rows == 1 && tiles->panels == 1)
            return;
    }
}

/* The tile of the piece's first row on a packed panel. */
static Int8Tile packed_panel(const Call *c, const Piece *p, int64_t panel)
{
    const LinearShape *const s = c->s;
    const int64_t n = LANES * panel, left = s->N - n;
    const size_t offset = (size_t)panel * c->panel_bytes + (size_t)(p->k0 / s->form->block) * c->block_bytes;
    return (Int8Tile){
        .form = s->form,
        .blocks = p->blocks,
        .codes = (const uint8_t *)s->panels + offset,
        .block_bytes = c->block_bytes,
        .panel_bytes = c->panel_bytes,
        .q = c->x->q + p->m0 * s->K + p->k0,
        .ldq = s->K,
        .d = c->x->d + p->m0 * (s->K / 32) + p->k0 / 32,
        .ldd = s->K / 32,
        .fix = c->work->fix,
        .ldfix = p->blocks,
        .y = c->y + p->m0 * c->ldy + n,
        .ldy = c->ldy,
        .lanes = left < LANES ? (int)left : LANES,
        .fresh = p->k0 == 0,
        .bias = c->bias && p->k1 == s->K ? c->bias + n : NULL,
    };
}

/* What the first tile that these rows fill takes. */
static int panels_at_once(const Int8Rows *tiles, int64_t rows)
{
    while (tiles->rows > rows)
        tiles++;
    return tiles->panels;
}

/* Rows so few that memory is the roof take several panels side by side, each from a stretch of its own
 * (see int8_prefetch). The last panel may be narrow and stays out of that. */
static void packed_piece(const Call *c, Piece *p)
{
    const Int8Rows *const tiles = KERNEL(int8_packed_tiles)(c->s->form);
    const int streams = panels_at_once(tiles, p->rows);
    const int64_t whole = c->s->N / LANES < c->s->panel1 ? c->s->N / LANES : c->s->panel1;
    const int64_t stretch = whole > c->s->panel0 ? (whole - c->s->panel0) / streams : 0;
    prepare_fix(c, p);
    for (int64_t i = 0; i < stretch; i++) {
        Int8Tile t = packed_panel(c, p, c->s->panel0 + i);
        t.apart = stretch;
        run_rows(tiles, &t, p->rows, streams);
    }
    for (int64_t panel = c->s->panel0 + stretch * streams; panel < c->s->panel1; panel++) {
        Int8Tile t = packed_panel(c, p, panel);
        run_rows(tiles, &t, p->rows, 1);
    }
}

/* ---- unpacking ---- */

static void unpack_scales(const PackForm *f, const uint8_t *block, int64_t b, float *scale, float *min)
{
    v_store(scale + LANES * b, int8_load_scales(f, block));
    if (f->has_min)
        v_store(min + LANES * b, int8_load_scales(f, block + int8_scales_bytes(f)));
}

static const uint8_t *codes_of(const PackForm *f, const uint8_t *block)
{
    return block + (f->has_min ? 2 : 1) * int8_scales_bytes(f);
}

/* Point the tile of a packed panel at the codes unpacked to bytes. Returns the OR of all codes. */
static uint8_t unpack_bytes(const Call *c, Int8Tile *t)
{
    const PackForm *const f = t->form;
    Work *const w = c->work;
    const uint8_t *block = t->codes;
    uint8_t *to = w->codes;
    vint seen = vi_set1(0x0F0F0F0F);
    for (int64_t b = 0; b < t->blocks; b++, block += t->block_bytes) {
        const uint8_t *const codes = codes_of(f, block);
        unpack_scales(f, block, b, w->scale, w->min);
        if (f->kind == FORM_Q4) {
            for (int g = 0; g < f->block / 8; g++, to += 128) {
                const vint v = vi_load(codes + 64 * g);
                vi_store(to, vi_low4(v));
                vi_store(to + 64, vi_high4(v));
            }
        } else {
            for (int g = 0; g < f->block / 4; g++, to += 64) {
                const vint v = vi_load(codes + 64 * g);
                seen = vi_or(seen, v);
                vi_store(to, v);
            }
        }
    }
    t->codes = w->codes;
    t->scale = w->scale;
    t->min = f->has_min ? w->min : NULL;
    uint8_t lanes[64], bits = 0;
    vi_store(lanes, seen);
    for (int i = 0; i < 64; i++)
        bits |= lanes[i];
    return bits;
}

#if !defined(LEVEL_vnni)

/* Words hold k in the order 0, 2, 1, 3 of every four, in codes and in q: as even and odd bytes come
 * out of a lane. */
static void widen_rows(const Call *c, Piece *p)
{
    if (p->words_ready)
        return;
    const int64_t n = p->k1 - p->k0;
    for (int64_t r = 0; r < p->rows; r++) {
        const int8_t *const q = c->x->q + (p->m0 + r) * c->s->K + p->k0;
        int16_t *const words = c->work->q_words + r * n;
        for (int64_t k = 0; k < n; k += 32)
            vi_widen_swapped(words + k, q + k);
    }
    p->words_ready = true;
}

/* The same as unpack_bytes, to words, and the rows' q with them. */
static void unpack_words(const Call *c, Piece *p, Int8Tile *t)
{
    const PackForm *const f = t->form;
    Work *const w = c->work;
    const uint8_t *block = t->codes;
    uint8_t *to = w->codes;
    const vint zero = vi_set1_16(f->zero), even = vi_set1(0x00FF00FF);
    widen_rows(c, p);
    for (int64_t b = 0; b < t->blocks; b++, block += t->block_bytes) {
        const uint8_t *const codes = codes_of(f, block);
        unpack_scales(f, block, b, w->scale, w->min);
        for (int g = 0; g < f->block / 4; g++, to += 128) {
            const vint v = vi_load(codes + 64 * g);
            vi_store(to, vi_sub16(vi_and(v, even), zero));
            vi_store(to + 64, vi_sub16(vi_and(vi_shr(v, 8), even), zero));
        }
    }
    t->codes = w->codes;
    t->scale = w->scale;
    t->min = f->has_min ? w->min : NULL;
    t->q = NULL;
    t->q_words = w->q_words;
    t->ldq = p->k1 - p->k0;
}

static void unpacked_piece(const Call *c, Piece *p)
{
    const PackForm *const f = c->s->form;
    prepare_fix(c, p);
    for (int64_t panel = c->s->panel0; panel < c->s->panel1; panel++) {
        Int8Tile t = packed_panel(c, p, panel);
        const Int8Tile packed = t;
        const uint8_t bits = f->zero == 128 ? 255 : unpack_bytes(c, &t);
        const Int8Codes codes = bits < 16   ? INT8_CODES_16
                                : bits < 32 ? INT8_CODES_32
                                : bits < 64 ? INT8_CODES_64
                                            : INT8_WORDS;
        if (codes == INT8_WORDS) {
            t = packed;
            unpack_words(c, p, &t);
        }
        run_rows(KERNEL(int8_unpacked_tiles)(f, codes), &t, p->rows, 1);
    }
}

#endif

/* ---- pieces ---- */

typedef void (*PieceFn)(const Call *c, Piece *p);

static void walk(const Call *c, int64_t piece_k, int64_t row_block, PieceFn piece)
{
    const LinearShape *const s = c->s;
    for (int64_t k = 0; k < s->K; k += piece_k)
        for (int64_t m = 0; m < s->M; m += row_block) {
            Piece p = {.m0 = m, .rows = s->M - m, .k0 = k, .k1 = k + piece_k};
            p.rows = p.rows < row_block ? p.rows : row_block;
            p.k1 = p.k1 < s->K ? p.k1 : s->K;
            p.blocks = (p.k1 - p.k0) / s->form->block;
            piece(c, &p);
        }
}

static Call call_open(const LinearShape *s, float *y, int64_t ldy, const QuantRows *x,
                      const float *bias, void *scratch)
{
    return (Call){s,
                  x,
                  y,
                  ldy,
                  bias,
                  form_panel_bytes(s->form, s->K),
                  form_block_bytes(s->form),
                  scratch};
}

/* Few rows: pieces as long as there is room for fixes. */
static void walk_packed(const Call *c)
{
    walk(c, PACKED_BLOCKS * (int64_t)c->s->form->block, PACKED_ROWS, packed_piece);
}

#if defined(LEVEL_vnni)

void KERNEL(linear_int8)(const LinearShape *s, float *y, int64_t ldy, const QuantRows *x,
                         const float *bias, void *scratch)
{
    const Call c = call_open(s, y, ldy, x, bias, scratch);
    if (s->M <= PACKED_ROWS)
        walk_packed(&c);
    else
        walk(&c, PIECE_BYTES, ROW_BLOCK, packed_piece);
}

/* Groups of sixteen rows go through the tiles of AMX, the rest as without. */
static void amx_piece(const Call *c, Piece *p)
{
    const int64_t rest = p->rows % 16;
    prepare_fix(c, p);
    for (int64_t panel = c->s->panel0; panel < c->s->panel1; panel++) {
        Int8Tile t = packed_panel(c, p, panel);
        Int8Tile last = t;
        advance(&last, p->rows - rest);
        if (p->rows > rest)
            unpack_bytes(c, &t);
        for (int64_t r = 0; r + 16 <= p->rows; r += 16) {
            KERNEL(int8_amx_tile)(&t);
            advance(&t, 16);
        }
        run_rows(KERNEL(int8_packed_tiles)(c->s->form), &last, rest, 1);
    }
}

void KERNEL(linear_int8_amx)(const LinearShape *s, float *y, int64_t ldy, const QuantRows *x,
                             const float *bias, void *scratch)
{
    if (s->M < 16) {
        KERNEL(linear_int8)(s, y, ldy, x, bias, scratch);
        return;
    }
    const Call c = call_open(s, y, ldy, x, bias, scratch);
    KERNEL(int8_amx_begin)(s->form->block);
    walk(&c, PIECE_BYTES, ROW_BLOCK, amx_piece);
    KERNEL(int8_amx_end)();
}

#else

void KERNEL(linear_int8)(const LinearShape *s, float *y, int64_t ldy, const QuantRows *x,
                         const float *bias, void *scratch)
{
    const Call c = call_open(s, y, ldy, x, bias, scratch);
    if (s->M <= PACKED_ROWS)
        walk_packed(&c);
    else if (s->form->kind == FORM_Q4)
        walk(&c, PIECE_BYTES, ROW_BLOCK, unpacked_piece);
    else
        walk(&c, PIECE_WORDS, ROW_BLOCK_WORDS, unpacked_piece);
}

#endif

#endif
