/* Pooling of key/value rows into one compressed entry (deepseek-v4.md §2.5), and its gradients.
 *
 * Plan. Channels are lanes, and sixteen of them take all rows: first the maximum of their scores, then the
 * weights and the sums. The second walk finds the scores (128 rows, 16 KiB at most) in L1. Rows ascending.
 * An exponential an element is what it costs. */
#include "kernels/lanes/lanes.h"
#include "kernels/lanes/vec_math.h"

typedef struct {
    vreal max, total, e; /* total: Σ e^(score − max); e: the entry */
} Pooled;

/* Score of row r, channels i …, n of them. */
INLINE vreal score(const PoolArgs *p, int64_t r, int64_t i, int64_t n)
{
    return v_add(v_load_part((const real *)p->b[r] + i, n), v_load_part((const real *)p->ape[r] + i, n));
}

INLINE Pooled pool_channels(const PoolArgs *p, int64_t i, int64_t n)
{
    Pooled out = {.max = v_set1(-(real)INFINITY), .total = v_zero(), .e = v_zero()};
    for (int64_t r = 0; r < p->rows; r++)
        if (p->a[r])
            out.max = v_max(score(p, r, i, n), out.max);
    for (int64_t r = 0; r < p->rows; r++) {
        if (!p->a[r])
            continue;
        const vreal weight = v_exp(v_sub(score(p, r, i, n), out.max));
        out.total = v_add(out.total, weight);
        out.e = v_fma(weight, v_load_part((const real *)p->a[r] + i, n), out.e);
    }
    out.e = v_div(out.e, out.total);
    return out;
}

void KERNEL(pool)(const PoolArgs *p, void *e)
{
    int64_t i = 0;
    for (; i + LANES <= p->c; i += LANES)
        v_store((real *)e + i, pool_channels(p, i, LANES).e);
    if (i < p->c)
        v_store_part((real *)e + i, pool_channels(p, i, p->c - i).e, p->c - i);
}

/* With weights w: da = w·de, db = w·(a − e)·de. */
INLINE void pool_channels_back(const PoolArgs *p, const real *de, void *const *da, void *const *db, int64_t i,
                               int64_t n)
{
    const Pooled x = pool_channels(p, i, n);
    const vreal share = v_div(v_load_part(de + i, n), x.total);
    for (int64_t r = 0; r < p->rows; r++) {
        if (!p->a[r])
            continue;
        const vreal g = v_mul(v_exp(v_sub(score(p, r, i, n), x.max)), share);
        const vreal a = v_load_part((const real *)p->a[r] + i, n);
        v_store_part((real *)da[r] + i, g, n);
        v_store_part((real *)db[r] + i, v_mul(v_sub(a, x.e), g), n);
    }
}

void KERNEL(pool_back)(const PoolArgs *p, const void *de, void *const *da, void *const *db)
{
    int64_t i = 0;
    for (; i + LANES <= p->c; i += LANES)
        pool_channels_back(p, de, da, db, i, LANES);
    if (i < p->c)
        pool_channels_back(p, de, da, db, i, p->c - i);
}
