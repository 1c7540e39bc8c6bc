/* A read-only view of metadata, key → value, so that models, tokenizers and chat code never know
 * whether it came from GGUF keys or from config.json. Formats implement it.
 *
 * Nested JSON objects are addressed with dots ("rope_scaling.factor"). Strings are byte ranges that
 * live as long as the view's owner and are not terminated. Immutable after create; any thread. */
#ifndef PLUMB_BASE_KV_H
#define PLUMB_BASE_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { KV_NULL, KV_BOOL, KV_INT, KV_FLOAT, KV_STRING, KV_ARRAY, KV_OBJECT } KvType;

typedef struct {
    const char *ptr; /* not terminated */
    size_t len;
} Str;

typedef struct {
    KvType type;
    bool b;
    int64_t i;     /* KV_INT; values above INT64_MAX are clamped to it */
    double f;      /* KV_FLOAT, and the value of a KV_INT as double */
    Str s;         /* KV_STRING */
    int64_t count; /* KV_ARRAY: number of elements; KV_OBJECT: of members, which have keys of their own */
    const void *raw; /* KV_ARRAY: where the implementation finds them */
    int raw_type;    /* KV_ARRAY: implementation's element type */
} KvValue;

typedef struct Kv Kv;
struct Kv {
    /* false when the key is absent */
    bool (*get)(const Kv *kv, const char *key, KvValue *out);
    /* number of keys, and the key and value number i (order of the file) */
    int64_t (*count)(const Kv *kv);
    Str (*at)(const Kv *kv, int64_t i, KvValue *out);
    /* Next element of an array: *cursor starts at NULL and belongs to the implementation.
     * false after the last element. */
    bool (*next)(const Kv *kv, const KvValue *array, const void **cursor, KvValue *out);
};

/* Typed access with a default for absent or differently typed values; ints are accepted as floats. */
int64_t kv_int(const Kv *kv, const char *key, int64_t fallback);
double kv_float(const Kv *kv, const char *key, double fallback);
bool kv_bool(const Kv *kv, const char *key, bool fallback);
Str kv_str(const Kv *kv, const char *key);        /* {NULL,0} when absent */
bool kv_has(const Kv *kv, const char *key);       /* present and not null */
bool str_eq(Str a, const char *b);

#endif
