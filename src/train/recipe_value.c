/* One value of a recipe: from YAML into a field, and from a field to JSON. */
#include "train/recipe_internal.h"

#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- scalars ---- */

static Status not_a(Error *err, const YamlNode *n, const char *what)
{
    if (!*n->text && !n->quoted)
        return error_set(err, ST_INVALID, "a value is missing, expected %s", what);
    return error_set(err, ST_INVALID, "'%.80s' %sis not %s", n->text, n->quoted ? "(in quotes) " : "", what);
}

/* "12" or "12.0" for messages: limits are doubles in the table. */
static Status out_of_range(Error *err, const RecipeKey *k, const char *text)
{
    return error_set(err, ST_INVALID, "%.80s is out of range, from %.12g to %.12g", text, k->min, k->max);
}

MUST_USE static Status take_int(const RecipeKey *k, int64_t *out, const YamlNode *n, Error *err)
{
    const char *digits = n->text + (*n->text == '-' || *n->text == '+');
    if (n->quoted || !*digits || digits[strspn(digits, "0123456789")])
        return not_a(err, n, "a whole number");
    errno = 0;
    const long long v = strtoll(n->text, NULL, 10);
    if (errno || (double)v < k->min || (double)v > k->max)
        return out_of_range(err, k, n->text);
    *out = v;
    return ST_OK;
}

MUST_USE static Status take_real(const RecipeKey *k, double *out, const YamlNode *n, Error *err)
{
    char *end = NULL;
    const bool decimal = !n->text[strspn(n->text, "0123456789+-.eE")] && strpbrk(n->text, "0123456789");
    const double v = decimal ? strtod(n->text, &end) : 0;
    if (n->quoted || !decimal || *end)
        return not_a(err, n, "a number");
    if (!isfinite(v) || v < k->min || v > k->max)
        return out_of_range(err, k, n->text);
    *out = v;
    return ST_OK;
}

/* `choices` of a truth value, when there are any, is the only one that it may have. */
MUST_USE static Status take_bool(const RecipeKey *k, bool *out, const YamlNode *n, Error *err)
{
    const bool is_true = strcmp(n->text, "true") == 0;
    if (n->quoted || (!is_true && strcmp(n->text, "false") != 0))
        return not_a(err, n, "true or false");
    if (k->choices && strcmp(n->text, k->choices) != 0)
        return error_set(err, ST_INVALID, "can only be %s", k->choices);
    *out = is_true;
    return ST_OK;
}

MUST_USE static Status take_choice(const RecipeKey *k, int64_t *out, const YamlNode *n, Error *err)
{
    const size_t n_text = strlen(n->text);
    int64_t number = 0;
    for (const char *p = k->choices; *p; number++) {
        const size_t len = strcspn(p, " ");
        if (len == n_text && memcmp(p, n->text, len) == 0) {
            *out = number;
            return ST_OK;
        }
        p += len + (p[len] == ' ');
    }
    char what[200];
    snprintf(what, sizeof what, "%s%s", strchr(k->choices, ' ') ? "one of: " : "", k->choices);
    return not_a(err, n, what);
}

MUST_USE static Status take_text(const char **out, const YamlNode *n, Arena *arena, Error *err)
{
    if (!*n->text && !n->quoted)
        return error_set(err, ST_INVALID, "a value is missing");
    const char *copy = arena_strndup(arena, n->text, strlen(n->text));
    if (!copy)
        return error_set(err, ST_NOMEM, "no memory for a recipe");
    *out = copy;
    return ST_OK;
}

/* ---- lists ---- */

static size_t element_size(RecipeType t)
{
    return t == RECIPE_INTS ? sizeof(int64_t) : t == RECIPE_REALS ? sizeof(double) : sizeof(const char *);
}

MUST_USE static Status take_element(const RecipeKey *k, void *items, int64_t i, const YamlNode *n, Arena *arena,
                                    Error *err)
{
    if (n->kind != YAML_SCALAR)
        return error_set(err, ST_INVALID, "element %lld is not one value", (long long)i);
    switch (k->type) {
    case RECIPE_INTS: return take_int(k, (int64_t *)items + i, n, err);
    case RECIPE_REALS: return take_real(k, (double *)items + i, n, err);
    default: return take_text((const char **)items + i, n, arena, err);
    }
}

/* A single value is a list of one. The three kinds of list have the same layout. */
MUST_USE static Status take_list(const RecipeKey *k, void *field, const YamlNode *n, Arena *arena, Error *err)
{
    const YamlNode *first = n->kind == YAML_LIST ? n->first : n;
    int64_t count = 0;
    for (const YamlNode *e = first; e; e = n->kind == YAML_LIST ? e->next : NULL)
        count++;
    void *items = arena_alloc(arena, (size_t)count * element_size(k->type));
    if (!items)
        return error_set(err, ST_NOMEM, "no memory for a recipe");
    const YamlNode *e = first;
    for (int64_t i = 0; i < count; i++, e = e->next) {
        const Status st = take_element(k, items, i, e, arena, err);
        if (st != ST_OK)
            return st;
    }
    switch (k->type) {
    case RECIPE_INTS: *(RecipeInts *)field = (RecipeInts){items, count}; break;
    case RECIPE_REALS: *(RecipeReals *)field = (RecipeReals){items, count}; break;
    default: *(RecipeTexts *)field = (RecipeTexts){items, count}; break;
    }
    return ST_OK;
}

Status recipe_take(const RecipeKey *k, void *field, const YamlNode *n, Arena *arena, Error *err)
{
    if (n->kind == YAML_MAP)
        return error_set(err, ST_INVALID, "expected a value, found a section");
    if (k->type >= RECIPE_INTS)
        return take_list(k, field, n, arena, err);
    if (n->kind == YAML_LIST)
        return error_set(err, ST_INVALID, "expected one value, found a list");
    switch (k->type) {
    case RECIPE_INT: return take_int(k, field, n, err);
    case RECIPE_REAL: return take_real(k, field, n, err);
    case RECIPE_BOOL: return take_bool(k, field, n, err);
    case RECIPE_CHOICE: return take_choice(k, field, n, err);
    default: return take_text(field, n, arena, err);
    }
}

/* ---- to JSON ---- */

static void put_choice(const RecipeKey *k, int64_t number, JsonWriter *j)
{
    const char *p = k->choices;
    for (; number > 0; number--)
        p = strchr(p, ' ') + 1;
    json_write_string_n(j, p, strcspn(p, " "));
}

static void put_list(const RecipeKey *k, const void *field, JsonWriter *j)
{
    json_write_array_begin(j);
    if (k->type == RECIPE_INTS) {
        const RecipeInts *v = field;
        for (int64_t i = 0; i < v->count; i++)
            json_write_int(j, v->items[i]);
    } else if (k->type == RECIPE_REALS) {
        const RecipeReals *v = field;
        for (int64_t i = 0; i < v->count; i++)
            json_write_double(j, v->items[i]);
    } else {
        const RecipeTexts *v = field;
        for (int64_t i = 0; i < v->count; i++)
            json_write_string(j, v->items[i]);
    }
    json_write_array_end(j);
}

void recipe_put(const RecipeKey *k, const void *field, JsonWriter *j)
{
    switch (k->type) {
    case RECIPE_INT: json_write_int(j, *(const int64_t *)field); break;
    case RECIPE_REAL: json_write_double(j, *(const double *)field); break;
    case RECIPE_BOOL: json_write_bool(j, *(const bool *)field); break;
    case RECIPE_CHOICE: put_choice(k, *(const int64_t *)field, j); break;
    case RECIPE_TEXT: json_write_string(j, *(const char *const *)field); break;
    default: put_list(k, field, j); break;
    }
}

const void *recipe_field(const Recipe *r, const RecipeKey *k, int64_t source)
{
    if (k->flags & RECIPE_SOURCE)
        return (const char *)&r->data.sources[source] + k->offset;
    return (const char *)r + k->offset;
}
