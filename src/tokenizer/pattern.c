/* A small backtracking matcher: see pattern.h for what it understands.
 *
 * A pattern is a graph of nodes without cycles (only single characters repeat), each with the node that
 * follows it, so matching recurses at most once a node and needs no memory; time is bounded by a budget.
 * Sets of characters are a bitmap for ASCII and a list of items for the rest. */
#include "tokenizer/pattern.h"

#include "tokenizer/pattern_internal.h"
#include "tokenizer/unicode.h"

#define NO_MATCH SIZE_MAX

typedef struct {
    const Pattern *p;
    const uint8_t *s;
    size_t begin, end;
    int64_t steps;
} Search;

bool pattern_set_has(const PatternSet *set, const PatternItem *items, uint32_t cp)
{
    bool in = false;
    if (cp < 128) {
        in = (set->ascii[cp >> 6] >> (cp & 63)) & 1;
        return in != set->negated;
    }
    const uint8_t cls = unicode_class(cp);
    for (int i = set->first; i < set->first + set->count && !in; i++) {
        const PatternItem *it = &items[i];
        if (it->kind == ITEM_RANGE)
            in = cp >= it->low && cp <= it->high;
        else if (it->kind == ITEM_CATEGORIES)
            in = class_in(cls, it->low);
        else
            in = ((cls & CLASS_WHITE) != 0) == (it->kind == ITEM_WHITE);
    }
    return in != set->negated;
}

/* Length of the character at `at` when it belongs to the set, else 0. */
static unsigned set_at(const Search *q, const PatternNode *n, size_t at)
{
    if (at >= q->end)
        return 0;
    unsigned len;
    const uint32_t cp = utf8_get(q->s + at, &len);
    return pattern_set_has(&q->p->sets[n->set], q->p->items, cp) ? len : 0;
}

static size_t match(Search *q, int node, size_t at);

static size_t match_lazy(Search *q, const PatternNode *n, size_t at)
{
    for (int64_t count = 0;; count++) {
        if (count >= n->min) {
            const size_t stop = match(q, n->next, at);
            if (stop != NO_MATCH || count == n->max)
                return stop;
        }
        const unsigned len = set_at(q, n, at);
        if (len == 0 || --q->steps < 0)
            return NO_MATCH;
        at += len;
    }
}

static size_t match_repeat(Search *q, const PatternNode *n, size_t at)
{
    int64_t count = 0;
    if (n->mode == REPEAT_LAZY)
        return match_lazy(q, n, at);
    for (unsigned len; count < n->max && (len = set_at(q, n, at)) != 0; count++) {
        if (--q->steps < 0)
            return NO_MATCH;
        at += len;
    }
    if (count < n->min)
        return NO_MATCH;
    for (;;) {
        const size_t stop = match(q, n->next, at);
        if (stop != NO_MATCH || count == n->min || n->mode == REPEAT_POSSESSIVE || --q->steps < 0)
            return stop;
        at = utf8_back(q->s, at);
        count--;
    }
}

static size_t match_group(Search *q, const PatternNode *n, size_t at)
{
    size_t stop = NO_MATCH;
    if (n->min == 0 && n->mode == REPEAT_LAZY && (stop = match(q, n->next, at)) != NO_MATCH)
        return stop;
    for (int alt = n->alternative; alt >= 0 && stop == NO_MATCH; alt = q->p->nodes[alt].alternative)
        stop = match(q, q->p->nodes[alt].next, at);
    if (stop == NO_MATCH && n->min == 0 && n->mode == REPEAT_GREEDY)
        stop = match(q, n->next, at);
    return stop;
}

static bool look(Search *q, const PatternNode *n, size_t at)
{
    for (int alt = n->alternative; alt >= 0; alt = q->p->nodes[alt].alternative)
        if (match(q, q->p->nodes[alt].next, at) != NO_MATCH)
            return true;
    return false;
}

static bool anchored(const Search *q, PatternKind kind, size_t at)
{
    switch (kind) {
    case NODE_LINE_BEGIN:
        return at == q->begin || (at < q->end && q->s[at - 1] == '\n');
    case NODE_LINE_END:
        return at == q->end || q->s[at] == '\n';
    case NODE_TEXT_BEGIN:
        return at == q->begin;
    default:
        return at == q->end;
    }
}

static size_t match(Search *q, int node, size_t at)
{
    for (;;) {
        const PatternNode *n = &q->p->nodes[node];
        if (--q->steps < 0)
            return NO_MATCH;
        if (n->kind == NODE_ACCEPT) {
            return at;
        } else if (n->kind == NODE_SET) {
            if (n->min != 1 || n->max != 1)
                return match_repeat(q, n, at);
            const unsigned len = set_at(q, n, at);
            if (len == 0)
                return NO_MATCH;
            at += len;
        } else if (n->kind == NODE_GROUP) {
            return match_group(q, n, at);
        } else if (n->kind == NODE_LOOK) {
            if (look(q, n, at) == n->negated || q->steps < 0)
                return NO_MATCH;
        } else if (!anchored(q, n->kind, at)) {
            return NO_MATCH;
        }
        node = n->next;
    }
}

bool pattern_find(const Pattern *p, const uint8_t *s, size_t begin, size_t from, size_t end, size_t *start,
                  size_t *stop, int64_t *steps)
{
    Search q = {p, s, begin, end, *steps};
    bool found = false;
    for (size_t at = from; at < end && q.steps >= 0 && !found;) {
        const size_t e = match(&q, p->start, at);
        if (e != NO_MATCH && e > at && q.steps >= 0) {
            *start = at;
            *stop = e;
            found = true;
        }
        unsigned len;
        utf8_get(s + at, &len);
        at += len;
    }
    *steps = q.steps;
    return found;
}
