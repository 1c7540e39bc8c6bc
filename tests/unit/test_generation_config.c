/* What generation_config.json recommends, and that what we write says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/generation_config.h"
#include "formats/json_kv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VOCAB 100

static char dir[] = "/tmp/plumb-generation-XXXXXX";
static char file[sizeof dir + sizeof "/" GENERATION_CONFIG];

static void put(const char *text)
{
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static GenerationConfig read_text(const char *text)
{
    GenerationConfig g;
    Error err = {0};
    put(text);
    const Status st = generation_config_read(&g, dir, NULL, VOCAB, &err);
    if (st != ST_OK)
        fail_msg("%s", err.msg);
    return g;
}

static void without_a_file_our_defaults_hold(void **state)
{
    (void)state;
    GenerationConfig g;
    const SamplerParams ours = sampler_defaults();
    unlink(file);
    assert_int_equal(generation_config_read(&g, dir, NULL, VOCAB, NULL), ST_OK);
    assert_memory_equal(&g.sampler, &ours, sizeof ours);
    assert_int_equal(g.stop_count, 0);
}

/* The file of Qwen2.5-Coder-0.5B-Instruct, its ids made small. */
static void what_is_there_takes_the_place_of_ours(void **state)
{
    (void)state;
    const GenerationConfig g = read_text("{\"bos_token_id\": 43, \"pad_token_id\": 43, \"do_sample\": true,"
                                         " \"eos_token_id\": [45, 43], \"repetition_penalty\": 1.1, \"temperature\": 0.7,"
                                         " \"top_p\": 0.8, \"top_k\": 20, \"transformers_version\": \"4.44.0\"}");
    assert_true(g.sampler.temperature == 0.7);
    assert_true(g.sampler.top_p == 0.8);
    assert_int_equal(g.sampler.top_k, 20);
    assert_true(g.sampler.min_p == sampler_defaults().min_p);
    assert_true(g.sampler.repetition_penalty == 1.1);
    assert_int_equal(g.sampler.penalty_last, -1);
    assert_int_equal(g.stop_count, 2);
    assert_int_equal(g.stops[0], 45);
    assert_int_equal(g.stops[1], 43);
}

static void no_sampling_is_temperature_0_and_null_is_absent(void **state)
{
    (void)state;
    assert_true(read_text("{\"do_sample\": false, \"temperature\": 0.6}").sampler.temperature == 0);
    assert_true(read_text("{\"do_sample\": true}").sampler.temperature == sampler_defaults().temperature);
    assert_true(read_text("{\"do_sample\": null, \"temperature\": null}").sampler.temperature ==
                sampler_defaults().temperature);
}

static void both_files_name_ids_that_end_an_answer(void **state)
{
    (void)state;
    static const char config[] = "{\"eos_token_id\": [7, 99, 100]}";
    GenerationConfig g;
    JsonKv *json = NULL;
    assert_int_equal(json_kv_parse(&json, config, strlen(config), NULL), ST_OK);
    put("{\"eos_token_id\": [99, 8]}");
    assert_int_equal(generation_config_read(&g, dir, json_kv_view(json), VOCAB, NULL), ST_OK);
    assert_int_equal(g.stop_count, 3);
    assert_int_equal(g.stops[0], 7);
    assert_int_equal(g.stops[1], 99);
    assert_int_equal(g.stops[2], 8);
    json_kv_destroy(json);
}

static void the_file_is_found_beside_single_weights(void **state)
{
    (void)state;
    char weights[sizeof dir + 32];
    GenerationConfig g;
    put("{\"temperature\": 0.25}");
    snprintf(weights, sizeof weights, "%s/model.safetensors", dir);
    assert_int_equal(generation_config_read(&g, weights, NULL, VOCAB, NULL), ST_OK);
    assert_true(g.sampler.temperature == 0.25);
}

static void a_wrong_value_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"{\"temperature\": \"hot\"}", "temperature"}, {"{\"top_k\": 2.5}", "top_k"},
        {"{\"do_sample\": 1}", "do_sample"},           {"{\"top_p\": 1.5}", "1.5"},
        {"{\"temperature\": -1}", "-1"},               {"{\"temperature\": 0.5", "byte"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        GenerationConfig g;
        Error err = {0};
        put(cases[i].text);
        assert_int_equal(generation_config_read(&g, dir, NULL, VOCAB, &err), ST_CORRUPT);
        assert_non_null(strstr(err.msg, cases[i].expected));
        assert_non_null(strstr(err.msg, GENERATION_CONFIG));
    }
}

static void what_is_written_says_the_temperature(void **state)
{
    (void)state;
    for (int warm = 0; warm < 2; warm++) {
        ByteBuf text = {0};
        assert_int_equal(generation_config_write(warm * 0.6, 3, 4, -1, &text, NULL), ST_OK);
        assert_int_equal(bytebuf_append(&text, "", 1), ST_OK);
        const GenerationConfig g = read_text((const char *)text.data);
        assert_true(g.sampler.temperature == warm * 0.6);
        assert_int_equal(g.stop_count, 1);
        assert_int_equal(g.stops[0], 4);
        bytebuf_free(&text);
    }
}

static int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return 1;
    snprintf(file, sizeof file, "%s/" GENERATION_CONFIG, dir);
    return 0;
}

static int drop_dir(void **state)
{
    (void)state;
    unlink(file);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_our_defaults_hold),
        cmocka_unit_test(what_is_there_takes_the_place_of_ours),
        cmocka_unit_test(no_sampling_is_temperature_0_and_null_is_absent),
        cmocka_unit_test(both_files_name_ids_that_end_an_answer),
        cmocka_unit_test(the_file_is_found_beside_single_weights),
        cmocka_unit_test(a_wrong_value_is_named),
        cmocka_unit_test(what_is_written_says_the_temperature),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
