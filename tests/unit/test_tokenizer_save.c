/* A tokenizer written as the files of a directory. What the reference library makes of such files is checked by
 * oracle/check_saved_tokenizers.py, which has this program write them: with PLUMB_SAVED_FROM (a GGUF file) and
 * PLUMB_SAVED_TO (a directory that exists) in the environment it does that and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/json.h"
#include "formats/tensordir.h"
#include "tokenizer/tokenizer_save.h"
#include "tokenizer/train.h"
#include "world.h"

#include <jansson.h>
#include <stdio.h>

static const char jinja[] = "{% for m in messages %}<|im_start|>{{ m.content }}\n\"\u2026\"{% endfor %}";

/* A trained tokenizer with two special tokens. */
static Tokenizer *small(void)
{
    static const Str special[] = {{"<|im_start|>", 12}, {"<|im_end|>", 10}};
    static const Str text = {"to be or not to be, that is the question: to be or not", 54};
    const TrainParams params = {.vocab_size = 270, .special = special, .special_count = 2, .threads = 1};
    ByteBuf json = {0};
    Tokenizer *t = NULL;
    assert_int_equal(tokenizer_train(&text, 1, &params, &json, NULL), ST_OK);
    assert_int_equal(tokenizer_from_json(&t, json.data, json.count, NULL), ST_OK);
    bytebuf_free(&json);
    return t;
}

static const TokenizerExtras extras = {.chat_template = {jinja, sizeof jinja - 1}, .context_max = 2048, .pad = 1};

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void the_configuration_names_template_and_special_tokens(void **state)
{
    (void)state;
    Tokenizer *t = small();
    ByteBuf out = {0};
    assert_int_equal(tokenizer_write_config(t, &extras, &out, NULL), ST_OK);
    json_t *config = json_loadb((const char *)out.data, out.count, 0, NULL);
    assert_non_null(config);
    assert_string_equal(text_of(config, "chat_template"), jinja);
    assert_string_equal(text_of(config, "pad_token"), "<|im_end|>");
    assert_true(json_is_null(json_object_get(config, "bos_token"))); /* the trainer names none */
    assert_int_equal(json_integer_value(json_object_get(config, "model_max_length")), 2048);
    const json_t *others = json_object_get(config, "additional_special_tokens");
    assert_int_equal(json_array_size(others), 1);
    assert_string_equal(json_string_value(json_array_get(others, 0)), "<|im_start|>");
    json_decref(config);
    bytebuf_free(&out);
    tokenizer_destroy(t);
}

static void expect_file(World *w, const char *path, const ByteBuf *text)
{
    uint8_t *x;
    size_t n;
    assert_int_equal(files_read(&w->files, &x, &n, path, 1 << 20, NULL), ST_OK);
    assert_int_equal(n, text->count);
    assert_memory_equal(x, text->data, n);
    mem_free(x);
}

static void both_files_are_saved(void **state)
{
    (void)state;
    Tokenizer *t = small();
    World *w = world_create(1);
    const Files *fs = &w->files;
    ByteBuf tokenizer = {0}, config = {0};
    assert_int_equal(fs->make_dir(fs->self, "a", NULL), ST_OK);
    assert_int_equal(tokenizer_save(t, &extras, fs, "a", NULL), ST_OK);
    assert_int_equal(tokenizer_write(t, &tokenizer, NULL), ST_OK);
    assert_int_equal(tokenizer_write_config(t, &extras, &config, NULL), ST_OK);
    expect_file(w, "a/tokenizer.json", &tokenizer);
    expect_file(w, "a/tokenizer_config.json", &config);
    bytebuf_free(&tokenizer);
    bytebuf_free(&config);
    world_destroy(w);
    tokenizer_destroy(t);
}

static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    Tokenizer *t = small();
    World *w = world_create(1);
    const Files *fs = &w->files;
    assert_int_equal(fs->make_dir(fs->self, "a", NULL), ST_OK);
    w->capacity = 3000;
    assert_int_equal(tokenizer_save(t, &extras, fs, "a", NULL), ST_NOSPACE);
    world_destroy(w);
    tokenizer_destroy(t);
}

static void every_failing_allocation_is_survived(void **state)
{
    (void)state;
    Tokenizer *t = small();
    Status st = ST_NOMEM;
    for (int64_t fail = 1; st != ST_OK; fail++) {
        ByteBuf out = {0};
        mem_fail_at(fail);
        st = tokenizer_write(t, &out, NULL);
        if (st == ST_OK)
            st = tokenizer_write_config(t, &extras, &out, NULL);
        mem_fail_at(0);
        assert_true(st == ST_OK || st == ST_NOMEM);
        bytebuf_free(&out);
    }
    tokenizer_destroy(t);
}

/* For the oracle: the tokenizer of a GGUF file. */
static int write_files(const char *from, const char *to)
{
    Error err = {0};
    TensorDir *dir = NULL;
    Tokenizer *t = NULL;
    Status st = tensordir_open(&dir, from, &err);
    if (st == ST_OK)
        st = tokenizer_from_kv(&t, tensordir_kv(dir), &err);
    if (st == ST_OK) {
        const Kv *kv = tensordir_kv(dir);
        const TokenizerExtras x = {.chat_template = kv_str(kv, "tokenizer.chat_template"),
                                   .pad = (int32_t)kv_int(kv, "tokenizer.ggml.padding_token_id", -1)};
        st = tokenizer_save(t, &x, files_real(), to, &err);
    }
    if (st != ST_OK)
        fprintf(stderr, "%s\n", err.msg);
    tokenizer_destroy(t);
    tensordir_close(dir);
    return st == ST_OK ? 0 : 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_configuration_names_template_and_special_tokens),
        cmocka_unit_test(both_files_are_saved),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    const char *from = getenv("PLUMB_SAVED_FROM"), *to = getenv("PLUMB_SAVED_TO");
    return from && to ? write_files(from, to) : cmocka_run_group_tests(tests, NULL, NULL);
}
