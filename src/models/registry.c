/* The families Plumb knows, and what they share in reading configurations. */
#include "models/model.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const ModelFamily *const families[] = {&model_llama, &model_deepseek_v4};

#define ARRAY_COUNT(a) (sizeof(a) / sizeof *(a))

static TensorDirKind kind_of(const ModelSource *source)
{
    return source->dir ? tensordir_kind(source->dir) : TENSORDIR_HF;
}

/* general.architecture, or the first of "architectures". */
static Str architecture_of(const ModelSource *source)
{
    const Kv *kv = source->kv;
    if (kind_of(source) == TENSORDIR_GGUF)
        return kv_str(kv, "general.architecture");
    KvValue list, first;
    const void *cursor = NULL;
    const bool found = kv->get(kv, "architectures", &list) && list.type == KV_ARRAY &&
                       kv->next(kv, &list, &cursor, &first) && first.type == KV_STRING;
    return found ? first.s : kv_str(kv, "model_type");
}

static const ModelFamily *family_of(TensorDirKind kind, Str architecture)
{
    for (size_t i = 0; i < ARRAY_COUNT(families); i++)
        if (families[i]->matches(kind, architecture))
            return families[i];
    return NULL;
}

MUST_USE static Status unknown_architecture(const ModelSource *source, Str name, Error *err)
{
    char known[256] = "";
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_COUNT(families) && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", families[i]->name);
    if (!name.ptr)
        return error_set(err, ST_UNSUPPORTED, "'%s' does not say its architecture (%s)",
                         source->dir ? tensordir_path(source->dir) : "the configuration",
                         kind_of(source) == TENSORDIR_GGUF ? "key general.architecture"
                                                           : "config.json: architectures");
    return error_set(err, ST_UNSUPPORTED, "architecture '%.*s' is not supported (known: %s)",
                     (int)(name.len < 64 ? name.len : 64), name.ptr, known);
}

Status model_spec_from(ModelSpec *out, const ModelSource *source, Error *err)
{
    const Str name = architecture_of(source);
    ModelSpec spec = {.family = name.ptr ? family_of(kind_of(source), name) : NULL};
    if (!spec.family)
        return unknown_architecture(source, name, err);
    const Status st = spec.family->configure(&spec, source, err);
    if (st == ST_OK)
        *out = spec;
    else
        model_spec_free(&spec);
    return st;
}

Status model_spec_load(ModelSpec *out, const TensorDir *dir, Error *err)
{
    return model_spec_from(out, &(ModelSource){.kv = tensordir_kv(dir), .dir = dir}, err);
}

void model_spec_free(ModelSpec *spec)
{
    for (int32_t i = 0; i < spec->constant_count; i++)
        mem_free(spec->constants[i].data);
    mem_free(spec->constants);
    mem_free(spec->tensors);
    mem_free(spec->parts);
    mem_free(spec->config);
    *spec = (ModelSpec){0};
}

void tensor_name_set(char name[TENSOR_NAME_MAX], const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    const int n = vsnprintf(name, TENSOR_NAME_MAX, format, ap);
    va_end(ap);
    CHECK(n > 0 && n < TENSOR_NAME_MAX);
}

Status model_spec_add(ModelSpec *spec, const TensorRow *row, int32_t *index, Error *err)
{
    CHECK(row->name[0] && row->groups >= 0 && (row->groups == 0 || row->dims[0] % row->groups == 0));
    void *rows = spec->tensors;
    if (mem_grow(&rows, &spec->tensor_cap, (size_t)spec->tensor_count + 1, sizeof *row) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for the tensor table");
    spec->tensors = rows;
    TensorRow *added = &spec->tensors[spec->tensor_count];
    *added = *row;
    if (!added->saved_name[0])
        memcpy(added->saved_name, added->name, sizeof added->name);
    *index = spec->tensor_count++;
    return ST_OK;
}

/* GGUF may give a number per layer; INT64_MIN unless they are one and the same. */
static int64_t uniform_int(const Kv *kv, const KvValue *array)
{
    const void *cursor = NULL;
    KvValue v;
    int64_t x = INT64_MIN;
    for (bool first = true; kv->next(kv, array, &cursor, &v); first = false) {
        if (v.type != KV_INT || (!first && v.i != x))
            return INT64_MIN;
        x = v.i;
    }
    return x;
}

Status config_int(const Kv *kv, const char *key, int64_t fallback, int64_t lo, int64_t hi, int64_t *out,
                  Error *err)
{
    KvValue v;
    if (!kv->get(kv, key, &v) || v.type == KV_NULL) {
        if (fallback < lo)
            return error_set(err, ST_CORRUPT, "configuration lacks '%s'", key);
        *out = fallback;
        return ST_OK;
    }
    const int64_t x = v.type == KV_ARRAY ? uniform_int(kv, &v) : kv_int(kv, key, INT64_MIN);
    if (x == INT64_MIN)
        return error_set(err, ST_CORRUPT, "configuration key '%s' is not a whole number%s", key,
                         v.type == KV_ARRAY ? ", nor the same one for every layer" : "");
    if (x < lo || x > hi)
        return error_set(err, ST_CORRUPT, "configuration key '%s' is %lld, expected %lld to %lld", key,
                         (long long)x, (long long)lo, (long long)hi);
    *out = x;
    return ST_OK;
}

Status config_float(const Kv *kv, const char *key, double fallback, double lo, double hi, double *out,
                    Error *err)
{
    KvValue v;
    if (!kv->get(kv, key, &v) || v.type == KV_NULL) {
        *out = fallback;
        return ST_OK;
    }
    if (v.type != KV_INT && v.type != KV_FLOAT)
        return error_set(err, ST_CORRUPT, "configuration key '%s' is not a number", key);
    if (!(v.f >= lo && v.f <= hi))
        return error_set(err, ST_CORRUPT, "configuration key '%s' is %g, expected %g to %g", key, v.f, lo, hi);
    *out = v.f;
    return ST_OK;
}
