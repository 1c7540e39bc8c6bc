/* Parameters: see params.h. */
#include "train/params.h"

#include "base/mem.h"
#include "base/rng.h"

#include <string.h>

#define ALIGN_NUMBERS 64 /* rows begin at cache lines, in numbers */

struct Params {
    const ModelSpec *spec;
    Param *items;       /* owned; by row, and so are these: */
    WeightView *views;
    void **gradients;
    bool *wanted;
    float *numbers;     /* owned pages: masters, gradients, moments of all rows */
    size_t numbers_bytes;
    uint8_t *panels;    /* owned pages */
    size_t panel_bytes;
    int32_t *ids;       /* owned */
};

static bool is_matrix(const TensorRow *row)
{
    return (row->uses & USE_MATRIX) != 0;
}

static int64_t groups_of(const TensorRow *row)
{
    return row->groups > 1 ? row->groups : 1;
}

static int64_t columns_of(const TensorRow *row)
{
    return row->ndim == 2 ? row->dims[1] : 1;
}

static int64_t group_panels(const TensorRow *row)
{
    return (row->dims[0] / groups_of(row) + PANEL_ROWS - 1) / PANEL_ROWS;
}

static size_t panels_bytes(const WeightView *v, const TensorRow *row)
{
    return (size_t)(group_panels(row) * groups_of(row)) * form_panel_bytes(&v->form, v->K);
}

/* ---- memory ------------------------------------------------------------------------------------ */

static PackForm form_of_row(const TensorRow *row, bool bf16)
{
    return bf16 && !row->float_only ? form_bf16_pairs() : form_of_dtype(DT_F32);
}

/* How many of (master, gradient, first, second) a row has. */
static int blocks_of(const TensorRow *row, bool muon)
{
    if (row->role == ROLE_BALANCE)
        return 2;
    if (!row->trainable)
        return 1;
    return muon && row->role == ROLE_MATRIX ? 3 : 4;
}

static void place_row(Params *p, int32_t i, bool muon, float **at)
{
    Param *q = &p->items[i];
    float **const blocks[] = {&q->master, &q->gradient, &q->first, &q->second};
    const int64_t stride = (q->count + ALIGN_NUMBERS - 1) / ALIGN_NUMBERS * ALIGN_NUMBERS;
    for (int b = 0; b < blocks_of(q->row, muon); b++, *at += stride)
        *blocks[b] = *at;
    p->gradients[i] = q->gradient;
    p->wanted[i] = q->gradient != NULL;
}

static size_t row_numbers(const Param *q, bool muon)
{
    const int64_t stride = (q->count + ALIGN_NUMBERS - 1) / ALIGN_NUMBERS * ALIGN_NUMBERS;
    return q->row->role == ROLE_IDS ? 0 : (size_t)stride * (size_t)blocks_of(q->row, muon);
}

/* Fill views but for the pointers, and add up what memory is needed. */
static void measure(Params *p, const ParamsKind *kind, size_t *numbers, size_t *ids)
{
    for (int32_t i = 0; i < p->spec->tensor_count; i++) {
        const TensorRow *row = &p->spec->tensors[i];
        Param *q = &p->items[i];
        WeightView *v = &p->views[i];
        *q = (Param){.row = row, .count = row->dims[0] * columns_of(row)};
        *v = (WeightView){.N = row->dims[0], .K = columns_of(row), .stored_type = DT_F32, .form = form_of_row(row, kind->bf16),
                          .groups = groups_of(row)};
        *numbers += row_numbers(q, kind->muon);
        *ids += row->role == ROLE_IDS ? (size_t)q->count : 0;
        p->panel_bytes += is_matrix(row) ? panels_bytes(v, row) : 0;
    }
}

static void place(Params *p, bool muon)
{
    float *number = p->numbers;
    uint8_t *panel = p->panels;
    int32_t *id = p->ids;
    for (int32_t i = 0; i < p->spec->tensor_count; i++) {
        Param *q = &p->items[i];
        WeightView *v = &p->views[i];
        if (q->row->role == ROLE_IDS) {
            v->ids = q->ids = id;
            id += q->count;
            continue;
        }
        place_row(p, i, muon, &number);
        v->stored = v->vector = q->master;
        if (is_matrix(q->row)) {
            v->panels = panel;
            panel += panels_bytes(v, q->row);
        }
    }
}

MUST_USE static Status allocate(Params *p, const ParamsKind *kind, Error *err)
{
    const size_t count = (size_t)p->spec->tensor_count;
    size_t numbers = 0, ids = 0;
    p->items = mem_alloc(count, sizeof *p->items);
    p->views = mem_alloc(count, sizeof *p->views);
    p->gradients = mem_alloc(count, sizeof *p->gradients);
    p->wanted = mem_alloc(count, sizeof *p->wanted);
    if (!p->items || !p->views || !p->gradients || !p->wanted)
        return error_set(err, ST_NOMEM, "no memory for the table of %zu parameters", count);
    measure(p, kind, &numbers, &ids);
    p->numbers_bytes = numbers * sizeof *p->numbers;
    p->numbers = mem_alloc_pages(p->numbers_bytes);
    p->panels = mem_alloc_pages(p->panel_bytes);
    p->ids = mem_alloc(ids, sizeof *p->ids);
    if (!p->numbers || !p->panels || !p->ids)
        return error_set(err, ST_NOMEM, "no memory for the parameters: %zu MB, with gradients and optimiser state",
                         (p->numbers_bytes + p->panel_bytes) >> 20);
    place(p, kind->muon);
    return ST_OK;
}

Status params_create(Params **out, const ModelSpec *spec, const ParamsKind *kind, Error *err)
{
    Params *p = mem_alloc(1, sizeof *p);
    if (!p)
        return error_set(err, ST_NOMEM, "no memory for the parameters");
    p->spec = spec;
    const Status st = allocate(p, kind, err);
    if (st == ST_OK)
        *out = p;
    else
        params_destroy(p);
    return st;
}

void params_destroy(Params *p)
{
    if (!p)
        return;
    mem_free_pages(p->numbers, p->numbers_bytes);
    mem_free_pages(p->panels, p->panel_bytes);
    mem_free(p->items);
    mem_free(p->views);
    mem_free(p->gradients);
    mem_free(p->wanted);
    mem_free(p->ids);
    mem_free(p);
}

/* ---- values ------------------------------------------------------------------------------------ */

/* Each row K different ids below the limit: a walk with a random start and step, so that all are used alike. */
static void choose_ids(Param *q, uint64_t seed, uint64_t stream)
{
    const int64_t K = q->row->dims[1], limit = q->row->id_limit;
    for (int64_t r = 0; r < q->row->dims[0]; r++) {
        Rng rng = {seed, stream, (uint64_t)r * 64};
        for (int64_t k = 0; k < K; k++) {
            bool taken = true;
            while (taken) {
                q->ids[r * K + k] = (int32_t)rng_below(&rng, (uint64_t)limit);
                taken = false;
                for (int64_t i = 0; i < k; i++)
                    taken |= q->ids[r * K + i] == q->ids[r * K + k];
            }
        }
    }
}

void params_initialise(Params *p, uint64_t seed)
{
    for (int32_t i = 0; i < p->spec->tensor_count; i++) {
        Param *q = &p->items[i];
        const uint64_t stream = (uint64_t)i;
        if (q->row->init == INIT_CHOICES) {
            choose_ids(q, seed, stream);
            continue;
        }
        for (int64_t j = 0; j < q->count; j++)
            q->master[j] = q->row->init == INIT_NORMAL
                               ? (float)(q->row->init_std * rng_normal_at(seed, stream, (uint64_t)j))
                               : (q->row->init == INIT_ONE ? 1.0f : 0.0f);
    }
}

/* Numbers of row i from where `stored` says they are. */
MUST_USE static Status load_row(Param *q, const TensorRow *stored, const TensorDir *dir, Error *err)
{
    const TensorEntry *e = tensordir_find(dir, stored->name);
    const int64_t K = columns_of(stored);
    if (!e)
        return error_set(err, ST_CORRUPT, "'%s' has no tensor '%s'", tensordir_path(dir), stored->name);
    const uint8_t *data = (const uint8_t *)e->data + (size_t)stored->first_row * dtype_row_bytes(e->dtype, K);
    if (q->row->role == ROLE_IDS) {
        for (int64_t j = 0; j < q->count; j++) {
            int64_t id = 0;
            memcpy(&id, data + (size_t)j * dtype_row_bytes(e->dtype, 1), dtype_row_bytes(e->dtype, 1));
            if (id < 0 || id >= stored->id_limit)
                return error_set(err, ST_CORRUPT, "'%s' has the id %lld, expected 0 to %lld", stored->name, (long long)id,
                                 (long long)stored->id_limit - 1);
            q->ids[j] = (int32_t)id;
        }
        return ST_OK;
    }
    const size_t row_bytes = dtype_row_bytes(e->dtype, K);
    for (int64_t r = 0; r < stored->dims[0]; r++)
        dtype_decode_f32(e->dtype, q->master + tensor_saved_row(stored, r) * K, data + (size_t)r * row_bytes, K);
    return ST_OK;
}

Status params_load(Params *p, const ModelSpec *stored, const TensorDir *dir, Error *err)
{
    Status st = ST_OK;
    CHECK(stored->tensor_count <= p->spec->tensor_count);
    for (int32_t i = 0; i < stored->tensor_count; i++) {
        CHECK(stored->tensors[i].dims[0] == p->spec->tensors[i].dims[0]);
        TRY(load_row(&p->items[i], &stored->tensors[i], dir, err));
    }
out:
    return st;
}

int32_t params_count(const Params *p)
{
    return p->spec->tensor_count;
}

Param *params_at(Params *p, int32_t row)
{
    return &p->items[row];
}

int64_t params_total(const Params *p)
{
    int64_t n = 0;
    for (int32_t i = 0; i < p->spec->tensor_count; i++)
        n += p->items[i].row->role == ROLE_IDS ? 0 : p->items[i].count;
    return n;
}

double params_active(const Params *p)
{
    double n = 0;
    for (int32_t i = 0; i < p->spec->tensor_count; i++) {
        const TensorRow *row = p->items[i].row;
        if (row->role != ROLE_IDS)
            n += (double)p->items[i].count * (row->token_share > 0 ? row->token_share : 1);
    }
    return n;
}

/* ---- work on the pool -------------------------------------------------------------------------- */

#define NUMBERS_A_BLOCK ((int64_t)1 << 16)
#define PANELS_A_BLOCK 32

typedef struct {
    Params *p;
    WorkQueue queue;
} Work;

static int64_t blocks_in(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

static int64_t clear_blocks(const Params *p, int32_t i)
{
    return p->items[i].gradient ? blocks_in(p->items[i].count, NUMBERS_A_BLOCK) : 0;
}

static void clear_worker(void *arg, int thread, int threads)
{
    (void)threads;
    Work *w = arg;
    int64_t block;
    while (work_next(&w->queue, thread, &block)) {
        int32_t i = 0;
        for (; block >= clear_blocks(w->p, i); i++)
            block -= clear_blocks(w->p, i);
        const Param *q = &w->p->items[i];
        const int64_t from = block * NUMBERS_A_BLOCK, left = q->count - from;
        memset(q->gradient + from, 0, (size_t)(left < NUMBERS_A_BLOCK ? left : NUMBERS_A_BLOCK) * sizeof(float));
    }
}

static int64_t pack_blocks(const Params *p, int32_t i)
{
    const TensorRow *row = p->items[i].row;
    return is_matrix(row) ? blocks_in(group_panels(row) * groups_of(row), PANELS_A_BLOCK) : 0;
}

static void pack_worker(void *arg, int thread, int threads)
{
    (void)threads;
    Work *w = arg;
    int64_t block;
    while (work_next(&w->queue, thread, &block)) {
        int32_t i = 0;
        for (; block >= pack_blocks(w->p, i); i++)
            block -= pack_blocks(w->p, i);
        const Param *q = &w->p->items[i];
        const WeightView *v = &w->p->views[i];
        const int64_t per = group_panels(q->row), all = per * groups_of(q->row), N = v->N / groups_of(q->row);
        uint8_t *panels = w->p->panels + ((const uint8_t *)v->panels - w->p->panels);
        for (int64_t n = block * PANELS_A_BLOCK; n < all && n < (block + 1) * PANELS_A_BLOCK; n++)
            form_pack_panel(&v->form, panels + (size_t)n * form_panel_bytes(&v->form, v->K), DT_F32,
                            q->master + n / per * N * v->K, n % per, N, v->K);
    }
}

static void run(Params *p, ThreadPool *pool, int64_t (*blocks_of_row)(const Params *, int32_t), PoolFn worker)
{
    Work w = {.p = p};
    int64_t blocks = 0;
    for (int32_t i = 0; i < p->spec->tensor_count; i++)
        blocks += blocks_of_row(p, i);
    work_init(&w.queue, blocks, pool_threads(pool));
    pool_run(pool, worker, &w);
}

void params_clear_gradients(Params *p, ThreadPool *pool)
{
    run(p, pool, clear_blocks, clear_worker);
}

void params_pack(Params *p, ThreadPool *pool)
{
    run(p, pool, pack_blocks, pack_worker);
}

const WeightView *params_views(const Params *p)
{
    return p->views;
}

void *const *params_gradients(const Params *p)
{
    return p->gradients;
}

const bool *params_wanted(const Params *p)
{
    return p->wanted;
}
