/* Perplexity of a text, counted as llama-perplexity does.
 *
 * The text's ids are cut into windows of N, the tail is dropped. Where the tokenizer adds a BOS, it stands in
 * front of the text and replaces the first id of every window. In each window the logits of positions
 * N/2 … N−2 predict the ids at N/2+1 … N−1; perplexity = exp(mean −log p). */
#ifndef PLUMB_EVAL_PERPLEXITY_H
#define PLUMB_EVAL_PERPLEXITY_H

#include "base/error.h"
#include "engine/engine.h"

typedef struct {
    int64_t window;      /* N, at least 4 */
    int64_t windows_max; /* 0: all */
    /* After every window; may be NULL. */
    void (*progress)(void *arg, int64_t done, int64_t total, double perplexity);
    void *arg;
} PerplexityParams;

typedef struct {
    int64_t windows, tokens; /* tokens: predictions that were counted */
    double perplexity, mean_nll, stderr_nll;
} PerplexityResult;

/* ST_INVALID when the text has not even one window; says how many ids it has. An unfinished character at
 * the end of the text (a file that was cut) is dropped. */
MUST_USE Status perplexity_measure(PerplexityResult *out, Model *m, const char *text, size_t len,
                                   const PerplexityParams *p, Error *err);

#endif
