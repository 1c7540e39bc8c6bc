/* The table of keys, for the files of recipes. */
#ifndef PLUMB_TRAIN_RECIPE_INTERNAL_H
#define PLUMB_TRAIN_RECIPE_INTERNAL_H

#include "base/json_write.h"
#include "train/recipe.h"
#include "train/yaml.h"

#include <stddef.h>

typedef enum {
    RECIPE_INT,
    RECIPE_REAL,
    RECIPE_BOOL,
    RECIPE_TEXT,
    RECIPE_CHOICE,
    RECIPE_INTS,
    RECIPE_REALS,
    RECIPE_TEXTS,
} RecipeType;

enum {
    RECIPE_FIXED = 1,  /* a run that goes on must keep it */
    RECIPE_SOURCE = 2, /* of a source: the offset is in RecipeSource */
    RECIPE_CONFIG = 4, /* also a key of config.json, by the name behind "model." */
};

typedef struct {
    const char *key; /* sections are separated by dots */
    RecipeType type;
    size_t offset;
    double min, max;      /* of a number, and of each element */
    const char *fallback; /* as a recipe would say it; NULL: a new model needs it */
    const char *choices;  /* words separated by spaces */
    unsigned flags;
    const char *help;
} RecipeKey;

extern const RecipeKey recipe_keys[];
extern const int recipe_key_count;

/* Fill one field from a node; ST_INVALID has a message without file, line and key. */
MUST_USE Status recipe_take(const RecipeKey *k, void *field, const YamlNode *n, Arena *arena, Error *err);

/* Write one field as JSON. */
void recipe_put(const RecipeKey *k, const void *field, JsonWriter *j);

/* Where the key's field lies in a recipe; `source` counts for keys of sources only. */
const void *recipe_field(const Recipe *r, const RecipeKey *k, int64_t source);

#endif
