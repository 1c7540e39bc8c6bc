/* safetensors: files of the reference library are read, ours are the same bytes, and files that lie are
 * refused with one error that names what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mapfile.h"
#include "base/mem.h"
#include "formats/safetensors.h"
#include "formats/tensor_table.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REFERENCE "tests/vectors/reference.safetensors" /* oracle/safetensors_vectors.py */

static char folder[] = "/tmp/plumb-test-XXXXXX";

static const char *in_folder(char out[PATH_MAX], const char *name)
{
    snprintf(out, PATH_MAX, "%s/%s", folder, name);
    return out;
}

static uint8_t *load(const char *path, size_t *size)
{
    uint8_t *data = NULL;
    Error err;
    if (file_read_all(&data, size, path, 1 << 24, &err) != ST_OK)
        fail_msg("%s", err.msg);
    return data;
}

/* ---- reading and writing ---- */

static void reader_finds_what_the_reference_library_wrote(void **state)
{
    (void)state;
    size_t size;
    uint8_t *data = load(REFERENCE, &size);
    TensorTable t = {0};
    Str meta = {NULL, 0};
    Error err;
    if (safetensors_read(&t, &meta, data, size, 3, &err) != ST_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(t.count, 23);
    assert_true(str_eq(meta, "{\"format\":\"pt\"}"));
    static const struct {
        const char *name;
        Dtype dtype;
        int ndim;
        int64_t dims[3];
        int first_byte; /* -1: none */
    } want[] = {
        {"bool.weight", DT_BOOL, 2, {2, 8, 0}, 0},
        {"uint8.weight", DT_U8, 2, {2, 8, 0}, 1},
        {"int8.weight", DT_I8, 2, {2, 8, 0}, 2},
        {"float8_e5m2.weight", DT_F8_E5M2, 2, {2, 8, 0}, 3},
        {"float8_e4m3fn.weight", DT_F8_E4M3, 2, {2, 8, 0}, 4},
        {"float8_e8m0fnu.weight", DT_F8_E8M0, 2, {2, 8, 0}, 5},
        {"float4_e2m1fn_x2.weight", DT_F4, 2, {2, 16, 0}, 6},
        {"int16.weight", DT_I16, 2, {2, 4, 0}, 7},
        {"uint16.weight", DT_U16, 2, {2, 4, 0}, 8},
        {"float16.weight", DT_F16, 2, {2, 4, 0}, 9},
        {"bfloat16.weight", DT_BF16, 2, {2, 4, 0}, 10},
        {"int32.weight", DT_I32, 2, {2, 2, 0}, 11},
        {"uint32.weight", DT_U32, 2, {2, 2, 0}, 12},
        {"float32.weight", DT_F32, 2, {2, 2, 0}, 13},
        {"complex64.weight", DT_C64, 2, {2, 1, 0}, 14},
        {"float64.weight", DT_F64, 2, {2, 1, 0}, 15},
        {"int64.weight", DT_I64, 2, {2, 1, 0}, 16},
        {"uint64.weight", DT_U64, 2, {2, 1, 0}, 17},
        {"scalar", DT_F32, 0, {0, 0, 0}, 0},
        {"empty", DT_F32, 3, {3, 0, 2}, -1},
        {"odd \"name\"\\\xc3\xa9\xe2\x80\xa8\n", DT_F32, 1, {2, 0, 0}, 0},
        {"a", DT_U8, 1, {1, 0, 0}, 7},
        {"B", DT_U8, 1, {1, 0, 0}, 9},
    };
    for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
        const TensorEntry *e = tensor_table_find(&t, (Str){want[k].name, strlen(want[k].name)});
        if (!e)
            fail_msg("no tensor '%s'", want[k].name);
        assert_int_equal(e->dtype, want[k].dtype);
        assert_int_equal(e->ndim, want[k].ndim);
        assert_memory_equal(e->dims, want[k].dims, (size_t)e->ndim * 8);
        assert_int_equal(e->file, 3);
        assert_ptr_equal(e->data, data + e->offset);
        if (want[k].first_byte >= 0)
            assert_int_equal(*(const uint8_t *)e->data, want[k].first_byte);
        else
            assert_int_equal(e->bytes, 0);
    }
    tensor_table_free(&t);
    mem_free(data);
}

/* Declared in reverse order, written in pieces and in another order: the layout must not care. */
static void writer_gives_the_bytes_of_the_reference_library(void **state)
{
    (void)state;
    char path[PATH_MAX];
    size_t size, got_size;
    uint8_t *data = load(REFERENCE, &size);
    TensorTable t = {0};
    Str meta = {NULL, 0};
    assert_int_equal(safetensors_read(&t, &meta, data, size, 0, NULL), ST_OK);
    SafetensorsWriter *w = NULL;
    assert_int_equal(safetensors_writer_create(&w, NULL), ST_OK);
    assert_int_equal(safetensors_writer_meta(w, "format", "pt", NULL), ST_OK);
    for (size_t k = t.count; k-- > 0;)
        assert_int_equal(safetensors_writer_declare(w, t.items[k].name, t.items[k].dtype, t.items[k].ndim,
                                                    t.items[k].dims, NULL), ST_OK);
    assert_int_equal(safetensors_writer_begin(w, in_folder(path, "ours.safetensors"), 0, NULL), ST_OK);
    for (size_t k = 0; k < t.count; k++) {
        const TensorEntry *e = &t.items[(k * 7) % t.count];
        const size_t half = e->bytes / 3;
        assert_int_equal(safetensors_writer_write(w, e->name, e->data, half, NULL), ST_OK);
        assert_int_equal(safetensors_writer_write(w, e->name, (const uint8_t *)e->data + half, e->bytes - half, NULL), ST_OK);
    }
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(safetensors_writer_finish(w, NULL), ST_OK);
    safetensors_writer_destroy(w);
    uint8_t *got = load(path, &got_size);
    assert_int_equal(got_size, size);
    assert_memory_equal(got, data, size);
    mem_free(got);
    tensor_table_free(&t);
    mem_free(data);
}

static void writer_refuses_what_was_not_declared_or_is_not_complete(void **state)
{
    (void)state;
    char path[PATH_MAX];
    Error err;
    const int64_t dims[1] = {2};
    const float x[3] = {1, 2, 3};
    SafetensorsWriter *w = NULL;
    assert_int_equal(safetensors_writer_create(&w, &err), ST_OK);
    assert_int_equal(safetensors_writer_declare(w, "x", DT_F32, 1, dims, &err), ST_OK);
    assert_int_equal(safetensors_writer_declare(w, "x", DT_F32, 1, dims, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "'x' appears twice"));
    assert_int_equal(safetensors_writer_declare(w, "q", DT_Q4_1, 1, dims, &err), ST_INVALID);
    assert_int_equal(safetensors_writer_declare(w, "__metadata__", DT_F32, 1, dims, &err), ST_INVALID);
    assert_int_equal(safetensors_writer_meta(w, "k", "v", &err), ST_OK);
    assert_int_equal(safetensors_writer_meta(w, "k", "v", &err), ST_INVALID);
    assert_int_equal(safetensors_writer_begin(w, in_folder(path, "never.safetensors"), 0, &err), ST_OK);
    assert_int_equal(safetensors_writer_write(w, "y", x, 4, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "'y' was not declared"));
    assert_int_equal(safetensors_writer_write(w, "x", x, 12, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "'x': 4 bytes more than its 8"));
    assert_int_equal(safetensors_writer_write(w, "x", x, 4, &err), ST_OK);
    assert_int_equal(safetensors_writer_finish(w, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "'x': 4 of its 8 bytes were written"));
    safetensors_writer_destroy(w);
    assert_int_not_equal(access(path, F_OK), 0);
    char tmp[PATH_MAX + 32];
    snprintf(tmp, sizeof tmp, "%s.tmp-%ld", path, (long)getpid());
    assert_int_not_equal(access(tmp, F_OK), 0);
}

static void an_empty_file_is_written_and_read(void **state)
{
    (void)state;
    char path[PATH_MAX];
    size_t size;
    assert_int_equal(safetensors_save(in_folder(path, "none.safetensors"), NULL, 0, NULL, NULL), ST_OK);
    uint8_t *data = load(path, &size);
    assert_int_equal(size, 16);
    assert_memory_equal(data + 8, "{}      ", 8);
    TensorTable t = {0};
    Str meta = {NULL, 0};
    assert_int_equal(safetensors_read(&t, &meta, data, size, 0, NULL), ST_OK);
    assert_int_equal(t.count, 0);
    assert_null(meta.ptr);
    mem_free(data);
}

/* ---- files that lie ---- */

/* A file with this header and so many bytes of data, exactly as long as that (so that a sanitizer sees
 * every step beyond it). */
static uint8_t *file_of(const char *header, size_t data_bytes, size_t *size)
{
    const size_t n = strlen(header);
    *size = 8 + n + data_bytes;
    uint8_t *f = mem_alloc(*size, 1);
    for (int k = 0; k < 8; k++)
        f[k] = (uint8_t)((uint64_t)n >> (8 * k));
    memcpy(f + 8, header, n);
    return f;
}

#define T(dtype, shape, begin, end) \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static const struct {
    const char *name, *header;
    size_t data_bytes;
    Status status;
    const char *msg;
} lies[] = {
    {"hole at the start", "{\"a\":" T("U8", "[2]", 1, 3) "}", 3, ST_CORRUPT,
     "tensor 'a' begins at byte 1 of the data, expected 0 (there is a hole behind 'the header')"},
    {"hole", "{\"a\":" T("U8", "[2]", 0, 2) ",\"b\":" T("U8", "[2]", 3, 5) "}", 5, ST_CORRUPT,
     "tensor 'b' begins at byte 3 of the data, expected 2 (there is a hole behind 'a')"},
    {"overlap", "{\"b\":" T("U8", "[2]", 1, 3) ",\"a\":" T("U8", "[2]", 0, 2) "}", 3, ST_CORRUPT,
     "tensor 'b' begins at byte 1 of the data, expected 2 (it overlaps 'a')"},
    {"same place", "{\"b\":" T("U8", "[2]", 0, 2) ",\"a\":" T("U8", "[2]", 0, 2) "}", 2, ST_CORRUPT, "overlaps"},
    {"bytes behind the last", "{\"a\":" T("U8", "[2]", 0, 2) "}", 7, ST_CORRUPT,
     "the last tensor 'a' ends at byte 2 of the data, the file has 7"},
    {"truncated", "{\"a\":" T("F32", "[2]", 0, 8) "}", 7, ST_CORRUPT,
     "tensor 'a': ends at byte 8 of the data, the file has 7"},
    {"backwards", "{\"a\":" T("U8", "[2]", 2, 0) "}", 2, ST_CORRUPT, "tensor 'a': begins at byte 2 of the data but ends at 0"},
    {"size against shape", "{\"a\":" T("F32", "[2,3]", 0, 20) "}", 20, ST_CORRUPT,
     "tensor 'a': has 20 bytes, but shape [2, 3] of F32 takes 24"},
    {"elements overflow", "{\"a\":" T("U8", "[4294967296,4294967296]", 0, 1) "}", 1, ST_CORRUPT, "63 bits"},
    {"bytes overflow", "{\"a\":" T("F64", "[4611686018427387904]", 0, 1) "}", 1, ST_CORRUPT, "64 bits"},
    {"odd number of nibbles", "{\"a\":" T("F4", "[3]", 0, 1) "}", 1, ST_CORRUPT, "does not fill blocks of 2"},
    {"negative dimension", "{\"a\":" T("U8", "[-1]", 0, 1) "}", 1, ST_CORRUPT, "expected a number of at least 0, found -1"},
    {"fractional dimension", "{\"a\":" T("U8", "[1.0]", 0, 1) "}", 1, ST_CORRUPT, "expected a whole number, found a number"},
    {"dimension beyond int64", "{\"a\":" T("U8", "[9223372036854775808]", 0, 1) "}", 1, ST_CORRUPT, "whole number"},
    {"too many dimensions", "{\"a\":" T("U8", "[1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1, ST_UNSUPPORTED, "at most 8 dimensions"},
    {"unknown dtype", "{\"a\":" T("F8_E4M3FNUZ", "[1]", 0, 1) "}", 1, ST_UNSUPPORTED, "tensor 'a': JSON byte 14: dtype 'F8_E4M3FNUZ'"},
    {"a type of another format", "{\"a\":" T("Q4_0", "[32]", 0, 18) "}", 18, ST_UNSUPPORTED, "dtype 'Q4_0'"},
    {"duplicate tensor", "{\"a\":" T("U8", "[1]", 0, 1) ",\"a\":" T("U8", "[1]", 1, 2) "}", 2, ST_CORRUPT, "tensor 'a' appears twice"},
    {"duplicate through an escape", "{\"a\":" T("U8", "[1]", 0, 1) ",\"\\u0061\":" T("U8", "[1]", 1, 2) "}", 2,
     ST_CORRUPT, "tensor 'a' appears twice"},
    {"duplicate field", "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, ST_CORRUPT, "expected one 'dtype'"},
    {"missing field", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, ST_CORRUPT, "tensor 'a': JSON byte 30: expected 'data_offsets'"},
    {"three offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, ST_CORRUPT, "expected the end of an array"},
    {"one offset", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, ST_CORRUPT, "expected a whole number"},
    {"not an object", "{\"a\":7}", 0, ST_CORRUPT, "tensor 'a': JSON byte 5: expected an object, found a whole number"},
    {"empty name", "{\"\":" T("U8", "[1]", 0, 1) "}", 1, ST_CORRUPT, "empty name"},
    {"zero byte in a name", "{\"a\\u0000b\":" T("U8", "[1]", 0, 1) "}", 1, ST_CORRUPT, "zero byte"},
    {"metadata with a number", "{\"__metadata__\":{\"a\":1}}", 0, ST_CORRUPT, "expected a string, found a whole number"},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, ST_CORRUPT, "expected one '__metadata__'"},
    {"text behind the object", "{} x", 0, ST_CORRUPT, "header at byte 8: JSON byte 3: expected the end"},
    {"not JSON", "{\"a\"", 0, ST_CORRUPT, "header at byte 8: JSON byte 4: expected ':'"},
    {"not an object at all", "[]", 0, ST_CORRUPT, "byte 8: expected '{' at the start of the header, found byte 0x5b"},
    {"space before the object", " {}", 0, ST_CORRUPT, "byte 8: expected '{'"},
    {"empty header", "", 0, ST_CORRUPT, "byte 8: expected '{'"},
};

static void files_that_lie_are_refused_by_name_and_place(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof lies / sizeof *lies; k++) {
        size_t size;
        uint8_t *f = file_of(lies[k].header, lies[k].data_bytes, &size);
        TensorTable t = {0};
        Str meta = {NULL, 0};
        Error err = {0};
        const Status st = safetensors_read(&t, &meta, f, size, 0, &err);
        if (st != lies[k].status || !strstr(err.msg, lies[k].msg))
            fail_msg("%s: status %d (expected %d), message '%s'", lies[k].name, st, lies[k].status, err.msg);
        tensor_table_free(&t);
        mem_free(f);
    }
}

static void odd_but_valid_headers_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data_bytes;
    } cases[] = {
        {"{\"b\":" T("U8", "[1]", 1, 2) ",\"a\":" T("U8", "[1]", 0, 1) "}", 2}, /* not in order */
        {"{\"a\":" T("U8", "[0]", 0, 0) ",\"b\":" T("U8", "[1]", 0, 1) ",\"c\":" T("U8", "[0]", 1, 1) "}", 1},
        {"{ \"a\" : {\"data_offsets\":[0,4],\"shape\":[],\"dtype\":\"F32\",\"more\":{\"x\":[1]}} } \n\t ", 4},
        {"{\"__metadata__\":null}", 0},
        {"{\"a\":" T("F4", "[6]", 0, 3) "}", 3},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        size_t size;
        uint8_t *f = file_of(cases[k].header, cases[k].data_bytes, &size);
        TensorTable t = {0};
        Str meta = {NULL, 0};
        Error err = {0};
        if (safetensors_read(&t, &meta, f, size, 0, &err) != ST_OK)
            fail_msg("%s: %s", cases[k].header, err.msg);
        tensor_table_free(&t);
        mem_free(f);
    }
}

static void header_lengths_are_checked_before_use(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {3, 100, 100000001, UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63};
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
        size_t size;
        uint8_t *f = file_of("{}", 0, &size);
        memcpy(f, &lengths[k], 8);
        TensorTable t = {0};
        Str meta = {NULL, 0};
        Error err = {0};
        assert_int_equal(safetensors_read(&t, &meta, f, size, 0, &err), ST_CORRUPT);
        assert_non_null(strstr(err.msg, "expected at most 2"));
        for (size_t n = 0; n < 8; n++)
            assert_int_equal(safetensors_read(&t, &meta, f, n, 0, &err), ST_CORRUPT);
        mem_free(f);
    }
}

/* Every prefix of a real file, and every byte of its header changed: an error or not, but no harm. */
static void damaged_files_do_no_harm(void **state)
{
    (void)state;
    size_t size;
    uint8_t *data = load(REFERENCE, &size);
    for (size_t n = 0; n < size; n++) {
        uint8_t *cut = mem_alloc(n, 1);
        memcpy(cut, data, n);
        TensorTable t = {0};
        Str meta = {NULL, 0};
        assert_int_equal(safetensors_read(&t, &meta, cut, n, 0, NULL), ST_CORRUPT);
        tensor_table_free(&t);
        mem_free(cut);
    }
    static const uint8_t masks[] = {0x01, 0x20, 0x80, 0xff};
    uint8_t *copy = mem_alloc(size, 1);
    for (size_t n = 0; n < 4 * size; n++) {
        memcpy(copy, data, size);
        copy[n / 4] ^= masks[n % 4];
        TensorTable t = {0};
        Str meta = {NULL, 0};
        if (safetensors_read(&t, &meta, copy, size, 0, NULL) == ST_OK)
            for (size_t k = 0; k < t.count; k++)
                assert_true(t.items[k].offset + t.items[k].bytes <= size);
        tensor_table_free(&t);
    }
    mem_free(copy);
    mem_free(data);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    size_t size;
    uint8_t *data = load(REFERENCE, &size);
    char path[PATH_MAX];
    in_folder(path, "alloc.safetensors");
    const SafetensorsItem items[2] = {{"x", DT_U8, 1, {3}, "abc"}, {"y", DT_F32, 1, {1}, "abcd"}};
    static const char *const meta_in[] = {"format", "pt", NULL};
    int failures = 0;
    for (int n = 1;; n++) {
        TensorTable t = {0};
        Str meta = {NULL, 0};
        mem_fail_at(n);
        Status st = safetensors_read(&t, &meta, data, size, 0, NULL);
        if (st == ST_OK)
            st = safetensors_save(path, items, 2, meta_in, NULL);
        mem_fail_at(0);
        tensor_table_free(&t);
        if (st == ST_OK)
            break;
        assert_int_equal(st, ST_NOMEM);
        assert_int_not_equal(access(path, F_OK), 0);
        failures++;
    }
    assert_true(failures > 10);
    mem_free(data);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"ours.safetensors", "none.safetensors", "alloc.safetensors"};
    char path[PATH_MAX];
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        unlink(in_folder(path, names[k]));
    return rmdir(folder); /* fails when something was left behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_finds_what_the_reference_library_wrote),
        cmocka_unit_test(writer_gives_the_bytes_of_the_reference_library),
        cmocka_unit_test(writer_refuses_what_was_not_declared_or_is_not_complete),
        cmocka_unit_test(an_empty_file_is_written_and_read),
        cmocka_unit_test(files_that_lie_are_refused_by_name_and_place),
        cmocka_unit_test(odd_but_valid_headers_are_read),
        cmocka_unit_test(header_lengths_are_checked_before_use),
        cmocka_unit_test(damaged_files_do_no_harm),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
