/* See json_kv.h. Every value of the text is a node; an array's elements are linked by their indices. */
#include "formats/json_kv.h"

#include "base/arena.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/strmap.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    Str key; /* dotted; ptr NULL for a plain element of an array */
    KvValue value;
    size_t first, next; /* array: its first element; element: its successor; 0 = none (0 is the root) */
} Node;

struct JsonKv {
    Kv kv; /* first, so that the view is the object */
    Node *nodes;
    size_t count, cap;
    size_t *keyed; /* nodes with a key, in order */
    size_t keyed_count, keyed_cap;
    StrMap index; /* key → node */
    Arena text;
};

/* ---- the view ---- */

static bool view_get(const Kv *kv, const char *key, KvValue *out)
{
    const JsonKv *k = (const JsonKv *)kv;
    int64_t i;
    if (!strmap_find(&k->index, (Str){key, strlen(key)}, &i))
        return false;
    *out = k->nodes[i].value;
    return true;
}

static int64_t view_count(const Kv *kv)
{
    return (int64_t)((const JsonKv *)kv)->keyed_count;
}

static Str view_at(const Kv *kv, int64_t i, KvValue *out)
{
    const JsonKv *k = (const JsonKv *)kv;
    CHECK(i >= 0);
    CHECK((size_t)i < k->keyed_count);
    const Node *n = &k->nodes[k->keyed[i]];
    *out = n->value;
    return n->key;
}

/* value.raw of an array is its node; the cursor is the node handed out last. */
static bool view_next(const Kv *kv, const KvValue *array, const void **cursor, KvValue *out)
{
    const JsonKv *k = (const JsonKv *)kv;
    CHECK(array->type == KV_ARRAY);
    const Node *last = *cursor, *self = array->raw;
    const size_t i = last ? last->next : self->first;
    if (i == 0)
        return false;
    *cursor = &k->nodes[i];
    *out = k->nodes[i].value;
    return true;
}

const Kv *json_kv_view(const JsonKv *kv)
{
    return &kv->kv;
}

void json_kv_destroy(JsonKv *kv)
{
    if (!kv)
        return;
    mem_free(kv->nodes);
    mem_free(kv->keyed);
    strmap_free(&kv->index);
    arena_free(&kv->text);
    mem_free(kv);
}

/* ---- taking the text in ---- */

typedef struct {
    JsonKv *kv;
    JsonReader reader;
    Error *err;
} Parser;

static Status no_memory(const Parser *p)
{
    return error_set(p->err, ST_NOMEM, "no memory for a JSON text of %zu values", p->kv->count);
}

MUST_USE static Status keep(Parser *p, Str s, Str *out)
{
    if (p->kv->text.bytes + s.len > JSON_KV_BYTES_MAX)
        return error_set(p->err, ST_CORRUPT, "JSON byte %zu: expected at most %zu bytes of keys and strings",
                         p->reader.offset, JSON_KV_BYTES_MAX);
    const char *copy = arena_strndup(&p->kv->text, s.ptr, s.len);
    if (!copy)
        return no_memory(p);
    *out = (Str){copy, s.len};
    return ST_OK;
}

/* A node for the current token's value, under `key` (ptr NULL: none). */
MUST_USE static Status add_node(Parser *p, Str key, size_t *out)
{
    JsonKv *k = p->kv;
    if (k->count >= JSON_KV_VALUES_MAX)
        return error_set(p->err, ST_CORRUPT, "JSON byte %zu: expected at most %d values", p->reader.offset,
                         JSON_KV_VALUES_MAX);
    void *nodes = k->nodes;
    Status st = mem_grow(&nodes, &k->cap, k->count + 1, sizeof *k->nodes);
    k->nodes = nodes;
    if (st != ST_OK)
        return no_memory(p);
    k->nodes[k->count] = (Node){.key = key};
    *out = k->count++;
    if (!key.ptr)
        return ST_OK;
    void *keyed = k->keyed;
    st = mem_grow(&keyed, &k->keyed_cap, k->keyed_count + 1, sizeof *k->keyed);
    k->keyed = keyed;
    if (st == ST_OK)
        st = strmap_add(&k->index, key, (int64_t)*out);
    if (st == ST_INVALID)
        return error_set(p->err, ST_CORRUPT, "JSON byte %zu: expected one value for '%.*s', found a second",
                         p->reader.offset, key.len < 200 ? (int)key.len : 200, key.ptr);
    if (st != ST_OK)
        return no_memory(p);
    k->keyed[k->keyed_count++] = *out;
    return ST_OK;
}

/* "prefix.name", or "name" below the root. */
MUST_USE static Status join_key(Parser *p, Str prefix, Str name, Str *out)
{
    size_t n;
    if (prefix.len == 0)
        return keep(p, name, out);
    if (!size_add(prefix.len + 1, name.len, &n) || p->kv->text.bytes + n > JSON_KV_BYTES_MAX)
        return error_set(p->err, ST_CORRUPT, "JSON byte %zu: expected at most %zu bytes of keys and strings",
                         p->reader.offset, JSON_KV_BYTES_MAX);
    char *copy = arena_alloc(&p->kv->text, n + 1);
    if (!copy)
        return no_memory(p);
    memcpy(copy, prefix.ptr, prefix.len);
    copy[prefix.len] = '.';
    memcpy(copy + prefix.len + 1, name.ptr, name.len);
    *out = (Str){copy, n};
    return ST_OK;
}

MUST_USE static Status take_value(Parser *p, size_t node, Str path);

MUST_USE static Status take_object(Parser *p, size_t node, Str path)
{
    Status st = ST_OK;
    int64_t count = 0;
    for (;; count++) {
        Str key;
        size_t member;
        TRY(json_next(&p->reader, p->err));
        if (p->reader.token == JSON_TOK_OBJECT_END)
            break;
        TRY(join_key(p, path, p->reader.str, &key));
        TRY(add_node(p, key, &member));
        TRY(json_next(&p->reader, p->err));
        TRY(take_value(p, member, key));
    }
    p->kv->nodes[node].value = (KvValue){.type = KV_OBJECT, .count = count};
out:
    return st;
}

MUST_USE static Status take_array(Parser *p, size_t node, Str path)
{
    Status st = ST_OK;
    int64_t count = 0;
    size_t last = 0;
    for (;; count++) {
        Str key = {NULL, 0};
        size_t element;
        TRY(json_next(&p->reader, p->err));
        if (p->reader.token == JSON_TOK_ARRAY_END)
            break;
        const bool nested = p->reader.token == JSON_TOK_OBJECT_BEGIN || p->reader.token == JSON_TOK_ARRAY_BEGIN;
        if (nested) {
            char number[24];
            const int n = snprintf(number, sizeof number, "%lld", (long long)count);
            TRY(join_key(p, path, (Str){number, (size_t)n}, &key));
        }
        TRY(add_node(p, nested ? key : (Str){NULL, 0}, &element));
        if (last)
            p->kv->nodes[last].next = element;
        else
            p->kv->nodes[node].first = element;
        last = element;
        TRY(take_value(p, element, key));
    }
    p->kv->nodes[node].value = (KvValue){.type = KV_ARRAY, .count = count};
out:
    return st;
}

/* The value that begins with the current token, into an existing node. */
static Status take_value(Parser *p, size_t node, Str path)
{
    const JsonReader *r = &p->reader;
    KvValue v = {.type = KV_NULL};
    switch (r->token) {
    case JSON_TOK_OBJECT_BEGIN: return take_object(p, node, path);
    case JSON_TOK_ARRAY_BEGIN: return take_array(p, node, path);
    case JSON_TOK_TRUE:
    case JSON_TOK_FALSE:
        v.type = KV_BOOL;
        v.b = r->token == JSON_TOK_TRUE;
        break;
    case JSON_TOK_INT:
        v.type = KV_INT;
        v.i = r->i;
        v.f = r->f;
        break;
    case JSON_TOK_DOUBLE:
        v.type = KV_FLOAT;
        v.f = r->f;
        break;
    case JSON_TOK_STRING: {
        v.type = KV_STRING;
        const Status st = keep(p, r->str, &v.s);
        if (st != ST_OK)
            return st;
        break;
    }
    default: break;
    }
    p->kv->nodes[node].value = v;
    return ST_OK;
}

Status json_kv_parse(JsonKv **out, const void *text, size_t size, Error *err)
{
    Parser p = {.err = err};
    Status st = ST_OK;
    size_t root;
    json_init(&p.reader, text, size);
    p.kv = mem_alloc(1, sizeof *p.kv);
    if (!p.kv) {
        st = error_set(err, ST_NOMEM, "no memory for a JSON text of %zu bytes", size);
        goto out;
    }
    p.kv->kv = (Kv){view_get, view_count, view_at, view_next};
    TRY(json_expect(&p.reader, JSON_TOK_OBJECT_BEGIN, err));
    TRY(add_node(&p, (Str){NULL, 0}, &root));
    TRY(take_value(&p, root, (Str){"", 0}));
    TRY(json_expect(&p.reader, JSON_TOK_END, err));
    for (size_t i = 0; i < p.kv->count; i++)
        if (p.kv->nodes[i].value.type == KV_ARRAY)
            p.kv->nodes[i].value.raw = &p.kv->nodes[i]; /* nodes no longer move */
    *out = p.kv;
    json_deinit(&p.reader);
    return ST_OK;
out:
    json_deinit(&p.reader);
    json_kv_destroy(p.kv);
    return st;
}
