/* Ids of traces, and the comparison of two traces. Traces and perplexity themselves are compared with the
 * reference library in e2e/test_trace_llama.py and e2e/test_smollm2.py. */
#include "eval/trace.h"
#include "eval/trace_diff.h"
#include "formats/safetensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void ids_are_words_between_white_space(void **state)
{
    (void)state;
    static const char text[] = "\n 1 22\t333\r\n0 ";
    IdBuf ids = {0};
    assert_int_equal(trace_parse_ids(&ids, text, strlen(text), NULL), ST_OK);
    assert_int_equal(ids.count, 4);
    assert_memory_equal(ids.data, ((const int32_t[]){1, 22, 333, 0}), 4 * sizeof(int32_t));
    idbuf_free(&ids);
}

static void what_is_no_id_is_named_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word, *place;
    } cases[] = {{"1 2 x3", "x3", "word 3, byte 4"},
                 {"-1", "-1", "word 1"},
                 {"1 2147483648", "2147483648", "word 2"},
                 {"1 99999999999999999999999999", "9999", "word 2"},
                 {"3.5", "3.5", "word 1"},
                 {"   ", "at least one", "ids"},
                 {"", "at least one", "ids"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        IdBuf ids = {0};
        Error err = {0};
        assert_int_equal(trace_parse_ids(&ids, cases[i].text, strlen(cases[i].text), &err), ST_INVALID);
        assert_non_null(strstr(err.msg, cases[i].word));
        assert_non_null(strstr(err.msg, cases[i].place));
        idbuf_free(&ids);
    }
}

/* ---- comparison -------------------------------------------------------------------------------- */

enum { T = 3, D = 4, V = 5 };

typedef struct {
    float hidden[2][T * D], logits[T * V];
} Record;

static void save(const Record *r, const char *path)
{
    const SafetensorsItem items[] = {{"logits", DT_F32, 2, {T, V}, r->logits},
                                     {"hidden.0", DT_F32, 2, {T, D}, r->hidden[0]},
                                     {"hidden.1", DT_F32, 2, {T, D}, r->hidden[1]}};
    assert_int_equal(safetensors_save(path, items, 3, NULL, NULL), ST_OK);
}

typedef struct {
    TensorDiff seen[8];
    int count;
} Seen;

static void keep(void *arg, const TensorDiff *d)
{
    Seen *s = arg;
    s->seen[s->count++] = *d;
}

static bool compare(const Record *a, const Record *b, double tolerance, Seen *seen)
{
    char path[2][64];
    bool parted = false;
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "/tmp/plumb-test-eval-%d-%ld.safetensors", i, (long)getpid());
        save(i ? b : a, path[i]);
    }
    *seen = (Seen){.count = 0};
    assert_int_equal(trace_diff(path[0], path[1], tolerance, keep, seen, &parted, NULL), ST_OK);
    unlink(path[0]);
    unlink(path[1]);
    return parted;
}

static void fill(Record *r)
{
    for (int i = 0; i < T * D; i++)
        r->hidden[0][i] = (float)i, r->hidden[1][i] = 0.1f * (float)i;
    for (int i = 0; i < T * V; i++)
        r->logits[i] = 100 - (float)i;
}

static void equal_traces_agree(void **state)
{
    (void)state;
    Record a;
    Seen seen;
    fill(&a);
    a.logits[3] = NAN;
    assert_false(compare(&a, &a, 0, &seen));
    assert_int_equal(seen.count, 3);
}

static void layers_come_before_logits_and_the_first_position_is_found(void **state)
{
    (void)state;
    Record a, b;
    Seen seen;
    fill(&a);
    b = a;
    b.hidden[1][1 * D + 2] += 0.5f;
    b.hidden[1][2 * D + 3] -= 2;
    b.logits[0] += 50;
    assert_true(compare(&a, &b, 1e-3, &seen));
    /* names point into files that are closed by now: compare by what is known of each */
    assert_false(seen.seen[0].parts);
    assert_true(seen.seen[1].parts);
    assert_int_equal(seen.seen[1].first_row, 1);
    assert_int_equal(seen.seen[1].row, 2);
    assert_int_equal(seen.seen[1].column, 3);
    assert_true(fabs(seen.seen[1].max_difference - 2) < 1e-6);
    assert_true(seen.seen[2].parts);
}

static void tolerance_is_relative_to_the_largest_value(void **state)
{
    (void)state;
    Record a, b;
    Seen seen;
    fill(&a);
    b = a;
    b.logits[4] += 0.09f; /* of 100 */
    assert_false(compare(&a, &b, 1e-3, &seen));
    assert_true(compare(&a, &b, 1e-4, &seen));
}

static void a_number_is_not_a_nan(void **state)
{
    (void)state;
    Record a, b;
    Seen seen;
    fill(&a);
    b = a;
    b.hidden[0][5] = NAN;
    assert_true(compare(&a, &b, 1, &seen));
    assert_int_equal(seen.seen[0].first_row, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_words_between_white_space),
        cmocka_unit_test(what_is_no_id_is_named_with_its_place),
        cmocka_unit_test(equal_traces_agree),
        cmocka_unit_test(layers_come_before_logits_and_the_first_position_is_found),
        cmocka_unit_test(tolerance_is_relative_to_the_largest_value),
        cmocka_unit_test(a_number_is_not_a_nan),
    };
    return cmocka_run_group_tests_name("eval", tests, NULL, NULL);
}
