/* Conversations: what is added and dropped, and the files they are saved in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "cli/conversation.h"
#include "cli/state_dir.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void add(Conversation *c, ChatRole role, const char *text, const char *thinking)
{
    assert_int_equal(conversation_add(c, role, text, strlen(text), thinking, thinking ? strlen(thinking) : 0, NULL),
                     ST_OK);
}

static void check_message(const Conversation *c, size_t i, ChatRole role, const char *text, const char *thinking)
{
    assert_true(i < c->count);
    assert_int_equal(c->items[i].role, role);
    assert_string_equal(c->items[i].content, text);
    if (thinking)
        assert_string_equal(c->items[i].thinking, thinking);
    else
        assert_null(c->items[i].thinking);
}

static void the_sample_of_version_1_loads(void **state)
{
    (void)state;
    Conversation c = {0};
    Error err = {0};
    if (conversation_load(&c, "tests/vectors/session-v1.json", &err) != ST_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(c.count, 5);
    check_message(&c, 0, CHAT_SYSTEM, "Be brief.", NULL);
    check_message(&c, 1, CHAT_USER, "Which city?\nOnly its name, \"please\" – with é and 😀.", NULL);
    check_message(&c, 2, CHAT_ASSISTANT, "Parisé!", "hm.");
    check_message(&c, 4, CHAT_ASSISTANT, "", NULL);
    assert_string_equal(conversation_system(&c), "Be brief.");
    conversation_free(&c);
}

static void what_is_saved_loads_again_and_is_nobody_elses(void **state)
{
    (void)state;
    char path[] = "/tmp/plumb-session-XXXXXX";
    Conversation c = {0}, d = {0};
    Error err = {0};
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    chmod(path, 0644); /* an old file with other rights is replaced */
    add(&c, CHAT_USER, "a\t\"b\"\\ \x01 é\n", NULL);
    add(&c, CHAT_ASSISTANT, "", "x");
    assert_int_equal(conversation_save(&c, path, "m", &err), ST_OK);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(conversation_load(&d, path, &err), ST_OK);
    assert_int_equal(d.count, 2);
    check_message(&d, 0, CHAT_USER, "a\t\"b\"\\ \x01 é\n", NULL);
    check_message(&d, 1, CHAT_ASSISTANT, "", "x");
    json_t *const root = json_load_file(path, 0, NULL); /* somebody else's reader agrees that it is JSON */
    assert_non_null(root);
    assert_int_equal(json_integer_value(json_object_get(root, "version")), 1);
    assert_string_equal(json_string_value(json_object_get(root, "model")), "m");
    json_decref(root);
    unlink(path);
    conversation_free(&c);
    conversation_free(&d);
}

static void what_is_wrong_is_named_and_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        Status status;
        const char *message;
    } cases[] = {
        {"", ST_CORRUPT, "byte 0"},
        {"[]", ST_CORRUPT, "an object"},
        {"{}", ST_CORRUPT, "no \"version\""},
        {"{\"version\":1}", ST_CORRUPT, "no \"messages\""},
        {"{\"version\":2,\"messages\":[]}", ST_UNSUPPORTED, "version 2, this program reads 1"},
        {"{\"version\":\"1\",\"messages\":[]}", ST_CORRUPT, "a string"},
        {"{\"version\":1,\"messages\":{}}", ST_CORRUPT, "an array"},
        {"{\"version\":1,\"messages\":[1]}", ST_CORRUPT, "a message"},
        {"{\"version\":1,\"messages\":[{\"role\":\"user\"}]}", ST_CORRUPT, "without role or content"},
        {"{\"version\":1,\"messages\":[{\"role\":\"tool\",\"content\":\"\"}]}", ST_CORRUPT, "role 'tool'"},
        {"{\"version\":1,\"messages\":[{\"role\":\"user\",\"content\":null}]}", ST_CORRUPT, "null"},
        {"{\"version\":1,\"messages\":[]} x", ST_CORRUPT, "byte 28"},
        {"{\"version\":1,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}", ST_CORRUPT, "byte 54"},
    };
    Conversation c = {0};
    add(&c, CHAT_USER, "stays", NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error err = {0};
        const Status st = conversation_parse(&c, cases[i].text, strlen(cases[i].text), &err);
        if (st != cases[i].status || !strstr(err.msg, cases[i].message))
            fail_msg("%s: status %d, %s", cases[i].text, st, err.msg);
        assert_int_equal(c.count, 1);
        check_message(&c, 0, CHAT_USER, "stays", NULL);
    }
    Error err = {0};
    assert_int_equal(conversation_load(&c, "/nonexistent/x.json", &err), ST_NOTFOUND);
    static const char newer[] = "{\"version\":1,\"new\":[{}],\"messages\":[{\"role\":\"user\",\"more\":1,\"content\":\"a\"}]}";
    assert_int_equal(conversation_parse(&c, newer, strlen(newer), &err), ST_OK); /* unknown keys are skipped */
    check_message(&c, 0, CHAT_USER, "a", NULL);
    conversation_free(&c);
}

static void the_system_text_is_the_first_message(void **state)
{
    (void)state;
    Conversation c = {0};
    assert_null(conversation_system(&c));
    assert_int_equal(conversation_set_system(&c, NULL, NULL), ST_OK);
    add(&c, CHAT_USER, "u", NULL);
    assert_int_equal(conversation_set_system(&c, "one", NULL), ST_OK);
    assert_int_equal(conversation_set_system(&c, "two", NULL), ST_OK);
    assert_int_equal(c.count, 2);
    check_message(&c, 0, CHAT_SYSTEM, "two", NULL);
    check_message(&c, 1, CHAT_USER, "u", NULL);
    assert_int_equal(conversation_set_system(&c, NULL, NULL), ST_OK);
    assert_int_equal(c.count, 1);
    check_message(&c, 0, CHAT_USER, "u", NULL);
    ChatMessage m = conversation_take_last(&c);
    assert_int_equal(c.count, 0);
    conversation_put_back(&c, m);
    check_message(&c, 0, CHAT_USER, "u", NULL);
    conversation_drop_last(&c);
    conversation_drop_last(&c);
    assert_int_equal(conversation_add(&c, CHAT_USER, "a\0b", 3, NULL, 0, NULL), ST_OK);
    check_message(&c, 0, CHAT_USER, "a\xef\xbf\xbd" "b", NULL);
    conversation_free(&c);
}

static void lack_of_memory_changes_nothing(void **state)
{
    (void)state;
    static const char text[] = "{\"version\":1,\"messages\":[{\"role\":\"user\",\"content\":\"a\\n\",\"thinking\":\"b\"}]}";
    Status st = ST_NOMEM;
    for (int64_t k = 1; st != ST_OK; k++) {
        Conversation c = {0};
        Error err = {0};
        mem_fail_at(k);
        st = conversation_parse(&c, text, strlen(text), &err);
        const size_t read = c.count;
        if (st == ST_OK)
            st = conversation_set_system(&c, "s", &err);
        if (st == ST_OK)
            st = conversation_save(&c, "/tmp/plumb-session-nomem", "m", &err);
        mem_fail_at(0);
        assert_true(st == ST_OK || (st == ST_NOMEM && err.msg[0]));
        assert_true(c.count >= read);
        conversation_free(&c);
    }
    unlink("/tmp/plumb-session-nomem");
}

static void the_state_directory_follows_the_environment(void **state)
{
    (void)state;
    static const struct {
        const char *own, *xdg, *home, *expected;
    } cases[] = {
        {"/s", "/x", "/h", "/s/sessions/a"},
        {NULL, "/x", "/h", "/x/plumb/sessions/a"},
        {"", "relative", "/h", "/h/.local/state/plumb/sessions/a"},
        {NULL, NULL, "/h", "/h/.local/state/plumb/sessions/a"},
        {NULL, NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const names[] = {"PLUMB_STATE_DIR", "XDG_STATE_HOME", "HOME"};
        const char *const values[] = {cases[i].own, cases[i].xdg, cases[i].home};
        for (int k = 0; k < 3; k++)
            values[k] ? setenv(names[k], values[k], 1) : unsetenv(names[k]);
        char *path = NULL;
        Error err = {0};
        const Status st = state_path(&path, "sessions", "a", false, &err);
        assert_int_equal(st, cases[i].expected ? ST_OK : ST_NOTFOUND);
        if (cases[i].expected)
            assert_string_equal(path, cases[i].expected);
        mem_free(path);
    }
    char dir[] = "/tmp/plumb-state-XXXXXX", inner[100];
    assert_non_null(mkdtemp(dir));
    snprintf(inner, sizeof inner, "%s/a/b", dir);
    setenv("PLUMB_STATE_DIR", inner, 1);
    char *path = NULL;
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(state_path(&path, "sessions", "x", true, NULL), ST_OK);
        mem_free(path);
    }
    struct stat info;
    strncat(inner, "/sessions", sizeof inner - strlen(inner) - 1);
    assert_int_equal(stat(inner, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    char command[200];
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sample_of_version_1_loads),
        cmocka_unit_test(what_is_saved_loads_again_and_is_nobody_elses),
        cmocka_unit_test(what_is_wrong_is_named_and_changes_nothing),
        cmocka_unit_test(the_system_text_is_the_first_message),
        cmocka_unit_test(lack_of_memory_changes_nothing),
        cmocka_unit_test(the_state_directory_follows_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
