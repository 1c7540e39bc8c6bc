/* See problem_source.h. */
#include "train/problem_source.h"

#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

#define TURNS_MAX 4 /* problem numbers that a document owns; it uses at most three */

/* ---- what there is ------------------------------------------------------------------------------- */

static Status add_share(ProblemSource *s, ProblemKind kind, int min, int max, double weight, Error *err)
{
    const ProblemKindInfo *const info = problem_kind_info(kind);
    if (min < info->size_min || max > info->size_max || min > max)
        return error_set(err, ST_INVALID, "problems.sizes: %s has sizes %d to %d (%s)", info->name, info->size_min,
                         info->size_max, info->size_means);
    for (int i = 0; i < s->count; i++)
        if (s->shares[i].kind == kind)
            return error_set(err, ST_INVALID, "problems.kinds has %s twice", info->name);
    s->shares[s->count++] = (ProblemShare){kind, min, max, weight};
    s->weights += weight;
    return ST_OK;
}

static Status add_all(ProblemSource *s, const RecipeSource *recipe, Error *err)
{
    Status st = ST_OK;
    if (recipe->kind_weights.count > 0 || recipe->sizes.count > 0)
        return error_set(err, ST_INVALID, "problems.kinds: mixed has weights and sizes of its own");
    for (int k = 0; k < PROBLEM_KIND_COUNT; k++) {
        const ProblemKindInfo *const info = problem_kind_info((ProblemKind)k);
        TRY(add_share(s, (ProblemKind)k, info->size_min, info->size_usual, info->parts, err));
    }
out:
    return st;
}

/* "3" or "1-5", checked by the recipe. */
static void read_sizes(const char *text, int *min, int *max)
{
    char *end;
    *min = *max = (int)strtol(text, &end, 10);
    if (*end == '-')
        *max = (int)strtol(end + 1, NULL, 10);
}

Status problem_source_init(ProblemSource *s, const RecipeSource *recipe, uint64_t seed, Error *err)
{
    Status st = ST_OK;
    *s = (ProblemSource){.seed = seed};
    if (recipe->kinds.count == 1 && strcmp(recipe->kinds.items[0], "mixed") == 0)
        return add_all(s, recipe, err);
    for (int64_t k = 0; k < recipe->kinds.count; k++) {
        ProblemKind kind;
        st = problem_kind_parse(&kind, recipe->kinds.items[k], err);
        if (st != ST_OK)
            return error_context(err, ST_INVALID, "problems.kinds");
        int min = problem_kind_info(kind)->size_min, max = problem_kind_info(kind)->size_usual;
        if (recipe->sizes.count > 0)
            read_sizes(recipe->sizes.items[recipe->sizes.count == 1 ? 0 : k], &min, &max);
        TRY(add_share(s, kind, min, max, recipe->kind_weights.count > 0 ? recipe->kind_weights.items[k] : 1, err));
    }
    if (s->count == 0 || !(s->weights > 0))
        return error_set(err, ST_INVALID, "problems.kinds: no kind of problem has a weight");
out:
    return st;
}

/* ---- documents ----------------------------------------------------------------------------------- */

static const ProblemShare *draw_share(const ProblemSource *s, Rng *rng)
{
    double left = rng_unit(rng) * s->weights;
    const ProblemShare *last = NULL;
    for (int i = 0; i < s->count; i++) {
        if (!(s->shares[i].weight > 0))
            continue;
        last = &s->shares[i];
        if (left < last->weight)
            break;
        left -= last->weight;
    }
    CHECK(last);
    return last;
}

static int draw_size(const ProblemShare *s, Rng *rng)
{
    const uint64_t n = (uint64_t)(s->size_max - s->size_min + 1);
    uint64_t left = rng_below(rng, n * (n + 1) / 2), size = 1;
    while (left >= size)
        left -= size++;
    return s->size_min + (int)size - 1;
}

static Status add_turn(Document *out, const Problem *p)
{
    ChatMessage *const m = out->messages + out->message_count;
    const char *const question = arena_strndup(&out->arena, (const char *)p->question.data, p->question.count);
    const char *const thinking = arena_strndup(&out->arena, (const char *)p->thinking.data, p->thinking.count);
    const char *const answer = arena_strndup(&out->arena, (const char *)p->answer.data, p->answer.count);
    if (!question || !thinking || !answer)
        return ST_NOMEM;
    m[0] = (ChatMessage){CHAT_USER, question, NULL};
    m[1] = (ChatMessage){CHAT_ASSISTANT, answer, thinking};
    out->message_count += 2;
    return ST_OK;
}

Status problem_source_document(const void *arg, bool held_out, int64_t number, Document *out, Error *err)
{
    Status st = ST_OK;
    const ProblemSource *const s = arg;
    const ProblemSplit split = held_out ? PROBLEM_TEST : PROBLEM_TRAIN;
    Rng rng = {.seed = s->seed, .stream = (uint64_t)held_out << 32 | 0x646f6375, .counter = (uint64_t)number * 64};
    Problem p = {0};
    const uint64_t length = rng_below(&rng, 16);
    const int turns = length < 12 ? 1 : length < 15 ? 2 : 3;
    out->messages = arena_alloc(&out->arena, 2 * (size_t)turns * sizeof *out->messages);
    if (!out->messages)
        return error_set(err, ST_NOMEM, "no memory for a document");
    for (int i = 0; i < turns; i++) {
        const ProblemShare *const share = draw_share(s, &rng);
        TRY(problem_make(&p, share->kind, draw_size(share, &rng), split, s->seed,
                         (uint64_t)number * TURNS_MAX + (uint64_t)i, err));
        if (add_turn(out, &p) != ST_OK)
            TRY(error_set(err, ST_NOMEM, "no memory for a document"));
    }
out:
    problem_free(&p);
    return st;
}
