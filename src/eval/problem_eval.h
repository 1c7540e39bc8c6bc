/* How many built-in problems a model solves: problems of the test split, asked one by one in the model's own chat
 * format, with thinking where the format can be told to, answered greedily.
 *
 * The answer counts as problem_is_right says. Problem number i of a kind and size is the same for every model, so the
 * result depends on model, seed and counts alone, not on threads. Small models are opened once a thread and
 * solve problems side by side; a large one computes each answer with all threads. */
#ifndef PLUMB_EVAL_PROBLEM_EVAL_H
#define PLUMB_EVAL_PROBLEM_EVAL_H

#include "base/error.h"
#include "engine/engine.h"
#include "train/problems.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    ProblemKind kind; /* in: what is asked */
    int size;         /* in */
    int64_t count;    /* in; out: how many were asked */
    int64_t right;
    int64_t unfinished; /* of the wrong ones: the answer had not ended after tokens_max */
    int64_t tokens;     /* generated in all */
} ProblemScore;

typedef struct {
    int64_t score, index; /* which score, number in its stream */
    char *thinking, *text; /* owned: what the model said */
    bool right, unfinished;
    int32_t tokens;
} ProblemAnswer;

typedef struct {
    uint64_t seed;
    int64_t tokens_max; /* of an answer with its thinking; 0: 512 */
    bool no_thinking;
    ModelParams model;  /* threads: how many problems at a time, or threads of one model; 0: all processors */
    bool keep_texts;    /* of wrong answers, in ProblemResult.answers */
    /* After every problem, from one thread at a time; false stops with ST_CANCELLED. May be NULL. */
    bool (*progress)(void *arg, int64_t done, int64_t total, int64_t right);
    void *arg;
} ProblemEvalParams;

typedef struct {
    ProblemAnswer *answers; /* owned, [count] in the order of the scores */
    int64_t count;
    int workers;
    double seconds;
} ProblemResult;

void problem_result_free(ProblemResult *r); /* zeroed or twice is fine */

/* Fills scores[n] and *out. ST_UNSUPPORTED for a model without a chat format. A problem that does not fit the
 * model's context counts as unfinished. */
MUST_USE Status problem_eval(ProblemResult *out, ProblemScore *scores, int64_t n, const char *model_path,
                             const ProblemEvalParams *params, Error *err);

#endif
