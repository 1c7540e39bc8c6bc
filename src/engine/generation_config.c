/* See generation_config.h. */
#include "engine/generation_config.h"

#include "base/json_write.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "formats/json_kv.h"

#include <stddef.h>

#define TEXT_BYTES_MAX ((size_t)1 << 20)

/* ---- reading ----------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    size_t offset; /* in SamplerParams */
    bool is_int;
} Key;

static const Key keys[] = {
    {"temperature", offsetof(SamplerParams, temperature), false},
    {"top_p", offsetof(SamplerParams, top_p), false},
    {"top_k", offsetof(SamplerParams, top_k), true},
    {"min_p", offsetof(SamplerParams, min_p), false},
    {"repetition_penalty", offsetof(SamplerParams, repetition_penalty), false},
};

static Status not_a(Error *err, const char *key, const char *what)
{
    return error_set(err, ST_CORRUPT, "%s is not %s", key, what);
}

MUST_USE static Status take_numbers(SamplerParams *p, const Kv *kv, Error *err)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        KvValue v;
        if (!kv_has(kv, keys[i].name))
            continue;
        kv->get(kv, keys[i].name, &v);
        if (v.type != KV_INT && (keys[i].is_int || v.type != KV_FLOAT))
            return not_a(err, keys[i].name, keys[i].is_int ? "an integer" : "a number");
        void *const field = (char *)p + keys[i].offset;
        if (keys[i].is_int)
            *(int64_t *)field = v.i;
        else
            *(double *)field = v.f;
    }
    return ST_OK;
}

MUST_USE static Status take_sampling(SamplerParams *p, const Kv *kv, Error *err)
{
    KvValue v;
    Status st = take_numbers(p, kv, err);
    if (st != ST_OK)
        return st;
    if (kv_has(kv, "repetition_penalty"))
        p->penalty_last = -1; /* there it looks at all of the text */
    if (kv_has(kv, "do_sample")) {
        kv->get(kv, "do_sample", &v);
        if (v.type != KV_BOOL)
            return not_a(err, "do_sample", "true or false");
        if (!v.b)
            p->temperature = 0;
    }
    st = sampler_check(p, err);
    return st == ST_OK ? st : ST_CORRUPT;
}

static void add_stop(GenerationConfig *g, const KvValue *v, int64_t vocab)
{
    if (v->type != KV_INT || v->i < 0 || v->i >= vocab || g->stop_count == GENERATION_STOPS_MAX)
        return;
    for (int64_t i = 0; i < g->stop_count; i++)
        if (g->stops[i] == v->i)
            return;
    g->stops[g->stop_count++] = (int32_t)v->i;
}

static void take_stops(GenerationConfig *g, const Kv *kv, int64_t vocab)
{
    KvValue v, element;
    const void *cursor = NULL;
    if (!kv_has(kv, "eos_token_id"))
        return;
    kv->get(kv, "eos_token_id", &v);
    add_stop(g, &v, vocab);
    while (v.type == KV_ARRAY && kv->next(kv, &v, &cursor, &element))
        add_stop(g, &element, vocab);
}

Status generation_config_read(GenerationConfig *out, const char *path, const Kv *config, int64_t vocab, Error *err)
{
    uint8_t *text = NULL;
    size_t size = 0;
    JsonKv *json = NULL;
    Error why = {0};
    *out = (GenerationConfig){.sampler = sampler_defaults()};
    if (config)
        take_stops(out, config, vocab);
    if (config && kv_has(config, "general.architecture"))
        return ST_OK;
    Status st = file_read_beside(&text, &size, path, GENERATION_CONFIG, TEXT_BYTES_MAX, &why);
    if (st == ST_NOTFOUND)
        return ST_OK;
    if (st != ST_OK)
        return error_set(err, st, "%s", why.msg);
    st = json_kv_parse(&json, text, size, err);
    if (st == ST_OK)
        st = take_sampling(&out->sampler, json_kv_view(json), err);
    if (st == ST_OK)
        take_stops(out, json_kv_view(json), vocab);
    else
        error_context(err, st, "%s of '%s'", GENERATION_CONFIG, path);
    json_kv_destroy(json);
    mem_free(text);
    return st;
}

/* ---- writing ----------------------------------------------------------------------------------- */

static void put_id(JsonWriter *w, const char *key, int64_t id)
{
    if (id < 0)
        return;
    json_write_key(w, key);
    json_write_int(w, id);
}

Status generation_config_write(double temperature, int64_t bos, int64_t eos, int64_t pad, ByteBuf *out, Error *err)
{
    JsonWriter w;
    json_write_init(&w, 2, TEXT_BYTES_MAX);
    json_write_object_begin(&w);
    put_id(&w, "bos_token_id", bos);
    json_write_key(&w, "do_sample");
    json_write_bool(&w, temperature > 0);
    put_id(&w, "eos_token_id", eos);
    put_id(&w, "pad_token_id", pad);
    if (temperature > 0) {
        json_write_key(&w, "temperature");
        json_write_double(&w, temperature);
    }
    json_write_object_end(&w);
    Status st = json_write_finish(&w, err);
    if (st == ST_OK && bytebuf_append(out, w.buf, w.len) != ST_OK)
        st = error_set(err, ST_NOMEM, "no memory for %s", GENERATION_CONFIG);
    json_write_deinit(&w);
    return st;
}
