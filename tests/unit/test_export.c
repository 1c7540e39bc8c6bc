/* Exporting a model among files that fail, run full and crash, and without memory: all of the directory, or nothing. */
#include "train/export.h"

#include "base/mem.h"
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define MODEL "tests/vectors/deepseek_v4/saved-mtp"

static const char *const names[] = {"out/model.safetensors", "out/config.json", "out/manifest.json"};
#define NAMES (sizeof names / sizeof *names)

static Status export_into(World *w, ExportResult *r, Error *err)
{
    const ExportParams p = {.fs = &w->files, .from = MODEL, .out = "out/", .dtype = DT_BF16};
    return export_model(&p, r, err);
}

/* The files as they should be. */
typedef struct {
    World *world;
    MapFile files[NAMES];
    int calls; /* that change the world */
} Good;

static int setup(void **state)
{
    static Good good;
    ExportResult r = {0};
    good.world = world_create(1);
    assert_int_equal(export_into(good.world, &r, NULL), ST_OK);
    good.calls = (int)good.world->calls;
    const Files *fs = &good.world->files;
    for (size_t k = 0; k < NAMES; k++)
        assert_int_equal(fs->map(fs->self, &good.files[k], names[k], NULL), ST_OK);
    assert_true(r.tensors > 50 && r.bytes > 0 && good.calls > 8);
    *state = &good;
    return 0;
}

static int teardown(void **state)
{
    Good *good = *state;
    for (size_t k = 0; k < NAMES; k++)
        good->world->files.unmap(good->world->files.self, &good->files[k]);
    world_destroy(good->world);
    return 0;
}

/* Is the directory there? Then it is whole, and nothing unfinished lies beside it when `tidy`. */
static bool whole_or_absent(const Good *good, World *w, bool tidy)
{
    const Files *fs = &w->files;
    MapFile m = {0};
    if (tidy)
        assert_false(files_exist(fs, ".", "out.tmp"));
    if (!files_exist(fs, ".", "out"))
        return false;
    for (size_t k = 0; k < NAMES; k++) {
        assert_int_equal(fs->map(fs->self, &m, names[k], NULL), ST_OK);
        assert_int_equal(m.size, good->files[k].size);
        assert_memory_equal(m.data, good->files[k].data, m.size);
        fs->unmap(fs->self, &m);
    }
    return true;
}

static void a_call_that_fails_leaves_nothing(void **state)
{
    const Good *good = *state;
    for (int n = 1; n <= good->calls; n++) {
        World *w = world_create((uint64_t)n);
        ExportResult r = {0};
        w->fail_at = n;
        const Status st = export_into(w, &r, NULL);
        assert_int_not_equal(st, ST_OK);
        assert_int_equal(whole_or_absent(good, w, true), n == good->calls); /* the last call syncs the name */
        world_destroy(w);
    }
}

static void a_crash_leaves_all_or_nothing(void **state)
{
    const Good *good = *state;
    for (uint64_t seed = 0; seed < 20; seed++)
        for (int n = 1; n <= good->calls; n++) {
            World *w = world_create(seed * 1000 + (uint64_t)n);
            ExportResult r = {0};
            w->crash_at = n;
            assert_int_not_equal(export_into(w, &r, NULL), ST_OK);
            world_restart(w);
            const bool there = whole_or_absent(good, w, false);
            assert_int_equal(export_into(w, &r, NULL), there ? ST_INVALID : ST_OK); /* and what is left is no obstacle */
            assert_true(whole_or_absent(good, w, true) || there);
            world_destroy(w);
        }
}

static void a_full_disk_leaves_nothing(void **state)
{
    const Good *good = *state;
    for (size_t bytes = 0; bytes < good->files[0].size; bytes += 1000) {
        World *w = world_create(bytes);
        ExportResult r = {0};
        w->capacity = bytes + 1;
        assert_int_equal(export_into(w, &r, NULL), ST_NOSPACE);
        assert_false(whole_or_absent(good, w, true));
        world_destroy(w);
    }
}

/* Removing what was begun takes memory, too: it may stay under its temporary name, and is no obstacle. */
static void lack_of_memory_makes_no_directory(void **state)
{
    const Good *good = *state;
    Status st = ST_NOMEM;
    for (int n = 1; st != ST_OK; n++) {
        World *w = world_create(1);
        ExportResult r = {0};
        mem_fail_at(n);
        st = export_into(w, &r, NULL);
        mem_fail_at(0);
        assert_true(st == ST_OK || st == ST_NOMEM);
        assert_int_equal(whole_or_absent(good, w, false), st == ST_OK);
        if (st != ST_OK)
            assert_int_equal(export_into(w, &r, NULL), ST_OK);
        assert_true(whole_or_absent(good, w, true));
        world_destroy(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_that_fails_leaves_nothing),
        cmocka_unit_test(a_crash_leaves_all_or_nothing),
        cmocka_unit_test(a_full_disk_leaves_nothing),
        cmocka_unit_test(lack_of_memory_makes_no_directory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
