/* Lowering and execution on a small block, against plain loops in double: values, independence of
 * threads, of the bucket and of the batch's other rows, and the memory plan. */
#include "backend/program_internal.h"

#include "base/mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { D = 24, F = 40, V = 50, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 6, ROWS = 70 };

/* Weights of one block: embedding, gain, q, k, v, o, gate, up, down; the embedding is the head too. */
enum { W_EMBED, W_GAIN, W_Q, W_K, W_V, W_O, W_GATE, W_UP, W_DOWN, W_COUNT };

static const int64_t shapes[W_COUNT][2] = {{V, D}, {D, 1}, {HEADS *HEAD_DIM, D}, {KV_HEADS *HEAD_DIM, D},
                                           {KV_HEADS *HEAD_DIM, D}, {D, HEADS *HEAD_DIM}, {F, D}, {F, D},
                                           {D, F}};

typedef struct {
    float *w[W_COUNT];
    void *panels[W_COUNT];
    WeightView views[W_COUNT];
    double gain[D]; /* vectors are reals of the table */
    StatePart part;
    float inv_freq[HEAD_DIM / 2];
    const float *constants[1];
    Graph g;
    int32_t ids[ROWS], positions[ROWS], logit_rows[ROWS];
} Block;

static float uniform(uint64_t i)
{
    const uint64_t x = (i + 1) * 0x9E3779B97F4A7C15u;
    return (float)((x ^ (x >> 29)) >> 40) / (float)(1 << 24) - 0.5f;
}

static void make_weights(Block *b)
{
    for (int i = 0; i < W_COUNT; i++) {
        const int64_t N = shapes[i][0], K = shapes[i][1];
        b->w[i] = mem_alloc((size_t)(N * K), sizeof(float));
        for (int64_t j = 0; j < N * K; j++)
            b->w[i][j] = uniform((uint64_t)(i * 100000 + j));
        WeightView *v = &b->views[i];
        *v = (WeightView){.N = N, .K = K, .stored_type = DT_F32, .stored = b->w[i], .form = form_of_dtype(DT_F32),
                          .vector = b->w[i]};
        b->panels[i] = mem_alloc_pages(form_bytes(&v->form, N, K));
        for (int64_t p = 0; p < (N + PANEL_ROWS - 1) / PANEL_ROWS; p++)
            form_pack_panel(&v->form, (uint8_t *)b->panels[i] + (size_t)p * form_panel_bytes(&v->form, K), DT_F32,
                            b->w[i], p, N, K);
        v->panels = b->panels[i];
    }
}

static NodeId weight(Block *b, int i)
{
    NodeId n;
    assert_int_equal(graph_leaf(&b->g, OP_WEIGHT, i, shape_2d(shapes[i][0], shapes[i][1]), &n, NULL), ST_OK);
    return n;
}

static NodeId add(Block *b, Op op, NodeId x, NodeId y, NodeId z, const OpParams *p)
{
    const NodeId in[3] = {x, y, z};
    NodeId n;
    assert_int_equal(graph_add(&b->g, op, in, z >= 0 ? 3 : y >= 0 ? 2 : x >= 0 ? 1 : 0, p, &n, NULL), ST_OK);
    return n;
}

static void make_graph(Block *b)
{
    const OpParams heads = {.heads = HEADS, .kv_heads = KV_HEADS, .head_dim = HEAD_DIM, .scale = 0.4};
    const OpParams kv = {.heads = KV_HEADS, .kv_heads = KV_HEADS, .head_dim = HEAD_DIM};
    const OpParams eps = {.eps = 1e-5}, one = {.scale = 1};
    NodeId state, freq;
    graph_init(&b->g);
    const NodeId ids = add(b, OP_IDS, -1, -1, -1, NULL), positions = add(b, OP_POSITIONS, -1, -1, -1, NULL);
    assert_int_equal(graph_leaf(&b->g, OP_CONSTANT, 0, shape_1d(HEAD_DIM / 2), &freq, NULL), ST_OK);
    assert_int_equal(graph_leaf(&b->g, OP_STATE, 0, shape_2d(KV_HEADS, HEAD_DIM), &state, NULL), ST_OK);
    const NodeId x = add(b, OP_EMBED, weight(b, W_EMBED), ids, -1, NULL);
    const NodeId table = add(b, OP_ROPE_TABLE, positions, freq, -1, &one);
    const NodeId n = add(b, OP_RMSNORM, x, weight(b, W_GAIN), -1, &eps);
    const NodeId q0 = add(b, OP_LINEAR, n, weight(b, W_Q), -1, NULL);
    const NodeId k0 = add(b, OP_LINEAR, n, weight(b, W_K), -1, NULL);
    const NodeId v = add(b, OP_LINEAR, n, weight(b, W_V), -1, NULL);
    const NodeId q = add(b, OP_ROPE, q0, table, -1, &heads), k = add(b, OP_ROPE, k0, table, -1, &kv);
    const NodeId written = add(b, OP_STATE_WRITE, state, k, v, &heads);
    const NodeId mixed = add(b, OP_ATTENTION, q, written, -1, &heads);
    const NodeId r = add(b, OP_ADD, x, add(b, OP_LINEAR, mixed, weight(b, W_O), -1, NULL), -1, NULL);
    const NodeId m = add(b, OP_RMSNORM, r, weight(b, W_GAIN), -1, &eps);
    const NodeId s = add(b, OP_SILU_MUL, add(b, OP_LINEAR, m, weight(b, W_GATE), -1, NULL),
                         add(b, OP_LINEAR, m, weight(b, W_UP), -1, NULL), -1, NULL);
    const NodeId y = add(b, OP_ADD, r, add(b, OP_LINEAR, s, weight(b, W_DOWN), -1, NULL), -1, NULL);
    const NodeId chosen = add(b, OP_SELECT_ROWS, y, -1, -1, NULL);
    assert_int_equal(graph_output(&b->g, add(b, OP_LINEAR, chosen, weight(b, W_EMBED), -1, NULL), NULL), ST_OK);
}

static int setup(void **state)
{
    static Block b;
    memset(&b, 0, sizeof b);
    make_weights(&b);
    for (int i = 0; i < D; i++)
        b.gain[i] = (double)b.w[W_GAIN][i];
    for (int i = 0; i < HEAD_DIM / 2; i++)
        b.inv_freq[i] = 1.0f / (float)(1 + 3 * i);
    b.constants[0] = b.inv_freq;
    b.part = (StatePart){.kv_heads = KV_HEADS, .head_dim = HEAD_DIM};
    make_graph(&b);
    for (int i = 0; i < ROWS; i++) {
        b.ids[i] = (i * 7 + 3) % V;
        b.positions[i] = i;
        b.logit_rows[i] = i;
    }
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    Block *b = *state;
    for (int i = 0; i < W_COUNT; i++) {
        mem_free_pages(b->panels[i], form_bytes(&b->views[i].form, b->views[i].N, b->views[i].K));
        mem_free(b->w[i]);
    }
    graph_deinit(&b->g);
    return 0;
}

/* ---- the witness: the block in double, by plain loops ------------------------------------------ */

static void product(double *y, const double *x, const float *w, int64_t N, int64_t K)
{
    for (int64_t i = 0; i < N; i++) {
        y[i] = 0;
        for (int64_t k = 0; k < K; k++)
            y[i] += x[k] * (double)w[i * K + k];
    }
}

static void norm(double *y, const double *x, const float *gain)
{
    double sum = 0;
    for (int i = 0; i < D; i++)
        sum += x[i] * x[i];
    for (int i = 0; i < D; i++)
        y[i] = x[i] / sqrt(sum / D + 1e-5) * (double)gain[i];
}

static void turn(const Block *b, double *x, int heads, int position)
{
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < HEAD_DIM / 2; i++) {
            double *a = x + h * HEAD_DIM + i, *c = a + HEAD_DIM / 2;
            const double angle = (double)((float)position * b->inv_freq[i]), u = *a, v = *c;
            *a = u * cos(angle) - v * sin(angle);
            *c = v * cos(angle) + u * sin(angle);
        }
}

static void attend(double *out, const double *q, double (*keys)[KV_HEADS * HEAD_DIM],
                   double (*values)[KV_HEADS * HEAD_DIM], int count)
{
    for (int h = 0; h < HEADS; h++) {
        const int at = h / (HEADS / KV_HEADS) * HEAD_DIM;
        double p[ROWS], sum = 0;
        for (int j = 0; j < count; j++) {
            p[j] = 0;
            for (int i = 0; i < HEAD_DIM; i++)
                p[j] += q[h * HEAD_DIM + i] * keys[j][at + i];
            sum += p[j] = exp(0.4 * p[j]);
        }
        for (int i = 0; i < HEAD_DIM; i++) {
            out[h * HEAD_DIM + i] = 0;
            for (int j = 0; j < count; j++)
                out[h * HEAD_DIM + i] += p[j] / sum * values[j][at + i];
        }
    }
}

/* logits [ROWS][V] */
static void witness(const Block *b, double *logits)
{
    static double keys[ROWS][KV_HEADS * HEAD_DIM], values[ROWS][KV_HEADS * HEAD_DIM];
    for (int t = 0; t < ROWS; t++) {
        double x[D], n[D], q[HEADS * HEAD_DIM], mixed[HEADS * HEAD_DIM], y[D], gate[F], up[F];
        for (int i = 0; i < D; i++)
            x[i] = (double)b->w[W_EMBED][b->ids[t] * D + i];
        norm(n, x, b->w[W_GAIN]);
        product(q, n, b->w[W_Q], HEADS * HEAD_DIM, D);
        product(keys[t], n, b->w[W_K], KV_HEADS * HEAD_DIM, D);
        product(values[t], n, b->w[W_V], KV_HEADS * HEAD_DIM, D);
        turn(b, q, HEADS, t);
        turn(b, keys[t], KV_HEADS, t);
        attend(mixed, q, keys, values, t + 1);
        product(y, mixed, b->w[W_O], D, HEADS * HEAD_DIM);
        for (int i = 0; i < D; i++)
            x[i] += y[i];
        norm(n, x, b->w[W_GAIN]);
        product(gate, n, b->w[W_GATE], F, D);
        product(up, n, b->w[W_UP], F, D);
        for (int i = 0; i < F; i++)
            gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
        product(y, gate, b->w[W_DOWN], D, F);
        for (int i = 0; i < D; i++)
            x[i] += y[i];
        product(logits + t * V, x, b->w[W_EMBED], V, D);
    }
}

/* ---- running ----------------------------------------------------------------------------------- */

static Program *lower(Block *b, const Kernels *k, int64_t rows_max)
{
    b->views[W_GAIN].vector = k->real_bytes == 8 ? (const void *)b->gain : b->w[W_GAIN];
    const LowerParams p = {.kernels = k, .rows_max = rows_max, .logit_rows_max = rows_max, .weights = b->views,
                           .parts = &b->part, .state_type = k->real_bytes == 8 ? DT_F64 : DT_F32,
                           .constants = b->constants};
    Program *program = NULL;
    assert_int_equal(program_lower(&program, &b->g, &p, NULL), ST_OK);
    return program;
}

/* All rows through programs whose chunks end where `cuts` says; logits [ROWS][V] as the table's reals. */
static void run(Block *b, const Kernels *k, const int *cuts, int threads, void *logits)
{
    const StateLayout layout = state_layout(&b->part, k->real_bytes == 8 ? DT_F64 : DT_F32);
    void *page[2] = {mem_alloc_pages(layout.page_bytes), mem_alloc_pages(layout.page_bytes)};
    void *const *const parts[1] = {page};
    ThreadPool *pool;
    assert_int_equal(pool_create(&pool, threads, NULL), ST_OK);
    for (int64_t past = 0; past < ROWS; cuts++) {
        const int64_t rows = *cuts - past;
        Program *p = lower(b, k, rows);
        const size_t scratch_bytes = program_scratch_bytes(p) * (size_t)threads;
        void *arena = mem_alloc_pages(program_arena_bytes(p)), *scratch = mem_alloc_pages(scratch_bytes);
        const BatchSequence sequence = {0, rows, past, parts};
        const Batch batch = {.rows = rows, .ids = b->ids + past, .positions = b->positions + past, .sequences = &sequence, .sequence_count = 1,
                             .logit_rows = b->logit_rows, .logit_row_count = rows};
        program_run(p, pool, &batch, &(RunMemory){.arena = arena, .scratch = scratch});
        memcpy((uint8_t *)logits + (size_t)(past * V) * k->real_bytes, program_output(p, 0, arena, NULL),
               (size_t)(rows * V) * k->real_bytes);
        mem_free_pages(arena, program_arena_bytes(p));
        mem_free_pages(scratch, scratch_bytes);
        program_destroy(p);
        past = *cuts;
    }
    pool_destroy(pool);
    mem_free_pages(page[0], layout.page_bytes);
    mem_free_pages(page[1], layout.page_bytes);
}

static void block_agrees_with_plain_loops(void **state)
{
    Block *b = *state;
    static double expected[ROWS * V], f64[ROWS * V];
    static float f32[ROWS * V];
    witness(b, expected);
    run(b, kernels_f64(), (int[]){ROWS}, 2, f64);
    run(b, kernels_at(kernels_best_level()), (int[]){ROWS}, 2, f32);
    for (int i = 0; i < ROWS * V; i++) {
        assert_true(fabs(f64[i] - expected[i]) < 1e-6); /* rotary tables are rounded to float */
        assert_true(fabs((double)f32[i] - expected[i]) < 1e-5);
    }
}

static void threads_and_chunks_do_not_change_a_bit(void **state)
{
    Block *b = *state;
    static const int whole[] = {ROWS}, halves[] = {33, ROWS}, ones[] = {60, 61, 62, 63, 64, 65, 66, ROWS};
    static const int *const cuts[] = {whole, halves, ones};
    static float first[ROWS * V], other[ROWS * V];
    for (KernelLevel level = LEVEL_SCALAR; level <= kernels_best_level(); level++)
        for (int threads = 1; threads <= 3; threads++)
            for (int c = 0; c < 3; c++) {
                const bool is_first = level == LEVEL_SCALAR && threads == 1 && c == 0;
                run(b, kernels_at(level), cuts[c], threads, is_first ? first : other);
                if (!is_first)
                    assert_memory_equal(first, other, sizeof first);
            }
}

/* Two sequences side by side give the bits of each alone. */
static void sequences_in_one_batch_do_not_see_each_other(void **state)
{
    Block *b = *state;
    const Kernels *k = kernels_at(kernels_best_level());
    static float alone[ROWS * V];
    run(b, k, (int[]){ROWS}, 1, alone);
    const StateLayout layout = state_layout(&b->part, DT_F32);
    void *page[2] = {mem_alloc_pages(layout.page_bytes), mem_alloc_pages(layout.page_bytes)};
    void *const *const parts[2] = {&page[0], &page[1]};
    int32_t ids[30], positions[30];
    for (int i = 0; i < 20; i++)
        ids[i] = b->ids[i], positions[i] = i;
    for (int i = 0; i < 10; i++)
        ids[20 + i] = b->ids[i], positions[20 + i] = i;
    const BatchSequence sequences[2] = {{0, 20, 0, &parts[0]}, {20, 10, 0, &parts[1]}};
    const Batch batch = {.rows = 30, .ids = ids, .positions = positions, .sequences = sequences, .sequence_count = 2,
                             .logit_rows = b->logit_rows, .logit_row_count = 30};
    ThreadPool *pool;
    assert_int_equal(pool_create(&pool, 2, NULL), ST_OK);
    Program *p = lower(b, k, 32);
    void *arena = mem_alloc_pages(program_arena_bytes(p)), *scratch = mem_alloc_pages(2 * program_scratch_bytes(p));
    program_run(p, pool, &batch, &(RunMemory){.arena = arena, .scratch = scratch});
    const float *logits = program_output(p, 0, arena, NULL);
    assert_memory_equal(logits, alone, 20 * V * sizeof(float));
    assert_memory_equal(logits + 20 * V, alone, 10 * V * sizeof(float));
    mem_free_pages(arena, program_arena_bytes(p));
    mem_free_pages(scratch, 2 * program_scratch_bytes(p));
    program_destroy(p);
    pool_destroy(pool);
    mem_free_pages(page[0], layout.page_bytes);
    mem_free_pages(page[1], layout.page_bytes);
}

static void values_alive_together_do_not_share_memory(void **state)
{
    Block *b = *state;
    for (int64_t rows = 1; rows <= 65; rows += 32) {
        Program *p = lower(b, kernels_at(LEVEL_SCALAR), rows);
        for (int32_t i = 0; i < p->value_count; i++)
            for (int32_t j = 0; j < i; j++) {
                const Value *u = &p->values[i], *v = &p->values[j];
                if (!u->in_arena || !v->in_arena || u->first > v->last || v->first > u->last)
                    continue;
                assert_true(u->offset + u->bytes <= v->offset || v->offset + v->bytes <= u->offset);
            }
        program_destroy(p);
    }
}

/* Golden numbers: a decoded row needs 8 barriers for this block, a chunk 9 (attention waits for the
 * cache). More of them is a regression. */
static void barriers_stand_only_where_the_partition_changes(void **state)
{
    Block *b = *state;
    Program *one = lower(b, kernels_at(LEVEL_SCALAR), 1), *many = lower(b, kernels_at(LEVEL_SCALAR), 64);
    assert_int_equal(program_barriers(one), 8);
    assert_int_equal(program_barriers(many), 9);
    program_destroy(one);
    program_destroy(many);
}

static void running_allocates_nothing(void **state)
{
    Block *b = *state;
    const Kernels *k = kernels_at(kernels_best_level());
    const StateLayout layout = state_layout(&b->part, DT_F32);
    void *page[1] = {mem_alloc_pages(layout.page_bytes)};
    void *const *const parts[1] = {page};
    ThreadPool *pool;
    assert_int_equal(pool_create(&pool, 2, NULL), ST_OK);
    Program *p = lower(b, k, 1);
    void *arena = mem_alloc_pages(program_arena_bytes(p)), *scratch = mem_alloc_pages(2 * program_scratch_bytes(p));
    const BatchSequence sequence = {0, 1, 0, parts};
    const Batch batch = {.rows = 1, .ids = b->ids, .positions = b->positions, .sequences = &sequence, .sequence_count = 1,
                             .logit_rows = b->logit_rows, .logit_row_count = 1};
    const int64_t before = mem_alloc_count();
    program_run(p, pool, &batch, &(RunMemory){.arena = arena, .scratch = scratch});
    assert_int_equal(mem_alloc_count(), before);
    mem_free_pages(arena, program_arena_bytes(p));
    mem_free_pages(scratch, 2 * program_scratch_bytes(p));
    program_destroy(p);
    pool_destroy(pool);
    mem_free_pages(page[0], layout.page_bytes);
}

static void keys_alone_take_no_room_for_values(void **state)
{
    (void)state;
    StatePart part = {.kv_heads = 2, .head_dim = 24, .kind = STATE_KEYS_VALUES};
    assert_int_equal(state_layout(&part, DT_F16).page_bytes, 2 * (24 + 32) * ATTENTION_PAGE * 2); /* values padded */
    part.kind = STATE_KEYS;
    assert_int_equal(state_layout(&part, DT_F16).page_bytes, 2 * 24 * ATTENTION_PAGE * 2);
    assert_int_equal(state_layout(&part, DT_F32).page_bytes, 2 * 24 * ATTENTION_PAGE * 4);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(block_agrees_with_plain_loops),
        T(threads_and_chunks_do_not_change_a_bit),
        T(sequences_in_one_batch_do_not_see_each_other),
        T(values_alive_together_do_not_share_memory),
        T(barriers_stand_only_where_the_partition_changes),
        T(running_allocates_nothing),
        cmocka_unit_test(keys_alone_take_no_room_for_values),
    };
    return cmocka_run_group_tests_name("program", tests, NULL, NULL);
}
