/* The JSON reader against jansson: what both accept must be the same tree, and neither may accept what
 * the other refuses, with these exceptions, which are decisions of json.h:
 *  - a whole number beyond int64 is a double for us, an error for jansson;
 *  - a zero byte in a key is allowed for us, an error for jansson;
 *  - we stop at 128 open containers, jansson at 2,048;
 *  - a raw zero byte is an error for us; jansson passes over one behind a number.
 * Besides, skipping a text finds the same end as walking it, and the writer's text reads back the same. */
#include "base/json.h"
#include "base/json_write.h"
#include "base/mem.h"

#include <jansson.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    JsonReader reader;
    JsonWriter *echo; /* NULL: none */
    bool beyond_int64, zero_in_key;
} Walk;

static json_t *read_value(Walk *w);

static json_t *read_object(Walk *w)
{
    json_t *o = json_object();
    if (w->echo)
        json_write_object_begin(w->echo);
    while (json_next(&w->reader, NULL) == ST_OK) {
        const JsonReader *r = &w->reader;
        if (r->token == JSON_TOK_OBJECT_END) {
            if (w->echo)
                json_write_object_end(w->echo);
            return o;
        }
        CHECK(r->token == JSON_TOK_KEY);
        if (w->echo)
            json_write_key_n(w->echo, r->str.ptr, r->str.len);
        w->zero_in_key = w->zero_in_key || memchr(r->str.ptr, 0, r->str.len);
        const size_t n = r->str.len;
        char *key = mem_strndup(r->str.ptr, n);
        json_t *v = json_next(&w->reader, NULL) == ST_OK ? read_value(w) : NULL;
        if (v)
            json_object_setn_new_nocheck(o, key, n, v);
        mem_free(key);
        if (!v)
            break;
    }
    json_decref(o);
    return NULL;
}

static json_t *read_array(Walk *w)
{
    json_t *a = json_array();
    if (w->echo)
        json_write_array_begin(w->echo);
    while (json_next(&w->reader, NULL) == ST_OK) {
        if (w->reader.token == JSON_TOK_ARRAY_END) {
            if (w->echo)
                json_write_array_end(w->echo);
            return a;
        }
        json_t *v = read_value(w);
        if (!v)
            break;
        json_array_append_new(a, v);
    }
    json_decref(a);
    return NULL;
}

static json_t *read_plain(Walk *w)
{
    const JsonReader *r = &w->reader;
    JsonWriter *echo = w->echo;
    switch (r->token) {
    case JSON_TOK_STRING:
        if (echo)
            json_write_string_n(echo, r->str.ptr, r->str.len);
        return json_stringn_nocheck(r->str.ptr, r->str.len);
    case JSON_TOK_INT:
        if (echo)
            json_write_int(echo, r->i);
        return json_integer(r->i);
    case JSON_TOK_DOUBLE: {
        const char *text = (const char *)r->text + r->offset;
        bool whole = true;
        for (size_t k = 0; k < r->end - r->offset; k++)
            whole = whole && text[k] != '.' && text[k] != 'e' && text[k] != 'E';
        w->beyond_int64 = w->beyond_int64 || whole;
        if (echo)
            json_write_double(echo, r->f);
        return json_real(r->f);
    }
    case JSON_TOK_TRUE:
    case JSON_TOK_FALSE:
        if (echo)
            json_write_bool(echo, r->token == JSON_TOK_TRUE);
        return json_boolean(r->token == JSON_TOK_TRUE);
    case JSON_TOK_NULL:
        if (echo)
            json_write_null(echo);
        return json_null();
    default: CHECK(!"a value"); return NULL;
    }
}

static json_t *read_value(Walk *w)
{
    if (w->reader.token == JSON_TOK_OBJECT_BEGIN)
        return read_object(w);
    return w->reader.token == JSON_TOK_ARRAY_BEGIN ? read_array(w) : read_plain(w);
}

/* The whole text as a tree; NULL when it is refused. */
static json_t *read_text(Walk *w, const void *text, size_t size)
{
    json_init(&w->reader, text, size);
    json_t *tree = json_next(&w->reader, NULL) == ST_OK ? read_value(w) : NULL;
    if (tree && (json_next(&w->reader, NULL) != ST_OK || w->reader.token != JSON_TOK_END)) {
        json_decref(tree);
        tree = NULL;
    }
    json_deinit(&w->reader);
    return tree;
}

static void check_skip(const void *text, size_t size)
{
    JsonReader r;
    json_init(&r, text, size);
    CHECK(json_next(&r, NULL) == ST_OK);
    CHECK(json_skip(&r, NULL) == ST_OK);
    CHECK(json_next(&r, NULL) == ST_OK);
    CHECK(r.token == JSON_TOK_END);
    json_deinit(&r);
}

static void check_echo(const void *text, size_t size, const json_t *want, int indent)
{
    JsonWriter out;
    json_write_init(&out, indent, (size_t)1 << 30);
    Walk w = {.echo = &out};
    json_decref(read_text(&w, text, size));
    CHECK(json_write_finish(&out, NULL) == ST_OK);
    Walk again = {.echo = NULL};
    json_t *tree = read_text(&again, out.buf, out.len);
    CHECK(tree);
    CHECK(json_equal(tree, want));
    json_decref(tree);
    json_write_deinit(&out);
}

static bool too_deep(const void *text, size_t size)
{
    JsonReader r;
    Error err = {0};
    json_init(&r, text, size);
    Status st;
    do
        st = json_next(&r, &err);
    while (st == ST_OK && r.token != JSON_TOK_END);
    json_deinit(&r);
    return st != ST_OK && strstr(err.msg, "nested containers");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Walk w = {.echo = NULL};
    json_error_t why;
    const char *text = size ? (const char *)data : "";
    json_t *ours = read_text(&w, text, size);
    json_t *theirs = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (ours && theirs)
        CHECK(json_equal(ours, theirs));
    if (ours && !theirs)
        CHECK(w.beyond_int64 || w.zero_in_key);
    if (!ours && theirs)
        CHECK(too_deep(text, size) || memchr(text, 0, size));
    if (ours)
        check_skip(text, size);
    if (ours && !w.zero_in_key) /* json_equal ends keys at a zero byte */
        check_echo(text, size, ours, (int)(size % 3));
    json_decref(ours);
    json_decref(theirs);
    return 0;
}
