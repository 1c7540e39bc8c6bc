/* Models and sessions on a tiny model of the reference library (values are compared with it in
 * e2e/test_trace_llama.py): what appending, rewinding and failing leave behind. */
#include "engine/engine.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MODEL "tests/vectors/llama/plain-f32"

static const int32_t ids[] = {1, 7, 3, 9, 30, 2, 2, 11, 5, 8, 13, 21, 4, 6, 10, 12};
#define COUNT ((int64_t)(sizeof ids / sizeof *ids))

typedef struct {
    Model *model;
    Session *session;
    int64_t vocab;
} Fixture;

static Model *open_tiny(int threads)
{
    Model *m = NULL;
    Error err = {0};
    const ModelParams params = {.threads = threads, .no_tokenizer = true};
    if (model_open(&m, MODEL, &params, &err) != ST_OK)
        fail_msg("%s", err.msg);
    return m;
}

static int setup(void **state)
{
    static Fixture f;
    ModelInfo info;
    f.model = open_tiny(2);
    model_info(f.model, &info);
    f.vocab = info.vocab;
    assert_int_equal(session_create(&f.session, f.model, &(SessionParams){.context = 40, .chunk = 5}, NULL), ST_OK);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;
    session_destroy(f->session);
    model_close(f->model);
    return 0;
}

static float *logits_copy(const Fixture *f)
{
    float *copy = mem_alloc((size_t)f->vocab, sizeof *copy);
    memcpy(copy, session_logits(f->session), (size_t)f->vocab * sizeof *copy);
    return copy;
}

static void append(Fixture *f, const int32_t *what, int64_t n)
{
    Error err = {0};
    if (session_append(f->session, what, n, LOGITS_LAST, NULL, &err) != ST_OK)
        fail_msg("%s", err.msg);
}

static void information_describes_the_file(void **state)
{
    Fixture *f = *state;
    ModelInfo info;
    model_info(f->model, &info);
    assert_string_equal(info.family, "llama");
    assert_int_equal(info.mode, MODE_F32);
    assert_int_equal(info.threads, 2);
    assert_true(info.parameters > 0);
    assert_true(info.token_bytes <= info.weight_bytes);
}

static void rewinding_and_repeating_gives_the_same_bits(void **state)
{
    Fixture *f = *state;
    append(f, ids, COUNT);
    float *first = logits_copy(f);
    session_rewind(f->session, 3);
    assert_int_equal(session_count(f->session), 3);
    append(f, (const int32_t[]){20, 20, 20}, 3);
    session_rewind(f->session, 3);
    append(f, ids + 3, COUNT - 3);
    assert_memory_equal(first, session_logits(f->session), (size_t)f->vocab * sizeof *first);
    mem_free(first);
}

static void sync_keeps_the_common_prefix_and_always_has_logits(void **state)
{
    Fixture *f = *state;
    append(f, ids, COUNT);
    float *first = logits_copy(f);
    int32_t other[COUNT];
    memcpy(other, ids, sizeof ids);
    other[COUNT - 2] = 29;
    assert_int_equal(session_sync(f->session, other, COUNT, NULL, NULL), ST_OK);
    assert_int_equal(session_count(f->session), COUNT);
    assert_memory_not_equal(first, session_logits(f->session), (size_t)f->vocab * sizeof *first);
    assert_int_equal(session_sync(f->session, ids, COUNT, NULL, NULL), ST_OK);
    assert_memory_equal(first, session_logits(f->session), (size_t)f->vocab * sizeof *first);
    /* the very same ids again: nothing new to evaluate but the last one */
    assert_int_equal(session_sync(f->session, ids, COUNT, NULL, NULL), ST_OK);
    assert_int_equal(session_logits_rows(f->session), 1);
    assert_memory_equal(first, session_logits(f->session), (size_t)f->vocab * sizeof *first);
    mem_free(first);
}

static void full_context_names_both_numbers_and_changes_nothing(void **state)
{
    Fixture *f = *state;
    Error err = {0};
    for (int i = 0; i < 2; i++)
        append(f, ids, COUNT);
    assert_int_equal(session_append(f->session, ids, 9, LOGITS_LAST, NULL, &err), ST_FULL);
    assert_non_null(strstr(err.msg, "32"));
    assert_non_null(strstr(err.msg, "9"));
    assert_non_null(strstr(err.msg, "40"));
    assert_int_equal(session_count(f->session), 32);
    append(f, ids, 8);
    assert_int_equal(session_count(f->session), 40);
}

static void ids_outside_the_vocabulary_are_named(void **state)
{
    Fixture *f = *state;
    Error err = {0};
    const int32_t bad[] = {1, 2, (int32_t)f->vocab};
    assert_int_equal(session_append(f->session, bad, 3, LOGITS_LAST, NULL, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "index 2"));
    const int32_t negative[] = {-1};
    assert_int_equal(session_append(f->session, negative, 1, LOGITS_LAST, NULL, &err), ST_INVALID);
    assert_int_equal(session_count(f->session), 0);
}

static bool stop_at_ten(void *arg, int64_t done, int64_t total)
{
    (void)arg, (void)total;
    return done < 10;
}

static void cancelled_prompt_keeps_its_finished_chunks(void **state)
{
    Fixture *f = *state;
    append(f, ids, COUNT);
    float *first = logits_copy(f);
    session_rewind(f->session, 0);
    const SessionProgress progress = {stop_at_ten, NULL};
    assert_int_equal(session_append(f->session, ids, COUNT, LOGITS_LAST, &progress, NULL), ST_CANCELLED);
    assert_int_equal(session_count(f->session), 10);
    append(f, ids + 10, COUNT - 10);
    assert_memory_equal(first, session_logits(f->session), (size_t)f->vocab * sizeof *first);
    mem_free(first);
}

static void logits_of_all_rows_equal_those_of_each_alone(void **state)
{
    Fixture *f = *state;
    Error err = {0};
    if (session_append(f->session, ids, COUNT, LOGITS_ALL, NULL, &err) != ST_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(session_logits_rows(f->session), COUNT);
    const size_t row = (size_t)f->vocab * sizeof(float);
    float *all = mem_alloc((size_t)COUNT, row);
    memcpy(all, session_logits(f->session), (size_t)COUNT * row);
    session_rewind(f->session, 0);
    for (int64_t i = 0; i < COUNT; i++) {
        append(f, &ids[i], 1);
        assert_memory_equal((uint8_t *)all + (size_t)i * row, session_logits(f->session), row);
    }
    mem_free(all);
}

static void decoding_allocates_nothing(void **state)
{
    Fixture *f = *state;
    append(f, ids, 6);
    const int64_t before = mem_alloc_count();
    append(f, ids + 6, 1);
    append(f, ids + 7, 5);
    assert_int_equal(mem_alloc_count(), before);
}

static void context_beyond_the_model_is_refused(void **state)
{
    Fixture *f = *state;
    Session *s = NULL;
    Error err = {0};
    assert_int_equal(session_create(&s, f->model, &(SessionParams){.context = 1 << 20}, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "1048576"));
    assert_null(s);
}

/* Open, prefill, decode with the n-th allocation failing, for every n until all goes well. */
static void every_failed_allocation_is_one_clean_error(void **state)
{
    (void)state;
    bool done = false;
    int64_t n = 1;
    for (; !done && n < 5000; n++) {
        Model *m = NULL;
        Session *s = NULL;
        Error err = {0};
        const ModelParams params = {.threads = 2, .no_tokenizer = true};
        mem_fail_at(n);
        Status st = model_open(&m, MODEL, &params, &err);
        if (st == ST_OK)
            st = session_create(&s, m, &(SessionParams){.context = 40, .chunk = 5}, &err);
        if (st == ST_OK)
            st = session_append(s, ids, COUNT, LOGITS_ALL, NULL, &err);
        mem_fail_at(0);
        if (st != ST_OK && st != ST_NOMEM)
            fail_msg("allocation %lld: status %d, %s", (long long)n, st, err.msg);
        if (st == ST_NOMEM)
            assert_true(err.msg[0] != 0);
        done = st == ST_OK;
        session_destroy(s);
        model_close(m);
    }
    assert_true(done);
    print_message("%lld allocations failed one after the other\n", (long long)(n - 2));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(information_describes_the_file),
        T(rewinding_and_repeating_gives_the_same_bits),
        T(sync_keeps_the_common_prefix_and_always_has_logits),
        T(full_context_names_both_numbers_and_changes_nothing),
        T(ids_outside_the_vocabulary_are_named),
        T(cancelled_prompt_keeps_its_finished_chunks),
        T(logits_of_all_rows_equal_those_of_each_alone),
        T(decoding_allocates_nothing),
        T(context_beyond_the_model_is_refused),
        cmocka_unit_test(every_failed_allocation_is_one_clean_error),
    };
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
