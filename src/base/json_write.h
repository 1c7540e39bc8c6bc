/* Writing JSON into a growing buffer: --json outputs, safetensors headers, manifests.
 *
 * The first failure (no memory, or more than the limit) is remembered and everything after it is
 * ignored, so callers check once, at json_write_finish. Commas and colons are placed by the writer;
 * misuse (a value where a key must stand, unbalanced ends) is CHECKed. Strings are escaped as the
 * common writers do (quote, backslash, control characters; everything else as UTF-8); bytes that are
 * not UTF-8 become U+FFFD, so that the output is always valid JSON. One thread at a time. */
#ifndef PLUMB_BASE_JSON_WRITE_H
#define PLUMB_BASE_JSON_WRITE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_WRITE_DEPTH_MAX 256 /* more than the reader takes: what was read can be written */

typedef struct {
    char *buf; /* owned; terminated after json_write_finish */
    size_t len;
    /* Private. */
    size_t cap, max;
    Status status;
    int indent; /* spaces a level; 0 writes one line without spaces */
    int depth;
    bool after_key, has_items;
    uint64_t is_object[JSON_WRITE_DEPTH_MAX / 64]; /* one bit per open container */
} JsonWriter;

/* `max`: limit of the output in bytes. */
void json_write_init(JsonWriter *w, int indent, size_t max);
void json_write_deinit(JsonWriter *w); /* zeroed or twice is fine */

void json_write_object_begin(JsonWriter *w);
void json_write_object_end(JsonWriter *w);
void json_write_array_begin(JsonWriter *w);
void json_write_array_end(JsonWriter *w);
void json_write_key(JsonWriter *w, const char *key);
void json_write_key_n(JsonWriter *w, const char *key, size_t len);
void json_write_string(JsonWriter *w, const char *s);
void json_write_string_n(JsonWriter *w, const char *s, size_t len);
void json_write_int(JsonWriter *w, int64_t v);
void json_write_double(JsonWriter *w, double v); /* shortest text that reads back the same; NaN and
                                                    infinities become null, which is all JSON has */
void json_write_float(JsonWriter *w, float v);   /* the same for a float */
void json_write_bool(JsonWriter *w, bool v);
void json_write_null(JsonWriter *w);

/* Everything must be closed. ST_NOMEM or ST_FULL tells of the first failure; else w->buf holds
 * w->len bytes and a terminating zero. Take w->buf and set it NULL to own it (mem_free). */
MUST_USE Status json_write_finish(JsonWriter *w, Error *err);

#endif
