/* Specs made from a configuration alone, what their rows say to a trainer, and writing the configuration of
 * Llama. (DeepSeek-V4 has test_deepseek_v4.c; transformers reads both through oracle/check_model_config.py.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/fileio.h"
#include "formats/json_kv.h"
#include "formats/safetensors.h"
#include "models/model.h"
#include "models/rope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) assert_int_equal(call, ST_OK)
#define LLAMA "\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":12,\"num_hidden_layers\":2,\"vocab_size\":31," \
              "\"num_attention_heads\":3,\"num_key_value_heads\":1,\"intermediate_size\":20"

static Status from_text(ModelSpec *spec, const char *text, bool mtp, Error *err)
{
    JsonKv *kv;
    OK(json_kv_parse(&kv, text, strlen(text), NULL));
    *spec = (ModelSpec){0};
    const Status st = model_spec_from(spec, &(ModelSource){.kv = json_kv_view(kv), .mtp = mtp}, err);
    json_kv_destroy(kv);
    return st;
}

static const TensorRow *row_called(const ModelSpec *spec, const char *name)
{
    for (int32_t i = 0; i < spec->tensor_count; i++)
        if (strcmp(spec->tensors[i].name, name) == 0)
            return &spec->tensors[i];
    fail_msg("no row '%s'", name);
    return NULL;
}

static void a_spec_needs_no_directory(void **state)
{
    (void)state;
    ModelSpec spec;
    OK(from_text(&spec, "{" LLAMA "}", false, NULL));
    assert_string_equal(spec.family->name, "llama");
    assert_int_equal(spec.tensor_count, 3 + 2 * 9);
    assert_int_equal(row_called(&spec, "model.layers.1.self_attn.k_proj.weight")->dims[0], 4);
    assert_int_equal(row_called(&spec, "lm_head.weight")->role, ROLE_HEAD);
    model_spec_free(&spec);
}

static void rows_say_what_a_trainer_needs(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        TensorRole role;
        TensorInit init;
    } cases[] = {
        {"model.embed_tokens.weight", ROLE_EMBEDDING, INIT_NORMAL},
        {"model.norm.weight", ROLE_GAIN, INIT_ONE},
        {"model.layers.0.input_layernorm.weight", ROLE_GAIN, INIT_ONE},
        {"model.layers.0.mlp.down_proj.weight", ROLE_MATRIX, INIT_NORMAL},
        {"model.layers.0.mlp.down_proj.bias", ROLE_VECTOR, INIT_ZERO},
        {"model.layers.1.self_attn.q_proj.bias", ROLE_VECTOR, INIT_ZERO},
    };
    ModelSpec spec;
    OK(from_text(&spec, "{" LLAMA ",\"tie_word_embeddings\":true,\"attention_bias\":true,\"mlp_bias\":true,"
                        "\"initializer_range\":0.25}", false, NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const TensorRow *row = row_called(&spec, cases[i].name);
        if (row->role != cases[i].role || row->init != cases[i].init || !row->trainable ||
            strcmp(row->saved_name, row->name) != 0 || (row->init == INIT_NORMAL && row->init_std != 0.25))
            fail_msg("'%s': role %d, init %d", row->name, row->role, row->init);
    }
    assert_int_equal(spec.tensors[0].uses, USE_ROWS | USE_MATRIX);
    model_spec_free(&spec);
}

static char *written(const ModelSpec *spec)
{
    const ModelConfigExtras extras = {"float32", 1, 2, -1};
    JsonWriter w;
    json_write_init(&w, 0, (size_t)1 << 16);
    OK(spec->family->write_config(spec, &extras, &w, NULL));
    OK(json_write_finish(&w, NULL));
    char *text = strdup(w.buf);
    json_write_deinit(&w);
    return text;
}

static void a_written_configuration_reads_back_the_same(void **state)
{
    (void)state;
#define ROPE(members) "{" LLAMA ",\"rope_parameters\":{\"rope_theta\":5e5," members "}}"
    static const char *const cases[] = {
        "{" LLAMA "}",
        "{" LLAMA ",\"tie_word_embeddings\":true,\"attention_bias\":true,\"mlp_bias\":true,\"rms_norm_eps\":1e-5}",
        "{" LLAMA ",\"head_dim\":6,\"rope_theta\":1e6}",
        ROPE("\"rope_type\":\"linear\",\"factor\":4.0"),
        ROPE("\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
             "\"original_max_position_embeddings\":64"),
        ROPE("\"rope_type\":\"yarn\",\"factor\":8.0,\"beta_fast\":16,\"beta_slow\":2,\"attention_factor\":1.25,"
             "\"truncate\":false,\"original_max_position_embeddings\":64"),
        ROPE("\"rope_type\":\"yarn\",\"factor\":8.0,\"mscale\":1.0,\"mscale_all_dim\":0.5"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ModelSpec spec, again;
        OK(from_text(&spec, cases[i], false, NULL));
        char *first = written(&spec);
        OK(from_text(&again, first, false, NULL));
        char *second = written(&again);
        assert_string_equal(first, second);
        assert_int_equal(spec.tensor_count, again.tensor_count);
        assert_int_equal(spec.constants[0].count, again.constants[0].count);
        assert_memory_equal(spec.constants[0].data, again.constants[0].data,
                            (size_t)spec.constants[0].count * sizeof(float));
        free(first);
        free(second);
        model_spec_free(&spec);
        model_spec_free(&again);
    }
}

static void what_a_family_lacks_is_said(void **state)
{
    (void)state;
    ModelSpec spec;
    Error err = {0};
    assert_int_equal(from_text(&spec, "{" LLAMA "}", true, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "multi-token"));
    assert_int_equal(from_text(&spec, "{\"model_type\":\"mamba\"}", false, &err), ST_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "'mamba'"));
    assert_int_equal(from_text(&spec, "{\"hidden_size\":3}", false, &err), ST_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "does not say its architecture"));
}

/* Files that hold divisors do not say by which rule they were made. */
static void a_rule_is_found_for_given_frequencies(void **state)
{
    (void)state;
    static const RopeConfig rules[] = {
        {ROPE_LLAMA3, .base = 5e5, .factor = 8, .original_context = 8192, .low_freq_factor = 1, .high_freq_factor = 4},
        {ROPE_LLAMA3, .base = 5e5, .factor = 32, .original_context = 8192, .low_freq_factor = 1, .high_freq_factor = 4},
        {ROPE_LLAMA3, .base = 1e4, .factor = 3, .original_context = 1000, .low_freq_factor = 1, .high_freq_factor = 5},
        {ROPE_LINEAR, .base = 1e4, .factor = 4, .original_context = 64},
    };
    float wanted[64], made[64];
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        RopeConfig c = rules[i];
        rope_frequencies(&c, 128, wanted);
        if (c.scaling == ROPE_LLAMA3)
            c = (RopeConfig){ROPE_PLAIN, .base = c.base, .factor = 1, .original_context = 131072};
        assert_true(rope_config_find(&c, 128, wanted));
        assert_int_equal(c.scaling, rules[i].scaling);
        rope_frequencies(&c, 128, made);
        for (int k = 0; k < 64; k++)
            assert_float_equal(made[k], wanted[k], 1e-6f * wanted[k]);
        wanted[40] *= 1.1f;
        assert_false(rope_config_find(&c, 128, wanted));
    }
}

static void biases_that_no_configuration_names_are_refused(void **state)
{
    (void)state;
    static const char config[] = "{" LLAMA "}";
    static const float bias[12];
    char dir[64] = "/tmp/plumb-spec-XXXXXX", path[128];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/config.json", dir);
    OK(files_write_new(files_real(), path, config, strlen(config), NULL));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    const SafetensorsItem item = {"model.layers.1.self_attn.q_proj.bias", DT_F32, 1, {12}, bias};
    OK(safetensors_save(path, &item, 1, NULL, NULL));
    TensorDir *d;
    ModelSpec spec;
    Error err = {0};
    OK(tensordir_open(&d, dir, NULL));
    OK(model_spec_load(&spec, d, NULL));
    JsonWriter w;
    json_write_init(&w, 0, (size_t)1 << 16);
    assert_int_equal(spec.family->write_config(&spec, &(ModelConfigExtras){"float32", 1, 2, -1}, &w, &err), ST_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "bias"));
    json_write_deinit(&w);
    model_spec_free(&spec);
    tensordir_close(d);
    OK(files_remove_tree(files_real(), dir, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spec_needs_no_directory),
        cmocka_unit_test(rows_say_what_a_trainer_needs),
        cmocka_unit_test(a_written_configuration_reads_back_the_same),
        cmocka_unit_test(what_a_family_lacks_is_said),
        cmocka_unit_test(a_rule_is_found_for_given_frequencies),
        cmocka_unit_test(biases_that_no_configuration_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
