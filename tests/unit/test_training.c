/* Ten steps of training beside those of others: losses, gradient norms, and how far each tensor was moved
 * (oracle/train_witness.py, tests/vectors/training.safetensors). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "learner_bench.h"

#define VECTORS "tests/vectors/training.safetensors"

/* The constants of the oracle. */
enum { STEPS = 10, SEQUENCES = 2, ROWS = 31 };
static const int64_t lengths[SEQUENCES] = {19, 12};
static const double clip = 1.0, warmup = 4, mtp_weight = 0.3;

static LearnerParams params_of(bool muon, bool recompute)
{
    return (LearnerParams){.optimiser = {.muon = muon, .adamw_lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-6,
                                         .adamw_decay = 0.1, .muon_lr = 2e-2, .muon_decay = 0.1,
                                         .muon_params = {0.95, 0.18, 10}},
                           .rows = ROWS, .sequences = SEQUENCES, .length = ROWS, .recompute = recompute};
}

typedef struct {
    const TensorDir *dir;
    const char *name;
} Case;

static const TensorEntry *entry(const Case *c, const char *what, const char *tensor)
{
    char name[160];
    snprintf(name, sizeof name, "%s.%s%s", c->name, what, tensor);
    return tensordir_find(c->dir, name);
}

static double number(const TensorEntry *e, int64_t i)
{
    double x;
    assert_non_null(e);
    assert_int_equal(e->dtype, DT_F64);
    memcpy(&x, (const char *)e->data + 8 * i, sizeof x);
    return x;
}

static void batch_of_step(const Case *c, TestBatch *b, int t, bool mtp)
{
    const TensorEntry *e = entry(c, "ids", "");
    int32_t ids[ROWS], *at = ids;
    assert_non_null(e);
    assert_true(e->elements >= (t + 1) * ROWS);
    memcpy(ids, (const char *)e->data + (size_t)t * sizeof ids, sizeof ids);
    batch_begin(b);
    for (int s = 0; s < SEQUENCES; at += lengths[s++])
        batch_add(b, at, lengths[s], 1.0 / (ROWS - SEQUENCES), mtp ? mtp_weight / (ROWS - 2 * SEQUENCES) : 0);
}

static void expect_near(const Case *c, int t, const char *what, double got, double want, double allowed)
{
    if (!(fabs(got - want) <= allowed))
        fail_msg("%s: %s of step %d is %.7f, not %.7f", c->name, what, t + 1, got, want);
}

static void one_step(const Case *c, Bench *b, int t, bool mtp)
{
    TestBatch batch;
    double losses[LEARNER_LOSSES];
    batch_of_step(c, &batch, t, mtp);
    learner_begin(b->learner);
    learner_add(b->learner, &batch.pass, losses);
    const double norm = learner_norm(b->learner);
    const double want = number(entry(c, "norms", ""), t);
    expect_near(c, t, "the loss", losses[0], number(entry(c, "losses", ""), t), 1e-4);
    expect_near(c, t, "the second loss", losses[1], mtp_weight * number(entry(c, "second", ""), t), 1e-4);
    expect_near(c, t, "the gradient's norm", norm, want, 1e-3 * want);
    learner_move(b->learner, t + 1, norm > clip ? clip / norm : 1, fmin(1, (t + 1) / warmup));
}

static void expect_moved(const Case *c, Bench *b, float *const *begin)
{
    for (int32_t i = 0; i < b->spec.tensor_count; i++) {
        const Param *p = params_at(learner_params(b->learner), i);
        const TensorEntry *e = entry(c, "moved.", p->row->name);
        double squares = 0;
        for (int64_t j = 0; begin[i] && j < p->count; j++)
            squares += pow((double)p->master[j] - (double)begin[i][j], 2);
        if (!p->row->trainable) {
            assert_null(e);
            assert_true(squares == 0);
            continue;
        }
        if (!e)
            fail_msg("%s: '%s' is not in the vectors", c->name, p->row->name);
        const double want = number(e, 0);
        if (!(fabs(sqrt(squares) - want) <= 1e-3 * want))
            fail_msg("%s: '%s' was moved by %.7f, not %.7f", c->name, p->row->name, sqrt(squares), want);
    }
}

static void follow(const char *name, const char *model, bool mtp, bool muon, bool recompute, int threads)
{
    const LearnerParams p = params_of(muon, recompute);
    TensorDir *dir;
    float *begin[256] = {0};
    OK(tensordir_open(&dir, VECTORS, &ok_err));
    const Case c = {dir, name};
    Bench b;
    bench_open(&b, model, mtp, &p, threads);
    assert_true(b.spec.tensor_count <= 256);
    for (int32_t i = 0; i < b.spec.tensor_count; i++) {
        const Param *q = params_at(learner_params(b.learner), i);
        if (!q->master)
            continue;
        begin[i] = mem_alloc((size_t)q->count, sizeof *begin[i]);
        memcpy(begin[i], q->master, (size_t)q->count * sizeof *begin[i]);
    }
    for (int t = 0; t < STEPS; t++)
        one_step(&c, &b, t, mtp);
    expect_moved(&c, &b, begin);
    for (int32_t i = 0; i < b.spec.tensor_count; i++)
        mem_free(begin[i]);
    bench_close(&b);
    tensordir_close(dir);
}

static void llama_with_adamw_is_as_in_transformers(void **state)
{
    (void)state;
    follow("llama-adamw", LLAMA, false, false, false, 2);
}

static void llama_with_muon_is_as_in_transformers(void **state)
{
    (void)state;
    follow("llama-muon", LLAMA, false, true, true, 1);
}

static void deepseek_v4_with_adamw_is_as_in_transformers(void **state)
{
    (void)state;
    follow("v4-adamw", V4, false, false, true, 2);
}

static void deepseek_v4_with_two_losses_and_muon_is_as_the_witness(void **state)
{
    (void)state;
    follow("v4-mtp-muon", V4_MTP, true, true, false, 1);
}

/* The value of the balance loss is nowhere to be seen: its gradient is. */
static void the_sequence_balance_loss_has_the_gradient_of_the_witness(void **state)
{
    (void)state;
    LearnerParams p = params_of(false, false);
    TensorDir *dir;
    TestBatch batch;
    double losses[LEARNER_LOSSES];
    int compared = 0;
    p.balance_alpha = 0.5;
    OK(tensordir_open(&dir, VECTORS, &ok_err));
    const Case c = {dir, "v4-balance"};
    Bench b;
    bench_open(&b, V4, false, &p, 1);
    batch_of_step(&c, &batch, 0, false);
    batch.pass.balance_scale = 1.0 / ROWS;
    learner_begin(b.learner);
    learner_add(b.learner, &batch.pass, losses);
    for (int32_t i = 0; i < b.spec.tensor_count; i++) {
        const Param *q = params_at(learner_params(b.learner), i);
        const TensorEntry *e = entry(&c, "grad.", q->row->name);
        double largest = 0;
        for (int64_t j = 0; e && j < q->count; j++)
            largest = fmax(largest, fabs(number(e, j)));
        for (int64_t j = 0; e && j < q->count; j++)
            if (!(fabs((double)q->gradient[j] - number(e, j)) <= 2e-5 * largest))
                fail_msg("%s [%lld] is %.8g, not %.8g", e->name, (long long)j, (double)q->gradient[j], number(e, j));
        compared += e != NULL;
    }
    assert_int_equal(compared, 5);
    bench_close(&b);
    tensordir_close(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_with_adamw_is_as_in_transformers),
        cmocka_unit_test(llama_with_muon_is_as_in_transformers),
        cmocka_unit_test(deepseek_v4_with_adamw_is_as_in_transformers),
        cmocka_unit_test(deepseek_v4_with_two_losses_and_muon_is_as_the_witness),
        cmocka_unit_test(the_sequence_balance_loss_has_the_gradient_of_the_witness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
