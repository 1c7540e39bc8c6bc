/* The tensor table of DeepSeek-V4 in its three namings (deepseek-v4.md §4.2, 4.3).
 *
 *   release   layers.0.attn.wq_a.weight             as published
 *   saved     model.layers.0.attn.wq_a.weight       as the reference library saves, and so do we
 *   module    model.layers.0.self_attn.q_a_proj.weight, the experts of a layer stacked: rows are slices
 *
 * The block for multi-token prediction, of which the library knows nothing, has its released names in all. */
#include "models/deepseek_v4.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    ModelSpec *spec;
    DeepseekV4Config *c;
    const TensorDir *dir; /* NULL: from nothing */
    int32_t layer;        /* −1: outside layers */
    bool mtp;             /* inside mtp.0 */
    Error *err;
} Table;

/* ---- names ------------------------------------------------------------------------------------- */

/* A tensor of a layer by what the release and the library's modules call it. */
static void layer_name(const Table *t, V4Naming naming, char out[TENSOR_NAME_MAX], const char *release,
                       const char *module)
{
    if (t->mtp)
        tensor_name_set(out, "mtp.0.%s", release);
    else if (naming == V4_RELEASE)
        tensor_name_set(out, "layers.%d.%s", t->layer, release);
    else if (naming == V4_MODULE)
        tensor_name_set(out, "model.layers.%d.%s", t->layer, module);
    else if (strcmp(release, "attn.kv_norm.weight") == 0)
        tensor_name_set(out, "model.layers.%d.attn.norm.weight", t->layer); /* an accident of its renaming rules */
    else
        tensor_name_set(out, "model.layers.%d.%s", t->layer, release);
}

MUST_USE static Status find_naming(const TensorDir *dir, V4Naming *out, Error *err)
{
    static const char *const firsts[] = {[V4_RELEASE] = "layers.0.attn_norm.weight",
                                         [V4_SAVED] = "model.layers.0.attn_norm.weight",
                                         [V4_MODULE] = "model.layers.0.input_layernorm.weight"};
    *out = V4_SAVED;
    if (!dir)
        return ST_OK;
    for (int i = V4_RELEASE; i <= V4_MODULE; i++)
        if (tensordir_find(dir, firsts[i])) {
            *out = (V4Naming)i;
            return ST_OK;
        }
    return error_set(err, ST_CORRUPT, "'%s' has none of the tensors %s, %s, %s", tensordir_path(dir), firsts[0],
                     firsts[1], firsts[2]);
}

/* ---- rows -------------------------------------------------------------------------------------- */

static TensorRow matrix(const Table *t, int64_t n, int64_t k)
{
    return (TensorRow){.uses = USE_MATRIX, .ndim = 2, .dims = {n, k}, .layer = t->layer, .role = ROLE_MATRIX,
                       .init = INIT_NORMAL, .init_std = t->c->init_std, .trainable = true};
}

/* Of routers and hyper-connections: few numbers, on which a small error has a large effect. */
static TensorRow float_matrix(const Table *t, int64_t n, int64_t k)
{
    TensorRow row = matrix(t, n, k);
    row.float_only = true;
    return row;
}

static TensorRow vector(const Table *t, int64_t n, TensorRole role, TensorInit init)
{
    return (TensorRow){.uses = USE_VECTOR, .ndim = 1, .dims = {n}, .layer = t->layer, .role = role, .init = init,
                       .trainable = true};
}

MUST_USE static Status add(const Table *t, TensorRow row, const char *release, const char *module, int32_t *out)
{
    layer_name(t, t->c->naming, row.name, release, module);
    layer_name(t, V4_SAVED, row.saved_name, release, module);
    return model_spec_add(t->spec, &row, out, t->err);
}

MUST_USE static Status add_global(const Table *t, TensorRow row, const char *release, const char *saved,
                                  const char *module, int32_t *out)
{
    const char *const names[] = {[V4_RELEASE] = release, [V4_SAVED] = saved, [V4_MODULE] = module};
    tensor_name_set(row.name, "%s", names[t->c->naming]);
    tensor_name_set(row.saved_name, "%s", saved);
    return model_spec_add(t->spec, &row, out, t->err);
}

/* ---- hyper-connections ------------------------------------------------------------------------- */

MUST_USE static Status add_hyper(const Table *t, const char *site, V4Hyper *out)
{
    const int64_t M = t->c->streams, n = (2 + M) * M;
    char release[3][32], module[3][32];
    static const char *const parts[] = {"fn", "scale", "base"};
    for (int i = 0; i < 3; i++) {
        snprintf(release[i], sizeof release[i], "hc_%s_%s", site, parts[i]);
        snprintf(module[i], sizeof module[i], "%s_hc.%s", site, parts[i]);
    }
    Status st = ST_OK;
    TRY(add(t, float_matrix(t, n, M * t->spec->hidden), release[0], module[0], &out->fn));
    TRY(add(t, vector(t, 3, ROLE_VECTOR, INIT_ONE), release[1], module[1], &out->scale));
    TRY(add(t, vector(t, n, ROLE_VECTOR, INIT_ZERO), release[2], module[2], &out->base));
out:
    return st;
}

MUST_USE static Status add_head_hyper(const Table *t, V4Hyper *out)
{
    const int64_t M = t->c->streams;
    const TensorRow rows[] = {float_matrix(t, M, M * t->spec->hidden), vector(t, 1, ROLE_VECTOR, INIT_ONE),
                              vector(t, M, ROLE_VECTOR, INIT_ZERO)};
    static const char *const parts[] = {"fn", "scale", "base"};
    int32_t *const outs[] = {&out->fn, &out->scale, &out->base};
    Status st = ST_OK;
    for (int i = 0; i < 3; i++) {
        char release[32], module[32];
        snprintf(release, sizeof release, "hc_head_%s", parts[i]);
        snprintf(module, sizeof module, "model.hc_head.hc_%s", parts[i]);
        if (t->mtp)
            TRY(add(t, rows[i], release, release, outs[i]));
        else
            TRY(add_global(t, rows[i], release, module, module, outs[i]));
    }
out:
    return st;
}

/* ---- attention --------------------------------------------------------------------------------- */

/* `where` is "compressor" or "indexer.compressor"; the library nests them the other way round. */
MUST_USE static Status add_compressor(const Table *t, bool indexer, const V4Layer *l, V4Compressor *out)
{
    const int64_t width = indexer ? t->c->index_dim : t->c->head_dim;
    const int64_t n = l->kind == V4_SPARSE ? 2 * width : width;
    static const char *const parts[][2] = {{"wkv.weight", "kv_proj.weight"}, {"wgate.weight", "gate_proj.weight"},
                                           {"ape", "position_bias"}, {"norm.weight", "kv_norm.weight"}};
    TensorRow rows[4] = {matrix(t, n, t->spec->hidden), matrix(t, n, t->spec->hidden),
                         vector(t, l->rate, ROLE_VECTOR, INIT_ZERO), vector(t, width, ROLE_GAIN, INIT_ONE)};
    int32_t *const outs[] = {&out->wkv, &out->wgate, &out->ape, &out->norm};
    Status st = ST_OK;
    rows[2].ndim = 2;
    rows[2].dims[1] = n;
    for (int i = 0; i < 4; i++) {
        char release[64], module[64];
        snprintf(release, sizeof release, "attn.%scompressor.%s", indexer ? "indexer." : "", parts[i][0]);
        snprintf(module, sizeof module, "self_attn.compressor.%s%s", indexer ? "indexer." : "", parts[i][1]);
        rows[i].trainable = !indexer;
        TRY(add(t, rows[i], release, module, outs[i]));
    }
out:
    return st;
}

/* Older versions of the library had the projection one level higher. */
static const char *weights_proj_module(const Table *t)
{
    static const char *const now = "self_attn.compressor.indexer.scorer.weights_proj.weight";
    static const char *const before = "self_attn.compressor.indexer.weights_proj.weight";
    char name[TENSOR_NAME_MAX];
    layer_name(t, V4_MODULE, name, before, before);
    return t->dir && tensordir_find(t->dir, name) ? before : now;
}

/* Only its choice is used, so that the loss of tokens gives it no gradient. */
MUST_USE static Status add_indexer(const Table *t, V4Layer *l)
{
    const DeepseekV4Config *c = t->c;
    TensorRow q = matrix(t, c->index_heads * c->index_dim, c->q_rank);
    TensorRow weights = matrix(t, c->index_heads, t->spec->hidden);
    Status st = ST_OK;
    q.trainable = weights.trainable = false;
    TRY(add(t, q, "attn.indexer.wq_b.weight", "self_attn.compressor.indexer.q_b_proj.weight", &l->index_q));
    TRY(add(t, weights, "attn.indexer.weights_proj.weight", weights_proj_module(t), &l->index_weights));
    TRY(add_compressor(t, true, l, &l->index_compressor));
out:
    return st;
}

MUST_USE static Status add_attention(const Table *t, V4Layer *l)
{
    const DeepseekV4Config *c = t->c;
    const int64_t d = t->spec->hidden, D = c->head_dim, all = c->heads * D;
    TensorRow wo_a = matrix(t, c->o_groups * c->o_rank, all / c->o_groups);
    Status st = ST_OK;
    wo_a.groups = c->o_groups;
    TRY(add(t, matrix(t, c->q_rank, d), "attn.wq_a.weight", "self_attn.q_a_proj.weight", &l->wq_a));
    TRY(add(t, vector(t, c->q_rank, ROLE_GAIN, INIT_ONE), "attn.q_norm.weight", "self_attn.q_a_norm.weight", &l->q_norm));
    TRY(add(t, matrix(t, all, c->q_rank), "attn.wq_b.weight", "self_attn.q_b_proj.weight", &l->wq_b));
    TRY(add(t, matrix(t, D, d), "attn.wkv.weight", "self_attn.kv_proj.weight", &l->wkv));
    TRY(add(t, vector(t, D, ROLE_GAIN, INIT_ONE), "attn.kv_norm.weight", "self_attn.kv_norm.weight", &l->kv_norm));
    TRY(add(t, vector(t, c->heads, ROLE_VECTOR, INIT_ZERO), "attn.attn_sink", "self_attn.sinks", &l->sink));
    TRY(add(t, wo_a, "attn.wo_a.weight", "self_attn.o_a_proj.weight", &l->wo_a));
    TRY(add(t, matrix(t, d, c->o_groups * c->o_rank), "attn.wo_b.weight", "self_attn.o_b_proj.weight", &l->wo_b));
    if (l->kind != V4_SLIDING)
        TRY(add_compressor(t, false, l, &l->compressor));
    if (l->kind == V4_SPARSE)
        TRY(add_indexer(t, l));
out:
    return st;
}

/* ---- experts ----------------------------------------------------------------------------------- */

MUST_USE static Status add_router(const Table *t, V4Layer *l)
{
    const DeepseekV4Config *c = t->c;
    TensorRow bias = vector(t, c->experts, ROLE_BALANCE, INIT_ZERO);
    const TensorRow ids = {.uses = USE_IDS, .ndim = 2, .dims = {t->spec->vocab, c->topk}, .layer = t->layer,
                           .id_limit = c->experts, .role = ROLE_IDS, .init = INIT_CHOICES};
    Status st = ST_OK;
    bias.trainable = false;
    TRY(add(t, float_matrix(t, c->experts, t->spec->hidden), "ffn.gate.weight", "mlp.gate.weight", &l->gate));
    if (l->hashed)
        TRY(add(t, ids, "ffn.gate.tid2eid", "mlp.gate.tid2eid", &l->gate_ids));
    else
        TRY(add(t, bias, "ffn.gate.bias", "mlp.gate.e_score_correction_bias", &l->gate_bias));
out:
    return st;
}

/* The rows of the stack that one matrix of one expert is. */
static void make_slice(const Table *t, TensorRow *row, int64_t expert, int which)
{
    const int64_t I = t->c->intermediate, d = t->spec->hidden;
    const int64_t rows = which == 2 ? d : 2 * I; /* of an expert in its stack */
    row->stored_ndim = 3;
    row->stored_dims[0] = t->c->experts;
    row->stored_dims[1] = rows;
    row->stored_dims[2] = row->dims[1];
    row->first_row = expert * rows + (which == 1 ? I : 0);
}

/* w1, w3, w2 (gate, up, down) of one expert. */
MUST_USE static Status add_expert(const Table *t, int64_t expert, int32_t *first)
{
    static const char *const weights[] = {"w1", "w3", "w2"};
    static const char *const stacks[] = {"gate_up_proj", "gate_up_proj", "down_proj"};
    const int64_t I = t->c->intermediate, d = t->spec->hidden;
    Status st = ST_OK;
    for (int i = 0; i < 3; i++) {
        TensorRow row = i == 2 ? matrix(t, d, I) : matrix(t, I, d);
        char release[48], module[48];
        int32_t index;
        snprintf(release, sizeof release, "ffn.experts.%lld.%s.weight", (long long)expert, weights[i]);
        snprintf(module, sizeof module, "mlp.experts.%s", stacks[i]);
        row.token_share = (double)t->c->topk / (double)t->c->experts;
        if (t->c->naming == V4_MODULE && !t->mtp)
            make_slice(t, &row, expert, i);
        TRY(add(t, row, release, module, &index));
        if (expert == 0 && i == 0)
            *first = index;
    }
out:
    return st;
}

MUST_USE static Status add_ffn(const Table *t, V4Layer *l)
{
    const int64_t I = t->c->intermediate, d = t->spec->hidden;
    int32_t index;
    Status st = ST_OK;
    TRY(add_router(t, l));
    for (int64_t e = 0; e < t->c->experts; e++)
        TRY(add_expert(t, e, &l->experts));
    TRY(add(t, matrix(t, I, d), "ffn.shared_experts.w1.weight", "mlp.shared_experts.gate_proj.weight", &l->shared));
    TRY(add(t, matrix(t, I, d), "ffn.shared_experts.w3.weight", "mlp.shared_experts.up_proj.weight", &index));
    TRY(add(t, matrix(t, d, I), "ffn.shared_experts.w2.weight", "mlp.shared_experts.down_proj.weight", &index));
out:
    return st;
}

/* ---- layers ------------------------------------------------------------------------------------ */

static void clear_rows(V4Layer *l)
{
    static const V4Compressor none = {-1, -1, -1, -1};
    l->compressor = l->index_compressor = none;
    l->index_q = l->index_weights = l->gate_bias = l->gate_ids = -1;
}

MUST_USE static Status add_layer(const Table *t, V4Layer *l)
{
    const TensorRow gain = vector(t, t->spec->hidden, ROLE_GAIN, INIT_ONE);
    Status st = ST_OK;
    clear_rows(l);
    TRY(add_hyper(t, "attn", &l->hc_attention));
    TRY(add(t, gain, "attn_norm.weight", "input_layernorm.weight", &l->attention_norm));
    TRY(add_attention(t, l));
    TRY(add_hyper(t, "ffn", &l->hc_ffn));
    TRY(add(t, gain, "ffn_norm.weight", "post_attention_layernorm.weight", &l->ffn_norm));
    TRY(add_ffn(t, l));
out:
    return st;
}

MUST_USE static Status add_mtp(const Table *t, V4Mtp *m)
{
    const int64_t d = t->spec->hidden;
    const TensorRow gain = vector(t, d, ROLE_GAIN, INIT_ONE), square = matrix(t, d, d);
    Status st = ST_OK;
    m->layer = (V4Layer){.kind = V4_SLIDING};
    TRY(add(t, gain, "enorm.weight", "", &m->enorm));
    TRY(add(t, square, "e_proj.weight", "", &m->e_proj));
    TRY(add(t, gain, "hnorm.weight", "", &m->hnorm));
    TRY(add(t, square, "h_proj.weight", "", &m->h_proj));
    TRY(add_layer(t, &m->layer));
    TRY(add_head_hyper(t, &m->hc_head));
    TRY(add(t, gain, "norm.weight", "", &m->norm));
out:
    return st;
}

/* ---- the whole --------------------------------------------------------------------------------- */

/* FP8 and packed FP4 come with scales that nothing applies yet: refuse them before they are read as numbers. */
MUST_USE static Status check_types(const ModelSpec *spec, const TensorDir *dir, Error *err)
{
    for (int32_t i = 0; dir && i < spec->tensor_count; i++) {
        const TensorEntry *e = tensordir_find(dir, spec->tensors[i].name);
        if (!e || spec->tensors[i].uses & USE_IDS)
            continue;
        if (e->dtype != DT_F32 && e->dtype != DT_F16 && e->dtype != DT_BF16 && e->dtype != DT_F64)
            return error_set(err, ST_UNSUPPORTED, "'%s' is stored as %s: quantised deepseek_v4 files are not supported"
                             " (F32, BF16 and F16 are)", e->name, dtype_info(e->dtype)->name);
    }
    return ST_OK;
}

MUST_USE static Status check_mtp(const DeepseekV4Config *c, const TensorDir *dir, Error *err)
{
    if (c->mtp_layers < 1)
        return error_set(err, ST_INVALID, "multi-token prediction is asked for, but num_nextn_predict_layers is 0");
    if (dir && !tensordir_find(dir, "mtp.0.e_proj.weight"))
        return error_set(err, ST_INVALID, "multi-token prediction is asked for, but '%s' has no mtp.0.e_proj.weight",
                         tensordir_path(dir));
    return ST_OK;
}

Status deepseek_v4_add_tensors(ModelSpec *spec, const ModelSource *source, Error *err)
{
    DeepseekV4Config *c = spec->config;
    Table t = {.spec = spec, .c = c, .dir = source->dir, .layer = -1, .err = err};
    TensorRow embedding = matrix(&t, spec->vocab, spec->hidden), head = embedding;
    Status st = ST_OK;
    embedding.uses = USE_ROWS | (c->tied ? USE_MATRIX : 0u);
    embedding.role = ROLE_EMBEDDING;
    head.role = ROLE_HEAD;
    TRY(find_naming(source->dir, &c->naming, err));
    TRY(add_global(&t, embedding, "embed.weight", "model.embed_tokens.weight", "model.embed_tokens.weight",
                   &c->embedding));
    for (t.layer = 0; t.layer < (int32_t)spec->layers; t.layer++)
        TRY(add_layer(&t, &c->layers[t.layer]));
    t.layer = -1;
    TRY(add_head_hyper(&t, &c->hc_head));
    TRY(add_global(&t, vector(&t, spec->hidden, ROLE_GAIN, INIT_ONE), "norm.weight", "model.norm.weight",
                   "model.norm.weight", &c->norm));
    c->head = c->embedding;
    if (!c->tied)
        TRY(add_global(&t, head, "head.weight", "head.weight", "lm_head.weight", &c->head));
    if (source->mtp) {
        TRY(check_mtp(c, source->dir, err));
        t.mtp = c->has_mtp = true;
        t.layer = (int32_t)spec->layers;
        TRY(add_mtp(&t, &c->mtp));
    }
    TRY(check_types(spec, source->dir, err));
out:
    return st;
}
