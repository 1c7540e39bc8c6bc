/* A JSON object (config.json, the metadata of a safetensors file) as a metadata view.
 *
 * Members of nested objects have dotted keys ("rope_scaling.factor"). Objects and arrays inside an array
 * have their position as a key ("layers.0", "layers.0.kind"). An object is a KV_OBJECT with the count of
 * its members, under its own key and as an element of an array. Integers beyond int64 are KV_FLOAT.
 * The whole text is taken in at once: the text may go away afterwards. Immutable; any thread. */
#ifndef PLUMB_FORMATS_JSON_KV_H
#define PLUMB_FORMATS_JSON_KV_H

#include "base/error.h"
#include "base/kv.h"

#include <stddef.h>

#define JSON_KV_VALUES_MAX (1 << 20)        /* values in one text */
#define JSON_KV_BYTES_MAX ((size_t)64 << 20) /* keys and strings of one text */

typedef struct JsonKv JsonKv;

/* ST_CORRUPT when the text is not one JSON object, two values have the same dotted key, or a limit is
 * passed; errors name the byte of the text. *out is owned by the caller. */
MUST_USE Status json_kv_parse(JsonKv **out, const void *text, size_t size, Error *err);
void json_kv_destroy(JsonKv *kv); /* NULL is fine */

const Kv *json_kv_view(const JsonKv *kv);

#endif
