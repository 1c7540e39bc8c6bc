/* Kernels of DeepSeek-V4's own parts, forward and backward: hyper-connections, pooling of key/value
 * entries, the index that chooses entries, the router of experts. Rules as in kernels.h and grad.h. */
#ifndef PLUMB_KERNELS_MIX_H
#define PLUMB_KERNELS_MIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Manifold-constrained hyper-connections (deepseek-v4.md §2.3) of M streams of d elements, M <= 8. A token's
 * streams are one row x[M·d]. Its coefficients are one row c[(2+M)·M]: pre [M], post [M], comb [M][M]
 * (row j, column k); with `head` only pre [M]. */
#define HYPER_STREAMS_MAX 8
typedef struct {
    int64_t M, d;
    double rms_eps, hc_eps;
    int64_t iterations; /* Sinkhorn, >= 1 */
    bool head;
} HyperShape;

/* One entry of compressed keys: `rows` rows pooled channel by channel,
 *     e[i] = Σ_r softmax_r(b[r][i] + ape[r][i]) · a[r][i]
 * Each pointer is to c reals; a[r] NULL: the row is absent (value 0, score −inf). At least one row is there.
 * Rows in ascending order; the maximum over rows is taken out first. */
typedef struct {
    const void *const *a, *const *b, *const *ape; /* [rows] */
    int64_t rows, c;
} PoolArgs;

/* The choice of entries (lightning indexer): for row t at position p = position + t
 *     I[j] = Σ_h relu(q[t,h]·k[j]) · w[t,h],  j < (p+1)/tokens,   h ascending, products ascending over dim
 * and chosen[t][0 …] = the min(topk, visible) largest, as ascending entry numbers, −1 behind them.
 * Equal scores (0 and −0 too): lower number first. Entry keys lie in pages of 64 as in AttentionArgs:
 * keys [dim][64] at byte offset key_offset of page j/64. */
typedef struct {
    const void *const *pages;
    size_t key_offset;
    int64_t heads, dim, tokens, topk;
    const void *q, *w;      /* real [rows][ld]; w already times its scale */
    int64_t ld_q, ld_w;
    int64_t rows, position;
    int32_t *chosen;        /* [rows][topk] */
} IndexArgs;

#define ROUTE_EXPERTS_MAX 2048 /* of balance_back */

/* The router (deepseek-v4.md §2.7): s = sqrt(softplus(logit)) (softplus(x) = x above 20); chosen are the k largest
 * s + bias (lower number first on ties), or, with `table`, those of row ids[t] of the table; listed in ascending expert
 * order; weight = scale·s / (Σ_chosen s + 1e-20), s summed in that order. */
typedef struct {
    int64_t experts, k;     /* 1 <= k <= experts */
    double scale;
    const void *bias;       /* real [experts]; NULL with table */
    const int32_t *table;   /* [vocab][k]; NULL: by score */
    const int32_t *ids;     /* [rows], with table */
} RouteShape;

typedef struct {
    /* c[t] from z[t] = fn · x[t] (a plain product made before; ldz its stride). Rows of z: 2M+M² or, head, M.
     *     g = 1/sqrt(mean(x[t]²) + rms_eps);  z·g·scale[i] + base → pre, post, comb as in §2.3, Sinkhorn included.
     * scale [3] (head: [1]), base [(2+M)·M] (head: [M]). */
    void (*hyper_split)(const HyperShape *s, void *c, int64_t ldc, const void *z, int64_t ldz, const void *x, int64_t ldx,
                        const void *scale, const void *base, int64_t rows);
    /* Gradients of hyper_split from dc: dz =, dx = (through g alone), and per row dbase[t] [(2+M)·M] =, dscale[t] [3] =
     * (head: [M], [1]). Sinkhorn's iterations are recomputed and differentiated exactly. */
    void (*hyper_split_back)(const HyperShape *s, void *dz, int64_t lddz, void *dx, int64_t lddx, void *dbase,
                             int64_t lddbase, void *dscale, int64_t lddscale, const void *z, int64_t ldz, const void *x,
                             int64_t ldx, const void *scale, const void *base, const void *dc, int64_t lddc,
                             int64_t rows);

    /* y[t,d] = Σ_j pre[j]·x[t,j,:] (j ascending; d = s->d; ldy) and its gradients dx =, dc = : dpre from dy, zeros
     * elsewhere in the row of dc (head: the whole row is dpre). */
    void (*hyper_pre)(const HyperShape *s, void *y, int64_t ldy, const void *x, int64_t ldx, const void *c, int64_t ldc,
                      int64_t rows);
    void (*hyper_pre_back)(const HyperShape *s, void *dx, int64_t lddx, void *dc, int64_t lddc, const void *x, int64_t ldx,
                           const void *c, int64_t ldc, const void *dy, int64_t lddy, int64_t rows);

    /* out[t,k,:] = post[k]·f[t,:] + Σ_j comb[j][k]·x[t,j,:] and its gradients dx =, dc = (zeros for pre), df =.
     * out may not alias x. */
    void (*hyper_post)(const HyperShape *s, void *out, int64_t ldo, const void *x, int64_t ldx, const void *c, int64_t ldc,
                       const void *f, int64_t ldf, int64_t rows);
    void (*hyper_post_back)(const HyperShape *s, void *dx, int64_t lddx, void *dc, int64_t lddc, void *df, int64_t lddf,
                            const void *x, int64_t ldx, const void *c, int64_t ldc, const void *f, int64_t ldf,
                            const void *dout, int64_t lddo, int64_t rows);

    /* e[c] = pool; and from de: da[r] = …, db[r] = … (c reals each; skipped where a[r] is NULL). */
    void (*pool)(const PoolArgs *p, void *e);
    void (*pool_back)(const PoolArgs *p, const void *de, void *const *da, void *const *db);

    /* scratch: MIX_SCRATCH bytes plus 4 bytes (8 in f64) an entry visible to the last row; 64-byte aligned. */
    void (*index_choose)(const IndexArgs *a, void *scratch);

    /* weights [rows][k] real and chosen [rows][k]. */
    void (*route)(const RouteShape *s, void *weights, int32_t *chosen, const void *logits, int64_t ld, int64_t rows);
    /* dlogits [rows][ldd] = , zero for experts not chosen. */
    void (*route_back)(const RouteShape *s, void *dlogits, int64_t ldd, const void *logits, int64_t ld,
                       const int32_t *chosen, const void *dweights, int64_t rows);
    /* The sequence-wise balance loss (training.md §1.3) of the `rows` rows of ONE sequence, with the affinities of
     * route: L = alpha·Σ_i f_i·P_i,  f_i = experts/(k·rows)·count_i (a constant),  P_i = mean_t s_i/Σ_j s_j.
     * dlogits[t,i] += ∂L/∂logit; returns L. */
    double (*balance_back)(const RouteShape *s, void *dlogits, int64_t ldd, const void *logits, int64_t ld,
                           const int32_t *chosen, int64_t rows, double alpha);

    /* y[t,:] = Σ_i weights[t,i]·ys[slot[t·k+i],:], i ascending; d columns. */
    void (*combine)(void *y, int64_t ldy, const void *ys, int64_t ldys, const int32_t *slot, const void *weights,
                    int64_t rows, int64_t k, int64_t d);
    /* dys[slot[t·k+i],:] = weights[t,i]·dy[t,:];  dweights[t,i] = dy[t,:]·ys[slot[t·k+i],:]  (sixteen lanes, tree). */
    void (*combine_back)(void *dys, int64_t lddys, void *dweights, const void *ys, int64_t ldys, const int32_t *slot,
                         const void *weights, const void *dy, int64_t lddy, int64_t rows, int64_t k, int64_t d);
} MixKernels;

#define MIX_SCRATCH ((size_t)1 << 17)

#endif
