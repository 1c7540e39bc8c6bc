/* Traces: prompt in one go or split, hidden streams, greedy continuation. */
#include "eval/trace.h"

#include "base/mem.h"
#include "formats/safetensors.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS_MAX ((int64_t)1 << 24)

/* ---- ids --------------------------------------------------------------------------------------- */

/* The word at *pos as an id; *pos moves behind it. */
MUST_USE static Status parse_id(const char *text, size_t len, size_t *pos, int64_t index, int32_t *out,
                                Error *err)
{
    char word[24];
    const size_t start = *pos;
    size_t n = 0;
    while (*pos < len && !isspace((unsigned char)text[*pos]))
        ++*pos;
    n = *pos - start;
    const size_t shown = n < sizeof word ? n : sizeof word - 1;
    memcpy(word, text + start, shown);
    word[shown] = 0;
    char *end;
    errno = 0;
    const long long v = strtoll(word, &end, 10);
    if (n >= sizeof word || *end != 0 || errno != 0 || v < 0 || v > INT32_MAX)
        return error_set(err, ST_INVALID, "'%s' is not a token id (word %lld, byte %zu)", word, (long long)index + 1,
                         start);
    *out = (int32_t)v;
    return ST_OK;
}

Status trace_parse_ids(IdBuf *out, const char *text, size_t len, Error *err)
{
    Status st = ST_OK;
    for (size_t pos = 0; pos < len;) {
        if (isspace((unsigned char)text[pos])) {
            pos++;
            continue;
        }
        int32_t id = 0;
        TRY(parse_id(text, len, &pos, out->count, &id, err));
        if (out->count >= IDS_MAX || idbuf_push(out, id) != ST_OK)
            TRY(error_set(err, ST_NOMEM, "no memory for more than %lld ids", (long long)out->count));
    }
    if (out->count == 0)
        st = error_set(err, ST_INVALID, "no token ids: expected at least one number");
out:
    return st;
}

/* ---- running ----------------------------------------------------------------------------------- */

static void keep_hidden(void *arg, int64_t layer, int64_t row0, const float *rows, int64_t count)
{
    Trace *t = arg;
    float *dst = t->hidden_rows + (layer * t->count + row0) * t->hidden;
    memcpy(dst, rows, (size_t)(count * t->hidden) * sizeof *dst);
}

MUST_USE static Status append(Trace *t, Session *s, const int32_t *ids, int64_t n, Error *err)
{
    const int64_t row = session_count(s);
    const Status st = session_append(s, ids, n, LOGITS_ALL, NULL, err);
    if (st == ST_OK)
        memcpy(t->logits + row * t->vocab, session_logits(s), (size_t)(n * t->vocab) * sizeof *t->logits);
    return st;
}

static int32_t argmax(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return (int32_t)best;
}

MUST_USE static Status continue_greedily(Trace *t, Session *s, Error *err)
{
    const float *logits = t->logits + (t->count - 1) * t->vocab;
    for (int64_t i = 0; i < t->greedy; i++) {
        const int32_t id = argmax(logits, t->vocab);
        t->greedy_ids[i] = id;
        if (i + 1 == t->greedy)
            break;
        const Status st = session_append(s, &id, 1, LOGITS_LAST, NULL, err);
        if (st != ST_OK)
            return st;
        logits = session_logits(s);
    }
    return ST_OK;
}

MUST_USE static Status allocate(Trace *t, const Model *m, const TraceParams *p, Error *err)
{
    ModelInfo info;
    model_info(m, &info);
    *t = (Trace){.count = p->count, .vocab = info.vocab, .layers = info.layers, .hidden = info.stream,
                 .greedy = p->greedy};
    t->logits = mem_alloc((size_t)p->count, (size_t)info.vocab * sizeof *t->logits);
    if (p->hidden)
        t->hidden_rows = mem_alloc((size_t)(p->count * info.layers), (size_t)info.stream * sizeof *t->hidden_rows);
    t->greedy_ids = mem_alloc((size_t)p->greedy, sizeof *t->greedy_ids);
    if (!t->logits || !t->greedy_ids || (p->hidden && !t->hidden_rows))
        return error_set(err, ST_NOMEM, "no memory for a trace of %lld positions", (long long)p->count);
    return ST_OK;
}

Status trace_run(Trace *out, Model *m, const TraceParams *p, Error *err)
{
    Trace t = {0};
    Session *s = NULL;
    Status st = ST_OK;
    const int64_t first = p->split ? p->split : p->count;
    const int64_t context = p->count + (p->greedy ? p->greedy - 1 : 0);
    if (p->split < 0 || p->split > p->count)
        return error_set(err, ST_INVALID, "cannot split %lld ids behind the first %lld", (long long)p->count,
                         (long long)p->split);
    TRY(allocate(&t, m, p, err));
    TRY(session_create(&s, m, &(SessionParams){.context = context}, err));
    session_set_hidden_hook(s, p->hidden ? keep_hidden : NULL, &t);
    TRY(append(&t, s, p->ids, first, err));
    for (int64_t i = first; i < p->count; i++)
        TRY(append(&t, s, &p->ids[i], 1, err));
    session_set_hidden_hook(s, NULL, NULL);
    TRY(continue_greedily(&t, s, err));
    if (p->gradients)
        TRY(model_gradients(&t.gradients, m, p->ids, p->count, err));
    t.loss = (float)t.gradients.loss;
    *out = t;
    t = (Trace){0};
out:
    session_destroy(s);
    trace_free(&t);
    return st;
}

void trace_free(Trace *t)
{
    mem_free(t->logits);
    mem_free(t->hidden_rows);
    mem_free(t->greedy_ids);
    model_gradients_free(&t->gradients);
    *t = (Trace){0};
}

/* ---- saving ------------------------------------------------------------------------------------ */

#define SAVED_NAME_MAX (GRADIENT_NAME_MAX + 8)

/* The items of a file under construction and the names that had to be made. */
typedef struct {
    SafetensorsItem *items;
    char (*names)[SAVED_NAME_MAX];
    int64_t count;
} Saving;

static void add_item(Saving *s, const char *prefix, const char *name, int ndim, const int64_t *dims, const float *data)
{
    SafetensorsItem *item = &s->items[s->count];
    snprintf(s->names[s->count], SAVED_NAME_MAX, "%s%s", prefix, name);
    *item = (SafetensorsItem){.name = s->names[s->count], .dtype = DT_F32, .ndim = ndim, .data = data};
    memcpy(item->dims, dims, (size_t)ndim * sizeof *dims);
    s->count++;
}

static void add_all(Saving *s, const Trace *t)
{
    char name[32];
    add_item(s, "", "logits", 2, (int64_t[]){t->count, t->vocab}, t->logits);
    for (int64_t i = 0; t->hidden_rows && i < t->layers; i++) {
        snprintf(name, sizeof name, "hidden.%lld", (long long)i);
        add_item(s, "", name, 2, (int64_t[]){t->count, t->hidden}, t->hidden_rows + i * t->count * t->hidden);
    }
    if (t->greedy)
        s->items[s->count++] = (SafetensorsItem){"greedy_ids", DT_I64, 1, {t->greedy}, t->greedy_ids};
    if (t->gradients.count == 0)
        return;
    s->items[s->count++] = (SafetensorsItem){"loss", DT_F32, 1, {1}, &t->loss};
    for (int32_t i = 0; i < t->gradients.count; i++) {
        const ModelGradient *g = &t->gradients.items[i];
        add_item(s, "grad.", g->name, g->ndim, g->dims, g->data);
    }
}

Status trace_save(const Trace *t, const char *path, Error *err)
{
    const size_t most = (size_t)t->layers + (size_t)t->gradients.count + 3;
    Saving s = {.items = mem_alloc(most, sizeof *s.items), .names = mem_alloc(most, sizeof *s.names)};
    Status st = ST_OK;
    if (!s.items || !s.names)
        TRY(error_set(err, ST_NOMEM, "no memory to save a trace"));
    add_all(&s, t);
    TRY(safetensors_save(path, s.items, s.count, NULL, err));
out:
    mem_free(s.items);
    mem_free(s.names);
    return st;
}
