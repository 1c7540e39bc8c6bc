/* What a recipe is written as: the record of a run, config.json, the page of help. */
#include "base/json.h"
#include "base/mem.h"
#include "train/recipe_internal.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MAX ((size_t)16 << 20)
#define NAME_MAX_BYTES 200

MUST_USE static Status append_json(JsonWriter *j, ByteBuf *out, Error *err)
{
    Status st = json_write_finish(j, err);
    if (st == ST_OK)
        st = bytebuf_append(out, j->buf, j->len);
    if (st == ST_OK)
        st = bytebuf_append(out, "\n", 1);
    json_write_deinit(j);
    return st == ST_NOMEM ? error_set(err, st, "no memory for a recipe's text") : st;
}

/* ---- the record ---- */

#define SOURCE_COUNT "data.source_count" /* in the record only */

/* "data.text" of the only source, "data.sources[1].text" of several. */
static void key_name(char out[NAME_MAX_BYTES], const Recipe *r, const RecipeKey *k, int64_t source)
{
    if ((k->flags & RECIPE_SOURCE) && r->data.source_count > 1)
        snprintf(out, NAME_MAX_BYTES, "data.sources[%lld].%s", (long long)source, k->key + strlen("data."));
    else
        snprintf(out, NAME_MAX_BYTES, "%s", k->key);
}

/* Has the key a meaning in this recipe? Sizes of a new model have none beside model.from. */
static bool has_key(const Recipe *r, const RecipeKey *k)
{
    return !(k->flags & RECIPE_CONFIG) || !*r->model.from;
}

static int64_t times(const Recipe *r, const RecipeKey *k)
{
    return k->flags & RECIPE_SOURCE ? r->data.source_count : 1;
}

Status recipe_record(const Recipe *r, ByteBuf *out, Error *err)
{
    JsonWriter j;
    json_write_init(&j, 1, TEXT_MAX);
    json_write_object_begin(&j);
    json_write_key(&j, SOURCE_COUNT);
    json_write_int(&j, r->data.source_count);
    for (int k = 0; k < recipe_key_count; k++) {
        for (int64_t s = 0; has_key(r, &recipe_keys[k]) && s < times(r, &recipe_keys[k]); s++) {
            char name[NAME_MAX_BYTES];
            key_name(name, r, &recipe_keys[k], s);
            json_write_key(&j, name);
            recipe_put(&recipe_keys[k], recipe_field(r, &recipe_keys[k], s), &j);
        }
    }
    json_write_object_end(&j);
    return append_json(&j, out, err);
}

MUST_USE static Status copy_value(JsonReader *r, JsonWriter *out, Error *err)
{
    const int floor = r->depth;
    Status st = json_next(r, err);
    for (; st == ST_OK; st = json_next(r, err)) {
        switch (r->token) {
        case JSON_TOK_ARRAY_BEGIN: json_write_array_begin(out); break;
        case JSON_TOK_ARRAY_END: json_write_array_end(out); break;
        case JSON_TOK_STRING: json_write_string_n(out, r->str.ptr, r->str.len); break;
        case JSON_TOK_INT: json_write_int(out, r->i); break;
        case JSON_TOK_DOUBLE: json_write_double(out, r->f); break;
        case JSON_TOK_TRUE:
        case JSON_TOK_FALSE: json_write_bool(out, r->token == JSON_TOK_TRUE); break;
        default: return json_error_token(r, err, "a value of a recipe");
        }
        if (r->depth == floor)
            return ST_OK;
    }
    return st;
}

/* The value of `name` in the record, as compact JSON; found: it is there. */
MUST_USE static Status recorded(JsonWriter *out, bool *found, const char *record, size_t size, const char *name, Error *err)
{
    JsonReader r;
    json_init(&r, record, size);
    *found = false;
    Status st = ST_OK;
    TRY(json_expect(&r, JSON_TOK_OBJECT_BEGIN, err));
    while (!*found) {
        TRY(json_next(&r, err));
        if (r.token == JSON_TOK_OBJECT_END)
            break;
        if (str_eq(r.str, name)) {
            TRY(copy_value(&r, out, err));
            TRY(json_write_finish(out, err));
            *found = true;
        } else {
            TRY(json_skip(&r, err));
        }
    }
out:
    json_deinit(&r);
    return st;
}

/* A key that the record lacks had its default. */
MUST_USE static Status put_fallback(const RecipeKey *k, JsonWriter *out, Error *err)
{
    union {
        int64_t i;
        double f;
        bool b;
        const char *text;
        RecipeTexts texts;
        RecipeInts ints;
        RecipeReals reals;
    } field;
    memset(&field, 0, sizeof field);
    if (k->type == RECIPE_TEXT)
        field.text = "";
    Arena arena = {0};
    Yaml y = {0};
    Status st = ST_OK;
    if (k->fallback && *k->fallback) {
        TRY(yamltree_parse(&y, k->key, k->fallback, strlen(k->fallback), err));
        TRY(recipe_take(k, &field, y.root, &arena, err));
    }
    if (k->fallback)
        recipe_put(k, &field, out);
    else
        json_write_null(out);
    TRY(json_write_finish(out, err));
out:
    yamltree_free(&y);
    arena_free(&arena);
    return st;
}

MUST_USE static Status check_value(const RecipeKey *k, const char *name, const void *field, const char *record,
                                   size_t size, Error *err)
{
    JsonWriter now, then;
    bool found = false;
    json_write_init(&now, 0, TEXT_MAX);
    json_write_init(&then, 0, TEXT_MAX);
    Status st = ST_OK;
    recipe_put(k, field, &now);
    TRY(json_write_finish(&now, err));
    TRY(recorded(&then, &found, record, size, name, err));
    if (!found)
        TRY(put_fallback(k, &then, err));
    if (strcmp(now.buf, then.buf) != 0)
        st = error_set(err, ST_MISMATCH, "%s is %.100s, but the run began with %.100s", name, now.buf, then.buf);
out:
    json_write_deinit(&now);
    json_write_deinit(&then);
    return st;
}

MUST_USE static Status check_key(const Recipe *r, const RecipeKey *k, int64_t source, const char *record, size_t size,
                                 Error *err)
{
    char name[NAME_MAX_BYTES];
    key_name(name, r, k, source);
    return check_value(k, name, recipe_field(r, k, source), record, size, err);
}

Status recipe_check_record(const Recipe *r, const char *record, size_t size, Error *err)
{
    static const RecipeKey count = {.key = SOURCE_COUNT, .type = RECIPE_INT};
    Status st = check_value(&count, SOURCE_COUNT, &r->data.source_count, record, size, err);
    for (int k = 0; k < recipe_key_count && st == ST_OK; k++)
        for (int64_t s = 0; has_key(r, &recipe_keys[k]) && s < times(r, &recipe_keys[k]) && st == ST_OK; s++)
            if (recipe_keys[k].flags & RECIPE_FIXED)
                st = check_key(r, &recipe_keys[k], s, record, size, err);
    return st;
}

/* ---- config.json ---- */

/* One row, under its name behind "model.", or behind "model.rope_scaling.". */
static void put_config(const Recipe *r, const RecipeKey *k, const RecipeVocabulary *v, JsonWriter *j)
{
    json_write_key(j, strrchr(k->key, '.') + 1);
    if (strcmp(k->key, "model.vocab_size") == 0)
        json_write_int(j, r->model.vocab_size ? r->model.vocab_size : v->vocab_size);
    else
        recipe_put(k, recipe_field(r, k, 0), j);
}

static bool in_rope(const RecipeKey *k)
{
    return strncmp(k->key, "model.rope_scaling.", strlen("model.rope_scaling.")) == 0;
}

static void put_rows(const Recipe *r, const RecipeVocabulary *v, bool rope, JsonWriter *j)
{
    for (int k = 0; k < recipe_key_count; k++)
        if ((recipe_keys[k].flags & RECIPE_CONFIG) && in_rope(&recipe_keys[k]) == rope)
            put_config(r, &recipe_keys[k], v, j);
}

static void put_id(JsonWriter *j, const char *key, int64_t id)
{
    json_write_key(j, key);
    if (id >= 0)
        json_write_int(j, id);
    else
        json_write_null(j);
}

Status recipe_write_config(const Recipe *r, const RecipeVocabulary *vocabulary, ByteBuf *out, Error *err)
{
    CHECK(!*r->model.from);
    if (r->model.vocab_size && r->model.vocab_size < vocabulary->vocab_size)
        return error_set(err, ST_INVALID, "model.vocab_size is %lld, but the tokenizer has %lld tokens",
                         (long long)r->model.vocab_size, (long long)vocabulary->vocab_size);
    JsonWriter j;
    json_write_init(&j, 2, TEXT_MAX);
    json_write_object_begin(&j);
    json_write_key(&j, "architectures");
    json_write_array_begin(&j);
    json_write_string(&j, "DeepseekV4ForCausalLM");
    json_write_array_end(&j);
    json_write_key(&j, "model_type");
    json_write_string(&j, "deepseek_v4");
    put_rows(r, vocabulary, false, &j);
    json_write_key(&j, "rope_scaling");
    json_write_object_begin(&j);
    put_rows(r, vocabulary, true, &j);
    json_write_object_end(&j);
    put_id(&j, "bos_token_id", vocabulary->bos_id);
    put_id(&j, "eos_token_id", vocabulary->eos_id);
    json_write_key(&j, "torch_dtype");
    json_write_string(&j, "float32");
    json_write_object_end(&j);
    return append_json(&j, out, err);
}

/* ---- help ---- */

static const char *type_text(const RecipeKey *k)
{
    static const char *const texts[] = {"integer", "number", "true or false", "text",
                                        "word",    "integers", "numbers",     "texts"};
    return texts[k->type];
}

MUST_USE static Status put_range(ByteBuf *out, const RecipeKey *k)
{
    if (k->type == RECIPE_CHOICE || (k->type == RECIPE_BOOL && k->choices)) {
        Status st = ST_OK;
        for (const char *p = k->choices; *p && st == ST_OK;) {
            const size_t n = strcspn(p, " ");
            st = bytebuf_printf(out, "%s`%.*s`", p == k->choices ? "" : " or ", (int)n, p);
            p += n + (p[n] == ' ');
        }
        return st;
    }
    if (k->min == 0 && k->max == 0)
        return bytebuf_printf(out, "%s", type_text(k));
    if (k->max >= 9.0e15)
        return bytebuf_printf(out, "%s from %.12g", type_text(k), k->min);
    return bytebuf_printf(out, "%s, %.12g to %.12g", type_text(k), k->min, k->max);
}

Status recipe_write_help(ByteBuf *out)
{
    Status st = bytebuf_printf(out, "| key | value | default | what it does |\n| --- | --- | --- | --- |\n");
    for (int i = 0; i < recipe_key_count && st == ST_OK; i++) {
        const RecipeKey *k = &recipe_keys[i];
        const bool free_to_change = !(k->flags & RECIPE_FIXED);
        TRY(bytebuf_printf(out, "| `%s`%s | ", k->key, free_to_change ? " *" : ""));
        TRY(put_range(out, k));
        TRY(bytebuf_printf(out, " | %s%s%s | %s |\n", k->fallback && *k->fallback ? "`" : "",
                           k->fallback ? k->fallback : "(needed)", k->fallback && *k->fallback ? "`" : "", k->help));
    }
out:
    return st;
}
