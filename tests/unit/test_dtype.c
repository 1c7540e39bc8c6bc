/* The type table and the decoders, against tests/vectors/dequant.txt (oracle/dequant_vectors.py: the
 * gguf package and PyTorch). Floats must be the same bits; any NaN equals any other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mapfile.h"
#include "base/mem.h"
#include "tensor/dtype.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VECTORS "tests/vectors/dequant.txt"

static uint32_t bits_of(float f)
{
    uint32_t b;
    memcpy(&b, &f, sizeof b);
    return isnan(f) ? 0x7fc00000 : b;
}

static uint8_t *from_hex(const char *hex, size_t *n)
{
    *n = strlen(hex) / 2;
    uint8_t *out = mem_alloc(*n, 1);
    for (size_t k = 0; k < *n; k++) {
        const char two[3] = {hex[2 * k], hex[2 * k + 1], 0};
        out[k] = (uint8_t)strtoul(two, NULL, 16);
    }
    return out;
}

static Dtype type_named(const char *name)
{
    Dtype t = DT_COUNT;
    assert_true(dtype_from_name(name, strlen(name), &t));
    return t;
}

/* The words of one line; returns how many. */
static int split(char *line, char **words, int max)
{
    int n = 0;
    for (char *p = line; *p && n < max;) {
        words[n++] = p;
        p += strcspn(p, " ");
        if (*p)
            *p++ = 0;
    }
    return n;
}

static void check_decode(char **w, int line)
{
    const Dtype t = type_named(w[1]);
    const int64_t n = strtol(w[2], NULL, 10);
    size_t bytes, want_bytes;
    uint8_t *src = from_hex(w[3], &bytes), *want = from_hex(w[4], &want_bytes);
    assert_int_equal(bytes, dtype_row_bytes(t, n));
    assert_int_equal(want_bytes, n * 4);
    /* unaligned source, guarded destination */
    uint8_t *shifted = mem_alloc(bytes + 1, 1);
    memcpy(shifted + 1, src, bytes);
    float *got = mem_alloc((size_t)n + 1, sizeof *got);
    double *got64 = mem_alloc((size_t)n + 1, sizeof *got64);
    got[n] = 77;
    got64[n] = 77;
    dtype_decode_f32(t, got, shifted + 1, n);
    dtype_decode_f64(t, got64, shifted + 1, n);
    for (int64_t k = 0; k < n; k++) {
        float expected;
        memcpy(&expected, want + 4 * k, 4);
        if (bits_of(got[k]) != bits_of(expected) || bits_of((float)got64[k]) != bits_of(expected))
            fail_msg("line %d, %s element %d: %.9g and %.17g, not %.9g", line, w[1], (int)k, (double)got[k],
                     got64[k], (double)expected);
    }
    assert_true(got[n] == 77.0f);
    assert_true(got64[n] == 77.0);
    mem_free(src), mem_free(want), mem_free(shifted), mem_free(got), mem_free(got64);
}

static void check_all(char **w)
{
    const Dtype t = type_named(w[1]);
    const int size = w[2][0] - '0';
    uint64_t h = 0xcbf29ce484222325u;
    for (uint32_t code = 0; code < (size == 2 ? 65536u : 256u); code++) {
        float f;
        dtype_decode_f32(t, &f, &code, 1);
        for (int k = 0; k < 4; k++)
            h = (h ^ (bits_of(f) >> (8 * k) & 255)) * 0x100000001b3u;
    }
    if (h != strtoull(w[3], NULL, 16))
        fail_msg("%s: the digest of all codes is %016llx, not %s", w[1], (unsigned long long)h, w[3]);
}

static void check_to_half(char **w)
{
    size_t n_in, n_out;
    uint8_t *in = from_hex(w[2], &n_in), *out = from_hex(w[3], &n_out);
    assert_int_equal(n_in, 2 * n_out);
    for (size_t k = 0; k < n_out / 2; k++) {
        float f;
        uint16_t want;
        memcpy(&f, in + 4 * k, 4);
        memcpy(&want, out + 2 * k, 2);
        const uint16_t got = strcmp(w[0], "to_f16") == 0 ? f32_to_f16(f) : f32_to_bf16(f);
        if (got != want)
            fail_msg("%s(%a) = %04x, not %04x", w[0], (double)f, got, want);
    }
    mem_free(in), mem_free(out);
}

static void decoders_give_the_bits_of_the_reference(void **state)
{
    (void)state;
    uint8_t *text;
    size_t size;
    Error err;
    if (file_read_all(&text, &size, VECTORS, 1 << 20, &err) != ST_OK)
        fail_msg("%s", err.msg);
    bool seen[DT_COUNT] = {false};
    int line = 0, halves = 0;
    for (char *p = (char *)text; *p; line++) {
        char *end = p + strcspn(p, "\n");
        char *const next = *end ? end + 1 : end;
        *end = 0;
        char *w[5];
        const int n = *p == '#' ? 0 : split(p, w, 5);
        if (n == 5)
            check_decode(w, line + 1);
        else if (n == 4 && strcmp(w[0], "all") == 0)
            check_all(w);
        else if (n == 4 && ++halves)
            check_to_half(w);
        if (n == 5 || (n == 4 && strcmp(w[0], "all") == 0))
            seen[type_named(w[1])] = true;
        p = next;
    }
    mem_free(text);
    assert_int_equal(halves, 2);
    for (int t = 0; t < DT_COUNT; t++) {
        const bool plain = strchr("FIUBC", dtype_info((Dtype)t)->name[0]) && t != DT_F16 && t != DT_BF16 &&
                           t != DT_F8_E4M3 && t != DT_F8_E5M2 && t != DT_F8_E8M0;
        if (!seen[t] && !plain)
            fail_msg("no vector for %s", dtype_info((Dtype)t)->name);
    }
}

/* C's own conversions are the reference for the types that C has. */
static void plain_types_decode_as_c_converts_them(void **state)
{
    (void)state;
    static const int64_t values[] = {0, 1, -1, 127, -128, 200, 32767, -32768, 65535, 16777217, -16777217,
                                     2147483647, 4294967295, 9007199254740993, INT64_MAX, INT64_MIN, 9223371761976868863};
    for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
        const int64_t v = values[k];
        float f;
        double d;
#define CASE(type, T)                           \
    do {                                        \
        const T x = (T)v;                       \
        dtype_decode_f32(type, &f, &x, 1);      \
        dtype_decode_f64(type, &d, &x, 1);      \
        assert_true(f == (float)x);             \
        assert_true(d == (double)x);            \
    } while (0)
        CASE(DT_I8, int8_t);
        CASE(DT_I16, int16_t);
        CASE(DT_I32, int32_t);
        CASE(DT_I64, int64_t);
        CASE(DT_U8, uint8_t);
        CASE(DT_U16, uint16_t);
        CASE(DT_U32, uint32_t);
        CASE(DT_U64, uint64_t);
        CASE(DT_F32, float);
        CASE(DT_F64, double);
#undef CASE
    }
    static const uint8_t bools[3] = {0, 1, 255};
    float b[3];
    dtype_decode_f32(DT_BOOL, b, bools, 3);
    assert_true(b[0] == 0.0f && b[1] == 1.0f && b[2] == 1.0f);
}

static void f4_takes_the_low_nibble_first(void **state)
{
    (void)state;
    static const uint8_t bytes[8] = {0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe};
    static const float want[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -.5f, -1, -1.5f, -2, -3, -4, -6};
    float got[16];
    dtype_decode_f32(DT_F4, got, bytes, 16);
    for (int k = 0; k < 16; k++)
        assert_int_equal(bits_of(got[k]), bits_of(want[k]));
}

static void types_are_found_by_name_and_by_gguf_id(void **state)
{
    (void)state;
    Dtype t;
    for (int k = 0; k < DT_COUNT; k++) {
        const DtypeInfo *info = dtype_info((Dtype)k);
        assert_true(dtype_from_name(info->name, strlen(info->name), &t));
        assert_int_equal(t, k);
        if (info->gguf_id >= 0) {
            assert_true(dtype_from_gguf((uint32_t)info->gguf_id, &t));
            assert_int_equal(t, k);
        }
    }
    t = DT_Q4_0;
    assert_false(dtype_from_name("F3", 2, &t));
    assert_false(dtype_from_name("F", 1, &t));
    assert_false(dtype_from_name("", 0, &t));
    assert_false(dtype_from_gguf(4, &t));
    assert_false(dtype_from_gguf(0xffffffffu, &t));
    assert_int_equal(t, DT_Q4_0);
}

static void row_bytes_count_whole_blocks(void **state)
{
    (void)state;
    assert_int_equal(dtype_row_bytes(DT_F32, 3), 12);
    assert_int_equal(dtype_row_bytes(DT_F4, 6), 3);
    assert_int_equal(dtype_row_bytes(DT_Q4_1, 576), 18 * 20);
    assert_int_equal(dtype_row_bytes(DT_Q6_K, 512), 420);
    assert_int_equal(dtype_row_bytes(DT_Q6_K, 0), 0);
}

static void every_half_survives_a_round_trip(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = f16_to_f32((uint16_t)h), g = bf16_to_f32((uint16_t)h);
        if (!isnan(f))
            assert_int_equal(f32_to_f16(f), h);
        else
            assert_true(isnan(f16_to_f32(f32_to_f16(f))));
        if (!isnan(g))
            assert_int_equal(f32_to_bf16(g), h);
        else
            assert_true(isnan(bf16_to_f32(f32_to_bf16(g))));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoders_give_the_bits_of_the_reference),
        cmocka_unit_test(plain_types_decode_as_c_converts_them),
        cmocka_unit_test(f4_takes_the_low_nibble_first),
        cmocka_unit_test(types_are_found_by_name_and_by_gguf_id),
        cmocka_unit_test(row_bytes_count_whole_blocks),
        cmocka_unit_test(every_half_survives_a_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
