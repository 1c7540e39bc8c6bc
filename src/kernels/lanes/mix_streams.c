/* Hyper-connections on the streams themselves: M·d elements a row, bound by the bytes they read and write.
 *
 * Plan. Lanes are elements of d, and each array passes through the processor once. Four streams, which
 * is what models have, get their loops unrolled; whole vectors have loops of their own, without a look at the
 * end. Sums over d run in sixteen lanes, ascending, then by the fixed tree. hyper_post_back has M·(M+1) of
 * them, more than registers, and so takes one input after the other against a piece of all gradients, which
 * stays in L1: four arrays that are often a power of two apart and share a set of it, beside two that stream
 * (by outputs, with nine arrays, it took twice as long at d = 4096). */
#include "kernels/lanes/lanes.h"

#define STREAMS HYPER_STREAMS_MAX
#define PIECE 256 /* elements of d; a multiple of LANES */

/* ---- pre ---- */

INLINE void pre_step(const int M, real *y, const real *x, const real *c, int64_t d, int64_t n)
{
    vreal sum = v_mul(v_set1(c[0]), v_load_part(x, n));
#pragma GCC unroll 4
    for (int j = 1; j < M; j++)
        sum = v_fma(v_set1(c[j]), v_load_part(x + j * d, n), sum);
    v_store_part(y, sum, n);
}

INLINE void pre_row(const int M, real *y, const real *x, const real *c, int64_t d)
{
    int64_t i = 0;
    for (; i + LANES <= d; i += LANES)
        pre_step(M, y + i, x + i, c, d, LANES);
    if (i < d)
        pre_step(M, y + i, x + i, c, d, d - i);
}

void KERNEL(hyper_pre)(const HyperShape *s, void *y, int64_t ldy, const void *x, int64_t ldx, const void *c,
                       int64_t ldc, int64_t rows)
{
    for (int64_t t = 0; t < rows; t++) {
        real *const y1 = (real *)y + t * ldy;
        const real *const x1 = (const real *)x + t * ldx, *const c1 = (const real *)c + t * ldc;
        if (s->M == 4)
            pre_row(4, y1, x1, c1, s->d);
        else
            pre_row((int)s->M, y1, x1, c1, s->d);
    }
}

INLINE void pre_step_back(const int M, real *dx, vreal *sums, const real *x, const real *c, const real *dy, int64_t d,
                          int64_t n)
{
    const vreal g = v_load_part(dy, n);
#pragma GCC unroll 4
    for (int j = 0; j < M; j++) {
        sums[j] = v_fma(g, v_load_part(x + j * d, n), sums[j]);
        v_store_part(dx + j * d, v_mul(v_set1(c[j]), g), n);
    }
}

INLINE void pre_row_back(const int M, real *dx, real *dc, const real *x, const real *c, const real *dy, int64_t d)
{
    vreal sums[STREAMS];
    int64_t i = 0;
#pragma GCC unroll 4
    for (int j = 0; j < M; j++)
        sums[j] = v_zero();
    for (; i + LANES <= d; i += LANES)
        pre_step_back(M, dx + i, sums, x + i, c, dy + i, d, LANES);
    if (i < d)
        pre_step_back(M, dx + i, sums, x + i, c, dy + i, d, d - i);
#pragma GCC unroll 4
    for (int j = 0; j < M; j++)
        dc[j] = v_reduce_add(sums[j]);
}

void KERNEL(hyper_pre_back)(const HyperShape *s, void *dx, int64_t lddx, void *dc, int64_t lddc, const void *x,
                            int64_t ldx, const void *c, int64_t ldc, const void *dy, int64_t lddy, int64_t rows)
{
    const int64_t M = s->M, n = s->head ? M : (2 + M) * M;
    for (int64_t t = 0; t < rows; t++) {
        real *const dx1 = (real *)dx + t * lddx, *const dc1 = (real *)dc + t * lddc;
        const real *const x1 = (const real *)x + t * ldx, *const c1 = (const real *)c + t * ldc;
        const real *const dy1 = (const real *)dy + t * lddy;
        if (M == 4)
            pre_row_back(4, dx1, dc1, x1, c1, dy1, s->d);
        else
            pre_row_back((int)M, dx1, dc1, x1, c1, dy1, s->d);
        for (int64_t i = M; i < n; i++)
            dc1[i] = 0;
    }
}

/* ---- post ---- */

INLINE void post_step(const int M, real *out, const real *x, const real *post, const real *comb, const real *f,
                      int64_t d, int64_t n)
{
    const vreal add = v_load_part(f, n);
    vreal in[STREAMS];
#pragma GCC unroll 4
    for (int j = 0; j < M; j++)
        in[j] = v_load_part(x + j * d, n);
#pragma GCC unroll 4
    for (int k = 0; k < M; k++) {
        vreal sum = v_mul(v_set1(post[k]), add);
#pragma GCC unroll 4
        for (int j = 0; j < M; j++)
            sum = v_fma(v_set1(comb[j * M + k]), in[j], sum);
        v_store_part(out + k * d, sum, n);
    }
}

/* Row c of coefficients: post at c + M, comb at c + 2M. */
INLINE void post_row(const int M, real *out, const real *x, const real *c, const real *f, int64_t d)
{
    int64_t i = 0;
    for (; i + LANES <= d; i += LANES)
        post_step(M, out + i, x + i, c + M, c + 2 * M, f + i, d, LANES);
    if (i < d)
        post_step(M, out + i, x + i, c + M, c + 2 * M, f + i, d, d - i);
}

void KERNEL(hyper_post)(const HyperShape *s, void *out, int64_t ldo, const void *x, int64_t ldx, const void *c,
                        int64_t ldc, const void *f, int64_t ldf, int64_t rows)
{
    for (int64_t t = 0; t < rows; t++) {
        real *const out1 = (real *)out + t * ldo;
        const real *const x1 = (const real *)x + t * ldx, *const c1 = (const real *)c + t * ldc;
        const real *const f1 = (const real *)f + t * ldf;
        if (s->M == 4)
            post_row(4, out1, x1, c1, f1, s->d);
        else
            post_row((int)s->M, out1, x1, c1, f1, s->d);
    }
}

INLINE void post_step_back(const int M, real *dx, vreal *sums, const real *x, const real *c, const real *dout,
                           int64_t d, int64_t n)
{
    const vreal a = v_load_part(x, n);
    vreal g = v_load_part(dout, n), sum = v_mul(v_set1(c[0]), g);
    sums[0] = v_fma(a, g, sums[0]);
#pragma GCC unroll 4
    for (int k = 1; k < M; k++) {
        g = v_load_part(dout + k * d, n);
        sums[k] = v_fma(a, g, sums[k]);
        sum = v_fma(v_set1(c[k]), g, sum);
    }
    v_store_part(dx, sum, n);
}

/* An input of hyper_post (a stream, or the sublayer's output), elements 0 … n−1, which went into output stream k
 * times c[k]: its gradient dx, and sums[k] += x·dout[k]. Output streams lie d apart. */
INLINE void post_input_back(const int M, real *dx, vreal *sums, const real *x, const real *c, const real *dout,
                            int64_t d, int64_t n)
{
    vreal s[STREAMS];
    int64_t i = 0;
#pragma GCC unroll 4
    for (int k = 0; k < M; k++)
        s[k] = sums[k];
    for (; i + LANES <= n; i += LANES)
        post_step_back(M, dx + i, s, x + i, c, dout + i, d, LANES);
    if (i < n)
        post_step_back(M, dx + i, s, x + i, c, dout + i, d, n - i);
#pragma GCC unroll 4
    for (int k = 0; k < M; k++)
        sums[k] = s[k];
}

/* What hyper_post_back reads and writes of one row. */
typedef struct {
    real *dx, *df, *dc;
    const real *x, *f, *c, *dout;
    int64_t d;
} PostRow;

INLINE void post_row_back(const int M, const PostRow *r)
{
    vreal sums[STREAMS + 1][STREAMS]; /* of the streams, and of f */
    for (int j = 0; j <= M; j++)
        for (int k = 0; k < M; k++)
            sums[j][k] = v_zero();
    for (int64_t i = 0; i < r->d; i += PIECE) {
        const int64_t n = r->d - i < PIECE ? r->d - i : PIECE;
        for (int j = 0; j < M; j++)
            post_input_back(M, r->dx + j * r->d + i, sums[j], r->x + j * r->d + i, r->c + (2 + j) * M, r->dout + i,
                            r->d, n);
        post_input_back(M, r->df + i, sums[M], r->f + i, r->c + M, r->dout + i, r->d, n);
    }
    for (int k = 0; k < M; k++) {
        r->dc[k] = 0;
        r->dc[M + k] = v_reduce_add(sums[M][k]);
        for (int j = 0; j < M; j++)
            r->dc[(2 + j) * M + k] = v_reduce_add(sums[j][k]);
    }
}

void KERNEL(hyper_post_back)(const HyperShape *s, void *dx, int64_t lddx, void *dc, int64_t lddc, void *df,
                             int64_t lddf, const void *x, int64_t ldx, const void *c, int64_t ldc, const void *f,
                             int64_t ldf, const void *dout, int64_t lddo, int64_t rows)
{
    for (int64_t t = 0; t < rows; t++) {
        const PostRow r = {.dx = (real *)dx + t * lddx,
                           .df = (real *)df + t * lddf,
                           .dc = (real *)dc + t * lddc,
                           .x = (const real *)x + t * ldx,
                           .f = (const real *)f + t * ldf,
                           .c = (const real *)c + t * ldc,
                           .dout = (const real *)dout + t * lddo,
                           .d = s->d};
        if (s->M == 4)
            post_row_back(4, &r);
        else
            post_row_back((int)s->M, &r);
    }
}
