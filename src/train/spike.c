/* See spike.h. */
#include "train/spike.h"

#include "base/mem.h"

#include <math.h>

Status spike_init(SpikeRule *s, int64_t window, double limit, Error *err)
{
    *s = (SpikeRule){.window = window, .limit = limit};
    s->losses = mem_alloc((size_t)window, sizeof *s->losses);
    s->norms = mem_alloc((size_t)window, sizeof *s->norms);
    if (s->losses && s->norms)
        return ST_OK;
    spike_free(s);
    return error_set(err, ST_NOMEM, "no memory for the last %lld steps", (long long)window);
}

void spike_free(SpikeRule *s)
{
    mem_free(s->losses);
    mem_free(s->norms);
    *s = (SpikeRule){0};
}

/* More than `limit` deviations above the mean of the window. A window without spread has the deviation of a
 * thousandth of its mean, so that rounding is no spike. */
static bool far_above(const SpikeRule *s, const double *values, double x)
{
    const int64_t n = s->count < s->window ? s->count : s->window;
    double mean = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        mean += values[i];
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (values[i] - mean) * (values[i] - mean);
    const double deviation = fmax(sqrt(squares / (double)n), 1e-3 * fabs(mean));
    return x > mean + s->limit * deviation;
}

const char *spike_judge(SpikeRule *s, double loss, double norm)
{
    const char *why = NULL;
    if (!isfinite(loss))
        why = "the loss is not finite";
    else if (!isfinite(norm))
        why = "the gradient is not finite";
    else if (s->limit > 0 && s->count >= SPIKE_STEPS_MIN && far_above(s, s->losses, loss))
        why = "the loss is far above that of the last steps";
    else if (s->limit > 0 && s->count >= SPIKE_STEPS_MIN && far_above(s, s->norms, norm))
        why = "the gradient is far larger than in the last steps";
    if (why) {
        s->in_a_row++;
        return why;
    }
    s->losses[s->count % s->window] = loss;
    s->norms[s->count % s->window] = norm;
    s->count++;
    s->in_a_row = 0;
    return NULL;
}
