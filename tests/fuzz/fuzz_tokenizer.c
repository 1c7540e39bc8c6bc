/* tokenizer.json and texts. The input is a tokenizer.json, a zero byte, and a text (arbitrary bytes); without
 * the zero byte the whole input is the file, and itself the text. What opens must encode every text
 * without a fault, give ids of its vocabulary, and decode them; a text that is not valid UTF-8 must be
 * refused where utf8_valid_prefix says so. Written and read back, it gives the same ids. */
#include "base/buf.h"
#include "base/error.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_save.h"
#include "tokenizer/unicode.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const Tokenizer *t, const IdBuf *ids)
{
    Error err = {0};
    ByteBuf bytes = {0}, stream_bytes = {0};
    TokenStream stream;
    CHECK(tokenizer_decode(t, ids->data, ids->count, false, &bytes, &err) == ST_OK);
    tokenstream_init(&stream, t, false);
    for (int64_t i = 0; i < ids->count; i++)
        CHECK(tokenstream_push(&stream, ids->data[i], &stream_bytes, &err) == ST_OK);
    CHECK(tokenstream_flush(&stream, &stream_bytes, &err) == ST_OK);
    CHECK(utf8_valid_prefix(stream_bytes.data, stream_bytes.count) == stream_bytes.count);
    if (utf8_valid_prefix(bytes.data, bytes.count) == bytes.count) {
        CHECK(bytes.count == stream_bytes.count);
        CHECK(bytes.count == 0 || memcmp(bytes.data, stream_bytes.data, bytes.count) == 0);
    }
    bytebuf_free(&bytes);
    bytebuf_free(&stream_bytes);
}

static void encode(const Tokenizer *t, const char *text, size_t n, unsigned flags)
{
    Error err = {0};
    IdBuf ids = {0};
    const Status st = tokenizer_encode(t, text, n, flags, &ids, &err);
    CHECK(st == ST_OK || st == ST_INVALID || st == ST_NOMEM);
    CHECK(st == ST_OK || ids.count == 0);
    CHECK(utf8_valid_prefix((const uint8_t *)text, n) == n || st == ST_INVALID);
    bool known = true; /* a template may name ids that the vocabulary lacks */
    for (int64_t i = 0; i < ids.count; i++)
        known = known && tokenizer_id_bytes(t, ids.data[i]).ptr;
    CHECK(known || (flags & TOKENIZER_BOS));
    if (known)
        decode(t, &ids);
    idbuf_free(&ids);
}

static void expect_same(const Tokenizer *a, const Tokenizer *b, const char *text, size_t n, unsigned flags)
{
    IdBuf x = {0}, y = {0};
    const Status st = tokenizer_encode(a, text, n, flags, &x, NULL);
    CHECK(tokenizer_encode(b, text, n, flags, &y, NULL) == st);
    CHECK(x.count == y.count);
    CHECK(x.count == 0 || memcmp(x.data, y.data, (size_t)x.count * sizeof *x.data) == 0);
    idbuf_free(&x);
    idbuf_free(&y);
}

static void write_and_read_back(const Tokenizer *t, const char *text, size_t n)
{
    Error err = {0};
    ByteBuf json = {0}, config = {0};
    Tokenizer *back = NULL;
    CHECK(tokenizer_write(t, &json, &err) == ST_OK);
    CHECK(tokenizer_write_config(t, &(TokenizerExtras){.pad = 0}, &config, &err) == ST_OK);
    CHECK(tokenizer_from_json(&back, json.data, json.count, &err) == ST_OK);
    CHECK(tokenizer_vocab_size(back) == tokenizer_vocab_size(t));
    expect_same(t, back, text, n, TOKENIZER_SPECIAL | TOKENIZER_BOS);
    expect_same(t, back, text, n, TOKENIZER_PLAIN);
    tokenizer_destroy(back);
    bytebuf_free(&json);
    bytebuf_free(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Tokenizer *t = NULL;
    Error err = {0};
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    const size_t json = zero ? (size_t)(zero - data) : size;
    if (tokenizer_from_json(&t, data, json, &err) != ST_OK) {
        CHECK(err.msg[0] != 0 && !t);
        return 0;
    }
    const char *text = zero ? (const char *)zero + 1 : (const char *)data;
    const size_t n = zero ? size - json - 1 : size;
    encode(t, text, n, TOKENIZER_SPECIAL | TOKENIZER_BOS);
    encode(t, text, n, 0);
    encode(t, text, n, TOKENIZER_PLAIN);
    write_and_read_back(t, text, n);
    tokenizer_destroy(t);
    return 0;
}
