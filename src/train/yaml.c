/* See yaml.h. Events of libyaml become nodes; the containers that are open stand on a small stack. */
#include "train/yaml.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* ---- nodes ---- */

MUST_USE static Status new_node(Yaml *y, YamlNode **out, YamlKind kind, int line, Error *err)
{
    if (++y->nodes > YAML_NODES_MAX)
        return error_set(err, ST_INVALID, "%s:%d: more than %d values", y->name, line, YAML_NODES_MAX);
    YamlNode *n = arena_alloc(&y->arena, sizeof *n);
    if (!n)
        return error_set(err, ST_NOMEM, "no memory to read '%s'", y->name);
    n->kind = kind;
    n->line = line;
    *out = n;
    return ST_OK;
}

static void add_child(YamlNode *parent, YamlNode *child)
{
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
}

YamlNode *yamltree_member(const YamlNode *map, const char *key)
{
    if (!map || map->kind != YAML_MAP)
        return NULL;
    for (YamlNode *n = map->first; n; n = n->next)
        if (strcmp(n->key, key) == 0)
            return n;
    return NULL;
}

/* ---- reading ---- */

typedef struct {
    Yaml *y;
    yaml_parser_t *parser;
    bool from_set; /* lines do not count */
    YamlNode *open[YAML_DEPTH_MAX];
    int depth;
    const char *key; /* read, and its value is next */
    int key_line;
    YamlNode *root;
} Reader;

static int line_of(const Reader *r, const yaml_event_t *e)
{
    return r->from_set ? 0 : (int)e->start_mark.line + 1;
}

static Status wrong(const Reader *r, const yaml_event_t *e, Error *err, const char *what)
{
    return error_set(err, ST_INVALID, "%s:%d: %s", r->y->name, line_of(r, e), what);
}

static Status parser_error(const Reader *r, Error *err)
{
    const yaml_parser_t *p = r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return error_set(err, ST_NOMEM, "no memory to read '%s'", r->y->name);
    const size_t line = p->error == YAML_READER_ERROR ? p->mark.line : p->problem_mark.line;
    return error_set(err, ST_INVALID, "%s:%zu: not YAML: %s", r->y->name, r->from_set ? 0 : line + 1,
                     p->problem ? p->problem : "it cannot be read");
}

MUST_USE static Status take_key(Reader *r, const yaml_event_t *e, Error *err)
{
    const char *text = (const char *)e->data.scalar.value;
    const size_t n = e->data.scalar.length;
    if (n == 0 || strlen(text) != n)
        return wrong(r, e, err, "a key is empty or holds a zero byte");
    if (strchr(text, '.'))
        return error_set(err, ST_INVALID, "%s:%d: key '%s': dots are for --set; here sections are indented", r->y->name,
                         line_of(r, e), text);
    if (yamltree_member(r->open[r->depth - 1], text))
        return error_set(err, ST_INVALID, "%s:%d: key '%s' is there twice", r->y->name, line_of(r, e), text);
    r->key_line = line_of(r, e);
    r->key = arena_strndup(&r->y->arena, text, n);
    return r->key ? ST_OK : error_set(err, ST_NOMEM, "no memory to read '%s'", r->y->name);
}

/* A new node takes its place in what is open. */
MUST_USE static Status place(Reader *r, const yaml_event_t *e, YamlKind kind, YamlNode **out, Error *err)
{
    const Status st = new_node(r->y, out, kind, line_of(r, e), err);
    if (st != ST_OK)
        return st;
    if (r->depth == 0) {
        r->root = *out;
        return ST_OK;
    }
    YamlNode *parent = r->open[r->depth - 1];
    if (parent->kind == YAML_MAP) {
        (*out)->key = r->key;
        (*out)->line = r->key_line;
        r->key = NULL;
    }
    add_child(parent, *out);
    return ST_OK;
}

static bool wants_key(const Reader *r)
{
    return r->depth > 0 && r->open[r->depth - 1]->kind == YAML_MAP && !r->key;
}

MUST_USE static Status take_scalar(Reader *r, const yaml_event_t *e, Error *err)
{
    if (e->data.scalar.anchor || e->data.scalar.tag)
        return wrong(r, e, err, "anchors and tags are not allowed in a recipe");
    if (wants_key(r))
        return take_key(r, e, err);
    const char *text = (const char *)e->data.scalar.value;
    if (strlen(text) != e->data.scalar.length)
        return wrong(r, e, err, "a value holds a zero byte");
    YamlNode *n = NULL;
    const Status st = place(r, e, YAML_SCALAR, &n, err);
    if (st != ST_OK)
        return st;
    n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    n->text = arena_strndup(&r->y->arena, text, e->data.scalar.length);
    return n->text ? ST_OK : error_set(err, ST_NOMEM, "no memory to read '%s'", r->y->name);
}

MUST_USE static Status open_container(Reader *r, const yaml_event_t *e, YamlKind kind, bool decorated, Error *err)
{
    if (decorated)
        return wrong(r, e, err, "anchors and tags are not allowed in a recipe");
    if (wants_key(r))
        return wrong(r, e, err, "a key must be one word");
    if (r->depth == YAML_DEPTH_MAX)
        return wrong(r, e, err, "nested too deep");
    YamlNode *n = NULL;
    const Status st = place(r, e, kind, &n, err);
    if (st == ST_OK)
        r->open[r->depth++] = n;
    return st;
}

MUST_USE static Status take_event(Reader *r, const yaml_event_t *e, Error *err)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT: return take_scalar(r, e, err);
    case YAML_MAPPING_START_EVENT:
        return open_container(r, e, YAML_MAP, e->data.mapping_start.anchor || e->data.mapping_start.tag, err);
    case YAML_SEQUENCE_START_EVENT:
        return open_container(r, e, YAML_LIST, e->data.sequence_start.anchor || e->data.sequence_start.tag, err);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT: r->depth--; return ST_OK;
    case YAML_ALIAS_EVENT: return wrong(r, e, err, "aliases are not allowed in a recipe");
    case YAML_DOCUMENT_START_EVENT:
        return r->root ? wrong(r, e, err, "a second document is not allowed in a recipe") : ST_OK;
    default: return ST_OK;
    }
}

MUST_USE static Status read_tree(Reader *r, const void *data, size_t size, Error *err)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return error_set(err, ST_NOMEM, "no memory to read '%s'", r->y->name);
    r->parser = &parser;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, data, size);
    Status st = ST_OK;
    for (bool end = false; st == ST_OK && !end;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&parser, &e)) {
            st = parser_error(r, err);
            break;
        }
        end = e.type == YAML_STREAM_END_EVENT;
        st = take_event(r, &e, err);
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&parser);
    return st;
}

Status yamltree_parse(Yaml *out, const char *name, const void *data, size_t size, Error *err)
{
    if (size > YAML_BYTES_MAX)
        return error_set(err, ST_INVALID, "%s: %zu bytes are too many for a recipe (at most %u)", name, size, YAML_BYTES_MAX);
    Yaml y = {.name = name};
    Reader r = {.y = &y};
    const Status st = read_tree(&r, data, size, err);
    if (st != ST_OK) {
        yamltree_free(&y);
        return st;
    }
    y.root = r.root;
    *out = y;
    return ST_OK;
}

void yamltree_free(Yaml *y)
{
    arena_free(&y->arena);
    *y = (Yaml){0};
}

/* ---- --set ---- */

#define KEY_MAX 200

static Status no_memory(Error *err)
{
    return error_set(err, ST_NOMEM, "no memory for --set");
}

/* The element number `part`; NULL when it is no number or there are fewer. */
static YamlNode *element(const YamlNode *list, const char *part)
{
    char *end = NULL;
    const unsigned long k = strtoul(part, &end, 10);
    if (*part < '0' || *part > '9' || *end)
        return NULL;
    YamlNode *n = list->first;
    for (unsigned long i = 0; n && i < k; i++)
        n = n->next;
    return n;
}

/* The node called `part` inside `at`, made when `at` is a mapping that lacks it. */
MUST_USE static Status step_into(Yaml *y, YamlNode *at, const char *part, const char *key, YamlNode **out, Error *err)
{
    if (at->kind == YAML_LIST) {
        *out = element(at, part);
        return *out ? ST_OK : error_set(err, ST_INVALID, "--set %s: there is no element '%s'", key, part);
    }
    if (at->kind != YAML_MAP)
        return error_set(err, ST_INVALID, "--set %s: what stands before '%s' is one value and has no parts", key, part);
    *out = yamltree_member(at, part);
    if (*out)
        return ST_OK;
    const Status st = new_node(y, out, YAML_MAP, 0, err);
    if (st != ST_OK)
        return st;
    (*out)->key = arena_strndup(&y->arena, part, strlen(part));
    if (!(*out)->key)
        return no_memory(err);
    add_child(at, *out);
    return ST_OK;
}

/* Walk along `key`, whose dots are overwritten in `parts`, to the node that it names. */
MUST_USE static Status walk(Yaml *y, char *parts, const char *key, YamlNode **out, Error *err)
{
    YamlNode *at = y->root;
    for (char *part = parts;;) {
        char *dot = strchr(part, '.');
        if (dot)
            *dot = 0;
        if (!*part)
            return error_set(err, ST_INVALID, "--set %s: a part of the key is empty", key);
        const Status st = step_into(y, at, part, key, &at, err);
        if (st != ST_OK)
            return st;
        if (!dot)
            break;
        part = dot + 1;
    }
    *out = at;
    return ST_OK;
}

MUST_USE static Status value_node(Yaml *y, const char *key, const char *value, YamlNode *out, Error *err)
{
    if (*value == '[' || *value == '{') {
        Reader r = {.y = y, .from_set = true};
        const Status st = read_tree(&r, value, strlen(value), err);
        if (st != ST_OK)
            return error_context(err, st, "--set %s", key);
        *out = *r.root;
        return ST_OK;
    }
    *out = (YamlNode){.kind = YAML_SCALAR, .text = arena_strndup(&y->arena, value, strlen(value))};
    return out->text ? ST_OK : no_memory(err);
}

Status yamltree_set(Yaml *y, const char *assignment, Error *err)
{
    const char *equals = strchr(assignment, '=');
    if (!equals || equals == assignment || equals - assignment >= KEY_MAX)
        return error_set(err, ST_USAGE, "--set %.40s: expected KEY=VALUE", assignment);
    char key[KEY_MAX] = {0}, parts[KEY_MAX] = {0};
    memcpy(key, assignment, (size_t)(equals - assignment));
    memcpy(parts, key, sizeof parts);
    Status st = ST_OK;
    YamlNode *at = NULL, value = {0};
    if (!y->root)
        TRY(new_node(y, &y->root, YAML_MAP, 0, err));
    TRY(value_node(y, key, equals + 1, &value, err));
    TRY(walk(y, parts, key, &at, err));
    value.key = at->key;
    value.next = at->next;
    *at = value;
out:
    return st;
}
