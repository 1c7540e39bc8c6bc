/* The loop of one answer, on the public functions of a session only. */
#include "engine/generate.h"

#include "base/clock.h"

#include <inttypes.h>

const char *finish_reason_name(FinishReason r)
{
    static const char *const names[] = {"stop", "length", "context", "cancelled"};
    CHECK((unsigned)r < sizeof names / sizeof *names);
    return names[r];
}

static bool is_stop(const GenerateParams *p, int32_t id)
{
    for (int64_t i = 0; i < p->stop_id_count; i++)
        if (p->stop_ids[i] == id)
            return true;
    return false;
}

/* How many ids of the prompt session_sync will find there: never the last one, which needs logits. */
static int64_t count_shared(const Session *s, const int32_t *ids, int64_t n)
{
    const int32_t *const have = session_ids(s);
    const int64_t held = session_count(s), most = held < n - 1 ? held : n - 1;
    int64_t same = 0;
    while (same < most && have[same] == ids[same])
        same++;
    return same;
}

static Status evaluate_prompt(Session *s, const GenerateParams *p, GenerateStats *stats, Error *err)
{
    if (p->prompt_count < 1)
        return error_set(err, ST_INVALID, "the prompt is empty");
    if (p->prompt_count > session_context(s))
        return error_set(err, ST_FULL, "the prompt has %" PRId64 " tokens, the context holds %" PRId64,
                         p->prompt_count, session_context(s));
    stats->prompt_tokens = p->prompt_count;
    stats->cached_tokens = count_shared(s, p->prompt, p->prompt_count);
    const SessionProgress progress = {.step = p->on_prompt, .arg = p->arg};
    const int64_t start = clock_ns();
    const Status st = session_sync(s, p->prompt, p->prompt_count, p->on_prompt ? &progress : NULL, err);
    stats->prompt_seconds = (double)(clock_ns() - start) * 1e-9;
    return st;
}

/* Until something ends the answer. The id that ends it for want of room (the cap, the context) is
 * handed out and not evaluated: the next prompt evaluates it when it keeps it. */
static Status answer(Session *s, const GenerateParams *p, Sampler *sampler, GenerateStats *stats,
                     Error *err)
{
    int64_t first_ns = 0;
    for (;;) {
        int32_t id = -1;
        double logprob = 0;
        Status st = sampler_pick(sampler, session_logits(s), session_ids(s), session_count(s), &id,
                                 &logprob, err);
        if (st != ST_OK)
            return st;
        const int64_t now = clock_ns();
        if (first_ns == 0)
            first_ns = now;
        stats->answer_seconds = (double)(now - first_ns) * 1e-9;
        if (is_stop(p, id)) {
            stats->finish = FINISH_STOP;
            return ST_OK;
        }
        stats->answer_tokens++;
        if (p->on_token && !p->on_token(p->arg, id, logprob)) {
            stats->finish = FINISH_CANCELLED;
            return ST_OK;
        }
        if (p->max_tokens > 0 && stats->answer_tokens >= p->max_tokens) {
            stats->finish = FINISH_LENGTH;
            return ST_OK;
        }
        if (session_count(s) == session_context(s)) {
            stats->finish = FINISH_CONTEXT;
            return ST_OK;
        }
        st = session_append(s, &id, 1, LOGITS_LAST, NULL, err);
        if (st != ST_OK)
            return st;
    }
}

Status generate(Session *s, const GenerateParams *p, GenerateStats *stats, Error *err)
{
    GenerateStats mine = {.finish = FINISH_STOP};
    Sampler *sampler = NULL;
    Status st = sampler_create(&sampler, &p->sampler, session_vocab(s), err);
    if (st != ST_OK)
        return st;
    st = evaluate_prompt(s, p, &mine, err);
    if (st == ST_OK)
        st = answer(s, p, sampler, &mine, err);
    sampler_destroy(sampler);
    if (st == ST_CANCELLED) {
        mine.finish = FINISH_CANCELLED;
        st = ST_OK;
    }
    if (st == ST_OK && stats)
        *stats = mine;
    return st;
}
