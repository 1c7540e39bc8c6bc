/* Counter-based random numbers. */
#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The three known answers that the authors publish with Random123 (kat_vectors, philox4x32 10). */
static void philox_gives_the_published_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } rows[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t out[4];
        philox4x32(out, rows[i].counter, rows[i].key);
        for (int w = 0; w < 4; w++)
            assert_int_equal(out[w], rows[i].expected[w]);
    }
}

/* The same answers through the 64-bit interface: fixes which half is which, for ever. */
static void seed_is_the_key_and_stream_the_high_half(void **state)
{
    (void)state;
    const uint64_t seed = 0x299f31d0a4093822, counter = 0x85a308d3243f6a88;
    assert_int_equal(rng_bits_at(seed, 0x0370734413198a2e, counter), 0x94fdccebd16cfe09);
}

static void drawing_in_order_is_reading_by_number(void **state)
{
    (void)state;
    Rng a = {.seed = 7, .stream = 3, .counter = UINT64_MAX - 1}; /* the counter wraps */
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(rng_bits(&a), rng_bits_at(7, 3, UINT64_MAX - 1 + i));
    Rng b = {.seed = 7};
    assert_true(rng_unit(&b) == rng_unit_at(7, 0, 0));
    assert_true(rng_normal(&b) == rng_normal_at(7, 0, 1));
}

static void seeds_and_streams_differ(void **state)
{
    (void)state;
    assert_int_not_equal(rng_bits_at(1, 0, 0), rng_bits_at(2, 0, 0));
    assert_int_not_equal(rng_bits_at(1, 0, 0), rng_bits_at(1, 1, 0));
    assert_int_not_equal(rng_bits_at(1, 0, 0), rng_bits_at(1, 0, 1));
    assert_int_not_equal(rng_bits_at(1, 0, 0), rng_bits_at((uint64_t)1 << 32, 0, 0));
}

#define DRAWS 200000

/* Bounds of five standard errors; the draws are fixed, so this cannot flicker. */
static void moments_are_those_of_the_distributions(void **state)
{
    (void)state;
    double unit_sum = 0, normal_sum = 0, square = 0, fourth = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        const double u = rng_unit_at(42, 0, i), z = rng_normal_at(42, 1, i);
        assert_true(u >= 0 && u < 1);
        unit_sum += u;
        normal_sum += z;
        square += z * z;
        fourth += z * z * z * z;
    }
    const double n = DRAWS, bound = 5 / sqrt(n);
    assert_true(fabs(unit_sum / n - 0.5) < bound * sqrt(1.0 / 12));
    assert_true(fabs(normal_sum / n) < bound);
    assert_true(fabs(square / n - 1) < bound * sqrt(2));
    assert_true(fabs(fourth / n - 3) < bound * sqrt(96));
}

static void below_stays_below_and_reaches_every_value(void **state)
{
    (void)state;
    Rng r = {.seed = 5};
    int seen[6] = {0};
    for (int i = 0; i < 6000; i++)
        seen[rng_below(&r, 6)]++; /* an index out of range is found by the sanitizers */
    for (int v = 0; v < 6; v++)
        assert_in_range(seen[v], 850, 1150); /* 1000 expected, deviation 29 */
    for (int i = 0; i < 100; i++)
        assert_int_equal(rng_below(&r, 1), 0);
    /* n just above 2^63: nearly half of all draws are refused, none may come out too large */
    const uint64_t n = ((uint64_t)1 << 63) + 1;
    for (int i = 0; i < 100; i++)
        assert_true(rng_below(&r, n) < n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_answers),
        cmocka_unit_test(seed_is_the_key_and_stream_the_high_half),
        cmocka_unit_test(drawing_in_order_is_reading_by_number),
        cmocka_unit_test(seeds_and_streams_differ),
        cmocka_unit_test(moments_are_those_of_the_distributions),
        cmocka_unit_test(below_stays_below_and_reaches_every_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
