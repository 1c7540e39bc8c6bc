/* The block that predicts the token after the next (deepseek-v4.md §8), inside the graph that training runs: its loss
 * and the gradients of loss + 0.3 · second loss are those of the float64 witness (oracle/deepseek_v4_tiny.py); with
 * weight 0 it changes nothing; recomputation and threads change no bit of a whole model's gradients.
 *
 * $PLUMB_V4_CASES may name a directory of more cases of that script; those with a second loss are tried too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "backend/pass.h"
#include "base/mem.h"
#include "formats/tensordir.h"
#include "graph/differentiate.h"
#include "models/model.h"
#include "weights/weights.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) expect_ok(call, &err, __LINE__)
#define VECTORS "tests/vectors/deepseek_v4/"

enum { IDS_MAX = 256 };

static void expect_ok(Status st, const Error *err, int line)
{
    if (st != ST_OK)
        fail_msg("line %d: %s", line, err->msg);
}

/* ---- a case and one way of running it ---------------------------------------------------------- */

typedef struct {
    bool f64, mtp, recompute;
    int threads;
    float second; /* weight of the second loss */
} Way;

typedef struct {
    TensorDir *dir;
    ModelSpec spec;
    Weights *weights;
    const Kernels *kernels;
    ThreadPool *pool;
    const float **constants;
    bool *wanted;
    void **gradients; /* by row */
    double losses[2];
} Run;

static int64_t read_ids(const char *path, int32_t ids[IDS_MAX])
{
    FILE *f = fopen(path, "r");
    int64_t n = 0;
    if (!f)
        fail_msg("no '%s'", path);
    while (n < IDS_MAX && fscanf(f, "%d", &ids[n]) == 1)
        n++;
    fclose(f);
    return n;
}

static void open_run(Run *r, const char *model, const Way *way)
{
    Error err = {0};
    *r = (Run){.kernels = way->f64 ? kernels_f64() : kernels_at(kernels_best_level())};
    OK(pool_create(&r->pool, way->threads, &err));
    OK(tensordir_open(&r->dir, model, &err));
    OK(model_spec_from(&r->spec, &(ModelSource){tensordir_kv(r->dir), r->dir, way->mtp}, &err));
    OK(weights_bind(&r->weights, r->spec.tensors, r->spec.tensor_count, r->dir, r->pool,
                    &(WeightParams){.real_bytes = r->kernels->real_bytes}, &err));
    r->constants = mem_alloc((size_t)r->spec.constant_count, sizeof *r->constants);
    r->wanted = mem_alloc((size_t)r->spec.tensor_count, sizeof *r->wanted);
    r->gradients = mem_alloc((size_t)r->spec.tensor_count, sizeof *r->gradients);
    for (int32_t i = 0; i < r->spec.constant_count; i++)
        r->constants[i] = r->spec.constants[i].data;
    for (int32_t i = 0; i < r->spec.tensor_count; i++) {
        const WeightView *v = &weights_views(r->weights)[i];
        r->wanted[i] = r->spec.tensors[i].trainable;
        if (r->wanted[i])
            r->gradients[i] = mem_alloc((size_t)(v->N * v->K), r->kernels->real_bytes);
    }
}

static void close_run(Run *r)
{
    for (int32_t i = 0; i < r->spec.tensor_count; i++)
        mem_free(r->gradients[i]);
    mem_free(r->gradients);
    mem_free(r->wanted);
    mem_free(r->constants);
    weights_free(r->weights);
    model_spec_free(&r->spec);
    tensordir_close(r->dir);
    pool_destroy(r->pool);
}

static void go(Run *r, const Way *way, const int32_t *ids, int64_t n)
{
    Error err = {0};
    Graph g;
    Pass *pass;
    int32_t next[IDS_MAX], targets[2][IDS_MAX];
    float weights[2][IDS_MAX];
    const LowerParams lower = {.kernels = r->kernels, .weights = weights_views(r->weights), .parts = r->spec.parts,
                               .part_count = r->spec.part_count, .state_type = way->f64 ? DT_F64 : DT_F32,
                               .constants = r->constants};
    graph_init(&g);
    OK(r->spec.family->build(&r->spec, &(BuildParams){.loss = true}, &g, &err));
    assert_int_equal(g.output_count, way->mtp ? 2 : 1);
    OK(graph_differentiate(&g, &(DifferentiateParams){r->wanted, way->recompute}, &err));
    OK(pass_create(&pass, &g, &lower, n, 1, r->pool, &err));
    for (int64_t i = 0; i < n; i++) {
        next[i] = i + 1 < n ? ids[i + 1] : 0;
        targets[0][i] = i + 1 < n ? ids[i + 1] : -1;
        targets[1][i] = i + 2 < n ? ids[i + 2] : -1;
        weights[0][i] = 1 / (float)(n - 1);
        weights[1][i] = way->second / (float)(n - 2);
    }
    const PassSequence sequence = {0, n};
    const PassBatch batch = {.rows = n, .ids = ids, .next_ids = next, .targets = {targets[0], targets[1]},
                             .target_weights = {weights[0], weights[1]}, .sequences = &sequence, .sequence_count = 1};
    pass_run(pass, &batch, r->gradients, r->losses);
    pass_destroy(pass);
    graph_deinit(&g);
}

static void run_case(Run *r, const char *stem, Way way)
{
    char path[1024];
    int32_t ids[IDS_MAX];
    snprintf(path, sizeof path, "%s.ids", stem);
    const int64_t n = read_ids(path, ids);
    open_run(r, stem, &way);
    go(r, &way, ids, n);
}

/* ---- beside the witness ------------------------------------------------------------------------ */

static double number_of(const TensorDir *d, const char *name)
{
    float x;
    const TensorEntry *e = tensordir_find(d, name);
    assert_non_null(e);
    dtype_decode_f32(e->dtype, &x, e->data, 1);
    return (double)x;
}

static double value_at(const Run *r, int32_t row, int64_t j)
{
    return r->kernels->real_bytes == sizeof(double) ? ((const double *)r->gradients[row])[j]
                                                    : (double)((const float *)r->gradients[row])[j];
}

/* Norms of row i's gradient in the witness (zero when it has none) and of the difference. */
static void compare_row(const Run *r, int32_t i, const TensorDir *expected, double *norm, double *far)
{
    char name[256];
    const TensorRow *row = &r->spec.tensors[i];
    const int64_t K = row->ndim == 2 ? row->dims[1] : 1, count = row->dims[0] * K;
    snprintf(name, sizeof name, "mtp.grad.%s", row->name);
    const TensorEntry *e = tensordir_find(expected, name);
    *norm = *far = 0;
    for (int64_t j = 0; j < count; j++) {
        float want = 0;
        if (e)
            memcpy(&want, (const float *)e->data + (row->stored_ndim ? row->first_row * K : 0) + j, sizeof want);
        *norm += (double)want * (double)want;
        *far += pow(value_at(r, i, j) - (double)want, 2);
    }
    *norm = sqrt(*norm);
    *far = sqrt(*far);
}

static void expect_witness(const char *stem, bool f64)
{
    char path[1024];
    Error err = {0};
    Run r;
    TensorDir *expected;
    double norm, far, largest = 0;
    int seen = 0;
    run_case(&r, stem, (Way){.f64 = f64, .mtp = true, .threads = 2, .second = 0.3f});
    snprintf(path, sizeof path, "%s.expected.safetensors", stem);
    OK(tensordir_open(&expected, path, &err));
    const double loss = number_of(expected, "loss"), second = number_of(expected, "mtp.loss");
    if (!(fabs(r.losses[0] - loss) <= 1e-5 && fabs(r.losses[1] - 0.3 * second) <= 1e-5))
        fail_msg("%s: losses %.7f and %.7f, expected %.7f and %.7f", stem, r.losses[0], r.losses[1], loss, 0.3 * second);
    for (int32_t i = 0; i < r.spec.tensor_count; i++)
        if (r.wanted[i]) {
            compare_row(&r, i, expected, &norm, &far);
            largest = fmax(largest, norm);
        }
    for (int32_t i = 0; i < r.spec.tensor_count; i++) {
        if (!r.wanted[i])
            continue;
        compare_row(&r, i, expected, &norm, &far);
        const double limit = (f64 ? 1e-5 : 1e-3) * fmax(norm, 1e-4 * largest);
        if (!(far <= limit))
            fail_msg("%s: gradient of '%s': %.3e from the witness' (norm %.3e)", stem, r.spec.tensors[i].name, far, norm);
        seen += norm > 0 && strncmp(r.spec.tensors[i].name, "mtp.", 4) == 0;
    }
    assert_true(seen >= 20); /* of the block's own tensors */
    tensordir_close(expected);
    close_run(&r);
}

static void loss_and_gradients_of_the_block_are_the_witness_ones(void **state)
{
    (void)state;
    expect_witness(VECTORS "saved-mtp", true);
    expect_witness(VECTORS "saved-mtp", false);
}

/* ---- the same bits ----------------------------------------------------------------------------- */

static int32_t same_row(const Run *r, const TensorRow *row)
{
    for (int32_t i = 0; i < r->spec.tensor_count; i++)
        if (strcmp(r->spec.tensors[i].name, row->name) == 0 && r->spec.tensors[i].first_row == row->first_row)
            return i;
    fail_msg("no row '%s'", row->name);
    return -1;
}

static void expect_same_bits(const Run *a, const Run *b)
{
    assert_memory_equal(&a->losses[0], &b->losses[0], sizeof a->losses[0]);
    for (int32_t i = 0; i < a->spec.tensor_count; i++) {
        const WeightView *v = &weights_views(a->weights)[i];
        const int32_t k = same_row(b, &a->spec.tensors[i]);
        if (!a->wanted[i])
            continue;
        if (memcmp(a->gradients[i], b->gradients[k], (size_t)(v->N * v->K) * a->kernels->real_bytes) != 0)
            fail_msg("the gradient of '%s' has other bits", a->spec.tensors[i].name);
    }
}

static void expect_nothing_of_weight_zero(const char *stem)
{
    Run plain, zero;
    run_case(&plain, stem, (Way){.threads = 1});
    run_case(&zero, stem, (Way){.mtp = true, .threads = 1});
    expect_same_bits(&plain, &zero);
    assert_true(zero.losses[1] == 0);
    for (int32_t i = 0; i < zero.spec.tensor_count; i++) {
        const WeightView *v = &weights_views(zero.weights)[i];
        if (!zero.wanted[i] || strncmp(zero.spec.tensors[i].name, "mtp.", 4) != 0)
            continue;
        for (int64_t j = 0; j < v->N * v->K; j++)
            assert_true(value_at(&zero, i, j) == 0);
    }
    close_run(&plain);
    close_run(&zero);
}

static void expect_bits_of_recomputation(const char *stem)
{
    for (int f64 = 0; f64 <= 1; f64++) {
        const Way way = {.f64 = f64, .mtp = true, .threads = 1, .second = 0.3f};
        Way other = way;
        Run kept, again;
        other.recompute = true;
        other.threads = 3;
        run_case(&kept, stem, way);
        run_case(&again, stem, other);
        expect_same_bits(&kept, &again);
        assert_memory_equal(kept.losses, again.losses, sizeof kept.losses);
        close_run(&kept);
        close_run(&again);
    }
}

static void weight_zero_gives_the_gradients_without_the_block(void **state)
{
    (void)state;
    expect_nothing_of_weight_zero(VECTORS "saved-mtp");
}

static void recomputation_and_threads_give_the_same_bits(void **state)
{
    (void)state;
    expect_bits_of_recomputation(VECTORS "saved-mtp");
}

/* ---- cases made on demand ---------------------------------------------------------------------- */

static bool has_second_loss(const char *path)
{
    TensorDir *d = NULL;
    const bool has = tensordir_open(&d, path, NULL) == ST_OK && tensordir_find(d, "mtp.loss");
    tensordir_close(d);
    return has;
}

static void all_of_it_holds_for_more_cases(void **state)
{
    (void)state;
    static const char end[] = ".expected.safetensors";
    const char *root = getenv("PLUMB_V4_CASES");
    DIR *dir = root ? opendir(root) : NULL;
    int count = 0;
    if (!dir) {
        print_message("skipped: all_of_it_holds_for_more_cases (no $PLUMB_V4_CASES)\n");
        return;
    }
    for (struct dirent *d; (d = readdir(dir));) {
        char path[1024];
        const size_t n = strlen(d->d_name);
        if (n < sizeof end || strcmp(d->d_name + n - (sizeof end - 1), end) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", root, d->d_name);
        if (!has_second_loss(path))
            continue;
        path[strlen(path) - (sizeof end - 1)] = 0;
        expect_witness(path, true);
        expect_witness(path, false);
        expect_nothing_of_weight_zero(path);
        expect_bits_of_recomputation(path);
        count++;
    }
    closedir(dir);
    print_message("%d cases\n", count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_and_gradients_of_the_block_are_the_witness_ones),
        cmocka_unit_test(weight_zero_gives_the_gradients_without_the_block),
        cmocka_unit_test(recomputation_and_threads_give_the_same_bits),
        cmocka_unit_test(all_of_it_holds_for_more_cases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
