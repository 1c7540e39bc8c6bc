/* The choice of tables, and the exponential under softmax and silu on a dense sample of all floats.
 * What the kernels compute is checked in tests/kernels/. */
#include "kernels/kernels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The scalar level's vectors: all float levels do the same operations. */
#define LEVEL scalar
#define LEVEL_scalar 1
#include "kernels/lanes/vec_math.h"

static void expect_slots(const void *table, size_t from, size_t to)
{
    for (size_t at = from; at < to; at += sizeof(void *)) {
        void *slot;
        memcpy(&slot, (const char *)table + at, sizeof slot);
        assert_non_null(slot);
    }
}

static void kernels_tables_are_whole_and_named(void **s)
{
    (void)s;
    for (int l = 0; l < LEVEL_COUNT; l++) {
        const Kernels *const k = kernels_at((KernelLevel)l);
        if (!k)
            continue;
        assert_string_equal(k->name, kernels_level_name((KernelLevel)l));
        assert_int_equal(k->real_bytes, sizeof(float));
        expect_slots(k, offsetof(Kernels, linear), sizeof *k);
        expect_slots(k->grad, 0, sizeof *k->grad);
    }
    expect_slots(kernels_f64()->grad, 0, offsetof(GradKernels, adamw)); /* optimisers are float */
    assert_int_equal(kernels_f64()->real_bytes, sizeof(double));
    assert_non_null(kernels_f64()->linear);
    assert_null(kernels_f64()->linear_int8);
}

static void kernels_best_level_can_run_and_obeys_the_environment(void **s)
{
    const char *const name = getenv("PLUMB_CPU");
    const KernelLevel best = kernels_best_level();
    (void)s;
    assert_non_null(kernels_at(best));
    for (int l = 0; name && l < LEVEL_COUNT; l++)
        if (strcmp(name, kernels_level_name((KernelLevel)l)) == 0)
            assert_true((int)best <= l);
    for (int l = (int)best + 1; !name && l < LEVEL_COUNT; l++)
        assert_null(kernels_at((KernelLevel)l));
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Error in units of the last place of the float nearest to the exact value. */
static double ulps(float found, double exact)
{
    const float nearest = (float)exact;
    const double unit = (double)(nextafterf(nearest, INFINITY) - nearest);
    return fabs((double)found - exact) / unit;
}

static void kernels_exp_is_within_one_ulp(void **s)
{
    double worst = 0;
    (void)s;
    for (uint32_t bits = 0; bits < 0x42B20000u; bits += 997) /* 0 … 89 */
        for (int sign = 0; sign < 2; sign++) {
            const float x = float_of(bits | (uint32_t)sign << 31);
            const double exact = exp((double)x);
            if ((double)x > 88.72283 || (double)x < -87.3)
                continue;
            const double error = ulps(r_exp(x), exact);
            if (error > worst)
                worst = error;
        }
    if (worst > 1)
        fail_msg("an error of %g units in the last place", worst);
}

static void kernels_exp_at_its_edges(void **s)
{
    (void)s;
    assert_true(r_exp(0) == 1);
    assert_true(r_exp(-0.0f) == 1);
    assert_true(r_exp(-INFINITY) == 0);
    assert_true(isinf(r_exp(INFINITY)));
    assert_true(isnan(r_exp(NAN)));
    assert_true(isfinite(r_exp(88.7228f)));
    assert_true(isinf(r_exp(88.7229f)));
    assert_true(r_exp(-3e38f) == 0);
    assert_true(isinf(r_exp(3e38f)));
    assert_true(r_exp(-103.9f) > 0); /* the least denormal */
    for (float x = -103.9f; x < -87; x += 0.01f)
        assert_true(fabs((double)r_exp(x) - exp((double)x)) <= 0x1p-149);
}

static float lane(vreal x)
{
    return v_reduce_max(x);
}

static void kernels_softplus_and_sigmoid_are_within_four_ulps(void **s)
{
    double worst = 0;
    (void)s;
    for (uint32_t bits = 0x20000000u; bits < 0x42AA0000u; bits += 1009) /* 1e-19 … 85 */
        for (int sign = 0; sign < 2; sign++) {
            const float x = float_of(bits | (uint32_t)sign << 31);
            const double e = exp(-fabs((double)x)), y = (double)x;
            const double softplus = y > 20 ? y : (y > 0 ? y : 0) + log1p(e);
            worst = fmax(worst, ulps(lane(v_softplus(v_set1(x))), softplus));
            worst = fmax(worst, ulps(lane(v_sigmoid(v_set1(x))), (y < 0 ? e : 1) / (1 + e)));
            worst = fmax(worst, ulps(lane(v_sigmoid_slope(v_set1(x))), e / ((1 + e) * (1 + e))));
        }
    if (worst > 4)
        fail_msg("an error of %g units in the last place", worst);
}

static void kernels_softplus_and_sigmoid_at_their_edges(void **s)
{
    (void)s;
    assert_true(lane(v_softplus(v_set1(-INFINITY))) == 0);
    assert_true(isinf(lane(v_softplus(v_set1(INFINITY)))));
    assert_true(isnan(lane(v_softplus(v_set1(NAN)))));
    assert_true(lane(v_softplus(v_set1(21))) == 21);
    assert_true(lane(v_sigmoid(v_set1(-INFINITY))) == 0);
    assert_true(lane(v_sigmoid(v_set1(INFINITY))) == 1);
    assert_true(lane(v_sigmoid(v_set1(-0.0f))) == 0.5f);
    assert_true(isnan(lane(v_sigmoid(v_set1(NAN)))));
    assert_true(lane(v_sigmoid_slope(v_set1(INFINITY))) == 0);
    assert_true(lane(v_sigmoid_slope(v_set1(0))) == 0.25f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_tables_are_whole_and_named),
        cmocka_unit_test(kernels_best_level_can_run_and_obeys_the_environment),
        cmocka_unit_test(kernels_exp_is_within_one_ulp),
        cmocka_unit_test(kernels_exp_at_its_edges),
        cmocka_unit_test(kernels_softplus_and_sigmoid_are_within_four_ulps),
        cmocka_unit_test(kernels_softplus_and_sigmoid_at_their_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
