/* Llama: the plain decoder block (open-families.md §1–2).
 *
 *   x += o · attention(rope(q·n), rope(k·n), v·n),   n = rmsnorm(x, input_layernorm)
 *   x += down · (silu(gate·m) * (up·m)),             m = rmsnorm(x, post_attention_layernorm)
 *
 * with grouped-query attention and any rotary scaling of rope.h. From Hugging Face files (rotary pairs
 * half a head apart) and GGUF files (pairs are neighbours: the converter permuted q and k rows). */
#include "models/model.h"

#include "base/mem.h"
#include "models/rope.h"
#include "nn/nn.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    int32_t weight, bias; /* rows of the tensor table; bias −1: none */
} LinearRows;

typedef struct {
    int32_t attention_norm, ffn_norm;
    LinearRows q, k, v, o, gate, up, down;
} LayerRows;

typedef struct {
    int64_t heads, kv_heads, head_dim, intermediate;
    double eps, init_std;
    bool tied, gguf, attention_bias, ffn_bias; /* the last two as configured, for a model from nothing */
    double rope_scale;
    RopeConfig rope;
    int32_t embedding, norm, head;
    LayerRows *layers; /* behind the record, in the same block */
} LlamaConfig;

/* What the two file kinds call things. %d is the layer. */
typedef struct {
    const char *embedding, *norm, *head, *prefix;
    const char *attention_norm, *ffn_norm, *q, *k, *v, *o, *gate, *up, *down;
} Names;

static const Names hf_names = {"model.embed_tokens", "model.norm", "lm_head", "model.layers.%d.%s.%s",
                               "input_layernorm", "post_attention_layernorm", "self_attn.q_proj",
                               "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
                               "mlp.up_proj", "mlp.down_proj"};
static const Names gguf_names = {"token_embd", "output_norm", "output", "blk.%d.%s.%s", "attn_norm", "ffn_norm",
                                 "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up",
                                 "ffn_down"};

#define DIM_LIMIT ((int64_t)1 << 24)

static bool matches(TensorDirKind kind, Str architecture)
{
    return str_eq(architecture, kind == TENSORDIR_GGUF ? "llama" : "LlamaForCausalLM") ||
           (kind != TENSORDIR_GGUF && str_eq(architecture, "llama"));
}

/* ---- sizes ------------------------------------------------------------------------------------- */

MUST_USE static Status head_sizes(const ModelSpec *spec, LlamaConfig *c, Error *err)
{
    if (c->heads % c->kv_heads != 0)
        return error_set(err, ST_CORRUPT, "%lld attention heads cannot share %lld key/value heads",
                         (long long)c->heads, (long long)c->kv_heads);
    if (c->head_dim == 0 && spec->hidden % c->heads != 0)
        return error_set(err, ST_CORRUPT, "hidden size %lld is not a multiple of %lld heads, and no head size is given",
                         (long long)spec->hidden, (long long)c->heads);
    if (c->head_dim == 0)
        c->head_dim = spec->hidden / c->heads;
    if (c->head_dim % 2 != 0)
        return error_set(err, ST_CORRUPT, "head size %lld is odd: rotary positions need pairs",
                         (long long)c->head_dim);
    return ST_OK;
}

MUST_USE static Status read_hf(ModelSpec *spec, LlamaConfig *c, const Kv *kv, Error *err)
{
    Status st = ST_OK;
    TRY(config_int(kv, "hidden_size", -1, 1, DIM_LIMIT, &spec->hidden, err));
    TRY(config_int(kv, "num_hidden_layers", -1, 1, 4096, &spec->layers, err));
    TRY(config_int(kv, "vocab_size", -1, 1, DIM_LIMIT, &spec->vocab, err));
    TRY(config_int(kv, "max_position_embeddings", 2048, 1, DIM_LIMIT, &spec->context_max, err));
    TRY(config_int(kv, "num_attention_heads", -1, 1, 65536, &c->heads, err));
    TRY(config_int(kv, "num_key_value_heads", c->heads, 1, 65536, &c->kv_heads, err));
    TRY(config_int(kv, "head_dim", 0, 0, 65536, &c->head_dim, err));
    TRY(config_int(kv, "intermediate_size", -1, 1, DIM_LIMIT, &c->intermediate, err));
    TRY(config_float(kv, "rms_norm_eps", 1e-6, 0, 1, &c->eps, err));
    TRY(rope_config_hf(&c->rope, kv, 10000, spec->context_max, err));
    TRY(config_float(kv, "initializer_range", 0.02, 0, 100, &c->init_std, err));
    c->tied = kv_bool(kv, "tie_word_embeddings", false);
    c->attention_bias = kv_bool(kv, "attention_bias", false);
    c->ffn_bias = kv_bool(kv, "mlp_bias", false);
    const Str act = kv_str(kv, "hidden_act");
    if (act.ptr && !str_eq(act, "silu") && !str_eq(act, "swish"))
        return error_set(err, ST_UNSUPPORTED, "hidden_act '%.*s' is not supported for llama (silu is)",
                         (int)(act.len < 64 ? act.len : 64), act.ptr);
    if (kv_has(kv, "quantization_config.quant_method"))
        return error_set(err, ST_UNSUPPORTED, "quantization_config is not supported for llama");
out:
    return st;
}

MUST_USE static Status read_gguf(ModelSpec *spec, LlamaConfig *c, const TensorDir *dir, Error *err)
{
    const Kv *kv = tensordir_kv(dir);
    const TensorEntry *embedding = tensordir_find(dir, "token_embd.weight");
    int64_t experts, rotated, value_dim;
    Status st = ST_OK;
    if (!embedding || embedding->ndim != 2)
        return error_set(err, ST_CORRUPT, "'%s' has no matrix token_embd.weight", tensordir_path(dir));
    spec->vocab = embedding->dims[0];
    TRY(config_int(kv, "llama.embedding_length", -1, 1, DIM_LIMIT, &spec->hidden, err));
    TRY(config_int(kv, "llama.block_count", -1, 1, 4096, &spec->layers, err));
    TRY(config_int(kv, "llama.context_length", 2048, 1, DIM_LIMIT, &spec->context_max, err));
    TRY(config_int(kv, "llama.attention.head_count", -1, 1, 65536, &c->heads, err));
    TRY(config_int(kv, "llama.attention.head_count_kv", c->heads, 1, 65536, &c->kv_heads, err));
    TRY(config_int(kv, "llama.attention.key_length", 0, 0, 65536, &c->head_dim, err));
    TRY(config_int(kv, "llama.attention.value_length", c->head_dim, 0, 65536, &value_dim, err));
    TRY(config_int(kv, "llama.feed_forward_length", -1, 1, DIM_LIMIT, &c->intermediate, err));
    TRY(config_int(kv, "llama.expert_count", 0, 0, 65536, &experts, err));
    TRY(config_int(kv, "llama.rope.dimension_count", 0, 0, 65536, &rotated, err));
    TRY(config_float(kv, "llama.attention.layer_norm_rms_epsilon", 1e-5, 0, 1, &c->eps, err));
    TRY(rope_config_gguf(&c->rope, kv, "llama", spec->context_max, err));
    if (experts > 0)
        return error_set(err, ST_UNSUPPORTED, "llama files with %lld experts are not supported", (long long)experts);
    TRY(head_sizes(spec, c, err));
    if ((rotated != 0 && rotated != c->head_dim) || (value_dim != 0 && value_dim != c->head_dim))
        return error_set(err, ST_UNSUPPORTED, "llama file with head size %lld, value size %lld and %lld rotated dimensions",
                         (long long)c->head_dim, (long long)value_dim, (long long)rotated);
    c->tied = !tensordir_find(dir, "output.weight");
    c->init_std = 0.02; /* the file does not say; what the reference library assumes */
out:
    return st;
}

/* ---- tensor table ------------------------------------------------------------------------------ */

typedef struct {
    ModelSpec *spec;
    const TensorDir *dir; /* NULL: from nothing */
    const Names *names;
    double init_std;
    int32_t layer;
    Error *err;
} Table;

static void set_name(char out[TENSOR_NAME_MAX], const Names *names, int32_t layer, const char *name,
                     const char *what)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    tensor_name_set(out, names->prefix, layer, name, what);
#pragma GCC diagnostic pop
}

static TensorRow matrix_row(const Table *t, int64_t n, int64_t k)
{
    return (TensorRow){.uses = USE_MATRIX, .ndim = 2, .dims = {n, k}, .layer = t->layer, .trainable = true,
                       .init_std = t->init_std};
}

static TensorRow vector_row(const Table *t, int64_t n, TensorRole role, TensorInit init)
{
    return (TensorRow){.uses = USE_VECTOR, .ndim = 1, .dims = {n}, .layer = t->layer, .trainable = true,
                       .role = role, .init = init};
}

/* One of the products of a layer: what it is called here and where we write, and its size. */
typedef struct {
    const char *name, *saved;
    int64_t n, k;
    bool biased;         /* as configured */
    int64_t paired_head; /* see TensorRow */
} Linear;

MUST_USE static Status add_linear(const Table *t, Linear x, LinearRows *out)
{
    TensorRow weight = matrix_row(t, x.n, x.k), bias = vector_row(t, x.n, ROLE_VECTOR, INIT_ZERO);
    Status st = ST_OK;
    out->bias = -1;
    weight.paired_head = bias.paired_head = x.paired_head;
    set_name(weight.name, t->names, t->layer, x.name, "weight");
    set_name(weight.saved_name, &hf_names, t->layer, x.saved, "weight");
    set_name(bias.name, t->names, t->layer, x.name, "bias");
    set_name(bias.saved_name, &hf_names, t->layer, x.saved, "bias");
    TRY(model_spec_add(t->spec, &weight, &out->weight, t->err));
    if (t->dir ? tensordir_find(t->dir, bias.name) != NULL : x.biased)
        TRY(model_spec_add(t->spec, &bias, &out->bias, t->err));
out:
    return st;
}

MUST_USE static Status add_norm(const Table *t, const char *name, const char *saved, int32_t *out)
{
    TensorRow row = vector_row(t, t->spec->hidden, ROLE_GAIN, INIT_ONE);
    set_name(row.name, t->names, t->layer, name, "weight");
    set_name(row.saved_name, &hf_names, t->layer, saved, "weight");
    return model_spec_add(t->spec, &row, out, t->err);
}

MUST_USE static Status add_layer(const Table *t, const LlamaConfig *c, LayerRows *rows)
{
    const Names *n = t->names, *hf = &hf_names;
    const int64_t d = t->spec->hidden, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    const int64_t wide = c->intermediate, pairs = c->gguf ? c->head_dim : 0;
    const bool ab = c->attention_bias, fb = c->ffn_bias;
    Status st = ST_OK;
    TRY(add_norm(t, n->attention_norm, hf->attention_norm, &rows->attention_norm));
    TRY(add_linear(t, (Linear){n->q, hf->q, q, d, ab, pairs}, &rows->q));
    TRY(add_linear(t, (Linear){n->k, hf->k, kv, d, ab, pairs}, &rows->k));
    TRY(add_linear(t, (Linear){n->v, hf->v, kv, d, ab, 0}, &rows->v));
    TRY(add_linear(t, (Linear){n->o, hf->o, d, q, ab, 0}, &rows->o));
    TRY(add_norm(t, n->ffn_norm, hf->ffn_norm, &rows->ffn_norm));
    TRY(add_linear(t, (Linear){n->gate, hf->gate, wide, d, fb, 0}, &rows->gate));
    TRY(add_linear(t, (Linear){n->up, hf->up, wide, d, fb, 0}, &rows->up));
    TRY(add_linear(t, (Linear){n->down, hf->down, d, wide, fb, 0}, &rows->down));
out:
    return st;
}

MUST_USE static Status add_tensors(ModelSpec *spec, LlamaConfig *c, const TensorDir *dir, Error *err)
{
    const Names *n = c->gguf ? &gguf_names : &hf_names;
    Table t = {.spec = spec, .dir = dir, .names = n, .init_std = c->init_std, .layer = -1, .err = err};
    TensorRow embedding = matrix_row(&t, spec->vocab, spec->hidden), head = embedding;
    TensorRow norm = vector_row(&t, spec->hidden, ROLE_GAIN, INIT_ONE);
    Status st = ST_OK;
    embedding.uses = USE_ROWS | (c->tied ? USE_MATRIX : 0u);
    embedding.role = ROLE_EMBEDDING;
    head.role = ROLE_HEAD;
    tensor_name_set(embedding.name, "%s.weight", n->embedding);
    tensor_name_set(norm.name, "%s.weight", n->norm);
    tensor_name_set(head.name, "%s.weight", n->head);
    tensor_name_set(embedding.saved_name, "%s.weight", hf_names.embedding);
    tensor_name_set(norm.saved_name, "%s.weight", hf_names.norm);
    tensor_name_set(head.saved_name, "%s.weight", hf_names.head);
    TRY(model_spec_add(spec, &embedding, &c->embedding, err));
    for (t.layer = 0; t.layer < (int32_t)spec->layers; t.layer++)
        TRY(add_layer(&t, c, &c->layers[t.layer]));
    TRY(model_spec_add(spec, &norm, &c->norm, err));
    c->head = c->embedding;
    if (!c->tied)
        TRY(model_spec_add(spec, &head, &c->head, err));
out:
    return st;
}

/* ---- constants and state ----------------------------------------------------------------------- */

/* GGUF's rope_freqs.weight divides the frequencies (llama3 scaling, computed by the converter). */
MUST_USE static Status apply_divisors(const TensorDir *dir, float *inv_freq, int64_t half, Error *err)
{
    const TensorEntry *t = tensordir_find(dir, "rope_freqs.weight");
    if (!t)
        return ST_OK;
    if (t->dtype != DT_F32 || t->elements != half)
        return error_set(err, ST_CORRUPT, "rope_freqs.weight has %lld elements of %s, expected %lld of F32",
                         (long long)t->elements, dtype_info(t->dtype)->name, (long long)half);
    for (int64_t i = 0; i < half; i++) {
        float divisor;
        memcpy(&divisor, (const uint8_t *)t->data + i * 4, 4);
        inv_freq[i] /= divisor;
    }
    return ST_OK;
}

MUST_USE static Status add_constants(ModelSpec *spec, LlamaConfig *c, const TensorDir *dir, Error *err)
{
    const int64_t half = c->head_dim / 2;
    spec->constants = mem_alloc(1, sizeof *spec->constants);
    float *inv_freq = spec->constants ? mem_alloc((size_t)half, sizeof *inv_freq) : NULL;
    if (!inv_freq)
        return error_set(err, ST_NOMEM, "no memory for rotary frequencies");
    spec->constants[spec->constant_count++] = (ModelConstant){inv_freq, half};
    rope_frequencies(&c->rope, c->head_dim, inv_freq);
    c->rope_scale = rope_magnitude(&c->rope);
    return c->gguf ? apply_divisors(dir, inv_freq, half, err) : ST_OK;
}

MUST_USE static Status add_parts(ModelSpec *spec, const LlamaConfig *c, Error *err)
{
    spec->parts = mem_alloc((size_t)spec->layers, sizeof *spec->parts);
    if (!spec->parts)
        return error_set(err, ST_NOMEM, "no memory for the list of state parts");
    spec->part_count = (int32_t)spec->layers;
    for (int32_t i = 0; i < spec->part_count; i++)
        spec->parts[i] = (StatePart){.layer = i, .kv_heads = c->kv_heads, .head_dim = c->head_dim};
    return ST_OK;
}

MUST_USE static Status configure(ModelSpec *spec, const ModelSource *source, Error *err)
{
    LlamaConfig sizes = {.gguf = source->dir && tensordir_kind(source->dir) == TENSORDIR_GGUF};
    Status st = ST_OK;
    if (source->mtp)
        return error_set(err, ST_INVALID, "llama has no block for multi-token prediction");
    if (sizes.gguf)
        TRY(read_gguf(spec, &sizes, source->dir, err));
    else
        TRY(read_hf(spec, &sizes, source->kv, err));
    TRY(head_sizes(spec, &sizes, err));
    LlamaConfig *c = mem_alloc(1, sizeof *c + (size_t)spec->layers * sizeof *c->layers);
    if (!c)
        return error_set(err, ST_NOMEM, "no memory for the configuration");
    *c = sizes;
    c->layers = (LayerRows *)(c + 1);
    spec->config = c;
    TRY(add_tensors(spec, c, source->dir, err));
    TRY(add_constants(spec, c, source->dir, err));
    TRY(add_parts(spec, c, err));
out:
    return st;
}

/* ---- writing a configuration -------------------------------------------------------------------- */

/* There is one switch for the biases of attention and one for those of the feed-forward part. */
static bool biases_are_alike(const ModelSpec *spec, const LlamaConfig *c)
{
    const bool attention = c->layers[0].q.bias >= 0, ffn = c->layers[0].gate.bias >= 0;
    for (int64_t i = 0; i < spec->layers; i++) {
        const LayerRows *r = &c->layers[i];
        const LinearRows *const first[] = {&r->q, &r->k, &r->v, &r->o}, *const second[] = {&r->gate, &r->up, &r->down};
        for (int k = 0; k < 4; k++)
            if ((first[k]->bias >= 0) != attention || (k < 3 && (second[k]->bias >= 0) != ffn))
                return false;
    }
    return true;
}

MUST_USE static Status write_config(const ModelSpec *spec, const ModelConfigExtras *extras, JsonWriter *w,
                                    Error *err)
{
    const LlamaConfig *c = spec->config;
    RopeConfig rope = c->rope;
    if (!biases_are_alike(spec, c))
        return error_set(err, ST_UNSUPPORTED, "llama: config.json cannot say that some products have a bias and others none");
    if (!rope_config_find(&rope, c->head_dim, spec->constants[0].data))
        return error_set(err, ST_UNSUPPORTED, "llama: config.json cannot say these rotary frequencies (rope_freqs.weight)");
    json_write_object_begin(w);
    config_write_architecture(w, "LlamaForCausalLM", "llama");
    config_write_extras(w, extras);
    config_write_bool(w, "attention_bias", c->layers[0].q.bias >= 0);
    config_write_int(w, "head_dim", c->head_dim);
    config_write_string(w, "hidden_act", "silu");
    config_write_int(w, "hidden_size", spec->hidden);
    config_write_float(w, "initializer_range", c->init_std);
    config_write_int(w, "intermediate_size", c->intermediate);
    config_write_int(w, "max_position_embeddings", spec->context_max);
    config_write_bool(w, "mlp_bias", c->layers[0].gate.bias >= 0);
    config_write_int(w, "num_attention_heads", c->heads);
    config_write_int(w, "num_hidden_layers", spec->layers);
    config_write_int(w, "num_key_value_heads", c->kv_heads);
    json_write_key(w, "rms_norm_eps");
    if (c->gguf)
        json_write_float(w, (float)c->eps); /* which is what the file holds */
    else
        json_write_double(w, c->eps);
    json_write_key(w, "rope_parameters");
    json_write_object_begin(w);
    rope_config_write(&rope, w);
    json_write_object_end(w);
    config_write_float(w, "rope_theta", c->rope.base); /* for libraries that do not know rope_parameters */
    config_write_bool(w, "tie_word_embeddings", c->tied);
    config_write_int(w, "vocab_size", spec->vocab);
    json_write_object_end(w);
    return ST_OK;
}

/* ---- graph ------------------------------------------------------------------------------------- */

MUST_USE static Status weight_node(const ModelSpec *spec, Graph *g, int32_t row, NodeId *out, Error *err)
{
    const TensorRow *t = &spec->tensors[row];
    return graph_leaf(g, OP_WEIGHT, row, (Shape){.ndim = t->ndim, .dims = {t->dims[0], t->dims[1]}}, out, err);
}

MUST_USE static Status linear_nodes(const ModelSpec *spec, Graph *g, LinearRows rows, const char *site,
                                    NnLinear *out, Error *err)
{
    *out = (NnLinear){.bias = NO_NODE, .site = site};
    Status st = weight_node(spec, g, rows.weight, &out->weight, err);
    if (st == ST_OK && rows.bias >= 0)
        st = weight_node(spec, g, rows.bias, &out->bias, err);
    return st;
}

MUST_USE static Status normalised(const ModelSpec *spec, Graph *g, NodeId x, int32_t gain_row, NodeId *out,
                                  Error *err)
{
    const LlamaConfig *c = spec->config;
    NodeId gain;
    const Status st = weight_node(spec, g, gain_row, &gain, err);
    return st == ST_OK ? nn_rmsnorm(g, x, gain, c->eps, out, err) : st;
}

MUST_USE static Status build_attention(const ModelSpec *spec, Graph *g, const LayerRows *rows, NodeId table,
                                       NodeId x, NodeId *out, Error *err)
{
    const LlamaConfig *c = spec->config;
    NnAttention a = {.heads = c->heads, .kv_heads = c->kv_heads, .head_dim = c->head_dim,
                     .interleaved = c->gguf, .scale = 1 / sqrt((double)c->head_dim), .rope_table = table};
    Status st = ST_OK;
    TRY(graph_leaf(g, OP_STATE, g->layer, shape_2d(c->kv_heads, c->head_dim), &a.state, err));
    TRY(linear_nodes(spec, g, rows->q, "attn.q", &a.q, err));
    TRY(linear_nodes(spec, g, rows->k, "attn.k", &a.k, err));
    TRY(linear_nodes(spec, g, rows->v, "attn.v", &a.v, err));
    TRY(linear_nodes(spec, g, rows->o, "attn.o", &a.o, err));
    TRY(nn_attention(g, x, &a, out, err));
out:
    return st;
}

MUST_USE static Status build_ffn(const ModelSpec *spec, Graph *g, const LayerRows *rows, NodeId x, NodeId *out,
                                 Error *err)
{
    NnLinear gate, up, down;
    Status st = ST_OK;
    TRY(linear_nodes(spec, g, rows->gate, "ffn.gate", &gate, err));
    TRY(linear_nodes(spec, g, rows->up, "ffn.up", &up, err));
    TRY(linear_nodes(spec, g, rows->down, "ffn.down", &down, err));
    TRY(nn_swiglu(g, x, gate, up, down, 0, out, err));
out:
    return st;
}

MUST_USE static Status build_layer(const ModelSpec *spec, Graph *g, const LayerRows *rows, NodeId table,
                                   NodeId *x, Error *err)
{
    NodeId n, y;
    Status st = ST_OK;
    TRY(normalised(spec, g, *x, rows->attention_norm, &n, err));
    TRY(build_attention(spec, g, rows, table, n, &y, err));
    TRY(nn_add(g, *x, y, x, err));
    TRY(normalised(spec, g, *x, rows->ffn_norm, &n, err));
    TRY(build_ffn(spec, g, rows, n, &y, err));
    g->site = "hidden";
    TRY(nn_add(g, *x, y, x, err));
out:
    g->site = NULL;
    return st;
}

MUST_USE static Status build_inputs(const ModelSpec *spec, Graph *g, NodeId *x, NodeId *table, Error *err)
{
    const LlamaConfig *c = spec->config;
    NodeId ids, positions, embedding, inv_freq;
    Status st = ST_OK;
    TRY(graph_add(g, OP_IDS, NULL, 0, NULL, &ids, err));
    TRY(graph_add(g, OP_POSITIONS, NULL, 0, NULL, &positions, err));
    TRY(weight_node(spec, g, c->embedding, &embedding, err));
    TRY(graph_leaf(g, OP_CONSTANT, 0, shape_1d(c->head_dim / 2), &inv_freq, err));
    TRY(graph_add(g, OP_EMBED, (NodeId[]){embedding, ids}, 2, NULL, x, err));
    TRY(graph_add(g, OP_ROPE_TABLE, (NodeId[]){positions, inv_freq}, 2, &(OpParams){.scale = c->rope_scale},
                  table, err));
out:
    return st;
}

/* From the last residual stream to logits or the loss. */
MUST_USE static Status build_head(const ModelSpec *spec, const BuildParams *p, Graph *g, NodeId x, Error *err)
{
    const LlamaConfig *c = spec->config;
    NodeId out;
    NnLinear head;
    Status st = ST_OK;
    if (!p->loss)
        TRY(graph_add(g, OP_SELECT_ROWS, &x, 1, NULL, &x, err));
    TRY(normalised(spec, g, x, c->norm, &x, err));
    TRY(linear_nodes(spec, g, (LinearRows){c->head, -1}, "head", &head, err));
    if (p->loss)
        TRY(graph_add(g, OP_CROSS_ENTROPY, (NodeId[]){x, head.weight}, 2, NULL, &out, err));
    else
        TRY(nn_linear(g, x, &head, 1, &out, err));
    TRY(graph_output(g, out, err));
out:
    return st;
}

MUST_USE static Status build(const ModelSpec *spec, const BuildParams *p, Graph *g, Error *err)
{
    const LlamaConfig *c = spec->config;
    NodeId x, table;
    Status st = ST_OK;
    TRY(build_inputs(spec, g, &x, &table, err));
    for (g->layer = 0; g->layer < (int32_t)spec->layers; g->layer++)
        TRY(build_layer(spec, g, &c->layers[g->layer], table, &x, err));
    g->layer = -1;
    TRY(build_head(spec, p, g, x, err));
out:
    return st;
}

const ModelFamily model_llama = {"llama", matches, configure, build, write_config};
