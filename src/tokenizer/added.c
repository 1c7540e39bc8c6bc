/* Added tokens: see added.h. The patterns lie sorted, and a candidate is followed byte by byte by
 * narrowing the range of patterns that share the prefix read so far; nearly every place of a text is
 * ruled out by its first byte. */
#include "tokenizer/added.h"

#include "base/mem.h"
#include "tokenizer/nfc.h"
#include "tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

static Status no_memory(Error *err)
{
    return error_set(err, ST_NOMEM, "no memory for the added tokens");
}

Status added_add(Added *a, AddedToken token, Str content, Error *err)
{
    token.text = a->texts.count;
    token.text_len = content.len;
    if (mem_grow((void **)&a->tokens, &a->cap, a->count + 1, sizeof *a->tokens) != ST_OK ||
        bytebuf_append(&a->texts, content.ptr, content.len) != ST_OK)
        return no_memory(err);
    a->tokens[a->count++] = token;
    if (token.id >= a->id_count)
        a->id_count = (int64_t)token.id + 1;
    return ST_OK;
}

void added_deinit(Added *a)
{
    mem_free(a->tokens);
    bytebuf_free(&a->texts);
    mem_free(a->raw.patterns);
    mem_free(a->normalized.patterns);
    mem_free(a->by_id);
    *a = (Added){0};
}

const AddedToken *added_by_id(const Added *a, int64_t id)
{
    if (id < 0 || id >= a->id_count || a->by_id[id] < 0)
        return NULL;
    return &a->tokens[a->by_id[id]];
}

Str added_content(const Added *a, const AddedToken *token)
{
    return (Str){(const char *)a->texts.data + token->text, token->text_len};
}

AddedToken *added_by_content(const Added *a, Str content)
{
    for (size_t i = a->count; i-- > 0;) {
        AddedToken *t = &a->tokens[i];
        if (t->text_len == content.len && memcmp(a->texts.data + t->text, content.ptr, content.len) == 0)
            return t;
    }
    return NULL;
}

/* ---- building ---------------------------------------------------------------------------------- */

/* What each token is looked for as: its content, or the normal form of that, appended to the texts. */
static Status make_patterns(Added *a, AddedPattern *patterns, bool nfc, Error *err)
{
    Status st = ST_OK;
    size_t *at = mem_alloc(a->count + 1, sizeof *at);
    if (!at)
        return no_memory(err);
    for (size_t i = 0; i < a->count && st == ST_OK; i++) {
        const AddedToken *t = &a->tokens[i];
        ByteBuf normal = {0};
        at[i] = a->texts.count;
        if (t->normalized && nfc)
            st = nfc_append(a->texts.data + t->text, t->text_len, &normal);
        if (st == ST_OK)
            st = bytebuf_append(&a->texts, normal.data, normal.count);
        bytebuf_free(&normal);
    }
    at[a->count] = a->texts.count;
    for (size_t i = 0; i < a->count; i++) {
        const AddedToken *t = &a->tokens[i];
        patterns[i].token = (int32_t)i;
        patterns[i].text = added_content(a, t);
        if (t->normalized && nfc)
            patterns[i].text = (Str){(const char *)a->texts.data + at[i], at[i + 1] - at[i]};
    }
    mem_free(at);
    return st == ST_OK ? ST_OK : no_memory(err);
}

/* By bytes, a prefix before what it is a prefix of; of equal ones special tokens, then earlier ones first. */
static int compare_patterns(const void *x, const void *y)
{
    const AddedPattern *a = x, *b = y;
    const size_t n = a->text.len < b->text.len ? a->text.len : b->text.len;
    const int order = n ? memcmp(a->text.ptr, b->text.ptr, n) : 0;
    if (order != 0)
        return order;
    if (a->text.len != b->text.len)
        return a->text.len < b->text.len ? -1 : 1;
    return a->token < b->token ? -1 : a->token > b->token;
}

/* The patterns of all tokens that belong to this set. */
static Status build_set(const Added *a, AddedSet *set, const AddedPattern *all, bool normalized, Error *err)
{
    set->patterns = mem_alloc(a->count, sizeof *set->patterns);
    if (!set->patterns)
        return no_memory(err);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < a->count; i++)
            if (a->tokens[i].normalized == normalized && a->tokens[i].special == (pass == 0) && all[i].text.len > 0)
                set->patterns[set->count++] = all[i];
    qsort(set->patterns, (size_t)set->count, sizeof *set->patterns, compare_patterns);
    int32_t at = 0;
    set->only = -1;
    for (int b = 0; b < 256; b++) {
        set->first[b] = at;
        while (at < set->count && (uint8_t)set->patterns[at].text.ptr[0] == b)
            at++;
        if (at > set->first[b] && set->first[b] == 0 && at == set->count)
            set->only = b;
    }
    set->first[256] = at;
    return ST_OK;
}

Status added_finish(Added *a, bool nfc, Error *err)
{
    Status st = ST_OK;
    AddedPattern *all = mem_alloc(a->count, sizeof *all);
    a->by_id = mem_alloc((size_t)a->id_count, sizeof *a->by_id);
    if (!all || !a->by_id) {
        st = no_memory(err);
        goto out;
    }
    TRY(make_patterns(a, all, nfc, err));
    TRY(build_set(a, &a->raw, all, false, err));
    TRY(build_set(a, &a->normalized, all, true, err));
    memset(a->by_id, 0xff, (size_t)a->id_count * sizeof *a->by_id);
    for (size_t i = 0; i < a->count; i++)
        a->by_id[a->tokens[i].id] = (int32_t)i;
out:
    mem_free(all);
    return st;
}

/* ---- searching --------------------------------------------------------------------------------- */

/* First pattern of [low, high) whose byte number `depth` is ≥ value. */
static int32_t lower_bound(const AddedSet *set, int32_t low, int32_t high, size_t depth, int value)
{
    while (low < high) {
        const int32_t mid = low + (high - low) / 2;
        if ((uint8_t)set->patterns[mid].text.ptr[depth] < value)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The longest pattern that s[0..n) starts with, n > 0, or -1. */
static int32_t longest_at(const AddedSet *set, const uint8_t *s, size_t n)
{
    int32_t low = set->first[s[0]], high = set->first[s[0] + 1], best = -1;
    for (size_t depth = 1; low < high; depth++) {
        if (set->patterns[low].text.len == depth) {
            best = low;
            while (low < high && set->patterns[low].text.len == depth)
                low++;
        }
        if (depth == n)
            break;
        low = lower_bound(set, low, high, depth, s[depth]);
        high = lower_bound(set, low, high, depth, s[depth] + 1);
    }
    return best;
}

/* The leftmost place from `at` where a pattern matches, and the longest there; -1: none. */
static int32_t find(const AddedSet *set, const uint8_t *s, size_t n, size_t *at)
{
    for (size_t i = *at; i < n; i++) {
        if (set->only >= 0) {
            const uint8_t *p = memchr(s + i, set->only, n - i);
            if (!p)
                return -1;
            i = (size_t)(p - s);
        } else if (set->first[s[i]] == set->first[s[i] + 1]) {
            continue;
        }
        const int32_t found = longest_at(set, s + i, n - i);
        if (found >= 0) {
            *at = i;
            return found;
        }
    }
    return -1;
}

static bool is_word_before(const uint8_t *s, size_t at)
{
    unsigned len;
    return at > 0 && (utf8_class(s + utf8_back(s, at), &len) & CLASS_WORD);
}

static bool is_word_after(const uint8_t *s, size_t at, size_t n)
{
    unsigned len;
    return at < n && (utf8_class(s + at, &len) & CLASS_WORD);
}

static size_t white_before(const uint8_t *s, size_t at)
{
    while (at > 0) {
        unsigned len;
        const size_t back = utf8_back(s, at);
        if (!(utf8_class(s + back, &len) & CLASS_WHITE))
            break;
        at = back;
    }
    return at;
}

static size_t white_after(const uint8_t *s, size_t at, size_t n)
{
    unsigned len;
    while (at < n && (utf8_class(s + at, &len) & CLASS_WHITE))
        at += len;
    return at;
}

void added_walk_init(AddedWalk *w, const Added *a, const AddedSet *set, bool special, const uint8_t *s, size_t n)
{
    *w = (AddedWalk){.added = a, .set = set, .s = s, .n = n, .special = special};
}

bool added_walk_next(AddedWalk *w, size_t *start, size_t *stop, const AddedToken **token)
{
    for (size_t at = w->scan; w->set->count > 0; at = w->scan) {
        const int32_t found = find(w->set, w->s, w->n, &at);
        if (found < 0)
            break;
        size_t end = at + w->set->patterns[found].text.len;
        const AddedToken *t = added_by_id(w->added, w->added->tokens[w->set->patterns[found].token].id);
        w->scan = end;
        if (t->special && !w->special)
            continue;
        if (t->single_word && (is_word_before(w->s, at) || is_word_after(w->s, end, w->n)))
            continue;
        if (t->lstrip) {
            at = white_before(w->s, at);
            at = at > w->done ? at : w->done;
        }
        if (t->rstrip)
            end = white_after(w->s, end, w->n);
        *start = w->done < at ? w->done : at;
        *stop = at;
        *token = t;
        w->done = end;
        return true;
    }
    *start = w->done;
    *stop = w->n;
    *token = NULL;
    w->scan = w->done = w->n;
    return *start < *stop;
}
