/* Opening a model: checkpoint → family → weights → graph, in the arithmetic that was asked for. */
#include "engine/engine_internal.h"
#include "engine/model_over.h"

#include "base/cpu.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const char *const mode_names[] = {"auto", "f32", "int8", "f64"};

Status mode_parse(ComputeMode *out, const char *name, Error *err)
{
    for (int i = 0; i < 4; i++)
        if (strcmp(name, mode_names[i]) == 0) {
            *out = (ComputeMode)i;
            return ST_OK;
        }
    return error_set(err, ST_USAGE, "mode '%s' is not one of auto, f32, int8, f64", name);
}

const char *mode_name(ComputeMode mode)
{
    return mode_names[mode];
}

/* ---- parts of opening -------------------------------------------------------------------------- */

/* A thread for less than so much of the file gains less than it waits at the barriers, of which there are a
 * dozen a layer: a model of 5.5 MB decodes 3900 tokens/s on one thread and, beside other work, 270 on two. */
#define THREAD_BYTES_MIN ((int64_t)16 << 20)
#define SMALL_MODEL_BYTES ((int64_t)64 << 20) /* larger ones get every thread: prompts gain by them, too */

static int64_t stored_bytes(const TensorDir *dir)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < tensordir_count(dir); i++)
        bytes += (int64_t)tensordir_at(dir, i)->bytes;
    return bytes;
}

MUST_USE static Status start_threads(Model *m, int threads, Error *err)
{
    CpuInfo info;
    cpu_info(&info);
    if (threads == 0) {
        const int64_t bytes = stored_bytes(m->dir), useful = 1 + bytes / THREAD_BYTES_MIN;
        threads = info.cores < POOL_THREADS_MAX ? info.cores : POOL_THREADS_MAX;
        threads = bytes < SMALL_MODEL_BYTES && useful < threads ? (int)useful : threads;
    }
    return pool_create(&m->pool, threads, err);
}

MUST_USE static Status choose_kernels(Model *m, ComputeMode mode, Error *err)
{
    const Status st = cpu_check_environment(err);
    if (st != ST_OK)
        return st;
    const KernelLevel level = kernels_best_level();
    m->mode = mode;
    m->kernels = mode == MODE_F64 ? kernels_f64() : kernels_at(level);
    m->level = mode == MODE_F64 ? m->kernels->name : kernels_level_name(level);
    return ST_OK;
}

MUST_USE static Status bind_weights(Model *m, const ModelParams *params, Error *err)
{
    const WeightParams wp = {m->kernels->real_bytes, params->progress, params->progress_arg};
    const Status st = weights_bind(&m->weights, m->spec.tensors, m->spec.tensor_count, m->dir, m->pool, &wp, err);
    if (st != ST_OK)
        return st;
    m->views = weights_views(m->weights);
    const bool quantised = weights_quantised_bytes(m->weights) > weights_packed_bytes(m->weights) / 2;
    if (m->mode == MODE_AUTO)
        m->mode = quantised ? MODE_INT8 : MODE_F32;
    return ST_OK;
}

MUST_USE static Status build_graph(Model *m, Error *err)
{
    m->constants = mem_alloc((size_t)m->spec.constant_count, sizeof *m->constants);
    if (!m->constants)
        return error_set(err, ST_NOMEM, "no memory for constants");
    for (int32_t i = 0; i < m->spec.constant_count; i++)
        m->constants[i] = m->spec.constants[i].data;
    return m->spec.family->build(&m->spec, &(BuildParams){0}, &m->graph, err);
}

/* The tokenizer beside the weights: in GGUF's keys, or tokenizer.json in the directory. */
MUST_USE static Status open_tokenizer(Model *m, Error *err)
{
    if (tensordir_kind(m->dir) == TENSORDIR_GGUF)
        return tokenizer_from_kv(&m->tokenizer, tensordir_kv(m->dir), err);
    char dir[4096];
    const char *slash = strrchr(m->path, '/');
    const bool is_file = tensordir_kind(m->dir) == TENSORDIR_SAFETENSORS;
    if (is_file && slash)
        snprintf(dir, sizeof dir, "%.*s", (int)(slash - m->path), m->path);
    else
        snprintf(dir, sizeof dir, "%s", is_file ? "." : m->path);
    return tokenizer_open(&m->tokenizer, dir, err);
}

MUST_USE static Status check_vocabulary(const Model *m, Error *err)
{
    const int64_t have = tokenizer_vocab_size(m->tokenizer);
    if (have <= m->spec.vocab)
        return ST_OK;
    return error_set(err, ST_CORRUPT, "the tokenizer has %lld ids, the model's embedding %lld rows",
                     (long long)have, (long long)m->spec.vocab);
}

MUST_USE static Status name_model(Model *m, Error *err)
{
    const Str name = kv_str(tensordir_kv(m->dir), "general.name");
    m->name = name.ptr ? mem_strndup(name.ptr, name.len) : mem_strdup(m->path);
    return m->name ? ST_OK : error_set(err, ST_NOMEM, "no memory for the model's name");
}

MUST_USE static Status open_parts(Model *m, const ModelParams *params, Error *err)
{
    Status st = ST_OK;
    TRY(tensordir_open(&m->dir, m->path, err));
    TRY(name_model(m, err));
    TRY(model_spec_load(&m->spec, m->dir, err));
    TRY(choose_kernels(m, params->mode, err));
    TRY(start_threads(m, params->threads, err));
    TRY(bind_weights(m, params, err));
    TRY(build_graph(m, err));
    if (!params->no_tokenizer) {
        TRY(open_tokenizer(m, err));
        TRY(check_vocabulary(m, err));
    }
out:
    return st;
}

Status model_open(Model **out, const char *path, const ModelParams *params, Error *err)
{
    Model *m = mem_alloc(1, sizeof *m);
    if (!m)
        return error_set(err, ST_NOMEM, "no memory for a model");
    graph_init(&m->graph);
    pthread_mutex_init(&m->pool_lock, NULL);
    m->path = mem_strdup(path);
    const Status st = m->path ? open_parts(m, params, err) : error_set(err, ST_NOMEM, "no memory for a path");
    if (st == ST_OK)
        *out = m;
    else
        model_close(m);
    return st;
}

void model_close(Model *m)
{
    if (!m)
        return;
    graph_deinit(&m->graph);
    mem_free(m->constants);
    weights_free(m->weights);
    pthread_mutex_destroy(&m->pool_lock);
    if (!m->over) {
        tokenizer_destroy(m->tokenizer);
        pool_destroy(m->pool);
        model_spec_free(&m->spec);
    }
    tensordir_close(m->dir);
    mem_free(m->name);
    mem_free(m->path);
    mem_free(m);
}

Status model_open_over(Model **out, const ModelOver *over, Error *err)
{
    Model *m = mem_alloc(1, sizeof *m);
    Status st = ST_OK;
    if (!m)
        return error_set(err, ST_NOMEM, "no memory for a model");
    graph_init(&m->graph);
    pthread_mutex_init(&m->pool_lock, NULL);
    m->over = true;
    m->spec = *over->spec;
    m->kernels = over->kernels;
    m->level = over->kernels->name;
    m->mode = MODE_F32;
    m->pool = over->pool;
    m->views = over->views;
    m->tokenizer = (Tokenizer *)(uintptr_t)over->tokenizer; /* only read */
    m->path = mem_strdup("");
    m->name = mem_strdup("");
    if (!m->path || !m->name)
        TRY(error_set(err, ST_NOMEM, "no memory for a model"));
    TRY(build_graph(m, err));
    *out = m;
    return ST_OK;
out:
    model_close(m);
    return st;
}

/* ---- what sessions need ------------------------------------------------------------------------ */

Dtype model_state_type(const Model *m)
{
    return m->mode == MODE_F64 ? DT_F64 : m->mode == MODE_INT8 ? DT_F16 : DT_F32;
}

size_t model_state_bytes(const Model *m, int64_t positions)
{
    return state_bytes(m->spec.parts, m->spec.part_count, model_state_type(m), positions);
}

Status model_lower(const Model *m, int64_t rows_max, int64_t logit_rows_max, int64_t context, Program **out, Error *err)
{
    const LowerParams p = {
        .kernels = m->kernels,
        .int8 = m->mode == MODE_INT8,
        .bf16 = m->mode == MODE_F32, /* over a learner whose weights are such pairs; files have none */
        .rows_max = rows_max,
        .logit_rows_max = logit_rows_max,
        .entries_max = context,
        .weights = m->views,
        .parts = m->spec.parts,
        .part_count = m->spec.part_count,
        .state_type = model_state_type(m),
        .constants = m->constants,
    };
    return program_lower(out, &m->graph, &p, err);
}

void model_run(Model *m, const Program *p, const Batch *batch, const RunMemory *memory)
{
    pthread_mutex_lock(&m->pool_lock);
    program_run(p, m->pool, batch, memory);
    pthread_mutex_unlock(&m->pool_lock);
}

#define STATE_INFO_POSITIONS 16384 /* over which the bytes of a position are averaged */

/* ---- information ------------------------------------------------------------------------------- */

void model_info(const Model *m, ModelInfo *out)
{
    *out = (ModelInfo){
        .family = m->spec.family->name,
        .name = m->name,
        .mode = m->mode,
        .level = m->level,
        .threads = pool_threads(m->pool),
        .layers = m->spec.layers,
        .hidden = m->spec.hidden,
        .stream = model_stream_width(&m->spec),
        .vocab = m->spec.vocab,
        .context_max = m->spec.context_max,
        .parameters = m->weights ? weights_parameters(m->weights) : 0,
        .weight_bytes = m->weights ? weights_packed_bytes(m->weights) : 0,
        .token_bytes = m->weights ? weights_matrix_bytes(m->weights) : 0,
        .token_flops = m->weights ? weights_matrix_flops(m->weights) : 0,
        .state_bytes_entry = model_state_bytes(m, STATE_INFO_POSITIONS) / STATE_INFO_POSITIONS,
    };
}

const Tokenizer *model_tokenizer(const Model *m)
{
    return m->tokenizer;
}

const Kv *model_kv(const Model *m)
{
    return m->dir ? tensordir_kv(m->dir) : NULL;
}

const char *model_path(const Model *m)
{
    return m->path;
}
