/* Gradients of one text: see model_gradients.h. */
#include "engine/model_gradients.h"

#include "backend/pass.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "graph/differentiate.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    Model *m;
    Graph graph;
    Pass *pass;
    bool *wanted;    /* owned; by tensor row */
    void **rows;     /* owned array, as each row is: reals [N][K] */
    int32_t *next;   /* owned; [n] the id behind each */
    int32_t *target; /* owned; [n] */
    float *weight;   /* owned; [n] */
} Backward;

MUST_USE static Status build_pass(Backward *b, int64_t n, Error *err)
{
    const Model *m = b->m;
    const LowerParams p = {
        .kernels = m->kernels,
        .weights = m->views,
        .parts = m->spec.parts,
        .part_count = m->spec.part_count,
        .state_type = model_state_type(m),
        .constants = m->constants,
    };
    Status st = ST_OK;
    TRY(m->spec.family->build(&m->spec, &(BuildParams){.loss = true}, &b->graph, err));
    TRY(graph_differentiate(&b->graph, &(DifferentiateParams){.wanted = b->wanted}, err));
    TRY(pass_create(&b->pass, &b->graph, &p, n, 1, m->pool, err));
out:
    return st;
}

/* Only rows that a sink of the graph names get memory. */
MUST_USE static Status allocate_rows(Backward *b, Error *err)
{
    const WeightView *views = b->m->views;
    for (int32_t i = 0; i < b->m->spec.tensor_count; i++) {
        if (!b->wanted[i])
            continue;
        b->rows[i] = mem_alloc((size_t)(views[i].N * views[i].K), b->m->kernels->real_bytes);
        if (!b->rows[i])
            return error_set(err, ST_NOMEM, "no memory for the gradient of '%s'", b->m->spec.tensors[i].name);
    }
    return ST_OK;
}

MUST_USE static Status allocate(Backward *b, int64_t n, Error *err)
{
    const size_t count = (size_t)b->m->spec.tensor_count;
    b->wanted = mem_alloc(count, sizeof *b->wanted);
    b->rows = mem_alloc(count, sizeof *b->rows);
    b->next = mem_alloc((size_t)n, sizeof *b->next);
    b->target = mem_alloc((size_t)n, sizeof *b->target);
    b->weight = mem_alloc((size_t)n, sizeof *b->weight);
    if (!b->wanted || !b->rows || !b->next || !b->target || !b->weight)
        return error_set(err, ST_NOMEM, "no memory for the gradients of %zu tensors", count);
    for (size_t i = 0; i < count; i++)
        b->wanted[i] = b->m->spec.tensors[i].trainable;
    return ST_OK;
}

static void release(Backward *b)
{
    for (int32_t i = 0; b->rows && i < b->m->spec.tensor_count; i++)
        mem_free(b->rows[i]);
    mem_free(b->wanted);
    mem_free(b->rows);
    mem_free(b->next);
    mem_free(b->target);
    mem_free(b->weight);
    pass_destroy(b->pass);
    graph_deinit(&b->graph);
}

static double run(Backward *b, const int32_t *ids, int64_t n)
{
    const PassSequence sequence = {0, n};
    double loss = 0;
    for (int64_t i = 0; i < n; i++) {
        const bool last = i + 1 == n;
        b->next[i] = last ? 0 : ids[i + 1];
        b->target[i] = last ? -1 : ids[i + 1];
        b->weight[i] = 1.0f / (float)(n - 1);
    }
    const PassBatch batch = {.rows = n, .ids = ids, .next_ids = b->next, .targets = {b->target, b->target},
                             .target_weights = {b->weight, b->weight}, .sequences = &sequence, .sequence_count = 1};
    pthread_mutex_lock(&b->m->pool_lock);
    pass_run(b->pass, &batch, b->rows, &loss);
    pthread_mutex_unlock(&b->m->pool_lock);
    return loss;
}

/* ---- what the caller gets ---------------------------------------------------------------------- */

/* The item of the stored tensor that row i is, or is a slice of. */
MUST_USE static Status item_of(ModelGradients *out, const TensorRow *row, ModelGradient **item, Error *err)
{
    const int64_t *dims = row->stored_ndim ? row->stored_dims : row->dims;
    size_t count = 1;
    for (int32_t i = out->count - 1; row->stored_ndim && i >= 0; i--)
        if (strcmp(out->items[i].name, row->name) == 0) {
            *item = &out->items[i];
            return ST_OK;
        }
    ModelGradient *g = &out->items[out->count++];
    snprintf(g->name, sizeof g->name, "%s", row->name);
    g->ndim = row->stored_ndim ? row->stored_ndim : row->ndim;
    for (int i = 0; i < g->ndim; i++) {
        g->dims[i] = dims[i];
        count *= (size_t)dims[i];
    }
    g->data = mem_alloc(count, sizeof *g->data);
    *item = g;
    return g->data ? ST_OK : error_set(err, ST_NOMEM, "no memory for the gradient of '%s'", row->name);
}

MUST_USE static Status keep_row(ModelGradients *out, const Backward *b, int32_t i, Error *err)
{
    const WeightView *v = &b->m->views[i];
    const TensorRow *row = &b->m->spec.tensors[i];
    ModelGradient *item = NULL;
    const Status st = item_of(out, row, &item, err);
    if (st != ST_OK)
        return st;
    float *dst = item->data + (row->stored_ndim ? row->first_row * v->K : 0);
    for (int64_t j = 0; j < v->N * v->K; j++)
        dst[j] = b->m->kernels->real_bytes == sizeof(double) ? (float)((const double *)b->rows[i])[j]
                                                              : ((const float *)b->rows[i])[j];
    return ST_OK;
}

MUST_USE static Status keep(ModelGradients *out, const Backward *b, Error *err)
{
    Status st = ST_OK;
    out->items = mem_alloc((size_t)b->m->spec.tensor_count, sizeof *out->items);
    if (!out->items)
        return error_set(err, ST_NOMEM, "no memory for the gradients");
    for (int32_t i = 0; i < b->m->spec.tensor_count && st == ST_OK; i++)
        if (b->wanted[i])
            st = keep_row(out, b, i, err);
    return st;
}

Status model_gradients(ModelGradients *out, Model *m, const int32_t *ids, int64_t n, Error *err)
{
    Backward b = {.m = m};
    ModelGradients got = {0};
    Status st = ST_OK;
    graph_init(&b.graph);
    if (n < 2 || n > m->spec.context_max)
        TRY(error_set(err, ST_INVALID, "gradients need 2 to %lld ids, not %lld", (long long)m->spec.context_max,
                      (long long)n));
    if (m->mode == MODE_INT8)
        TRY(error_set(err, ST_UNSUPPORTED, "gradients are computed in f32 or f64, not in int8"));
    TRY(allocate(&b, n, err));
    TRY(build_pass(&b, n, err));
    TRY(allocate_rows(&b, err));
    got.loss = run(&b, ids, n);
    TRY(keep(&got, &b, err));
    *out = got;
    got = (ModelGradients){0};
out:
    model_gradients_free(&got);
    release(&b);
    return st;
}

void model_gradients_free(ModelGradients *g)
{
    for (int32_t i = 0; i < g->count; i++)
        mem_free(g->items[i].data);
    mem_free(g->items);
    *g = (ModelGradients){0};
}
