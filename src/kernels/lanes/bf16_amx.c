/* The leaf of bf16_pairs.c on the matrix tiles of AMX (level amx): tdpbf16ps multiplies sixteen rows of sixteen pairs
 * (A) with sixteen pairs of sixteen outputs (B, a piece of a panel as it lies in memory) into 16 × 16 floats (C).
 *
 * Two by two tiles of C share two of A and two of B: a step loads four tiles, 32 cycles of a Sapphire Rapids core,
 * beside four products, 64 cycles; products are the roof. Rows that fill no tile get a configuration with fewer
 * rows, so that nothing is read that is not there; columns that fill none go through a buffer. */
#include "kernels/lanes/bf16_pairs.h"
#include "kernels/lanes/block.h"

#if defined(LEVEL_vnni)

#define ROWS 16
#define STEP 16 /* pairs */
#define ROW_BYTES 64

/* Tile registers are constants of the instructions. C of rows r and vector v is 2r + v. */
#define TILE_A0 4
#define TILE_A1 5
#define TILE_B0 6
#define TILE_B1 7

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} TileConfig;

_Static_assert(sizeof(TileConfig) == 64, "the instruction reads 64 bytes");

/* The intrinsics do not tell gcc that they read memory. */
INLINE void memory_written(void)
{
    __asm__ volatile("" ::: "memory");
}

/* A and C of `rows` rows. */
static void configure(int rows)
{
    TileConfig config = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        config.rows[t] = (uint8_t)(t == TILE_B0 || t == TILE_B1 ? STEP : rows);
        config.row_bytes[t] = ROW_BYTES;
    }
    memory_written();
    _tile_loadconfig(&config);
}

/* One tile of C: where it is loaded from and stored to. */
typedef struct {
    float *p;
    int64_t stride; /* bytes */
} Place;

INLINE void open_tiles(const int R, const int V, const Place c[2][2], bool fresh)
{
    if (fresh) {
        _tile_zero(0);
        if (V > 1)
            _tile_zero(1);
        if (R > 1)
            _tile_zero(2);
        if (R > 1 && V > 1)
            _tile_zero(3);
        return;
    }
    _tile_loadd(0, c[0][0].p, c[0][0].stride);
    if (V > 1)
        _tile_loadd(1, c[0][1].p, c[0][1].stride);
    if (R > 1)
        _tile_loadd(2, c[1][0].p, c[1][0].stride);
    if (R > 1 && V > 1)
        _tile_loadd(3, c[1][1].p, c[1][1].stride);
}

INLINE void close_tiles(const int R, const int V, const Place c[2][2])
{
    _tile_stored(0, c[0][0].p, c[0][0].stride);
    if (V > 1)
        _tile_stored(1, c[0][1].p, c[0][1].stride);
    if (R > 1)
        _tile_stored(2, c[1][0].p, c[1][0].stride);
    if (R > 1 && V > 1)
        _tile_stored(3, c[1][1].p, c[1][1].stride);
}

/* The products of R·16 rows of a with V vectors of b. */
INLINE void multiply(const PairBlock *t, const int R, const int V, const uint16_t *a, const uint32_t *b)
{
    const int64_t lda = t->lda * (int64_t)sizeof *a;
    for (int64_t p = 0; p < t->pairs; p += STEP, a += 2 * STEP, b += STEP * LANES) {
        _tile_loadd(TILE_A0, a, lda);
        _tile_loadd(TILE_B0, b, ROW_BYTES);
        _tile_dpbf16ps(0, TILE_A0, TILE_B0);
        if (V > 1) {
            _tile_loadd(TILE_B1, b + t->step_v, ROW_BYTES);
            _tile_dpbf16ps(1, TILE_A0, TILE_B1);
        }
        if (R > 1) {
            _tile_loadd(TILE_A1, a + ROWS * t->lda, lda);
            _tile_dpbf16ps(2, TILE_A1, TILE_B0);
        }
        if (R > 1 && V > 1)
            _tile_dpbf16ps(3, TILE_A1, TILE_B1);
    }
}

static void copy_columns(float *dst, int64_t ldd, const float *src, int64_t lds, int64_t rows, int64_t columns)
{
    for (int64_t r = 0; r < rows; r++)
        memcpy(dst + r * ldd, src + r * lds, (size_t)columns * sizeof *dst);
}

/* `rows` rows from `row` on (at most 16·R) of the V vectors from v on; the last vector may be narrow. */
INLINE void tile(const PairBlock *t, const int R, const int V, int64_t row, int64_t rows, int64_t v)
{
    _Alignas(64) float edge[2 * ROWS * LANES];
    float *const c = t->c + row * t->ldc + v * LANES;
    float *const last = c + (V - 1) * LANES;
    const int64_t stride = t->ldc * (int64_t)sizeof *c, columns = t->columns - (v + V - 1) * LANES;
    const bool narrow = columns < LANES;
    Place place[2][2];
    for (int r = 0; r < R; r++) {
        for (int i = 0; i < V; i++)
            place[r][i] = (Place){c + r * ROWS * t->ldc + i * LANES, stride};
        if (narrow)
            place[r][V - 1] = (Place){edge + r * ROWS * LANES, ROW_BYTES};
    }
    if (narrow && !t->fresh) {
        memset(edge, 0, sizeof edge);
        copy_columns(edge, LANES, last, t->ldc, rows, columns);
    }
    memory_written();
    open_tiles(R, V, place, t->fresh);
    multiply(t, R, V, t->a + row * t->lda, t->b + v * t->step_v);
    close_tiles(R, V, place);
    memory_written();
    if (narrow)
        copy_columns(last, t->ldc, edge, LANES, rows, columns);
}

/* Sixteen rows or fewer, as configured. */
static void one_row_of_tiles(const PairBlock *b, int64_t row, int64_t rows)
{
    int64_t v = 0;
    for (; v + 2 <= b->vecs; v += 2)
        tile(b, 1, 2, row, rows, v);
    if (v < b->vecs)
        tile(b, 1, 1, row, rows, v);
}

static void whole_rows(const PairBlock *b, int64_t rows)
{
    int64_t v = 0;
    for (; v + 2 <= b->vecs; v += 2)
        for (int64_t row = 0; row + 2 * ROWS <= rows; row += 2 * ROWS)
            tile(b, 2, 2, row, 2 * ROWS, v);
    if (v < b->vecs)
        for (int64_t row = 0; row + 2 * ROWS <= rows; row += 2 * ROWS)
            tile(b, 2, 1, row, 2 * ROWS, v);
    if (rows % (2 * ROWS) >= ROWS)
        one_row_of_tiles(b, rows / (2 * ROWS) * 2 * ROWS, ROWS);
}

void KERNEL(pair_rows_amx)(const PairBlock *b, int64_t rows)
{
    const int rest = (int)(rows % ROWS);
    if (rows >= ROWS) {
        configure(ROWS);
        whole_rows(b, rows);
    }
    if (rest > 0) {
        configure(rest);
        one_row_of_tiles(b, rows - rest, rest);
    }
    if (rows > 0)
        _tile_release();
}

int64_t KERNEL(measure_amx)(int64_t steps, double *sink)
{
    _Alignas(64) float c[ROWS * LANES];
    memset(c, 0, sizeof c);
    configure(ROWS);
    _tile_loadd(TILE_A0, c, ROW_BYTES);
    _tile_loadd(TILE_B0, c, ROW_BYTES);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t s = 0; s < steps; s++) {
        _tile_dpbf16ps(0, TILE_A0, TILE_B0);
        _tile_dpbf16ps(1, TILE_A0, TILE_B0);
        _tile_dpbf16ps(2, TILE_A0, TILE_B0);
        _tile_dpbf16ps(3, TILE_A0, TILE_B0);
    }
    _tile_stored(0, c, ROW_BYTES);
    _tile_release();
    memory_written();
    *sink += (double)c[0];
    return steps * 4 * ROWS * LANES * STEP * 2 * 2;
}

#endif
