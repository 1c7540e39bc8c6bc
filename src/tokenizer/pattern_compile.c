/* The compiler of patterns: recursive descent over the text, then one pass that links every node to the
 * one that follows it. Everything outside the subset is refused by name and place. */
#include "tokenizer/pattern.h"

#include "base/mem.h"
#include "tokenizer/pattern_internal.h"
#include "tokenizer/unicode.h"

#include <string.h>

#define GROUP_DEPTH_MAX 32
#define REPEAT_MAX 100000
#define BRANCHES_MAX 1024 /* groups, alternatives and repetitions: bounds the recursion of the matcher */

typedef struct {
    Pattern *p;
    const uint8_t *s;
    size_t at, n;
    int depth, branches;
    bool fold; /* inside (?i: */
    Error *err;
} Parser;

static Status refuse(const Parser *q, size_t at, const char *what)
{
    return error_set(q->err, ST_UNSUPPORTED, "pattern '%.*s': %s at byte %zu is not supported",
                     (int)(q->n < 300 ? q->n : 300), (const char *)q->s, what, at);
}

static Status no_memory(const Parser *q)
{
    return error_set(q->err, ST_NOMEM, "no memory for a pattern");
}

static Status add_node(Parser *q, PatternKind kind, int *index)
{
    Pattern *p = q->p;
    if ((kind == NODE_GROUP || kind == NODE_LOOK || kind == NODE_ALTERNATIVE) && ++q->branches > BRANCHES_MAX)
        return refuse(q, q->at, "so large a pattern");
    if (mem_grow((void **)&p->nodes, &p->node_cap, p->node_count + 1, sizeof *p->nodes) != ST_OK)
        return no_memory(q);
    p->nodes[p->node_count] = (PatternNode){.kind = kind, .next = -1, .alternative = -1, .min = 1, .max = 1};
    *index = (int)p->node_count++;
    return ST_OK;
}

static Status add_set(Parser *q, int *index)
{
    Pattern *p = q->p;
    if (mem_grow((void **)&p->sets, &p->set_cap, p->set_count + 1, sizeof *p->sets) != ST_OK)
        return no_memory(q);
    p->sets[p->set_count] = (PatternSet){.first = (int)p->item_count};
    *index = (int)p->set_count++;
    return ST_OK;
}

static Status add_item(Parser *q, int set, PatternItemKind kind, uint32_t low, uint32_t high)
{
    Pattern *p = q->p;
    if (mem_grow((void **)&p->items, &p->item_cap, p->item_count + 1, sizeof *p->items) != ST_OK)
        return no_memory(q);
    const PatternItem item = {kind, low, high};
    PatternSet *x = &p->sets[set];
    p->items[p->item_count++] = item;
    x->count++;
    PatternSet one = {.first = (int)p->item_count - 1, .count = 1};
    for (uint32_t c = 0; c < 128; c++) {
        const uint8_t cls = unicode_class(c);
        const bool white = (cls & CLASS_WHITE) != 0;
        const bool in = kind == ITEM_RANGE        ? c >= low && c <= high
                        : kind == ITEM_CATEGORIES ? class_in(cls, low)
                                                  : white == (kind == ITEM_WHITE);
        if (in)
            one.ascii[c >> 6] |= (uint64_t)1 << (c & 63);
    }
    x->ascii[0] |= one.ascii[0];
    x->ascii[1] |= one.ascii[1];
    return ST_OK;
}

/* A range, and under (?i: its other cases: ASCII only, where s and k have one more each. */
static Status add_range(Parser *q, int set, uint32_t low, uint32_t high)
{
    Status st = add_item(q, set, ITEM_RANGE, low, high);
    if (!q->fold || st != ST_OK)
        return st;
    if (high >= 128)
        return refuse(q, q->at, "a character beyond ASCII under (?i:");
    for (uint32_t c = low; c <= high && st == ST_OK; c++) {
        const uint32_t lower = c | 0x20;
        if (lower < 'a' || lower > 'z')
            continue;
        st = add_item(q, set, ITEM_RANGE, c ^ 0x20, c ^ 0x20);
        if (st == ST_OK && lower == 's')
            st = add_item(q, set, ITEM_RANGE, 0x17f, 0x17f);
        if (st == ST_OK && lower == 'k')
            st = add_item(q, set, ITEM_RANGE, 0x212a, 0x212a);
    }
    return st;
}

static bool category_set(const char *name, size_t n, uint32_t *out)
{
    static const struct {
        const char *name;
        uint32_t set;
    } table[] = {
        {"L", GCS_L}, {"Letter", GCS_L}, {"M", GCS_M}, {"Mark", GCS_M}, {"N", GCS_N}, {"Number", GCS_N},
        {"P", GCS_P}, {"Punctuation", GCS_P}, {"S", GCS_S}, {"Symbol", GCS_S}, {"Z", GCS_Z},
        {"Separator", GCS_Z}, {"C", GCS_C}, {"Other", GCS_C},
        {"Lu", GCS(LU)}, {"Ll", GCS(LL)}, {"Lt", GCS(LT)}, {"Lm", GCS(LM)}, {"Lo", GCS(LO)}, {"Mn", GCS(MN)},
        {"Mc", GCS(MC)}, {"Me", GCS(ME)}, {"Nd", GCS(ND)}, {"Nl", GCS(NL)}, {"No", GCS(NO)}, {"Pc", GCS(PC)},
        {"Pd", GCS(PD)}, {"Ps", GCS(PS)}, {"Pe", GCS(PE)}, {"Pi", GCS(PI)}, {"Pf", GCS(PF)}, {"Po", GCS(PO)},
        {"Sm", GCS(SM)}, {"Sc", GCS(SC)}, {"Sk", GCS(SK)}, {"So", GCS(SO)}, {"Zs", GCS(ZS)}, {"Zl", GCS(ZL)},
        {"Zp", GCS(ZP)}, {"Cc", GCS(CC)}, {"Cf", GCS(CF)}, {"Co", GCS(CO)}, {"Cn", GCS(CN)},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strlen(table[i].name) == n && memcmp(table[i].name, name, n) == 0) {
            *out = table[i].set;
            return true;
        }
    return false;
}

/* \p{Name}, \P{Name}, \p{^Name}: q->at stands behind the p. */
static Status parse_property(Parser *q, int set, bool negated)
{
    const size_t from = q->at;
    if (q->at >= q->n || q->s[q->at] != '{')
        return refuse(q, from, "\\p without braces");
    q->at++;
    if (q->at < q->n && q->s[q->at] == '^') {
        negated = !negated;
        q->at++;
    }
    const size_t name = q->at;
    while (q->at < q->n && q->s[q->at] != '}')
        q->at++;
    uint32_t categories;
    if (q->at == q->n || !category_set((const char *)q->s + name, q->at - name, &categories))
        return refuse(q, from, "this property");
    q->at++;
    if (q->fold)
        return refuse(q, from, "a property under (?i:");
    const uint32_t all = (1u << GC_COUNT) - 1;
    return add_item(q, set, ITEM_CATEGORIES, negated ? all & ~categories : categories, 0);
}

static int hex_value(uint8_t c)
{
    const uint8_t lower = c | 0x20;
    return c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Up to `digits` hexadecimal digits. */
static Status parse_hex(Parser *q, int digits, uint32_t *cp)
{
    const size_t from = q->at;
    uint32_t v = 0;
    while (digits-- > 0 && q->at < q->n && hex_value(q->s[q->at]) >= 0)
        v = v * 16 + (uint32_t)hex_value(q->s[q->at++]);
    if (q->at == from || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
        return refuse(q, from, "this character code");
    *cp = v;
    return ST_OK;
}

/* The escapes of single characters; q->at stands behind the letter c. */
static Status parse_char_escape(Parser *q, uint32_t c, uint32_t *cp)
{
    static const char letters[] = "rntfvae", values[] = "\r\n\t\f\v\a\x1b";
    const char *known = c > 0 && c < 128 ? strchr(letters, (int)c) : NULL;
    if (known) {
        *cp = (uint8_t)values[known - letters];
        return ST_OK;
    }
    if (c == 'x' && q->at < q->n && q->s[q->at] == '{') {
        q->at++;
        const Status st = parse_hex(q, 6, cp);
        if (st != ST_OK)
            return st;
        if (q->at >= q->n || q->s[q->at] != '}')
            return refuse(q, q->at, "this character code");
        q->at++;
        return ST_OK;
    }
    if (c == 'x' || c == 'u') {
        const size_t from = q->at;
        const Status st = parse_hex(q, c == 'x' ? 2 : 4, cp);
        if (st == ST_OK && ((c == 'x' && *cp >= 128) || (c == 'u' && q->at - from != 4)))
            return refuse(q, from, "this character code");
        return st;
    }
    const bool word = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c >= 128;
    if (word)
        return refuse(q, q->at - 1, "this escape");
    *cp = c;
    return ST_OK;
}

/* After a backslash: a class goes into the set (*single false), or one character comes back. */
static Status parse_escape(Parser *q, int set, bool *single, uint32_t *cp)
{
    if (q->at >= q->n)
        return refuse(q, q->at, "a backslash at the end");
    unsigned len;
    const uint32_t c = utf8_get(q->s + q->at, &len);
    q->at += len;
    *single = false;
    if (c == 's' || c == 'S')
        return add_item(q, set, c == 's' ? ITEM_WHITE : ITEM_NOT_WHITE, 0, 0);
    if (c == 'd' || c == 'D') {
        const uint32_t all = (1u << GC_COUNT) - 1;
        return add_item(q, set, ITEM_CATEGORIES, c == 'd' ? GCS(ND) : all & ~GCS(ND), 0);
    }
    if (c == 'p' || c == 'P')
        return parse_property(q, set, c == 'P');
    *single = true;
    return parse_char_escape(q, c, cp);
}

/* One member of a class: an escape, or a character. */
static Status parse_class_char(Parser *q, int set, bool *single, uint32_t *cp)
{
    unsigned len;
    const uint32_t c = utf8_get(q->s + q->at, &len);
    if (c == '[')
        return refuse(q, q->at, "a class inside a class");
    if (c == '&' && q->at + 1 < q->n && q->s[q->at + 1] == '&')
        return refuse(q, q->at, "an intersection of classes");
    q->at += len;
    if (c == '\\')
        return parse_escape(q, set, single, cp);
    *single = true;
    *cp = c;
    return ST_OK;
}

static Status parse_class_item(Parser *q, int set)
{
    Status st = ST_OK;
    bool single;
    uint32_t low, high;
    TRY(parse_class_char(q, set, &single, &low));
    if (!single)
        return ST_OK;
    high = low;
    if (q->at + 1 < q->n && q->s[q->at] == '-' && q->s[q->at + 1] != ']') {
        const size_t from = q->at++;
        TRY(parse_class_char(q, set, &single, &high));
        if (!single || high < low)
            return refuse(q, from, "this range");
    }
    TRY(add_range(q, set, low, high));
out:
    return st;
}

/* [ … ]: q->at stands behind the bracket. */
static Status parse_class(Parser *q, int set)
{
    Status st = ST_OK;
    const size_t from = q->at;
    bool negated = false;
    if (q->at < q->n && q->s[q->at] == '^') {
        negated = true;
        q->at++;
    }
    if (negated && q->fold)
        return refuse(q, from, "a negated class under (?i:");
    if (q->at < q->n && q->s[q->at] == ']')
        return refuse(q, q->at, "an empty class");
    while (q->at < q->n && q->s[q->at] != ']')
        TRY(parse_class_item(q, set));
    if (q->at == q->n)
        return refuse(q, from, "a class without end");
    q->at++;
    q->p->sets[set].negated = negated;
out:
    return st;
}

static Status parse_number(Parser *q, int64_t *value)
{
    const size_t from = q->at;
    int64_t v = 0;
    while (q->at < q->n && q->s[q->at] >= '0' && q->s[q->at] <= '9' && v <= REPEAT_MAX)
        v = v * 10 + (q->s[q->at++] - '0');
    if (q->at == from || v > REPEAT_MAX)
        return refuse(q, from, "this repetition");
    *value = v;
    return ST_OK;
}

/* {m} {m,} {m,n}: q->at stands behind the brace. */
static Status parse_braces(Parser *q, PatternNode *n)
{
    Status st = ST_OK;
    const size_t from = q->at;
    TRY(parse_number(q, &n->min));
    n->max = n->min;
    const bool range = q->at < q->n && q->s[q->at] == ',';
    if (range) {
        q->at++;
        n->max = PATTERN_UNBOUNDED;
        if (q->at < q->n && q->s[q->at] != '}')
            TRY(parse_number(q, &n->max));
    }
    if (q->at == q->n || q->s[q->at] != '}' || n->max < n->min)
        return refuse(q, from, "this repetition");
    q->at++;
    const uint8_t after = q->at < q->n ? q->s[q->at] : 0;
    if (after == '+' || (after == '?' && !range)) /* mean something else in this syntax */
        return refuse(q, q->at, "this repetition");
out:
    return st;
}

/* What may follow an atom. */
static Status parse_quantifier(Parser *q, int node)
{
    Status st = ST_OK;
    PatternNode *n = &q->p->nodes[node];
    const size_t from = q->at;
    const uint8_t c = q->at < q->n ? q->s[q->at] : 0;
    if (c != '?' && c != '*' && c != '+' && c != '{')
        return ST_OK;
    if (n->kind != NODE_SET && !(n->kind == NODE_GROUP && c == '?'))
        return refuse(q, from, "a repeated group");
    if (++q->branches > BRANCHES_MAX)
        return refuse(q, from, "so large a pattern");
    q->at++;
    if (c == '{') {
        TRY(parse_braces(q, n));
    } else {
        n->min = c == '+' ? 1 : 0;
        n->max = c == '?' ? 1 : PATTERN_UNBOUNDED;
    }
    const uint8_t mode = q->at < q->n ? q->s[q->at] : 0;
    if (mode == '?' || mode == '+') {
        n->mode = mode == '?' ? REPEAT_LAZY : REPEAT_POSSESSIVE;
        q->at++;
        if (n->kind == NODE_GROUP && n->mode == REPEAT_POSSESSIVE)
            return refuse(q, from, "a possessive group");
    }
    const uint8_t after = q->at < q->n ? q->s[q->at] : 0;
    if (after == '?' || after == '*' || after == '+' || after == '{')
        return refuse(q, q->at, "a repeated repetition");
out:
    return st;
}

static Status parse_alternatives(Parser *q, int *first);

/* ( … ): q->at stands behind the parenthesis. */
static Status parse_group(Parser *q, int *node)
{
    Status st = ST_OK;
    const size_t from = q->at;
    const bool outer_fold = q->fold;
    const char *rest = (const char *)q->s + q->at;
    const size_t left = q->n - q->at;
    PatternKind kind = NODE_GROUP;
    bool negated = false;
    if (left >= 2 && memcmp(rest, "?:", 2) == 0) {
        q->at += 2;
    } else if (left >= 3 && memcmp(rest, "?i:", 3) == 0) {
        q->at += 3;
        q->fold = true;
    } else if (left >= 2 && (memcmp(rest, "?!", 2) == 0 || memcmp(rest, "?=", 2) == 0)) {
        q->at += 2;
        kind = NODE_LOOK;
        negated = rest[1] == '!';
    } else if (left >= 1 && rest[0] == '?') {
        return refuse(q, from, "this kind of group");
    }
    TRY(add_node(q, kind, node));
    if (++q->depth > GROUP_DEPTH_MAX)
        return refuse(q, from, "such deep nesting");
    int first;
    TRY(parse_alternatives(q, &first));
    q->depth--;
    if (q->at == q->n)
        return refuse(q, from, "a group without end");
    q->at++;
    q->fold = outer_fold;
    q->p->nodes[*node].alternative = first;
    q->p->nodes[*node].negated = negated;
out:
    return st;
}

/* Two literals that fold together with one character (ß, ﬁ, ﬆ, …) are beyond this matcher. */
static bool folds_together(const Parser *q)
{
    if (!q->fold || q->at + 1 >= q->n)
        return false;
    const uint8_t a = q->s[q->at] | 0x20, b = q->s[q->at + 1] | 0x20;
    return (a == 's' && (b == 's' || b == 't')) || (a == 'f' && (b == 'f' || b == 'i' || b == 'l'));
}

static Status parse_set_atom(Parser *q, uint32_t c, unsigned len, int *node)
{
    Status st = ST_OK;
    int set;
    uint32_t cp = c;
    bool single = true;
    if (folds_together(q))
        return refuse(q, q->at, "this pair of letters under (?i:");
    TRY(add_node(q, NODE_SET, node));
    TRY(add_set(q, &set));
    q->p->nodes[*node].set = set;
    q->at += len;
    if (c == '[')
        return parse_class(q, set);
    if (c == '.') {
        TRY(add_item(q, set, ITEM_RANGE, '\n', '\n'));
        q->p->sets[set].negated = true;
        return ST_OK;
    }
    if (c == '\\')
        TRY(parse_escape(q, set, &single, &cp));
    if (single)
        TRY(add_range(q, set, cp, cp));
out:
    return st;
}

static Status parse_atom(Parser *q, int *node)
{
    unsigned len;
    const uint32_t c = utf8_get(q->s + q->at, &len);
    const uint8_t after = q->at + 1 < q->n ? q->s[q->at + 1] : 0;
    if (c == '^' || c == '$') {
        q->at++;
        return add_node(q, c == '^' ? NODE_LINE_BEGIN : NODE_LINE_END, node);
    }
    if (c == '\\' && (after == 'A' || after == 'z')) {
        q->at += 2;
        return add_node(q, after == 'A' ? NODE_TEXT_BEGIN : NODE_TEXT_END, node);
    }
    if (c == '(') {
        q->at++;
        return parse_group(q, node);
    }
    if (c == '?' || c == '*' || c == '+' || c == '{' || c == ')')
        return refuse(q, q->at, "this character here");
    return parse_set_atom(q, c, len, node);
}

/* Atoms up to | or ) or the end; *first is -1 for an empty sequence. */
static Status parse_sequence(Parser *q, int *first)
{
    Status st = ST_OK;
    int last = -1;
    *first = -1;
    while (q->at < q->n && q->s[q->at] != '|' && !(q->s[q->at] == ')' && q->depth > 0)) {
        int node;
        TRY(parse_atom(q, &node));
        TRY(parse_quantifier(q, node));
        if (last < 0)
            *first = node;
        else
            q->p->nodes[last].next = node;
        last = node;
    }
out:
    return st;
}

static Status parse_alternatives(Parser *q, int *first)
{
    Status st = ST_OK;
    int last = -1, node, start;
    for (;;) {
        TRY(add_node(q, NODE_ALTERNATIVE, &node));
        TRY(parse_sequence(q, &start));
        q->p->nodes[node].next = start;
        if (last < 0)
            *first = node;
        else
            q->p->nodes[last].alternative = node;
        last = node;
        if (q->at == q->n || q->s[q->at] != '|')
            return ST_OK;
        q->at++;
    }
out:
    return st;
}

/* Whether the sequence can match the empty text. Look-ahead and anchors take nothing. */
static bool can_be_empty(const Pattern *p, int node)
{
    for (; node >= 0; node = p->nodes[node].next) {
        const PatternNode *n = &p->nodes[node];
        if (n->min == 0 || (n->kind != NODE_SET && n->kind != NODE_GROUP))
            continue;
        bool empty = false;
        for (int alt = n->alternative; alt >= 0; alt = p->nodes[alt].alternative)
            empty = empty || can_be_empty(p, p->nodes[alt].next);
        if (!empty)
            return false;
    }
    return true;
}

/* Point the end of every sequence at what follows it. */
static void link_sequence(Pattern *p, int *start, int then)
{
    if (*start < 0) {
        *start = then;
        return;
    }
    for (int node = *start, next; node >= 0; node = next) {
        PatternNode *n = &p->nodes[node];
        next = n->next;
        if (next < 0)
            n->next = then;
        for (int alt = n->alternative; alt >= 0; alt = p->nodes[alt].alternative)
            link_sequence(p, &p->nodes[alt].next, n->kind == NODE_LOOK ? 0 : n->next);
    }
}

static Status parse_literal(Parser *q, int *first)
{
    Status st = ST_OK;
    int last = -1, node, set;
    *first = -1;
    while (q->at < q->n) {
        unsigned len;
        const uint32_t cp = utf8_get(q->s + q->at, &len);
        TRY(add_node(q, NODE_SET, &node));
        TRY(add_set(q, &set));
        TRY(add_range(q, set, cp, cp));
        q->p->nodes[node].set = set;
        q->at += len;
        if (last < 0)
            *first = node;
        else
            q->p->nodes[last].next = node;
        last = node;
    }
out:
    return st;
}

Status pattern_compile(Pattern **out, const char *text, size_t len, bool literal, Error *err)
{
    Status st = ST_OK;
    Pattern *p = mem_alloc(1, sizeof *p);
    Parser q = {.p = p, .s = (const uint8_t *)text, .n = len, .err = err};
    int node, group;
    if (!p)
        return no_memory(&q);
    if (len == 0 || len > PATTERN_BYTES_MAX || utf8_valid_prefix(q.s, len) != len) {
        st = error_set(err, ST_UNSUPPORTED, "a pattern of %zu bytes (valid UTF-8, 1 to %d)", len,
                       PATTERN_BYTES_MAX);
        goto out;
    }
    p->text = mem_alloc(len, 1);
    if (!p->text) {
        st = no_memory(&q);
        goto out;
    }
    memcpy(p->text, text, len);
    p->text_len = len;
    p->literal = literal;
    TRY(add_node(&q, NODE_ACCEPT, &node));
    TRY(add_node(&q, NODE_GROUP, &group));
    p->start = group;
    if (literal) {
        int first;
        TRY(add_node(&q, NODE_ALTERNATIVE, &node));
        TRY(parse_literal(&q, &first));
        p->nodes[node].next = first;
    } else {
        TRY(parse_alternatives(&q, &node));
    }
    p->nodes[group].alternative = node;
    if (can_be_empty(p, group)) {
        st = refuse(&q, q.at, "that it can match the empty text");
        goto out;
    }
    link_sequence(p, &p->start, 0);
    *out = p;
    return ST_OK;
out:
    pattern_destroy(p);
    return st;
}

void pattern_destroy(Pattern *p)
{
    if (!p)
        return;
    mem_free(p->nodes);
    mem_free(p->sets);
    mem_free(p->items);
    mem_free(p->text);
    mem_free(p);
}

Str pattern_text(const Pattern *p, bool *literal)
{
    *literal = p->literal;
    return (Str){p->text, p->text_len};
}
