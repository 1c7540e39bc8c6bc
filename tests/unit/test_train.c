/* Training: the reference trainer's merges, for any number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mapfile.h"
#include "base/mem.h"
#include "hostile.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/train.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const Str special[] = {{"<|endoftext|>", 13}, {"<think>", 7}};

static ByteBuf train(Str text, int64_t vocab_size, int threads)
{
    Error err = {0};
    ByteBuf out = {0};
    const TrainParams params = {.vocab_size = vocab_size, .special = special, .special_count = 2, .threads = threads};
    if (tokenizer_train(&text, 1, &params, &out, &err) != ST_OK)
        fail_msg("%s", err.msg);
    return out;
}

/* What oracle/tokenizer_vectors.py trains on: hostile texts between line feeds. */
static ByteBuf hostile_corpus(int count)
{
    ByteBuf out = {0};
    char text[HOSTILE_BYTES_MAX];
    for (int i = 0; i < count; i++) {
        const size_t n = hostile_text(text, 20000000 + (uint64_t)i);
        assert_int_equal(bytebuf_append(&out, "\n", i > 0), ST_OK);
        assert_int_equal(bytebuf_append(&out, text, n), ST_OK);
    }
    return out;
}

static void expect_merges(const char *name, Str text)
{
    json_t *vectors = json_load_file("tests/vectors/tokenizer_cases.json", 0, NULL);
    const json_t *expected = json_object_get(json_object_get(vectors, "trained"), name), *merge;
    const json_int_t size = json_integer_value(json_object_get(expected, "vocab_size"));
    ByteBuf out = train(text, size, 2);
    json_t *doc = json_loadb((const char *)out.data, out.count, 0, NULL);
    const json_t *merges = json_object_get(json_object_get(doc, "model"), "merges");
    size_t i;
    assert_int_equal(json_array_size(merges), size - 258);
    json_array_foreach(json_object_get(expected, "merges"), i, merge)
        if (!json_equal(merge, json_array_get(merges, i)))
            fail_msg("%s: merge %zu is '%s', the reference's '%s'", name, i, json_string_value(json_array_get(merges, i)),
                     json_string_value(merge));
    json_decref(doc);
    json_decref(vectors);
    bytebuf_free(&out);
}

static void merges_of_hostile_texts_are_the_reference_ones(void **state)
{
    (void)state;
    ByteBuf corpus = hostile_corpus(2000);
    expect_merges("hostile", (Str){(const char *)corpus.data, corpus.count});
    bytebuf_free(&corpus);
}

static void merges_of_english_are_the_reference_ones(void **state)
{
    (void)state;
    const char *root = getenv("PLUMB_SHARED");
    ByteBuf path = {0};
    MapFile file = {0};
    assert_int_equal(bytebuf_printf(&path, "%s/data/tokenizer-vectors/bpe-train/corpus.en", root ? root : "../shared"), ST_OK);
    if (mapfile_open(&file, bytebuf_cstr(&path), NULL) == ST_OK)
        expect_merges("corpus.en", (Str){(const char *)file.data, file.size});
    else
        print_message("skipped: merges_of_english_are_the_reference_ones (no %s)\n", (const char *)path.data);
    mapfile_close(&file);
    bytebuf_free(&path);
}

static void any_number_of_threads_makes_the_same_file(void **state)
{
    (void)state;
    ByteBuf corpus = {0};
    while (corpus.count < 2000000) { /* several blocks */
        ByteBuf part = hostile_corpus(2000);
        assert_int_equal(bytebuf_append(&corpus, part.data, part.count), ST_OK);
        assert_int_equal(bytebuf_append(&corpus, " plain words in a row so that blocks can end ", 45), ST_OK);
        bytebuf_free(&part);
    }
    const Str text = {(const char *)corpus.data, corpus.count};
    ByteBuf one = train(text, 600, 1);
    for (int threads = 2; threads <= 5; threads++) {
        ByteBuf many = train(text, 600, threads);
        assert_int_equal(many.count, one.count);
        assert_memory_equal(many.data, one.data, one.count);
        bytebuf_free(&many);
    }
    bytebuf_free(&one);
    bytebuf_free(&corpus);
}

static void what_is_written_is_read_and_decodes(void **state)
{
    (void)state;
    Error err = {0};
    Tokenizer *t = NULL;
    ByteBuf corpus = hostile_corpus(300), json = train((Str){(const char *)corpus.data, corpus.count}, 400, 1), back = {0};
    IdBuf ids = {0};
    assert_int_equal(tokenizer_from_json(&t, json.data, json.count, &err), ST_OK);
    assert_int_equal(tokenizer_vocab_size(t), 400);
    assert_int_equal(tokenizer_find(t, "<think>", 7), 1);
    assert_true(tokenizer_is_special(t, 0));
    assert_int_equal(tokenizer_find(t, "!", 1), 2);
    assert_int_equal(tokenizer_encode(t, (char *)corpus.data, corpus.count, TOKENIZER_SPECIAL, &ids, &err), ST_OK);
    assert_int_equal(tokenizer_decode(t, ids.data, ids.count, false, &back, &err), ST_OK);
    assert_int_equal(back.count, corpus.count);
    assert_memory_equal(back.data, corpus.data, corpus.count);
    idbuf_free(&ids);
    bytebuf_free(&back);
    bytebuf_free(&json);
    bytebuf_free(&corpus);
    tokenizer_destroy(t);
}

static void single_digits_are_never_merged(void **state)
{
    (void)state;
    static const char digits[] = "12 12 12 12 1212 x12x12 x12x12 2024-11-24 2024-11-24 \u0663\u0663 \u0663\u0663 and and and";
    const Str text = {digits, sizeof digits - 1};
    const TrainParams params = {.vocab_size = 300, .special = special, .special_count = 2, .single_digits = true, .threads = 2};
    ByteBuf out = {0};
    Tokenizer *t = NULL;
    IdBuf ids = {0};
    int merged = 0;
    assert_int_equal(tokenizer_train(&text, 1, &params, &out, NULL), ST_OK);
    assert_int_equal(tokenizer_from_json(&t, out.data, out.count, NULL), ST_OK);
    for (int32_t id = 0; id < tokenizer_vocab_size(t); id++) {
        const Str s = tokenizer_id_bytes(t, id);
        for (size_t i = 0; i < s.len; i++)
            if (s.ptr[i] >= '0' && s.ptr[i] <= '9')
                assert_int_equal(s.len, 1);
        merged += s.len == 4 && memcmp(s.ptr, " and", 4) == 0;
    }
    assert_int_equal(merged, 1);
    assert_int_equal(tokenizer_encode(t, "1212+1", 6, 0, &ids, NULL), ST_OK);
    assert_int_equal(ids.count, 6);
    idbuf_free(&ids);
    bytebuf_free(&out);
    tokenizer_destroy(t);
}

static void a_small_text_makes_a_small_vocabulary(void **state)
{
    (void)state;
    static const Str texts[] = {{"", 0}, {"abab ab", 7}};
    static const size_t sizes[] = {258, 261}; /* ab, Ġab, abab: then no pair is left */
    for (int i = 0; i < 2; i++) {
        ByteBuf out = train(texts[i], 5000, 1);
        json_t *doc = json_loadb((const char *)out.data, out.count, 0, NULL);
        assert_int_equal(json_object_size(json_object_get(json_object_get(doc, "model"), "vocab")), sizes[i]);
        json_decref(doc);
        bytebuf_free(&out);
    }
}

static void impossible_orders_are_refused(void **state)
{
    (void)state;
    Error err = {0};
    ByteBuf out = {0};
    Str text = {"abc", 3};
    TrainParams params = {.vocab_size = 257, .special = special, .special_count = 2, .threads = 1};
    assert_int_equal(tokenizer_train(&text, 1, &params, &out, &err), ST_INVALID);
    assert_string_equal(err.msg, "a vocabulary of 257 has no room for 256 bytes and 2 special tokens");
    params.vocab_size = 300;
    text = (Str){"ab\xff", 3};
    assert_int_equal(tokenizer_train(&text, 1, &params, &out, &err), ST_INVALID);
    assert_string_equal(err.msg, "text 1 is not valid UTF-8 at byte 2");
    assert_int_equal(out.count, 0);
}

static void every_failing_allocation_is_survived(void **state)
{
    (void)state;
    ByteBuf corpus = hostile_corpus(3);
    const Str text = {(const char *)corpus.data, corpus.count};
    const TrainParams params = {.vocab_size = 262, .special = special, .special_count = 2, .threads = 2};
    Status st = ST_NOMEM;
    for (int64_t fail = 1; st != ST_OK; fail++) {
        Error err = {0};
        ByteBuf out = {0};
        mem_fail_at(fail);
        st = tokenizer_train(&text, 1, &params, &out, &err);
        mem_fail_at(0);
        if (st != ST_OK && (st != ST_NOMEM || out.count != 0))
            fail_msg("allocation %lld: %s", (long long)fail, err.msg);
        bytebuf_free(&out);
    }
    bytebuf_free(&corpus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_of_hostile_texts_are_the_reference_ones),
        cmocka_unit_test(merges_of_english_are_the_reference_ones),
        cmocka_unit_test(any_number_of_threads_makes_the_same_file),
        cmocka_unit_test(what_is_written_is_read_and_decodes),
        cmocka_unit_test(single_digits_are_never_merged),
        cmocka_unit_test(a_small_text_makes_a_small_vocabulary),
        cmocka_unit_test(impossible_orders_are_refused),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
