/* Speed beside its bound: see bench.h. */
#include "eval/bench.h"

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/peaks.h"

#include <stdlib.h>

#define REPEATS_MAX 64

typedef struct {
    Session *session;
    int32_t *ids; /* prompt or decoded tokens: any, the same every time */
    int64_t vocab;
} Bench;

static int32_t any_id(const Bench *b, int64_t i)
{
    return (int32_t)((uint64_t)(i + 1) * 2654435761u % (uint64_t)b->vocab);
}

static double seconds_since(int64_t start)
{
    return (double)(clock_ns() - start) * 1e-9;
}

MUST_USE static Status time_prompt(Bench *b, int64_t n, double *rate, Error *err)
{
    session_rewind(b->session, 0);
    const int64_t start = clock_ns();
    const Status st = session_append(b->session, b->ids, n, LOGITS_LAST, NULL, err);
    *rate = (double)n / seconds_since(start);
    return st;
}

MUST_USE static Status time_decode(Bench *b, int64_t n, double *rate, Error *err)
{
    Status st = ST_OK;
    session_rewind(b->session, 0);
    TRY(session_append(b->session, &b->ids[0], 1, LOGITS_LAST, NULL, err));
    const int64_t start = clock_ns();
    for (int64_t i = 0; i < n; i++)
        TRY(session_append(b->session, &b->ids[i], 1, LOGITS_LAST, NULL, err));
    *rate = (double)n / seconds_since(start);
out:
    return st;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef Status (*TimeFn)(Bench *b, int64_t n, double *rate, Error *err);

/* The first repetition warms caches and pages and does not count. */
MUST_USE static Status repeat(Bench *b, TimeFn fn, int64_t n, int repeats, BenchFigure *out, Error *err)
{
    double rates[REPEATS_MAX];
    double warm_up;
    Status st = ST_OK;
    if (n == 0)
        return ST_OK;
    repeats = repeats < 1 ? 1 : repeats > REPEATS_MAX ? REPEATS_MAX : repeats;
    TRY(fn(b, n, &warm_up, err));
    for (int i = 0; i < repeats; i++)
        TRY(fn(b, n, &rates[i], err));
    qsort(rates, (size_t)repeats, sizeof *rates, by_value);
    out->best = rates[repeats - 1];
    out->median = rates[repeats / 2];
out:
    return st;
}

static void set_bound(BenchFigure *f, double bound)
{
    f->bound = bound;
    f->ratio = bound > 0 ? f->best / bound : 0;
}

/* What the machine does, measured with as many threads as the model uses. */
MUST_USE static Status measure_machine(Peaks *out, const ModelInfo *info, Error *err)
{
    const Kernels *k = info->mode == MODE_F64 ? kernels_f64() : kernels_at(kernels_best_level());
    ThreadPool *pool = NULL;
    Status st = ST_OK;
    TRY(pool_create(&pool, info->threads, err));
    TRY(peaks_measure(out, k, pool, err));
out:
    pool_destroy(pool);
    return st;
}

MUST_USE static Status set_bounds(BenchResult *r, const ModelInfo *info, const BenchParams *p, Error *err)
{
    Peaks peaks;
    const Status st = measure_machine(&peaks, info, err);
    if (st != ST_OK)
        return st;
    r->token_bytes = (double)info->token_bytes;
    /* The head is computed for the last row of a prompt only. */
    const double head = 2.0 * (double)info->vocab * (double)info->hidden;
    r->prompt_token_ops = info->token_flops - head + (p->prompt ? head / (double)p->prompt : 0);
    r->read_gb_per_s = peaks.read_bytes * 1e-9;
    r->peak_gops = (info->mode == MODE_INT8 ? peaks.byte_ops : peaks.flops) * 1e-9;
    if (p->decode)
        set_bound(&r->decode, peaks.read_bytes / r->token_bytes);
    if (p->prompt)
        set_bound(&r->prefill, r->peak_gops * 1e9 / r->prompt_token_ops);
    return ST_OK;
}

Status bench_run(BenchResult *out, Model *m, const BenchParams *p, Error *err)
{
    ModelInfo info;
    model_info(m, &info);
    BenchResult r = {0};
    Bench b = {.vocab = info.vocab};
    const int64_t longest = p->prompt > p->decode + 1 ? p->prompt : p->decode + 1;
    Status st = ST_OK;
    b.ids = mem_alloc((size_t)longest, sizeof *b.ids);
    if (!b.ids)
        TRY(error_set(err, ST_NOMEM, "no memory for %lld ids", (long long)longest));
    for (int64_t i = 0; i < longest; i++)
        b.ids[i] = any_id(&b, i);
    TRY(session_create(&b.session, m, &(SessionParams){.context = longest}, err));
    TRY(repeat(&b, time_prompt, p->prompt, p->repeats, &r.prefill, err));
    TRY(repeat(&b, time_decode, p->decode, p->repeats, &r.decode, err));
    TRY(set_bounds(&r, &info, p, err));
    *out = r;
out:
    session_destroy(b.session);
    mem_free(b.ids);
    return st;
}
