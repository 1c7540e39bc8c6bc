/* The router of experts (deepseek-v4.md §2.7), its gradients, the balance loss, and the sum over experts.
 *
 * Plan. Affinities sqrt(softplus) are computed sixteen at a time. The k best are kept in the output row,
 * sorted, while the experts stream past; hardly any of them gets further than one comparison. The chosen few
 * then have their affinities computed once more. Rows of experts' outputs are bound by the bytes they read. */
#include "kernels/lanes/lanes.h"
#include "kernels/lanes/vec_math.h"

static const real tiny = (real)1e-20; /* under the sum of affinities, as the reference library has it */

static vreal affinity(vreal logit)
{
    return v_sqrt(v_softplus(logit));
}

/* d affinity / d logit = σ(x)/(2s): with softplus(x) = x above 20 that is 1/(2s). Where s has become 0, 0. */
static vreal affinity_slope(vreal x, vreal s)
{
    const vreal zero = v_zero(), one = v_set1(1);
    const vreal sigma = v_select(v_lt(v_set1(20), x), one, v_sigmoid(x));
    const vreal slope = v_div(sigma, v_add(s, s));
    return v_select(v_lt(zero, s), slope, v_mul(s, zero)); /* a NaN stays one */
}

/* The logits of at most sixteen chosen experts. */
static vreal chosen_logits(const real *logits, const int32_t *chosen, int64_t n)
{
    real x[LANES] = {0};
    for (int64_t i = 0; i < LANES && i < n; i++)
        x[i] = logits[chosen[i]];
    return v_load(x);
}

/* ---- forward ---- */

/* Is a score better than one of a lower expert? A NaN is worse than any number. */
static bool is_better(real a, real b)
{
    return a > b || (isnan(b) && !isnan(a));
}

/* Put an expert into the list of the best so far, `count` of at most k; best first. Returns the new count. */
static int64_t keep_best(real *score, int32_t *expert, int64_t count, int64_t k, real s, int32_t e)
{
    int64_t at = count;
    if (count == k && !is_better(s, score[k - 1]))
        return count;
    if (count == k)
        at--;
    for (; at > 0 && is_better(s, score[at - 1]); at--) {
        score[at] = score[at - 1];
        expert[at] = expert[at - 1];
    }
    score[at] = s;
    expert[at] = e;
    return count < k ? count + 1 : k;
}

/* The k best experts of one row; `score` is room for k numbers. */
static void choose_best(const RouteShape *s, real *score, int32_t *chosen, const real *logits)
{
    const vreal least = v_set1(-(real)INFINITY);
    int64_t count = 0;
    for (int64_t e = 0; e < s->experts; e += LANES) {
        const int64_t n = s->experts - e;
        const vreal scores = v_add(affinity(v_load_part(logits + e, n)), v_load_part((const real *)s->bias + e, n));
        const vreal numbers = v_select(v_first(n), v_max(scores, least), least); /* a NaN becomes −inf */
        real biased[LANES];
        if (count == s->k && !is_better(v_reduce_max(numbers), score[s->k - 1]))
            continue;
        v_store(biased, scores);
        for (int64_t i = 0; i < LANES && i < n; i++)
            count = keep_best(score, chosen, count, s->k, biased[i], (int32_t)(e + i));
    }
}

static void sort_ascending(int32_t *a, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        const int32_t x = a[i];
        int64_t at = i;
        for (; at > 0 && a[at - 1] > x; at--)
            a[at] = a[at - 1];
        a[at] = x;
    }
}

void KERNEL(route)(const RouteShape *s, void *weights, int32_t *chosen, const void *logits, int64_t ld, int64_t rows)
{
    for (int64_t t = 0; t < rows; t++) {
        const real *const x = (const real *)logits + t * ld;
        real *const w = (real *)weights + t * s->k;
        int32_t *const mine = chosen + t * s->k;
        real sum = 0;
        if (s->table)
            memcpy(mine, s->table + s->ids[t] * s->k, (size_t)s->k * sizeof *mine);
        else
            choose_best(s, w, mine, x);
        sort_ascending(mine, s->k);
        for (int64_t i = 0; i < s->k; i += LANES)
            v_store_part(w + i, affinity(chosen_logits(x, mine + i, s->k - i)), s->k - i);
        for (int64_t i = 0; i < s->k; i++)
            sum += w[i];
        for (int64_t i = 0; i < s->k; i++)
            w[i] = w[i] / (sum + tiny) * (real)s->scale;
    }
}

/* ---- back ---- */

/* With S = Σ s + tiny:  ds[i] = scale/S · (dw[i] − Σ_j dw[j]·s[j]/S). */
void KERNEL(route_back)(const RouteShape *s, void *dlogits, int64_t ldd, const void *logits, int64_t ld,
                        const int32_t *chosen, const void *dweights, int64_t rows)
{
    for (int64_t t = 0; t < rows; t++) {
        const real *const x = (const real *)logits + t * ld, *const dw = (const real *)dweights + t * s->k;
        const int32_t *const mine = chosen + t * s->k;
        real *const dx = (real *)dlogits + t * ldd, sum = 0, dot = 0;
        for (int64_t e = 0; e < s->experts; e++)
            dx[e] = 0;
        for (int64_t i = 0; i < s->k; i += LANES) {
            real a[LANES];
            v_store(a, affinity(chosen_logits(x, mine + i, s->k - i)));
            for (int64_t j = 0; j < LANES && i + j < s->k; j++) {
                sum += a[j];
                dot = r_fma(dw[i + j], a[j], dot);
            }
        }
        sum += tiny;
        const vreal factor = v_set1((real)s->scale / sum), mean = v_set1(dot / sum);
        for (int64_t i = 0; i < s->k; i += LANES) {
            const vreal logit = chosen_logits(x, mine + i, s->k - i);
            const vreal da = v_mul(factor, v_sub(v_load_part(dw + i, s->k - i), mean));
            real d[LANES];
            v_store(d, v_mul(da, affinity_slope(logit, affinity(logit))));
            for (int64_t j = 0; j < LANES && i + j < s->k; j++)
                dx[mine[i + j]] += d[j]; /* a table may name an expert twice */
        }
    }
}

/* ---- balance ---- */

/* One row's share of Σ_i f_i·s_i/Σs; adds its gradient, times `weight`, to dx. */
static real balance_row(const RouteShape *s, real *dx, const real *x, const real *f, real weight)
{
    vreal sums = v_zero(), dots = v_zero();
    for (int64_t e = 0; e < s->experts; e += LANES) {
        const int64_t n = s->experts - e;
        const vreal a = v_select(v_first(n), affinity(v_load_part(x + e, n)), v_zero());
        sums = v_add(sums, a);
        dots = v_fma(a, v_load_part(f + e, n), dots);
    }
    const real sum = v_reduce_add(sums) + tiny, mean = v_reduce_add(dots) / sum;
    const vreal factor = v_set1(weight / sum);
    for (int64_t e = 0; e < s->experts; e += LANES) {
        const int64_t n = s->experts - e;
        const vreal logit = v_load_part(x + e, n);
        const vreal da = v_mul(factor, v_sub(v_load_part(f + e, n), v_set1(mean)));
        const vreal d = v_load_part(dx + e, n);
        v_store_part(dx + e, v_fma(da, affinity_slope(logit, affinity(logit)), d), n);
    }
    return mean;
}

double KERNEL(balance_back)(const RouteShape *s, void *dlogits, int64_t ldd, const void *logits, int64_t ld,
                            const int32_t *chosen, int64_t rows, double alpha)
{
    real f[ROUTE_EXPERTS_MAX] = {0};
    double loss = 0;
    if (rows <= 0)
        return 0;
    for (int64_t i = 0; i < rows * s->k; i++)
        f[chosen[i]] += 1; /* exact below 2^24 */
    const double each = (double)s->experts / ((double)s->k * (double)rows);
    for (int64_t e = 0; e < s->experts; e++)
        f[e] = (real)(each * (double)f[e]);
    for (int64_t t = 0; t < rows; t++)
        loss += (double)balance_row(s, (real *)dlogits + t * ldd, (const real *)logits + t * ld, f,
                                    (real)(alpha / (double)rows));
    return alpha * loss / (double)rows;
}

/* ---- experts' outputs ---- */

/* n columns of y from those of ys, k rows of it. */
INLINE void combine_step(real *y, const real *ys, int64_t ldys, const int32_t *slot, const real *w, int64_t k,
                         int64_t n)
{
    vreal sum = v_zero();
    for (int64_t i = 0; i < k; i++)
        sum = v_fma(v_set1(w[i]), v_load_part(ys + slot[i] * ldys, n), sum);
    v_store_part(y, sum, n);
}

void KERNEL(combine)(void *y, int64_t ldy, const void *ys, int64_t ldys, const int32_t *slot, const void *weights,
                     int64_t rows, int64_t k, int64_t d)
{
    for (int64_t t = 0; t < rows; t++) {
        const real *const w = (const real *)weights + t * k, *const from = ys;
        real *const to = (real *)y + t * ldy;
        int64_t j = 0;
        for (; j + LANES <= d; j += LANES)
            combine_step(to + j, from + j, ldys, slot + t * k, w, k, LANES);
        if (j < d)
            combine_step(to + j, from + j, ldys, slot + t * k, w, k, d - j);
    }
}

/* dys = w·dy; returns the sum, to which dy·ys has been added. */
INLINE vreal combine_step_back(real *dys, const real *ys, const real *dy, vreal w, vreal sum, int64_t n)
{
    const vreal g = v_load_part(dy, n);
    sum = v_fma(g, v_load_part(ys, n), sum);
    v_store_part(dys, v_mul(w, g), n);
    return sum;
}

void KERNEL(combine_back)(void *dys, int64_t lddys, void *dweights, const void *ys, int64_t ldys, const int32_t *slot,
                          const void *weights, const void *dy, int64_t lddy, int64_t rows, int64_t k, int64_t d)
{
    for (int64_t i = 0; i < rows * k; i++) {
        const vreal w = v_set1(((const real *)weights)[i]);
        const real *const g = (const real *)dy + i / k * lddy, *const out = (const real *)ys + slot[i] * ldys;
        real *const dout = (real *)dys + slot[i] * lddys;
        vreal sum = v_zero();
        int64_t j = 0;
        for (; j + LANES <= d; j += LANES)
            sum = combine_step_back(dout + j, out + j, g + j, w, sum, LANES);
        if (j < d)
            sum = combine_step_back(dout + j, out + j, g + j, w, sum, d - j);
        ((real *)dweights)[i] = v_reduce_add(sum);
    }
}
