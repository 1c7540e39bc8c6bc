/* Learners: however a step is cut into batches, packed, recomputed or spread over threads, it is the same step; and the
 * balance rule evens out a skewed router. tests/unit/test_training.c compares whole runs with those of others. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "formats/json_kv.h"
#include "learner_bench.h"

enum { VOCAB = 23, ROWS = 128, SEQUENCES = 8 }; /* ids that all tiny models have */

static const struct {
    const char *directory;
    bool mtp, bf16;
} models[] = {{LLAMA, false, false}, {V4, false, false}, {V4_MTP, true, false}, {V4_MTP, true, true}, {LLAMA, false, true}};
enum { MODELS = sizeof models / sizeof *models };

static LearnerParams params_of(bool recompute, bool bf16)
{
    return (LearnerParams){.optimiser = {.muon = true, .adamw_lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-20,
                                         .adamw_decay = 0.1, .muon_lr = 1e-3, .muon_decay = 0.1,
                                         .muon_params = {0.95, 0.18, 5}, .balance_speed = 0.001},
                           .balance_alpha = 0.01, .rows = ROWS, .sequences = SEQUENCES, .length = 40,
                           .recompute = recompute, .bf16 = bf16};
}

static void open_model(Bench *b, int model, bool recompute, int threads)
{
    const LearnerParams p = params_of(recompute, models[model].bf16);
    bench_open(b, models[model].directory, models[model].mtp, &p, threads);
}

/* Sequence number s of random ids. */
static const int64_t lengths[] = {17, 1, 30, 9, 2, 21};
enum { COUNT = sizeof lengths / sizeof *lengths };

static void add_sequence(TestBatch *b, int s, double weight)
{
    int32_t ids[40];
    for (int64_t i = 0; i < lengths[s]; i++)
        ids[i] = (int32_t)(rng_bits_at(3, (uint64_t)s, (uint64_t)i) % VOCAB);
    batch_add(b, ids, lengths[s], weight, 0.3 * weight);
    b->pass.balance_scale = weight;
}

static void sequences_of(TestBatch *b, int from, int to)
{
    batch_begin(b);
    for (int s = from; s < to; s++)
        add_sequence(b, s, 1.0 / 64);
}

/* ---- gradients, kept ---- */

typedef struct {
    float *data; /* all rows that have one, one behind the other */
    size_t count;
    double losses[LEARNER_LOSSES];
} Step;

static void step_free(Step *s)
{
    mem_free(s->data);
}

static void keep(Step *out, Bench *b, bool masters)
{
    Params *p = learner_params(b->learner);
    out->count = 0;
    out->data = mem_alloc((size_t)params_total(p), sizeof *out->data);
    assert_non_null(out->data);
    for (int32_t i = 0; i < params_count(p); i++) {
        const Param *q = params_at(p, i);
        if (!q->gradient)
            continue;
        memcpy(out->data + out->count, masters ? q->master : q->gradient, (size_t)q->count * sizeof *out->data);
        out->count += (size_t)q->count;
    }
}

/* One step whose sequences are cut into batches before those of `cuts`. */
static Step step_of(Bench *b, const int *cuts, int count)
{
    Step out = {0};
    learner_begin(b->learner);
    for (int i = 0, from = 0; i <= count; i++) {
        TestBatch batch;
        double losses[LEARNER_LOSSES];
        const int to = i < count ? cuts[i] : COUNT;
        sequences_of(&batch, from, to);
        learner_add(b->learner, &batch.pass, losses);
        for (int k = 0; k < LEARNER_LOSSES; k++)
            out.losses[k] += losses[k];
        from = to;
    }
    keep(&out, b, false);
    return out;
}

static void assert_close(const Bench *b, const Step *x, const Step *y)
{
    double largest = 0;
    assert_int_equal(x->count, y->count);
    for (size_t i = 0; i < x->count; i++)
        largest = fmax(largest, fabs((double)x->data[i]));
    assert_true(largest > 1e-3);
    for (size_t i = 0; i < x->count; i++)
        if (!(fabs((double)x->data[i] - (double)y->data[i]) <= 2e-6 * largest))
            fail_msg("%s: gradient %zu is %.9g and %.9g", tensordir_path(b->dir), i, (double)x->data[i], (double)y->data[i]);
    for (int k = 0; k < LEARNER_LOSSES; k++)
        assert_true(fabs(x->losses[k] - y->losses[k]) <= 1e-6 * fabs(x->losses[k]));
}

static void assert_same(const Step *x, const Step *y)
{
    assert_int_equal(x->count, y->count);
    assert_memory_equal(x->data, y->data, x->count * sizeof *x->data);
    assert_memory_equal(x->losses, y->losses, sizeof x->losses);
}

/* ---- a step is one step ---- */

static void batches_add_up_to_the_larger_batch(void **state)
{
    (void)state;
    static const int none[1], halves[] = {3}, alone[] = {1, 2, 3, 4, 5};
    for (int m = 0; m < MODELS; m++) {
        Bench b;
        open_model(&b, m, false, 2);
        Step whole = step_of(&b, none, 0), two = step_of(&b, halves, 1), six = step_of(&b, alone, 5);
        assert_close(&b, &whole, &two);
        assert_close(&b, &whole, &six);
        step_free(&whole);
        step_free(&two);
        step_free(&six);
        bench_close(&b);
    }
}

static void a_sequence_sees_nothing_of_its_neighbours(void **state)
{
    (void)state;
    for (int m = 0; m < MODELS; m++) {
        Bench b;
        open_model(&b, m, false, 1);
        double found[2][LEARNER_LOSSES];
        for (int neighbour = 0; neighbour < 2; neighbour++) {
            TestBatch batch;
            batch_begin(&batch);
            add_sequence(&batch, neighbour ? 0 : 3, 0); /* weighs nothing, and has another length */
            add_sequence(&batch, 2, 1.0 / 64);
            add_sequence(&batch, neighbour ? 5 : 4, 0);
            learner_evaluate(b.learner, &batch.pass, found[neighbour]);
        }
        assert_true(found[0][0] > 0);
        assert_memory_equal(found[0], found[1], sizeof found[0]);
        bench_close(&b);
    }
}

static void an_evaluation_finds_the_loss_of_training(void **state)
{
    (void)state;
    for (int m = 0; m < MODELS; m++)
        for (int recompute = 0; recompute < 2; recompute++) {
            Bench b;
            open_model(&b, m, recompute, 2);
            TestBatch batch;
            double trained[LEARNER_LOSSES], evaluated[LEARNER_LOSSES];
            sequences_of(&batch, 0, COUNT);
            learner_begin(b.learner);
            learner_add(b.learner, &batch.pass, trained);
            learner_evaluate(b.learner, &batch.pass, evaluated);
            assert_memory_equal(trained, evaluated, sizeof trained);
            assert_int_equal(trained[1] > 0, models[m].mtp);
            bench_close(&b);
        }
}

static void recomputation_changes_no_bit(void **state)
{
    (void)state;
    static const int cuts[] = {3};
    for (int m = 0; m < MODELS; m++) {
        Bench kept, again;
        open_model(&kept, m, false, 2);
        open_model(&again, m, true, 2);
        Step x = step_of(&kept, cuts, 1), y = step_of(&again, cuts, 1);
        assert_same(&x, &y);
        step_free(&x);
        step_free(&y);
        bench_close(&kept);
        bench_close(&again);
    }
}

/* Gradients and, behind two steps, weights. */
static void threads_change_no_bit(void **state)
{
    (void)state;
    static const int cuts[] = {3};
    for (int m = 0; m < MODELS; m++) {
        Step first[2] = {{0}};
        for (int threads = 1; threads <= 4; threads++) {
            Bench b;
            open_model(&b, m, threads == 3, threads);
            Step found[2] = {step_of(&b, cuts, 1)};
            for (int t = 1; t <= 2; t++) {
                const double norm = learner_norm(b.learner);
                learner_move(b.learner, t, 1 / norm, 0.5);
                Step step = step_of(&b, cuts, 1);
                step_free(&step);
            }
            keep(&found[1], &b, true);
            for (int i = 0; i < 2; i++) {
                if (threads == 1) {
                    first[i] = found[i];
                    continue;
                }
                assert_same(&first[i], &found[i]);
                step_free(&found[i]);
            }
            bench_close(&b);
        }
        step_free(&first[0]);
        step_free(&first[1]);
    }
}

/* The second loss weighs nothing: what the main model has is as if there were no block for it. */
/* In BF16 the same model has nearly the same gradients, but not the same: something is rounded. What is float_only keeps
 * its weights. */
static void products_of_bf16_are_near_those_of_floats(void **state)
{
    (void)state;
    static const int none[1];
    for (int m = 0; m < MODELS; m++) {
        if (models[m].bf16)
            continue;
        const LearnerParams p = params_of(false, true);
        Bench exact, rounded;
        open_model(&exact, m, false, 2);
        bench_open(&rounded, models[m].directory, models[m].mtp, &p, 2);
        Step x = step_of(&exact, none, 0), y = step_of(&rounded, none, 0);
        double size = 0, error = 0;
        for (size_t i = 0; i < x.count; i++) {
            const double a = (double)x.data[i], b = (double)y.data[i];
            size += a * a;
            error += (a - b) * (a - b);
        }
        if (!(error > 0 && sqrt(error / size) < 0.03 && fabs(x.losses[0] - y.losses[0]) < 2e-3 * x.losses[0]))
            fail_msg("%s: gradients differ by %.4f of their size, losses are %.6f and %.6f", models[m].directory,
                     sqrt(error / size), x.losses[0], y.losses[0]);
        const WeightView *views = params_views(learner_params(rounded.learner));
        for (int32_t i = 0; i < rounded.spec.tensor_count; i++)
            if (rounded.spec.tensors[i].uses & USE_MATRIX)
                assert_int_equal(views[i].form.kind, rounded.spec.tensors[i].float_only ? FORM_F32 : FORM_BF16_PAIRS);
        step_free(&x);
        step_free(&y);
        bench_close(&exact);
        bench_close(&rounded);
    }
}

static void a_second_loss_of_weight_zero_is_none(void **state)
{
    (void)state;
    const LearnerParams p = params_of(false, false);
    Bench plain, both;
    bench_open(&plain, V4_MTP, false, &p, 1);
    bench_open(&both, V4_MTP, true, &p, 1);
    TestBatch batch;
    double losses[2][LEARNER_LOSSES];
    assert_true(both.spec.tensor_count > plain.spec.tensor_count);
    sequences_of(&batch, 0, COUNT);
    memset(batch.weights[1], 0, sizeof batch.weights[1]);
    batch.pass.balance_scale = 0; /* the block's own router would learn */
    learner_begin(plain.learner);
    learner_begin(both.learner);
    learner_add(plain.learner, &batch.pass, losses[0]);
    learner_add(both.learner, &batch.pass, losses[1]);
    assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
    for (int32_t i = 0; i < both.spec.tensor_count; i++) {
        const Param *x = params_at(learner_params(both.learner), i);
        if (i >= plain.spec.tensor_count) {
            for (int64_t j = 0; x->row->trainable && j < x->count; j++)
                assert_true(x->gradient[j] == 0);
            continue;
        }
        const Param *y = params_at(learner_params(plain.learner), i);
        assert_string_equal(x->row->name, y->row->name);
        for (int64_t j = 0; x->gradient && j < x->count; j++)
            if (x->gradient[j] != y->gradient[j])
                fail_msg("%s [%lld]: %.9g, without the block %.9g", x->row->name, (long long)j, (double)x->gradient[j],
                         (double)y->gradient[j]);
    }
    bench_close(&plain);
    bench_close(&both);
}

static void steps_allocate_nothing(void **state)
{
    (void)state;
    for (int m = 0; m < MODELS; m++) {
        Bench b;
        open_model(&b, m, m == 0, 2);
        TestBatch batch;
        double losses[LEARNER_LOSSES];
        const int64_t before = mem_alloc_count();
        for (int t = 1; t <= 2; t++) {
            sequences_of(&batch, 0, t == 1 ? COUNT : 2);
            learner_begin(b.learner);
            learner_add(b.learner, &batch.pass, losses);
            learner_move(b.learner, t, 1 / learner_norm(b.learner), 1);
            learner_evaluate(b.learner, &batch.pass, losses);
        }
        assert_int_equal(mem_alloc_count(), before);
        bench_close(&b);
    }
}

static void every_failing_allocation_is_survived(void **state)
{
    (void)state;
    for (int m = 0; m < MODELS; m++) {
        Bench b;
        open_model(&b, m, false, 1);
        const LearnerParams p = params_of(true, models[m].bf16);
        Status st = ST_NOMEM;
        for (int64_t fail = 1; st != ST_OK; fail++) {
            Learner *l = NULL;
            Error err = {0};
            mem_fail_at(fail);
            st = learner_create(&l, &b.spec, &p, kernels_at(kernels_best_level()), b.pool, &err);
            mem_fail_at(0);
            if (st != ST_OK && (st != ST_NOMEM || l || !*err.msg))
                fail_msg("allocation %lld: %s", (long long)fail, err.msg);
            learner_destroy(l);
        }
        bench_close(&b);
    }
}

/* ---- balance ---- */

enum { TOY_VOCAB = 240, TOY_ROWS = 240, TOY_EXPERTS = 8, TOY_STEPS = 400 };

static const char *const toy_config =
    "{\"architectures\":[\"DeepseekV4ForCausalLM\"],\"model_type\":\"deepseek_v4\",\"vocab_size\":240,\"hidden_size\":16,"
    "\"num_hidden_layers\":2,\"compress_ratios\":[0,4],\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":8,"
    "\"qk_rope_head_dim\":4,\"q_lora_rank\":8,\"o_groups\":2,\"o_lora_rank\":4,\"sliding_window\":8,\"n_routed_experts\":8,"
    "\"n_shared_experts\":1,\"num_experts_per_tok\":2,\"moe_intermediate_size\":8,\"num_hash_layers\":0,"
    "\"scoring_func\":\"sqrtsoftplus\",\"topk_method\":\"noaux_tc\",\"norm_topk_prob\":true,\"routed_scaling_factor\":1.5,"
    "\"swiglu_limit\":10.0,\"index_n_heads\":2,\"index_head_dim\":8,\"index_topk\":64,\"hc_mult\":2,\"hc_sinkhorn_iters\":4,"
    "\"hc_eps\":1e-06,\"rms_norm_eps\":1e-06,\"rope_theta\":10000,\"compress_rope_theta\":160000,"
    "\"max_position_embeddings\":512,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":16,"
    "\"original_max_position_embeddings\":64,\"beta_fast\":32,\"beta_slow\":1},\"hidden_act\":\"silu\","
    "\"num_nextn_predict_layers\":0,\"tie_word_embeddings\":false}";

/* Embeddings share a direction, along which the routers' rows reach differently far: every token likes the same experts. */
static void skew(Params *p)
{
    params_initialise(p, 11);
    for (int32_t i = 0; i < params_count(p); i++) {
        const Param *q = params_at(p, i);
        const bool gate = strstr(q->row->name, "gate.weight") && q->row->dims[0] == TOY_EXPERTS;
        if (q->row->role == ROLE_EMBEDDING)
            for (int64_t j = 0; j < q->count; j++)
                q->master[j] = 1 + 20 * q->master[j];
        if (gate)
            for (int64_t j = 0; j < q->count; j++)
                q->master[j] = 5 * q->master[j] + 0.02f * (float)(j / q->row->dims[1]);
    }
}

/* Largest load of an expert over the mean one, in the worst layer. */
static double imbalance(Params *p)
{
    double worst = 0;
    int layers = 0;
    for (int32_t i = 0; i < params_count(p); i++) {
        const Param *q = params_at(p, i);
        double sum = 0, max = 0;
        if (q->row->role != ROLE_BALANCE)
            continue;
        layers++;
        for (int64_t j = 0; j < q->count; j++) {
            sum += (double)q->gradient[j];
            max = fmax(max, (double)q->gradient[j]);
        }
        assert_true(sum == 2 * TOY_ROWS); /* no token is dropped */
        worst = fmax(worst, max * TOY_EXPERTS / sum);
    }
    assert_int_equal(layers, 2);
    return worst;
}

static void the_balance_rule_evens_out_a_skewed_router(void **state)
{
    (void)state;
    const LearnerParams params = {.optimiser = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .balance_speed = 0.003},
                                  .rows = TOY_ROWS, .sequences = 16, .length = 32};
    Bench b = {0};
    JsonKv *kv;
    TestBatch batch;
    double losses[LEARNER_LOSSES], first = 0, last = 0;
    OK(json_kv_parse(&kv, toy_config, strlen(toy_config), &ok_err));
    OK(model_spec_from(&b.spec, &(ModelSource){.kv = json_kv_view(kv)}, &ok_err));
    OK(pool_create(&b.pool, 1, &ok_err));
    OK(learner_create(&b.learner, &b.spec, &params, kernels_at(kernels_best_level()), b.pool, &ok_err));
    skew(learner_params(b.learner));
    learner_refresh(b.learner);
    batch_begin(&batch);
    for (int s = 0; s < TOY_ROWS / 24; s++) {
        int32_t ids[24];
        for (int i = 0; i < 24; i++)
            ids[i] = (s * 24 + i) * 7 % TOY_VOCAB;
        batch_add(&batch, ids, 24, 1.0 / TOY_ROWS, 0);
    }
    for (int t = 1; t <= TOY_STEPS; t++) {
        learner_begin(b.learner);
        learner_add(b.learner, &batch.pass, losses);
        last = imbalance(learner_params(b.learner));
        first = t == 1 ? last : first;
        learner_move(b.learner, t, 1, 0); /* nothing but the biases moves */
    }
    if (!(first > 2 && last < 1.2))
        fail_msg("the largest load over the mean is %.3f, at first %.3f", last, first);
    learner_destroy(b.learner);
    pool_destroy(b.pool);
    model_spec_free(&b.spec);
    json_kv_destroy(kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_add_up_to_the_larger_batch),
        cmocka_unit_test(a_sequence_sees_nothing_of_its_neighbours),
        cmocka_unit_test(an_evaluation_finds_the_loss_of_training),
        cmocka_unit_test(recomputation_changes_no_bit),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(products_of_bf16_are_near_those_of_floats),
        cmocka_unit_test(a_second_loss_of_weight_zero_is_none),
        cmocka_unit_test(steps_allocate_nothing),
        cmocka_unit_test(every_failing_allocation_is_survived),
        cmocka_unit_test(the_balance_rule_evens_out_a_skewed_router),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
