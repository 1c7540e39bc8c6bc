/* config.json of DeepSeek-V4, in the released spelling and in that of the reference library.
 *
 *   what                released                          library
 *   kinds of layers     compress_ratios (0, 4, other)     layer_types, compress_rates
 *   hash layers         num_hash_layers                   mlp_layer_types
 *   rotated dimensions  qk_rope_head_dim                  partial_rotary_factor
 *   rotary scaling      rope_scaling, for the second      rope_parameters.{main,compress}
 *                       table; never a magnitude          a magnitude unless attention_factor says 1
 *
 * The newer key wins where both are there, and what neither names has the library's default. */
#include "models/deepseek_v4.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DIM_LIMIT ((int64_t)1 << 24)
#define LAYERS_MAX 4096
#define EXPERTS_MAX ((int64_t)1 << 18) /* of all layers: each is three rows of the tensor table */

/* ---- sizes ------------------------------------------------------------------------------------- */

MUST_USE static Status read_sizes(ModelSpec *spec, DeepseekV4Config *c, const Kv *kv, Error *err)
{
    Status st = ST_OK;
    TRY(config_int(kv, "hidden_size", 4096, 1, DIM_LIMIT, &spec->hidden, err));
    TRY(config_int(kv, "num_hidden_layers", 43, 1, LAYERS_MAX, &spec->layers, err));
    TRY(config_int(kv, "vocab_size", 129280, 1, DIM_LIMIT, &spec->vocab, err));
    TRY(config_int(kv, "max_position_embeddings", 1048576, 1, DIM_LIMIT, &spec->context_max, err));
    TRY(config_int(kv, "num_attention_heads", 64, 1, 65536, &c->heads, err));
    TRY(config_int(kv, "head_dim", 512, 2, 65536, &c->head_dim, err));
    TRY(config_int(kv, "q_lora_rank", 1024, 1, DIM_LIMIT, &c->q_rank, err));
    TRY(config_int(kv, "o_groups", 8, 1, 65536, &c->o_groups, err));
    TRY(config_int(kv, "o_lora_rank", 1024, 1, DIM_LIMIT, &c->o_rank, err));
    TRY(config_int(kv, "sliding_window", 128, 1, DIM_LIMIT, &c->window, err));
    TRY(config_int(kv, "n_routed_experts", 256, 1, 65536, &c->experts, err));
    TRY(config_int(kv, "num_experts_per_tok", 6, 1, 1024, &c->topk, err));
    TRY(config_int(kv, "moe_intermediate_size", 2048, 1, DIM_LIMIT, &c->intermediate, err));
    TRY(config_int(kv, "index_n_heads", 64, 1, 65536, &c->index_heads, err));
    TRY(config_int(kv, "index_head_dim", 128, 1, 65536, &c->index_dim, err));
    TRY(config_int(kv, "index_topk", 512, 1, DIM_LIMIT, &c->index_topk, err));
    TRY(config_int(kv, "hc_mult", 4, 1, V4_STREAMS_MAX, &c->streams, err));
    TRY(config_int(kv, "hc_sinkhorn_iters", 20, 1, 1000, &c->sinkhorn, err));
    TRY(config_int(kv, "num_nextn_predict_layers", 1, 0, 64, &c->mtp_layers, err));
    TRY(config_float(kv, "rms_norm_eps", 1e-6, 0, 1, &c->eps, err));
    TRY(config_float(kv, "hc_eps", 1e-6, 0, 1, &c->hc_eps, err));
    TRY(config_float(kv, "routed_scaling_factor", 1.5, -1e6, 1e6, &c->routed_scale, err));
    TRY(config_float(kv, "swiglu_limit", 10, 1e-6, 1e30, &c->swiglu_limit, err));
    TRY(config_float(kv, "initializer_range", 0.02, 0, 100, &c->init_std, err));
    c->tied = kv_bool(kv, "tie_word_embeddings", false);
out:
    return st;
}

/* What must fit together. */
MUST_USE static Status check_sizes(const ModelSpec *spec, const DeepseekV4Config *c, Error *err)
{
    if (spec->layers * c->experts > EXPERTS_MAX)
        return error_set(err, ST_UNSUPPORTED, "%lld experts in each of %lld layers, expected at most %lld in all",
                         (long long)c->experts, (long long)spec->layers, (long long)EXPERTS_MAX);
    if (c->heads % c->o_groups != 0)
        return error_set(err, ST_CORRUPT, "%lld attention heads do not divide into %lld output groups",
                         (long long)c->heads, (long long)c->o_groups);
    if (c->topk > c->experts)
        return error_set(err, ST_CORRUPT, "%lld experts a token of %lld experts", (long long)c->topk,
                         (long long)c->experts);
    if (c->rope_dim < 2 || c->rope_dim % 2 != 0 || c->rope_dim > c->head_dim)
        return error_set(err, ST_CORRUPT, "%lld rotated dimensions of a head of %lld, expected an even number",
                         (long long)c->rope_dim, (long long)c->head_dim);
    if (c->index_dim < c->rope_dim)
        return error_set(err, ST_CORRUPT, "index_head_dim %lld is below the %lld rotated dimensions",
                         (long long)c->index_dim, (long long)c->rope_dim);
    return ST_OK;
}

/* What the model family could have and this program does not. */
MUST_USE static Status check_choices(const Kv *kv, Error *err)
{
    static const struct {
        const char *key, *value, *other;
    } words[] = {{"hidden_act", "silu", "swish"}, {"scoring_func", "sqrtsoftplus", "sqrtsoftplus"}};
    static const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"num_key_value_heads", 1}, {"n_shared_experts", 1}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const Str s = kv_str(kv, words[i].key);
        if (s.ptr && !str_eq(s, words[i].value) && !str_eq(s, words[i].other))
            return error_set(err, ST_UNSUPPORTED, "%s '%.*s' is not supported for deepseek_v4 (%s is)", words[i].key,
                             (int)(s.len < 64 ? s.len : 64), s.ptr, words[i].value);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const int64_t n = kv_int(kv, numbers[i].key, numbers[i].value);
        if (n != numbers[i].value)
            return error_set(err, ST_UNSUPPORTED, "%s %lld is not supported for deepseek_v4 (%lld is)",
                             numbers[i].key, (long long)n, (long long)numbers[i].value);
    }
    if (kv_bool(kv, "mlp_bias", false))
        return error_set(err, ST_UNSUPPORTED, "mlp_bias is not supported for deepseek_v4");
    return ST_OK;
}

/* ---- rotary positions -------------------------------------------------------------------------- */

/* The library truncates the product, in double. */
MUST_USE static Status read_rope_dim(DeepseekV4Config *c, const Kv *kv, Error *err)
{
    double factor;
    Status st = ST_OK;
    TRY(config_float(kv, "partial_rotary_factor", 0, 0, 1, &factor, err));
    if (factor > 0)
        c->rope_dim = (int64_t)((double)c->head_dim * factor);
    else
        TRY(config_int(kv, "qk_rope_head_dim", c->head_dim / 8, 2, 65536, &c->rope_dim, err));
out:
    return st;
}

MUST_USE static Status read_rope(ModelSpec *spec, DeepseekV4Config *c, const Kv *kv, Error *err)
{
    double theta, compress_theta;
    Status st = ST_OK;
    TRY(config_float(kv, "rope_theta", 10000, 1e-6, 1e30, &theta, err));
    TRY(config_float(kv, "compress_rope_theta", 160000, 1e-6, 1e30, &compress_theta, err));
    if (kv_has(kv, "rope_parameters.main") && kv_has(kv, "rope_parameters.compress")) {
        TRY(rope_config_group(&c->rope_main, kv, "rope_parameters.main", theta, spec->context_max, err));
        TRY(rope_config_group(&c->rope_compress, kv, "rope_parameters.compress", compress_theta,
                              spec->context_max, err));
    } else {
        c->rope_main = (RopeConfig){.scaling = ROPE_PLAIN, .base = theta, .factor = 1};
        TRY(rope_config_hf(&c->rope_compress, kv, compress_theta, spec->context_max, err));
        c->rope_compress.base = compress_theta; /* a rope_theta in there is that of the other table */
        if (c->rope_compress.attention_factor == 0)
            c->rope_compress.attention_factor = 1;
    }
    c->rope_main_scale = rope_magnitude(&c->rope_main);
    c->rope_compress_scale = rope_magnitude(&c->rope_compress);
out:
    return st;
}

/* ---- kinds of layers --------------------------------------------------------------------------- */

/* Walks an array of config.json, whose elements are one a layer. */
typedef struct {
    const Kv *kv;
    const char *key;
    KvValue array;
    const void *cursor;
} LayerList;

static bool list_open(LayerList *list, const Kv *kv, const char *key)
{
    *list = (LayerList){.kv = kv, .key = key};
    return kv->get(kv, key, &list->array) && list->array.type != KV_NULL;
}

MUST_USE static Status list_next(LayerList *list, KvType type, int64_t layer, KvValue *out, Error *err)
{
    if (list->array.type != KV_ARRAY)
        return error_set(err, ST_CORRUPT, "configuration key '%s' is not a list", list->key);
    if (!list->kv->next(list->kv, &list->array, &list->cursor, out))
        return error_set(err, ST_CORRUPT, "configuration key '%s' has %lld elements, expected one a layer",
                         list->key, (long long)layer);
    if (out->type != type)
        return error_set(err, ST_CORRUPT, "configuration key '%s', layer %lld: expected %s", list->key,
                         (long long)layer, type == KV_INT ? "a whole number" : "a word");
    return ST_OK;
}

MUST_USE static Status unknown_word(const LayerList *list, int64_t layer, Str word, Error *err)
{
    return error_set(err, ST_UNSUPPORTED, "configuration key '%s', layer %lld: '%.*s' is not known", list->key,
                     (long long)layer, (int)(word.len < 64 ? word.len : 64), word.ptr);
}

static void set_kind(const DeepseekV4Config *c, V4Layer *layer, V4Attention kind)
{
    layer->kind = kind;
    layer->rate = kind == V4_SPARSE ? c->sparse_rate : kind == V4_HEAVY ? c->heavy_rate : 0;
}

MUST_USE static Status read_layer_types(const ModelSpec *spec, DeepseekV4Config *c, LayerList *list, Error *err)
{
    static const char *const words[] = {[V4_SLIDING] = "sliding_attention",
                                        [V4_SPARSE] = "compressed_sparse_attention",
                                        [V4_HEAVY] = "heavily_compressed_attention"};
    Status st = ST_OK;
    for (int64_t l = 0; l < spec->layers; l++) {
        KvValue v;
        int kind = V4_SLIDING;
        TRY(list_next(list, KV_STRING, l, &v, err));
        while (kind <= V4_HEAVY && !str_eq(v.s, words[kind]))
            kind++;
        if (kind > V4_HEAVY)
            TRY(unknown_word(list, l, v.s, err));
        set_kind(c, &c->layers[l], (V4Attention)kind);
    }
out:
    return st;
}

/* 4 means sparse and 128 heavy, at their configured rates; another number is a heavy layer of that rate. */
MUST_USE static Status read_ratios(const ModelSpec *spec, DeepseekV4Config *c, LayerList *list, Error *err)
{
    Status st = ST_OK;
    for (int64_t l = 0; l < spec->layers; l++) {
        KvValue v;
        TRY(list_next(list, KV_INT, l, &v, err));
        if (v.i < 0 || v.i > V4_HEAVY_RATE_MAX)
            TRY(error_set(err, ST_CORRUPT, "configuration key '%s', layer %lld: %lld, expected 0 to %lld", list->key,
                          (long long)l, (long long)v.i, (long long)V4_HEAVY_RATE_MAX));
        set_kind(c, &c->layers[l], v.i == 0 ? V4_SLIDING : v.i == 4 ? V4_SPARSE : V4_HEAVY);
        if (v.i != 0 && v.i != 4 && v.i != 128)
            c->layers[l].rate = v.i;
    }
out:
    return st;
}

/* A configuration with several rates of heavy layers can be run but not written in the library's spelling;
 * with one it can. */
static void unify_heavy_rate(const ModelSpec *spec, DeepseekV4Config *c)
{
    int64_t rate = 0;
    for (int64_t l = 0; l < spec->layers; l++) {
        if (c->layers[l].kind != V4_HEAVY)
            continue;
        c->ratios_as_given |= rate != 0 && rate != c->layers[l].rate;
        rate = c->layers[l].rate;
    }
    if (rate)
        c->heavy_rate = rate;
}

MUST_USE static Status read_attention(const ModelSpec *spec, DeepseekV4Config *c, const Kv *kv, Error *err)
{
    LayerList list;
    int64_t sparse, heavy;
    Status st = ST_OK;
    TRY(config_int(kv, "compress_rates.compressed_sparse_attention", 4, 1, V4_SPARSE_RATE_MAX, &sparse, err));
    TRY(config_int(kv, "compress_rates.heavily_compressed_attention", 128, 1, V4_HEAVY_RATE_MAX, &heavy, err));
    TRY(config_int(kv, "compress_rate_csa", sparse, 1, V4_SPARSE_RATE_MAX, &c->sparse_rate, err));
    TRY(config_int(kv, "compress_rate_hca", heavy, 1, V4_HEAVY_RATE_MAX, &c->heavy_rate, err));
    if (list_open(&list, kv, "layer_types"))
        TRY(read_layer_types(spec, c, &list, err));
    else if (list_open(&list, kv, "compress_ratios"))
        TRY(read_ratios(spec, c, &list, err));
    else
        for (int64_t l = 0; l < spec->layers; l++)
            set_kind(c, &c->layers[l], l < 2 || l % 2 == 0 ? V4_HEAVY : V4_SPARSE);
    unify_heavy_rate(spec, c);
out:
    return st;
}

MUST_USE static Status read_routers(const ModelSpec *spec, DeepseekV4Config *c, const Kv *kv, Error *err)
{
    LayerList list;
    int64_t hashed;
    Status st = ST_OK;
    TRY(config_int(kv, "num_hash_layers", 3, 0, LAYERS_MAX, &hashed, err));
    const bool listed = list_open(&list, kv, "mlp_layer_types");
    for (int64_t l = 0; l < spec->layers; l++) {
        KvValue v;
        c->layers[l].hashed = l < hashed;
        if (!listed)
            continue;
        TRY(list_next(&list, KV_STRING, l, &v, err));
        c->layers[l].hashed = str_eq(v.s, "hash_moe");
        if (!c->layers[l].hashed && !str_eq(v.s, "moe"))
            TRY(unknown_word(&list, l, v.s, err));
    }
out:
    return st;
}

Status deepseek_v4_read_config(ModelSpec *spec, const Kv *kv, Error *err)
{
    DeepseekV4Config sizes = {0};
    Status st = ST_OK;
    TRY(read_sizes(spec, &sizes, kv, err));
    TRY(read_rope_dim(&sizes, kv, err));
    TRY(check_sizes(spec, &sizes, err));
    TRY(check_choices(kv, err));
    TRY(read_rope(spec, &sizes, kv, err));
    DeepseekV4Config *c = mem_alloc(1, sizeof *c + (size_t)spec->layers * sizeof *c->layers);
    if (!c)
        return error_set(err, ST_NOMEM, "no memory for the configuration");
    *c = sizes;
    c->layers = (V4Layer *)(c + 1);
    spec->config = c;
    TRY(read_attention(spec, c, kv, err));
    TRY(read_routers(spec, c, kv, err));
out:
    return st;
}

/* ---- the whole --------------------------------------------------------------------------------- */

bool deepseek_v4_matches(TensorDirKind kind, Str architecture)
{
    return kind != TENSORDIR_GGUF &&
           (str_eq(architecture, "DeepseekV4ForCausalLM") || str_eq(architecture, "deepseek_v4"));
}

MUST_USE static Status add_constants(ModelSpec *spec, const DeepseekV4Config *c, Error *err)
{
    const RopeConfig *tables[2] = {&c->rope_main, &c->rope_compress};
    spec->constants = mem_alloc(2, sizeof *spec->constants);
    if (!spec->constants)
        return error_set(err, ST_NOMEM, "no memory for rotary frequencies");
    for (int i = 0; i < 2; i++) {
        float *f = mem_alloc((size_t)c->rope_dim / 2, sizeof *f);
        if (!f)
            return error_set(err, ST_NOMEM, "no memory for rotary frequencies");
        rope_frequencies(tables[i], c->rope_dim, f);
        spec->constants[spec->constant_count++] = (ModelConstant){f, c->rope_dim / 2};
    }
    return ST_OK;
}

Status deepseek_v4_configure(ModelSpec *spec, const ModelSource *source, Error *err)
{
    Status st = ST_OK;
    TRY(deepseek_v4_read_config(spec, source->kv, err));
    spec->stream = ((const DeepseekV4Config *)spec->config)->streams * spec->hidden;
    TRY(deepseek_v4_add_tensors(spec, source, err));
    TRY(deepseek_v4_add_parts(spec, err));
    TRY(add_constants(spec, spec->config, err));
out:
    return st;
}

/* ---- writing ----------------------------------------------------------------------------------- */

static void write_lists(const ModelSpec *spec, const DeepseekV4Config *c, JsonWriter *w)
{
    static const char *const words[] = {"sliding_attention", "compressed_sparse_attention",
                                        "heavily_compressed_attention"};
    json_write_key(w, "compress_rates");
    json_write_object_begin(w);
    config_write_int(w, words[V4_SPARSE], c->sparse_rate);
    config_write_int(w, words[V4_HEAVY], c->heavy_rate);
    json_write_object_end(w);
    json_write_key(w, "layer_types");
    json_write_array_begin(w);
    for (int64_t l = 0; l < spec->layers; l++)
        json_write_string(w, words[c->layers[l].kind]);
    json_write_array_end(w);
    json_write_key(w, "mlp_layer_types");
    json_write_array_begin(w);
    for (int64_t l = 0; l < spec->layers; l++)
        json_write_string(w, c->layers[l].hashed ? "hash_moe" : "moe");
    json_write_array_end(w);
}

/* The nested form has no default of 1 for the magnitude: it is always said. */
static void write_rope(const DeepseekV4Config *c, double factor, JsonWriter *w)
{
    const RopeConfig *tables[2] = {&c->rope_main, &c->rope_compress};
    json_write_key(w, "rope_parameters");
    json_write_object_begin(w);
    for (int i = 0; i < 2; i++) {
        RopeConfig r = *tables[i];
        if (r.scaling == ROPE_YARN)
            r.attention_factor = rope_magnitude(&r);
        json_write_key(w, i == 0 ? "main" : "compress");
        json_write_object_begin(w);
        config_write_float(w, "partial_rotary_factor", factor);
        rope_config_write(&r, w);
        json_write_object_end(w);
    }
    json_write_object_end(w);
    config_write_float(w, "rope_theta", c->rope_main.base);
    config_write_float(w, "compress_rope_theta", c->rope_compress.base);
}

/* A factor whose product with head_dim the library truncates to rope_dim. */
static double rotary_factor(const DeepseekV4Config *c)
{
    double factor = (double)c->rope_dim / (double)c->head_dim;
    while ((int64_t)((double)c->head_dim * factor) < c->rope_dim)
        factor = nextafter(factor, 2);
    return factor;
}

static void write_sizes(const ModelSpec *spec, const DeepseekV4Config *c, JsonWriter *w)
{
    config_write_bool(w, "attention_bias", false);
    config_write_float(w, "attention_dropout", 0);
    config_write_float(w, "hc_eps", c->hc_eps);
    config_write_int(w, "hc_mult", c->streams);
    config_write_int(w, "hc_sinkhorn_iters", c->sinkhorn);
    config_write_int(w, "head_dim", c->head_dim);
    config_write_string(w, "hidden_act", "silu");
    config_write_int(w, "hidden_size", spec->hidden);
    config_write_int(w, "index_head_dim", c->index_dim);
    config_write_int(w, "index_n_heads", c->index_heads);
    config_write_int(w, "index_topk", c->index_topk);
    config_write_float(w, "initializer_range", c->init_std);
    config_write_int(w, "max_position_embeddings", spec->context_max);
    config_write_int(w, "moe_intermediate_size", c->intermediate);
    config_write_int(w, "n_routed_experts", c->experts);
    config_write_int(w, "n_shared_experts", 1);
    config_write_bool(w, "norm_topk_prob", true);
    config_write_int(w, "num_attention_heads", c->heads);
    config_write_int(w, "num_experts_per_tok", c->topk);
    config_write_int(w, "num_hidden_layers", spec->layers);
    config_write_int(w, "num_key_value_heads", 1);
    config_write_int(w, "num_nextn_predict_layers", c->mtp_layers);
    config_write_int(w, "o_groups", c->o_groups);
    config_write_int(w, "o_lora_rank", c->o_rank);
    config_write_int(w, "q_lora_rank", c->q_rank);
    config_write_int(w, "qk_rope_head_dim", c->rope_dim);
    config_write_float(w, "rms_norm_eps", c->eps);
    config_write_float(w, "routed_scaling_factor", c->routed_scale);
    config_write_string(w, "scoring_func", "sqrtsoftplus");
    config_write_int(w, "sliding_window", c->window);
    config_write_float(w, "swiglu_limit", c->swiglu_limit);
    config_write_bool(w, "tie_word_embeddings", c->tied);
    config_write_int(w, "vocab_size", spec->vocab);
}

Status deepseek_v4_write_config(const ModelSpec *spec, const ModelConfigExtras *extras, JsonWriter *w, Error *err)
{
    const DeepseekV4Config *c = spec->config;
    const double factor = rotary_factor(c);
    if (c->ratios_as_given)
        return error_set(err, ST_UNSUPPORTED, "heavily compressed layers of different rates cannot be written");
    json_write_object_begin(w);
    config_write_architecture(w, "DeepseekV4ForCausalLM", "deepseek_v4");
    config_write_extras(w, extras);
    write_sizes(spec, c, w);
    write_lists(spec, c, w);
    config_write_float(w, "partial_rotary_factor", factor);
    write_rope(c, factor, w);
    json_write_object_end(w);
    return ST_OK;
}
