/* Hyper-connections on the streams themselves: M·d elements a row, bound by the bytes they read and write.
 *
 * Plan. Lanes are elements of d, and each array passes through the processor once. Four streams, which
 * is what models have, get their loops unrolled. Sums over d run in sixteen lanes, ascending, then by the
 * fixed tree; hyper_post_back has M·(M+1) of them, more than registers, and so takes one output stream after
 * the other over a piece of d that stays in L1. */
#include "kernels/lanes/lanes.h"

#define STREAMS HYPER_STREAMS_MAX
#define PIECE 256 /* elements of d; a multiple of LANES */

/* ---- pre ---- */

INLINE void pre_row(const int M, real *y, const real *x, const real *c, int64_t d)
{
    for (int64_t i = 0; i < d; i += LANES) {
        vreal sum = v_mul(v_set1(c[0]), v_load_part(x + i, d - i));
#pragma GCC unroll 4
        for (int j = 1; j < M; j++)
            sum = v_fma(v_set1(c[j]), v_load_part(x + j * d + i, d - i), sum);
        v_store_part(y + i, sum, d - i);
    }
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

INLINE void pre_row_back(const int M, real *dx, real *dc, const real *x, const real *c, const real *dy, int64_t d)
{
    vreal sums[STREAMS];
#pragma GCC unroll 4
    for (int j = 0; j < M; j++)
        sums[j] = v_zero();
    for (int64_t i = 0; i < d; i += LANES) {
        const vreal g = v_load_part(dy + i, d - i);
#pragma GCC unroll 4
        for (int j = 0; j < M; j++) {
            sums[j] = v_fma(g, v_load_part(x + j * d + i, d - i), sums[j]);
            v_store_part(dx + j * d + i, v_mul(v_set1(c[j]), g), d - i);
        }
    }
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

/* Row c of coefficients: post at c + M, comb at c + 2M. */
INLINE void post_row(const int M, real *out, const real *x, const real *c, const real *f, int64_t d)
{
    const real *const post = c + M, *const comb = c + 2 * M;
    for (int64_t i = 0; i < d; i += LANES) {
        const vreal add = v_load_part(f + i, d - i);
        vreal in[STREAMS];
#pragma GCC unroll 4
        for (int j = 0; j < M; j++)
            in[j] = v_load_part(x + j * d + i, d - i);
#pragma GCC unroll 4
        for (int k = 0; k < M; k++) {
            vreal sum = v_mul(v_set1(post[k]), add);
#pragma GCC unroll 4
            for (int j = 0; j < M; j++)
                sum = v_fma(v_set1(comb[j * M + k]), in[j], sum);
            v_store_part(out + k * d + i, sum, d - i);
        }
    }
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

/* What hyper_post_back reads and writes of one row. */
typedef struct {
    real *dx, *df;
    const real *x, *f, *dout, *post, *comb;
    int64_t d;
} PostRow;

/* Elements [from, to) of dx and df. */
INLINE void post_inputs_back(const int M, const PostRow *r, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i += LANES) {
        vreal g[STREAMS];
#pragma GCC unroll 4
        for (int k = 0; k < M; k++)
            g[k] = v_load_part(r->dout + k * r->d + i, to - i);
#pragma GCC unroll 4
        for (int j = 0; j < M; j++) {
            vreal sum = v_mul(v_set1(r->comb[j * M]), g[0]);
#pragma GCC unroll 4
            for (int k = 1; k < M; k++)
                sum = v_fma(v_set1(r->comb[j * M + k]), g[k], sum);
            v_store_part(r->dx + j * r->d + i, sum, to - i);
        }
        vreal sum = v_mul(v_set1(r->post[0]), g[0]);
#pragma GCC unroll 4
        for (int k = 1; k < M; k++)
            sum = v_fma(v_set1(r->post[k]), g[k], sum);
        v_store_part(r->df + i, sum, to - i);
    }
}

/* The share of elements [from, to) in what multiplies into output stream k: sums[0] of post, sums[1+j] of comb. */
INLINE void post_sums_back(const int M, vreal *sums, const PostRow *r, int k, int64_t from, int64_t to)
{
    const real *const dout = r->dout + k * r->d;
    vreal s[1 + STREAMS];
#pragma GCC unroll 5
    for (int j = 0; j <= M; j++)
        s[j] = sums[j];
    for (int64_t i = from; i < to; i += LANES) {
        const vreal g = v_load_part(dout + i, to - i);
        s[0] = v_fma(g, v_load_part(r->f + i, to - i), s[0]);
#pragma GCC unroll 4
        for (int j = 0; j < M; j++)
            s[1 + j] = v_fma(g, v_load_part(r->x + j * r->d + i, to - i), s[1 + j]);
    }
#pragma GCC unroll 5
    for (int j = 0; j <= M; j++)
        sums[j] = s[j];
}

INLINE void post_row_back(const int M, const PostRow *r, real *dc)
{
    vreal sums[STREAMS][1 + STREAMS];
    for (int k = 0; k < M; k++)
        for (int j = 0; j <= M; j++)
            sums[k][j] = v_zero();
    for (int64_t i = 0; i < r->d; i += PIECE) {
        const int64_t end = r->d - i < PIECE ? r->d : i + PIECE;
        for (int k = 0; k < M; k++)
            post_sums_back(M, sums[k], r, k, i, end);
        post_inputs_back(M, r, i, end);
    }
    for (int k = 0; k < M; k++) {
        dc[k] = 0;
        dc[M + k] = v_reduce_add(sums[k][0]);
        for (int j = 0; j < M; j++)
            dc[2 * M + j * M + k] = v_reduce_add(sums[k][1 + j]);
    }
}

void KERNEL(hyper_post_back)(const HyperShape *s, void *dx, int64_t lddx, void *dc, int64_t lddc, void *df,
                             int64_t lddf, const void *x, int64_t ldx, const void *c, int64_t ldc, const void *f,
                             int64_t ldf, const void *dout, int64_t lddo, int64_t rows)
{
    for (int64_t t = 0; t < rows; t++) {
        const real *const c1 = (const real *)c + t * ldc;
        const PostRow r = {.dx = (real *)dx + t * lddx,
                           .df = (real *)df + t * lddf,
                           .x = (const real *)x + t * ldx,
                           .f = (const real *)f + t * ldf,
                           .dout = (const real *)dout + t * lddo,
                           .post = c1 + s->M,
                           .comb = c1 + 2 * s->M,
                           .d = s->d};
        if (s->M == 4)
            post_row_back(4, &r, (real *)dc + t * lddc);
        else
            post_row_back((int)s->M, &r, (real *)dc + t * lddc);
    }
}
