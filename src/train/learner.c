/* Learners: see learner.h. */
#include "train/learner.h"

#include "base/mem.h"
#include "graph/differentiate.h"

struct Learner {
    const ModelSpec *spec; /* borrowed, as are these: */
    const Kernels *k;
    ThreadPool *pool;
    LearnerParams p;
    Params *params;
    Optimiser *optimiser;
    const float **constants; /* owned array */
    Pass *pass, *evaluation;
};

OptimiserParams learner_optimiser(const Recipe *r)
{
    return (OptimiserParams){
        .muon = r->optimiser.matrices == RECIPE_MUON,
        .adamw_lr = r->optimiser.adamw_lr,
        .beta1 = r->optimiser.adamw_betas.items[0],
        .beta2 = r->optimiser.adamw_betas.items[1],
        .eps = r->optimiser.adamw_eps,
        .adamw_decay = r->optimiser.adamw_decay,
        .muon_lr = r->optimiser.muon_lr,
        .muon_decay = r->optimiser.muon_decay,
        .muon_params = {r->optimiser.muon_momentum, r->optimiser.muon_rms, r->optimiser.muon_iterations},
        .balance_speed = r->balance.speed,
    };
}

MUST_USE static Status make_pass(const Learner *l, bool gradients, Pass **out, Error *err)
{
    const LowerParams lower = {.kernels = l->k, .bf16 = l->p.bf16, .weights = params_views(l->params), .parts = l->spec->parts,
                               .part_count = l->spec->part_count, .state_type = DT_F32, .constants = l->constants};
    const BuildParams build = {.loss = true, .balance_alpha = l->p.balance_alpha, .length = l->p.length};
    Graph g;
    Status st = ST_OK;
    graph_init(&g);
    TRY(l->spec->family->build(l->spec, &build, &g, err));
    if (gradients)
        TRY(graph_differentiate(&g, &(DifferentiateParams){params_wanted(l->params), l->p.recompute}, err));
    TRY(pass_create(out, &g, &lower, l->p.rows, l->p.sequences, l->pool, err));
out:
    graph_deinit(&g);
    return st;
}

MUST_USE static Status create_parts(Learner *l, Error *err)
{
    Status st = ST_OK;
    l->constants = mem_alloc((size_t)l->spec->constant_count, sizeof *l->constants);
    if (!l->constants)
        return error_set(err, ST_NOMEM, "no memory for constants");
    for (int32_t i = 0; i < l->spec->constant_count; i++)
        l->constants[i] = l->spec->constants[i].data;
    TRY(params_create(&l->params, l->spec, &(ParamsKind){.muon = l->p.optimiser.muon, .bf16 = l->p.bf16}, err));
    TRY(optimiser_create(&l->optimiser, l->params, &l->p.optimiser, l->k, l->pool, err));
    TRY(make_pass(l, true, &l->pass, err));
    TRY(make_pass(l, false, &l->evaluation, err));
out:
    return st;
}

Status learner_create(Learner **out, const ModelSpec *spec, const LearnerParams *p, const Kernels *k, ThreadPool *pool,
                      Error *err)
{
    Learner *l = mem_alloc(1, sizeof *l);
    if (!l)
        return error_set(err, ST_NOMEM, "no memory for a learner");
    l->spec = spec;
    l->k = k;
    l->pool = pool;
    l->p = *p;
    const Status st = create_parts(l, err);
    if (st == ST_OK)
        *out = l;
    else
        learner_destroy(l);
    return st;
}

void learner_destroy(Learner *l)
{
    if (!l)
        return;
    pass_destroy(l->pass);
    pass_destroy(l->evaluation);
    optimiser_destroy(l->optimiser);
    params_destroy(l->params);
    mem_free(l->constants);
    mem_free(l);
}

Params *learner_params(Learner *l)
{
    return l->params;
}

void learner_refresh(Learner *l)
{
    params_pack(l->params, l->pool);
}

void learner_begin(Learner *l)
{
    params_clear_gradients(l->params, l->pool);
}

void learner_add(Learner *l, const PassBatch *b, double losses[LEARNER_LOSSES])
{
    losses[1] = 0;
    pass_run(l->pass, b, params_gradients(l->params), losses);
}

double learner_norm(Learner *l)
{
    return optimiser_norm(l->optimiser);
}

void learner_move(Learner *l, int64_t t, double scale, double share)
{
    optimiser_step(l->optimiser, t, scale, share);
    params_pack(l->params, l->pool);
}

void learner_evaluate(Learner *l, const PassBatch *b, double losses[LEARNER_LOSSES])
{
    losses[1] = 0;
    pass_run(l->evaluation, b, NULL, losses);
}

double learner_flops(const Learner *l, int64_t rows)
{
    return pass_flops(l->pass, rows);
}

size_t learner_bytes(const Learner *l)
{
    return pass_bytes(l->pass) + pass_bytes(l->evaluation);
}
