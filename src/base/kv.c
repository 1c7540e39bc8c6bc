/* Typed access to a metadata view. */
#include "base/kv.h"

#include <string.h>

int64_t kv_int(const Kv *kv, const char *key, int64_t fallback)
{
    KvValue v;
    if (!kv->get(kv, key, &v))
        return fallback;
    if (v.type == KV_INT)
        return v.i;
    const bool whole = v.type == KV_FLOAT && v.f >= -9e15 && v.f <= 9e15 && v.f == (double)(int64_t)v.f;
    return whole ? (int64_t)v.f : fallback;
}

double kv_float(const Kv *kv, const char *key, double fallback)
{
    KvValue v;
    if (!kv->get(kv, key, &v) || (v.type != KV_FLOAT && v.type != KV_INT))
        return fallback;
    return v.f;
}

bool kv_bool(const Kv *kv, const char *key, bool fallback)
{
    KvValue v;
    return kv->get(kv, key, &v) && v.type == KV_BOOL ? v.b : fallback;
}

Str kv_str(const Kv *kv, const char *key)
{
    KvValue v;
    if (!kv->get(kv, key, &v) || v.type != KV_STRING)
        return (Str){NULL, 0};
    return v.s;
}

bool kv_has(const Kv *kv, const char *key)
{
    KvValue v;
    return kv->get(kv, key, &v) && v.type != KV_NULL;
}

bool str_eq(Str a, const char *b)
{
    const size_t n = strlen(b);
    return a.len == n && (n == 0 || memcmp(a.ptr, b, n) == 0);
}
