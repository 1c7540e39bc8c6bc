/* Conversations as ids of the real SmolLM2 tokenizer, against the reference library's (recorded). The model is
 * $PLUMB_TEST_MODEL, or the default one of the model store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "chat/chat.h"
#include "formats/tensordir.h"
#include "store/store.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *find_model(void)
{
    const char *const given = getenv("PLUMB_TEST_MODEL");
    if (given && *given)
        return mem_strdup(given);
    Store *store = NULL;
    Catalogue *catalogue = NULL;
    char *path = NULL;
    if (store_open(&store, NULL, NULL) != ST_OK || catalogue_open(&catalogue, NULL) != ST_OK ||
        store_resolve(store, catalogue, NULL, &path, NULL) != ST_OK)
        path = NULL;
    store_close(store);
    catalogue_close(catalogue);
    return path;
}

static ChatRole role_of(const char *name)
{
    return strcmp(name, "system") == 0 ? CHAT_SYSTEM : strcmp(name, "user") == 0 ? CHAT_USER : CHAT_ASSISTANT;
}

static void check_case(const ChatFormat *f, const json_t *c)
{
    const char *const name = json_string_value(json_object_get(c, "name"));
    const json_t *const want = json_object_get(c, "ids"), *const want_loss = json_object_get(c, "loss");
    ChatMessage m[32];
    size_t j, n = 0;
    json_t *message;
    json_array_foreach(json_object_get(c, "messages"), j, message) {
        assert_true(n < 32);
        m[n++] = (ChatMessage){role_of(json_string_value(json_object_get(message, "role"))),
                               json_string_value(json_object_get(message, "content")), NULL};
    }
    IdBuf ids = {0};
    ByteBuf loss = {0};
    Error err = {0};
    const unsigned flags = json_is_true(json_object_get(c, "generation")) ? CHAT_GENERATION_PROMPT : 0;
    if (chat_render(f, m, (int64_t)n, flags, &ids, &loss, &err) != ST_OK)
        fail_msg("%s: %s", name, err.msg);
    if (ids.count != (int64_t)json_array_size(want))
        fail_msg("%s: %d ids, expected %d", name, (int)ids.count, (int)json_array_size(want));
    for (int64_t i = 0; i < ids.count; i++) {
        if (ids.data[i] != json_integer_value(json_array_get(want, (size_t)i)))
            fail_msg("%s: id %d at %d", name, ids.data[i], (int)i);
        if (want_loss && loss.data[i] != json_integer_value(json_array_get(want_loss, (size_t)i)))
            fail_msg("%s: loss %d at %d", name, loss.data[i], (int)i);
    }
    idbuf_free(&ids);
    bytebuf_free(&loss);
}

static void ids_and_loss_are_the_references(void **state)
{
    (void)state;
    char *const path = find_model();
    if (!path) {
        puts("skipped: ids_and_loss_are_the_references (SmolLM2 is not in the model store)");
        skip();
    }
    TensorDir *dir = NULL;
    Tokenizer *tokenizer = NULL;
    ChatFormat *f = NULL;
    Error err = {0};
    if (tensordir_open(&dir, path, &err) != ST_OK ||
        tokenizer_from_kv(&tokenizer, tensordir_kv(dir), &err) != ST_OK ||
        chat_format_open(&f, tensordir_kv(dir), path, tokenizer, &err) != ST_OK)
        fail_msg("%s", err.msg);
    json_t *const root = json_load_file("tests/vectors/chat_chatml.json", 0, NULL);
    assert_non_null(root);
    const json_t *const format = json_array_get(json_object_get(root, "formats"), 0);
    assert_string_equal(json_string_value(json_object_get(format, "name")), "smollm2");
    assert_string_equal(chat_format_template(f), json_string_value(json_object_get(format, "template")));
    size_t k;
    json_t *c;
    json_array_foreach(json_object_get(format, "cases"), k, c)
        check_case(f, c);
    json_decref(root);
    chat_format_close(f);
    tokenizer_destroy(tokenizer);
    tensordir_close(dir);
    mem_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_and_loss_are_the_references)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
