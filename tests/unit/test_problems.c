/* Problems: streams that can be entered anywhere, sizes that are refused, answers that are right in any words. The
 * written work itself is checked from outside (tests/e2e/test_problems.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "train/problem_source.h"
#include "train/problem_text.h"
#include "train/problem_work.h"
#include "train/problems.h"

#include <stdio.h>
#include <string.h>

static void every_kind_and_size_has_both_splits(void **state)
{
    (void)state;
    Problem p = {0};
    for (int k = 0; k < PROBLEM_KIND_COUNT; k++) {
        const ProblemKindInfo *const info = problem_kind_info((ProblemKind)k);
        for (int size = info->size_min; size <= info->size_max; size++)
            for (uint64_t i = 0; i < 40; i++)
                for (int split = PROBLEM_TRAIN; split <= PROBLEM_TEST; split++) {
                    assert_int_equal(problem_make(&p, (ProblemKind)k, size, (ProblemSplit)split, 5, i, NULL), ST_OK);
                    assert_true(p.question.count > 0 && p.thinking.count > 0 && p.answer.count > 0);
                    assert_int_equal(strlen((char *)p.thinking.data), p.thinking.count);
                    assert_true(problem_is_right(&p, (char *)p.answer.data, p.answer.count));
                }
        Error err = {0};
        assert_int_equal(problem_make(&p, (ProblemKind)k, info->size_max + 1, PROBLEM_TRAIN, 5, 0, &err), ST_INVALID);
        assert_non_null(strstr(err.msg, info->name));
        assert_int_equal(problem_make(&p, (ProblemKind)k, info->size_min - 1, PROBLEM_TRAIN, 5, 0, &err), ST_INVALID);
        ProblemKind found;
        assert_int_equal(problem_kind_parse(&found, info->name, &err), ST_OK);
        assert_int_equal(found, k);
    }
    ProblemKind found;
    assert_int_equal(problem_kind_parse(&found, "cube", NULL), ST_USAGE);
    problem_free(&p);
}

static void the_parts_of_the_mix_are_a_thousand(void **state)
{
    (void)state;
    int parts = 0;
    for (int k = 0; k < PROBLEM_KIND_COUNT; k++)
        parts += problem_kind_info((ProblemKind)k)->parts;
    assert_int_equal(parts, 1000);
}

static void a_problem_depends_on_its_number_alone(void **state)
{
    (void)state;
    Problem a = {0}, b = {0};
    for (uint64_t i = 0; i < 200; i++) {
        assert_int_equal(problem_mixed(&a, PROBLEM_TRAIN, 3, 199 - i, NULL), ST_OK);
        assert_int_equal(problem_mixed(&b, PROBLEM_TRAIN, 3, i, NULL), ST_OK);
        assert_int_equal(problem_mixed(&b, PROBLEM_TRAIN, 3, 199 - i, NULL), ST_OK);
        assert_int_equal(a.kind, b.kind);
        assert_string_equal((char *)a.question.data, (char *)b.question.data);
        assert_string_equal((char *)a.thinking.data, (char *)b.thinking.data);
    }
    problem_free(&a);
    problem_free(&b);
}

static void work_is_written_as_described(void **state)
{
    (void)state;
    static const struct {
        const char *want;
        int64_t a, b;
        char op;
    } cases[] = {
        {"4873+0956\n3+6+0=09\n7+5+0=12\n8+9+1=18\n4+0+1=05\n=05829", 4873, 956, '+'},
        {"0+0\n0+0+0=00\n=00", 0, 0, '+'},
        {"52-17\n2-7-0=5b1\n5-1-1=3b0\n=35", 52, 17, '-'},
        {"17-52\n7-2-0=5b0\n1-5-0=6b1\n-(52-17)\n2-7-0=5b1\n5-1-1=3b0\n=-35", 17, 52, '-'},
        {"873*6\n3*6+0=18\n7*6+1=43\n8*6+4=52\n=5238", 873, 6, '*'},
        {"12*30\n12*0\n2*0+0=00\n1*0+0=00\n=000\n12*3\n2*3+0=06\n1*3+0=03\n=036\n000+360\n0+0+0=00\n0+6+0=06\n0+3+0=03\n=0360",
         12, 30, '*'},
        {"4873?4956\n4=4\n8<9", 4873, 4956, '?'},
        {"05?14\n0<1", 5, 14, '?'},
        {"7?7\n7=7", 7, 7, '?'},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ByteBuf out = {0};
        const int64_t a = cases[i].a, b = cases[i].b;
        const char op = cases[i].op;
        assert_int_equal(op == '+' ? work_add(&out, a, b) : op == '-' ? work_sub(&out, a, b) : op == '*' ? work_mul(&out, a, b)
                                                                                          : work_compare(&out, a, b), ST_OK);
        assert_string_equal(bytebuf_cstr(&out), cases[i].want);
        bytebuf_free(&out);
    }
    ByteBuf out = {0};
    assert_int_equal(work_sort(&out, (const int64_t[]){45, 3, 3, 167}, 4, false), ST_OK);
    assert_string_equal(bytebuf_cstr(&out), "045 003 003 167\n<003 045 003 167\n<003 045 167\n<045 167\n<167");
    bytebuf_free(&out);
}

static void answers_are_right_in_any_words(void **state)
{
    (void)state;
    static const struct {
        ProblemKind kind;
        const char *want, *text;
        bool right;
    } cases[] = {
        {PROBLEM_ADD, "19", "19", true},
        {PROBLEM_ADD, "19", " 19\n", true},
        {PROBLEM_ADD, "19", "12 + 7 = 19.", true},
        {PROBLEM_ADD, "19", "The answer is **19** apples.", true},
        {PROBLEM_ADD, "19", "19 is not 20", false},
        {PROBLEM_ADD, "19", "119", false},
        {PROBLEM_ADD, "19", "019", true},
        {PROBLEM_ADD, "19", "nineteen", false},
        {PROBLEM_ADD, "19", "", false},
        {PROBLEM_ADD, "1234567", "It is 1,234,567.", true},
        {PROBLEM_ADD, "567", "It is 1,234,567.", false},
        {PROBLEM_SUB, "-35", "-35", true},
        {PROBLEM_SUB, "-35", "17 - 52 is -35", true},
        {PROBLEM_SUB, "-35", "35", false},
        {PROBLEM_SUB, "35", "52-17=35", true},
        {PROBLEM_SUB, "17", "52-17", true},
        {PROBLEM_SORT, "3, 9, 12", "3, 9, 12", true},
        {PROBLEM_SORT, "3, 9, 12", "Sorted: 3 9 12", true},
        {PROBLEM_SORT, "3, 9, 12", "12, 9, 3", false},
        {PROBLEM_SORT, "3, 9, 12", "9, 12", false},
        {PROBLEM_SORT, "3, 123, 456", "3, 123, 456", true},
        {PROBLEM_COMPARE, "Yes", "yes, it is.", true},
        {PROBLEM_COMPARE, "Yes", "No. Yes.", false},
        {PROBLEM_COMPARE, "No", "Note: no", true},
        {PROBLEM_COMPARE, "<", "4 < 5", true},
        {PROBLEM_COMPARE, "<", "5 > 4", false},
        {PROBLEM_COMPARE, "equal", "They are equal.", true},
        {PROBLEM_COMPARE, "41", "41 is the larger number", true},
        {PROBLEM_PARITY, "odd", "Odd", true},
        {PROBLEM_PARITY, "odd", "It is even.", false},
        {PROBLEM_CHAT, "", "I only do ARITHMETIC.", true},
        {PROBLEM_CHAT, "", "Paris is the capital of France.", false},
        {PROBLEM_ADD, "99999999999999999", "999999999999999999999999999999999999", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Problem p = {.kind = cases[i].kind};
        assert_int_equal(bytebuf_append(&p.answer, cases[i].want, strlen(cases[i].want)), ST_OK);
        assert_non_null(bytebuf_cstr(&p.answer));
        if (problem_is_right(&p, cases[i].text, strlen(cases[i].text)) != cases[i].right)
            fail_msg("'%s' for '%s'", cases[i].text, cases[i].want);
        problem_free(&p);
    }
}

/* ---- as training documents ---------------------------------------------------------------------- */

static const char *words[] = {"add", "compare", "chat"}, *sizes[] = {"2", "3-4", "1"}, *mixed[] = {"mixed"}, *wrong[] = {"cubes"};
static double weights[] = {2, 1, 1}, zeros[] = {0, 1, 0};

#define RECIPE_KINDS(list, n) {.kinds = {.items = list, .count = n}}

static void documents_are_conversations_of_problems(void **state)
{
    (void)state;
    RecipeSource recipe = RECIPE_KINDS(words, 3);
    ProblemSource s;
    int turns[4] = {0}, adds = 0;
    recipe.sizes.items = sizes;
    recipe.kind_weights.items = weights;
    recipe.sizes.count = recipe.kind_weights.count = 3;
    assert_int_equal(problem_source_init(&s, &recipe, 9, NULL), ST_OK);
    for (int64_t i = 0; i < 800; i++) {
        Document d = {0}, again = {0};
        assert_int_equal(problem_source_document(&s, i % 2, i, &d, NULL), ST_OK);
        assert_int_equal(problem_source_document(&s, i % 2, i, &again, NULL), ST_OK);
        assert_int_equal(d.message_count, again.message_count);
        assert_true(d.message_count >= 2 && d.message_count <= 6 && !d.text);
        turns[d.message_count / 2]++;
        for (int64_t k = 0; k < d.message_count; k++) {
            assert_int_equal(d.messages[k].role, k % 2 ? CHAT_ASSISTANT : CHAT_USER);
            assert_string_equal(d.messages[k].content, again.messages[k].content);
            assert_true((d.messages[k].thinking != NULL) == (k % 2 == 1));
        }
        const char *const thinking = d.messages[1].thinking;
        if (strchr(thinking, '+')) {
            assert_int_equal(strchr(thinking, '+') - thinking, 2); /* of size 2 */
            adds++;
        } else {
            const char *const sign = strchr(thinking, '?');
            assert_true(strcmp(thinking, "no arithmetic") == 0 || sign - thinking == 3 || sign - thinking == 4);
        }
        document_free(&d);
        document_free(&again);
    }
    assert_true(turns[1] > 540 && turns[1] < 660 && turns[2] > 100 && turns[3] > 20);
    assert_true(adds > 340 && adds < 460);
}

static void the_shares_of_a_recipe_are_checked(void **state)
{
    (void)state;
    ProblemSource s;
    Error err = {0};
    RecipeSource recipe = RECIPE_KINDS(mixed, 1);
    assert_int_equal(problem_source_init(&s, &recipe, 0, &err), ST_OK);
    assert_int_equal(s.count, PROBLEM_KIND_COUNT);
    assert_true(s.weights > 999.5 && s.weights < 1000.5);
    recipe.sizes.items = sizes;
    recipe.sizes.count = 1;
    assert_int_equal(problem_source_init(&s, &recipe, 0, &err), ST_INVALID);
    recipe = (RecipeSource)RECIPE_KINDS(wrong, 1);
    assert_int_equal(problem_source_init(&s, &recipe, 0, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "cubes"));
    recipe = (RecipeSource)RECIPE_KINDS(words, 3);
    recipe.sizes.items = sizes;
    recipe.sizes.count = 1; /* 2 is no size of chat */
    assert_int_equal(problem_source_init(&s, &recipe, 0, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "chat"));
    recipe = (RecipeSource)RECIPE_KINDS(words, 3);
    recipe.kind_weights.items = zeros;
    recipe.kind_weights.count = 3;
    assert_int_equal(problem_source_init(&s, &recipe, 0, &err), ST_OK);
    for (int64_t i = 0; i < 50; i++) {
        Document d = {0};
        assert_int_equal(problem_source_document(&s, false, i, &d, NULL), ST_OK);
        assert_non_null(strchr(d.messages[1].thinking, '?'));
        document_free(&d);
    }
}

static void lack_of_memory_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    for (int k = 0; k < PROBLEM_KIND_COUNT; k++) {
        Status st = ST_NOMEM;
        for (int64_t n = 1; st != ST_OK; n++) {
            Problem p = {0};
            Error err = {0};
            mem_fail_at(n);
            st = problem_make(&p, (ProblemKind)k, problem_kind_info((ProblemKind)k)->size_min, PROBLEM_TRAIN, 1, 1, &err);
            mem_fail_at(0);
            assert_true(st == ST_OK || (st == ST_NOMEM && err.msg[0]));
            problem_free(&p);
            assert_true(n < 200);
        }
    }
    RecipeSource recipe = RECIPE_KINDS(mixed, 1);
    ProblemSource s;
    assert_int_equal(problem_source_init(&s, &recipe, 1, NULL), ST_OK);
    Status st = ST_NOMEM;
    for (int64_t n = 1; st != ST_OK; n++) {
        Document d = {0};
        Error err = {0};
        mem_fail_at(n);
        st = problem_source_document(&s, false, 3, &d, &err);
        mem_fail_at(0);
        assert_true(st == ST_OK || (st == ST_NOMEM && err.msg[0]));
        document_free(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_and_size_has_both_splits),
        cmocka_unit_test(the_parts_of_the_mix_are_a_thousand),
        cmocka_unit_test(a_problem_depends_on_its_number_alone),
        cmocka_unit_test(work_is_written_as_described),
        cmocka_unit_test(answers_are_right_in_any_words),
        cmocka_unit_test(documents_are_conversations_of_problems),
        cmocka_unit_test(the_shares_of_a_recipe_are_checked),
        cmocka_unit_test(lack_of_memory_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
