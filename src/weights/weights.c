/* Binding and packing: see weights.h. */
#include "weights/weights.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct Weights {
    WeightView *views; /* owned; by row */
    const TensorRow *rows;
    const TensorEntry **entries; /* owned array; by row */
    int32_t count;
    uint8_t *packed; /* owned pages: all panels */
    size_t packed_bytes;
    uint8_t *vectors; /* owned: all vectors */
    int32_t *ids;     /* owned: all tables of ids */
};

#define PACK_ALIGN 4096

static size_t aligned(size_t n)
{
    return (n + PACK_ALIGN - 1) / PACK_ALIGN * PACK_ALIGN;
}

/* ---- checking ---------------------------------------------------------------------------------- */

static void shape_text(char *out, size_t size, int ndim, const int64_t *dims)
{
    size_t n = 0;
    out[0] = 0;
    for (int i = 0; i < ndim && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%lld", i ? ", " : "", (long long)dims[i]);
}

/* The shape that the row wants in the file. */
static int stored_shape(const TensorRow *row, const int64_t **dims)
{
    *dims = row->stored_ndim ? row->stored_dims : row->dims;
    return row->stored_ndim ? row->stored_ndim : row->ndim;
}

static bool type_fits(const TensorRow *row, Dtype t)
{
    return row->uses & USE_IDS ? t == DT_I64 || t == DT_I32 : dtype_info(t)->is_real;
}

/* What is wrong with a row, or nothing (empty text). */
static void row_fault(char *out, size_t size, const TensorRow *row, const TensorEntry *e)
{
    char found[96], expected[72];
    const int64_t *dims;
    const int ndim = stored_shape(row, &dims);
    out[0] = 0;
    if (!e) {
        snprintf(out, size, "'%s' is missing", row->name);
        return;
    }
    if (!type_fits(row, e->dtype)) {
        snprintf(out, size, "'%s' is of type %s, which holds no %s", row->name, dtype_info(e->dtype)->name,
                 row->uses & USE_IDS ? "ids (I64 and I32 do)" : "real numbers");
        return;
    }
    if (e->ndim == ndim && memcmp(e->dims, dims, (size_t)ndim * sizeof(int64_t)) == 0)
        return;
    shape_text(found, sizeof found, e->ndim, e->dims);
    shape_text(expected, sizeof expected, ndim, dims);
    snprintf(out, size, "'%s' is [%s], expected [%s]", row->name, found, expected);
}

MUST_USE static Status find_rows(Weights *w, const TensorDir *dir, Error *err)
{
    char fault[384], first[300] = "";
    int32_t faults = 0;
    for (int32_t i = 0; i < w->count; i++) {
        w->entries[i] = tensordir_find(dir, w->rows[i].name);
        row_fault(fault, sizeof fault, &w->rows[i], w->entries[i]);
        if (!fault[0])
            continue;
        const size_t n = strlen(first);
        if (faults++ < 3)
            snprintf(first + n, sizeof first - n, "%s%s", n ? "; " : "", fault);
    }
    if (faults == 0)
        return ST_OK;
    return error_set(err, ST_CORRUPT, "%d of %d tensors do not fit the configuration: %s%s", faults, w->count,
                     first, faults > 3 ? "; …" : "");
}

/* ---- layout ------------------------------------------------------------------------------------ */

static bool is_matrix(const TensorRow *row)
{
    return (row->uses & USE_MATRIX) != 0;
}

static size_t elements(const WeightView *v)
{
    return (size_t)v->N * (size_t)v->K;
}

static size_t group_bytes(const WeightView *v)
{
    return form_bytes(&v->form, v->N / v->groups, v->K);
}

static size_t matrix_bytes(const WeightView *v)
{
    return group_bytes(v) * (size_t)v->groups;
}

/* Where the row's elements begin in the file. */
static const uint8_t *row_data(const Weights *w, int32_t i)
{
    const uint8_t *data = w->entries[i]->data;
    const TensorRow *row = &w->rows[i];
    return row->stored_ndim ? data + (size_t)row->first_row * dtype_row_bytes(w->entries[i]->dtype, w->views[i].K)
                            : data;
}

/* Fill the views but for the pointers; the panels' offsets are taken in row order. */
MUST_USE static Status lay_out(Weights *w, size_t real_bytes, Error *err)
{
    size_t packed = 0, vectors = 0, ids = 0;
    for (int32_t i = 0; i < w->count; i++) {
        const TensorRow *row = &w->rows[i];
        const TensorEntry *e = w->entries[i];
        WeightView *v = &w->views[i];
        v->N = row->dims[0];
        v->K = row->ndim == 2 ? row->dims[1] : 1;
        v->groups = row->groups ? row->groups : 1;
        v->stored_type = e->dtype;
        v->form = form_of_dtype(e->dtype);
        if (row->uses & USE_ROWS)
            v->stored = row_data(w, i);
        if (is_matrix(row) && !size_add(packed, aligned(matrix_bytes(v)), &packed))
            return error_set(err, ST_NOMEM, "weights are too large for this machine's addresses");
        if (row->uses & USE_VECTOR)
            vectors += elements(v) * real_bytes;
        if (row->uses & USE_IDS)
            ids += elements(v);
    }
    w->packed_bytes = packed;
    w->packed = packed ? mem_alloc_pages(packed) : NULL;
    w->vectors = mem_alloc(vectors, 1);
    w->ids = mem_alloc(ids, sizeof *w->ids);
    if ((packed && !w->packed) || !w->vectors || !w->ids)
        return error_set(err, ST_NOMEM, "no memory for %zu MB of weights",
                         (packed + vectors + ids * sizeof *w->ids) >> 20);
    return ST_OK;
}

static void decode_vectors(Weights *w, size_t real_bytes)
{
    uint8_t *p = w->vectors;
    for (int32_t i = 0; i < w->count; i++) {
        WeightView *v = &w->views[i];
        if (!(w->rows[i].uses & USE_VECTOR))
            continue;
        if (real_bytes == 4)
            dtype_decode_f32(v->stored_type, (float *)(void *)p, row_data(w, i), v->N * v->K);
        else
            dtype_decode_f64(v->stored_type, (double *)(void *)p, row_data(w, i), v->N * v->K);
        v->vector = p;
        p += elements(v) * real_bytes;
    }
}

static int64_t stored_id(const uint8_t *data, Dtype t, size_t i)
{
    int64_t wide;
    int32_t narrow;
    if (t == DT_I64) {
        memcpy(&wide, data + i * sizeof wide, sizeof wide);
        return wide;
    }
    memcpy(&narrow, data + i * sizeof narrow, sizeof narrow);
    return narrow;
}

MUST_USE static Status decode_ids(Weights *w, Error *err)
{
    int32_t *p = w->ids;
    for (int32_t i = 0; i < w->count; i++) {
        WeightView *v = &w->views[i];
        const TensorRow *row = &w->rows[i];
        if (!(row->uses & USE_IDS))
            continue;
        const uint8_t *data = row_data(w, i);
        v->ids = p;
        for (size_t k = 0; k < elements(v); k++) {
            const int64_t id = stored_id(data, v->stored_type, k);
            if (id < 0 || id >= row->id_limit)
                return error_set(err, ST_CORRUPT, "'%s' has the id %lld at [%lld, %lld], expected 0 to %lld",
                                 row->name, (long long)id, (long long)((int64_t)k / v->K),
                                 (long long)((int64_t)k % v->K), (long long)row->id_limit - 1);
            *p++ = (int32_t)id;
        }
    }
    return ST_OK;
}

static void place_panels(Weights *w)
{
    size_t offset = 0;
    for (int32_t i = 0; i < w->count; i++) {
        WeightView *v = &w->views[i];
        if (!is_matrix(&w->rows[i]))
            continue;
        v->panels = w->packed + offset;
        offset += aligned(matrix_bytes(v));
    }
}

/* ---- packing ----------------------------------------------------------------------------------- */

#define PANELS_A_BLOCK 64 /* panels that a worker packs at a time */

typedef struct {
    Weights *w;
    const WeightParams *params;
    WorkQueue queue; /* blocks of panels of all matrices, in row order */
    _Atomic size_t done;
} Packing;

static int64_t group_panels(const WeightView *v)
{
    return (v->N / v->groups + PANEL_ROWS - 1) / PANEL_ROWS;
}

static int64_t row_blocks(const Weights *w, int32_t i)
{
    const int64_t panels = is_matrix(&w->rows[i]) ? group_panels(&w->views[i]) * w->views[i].groups : 0;
    return (panels + PANELS_A_BLOCK - 1) / PANELS_A_BLOCK;
}

/* Block number `block` of row i. Panels are counted through all groups. */
static void pack_block(Packing *p, int32_t i, int64_t block)
{
    const WeightView *v = &p->w->views[i];
    const size_t panel_bytes = form_panel_bytes(&v->form, v->K);
    const size_t stored_bytes = (size_t)(v->N / v->groups) * dtype_row_bytes(v->stored_type, v->K);
    const int64_t each = group_panels(v), panels = each * v->groups, first = block * PANELS_A_BLOCK;
    const int64_t end = first + PANELS_A_BLOCK < panels ? first + PANELS_A_BLOCK : panels;
    uint8_t *dst = p->w->packed + ((const uint8_t *)v->panels - p->w->packed);
    const uint8_t *stored = row_data(p->w, i);
    for (int64_t panel = first; panel < end; panel++)
        form_pack_panel(&v->form, dst + (size_t)panel * panel_bytes, v->stored_type,
                        stored + (size_t)(panel / each) * stored_bytes, panel % each, v->N / v->groups, v->K);
    atomic_fetch_add(&p->done, (size_t)(end - first) * panel_bytes);
}

static void pack_worker(void *arg, int thread, int threads)
{
    (void)threads;
    Packing *p = arg;
    int64_t block;
    while (work_next(&p->queue, thread, &block)) {
        int32_t i = 0;
        for (; block >= row_blocks(p->w, i); i++)
            block -= row_blocks(p->w, i);
        pack_block(p, i, block);
        if (thread == 0 && p->params->progress)
            p->params->progress(p->params->progress_arg, atomic_load(&p->done), p->w->packed_bytes);
    }
}

static void pack_all(Weights *w, ThreadPool *pool, const WeightParams *params)
{
    Packing p = {.w = w, .params = params};
    int64_t blocks = 0;
    for (int32_t i = 0; i < w->count; i++)
        blocks += row_blocks(w, i);
    work_init(&p.queue, blocks, pool_threads(pool));
    pool_run(pool, pack_worker, &p);
}

/* ---- the whole --------------------------------------------------------------------------------- */

Status weights_bind(Weights **out, const TensorRow *rows, int32_t count, const TensorDir *dir,
                    ThreadPool *pool, const WeightParams *params, Error *err)
{
    Status st = ST_OK;
    Weights *w = mem_alloc(1, sizeof *w);
    if (!w)
        return error_set(err, ST_NOMEM, "no memory for the weights' table");
    w->rows = rows;
    w->count = count;
    w->views = mem_alloc((size_t)count, sizeof *w->views);
    w->entries = mem_alloc((size_t)count, sizeof *w->entries);
    if (!w->views || !w->entries)
        TRY(error_set(err, ST_NOMEM, "no memory for %d weights", count));
    TRY(find_rows(w, dir, err));
    TRY(lay_out(w, params->real_bytes, err));
    decode_vectors(w, params->real_bytes);
    TRY(decode_ids(w, err));
    place_panels(w);
    pack_all(w, pool, params);
    *out = w;
    return ST_OK;
out:
    weights_free(w);
    return st;
}

void weights_free(Weights *w)
{
    if (!w)
        return;
    mem_free_pages(w->packed, w->packed_bytes);
    mem_free(w->vectors);
    mem_free(w->ids);
    mem_free(w->views);
    mem_free(w->entries);
    mem_free(w);
}

const WeightView *weights_views(const Weights *w)
{
    return w->views;
}

size_t weights_packed_bytes(const Weights *w)
{
    return w->packed_bytes;
}

int64_t weights_parameters(const Weights *w)
{
    int64_t n = 0;
    for (int32_t i = 0; i < w->count; i++)
        if (!(w->rows[i].uses & USE_IDS))
            n += w->views[i].N * w->views[i].K;
    return n;
}

/* How much of a row one token uses. */
static double share(const TensorRow *row)
{
    return row->token_share > 0 ? row->token_share : 1;
}

size_t weights_matrix_bytes(const Weights *w)
{
    double n = 0;
    for (int32_t i = 0; i < w->count; i++)
        if (is_matrix(&w->rows[i]))
            n += share(&w->rows[i]) * (double)matrix_bytes(&w->views[i]);
    return (size_t)(n + 0.5);
}

double weights_matrix_flops(const Weights *w)
{
    double n = 0;
    for (int32_t i = 0; i < w->count; i++)
        if (is_matrix(&w->rows[i]))
            n += share(&w->rows[i]) * 2.0 * (double)w->views[i].N * (double)w->views[i].K;
    return n;
}

size_t weights_quantised_bytes(const Weights *w)
{
    size_t n = 0;
    for (int32_t i = 0; i < w->count; i++)
        if (is_matrix(&w->rows[i]) && form_is_quantised(&w->views[i].form))
            n += matrix_bytes(&w->views[i]);
    return n;
}
