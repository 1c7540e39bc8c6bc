/* See bench_train.h. */
#include "eval/bench_train.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "formats/json_kv.h"
#include "kernels/peaks.h"
#include "train/learner.h"
#include "train/recipe.h"

#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 1000
#define VOCABULARY_DEFAULT 512 /* of a recipe that leaves it to its tokenizer's file */

/* The shape of SmolLM2-135M (config.json of the published model). */
static const char smollm2[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"vocab_size\":49152,\"hidden_size\":576,"
    "\"intermediate_size\":1536,\"num_hidden_layers\":30,\"num_attention_heads\":9,\"num_key_value_heads\":3,"
    "\"tie_word_embeddings\":true,\"max_position_embeddings\":8192,\"rms_norm_eps\":1e-5,\"rope_theta\":100000}";

typedef struct {
    const BenchTrainParams *p;
    JsonKv *config;
    ModelSpec spec;
    LearnerParams params;
    ThreadPool *pool;
    const Kernels *kernels;
    Learner *learner;
    int64_t batch, length, rows, steps;
    int32_t *ids, *next, *targets; /* owned; [rows] */
    float *weights;                /* owned; [rows] */
    PassSequence *sequences;       /* owned; [batch] */
    double *seconds, *passes;      /* owned; [steps] */
} Bench;

/* ---- the model ------------------------------------------------------------------------------------ */

static OptimiserParams plain_adamw(void)
{
    return (OptimiserParams){.adamw_lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .adamw_decay = 0.01};
}

MUST_USE static Status from_recipe(Bench *b, Error *err)
{
    Recipe r = {0};
    ByteBuf json = {0};
    Status st = ST_OK;
    TRY(recipe_load(&r, b->p->shape, NULL, 0, err));
    if (*r.model.from)
        TRY(error_set(err, ST_INVALID, "'%s' starts from a checkpoint: only recipes of new models can be measured", b->p->shape));
    const int64_t vocabulary = r.model.vocab_size ? r.model.vocab_size : r.tokenizer.train ? r.tokenizer.train : VOCABULARY_DEFAULT;
    TRY(recipe_write_config(&r, &(RecipeVocabulary){vocabulary, 0, 1}, &json, err));
    TRY(json_kv_parse(&b->config, json.data, json.count, err));
    b->batch = b->p->batch ? b->p->batch : r.train.batch;
    b->length = b->p->length ? b->p->length : r.train.length;
    b->params.optimiser = learner_optimiser(&r);
    b->params.balance_alpha = r.balance.sequence;
    TRY(model_spec_from(&b->spec, &(ModelSource){.kv = json_kv_view(b->config),
                                                 .mtp = r.mtp.weight > 0 && r.model.num_nextn_predict_layers > 0}, err));
out:
    bytebuf_free(&json);
    recipe_free(&r);
    return st;
}

MUST_USE static Status from_shape(Bench *b, Error *err)
{
    const Status st = json_kv_parse(&b->config, smollm2, strlen(smollm2), err);
    if (st != ST_OK)
        return st;
    b->batch = b->p->batch ? b->p->batch : 2;
    b->length = b->p->length ? b->p->length : 256;
    b->params.optimiser = plain_adamw();
    return model_spec_from(&b->spec, &(ModelSource){.kv = json_kv_view(b->config)}, err);
}

MUST_USE static Status open_all(Bench *b, Error *err)
{
    Status st = ST_OK;
    CpuInfo info;
    cpu_info(&info);
    TRY(strcmp(b->p->shape, "smollm2-135m") == 0 ? from_shape(b, err) : from_recipe(b, err));
    TRY(pool_create(&b->pool, b->p->threads > 0 ? b->p->threads : info.cores, err));
    b->kernels = kernels_at(kernels_best_level());
    b->rows = b->batch * b->length;
    b->params.rows = b->rows;
    b->params.sequences = b->batch;
    b->params.length = b->length;
    b->params.recompute = b->p->recompute;
    b->params.bf16 = b->p->bf16;
    TRY(learner_create(&b->learner, &b->spec, &b->params, b->kernels, b->pool, err));
    params_initialise(learner_params(b->learner), 1);
    learner_refresh(b->learner);
out:
    return st;
}

/* ---- the batch ------------------------------------------------------------------------------------ */

MUST_USE static Status make_batch(Bench *b, Error *err)
{
    const size_t rows = (size_t)b->rows;
    b->ids = mem_alloc(rows, sizeof *b->ids);
    b->next = mem_alloc(rows, sizeof *b->next);
    b->targets = mem_alloc(rows, sizeof *b->targets);
    b->weights = mem_alloc(rows, sizeof *b->weights);
    b->sequences = mem_alloc((size_t)b->batch, sizeof *b->sequences);
    b->seconds = mem_alloc((size_t)b->steps, sizeof *b->seconds);
    b->passes = mem_alloc((size_t)b->steps, sizeof *b->passes);
    if (!b->ids || !b->next || !b->targets || !b->weights || !b->sequences || !b->seconds || !b->passes)
        return error_set(err, ST_NOMEM, "no memory for a batch of %lld tokens", (long long)b->rows);
    for (int64_t i = 0; i < b->rows; i++)
        b->ids[i] = (int32_t)(rng_bits_at(1, 1, (uint64_t)i) % (uint64_t)b->spec.vocab);
    for (int64_t i = 0; i < b->rows; i++) {
        const bool last = i % b->length == b->length - 1;
        b->next[i] = last ? 0 : b->ids[i + 1];
        b->targets[i] = last ? -1 : b->ids[i + 1];
        b->weights[i] = 1.0f / (float)(b->batch * (b->length - 1));
    }
    for (int64_t i = 0; i < b->batch; i++)
        b->sequences[i] = (PassSequence){i * b->length, b->length};
    return ST_OK;
}

/* ---- measuring ------------------------------------------------------------------------------------ */

static double now(void)
{
    return (double)clock_ns() / 1e9;
}

/* Seconds of the whole step; *pass of the passes. */
static double one_step(Bench *b, int64_t t, double *pass, double *loss)
{
    const PassBatch batch = {.rows = b->rows, .ids = b->ids, .next_ids = b->next, .targets = {b->targets, b->targets},
                             .target_weights = {b->weights, b->weights}, .sequences = b->sequences,
                             .sequence_count = b->batch, .balance_scale = 1.0 / (double)b->rows};
    double losses[LEARNER_LOSSES];
    const double begin = now();
    learner_begin(b->learner);
    learner_add(b->learner, &batch, losses);
    *pass = now() - begin;
    const double norm = learner_norm(b->learner);
    learner_move(b->learner, t, norm > 1 ? 1 / norm : 1, 1);
    *loss = losses[0];
    return now() - begin;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *x, int64_t n)
{
    qsort(x, (size_t)n, sizeof *x, by_size);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

MUST_USE static Status measure(BenchTrainResult *r, Bench *b, Error *err)
{
    Peaks peaks;
    double pass;
    Status st = ST_OK;
    TRY(peaks_measure(&peaks, b->kernels, b->pool, err));
    one_step(b, 1, &pass, &r->loss);
    for (int64_t i = 0; i < b->steps; i++)
        b->seconds[i] = one_step(b, i + 2, &b->passes[i], &r->loss);
    r->parameters = params_total(learner_params(b->learner));
    r->active = params_active(learner_params(b->learner));
    r->rows = b->rows;
    r->threads = pool_threads(b->pool);
    r->level = b->kernels->name;
    r->step_seconds = median(b->seconds, b->steps);
    r->best_seconds = b->seconds[0];
    r->pass_seconds = median(b->passes, b->steps);
    r->optimiser_seconds = r->step_seconds - r->pass_seconds;
    r->gflops = learner_flops(b->learner, b->rows) / r->pass_seconds / 1e9;
    r->peak_gflops = (b->p->bf16 ? peaks.bf16_flops : peaks.flops) / 1e9;
out:
    return st;
}

Status bench_train_run(BenchTrainResult *r, const BenchTrainParams *p, Error *err)
{
    Bench b = {.p = p, .steps = p->steps > 0 ? p->steps : 5};
    Status st = ST_OK;
    if (b.steps > STEPS_MAX)
        b.steps = STEPS_MAX;
    TRY(open_all(&b, err));
    TRY(make_batch(&b, err));
    TRY(measure(r, &b, err));
out:
    learner_destroy(b.learner);
    pool_destroy(b.pool);
    model_spec_free(&b.spec);
    json_kv_destroy(b.config);
    mem_free(b.ids);
    mem_free(b.next);
    mem_free(b.targets);
    mem_free(b.weights);
    mem_free(b.sequences);
    mem_free(b.seconds);
    mem_free(b.passes);
    return st;
}
