/* A small pull reader for JSON that is too large for a tree: file headers, indexes, tokenizers.
 *
 * The caller holds the text; the reader walks it once and hands out one token a call, without memory
 * of its own unless a string has escapes. It is strict RFC 8259 with these decisions:
 *  - Text and strings are UTF-8. Invalid UTF-8 (overlong forms, surrogates, above U+10FFFF), an escape
 *    of a lone surrogate, and raw control bytes in strings are errors. \u0000 is allowed, also in keys.
 *  - A whole number in the range of int64 is JSON_TOK_INT, exact; any other number is JSON_TOK_DOUBLE, the
 *    nearest double. A number that rounds to infinity is an error. NaN and Infinity are not JSON.
 *  - At most JSON_DEPTH_MAX open containers. One value, then only white space. No byte order mark.
 *  - Duplicate keys are handed out as they come; whether they are an error is the user's decision.
 * Every error is ST_CORRUPT (or ST_NOMEM) and says "byte N: expected …, found …", N from 0.
 *
 * A typical object loop:
 *     TRY(json_expect(&r, JSON_TOK_OBJECT_BEGIN, err));
 *     for (;;) {
 *         TRY(json_next(&r, err));
 *         if (r.token == JSON_TOK_OBJECT_END)
 *             break;
 *         if (str_eq(r.str, "dtype"))                    here the token is a JSON_TOK_KEY
 *             TRY(json_expect(&r, JSON_TOK_STRING, err));
 *         else
 *             TRY(json_skip(&r, err));
 *     }
 * The tokens are spelled JSON_TOK_… because jansson owns JSON_STRING and its like. One thread at a time. */
#ifndef PLUMB_BASE_JSON_H
#define PLUMB_BASE_JSON_H

#include "base/error.h"
#include "base/kv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 128

typedef enum {
    JSON_TOK_END, /* the text ended after one whole value; also the token before the first json_next */
    JSON_TOK_OBJECT_BEGIN,
    JSON_TOK_OBJECT_END,
    JSON_TOK_ARRAY_BEGIN,
    JSON_TOK_ARRAY_END,
    JSON_TOK_KEY,
    JSON_TOK_STRING,
    JSON_TOK_INT,
    JSON_TOK_DOUBLE,
    JSON_TOK_TRUE,
    JSON_TOK_FALSE,
    JSON_TOK_NULL,
} JsonToken;

typedef struct {
    /* The current token. */
    JsonToken token;
    size_t offset; /* of its first byte */
    size_t end;    /* behind its last byte (KEY: behind its colon; after json_skip: the whole value) */
    Str str;       /* KEY, STRING: not terminated, may hold zero bytes. Without escapes it lies in the
                      text and lives as long; with escapes it lives until the next call. */
    bool in_text;  /* which of the two: str lies in the text */
    int64_t i;     /* INT */
    double f;      /* INT, DOUBLE */
    int depth;     /* containers open behind this token */

    /* Private. */
    const uint8_t *text; /* borrowed until json_deinit */
    size_t size;
    int state;
    uint64_t is_object[JSON_DEPTH_MAX / 64]; /* one bit per open container */
    void *scratch;                           /* owned: the last string with escapes */
    size_t scratch_cap;
} JsonReader;

/* Cannot fail. `text` need not be terminated. */
void json_init(JsonReader *r, const void *text, size_t size);
void json_deinit(JsonReader *r); /* zeroed or twice is fine */

/* Move to the next token. After an error the reader stays in error. */
MUST_USE Status json_next(JsonReader *r, Error *err);

/* json_next, and an error that names `want` when the token is another one. */
MUST_USE Status json_expect(JsonReader *r, JsonToken want, Error *err);

/* Finish what the current token started: behind a key, its value; behind a begin, everything to its
 * end; behind anything else nothing. r->offset and r->end then frame the whole skipped value. */
MUST_USE Status json_skip(JsonReader *r, Error *err);

/* "an object", "a string", …, for messages */
const char *json_token_name(JsonToken t);

/* ST_CORRUPT "byte N: expected WANT, found a string" about the current token. */
Status json_error_token(const JsonReader *r, Error *err, const char *want);

#endif
