/* The tokenizer against the reference library's recorded ids, and what must hold for any text: bytes come
 * back, streams never cut a character, failures leave nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/json.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "base/pool.h"
#include "formats/tensordir.h"
#include "hostile.h"
#include "tokenizer/nfc.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_save.h"
#include "tokenizer/unicode.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static json_t *vectors; /* tests/vectors/tokenizer_cases.json */

/* ---- tools ------------------------------------------------------------------------------------- */

/* Buffers of nothing have no address. */
static bool same_bytes(const void *a, const void *b, size_t n)
{
    return n == 0 || memcmp(a, b, n) == 0;
}

/* ../shared/NAME, or NULL with a note. The caller frees it. */
static char *shared_path(const char *test, const char *name)
{
    const char *root = getenv("PLUMB_SHARED");
    ByteBuf path = {0};
    assert_int_equal(bytebuf_printf(&path, "%s/%s", root ? root : "../shared", name), ST_OK);
    MapFile file = {0};
    if (mapfile_open(&file, bytebuf_cstr(&path), NULL) == ST_OK) {
        mapfile_close(&file);
        return (char *)path.data;
    }
    print_message("skipped: %s (no %s)\n", test, (const char *)path.data);
    bytebuf_free(&path);
    return NULL;
}

typedef struct {
    uint64_t fnv;
    int64_t count;
} Digest;

static void digest_byte(Digest *d, uint8_t b)
{
    d->fnv = (d->fnv ^ b) * 0x100000001b3u;
}

static void digest_ids(Digest *d, const IdBuf *ids)
{
    d->count += ids->count;
    for (int64_t i = 0; i <= ids->count; i++) {
        const uint32_t id = i < ids->count ? (uint32_t)ids->data[i] : UINT32_MAX;
        for (int shift = 0; shift < 32; shift += 8)
            digest_byte(d, (uint8_t)(id >> shift));
    }
}

static void digest_text(Digest *d, const Tokenizer *t, const char *text, size_t n, unsigned flags)
{
    Error err = {0};
    IdBuf ids = {0};
    if (tokenizer_encode(t, text, n, flags, &ids, &err) != ST_OK)
        fail_msg("%s", err.msg);
    digest_ids(d, &ids);
    idbuf_free(&ids);
}

static void digest_hostile(Digest *d, const Tokenizer *t, int64_t count, unsigned flags)
{
    char text[HOSTILE_BYTES_MAX];
    for (int64_t i = 0; i < count; i++)
        digest_text(d, t, text, hostile_text(text, (uint64_t)i), flags);
}

static void expect_digest(const char *name, const json_t *expected, const Digest *d)
{
    char fnv[17];
    snprintf(fnv, sizeof fnv, "%016llx", (unsigned long long)d->fnv);
    const char *want = json_string_value(json_object_get(expected, "fnv"));
    const long long count = json_integer_value(json_object_get(expected, "count"));
    if (strcmp(fnv, want) != 0)
        fail_msg("%s: %lld ids, digest %s; the reference has %lld, %s", name, (long long)d->count, fnv, count, want);
    assert_int_equal(d->count, count);
}

static void set(json_t *object, const char *key, const json_t *value)
{
    json_object_set(object, key, value ? (json_t *)(uintptr_t)value : json_null());
}

/* The tokenizer.json of a case: its own parts around one of the two models. */
static char *compose(const json_t *c)
{
    const char *name = json_string_value(json_object_get(c, "model"));
    json_t *model = json_deep_copy(json_object_get(json_object_get(vectors, "models"), name ? name : "base"));
    json_t *doc = json_object();
    json_object_update(model, json_object_get(c, "options"));
    set(doc, "added_tokens", json_object_get(c, "added"));
    set(doc, "normalizer", json_object_get(c, "normalizer"));
    set(doc, "pre_tokenizer", json_object_get(c, "pre"));
    set(doc, "post_processor", json_object_get(c, "post"));
    json_object_set_new(doc, "model", model);
    char *text = json_dumps(doc, 0);
    json_decref(doc);
    return text;
}

static Tokenizer *open_case(const json_t *c)
{
    Error err = {0};
    Tokenizer *t = NULL;
    char *text = compose(c);
    if (tokenizer_from_json(&t, (const uint8_t *)text, strlen(text), &err) != ST_OK)
        fail_msg("%s: %s", json_string_value(json_object_get(c, "name")), err.msg);
    free(text);
    return t;
}

static const json_t *case_named(const char *name)
{
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(vectors, "cases"), i, c)
        if (strcmp(json_string_value(json_object_get(c, "name")), name) == 0)
            return c;
    fail_msg("no case %s", name);
    return NULL;
}

/* A whole tokenizer.json of a few members, around a model of three tokens. */
static Status load_text(const char *members, Tokenizer **t, Error *err)
{
    ByteBuf text = {0};
    assert_int_equal(bytebuf_printf(&text, "{%s}", members), ST_OK);
    const Status st = tokenizer_from_json(t, text.data, text.count, err);
    bytebuf_free(&text);
    return st;
}

/* ---- the reference's ids ----------------------------------------------------------------------- */

static unsigned case_flags(const json_t *c)
{
    return TOKENIZER_BOS | (json_is_true(json_object_get(c, "no_special")) ? 0 : TOKENIZER_SPECIAL);
}

static void expect_ids(const char *name, const char *text, size_t n, const json_t *expected, const IdBuf *ids)
{
    bool same = (size_t)ids->count == json_array_size(expected);
    for (int64_t i = 0; same && i < ids->count; i++)
        same = ids->data[i] == json_integer_value(json_array_get(expected, (size_t)i));
    if (same)
        return;
    for (int64_t i = 0; i < ids->count; i++)
        print_message("%d ", ids->data[i]);
    fail_msg("%s: '%.*s': these ids, but the reference gives %s", name, (int)n, text, json_dumps(expected, 0));
}

static void recorded_cases_get_the_reference_ids(void **state)
{
    (void)state;
    size_t i, k;
    json_t *c, *text;
    json_array_foreach(json_object_get(vectors, "cases"), i, c) {
        const char *name = json_string_value(json_object_get(c, "name"));
        Tokenizer *t = open_case(c);
        Error err = {0};
        json_array_foreach(json_object_get(vectors, "texts"), k, text) {
            IdBuf ids = {0};
            const char *s = json_string_value(text);
            assert_int_equal(tokenizer_encode(t, s, strlen(s), case_flags(c), &ids, &err), ST_OK);
            expect_ids(name, s, strlen(s), json_array_get(json_object_get(c, "ids"), k), &ids);
            idbuf_free(&ids);
        }
        tokenizer_destroy(t);
    }
}

static void digest_recorded_texts(Digest *d, const Tokenizer *t, unsigned flags)
{
    size_t k;
    json_t *item;
    json_array_foreach(json_object_get(vectors, "texts"), k, item) {
        const char *s = json_string_value(item);
        digest_text(d, t, s, strlen(s), flags);
    }
    json_array_foreach(json_object_get(vectors, "long"), k, item) {
        ByteBuf text = {0};
        const char *s = json_string_value(json_array_get(item, 0));
        for (json_int_t n = json_integer_value(json_array_get(item, 1)); n > 0; n--)
            assert_int_equal(bytebuf_append(&text, s, strlen(s)), ST_OK);
        digest_text(d, t, (const char *)text.data, text.count, flags);
        bytebuf_free(&text);
    }
}

/* All hostile texts as one. */
static void digest_hostile_at_once(Digest *d, const Tokenizer *t, int64_t count, unsigned flags)
{
    char text[HOSTILE_BYTES_MAX];
    ByteBuf all = {0};
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(bytebuf_append(&all, text, hostile_text(text, (uint64_t)i)), ST_OK);
    digest_text(d, t, (const char *)all.data, all.count, flags);
    bytebuf_free(&all);
}

/* The same tokenizer, written and read back; the old one is gone. */
static Tokenizer *rewritten(Tokenizer *t)
{
    Error err = {0};
    Tokenizer *back = NULL;
    ByteBuf text = {0};
    if (tokenizer_write(t, &text, &err) != ST_OK || tokenizer_from_json(&back, text.data, text.count, &err) != ST_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(tokenizer_vocab_size(back), tokenizer_vocab_size(t));
    for (int32_t id = 0; id < (int32_t)tokenizer_vocab_size(t); id++) {
        const Str a = tokenizer_id_bytes(t, id), b = tokenizer_id_bytes(back, id);
        assert_true(a.len == b.len && same_bytes(a.ptr, b.ptr, a.len));
        assert_int_equal(tokenizer_is_special(t, id), tokenizer_is_special(back, id));
    }
    bytebuf_free(&text);
    tokenizer_destroy(t);
    return back;
}

static void expect_digests_of_cases(bool write)
{
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(vectors, "cases"), i, c) {
        Tokenizer *t = write ? rewritten(open_case(c)) : open_case(c);
        Digest d = {.fnv = 0xcbf29ce484222325u};
        digest_recorded_texts(&d, t, case_flags(c));
        const int64_t count = json_integer_value(json_object_get(vectors, "hostile"));
        digest_hostile_at_once(&d, t, count, case_flags(c));
        digest_hostile(&d, t, count, case_flags(c));
        expect_digest(json_string_value(json_object_get(c, "name")), json_object_get(c, "digest"), &d);
        tokenizer_destroy(t);
    }
}

static void hostile_and_long_texts_get_the_reference_ids(void **state)
{
    (void)state;
    expect_digests_of_cases(false);
}

static void a_written_tokenizer_gives_the_reference_ids_too(void **state)
{
    (void)state;
    expect_digests_of_cases(true);
}

static Tokenizer *open_shared(const char *test, const char *name)
{
    Error err = {0};
    Tokenizer *t = NULL;
    char *path = shared_path(test, name);
    if (path && tokenizer_open(&t, path, &err) != ST_OK)
        fail_msg("%s: %s", path, err.msg);
    mem_free(path);
    return t;
}

static void real_tokenizers_get_the_reference_ids(void **state)
{
    (void)state;
    static const char test[] = "real_tokenizers_get_the_reference_ids";
    size_t i;
    json_t *c;
    const char *open_name = "";
    Tokenizer *t = NULL;
    json_array_foreach(json_object_get(vectors, "shared"), i, c) {
        const char *name = json_string_value(json_object_get(c, "tokenizer"));
        const char *text = json_string_value(json_object_get(c, "text"));
        if (strcmp(name, open_name) != 0) {
            tokenizer_destroy(t);
            t = open_shared(test, name);
            open_name = name;
        }
        Digest d = {.fnv = 0xcbf29ce484222325u};
        MapFile file = {0};
        if (t && strcmp(text, "hostile") == 0) {
            digest_hostile(&d, t, 4000, TOKENIZER_SPECIAL);
        } else if (t) {
            char *path = shared_path(test, text);
            assert_non_null(path);
            assert_int_equal(mapfile_open(&file, path, NULL), ST_OK);
            digest_text(&d, t, (const char *)file.data, file.size, TOKENIZER_SPECIAL);
            mem_free(path);
        }
        mapfile_close(&file);
        if (t)
            expect_digest(text, c, &d);
    }
    tokenizer_destroy(t);
}

/* ---- published vectors ------------------------------------------------------------------------- */

static ByteBuf read_shared(const char *test, const char *name)
{
    ByteBuf out = {0};
    char *path = shared_path(test, name);
    if (path)
        assert_int_equal(file_read_all(&out.data, &out.count, path, 1 << 26, NULL), ST_OK);
    mem_free(path);
    return out;
}

/* The next of the texts that lines of "__ggml_vocab_test__" separate. */
static bool next_text(const char **at, Str *text)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    if (!*at || !**at)
        return false;
    const char *end = strstr(*at, mark);
    *text = (Str){*at, end ? (size_t)(end - *at) : strlen(*at)};
    *at = end ? end + strlen(mark) : NULL;
    return true;
}

/* The ids from *at up to `end`, between them anything that is no digit. */
static IdBuf parse_ids(const char *at, const char *end)
{
    IdBuf ids = {0};
    while (at < end) {
        char *rest = (char *)(uintptr_t)at + 1;
        if (*at >= '0' && *at <= '9')
            assert_int_equal(idbuf_push(&ids, (int32_t)strtol(at, &rest, 10)), ST_OK);
        at = rest;
    }
    return ids;
}

static IdBuf parse_line(const char **at)
{
    const char *end = strchr(*at, '\n');
    assert_non_null(end);
    const IdBuf ids = parse_ids(*at, end);
    *at = end + 1;
    return ids;
}

static Tokenizer *open_shared_gguf(const char *test, const char *name)
{
    Error err = {0};
    Tokenizer *t = NULL;
    TensorDir *dir = NULL;
    char *path = shared_path(test, name);
    if (path && (tensordir_open(&dir, path, &err) != ST_OK || tokenizer_from_kv(&t, tensordir_kv(dir), &err) != ST_OK))
        fail_msg("%s: %s", path, err.msg);
    tensordir_close(dir);
    mem_free(path);
    return t;
}

static void check_published(const char *test, const Tokenizer *t, const char *inputs, const char *outputs)
{
    ByteBuf in = read_shared(test, inputs), out = read_shared(test, outputs);
    const char *at = bytebuf_cstr(&in), *line = bytebuf_cstr(&out);
    Str text;
    int count = 0;
    for (; next_text(&at, &text); count++) {
        IdBuf ids = {0}, want = parse_line(&line);
        assert_int_equal(tokenizer_encode(t, text.ptr, text.len, TOKENIZER_SPECIAL, &ids, NULL), ST_OK);
        if (ids.count != want.count || !same_bytes(ids.data, want.data, (size_t)ids.count * 4))
            fail_msg("%s, text %d: '%.*s'", outputs, count, (int)text.len, text.ptr);
        idbuf_free(&ids);
        idbuf_free(&want);
    }
    assert_int_equal(count, 46);
    bytebuf_free(&in);
    bytebuf_free(&out);
}

#define V "data/tokenizer-vectors/"

static void published_vectors_agree(void **state)
{
    (void)state;
    static const char test[] = "published_vectors_agree";
    static const struct {
        const char *tokenizer, *inputs, *outputs;
    } cases[] = {
        {"data/tokenizers/gguf/ggml-vocab-gpt-2.gguf", V "ggml-vocab-gpt-2.gguf.inp", V "ggml-vocab-gpt-2.gguf.out"},
        {"data/tokenizers/gguf/ggml-vocab-deepseek-llm.gguf", V "ggml-vocab-deepseek-llm.gguf.inp",
         V "ggml-vocab-deepseek-llm.gguf.out"},
        {"data/tokenizers/deepseek-r1/tokenizer.json", V "ggml-vocab-deepseek-llm.gguf.inp", V "deepseek-v3.out"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Tokenizer *t = strstr(cases[i].tokenizer, ".gguf") ? open_shared_gguf(test, cases[i].tokenizer)
                                                           : open_shared(test, cases[i].tokenizer);
        if (t)
            check_published(test, t, cases[i].inputs, cases[i].outputs);
        tokenizer_destroy(t);
    }
}

static void deepseek_v4_encodes_its_published_examples(void **state)
{
    (void)state;
    static const char test[] = "deepseek_v4_encodes_its_published_examples";
    Tokenizer *t = open_shared(test, "data/tokenizers/deepseek-v4/tokenizer.json");
    ByteBuf file = read_shared(test, V "deepseek-v4-smoke.json");
    if (!t || !file.data)
        return;
    json_t *doc = json_loadb((const char *)file.data, file.count, 0, NULL), *v, *id;
    size_t i;
    const char *name;
    json_array_foreach(json_object_get(doc, "vectors"), i, v) {
        IdBuf ids = {0};
        const char *s = json_string_value(json_object_get(v, "text"));
        assert_int_equal(tokenizer_encode(t, s, strlen(s), TOKENIZER_SPECIAL, &ids, NULL), ST_OK);
        expect_ids("deepseek-v4", s, strlen(s), json_object_get(v, "ids"), &ids);
        idbuf_free(&ids);
    }
    json_object_foreach(json_object_get(doc, "special_ids"), name, id)
        assert_int_equal(tokenizer_find(t, name, strlen(name)), json_integer_value(id));
    json_decref(doc);
    bytebuf_free(&file);
    tokenizer_destroy(t);
}

static void ids_of_wikitext_decode_and_encode_to_themselves(void **state)
{
    (void)state;
    static const char test[] = "ids_of_wikitext_decode_and_encode_to_themselves";
    Tokenizer *t = open_shared(test, "data/tokenizers/deepseek-r1/tokenizer.json");
    ByteBuf file = read_shared(test, V "deepseek-v3-wikitext-8192.ids.txt"), text = {0};
    if (!t || !file.data)
        return;
    const char *list = bytebuf_cstr(&file);
    IdBuf ids = parse_ids(list, list + file.count), again = {0};
    assert_int_equal(ids.count, 8192);
    assert_int_equal(tokenizer_decode(t, ids.data, ids.count, false, &text, NULL), ST_OK);
    assert_int_equal(tokenizer_encode(t, (const char *)text.data, text.count, TOKENIZER_SPECIAL, &again, NULL), ST_OK);
    assert_int_equal(again.count, ids.count);
    assert_memory_equal(again.data, ids.data, (size_t)ids.count * sizeof *ids.data);
    idbuf_free(&ids);
    idbuf_free(&again);
    bytebuf_free(&text);
    bytebuf_free(&file);
    tokenizer_destroy(t);
}

/* ---- what must hold for any text --------------------------------------------------------------- */

static void decoding_gives_the_bytes_back(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "deepseek-v3", "smollm", "o200k", "llama3", "qwen2-nfc"};
    char text[HOSTILE_BYTES_MAX];
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const json_t *c = case_named(names[k]);
        const bool plain = json_array_size(json_object_get(c, "added")) > 0; /* some of its tokens eat spaces */
        Tokenizer *t = open_case(c);
        for (uint64_t seed = 0; seed < 3000; seed++) {
            const size_t n = hostile_text(text, 500000 + seed);
            ByteBuf back = {0}, want = {0};
            IdBuf ids = {0};
            assert_int_equal(tokenizer_encode(t, text, n, plain ? TOKENIZER_PLAIN : TOKENIZER_SPECIAL, &ids, NULL), ST_OK);
            assert_int_equal(tokenizer_decode(t, ids.data, ids.count, false, &back, NULL), ST_OK);
            if (strcmp(names[k], "qwen2-nfc") == 0)
                assert_int_equal(nfc_append((const uint8_t *)text, n, &want), ST_OK);
            else
                assert_int_equal(bytebuf_append(&want, text, n), ST_OK);
            if (back.count != want.count || !same_bytes(back.data, want.data, want.count))
                fail_msg("%s: text %llu does not come back", names[k], (unsigned long long)seed);
            bytebuf_free(&back);
            bytebuf_free(&want);
            idbuf_free(&ids);
        }
        tokenizer_destroy(t);
    }
}

/* What decode() of the reference does to bytes: every maximal ill-formed part becomes U+FFFD. Over the whole
 * text at once: a part of k bytes is the beginning of a character when some bytes behind it complete one. */
static void repair(const uint8_t *s, size_t n, ByteBuf *out)
{
    for (size_t at = 0; at < n;) {
        const int len = utf8_decode(s + at, n - at, NULL);
        size_t part = 1;
        for (size_t k = 2; !len && k <= 3 && k <= n - at; k++) {
            uint8_t whole[5] = {0, 0x80, 0x80, 0x80, 0x80};
            memcpy(whole, s + at, k);
            if (utf8_decode(whole, 5, NULL) > (int)k)
                part = k;
        }
        assert_int_equal(bytebuf_append(out, len ? (const char *)s + at : "\xef\xbf\xbd", len ? (size_t)len : 3), ST_OK);
        at += len ? (size_t)len : part;
    }
}

static void streams_emit_whole_characters_only(void **state)
{
    (void)state;
    Tokenizer *t = open_case(case_named("bytes-only"));
    uint64_t d = 7;
    for (int round = 0; round < 300; round++) {
        TokenStream stream;
        ByteBuf bytes = {0}, want = {0}, got = {0};
        tokenstream_init(&stream, t, false);
        for (int i = 0; i < 40; i++) {
            /* mostly the pieces of characters beyond ASCII */
            int32_t id = (int32_t)hostile_below(&d, (uint64_t)tokenizer_vocab_size(t));
            for (int k = 0; k < 3 && (uint8_t)tokenizer_id_bytes(t, id).ptr[0] < 0x80; k++)
                id = (int32_t)hostile_below(&d, (uint64_t)tokenizer_vocab_size(t));
            const size_t before = got.count;
            assert_int_equal(tokenizer_decode(t, &id, 1, false, &bytes, NULL), ST_OK);
            assert_int_equal(tokenstream_push(&stream, id, &got, NULL), ST_OK);
            assert_int_equal(utf8_valid_prefix(got.data + before, got.count - before), got.count - before);
        }
        assert_int_equal(tokenstream_flush(&stream, &got, NULL), ST_OK);
        repair(bytes.data, bytes.count, &want);
        assert_int_equal(got.count, want.count);
        assert_memory_equal(got.data, want.data, want.count);
        bytebuf_free(&bytes);
        bytebuf_free(&want);
        bytebuf_free(&got);
    }
    tokenizer_destroy(t);
}

static void a_stream_holds_back_half_a_character(void **state)
{
    (void)state;
    Tokenizer *t = open_case(case_named("bytes-only"));
    TokenStream s;
    ByteBuf out = {0};
    static const char *const parts[] = {"ð", "Ł", "ĺ", "Ģ"}; /* F0 9F 98 80 in the byte-level alphabet */
    tokenstream_init(&s, t, false);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(out.count, 0);
        const int32_t id = tokenizer_find(t, parts[i], strlen(parts[i]));
        assert_true(id >= 0);
        assert_int_equal(tokenstream_push(&s, id, &out, NULL), ST_OK);
    }
    assert_int_equal(out.count, 4);
    assert_memory_equal(out.data, "\xf0\x9f\x98\x80", 4);
    assert_int_equal(tokenstream_push(&s, tokenizer_find(t, "ð", 2), &out, NULL), ST_OK);
    assert_int_equal(out.count, 4);
    assert_int_equal(tokenstream_flush(&s, &out, NULL), ST_OK);
    assert_int_equal(out.count, 7); /* U+FFFD for the rest that never came */
    bytebuf_free(&out);
    tokenizer_destroy(t);
}

static void special_tokens_can_be_left_out_of_decoding(void **state)
{
    (void)state;
    Tokenizer *t = open_case(case_named("gpt2-prefix-space"));
    const char text[] = "a<s>b";
    IdBuf ids = {0};
    ByteBuf with = {0}, without = {0};
    assert_int_equal(tokenizer_encode(t, text, 5, TOKENIZER_SPECIAL, &ids, NULL), ST_OK);
    assert_int_equal(tokenizer_decode(t, ids.data, ids.count, false, &with, NULL), ST_OK);
    assert_int_equal(tokenizer_decode(t, ids.data, ids.count, true, &without, NULL), ST_OK);
    assert_string_equal(bytebuf_cstr(&with), " a<s> b");
    assert_string_equal(bytebuf_cstr(&without), " a b");
    bytebuf_free(&with);
    bytebuf_free(&without);
    idbuf_free(&ids);
    tokenizer_destroy(t);
}

static void plain_text_never_becomes_an_added_token(void **state)
{
    (void)state;
    Tokenizer *t = open_case(case_named("qwen2-nfc"));
    char text[HOSTILE_BYTES_MAX];
    for (uint64_t seed = 0; seed < 2000; seed++) {
        IdBuf ids = {0};
        const size_t n = hostile_text(text, seed);
        assert_int_equal(tokenizer_encode(t, text, n, TOKENIZER_PLAIN, &ids, NULL), ST_OK);
        for (int64_t i = 0; i < ids.count; i++)
            assert_true(ids.data[i] < 640); /* the added tokens that are not pieces anyway lie behind */
        idbuf_free(&ids);
    }
    tokenizer_destroy(t);
}

static void invalid_utf8_is_refused_and_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"ab\xff", "the text is not valid UTF-8 at byte 2 (0xff)"},
        {"12345678\xc3", "the text is not valid UTF-8 at byte 8 (0xc3)"},
        {"\xed\xa0\x80", "the text is not valid UTF-8 at byte 0 (0xed)"},
        {"\xc0\x80", "the text is not valid UTF-8 at byte 0 (0xc0)"},
        {"é\xf4\x90\x80\x80", "the text is not valid UTF-8 at byte 2 (0xf4)"},
    };
    Tokenizer *t = open_case(case_named("gpt2"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error err = {0};
        IdBuf ids = {0};
        assert_int_equal(idbuf_push(&ids, 5), ST_OK);
        assert_int_equal(tokenizer_encode(t, cases[i].text, strlen(cases[i].text), 0, &ids, &err), ST_INVALID);
        assert_string_equal(err.msg, cases[i].message);
        assert_int_equal(ids.count, 1);
        idbuf_free(&ids);
    }
    tokenizer_destroy(t);
}

static void ids_outside_the_vocabulary_are_refused(void **state)
{
    (void)state;
    Tokenizer *t = open_case(case_named("gpt2"));
    static const int32_t bad[] = {-1, INT32_MIN, 640, INT32_MAX};
    assert_int_equal(tokenizer_vocab_size(t), 640);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Error err = {0};
        ByteBuf out = {0};
        TokenStream s;
        tokenstream_init(&s, t, false);
        assert_int_equal(tokenizer_decode(t, &bad[i], 1, false, &out, &err), ST_INVALID);
        assert_int_equal(tokenstream_push(&s, bad[i], &out, &err), ST_INVALID);
        assert_non_null(strstr(err.msg, "is not in the vocabulary (640 tokens)"));
        assert_null(tokenizer_piece(t, bad[i]).ptr);
        assert_false(tokenizer_is_special(t, bad[i]));
        assert_int_equal(out.count, 0);
    }
    tokenizer_destroy(t);
}

/* Quadratic work would take minutes here. */
static void very_long_pieces_take_no_longer_than_they_must(void **state)
{
    (void)state;
    Tokenizer *t = open_case(case_named("qwen2-nfc"));
    static const char *const units[] = {"a", "ab", " ", "é", "\xcc\x81", "\n", "'", "<", "ᄀ", "\xcc\x81\xcc\xb1"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        ByteBuf text = {0};
        IdBuf ids = {0};
        while (text.count < 1000000)
            assert_int_equal(bytebuf_append(&text, units[i], strlen(units[i])), ST_OK);
        const clock_t start = clock();
        assert_int_equal(tokenizer_encode(t, (char *)text.data, text.count, TOKENIZER_SPECIAL, &ids, NULL), ST_OK);
        const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        if (seconds > 10)
            fail_msg("'%s' a million times: %.1f s", units[i], seconds);
        bytebuf_free(&text);
        idbuf_free(&ids);
    }
    tokenizer_destroy(t);
}

static void the_first_ascii_leaves_are_the_first(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 128; c++)
        assert_int_equal(unicode_class_middle[unicode_class_top[0] * 64u + (c >> 6)] * 64u + (c & 63), c);
}

/* ---- files ------------------------------------------------------------------------------------- */

#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"
#define LEVEL "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define SPLIT(pattern) "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern "\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\"}]}," MODEL
#define BPE(vocab, merges) LEVEL ",\"model\":{\"vocab\":" vocab ",\"merges\":" merges "}"

static void what_is_not_understood_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *members;
        Status status;
        const char *message;
    } cases[] = {
        {MODEL, ST_UNSUPPORTED, "a tokenizer without the ByteLevel pre-tokenizer is not supported"},
        {LEVEL, ST_CORRUPT, "no model"},
        {LEVEL ",\"model\":{\"type\":\"Unigram\",\"vocab\":{},\"merges\":[]}", ST_UNSUPPORTED, "model type 'Unigram'"},
        {LEVEL ",\"model\":{\"vocab\":{}}", ST_CORRUPT, "model: no merges"},
        {LEVEL ",\"model\":{\"vocab\":{},\"merges\":[],\"dropout\":0.1}", ST_UNSUPPORTED, "dropout"},
        {LEVEL ",\"model\":{\"vocab\":{},\"merges\":[],\"end_of_word_suffix\":\"@\"}", ST_UNSUPPORTED, "end_of_word_suffix"},
        {LEVEL ",\"model\":{\"vocab\":{},\"merges\":[],\"unk_token\":\"<u>\"}", ST_UNSUPPORTED, "'<u>'"},
        {BPE("{\"a\":0,\"b\":0}", "[]"), ST_CORRUPT, "id 0 is given to two tokens, the second is 'b'"},
        {BPE("{\"a\":-1}", "[]"), ST_CORRUPT, "token 'a': id -1"},
        {BPE("{\"a\":99999999}", "[]"), ST_CORRUPT, "token 'a': id 99999999"},
        {BPE("{\"a\":0,\"b\":1}", "[\"a b\"]"), ST_CORRUPT, "merge 0 'a' + 'b': their sum is not in the vocabulary"},
        {BPE("{\"a\":0}", "[\"a a a\"]"), ST_CORRUPT, "not two tokens with one space between them"},
        {BPE("{\"a\":0}", "[[\"a\"]]"), ST_CORRUPT, "expected a string"},
        {BPE("{\"a\":0}", "[3]"), ST_CORRUPT, "expected a merge"},
        {"\"normalizer\":{\"type\":\"NFKC\"}," LEVEL "," MODEL, ST_UNSUPPORTED, "normalizer 'NFKC' is not supported"},
        {"\"pre_tokenizer\":{\"type\":\"Metaspace\"}," MODEL, ST_UNSUPPORTED, "pre_tokenizer 'Metaspace'"},
        {"\"post_processor\":{\"type\":\"BertProcessing\"}," LEVEL "," MODEL, ST_UNSUPPORTED, "post_processor 'BertProcessing'"},
        {SPLIT("(a)+b"), ST_UNSUPPORTED, "pattern '(a)+b': a repeated group at byte 3"},
        {SPLIT("a\\\\wb"), ST_UNSUPPORTED, "this escape at byte 2"},
        {SPLIT("a*"), ST_UNSUPPORTED, "it can match the empty text"},
        {SPLIT("(?<=a)b"), ST_UNSUPPORTED, "this kind of group"},
        {SPLIT("\\\\p{Han}"), ST_UNSUPPORTED, "this property"},
        {SPLIT("a{2}?"), ST_UNSUPPORTED, "this repetition"},
        {SPLIT("[a"), ST_UNSUPPORTED, "a class without end"},
        {SPLIT("a)"), ST_UNSUPPORTED, "this character here at byte 1"},
        {SPLIT("(?i:st)"), ST_UNSUPPORTED, "this pair of letters"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error err = {0};
        Tokenizer *t = NULL;
        const Status st = load_text(cases[i].members, &t, &err);
        if (st != cases[i].status || !strstr(err.msg, cases[i].message) || t)
            fail_msg("%s: '%s', expected '%s'", cases[i].members, err.msg, cases[i].message);
    }
}

static void merges_may_stand_before_the_vocabulary(void **state)
{
    (void)state;
    Error err = {0};
    Tokenizer *t = NULL;
    IdBuf ids = {0};
    if (load_text(LEVEL ",\"model\":{\"merges\":[[\"a\",\"b\"]],\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}}", &t, &err) != ST_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(tokenizer_encode(t, "aab", 3, 0, &ids, &err), ST_OK);
    assert_int_equal(ids.count, 2);
    assert_int_equal(ids.data[0], 0);
    assert_int_equal(ids.data[1], 2);
    idbuf_free(&ids);
    tokenizer_destroy(t);
}

static void added_tokens_get_ids_behind_the_vocabulary(void **state)
{
    (void)state;
    Error err = {0};
    Tokenizer *t = NULL;
    const Status st = load_text("\"added_tokens\":[{\"id\":70,\"content\":\"<x>\",\"special\":true},{\"id\":9,\"content\":\"é\"},"
                                "{\"id\":1,\"content\":\"ab\"}]," LEVEL "," MODEL, &t, &err);
    if (st != ST_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(tokenizer_vocab_size(t), 5);
    assert_int_equal(tokenizer_find(t, "<x>", 3), 3);
    assert_int_equal(tokenizer_find(t, "é", 2), 4);
    assert_int_equal(tokenizer_find(t, "ab", 2), 2);
    assert_true(tokenizer_is_special(t, 3));
    assert_true(tokenizer_is_added(t, 2));
    assert_int_equal(tokenizer_id_bytes(t, 4).len, 2); /* literal, not byte E9 */
    tokenizer_destroy(t);
}

static void write_file(const char *directory, const char *name, const char *text)
{
    ByteBuf path = {0};
    assert_int_equal(bytebuf_printf(&path, "%s/%s", directory, name), ST_OK);
    assert_int_equal(file_write_atomic(bytebuf_cstr(&path), text, strlen(text), NULL), ST_OK);
    bytebuf_free(&path);
}

static void a_directory_brings_its_config(void **state)
{
    (void)state;
    char directory[] = "/tmp/plumb-tokenizer-XXXXXX";
    Error err = {0};
    Tokenizer *t = NULL;
    assert_non_null(mkdtemp(directory));
    assert_int_equal(tokenizer_open(&t, directory, &err), ST_NOTFOUND);
    write_file(directory, "tokenizer.json",
               "{\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true},{\"id\":4,\"content\":\"</s>\"}]," LEVEL "," MODEL "}");
    assert_int_equal(tokenizer_open(&t, directory, &err), ST_OK);
    assert_int_equal(tokenizer_bos(t), -1);
    assert_false(tokenizer_adds_bos(t));
    tokenizer_destroy(t);
    write_file(directory, "tokenizer_config.json",
               "{\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"</s>\",\"add_bos_token\":true,\"pad_token\":null}");
    assert_int_equal(tokenizer_open(&t, directory, &err), ST_OK);
    assert_int_equal(tokenizer_bos(t), 3);
    assert_int_equal(tokenizer_eos(t), 4);
    assert_true(tokenizer_adds_bos(t));
    IdBuf ids = {0};
    assert_int_equal(tokenizer_encode(t, "ab", 2, TOKENIZER_BOS, &ids, &err), ST_OK);
    assert_int_equal(ids.count, 2);
    assert_int_equal(ids.data[0], 3);
    idbuf_free(&ids);
    tokenizer_destroy(t);
    write_file(directory, "tokenizer_config.json", "{\"add_bos_token\":1}");
    assert_int_equal(tokenizer_open(&t, directory, &err), ST_CORRUPT);
    assert_non_null(strstr(err.msg, "tokenizer_config.json"));
    ByteBuf command = {0};
    assert_int_equal(bytebuf_printf(&command, "rm -r %s", directory), ST_OK);
    assert_int_equal(system(bytebuf_cstr(&command)), 0);
    bytebuf_free(&command);
}

/* ---- GGUF keys --------------------------------------------------------------------------------- */

/* The keys of a case's model, as a GGUF file would give them: vocabulary and merges as arrays. */
typedef struct {
    Kv kv;
    const char *model, *pre;
    json_t *tokens, *types, *merges;
} FakeKeys;

static KvValue fake_value(const json_t *v)
{
    if (json_is_string(v))
        return (KvValue){.type = KV_STRING, .s = {json_string_value(v), json_string_length(v)}};
    return (KvValue){.type = KV_INT, .i = json_integer_value(v)};
}

static bool fake_get(const Kv *kv, const char *key, KvValue *out)
{
    const FakeKeys *k = (const FakeKeys *)kv;
    const json_t *array = strcmp(key, "tokenizer.ggml.tokens") == 0       ? k->tokens
                          : strcmp(key, "tokenizer.ggml.token_type") == 0 ? k->types
                          : strcmp(key, "tokenizer.ggml.merges") == 0     ? k->merges
                                                                          : NULL;
    const char *text = strcmp(key, "tokenizer.ggml.model") == 0 ? k->model : strcmp(key, "tokenizer.ggml.pre") == 0 ? k->pre : NULL;
    if (array)
        *out = (KvValue){.type = KV_ARRAY, .count = (int64_t)json_array_size(array), .raw = array};
    else if (text)
        *out = (KvValue){.type = KV_STRING, .s = {text, strlen(text)}};
    else if (strcmp(key, "tokenizer.ggml.bos_token_id") == 0)
        *out = (KvValue){.type = KV_INT, .i = 640};
    else if (strcmp(key, "tokenizer.ggml.eos_token_id") == 0)
        *out = (KvValue){.type = KV_INT, .i = 4294967295};
    return array || text || strcmp(key, "tokenizer.ggml.bos_token_id") == 0 || strcmp(key, "tokenizer.ggml.eos_token_id") == 0;
}

static bool fake_next(const Kv *kv, const KvValue *array, const void **cursor, KvValue *out)
{
    (void)kv;
    const size_t i = (size_t)(uintptr_t)*cursor;
    if ((int64_t)i >= array->count)
        return false;
    *out = fake_value(json_array_get(array->raw, i));
    *cursor = (const void *)(uintptr_t)(i + 1);
    return true;
}

/* Base vocabulary, then <s> (control) and <tool> (user-defined). */
static FakeKeys fake_keys(const char *pre)
{
    FakeKeys k = {.kv = {.get = fake_get, .next = fake_next}, .model = "gpt2", .pre = pre};
    json_t *model = json_object_get(json_object_get(vectors, "models"), "base"), *id;
    const char *text;
    k.tokens = json_array();
    k.types = json_array();
    k.merges = json_object_get(model, "merges");
    json_object_foreach(json_object_get(model, "vocab"), text, id) {
        assert_int_equal(json_integer_value(id), json_array_size(k.tokens)); /* the file lists them in order */
        json_array_append_new(k.tokens, json_string(text));
        json_array_append_new(k.types, json_integer(1));
    }
    json_array_append_new(k.tokens, json_string("<s>"));
    json_array_append_new(k.types, json_integer(3));
    json_array_append_new(k.tokens, json_string("<tool>"));
    json_array_append_new(k.types, json_integer(4));
    return k;
}

static void free_keys(FakeKeys *k)
{
    json_decref(k->tokens);
    json_decref(k->types);
}

static Tokenizer *open_keys(const char *pre)
{
    Error err = {0};
    Tokenizer *t = NULL;
    FakeKeys k = fake_keys(pre);
    if (tokenizer_from_kv(&t, &k.kv, &err) != ST_OK)
        fail_msg("%s: %s", pre, err.msg);
    free_keys(&k);
    return t;
}

static void expect_same_ids(const char *name, const Tokenizer *a, const Tokenizer *b)
{
    char text[HOSTILE_BYTES_MAX];
    for (uint64_t seed = 0; seed < 2000; seed++) {
        IdBuf x = {0}, y = {0};
        const size_t n = hostile_text(text, seed);
        assert_int_equal(tokenizer_encode(a, text, n, TOKENIZER_PLAIN, &x, NULL), ST_OK);
        assert_int_equal(tokenizer_encode(b, text, n, TOKENIZER_PLAIN, &y, NULL), ST_OK);
        if (x.count != y.count || !same_bytes(x.data, y.data, (size_t)x.count * sizeof *x.data))
            fail_msg("%s: text %llu differs", name, (unsigned long long)seed);
        idbuf_free(&x);
        idbuf_free(&y);
    }
}

static void gguf_pre_names_mean_the_pipelines_of_the_families(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"gpt-2", "gpt2"}, {"default", "gpt2"}, {"smollm", "smollm"}, {"llama-bpe", "llama3"}, {"qwen2", "qwen2-nfc"},
        {"deepseek-r1-qwen", "qwen2-nfc"}, {"qwen35", "qwen35"}, {"deepseek-v3", "deepseek-v3"},
        {"deepseek-coder", "deepseek-coder"}, {"gpt-4o", "o200k"}, {"llama4", "o200k"}, {"tekken", "tekken"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        Tokenizer *a = open_keys(pairs[i][0]), *b = open_case(case_named(pairs[i][1]));
        expect_same_ids(pairs[i][0], a, b);
        tokenizer_destroy(a);
        tokenizer_destroy(b);
    }
}

/* One name of each pipeline, with the ids that added tokens make too. */
static void gguf_tokenizers_are_written_with_their_pipelines(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "qwen35", "gpt-4o", "tekken",
                                        "deepseek-v3", "deepseek-llm", "deepseek-coder"};
    static const char text[] = "<s>a<tool>b";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        Tokenizer *a = open_keys(names[i]), *b = rewritten(open_keys(names[i]));
        IdBuf x = {0}, y = {0};
        expect_same_ids(names[i], a, b);
        assert_int_equal(tokenizer_encode(a, text, strlen(text), TOKENIZER_SPECIAL | TOKENIZER_BOS, &x, NULL), ST_OK);
        assert_int_equal(tokenizer_encode(b, text, strlen(text), TOKENIZER_SPECIAL | TOKENIZER_BOS, &y, NULL), ST_OK);
        assert_int_equal(x.count, y.count);
        assert_memory_equal(x.data, y.data, (size_t)x.count * sizeof *x.data);
        idbuf_free(&x);
        idbuf_free(&y);
        tokenizer_destroy(a);
        tokenizer_destroy(b);
    }
}

static void gguf_token_types_make_added_tokens(void **state)
{
    (void)state;
    Tokenizer *t = open_keys("llama-bpe");
    IdBuf ids = {0};
    assert_true(tokenizer_is_special(t, 640));
    assert_true(tokenizer_is_added(t, 641));
    assert_false(tokenizer_is_special(t, 641));
    assert_int_equal(tokenizer_bos(t), 640);
    assert_int_equal(tokenizer_eos(t), -1); /* written as 2^32 - 1 */
    assert_true(tokenizer_adds_bos(t));     /* llama-bpe adds it unless the file says no */
    assert_int_equal(tokenizer_encode(t, "<s><tool>", 9, TOKENIZER_SPECIAL | TOKENIZER_BOS, &ids, NULL), ST_OK);
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.data[0], 640);
    assert_int_equal(ids.data[1], 640);
    assert_int_equal(ids.data[2], 641);
    ids.count = 0;
    assert_int_equal(tokenizer_encode(t, "<s><tool>", 9, 0, &ids, NULL), ST_OK);
    assert_int_equal(ids.data[ids.count - 1], 641);
    assert_int_not_equal(ids.data[0], 640);
    idbuf_free(&ids);
    tokenizer_destroy(t);
}

static void gguf_tokenizers_of_other_kinds_are_named(void **state)
{
    (void)state;
    Error err = {0};
    Tokenizer *t = NULL;
    FakeKeys k = fake_keys("no such name");
    assert_int_equal(tokenizer_from_kv(&t, &k.kv, &err), ST_UNSUPPORTED);
    assert_string_equal(err.msg, "tokenizer.ggml.pre 'no such name' is not supported");
    k.model = "llama";
    assert_int_equal(tokenizer_from_kv(&t, &k.kv, &err), ST_UNSUPPORTED);
    assert_string_equal(err.msg, "tokenizer.ggml.model 'llama' is not supported yet (only 'gpt2')");
    free_keys(&k);
}

/* ---- memory and threads ------------------------------------------------------------------------ */

static void every_failing_allocation_is_survived(void **state)
{
    (void)state;
    static const char *const names[] = {"qwen2-nfc", "llama3", "anchors-lazy-look", "byte-fallback"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        char *json = compose(case_named(names[k])), text[HOSTILE_BYTES_MAX];
        const size_t n = hostile_text(text, 4);
        memset(text + n, 'x', 200); /* a long piece as well */
        Status st = ST_NOMEM;
        for (int64_t fail = 1; st != ST_OK; fail++) {
            Tokenizer *t = NULL;
            IdBuf ids = {0};
            Error err = {0};
            mem_fail_at(fail);
            st = tokenizer_from_json(&t, (const uint8_t *)json, strlen(json), &err);
            if (st == ST_OK)
                st = tokenizer_encode(t, text, n + 200, TOKENIZER_SPECIAL | TOKENIZER_BOS, &ids, &err);
            mem_fail_at(0);
            if (st != ST_OK && (st != ST_NOMEM || ids.count != 0 || err.msg[0] == 0))
                fail_msg("%s, allocation %lld: %s", names[k], (long long)fail, err.msg);
            tokenizer_destroy(t);
            idbuf_free(&ids);
        }
        free(json);
    }
}

typedef struct {
    const Tokenizer *t;
    Digest digest[4];
} Shared;

static void encode_in_a_thread(void *arg, int thread, int threads)
{
    Shared *s = arg;
    (void)threads;
    s->digest[thread].fnv = 0xcbf29ce484222325u;
    digest_hostile(&s->digest[thread], s->t, 500, TOKENIZER_SPECIAL);
}

static void threads_may_share_a_tokenizer(void **state)
{
    (void)state;
    Tokenizer *t = open_case(case_named("deepseek-v3"));
    Shared shared = {.t = t};
    ThreadPool *pool = NULL;
    assert_int_equal(pool_create(&pool, 4, NULL), ST_OK);
    pool_run(pool, encode_in_a_thread, &shared);
    pool_destroy(pool);
    for (int i = 1; i < 4; i++)
        assert_int_equal(shared.digest[i].fnv, shared.digest[0].fnv);
    tokenizer_destroy(t);
}

static int load_vectors(void **state)
{
    (void)state;
    vectors = json_load_file("tests/vectors/tokenizer_cases.json", 0, NULL);
    return vectors ? 0 : -1;
}

static int free_vectors(void **state)
{
    (void)state;
    json_decref(vectors);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_cases_get_the_reference_ids),
        cmocka_unit_test(hostile_and_long_texts_get_the_reference_ids),
        cmocka_unit_test(a_written_tokenizer_gives_the_reference_ids_too),
        cmocka_unit_test(real_tokenizers_get_the_reference_ids),
        cmocka_unit_test(published_vectors_agree),
        cmocka_unit_test(deepseek_v4_encodes_its_published_examples),
        cmocka_unit_test(ids_of_wikitext_decode_and_encode_to_themselves),
        cmocka_unit_test(decoding_gives_the_bytes_back),
        cmocka_unit_test(streams_emit_whole_characters_only),
        cmocka_unit_test(a_stream_holds_back_half_a_character),
        cmocka_unit_test(special_tokens_can_be_left_out_of_decoding),
        cmocka_unit_test(plain_text_never_becomes_an_added_token),
        cmocka_unit_test(invalid_utf8_is_refused_and_named),
        cmocka_unit_test(ids_outside_the_vocabulary_are_refused),
        cmocka_unit_test(very_long_pieces_take_no_longer_than_they_must),
        cmocka_unit_test(the_first_ascii_leaves_are_the_first),
        cmocka_unit_test(what_is_not_understood_is_named),
        cmocka_unit_test(merges_may_stand_before_the_vocabulary),
        cmocka_unit_test(added_tokens_get_ids_behind_the_vocabulary),
        cmocka_unit_test(a_directory_brings_its_config),
        cmocka_unit_test(gguf_pre_names_mean_the_pipelines_of_the_families),
        cmocka_unit_test(gguf_tokenizers_are_written_with_their_pipelines),
        cmocka_unit_test(gguf_token_types_make_added_tokens),
        cmocka_unit_test(gguf_tokenizers_of_other_kinds_are_named),
        cmocka_unit_test(every_failing_allocation_is_survived),
        cmocka_unit_test(threads_may_share_a_tokenizer),
    };
    return cmocka_run_group_tests(tests, load_vectors, free_vectors);
}
