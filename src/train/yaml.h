/* The part of YAML that a recipe may use, as a tree: mappings, sequences and scalars in block or flow
 * style. No anchors, aliases, tags, second document or repeated key; a key is one word without dots.
 *
 * Parsed by libyaml. It exports functions called yaml_…, also such as no header names: ours are yamltree_….
 * Limits: YAML_BYTES_MAX, YAML_DEPTH_MAX, YAML_NODES_MAX. Errors are ST_INVALID and begin "NAME:LINE: ". */
#ifndef PLUMB_TRAIN_YAML_H
#define PLUMB_TRAIN_YAML_H

#include "base/arena.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define YAML_BYTES_MAX (256u << 10)
#define YAML_DEPTH_MAX 12
#define YAML_NODES_MAX 20000

typedef enum { YAML_SCALAR, YAML_MAP, YAML_LIST } YamlKind;

typedef struct YamlNode YamlNode;
struct YamlNode {
    YamlKind kind;
    int line;         /* of its key, or its own in a sequence; from 1; 0: it comes from yamltree_set */
    const char *key;  /* of a member of a mapping; else NULL */
    const char *text; /* of a scalar, UTF-8, terminated */
    bool quoted;      /* a scalar in quotes or a block of text: never a number or a truth value */
    YamlNode *first, *last, *next; /* members and elements; next of the same parent */
};

/* Everything lives in the arena. */
typedef struct {
    Arena arena;
    const char *name; /* of the file, for messages; borrowed until yamltree_free */
    YamlNode *root;   /* NULL: an empty document */
    int nodes;
} Yaml;

/* *out is zeroed or freed. An empty file is an empty mapping. */
MUST_USE Status yamltree_parse(Yaml *out, const char *name, const void *data, size_t size, Error *err);

/* Replace or add one value, given as "key.of.it=VALUE"; parts of the key that are numbers count elements
 * of a sequence, from 0. VALUE is one plain scalar, whatever characters it has; only when it begins
 * with [ or { it is read as YAML. Errors begin "--set KEY: ". */
MUST_USE Status yamltree_set(Yaml *y, const char *assignment, Error *err);

YamlNode *yamltree_member(const YamlNode *map, const char *key); /* NULL when absent, or no mapping */
void yamltree_free(Yaml *y);

#endif
