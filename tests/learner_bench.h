/* A learner on one of the tiny models in tests/vectors, for tests. */
#ifndef PLUMB_TESTS_LEARNER_BENCH_H
#define PLUMB_TESTS_LEARNER_BENCH_H

#include "base/mem.h"
#include "train/learner.h"

#define LLAMA "tests/vectors/llama/plain-f32"
#define V4 "tests/vectors/deepseek_v4/saved-f32"
#define V4_MTP "tests/vectors/deepseek_v4/saved-mtp"

#define OK(expr)                                   \
    do {                                           \
        Error ok_err = {0};                        \
        if ((expr) != ST_OK)                       \
            fail_msg("%s: %s", #expr, ok_err.msg); \
    } while (0)

typedef struct {
    TensorDir *dir;
    ModelSpec spec;
    ThreadPool *pool;
    Learner *learner;
} Bench;

/* With the weights of the directory. The learner borrows the spec in *b. */
static inline void bench_open(Bench *b, const char *directory, bool mtp, const LearnerParams *p, int threads)
{
    *b = (Bench){0};
    OK(tensordir_open(&b->dir, directory, &ok_err));
    OK(model_spec_from(&b->spec, &(ModelSource){.kv = tensordir_kv(b->dir), .dir = b->dir, .mtp = mtp}, &ok_err));
    OK(pool_create(&b->pool, threads, &ok_err));
    OK(learner_create(&b->learner, &b->spec, p, kernels_at(kernels_best_level()), b->pool, &ok_err));
    OK(params_load(learner_params(b->learner), &b->spec, b->dir, &ok_err));
    learner_refresh(b->learner);
}

static inline void bench_close(Bench *b)
{
    learner_destroy(b->learner);
    pool_destroy(b->pool);
    model_spec_free(&b->spec);
    tensordir_close(b->dir);
}

/* ---- batches ---- */

enum { BATCH_ROWS_MAX = 256, BATCH_SEQUENCES_MAX = 16 };

typedef struct {
    PassBatch pass;
    int32_t ids[BATCH_ROWS_MAX], next_ids[BATCH_ROWS_MAX], targets[BATCH_TARGETS][BATCH_ROWS_MAX];
    float weights[BATCH_TARGETS][BATCH_ROWS_MAX];
    PassSequence sequences[BATCH_SEQUENCES_MAX];
} TestBatch;

static inline void batch_begin(TestBatch *b)
{
    *b = (TestBatch){0};
    b->pass = (PassBatch){.ids = b->ids, .next_ids = b->next_ids, .targets = {b->targets[0], b->targets[1]},
                          .target_weights = {b->weights[0], b->weights[1]}, .sequences = b->sequences};
}

/* One more sequence, of which row i has the next id as its target, and the id after it as its second one; each target
 * of the first kind weighs `first`, of the second kind `second`. */
static inline void batch_add(TestBatch *b, const int32_t *ids, int64_t n, double first, double second)
{
    const int64_t row0 = b->pass.rows;
    CHECK(row0 + n <= BATCH_ROWS_MAX && b->pass.sequence_count < BATCH_SEQUENCES_MAX);
    b->sequences[b->pass.sequence_count++] = (PassSequence){row0, n};
    for (int64_t i = 0; i < n; i++) {
        b->ids[row0 + i] = ids[i];
        b->next_ids[row0 + i] = i + 1 < n ? ids[i + 1] : 0;
        b->targets[0][row0 + i] = i + 1 < n ? ids[i + 1] : -1;
        b->targets[1][row0 + i] = i + 2 < n ? ids[i + 2] : -1;
        b->weights[0][row0 + i] = (float)first;
        b->weights[1][row0 + i] = (float)second;
    }
    b->pass.rows += n;
}

#endif
