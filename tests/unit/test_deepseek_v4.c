/* DeepSeek-V4 before its graph: both spellings of the configuration, the tensor table in all three namings
 * against files that the reference library wrote, the published sizes, binding, and writing a configuration.
 *
 * With arguments it prints the configuration that we would write for a directory, for oracle/check_model_config.py:
 *     test_deepseek_v4 config DIRECTORY */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "formats/json_kv.h"
#include "models/deepseek_v4.h"
#include "weights/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) assert_int_equal(call, ST_OK)
#define VECTORS "tests/vectors/deepseek_v4/"

/* ---- configurations as published (deepseek-v4.md §1.2) ---- */

static const char *const common =
    "\"architectures\":[\"DeepseekV4ForCausalLM\"],\"model_type\":\"deepseek_v4\",\"vocab_size\":129280,"
    "\"num_key_value_heads\":1,\"head_dim\":512,\"qk_rope_head_dim\":64,\"o_lora_rank\":1024,\"sliding_window\":128,"
    "\"n_shared_experts\":1,\"num_experts_per_tok\":6,\"num_hash_layers\":3,\"scoring_func\":\"sqrtsoftplus\","
    "\"topk_method\":\"noaux_tc\",\"norm_topk_prob\":true,\"swiglu_limit\":10.0,\"index_n_heads\":64,"
    "\"index_head_dim\":128,\"hc_mult\":4,\"hc_sinkhorn_iters\":20,\"hc_eps\":1e-06,\"rms_norm_eps\":1e-06,"
    "\"rope_theta\":10000,\"compress_rope_theta\":160000,\"max_position_embeddings\":1048576,"
    "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":16,\"original_max_position_embeddings\":65536,\"beta_fast\":32,"
    "\"beta_slow\":1},\"num_nextn_predict_layers\":1,\"hidden_act\":\"silu\",\"tie_word_embeddings\":false";
static const char *const flash =
    "\"hidden_size\":4096,\"num_hidden_layers\":43,\"num_attention_heads\":64,\"q_lora_rank\":1024,\"o_groups\":8,"
    "\"n_routed_experts\":256,\"moe_intermediate_size\":2048,\"routed_scaling_factor\":1.5,\"index_topk\":512";
static const char *const pro =
    "\"hidden_size\":7168,\"num_hidden_layers\":61,\"num_attention_heads\":128,\"q_lora_rank\":1536,\"o_groups\":16,"
    "\"n_routed_experts\":384,\"moe_intermediate_size\":3072,\"routed_scaling_factor\":2.5,\"index_topk\":1024";

/* first, first, then `pairs` times 4, 128, then 4 and the 0 of the extra block */
static void published_text(char *out, size_t size, const char *sizes, int first, int pairs)
{
    size_t n = (size_t)snprintf(out, size, "{%s,%s,\"compress_ratios\":[%d,%d", common, sizes, first, first);
    for (int i = 0; i < pairs; i++)
        n += (size_t)snprintf(out + n, size - n, ",4,128");
    snprintf(out + n, size - n, ",4,0]}");
}

static Status configure_text(ModelSpec *spec, const char *text, bool mtp, Error *err)
{
    JsonKv *kv;
    OK(json_kv_parse(&kv, text, strlen(text), NULL));
    *spec = (ModelSpec){0};
    const Status st = deepseek_v4_configure(spec, &(ModelSource){.kv = json_kv_view(kv), .mtp = mtp}, err);
    json_kv_destroy(kv);
    if (st != ST_OK)
        model_spec_free(spec);
    return st;
}

static int32_t row_called(const ModelSpec *spec, const char *name)
{
    for (int32_t i = 0; i < spec->tensor_count; i++)
        if (strcmp(spec->tensors[i].name, name) == 0)
            return i;
    return -1;
}

static void parameters(const ModelSpec *spec, int64_t *all, double *touched)
{
    *all = 0;
    *touched = 0;
    for (int32_t i = 0; i < spec->tensor_count; i++) {
        const TensorRow *r = &spec->tensors[i];
        const int64_t n = r->dims[0] * (r->ndim == 2 ? r->dims[1] : 1);
        if (r->uses & USE_IDS)
            continue;
        *all += n;
        if (r->role != ROLE_EMBEDDING)
            *touched += (double)n * (r->token_share > 0 ? r->token_share : 1);
    }
}

static void published_sizes_give_the_published_parameter_counts(void **state)
{
    (void)state;
    static const struct {
        const char *name, *const *sizes;
        int first, pairs;
        int64_t all, touched;
    } cases[] = {{"Flash", &flash, 0, 20, 284332240471, 13270101591}, {"Pro", &pro, 128, 29, 1572997201763, 48852402019}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[4096];
        ModelSpec spec;
        int64_t all;
        double touched;
        published_text(text, sizeof text, *cases[i].sizes, cases[i].first, cases[i].pairs);
        OK(configure_text(&spec, text, false, NULL));
        parameters(&spec, &all, &touched);
        if (all != cases[i].all || llround(touched) != cases[i].touched)
            fail_msg("%s: %lld parameters, %lld touched", cases[i].name, (long long)all, llround(touched));
        model_spec_free(&spec);
    }
}

static void released_configuration_is_read(void **state)
{
    (void)state;
    char text[4096];
    ModelSpec spec;
    published_text(text, sizeof text, flash, 0, 20);
    OK(configure_text(&spec, text, false, NULL));
    const DeepseekV4Config *c = spec.config;
    assert_int_equal(spec.layers, 43);
    assert_int_equal(c->rope_dim, 64);
    int sparse = 0, heavy = 0;
    for (int l = 0; l < 43; l++) {
        const V4Layer *layer = &c->layers[l];
        sparse += layer->kind == V4_SPARSE && layer->rate == 4;
        heavy += layer->kind == V4_HEAVY && layer->rate == 128;
        assert_int_equal(layer->hashed, l < 3);
        assert_int_equal(layer->gate_ids >= 0, l < 3);
        assert_int_equal(layer->gate_bias >= 0, l >= 3);
    }
    assert_int_equal(sparse, 21);
    assert_int_equal(heavy, 20);
    assert_int_equal(c->layers[1].kind, V4_SLIDING);
    assert_int_equal(c->layers[2].kind, V4_SPARSE);
    assert_int_equal(c->layers[3].kind, V4_HEAVY);
    assert_true(c->rope_main_scale == 1 && c->rope_compress_scale == 1);
    model_spec_free(&spec);
}

static void frequencies_are_those_of_the_specification(void **state)
{
    (void)state;
    static const struct {
        int table, index;
        double f;
    } cases[] = {{1, 0, 1}, {1, 1, 6.876560219e-01}, {1, 15, 3.635538584e-03}, {1, 16, 2.265625000e-03},
                 {1, 20, 2.969777783e-04}, {1, 24, 1.953125000e-05}, {1, 25, 5.372312671e-06}, {1, 31, 5.680529037e-07},
                 {0, 0, 1}, {0, 1, 7.498942093e-01}, {0, 15, 1.333521432e-02}, {0, 31, 1.333521432e-04}};
    char text[4096];
    ModelSpec spec;
    published_text(text, sizeof text, flash, 0, 20);
    OK(configure_text(&spec, text, false, NULL));
    assert_int_equal(spec.constant_count, 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double f = (double)spec.constants[cases[i].table].data[cases[i].index];
        if (fabs(f - cases[i].f) > 3e-7 * cases[i].f)
            fail_msg("table %d [%d] is %.9g, expected %.9g", cases[i].table, cases[i].index, f, cases[i].f);
    }
    model_spec_free(&spec);
}

/* ---- tables against files of the library ---- */

static const char *const directories[] = {VECTORS "saved-f32", VECTORS "release-bf16", VECTORS "module-f32",
                                          VECTORS "saved-mtp"};

static void load(const char *path, bool mtp, TensorDir **dir, ModelSpec *spec)
{
    Error err = {0};
    OK(tensordir_open(dir, path, &err));
    *spec = (ModelSpec){0};
    const ModelSource source = {.kv = tensordir_kv(*dir), .dir = *dir, .mtp = mtp};
    if (deepseek_v4_configure(spec, &source, &err) != ST_OK)
        fail_msg("%s: %s", path, err.msg);
}

static void every_tensor_of_every_naming_has_its_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
        const bool mtp = strstr(directories[i], "mtp") != NULL;
        TensorDir *dir;
        ModelSpec spec;
        load(directories[i], mtp, &dir, &spec);
        for (int64_t t = 0; t < tensordir_count(dir); t++) {
            const TensorEntry *e = tensordir_at(dir, t);
            int64_t covered = 0;
            for (int32_t r = 0; r < spec.tensor_count; r++)
                if (strcmp(spec.tensors[r].name, e->name) == 0)
                    covered += spec.tensors[r].dims[0] * (spec.tensors[r].ndim == 2 ? spec.tensors[r].dims[1] : 1);
            if (covered != e->elements)
                fail_msg("%s: '%s' has %lld elements, rows cover %lld", directories[i], e->name,
                         (long long)e->elements, (long long)covered);
        }
        model_spec_free(&spec);
        tensordir_close(dir);
    }
}

static void the_extra_block_is_ignored_unless_asked_for(void **state)
{
    (void)state;
    TensorDir *dir;
    ModelSpec spec;
    load(VECTORS "saved-mtp", false, &dir, &spec);
    for (int32_t r = 0; r < spec.tensor_count; r++)
        assert_null(strstr(spec.tensors[r].name, "mtp"));
    assert_false(((const DeepseekV4Config *)spec.config)->has_mtp);
    model_spec_free(&spec);
    tensordir_close(dir);
    load(VECTORS "saved-mtp", true, &dir, &spec);
    const DeepseekV4Config *c = spec.config;
    assert_true(c->has_mtp);
    assert_string_equal(spec.tensors[c->mtp.layer.experts].name, "mtp.0.ffn.experts.0.w1.weight");
    assert_string_equal(spec.tensors[c->mtp.hc_head.fn].name, "mtp.0.hc_head_fn");
    model_spec_free(&spec);
    tensordir_close(dir);
}

static void saved_names_are_those_of_the_library_from_any_naming(void **state)
{
    (void)state;
    TensorDir *dir, *other;
    ModelSpec spec;
    load(VECTORS "module-f32", false, &dir, &spec);
    assert_string_equal(spec.tensors[((const DeepseekV4Config *)spec.config)->layers[0].experts].saved_name,
                        "model.layers.0.ffn.experts.0.w1.weight");
    model_spec_free(&spec);
    tensordir_close(dir);
    /* the same layers under two namings: what a saved file has is what any row says */
    load(VECTORS "saved-f32", false, &other, &spec);
    for (int32_t r = 0; r < spec.tensor_count; r++)
        assert_string_equal(spec.tensors[r].saved_name, spec.tensors[r].name);
    model_spec_free(&spec);
    tensordir_close(other);
}

/* ---- binding ---- */

static Weights *bind(const ModelSpec *spec, const TensorDir *dir, size_t real_bytes, Error *err)
{
    ThreadPool *pool;
    Weights *w = NULL;
    const WeightParams params = {.real_bytes = real_bytes};
    OK(pool_create(&pool, 2, NULL));
    (void)!weights_bind(&w, spec->tensors, spec->tensor_count, dir, pool, &params, err);
    pool_destroy(pool);
    return w;
}

/* Element (n, k) of a packed matrix, whose groups follow one another. */
static float packed_at(const WeightView *v, int64_t n, int64_t k)
{
    float column[PANEL_ROWS];
    const int64_t rows = v->N / v->groups, in_group = n % rows;
    const uint8_t *group = (const uint8_t *)v->panels + (size_t)(n / rows) * form_bytes(&v->form, rows, v->K);
    form_decode_panel(&v->form, column, group + (size_t)(in_group / PANEL_ROWS) * form_panel_bytes(&v->form, v->K),
                      k, k + 1);
    return column[in_group % PANEL_ROWS];
}

static float stored_at(const TensorEntry *e, int64_t i)
{
    float x;
    dtype_decode_f32(e->dtype, &x, (const uint8_t *)e->data + (size_t)i * dtype_row_bytes(e->dtype, 1), 1);
    return x;
}

static void check_row(const TensorRow *row, const WeightView *v, const TensorEntry *e)
{
    const int64_t first = row->stored_ndim ? row->first_row * v->K : 0;
    for (int64_t n = 0; n < v->N; n++)
        for (int64_t k = 0; k < v->K; k++) {
            const float want = stored_at(e, first + n * v->K + k);
            float got = want;
            if (row->uses & USE_MATRIX)
                got = packed_at(v, n, k);
            else if (row->uses & USE_VECTOR)
                got = ((const float *)v->vector)[n * v->K + k];
            else if (row->uses & USE_IDS)
                got = (float)v->ids[n * v->K + k];
            if (!(got == want))
                fail_msg("'%s' [%lld, %lld] is %g, expected %g", row->saved_name, (long long)n, (long long)k,
                         (double)got, (double)want);
        }
}

static void bound_weights_are_those_of_the_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
        TensorDir *dir;
        ModelSpec spec;
        Error err = {0};
        load(directories[i], strstr(directories[i], "mtp") != NULL, &dir, &spec);
        Weights *w = bind(&spec, dir, 4, &err);
        if (!w)
            fail_msg("%s: %s", directories[i], err.msg);
        for (int32_t r = 0; r < spec.tensor_count; r++)
            check_row(&spec.tensors[r], &weights_views(w)[r], tensordir_find(dir, spec.tensors[r].name));
        weights_free(w);
        model_spec_free(&spec);
        tensordir_close(dir);
    }
}

static void one_token_uses_its_share_of_the_experts(void **state)
{
    (void)state;
    TensorDir *dir;
    ModelSpec spec;
    load(VECTORS "saved-f32", false, &dir, &spec);
    Weights *w = bind(&spec, dir, 8, NULL);
    assert_non_null(w);
    double flops = 0;
    for (int32_t r = 0; r < spec.tensor_count; r++)
        if (spec.tensors[r].uses & USE_MATRIX)
            flops += 2.0 * (double)(spec.tensors[r].dims[0] * spec.tensors[r].dims[1]) *
                     (strstr(spec.tensors[r].name, ".experts.") ? 2.0 / 3 : 1);
    assert_true(fabs(weights_matrix_flops(w) - flops) < 1e-6 * flops);
    weights_free(w);
    model_spec_free(&spec);
    tensordir_close(dir);
}

static void ids_beyond_the_experts_are_an_error(void **state)
{
    (void)state;
    TensorDir *dir;
    ModelSpec spec;
    Error err = {0};
    load(VECTORS "saved-f32", false, &dir, &spec);
    spec.tensors[row_called(&spec, "model.layers.0.ffn.gate.tid2eid")].id_limit = 2;
    assert_null(bind(&spec, dir, 4, &err));
    assert_non_null(strstr(err.msg, "tid2eid' has the id 2 at ["));
    model_spec_free(&spec);
    tensordir_close(dir);
}

static void missing_and_misshapen_tensors_are_named(void **state)
{
    (void)state;
    TensorDir *dir;
    ModelSpec spec;
    Error err = {0};
    load(VECTORS "module-f32", false, &dir, &spec);
    const int32_t row = ((const DeepseekV4Config *)spec.config)->layers[1].experts;
    spec.tensors[row].stored_dims[0] = 4;
    tensor_name_set(spec.tensors[row + 2].name, "nowhere");
    assert_null(bind(&spec, dir, 4, &err));
    assert_non_null(strstr(err.msg, "2 of "));
    assert_non_null(strstr(err.msg, "'model.layers.1.mlp.experts.gate_up_proj' is [3, 10, 12], expected [4, 10, 12]"));
    assert_non_null(strstr(err.msg, "'nowhere' is missing"));
    model_spec_free(&spec);
    tensordir_close(dir);
}

/* ---- what is wrong with a configuration ---- */

static void faults_of_a_configuration_are_explained(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        Status status;
        const char *words;
    } cases[] = {
        {"{\"num_hidden_layers\":2,\"o_groups\":7}", ST_CORRUPT, "64 attention heads do not divide into 7"},
        {"{\"num_hidden_layers\":2,\"n_routed_experts\":4}", ST_CORRUPT, "6 experts a token of 4 experts"},
        {"{\"num_hidden_layers\":4096,\"n_routed_experts\":65536}", ST_UNSUPPORTED, "65536 experts in each of 4096 layers"},
        {"{\"num_hidden_layers\":2,\"qk_rope_head_dim\":7}", ST_CORRUPT, "7 rotated dimensions"},
        {"{\"num_hidden_layers\":2,\"index_head_dim\":32}", ST_CORRUPT, "index_head_dim 32 is below the 64"},
        {"{\"num_hidden_layers\":2,\"num_key_value_heads\":2}", ST_UNSUPPORTED, "num_key_value_heads 2"},
        {"{\"num_hidden_layers\":2,\"n_shared_experts\":2}", ST_UNSUPPORTED, "n_shared_experts 2"},
        {"{\"num_hidden_layers\":2,\"scoring_func\":\"sigmoid\"}", ST_UNSUPPORTED, "scoring_func 'sigmoid'"},
        {"{\"num_hidden_layers\":2,\"hc_mult\":99}", ST_CORRUPT, "'hc_mult' is 99"},
        {"{\"num_hidden_layers\":3,\"compress_ratios\":[0,4]}", ST_CORRUPT, "'compress_ratios' has 2 elements"},
        {"{\"num_hidden_layers\":1,\"compress_ratios\":[-4]}", ST_CORRUPT, "layer 0: -4"},
        {"{\"num_hidden_layers\":1,\"compress_ratios\":4}", ST_CORRUPT, "'compress_ratios' is not a list"},
        {"{\"num_hidden_layers\":1,\"layer_types\":[\"full_attention\"]}", ST_UNSUPPORTED, "'full_attention' is not known"},
        {"{\"num_hidden_layers\":1,\"layer_types\":[3]}", ST_CORRUPT, "layer 0: expected a word"},
        {"{\"num_hidden_layers\":1,\"mlp_layer_types\":[\"dense\"]}", ST_UNSUPPORTED, "'dense' is not known"},
        {"{\"num_hidden_layers\":1,\"rope_scaling\":{\"type\":\"longrope\"}}", ST_UNSUPPORTED, "'longrope'"},
        {"{\"num_hidden_layers\":1.5}", ST_CORRUPT, "'num_hidden_layers' is not a whole number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ModelSpec spec;
        Error err = {0};
        const Status st = configure_text(&spec, cases[i].json, false, &err);
        if (st != cases[i].status || !strstr(err.msg, cases[i].words))
            fail_msg("%s: %s: %s", cases[i].json, status_text(st), err.msg);
    }
}

static void the_extra_block_needs_its_configuration(void **state)
{
    (void)state;
    ModelSpec spec;
    Error err = {0};
    assert_int_equal(configure_text(&spec, "{\"num_hidden_layers\":1,\"num_nextn_predict_layers\":0}", true, &err),
                     ST_INVALID);
    assert_non_null(strstr(err.msg, "num_nextn_predict_layers is 0"));
}

/* The magnitude of YaRN: 1 by default in the flat form, 0.1 ln(16) + 1 in the nested one (§9.1). */
static void the_magnitude_of_the_second_table_depends_on_the_spelling(void **state)
{
    (void)state;
#define YARN "\"factor\":16,\"original_max_position_embeddings\":64,\"beta_fast\":32,\"beta_slow\":1"
    static const struct {
        const char *json;
        double scale;
    } cases[] = {
        {"{\"num_hidden_layers\":1,\"rope_scaling\":{\"type\":\"yarn\"," YARN "}}", 1},
        {"{\"num_hidden_layers\":1,\"rope_parameters\":{\"rope_type\":\"yarn\"," YARN "}}", 1},
        {"{\"num_hidden_layers\":1,\"rope_parameters\":{\"rope_type\":\"yarn\",\"attention_factor\":1.5," YARN "}}", 1.5},
        {"{\"num_hidden_layers\":1,\"rope_parameters\":{\"main\":{\"rope_type\":\"default\",\"rope_theta\":500.0},"
         "\"compress\":{\"rope_type\":\"yarn\",\"rope_theta\":7.0," YARN "}}}", 1.2772588722239781},
        {"{\"num_hidden_layers\":1,\"rope_parameters\":{\"main\":{\"rope_type\":\"default\",\"rope_theta\":500.0},"
         "\"compress\":{\"rope_type\":\"yarn\",\"rope_theta\":7.0,\"attention_factor\":1.0," YARN "}}}", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ModelSpec spec;
        OK(configure_text(&spec, cases[i].json, false, NULL));
        const DeepseekV4Config *c = spec.config;
        const bool nested = strstr(cases[i].json, "main") != NULL;
        if (fabs(c->rope_compress_scale - cases[i].scale) > 1e-12 || c->rope_main_scale != 1)
            fail_msg("%s: %g", cases[i].json, c->rope_compress_scale);
        assert_true(c->rope_main.base == (nested ? 500 : 10000));
        assert_true(c->rope_compress.base == (nested ? 7 : 160000));
        model_spec_free(&spec);
    }
}

/* ---- writing ---- */

static char *written(const ModelSpec *spec)
{
    const ModelConfigExtras extras = {"bfloat16", 0, 1, -1};
    JsonWriter w;
    json_write_init(&w, 2, (size_t)1 << 20);
    OK(deepseek_v4_write_config(spec, &extras, &w, NULL));
    OK(json_write_finish(&w, NULL));
    char *text = strdup(w.buf);
    json_write_deinit(&w);
    return text;
}

static void a_written_configuration_reads_back_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
        TensorDir *dir;
        ModelSpec spec, again;
        load(directories[i], false, &dir, &spec);
        char *first = written(&spec);
        OK(configure_text(&again, first, false, NULL));
        char *second = written(&again);
        assert_string_equal(first, second);
        const DeepseekV4Config *a = spec.config, *b = again.config;
        assert_int_equal(a->rope_dim, b->rope_dim);
        assert_memory_equal(&a->rope_main_scale, &b->rope_main_scale, sizeof a->rope_main_scale);
        assert_memory_equal(spec.constants[1].data, again.constants[1].data, (size_t)a->rope_dim / 2 * sizeof(float));
        assert_int_equal(spec.tensor_count, again.tensor_count);
        for (int32_t r = 0; r < spec.tensor_count; r++) {
            assert_string_equal(again.tensors[r].name, spec.tensors[r].saved_name);
            assert_memory_equal(again.tensors[r].dims, spec.tensors[r].dims, sizeof spec.tensors[r].dims);
        }
        free(first);
        free(second);
        model_spec_free(&spec);
        model_spec_free(&again);
        tensordir_close(dir);
    }
}

/* ---- no memory ---- */

static void configuring_without_memory_fails_cleanly(void **state)
{
    (void)state;
    TensorDir *dir;
    OK(tensordir_open(&dir, VECTORS "module-f32", NULL));
    const ModelSource source = {.kv = tensordir_kv(dir), .dir = dir};
    Status st = ST_NOMEM;
    for (int n = 1; st != ST_OK; n++) {
        ModelSpec spec = {0};
        mem_fail_at(n);
        st = deepseek_v4_configure(&spec, &source, NULL);
        mem_fail_at(0);
        assert_true(st == ST_OK || st == ST_NOMEM);
        model_spec_free(&spec);
    }
    tensordir_close(dir);
}

static int print_config(const char *path)
{
    TensorDir *dir;
    ModelSpec spec = {0};
    Error err = {0};
    JsonWriter w;
    const ModelConfigExtras extras = {"float32", 0, 1, -1};
    Status st = tensordir_open(&dir, path, &err);
    if (st == ST_OK && deepseek_v4_matches(TENSORDIR_HF, kv_str(tensordir_kv(dir), "model_type")))
        st = deepseek_v4_configure(&spec, &(ModelSource){.kv = tensordir_kv(dir), .dir = dir}, &err);
    else if (st == ST_OK)
        st = model_spec_load(&spec, dir, &err);
    json_write_init(&w, 2, (size_t)1 << 20);
    if (st == ST_OK)
        st = spec.family ? spec.family->write_config(&spec, &extras, &w, &err)
                         : deepseek_v4_write_config(&spec, &extras, &w, &err);
    if (st == ST_OK)
        st = json_write_finish(&w, &err);
    puts(st == ST_OK ? w.buf : err.msg);
    json_write_deinit(&w);
    return st != ST_OK;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "config") == 0)
        return print_config(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_sizes_give_the_published_parameter_counts),
        cmocka_unit_test(released_configuration_is_read),
        cmocka_unit_test(frequencies_are_those_of_the_specification),
        cmocka_unit_test(every_tensor_of_every_naming_has_its_rows),
        cmocka_unit_test(the_extra_block_is_ignored_unless_asked_for),
        cmocka_unit_test(saved_names_are_those_of_the_library_from_any_naming),
        cmocka_unit_test(bound_weights_are_those_of_the_file),
        cmocka_unit_test(one_token_uses_its_share_of_the_experts),
        cmocka_unit_test(ids_beyond_the_experts_are_an_error),
        cmocka_unit_test(missing_and_misshapen_tensors_are_named),
        cmocka_unit_test(faults_of_a_configuration_are_explained),
        cmocka_unit_test(the_extra_block_needs_its_configuration),
        cmocka_unit_test(the_magnitude_of_the_second_table_depends_on_the_spelling),
        cmocka_unit_test(a_written_configuration_reads_back_the_same),
        cmocka_unit_test(configuring_without_memory_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
