/* Whole runs in a file system that crashes, fails and runs full, and with memory that runs out: always a clean error, what
 * was saved stays, and going on ends in the bytes of a run that never stopped. */
#include "base/buf.h"
#include "base/mem.h"
#include "train/trainer.h"
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const recipe =
    "model:\n"
    "  hidden_size: 16\n"
    "  num_hidden_layers: 2\n"
    "  compress_ratios: [0, 4]\n"
    "  num_attention_heads: 2\n"
    "  head_dim: 8\n"
    "  qk_rope_head_dim: 4\n"
    "  q_lora_rank: 8\n"
    "  o_groups: 2\n"
    "  o_lora_rank: 4\n"
    "  sliding_window: 8\n"
    "  n_routed_experts: 4\n"
    "  num_experts_per_tok: 2\n"
    "  moe_intermediate_size: 8\n"
    "  num_hash_layers: 1\n"
    "  index_n_heads: 2\n"
    "  index_head_dim: 8\n"
    "  index_topk: 16\n"
    "  hc_mult: 2\n"
    "  hc_sinkhorn_iters: 2\n"
    "  max_position_embeddings: 64\n"
    "  num_nextn_predict_layers: 1\n"
    "tokenizer:\n"
    "  train: 262\n"
    "train:\n"
    "  steps: 4\n"
    "  batch: 2\n"
    "  length: 16\n"
    "  accumulate: 2\n"
    "optimiser:\n"
    "  muon:\n"
    "    iterations: 5\n"
    "schedule:\n"
    "  warmup: 1\n"
    "checkpoint:\n"
    "  every: 1\n"
    "evaluate:\n"
    "  every: 2\n"
    "  batches: 1\n";

/* ---- a place with a recipe and a text, and runs in a world ---- */

/* The recipe lies in a file of the machine, everything else in the world. */
typedef struct {
    char recipe[32];
} Place;

static int open_place(void **state)
{
    Place *p = calloc(1, sizeof *p);
    snprintf(p->recipe, sizeof p->recipe, "/tmp/plumb-trainer-XXXXXX");
    const int fd = mkstemp(p->recipe);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, recipe, strlen(recipe)), strlen(recipe));
    assert_int_equal(close(fd), 0);
    *state = p;
    return 0;
}

static int close_place(void **state)
{
    Place *p = *state;
    unlink(p->recipe);
    free(p);
    return 0;
}

/* With a text of twenty lines, each a letter shorter than the one before. */
static World *new_world(uint64_t seed)
{
    static const char line[] = "the plumb line hangs straight down, and every wall follows it up.\n";
    World *w = world_create(seed);
    ByteBuf text = {0};
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(bytebuf_append(&text, line + i, sizeof line - 1 - i), ST_OK);
    assert_int_equal(files_write_new(&w->files, "/text.txt", text.data, text.count, NULL), ST_OK);
    assert_int_equal(w->files.sync_dir(w->files.self, "/", NULL), ST_OK);
    bytebuf_free(&text);
    w->calls = 0;
    return w;
}

static Status run(const Place *p, World *w, int steps, bool resume, Error *err)
{
    char set[32];
    const char *const sets[] = {"data.text=/text.txt", "data.validation.share=0.2", set};
    snprintf(set, sizeof set, "train.steps=%d", steps);
    const TrainerParams params = {.recipe = p->recipe, .sets = sets, .set_count = 3, .out = "/run", .resume = resume,
                                  .threads = 1, .fs = &w->files};
    *err = (Error){0};
    return trainer_run(&params, err);
}

static void must_run(const Place *p, World *w, int steps, bool resume)
{
    Error err;
    if (run(p, w, steps, resume, &err) != ST_OK)
        fail_msg("%s", err.msg);
}

/* ---- what a run leaves ---- */

static const char *const kept[] = {"model.safetensors", "config.json", "tokenizer.json", "trainer/state.safetensors"};
enum { KEPT = sizeof kept / sizeof *kept };

typedef struct {
    uint8_t *data[KEPT];
    size_t size[KEPT];
} Result;

static Result result_of(World *w, int step)
{
    Result r;
    for (int i = 0; i < KEPT; i++) {
        char path[96];
        Error err = {0};
        snprintf(path, sizeof path, "/run/step-%06d/%s", step, kept[i]);
        if (files_read(&w->files, &r.data[i], &r.size[i], path, 1 << 24, &err) != ST_OK)
            fail_msg("%s", err.msg);
    }
    return r;
}

static void result_free(Result *r)
{
    for (int i = 0; i < KEPT; i++)
        mem_free(r->data[i]);
}

static void assert_result(const char *when, int64_t number, World *w, int step, const Result *want)
{
    Result r = result_of(w, step);
    for (int i = 0; i < KEPT; i++)
        if (r.size[i] != want->size[i] || memcmp(r.data[i], want->data[i], r.size[i]) != 0)
            fail_msg("%s %lld: %s of step %d is another one", when, (long long)number, kept[i], step);
    result_free(&r);
}

/* One line for each step, none twice. */
static void assert_metrics(World *w, int steps)
{
    uint8_t *data = NULL;
    size_t size = 0;
    const char *at;
    Error err = {0};
    if (files_read(&w->files, &data, &size, "/run/metrics.jsonl", 1 << 20, &err) != ST_OK)
        fail_msg("%s", err.msg);
    at = (const char *)data;
    for (int k = 1; k <= steps; k++) {
        char want[32];
        const int n = snprintf(want, sizeof want, "{\"step\":%d,", k);
        if (strncmp(at, want, (size_t)n) != 0)
            fail_msg("line %d of the metrics is '%.60s'", k, at);
        at = strchr(at, '\n');
        assert_non_null(at);
        at++;
    }
    assert_int_equal(at - (const char *)data, size);
    mem_free(data);
}

enum { STEPS = 4 };

/* The run that nothing disturbs; the number of its changing calls. */
static Result straight(const Place *p, int64_t *calls, uint64_t *bytes)
{
    World *w = new_world(1);
    must_run(p, w, STEPS, false);
    assert_metrics(w, STEPS);
    Result r = result_of(w, STEPS);
    if (calls)
        *calls = w->calls;
    if (bytes)
        *bytes = w->used;
    world_destroy(w);
    return r;
}

/* Every fault is tried with PLUMB_WORLDS=all, which takes minutes; else some of them. */
static int64_t stride(int64_t usual)
{
    const char *worlds = getenv("PLUMB_WORLDS");
    return worlds && strcmp(worlds, "all") == 0 ? 1 : usual;
}

/* ---- tests ---- */

static void stopping_and_going_on_is_never_having_stopped(void **state)
{
    const Place *p = *state;
    Result want = straight(p, NULL, NULL);
    World *w = new_world(2);
    for (int steps = 1; steps <= STEPS; steps++)
        must_run(p, w, steps, steps > 1);
    assert_result("steps", STEPS, w, STEPS, &want);
    assert_metrics(w, STEPS);
    must_run(p, w, STEPS, true); /* done already */
    assert_result("steps", STEPS, w, STEPS, &want);
    world_destroy(w);
    result_free(&want);
}

static void a_crash_at_any_moment_loses_no_bit(void **state)
{
    const Place *p = *state;
    int64_t calls = 0, worlds = 0;
    Result want = straight(p, &calls, NULL);
    assert_true(calls > 100);
    for (int64_t at = 1; at <= calls; at += stride(37 + at % 5), worlds++) {
        World *w = new_world(100 + (uint64_t)at);
        Error err;
        for (int64_t crash = at; w->crash_at = crash, run(p, w, STEPS, true, &err) != ST_OK; crash = calls / 3 + at % 7) {
            if (!w->dead)
                fail_msg("crash at call %lld: %s", (long long)at, err.msg);
            world_restart(w); /* a second crash comes while it goes on */
        }
        world_restart(w); /* what was reported done is done, even if the power fails now */
        assert_result("crash at call", at, w, STEPS, &want);
        assert_metrics(w, STEPS);
        world_destroy(w);
    }
    assert_true(worlds > 10);
    result_free(&want);
}

static void a_failing_call_is_an_error_and_loses_nothing(void **state)
{
    const Place *p = *state;
    int64_t calls = 0;
    Result want = straight(p, &calls, NULL);
    for (int64_t at = 1; at <= calls; at += stride(97)) {
        World *w = new_world(1);
        Error err;
        w->fail_at = at;
        const Status st = run(p, w, STEPS, true, &err);
        if (st != ST_OK && (st != ST_IO || !*err.msg))
            fail_msg("call %lld fails: status %d, '%s'", (long long)at, (int)st, err.msg);
        must_run(p, w, STEPS, true);
        assert_result("failing call", at, w, STEPS, &want);
        assert_metrics(w, STEPS);
        world_destroy(w);
    }
    result_free(&want);
}

static void a_full_disk_is_an_error_and_loses_nothing(void **state)
{
    const Place *p = *state;
    uint64_t bytes = 0;
    Result want = straight(p, NULL, &bytes);
    for (int part = 1; part <= 20; part += (int)stride(3)) {
        World *w = new_world(1);
        Error err;
        w->capacity = bytes * (uint64_t)part / 20 - bytes / 40;
        const Status st = run(p, w, STEPS, true, &err);
        if (st != ST_NOSPACE || !*err.msg)
            fail_msg("room for %d of 20 parts: status %d, '%s'", part, (int)st, err.msg);
        w->capacity = 0;
        must_run(p, w, STEPS, true);
        assert_result("room for parts", part, w, STEPS, &want);
        assert_metrics(w, STEPS);
        world_destroy(w);
    }
    result_free(&want);
}

/* All allocations from number `fail` on fail: in a first step, and in a second one behind a checkpoint. */
static void every_failing_allocation_is_survived(void **state)
{
    const Place *p = *state;
    for (int steps = 1; steps <= 2; steps++) {
        World *w = new_world(3), *reference = new_world(3);
        Result before = {0};
        Status st = ST_NOMEM;
        Error err;
        must_run(p, reference, 2, false);
        if (steps == 2) {
            must_run(p, w, 1, false);
            before = result_of(w, 1);
        }
        for (int64_t fail = 1; st != ST_OK; fail += stride(fail < 50 ? 1 : 11)) {
            mem_fail_at(fail);
            st = run(p, w, steps, true, &err);
            mem_fail_at(0);
            if (st != ST_OK && (st != ST_NOMEM || !*err.msg))
                fail_msg("allocation %lld of step %d: status %d, '%s'", (long long)fail, steps, (int)st, err.msg);
            if (steps == 2)
                assert_result("allocation", fail, w, 1, &before);
        }
        must_run(p, w, 2, true);
        Result want = result_of(reference, 2);
        assert_result("step", steps, w, 2, &want);
        assert_metrics(w, 2);
        result_free(&want);
        result_free(&before);
        world_destroy(w);
        world_destroy(reference);
    }
}

/* ---- steps that are left out ---- */

typedef struct {
    int left_out;
} Log;

static void count_line(void *arg, const char *line)
{
    Log *l = arg;
    l->left_out += strstr(line, " left out: ") != NULL;
}

/* More than two deviations above the mean is a spike: some steps, once there are enough to compare. */
static Status run_skipping(const Place *p, World *w, int steps, int stop, Log *log, Error *err)
{
    char set[32], stopping[32];
    const char *const sets[] = {"data.text=/text.txt", "spike.limit=2", "spike.window=32", "checkpoint.every=20", set, stopping};
    snprintf(set, sizeof set, "train.steps=%d", steps);
    snprintf(stopping, sizeof stopping, "spike.stop=%d", stop);
    const TrainerParams params = {.recipe = p->recipe, .sets = sets, .set_count = 6, .out = "/run", .resume = true,
                                  .threads = 1, .fs = &w->files, .log = count_line, .arg = log};
    *err = (Error){0};
    return trainer_run(&params, err);
}

static int count_in_metrics(World *w, const char *text)
{
    uint8_t *data = NULL;
    size_t size = 0;
    int count = 0;
    assert_int_equal(files_read(&w->files, &data, &size, "/run/metrics.jsonl", 1 << 20, NULL), ST_OK);
    for (const char *at = (const char *)data; (at = strstr(at, text)); at++)
        count++;
    mem_free(data);
    return count;
}

static void steps_left_out_are_logged_and_outlast_a_stop(void **state)
{
    const Place *p = *state;
    World *w = new_world(1), *parts = new_world(1);
    Log log = {0}, log_parts = {0};
    Error err;
    if (run_skipping(p, w, 60, 100, &log, &err) != ST_OK)
        fail_msg("%s", err.msg);
    for (int steps = 36; steps <= 60; steps += 8)
        assert_int_equal(run_skipping(p, parts, steps, 100, &log_parts, &err), ST_OK);
    if (log.left_out < 3 || log.left_out > 20)
        fail_msg("%d steps were left out", log.left_out);
    assert_int_equal(count_in_metrics(w, "\"skipped\":"), log.left_out);
    assert_int_equal(count_in_metrics(parts, "\"skipped\":"), log.left_out);
    assert_int_equal(log_parts.left_out, log.left_out);
    Result want = result_of(w, 60);
    assert_result("steps", 60, parts, 60, &want);
    result_free(&want);
    world_destroy(w);
    world_destroy(parts);
}

static void too_many_left_out_end_the_run_behind_a_checkpoint(void **state)
{
    const Place *p = *state;
    World *w = new_world(1);
    Log log = {0};
    Error err;
    assert_int_equal(run_skipping(p, w, 60, 1, &log, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "1 steps one after the other were left out"));
    assert_int_equal(log.left_out, 1);
    Result r = result_of(w, 20);
    result_free(&r);
    world_destroy(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopping_and_going_on_is_never_having_stopped),
        cmocka_unit_test(a_crash_at_any_moment_loses_no_bit),
        cmocka_unit_test(a_failing_call_is_an_error_and_loses_nothing),
        cmocka_unit_test(a_full_disk_is_an_error_and_loses_nothing),
        cmocka_unit_test(every_failing_allocation_is_survived),
        cmocka_unit_test(steps_left_out_are_logged_and_outlast_a_stop),
        cmocka_unit_test(too_many_left_out_end_the_run_behind_a_checkpoint),
    };
    return cmocka_run_group_tests(tests, open_place, close_place);
}
