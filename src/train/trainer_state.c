/* Checkpoints of a run: what goes into them, and how a run goes on from one. Format: docs/FORMATS.md.
 *
 * trainer/state.safetensors: first.NAME and second.NAME, the moments of tensor NAME; cursor, where the data stands; run,
 * the counters below; spike.losses and spike.norms, the window of the spike rule. */
#include "train/trainer_internal.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define STATE_NAME_MAX (TENSOR_NAME_MAX + 8)

enum { RUN_STEP, RUN_UPDATES, RUN_TOKENS, RUN_SPIKE_COUNT, RUN_SPIKE_ROW, RUN_COUNT };

/* Items under construction, with the names that had to be made. */
typedef struct {
    SafetensorsItem *weights, *state;
    char (*names)[STATE_NAME_MAX];
    int64_t weight_count, state_count, name_count;
    int64_t run[RUN_COUNT];
    int64_t **wide; /* tables of ids as I64; owned, as each is */
    DataCursor cursor;
    ByteBuf record;
} Content;

static SafetensorsItem item_of(const TensorRow *row, const char *name, Dtype type, const void *data)
{
    SafetensorsItem item = {.name = name, .dtype = type, .ndim = row->ndim, .data = data};
    memcpy(item.dims, row->dims, (size_t)row->ndim * sizeof *row->dims);
    return item;
}

static void add_moment(Content *c, const TensorRow *row, const char *prefix, const float *data)
{
    char *name = c->names[c->name_count++];
    snprintf(name, STATE_NAME_MAX, "%s.%s", prefix, row->saved_name);
    c->state[c->state_count++] = item_of(row, name, DT_F32, data);
}

MUST_USE static Status add_row(Content *c, const Param *p, int32_t i, Error *err)
{
    if (p->row->role == ROLE_IDS) {
        c->wide[i] = mem_alloc((size_t)p->count, sizeof **c->wide);
        if (!c->wide[i])
            return error_set(err, ST_NOMEM, "no memory to save '%s'", p->row->saved_name);
        for (int64_t j = 0; j < p->count; j++)
            c->wide[i][j] = p->ids[j];
        c->weights[c->weight_count++] = item_of(p->row, p->row->saved_name, DT_I64, c->wide[i]);
        return ST_OK;
    }
    c->weights[c->weight_count++] = item_of(p->row, p->row->saved_name, DT_F32, p->master);
    if (p->first)
        add_moment(c, p->row, "first", p->first);
    if (p->second)
        add_moment(c, p->row, "second", p->second);
    return ST_OK;
}

MUST_USE static Status content_init(Content *c, int32_t rows, Error *err)
{
    const size_t n = (size_t)rows;
    c->weights = mem_alloc(n, sizeof *c->weights);
    c->state = mem_alloc(2 * n + 4, sizeof *c->state);
    c->names = mem_alloc(2 * n, sizeof *c->names);
    c->wide = mem_alloc(n, sizeof *c->wide);
    if (!c->weights || !c->state || !c->names || !c->wide)
        return error_set(err, ST_NOMEM, "no memory to save a checkpoint of %d tensors", rows);
    return ST_OK;
}

static void content_free(Content *c, int32_t rows)
{
    for (int32_t i = 0; c->wide && i < rows; i++)
        mem_free(c->wide[i]);
    mem_free(c->wide);
    mem_free(c->weights);
    mem_free(c->state);
    mem_free(c->names);
    data_cursor_free(&c->cursor);
    bytebuf_free(&c->record);
}

static void add_counters(Content *c, const Trainer *t)
{
    const int64_t window = t->spike.window;
    c->run[RUN_STEP] = t->step;
    c->run[RUN_UPDATES] = t->updates;
    c->run[RUN_TOKENS] = t->tokens;
    c->run[RUN_SPIKE_COUNT] = t->spike.count;
    c->run[RUN_SPIKE_ROW] = t->spike.in_a_row;
    c->state[c->state_count++] = (SafetensorsItem){.name = "run", .dtype = DT_I64, .ndim = 1, .dims = {RUN_COUNT},
                                                   .data = c->run};
    c->state[c->state_count++] = (SafetensorsItem){.name = "spike.losses", .dtype = DT_F64, .ndim = 1, .dims = {window},
                                                   .data = t->spike.losses};
    c->state[c->state_count++] = (SafetensorsItem){.name = "spike.norms", .dtype = DT_F64, .ndim = 1, .dims = {window},
                                                   .data = t->spike.norms};
}

MUST_USE static Status fill(Content *c, Trainer *t, Error *err)
{
    Params *p = learner_params(t->learner);
    Status st = ST_OK;
    TRY(content_init(c, params_count(p), err));
    for (int32_t i = 0; i < params_count(p); i++)
        TRY(add_row(c, params_at(p, i), i, err));
    TRY(data_stream_save(t->stream, &c->cursor, err));
    c->state[c->state_count++] = (SafetensorsItem){.name = "cursor", .dtype = DT_I64, .ndim = 1,
                                                   .dims = {(int64_t)c->cursor.count}, .data = c->cursor.values};
    add_counters(c, t);
    TRY(recipe_record(&t->recipe, &c->record, err));
out:
    return st;
}

Status trainer_save(Trainer *t, Error *err)
{
    CheckpointText texts[TRAINER_FILES_MAX + 1];
    const int32_t rows = params_count(learner_params(t->learner));
    int count = 0;
    Content c = {0};
    Status st = ST_OK;
    TRY(fill(&c, t, err));
    for (; count < t->file_count; count++)
        texts[count] = (CheckpointText){t->files[count].name, t->files[count].bytes.data, t->files[count].bytes.count};
    texts[count++] = (CheckpointText){"trainer/recipe.json", c.record.data, c.record.count};
    TRY(checkpoint_save(t->run,
                        &(CheckpointContent){.step = t->step, .weights = c.weights, .weight_count = c.weight_count,
                                             .state = c.state, .state_count = c.state_count, .texts = texts,
                                             .text_count = count},
                        err));
    t->saved = t->step;
out:
    content_free(&c, rows);
    return st;
}

/* ---- going on ---------------------------------------------------------------------------------- */

MUST_USE static Status take_weights(Param *p, const Checkpoint *c, Error *err)
{
    const TensorEntry *e = checkpoint_weight(c, p->row->saved_name);
    const Dtype type = p->row->role == ROLE_IDS ? DT_I64 : DT_F32;
    if (!e || e->dtype != type || e->ndim != p->row->ndim ||
        memcmp(e->dims, p->row->dims, (size_t)e->ndim * sizeof *e->dims) != 0)
        return error_set(err, ST_CORRUPT, "'%s' has no tensor '%s' of the recipe's shape", checkpoint_path(c),
                         p->row->saved_name);
    if (p->row->role == ROLE_IDS) {
        for (int64_t j = 0; j < p->count; j++) {
            int64_t id;
            memcpy(&id, (const char *)e->data + (size_t)j * sizeof id, sizeof id);
            if (id < 0 || id >= p->row->id_limit)
                return error_set(err, ST_CORRUPT, "'%s': '%s' has the id %lld, expected 0 to %lld", checkpoint_path(c),
                                 p->row->saved_name, (long long)id, (long long)p->row->id_limit - 1);
            p->ids[j] = (int32_t)id;
        }
        return ST_OK;
    }
    memcpy(p->master, e->data, (size_t)p->count * sizeof *p->master);
    return ST_OK;
}

MUST_USE static Status take_moment(float *dst, const Param *p, const char *prefix, const Checkpoint *c, Error *err)
{
    char name[STATE_NAME_MAX];
    const void *data;
    if (!dst)
        return ST_OK;
    snprintf(name, sizeof name, "%s.%s", prefix, p->row->saved_name);
    const Status st = checkpoint_state_data(c, name, DT_F32, p->count, &data, err);
    if (st == ST_OK)
        memcpy(dst, data, (size_t)p->count * sizeof *dst);
    return st;
}

MUST_USE static Status take_counters(Trainer *t, Error *err)
{
    const void *run, *losses, *norms;
    Status st = ST_OK;
    TRY(checkpoint_state_data(t->start, "run", DT_I64, RUN_COUNT, &run, err));
    TRY(checkpoint_state_data(t->start, "spike.losses", DT_F64, t->spike.window, &losses, err));
    TRY(checkpoint_state_data(t->start, "spike.norms", DT_F64, t->spike.window, &norms, err));
    int64_t n[RUN_COUNT];
    memcpy(n, run, sizeof n);
    memcpy(t->spike.losses, losses, (size_t)t->spike.window * sizeof *t->spike.losses);
    memcpy(t->spike.norms, norms, (size_t)t->spike.window * sizeof *t->spike.norms);
    t->step = n[RUN_STEP];
    t->updates = n[RUN_UPDATES];
    t->tokens = n[RUN_TOKENS];
    t->spike.count = n[RUN_SPIKE_COUNT];
    t->spike.in_a_row = n[RUN_SPIKE_ROW];
    if (t->step != checkpoint_step(t->start) || t->spike.count < 0)
        TRY(error_set(err, ST_CORRUPT, "'%s': the counters say step %lld", checkpoint_path(t->start), (long long)t->step));
out:
    return st;
}

MUST_USE static Status take_cursor(Trainer *t, Error *err)
{
    const TensorEntry *e = checkpoint_state(t->start, "cursor");
    if (!e || e->dtype != DT_I64 || e->ndim != 1)
        return error_set(err, ST_CORRUPT, "'%s' does not say where the data stands", checkpoint_path(t->start));
    return data_stream_restore(t->stream, e->data, e->dims[0], err);
}

Status trainer_restore(Trainer *t, Error *err)
{
    Params *p = learner_params(t->learner);
    Status st = ST_OK;
    for (int32_t i = 0; i < params_count(p); i++) {
        Param *q = params_at(p, i);
        TRY(take_weights(q, t->start, err));
        TRY(take_moment(q->first, q, "first", t->start, err));
        TRY(take_moment(q->second, q, "second", t->start, err));
    }
    TRY(take_counters(t, err));
    TRY(take_cursor(t, err));
    t->saved = t->step;
out:
    return st;
}
