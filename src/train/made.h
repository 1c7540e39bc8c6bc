/* Documents that are problems Plumb makes up (problems.h): the source a corpus takes them from. */
#ifndef PLUMB_TRAIN_MADE_H
#define PLUMB_TRAIN_MADE_H

#include "train/corpus.h"
#include "train/problems.h"
#include "train/recipe.h"

#define MADE_KINDS_MAX 32

/* Plain memory: which kinds in which sizes, how often. */
typedef struct {
    bool mixed; /* the mix of problem_mixed, and nothing below */
    int count;
    ProblemKind kinds[MADE_KINDS_MAX];
    int size_min[MADE_KINDS_MAX], size_max[MADE_KINDS_MAX];
    double weights[MADE_KINDS_MAX]; /* cumulative, the last is 1 */
    uint64_t seed;
} MadeSource;

/* From a source of a recipe: kinds "mixed" alone, or names of kinds with weights and sizes. */
MUST_USE Status made_source_init(MadeSource *m, const RecipeSource *s, uint64_t seed, Error *err);

/* A DocumentFn; `arg` is a MadeSource. Held-out documents are problems of the test split. */
Status made_document(const void *arg, bool held_out, int64_t number, Document *out, Error *err);

#endif
