/* One answer: prompt ids in, ids out one by one, until a stop id, the cap, a full context or a cancel. */
#ifndef PLUMB_ENGINE_GENERATE_H
#define PLUMB_ENGINE_GENERATE_H

#include "engine/engine.h"
#include "engine/sampler.h"

typedef enum { FINISH_STOP, FINISH_LENGTH, FINISH_CONTEXT, FINISH_CANCELLED } FinishReason;
const char *finish_reason_name(FinishReason r); /* "stop", "length", "context", "cancelled" */

typedef struct {
    const int32_t *prompt; /* whole conversation; what the session already holds of it is reused */
    int64_t prompt_count;
    int64_t max_tokens; /* <= 0: until the context is full */
    SamplerParams sampler;
    const int32_t *stop_ids; /* never shown, not part of the answer's text */
    int64_t stop_id_count;
    /* Progress of the prompt; may be NULL. Return false to stop. */
    bool (*on_prompt)(void *arg, int64_t done, int64_t total);
    /* Called with every id that is not a stop id, before the next one is computed. Return false to
     * stop (FINISH_CANCELLED). The caller decodes it (tokenizer stream) and looks for stop texts. */
    bool (*on_token)(void *arg, int32_t id, double logprob);
    void *arg;
} GenerateParams;

typedef struct {
    FinishReason finish;
    int64_t prompt_tokens, cached_tokens, answer_tokens;
    double prompt_seconds, answer_seconds; /* answer: from the first to the last id */
} GenerateStats;

/* A prompt that does not fit is ST_FULL with both numbers. On cancel during the prompt: FINISH_CANCELLED.
 * Afterwards the session holds the prompt and the answer's ids that were evaluated. */
MUST_USE Status generate(Session *s, const GenerateParams *p, GenerateStats *stats, Error *err);

#endif
