/* Checkpoints in thousands of worlds that crash, fail and run full: whatever happens, going on finds a complete
 * checkpoint that is exactly what was written, none older than the newest one that was reported saved. */
#include "base/buf.h"
#include "base/mem.h"
#include "train/checkpoint.h"
#include "world.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define OK(expr)                                   \
    do {                                           \
        Error ok_err = {0};                        \
        if ((expr) != ST_OK)                       \
            fail_msg("%s: %s", #expr, ok_err.msg); \
    } while (0)

/* ---- a run whose state is a function of the step ---- */

enum { A = 300, B = 40 };

typedef struct {
    float a[A];
    int64_t b[B];
    char text[64];
} Content;

static void content_at(Content *c, int64_t step)
{
    for (int k = 0; k < A; k++)
        c->a[k] = (float)rng_unit_at(1, (uint64_t)step, (uint64_t)k);
    for (int k = 0; k < B; k++)
        c->b[k] = (int64_t)rng_bits_at(2, (uint64_t)step, (uint64_t)k);
    snprintf(c->text, sizeof c->text, "{\"step\": %lld}", (long long)step);
}

static Status save(Run *r, int64_t step, Error *err)
{
    Content c;
    content_at(&c, step);
    const SafetensorsItem weights[] = {{"w.a", DT_F32, 2, {A / 2, 2}, c.a}, {"w.none", DT_F32, 1, {0}, c.a}};
    const SafetensorsItem state[] = {{"cursor", DT_I64, 1, {B}, c.b}, {"moment", DT_F32, 1, {A}, c.a}};
    const CheckpointText texts[] = {{"config.json", c.text, strlen(c.text)}, {"trainer/recipe.json", "{}", 2}};
    const CheckpointContent content = {step, weights, 2, state, 2, texts, 2};
    return checkpoint_save(r, &content, err);
}

static void assert_content(const Checkpoint *c)
{
    Content want;
    const void *data = NULL;
    content_at(&want, checkpoint_step(c));
    const TensorEntry *a = checkpoint_weight(c, "w.a");
    assert_non_null(a);
    assert_int_equal(a->bytes, sizeof want.a);
    assert_memory_equal(a->data, want.a, sizeof want.a);
    OK(checkpoint_state_data(c, "cursor", DT_I64, B, &data, &ok_err));
    assert_memory_equal(data, want.b, sizeof want.b);
    const Str text = checkpoint_text(c, "config.json");
    assert_int_equal(text.len, strlen(want.text));
    assert_memory_equal(text.ptr, want.text, text.len);
    assert_true(str_eq(checkpoint_text(c, "trainer/recipe.json"), "{}"));
    assert_null(checkpoint_text(c, "none").ptr);
}

typedef struct {
    int lines, damaged;
    char last[1024];
} Log;

static void take_line(void *arg, const char *line)
{
    Log *l = arg;
    l->lines++;
    l->damaged += strstr(line, "damaged") != NULL;
    snprintf(l->last, sizeof l->last, "%s", line);
}

static RunParams params_of(const Files *fs, const char *dir, int64_t keep, Log *log)
{
    return (RunParams){fs, dir, keep, log ? take_line : NULL, log};
}

/* Metrics hold the lines 1 … step and nothing else. */
static void assert_metrics(const Files *fs, const char *path, int64_t step)
{
    uint8_t *data = NULL;
    size_t size = 0;
    ByteBuf want = {0};
    for (int64_t k = 1; k <= step; k++)
        OK(bytebuf_printf(&want, "{\"loss\": [%d], \"step\": %lld}\n", 3, (long long)k));
    OK(files_read(fs, &data, &size, path, 1 << 20, &ok_err));
    assert_int_equal(size, want.count);
    assert_memory_equal(data, want.count ? want.data : data, size);
    mem_free(data);
    bytebuf_free(&want);
}

static Status add_metrics(Run *r, int64_t step)
{
    char line[64];
    snprintf(line, sizeof line, "{\"loss\": [%d], \"step\": %lld}", 3, (long long)step);
    return run_add_metrics(r, line, NULL);
}

enum { STEPS = 24, EVERY = 3 };

typedef struct {
    World *world;
    int64_t promised; /* the newest step that checkpoint_save reported saved */
    Log log;
} Story;

/* Begin or go on until the end, the crash or the first error. What is found must be right. */
static void live(Story *s)
{
    const Files *fs = &s->world->files;
    const RunParams p = params_of(fs, "/r", 6, &s->log);
    Run *r = NULL;
    Checkpoint *c = NULL;
    int64_t step = 0;
    if (run_open(&r, &p, true, NULL) != ST_OK)
        return;
    Error err = {0};
    const Status st = checkpoint_open_newest(&c, r, &err);
    if (st == ST_OK) {
        assert_content(c);
        step = checkpoint_step(c);
        checkpoint_close(c);
        assert_true(step >= s->promised);
        s->promised = step; /* saved, though the call that did it may have failed in the end */
    } else if (!s->world->dead && st == ST_NOTFOUND) {
        assert_int_equal(s->promised, 0);
    }
    if ((st != ST_OK && st != ST_NOTFOUND) || s->world->dead) {
        assert_true(s->world->dead || s->world->fail_at > 0);
        run_close(r);
        return;
    }
    if (run_cut_metrics(r, step, NULL) == ST_OK && !s->world->dead)
        assert_metrics(fs, "/r/metrics.jsonl", step);
    while (step < STEPS && !s->world->dead) {
        Status done = add_metrics(r, step + 1);
        if (done == ST_OK && (step + 1) % EVERY == 0)
            done = save(r, step + 1, NULL);
        if (done != ST_OK)
            break; /* a trainer that cannot save stops */
        step++;
        if (step % EVERY == 0)
            s->promised = step;
    }
    if (step == STEPS && !s->world->dead && save(r, step, NULL) != ST_OK) /* nothing to do but tidying */
        assert_true(s->world->dead);
    run_close(r);
}

static Status count_name(void *arg, const char *name, bool is_dir)
{
    ByteBuf *names = arg;
    (void)is_dir;
    return bytebuf_printf(names, "%s ", name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a directory, sorted. */
static void assert_names(const Files *fs, const char *dir, const char *want)
{
    ByteBuf names = {0}, sorted = {0};
    char *items[64];
    size_t n = 0;
    OK(fs->list(fs->self, dir, count_name, &names, &ok_err));
    char *save_at = NULL;
    for (char *p = strtok_r((char *)(uintptr_t)bytebuf_cstr(&names), " ", &save_at); p; p = strtok_r(NULL, " ", &save_at))
        items[n++] = p;
    qsort(items, n, sizeof *items, by_name);
    for (size_t k = 0; k < n; k++)
        OK(bytebuf_printf(&sorted, "%s%s", k ? " " : "", items[k]));
    assert_string_equal(bytebuf_cstr(&sorted), want);
    bytebuf_free(&names);
    bytebuf_free(&sorted);
}

#define FINISHED "latest lock metrics.jsonl step-000006 step-000012 step-000018 step-000021 step-000024"

/* From here without faults to the end; then everything must be as if nothing had ever happened. */
static void finish(Story *s)
{
    world_restart(s->world);
    live(s);
    assert_int_equal(s->promised, STEPS);
    assert_metrics(&s->world->files, "/r/metrics.jsonl", STEPS);
    assert_names(&s->world->files, "/r", FINISHED);
    const int latest = world_node(s->world, "/r/latest");
    assert_string_equal((char *)s->world->nodes[latest]->now.data, "step-000024");
}

/* Number of changing calls of a run without faults. */
static int64_t calls_of_a_run(void)
{
    Story s = {.world = world_create(1)};
    live(&s);
    const int64_t calls = s.world->calls;
    assert_int_equal(s.promised, STEPS);
    assert_names(&s.world->files, "/r", FINISHED);
    world_destroy(s.world);
    return calls;
}

static void a_crash_at_any_call_loses_no_finished_checkpoint(void **state)
{
    (void)state;
    const int64_t calls = calls_of_a_run();
    assert_true(calls > 200);
    for (uint64_t seed = 0; seed < 4000; seed++) {
        Story s = {.world = world_create(seed)};
        Rng rng = {seed, 7, 0};
        s.world->crash_at = 1 + (int64_t)(seed % (uint64_t)calls);
        for (int crashes = 0; crashes < 3; crashes++) {
            live(&s);
            world_restart(s.world);
            s.world->crash_at = 1 + (int64_t)rng_below(&rng, (uint64_t)calls);
        }
        finish(&s);
        assert_int_equal(s.log.damaged, 0);
        world_destroy(s.world);
    }
}

/* The power stays on; one call fails. The trainer stops with an error and is started again. */
static void a_failure_of_any_call_loses_no_finished_checkpoint(void **state)
{
    (void)state;
    const int64_t calls = calls_of_a_run();
    for (int64_t n = 1; n <= calls; n++) {
        Story s = {.world = world_create((uint64_t)n)};
        s.world->fail_at = n;
        live(&s);
        s.world->fail_at = 0;
        live(&s);
        assert_int_equal(s.promised, STEPS);
        assert_metrics(&s.world->files, "/r/metrics.jsonl", STEPS);
        world_destroy(s.world);
    }
}

static void a_full_disk_is_an_error_and_costs_nothing(void **state)
{
    (void)state;
    int stopped = 0;
    for (uint64_t capacity = 100; capacity < 60000; capacity += 331) {
        Story s = {.world = world_create(capacity)};
        s.world->capacity = capacity;
        live(&s);
        stopped += s.promised < STEPS;
        const int64_t before = s.promised;
        world_restart(s.world);
        s.world->capacity = 0;
        live(&s);
        assert_true(s.promised == STEPS && before <= STEPS);
        assert_metrics(&s.world->files, "/r/metrics.jsonl", STEPS);
        world_destroy(s.world);
    }
    assert_true(stopped > 10);
    World *w = world_create(1);
    Run *r = NULL;
    Error err = {0};
    const RunParams p = params_of(&w->files, "/r", 0, NULL);
    OK(run_open(&r, &p, false, &ok_err));
    OK(save(r, 3, &ok_err));
    w->capacity = w->used + 2000;
    assert_int_equal(save(r, 6, &err), ST_NOSPACE);
    assert_non_null(strstr(err.msg, "writing checkpoint '/r/step-000006': a checkpoint needs 0.1 MB, and 0.0 MB are free"));
    assert_names(&w->files, "/r", "latest lock metrics.jsonl step-000003");
    run_close(r);
    world_destroy(w);
}

/* ---- damage ---- */

static void spoil(World *w, const char *path, size_t at)
{
    WorldNode *n = w->nodes[world_node(w, path)];
    assert_true(at < n->now.size);
    n->now.data[at] ^= 4;
}

static void a_damaged_checkpoint_is_set_aside_with_a_line(void **state)
{
    (void)state;
    static const char *const files[] = {"model.safetensors", "trainer/state.safetensors", "trainer/manifest.json",
                                        "config.json", "trainer/recipe.json"};
    for (size_t k = 0; k < 2 * sizeof files / sizeof *files; k++) {
        char path[FILES_PATH_MAX];
        World *w = world_create(k);
        Run *r = NULL;
        Checkpoint *c = NULL;
        Log log = {0};
        const RunParams p = params_of(&w->files, "/r", 0, &log);
        OK(run_open(&r, &p, false, &ok_err));
        OK(save(r, 3, &ok_err));
        OK(save(r, 6, &ok_err));
        snprintf(path, sizeof path, "/r/step-000006/%s", files[k / 2]);
        if (k % 2)
            OK(w->files.remove(w, path, &ok_err));
        else
            spoil(w, path, 0);
        OK(checkpoint_open_newest(&c, r, &ok_err));
        assert_int_equal(checkpoint_step(c), 3);
        assert_content(c);
        checkpoint_close(c);
        assert_int_equal(log.lines, 1);
        assert_non_null(strstr(log.last, "step-000006 is damaged ("));
        assert_non_null(strstr(log.last, files[k / 2]));
        assert_names(&w->files, "/r", "damaged-step-000006 latest lock metrics.jsonl step-000003");
        OK(save(r, 6, &ok_err));
        spoil(w, "/r/step-000003/model.safetensors", 700);
        spoil(w, "/r/step-000006/model.safetensors", 700);
        assert_int_equal(checkpoint_open_newest(&c, r, NULL), ST_NOTFOUND);
        assert_names(&w->files, "/r", "damaged-step-000003 damaged-step-000006 latest lock metrics.jsonl");
        run_close(r);
        world_destroy(w);
    }
}

static void every_flipped_bit_of_a_manifest_is_noticed(void **state)
{
    (void)state;
    World *w = world_create(1);
    Run *r = NULL;
    Checkpoint *c = NULL;
    const RunParams p = params_of(&w->files, "/r", 0, NULL);
    OK(run_open(&r, &p, false, &ok_err));
    OK(save(r, 3, &ok_err));
    WorldNode *n = w->nodes[world_node(w, "/r/step-000003/trainer/manifest.json")];
    int unnoticed = 0;
    for (size_t k = 0; k < n->now.size; k++) {
        for (int bit = 0; bit < 8; bit++) {
            n->now.data[k] ^= (uint8_t)(1 << bit);
            const Status st = checkpoint_open_newest(&c, r, NULL);
            n->now.data[k] ^= (uint8_t)(1 << bit);
            if (st == ST_OK) {
                assert_content(c); /* blanks, or a text that is no longer listed */
                checkpoint_close(c);
                unnoticed++;
            } else if (st != ST_UNSUPPORTED) {
                OK(w->files.rename(w, "/r/damaged-step-000003", "/r/step-000003", &ok_err));
            }
        }
    }
    assert_true(unnoticed < 200);
    run_close(r);
    world_destroy(w);
}

/* ---- on the machine's own files ---- */

static void a_run_lives_in_a_real_directory(void **state)
{
    (void)state;
    char folder[] = "/tmp/plumb-test-XXXXXX", dir[FILES_PATH_MAX], path[FILES_PATH_MAX], target[PATH_MAX] = {0};
    Error err = {0};
    Run *r = NULL, *other = NULL;
    Checkpoint *c = NULL;
    assert_non_null(mkdtemp(folder));
    snprintf(dir, sizeof dir, "%s/deep/run/", folder);
    const RunParams p = params_of(files_real(), dir, 0, NULL);
    OK(run_open(&r, &p, false, &ok_err));
    assert_int_equal(run_open(&other, &p, true, &err), ST_BUSY);
    assert_int_equal(checkpoint_open_newest(&c, r, NULL), ST_NOTFOUND);
    for (int64_t step = 1; step <= 9; step++) {
        OK(add_metrics(r, step));
        if (step % 3 == 0)
            OK(save(r, step, &ok_err));
    }
    OK(save(r, 9, &ok_err)); /* again: nothing to do */
    OK(add_metrics(r, 10));
    run_close(r);
    assert_int_equal(run_open(&r, &p, false, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "holds a run already: go on with it by --resume"));
    OK(run_open(&r, &p, true, &ok_err));
    OK(checkpoint_open_newest(&c, r, &ok_err));
    assert_int_equal(checkpoint_step(c), 9);
    assert_content(c);
    assert_int_equal(strcmp(checkpoint_path(c) + strlen(folder), "/deep/run/step-000009"), 0);
    checkpoint_close(c);
    OK(run_cut_metrics(r, 9, &ok_err));
    snprintf(path, sizeof path, "%s/deep/run/metrics.jsonl", folder);
    assert_metrics(files_real(), path, 9);
    snprintf(path, sizeof path, "%s/deep/run/latest", folder);
    assert_true(readlink(path, target, sizeof target - 1) > 0);
    assert_string_equal(target, "step-000009");
    snprintf(path, sizeof path, "%s/deep/run", folder);
    assert_names(files_real(), path, "latest lock metrics.jsonl step-000006 step-000009");
    run_close(r);
    OK(files_remove_tree(files_real(), folder, &ok_err));
}

static void a_start_that_came_to_nothing_is_no_run(void **state)
{
    (void)state;
    World *w = world_create(1);
    Run *r = NULL;
    const RunParams p = params_of(&w->files, "/r", 0, NULL);
    for (int k = 0; k < 2; k++) {
        OK(run_open(&r, &p, false, &ok_err));
        run_close(r);
    }
    OK(run_open(&r, &p, false, &ok_err));
    OK(add_metrics(r, 1));
    run_close(r);
    assert_int_equal(run_open(&r, &p, false, NULL), ST_INVALID);
    OK(run_open(&r, &p, true, &ok_err));
    OK(run_cut_metrics(r, 0, &ok_err));
    OK(save(r, 1, &ok_err));
    run_close(r);
    assert_int_equal(run_open(&r, &p, false, NULL), ST_INVALID);
    world_destroy(w);
}

/* Keeping fewer takes effect with the next checkpoint, not when somebody looks. */
static void opening_removes_nothing(void **state)
{
    (void)state;
    World *w = world_create(1);
    Run *r = NULL;
    Checkpoint *c = NULL;
    const RunParams all = params_of(&w->files, "/r", 1, NULL), two = params_of(&w->files, "/r", 0, NULL);
    OK(run_open(&r, &all, false, &ok_err));
    for (int64_t step = 1; step <= 4; step++)
        OK(save(r, step, &ok_err));
    run_close(r);
    OK(run_open(&r, &two, true, &ok_err));
    OK(checkpoint_open_newest(&c, r, &ok_err));
    checkpoint_close(c);
    assert_names(&w->files, "/r", "latest lock metrics.jsonl step-000001 step-000002 step-000003 step-000004");
    OK(save(r, 5, &ok_err));
    assert_names(&w->files, "/r", "latest lock metrics.jsonl step-000004 step-000005");
    run_close(r);
    world_destroy(w);
}

static void metrics_are_cut_behind_a_broken_line(void **state)
{
    (void)state;
    World *w = world_create(1);
    Run *r = NULL;
    const RunParams p = params_of(&w->files, "/r", 0, NULL);
    OK(w->files.make_dir(w, "/r", &ok_err));
    static const char text[] = "{\"loss\": [3], \"step\": 1}\n{\"loss\": [3], \"step\": 2}\n{\"loss\": [3], \"st\n";
    OK(files_write_new(&w->files, "/r/metrics.jsonl", text, sizeof text - 1, &ok_err));
    OK(run_open(&r, &p, true, &ok_err));
    OK(run_cut_metrics(r, 9, &ok_err));
    assert_metrics(&w->files, "/r/metrics.jsonl", 2);
    OK(add_metrics(r, 3));
    assert_metrics(&w->files, "/r/metrics.jsonl", 3);
    OK(run_cut_metrics(r, 1, &ok_err));
    assert_metrics(&w->files, "/r/metrics.jsonl", 1);
    run_close(r);
    world_destroy(w);
}

/* ---- the sample of version 1 ---- */

static void copy_file(World *w, const char *dir, const char *name)
{
    char from[FILES_PATH_MAX], to[FILES_PATH_MAX];
    uint8_t *data = NULL;
    size_t size = 0;
    snprintf(from, sizeof from, "tests/vectors/checkpoint-v1/step-000003/%s", name);
    snprintf(to, sizeof to, "%s/%s", dir, name);
    OK(files_read(files_real(), &data, &size, from, 1 << 20, &ok_err));
    OK(files_write_new(&w->files, to, data, size, &ok_err));
    mem_free(data);
}

static void the_sample_of_version_1_still_loads(void **state)
{
    (void)state;
    static const char *const names[] = {"config.json", "model.safetensors", "trainer/state.safetensors",
                                        "trainer/recipe.json", "trainer/manifest.json"};
    World *w = world_create(1);
    Run *r = NULL;
    Checkpoint *c = NULL;
    Error err = {0};
    const RunParams p = params_of(&w->files, "/r", 0, NULL);
    OK(w->files.make_dir(w, "/r", &ok_err));
    OK(w->files.make_dir(w, "/r/step-000003", &ok_err));
    OK(w->files.make_dir(w, "/r/step-000003/trainer", &ok_err));
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        copy_file(w, "/r/step-000003", names[k]);
    OK(run_open(&r, &p, true, &ok_err));
    OK(checkpoint_open_newest(&c, r, &ok_err));
    assert_content(c);
    const void *data;
    assert_int_equal(checkpoint_state_data(c, "cursor", DT_I64, B + 1, &data, &err), ST_CORRUPT);
    assert_non_null(strstr(err.msg, "tensor 'cursor' has 40 elements of I64, expected 41 of I64"));
    assert_int_equal(checkpoint_state_data(c, "none", DT_I64, B, &data, &err), ST_NOTFOUND);
    checkpoint_close(c);
    WorldNode *n = w->nodes[world_node(w, "/r/step-000003/trainer/manifest.json")];
    uint8_t *version = memmem(n->now.data, n->now.size, "\"version\": 1", 12);
    assert_non_null(version);
    version[11] = '2';
    assert_int_equal(checkpoint_open_newest(&c, r, &err), ST_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "trainer/manifest.json: version 2, this program knows 1"));
    assert_names(&w->files, "/r", "latest lock metrics.jsonl step-000003");
    run_close(r);
    world_destroy(w);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    for (int64_t n = 1;; n++) {
        World *w = world_create((uint64_t)n);
        const RunParams p = params_of(&w->files, "/r", 0, NULL);
        Run *r = NULL;
        Checkpoint *c = NULL;
        mem_fail_at(n);
        Status st = run_open(&r, &p, true, NULL);
        st = st == ST_OK ? add_metrics(r, 1) : st;
        st = st == ST_OK ? save(r, 3, NULL) : st;
        st = st == ST_OK ? save(r, 6, NULL) : st;
        st = st == ST_OK ? checkpoint_open_newest(&c, r, NULL) : st;
        st = st == ST_OK ? run_cut_metrics(r, 6, NULL) : st;
        mem_fail_at(0);
        checkpoint_close(c);
        run_close(r);
        world_destroy(w);
        if (st == ST_OK)
            break;
        assert_int_equal(st, ST_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_at_any_call_loses_no_finished_checkpoint),
        cmocka_unit_test(a_failure_of_any_call_loses_no_finished_checkpoint),
        cmocka_unit_test(a_full_disk_is_an_error_and_costs_nothing),
        cmocka_unit_test(a_damaged_checkpoint_is_set_aside_with_a_line),
        cmocka_unit_test(every_flipped_bit_of_a_manifest_is_noticed),
        cmocka_unit_test(a_run_lives_in_a_real_directory),
        cmocka_unit_test(a_start_that_came_to_nothing_is_no_run),
        cmocka_unit_test(opening_removes_nothing),
        cmocka_unit_test(metrics_are_cut_behind_a_broken_line),
        cmocka_unit_test(the_sample_of_version_1_still_loads),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
