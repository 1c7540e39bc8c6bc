/* Every differentiable op of the op table: its gradients against finite differences of the loss in double, for every
 * weight in front of it; recomputation and threads change no bit; what is not wanted gets nothing.
 *
 * A case writes a small graph from an embedding to a loss with the op under test between. Three packed sequences of
 * odd lengths show that nothing leaks between them. */
#include "backend/pass.h"
#include "graph/differentiate.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { V = 13, D = 12, ROWS = 29, WEIGHTS_MAX = 40, PARTS_MAX = 8 };

static const PassSequence sequences[] = {{0, 10}, {10, 1}, {11, 18}};

typedef struct {
    const char *name;
    Graph g;
    WeightView views[WEIGHTS_MAX];
    float *w[WEIGHTS_MAX];    /* values */
    double *vector[WEIGHTS_MAX], *gradient[WEIGHTS_MAX];
    float *vector_f32[WEIGHTS_MAX], *gradient_f32[WEIGHTS_MAX];
    void *panels[WEIGHTS_MAX];
    bool wanted[WEIGHTS_MAX];
    int32_t weights;
    StatePart parts[PARTS_MAX];
    int32_t parts_count;
    float frequencies[4];
    const float *constants[1];
    int32_t table[V * 2];
    int32_t ids[ROWS], next[ROWS], targets[2][ROWS];
    float target_weights[2][ROWS];
    bool uses[OP_COUNT];
    Kernels const *kernels;
} Net;

/* ---- building ---------------------------------------------------------------------------------- */

static NodeId add_node(Net *n, Op op, const OpParams *p, int count, const NodeId *in)
{
    Error err = {0};
    NodeId out;
    if (graph_add(&n->g, op, in, count, p, &out, &err) != ST_OK)
        fail_msg("%s: %s", n->name, err.msg);
    return out;
}

#define ADD(op, p, ...) \
    add_node(n, op, p, (int)(sizeof((NodeId[]){__VA_ARGS__}) / sizeof(NodeId)), (NodeId[]){__VA_ARGS__})

/* Multiples of 2^-12, so that a step of 2^-8 stays exact in float. */
static float value(uint64_t stream, int64_t i)
{
    return (float)floor((rng_unit_at(7, stream, (uint64_t)i) - 0.5) * 4096) / 4096;
}

static void pack(Net *n, int32_t i)
{
    WeightView *v = &n->views[i];
    const int64_t groups = v->groups > 1 ? v->groups : 1, N = v->N / groups, per = (N + PANEL_ROWS - 1) / PANEL_ROWS;
    for (int64_t g = 0; g < groups; g++)
        for (int64_t p = 0; p < per; p++)
            form_pack_panel(&v->form, (uint8_t *)n->panels[i] + (size_t)(g * per + p) * form_panel_bytes(&v->form, v->K),
                            DT_F32, n->w[i] + g * N * v->K, p, N, v->K);
    for (int64_t j = 0; j < v->N * v->K; j++) {
        n->vector[i][j] = (double)n->w[i][j];
        n->vector_f32[i][j] = n->w[i][j];
    }
}

/* A weight [N,K] of random numbers around `mean`; its row number. */
static int32_t add_weight(Net *n, int64_t N, int64_t K, double mean, int64_t groups)
{
    const int32_t i = n->weights++;
    const size_t count = (size_t)(N * K);
    assert_true(i < WEIGHTS_MAX);
    WeightView *v = &n->views[i];
    *v = (WeightView){.N = N, .K = K, .stored_type = DT_F32, .form = form_of_dtype(DT_F32), .groups = groups};
    n->w[i] = mem_alloc(count, sizeof(float));
    n->vector[i] = mem_alloc(count, sizeof(double));
    n->gradient[i] = mem_alloc(count, sizeof(double));
    n->vector_f32[i] = mem_alloc(count, sizeof(float));
    n->gradient_f32[i] = mem_alloc(count, sizeof(float));
    n->panels[i] = mem_alloc_pages(form_bytes(&v->form, N, K) + (size_t)groups * form_panel_bytes(&v->form, K));
    n->wanted[i] = true;
    for (int64_t j = 0; j < N * K; j++)
        n->w[i][j] = value((uint64_t)i + 1, j) + (float)mean;
    pack(n, i);
    v->stored = n->w[i];
    v->panels = n->panels[i];
    return i;
}

static NodeId leaf(Net *n, Op op, int32_t index, Shape shape)
{
    NodeId out;
    assert_int_equal(graph_leaf(&n->g, op, index, shape, &out, NULL), ST_OK);
    return out;
}

static NodeId matrix(Net *n, int64_t N, int64_t K)
{
    return leaf(n, OP_WEIGHT, add_weight(n, N, K, 0, 1), shape_2d(N, K));
}

static NodeId vector(Net *n, int64_t N, double mean)
{
    return leaf(n, OP_WEIGHT, add_weight(n, N, 1, mean, 1), shape_1d(N));
}

static NodeId state(Net *n, StateKind kind, int64_t kv_heads, int64_t head_dim, int64_t tokens)
{
    const int32_t i = n->parts_count++;
    assert_true(i < PARTS_MAX);
    n->parts[i] = (StatePart){.kv_heads = kv_heads, .head_dim = head_dim, .kind = kind, .tokens = tokens};
    return leaf(n, OP_STATE, i, shape_2d(kv_heads, head_dim));
}

static NodeId linear(Net *n, NodeId x, int64_t N, int64_t K)
{
    return ADD(OP_LINEAR, NULL, x, matrix(n, N, K));
}

static NodeId ids(Net *n, int32_t which)
{
    NodeId out;
    assert_int_equal(graph_add_indexed(&n->g, OP_IDS, NULL, 0, NULL, which, &out, NULL), ST_OK);
    return out;
}

static NodeId rope_table(Net *n)
{
    return ADD(OP_ROPE_TABLE, &(OpParams){.scale = 1}, add_node(n, OP_POSITIONS, NULL, 0, NULL),
               leaf(n, OP_CONSTANT, 0, shape_1d(2)));
}

/* ---- the cases: from x [T,D] to [T,D] ---------------------------------------------------------- */

static NodeId case_rmsnorm(Net *n, NodeId x)
{
    const NodeId y = ADD(OP_RMSNORM, &(OpParams){.eps = 1e-3}, x, vector(n, D, 1));
    const NodeId z = ADD(OP_RMSNORM, (&(OpParams){.eps = 1e-3, .heads = 3}), y, vector(n, D / 3, 1));
    return ADD(OP_RMSNORM, (&(OpParams){.eps = 1e-2, .heads = 2}), z);
}

static NodeId case_linear(Net *n, NodeId x)
{
    const NodeId y = ADD(OP_LINEAR, NULL, x, matrix(n, 18, D), vector(n, 18, 0));
    const NodeId w = leaf(n, OP_WEIGHT, add_weight(n, 10 * 3, 6, 0, 3), shape_2d(30, 6));
    return linear(n, ADD(OP_LINEAR, &(OpParams){.groups = 3}, y, w), D, 30);
}

static NodeId case_silu_mul(Net *n, NodeId x)
{
    const NodeId a = ADD(OP_SILU_MUL, NULL, linear(n, x, 20, D), linear(n, x, 20, D));
    return ADD(OP_SILU_MUL, &(OpParams){.limit = 0.25}, linear(n, a, D, 20), linear(n, a, D, 20));
}

static NodeId case_rope(Net *n, NodeId x)
{
    const NodeId table = rope_table(n);
    const NodeId y = ADD(OP_ROPE, (&(OpParams){.heads = 2, .kv_heads = 1, .head_dim = 6, .offset = 2, .interleaved = true}),
                         x, table);
    return ADD(OP_ROPE, (&(OpParams){.heads = 3, .kv_heads = 1, .head_dim = 4, .inverse = true}), linear(n, y, D, D), table);
}

static NodeId case_rows(Net *n, NodeId x)
{
    const NodeId split = ADD(OP_SPLIT_ROWS, &(OpParams){.streams = 3}, x);
    const NodeId y = ADD(OP_JOIN_ROWS, &(OpParams){.streams = 3}, linear(n, split, 5, 4));
    return ADD(OP_ADD, NULL, linear(n, y, D, 15), x);
}

static NodeId case_attention(Net *n, NodeId x)
{
    const OpParams p = {.heads = 4, .kv_heads = 2, .head_dim = 5, .scale = 0.7, .window = 6};
    const NodeId w = ADD(OP_STATE_WRITE, &p, state(n, STATE_KEYS_VALUES, 2, 5, 1), linear(n, x, 10, D), linear(n, x, 10, D));
    return linear(n, ADD(OP_ATTENTION, &p, linear(n, x, 20, D), w), D, 20);
}

/* Compressed entries behind a window, with sinks; `overlap` as in compressed-sparse layers, and then with a choice. */
static NodeId compressed(Net *n, NodeId x, int64_t tokens, bool overlap)
{
    enum { HEADS = 4, C = 8 };
    const OpParams p = {.heads = HEADS, .kv_heads = 1, .head_dim = C, .scale = 0.6, .window = 5, .tokens = tokens};
    const OpParams one = {.kv_heads = 1, .head_dim = C};
    const OpParams c = {.tokens = tokens, .overlap = overlap, .eps = 1e-3, .rot = 4, .scale = 1};
    const int64_t wide = overlap ? 2 * C : C;
    const NodeId kv = ADD(OP_STATE_WRITE, &one, state(n, STATE_SHARED, 1, C, 1), linear(n, x, C, D));
    const NodeId a = ADD(OP_STATE_WRITE, &one, state(n, STATE_ROWS, 1, wide, 1), linear(n, x, wide, D));
    const NodeId b = ADD(OP_STATE_WRITE, &one, state(n, STATE_ROWS, 1, wide, 1), linear(n, x, wide, D));
    /* Nodes with two dimensions of their width, as COMPRESS checks them. */
    const NodeId entries = ADD(OP_COMPRESS, &c, state(n, STATE_SHARED, 1, C, tokens), a, b, matrix(n, tokens, wide),
                               vector(n, C, 1), leaf(n, OP_CONSTANT, 0, shape_1d(2)));
    const NodeId q = linear(n, x, HEADS * C, D), sinks = vector(n, HEADS, 0);
    NodeId y;
    if (overlap) {
        const OpParams choose = {.heads = 2, .head_dim = C, .tokens = tokens, .topk = 2};
        const NodeId keys = ADD(OP_COMPRESS, &c, state(n, STATE_KEYS, 1, C, tokens), a, b, matrix(n, tokens, wide),
                                vector(n, C, 1), leaf(n, OP_CONSTANT, 0, shape_1d(2)));
        const NodeId chosen = ADD(OP_INDEX_CHOOSE, &choose, linear(n, x, 2 * C, D), linear(n, x, 2, D), keys);
        y = ADD(OP_ATTENTION, &p, q, kv, sinks, entries, chosen);
    } else {
        y = ADD(OP_ATTENTION, &p, q, kv, sinks, entries);
    }
    return linear(n, y, D, HEADS * C);
}

static NodeId case_compress(Net *n, NodeId x)
{
    return compressed(n, x, 4, false);
}

static NodeId case_compress_overlap(Net *n, NodeId x)
{
    return compressed(n, x, 3, true);
}

static NodeId case_hyper(Net *n, NodeId x)
{
    const OpParams p = {.streams = 3, .eps = 1e-3, .hc_eps = 1e-3, .iterations = 4};
    OpParams head = p;
    head.head = true;
    const NodeId start = ADD(OP_HYPER_EXPAND, &p, x);
    const NodeId streams = ADD(OP_ADD, NULL, start, linear(n, x, 3 * D, D)); /* streams that differ */
    const NodeId z = linear(n, streams, 15, 3 * D);
    const NodeId c = ADD(OP_HYPER_SPLIT, &p, z, streams, vector(n, 3, 1), vector(n, 15, 0));
    const NodeId f = linear(n, ADD(OP_HYPER_PRE, &p, streams, c), D, D);
    const NodeId after = ADD(OP_HYPER_POST, &p, streams, c, f);
    const NodeId last = ADD(OP_HYPER_SPLIT, &head, linear(n, after, 3, 3 * D), after, vector(n, 1, 1), vector(n, 3, 0));
    return ADD(OP_HYPER_PRE, &head, after, last);
}

static NodeId experts(Net *n, int64_t N, int64_t K)
{
    int32_t first = -1;
    for (int e = 0; e < 4; e++)
        for (int i = 0; i < EXPERT_STRIDE; i++) {
            const int32_t row = i == 0 ? add_weight(n, N, K, 0, 1) : add_weight(n, 1, 1, 0, 1);
            if (i > 0)
                n->wanted[row] = false;
            first = first < 0 ? row : first;
        }
    return leaf(n, OP_EXPERTS, first, shape_3d(4, N, K));
}

static NodeId routed(Net *n, NodeId x, NodeId weights, int64_t hidden)
{
    const NodeId chosen = ADD(OP_RESULT, &(OpParams){.result = 1}, weights);
    const NodeId slots = ADD(OP_DISPATCH, &(OpParams){.experts = 4}, chosen);
    const NodeId tokens = ADD(OP_RESULT, &(OpParams){.result = 1}, slots);
    const NodeId offsets = ADD(OP_RESULT, &(OpParams){.result = 2}, slots);
    const NodeId xs = ADD(OP_GATHER, NULL, x, tokens, slots);
    const NodeId up = ADD(OP_EXPERT_LINEAR, NULL, xs, offsets, experts(n, hidden, D));
    const NodeId ys = hidden == D ? up : ADD(OP_EXPERT_LINEAR, NULL, up, offsets, experts(n, D, hidden));
    return ADD(OP_COMBINE, NULL, ys, slots, weights);
}

static NodeId case_experts(Net *n, NodeId x)
{
    const OpParams p = {.experts = 4, .topk = 2, .scale = 1.5};
    const NodeId bias = vector(n, 4, 0);
    n->wanted[n->weights - 1] = false; /* it has counts, no gradient */
    return routed(n, x, ADD(OP_ROUTE, &p, linear(n, x, 4, D), bias), 7);
}

static NodeId case_experts_by_table(Net *n, NodeId x)
{
    const OpParams p = {.experts = 4, .topk = 2, .scale = 1.5};
    const int32_t row = add_weight(n, V, 2, 0, 1);
    n->wanted[row] = false;
    for (int i = 0; i < V; i++) {
        n->table[2 * i] = i % 4;
        n->table[2 * i + 1] = (i + 1 + i % 3) % 4;
    }
    n->views[row].ids = n->table;
    return routed(n, x, ADD(OP_ROUTE, &p, linear(n, x, 4, D), leaf(n, OP_WEIGHT, row, shape_2d(V, 2)), ids(n, 0)), D);
}

typedef struct {
    const char *name;
    NodeId (*build)(Net *n, NodeId x);
} Case;

static const Case cases[] = {
    {"rmsnorm", case_rmsnorm},   {"linear", case_linear},       {"silu_mul", case_silu_mul},
    {"rope", case_rope},         {"rows", case_rows},           {"attention", case_attention},
    {"compress", case_compress}, {"compress_overlap", case_compress_overlap}, {"hyper", case_hyper},
    {"experts", case_experts},   {"experts_by_table", case_experts_by_table},
};
#define CASES (sizeof cases / sizeof cases[0])

/* ---- running ----------------------------------------------------------------------------------- */

/* Embedding → the case inside layer 0 → loss, and a second loss that shares embedding and head, like the prediction of
 * a further token. */
static void net_build(Net *n, const Case *c)
{
    memset(n, 0, sizeof *n);
    n->name = c->name;
    graph_init(&n->g);
    for (int i = 0; i < 2; i++)
        n->frequencies[i] = 1.0f / (float)(1 + 3 * i);
    n->constants[0] = n->frequencies;
    for (int i = 0; i < ROWS; i++) {
        n->ids[i] = (i * 5 + 2) % V;
        n->next[i] = (i * 3 + 1) % V;
        for (int t = 0; t < 2; t++) {
            n->targets[t][i] = i % 9 == 4 ? -1 : (i * 7 + t) % V;
            n->target_weights[t][i] = t == 0 ? 0.5f : 0.125f;
        }
    }
    const NodeId table = matrix(n, V, D);
    const NodeId e = ADD(OP_EMBED, NULL, table, ids(n, 0)), e2 = ADD(OP_EMBED, NULL, table, ids(n, 1));
    n->g.layer = 0;
    const NodeId x = ADD(OP_ADD, NULL, e, linear(n, e2, D, D));
    const NodeId y = ADD(OP_ADD, NULL, c->build(n, x), x);
    n->g.layer = -1;
    const NodeId loss = ADD(OP_CROSS_ENTROPY, NULL, y, table);
    const NodeId loss2 = ADD(OP_CROSS_ENTROPY, &(OpParams){.target = 1}, linear(n, y, D, D), table);
    assert_int_equal(graph_output(&n->g, loss, NULL), ST_OK);
    assert_int_equal(graph_output(&n->g, loss2, NULL), ST_OK);
    for (int32_t i = 0; i < n->g.count; i++)
        n->uses[graph_node(&n->g, i)->op] = true;
}

static void net_free(Net *n)
{
    for (int32_t i = 0; i < n->weights; i++) {
        const WeightView *v = &n->views[i];
        mem_free_pages(n->panels[i], form_bytes(&v->form, v->N, v->K) + (size_t)v->groups * form_panel_bytes(&v->form, v->K));
        mem_free(n->w[i]);
        mem_free(n->vector[i]);
        mem_free(n->gradient[i]);
        mem_free(n->vector_f32[i]);
        mem_free(n->gradient_f32[i]);
    }
    graph_deinit(&n->g);
}

static Pass *make_pass(Net *n, const Kernels *k, ThreadPool *pool)
{
    const bool wide = k->real_bytes == 8;
    Error err = {0};
    Pass *p = NULL;
    for (int32_t i = 0; i < n->weights; i++)
        n->views[i].vector = wide ? (void *)n->vector[i] : (void *)n->vector_f32[i];
    const LowerParams params = {.kernels = k, .weights = n->views, .parts = n->parts, .part_count = n->parts_count,
                                .state_type = wide ? DT_F64 : DT_F32, .constants = n->constants};
    if (pass_create(&p, &n->g, &params, ROWS, 3, pool, &err) != ST_OK)
        fail_msg("%s: %s", n->name, err.msg);
    return p;
}

static double run(Net *n, Pass *p, void *const *gradients)
{
    double losses[2];
    const PassBatch b = {.rows = ROWS, .ids = n->ids, .next_ids = n->next, .targets = {n->targets[0], n->targets[1]},
                         .target_weights = {n->target_weights[0], n->target_weights[1]}, .sequences = sequences,
                         .sequence_count = 3, .balance_scale = 0};
    pass_run(p, &b, gradients, losses);
    return losses[0] + losses[1];
}

/* The loss with element j of weight i moved by `step`. */
static double moved(Net *n, Pass *p, int32_t i, int64_t j, float step)
{
    const float before = n->w[i][j];
    n->w[i][j] = before + step;
    pack(n, i);
    const double loss = run(n, p, NULL);
    n->w[i][j] = before;
    pack(n, i);
    return loss;
}

/* Four points: the error is of fourth order in the step. */
static double difference(Net *n, Pass *p, int32_t i, int64_t j)
{
    const float h = 1.0f / 1024;
    const double near = moved(n, p, i, j, h) - moved(n, p, i, j, -h);
    const double far = moved(n, p, i, j, 2 * h) - moved(n, p, i, j, -2 * h);
    return (8 * near - far) / (12 * (double)h);
}

static void differentiate(Net *n, bool recompute)
{
    Error err = {0};
    if (graph_differentiate(&n->g, &(DifferentiateParams){.wanted = n->wanted, .recompute = recompute}, &err) != ST_OK)
        fail_msg("%s: %s", n->name, err.msg);
}

static ThreadPool *pool_of(int threads)
{
    ThreadPool *pool;
    assert_int_equal(pool_create(&pool, threads, NULL), ST_OK);
    return pool;
}

static void check_case(const Case *c)
{
    static Net n;
    ThreadPool *pool = pool_of(1);
    net_build(&n, c);
    Pass *forward = make_pass(&n, kernels_f64(), pool);
    differentiate(&n, false);
    Pass *both = make_pass(&n, kernels_f64(), pool);
    void *gradients[WEIGHTS_MAX];
    for (int32_t i = 0; i < n.weights; i++)
        gradients[i] = n.gradient[i];
    assert_true(fabs(run(&n, both, gradients) - run(&n, forward, NULL)) < 1e-12);
    double most = 0;
    for (int32_t i = 0; i < n.weights; i++)
        for (int64_t j = 0; n.wanted[i] && j < n.views[i].N * n.views[i].K; j++)
            most = fmax(most, fabs(n.gradient[i][j]));
    for (int32_t i = 0; i < n.weights; i++) {
        const int64_t count = n.views[i].N * n.views[i].K;
        for (int64_t j = 0; n.wanted[i] && j < count; j += count > 60 ? 7 : 1) {
            const double expected = difference(&n, forward, i, j), found = n.gradient[i][j];
            if (!(fabs(expected - found) <= 2e-7 * (most + fabs(expected))))
                fail_msg("%s: gradient of weight %d, element %d is %.10g, differences say %.10g", n.name, i, (int)j, found,
                         expected);
        }
    }
    pass_destroy(forward);
    pass_destroy(both);
    net_free(&n);
    pool_destroy(pool);
}

static void gradients_are_the_slopes_of_the_loss(void **s)
{
    (void)s;
    for (size_t i = 0; i < CASES; i++)
        check_case(&cases[i]);
}

static void every_differentiable_op_has_a_case(void **s)
{
    (void)s;
    static Net n;
    bool used[OP_COUNT] = {false};
    for (size_t i = 0; i < CASES; i++) {
        net_build(&n, &cases[i]);
        for (int op = 0; op < OP_COUNT; op++)
            used[op] |= n.uses[op];
        net_free(&n);
    }
    for (int op = 0; op < OP_COUNT; op++)
        if (op_row((Op)op)->gradient && !used[op])
            fail_msg("no case differentiates '%s'", op_row((Op)op)->name);
}

/* All gradients in float, one weight behind the other. */
static float *float_gradients(const Case *c, const Kernels *k, int threads, bool recompute, size_t *count)
{
    static Net n;
    ThreadPool *pool = pool_of(threads);
    net_build(&n, c);
    differentiate(&n, recompute);
    Pass *p = make_pass(&n, k, pool);
    void *gradients[WEIGHTS_MAX];
    *count = 0;
    for (int32_t i = 0; i < n.weights; i++) {
        gradients[i] = n.gradient_f32[i];
        *count += (size_t)(n.views[i].N * n.views[i].K);
    }
    float *all = mem_alloc(*count + 1, sizeof *all);
    all[*count] = (float)run(&n, p, gradients);
    size_t at = 0;
    for (int32_t i = 0; i < n.weights; i++) {
        memcpy(all + at, n.gradient_f32[i], (size_t)(n.views[i].N * n.views[i].K) * sizeof *all);
        at += (size_t)(n.views[i].N * n.views[i].K);
    }
    ++*count;
    pass_destroy(p);
    net_free(&n);
    pool_destroy(pool);
    return all;
}

static void levels_threads_and_recomputation_change_no_bit(void **s)
{
    (void)s;
    for (size_t i = 0; i < CASES; i++) {
        size_t count, other;
        float *expected = float_gradients(&cases[i], kernels_at(LEVEL_SCALAR), 1, false, &count);
        for (int run_no = 0; run_no < 4; run_no++) {
            const Kernels *k = kernels_at(run_no == 0 ? LEVEL_SCALAR : kernels_best_level());
            float *found = float_gradients(&cases[i], k, 1 + run_no % 3, run_no >= 2, &other);
            assert_int_equal(other, count);
            if (memcmp(found, expected, count * sizeof *found) != 0)
                fail_msg("%s: other bits at level %s, %d threads%s", cases[i].name, k->name, 1 + run_no % 3,
                         run_no >= 2 ? ", recomputed" : "");
            mem_free(found);
        }
        mem_free(expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_differentiable_op_has_a_case),
        cmocka_unit_test(gradients_are_the_slopes_of_the_loss),
        cmocka_unit_test(levels_threads_and_recomputation_change_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
