/* The answer loop on a pretended session: its model continues with fixed rules, so every
 * id, every evaluated position and every reason to end is known beforehand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/generate.h"

#include <string.h>

/* The pretended model: behind id x comes x + 1, of 100 ids. These functions take the place of the
 * engine's own: the linker asks the library only for what is missing. */
#define VOCAB 100
#define CONTEXT 16
struct Session {
    int32_t ids[CONTEXT];
    int64_t count, evaluated;
    float logits[VOCAB];
    int64_t chunk; /* ids between two calls of the progress hook */
};

int64_t session_context(const Session *s)
{
    return s ? CONTEXT : 0;
}

int64_t session_count(const Session *s)
{
    return s->count;
}

const int32_t *session_ids(const Session *s)
{
    return s->ids;
}

const float *session_logits(const Session *s)
{
    return s->logits;
}

int64_t session_vocab(const Session *s)
{
    return s ? VOCAB : 0;
}

void session_rewind(Session *s, int64_t count)
{
    assert_true(count >= 0 && count <= s->count);
    s->count = count;
}

Status session_append(Session *s, const int32_t *ids, int64_t n, LogitsWanted wanted,
                      const SessionProgress *progress, Error *err)
{
    assert_int_equal(wanted, LOGITS_LAST);
    assert_true(n >= 1);
    if (s->count + n > CONTEXT)
        return error_set(err, ST_FULL, "full");
    for (int64_t i = 0; i < n; i++) {
        s->ids[s->count++] = ids[i];
        s->evaluated++;
        if (progress && s->chunk && (i + 1) % s->chunk == 0 && i + 1 < n &&
            !progress->step(progress->arg, i + 1, n))
            return error_set(err, ST_CANCELLED, "interrupted");
    }
    for (int i = 0; i < VOCAB; i++)
        s->logits[i] = 0;
    s->logits[(ids[n - 1] + 1) % VOCAB] = 20;
    return ST_OK;
}

/* As the engine's. */
Status session_sync(Session *s, const int32_t *ids, int64_t n, const SessionProgress *progress, Error *err)
{
    int64_t same = 0;
    while (same < s->count && same < n - 1 && s->ids[same] == ids[same])
        same++;
    session_rewind(s, same);
    return session_append(s, ids + same, n - same, LOGITS_LAST, progress, err);
}

typedef struct {
    int32_t ids[64];
    int64_t count, stop_after; /* 0: never */
    int64_t prompt_calls, prompt_stop_at;
} Heard;

static bool on_token(void *arg, int32_t id, double logprob)
{
    Heard *const h = arg;
    assert_true(logprob <= 0 && logprob > -1e-3);
    h->ids[h->count++] = id;
    return h->count != h->stop_after;
}

static bool on_prompt(void *arg, int64_t done, int64_t total)
{
    Heard *const h = arg;
    assert_true(done < total);
    h->prompt_calls++;
    return h->prompt_calls != h->prompt_stop_at;
}

static GenerateParams params(Heard *h, const int32_t *prompt, int64_t count)
{
    SamplerParams greedy = sampler_defaults();
    greedy.temperature = 0;
    return (GenerateParams){.prompt = prompt, .prompt_count = count, .sampler = greedy,
                            .on_token = on_token, .on_prompt = on_prompt, .arg = h};
}

static void stops_at_the_stop_id_and_does_not_show_it(void **state)
{
    (void)state;
    static const int32_t prompt[] = {3, 4, 5}, stops[] = {50, 9};
    Session s = {0};
    Heard h = {0};
    GenerateParams p = params(&h, prompt, 3);
    p.stop_ids = stops;
    p.stop_id_count = 2;
    GenerateStats stats;
    assert_int_equal(generate(&s, &p, &stats, NULL), ST_OK);
    assert_int_equal(stats.finish, FINISH_STOP);
    assert_int_equal(h.count, 3);
    assert_memory_equal(h.ids, ((int32_t[]){6, 7, 8}), 12);
    assert_int_equal(stats.prompt_tokens, 3);
    assert_int_equal(stats.cached_tokens, 0);
    assert_int_equal(stats.answer_tokens, 3);
    assert_int_equal(s.count, 6); /* prompt and answer, without the stop id */
    assert_memory_equal(s.ids, ((int32_t[]){3, 4, 5, 6, 7, 8}), 24);
}

static void the_cap_ends_with_length_and_leaves_the_last_id_unevaluated(void **state)
{
    (void)state;
    static const int32_t prompt[] = {3};
    Session s = {0};
    Heard h = {0};
    GenerateParams p = params(&h, prompt, 1);
    p.max_tokens = 2;
    GenerateStats stats;
    assert_int_equal(generate(&s, &p, &stats, NULL), ST_OK);
    assert_int_equal(stats.finish, FINISH_LENGTH);
    assert_int_equal(h.count, 2);
    assert_int_equal(s.count, 2);
}

static void a_full_context_ends_with_context(void **state)
{
    (void)state;
    static const int32_t prompt[] = {3, 4};
    Session s = {0};
    Heard h = {0};
    GenerateParams p = params(&h, prompt, 2);
    GenerateStats stats;
    assert_int_equal(generate(&s, &p, &stats, NULL), ST_OK);
    assert_int_equal(stats.finish, FINISH_CONTEXT);
    assert_int_equal(s.count, CONTEXT);
    assert_int_equal(h.count, CONTEXT - 2 + 1); /* the last one follows the last position */
    assert_string_equal(finish_reason_name(stats.finish), "context");
}

static void a_prompt_that_does_not_fit_names_both_numbers_and_changes_nothing(void **state)
{
    (void)state;
    int32_t prompt[CONTEXT + 1];
    for (int i = 0; i <= CONTEXT; i++)
        prompt[i] = i;
    Session s = {.ids = {1, 2}, .count = 2};
    Heard h = {0};
    GenerateParams p = params(&h, prompt, CONTEXT + 1);
    GenerateStats stats = {.answer_tokens = 77};
    Error err = {0};
    assert_int_equal(generate(&s, &p, &stats, &err), ST_FULL);
    assert_string_equal(err.msg, "the prompt has 17 tokens, the context holds 16");
    assert_int_equal(s.count, 2);
    assert_int_equal(s.evaluated, 0);
    assert_int_equal(stats.answer_tokens, 77);
    p.prompt_count = CONTEXT; /* one id still follows the last position */
    assert_int_equal(generate(&s, &p, &stats, &err), ST_OK);
    assert_int_equal(stats.answer_tokens, 1);
    p.prompt_count = 0;
    assert_int_equal(generate(&s, &p, &stats, &err), ST_INVALID);
}

static void the_shared_prefix_is_not_evaluated_again(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int32_t have[6];
        int64_t have_count;
        int32_t want[6];
        int64_t want_count, cached;
    } cases[] = {
        {"nothing there", {0}, 0, {1, 2, 3}, 3, 0},
        {"continued", {1, 2}, 2, {1, 2, 3}, 3, 2},
        {"the same: the last id is needed for its logits", {1, 2, 3}, 3, {1, 2, 3}, 3, 2},
        {"shorter", {1, 2, 3, 4}, 4, {1, 2}, 2, 1},
        {"branched", {1, 2, 3, 4}, 4, {1, 2, 9, 4}, 4, 2},
        {"other from the start", {1, 2, 3}, 3, {7, 2, 3}, 3, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Session s = {.count = cases[i].have_count};
        memcpy(s.ids, cases[i].have, sizeof cases[i].have);
        Heard h = {0};
        GenerateParams p = params(&h, cases[i].want, cases[i].want_count);
        p.max_tokens = 1;
        GenerateStats stats;
        assert_int_equal(generate(&s, &p, &stats, NULL), ST_OK);
        if (stats.cached_tokens != cases[i].cached ||
            s.evaluated != cases[i].want_count - cases[i].cached || s.count != cases[i].want_count)
            fail_msg("%s: cached %d, evaluated %d, holds %d", cases[i].name, (int)stats.cached_tokens,
                     (int)s.evaluated, (int)s.count);
        assert_memory_equal(s.ids, cases[i].want, (size_t)cases[i].want_count * 4);
    }
}

static void hooks_cancel_in_the_answer_and_in_the_prompt(void **state)
{
    (void)state;
    static const int32_t prompt[] = {1, 2, 3, 4, 5, 6, 7, 8};
    Session s = {.chunk = 2};
    Heard h = {.stop_after = 2};
    GenerateParams p = params(&h, prompt, 8);
    GenerateStats stats;
    assert_int_equal(generate(&s, &p, &stats, NULL), ST_OK);
    assert_int_equal(stats.finish, FINISH_CANCELLED);
    assert_int_equal(stats.answer_tokens, 2);
    assert_int_equal(h.prompt_calls, 3);

    Session t = {.chunk = 2};
    Heard k = {.prompt_stop_at = 2};
    p.arg = &k;
    assert_int_equal(generate(&t, &p, &stats, NULL), ST_OK);
    assert_int_equal(stats.finish, FINISH_CANCELLED);
    assert_int_equal(stats.answer_tokens, 0);
    assert_int_equal(k.count, 0);
    assert_int_equal(t.count, 4); /* the finished chunks stay */
}

static void wrong_sampling_is_refused_before_the_prompt_is_read(void **state)
{
    (void)state;
    static const int32_t prompt[] = {1};
    Session s = {0};
    Heard h = {0};
    GenerateParams p = params(&h, prompt, 1);
    p.sampler.top_p = 0;
    assert_int_equal(generate(&s, &p, NULL, NULL), ST_INVALID);
    assert_int_equal(s.evaluated, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stops_at_the_stop_id_and_does_not_show_it),
        cmocka_unit_test(the_cap_ends_with_length_and_leaves_the_last_id_unevaluated),
        cmocka_unit_test(a_full_context_ends_with_context),
        cmocka_unit_test(a_prompt_that_does_not_fit_names_both_numbers_and_changes_nothing),
        cmocka_unit_test(the_shared_prefix_is_not_evaluated_again),
        cmocka_unit_test(hooks_cancel_in_the_answer_and_in_the_prompt),
        cmocka_unit_test(wrong_sampling_is_refused_before_the_prompt_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
