/* The DeepSeek-V4 conversation: the official case and the community template's renderings (recorded), which
 * ids carry loss, that texts never become markers, and that an answer begins where its prompt ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "chat/answer.h"
#include "chat/chat_internal.h"
#include "v4_words.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- metadata ----------------------------------------------------------------------------------- */

typedef struct {
    Kv kv;
    const char *key, *value; /* one text */
    bool architectures, drafter;
} SomeKeys;

static bool some_get(const Kv *kv, const char *key, KvValue *out)
{
    const SomeKeys *const k = (const SomeKeys *)kv;
    if (k->key && strcmp(key, k->key) == 0) {
        *out = (KvValue){.type = KV_STRING, .s = {k->value, strlen(k->value)}};
        return true;
    }
    if (k->architectures && strcmp(key, "architectures") == 0) {
        *out = (KvValue){.type = KV_ARRAY, .count = 1};
        return true;
    }
    if (k->drafter && strcmp(key, "dspark_block_size") == 0) {
        *out = (KvValue){.type = KV_INT, .i = 5, .f = 5};
        return true;
    }
    return false;
}

static bool some_next(const Kv *kv, const KvValue *array, const void **cursor, KvValue *out)
{
    (void)kv;
    (void)array;
    if (*cursor)
        return false;
    *cursor = "end";
    *out = (KvValue){.type = KV_STRING, .s = {"DeepseekV4ForCausalLM", 21}};
    return true;
}

#define KEYS(...) {.kv = {.get = some_get, .next = some_next}, __VA_ARGS__}
static const SomeKeys first_release = KEYS(.key = "model_type", .value = "deepseek_v4");
static const SomeKeys later_release = KEYS(.key = "model_type", .value = "deepseek_v4", .drafter = true);

static ChatFormat *must_open(const SomeKeys *keys, const Tokenizer *t)
{
    Error err = {0};
    ChatFormat *f = NULL;
    if (chat_format_open(&f, &keys->kv, "/nowhere", t, &err) != ST_OK)
        fail_msg("%s", err.msg);
    return f;
}

static void a_deepseek_v4_model_with_the_markers_has_the_format(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        SomeKeys keys;
        size_t markers;
        bool is;
    } cases[] = {
        {"model_type", KEYS(.key = "model_type", .value = "deepseek_v4"), V4_MARKERS, true},
        {"architectures", KEYS(.architectures = true), V4_MARKERS, true},
        {"GGUF", KEYS(.key = "general.architecture", .value = "deepseek4"), V4_MARKERS, true},
        {"another model", KEYS(.key = "model_type", .value = "deepseek_v3"), V4_MARKERS, false},
        {"no </think>", KEYS(.key = "model_type", .value = "deepseek_v4"), V4_THINK_END, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Tokenizer *const t = v4_tokenizer(cases[i].markers);
        ChatFormat *f = NULL;
        const Status st = chat_format_open(&f, &cases[i].keys.kv, "/nowhere", t, NULL);
        if ((st == ST_OK) != cases[i].is)
            fail_msg("%s: %s", cases[i].name, status_text(st));
        if (cases[i].is) {
            int64_t n;
            const int32_t *const stops = chat_format_stop_ids(f, &n);
            assert_string_equal(chat_format_name(f), "deepseek-v4");
            assert_null(chat_format_template(f));
            assert_null(chat_format_default_system(f));
            assert_true(chat_format_thinks(f) && chat_format_has_modes(f));
            assert_int_equal(stops[0], V4_EOS);
            assert_int_equal(stops[n - 1], V4_USER);
        }
        chat_format_close(f);
        tokenizer_destroy(t);
    }
    Tokenizer *const t = v4_tokenizer(V4_THINK_END);
    ChatFormat *f = NULL;
    Error err = {0};
    assert_int_equal(chat_format_deepseek_v4(&f, t, &err), ST_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "</think>"));
    tokenizer_destroy(t);
}

/* ---- recorded renderings ------------------------------------------------------------------------ */

static int64_t read_messages(const json_t *list, ChatMessage *m, size_t most)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) {
        assert_true(i < most);
        const char *const role = json_string_value(json_object_get(item, "role"));
        m[i] = (ChatMessage){*role == 's' ? CHAT_SYSTEM : *role == 'u' ? CHAT_USER : CHAT_ASSISTANT,
                             json_string_value(json_object_get(item, "content")),
                             json_string_value(json_object_get(item, "reasoning_content"))};
    }
    return (int64_t)json_array_size(list);
}

static unsigned read_flags(const json_t *c)
{
    const char *const effort = json_string_value(json_object_get(c, "effort"));
    return (json_is_true(json_object_get(c, "generation")) ? CHAT_GENERATION_PROMPT : 0) |
           (json_is_true(json_object_get(c, "thinking")) ? CHAT_THINK : 0) |
           (json_is_true(json_object_get(c, "keep")) ? CHAT_KEEP_THINKING : 0) |
           (strcmp(effort, "high") == 0 ? CHAT_EFFORT_HIGH : strcmp(effort, "max") == 0 ? CHAT_EFFORT_MAX : 0);
}

/* Loss must be on exactly: thinking </think> content EOS. */
static void check_loss(const char *name, const IdBuf *ids, const ByteBuf *loss)
{
    bool answer = false;
    assert_int_equal(ids->count, loss->count);
    for (int64_t i = 0; i < ids->count; i++) {
        const int32_t id = ids->data[i];
        const bool opens = i > 0 && ids->data[i - 1] == V4_ASSISTANT && (id == V4_THINK || id == V4_THINK_END);
        if ((loss->data[i] != 0) != (answer && !opens))
            fail_msg("%s: loss %d on id %d, number %d", name, loss->data[i], id, (int)i);
        if (opens)
            answer = true;
        else if (id == V4_EOS)
            answer = false;
    }
}

static void renders_what_the_references_render(void **state)
{
    (void)state;
    json_t *const root = json_load_file("tests/vectors/chat_v4.json", 0, NULL);
    Tokenizer *const t = v4_tokenizer(V4_MARKERS);
    ChatFormat *const f = must_open(&later_release, t);
    size_t i;
    json_t *c;
    assert_non_null(root);
    json_array_foreach(json_object_get(root, "cases"), i, c) {
        const char *const name = json_string_value(json_object_get(c, "name"));
        const char *const want = json_string_value(json_object_get(c, "text"));
        ChatMessage m[16];
        char *text = NULL;
        IdBuf ids = {0};
        ByteBuf loss = {0}, bytes = {0};
        const int64_t n = read_messages(json_object_get(c, "messages"), m, 16);
        assert_int_equal(chat_render_text(f, m, n, read_flags(c), &text, NULL), ST_OK);
        if (strcmp(text, want) != 0)
            fail_msg("%s: rendered %s", name, text);
        assert_int_equal(chat_render(f, m, n, read_flags(c), &ids, &loss, NULL), ST_OK);
        assert_int_equal(tokenizer_decode(t, ids.data, ids.count, false, &bytes, NULL), ST_OK);
        assert_int_equal(bytes.count, strlen(want));
        assert_memory_equal(bytes.data, want, bytes.count);
        check_loss(name, &ids, &loss);
        mem_free(text);
        idbuf_free(&ids);
        bytebuf_free(&loss);
        bytebuf_free(&bytes);
    }
    assert_true(i >= 70);
    chat_format_close(f);
    tokenizer_destroy(t);
    json_decref(root);
}

/* ---- ids ---------------------------------------------------------------------------------------- */

static void check_ids(const ChatFormat *f, const ChatMessage *m, int64_t n, unsigned flags, const int32_t *want,
                      const char *want_loss)
{
    IdBuf ids = {0};
    ByteBuf loss = {0};
    assert_int_equal(chat_render(f, m, n, flags, &ids, &loss, NULL), ST_OK);
    assert_int_equal(ids.count, strlen(want_loss));
    for (int64_t i = 0; i < ids.count; i++) {
        assert_int_equal(ids.data[i], want[i]);
        assert_int_equal(loss.data[i] + '0', want_loss[i]);
    }
    idbuf_free(&ids);
    bytebuf_free(&loss);
}

static void the_published_vocabulary_gives_the_published_ids(void **state)
{
    (void)state;
    const char *const shared = getenv("PLUMB_SHARED");
    char path[1024];
    snprintf(path, sizeof path, "%s/data/tokenizers/deepseek-v4", shared ? shared : "../shared");
    Tokenizer *t = NULL;
    if (access(path, R_OK) != 0) {
        puts("skipped: the_published_vocabulary_gives_the_published_ids (no ../shared/data/tokenizers)");
        skip();
    }
    assert_int_equal(tokenizer_open(&t, path, NULL), ST_OK);
    ChatFormat *f = NULL;
    assert_int_equal(chat_format_deepseek_v4(&f, t, NULL), ST_OK);
    const ChatMessage m[] = {{CHAT_USER, "你好", NULL}, {CHAT_ASSISTANT, "答案", "推理"}};
    /* Specification §5.4, 7; the BOS in front. */
    check_ids(f, m, 2, CHAT_THINK, (const int32_t[]){0, 128803, 30594, 128804, 128821, 36101, 128822, 7624, 1},
              "000001111");
    check_ids(f, m, 2, 0, (const int32_t[]){0, 128803, 30594, 128804, 128822, 7624, 1}, "0000011");
    check_ids(f, m, 1, CHAT_THINK | CHAT_GENERATION_PROMPT, (const int32_t[]){0, 128803, 30594, 128804, 128821},
              "00000");
    chat_format_close(f);
    tokenizer_destroy(t);
}

static void the_first_releases_know_one_effort(void **state)
{
    (void)state;
    Tokenizer *const t = v4_tokenizer(V4_MARKERS);
    ChatFormat *const f = must_open(&first_release, t), *const g = must_open(&later_release, t);
    const ChatMessage m = {CHAT_USER, "Hi", NULL};
    static const struct {
        unsigned flags;
        const char *first, *later; /* the beginning of the effort */
    } cases[] = {
        {CHAT_THINK, "<｜User｜>", "<｜User｜>"},
        {CHAT_THINK | CHAT_EFFORT_HIGH, "<｜User｜>", "Reasoning Effort: Absolute"},
        {CHAT_THINK | CHAT_EFFORT_MAX, "Reasoning Effort: Absolute", "Reasoning Effort: Beyond"},
        {CHAT_EFFORT_MAX, "<｜User｜>", "<｜User｜>"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int k = 0; k < 2; k++) {
            const char *const want = k ? cases[i].later : cases[i].first;
            char *text = NULL;
            assert_int_equal(chat_render_text(k ? g : f, &m, 1, cases[i].flags, &text, NULL), ST_OK);
            assert_memory_equal(text + strlen(v4_markers[V4_BOS]), want, strlen(want));
            mem_free(text);
        }
    chat_format_close(f);
    chat_format_close(g);
    tokenizer_destroy(t);
}

static void loss_can_be_kept_to_the_last_answer(void **state)
{
    (void)state;
    Tokenizer *const t = v4_tokenizer(V4_MARKERS);
    ChatFormat *const f = must_open(&first_release, t);
    const ChatMessage m[] = {{CHAT_USER, "a", NULL}, {CHAT_ASSISTANT, "b", "x"},
                             {CHAT_USER, "c", NULL}, {CHAT_ASSISTANT, "d", "y"}};
    IdBuf ids = {0};
    ByteBuf loss = {0};
    assert_int_equal(chat_render(f, m, 4, CHAT_THINK | CHAT_LOSS_LAST, &ids, &loss, NULL), ST_OK);
    /* BOS User a Assistant </think> b EOS User c Assistant <think> y </think> d EOS */
    assert_int_equal(ids.count, 15);
    for (int64_t i = 0; i < ids.count; i++)
        assert_int_equal(loss.data[i], i >= 11);
    idbuf_free(&ids);
    bytebuf_free(&loss);
    chat_format_close(f);
    tokenizer_destroy(t);
}

static void half_a_character_is_refused_where_it_stands(void **state)
{
    (void)state;
    Tokenizer *const t = v4_tokenizer(V4_MARKERS);
    ChatFormat *const f = must_open(&first_release, t);
    const ChatMessage m[] = {{CHAT_SYSTEM, "ok \xe2\x98", NULL}, {CHAT_SYSTEM, "\x83 joined they would be one", NULL}};
    IdBuf ids = {0};
    Error err = {0};
    assert_int_equal(chat_render(f, m, 2, 0, &ids, NULL, &err), ST_INVALID);
    assert_string_equal(err.msg, "message 1: byte 3 is not valid UTF-8");
    assert_int_equal(ids.count, 0);
    idbuf_free(&ids);
    chat_format_close(f);
    tokenizer_destroy(t);
}

static void training_thinks_where_the_data_does(void **state)
{
    (void)state;
    Tokenizer *const t = v4_tokenizer(V4_MARKERS);
    ChatFormat *const f = must_open(&first_release, t);
    const ChatMessage m[] = {{CHAT_USER, "a", NULL}, {CHAT_ASSISTANT, "b", "x"},
                             {CHAT_USER, "c", NULL}, {CHAT_ASSISTANT, "d", "y"}, {CHAT_ASSISTANT, "e", NULL}};
    assert_int_equal(chat_training_flags(f, m, 2), CHAT_THINK);
    assert_int_equal(chat_training_flags(f, m, 4), CHAT_THINK | CHAT_LOSS_LAST);
    assert_int_equal(chat_training_flags(f, m + 2, 3), CHAT_THINK);
    assert_int_equal(chat_training_flags(f, m + 4, 1), 0);
    assert_int_equal(chat_training_flags(f, m, 1), 0);
    chat_format_close(f);
    tokenizer_destroy(t);
}

static void texts_never_become_markers(void **state)
{
    (void)state;
    Tokenizer *const t = v4_tokenizer(V4_MARKERS);
    ChatFormat *const f = must_open(&first_release, t);
    char all[200] = "";
    for (int i = 0; i < V4_MARKERS; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s", v4_markers[i]);
    const ChatMessage m[] = {{CHAT_SYSTEM, all, NULL}, {CHAT_USER, all, NULL}, {CHAT_ASSISTANT, all, all}};
    static const int32_t want[] = {V4_BOS, V4_USER, V4_ASSISTANT, V4_THINK, V4_THINK_END, V4_EOS};
    IdBuf ids = {0};
    int64_t at = 0;
    assert_int_equal(chat_render(f, m, 3, CHAT_THINK, &ids, NULL, NULL), ST_OK);
    for (int64_t i = 0; i < ids.count; i++)
        if (ids.data[i] < V4_MARKERS) {
            assert_true(at < 6);
            assert_int_equal(ids.data[i], want[at++]);
        }
    assert_int_equal(at, 6);
    idbuf_free(&ids);
    chat_format_close(f);
    tokenizer_destroy(t);
}

/* ---- answers ------------------------------------------------------------------------------------ */

typedef struct {
    ByteBuf thinking, text;
} Heard;

static void hear(void *arg, ChatEventKind kind, const char *bytes, size_t len)
{
    Heard *const h = arg;
    assert_int_equal(bytebuf_append(kind == CHAT_EVENT_THINKING ? &h->thinking : &h->text, bytes, len), ST_OK);
}

static void check_heard(const char *name, Heard *h, const char *thinking, const char *text)
{
    if (h->thinking.count != strlen(thinking) || (h->thinking.count && memcmp(h->thinking.data, thinking, h->thinking.count)))
        fail_msg("%s: thinking '%.*s'", name, (int)h->thinking.count, (const char *)h->thinking.data);
    if (h->text.count != strlen(text) || (h->text.count && memcmp(h->text.data, text, h->text.count)))
        fail_msg("%s: text '%.*s'", name, (int)h->text.count, (const char *)h->text.data);
    bytebuf_free(&h->thinking);
    bytebuf_free(&h->text);
}

static void an_answer_begins_where_its_prompt_ended(void **state)
{
    (void)state;
    static const struct {
        const char *name, *answer;
        unsigned flags;
        const char *thinking, *text;
    } cases[] = {
        {"thinking and text", "1+1=02</think>2", CHAT_THINK, "1+1=02", "2"},
        {"white space is kept", "\n a \n</think>\n\nb ", CHAT_THINK, "\n a \n", "\n\nb "},
        {"nothing thought", "</think>b", CHAT_THINK, "", "b"},
        {"never ends", "a < b </thin", CHAT_THINK, "a < b </thin", ""},
        {"half a tag twice", "</</think>x</think>", CHAT_THINK, "</", "x</think>"},
        {"without thinking", "2", 0, "", "2"},
        {"tags are text without thinking", "a</think>b", 0, "", "a</think>b"},
    };
    Tokenizer *const t = v4_tokenizer(V4_MARKERS);
    ChatFormat *const f = must_open(&first_release, t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int cut = 1; cut < 6; cut++) {
            Heard h = {0};
            ChatParser *p = NULL;
            const size_t len = strlen(cases[i].answer);
            assert_int_equal(chat_parser_create(&p, f, cases[i].flags, hear, &h, NULL), ST_OK);
            for (size_t at = 0; at < len; at += (size_t)cut)
                chat_parser_feed(p, cases[i].answer + at, len - at < (size_t)cut ? len - at : (size_t)cut);
            chat_parser_finish(p);
            chat_parser_destroy(p);
            check_heard(cases[i].name, &h, cases[i].thinking, cases[i].text);
        }
    chat_format_close(f);
    tokenizer_destroy(t);
}

static void a_rendered_answer_is_heard_as_it_was(void **state)
{
    (void)state;
    Tokenizer *const t = v4_tokenizer(V4_MARKERS);
    ChatFormat *const f = must_open(&first_release, t);
    const ChatMessage m[] = {{CHAT_USER, "1+1", NULL}, {CHAT_ASSISTANT, "\n2.", "that is 2\n"}};
    for (unsigned flags = 0; flags <= CHAT_THINK; flags += CHAT_THINK) {
        IdBuf prompt = {0}, ids = {0};
        Heard h = {0};
        ChatAnswer *a = NULL;
        assert_int_equal(chat_render(f, m, 1, flags | CHAT_GENERATION_PROMPT, &prompt, NULL, NULL), ST_OK);
        assert_int_equal(chat_render(f, m, 2, flags, &ids, NULL, NULL), ST_OK);
        assert_memory_equal(ids.data, prompt.data, (size_t)prompt.count * sizeof *ids.data);
        assert_int_equal(chat_answer_create(&a, f, t, flags, NULL, 0, hear, &h, NULL), ST_OK);
        assert_true(chat_answer_is_thinking(a) == (flags != 0));
        for (int64_t i = prompt.count; i < ids.count; i++)
            assert_int_equal(chat_answer_push(a, ids.data[i], NULL), ST_OK);
        assert_int_equal(chat_answer_finish(a, NULL), ST_OK);
        assert_true((chat_answer_thinking_tokens(a) > 0) == (flags != 0));
        chat_answer_destroy(a);
        check_heard("answer", &h, flags ? m[1].thinking : "", m[1].content);
        idbuf_free(&prompt);
        idbuf_free(&ids);
    }
    chat_format_close(f);
    tokenizer_destroy(t);
}

static void lack_of_memory_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    Tokenizer *const t = v4_tokenizer(V4_MARKERS);
    const ChatMessage m[] = {{CHAT_SYSTEM, "s", NULL}, {CHAT_USER, "a", NULL}, {CHAT_ASSISTANT, "b", "x"}};
    Status st = ST_NOMEM;
    for (int64_t n = 1; st != ST_OK; n++) {
        ChatFormat *f = NULL;
        char *text = NULL;
        IdBuf ids = {0};
        ByteBuf loss = {0};
        Error err = {0};
        mem_fail_at(n);
        st = chat_format_open(&f, &first_release.kv, "/nowhere", t, &err);
        if (st == ST_OK)
            st = chat_render(f, m, 3, CHAT_THINK, &ids, &loss, &err);
        if (st == ST_OK)
            st = chat_render_text(f, m, 3, CHAT_THINK, &text, &err);
        mem_fail_at(0);
        if (st != ST_OK) {
            assert_int_equal(st, ST_NOMEM);
            assert_true(err.msg[0] != 0);
        }
        mem_free(text);
        idbuf_free(&ids);
        bytebuf_free(&loss);
        chat_format_close(f);
        assert_true(n < 200);
    }
    tokenizer_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deepseek_v4_model_with_the_markers_has_the_format),
        cmocka_unit_test(renders_what_the_references_render),
        cmocka_unit_test(the_published_vocabulary_gives_the_published_ids),
        cmocka_unit_test(the_first_releases_know_one_effort),
        cmocka_unit_test(loss_can_be_kept_to_the_last_answer),
        cmocka_unit_test(half_a_character_is_refused_where_it_stands),
        cmocka_unit_test(training_thinks_where_the_data_does),
        cmocka_unit_test(texts_never_become_markers),
        cmocka_unit_test(an_answer_begins_where_its_prompt_ended),
        cmocka_unit_test(a_rendered_answer_is_heard_as_it_was),
        cmocka_unit_test(lack_of_memory_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
