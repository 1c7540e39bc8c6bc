/* A sequence: its ids, its state pages, and the programs that extend it.
 *
 * All pages of a session are one block of address space; the system gives memory to those that are
 * touched. Kernels reach them through page tables, so that pages can come from elsewhere later. */
#include "engine/engine_internal.h"

#include "base/cpu.h"
#include "base/mem.h"

#include <string.h>

#define CHUNK_DEFAULT 512

/* A program with the memory of its runs. */
typedef struct {
    Program *program;
    void *arena; /* owned pages */
    size_t arena_bytes;
} Bucket;

struct Session {
    Model *model;
    int64_t context, chunk;
    int64_t count;
    int32_t *ids, *positions; /* owned; [context], [chunk] */
    int32_t *logit_rows;      /* owned; [chunk] */
    StatePool state;
    void *const *const *part_pages; /* [part][page] of the pool's one sequence */
    void *scratch;      /* owned pages */
    size_t scratch_bytes;
    Bucket one, many, all; /* decode; prompt chunks; chunks with logits of all rows (made when wanted) */
    float *logits;         /* owned; [logits_cap][vocab] */
    int64_t logits_rows;
    size_t logits_cap; /* floats */
    HiddenHook hook;
    void *hook_arg;
    float *hook_rows; /* owned; rows as floats for f64 programs */
    size_t hook_cap;
};

/* ---- creation ---------------------------------------------------------------------------------- */

MUST_USE static Status bucket_create(Bucket *b, const Session *s, int64_t rows, int64_t logit_rows, Error *err)
{
    const Status st = model_lower(s->model, rows, logit_rows, s->context, &b->program, err);
    if (st != ST_OK)
        return st;
    b->arena_bytes = program_arena_bytes(b->program);
    b->arena = mem_alloc_pages(b->arena_bytes);
    if (!b->arena)
        return error_set(err, ST_NOMEM, "no memory for %zu MB of activations (%lld rows at once)",
                         b->arena_bytes >> 20, (long long)rows);
    return ST_OK;
}

static void bucket_destroy(Bucket *b)
{
    mem_free_pages(b->arena, b->arena_bytes);
    program_destroy(b->program);
    *b = (Bucket){0};
}

/* Positions that the state may hold: as asked, or the model's maximum cut to half of free memory. */
MUST_USE static Status choose_context(const Model *m, int64_t asked, int64_t *out, Error *err)
{
    const int64_t max = m->spec.context_max;
    if (asked < 0 || asked > max)
        return error_set(err, ST_INVALID, "context of %lld positions: the model has at most %lld", (long long)asked,
                         (long long)max);
    CpuInfo info;
    cpu_info(&info);
    const int64_t most = (int64_t)model_state_bytes(m, max); /* of the longest context */
    int64_t fits = (int64_t)((double)info.memory_free_bytes / 2 / (double)most * (double)max) / ATTENTION_PAGE * ATTENTION_PAGE;
    fits = fits > max ? max : fits;
    fits = fits < ATTENTION_PAGE ? ATTENTION_PAGE : fits;
    *out = asked ? asked : max;
    if (info.memory_free_bytes == 0 || *out <= fits)
        return ST_OK;
    if (asked == 0) {
        *out = fits;
        return ST_OK;
    }
    const int64_t need = (int64_t)model_state_bytes(m, asked);
    if (need <= info.memory_free_bytes)
        return ST_OK;
    return error_set(err, ST_NOMEM, "a context of %lld positions takes %lld MB, %lld MB are free: about %lld positions fit",
                     (long long)asked, (long long)(need >> 20), (long long)(info.memory_free_bytes >> 20),
                     (long long)fits);
}

MUST_USE static Status create_parts(Session *s, const SessionParams *params, Error *err)
{
    Status st = ST_OK;
    TRY(choose_context(s->model, params->context, &s->context, err));
    s->chunk = params->chunk > 0 ? params->chunk : CHUNK_DEFAULT;
    if (s->chunk > s->context)
        s->chunk = s->context;
    s->ids = mem_alloc((size_t)s->context, sizeof *s->ids);
    s->positions = mem_alloc((size_t)s->chunk, sizeof *s->positions);
    s->logit_rows = mem_alloc((size_t)s->chunk, sizeof *s->logit_rows);
    s->logits_cap = (size_t)s->model->spec.vocab;
    s->logits = mem_alloc(s->logits_cap, sizeof *s->logits);
    if (!s->ids || !s->positions || !s->logit_rows || !s->logits)
        TRY(error_set(err, ST_NOMEM, "no memory for a session"));
    TRY(state_pool_init(&s->state, s->model->spec.parts, s->model->spec.part_count, model_state_type(s->model),
                        s->context, 1, err));
    s->part_pages = state_pool_give(&s->state, s->context);
    TRY(bucket_create(&s->one, s, 1, 1, err));
    if (s->chunk > 1)
        TRY(bucket_create(&s->many, s, s->chunk, 1, err));
    s->scratch_bytes = program_scratch_bytes(s->one.program) * (size_t)pool_threads(s->model->pool);
    s->scratch = mem_alloc_pages(s->scratch_bytes);
    if (!s->scratch)
        TRY(error_set(err, ST_NOMEM, "no memory for a session"));
out:
    return st;
}

Status session_create(Session **out, Model *m, const SessionParams *params, Error *err)
{
    Session *s = mem_alloc(1, sizeof *s);
    if (!s)
        return error_set(err, ST_NOMEM, "no memory for a session");
    s->model = m;
    const Status st = create_parts(s, params, err);
    if (st == ST_OK)
        *out = s;
    else
        session_destroy(s);
    return st;
}

void session_destroy(Session *s)
{
    if (!s)
        return;
    bucket_destroy(&s->one);
    bucket_destroy(&s->many);
    bucket_destroy(&s->all);
    state_pool_deinit(&s->state);
    mem_free_pages(s->scratch, s->scratch_bytes);
    mem_free(s->ids);
    mem_free(s->positions);
    mem_free(s->logit_rows);
    mem_free(s->logits);
    mem_free(s->hook_rows);
    mem_free(s);
}

/* ---- running a chunk --------------------------------------------------------------------------- */

static void widen_to_float(float *dst, const void *src, int64_t n, size_t real_bytes)
{
    if (real_bytes == sizeof(float)) {
        memcpy(dst, src, (size_t)n * sizeof *dst);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        dst[i] = (float)((const double *)src)[i];
}

static void on_tap(void *arg, int64_t layer, const void *rows, int64_t count, int64_t width)
{
    Session *s = arg;
    widen_to_float(s->hook_rows, rows, count * width, s->model->kernels->real_bytes);
    s->hook(s->hook_arg, layer, s->count, s->hook_rows, count);
}

/* Evaluate the ids at s->count … +n−1 (already stored), with logits of the rows in s->logit_rows. */
static void run_chunk(Session *s, const Bucket *b, int64_t n, int64_t logit_rows)
{
    for (int64_t i = 0; i < n; i++)
        s->positions[i] = (int32_t)(s->count + i);
    const BatchSequence sequence = {0, n, s->count, s->part_pages};
    const Batch batch = {.rows = n, .ids = s->ids + s->count, .positions = s->positions, .sequences = &sequence,
                         .sequence_count = 1, .logit_rows = s->logit_rows, .logit_row_count = logit_rows};
    const RunMemory memory = {.arena = b->arena, .scratch = s->scratch, .tap = s->hook ? on_tap : NULL, .tap_arg = s};
    model_run(s->model, b->program, &batch, &memory);
}

/* Copy the logits of the last run behind those that are there. */
static void keep_logits(Session *s, const Bucket *b, int64_t rows)
{
    int64_t vocab;
    const void *src = program_output(b->program, 0, b->arena, &vocab);
    widen_to_float(s->logits + s->logits_rows * vocab, src, rows * vocab, s->model->kernels->real_bytes);
    s->logits_rows += rows;
}

MUST_USE static Status reserve_logits(Session *s, int64_t rows, Error *err)
{
    size_t need;
    void *p = s->logits;
    if (!size_mul((size_t)rows, (size_t)s->model->spec.vocab, &need) ||
        mem_grow(&p, &s->logits_cap, need, sizeof *s->logits) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for the logits of %lld positions", (long long)rows);
    s->logits = p;
    if (s->all.program || s->chunk == 1)
        return ST_OK;
    return bucket_create(&s->all, s, s->chunk, s->chunk, err);
}

MUST_USE static Status reserve_hook(Session *s, Error *err)
{
    if (!s->hook)
        return ST_OK;
    void *p = s->hook_rows;
    const Status st = mem_grow(&p, &s->hook_cap, (size_t)(s->chunk * model_stream_width(&s->model->spec)), sizeof(float));
    s->hook_rows = p;
    return st == ST_OK ? st : error_set(err, ST_NOMEM, "no memory to observe layers");
}

MUST_USE static Status check_ids(const Session *s, const int32_t *ids, int64_t n, Error *err)
{
    CHECK(n >= 1);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= s->model->spec.vocab)
            return error_set(err, ST_INVALID, "id %d at index %lld is outside the vocabulary of %lld", ids[i],
                             (long long)i, (long long)s->model->spec.vocab);
    if (n > s->context - s->count)
        return error_set(err, ST_FULL, "context full: %lld positions filled and %lld more do not fit into %lld",
                         (long long)s->count, (long long)n, (long long)s->context);
    return ST_OK;
}

/* Logit rows of a chunk: all, the last of the last chunk, or none. */
static int64_t choose_logit_rows(Session *s, int64_t n, bool last_chunk, LogitsWanted wanted)
{
    if (wanted == LOGITS_ALL) {
        for (int64_t i = 0; i < n; i++)
            s->logit_rows[i] = (int32_t)i;
        return n;
    }
    s->logit_rows[0] = (int32_t)(n - 1);
    return last_chunk ? 1 : 0;
}

static const Bucket *choose_bucket(const Session *s, int64_t n, LogitsWanted wanted)
{
    if (n == 1)
        return &s->one;
    return wanted == LOGITS_ALL ? &s->all : &s->many;
}

Status session_append(Session *s, const int32_t *ids, int64_t n, LogitsWanted wanted,
                      const SessionProgress *progress, Error *err)
{
    Status st = ST_OK;
    TRY(check_ids(s, ids, n, err));
    if (wanted == LOGITS_ALL)
        TRY(reserve_logits(s, n, err));
    TRY(reserve_hook(s, err));
    s->logits_rows = 0;
    memcpy(s->ids + s->count, ids, (size_t)n * sizeof *ids);
    for (int64_t done = 0; done < n;) {
        if (progress && !progress->step(progress->arg, done, n))
            TRY(error_set(err, ST_CANCELLED, "stopped after %lld of %lld tokens", (long long)done, (long long)n));
        const int64_t rows = n - done < s->chunk ? n - done : s->chunk;
        const Bucket *bucket = choose_bucket(s, rows, wanted);
        const int64_t logit_rows = choose_logit_rows(s, rows, done + rows == n, wanted);
        run_chunk(s, bucket, rows, logit_rows);
        keep_logits(s, bucket, logit_rows);
        s->count += rows;
        done += rows;
    }
out:
    return st;
}

Status session_sync(Session *s, const int32_t *ids, int64_t n, const SessionProgress *progress, Error *err)
{
    CHECK(n >= 1);
    int64_t same = 0;
    while (same < s->count && same < n - 1 && s->ids[same] == ids[same])
        same++;
    session_rewind(s, same);
    return session_append(s, ids + same, n - same, LOGITS_LAST, progress, err);
}

/* ---- small things ------------------------------------------------------------------------------ */

void session_rewind(Session *s, int64_t count)
{
    CHECK(count >= 0);
    if (count >= s->count)
        return;
    s->count = count;
    s->logits_rows = 0;
}

int64_t session_context(const Session *s)
{
    return s->context;
}

int64_t session_count(const Session *s)
{
    return s->count;
}

const int32_t *session_ids(const Session *s)
{
    return s->ids;
}

int64_t session_vocab(const Session *s)
{
    return s->model->spec.vocab;
}

const float *session_logits(const Session *s)
{
    return s->logits;
}

int64_t session_logits_rows(const Session *s)
{
    return s->logits_rows;
}

void session_set_hidden_hook(Session *s, HiddenHook hook, void *arg)
{
    s->hook = hook;
    s->hook_arg = arg;
}
