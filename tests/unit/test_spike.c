/* Which steps are left out: what is not finite always, what lies far above the window once there are enough steps. */
#include "train/spike.h"

#include "base/mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { WINDOW = 40 };
static const double not_a_number = (double)NAN, infinite = (double)INFINITY;

static SpikeRule rule_of(double limit)
{
    SpikeRule s;
    Error err = {0};
    if (spike_init(&s, WINDOW, limit, &err) != ST_OK)
        fail_msg("%s", err.msg);
    return s;
}

/* Steps that swing around loss 2 and norm 1 by 0.1: mean 2 and 1, deviation 0.1. */
static void take_ordinary(SpikeRule *s, int64_t steps)
{
    for (int64_t i = 0; i < steps; i++) {
        const double swing = s->count % 2 ? 0.1 : -0.1;
        assert_null(spike_judge(s, 2 + swing, 1 + swing));
    }
}

static void what_is_not_finite_never_counts(void **state)
{
    (void)state;
    const double cases[][2] = {{not_a_number, 1}, {infinite, 1}, {-infinite, 1},
                               {2, not_a_number}, {2, infinite}, {not_a_number, infinite}};
    for (int limit = 0; limit <= 6; limit += 6) {
        SpikeRule s = rule_of(limit);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            const char *why = spike_judge(&s, cases[i][0], cases[i][1]);
            assert_string_equal(why, isfinite(cases[i][0]) ? "the gradient is not finite" : "the loss is not finite");
            assert_int_equal(s.count, 0);
            assert_int_equal(s.in_a_row, i + 1);
        }
        spike_free(&s);
    }
}

static void the_first_steps_are_compared_with_nothing(void **state)
{
    (void)state;
    SpikeRule s = rule_of(6);
    take_ordinary(&s, SPIKE_STEPS_MIN - 1);
    assert_null(spike_judge(&s, 1e6, 1e6)); /* the last one that is free */
    spike_free(&s);
    s = rule_of(6);
    take_ordinary(&s, SPIKE_STEPS_MIN);
    assert_non_null(spike_judge(&s, 1e6, 1));
    spike_free(&s);
}

/* Deviation 0.1 and limit 6: the line is 0.6 above the mean, and exact there. */
static void the_limit_is_in_deviations_above_the_mean(void **state)
{
    (void)state;
    static const struct {
        double loss, norm;
        const char *why;
    } cases[] = {{2.599, 1.599, NULL},
                 {2.601, 1, "the loss is far above that of the last steps"},
                 {2, 1.601, "the gradient is far larger than in the last steps"},
                 {-100, 0, NULL}}; /* below is no spike */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        SpikeRule s = rule_of(6);
        take_ordinary(&s, SPIKE_STEPS_MIN);
        const char *why = spike_judge(&s, cases[i].loss, cases[i].norm);
        if (cases[i].why)
            assert_string_equal(why, cases[i].why);
        else
            assert_null(why);
        assert_int_equal(s.in_a_row, cases[i].why != NULL);
        spike_free(&s);
    }
}

static void no_limit_leaves_out_only_what_is_not_finite(void **state)
{
    (void)state;
    SpikeRule s = rule_of(0);
    take_ordinary(&s, 3 * WINDOW);
    assert_null(spike_judge(&s, 1e300, 1e300));
    assert_non_null(spike_judge(&s, not_a_number, 1));
    spike_free(&s);
}

static void a_flat_window_allows_for_rounding(void **state)
{
    (void)state;
    SpikeRule s = rule_of(6);
    for (int i = 0; i < WINDOW; i++)
        assert_null(spike_judge(&s, 2, 1));
    assert_null(spike_judge(&s, 2.0119, 1)); /* 6 thousandths of the mean are 0.012 */
    spike_free(&s);
    s = rule_of(6);
    for (int i = 0; i < WINDOW; i++)
        assert_null(spike_judge(&s, 2, 1));
    assert_non_null(spike_judge(&s, 2.0121, 1));
    spike_free(&s);
}

/* A loss that stays at a new height is a spike until it is in the window, which it never enters; one that climbs
 * slowly takes the window with it. */
static void the_window_holds_the_last_steps_that_counted(void **state)
{
    (void)state;
    SpikeRule s = rule_of(6);
    take_ordinary(&s, WINDOW);
    for (int i = 1; i <= 5; i++) {
        assert_non_null(spike_judge(&s, 9, 1));
        assert_int_equal(s.in_a_row, i);
        assert_int_equal(s.count, WINDOW);
    }
    take_ordinary(&s, 1);
    assert_int_equal(s.in_a_row, 0);
    for (int i = 0; i < 200; i++)
        assert_null(spike_judge(&s, 2 + 0.05 * i, 1));
    assert_int_equal(s.count, WINDOW + 201);
    assert_true(s.losses[(s.count - 1) % WINDOW] == 2 + 0.05 * 199);
    assert_true(s.losses[s.count % WINDOW] == 2 + 0.05 * (200 - WINDOW));
    spike_free(&s);
}

static void no_memory_is_an_error(void **state)
{
    (void)state;
    for (int64_t fail = 1; fail <= 2; fail++) {
        SpikeRule s;
        Error err = {0};
        mem_fail_at(fail);
        assert_int_equal(spike_init(&s, WINDOW, 6, &err), ST_NOMEM);
        mem_fail_at(0);
        assert_null(s.losses);
        assert_null(s.norms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_finite_never_counts),
        cmocka_unit_test(the_first_steps_are_compared_with_nothing),
        cmocka_unit_test(the_limit_is_in_deviations_above_the_mean),
        cmocka_unit_test(no_limit_leaves_out_only_what_is_not_finite),
        cmocka_unit_test(a_flat_window_allows_for_rounding),
        cmocka_unit_test(the_window_holds_the_last_steps_that_counted),
        cmocka_unit_test(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
