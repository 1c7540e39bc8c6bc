/* Packing: what comes out of a panel is what the file format defines, bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "kernels/forms.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static uint64_t state;

static uint8_t random_byte(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint8_t)(state >> 56);
}

/* Random bytes are valid blocks of every type: all codes, and all kinds of scales. */
static uint8_t *random_rows(Dtype t, int64_t N, int64_t K, uint64_t seed)
{
    const size_t bytes = (size_t)N * dtype_row_bytes(t, K);
    uint8_t *const p = mem_alloc(bytes + 1, 1);
    assert_non_null(p);
    state = seed;
    for (size_t i = 0; i < bytes; i++)
        p[i + 1] = random_byte();
    return p;
}

static bool same(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static void check_type(Dtype t, int64_t N, int64_t K)
{
    const PackForm f = form_of_dtype(t);
    const size_t panel_bytes = form_panel_bytes(&f, K), total = form_bytes(&f, N, K);
    uint8_t *const stored = random_rows(t, N, K, 1000 * (uint64_t)t + (uint64_t)K);
    uint8_t *const packed = mem_alloc_pages(total + 64);
    float *const panel = mem_alloc((size_t)K * PANEL_ROWS, sizeof *panel);
    float *const row = mem_alloc((size_t)K, sizeof *row);
    memset(packed, 0xA5, total + 64);
    assert_int_equal(panel_bytes % 64, 0);
    for (int64_t p = 0; p * PANEL_ROWS < N; p++) {
        const uint8_t *const at = packed + panel_bytes * (size_t)p;
        form_pack_panel(&f, packed + panel_bytes * (size_t)p, t, stored + 1, p, N, K); /* unaligned */
        form_decode_panel(&f, panel, at, 0, K);
        for (int64_t r = 0; r < PANEL_ROWS; r++) {
            const int64_t n = PANEL_ROWS * p + r;
            memset(row, 0, (size_t)K * sizeof *row);
            if (n < N)
                dtype_decode_f32(t, row, stored + 1 + (size_t)n * dtype_row_bytes(t, K), K);
            for (int64_t k = 0; k < K; k++) {
                const float found = panel[PANEL_ROWS * k + r];
                if (n < N ? !same(row[k], found) : found != 0)
                    fail_msg("%s row %d k %d: %a, file means %a", dtype_info(t)->name, (int)n, (int)k,
                             (double)found, (double)row[k]);
            }
        }
    }
    for (size_t i = total; i < total + 64; i++)
        assert_int_equal(packed[i], 0xA5);
    mem_free(row);
    mem_free(panel);
    mem_free_pages(packed, total + 64);
    mem_free(stored);
}

static void forms_hold_what_the_file_means(void **s)
{
    (void)s;
    for (int t = 0; t < DT_COUNT; t++) {
        const DtypeInfo *const info = dtype_info((Dtype)t);
        if (!info->is_real)
            continue;
        const int el = info->block_elements;
        check_type((Dtype)t, 1, el);
        check_type((Dtype)t, 16, 3 * el);
        check_type((Dtype)t, 37, 5 * el);
        check_type((Dtype)t, 33, el == 1 ? 301 : 2 * el);
    }
}

static void forms_decode_any_part_of_a_panel(void **s)
{
    (void)s;
    for (int t = 0; t < DT_COUNT; t++) {
        const DtypeInfo *const info = dtype_info((Dtype)t);
        if (!info->is_real)
            continue;
        const int64_t K = 512;
        const PackForm f = form_of_dtype((Dtype)t);
        uint8_t *const stored = random_rows((Dtype)t, 16, K, 7);
        uint8_t *const packed = mem_alloc_pages(form_bytes(&f, 16, K));
        float *const whole = mem_alloc((size_t)K * PANEL_ROWS, sizeof *whole);
        float *const part = mem_alloc((size_t)K * PANEL_ROWS, sizeof *part);
        form_pack_panel(&f, packed, (Dtype)t, stored + 1, 0, 16, K);
        form_decode_panel(&f, whole, packed, 0, K);
        form_decode_panel(&f, part, packed, 96, 352);
        assert_memory_equal(part, whole + 96 * PANEL_ROWS, 256 * PANEL_ROWS * sizeof *part);
        mem_free(part);
        mem_free(whole);
        mem_free_pages(packed, form_bytes(&f, 16, K));
        mem_free(stored);
    }
}

static void forms_of_four_bits_take_the_bytes_of_the_file(void **s)
{
    (void)s;
    const Dtype types[] = {DT_Q4_0, DT_Q4_1, DT_Q8_0, DT_F16, DT_BF16, DT_F32};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        const PackForm f = form_of_dtype(types[i]);
        assert_int_equal(form_panel_bytes(&f, 1024), PANEL_ROWS * dtype_row_bytes(types[i], 1024));
        assert_int_equal(form_bytes(&f, 17, 1024), 2 * form_panel_bytes(&f, 1024));
    }
}

static void forms_never_have_both_zero_and_min(void **s)
{
    (void)s;
    for (int t = 0; t < DT_COUNT; t++) {
        const PackForm f = form_of_dtype((Dtype)t);
        assert_false(f.has_min && f.zero != 0);
        if (form_is_quantised(&f)) {
            assert_true(f.block == 16 || f.block == 32);
            assert_true(f.scale_bytes == 2 || f.scale_bytes == 4);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_hold_what_the_file_means),
        cmocka_unit_test(forms_decode_any_part_of_a_panel),
        cmocka_unit_test(forms_of_four_bits_take_the_bytes_of_the_file),
        cmocka_unit_test(forms_never_have_both_zero_and_min),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
