/* The sampler: which ids each setting leaves (by hand), how often they are drawn (chi-square against the
 * probabilities by hand), and that a draw depends on seed, sequence and position only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/sampler.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO (-INFINITY)

/* Everything off: the plain softmax at temperature 1. */
static SamplerParams plain(void)
{
    return (SamplerParams){.temperature = 1, .top_p = 1, .repetition_penalty = 1, .penalty_last = 64};
}

static Sampler *create(const SamplerParams *p, int64_t vocab)
{
    Sampler *s = NULL;
    Error err = {0};
    if (sampler_create(&s, p, vocab, &err) != ST_OK)
        fail_msg("%s", err.msg);
    return s;
}

static int32_t pick(Sampler *s, const float *logits, const int32_t *history, int64_t count, double *lp)
{
    Error err = {0};
    int32_t id = -1;
    if (sampler_pick(s, logits, history, count, &id, lp, &err) != ST_OK)
        fail_msg("%s", err.msg);
    return id;
}

/* ---- the sets that are left -------------------------------------------------------------------- */

/* Six ids with the probabilities 0.4 0.2 0.2 0.1 0.08 0.02; ids 1 and 2 are equal to the bit. */
#define IDS 6
static const double shares[IDS] = {0.4, 0.2, 0.2, 0.1, 0.08, 0.02};

static void set_logits(float logits[IDS])
{
    for (int i = 0; i < IDS; i++)
        logits[i] = (float)log(shares[i]);
}

/* All ids that 4000 positions draw, as a bit mask. An id of probability 0.02 is missed once in e^80. */
static unsigned drawn(const SamplerParams *p, const float *logits)
{
    static const int32_t history[4000];
    unsigned mask = 0;
    Sampler *const s = create(p, IDS);
    for (int64_t n = 0; n < 4000; n++)
        mask |= 1u << pick(s, logits, history, n, NULL);
    sampler_destroy(s);
    return mask;
}

static void truncation_leaves_the_ids_that_the_definition_says(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t top_k;
        double top_p, min_p, temperature;
        unsigned kept;
    } cases[] = {
        {"nothing is cut", 0, 1, 0, 1, 0x3f},
        {"top-k 1", 1, 1, 0, 1, 0x01},
        {"top-k 2 keeps the smaller id of two equals", 2, 1, 0, 1, 0x03},
        {"top-k 3 keeps both", 3, 1, 0, 1, 0x07},
        {"top-k of the whole vocabulary", 6, 1, 0, 1, 0x3f},
        {"top-k above the vocabulary", 99, 1, 0, 1, 0x3f},
        {"top-p below the first", 0, 0.3, 0, 1, 0x01},
        {"top-p tiny keeps one", 0, 1e-9, 0, 1, 0x01},
        {"top-p 0.5: 0.4 does not reach it, 0.6 does", 0, 0.5, 0, 1, 0x03},
        {"top-p 0.7: the second equal is needed", 0, 0.7, 0, 1, 0x07},
        {"top-p 0.85", 0, 0.85, 0, 1, 0x0f},
        {"top-p counts shares of what top-k left: 0.4/0.6 reaches 0.65", 2, 0.65, 0, 1, 0x01},
        {"top-p counts shares of what top-k left: 0.4/0.6 misses 0.68", 2, 0.68, 0, 1, 0x03},
        {"min-p 0.45: 0.2 is half of 0.4", 0, 1, 0.45, 1, 0x07},
        {"min-p 0.55", 0, 1, 0.55, 1, 0x01},
        {"min-p 0.24: 0.1 is a quarter", 0, 1, 0.24, 1, 0x0f},
        {"min-p 1 keeps the largest", 0, 1, 1, 1, 0x01},
        {"the shorter of top-p and min-p: top-p", 0, 0.5, 0.24, 1, 0x03},
        {"the shorter of top-p and min-p: min-p", 0, 0.95, 0.45, 1, 0x07},
        /* temperature 0.5 squares: 0.16 0.04 0.04 0.01 0.0064 0.0004, sum 0.2568 */
        {"temperature comes before top-p: 0.16/0.2568 reaches 0.6", 0, 0.6, 0, 0.5, 0x01},
        {"temperature comes before min-p: 0.04 is a quarter of 0.16", 0, 1, 0.24, 0.5, 0x07},
        {"temperature comes before min-p", 0, 1, 0.26, 0.5, 0x01},
        {"low temperature", 0, 1, 0, 0.01, 0x01},
        {"greedy ignores top-k, top-p and min-p", 3, 0.9, 0.01, 0, 0x01},
    };
    float logits[IDS];
    set_logits(logits);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        SamplerParams p = plain();
        p.top_k = cases[i].top_k;
        p.top_p = cases[i].top_p;
        p.min_p = cases[i].min_p;
        p.temperature = cases[i].temperature;
        p.seed = 7;
        const unsigned got = drawn(&p, logits);
        if (got != cases[i].kept)
            fail_msg("%s: drew the set %#x, expected %#x", cases[i].name, got, cases[i].kept);
    }
}

static void top_k_keeps_ties_in_id_order(void **state)
{
    (void)state;
    static const float logits[IDS] = {1, 2, 2, 2, 2, 1};
    SamplerParams p = plain();
    p.top_k = 3;
    assert_int_equal(drawn(&p, logits), 0x0e); /* ids 1 2 3 */
    p.top_k = 5;
    assert_int_equal(drawn(&p, logits), 0x1f); /* and id 0 of the two below */
    p.top_k = 0;
    p.top_p = 0.3; /* 1/(4 + 2/e) = 0.211 a tie: two reach it */
    assert_int_equal(drawn(&p, logits), 0x06);
    p.top_p = 1;
    p.min_p = 1;
    assert_int_equal(drawn(&p, logits), 0x1e);
}

static void greedy_takes_the_smaller_id_of_equals(void **state)
{
    (void)state;
    static const float logits[IDS] = {1, 3, NAN, 3, INFINITY, -5};
    SamplerParams p = plain();
    p.temperature = 0;
    Sampler *const s = create(&p, IDS);
    assert_int_equal(pick(s, logits, NULL, 0, NULL), 1);
    sampler_destroy(s);
}

/* ---- penalties and bias ------------------------------------------------------------------------ */

static void penalties_and_bias_change_the_greedy_choice_as_computed_by_hand(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        float logits[4];
        int32_t history[6];
        int64_t count;
        double repetition, presence, frequency;
        int64_t last;
        LogitBias bias[2];
        int64_t bias_count;
        int32_t expected;
    } cases[] = {
        {"no history, no change", {4, 3, 2, 1}, {0}, 0, 2, 1, 1, 64, {{0, 0}}, 0, 0},
        {"repetition divides a positive logit: 4/2 < 3", {4, 3, 2, 1}, {0}, 1, 2, 0, 0, 64, {{0, 0}}, 0, 1},
        {"repetition 1.2: 4/1.2 > 3", {4, 3, 2, 1}, {0, 0, 0}, 3, 1.2, 0, 0, 64, {{0, 0}}, 0, 0},
        {"repetition is not counted: 4/1.2 thrice would be 2.3",
         {4, 3, 2, 1}, {0, 0, 0}, 3, 1.2, 0, 0, 64, {{0, 0}}, 0, 0},
        {"repetition multiplies a negative logit: -1 * 2 < -1.5",
         {-1, -1.5f, -3, -4}, {0}, 1, 2, 0, 0, 64, {{0, 0}}, 0, 1},
        {"presence is taken once: 4 - 0.9 > 3", {4, 3, 2, 1}, {0, 0, 0}, 3, 1, 0.9, 0, 64, {{0, 0}}, 0, 0},
        {"presence 1.1", {4, 3, 2, 1}, {0, 0, 0}, 3, 1, 1.1, 0, 64, {{0, 0}}, 0, 1},
        {"frequency is taken per occurrence: 4 - 3 * 0.4 < 3",
         {4, 3, 2, 1}, {0, 0, 0}, 3, 1, 0, 0.4, 64, {{0, 0}}, 0, 1},
        {"frequency, two occurrences: 4 - 2 * 0.4 > 3",
         {4, 3, 2, 1}, {0, 0, 3}, 3, 1, 0, 0.4, 64, {{0, 0}}, 0, 0},
        {"the window is the last ids: 0 lies outside of the last two",
         {4, 3, 2, 1}, {0, 2, 3}, 3, 1, 9, 0, 2, {{0, 0}}, 0, 0},
        {"the window is the last ids: 0 lies in the last three",
         {4, 3, 2, 1}, {0, 2, 3}, 3, 1, 9, 0, 3, {{0, 0}}, 0, 1},
        {"window -1 is everything", {4, 3, 2, 1}, {0, 2, 3}, 3, 1, 9, 0, -1, {{0, 0}}, 0, 1},
        {"window 0 is nothing", {4, 3, 2, 1}, {0, 2, 3}, 3, 3, 9, 9, 0, {{0, 0}}, 0, 0},
        {"a negative presence prefers", {4, 3, 2, 1}, {1}, 1, 1, -2, 0, 64, {{0, 0}}, 0, 1},
        {"repetition comes before presence: 4/2 - 1 = 1, (4-1)/2 would be 1.5 > 1.25",
         {4, 1.25f, 0, 0}, {0}, 1, 2, 1, 0, 64, {{0, 0}}, 0, 1},
        {"bias adds", {4, 3, 2, 1}, {0}, 0, 1, 0, 0, 64, {{2, 2.5f}}, 1, 2},
        {"bias forbids", {4, 3, 2, 1}, {0}, 0, 1, 0, 0, 64, {{0, NO}}, 1, 1},
        {"bias comes behind the penalties: 4/2 + 1.5 > 3, (4+1.5)/2 would not be",
         {4, 3, 2, 1}, {0}, 1, 2, 0, 0, 64, {{0, 1.5f}}, 1, 0},
        {"bias does not revive what the model forbids", {NO, 3, 2, 1}, {0}, 0, 1, 0, 0, 64, {{0, 99}}, 1, 1},
        {"penalties do not revive it either", {NO, 3, 2, 1}, {0}, 1, 1, -99, 0, 64, {{0, 0}}, 0, 1},
        {"huge biases stay finite", {FLT_MAX, 3, 2, 1}, {0}, 0, 1, 0, 0, 64,
         {{0, FLT_MAX}, {3, FLT_MAX}}, 2, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        SamplerParams p = plain();
        p.temperature = 0;
        p.repetition_penalty = cases[i].repetition;
        p.presence_penalty = cases[i].presence;
        p.frequency_penalty = cases[i].frequency;
        p.penalty_last = cases[i].last;
        p.bias = cases[i].bias;
        p.bias_count = cases[i].bias_count;
        Sampler *const s = create(&p, 4);
        for (int round = 0; round < 2; round++) { /* the second finds no traces of the first */
            const int32_t got = pick(s, cases[i].logits, cases[i].history, cases[i].count, NULL);
            if (got != cases[i].expected)
                fail_msg("%s: chose %d, expected %d", cases[i].name, got, cases[i].expected);
        }
        sampler_destroy(s);
    }
}

/* ---- the draw ---------------------------------------------------------------------------------- */

static void draw_inverts_the_running_sum_in_id_order(void **state)
{
    (void)state;
    float logits[IDS];
    set_logits(logits);
    SamplerParams p = plain();
    p.seed = 42;
    p.sequence = 3;
    Sampler *const s = create(&p, IDS);
    int32_t history[200] = {0};
    for (int64_t n = 0; n < 200; n++) {
        const double u = rng_unit_at(42, 3, (uint64_t)n);
        double sum = 0;
        int32_t expected = 0;
        while (expected < IDS - 1 && (sum += shares[expected]) <= u)
            expected++;
        assert_int_equal(pick(s, logits, history, n, NULL), expected);
    }
    sampler_destroy(s);
}

static void frequencies_follow_the_probabilities(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double temperature, top_p;
        int64_t top_k;
        double expected[IDS];
    } cases[] = {
        {"plain", 1, 1, 0, {0.4, 0.2, 0.2, 0.1, 0.08, 0.02}},
        {"temperature 0.5", 0.5, 1, 0,
         {0.16 / 0.2568, 0.04 / 0.2568, 0.04 / 0.2568, 0.01 / 0.2568, 0.0064 / 0.2568, 0.0004 / 0.2568}},
        {"top-k 4 is normalised again", 1, 1, 4, {0.4 / 0.9, 0.2 / 0.9, 0.2 / 0.9, 0.1 / 0.9, 0, 0}},
        {"top-p 0.7 is normalised again", 1, 0.7, 0, {0.5, 0.25, 0.25, 0, 0, 0}},
    };
    enum { DRAWS = 20000 };
    static int32_t history[DRAWS];
    float logits[IDS];
    set_logits(logits);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        SamplerParams p = plain();
        p.temperature = cases[c].temperature;
        p.top_p = cases[c].top_p;
        p.top_k = cases[c].top_k;
        p.seed = 1234;
        Sampler *const s = create(&p, IDS);
        int64_t times[IDS] = {0};
        for (int64_t n = 0; n < DRAWS; n++)
            times[pick(s, logits, history, n, NULL)]++;
        sampler_destroy(s);
        double chi = 0;
        for (int i = 0; i < IDS; i++) {
            const double want = cases[c].expected[i] * DRAWS;
            if (want == 0)
                assert_int_equal(times[i], 0);
            else
                chi += ((double)times[i] - want) * ((double)times[i] - want) / want;
        }
        if (chi > 20.5) /* five degrees of freedom: 0.1 % of right samplers, and the seed is fixed */
            fail_msg("%s: chi-square %.1f", cases[c].name, chi);
    }
}

static void same_seed_same_ids_and_replay_from_the_middle(void **state)
{
    (void)state;
    enum { VOCAB = 1000, N = 64 };
    static float logits[N][VOCAB];
    for (int t = 0; t < N; t++)
        for (int i = 0; i < VOCAB; i++)
            logits[t][i] = (float)(3 * rng_normal_at(9, (uint64_t)t, (uint64_t)i));
    SamplerParams p = sampler_defaults();
    p.temperature = 1.5;
    p.repetition_penalty = 1.1;
    p.seed = 5;
    int32_t first[N], other[N];
    Sampler *const a = create(&p, VOCAB);
    for (int t = 0; t < N; t++)
        first[t] = pick(a, logits[t], first, t, NULL);
    sampler_destroy(a);
    Sampler *const b = create(&p, VOCAB); /* a new sampler, from position 20 on, in another order */
    for (int t = N - 1; t >= 20; t--)
        assert_int_equal(pick(b, logits[t], first, t, NULL), first[t]);
    sampler_destroy(b);
    for (int variant = 0; variant < 2; variant++) {
        SamplerParams q = p;
        if (variant)
            q.sequence = 1;
        else
            q.seed = 6;
        Sampler *const s = create(&q, VOCAB);
        int differ = 0;
        for (int t = 0; t < N; t++) {
            other[t] = pick(s, logits[t], first, t, NULL);
            differ += other[t] != first[t];
        }
        sampler_destroy(s);
        assert_true(differ > 10);
    }
}

/* The definition, written with a full sort, against the heaps. */
typedef struct {
    float logit;
    int32_t id;
    double weight;
} Ranked;

static int by_rank(const void *x, const void *y)
{
    const Ranked *const a = x, *const b = y;
    return a->logit != b->logit ? (a->logit > b->logit ? -1 : 1) : a->id < b->id ? -1 : 1;
}

static int by_id(const void *x, const void *y)
{
    return ((const Ranked *)x)->id < ((const Ranked *)y)->id ? -1 : 1;
}

static int32_t reference(const SamplerParams *p, const float *logits, int64_t vocab, int64_t position)
{
    Ranked *const r = mem_alloc((size_t)vocab, sizeof *r);
    assert_non_null(r);
    int64_t n = 0;
    for (int64_t i = 0; i < vocab; i++)
        if (isfinite(logits[i]))
            r[n++] = (Ranked){logits[i], (int32_t)i, 0};
    qsort(r, (size_t)n, sizeof *r, by_rank);
    const double largest = (double)r[0].logit;
    if (p->top_k > 0 && p->top_k < n)
        n = p->top_k;
    qsort(r, (size_t)n, sizeof *r, by_id);
    double total = 0;
    for (int64_t i = 0; i < n; i++)
        total += r[i].weight = exp(((double)r[i].logit - largest) / p->temperature);
    qsort(r, (size_t)n, sizeof *r, by_rank);
    double sum = 0;
    int64_t kept = 0;
    while (kept < n && (kept == 0 || p->top_p == 1 || sum < p->top_p * total) && r[kept].weight >= p->min_p)
        sum += r[kept++].weight;
    qsort(r, (size_t)kept, sizeof *r, by_id);
    total = 0;
    for (int64_t i = 0; i < kept; i++)
        total += r[i].weight;
    const double aim = rng_unit_at(p->seed, p->sequence, (uint64_t)position) * total;
    sum = r[0].weight;
    int64_t i = 0;
    while (i < kept - 1 && !(sum > aim))
        sum += r[++i].weight;
    const int32_t id = r[i].id;
    mem_free(r);
    return id;
}

static void partial_selection_equals_a_full_sort(void **state)
{
    (void)state;
    enum { VOCAB = 3001, ROUNDS = 300 };
    static float logits[VOCAB];
    static const int64_t ks[] = {0, 1, 2, 40, 1000, 3000, 3001};
    static const double ps[] = {1, 0.999, 0.95, 0.5, 1e-3}, ms[] = {0, 1e-4, 0.05, 1};
    static int32_t history[ROUNDS];
    for (int64_t round = 0; round < ROUNDS; round++) {
        Rng rng = {.seed = 77, .stream = (uint64_t)round};
        const double scale = round % 3 ? 2.5 : 0.01;
        for (int i = 0; i < VOCAB; i++) {
            const double x = scale * rng_normal(&rng);
            logits[i] = round % 2 ? (float)x : (float)(nearbyint(8 * x) / 8); /* many ties */
            if (rng_below(&rng, 50) == 0)
                logits[i] = rng_below(&rng, 2) ? NO : NAN;
        }
        SamplerParams p = plain();
        p.temperature = round % 5 ? 1.0 : 0.3;
        p.top_k = ks[rng_below(&rng, 7)];
        p.top_p = ps[rng_below(&rng, 5)];
        p.min_p = ms[rng_below(&rng, 4)];
        p.seed = (uint64_t)round;
        Sampler *const s = create(&p, VOCAB);
        const int32_t got = pick(s, logits, history, round, NULL), want = reference(&p, logits, VOCAB, round);
        if (got != want)
            fail_msg("round %d (top-k %d, top-p %g, min-p %g): %d, a full sort gives %d", (int)round,
                     (int)p.top_k, p.top_p, p.min_p, got, want);
        sampler_destroy(s);
    }
}

/* ---- log-probabilities, errors, cost ----------------------------------------------------------- */

static void log_probability_is_that_of_the_unmodified_logits(void **state)
{
    (void)state;
    float logits[IDS];
    set_logits(logits);
    SamplerParams p = plain();
    p.temperature = 0;
    p.presence_penalty = 5;
    const LogitBias bias = {1, -1};
    p.bias = &bias;
    p.bias_count = 1;
    Sampler *const s = create(&p, IDS);
    const int32_t history[] = {0};
    double lp = 0;
    assert_int_equal(pick(s, logits, history, 1, &lp), 2);
    assert_true(fabs(lp - log(0.2)) < 1e-6);
    sampler_destroy(s);
}

static void nothing_left_to_choose_is_an_error(void **state)
{
    (void)state;
    static const float none[3] = {NAN, NO, INFINITY}, some[3] = {0, NO, NO};
    static const LogitBias forbid = {0, NO};
    SamplerParams p = plain();
    p.bias = &forbid;
    p.bias_count = 1;
    for (int greedy = 0; greedy < 2; greedy++) {
        p.temperature = greedy ? 0 : 1;
        Sampler *const s = create(&p, 3);
        int32_t id = 55;
        Error err = {0};
        assert_int_equal(sampler_pick(s, none, NULL, 0, &id, NULL, &err), ST_INVALID);
        assert_int_equal(sampler_pick(s, some, NULL, 0, &id, NULL, &err), ST_INVALID);
        assert_int_equal(id, 55);
        assert_non_null(strstr(err.msg, "no id is left"));
        sampler_destroy(s);
    }
}

static void settings_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    static const LogitBias far = {99, 1}, negative = {-1, 1}, wild = {1, INFINITY}, none = {1, NAN};
    static const struct {
        const char *word;
        SamplerParams p;
    } cases[] = {
#define WITH(...) {.temperature = 1, .top_p = 1, .repetition_penalty = 1, __VA_ARGS__}
        {"temperature -0.1", {.temperature = -0.1, .top_p = 1, .repetition_penalty = 1}},
        {"temperature nan", {.temperature = (double)NAN, .top_p = 1, .repetition_penalty = 1}},
        {"top-k -1", WITH(.top_k = -1)},
        {"top-p 0:", {.temperature = 1, .top_p = 0, .repetition_penalty = 1}},
        {"top-p 1.5", {.temperature = 1, .top_p = 1.5, .repetition_penalty = 1}},
        {"min-p -0.5", WITH(.min_p = -0.5)},
        {"min-p 2", WITH(.min_p = 2)},
        {"repeat penalty 0", {.temperature = 1, .top_p = 1, .repetition_penalty = 0}},
        {"presence penalty inf", WITH(.presence_penalty = (double)INFINITY)},
        {"frequency penalty nan", WITH(.frequency_penalty = (double)NAN)},
        {"penalty window -2", WITH(.penalty_last = -2)},
        {"id 99", WITH(.bias = &far, .bias_count = 1)},
        {"id -1", WITH(.bias = &negative, .bias_count = 1)},
        {"id 1: inf", WITH(.bias = &wild, .bias_count = 1)},
        {"id 1: nan", WITH(.bias = &none, .bias_count = 1)},
#undef WITH
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Sampler *s = NULL;
        Error err = {0};
        assert_int_equal(sampler_create(&s, &cases[i].p, 50, &err), ST_INVALID);
        assert_null(s);
        if (!strstr(err.msg, cases[i].word))
            fail_msg("'%s' is not in: %s", cases[i].word, err.msg);
    }
    Sampler *const s = create(&(SamplerParams){.temperature = 1, .top_p = 1, .repetition_penalty = 2,
                                               .penalty_last = -1}, 2);
    const int32_t wrong[] = {0, 7};
    const float logits[2] = {0, 0};
    int32_t id;
    Error err = {0};
    assert_int_equal(sampler_pick(s, logits, wrong, 2, &id, NULL, &err), ST_INVALID);
    assert_string_equal(err.msg, "sampler: id 7 at position 1 of a vocabulary of 2");
    sampler_destroy(s);
    SamplerParams d = sampler_defaults();
    assert_int_equal(sampler_check(&d, &err), ST_OK);
}

static void picking_allocates_nothing_and_create_survives_lack_of_memory(void **state)
{
    (void)state;
    enum { VOCAB = 151936 };
    float *const logits = mem_alloc(VOCAB, sizeof *logits);
    assert_non_null(logits);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)(2.5 * rng_normal_at(1, 2, (uint64_t)i));
    SamplerParams p = sampler_defaults();
    for (int k = 1; k <= 6; k++) {
        Sampler *s = NULL;
        mem_fail_at(k);
        const Status st = sampler_create(&s, &p, VOCAB, NULL);
        mem_fail_at(0);
        assert_int_equal(st, k <= 5 ? ST_NOMEM : ST_OK);
        sampler_destroy(s);
    }
    static int32_t history[200];
    static const struct {
        const char *name;
        int64_t top_k;
        double top_p, min_p;
    } cases[] = {{"top-k 40", 40, 0.95, 0.05}, {"min-p", 0, 1, 0.05}, {"top-p", 0, 0.95, 0}, {"all", 0, 1, 0}};
    for (size_t c = 0; c < 4; c++) {
        p.top_k = cases[c].top_k;
        p.top_p = cases[c].top_p;
        p.min_p = cases[c].min_p;
        Sampler *const s = create(&p, VOCAB);
        const int64_t before = mem_alloc_count(), start = clock_ns();
        const int rounds = getenv("PLUMB_BENCH") ? 200 : 2;
        for (int n = 0; n < rounds; n++)
            (void)pick(s, logits, history, n, NULL);
        assert_int_equal(mem_alloc_count(), before);
        if (getenv("PLUMB_BENCH"))
            printf("sampler, %d ids, %s: %.0f us a pick\n", VOCAB, cases[c].name,
                   (double)(clock_ns() - start) / 1e3 / rounds);
        sampler_destroy(s);
    }
    mem_free(logits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truncation_leaves_the_ids_that_the_definition_says),
        cmocka_unit_test(top_k_keeps_ties_in_id_order),
        cmocka_unit_test(greedy_takes_the_smaller_id_of_equals),
        cmocka_unit_test(penalties_and_bias_change_the_greedy_choice_as_computed_by_hand),
        cmocka_unit_test(draw_inverts_the_running_sum_in_id_order),
        cmocka_unit_test(frequencies_follow_the_probabilities),
        cmocka_unit_test(same_seed_same_ids_and_replay_from_the_middle),
        cmocka_unit_test(partial_selection_equals_a_full_sort),
        cmocka_unit_test(log_probability_is_that_of_the_unmodified_logits),
        cmocka_unit_test(nothing_left_to_choose_is_an_error),
        cmocka_unit_test(settings_out_of_range_are_refused_by_name),
        cmocka_unit_test(picking_allocates_nothing_and_create_survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
