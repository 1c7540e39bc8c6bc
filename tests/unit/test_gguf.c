/* GGUF: what the reference package wrote is read as its own reader reads it, real files open, and files
 * that lie are refused with one error that names what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "formats/gguf.h"
#include "formats/tensor_table.h"
#include "formats/tensordir.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint8_t *load(const char *path, size_t *size)
{
    uint8_t *data = NULL;
    Error err;
    if (file_read_all(&data, size, path, 1 << 24, &err) != ST_OK)
        fail_msg("%s", err.msg);
    return data;
}

/* ---- against the listings of oracle/gguf_vectors.py ---- */

#define OK(call) assert_int_equal(call, ST_OK)

static void list_value(ByteBuf *b, const Kv *kv, const KvValue *v)
{
    uint64_t bits;
    switch (v->type) {
    case KV_BOOL: OK(bytebuf_printf(b, "%s", v->b ? "true" : "false")); break;
    case KV_INT: OK(bytebuf_printf(b, "int %lld", (long long)v->i)); break;
    case KV_FLOAT:
        memcpy(&bits, &v->f, 8);
        OK(bytebuf_printf(b, "float %016llx", (unsigned long long)bits));
        break;
    case KV_STRING:
        OK(bytebuf_printf(b, "string "));
        for (size_t k = 0; k < v->s.len; k++)
            OK(bytebuf_printf(b, "%02x", (uint8_t)v->s.ptr[k]));
        break;
    case KV_ARRAY: {
        KvValue item;
        const void *cursor = NULL;
        int64_t n = 0;
        OK(bytebuf_printf(b, "["));
        for (; kv->next(kv, v, &cursor, &item); n++) {
            OK(bytebuf_printf(b, "%s", n ? "," : ""));
            list_value(b, kv, &item);
        }
        assert_int_equal(n, v->count);
        OK(bytebuf_printf(b, "]"));
        break;
    }
    default: fail_msg("unexpected type %d", v->type);
    }
}

static void list(ByteBuf *b, const TensorDir *dir)
{
    const Kv *kv = tensordir_kv(dir);
    for (int64_t k = 0; k < kv->count(kv); k++) {
        KvValue v;
        const Str key = kv->at(kv, k, &v);
        OK(bytebuf_printf(b, "key %.*s ", (int)key.len, key.ptr));
        list_value(b, kv, &v);
        OK(bytebuf_printf(b, "\n"));
    }
    for (int64_t k = 0; k < tensordir_count(dir); k++) {
        const TensorEntry *t = tensordir_at(dir, k);
        char shape[SHAPE_TEXT_MAX];
        uint64_t h = 0xcbf29ce484222325u;
        for (size_t i = 0; i < t->bytes; i++)
            h = (h ^ ((const uint8_t *)t->data)[i]) * 0x100000001b3u;
        OK(bytebuf_printf(b, "tensor %s %s %s %zu %d %llu %016llx\n", t->name, dtype_info(t->dtype)->name,
                          tensor_shape_text(shape, t->ndim, t->dims), t->bytes, t->file,
                          (unsigned long long)t->offset, (unsigned long long)h));
    }
}

static void check_listing(const char *path, const char *listing)
{
    TensorDir *dir;
    Error err;
    size_t size;
    if (tensordir_open(&dir, path, &err) != ST_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(tensordir_kind(dir), TENSORDIR_GGUF);
    ByteBuf b = {0};
    list(&b, dir);
    uint8_t *want = load(listing, &size);
    const size_t first_line = strcspn((char *)want, "\n") + 1; /* it names versions */
    assert_string_equal(bytebuf_cstr(&b), (char *)want + first_line);
    mem_free(want);
    bytebuf_free(&b);
    tensordir_close(dir);
}

static void reader_finds_what_the_reference_reader_finds(void **state)
{
    (void)state;
    check_listing("tests/vectors/sample.gguf", "tests/vectors/sample.gguf.txt");
}

static void split_files_open_as_one(void **state)
{
    (void)state;
    check_listing("tests/vectors/split-00001-of-00003.gguf", "tests/vectors/split.gguf.txt");
    TensorDir *dir;
    Error err;
    assert_int_equal(tensordir_open(&dir, "tests/vectors/split-00002-of-00003.gguf", &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "part 2 of 3, expected the first"));
}

/* ---- real files, when they are there ---- */

static const char *shared_path(char out[PATH_MAX], const char *name)
{
    const char *root = getenv("PLUMB_SHARED");
    snprintf(out, PATH_MAX, "%s/%s", root ? root : "../shared", name);
    return out;
}

static void real_vocabularies_open(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        int64_t tokens;
        const char *model, *first, *last;
    } files[] = {
        {"data/tokenizers/gguf/ggml-vocab-gpt-2.gguf", 50257, "gpt2", "!", "<|endoftext|>"},
        {"data/tokenizers/gguf/ggml-vocab-llama-spm.gguf", 32000, "llama", "<unk>", "\xe7\xbb\x99"},
        {"data/tokenizers/gguf/ggml-vocab-deepseek-llm.gguf", 102400, "gpt2", "!", NULL},
    };
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        char path[PATH_MAX];
        TensorDir *dir;
        Error err;
        if (access(shared_path(path, files[k].path), R_OK) != 0) {
            print_message("skipped: real_vocabularies_open (no %s)\n", path);
            skip();
        }
        if (tensordir_open(&dir, path, &err) != ST_OK)
            fail_msg("%s", err.msg);
        const Kv *kv = tensordir_kv(dir);
        assert_true(str_eq(kv_str(kv, "tokenizer.ggml.model"), files[k].model));
        KvValue v, item = {.type = KV_NULL};
        assert_true(kv->get(kv, "tokenizer.ggml.tokens", &v));
        assert_int_equal(v.type, KV_ARRAY);
        assert_int_equal(v.count, files[k].tokens);
        const void *cursor = NULL;
        int64_t n = 0;
        for (; kv->next(kv, &v, &cursor, &item); n++)
            if (n == 0)
                assert_true(str_eq(item.s, files[k].first));
        assert_int_equal(n, files[k].tokens);
        if (files[k].last)
            assert_true(str_eq(item.s, files[k].last));
        assert_false(kv_has(kv, "no.such.key"));
        tensordir_close(dir);
    }
}

/* ---- files that lie ---- */

typedef struct {
    const char *magic;
    uint32_t version;
    uint64_t tensors, keys; /* as the header says */
    uint32_t key_type;      /* of "k", whose value is `value` */
    const uint8_t *value;
    size_t value_bytes;
    const char *key2; /* second key, a u8 */
    uint64_t key2_length; /* as the file says; 0: true */
    uint64_t alignment;   /* 0: no such key */
    const char *name2;
    uint32_t ndim, type;
    uint64_t dims[4];
    uint64_t offset1, offset2;
    size_t data_bytes;
    size_t cut; /* bytes taken from the end */
} Spec;

static void put_bytes(ByteBuf *b, const void *p, size_t n)
{
    OK(bytebuf_append(b, p, n));
}

static void put_u32(ByteBuf *b, uint32_t v)
{
    put_bytes(b, &v, 4);
}

static void put_u64(ByteBuf *b, uint64_t v)
{
    put_bytes(b, &v, 8);
}

static void put_string(ByteBuf *b, const char *s, uint64_t length)
{
    put_u64(b, length ? length : strlen(s));
    put_bytes(b, s, strlen(s));
}

static void put_info(ByteBuf *b, const Spec *s, const char *name, uint64_t offset)
{
    put_string(b, name, 0);
    put_u32(b, s->ndim);
    for (uint32_t k = 0; k < s->ndim && k < 4; k++)
        put_u64(b, s->dims[k]);
    put_u32(b, s->type);
    put_u64(b, offset);
}

/* A file of two or three keys and two tensors, "a" and name2, in a block exactly as long as the file. */
static uint8_t *build(const Spec *s, size_t *size)
{
    ByteBuf b = {0};
    put_bytes(&b, s->magic, 4);
    put_u32(&b, s->version);
    put_u64(&b, s->tensors);
    put_u64(&b, s->keys);
    put_string(&b, "k", 0);
    put_u32(&b, s->key_type);
    put_bytes(&b, s->value, s->value_bytes);
    put_string(&b, s->key2, s->key2_length);
    put_u32(&b, 0);
    put_bytes(&b, "\x05", 1);
    if (s->alignment) {
        put_string(&b, "general.alignment", 0);
        put_u32(&b, 10);
        put_u64(&b, s->alignment);
    }
    put_info(&b, s, "a", s->offset1);
    put_info(&b, s, s->name2, s->offset2);
    while (b.count % 32)
        put_bytes(&b, "", 1);
    for (size_t k = 0; k < s->data_bytes; k++)
        put_bytes(&b, "", 1);
    *size = b.count - s->cut;
    uint8_t *f = mem_alloc(*size, 1);
    memcpy(f, b.data, *size);
    bytebuf_free(&b);
    return f;
}

static Spec good(void)
{
    return (Spec){.magic = "GGUF", .version = 3, .tensors = 2, .keys = 2, .key_type = 4, .value = (const uint8_t *)"\7\0\0\0",
                  .value_bytes = 4, .key2 = "l", .name2 = "b", .ndim = 2, .type = 0, .dims = {3, 2, 0, 0},
                  .offset1 = 0, .offset2 = 32, .data_bytes = 56};
}

static Status open_spec(const Spec *s, Error *err)
{
    size_t size;
    uint8_t *f = build(s, &size);
    TensorTable t = {0};
    Gguf *g = NULL;
    const Status st = gguf_read(&g, &t, f, size, 0, err);
    gguf_destroy(g);
    tensor_table_free(&t);
    mem_free(f);
    return st;
}

static void refused(const char *name, Spec s, Status want, const char *msg)
{
    Error err = {0};
    const Status st = open_spec(&s, &err);
    if (st != want || !strstr(err.msg, msg))
        fail_msg("%s: status %d (expected %d), message '%s'", name, st, want, err.msg);
}

#define REFUSED(status, msg, ...)                      \
    do {                                               \
        Spec s = good();                               \
        __VA_ARGS__;                                   \
        refused(#__VA_ARGS__, s, status, msg);         \
    } while (0)

static void the_good_file_is_good(void **state)
{
    (void)state;
    Error err = {0};
    Spec s = good();
    if (open_spec(&s, &err) != ST_OK)
        fail_msg("%s", err.msg);
    s.version = 2;
    assert_int_equal(open_spec(&s, &err), ST_OK);
    s = good();
    s.alignment = 8, s.keys = 3, s.offset2 = 24, s.data_bytes = 48; /* tightly packed */
    if (open_spec(&s, &err) != ST_OK)
        fail_msg("%s", err.msg);
    s = good();
    s.ndim = 0, s.data_bytes = 36; /* scalars */
    if (open_spec(&s, &err) != ST_OK)
        fail_msg("%s", err.msg);
}

static void headers_that_lie_are_refused(void **state)
{
    (void)state;
    REFUSED(ST_CORRUPT, "byte 0: expected \"GGUF\"", s.magic = "GGUX");
    REFUSED(ST_UNSUPPORTED, "GGUF version 1, expected 2 or 3", s.version = 1);
    REFUSED(ST_UNSUPPORTED, "GGUF version 4, expected 2 or 3", s.version = 4);
    REFUSED(ST_UNSUPPORTED, "GGUF version 0", s.version = 0);
    REFUSED(ST_UNSUPPORTED, "big-endian", s.version = 0x03000000);
    REFUSED(ST_CORRUPT, "byte 8: 1000000 tensors, expected at most", s.tensors = 1000000);
    REFUSED(ST_CORRUPT, "byte 8: 18446744073709551615 tensors", s.tensors = UINT64_MAX);
    REFUSED(ST_CORRUPT, "byte 16: 4611686018427387904 keys, expected at most", s.keys = (uint64_t)1 << 62);
    REFUSED(ST_CORRUPT, "key 'k': byte 33: value type 13, expected at most 12", s.key_type = 13);
    REFUSED(ST_CORRUPT, "key 'k': byte 41: it appears a second time", s.key2 = "k");
    REFUSED(ST_CORRUPT, "byte 41: the length of a key is 4294967296", s.key2_length = (uint64_t)1 << 32);
    REFUSED(ST_CORRUPT, "the length of a key is 18446744073709551615", s.key2_length = UINT64_MAX);
    REFUSED(ST_CORRUPT, "key 'general.alignment': 3, expected a power of two", s.alignment = 3, s.keys = 3);
    REFUSED(ST_CORRUPT, "key 'general.alignment': 9223372036854775807", s.alignment = UINT64_MAX, s.keys = 3);
}

/* type, count, then elements */
static void arrays_that_lie_are_refused(void **state)
{
    (void)state;
    static const uint8_t huge[12] = {0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255};
    static const uint8_t many_strings[12] = {8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0};
    static const uint8_t bad_type[12] = {13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    REFUSED(ST_CORRUPT, "key 'k': byte 37: its value of type 9 does not fit", s.key_type = 9, s.value = huge, s.value_bytes = 12);
    REFUSED(ST_CORRUPT, "key 'k': byte 37", s.key_type = 9, s.value = many_strings, s.value_bytes = 12);
    REFUSED(ST_CORRUPT, "key 'k': byte 37", s.key_type = 9, s.value = bad_type, s.value_bytes = 12);
    uint8_t deep[12 * (GGUF_ARRAY_DEPTH_MAX + 1)] = {0};
    for (int k = 0; k <= GGUF_ARRAY_DEPTH_MAX; k++) {
        deep[12 * k] = k < GGUF_ARRAY_DEPTH_MAX ? 9 : 0;
        deep[12 * k + 4] = k < GGUF_ARRAY_DEPTH_MAX;
    }
    REFUSED(ST_CORRUPT, "nests deeper than 8", s.key_type = 9, s.value = deep, s.value_bytes = sizeof deep);
    Spec s = good();
    s.key_type = 9, s.value = deep + 12, s.value_bytes = sizeof deep - 12;
    assert_int_equal(open_spec(&s, NULL), ST_OK);
}

static void tensors_that_lie_are_refused(void **state)
{
    (void)state;
    REFUSED(ST_CORRUPT, "tensor 'a' appears twice", s.name2 = "a");
    REFUSED(ST_CORRUPT, "empty name", s.name2 = "");
    REFUSED(ST_CORRUPT, "tensor 'a': byte 64: 5 dimensions, expected at most 4", s.ndim = 5);
    REFUSED(ST_CORRUPT, "tensor 'a': byte 68: dimension 9223372036854775808", s.dims[0] = (uint64_t)1 << 63);
    REFUSED(ST_CORRUPT, "63 bits", s.dims[0] = s.dims[1] = (uint64_t)1 << 32);
    REFUSED(ST_CORRUPT, "64 bits", s.dims[0] = (uint64_t)1 << 62, s.dims[1] = 1);
    REFUSED(ST_UNSUPPORTED, "tensor 'a': byte 84: GGUF type 4 is not one", s.type = 4);
    REFUSED(ST_CORRUPT, "does not fill blocks of 32", s.type = 8);
    REFUSED(ST_CORRUPT, "does not fill blocks of 32", s.type = 8, s.dims[0] = 16); /* 2 rows of 16 are no block */
    REFUSED(ST_CORRUPT, "tensor 'b': byte 129: offset 33, expected a multiple of 32", s.offset2 = 33);
    REFUSED(ST_CORRUPT, "tensor 'b': 24 bytes at offset 64 of the data (from byte 160), the file has 216", s.offset2 = 64);
    REFUSED(ST_CORRUPT, "tensor 'b': 24 bytes at offset 18446744073709551584", s.offset2 = UINT64_MAX - 31);
    REFUSED(ST_CORRUPT, "the file has 215 bytes", s.cut = 1);
    REFUSED(ST_CORRUPT, "tensor 'a' ends at byte 184, but 'b' begins at byte 160", s.offset2 = 0);
    REFUSED(ST_CORRUPT, "tensor 'a' ends at byte 200, but 'b' begins at byte 192", s.dims[0] = 5, s.data_bytes = 100);
}

/* Walk everything that a view can hand out. */
static void walk(const Gguf *g)
{
    const Kv *kv = gguf_kv(g);
    for (int64_t k = 0; k < kv->count(kv); k++) {
        KvValue v;
        kv->at(kv, k, &v);
        ByteBuf b = {0};
        list_value(&b, kv, &v);
        bytebuf_free(&b);
    }
}

static void damaged_files_do_no_harm(void **state)
{
    (void)state;
    size_t size;
    uint8_t *data = load("tests/vectors/sample.gguf", &size);
    const size_t head = 1600;
    for (size_t n = 0; n < size; n += n < head ? 1 : 37) {
        uint8_t *cut = mem_alloc(n, 1);
        memcpy(cut, data, n);
        TensorTable t = {0};
        Gguf *g = NULL;
        Error err = {0};
        if (gguf_read(&g, &t, cut, n, 0, &err) != ST_CORRUPT && n < size - 56) /* the last padding may be cut */
            fail_msg("a file of %zu bytes: '%s'", n, err.msg);
        gguf_destroy(g);
        tensor_table_free(&t);
        mem_free(cut);
    }
    static const uint8_t masks[] = {0x01, 0x10, 0x80, 0xff};
    uint8_t *copy = mem_alloc(size, 1);
    for (size_t n = 0; n < 4 * head; n++) {
        memcpy(copy, data, size);
        copy[n / 4] ^= masks[n % 4];
        TensorTable t = {0};
        Gguf *g = NULL;
        if (gguf_read(&g, &t, copy, size, 0, NULL) == ST_OK)
            walk(g);
        gguf_destroy(g);
        tensor_table_free(&t);
    }
    mem_free(copy);
    mem_free(data);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    size_t size;
    uint8_t *data = load("tests/vectors/sample.gguf", &size);
    int failures = 0;
    for (int n = 1;; n++, failures++) {
        TensorTable t = {0};
        Gguf *g = NULL;
        mem_fail_at(n);
        const Status st = gguf_read(&g, &t, data, size, 0, NULL);
        mem_fail_at(0);
        gguf_destroy(g);
        tensor_table_free(&t);
        if (st == ST_OK)
            break;
        assert_int_equal(st, ST_NOMEM);
    }
    assert_true(failures >= 6);
    mem_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_finds_what_the_reference_reader_finds),
        cmocka_unit_test(split_files_open_as_one),
        cmocka_unit_test(real_vocabularies_open),
        cmocka_unit_test(the_good_file_is_good),
        cmocka_unit_test(headers_that_lie_are_refused),
        cmocka_unit_test(arrays_that_lie_are_refused),
        cmocka_unit_test(tensors_that_lie_are_refused),
        cmocka_unit_test(damaged_files_do_no_harm),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
