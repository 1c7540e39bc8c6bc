/* The file interface: the machine's files do what the header says, and the world in memory, which other
 * tests trust, does the same until a crash; after one it keeps what was synced. */
#include "base/fileio.h"
#include "base/atomic_file.h"
#include "base/mem.h"
#include "formats/safetensors.h"
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define OK(expr)                                   \
    do {                                           \
        Error ok_err;                              \
        if ((expr) != ST_OK)                       \
            fail_msg("%s: %s", #expr, ok_err.msg); \
    } while (0)

static char folder[] = "/tmp/plumb-test-XXXXXX";

typedef struct {
    int count;
    char names[8][64];
} Names;

static Status take_name(void *arg, const char *name, bool is_dir)
{
    Names *n = arg;
    snprintf(n->names[n->count++], 64, "%s%s", name, is_dir ? "/" : "");
    return ST_OK;
}

static bool has(const Names *n, const char *name)
{
    for (int k = 0; k < n->count; k++)
        if (strcmp(n->names[k], name) == 0)
            return true;
    return false;
}

static void assert_content(const Files *fs, const char *path, const char *want)
{
    uint8_t *data = NULL;
    size_t size = 0;
    OK(files_read(fs, &data, &size, path, 1000, &ok_err));
    assert_string_equal((const char *)data, want);
    assert_int_equal(size, strlen(want));
    mem_free(data);
}

/* The same story on both. */
static void tell(const Files *fs, const char *root)
{
    char dir[FILES_PATH_MAX], a[FILES_PATH_MAX], b[FILES_PATH_MAX], none[FILES_PATH_MAX];
    OK(files_join(dir, root, "d", &ok_err));
    OK(fs->make_dir(fs->self, dir, &ok_err));
    OK(fs->make_dir(fs->self, dir, &ok_err));
    OK(files_join(a, dir, "a", &ok_err));
    OK(files_join(b, dir, "b", &ok_err));
    OK(files_join(none, dir, "none/x", &ok_err));
    FileHandle *f = NULL;
    assert_int_equal(fs->open(fs->self, &f, a, FILE_CHANGE, NULL), ST_NOTFOUND);
    assert_int_equal(fs->open(fs->self, &f, none, FILE_CREATE, NULL), ST_NOTFOUND);
    OK(fs->open(fs->self, &f, a, FILE_CREATE, &ok_err));
    OK(fs->write(fs->self, f, 3, "defg", 4, &ok_err));
    OK(fs->write(fs->self, f, 0, "abc", 3, &ok_err));
    OK(fs->set_size(fs->self, f, 5, &ok_err));
    OK(fs->sync(fs->self, f, &ok_err));
    OK(fs->close(fs->self, f, &ok_err));
    assert_content(fs, a, "abcde");
    OK(fs->open(fs->self, &f, a, FILE_CHANGE, &ok_err));
    OK(fs->write(fs->self, f, 5, "f", 1, &ok_err));
    OK(fs->close(fs->self, f, &ok_err));
    assert_content(fs, a, "abcdef");
    OK(files_write_new(fs, b, "b", 1, &ok_err));
    OK(fs->make_link(fs->self, "a", none, NULL) == ST_NOTFOUND ? ST_OK : ST_IO);
    OK(fs->rename(fs->self, a, b, &ok_err));
    assert_content(fs, b, "abcdef");
    OK(fs->make_link(fs->self, "b", a, &ok_err));
    Names names = {0};
    OK(fs->list(fs->self, dir, take_name, &names, &ok_err));
    assert_int_equal(names.count, 2);
    assert_true(has(&names, "a"));
    assert_true(has(&names, "b"));
    OK(fs->sync_dir(fs->self, dir, &ok_err));
    OK(files_sync_parent(fs, dir, &ok_err));
    assert_true(files_exist(fs, root, "d"));
    assert_true(files_exist(fs, dir, "b"));
    assert_false(files_exist(fs, dir, "c"));
    assert_int_not_equal(fs->remove(fs->self, dir, NULL), ST_OK);
    OK(files_join(a, dir, "inner", &ok_err));
    OK(fs->make_dir(fs->self, a, &ok_err));
    OK(files_remove_tree(fs, dir, &ok_err));
    OK(files_remove_tree(fs, dir, &ok_err));
    assert_false(files_exist(fs, root, "d"));
    uint64_t space = 0;
    OK(fs->space(fs->self, root, &space, &ok_err));
    assert_true(space > 0);
}

static void the_machine_and_the_world_do_the_same(void **state)
{
    (void)state;
    tell(files_real(), folder);
    World *w = world_create(1);
    tell(&w->files, "/");
    world_destroy(w);
}

static void a_lock_is_held_by_one(void **state)
{
    (void)state;
    const Files *fs = files_real();
    char path[FILES_PATH_MAX];
    FileHandle *f = NULL, *g = NULL;
    Error err;
    OK(files_join(path, folder, "lock", &ok_err));
    OK(fs->lock(fs->self, &f, path, &ok_err));
    assert_int_equal(fs->lock(fs->self, &g, path, &err), ST_BUSY);
    assert_non_null(strstr(err.msg, "another process holds"));
    OK(fs->close(fs->self, f, &ok_err));
    OK(fs->lock(fs->self, &g, path, &ok_err));
    OK(fs->close(fs->self, g, &ok_err));
    OK(fs->remove(fs->self, path, &ok_err));
}

/* Without sync some crash loses the bytes and some crash tears them; with it none does. */
static void a_crash_loses_what_was_not_synced(void **state)
{
    (void)state;
    int lost = 0, torn = 0, whole = 0;
    char want[2048];
    memset(want, 'x', sizeof want);
    for (uint64_t seed = 1; seed <= 200; seed++) {
        World *w = world_create(seed);
        const Files *fs = &w->files;
        const bool sync = seed % 2 == 0;
        FileHandle *f = NULL;
        OK(fs->open(fs->self, &f, "/f", FILE_CREATE, &ok_err));
        OK(fs->sync_dir(fs->self, "/", &ok_err));
        OK(fs->write(fs->self, f, 0, want, sizeof want, &ok_err));
        if (sync)
            OK(fs->sync(fs->self, f, &ok_err));
        OK(fs->close(fs->self, f, &ok_err));
        world_restart(w);
        uint8_t *data = NULL;
        size_t size = 0;
        OK(files_read(fs, &data, &size, "/f", 1 << 20, &ok_err));
        assert_true(!sync || (size == sizeof want && memcmp(data, want, size) == 0));
        lost += size == 0;
        torn += size > 0 && size < sizeof want;
        whole += size == sizeof want;
        mem_free(data);
        world_destroy(w);
    }
    assert_true(lost > 10);
    assert_true(torn > 5);
    assert_true(whole > 110);
}

static void a_replaced_file_is_the_old_or_the_new_one(void **state)
{
    (void)state;
    int old = 0, new = 0;
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        World *w = world_create(seed);
        const Files *fs = &w->files;
        OK(files_write_new(fs, "/f", "old", 3, &ok_err));
        OK(fs->sync_dir(fs->self, "/", &ok_err));
        w->crash_at = w->calls + 1 + (int64_t)(seed % 6);
        AtomicFile a = {0};
        Status st = atomic_file_open(&a, fs, "/f", NULL);
        if (st == ST_OK)
            st = atomic_file_write(&a, 0, "new!", 4, NULL);
        if (st == ST_OK)
            st = atomic_file_commit(&a, NULL);
        atomic_file_abandon(&a);
        world_restart(w);
        uint8_t *data = NULL;
        size_t size = 0;
        OK(files_read(fs, &data, &size, "/f", 100, &ok_err));
        const bool is_new = strcmp((const char *)data, "new!") == 0;
        assert_true(is_new || strcmp((const char *)data, "old") == 0);
        assert_true(st != ST_OK || is_new);
        old += !is_new;
        new += is_new;
        mem_free(data);
        world_destroy(w);
    }
    assert_true(old > 100);
    assert_true(new > 100);
}

static void safetensors_are_written_through_the_interface(void **state)
{
    (void)state;
    const float v[4] = {1, 2, 3, 4};
    const SafetensorsItem item = {"w", DT_F32, 1, {4}, v};
    char path[FILES_PATH_MAX];
    OK(files_join(path, folder, "w.safetensors", &ok_err));
    OK(safetensors_save(path, &item, 1, NULL, &ok_err));
    World *w = world_create(1);
    OK(safetensors_save_in(&w->files, "/w.safetensors", &item, 1, NULL, &ok_err));
    uint8_t *a = NULL, *b = NULL;
    size_t na = 0, nb = 0;
    OK(files_read(files_real(), &a, &na, path, 1000, &ok_err));
    OK(files_read(&w->files, &b, &nb, "/w.safetensors", 1000, &ok_err));
    assert_int_equal(na, nb);
    assert_memory_equal(a, b, na);
    mem_free(a);
    mem_free(b);
    w->capacity = w->used + 50;
    assert_int_equal(safetensors_save_in(&w->files, "/v.safetensors", &item, 1, NULL, NULL), ST_NOSPACE);
    assert_false(files_exist(&w->files, "/", "v.safetensors"));
    world_destroy(w);
    unlink(path);
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_machine_and_the_world_do_the_same),
        cmocka_unit_test(a_lock_is_held_by_one),
        cmocka_unit_test(a_crash_loses_what_was_not_synced),
        cmocka_unit_test(a_replaced_file_is_the_old_or_the_new_one),
        cmocka_unit_test(safetensors_are_written_through_the_interface),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
