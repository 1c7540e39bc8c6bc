/* Recipes: what is read, that every error names file, line and key, --set, the record of a run, config.json,
 * and the schedule. */
#include "base/json.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "train/recipe.h"
#include "train/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MODEL                                                                                            \
    "model:\n"                                                                                           \
    "  hidden_size: 64\n"                                                                                \
    "  num_hidden_layers: 3\n"                                                                           \
    "  num_attention_heads: 4\n"                                                                         \
    "  head_dim: 32\n"                                                                                   \
    "  qk_rope_head_dim: 16\n"                                                                           \
    "  q_lora_rank: 32\n"                                                                                \
    "  o_groups: 2\n"                                                                                    \
    "  o_lora_rank: 16\n"                                                                                \
    "  sliding_window: 8\n"                                                                              \
    "  compress_ratios: [0, 4, 128]\n"                                                                   \
    "  n_routed_experts: 8\n"                                                                            \
    "  num_experts_per_tok: 2\n"                                                                         \
    "  moe_intermediate_size: 32\n"                                                                      \
    "  index_n_heads: 2\n"                                                                               \
    "  index_head_dim: 32\n"                                                                             \
    "  index_topk: 4\n" /* line 17 */
#define REST                        \
    "tokenizer:\n"                  \
    "  train: 512\n"                \
    "data:\n"                       \
    "  text: story.txt\n" /* 21 */
#define FROM "model: {from: smol}\n"

static Status parse(Recipe *r, const char *text, Error *err)
{
    return recipe_parse(r, "r.yaml", text, strlen(text), NULL, 0, err);
}

static Status parse_with(Recipe *r, const char *text, const char *set, Error *err)
{
    return recipe_parse(r, "r.yaml", text, strlen(text), &set, 1, err);
}

#define OK(expr)                         \
    do {                                 \
        Error ok_err = {0};              \
        if ((expr) != ST_OK)             \
            fail_msg("%s", ok_err.msg);  \
    } while (0)

/* ---- reading ---- */

static void a_recipe_is_read_into_its_fields(void **state)
{
    (void)state;
    Recipe r;
    OK(parse(&r, "# a comment\n" MODEL "  rope_scaling: {factor: 8, beta_slow: 2}\n" REST
                 "train: {steps: 50, seed: 7, compute: bf16, recompute: true}\n"
                 "optimiser:\n  adamw:\n    lr: 1e-3\n    betas:\n    - 0.8\n    - 0.99\n"
                 "  muon: {lr: 2.5E-3}\n"
                 "schedule: {shape: linear, decay: 20}\n", &ok_err));
    assert_int_equal(r.model.hidden_size, 64);
    assert_int_equal(r.model.compress_ratios.count, 3);
    assert_int_equal(r.model.compress_ratios.items[2], 128);
    assert_true(r.model.rope_factor == 8);
    assert_true(r.model.rope_beta_slow == 2);
    assert_int_equal(r.model.rope_original_max, 65536);
    assert_string_equal(r.model.from, "");
    assert_int_equal(r.tokenizer.train, 512);
    assert_int_equal(r.data.source_count, 1);
    assert_int_equal(r.data.sources[0].text.count, 1);
    assert_string_equal(r.data.sources[0].text.items[0], "story.txt");
    assert_int_equal(r.train.steps, 50);
    assert_int_equal(r.train.seed, 7);
    assert_int_equal(r.train.batch, 8);
    assert_int_equal(r.train.compute, RECIPE_BF16);
    assert_true(r.train.recompute);
    assert_true(r.optimiser.adamw_lr == 1e-3);
    assert_true(r.optimiser.adamw_eps == 1e-20);
    assert_true(r.optimiser.adamw_betas.items[1] == 0.99);
    assert_true(r.optimiser.muon_lr == 2.5e-3);
    assert_int_equal(r.optimiser.matrices, RECIPE_MUON);
    assert_int_equal(r.schedule.shape, RECIPE_LINEAR);
    assert_int_equal(r.schedule.stable, -1);
    assert_true(r.balance.speed == 0.001);
    recipe_free(&r);
    recipe_free(&r);
}

static void sources_are_one_or_a_list(void **state)
{
    (void)state;
    static const char *const recipes[] = {
        FROM "data:\n  sources:\n  - text: [a, b]\n    weight: 2\n  - {jsonl: c, weight: 1}\n"
             "  - problems: {kinds: [add, sub], weights: [3, 1], sizes: [1-5, 2]}\n    weight: 0.5\n"
             "  validation: {share: 0.01}\n",
        FROM "data:\n- text: [a, b]\n  weight: 2\n- {jsonl: c, weight: 1}\n"
             "- problems: {kinds: [add, sub], weights: [3, 1], sizes: [1-5, 2]}\n  weight: 0.5\n",
    };
    for (int k = 0; k < 2; k++) {
        Recipe r;
        OK(parse(&r, recipes[k], &ok_err));
        assert_int_equal(r.data.source_count, 3);
        assert_int_equal(r.data.sources[0].text.count, 2);
        assert_true(r.data.sources[0].weight == 2);
        assert_string_equal(r.data.sources[1].jsonl.items[0], "c");
        assert_string_equal(r.data.sources[2].kinds.items[1], "sub");
        assert_true(r.data.sources[2].kind_weights.items[0] == 3);
        assert_string_equal(r.data.sources[2].sizes.items[0], "1-5");
        assert_true(r.data.share == (k == 0 ? 0.01 : 0));
        recipe_free(&r);
    }
}

static const struct {
    const char *text, *want;
} faults[] = {
    {MODEL REST "train:\n  steps: abc\n", "r.yaml:23: train.steps: 'abc' is not a whole number"},
    {MODEL REST "train:\n  steps: 0\n", "r.yaml:23: train.steps: 0 is out of range, from 1 to 9e+15"},
    {MODEL REST "train:\n  steps: 99999999999999999999\n", "r.yaml:23: train.steps: 99999999999999999999 is out of range"},
    {MODEL REST "train:\n  steps: \"5\"\n", "r.yaml:23: train.steps: '5' (in quotes) is not a whole number"},
    {MODEL REST "train:\n  steps:\n", "r.yaml:23: train.steps: a value is missing, expected a whole number"},
    {MODEL REST "train:\n  stpes: 5\n", "r.yaml:23: train.stpes: there is no such key; did you mean 'train.steps'?"},
    {MODEL REST "trian:\n  steps: 5\n", "r.yaml:22: trian: there is no such key; did you mean 'train'?"},
    {MODEL REST "train:\n  qqqqq: 5\n", "r.yaml:23: train.qqqqq: there is no such key"},
    {MODEL REST "train: 5\n", "r.yaml:22: train: is a section: its keys stand below it, indented"},
    {MODEL REST "train:\n  steps: [1]\n", "r.yaml:23: train.steps: expected one value, found a list"},
    {MODEL REST "train:\n  steps: {a: 1}\n", "r.yaml:23: train.steps: expected a value, found a section"},
    {MODEL REST "train:\n  compute: f16\n", "r.yaml:23: train.compute: 'f16' is not one of: f32 bf16"},
    {MODEL REST "train:\n  recompute: yes\n", "r.yaml:23: train.recompute: 'yes' is not true or false"},
    {MODEL REST "train:\n  clip: 1.0.0\n", "r.yaml:23: train.clip: '1.0.0' is not a number"},
    {MODEL REST "train:\n  clip: nan\n", "r.yaml:23: train.clip: 'nan' is not a number"},
    {MODEL REST "train:\n  clip: 1e999\n", "r.yaml:23: train.clip: 1e999 is out of range, from 0 to 1000000000"},
    {MODEL REST "train:\n  clip: 1\n  clip: 2\n", "r.yaml:24: key 'clip' is there twice"},
    {MODEL REST "train.clip: 1\n", "r.yaml:22: key 'train.clip': dots are for --set"},
    {MODEL REST "train:\n  clip: &a 1\n", "r.yaml:23: anchors and tags are not allowed"},
    {MODEL REST "train:\n  clip: !!int 1\n", "r.yaml:23: anchors and tags are not allowed"},
    {MODEL REST "train: *a\n", "r.yaml:22: aliases are not allowed"},
    {MODEL REST "train:\n  ? [a]\n  : 1\n", "r.yaml:23: a key must be one word"},
    {MODEL REST "---\na: 1\n", "r.yaml:22: a second document is not allowed"},
    {MODEL REST "train:\n\tsteps: 1\n", "r.yaml:23: not YAML: found character that cannot start any token"},
    {MODEL REST "train: {steps: 1\n", "r.yaml:23: not YAML: "},
    {MODEL REST "train:\n  steps: \"\\0\"\n", "r.yaml:23: a value holds a zero byte"},
    {"- 1\n", "r.yaml:1: a recipe begins with keys"},
    {"[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]", "r.yaml:1: nested too deep"},
    {"a: \xff\n", "r.yaml:1: not YAML: invalid leading UTF-8 octet"},
    {"", "r.yaml: model.hidden_size: is missing; a new model needs it"},
    {MODEL, "r.yaml: tokenizer: is missing"},
    {MODEL "tokenizer: {train: 300}\n", "r.yaml: data: is missing: say data.text"},
    {MODEL "tokenizer: {train: 300, file: x}\n", "r.yaml:18: tokenizer.train: only one of"},
    {MODEL "tokenizer: {file: abc, single_digits: true}\n", "r.yaml:18: tokenizer.single_digits: is for"},
    {"model:\n  from: x\n  hidden_size: 3\n", "r.yaml:3: model.hidden_size: not together with model.from"},
    {FROM "tokenizer: {file: x}\n", "r.yaml:2: tokenizer.file: not together with model.from"},
    {FROM "data: {text: a, jsonl: b}\n", "r.yaml:2: data: only one of text, jsonl and problems can be"},
    {FROM "data: {weight: 1}\n", "r.yaml:2: data: says neither text, jsonl nor problems"},
    {FROM "data: a.txt\n", "r.yaml:2: data: is a section"},
    {FROM "data: {sources: 3}\n", "r.yaml:2: data.sources: expected a list"},
    {FROM "data: {sources: [3]}\n", "r.yaml:2: data.sources[0]: expected text, jsonl or problems"},
    {FROM "data:\n- text: a\n- txt: b\n", "r.yaml:4: data.sources[1].txt: there is no such key; did you mean"},
    {FROM "data:\n- text: a\n- validation: {share: 0.1}\n", "r.yaml:4: data.sources[1].validation.share: there is no"},
    {FROM "data:\n- text: a\n- sources: []\n", "r.yaml:4: data.sources[1].sources: there is no such key"},
    {FROM "data:\n  sources:\n  - text: a\n  text: b\n", "r.yaml:5: data.text: belongs to one of data.sources"},
    {FROM "data:\n- text: a\n- text: b\n  weight: 1\n", "r.yaml:4: data.sources[1]: either all sources have a weight"},
    {FROM "data:\n- text: a\n- problems: {kinds: add}\n", "r.yaml:4: data.sources[1]: problems have no end"},
    {FROM "data:\n  problems: {kinds: [a, b], weights: [1]}\n", "r.yaml:2: data: problems.weights has not as many"},
    {FROM "data:\n  problems: {kinds: [a], weights: [0]}\n", "r.yaml:2: data: problems.weights are all zero"},
    {FROM "data:\n  problems: {kinds: [a], sizes: [5-1]}\n", "r.yaml:2: data: problems.sizes: a size is written"},
    {FROM "data:\n  problems: {kinds: [a], sizes: [1, 2]}\n", "r.yaml:2: data: problems.sizes needs one size"},
    {FROM "data:\n  problems: {sizes: 1}\n", "r.yaml:2: data: problems.kinds is missing"},
    {FROM "data:\n  text: a\n  validation: {share: 0.1, text: b}\n", "r.yaml: data.validation: only one of"},
    {FROM "data: {text: [a, [b]]}\n", "r.yaml:2: data.text: element 1 is not one value"},
    {FROM "data: {text: a}\noptimiser: {adamw: {betas: 0.9}}\n", "r.yaml:3: optimiser.adamw.betas: needs two"},
    {MODEL REST "model: 3\n", "r.yaml:22: key 'model' is there twice"},
};

static void errors_name_file_line_and_key(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof faults / sizeof *faults; k++) {
        Recipe r;
        Error err = {0};
        const Status st = parse(&r, faults[k].text, &err);
        if (st != ST_INVALID || strncmp(err.msg, faults[k].want, strlen(faults[k].want)) != 0)
            fail_msg("row %zu: status %d\n  got  %s\n  want %s", k, (int)st, err.msg, faults[k].want);
    }
    Recipe r;
    Error err = {0};
    assert_int_equal(parse(&r, "model:\n  compress_ratios: [0, 5, 4]\n", &err), ST_INVALID);
    assert_int_equal(recipe_load(&r, "no/such.yaml", NULL, 0, &err), ST_NOTFOUND);
    assert_non_null(strstr(err.msg, "no/such.yaml"));
}

static void set_changes_and_adds_values(void **state)
{
    (void)state;
    static const struct {
        const char *text, *set, *want; /* NULL: no error */
    } table[] = {
        {MODEL REST, "train.steps=9", NULL},
        {MODEL REST, "data.text=an odd: name #1.txt", NULL},
        {MODEL REST, "data.text=[a.txt, b.txt]", NULL},
        {MODEL REST, "model.rope_scaling.factor=2", NULL},
        {MODEL REST, "train={steps: 9}", NULL},
        {MODEL "tokenizer: {train: 300}\n", "data.text=a", NULL},
        {FROM "data:\n- text: a\n- text: b\n", "data.1.text=c", NULL},
        {MODEL REST, "train.steps=x", "--set train.steps: 'x' is not a whole number"},
        {MODEL REST, "train.stps=9", "--set train.stps: there is no such key; did you mean 'train.steps'?"},
        {MODEL REST, "train.steps", "--set train.steps: expected KEY=VALUE"},
        {MODEL REST, "=9", "--set =9: expected KEY=VALUE"},
        {MODEL REST, "train..steps=9", "--set train..steps: a part of the key is empty"},
        {MODEL REST, "data.text.x=9", "--set data.text.x: what stands before 'x' is one value"},
        {MODEL REST, "data.text=[a", "--set data.text: r.yaml:0: not YAML"},
        {MODEL REST, "data.text=", "--set data.text: a value is missing"},
        {FROM "data:\n- text: a\n", "data.1.text=c", "--set data.1.text: there is no element '1'"},
    };
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        Recipe r;
        Error err = {0};
        const Status st = parse_with(&r, table[k].text, table[k].set, &err);
        if (!table[k].want) {
            if (st != ST_OK)
                fail_msg("row %zu: %s", k, err.msg);
            recipe_free(&r);
        } else if (st == ST_OK || strncmp(err.msg, table[k].want, strlen(table[k].want)) != 0) {
            fail_msg("row %zu: status %d\n  got  %s\n  want %s", k, (int)st, err.msg, table[k].want);
        }
    }
    Recipe r;
    OK(parse_with(&r, table[1].text, table[1].set, &ok_err));
    assert_string_equal(r.data.sources[0].text.items[0], "an odd: name #1.txt");
    recipe_free(&r);
    OK(parse_with(&r, table[2].text, table[2].set, &ok_err));
    assert_int_equal(r.data.sources[0].text.count, 2);
    recipe_free(&r);
    OK(parse_with(&r, table[6].text, table[6].set, &ok_err));
    assert_string_equal(r.data.sources[1].text.items[0], "c");
    recipe_free(&r);
}

/* ---- writing ---- */

static void a_run_goes_on_only_with_its_own_recipe(void **state)
{
    (void)state;
    static const char *const sources = FROM "data:\n- {text: a, weight: 1}\n- {jsonl: b, weight: 1}\n";
    static const struct {
        const char *text, *set, *want; /* NULL: goes on */
    } table[] = {
        {MODEL REST, "train.steps=1000", NULL},
        {MODEL REST, "train.steps=5000", NULL},
        {MODEL REST, "checkpoint.every=3", NULL},
        {MODEL REST, "optimiser.adamw.lr=0.0003", NULL},
        {MODEL REST, "optimiser.adamw.lr=0.1", "optimiser.adamw.lr is 0.1, but the run began with 0.0003"},
        {MODEL REST, "model.hidden_size=65", "model.hidden_size is 65, but the run began with 64"},
        {MODEL REST, "data.text=[a, b]", "data.text is [\"a\",\"b\"], but the run began with [\"story.txt\"]"},
        {MODEL REST, "train.compute=bf16", "train.compute is \"bf16\", but the run began with \"f32\""},
        {sources, "train.steps=5", NULL},
        {sources, "data.1.weight=2", "data.sources[1].weight is 2.0, but the run began with 1.0"},
        {sources, "data=[{text: a, weight: 1}]", "data.source_count is 1, but the run began with 2"},
    };
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        Recipe before, now;
        ByteBuf record = {0};
        Error err = {0};
        OK(parse(&before, table[k].text, &ok_err));
        OK(recipe_record(&before, &record, &ok_err));
        OK(parse_with(&now, table[k].text, table[k].set, &ok_err));
        const Status st = recipe_check_record(&now, (const char *)record.data, record.count, &err);
        const char *want = table[k].want ? table[k].want : "";
        if (st != (table[k].want ? ST_MISMATCH : ST_OK) || strcmp(err.msg, want) != 0)
            fail_msg("row %zu: %s", k, err.msg);
        recipe_free(&before);
        recipe_free(&now);
        bytebuf_free(&record);
    }
}

static void a_record_without_a_key_means_its_default(void **state)
{
    (void)state;
    Recipe r;
    Error err = {0};
    const char *record = "{\"data.source_count\": 1, \"model.from\": \"smol\", \"data.text\": [\"a\"]}";
    OK(parse(&r, FROM "data: {text: a}\n", &ok_err));
    assert_int_equal(recipe_check_record(&r, record, strlen(record), &err), ST_OK);
    recipe_free(&r);
    OK(parse(&r, FROM "data: {text: a}\ntrain: {seed: 5}\n", &ok_err));
    assert_int_equal(recipe_check_record(&r, record, strlen(record), &err), ST_MISMATCH);
    assert_string_equal(err.msg, "train.seed is 5, but the run began with 1");
    assert_int_equal(recipe_check_record(&r, "{\"data.source_count\": {}}", 24, &err), ST_CORRUPT);
    assert_int_equal(recipe_check_record(&r, "", 0, &err), ST_CORRUPT);
    recipe_free(&r);
}

static void config_json_has_the_names_of_the_family(void **state)
{
    (void)state;
    Recipe r;
    ByteBuf out = {0};
    Error err = {0};
    OK(parse(&r, MODEL REST, &ok_err));
    const RecipeVocabulary v = {512, -1, 3};
    OK(recipe_write_config(&r, &v, &out, &ok_err));
    const char *text = bytebuf_cstr(&out);
    static const char *const want[] = {
        "\"model_type\": \"deepseek_v4\"",  "\"vocab_size\": 512",       "\"hidden_size\": 64",
        "\"rope_theta\": 10000.0",            "\"bos_token_id\": null",    "\"eos_token_id\": 3",
        "\"scoring_func\": \"sqrtsoftplus\"", "\"norm_topk_prob\": true", "\"compress_ratios\": [\n    0,\n    4,\n    128\n  ]",
        "\"rope_scaling\": {\n    \"type\": \"yarn\",\n    \"factor\": 16.0",  "\"hc_eps\": 1e-06",
    };
    for (size_t k = 0; k < sizeof want / sizeof *want; k++)
        if (!strstr(text, want[k]))
            fail_msg("%s is not in\n%s", want[k], text);
    assert_null(strstr(text, "family"));
    JsonReader j;
    json_init(&j, out.data, out.count);
    assert_int_equal(json_next(&j, NULL), ST_OK);
    assert_int_equal(json_skip(&j, NULL), ST_OK);
    json_deinit(&j);
    bytebuf_free(&out);
    recipe_free(&r);
    OK(parse_with(&r, MODEL REST, "model.vocab_size=100", &ok_err));
    assert_int_equal(recipe_write_config(&r, &v, &out, &err), ST_INVALID);
    recipe_free(&r);
}

static void the_page_on_recipes_has_the_table_of_keys(void **state)
{
    (void)state;
    ByteBuf want = {0};
    uint8_t *page = NULL;
    size_t size = 0;
    assert_int_equal(recipe_write_help(&want), ST_OK);
    OK(file_read_all(&page, &size, "docs/RECIPES.md", 1 << 20, &ok_err));
    if (!strstr((const char *)page, bytebuf_cstr(&want)))
        fail_msg("docs/RECIPES.md must have this table:\n%s", bytebuf_cstr(&want));
    mem_free(page);
    bytebuf_free(&want);
}

/* ---- the schedule ---- */

static void the_schedule_warms_up_holds_and_decays(void **state)
{
    (void)state;
    Recipe r = {.train.steps = 100, .schedule = {.warmup = 10, .stable = -1, .decay = 40, .final = 0.2}};
    for (int64_t step = 0; step < 100; step++) {
        double want = 1;
        if (step < 10)
            want = (double)(step + 1) / 10;
        else if (step >= 60)
            want = 0.2 + 0.8 * 0.5 * (1 + cos(M_PI * (double)(step - 59) / 40));
        assert_true(fabs(schedule_share(&r, step) - want) < 1e-15);
    }
    assert_true(schedule_share(&r, 99) == 0.2);
    assert_true(schedule_share(&r, 100000) == 0.2);
    r.schedule.shape = RECIPE_LINEAR;
    assert_true(fabs(schedule_share(&r, 79) - 0.6) < 1e-15);
    r.schedule.stable = 5;
    assert_true(schedule_share(&r, 14) == 1);
    assert_true(fabs(schedule_share(&r, 34) - 0.6) < 1e-15);
    assert_true(schedule_share(&r, 54) == 0.2);
    assert_true(schedule_share(&r, 99) == 0.2);
}

static void a_short_run_shrinks_warm_up_and_decay(void **state)
{
    (void)state;
    Recipe r = {.train.steps = 25, .schedule = {.warmup = 10, .stable = -1, .decay = 40, .final = 0.1}};
    assert_true(schedule_share(&r, 3) < 1);
    assert_true(schedule_share(&r, 4) == 1); /* 5 steps of warm-up, 20 of decay */
    assert_true(schedule_share(&r, 5) < 1);
    assert_true(schedule_share(&r, 24) == 0.1);
    r = (Recipe){.train.steps = 3, .schedule = {.warmup = 0, .stable = -1, .decay = 0, .final = 0.1}};
    for (int64_t step = 0; step < 5; step++)
        assert_true(schedule_share(&r, step) == 1);
    r.train.steps = 1;
    r.schedule.warmup = r.schedule.decay = (int64_t)9e15;
    assert_true(schedule_share(&r, 0) >= 0.1);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    for (int64_t n = 1;; n++) {
        Recipe r = {0};
        ByteBuf record = {0};
        Error err = {0};
        mem_fail_at(n);
        Status st = parse_with(&r, MODEL REST, "data.text=[a, b]", &err);
        if (st == ST_OK)
            st = recipe_record(&r, &record, &err);
        if (st == ST_OK)
            st = recipe_check_record(&r, (const char *)record.data, record.count, &err);
        mem_fail_at(0);
        recipe_free(&r);
        bytebuf_free(&record);
        if (st == ST_OK)
            break;
        assert_int_equal(st, ST_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recipe_is_read_into_its_fields),
        cmocka_unit_test(sources_are_one_or_a_list),
        cmocka_unit_test(errors_name_file_line_and_key),
        cmocka_unit_test(set_changes_and_adds_values),
        cmocka_unit_test(a_run_goes_on_only_with_its_own_recipe),
        cmocka_unit_test(a_record_without_a_key_means_its_default),
        cmocka_unit_test(config_json_has_the_names_of_the_family),
        cmocka_unit_test(the_page_on_recipes_has_the_table_of_keys),
        cmocka_unit_test(the_schedule_warms_up_holds_and_decays),
        cmocka_unit_test(a_short_run_shrinks_warm_up_and_decay),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
