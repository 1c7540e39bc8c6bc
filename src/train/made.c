/* See made.h. */
#include "train/made.h"

#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STREAM_KIND = 0x6d616465 }; /* of the random numbers that choose kind and size */

/* "3" or "1-5"; empty: all sizes of the kind. */
MUST_USE static Status parse_sizes(const char *text, ProblemKind kind, int *lo, int *hi, Error *err)
{
    const ProblemKindInfo *info = problem_kind_info(kind);
    char *end;
    *lo = info->size_min;
    *hi = info->size_max;
    if (!*text)
        return ST_OK;
    *lo = *hi = (int)strtol(text, &end, 10);
    if (*end == '-')
        *hi = (int)strtol(end + 1, &end, 10);
    if (end == text || *end || *lo < info->size_min || *hi > info->size_max || *lo > *hi)
        return error_set(err, ST_INVALID, "data.problems.sizes: '%s' is not a size of '%s': expected %d to %d (%s)", text,
                         info->name, info->size_min, info->size_max, info->size_means);
    return ST_OK;
}

static const char *sizes_of(const RecipeSource *s, int64_t i)
{
    return s->sizes.count == 0 ? "" : s->sizes.items[s->sizes.count == 1 ? 0 : i];
}

Status made_source_init(MadeSource *m, const RecipeSource *s, uint64_t seed, Error *err)
{
    double sum = 0;
    Status st = ST_OK;
    *m = (MadeSource){.seed = seed};
    if (s->kinds.count == 1 && strcmp(s->kinds.items[0], "mixed") == 0) {
        m->mixed = true;
        return ST_OK;
    }
    if (s->kinds.count > MADE_KINDS_MAX)
        return error_set(err, ST_INVALID, "data.problems.kinds: more than %d", MADE_KINDS_MAX);
    for (int64_t i = 0; i < s->kinds.count; i++) {
        const int n = m->count++;
        TRY(problem_kind_parse(&m->kinds[n], s->kinds.items[i], err));
        TRY(parse_sizes(sizes_of(s, i), m->kinds[n], &m->size_min[n], &m->size_max[n], err));
        m->weights[n] = sum += s->kind_weights.count ? s->kind_weights.items[i] : 1;
    }
    for (int i = 0; i < m->count; i++)
        m->weights[i] = i + 1 == m->count ? 1 : m->weights[i] / sum;
out:
    return st;
}

MUST_USE static Status make_problem(const MadeSource *m, ProblemSplit split, int64_t number, Problem *p, Error *err)
{
    if (m->mixed)
        return problem_mixed(p, split, m->seed, (uint64_t)number, err);
    const double u = rng_unit_at(m->seed, STREAM_KIND, 2 * (uint64_t)number);
    const double v = rng_unit_at(m->seed, STREAM_KIND, 2 * (uint64_t)number + 1);
    int i = 0;
    while (i + 1 < m->count && u >= m->weights[i])
        i++;
    const int size = m->size_min[i] + (int)(v * (m->size_max[i] - m->size_min[i] + 1));
    return problem_make(p, m->kinds[i], size, split, m->seed, (uint64_t)number, err);
}

static const char *text_of(Arena *arena, const ByteBuf *b)
{
    return arena_strndup(arena, (const char *)b->data, b->count);
}

Status made_document(const void *arg, bool held_out, int64_t number, Document *out, Error *err)
{
    Problem p = {0};
    Status st = ST_OK;
    TRY(make_problem(arg, held_out ? PROBLEM_TEST : PROBLEM_TRAIN, number, &p, err));
    out->message_count = 2;
    out->messages = arena_alloc(&out->arena, 2 * sizeof *out->messages);
    const char *question = text_of(&out->arena, &p.question), *answer = text_of(&out->arena, &p.answer);
    const char *thinking = p.thinking.count ? text_of(&out->arena, &p.thinking) : "";
    if (!out->messages || !question || !answer || !thinking)
        TRY(error_set(err, ST_NOMEM, "no memory for a problem"));
    out->messages[0] = (ChatMessage){.role = CHAT_USER, .content = question};
    out->messages[1] = (ChatMessage){.role = CHAT_ASSISTANT, .content = answer, .thinking = thinking};
out:
    problem_free(&p);
    return st;
}
