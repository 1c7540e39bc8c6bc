/* See problem_eval.h. Every worker has a model of its own (or all of them is one), takes the next problem from a queue
 * and writes into that problem's place; scores are added up in order afterwards. */
#include "eval/problem_eval.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/pool.h"
#include "chat/answer.h"
#include "engine/generate.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#define SMALL_MODEL_BYTES ((size_t)64 << 20)
#define TOKENS_DEFAULT 512
#define PROMPT_TOKENS_MAX 512 /* room for a question in the context */

typedef struct {
    Model *model; /* owned */
    ChatFormat *format;
    Session *session;
    Problem problem;
    IdBuf prompt;
    ByteBuf thinking, text; /* of the answer */
    ChatAnswer *answer;     /* while one is made */
    Status failed;          /* in a callback */
} Worker;

typedef struct {
    const ProblemEvalParams *params;
    const ProblemScore *scores;
    Worker *workers;
    ProblemResult *result;
    unsigned chat_flags;
    int64_t tokens_max;
    WorkQueue queue;
    pthread_mutex_t lock; /* of what follows, and of progress */
    int64_t done, right;
    Status status;
    Error error;
} Eval;

void problem_result_free(ProblemResult *r)
{
    for (int64_t i = 0; r->answers && i < r->count; i++) {
        mem_free(r->answers[i].thinking);
        mem_free(r->answers[i].text);
    }
    mem_free(r->answers);
    *r = (ProblemResult){0};
}

/* ---- one problem --------------------------------------------------------------------------------- */

static void on_event(void *arg, ChatEventKind kind, const char *bytes, size_t len)
{
    Worker *const w = arg;
    const Status st = bytebuf_append(kind == CHAT_EVENT_THINKING ? &w->thinking : &w->text, bytes, len);
    w->failed = w->failed == ST_OK ? st : w->failed;
}

static bool on_token(void *arg, int32_t id, double logprob)
{
    Worker *const w = arg;
    (void)logprob;
    const Status st = chat_answer_push(w->answer, id, NULL);
    w->failed = w->failed == ST_OK ? st : w->failed;
    return w->failed == ST_OK;
}

static Status generate_answer(const Eval *e, Worker *w, GenerateStats *stats, Error *err)
{
    Status st = ST_OK;
    GenerateParams p = {.prompt = w->prompt.data, .prompt_count = w->prompt.count, .max_tokens = e->tokens_max,
                        .sampler = sampler_defaults(), .on_token = on_token, .arg = w};
    p.sampler.temperature = 0;
    p.stop_ids = chat_format_stop_ids(w->format, &p.stop_id_count);
    w->failed = ST_OK;
    TRY(chat_answer_create(&w->answer, w->format, model_tokenizer(w->model), e->chat_flags, NULL, 0, on_event, w, err));
    session_rewind(w->session, 0);
    TRY(generate(w->session, &p, stats, err));
    TRY(chat_answer_finish(w->answer, err));
    if (w->failed != ST_OK)
        st = error_set(err, w->failed, "no memory for an answer");
out:
    chat_answer_destroy(w->answer);
    w->answer = NULL;
    return st;
}

static Status keep_text(char **out, const ByteBuf *b, Error *err)
{
    *out = mem_strndup(b->data ? (const char *)b->data : "", b->count);
    return *out ? ST_OK : error_set(err, ST_NOMEM, "no memory for an answer");
}

static Status solve(const Eval *e, Worker *w, ProblemAnswer *a, Error *err)
{
    Status st = ST_OK;
    const ProblemScore *const s = &e->scores[a->score];
    GenerateStats stats = {.finish = FINISH_CONTEXT};
    w->prompt.count = 0;
    w->thinking.count = w->text.count = 0;
    TRY(problem_make(&w->problem, s->kind, s->size, PROBLEM_TEST, e->params->seed, (uint64_t)a->index, err));
    const ChatMessage message = {CHAT_USER, (const char *)w->problem.question.data, NULL};
    TRY(chat_render(w->format, &message, 1, e->chat_flags | CHAT_GENERATION_PROMPT, &w->prompt, NULL, err));
    if (w->prompt.count < session_context(w->session))
        TRY(generate_answer(e, w, &stats, err));
    a->tokens = (int32_t)stats.answer_tokens;
    const char *const text = w->text.data ? (const char *)w->text.data : "";
    a->right = stats.finish == FINISH_STOP && problem_is_right(&w->problem, text, w->text.count);
    a->unfinished = stats.finish != FINISH_STOP;
    if (a->right || !e->params->keep_texts)
        return ST_OK;
    TRY(keep_text(&a->text, &w->text, err));
    TRY(keep_text(&a->thinking, &w->thinking, err));
out:
    return st;
}

/* ---- workers ------------------------------------------------------------------------------------- */

static bool report(Eval *e, Status st, const Error *err, bool right)
{
    pthread_mutex_lock(&e->lock);
    if (st != ST_OK && e->status == ST_OK) {
        e->status = st;
        e->error = *err;
    }
    e->done++;
    e->right += right;
    const ProblemEvalParams *const p = e->params;
    if (e->status == ST_OK && p->progress && !p->progress(p->arg, e->done, e->result->count, e->right))
        e->status = error_set(&e->error, ST_CANCELLED, "stopped after %" PRId64 " of %" PRId64 " problems", e->done,
                              e->result->count);
    const bool go_on = e->status == ST_OK;
    pthread_mutex_unlock(&e->lock);
    return go_on;
}

static void work(void *arg, int thread, int threads)
{
    Eval *const e = arg;
    int64_t i;
    (void)threads;
    while (work_next(&e->queue, thread, &i)) {
        Error err = {0};
        ProblemAnswer *const a = &e->result->answers[i];
        const Status st = solve(e, &e->workers[thread], a, &err);
        if (!report(e, st, &err, a->right))
            return;
    }
}

static void worker_close(Worker *w)
{
    problem_free(&w->problem);
    idbuf_free(&w->prompt);
    bytebuf_free(&w->thinking);
    bytebuf_free(&w->text);
    chat_format_close(w->format);
    session_destroy(w->session);
    model_close(w->model);
    *w = (Worker){0};
}

static Status worker_open(Worker *w, const char *path, const ModelParams *model, int64_t tokens_max, Error *err)
{
    Status st = ST_OK;
    ModelInfo info;
    TRY(model_open(&w->model, path, model, err));
    model_info(w->model, &info);
    const int64_t want = tokens_max + PROMPT_TOKENS_MAX;
    const SessionParams session = {.context = want < info.context_max ? want : info.context_max, .chunk = 128};
    TRY(session_create(&w->session, w->model, &session, err));
    st = chat_format_open(&w->format, model_kv(w->model), path, model_tokenizer(w->model), err);
    if (st == ST_NOTFOUND)
        st = error_set(err, ST_UNSUPPORTED, "'%s' has no chat format: it cannot be asked", path);
out:
    return st;
}

/* One worker with all threads, or as many as there are threads when the model is small. */
static Status open_workers(Eval *e, const char *path, int *workers, Error *err)
{
    Status st = ST_OK;
    CpuInfo cpu;
    ModelInfo info;
    ModelParams model = e->params->model;
    cpu_info(&cpu);
    int threads = model.threads ? model.threads : cpu.cores;
    threads = threads < POOL_THREADS_MAX ? threads : POOL_THREADS_MAX;
    e->workers = mem_alloc((size_t)threads, sizeof *e->workers);
    if (!e->workers)
        return error_set(err, ST_NOMEM, "no memory for %d workers", threads);
    model.threads = threads;
    *workers = 1;
    TRY(worker_open(&e->workers[0], path, &model, e->tokens_max, err));
    model_info(e->workers[0].model, &info);
    if (threads == 1 || info.weight_bytes > SMALL_MODEL_BYTES)
        return ST_OK;
    worker_close(&e->workers[0]);
    model.threads = 1;
    model.progress = NULL;
    for (*workers = 0; *workers < threads;)
        TRY(worker_open(&e->workers[(*workers)++], path, &model, e->tokens_max, err));
out:
    return st;
}

/* ---- all of them --------------------------------------------------------------------------------- */

static Status list_problems(ProblemResult *r, const ProblemScore *scores, int64_t n, Error *err)
{
    for (int64_t i = 0; i < n; i++)
        r->count += scores[i].count;
    r->answers = mem_alloc((size_t)r->count, sizeof *r->answers);
    if (!r->answers)
        return error_set(err, ST_NOMEM, "no memory for %" PRId64 " answers", r->count);
    ProblemAnswer *a = r->answers;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < scores[i].count; k++)
            *a++ = (ProblemAnswer){.score = i, .index = k};
    return ST_OK;
}

static void add_up(const ProblemResult *r, ProblemScore *scores, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        scores[i].right = scores[i].unfinished = scores[i].tokens = 0;
    for (int64_t i = 0; i < r->count; i++) {
        ProblemScore *const s = &scores[r->answers[i].score];
        s->right += r->answers[i].right;
        s->unfinished += r->answers[i].unfinished;
        s->tokens += r->answers[i].tokens;
    }
}

static Status run_workers(Eval *e, int workers, Error *err)
{
    ThreadPool *pool = NULL;
    const Status st = pool_create(&pool, workers, err);
    if (st != ST_OK)
        return st;
    work_init(&e->queue, e->result->count, workers);
    pool_run(pool, work, e);
    pool_destroy(pool);
    if (e->status != ST_OK && err)
        *err = e->error;
    return e->status;
}

Status problem_eval(ProblemResult *out, ProblemScore *scores, int64_t n, const char *model_path,
                    const ProblemEvalParams *params, Error *err)
{
    Status st = ST_OK;
    ProblemResult result = {0};
    Eval e = {.params = params, .scores = scores, .result = &result,
              .chat_flags = params->no_thinking ? 0 : CHAT_THINK,
              .tokens_max = params->tokens_max ? params->tokens_max : TOKENS_DEFAULT};
    pthread_mutex_init(&e.lock, NULL);
    TRY(list_problems(&result, scores, n, err));
    TRY(open_workers(&e, model_path, &result.workers, err));
    const int64_t start = clock_ns();
    TRY(run_workers(&e, result.workers, err));
    result.seconds = (double)(clock_ns() - start) * 1e-9;
    add_up(&result, scores, n);
    *out = result;
out:
    for (int i = 0; e.workers && i < result.workers; i++)
        worker_close(&e.workers[i]);
    mem_free(e.workers);
    pthread_mutex_destroy(&e.lock);
    if (st != ST_OK)
        problem_result_free(&result);
    return st;
}
