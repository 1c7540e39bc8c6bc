/* The pull reader and the writer: what is accepted, what is refused and where, and that both agree
 * with jansson and strtod. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/json.h"
#include "base/json_write.h"
#include "base/mem.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static Status walk(const char *text, size_t n, Error *err)
{
    JsonReader r;
    json_init(&r, text, n);
    Status st;
    do
        st = json_next(&r, err);
    while (st == ST_OK && r.token != JSON_TOK_END);
    json_deinit(&r);
    return st;
}

static void reader_accepts_valid_texts(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0",     "-0",       "1",     "-1",          "1.5e-7", "1E+2",   "9223372036854775807",
        "true",  "false",    "null",  "\"\"",        "\"x\"",  "[]",     " [ ] ",
        "{}",    "[[],{}]",  "[1,2]", "{\"a\":1}",   "{\"a\" : {\"b\":[null]} , \"c\":2}\n",
        "\"\\u0000\"",       "\"\\ud83d\\ude00\"",   "\"\xf0\x9f\x98\x80\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",            "{\"a\":1,\"a\":2}", "1e-400",
    };
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        Error err = {0};
        if (walk(texts[k], strlen(texts[k]), &err) != ST_OK)
            fail_msg("%s: %s", texts[k], err.msg);
    }
}

static void reader_names_the_byte_of_what_it_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *msg;
    } cases[] = {
        {"", "byte 0: expected a value, found the end of the text"},
        {" x", "byte 1: expected a value, found 'x'"},
        {"tru", "byte 0: expected a value, found 't'"},
        {"[1 2]", "byte 3: expected ',' or ']', found '2'"},
        {"[1,]", "byte 3: expected a value, found ']'"},
        {"[1", "byte 2: expected ',' or ']', found the end of the text"},
        {"[", "byte 1: expected a value or ']', found the end of the text"},
        {"]", "byte 0: expected a value, found ']'"},
        {"[}", "byte 1: expected a value or ']', found '}'"},
        {"{\"a\":1]", "byte 6: expected ',' or '}', found ']'"},
        {"{\"a\":1,}", "byte 7: expected a key, found '}'"},
        {"{\"a\" 1}", "byte 5: expected ':' behind a key, found '1'"},
        {"{a:1}", "byte 1: expected a key or '}', found 'a'"},
        {"{\"a\":}", "byte 5: expected a value, found '}'"},
        {"1 2", "byte 2: expected the end of the text, found '2'"},
        {"01", "byte 1: expected no digit behind a leading zero, found '1'"},
        {"-", "byte 1: expected a digit, found the end of the text"},
        {"+1", "byte 0: expected a value, found '+'"},
        {"1.", "byte 2: expected a digit behind the decimal point, found the end of the text"},
        {".5", "byte 0: expected a value, found '.'"},
        {"1e", "byte 2: expected a digit of the exponent, found the end of the text"},
        {"1e400", "byte 0: expected a number within double, found a larger one"},
        {"NaN", "byte 0: expected a value, found 'N'"},
        {"\"abc", "byte 4: expected '\"' at the end of a string, found the end of the text"},
        {"\"a\nb\"", "byte 2: expected an escape for a control character, found byte 0x0a"},
        {"\"\\x\"", "byte 2: expected an escape (one of \"\\/bfnrtu), found 'x'"},
        {"\"\\u12g4\"", "byte 5: expected a hexadecimal digit, found 'g'"},
        {"\"\\ud83dx\"", "byte 1: expected a surrogate pair, found a lone \\ud83d"},
        {"\"\\ude00\"", "byte 1: expected a surrogate pair, found a lone \\ude00"},
        {"\"\\ud83d\\u0041\"", "byte 1: expected a surrogate pair, found a lone \\ud83d"},
        {"\"a\xff\"", "byte 2: expected valid UTF-8, found byte 0xff"},
        {"\"\xc0\x80\"", "byte 1: expected valid UTF-8, found byte 0xc0"},
        {"\"\xed\xa0\x80\"", "byte 1: expected valid UTF-8, found byte 0xed"},
        {"\"\xf4\x90\x80\x80\"", "byte 1: expected valid UTF-8, found byte 0xf4"},
        {"\"12345678\xe2\x82\"", "byte 9: expected valid UTF-8, found byte 0xe2"},
        {"\xef\xbb\xbf{}", "byte 0: expected a value, found byte 0xef"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        Error err = {0};
        const Status st = walk(cases[k].text, strlen(cases[k].text), &err);
        if (st != ST_CORRUPT || !strstr(err.msg, cases[k].msg))
            fail_msg("%s: status %d, message '%s'", cases[k].text, st, err.msg);
    }
}

static void reader_limits_the_depth(void **state)
{
    (void)state;
    char text[2 * JSON_DEPTH_MAX + 3];
    Error err = {0};
    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    assert_int_equal(walk(text, 2 * JSON_DEPTH_MAX, &err), ST_OK);
    memset(text, '[', sizeof text);
    assert_int_equal(walk(text, sizeof text, &err), ST_CORRUPT);
    assert_non_null(strstr(err.msg, "byte 128: expected at most 128 nested"));
}

static json_t *tree(JsonReader *r);

static json_t *object_tree(JsonReader *r)
{
    json_t *o = json_object();
    for (;;) {
        assert_int_equal(json_next(r, NULL), ST_OK);
        if (r->token == JSON_TOK_OBJECT_END)
            return o;
        assert_int_equal(r->token, JSON_TOK_KEY);
        char *key = mem_strndup(r->str.ptr, r->str.len);
        const size_t n = r->str.len;
        assert_int_equal(json_next(r, NULL), ST_OK);
        json_object_setn_new(o, key, n, tree(r));
        mem_free(key);
    }
}

static json_t *array_tree(JsonReader *r)
{
    json_t *a = json_array();
    for (;;) {
        assert_int_equal(json_next(r, NULL), ST_OK);
        if (r->token == JSON_TOK_ARRAY_END)
            return a;
        json_array_append_new(a, tree(r));
    }
}

/* The value that begins with the current token, as a jansson tree. */
static json_t *tree(JsonReader *r)
{
    switch (r->token) {
    case JSON_TOK_OBJECT_BEGIN: return object_tree(r);
    case JSON_TOK_ARRAY_BEGIN: return array_tree(r);
    case JSON_TOK_STRING: return json_stringn(r->str.ptr, r->str.len);
    case JSON_TOK_INT: return json_integer(r->i);
    case JSON_TOK_DOUBLE: return json_real(r->f);
    case JSON_TOK_TRUE: return json_true();
    case JSON_TOK_FALSE: return json_false();
    case JSON_TOK_NULL: return json_null();
    default: fail_msg("unexpected token %d", r->token); return NULL;
    }
}

static void same_as_jansson(const char *text)
{
    json_error_t why;
    json_t *want = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    assert_non_null(want);
    JsonReader r;
    json_init(&r, text, strlen(text));
    assert_int_equal(json_next(&r, NULL), ST_OK);
    json_t *got = tree(&r);
    assert_int_equal(json_next(&r, NULL), ST_OK);
    assert_int_equal(r.token, JSON_TOK_END);
    if (!json_equal(got, want))
        fail_msg("differs from jansson on %s", text);
    json_decref(got);
    json_decref(want);
    json_deinit(&r);
}

static void reader_builds_the_tree_that_jansson_builds(void **state)
{
    (void)state;
    same_as_jansson("[1, -1, 0, -0, 1.5, -2.5e10, 9223372036854775807, -9223372036854775808, 1e3, 0.1]");
    same_as_jansson("{\"a\": {\"b\": [true, false, null, {}, []]}, \"\": \"\", \"\\u00e9\\n\": \"\\ud83d\\ude00x\"}");
    same_as_jansson("\"plain text longer than eight bytes \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 then more plain text\"");
    same_as_jansson("\"\\u0000a\\u0001\\\\\\\"\\/ \\u007f\\uffff\\ud800\\udc00\"");
}

static double read_double(const char *text)
{
    JsonReader r;
    json_init(&r, text, strlen(text));
    assert_int_equal(json_next(&r, NULL), ST_OK);
    const double f = r.f;
    json_deinit(&r);
    return f;
}

static void reader_rounds_every_number_to_the_nearest_double(void **state)
{
    (void)state;
    static const char *const hard[] = {
        "2.2250738585072011e-308", "4.9406564584124654e-324", "2.4703282292062327e-324",
        "2.4703282292062328e-324", "1.7976931348623157e308", "9007199254740993", "9007199254740992.5",
        "9223372036854775808", "-9223372036854775809", "18446744073709551616",
        "1000000000000000019884624838656", "0.000000000000000000000000000001e30", "1e-1000000000000000",
        "0e999999999999999999", "8.98846567431158e307",
    };
    for (size_t k = 0; k < sizeof hard / sizeof *hard; k++)
        if (read_double(hard[k]) != strtod(hard[k], NULL))
            fail_msg("%s read as %.17g", hard[k], read_double(hard[k]));
    srand(7);
    for (int k = 0; k < 20000; k++) {
        char text[80];
        int n = 0;
        for (const int digits = 1 + rand() % 25; n < digits; n++)
            text[n] = (char)('0' + (n == 0 ? 1 + rand() % 9 : rand() % 10));
        snprintf(text + n, sizeof text - (size_t)n, ".%d%de%d", rand(), rand(), rand() % 500 - 300);
        const double want = strtod(text, NULL);
        if (isfinite(want) && read_double(text) != want)
            fail_msg("%s read as %.17g, not %.17g", text, read_double(text), want);
    }
}

/* Half a last place above an even double: one digit, 1,984 places behind the point,
 * decides the rounding. */
static void reader_counts_digits_beyond_its_buffer(void **state)
{
    (void)state;
    char text[2100];
    memset(text, '0', sizeof text);
    memcpy(text, "9007199254740993.", 17);
    text[2000] = '1';
    text[2001] = 0;
    assert_true(read_double(text) == 9007199254740994.0);
    text[2000] = '0';
    assert_true(read_double(text) == 9007199254740992.0);
    memset(text, '0', 1500);
    text[0] = '1';
    memcpy(text + 1500, "e-1499", 7);
    assert_true(read_double(text) == 1.0);
}

static void reader_keeps_strings_without_escapes_in_the_text(void **state)
{
    (void)state;
    static const char text[] = "[\"plain\", \"a\\tb\", \"\"]";
    JsonReader r;
    json_init(&r, text, sizeof text - 1);
    assert_int_equal(json_next(&r, NULL), ST_OK);
    assert_int_equal(json_expect(&r, JSON_TOK_STRING, NULL), ST_OK);
    assert_true(r.in_text);
    assert_ptr_equal(r.str.ptr, text + 2);
    assert_int_equal(r.str.len, 5);
    assert_int_equal(json_expect(&r, JSON_TOK_STRING, NULL), ST_OK);
    assert_false(r.in_text);
    assert_true(str_eq(r.str, "a\tb"));
    assert_int_equal(json_expect(&r, JSON_TOK_STRING, NULL), ST_OK);
    assert_int_equal(r.str.len, 0);
    Error err = {0};
    assert_int_equal(json_expect(&r, JSON_TOK_INT, &err), ST_CORRUPT);
    assert_string_equal(err.msg, "JSON byte 20: expected a whole number, found the end of an array");
    json_deinit(&r);
}

static void skip_frames_the_value_it_passes(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": [1, {\"x\": []}] , \"b\": 7, \"c\": {}}";
    static const char *const values[] = {"[1, {\"x\": []}]", "7", "{}"};
    JsonReader r;
    json_init(&r, text, sizeof text - 1);
    assert_int_equal(json_expect(&r, JSON_TOK_OBJECT_BEGIN, NULL), ST_OK);
    for (int k = 0; k < 3; k++) {
        assert_int_equal(json_expect(&r, JSON_TOK_KEY, NULL), ST_OK);
        assert_int_equal(json_skip(&r, NULL), ST_OK);
        assert_int_equal(r.end - r.offset, strlen(values[k]));
        assert_memory_equal(text + r.offset, values[k], strlen(values[k]));
    }
    assert_int_equal(json_expect(&r, JSON_TOK_OBJECT_END, NULL), ST_OK);
    assert_int_equal(json_expect(&r, JSON_TOK_END, NULL), ST_OK);
    json_deinit(&r);
}

static void reader_reports_a_failed_allocation(void **state)
{
    (void)state;
    Error err = {0};
    mem_fail_at(1);
    const Status st = walk("\"\\n\"", 4, &err);
    mem_fail_at(0);
    assert_int_equal(st, ST_NOMEM);
    assert_non_null(strstr(err.msg, "no memory"));
}

/* A header of the size that the largest checkpoints have. The bound is ten times what it takes. */
static void reader_walks_16_megabytes_fast(void **state)
{
    (void)state;
    JsonWriter w;
    json_write_init(&w, 0, (size_t)1 << 30);
    json_write_object_begin(&w);
    for (int k = 0; w.len < 16000000; k++) {
        char name[80];
        snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.gate_proj.weight", k % 61, k);
        json_write_key(&w, name);
        json_write_object_begin(&w);
        json_write_key(&w, "dtype");
        json_write_string(&w, "F8_E4M3");
        json_write_key(&w, "shape");
        json_write_array_begin(&w);
        json_write_int(&w, 2048);
        json_write_int(&w, 7168);
        json_write_array_end(&w);
        json_write_key(&w, "data_offsets");
        json_write_array_begin(&w);
        json_write_int(&w, (int64_t)k * 14680064);
        json_write_int(&w, (int64_t)(k + 1) * 14680064);
        json_write_array_end(&w);
        json_write_object_end(&w);
    }
    json_write_object_end(&w);
    assert_int_equal(json_write_finish(&w, NULL), ST_OK);
    struct timespec a, b;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    const int64_t allocs = mem_alloc_count();
    assert_int_equal(walk(w.buf, w.len, NULL), ST_OK);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    assert_int_equal(mem_alloc_count() - allocs, 0);
    const double ms = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    print_message("%zu bytes in %.1f ms\n", w.len, ms);
    assert_true(ms < 2000);
    json_write_deinit(&w);
}

static void write_sample(JsonWriter *w)
{
    json_write_object_begin(w);
    json_write_key(w, "text");
    json_write_string_n(w, "a\"\\\n\x01\x7f\xc3\xa9\xff", 9);
    json_write_key(w, "numbers");
    json_write_array_begin(w);
    json_write_int(w, INT64_MIN);
    json_write_double(w, 0.1);
    json_write_double(w, 3);
    json_write_double(w, 1e300);
    json_write_float(w, 0.1f);
    json_write_double(w, (double)NAN);
    json_write_array_end(w);
    json_write_key(w, "empty");
    json_write_array_begin(w);
    json_write_array_end(w);
    json_write_key(w, "inner");
    json_write_object_begin(w);
    json_write_key(w, "yes");
    json_write_bool(w, true);
    json_write_key(w, "none");
    json_write_null(w);
    json_write_object_end(w);
    json_write_object_end(w);
}

static void writer_writes_one_line_or_indents(void **state)
{
    (void)state;
    JsonWriter w;
    json_write_init(&w, 0, 1000);
    write_sample(&w);
    assert_int_equal(json_write_finish(&w, NULL), ST_OK);
    assert_string_equal(w.buf, "{\"text\":\"a\\\"\\\\\\n\\u0001\x7f\xc3\xa9\xef\xbf\xbd\","
                               "\"numbers\":[-9223372036854775808,0.1,3.0,1e+300,0.1,null],"
                               "\"empty\":[],\"inner\":{\"yes\":true,\"none\":null}}");
    json_write_deinit(&w);
    json_write_init(&w, 2, 1000);
    write_sample(&w);
    assert_int_equal(json_write_finish(&w, NULL), ST_OK);
    assert_non_null(strstr(w.buf, ",\n  \"empty\": [],\n  \"inner\": {\n    \"yes\": true,\n    \"none\": null\n  }\n}"));
    json_error_t why;
    json_t *tree_of_it = json_loads(w.buf, 0, &why);
    assert_non_null(tree_of_it);
    json_decref(tree_of_it);
    json_write_deinit(&w);
}

static void writer_keeps_its_limit_and_reports_lack_of_memory(void **state)
{
    (void)state;
    JsonWriter w;
    json_write_init(&w, 0, 100);
    write_sample(&w);
    Error err = {0};
    assert_int_equal(json_write_finish(&w, &err), ST_FULL);
    assert_non_null(strstr(err.msg, "100 bytes"));
    json_write_deinit(&w);
    mem_fail_at(2);
    json_write_init(&w, 0, 1000);
    write_sample(&w);
    assert_int_equal(json_write_finish(&w, &err), ST_NOMEM);
    mem_fail_at(0);
    json_write_deinit(&w);
}

/* Whatever depth the reader takes, objects and arrays in turn. */
static void writer_goes_as_deep_as_the_reader(void **state)
{
    (void)state;
    JsonWriter w;
    Error err = {0};
    json_write_init(&w, 1, 1 << 20);
    for (int k = 0; k < JSON_DEPTH_MAX / 2; k++) {
        json_write_object_begin(&w);
        json_write_key(&w, "k");
        json_write_array_begin(&w);
    }
    for (int k = 0; k < JSON_DEPTH_MAX / 2; k++) {
        json_write_array_end(&w);
        json_write_object_end(&w);
    }
    assert_int_equal(json_write_finish(&w, NULL), ST_OK);
    if (walk(w.buf, w.len, &err) != ST_OK)
        fail_msg("%s", err.msg);
    json_write_deinit(&w);
}

static void written_numbers_read_back_the_same(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252u;
    for (int k = 0; k < 20000; k++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        double d;
        float f;
        memcpy(&d, &x, sizeof d);
        memcpy(&f, &x, sizeof f);
        if (!isfinite(d) || !isfinite(f))
            continue;
        JsonWriter w;
        json_write_init(&w, 0, 1000);
        json_write_double(&w, d);
        assert_int_equal(json_write_finish(&w, NULL), ST_OK);
        assert_true(read_double(w.buf) == d);
        json_write_deinit(&w);
        json_write_init(&w, 0, 1000);
        json_write_float(&w, f);
        assert_int_equal(json_write_finish(&w, NULL), ST_OK);
        assert_true((float)read_double(w.buf) == f);
        json_write_deinit(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_accepts_valid_texts),
        cmocka_unit_test(reader_names_the_byte_of_what_it_refuses),
        cmocka_unit_test(reader_limits_the_depth),
        cmocka_unit_test(reader_builds_the_tree_that_jansson_builds),
        cmocka_unit_test(reader_rounds_every_number_to_the_nearest_double),
        cmocka_unit_test(reader_counts_digits_beyond_its_buffer),
        cmocka_unit_test(reader_keeps_strings_without_escapes_in_the_text),
        cmocka_unit_test(skip_frames_the_value_it_passes),
        cmocka_unit_test(reader_reports_a_failed_allocation),
        cmocka_unit_test(reader_walks_16_megabytes_fast),
        cmocka_unit_test(writer_writes_one_line_or_indents),
        cmocka_unit_test(writer_keeps_its_limit_and_reports_lack_of_memory),
        cmocka_unit_test(writer_goes_as_deep_as_the_reader),
        cmocka_unit_test(written_numbers_read_back_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
