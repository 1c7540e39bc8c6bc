/* The sampler. Exactly defined, so that a seed means the same ids everywhere and for ever:
 *
 *  - Logits that are not finite are never chosen.
 *  - The ranking is by logit, larger first, then by id, smaller first: every "the k largest" and "the
 *    smallest prefix" below is unique.
 *  - Weights are exp((logit - largest) / temperature) in double, summed in ascending order of ids. The sum
 *    over what top-k leaves is the whole that top-p takes its share of; prefixes of the ranking are
 *    summed in the order of the ranking.
 *  - The draw takes the first id, in ascending order of ids, at which the running sum of the weights that
 *    are left exceeds u times their sum, u = rng_unit_at(seed, sequence, position).
 *
 * Nothing is sorted whole: top-k is a bounded heap over one pass (the pass compares with the heap's
 * worst and rarely does more), top-p pops a heap until its share is reached. min-p cuts a prefix of the
 * same ranking as top-p, so it may be applied first, which leaves top-p little to do.
 * After create nothing is allocated. */
#include "engine/sampler.h"

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/kernels.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct {
    double weight;
    float logit;
    int32_t id;
} Candidate;

struct Sampler {
    SamplerParams params; /* params.bias borrowed */
    int64_t vocab;
    const Kernels *kernels;
    float *logits;         /* owned [vocab]: with penalties and bias */
    int32_t *seen;         /* owned [vocab]: occurrences in the window; all zero between calls */
    int32_t *seen_ids;     /* owned [vocab]: the ids with seen > 0 */
    Candidate *candidates; /* owned [vocab] */
};

SamplerParams sampler_defaults(void)
{
    return (SamplerParams){
        .temperature = 0.8,
        .top_k = 40,
        .top_p = 0.95,
        .min_p = 0.05,
        .repetition_penalty = 1.0,
        .penalty_last = 64,
    };
}

static Status check_bias(const SamplerParams *p, Error *err)
{
    if (p->bias_count < 0 || (p->bias_count > 0 && !p->bias))
        return error_set(err, ST_INVALID, "sampler: %" PRId64 " logit biases", p->bias_count);
    for (int64_t i = 0; i < p->bias_count; i++) {
        if (p->bias[i].id < 0)
            return error_set(err, ST_INVALID, "logit bias: id %" PRId32 " is negative", p->bias[i].id);
        if (isnan(p->bias[i].bias) || p->bias[i].bias == INFINITY)
            return error_set(err, ST_INVALID, "logit bias of id %" PRId32 ": %g is not a number to add",
                             p->bias[i].id, (double)p->bias[i].bias);
    }
    return ST_OK;
}

Status sampler_check(const SamplerParams *p, Error *err)
{
    if (!(p->temperature >= 0) || !isfinite(p->temperature))
        return error_set(err, ST_INVALID, "temperature %g: expected 0 or more", p->temperature);
    if (p->top_k < 0)
        return error_set(err, ST_INVALID, "top-k %" PRId64 ": expected 0 (off) or more", p->top_k);
    if (!(p->top_p > 0 && p->top_p <= 1))
        return error_set(err, ST_INVALID, "top-p %g: expected more than 0 and at most 1", p->top_p);
    if (!(p->min_p >= 0 && p->min_p <= 1))
        return error_set(err, ST_INVALID, "min-p %g: expected 0 to 1", p->min_p);
    if (!(p->repetition_penalty > 0) || !isfinite(p->repetition_penalty))
        return error_set(err, ST_INVALID, "repeat penalty %g: expected more than 0 (1 is off)",
                         p->repetition_penalty);
    if (!isfinite(p->presence_penalty))
        return error_set(err, ST_INVALID, "presence penalty %g: expected a finite number",
                         p->presence_penalty);
    if (!isfinite(p->frequency_penalty))
        return error_set(err, ST_INVALID, "frequency penalty %g: expected a finite number",
                         p->frequency_penalty);
    if (p->penalty_last < -1)
        return error_set(err, ST_INVALID, "penalty window %" PRId64 ": expected -1 (all) or more",
                         p->penalty_last);
    return check_bias(p, err);
}

Status sampler_create(Sampler **out, const SamplerParams *p, int64_t vocab, Error *err)
{
    Status st = sampler_check(p, err);
    if (st != ST_OK)
        return st;
    if (vocab < 1 || vocab > INT32_MAX)
        return error_set(err, ST_INVALID, "sampler: a vocabulary of %" PRId64 " ids", vocab);
    for (int64_t i = 0; i < p->bias_count; i++)
        if (p->bias[i].id >= vocab)
            return error_set(err, ST_INVALID, "logit bias: id %" PRId32 " of a vocabulary of %" PRId64,
                             p->bias[i].id, vocab);
    Sampler *const s = mem_alloc(1, sizeof *s);
    if (!s)
        return error_set(err, ST_NOMEM, "sampler: no memory");
    const size_t n = (size_t)vocab;
    s->params = *p;
    s->vocab = vocab;
    s->kernels = kernels_at(kernels_best_level());
    s->logits = mem_alloc(n, sizeof *s->logits);
    s->seen = mem_alloc(n, sizeof *s->seen);
    s->seen_ids = mem_alloc(n, sizeof *s->seen_ids);
    s->candidates = mem_alloc(n, sizeof *s->candidates);
    if (!s->logits || !s->seen || !s->seen_ids || !s->candidates) {
        sampler_destroy(s);
        return error_set(err, ST_NOMEM, "sampler: no memory for a vocabulary of %" PRId64 " ids", vocab);
    }
    *out = s;
    return ST_OK;
}

void sampler_destroy(Sampler *s)
{
    if (!s)
        return;
    mem_free(s->logits);
    mem_free(s->seen);
    mem_free(s->seen_ids);
    mem_free(s->candidates);
    mem_free(s);
}

/* ---- penalties and bias ------------------------------------------------------------------------ */

static bool has_penalties(const SamplerParams *p)
{
    return p->penalty_last != 0 && (p->repetition_penalty != 1 || p->presence_penalty != 0 ||
                                    p->frequency_penalty != 0);
}

/* A finite logit stays finite, whatever is done to it; forbidding is -INFINITY's alone. */
static float clamp_logit(double x)
{
    return x > (double)FLT_MAX ? FLT_MAX : x < -(double)FLT_MAX ? -FLT_MAX : (float)x;
}

static float penalised(const SamplerParams *p, float logit, int32_t times)
{
    double x = (double)logit;
    x = x > 0 ? x / p->repetition_penalty : x * p->repetition_penalty;
    return clamp_logit(x - p->presence_penalty - p->frequency_penalty * times);
}

static Status apply_penalties(Sampler *s, const int32_t *history, int64_t count, Error *err)
{
    const SamplerParams *const p = &s->params;
    const int64_t first = p->penalty_last < 0 || p->penalty_last > count ? 0 : count - p->penalty_last;
    for (int64_t i = first; i < count; i++)
        if (history[i] < 0 || history[i] >= s->vocab)
            return error_set(err, ST_INVALID,
                             "sampler: id %" PRId32 " at position %" PRId64 " of a vocabulary of %" PRId64,
                             history[i], i, s->vocab);
    int64_t distinct = 0;
    for (int64_t i = first; i < count; i++)
        if (s->seen[history[i]]++ == 0)
            s->seen_ids[distinct++] = history[i];
    for (int64_t i = 0; i < distinct; i++) {
        const int32_t id = s->seen_ids[i];
        if (isfinite(s->logits[id]))
            s->logits[id] = penalised(p, s->logits[id], s->seen[id]);
        s->seen[id] = 0;
    }
    return ST_OK;
}

static void apply_bias(Sampler *s)
{
    for (int64_t i = 0; i < s->params.bias_count; i++) {
        const LogitBias b = s->params.bias[i];
        float *const logit = &s->logits[b.id];
        if (!isfinite(b.bias))
            *logit = -INFINITY;
        else if (isfinite(*logit))
            *logit = clamp_logit((double)*logit + (double)b.bias);
    }
}

/* ---- ranking ----------------------------------------------------------------------------------- */

/* The orders that heaps are kept in: whether a comes before b. */
typedef bool (*BeforeFn)(const Candidate *a, const Candidate *b);

static bool ranks_before(const Candidate *a, const Candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static bool ranks_behind(const Candidate *a, const Candidate *b)
{
    return ranks_before(b, a);
}

static bool id_behind(const Candidate *a, const Candidate *b)
{
    return a->id > b->id;
}

static void sift_down(Candidate *heap, int64_t n, int64_t i, BeforeFn before)
{
    const Candidate moved = heap[i];
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &moved))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

static void heapify(Candidate *heap, int64_t n, BeforeFn before)
{
    for (int64_t i = n / 2 - 1; i >= 0; i--)
        sift_down(heap, n, i, before);
}

/* Move the first of a heap of n behind the heap of n - 1 that is left. */
static void heap_pop(Candidate *heap, int64_t n, BeforeFn before)
{
    const Candidate top = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = top;
    sift_down(heap, n - 1, 0, before);
}

static void sort_by_id(Candidate *c, int64_t n)
{
    heapify(c, n, id_behind);
    for (int64_t m = n; m > 1; m--)
        heap_pop(c, m, id_behind);
}

/* The k first of the ranking into candidates, in ascending order of ids; returns how many there are.
 * The root of the heap is the worst one kept. Ids come in ascending order, so an equal logit ranks behind
 * everything that is there already. */
static int64_t select_top_k(Sampler *s, int64_t k)
{
    Candidate *const heap = s->candidates;
    int64_t n = 0, i = 0;
    for (; i < s->vocab && n < k; i++)
        if (s->logits[i] > -INFINITY)
            heap[n++] = (Candidate){.logit = s->logits[i], .id = (int32_t)i};
    heapify(heap, n, ranks_behind);
    for (; i < s->vocab; i++) {
        if (s->logits[i] > heap[0].logit) {
            heap[0] = (Candidate){.logit = s->logits[i], .id = (int32_t)i};
            sift_down(heap, n, 0, ranks_behind);
        }
    }
    sort_by_id(heap, n);
    return n;
}

static int64_t select_all(Sampler *s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->vocab; i++)
        if (s->logits[i] > -INFINITY)
            s->candidates[n++] = (Candidate){.logit = s->logits[i], .id = (int32_t)i};
    return n;
}

/* ---- the draw ---------------------------------------------------------------------------------- */

static double weigh(Candidate *c, int64_t n, double largest, double temperature)
{
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        c[i].weight = exp(((double)c[i].logit - largest) / temperature);
        total += c[i].weight;
    }
    return total;
}

static int64_t keep_min_p(Candidate *c, int64_t n, double min_p)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (c[i].weight >= min_p) /* the largest weight is 1 */
            c[kept++] = c[i];
    return kept;
}

/* The smallest prefix of the ranking whose weights reach `share`, to the front, in order of ids. */
static int64_t keep_top_p(Candidate *c, int64_t n, double share)
{
    heapify(c, n, ranks_before);
    double sum = 0;
    int64_t left = n;
    while (left > 0 && (left == n || sum < share)) {
        heap_pop(c, left, ranks_before);
        left--;
        sum += c[left].weight;
    }
    const int64_t kept = n - left;
    memmove(c, c + left, (size_t)kept * sizeof *c);
    sort_by_id(c, kept);
    return kept;
}

static int32_t draw(const Candidate *c, int64_t n, double unit)
{
    double total = 0;
    for (int64_t i = 0; i < n; i++)
        total += c[i].weight;
    const double aim = unit * total;
    double sum = 0;
    int32_t last = c[0].id;
    for (int64_t i = 0; i < n; i++) {
        if (!(c[i].weight > 0))
            continue;
        sum += c[i].weight;
        last = c[i].id;
        if (sum > aim)
            break;
    }
    return last;
}

static int32_t sample(Sampler *s, float largest, int64_t position)
{
    const SamplerParams *const p = &s->params;
    Candidate *const c = s->candidates;
    int64_t n = p->top_k > 0 && p->top_k < s->vocab ? select_top_k(s, p->top_k) : select_all(s);
    const double total = weigh(c, n, (double)largest, p->temperature);
    if (p->min_p > 0)
        n = keep_min_p(c, n, p->min_p);
    if (p->top_p < 1)
        n = keep_top_p(c, n, p->top_p * total);
    return draw(c, n, rng_unit_at(p->seed, p->sequence, (uint64_t)position));
}

Status sampler_pick(Sampler *s, const float *logits, const int32_t *history, int64_t count, int32_t *id,
                    double *logprob, Error *err)
{
    CHECK(count >= 0);
    for (int64_t i = 0; i < s->vocab; i++)
        s->logits[i] = fabsf(logits[i]) <= FLT_MAX ? logits[i] : -INFINITY;
    if (has_penalties(&s->params)) {
        const Status st = apply_penalties(s, history, count, err);
        if (st != ST_OK)
            return st;
    }
    apply_bias(s);
    int32_t best = 0;
    for (int64_t i = 1; i < s->vocab; i++)
        if (s->logits[i] > s->logits[best])
            best = (int32_t)i;
    if (s->logits[best] == -INFINITY)
        return error_set(err, ST_INVALID, "sampler: no id is left to choose at position %" PRId64
                         " (no logit is finite, or all are forbidden)", count);
    const int32_t chosen = s->params.temperature > 0 ? sample(s, s->logits[best], count) : best;
    *id = chosen;
    if (logprob)
        *logprob = (double)logits[chosen] - s->kernels->logsumexp(logits, s->vocab);
    return ST_OK;
}
