/* The compiled form of a pattern, shared by the compiler and the matcher. */
#ifndef PLUMB_TOKENIZER_PATTERN_INTERNAL_H
#define PLUMB_TOKENIZER_PATTERN_INTERNAL_H

#include "tokenizer/pattern.h"

typedef enum { ITEM_RANGE, ITEM_CATEGORIES, ITEM_WHITE, ITEM_NOT_WHITE } PatternItemKind;

typedef struct {
    PatternItemKind kind;
    uint32_t low, high; /* ITEM_RANGE: inclusive; ITEM_CATEGORIES: the set in low */
} PatternItem;

typedef struct {
    uint64_t ascii[2]; /* before negation */
    int first, count;  /* items, for characters from 128 on */
    bool negated;
} PatternSet;

typedef enum {
    NODE_ACCEPT,
    NODE_SET,
    NODE_GROUP,
    NODE_ALTERNATIVE, /* next: its first node; alternative: the next one or -1 */
    NODE_LOOK,
    NODE_LINE_BEGIN,
    NODE_LINE_END,
    NODE_TEXT_BEGIN,
    NODE_TEXT_END,
} PatternKind;

typedef enum { REPEAT_GREEDY, REPEAT_LAZY, REPEAT_POSSESSIVE } PatternMode;

#define PATTERN_UNBOUNDED INT64_MAX

typedef struct {
    PatternKind kind;
    PatternMode mode;
    int next;        /* while parsing: the following node of the sequence or -1; then where to go on */
    int alternative; /* GROUP, LOOK: the first alternative */
    int set;
    bool negated;
    int64_t min, max;
} PatternNode;

struct Pattern {
    PatternNode *nodes; /* owned, as the two below; node 0 accepts */
    PatternSet *sets;
    PatternItem *items;
    size_t node_count, node_cap, set_count, set_cap, item_count, item_cap;
    int start;
    char *text; /* owned: what it was compiled from */
    size_t text_len;
    bool literal;
};

bool pattern_set_has(const PatternSet *set, const PatternItem *items, uint32_t cp);

#endif
