/* Pre-tokenisation: see split.h. Every step yields first a stream of raw pieces, gaps and matches in
 * turn, which its behaviour then drops or joins; the steps are walked depth first, so pieces come out in
 * the order of the text and nothing is stored. */
#include "tokenizer/split.h"

#include "base/mem.h"

#include <string.h>

/* A compiled pattern may take this many steps for a byte of text, and some for nothing. */
#define STEPS_PER_BYTE 1000
#define STEPS_FREE 100000

Status splitter_add(Splitter *x, SplitStep step, Error *err)
{
    if (x->count == SPLIT_STEPS_MAX) {
        pattern_destroy(step.pattern);
        return error_set(err, ST_UNSUPPORTED, "pre_tokenizer: more than %d steps", SPLIT_STEPS_MAX);
    }
    x->step[x->count++] = step;
    return ST_OK;
}

Status splitter_add_pattern(Splitter *x, const char *text, size_t len, bool literal, SplitBehavior behavior,
                            bool invert, Error *err)
{
    SplitStep step = {.behavior = behavior, .invert = invert};
    const Scanner *known = literal ? NULL : scan_by_pattern(text, len);
    if (known)
        step.scan = known->find;
    const Status st = known ? ST_OK : pattern_compile(&step.pattern, text, len, literal, err);
    return st == ST_OK ? splitter_add(x, step, err) : st;
}

void splitter_deinit(Splitter *x)
{
    for (int i = 0; i < x->count; i++)
        pattern_destroy(x->step[i].pattern);
    *x = (Splitter){0};
}

void split_init(SplitRun *r, const Splitter *x)
{
    memset(r, 0, sizeof *r);
    r->splitter = x;
    r->depth = -1;
}

void split_deinit(SplitRun *r)
{
    for (int i = 0; i < SPLIT_STEPS_MAX; i++)
        bytebuf_free(&r->level[i].copy);
}

/* Let step number `depth` cut s[begin..end). */
static Status enter(SplitRun *r, int depth, const uint8_t *s, size_t begin, size_t end, Error *err)
{
    SplitLevel *v = &r->level[depth];
    v->s = s;
    v->begin = v->at = begin;
    v->end = end;
    v->pending = v->peeked = false;
    r->depth = depth;
    if (!r->splitter->step[depth].prefix_space || s[begin] == ' ')
        return ST_OK;
    v->copy.count = 0;
    if (bytebuf_append(&v->copy, " ", 1) != ST_OK || bytebuf_append(&v->copy, s + begin, end - begin) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for a text of %zu bytes", end - begin);
    v->s = v->copy.data;
    v->begin = v->at = 0;
    v->end = v->copy.count;
    return ST_OK;
}

Status split_start(SplitRun *r, const uint8_t *s, size_t n, Error *err)
{
    r->depth = -1;
    r->whole_size = 0;
    r->steps = n > (INT64_MAX - STEPS_FREE) / STEPS_PER_BYTE ? INT64_MAX : (int64_t)n * STEPS_PER_BYTE + STEPS_FREE;
    if (n == 0)
        return ST_OK;
    if (r->splitter->count > 0)
        return enter(r, 0, s, 0, n, err);
    r->whole = s;
    r->whole_size = n;
    return ST_OK;
}

/* The next gap or match of the step's pattern; false at the end of its piece. */
static bool raw_next(SplitLevel *v, const SplitStep *step, int64_t *steps, size_t *start, size_t *stop, bool *match)
{
    if (v->peeked) {
        v->peeked = false;
        *start = v->peek_start;
        *stop = v->peek_stop;
        *match = v->peek_is_match;
        return true;
    }
    if (v->at >= v->end)
        return false;
    bool found = v->pending;
    if (!found && step->scan)
        found = step->scan(v->s, v->at, v->end, &v->match_start, &v->match_stop);
    else if (!found && step->pattern)
        found = pattern_find(step->pattern, v->s, v->begin, v->at, v->end, &v->match_start, &v->match_stop, steps);
    v->pending = found && v->match_start > v->at;
    *start = v->at;
    *stop = !found ? v->end : v->pending ? v->match_start : v->match_stop;
    *match = (found && !v->pending) != step->invert;
    v->at = *stop;
    return true;
}

/* Whether the raw piece that follows has this kind; it is then joined to *stop. */
static bool join_next(SplitLevel *v, const SplitStep *step, int64_t *steps, bool kind, size_t *stop)
{
    size_t start, next_stop;
    bool match;
    if (!raw_next(v, step, steps, &start, &next_stop, &match))
        return false;
    if (match == kind) {
        *stop = next_stop;
        return true;
    }
    v->peeked = true;
    v->peek_start = start;
    v->peek_stop = next_stop;
    v->peek_is_match = match;
    return false;
}

static bool step_next(SplitLevel *v, const SplitStep *step, int64_t *steps, size_t *start, size_t *stop)
{
    bool match;
    while (raw_next(v, step, steps, start, stop, &match)) {
        switch (step->behavior) {
        case SPLIT_ISOLATED:
            return true;
        case SPLIT_REMOVED:
            if (match)
                continue;
            return true;
        case SPLIT_MERGED_WITH_PREVIOUS:
            if (!match)
                join_next(v, step, steps, true, stop);
            return true;
        case SPLIT_MERGED_WITH_NEXT:
            if (match)
                join_next(v, step, steps, false, stop);
            return true;
        case SPLIT_CONTIGUOUS:
            while (join_next(v, step, steps, match, stop))
                ;
            return true;
        }
    }
    return false;
}

Status split_next(SplitRun *r, const uint8_t **piece, size_t *n, Error *err)
{
    *n = r->whole_size;
    *piece = r->whole;
    r->whole_size = 0;
    while (r->depth >= 0) {
        SplitLevel *v = &r->level[r->depth];
        size_t start, stop;
        const bool more = step_next(v, &r->splitter->step[r->depth], &r->steps, &start, &stop);
        if (r->steps < 0)
            return error_set(err, ST_INVALID, "a pattern of the tokenizer takes too long on this text");
        if (!more) {
            r->depth--;
        } else if (r->depth + 1 == r->splitter->count) {
            *piece = v->s + start;
            *n = stop - start;
            return ST_OK;
        } else {
            const Status st = enter(r, r->depth + 1, v->s, start, stop, err);
            if (st != ST_OK)
                return st;
        }
    }
    return ST_OK;
}
