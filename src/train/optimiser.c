/* The optimiser: see optimiser.h. Work is cut into items whose bounds depend on the parameters only: blocks of
 * numbers for AdamW, whole matrices for Muon, the large ones first. */
#include "train/optimiser.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

#define NUMBERS_AN_ITEM ((int64_t)1 << 16)

typedef struct {
    int32_t row;
    bool matrix;         /* for Muon */
    int64_t from, count; /* numbers of the row */
    double squares;      /* of the gradient's, in the last optimiser_norm */
} Item;

struct Optimiser {
    Params *params; /* borrowed, as are these: */
    const Kernels *k;
    ThreadPool *pool;
    OptimiserParams o;
    Item *items; /* owned */
    int64_t count;
    size_t cap;
    uint8_t *scratch; /* owned pages; a part a thread: direction, then Muon's scratch */
    size_t scratch_bytes, part_bytes;
    /* of the step at hand */
    WorkQueue queue;
    AdamStep adam;
    double scale, share;
};

/* ---- items ------------------------------------------------------------------------------------- */

MUST_USE static Status push(Optimiser *o, Item item, Error *err)
{
    void *items = o->items;
    if (mem_grow(&items, &o->cap, (size_t)o->count + 1, sizeof item) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for the optimiser's work list");
    o->items = items;
    o->items[o->count++] = item;
    return ST_OK;
}

static bool by_muon(const Optimiser *o, const Param *p)
{
    return o->o.muon && p->row->role == ROLE_MATRIX;
}

static int64_t groups_of(const Param *p)
{
    return p->row->groups > 1 ? p->row->groups : 1;
}

MUST_USE static Status add_row(Optimiser *o, int32_t row, Error *err)
{
    const Param *p = params_at(o->params, row);
    const bool matrix = by_muon(o, p);
    const int64_t size = matrix ? p->count / groups_of(p) : NUMBERS_AN_ITEM;
    Status st = ST_OK;
    if (!p->row->trainable)
        return ST_OK;
    for (int64_t from = 0; from < p->count && st == ST_OK; from += size) {
        const int64_t left = p->count - from;
        st = push(o, (Item){.row = row, .matrix = matrix, .from = from, .count = left < size ? left : size}, err);
    }
    return st;
}

static int largest_first(const void *a, const void *b)
{
    const Item *x = a, *y = b;
    if (x->matrix != y->matrix)
        return x->matrix ? -1 : 1;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->from < y->from ? -1 : x->from > y->from;
}

static size_t direction_bytes(const Item *i)
{
    return ((size_t)i->count * sizeof(float) + 63) / 64 * 64;
}

MUST_USE static Status prepare(Optimiser *o, Error *err)
{
    Status st = ST_OK;
    for (int32_t row = 0; row < params_count(o->params); row++)
        TRY(add_row(o, row, err));
    qsort(o->items, (size_t)o->count, sizeof *o->items, largest_first);
    for (int64_t i = 0; i < o->count && o->items[i].matrix; i++) {
        const TensorRow *row = params_at(o->params, o->items[i].row)->row;
        const size_t bytes = direction_bytes(&o->items[i]) + muon_scratch_bytes(o->items[i].count / row->dims[1], row->dims[1]);
        o->part_bytes = bytes > o->part_bytes ? bytes : o->part_bytes;
    }
    o->part_bytes = (o->part_bytes + 63) / 64 * 64;
    o->scratch_bytes = o->part_bytes * (size_t)pool_threads(o->pool);
    o->scratch = mem_alloc_pages(o->scratch_bytes ? o->scratch_bytes : 64);
    if (!o->scratch)
        TRY(error_set(err, ST_NOMEM, "no memory for the optimiser (%zu MB)", o->scratch_bytes >> 20));
out:
    return st;
}

Status optimiser_create(Optimiser **out, Params *p, const OptimiserParams *params, const Kernels *k, ThreadPool *pool,
                        Error *err)
{
    Optimiser *o = mem_alloc(1, sizeof *o);
    if (!o)
        return error_set(err, ST_NOMEM, "no memory for the optimiser");
    o->params = p;
    o->k = k;
    o->pool = pool;
    o->o = *params;
    const Status st = prepare(o, err);
    if (st == ST_OK)
        *out = o;
    else
        optimiser_destroy(o);
    return st;
}

void optimiser_destroy(Optimiser *o)
{
    if (!o)
        return;
    mem_free_pages(o->scratch, o->scratch_bytes ? o->scratch_bytes : 64);
    mem_free(o->items);
    mem_free(o);
}

/* ---- norm -------------------------------------------------------------------------------------- */

static void norm_worker(void *arg, int thread, int threads)
{
    (void)threads;
    Optimiser *o = arg;
    int64_t i;
    while (work_next(&o->queue, thread, &i)) {
        Item *item = &o->items[i];
        item->squares = o->k->grad->sum_squares(params_at(o->params, item->row)->gradient + item->from, item->count);
    }
}

double optimiser_norm(Optimiser *o)
{
    double sum = 0;
    work_init(&o->queue, o->count, pool_threads(o->pool));
    pool_run(o->pool, norm_worker, o);
    for (int64_t i = 0; i < o->count; i++)
        sum += o->items[i].squares;
    return sqrt(sum);
}

/* ---- step -------------------------------------------------------------------------------------- */

static void move_matrix(Optimiser *o, const Item *item, void *scratch)
{
    Param *p = params_at(o->params, item->row);
    const int64_t m = p->row->dims[1], n = item->count / m;
    const float keep = (float)(1 - o->o.muon_lr * o->share * o->o.muon_decay), step = (float)(o->o.muon_lr * o->share);
    float *direction = scratch, *w = p->master + item->from;
    muon_direction(direction, p->first + item->from, p->gradient + item->from, n, m, o->scale, &o->o.muon_params, o->k,
                   (char *)scratch + direction_bytes(item));
    for (int64_t i = 0; i < item->count; i++)
        w[i] = w[i] * keep - step * direction[i];
}

static void step_worker(void *arg, int thread, int threads)
{
    (void)threads;
    Optimiser *o = arg;
    int64_t i;
    while (work_next(&o->queue, thread, &i)) {
        const Item *item = &o->items[i];
        Param *p = params_at(o->params, item->row);
        if (item->matrix)
            move_matrix(o, item, o->scratch + (size_t)thread * o->part_bytes);
        else
            o->k->grad->adamw(p->master + item->from, p->first + item->from, p->second + item->from,
                              p->gradient + item->from, item->count, &o->adam);
    }
}

/* Experts with fewer tokens than the mean are chosen more easily from now on. */
static void move_balance(Param *p, double speed)
{
    double mean = 0;
    for (int64_t i = 0; i < p->count; i++)
        mean += (double)p->gradient[i];
    mean /= (double)p->count;
    for (int64_t i = 0; i < p->count; i++) {
        const double behind = mean - (double)p->gradient[i];
        p->master[i] += (float)(behind > 0 ? speed : behind < 0 ? -speed : 0);
    }
}

void optimiser_step(Optimiser *o, int64_t t, double scale, double share)
{
    o->scale = scale;
    o->share = share;
    o->adam = (AdamStep){.lr = o->o.adamw_lr * share, .beta1 = o->o.beta1, .beta2 = o->o.beta2, .eps = o->o.eps,
                         .decay = o->o.adamw_decay, .scale = scale, .correct1 = 1 / (1 - pow(o->o.beta1, (double)t)),
                         .correct2 = 1 / (1 - pow(o->o.beta2, (double)t))};
    work_init(&o->queue, o->count, pool_threads(o->pool));
    pool_run(o->pool, step_worker, o);
    for (int32_t i = 0; i < params_count(o->params); i++)
        if (params_at(o->params, i)->row->role == ROLE_BALANCE)
            move_balance(params_at(o->params, i), o->o.balance_speed);
}
