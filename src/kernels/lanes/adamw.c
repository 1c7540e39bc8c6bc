/* Optimisers, and the norm that clipping needs: one pass over memory each, bound by its bandwidth. */
#include "kernels/lanes/lanes.h"

#if !REAL_IS_DOUBLE

/* lr·decay is subtracted from w rather than 1 − lr·decay multiplied: the float nearest to 1 − 10⁻⁵ is off by a
 * third of a per cent of the decay. */
void KERNEL(adamw)(float *w, float *m, float *v, const float *grad, int64_t n, const AdamStep *s)
{
    const vreal scale = v_set1((float)s->scale), eps = v_set1((float)s->eps);
    const vreal beta1 = v_set1((float)s->beta1), rest1 = v_set1((float)(1 - s->beta1));
    const vreal beta2 = v_set1((float)s->beta2), rest2 = v_set1((float)(1 - s->beta2));
    const vreal correct1 = v_set1((float)s->correct1), correct2 = v_set1((float)s->correct2);
    const vreal lr = v_set1((float)s->lr), decay = v_set1((float)(s->lr * s->decay));
    for (int64_t i = 0; i < n; i += LANES) {
        const int64_t left = n - i;
        const vreal g = v_mul(scale, v_load_part(grad + i, left)), old = v_load_part(w + i, left);
        const vreal mean = v_fma(rest1, g, v_mul(beta1, v_load_part(m + i, left)));
        const vreal square = v_fma(v_mul(rest2, g), g, v_mul(beta2, v_load_part(v + i, left)));
        const vreal root = v_add(v_sqrt(v_mul(square, correct2)), eps);
        const vreal step = v_div(v_mul(mean, correct1), root);
        v_store_part(m + i, mean, left);
        v_store_part(v + i, square, left);
        v_store_part(w + i, v_fnma(lr, step, v_fnma(decay, old, old)), left);
    }
}

double KERNEL(sum_squares)(const float *x, int64_t n)
{
    double sum[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            sum[l] += (double)x[i + l] * (double)x[i + l]; /* the product is exact */
    for (int l = 0; i + l < n; l++)
        sum[l] += (double)x[i + l] * (double)x[i + l];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            sum[l] += sum[l + half];
    return sum[0];
}

#endif
