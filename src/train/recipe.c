/* Reading recipes: a YAML tree is walked along the table of keys, then checked as a whole. */
#include "train/recipe.h"

#include "base/mapfile.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "train/recipe_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 200
#define KEYS_MAX 160

/* A recipe on its way. Lines are those of the keys that were given, -1 of others. */
typedef struct {
    Recipe recipe;
    const char *name;
    int lines[KEYS_MAX];
    int source_lines[RECIPE_SOURCES_MAX];
} Load;

/* ---- messages ---- */

/* Puts "FILE:LINE: KEY: " (or "--set KEY: ") in front of what err says. Line -1: no line is to blame. */
static Status blame(const Load *l, int line, const char *key, Status st, Error *err)
{
    if (line < 0)
        return error_context(err, st, "%s: %s", l->name, key);
    if (line == 0)
        return error_context(err, st, "--set %s", key);
    return error_context(err, st, "%s:%d: %s", l->name, line, key);
}

static int line_of(const Load *l, const char *key)
{
    for (int k = 0; k < recipe_key_count; k++)
        if (strcmp(recipe_keys[k].key, key) == 0)
            return l->lines[k];
    return -1;
}

static Status refuse(const Load *l, const char *key, Error *err, const char *why)
{
    return blame(l, line_of(l, key), key, error_set(err, ST_INVALID, "%s", why), err);
}

/* ---- keys ---- */

/* Does `key` begin with the section `prefix` ("train." or "")? Then its next word is at *word. */
static bool word_behind(const char *key, const char *prefix, const char **word, size_t *len)
{
    const size_t n = strlen(prefix);
    if (strncmp(key, prefix, n) != 0)
        return false;
    *word = key + n;
    *len = strcspn(*word, ".");
    return true;
}

static const RecipeKey *key_named(const char *key)
{
    for (int k = 0; k < recipe_key_count; k++)
        if (strcmp(recipe_keys[k].key, key) == 0)
            return &recipe_keys[k];
    return NULL;
}

static bool is_section(const char *key)
{
    const size_t n = strlen(key);
    for (int k = 0; k < recipe_key_count; k++)
        if (strncmp(recipe_keys[k].key, key, n) == 0 && recipe_keys[k].key[n] == '.')
            return true;
    return false;
}

static Status unknown_key(const Load *l, const char *prefix, const YamlNode *n, const char *full, Error *err)
{
    Nearest near;
    nearest_init(&near, n->key, strlen(n->key));
    for (int k = 0; k < recipe_key_count; k++) {
        const char *word = NULL;
        size_t len = 0;
        if (word_behind(recipe_keys[k].key, prefix, &word, &len))
            nearest_try(&near, word, len);
    }
    if (near.best)
        error_set(err, ST_INVALID, "there is no such key; did you mean '%s%.*s'?", prefix, (int)near.best_len, near.best);
    else
        error_set(err, ST_INVALID, "there is no such key");
    return blame(l, n->line, full, ST_INVALID, err);
}

/* ---- walking ---- */

MUST_USE static Status take_value(Load *l, const RecipeKey *k, RecipeSource *source, const YamlNode *n,
                                  const char *shown, Error *err)
{
    if ((k->flags & RECIPE_SOURCE) && !source)
        return blame(l, n->line, shown, error_set(err, ST_INVALID, "belongs to one of data.sources"), err);
    void *field = (k->flags & RECIPE_SOURCE ? (char *)source : (char *)&l->recipe) + k->offset;
    const Status st = recipe_take(k, field, n, &l->recipe.arena, err);
    if (st != ST_OK)
        return blame(l, n->line, shown, st, err);
    l->lines[k - recipe_keys] = n->line;
    return ST_OK;
}

/* The members of a mapping are keys that begin with `prefix`. `shown`: the same for messages, which
 * number the sources. */
MUST_USE static Status walk_section(Load *l, const char *prefix, const char *shown, RecipeSource *source,
                                    const YamlNode *map, Error *err);

MUST_USE static Status walk_sources(Load *l, const YamlNode *list, Error *err)
{
    if (list->kind != YAML_LIST)
        return blame(l, list->line, "data.sources", error_set(err, ST_INVALID, "expected a list"), err);
    for (const YamlNode *n = list->first; n; n = n->next) {
        char shown[KEY_MAX];
        const int64_t k = l->recipe.data.source_count;
        snprintf(shown, sizeof shown, "data.sources[%lld]", (long long)k);
        if (k == RECIPE_SOURCES_MAX)
            return blame(l, n->line, shown, error_set(err, ST_INVALID, "more than %d sources", RECIPE_SOURCES_MAX), err);
        if (n->kind != YAML_MAP)
            return blame(l, n->line, shown, error_set(err, ST_INVALID, "expected text, jsonl or problems"), err);
        l->source_lines[k] = n->line;
        l->recipe.data.source_count++;
        strncat(shown, ".", 2);
        const Status st = walk_section(l, "data.", shown, &l->recipe.data.sources[k], n, err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

/* Does the mapping hold keys of a source itself? Then it is the only one. */
static bool holds_source(const YamlNode *data)
{
    for (const YamlNode *n = data->first; n; n = n->next)
        if (strcmp(n->key, "sources") != 0 && strcmp(n->key, "validation") != 0)
            return true;
    return false;
}

MUST_USE static Status walk_data(Load *l, const YamlNode *data, Error *err)
{
    if (data->kind == YAML_LIST)
        return walk_sources(l, data, err);
    const YamlNode *sources = yamltree_member(data, "sources");
    RecipeSource *only = NULL;
    if (sources) {
        const Status st = walk_sources(l, sources, err);
        if (st != ST_OK)
            return st;
    } else if (holds_source(data)) {
        l->recipe.data.source_count = 1;
        l->source_lines[0] = data->line;
        only = &l->recipe.data.sources[0];
    }
    return walk_section(l, "data.", "data.", only, data, err);
}

MUST_USE static Status walk_member(Load *l, const char *prefix, const char *shown, RecipeSource *source,
                                   const YamlNode *n, Error *err)
{
    char key[KEY_MAX], inner[KEY_MAX + 1], name[KEY_MAX], inner_name[KEY_MAX + 1];
    const int a = snprintf(key, sizeof key, "%s%s", prefix, n->key);
    const int b = snprintf(name, sizeof name, "%s%s", shown, n->key);
    if (a >= KEY_MAX || b >= KEY_MAX)
        return blame(l, n->line, n->key, error_set(err, ST_INVALID, "there is no such key"), err);
    const RecipeKey *k = key_named(key);
    const bool in_sources = strcmp(prefix, shown) != 0;
    if (in_sources && k && !(k->flags & RECIPE_SOURCE))
        return blame(l, n->line, name, error_set(err, ST_INVALID, "there is no such key"), err);
    if (k)
        return take_value(l, k, source, n, name, err);
    if (strcmp(key, "data.sources") == 0 && !in_sources)
        return ST_OK; /* walk_data did it */
    if (!is_section(key))
        return unknown_key(l, prefix, n, name, err);
    if (strcmp(key, "data") == 0 && n->kind != YAML_SCALAR)
        return walk_data(l, n, err);
    if (n->kind != YAML_MAP)
        return blame(l, n->line, name, error_set(err, ST_INVALID, "is a section: its keys stand below it, indented"), err);
    snprintf(inner, sizeof inner, "%s.", key);
    snprintf(inner_name, sizeof inner_name, "%s.", name);
    return walk_section(l, inner, inner_name, source, n, err);
}

static Status walk_section(Load *l, const char *prefix, const char *shown, RecipeSource *source, const YamlNode *map,
                           Error *err)
{
    for (const YamlNode *n = map->first; n; n = n->next) {
        const Status st = walk_member(l, prefix, shown, source, n, err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

/* ---- defaults ---- */

/* A default is written as a recipe would write it and read in the same way. */
MUST_USE static Status take_fallback(Load *l, const RecipeKey *k, Error *err)
{
    void *field = (char *)&l->recipe + k->offset;
    if (!*k->fallback) {
        if (k->type == RECIPE_TEXT)
            *(const char **)field = "";
        return ST_OK;
    }
    Yaml y = {0};
    Status st = yamltree_parse(&y, k->key, k->fallback, strlen(k->fallback), err);
    if (st == ST_OK)
        st = recipe_take(k, field, y.root, &l->recipe.arena, err);
    yamltree_free(&y);
    return st;
}

MUST_USE static Status take_fallbacks(Load *l, Error *err)
{
    CHECK(recipe_key_count <= KEYS_MAX);
    for (int k = 0; k < recipe_key_count; k++) {
        l->lines[k] = -1;
        if (!recipe_keys[k].fallback || (recipe_keys[k].flags & RECIPE_SOURCE))
            continue;
        const Status st = take_fallback(l, &recipe_keys[k], err);
        CHECK(st == ST_OK || st == ST_NOMEM);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

/* ---- checks of the whole ---- */

MUST_USE static Status check_model(const Load *l, Error *err)
{
    const bool from = *l->recipe.model.from;
    for (int k = 0; k < recipe_key_count; k++) {
        const RecipeKey *key = &recipe_keys[k];
        if (!(key->flags & RECIPE_CONFIG))
            continue;
        if (from && l->lines[k] >= 0)
            return refuse(l, key->key, err, "not together with model.from, which brings it");
        if (!from && !key->fallback && l->lines[k] < 0)
            return refuse(l, key->key, err, "is missing; a new model needs it (or say model.from)");
    }
    const RecipeModel *m = &l->recipe.model;
    if (!from && m->compress_ratios.count != m->num_hidden_layers)
        return refuse(l, "model.compress_ratios", err, "must have one number for each of model.num_hidden_layers");
    for (int64_t k = 0; k < m->compress_ratios.count; k++)
        if (m->compress_ratios.items[k] != 0 && m->compress_ratios.items[k] != 4 && m->compress_ratios.items[k] != 128)
            return refuse(l, "model.compress_ratios", err, "each is 0, 4 or 128");
    return ST_OK;
}

MUST_USE static Status check_tokenizer(const Load *l, Error *err)
{
    const RecipeTokenizer *t = &l->recipe.tokenizer;
    const int ways = (*t->file != 0) + (t->train > 0);
    const char *given = t->train ? "tokenizer.train" : "tokenizer.file";
    if (ways > 1)
        return refuse(l, given, err, "only one of tokenizer.file and tokenizer.train can be");
    if (ways == 0 && !*l->recipe.model.from)
        return refuse(l, "tokenizer", err, "is missing: say tokenizer.file or tokenizer.train");
    if (ways > 0 && *l->recipe.model.from)
        return refuse(l, given, err, "not together with model.from, which brings its tokenizer");
    if (t->single_digits && t->train == 0)
        return refuse(l, "tokenizer.single_digits", err, "is for tokenizer.train");
    return ST_OK;
}

/* "3" or "1-5" */
static bool is_size(const char *text)
{
    const size_t a = strspn(text, "0123456789");
    if (a == 0 || a > 6)
        return false;
    if (!text[a])
        return true;
    const size_t b = strspn(text + a + 1, "0123456789");
    return text[a] == '-' && b > 0 && b <= 6 && !text[a + 1 + b] &&
           strtol(text, NULL, 10) <= strtol(text + a + 1, NULL, 10);
}

MUST_USE static const char *problems_fault(const RecipeSource *s)
{
    if (s->kind_weights.count > 0 && s->kind_weights.count != s->kinds.count)
        return "problems.weights has not as many numbers as problems.kinds has words";
    double sum = 0;
    for (int64_t k = 0; k < s->kind_weights.count; k++)
        sum += s->kind_weights.items[k];
    if (s->kind_weights.count > 0 && !(sum > 0))
        return "problems.weights are all zero";
    if (s->sizes.count > 1 && s->sizes.count != s->kinds.count)
        return "problems.sizes needs one size, or one for each of problems.kinds";
    for (int64_t k = 0; k < s->sizes.count; k++)
        if (!is_size(s->sizes.items[k]))
            return "problems.sizes: a size is written 3 or 1-5";
    if (s->kinds.count == 0 && (s->kind_weights.count > 0 || s->sizes.count > 0))
        return "problems.kinds is missing";
    return NULL;
}

MUST_USE static const char *source_fault(const Recipe *r, const RecipeSource *s)
{
    const char *fault = problems_fault(s);
    if (fault)
        return fault;
    const int ways = (s->text.count > 0) + (s->jsonl.count > 0) + (s->kinds.count > 0);
    if (ways != 1)
        return ways ? "only one of text, jsonl and problems can be" : "says neither text, jsonl nor problems";
    const RecipeSource *first = &r->data.sources[0];
    if ((s->weight > 0) != (first->weight > 0))
        return "either all sources have a weight or none";
    if (r->data.source_count > 1 && s->kinds.count > 0 && s->weight <= 0)
        return "problems have no end: beside other sources they need a weight (and so do these)";
    return NULL;
}

MUST_USE static Status check_data(const Load *l, Error *err)
{
    const Recipe *r = &l->recipe;
    if (r->data.source_count == 0)
        return refuse(l, "data", err, "is missing: say data.text, data.jsonl or data.problems");
    for (int64_t k = 0; k < r->data.source_count; k++) {
        const char *fault = source_fault(r, &r->data.sources[k]);
        char key[KEY_MAX] = "data";
        if (r->data.source_count > 1)
            snprintf(key, sizeof key, "data.sources[%lld]", (long long)k);
        if (fault)
            return blame(l, l->source_lines[k], key, error_set(err, ST_INVALID, "%s", fault), err);
    }
    if ((r->data.share > 0) + (r->data.text.count > 0) + (r->data.jsonl.count > 0) > 1)
        return blame(l, -1, "data.validation", error_set(err, ST_INVALID, "only one of share, text and jsonl can be"), err);
    return ST_OK;
}

MUST_USE static Status check_whole(const Load *l, Error *err)
{
    Status st = ST_OK;
    TRY(check_model(l, err));
    TRY(check_tokenizer(l, err));
    TRY(check_data(l, err));
    if (l->recipe.optimiser.adamw_betas.count != 2)
        TRY(refuse(l, "optimiser.adamw.betas", err, "needs two numbers"));
out:
    return st;
}

/* ---- entry points ---- */

MUST_USE static Status load(Load *l, Yaml *y, const char *const *sets, int64_t set_count, Error *err)
{
    Status st = ST_OK;
    for (int64_t k = 0; k < set_count; k++)
        TRY(yamltree_set(y, sets[k], err));
    TRY(take_fallbacks(l, err));
    if (y->root && y->root->kind != YAML_MAP)
        TRY(error_set(err, ST_INVALID, "%s:%d: a recipe begins with keys, like 'train:'", l->name, y->root->line));
    if (y->root)
        TRY(walk_section(l, "", "", NULL, y->root, err));
    TRY(check_whole(l, err));
out:
    return st;
}

Status recipe_parse(Recipe *out, const char *name, const void *data, size_t size, const char *const *sets,
                    int64_t set_count, Error *err)
{
    Load *l = mem_alloc(1, sizeof *l);
    if (!l)
        return error_set(err, ST_NOMEM, "no memory for a recipe");
    l->name = name;
    Yaml y = {0};
    Status st = yamltree_parse(&y, name, data, size, err);
    if (st == ST_OK)
        st = load(l, &y, sets, set_count, err);
    if (st == ST_OK)
        *out = l->recipe;
    else
        recipe_free(&l->recipe);
    yamltree_free(&y);
    mem_free(l);
    return st;
}

Status recipe_load(Recipe *out, const char *path, const char *const *sets, int64_t set_count, Error *err)
{
    uint8_t *data = NULL;
    size_t size = 0;
    Status st = file_read_all(&data, &size, path, YAML_BYTES_MAX, err);
    if (st == ST_OK)
        st = recipe_parse(out, path, data, size, sets, set_count, err);
    mem_free(data);
    return st;
}

void recipe_free(Recipe *r)
{
    arena_free(&r->arena);
    *r = (Recipe){0};
}
