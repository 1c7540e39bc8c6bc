/* Built-in problems as a source of training documents (corpus.h, CORPUS_MADE).
 *
 * A document is a conversation: one problem, or in one of four two or three, one after the other, so that a model
 * learns that earlier turns do not matter. Number `number` is a function of (source, seed, number). Documents that
 * are held out are problems of the test split. */
#ifndef PLUMB_TRAIN_PROBLEM_SOURCE_H
#define PLUMB_TRAIN_PROBLEM_SOURCE_H

#include "train/corpus.h"
#include "train/problems.h"
#include "train/recipe.h"

typedef struct {
    ProblemKind kind;
    int size_min, size_max; /* larger ones come more often: size s as s - size_min + 1 */
    double weight;
} ProblemShare;

typedef struct {
    ProblemShare shares[PROBLEM_KIND_COUNT];
    int count;
    double weights; /* sum */
    uint64_t seed;
} ProblemSource;

/* From problems.kinds, weights and sizes of a recipe. Without sizes: the usual ones. The one word "mixed" stands for
 * all kinds in their usual parts, without weights and sizes. ST_INVALID names the word or size. */
MUST_USE Status problem_source_init(ProblemSource *s, const RecipeSource *recipe, uint64_t seed, Error *err);

/* A DocumentFn; arg is a ProblemSource. */
Status problem_source_document(const void *arg, bool held_out, int64_t number, Document *out, Error *err);

#endif
