/* See schedule.h. */
#include "train/schedule.h"

/* cos(pi x) for x in [0, 1]. The C library's cosine may differ between its versions and processors in
 * the last bit, which a run that is to be repeated must not see. Taylor series around the nearest
 * multiple of a quarter turn: ten terms reach past the last bit of a double. */
static double cos_pi(double x)
{
    const double pi = 3.14159265358979323846;
    if (x > 0.5)
        return -cos_pi(1 - x);
    const bool sine = x > 0.25;
    const double a = pi * (sine ? 0.5 - x : x);
    double term = sine ? a : 1, sum = term;
    for (int k = 1; k <= 10; k++) {
        const double n = 2.0 * k + (sine ? 1 : 0);
        term = -term * a * a / (n * (n - 1));
        sum += term;
    }
    return sum;
}

double schedule_share(const Recipe *r, int64_t step)
{
    int64_t warmup = r->schedule.warmup, decay = r->schedule.decay, stable = r->schedule.stable;
    const int64_t steps = r->train.steps;
    if (stable < 0) {
        if (warmup > steps - decay) { /* no sum: it could overflow */
            const double both = (double)warmup + (double)decay;
            warmup = (int64_t)((double)warmup / both * (double)steps);
            decay = steps - warmup;
        }
        stable = steps - warmup - decay;
    }
    if (step < warmup)
        return (double)(step + 1) / (double)warmup;
    const int64_t behind = step - warmup - stable;
    if (behind < 0)
        return 1;
    if (behind >= decay - 1)
        return decay > 0 || r->schedule.stable >= 0 ? r->schedule.final : 1;
    const double x = (double)(behind + 1) / (double)decay;
    const double down = r->schedule.shape == RECIPE_LINEAR ? 1 - x : 0.5 * (1 + cos_pi(x));
    return r->schedule.final + (1 - r->schedule.final) * down;
}
