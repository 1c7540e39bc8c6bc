/* The one door: model directories, single files, what is missing or lies, config.json as a view, and
 * the shards that the writer makes.
 *
 * With arguments it copies a checkpoint through the writer, for oracle/check_safetensors.py:
 *     test_tensordir copy SOURCE TARGET SHARD-BYTES      (0: TARGET is one file) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mapfile.h"
#include "base/mem.h"
#include "formats/json_kv.h"
#include "formats/safetensors.h"
#include "formats/tensordir.h"
#include "formats/tensordir_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OK(call) assert_int_equal(call, ST_OK)

static char folder[] = "/tmp/plumb-test-XXXXXX";
static char model[PATH_MAX]; /* folder/model, made anew for every test */

static const char *in_model(char out[PATH_MAX], const char *name)
{
    CHECK(snprintf(out, PATH_MAX, "%.2000s/%s", model, name) < PATH_MAX);
    return out;
}

static void put(const char *name, const char *text)
{
    char path[PATH_MAX];
    OK(file_write_atomic(in_model(path, name), text, strlen(text), NULL));
}

/* One safetensors file with these float tensors of two elements each. */
static void put_weights(const char *name, const char *const *tensors)
{
    static const float values[2] = {1.5f, -2};
    SafetensorsItem items[8];
    int64_t n = 0;
    char path[PATH_MAX];
    for (; tensors[n]; n++)
        items[n] = (SafetensorsItem){tensors[n], DT_F32, 1, {2}, values};
    OK(safetensors_save(in_model(path, name), items, n, (const char *const[]){"format", "pt", NULL}, NULL));
}

static void clear_folder(const char *path)
{
    DIR *d = opendir(path);
    for (const struct dirent *e; d && (e = readdir(d));) {
        char file[PATH_MAX];
        if (e->d_name[0] != '.' && snprintf(file, sizeof file, "%.2000s/%s", path, e->d_name) < PATH_MAX)
            unlink(file);
    }
    if (d)
        closedir(d);
    rmdir(path);
}

static int make_model(void **state)
{
    (void)state;
    snprintf(model, sizeof model, "%s/model", folder);
    clear_folder(model);
    return mkdir(model, 0777);
}

static void refused(Status want, const char *const *parts)
{
    TensorDir *dir = NULL;
    Error err = {0};
    const Status st = tensordir_open(&dir, model, &err);
    assert_null(dir);
    for (; *parts; parts++)
        if (st != want || !strstr(err.msg, *parts))
            fail_msg("status %d (expected %d), message '%s' lacks '%s'", st, want, err.msg, *parts);
}

#define REFUSED(status, ...) refused(status, (const char *const[]){__VA_ARGS__, NULL})
#define TENSORS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- directories ---- */

static void a_directory_with_one_file_opens(void **state)
{
    (void)state;
    put("config.json", "{\"model_type\":\"llama\",\"rope_scaling\":{\"factor\":8}}");
    put_weights("model.safetensors", TENSORS("b", "a"));
    TensorDir *dir = NULL;
    OK(tensordir_open(&dir, model, NULL));
    assert_int_equal(tensordir_kind(dir), TENSORDIR_HF);
    assert_string_equal(tensordir_path(dir), model);
    assert_int_equal(tensordir_count(dir), 2);
    assert_int_equal(tensordir_file_count(dir), 1);
    assert_string_equal(tensordir_at(dir, 0)->name, "a");
    const TensorEntry *b = tensordir_find(dir, "b");
    assert_non_null(b);
    assert_int_equal(b->elements, 2);
    assert_true(((const float *)b->data)[0] == 1.5f);
    assert_null(tensordir_find(dir, "c"));
    assert_true(str_eq(kv_str(tensordir_kv(dir), "model_type"), "llama"));
    assert_int_equal(kv_int(tensordir_kv(dir), "rope_scaling.factor", 0), 8);
    tensordir_close(dir);
}

/* The same name in two shards: the index decides. Tensors it does not name are left out. */
static void tensors_come_from_the_shard_that_the_index_names(void **state)
{
    (void)state;
    char path[PATH_MAX];
    put("config.json", "{}");
    put_weights("two.safetensors", TENSORS("a", "b"));
    put_weights("one.safetensors", TENSORS("b", "c", "extra"));
    put("model.safetensors.index.json",
        "{\"metadata\":{\"total_size\":1},\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"two.safetensors\",\"c\":\"one.safetensors\"}}");
    TensorDir *dir = NULL;
    OK(tensordir_open(&dir, model, NULL));
    assert_int_equal(tensordir_count(dir), 3);
    assert_int_equal(tensordir_file_count(dir), 2);
    assert_string_equal(tensordir_file_path(dir, 0), in_model(path, "one.safetensors"));
    assert_int_equal(tensordir_find(dir, "b")->file, 1);
    assert_int_equal(tensordir_find(dir, "c")->file, 0);
    assert_null(tensordir_find(dir, "extra"));
    tensordir_close(dir);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    REFUSED(ST_NOTFOUND, "has no config.json", model);
    put("config.json", "{}");
    REFUSED(ST_NOTFOUND, model, "no weights: expected model.safetensors or model.safetensors.index.json");
    put("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}");
    put_weights("one.safetensors", TENSORS("a"));
    REFUSED(ST_NOTFOUND, "a file that model.safetensors.index.json names", "two.safetensors");
    put_weights("two.safetensors", TENSORS("x"));
    REFUSED(ST_CORRUPT, model, "names file 'two.safetensors' for tensor 'b', which is not in it");
    TensorDir *dir = NULL;
    Error err;
    assert_int_equal(tensordir_open(&dir, "/no/such/model", &err), ST_NOTFOUND);
    assert_non_null(strstr(err.msg, "/no/such/model"));
}

static void an_index_that_lies_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *index, *msg;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "JSON byte 19: expected a file name without separators, found '../x.safetensors'"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "without separators"},
        {"{\"weight_map\":{\"a\":\"b\\\\c\"}}", "without separators"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "without separators"},
        {"{\"weight_map\":{\"a\":\"\"}}", "without separators"},
        {"{\"weight_map\":{\"a\":\"b\\u0000c\"}}", "without separators"},
        {"{\"weight_map\":{\"a\":1}}", "JSON byte 19: expected a string, found a whole number"},
        {"{\"weight_map\":{\"a\":\"x\",\"a\":\"x\"}}", "JSON byte 23: tensor 'a' appears twice"},
        {"{\"weight_map\":[]}", "expected an object, found an array"},
        {"{\"weight_map\":{},\"weight_map\":{}}", "found a second"},
        {"{\"metadata\":{}}", "expected an object with 'weight_map'"},
        {"[]", "JSON byte 0: expected an object"},
        {"{\"weight_map\":{\"a\":\"x\"}", "found the end of the text"},
    };
    put("config.json", "{}");
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        put("model.safetensors.index.json", cases[k].index);
        REFUSED(ST_CORRUPT, "model.safetensors.index.json", cases[k].msg);
    }
}

static void errors_name_the_file(void **state)
{
    (void)state;
    char path[PATH_MAX];
    put("config.json", "{\"a\":}");
    REFUSED(ST_CORRUPT, "config.json': JSON byte 5: expected a value, found '}'");
    put("config.json", "{}");
    put("model.safetensors", "\2\0\0");
    REFUSED(ST_CORRUPT, "model.safetensors': expected at least 8 bytes of a safetensors file, found 1");
    TensorDir *dir = NULL;
    Error err;
    put("x.gguf", "GGUF");
    assert_int_equal(tensordir_open(&dir, in_model(path, "x.gguf"), &err), ST_CORRUPT);
    assert_non_null(strstr(err.msg, "x.gguf': byte 4: expected 4 bytes for the version, the file has 0 left"));
    put("x.bin", "hello, this is no model");
    assert_int_equal(tensordir_open(&dir, in_model(path, "x.bin"), &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "x.bin': expected a GGUF file, a safetensors file or a model directory"));
    put("empty.gguf", "");
    assert_int_equal(tensordir_open(&dir, in_model(path, "empty.gguf"), &err), ST_CORRUPT);
    put("empty.safetensors", "");
    assert_int_equal(tensordir_open(&dir, in_model(path, "empty.safetensors"), &err), ST_CORRUPT);
}

static void a_single_file_shows_its_metadata(void **state)
{
    (void)state;
    TensorDir *dir = NULL;
    Error err;
    if (tensordir_open(&dir, "tests/vectors/reference.safetensors", &err) != ST_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(tensordir_kind(dir), TENSORDIR_SAFETENSORS);
    assert_true(str_eq(kv_str(tensordir_kv(dir), "format"), "pt"));
    tensordir_close(dir);
}

/* ---- config.json as a view ---- */

static void config_members_have_dotted_keys(void **state)
{
    (void)state;
    static const char text[] =
        "{\"architectures\": [\"LlamaForCausalLM\"], \"rms_norm_eps\": 1e-05, \"head_dim\": null, \"big\": 18446744073709551615,"
        " \"tie\": true, \"rope\": {\"type\": \"yarn\", \"inner\": {\"factor\": 40}}, \"eos\": [1, 2.5, \"x\\n\", null, [3]],"
        " \"layers\": [{\"kind\": \"a\"}, {\"kind\": \"b\", \"sizes\": [7]}], \"none\": {}}";
    JsonKv *k = NULL;
    Error err;
    if (json_kv_parse(&k, text, sizeof text - 1, &err) != ST_OK)
        fail_msg("%s", err.msg);
    const Kv *kv = json_kv_view(k);
    KvValue v, item;
    assert_true(kv_float(kv, "rms_norm_eps", 0) == 1e-05);
    assert_false(kv_has(kv, "head_dim"));
    assert_true(kv->get(kv, "head_dim", &v));
    assert_true(kv_bool(kv, "tie", false));
    assert_true(kv_float(kv, "big", 0) == 18446744073709551616.0);
    assert_int_equal(kv_int(kv, "rope.inner.factor", 0), 40);
    assert_true(kv->get(kv, "rope", &v));
    assert_int_equal(v.type, KV_OBJECT);
    assert_int_equal(v.count, 2);
    assert_true(kv->get(kv, "none", &v));
    assert_int_equal(v.count, 0);
    assert_true(kv->get(kv, "eos", &v));
    assert_int_equal(v.count, 5);
    static const KvType types[] = {KV_INT, KV_FLOAT, KV_STRING, KV_NULL, KV_ARRAY};
    const void *cursor = NULL;
    for (int n = 0; n < 5; n++) {
        assert_true(kv->next(kv, &v, &cursor, &item));
        assert_int_equal(item.type, types[n]);
        if (n == 2)
            assert_true(str_eq(item.s, "x\n"));
    }
    const void *inner = NULL;
    const KvValue nested = item;
    assert_true(kv->next(kv, &nested, &inner, &item));
    assert_int_equal(item.i, 3);
    assert_false(kv->next(kv, &nested, &inner, &item));
    assert_false(kv->next(kv, &v, &cursor, &item));
    assert_true(str_eq(kv_str(kv, "layers.1.kind"), "b"));
    assert_true(kv->get(kv, "layers.1.sizes", &v));
    assert_int_equal(v.count, 1);
    assert_true(str_eq(kv->at(kv, 0, &v), "architectures"));
    assert_true(str_eq(kv->at(kv, 6, &v), "rope.type"));
    json_kv_destroy(k);
}

static void config_texts_that_lie_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *msg;
    } cases[] = {
        {"[]", "expected an object, found an array"},
        {"{\"a\":1,\"a\":2}", "JSON byte 7: expected one value for 'a', found a second"},
        {"{\"a\":{\"b\":1},\"a.b\":2}", "expected one value for 'a.b'"},
        {"{\"a\":1} 2", "expected the end of the text"},
        {"{\"a\":[1,}", "JSON byte 8"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        JsonKv *kv = NULL;
        Error err = {0};
        assert_int_equal(json_kv_parse(&kv, cases[k].text, strlen(cases[k].text), &err), ST_CORRUPT);
        if (!strstr(err.msg, cases[k].msg))
            fail_msg("%s: '%s'", cases[k].text, err.msg);
    }
}

/* A key of 8 MB around 100 small ones would need 800 MB of dotted keys. */
static void config_texts_cannot_grow_without_limit(void **state)
{
    (void)state;
    const size_t n = (size_t)8 << 20;
    char *text = mem_alloc(n + 2000, 1);
    size_t len = 0;
    memcpy(text, "{\"", 2);
    memset(text + 2, 'k', n);
    len = n + 2;
    len += (size_t)snprintf(text + len, 20, "\":{\"x\":0");
    for (int k = 0; k < 100; k++)
        len += (size_t)snprintf(text + len, 20, ",\"%d\":1", k);
    len += (size_t)snprintf(text + len, 20, "}}");
    JsonKv *kv = NULL;
    Error err = {0};
    assert_int_equal(json_kv_parse(&kv, text, len, &err), ST_CORRUPT);
    assert_non_null(strstr(err.msg, "bytes of keys and strings"));
    mem_free(text);
}

/* ---- shards that we write ---- */

MUST_USE static Status copy_checkpoint(const char *source, const char *target, uint64_t shard_bytes, Error *err)
{
    TensorDir *dir = NULL;
    SafetensorsWriter *w = NULL;
    Status st = ST_OK;
    TRY(tensordir_open(&dir, source, err));
    TRY(safetensors_writer_create(&w, err));
    TRY(safetensors_writer_meta(w, "format", "pt", err));
    for (int64_t k = 0; k < tensordir_count(dir); k++) {
        const TensorEntry *t = tensordir_at(dir, k);
        TRY(safetensors_writer_declare(w, t->name, t->dtype, t->ndim, t->dims, err));
    }
    TRY(safetensors_writer_begin(w, target, shard_bytes, err));
    for (int64_t k = 0; k < tensordir_count(dir); k++) {
        const TensorEntry *t = tensordir_at(dir, k);
        TRY(safetensors_writer_write(w, t->name, t->data, t->bytes, err));
    }
    TRY(safetensors_writer_finish(w, err));
out:
    safetensors_writer_destroy(w);
    tensordir_close(dir);
    return st;
}

static void sharded_checkpoints_read_back(void **state)
{
    (void)state;
    static const struct {
        uint64_t shard_bytes;
        int files;
    } cases[] = {{1, 22}, {64, 5}, {1 << 20, 1}}; /* 23 tensors of up to 16 bytes, one of them empty */
    TensorDir *want = NULL, *got = NULL;
    OK(tensordir_open(&want, "tests/vectors/reference.safetensors", NULL));
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        Error err;
        make_model(NULL);
        put("config.json", "{}");
        if (copy_checkpoint("tests/vectors/reference.safetensors", model, cases[k].shard_bytes, &err) != ST_OK ||
            tensordir_open(&got, model, &err) != ST_OK)
            fail_msg("%s", err.msg);
        assert_int_equal(tensordir_count(got), tensordir_count(want));
        assert_int_equal(tensordir_file_count(got), cases[k].files);
        for (int64_t n = 0; n < tensordir_count(want); n++) {
            const TensorEntry *a = tensordir_at(want, n), *b = tensordir_find(got, a->name);
            assert_non_null(b);
            assert_int_equal(a->bytes, b->bytes);
            assert_memory_equal(a->data, b->data, a->bytes);
        }
        tensordir_close(got);
    }
    tensordir_close(want);
}

/* ---- real checkpoints ---- */

/* The headers of a real 48-shard checkpoint, each in front of a hole as long as its data. */
static void a_real_index_of_48_shards_opens(void **state)
{
    (void)state;
    const char *root = getenv("PLUMB_SHARED");
    char source[1024];
    snprintf(source, sizeof source, "%.500s/data/checkpoint-meta/v4-flash-0731-reap160", root ? root : "../shared");
    char path[PATH_MAX], target[PATH_MAX];
    uint8_t *data = NULL;
    size_t size;
    snprintf(path, sizeof path, "%s/config.json", source);
    if (access(path, R_OK) != 0) {
        print_message("skipped: a_real_index_of_48_shards_opens (no %s)\n", path);
        skip();
    }
    OK(file_read_all(&data, &size, path, 1 << 24, NULL));
    OK(file_write_atomic(in_model(target, "config.json"), data, size, NULL));
    mem_free(data);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", source);
    OK(file_read_all(&data, &size, path, 1 << 24, NULL));
    OK(file_write_atomic(in_model(target, "model.safetensors.index.json"), data, size, NULL));
    mem_free(data);
    uint64_t total = 0;
    for (int k = 1; k <= 48; k++) {
        char name[64];
        snprintf(name, sizeof name, "model-%05d-of-00048.safetensors", k);
        snprintf(path, sizeof path, "%s/headers/%s.json", source, name);
        OK(file_read_all(&data, &size, path, 1 << 24, NULL));
        uint64_t end = 0;
        for (const char *p = (char *)data; (p = strstr(p, "\"data_offsets\": [")); p++) {
            const uint64_t e = strtoull(strchr(p, ',') + 1, NULL, 10);
            end = e > end ? e : end;
        }
        const int fd = open(in_model(target, name), O_WRONLY | O_CREAT | O_TRUNC, 0666);
        const uint64_t n = size;
        assert_int_equal(write(fd, &n, 8), 8);
        assert_int_equal(write(fd, data, size), size);
        const bool holes = ftruncate(fd, (off_t)(8 + n + end)) == 0;
        close(fd);
        mem_free(data);
        if (!holes) {
            print_message("skipped: a_real_index_of_48_shards_opens (no sparse files in /tmp)\n");
            skip();
        }
        total += end;
    }
    assert_int_equal(total, 107803320952);
    TensorDir *dir = NULL;
    Error err;
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (tensordir_open(&dir, model, &err) != ST_OK)
        fail_msg("%s", err.msg);
    clock_gettime(CLOCK_MONOTONIC, &b);
    print_message("opened in %.0f ms\n", (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6);
    assert_int_equal(tensordir_count(dir), 45821);
    assert_int_equal(tensordir_file_count(dir), 48);
    uint64_t bytes = 0;
    for (int64_t k = 0; k < tensordir_count(dir); k++)
        bytes += tensordir_at(dir, k)->bytes;
    assert_int_equal(bytes, total);
    tensordir_close(dir);
}

static void the_real_smollm2_opens(void **state)
{
    (void)state;
    const char *path = getenv("PLUMB_SMOLLM2");
    if (!path) {
        print_message("skipped: the_real_smollm2_opens (PLUMB_SMOLLM2 does not name the file)\n");
        skip();
    }
    TensorDir *dir = NULL;
    Error err;
    if (tensordir_open(&dir, path, &err) != ST_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(tensordir_count(dir), 272);
    assert_int_equal(kv_int(tensordir_kv(dir), "llama.block_count", 0), 30);
    const TensorEntry *t = tensordir_find(dir, "blk.0.attn_k.weight");
    assert_int_equal(t->dims[0], 192);
    assert_int_equal(t->dims[1], 576);
    tensordir_close(dir);
}

/* ---- memory ---- */

static void check_failures(const char *path)
{
    int failures = 0;
    for (int n = 1;; n++, failures++) {
        TensorDir *dir = NULL;
        Error err = {0};
        mem_fail_at(n);
        const Status st = tensordir_open(&dir, path, &err);
        mem_fail_at(0);
        if (st == ST_OK) {
            tensordir_close(dir);
            break;
        }
        assert_null(dir);
        if (st != ST_NOMEM || !strstr(err.msg, "no memory"))
            fail_msg("%s: allocation %d: status %d, '%s'", path, n, st, err.msg);
    }
    assert_true(failures > 8);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    put("config.json", "{\"a\":\"x\",\"b\":[1,{\"c\":2}]}");
    put_weights("two.safetensors", TENSORS("a", "b"));
    put_weights("one.safetensors", TENSORS("c"));
    put("model.safetensors.index.json",
        "{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"two.safetensors\",\"c\":\"one.safetensors\"}}");
    check_failures(model);
    check_failures("tests/vectors/reference.safetensors");
    check_failures("tests/vectors/sample.gguf");
    check_failures("tests/vectors/split-00001-of-00003.gguf");
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    clear_folder(model);
    return rmdir(folder);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "copy") == 0) {
        Error err;
        if (copy_checkpoint(argv[2], argv[3], strtoull(argv[4], NULL, 10), &err) == ST_OK)
            return 0;
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
#define TEST(f) cmocka_unit_test_setup(f, make_model)
    const struct CMUnitTest tests[] = {
        TEST(a_directory_with_one_file_opens),
        TEST(tensors_come_from_the_shard_that_the_index_names),
        TEST(what_is_missing_is_named),
        TEST(an_index_that_lies_is_refused),
        TEST(errors_name_the_file),
        TEST(a_single_file_shows_its_metadata),
        TEST(config_members_have_dotted_keys),
        TEST(config_texts_that_lie_are_refused),
        TEST(config_texts_cannot_grow_without_limit),
        TEST(sharded_checkpoints_read_back),
        TEST(a_real_index_of_48_shards_opens),
        TEST(the_real_smollm2_opens),
        TEST(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
