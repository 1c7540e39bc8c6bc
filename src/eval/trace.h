/* A record of what a model computes, for comparing implementations. */
#ifndef PLUMB_EVAL_TRACE_H
#define PLUMB_EVAL_TRACE_H

#include "base/buf.h"
#include "base/error.h"
#include "engine/engine.h"
#include "engine/model_gradients.h"

/* Ids separated by white space, at least one; errors name the word and where it stands. */
MUST_USE Status trace_parse_ids(IdBuf *out, const char *text, size_t len, Error *err);

typedef struct {
    const int32_t *ids; /* borrowed */
    int64_t count;
    int64_t split;  /* prefill that many ids, decode the others one by one; 0: prefill all */
    int64_t greedy; /* so many further ids, each the likeliest */
    bool hidden;    /* the output of every layer */
    bool gradients; /* loss and gradients of the whole */
} TraceParams;

typedef struct {
    int64_t count, vocab, layers, hidden, greedy;
    float *logits;       /* owned; [count][vocab] */
    float *hidden_rows;  /* owned; [layers][count][hidden], or NULL */
    int64_t *greedy_ids; /* owned; [greedy], or NULL */
    float loss;
    ModelGradients gradients; /* empty unless wanted */
} Trace;

/* ST_INVALID: split outside 0…count. */
MUST_USE Status trace_run(Trace *out, Model *m, const TraceParams *p, Error *err);
void trace_free(Trace *t); /* zeroed is fine */

/* safetensors: logits [T,V], hidden.N [T,D], greedy_ids [N] (I64), loss [1] and grad.NAME. */
MUST_USE Status trace_save(const Trace *t, const char *path, Error *err);

#endif
