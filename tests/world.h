/* A file system in memory for tests of crashes: an implementation of base/fileio.h that keeps, beside
 * what a program sees, what would be left after the power failed.
 *
 * A crash keeps of each file its synced bytes plus a random choice of the later writes, each of them
 * perhaps torn at a multiple of 512 bytes; and of each directory its synced names plus a random choice
 * of the later changes (a rename is one change). That is the least that POSIX promises: real file
 * systems lose less. Everything is a function of the seed. One thread.
 *
 * Faults: crash_at = N makes the N-th changing call the last one (it may be half done); fail_at = N
 * makes it fail with ST_IO once; capacity bounds the bytes of all files (ST_NOSPACE). */
#ifndef PLUMB_TESTS_WORLD_H
#define PLUMB_TESTS_WORLD_H

#include "base/fileio.h"
#include "base/mem.h"
#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

enum { WORLD_SECTOR = 512, WORLD_NODES_MAX = 20000 };

typedef enum { WORLD_FILE, WORLD_DIR, WORLD_LINK } WorldKind;

typedef struct {
    uint8_t *data;
    size_t size;
} WorldBytes;

/* A write that is not synced yet, or (data NULL) a change of size. */
typedef struct {
    uint64_t offset;
    size_t size;
    uint8_t *data;
} WorldWrite;

typedef struct {
    char name[64];
    int node; /* -1: the name is gone */
} WorldName;

/* One change of a directory that is not synced yet: up to two names (a rename has two). */
typedef struct {
    WorldName set[2];
    int count;
} WorldChange;

typedef struct {
    WorldName *items;
    int count;
} WorldNames;

typedef struct {
    WorldKind kind;
    WorldBytes now, durable; /* of a file; a link's target */
    WorldWrite *writes;
    int write_count;
    WorldNames names, durable_names; /* of a directory */
    WorldChange *changes;
    int change_count;
} WorldNode;

typedef struct {
    Files files;
    Rng rng;
    WorldNode *nodes[WORLD_NODES_MAX]; /* 0: the root, which is "/" and "." */
    int node_count;
    int64_t calls;    /* changing calls so far */
    int64_t crash_at; /* 0: never */
    int64_t fail_at;  /* 0: never */
    uint64_t capacity, used;
    bool dead; /* after the crash and until world_restart */
} World;

struct FileHandle {
    int node;
};

/* ---- small parts ---- */

static inline void world_resize(WorldBytes *b, size_t size)
{
    b->data = realloc(b->data, size ? size : 1);
    CHECK(b->data);
    if (size > b->size)
        memset(b->data + b->size, 0, size - b->size);
    b->size = size;
}

static inline void world_apply(WorldBytes *b, const WorldWrite *w, size_t bytes)
{
    if (!w->data) {
        world_resize(b, (size_t)w->offset);
        return;
    }
    if (bytes == 0)
        return;
    if (b->size < w->offset + bytes)
        world_resize(b, (size_t)w->offset + bytes);
    memcpy(b->data + w->offset, w->data, bytes);
}

static inline int world_find_name(const WorldNames *n, const char *name)
{
    for (int k = 0; k < n->count; k++)
        if (strcmp(n->items[k].name, name) == 0)
            return k;
    return -1;
}

static inline void world_set_name(WorldNames *n, const WorldName *to)
{
    const int k = world_find_name(n, to->name);
    if (to->node < 0) {
        if (k >= 0)
            n->items[k] = n->items[--n->count];
    } else if (k >= 0) {
        n->items[k] = *to;
    } else {
        n->items = realloc(n->items, ((size_t)n->count + 1) * sizeof *n->items);
        CHECK(n->items);
        n->items[n->count++] = *to;
    }
}

static inline void world_copy_names(WorldNames *to, const WorldNames *from)
{
    free(to->items);
    to->items = malloc(((size_t)from->count + 1) * sizeof *to->items);
    CHECK(to->items);
    if (from->count)
        memcpy(to->items, from->items, (size_t)from->count * sizeof *to->items);
    to->count = from->count;
}

static inline void world_copy_bytes(WorldBytes *to, const WorldBytes *from)
{
    world_resize(to, from->size);
    if (from->size)
        memcpy(to->data, from->data, from->size);
}

static inline int world_new_node(World *w, WorldKind kind)
{
    CHECK(w->node_count < WORLD_NODES_MAX);
    WorldNode *n = calloc(1, sizeof *n);
    CHECK(n);
    n->kind = kind;
    w->nodes[w->node_count] = n;
    return w->node_count++;
}

static inline void world_forget(WorldNode *n)
{
    for (int k = 0; k < n->write_count; k++)
        free(n->writes[k].data);
    free(n->writes);
    free(n->changes);
    n->writes = NULL;
    n->changes = NULL;
    n->write_count = n->change_count = 0;
}

/* ---- paths ---- */

/* Walk to the directory of `path`; its last part goes into *last. -1 when there is no such directory. */
static inline int world_walk(const World *w, const char *path, WorldName *last)
{
    int at = 0;
    *last = (WorldName){.node = 0};
    for (;;) {
        while (*path == '/')
            path++;
        if (!*path)
            return at;
        const size_t n = strcspn(path, "/");
        CHECK(n < sizeof last->name);
        char part[sizeof last->name] = {0};
        memcpy(part, path, n);
        path += n;
        while (*path == '/')
            path++;
        if (strcmp(part, ".") == 0 && !*path)
            return at;
        const WorldNode *dir = w->nodes[at];
        const int k = world_find_name(&dir->names, part);
        const int node = k < 0 ? -1 : dir->names.items[k].node;
        if (!*path) {
            memcpy(last->name, part, sizeof part);
            last->node = node;
            return at;
        }
        if (node < 0 || w->nodes[node]->kind != WORLD_DIR)
            return -1;
        at = node;
    }
}

static inline int world_node(const World *w, const char *path)
{
    WorldName last;
    return world_walk(w, path, &last) < 0 ? -1 : last.node;
}

static inline Status world_missing(const char *path, Error *err)
{
    return error_set(err, ST_NOTFOUND, "world: no such file or directory: '%s'", path);
}

/* ---- faults ---- */

/* Count a changing call. Returns ST_OK when it shall be done; *half when it is the last one. */
static inline Status world_count(World *w, bool *half, Error *err)
{
    *half = false;
    if (w->dead)
        return error_set(err, ST_IO, "world: gone");
    w->calls++;
    if (w->calls == w->fail_at)
        return error_set(err, ST_IO, "world: call %lld fails", (long long)w->calls);
    if (w->calls == w->crash_at) {
        w->dead = true;
        if (rng_below(&w->rng, 2) == 0)
            return error_set(err, ST_IO, "world: gone");
        *half = true;
    }
    return ST_OK;
}

static inline Status world_result(const World *w, Error *err)
{
    return w->dead ? error_set(err, ST_IO, "world: gone") : ST_OK;
}

static inline void world_change(World *w, int dir, const WorldChange *c)
{
    WorldNode *n = w->nodes[dir];
    for (int k = 0; k < c->count; k++)
        world_set_name(&n->names, &c->set[k]);
    n->changes = realloc(n->changes, ((size_t)n->change_count + 1) * sizeof *n->changes);
    CHECK(n->changes);
    n->changes[n->change_count++] = *c;
}

/* ---- the interface ---- */

static inline void world_add_write(WorldNode *n, uint64_t offset, const void *data, size_t size)
{
    n->writes = realloc(n->writes, ((size_t)n->write_count + 1) * sizeof *n->writes);
    CHECK(n->writes);
    WorldWrite *x = &n->writes[n->write_count++];
    *x = (WorldWrite){offset, size, NULL};
    if (data) {
        x->data = malloc(size ? size : 1);
        CHECK(x->data);
        memcpy(x->data, data, size);
    }
    world_apply(&n->now, x, size);
}

static inline Status world_open(void *self, FileHandle **out, const char *path, FileMode mode, Error *err)
{
    World *w = self;
    WorldName last;
    const int dir = world_walk(w, path, &last);
    if (dir < 0 || (last.node < 0 && mode == FILE_CHANGE))
        return world_missing(path, err);
    if (last.node >= 0 && w->nodes[last.node]->kind != WORLD_FILE)
        return error_set(err, ST_IO, "world: '%s' is not a file", path);
    bool half;
    const Status st = world_count(w, &half, err);
    if (st != ST_OK)
        return st;
    if (last.node < 0) {
        last.node = world_new_node(w, WORLD_FILE);
        world_change(w, dir, &(WorldChange){{last}, 1});
    } else if (mode == FILE_CREATE) {
        w->used -= w->nodes[last.node]->now.size;
        world_add_write(w->nodes[last.node], 0, NULL, 0);
    }
    FileHandle *f = malloc(sizeof *f);
    CHECK(f);
    f->node = last.node;
    if (w->dead)
        free(f);
    else
        *out = f;
    return world_result(w, err);
}

static inline Status world_write(void *self, FileHandle *f, uint64_t offset, const void *data, size_t size, Error *err)
{
    World *w = self;
    bool half;
    const Status st = world_count(w, &half, err);
    if (st != ST_OK)
        return st;
    WorldNode *n = w->nodes[f->node];
    const size_t end = (size_t)offset + size;
    const size_t grows = end > n->now.size ? end - n->now.size : 0;
    if (w->capacity && w->used + grows > w->capacity)
        return error_set(err, ST_NOSPACE, "world: no space left");
    w->used += grows;
    world_add_write(n, offset, data, half ? (size_t)rng_below(&w->rng, size + 1) : size);
    return world_result(w, err);
}

static inline Status world_set_size(void *self, FileHandle *f, uint64_t size, Error *err)
{
    World *w = self;
    bool half;
    const Status st = world_count(w, &half, err);
    if (st != ST_OK)
        return st;
    w->used -= w->nodes[f->node]->now.size;
    w->used += size;
    world_add_write(w->nodes[f->node], size, NULL, 0);
    return world_result(w, err);
}

static inline Status world_sync(void *self, FileHandle *f, Error *err)
{
    World *w = self;
    bool half;
    const Status st = world_count(w, &half, err);
    if (st != ST_OK)
        return st;
    WorldNode *n = w->nodes[f->node];
    if (!half) {
        world_copy_bytes(&n->durable, &n->now);
        world_forget(n);
    }
    return world_result(w, err);
}

static inline Status world_close(void *self, FileHandle *f, Error *err)
{
    (void)self;
    (void)err;
    free(f);
    return ST_OK;
}

static inline Status world_map(void *self, MapFile *out, const char *path, Error *err)
{
    const World *w = self;
    if (w->dead)
        return error_set(err, ST_IO, "world: gone");
    const int node = world_node(w, path);
    if (node < 0 || w->nodes[node]->kind != WORLD_FILE)
        return world_missing(path, err);
    const WorldBytes *b = &w->nodes[node]->now;
    *out = (MapFile){NULL, b->size};
    if (b->size > 0) {
        uint8_t *copy = malloc(b->size);
        CHECK(copy);
        memcpy(copy, b->data, b->size);
        out->data = copy;
    }
    return ST_OK;
}

static inline void world_unmap(void *self, MapFile *m)
{
    (void)self;
    free((void *)(uintptr_t)m->data);
    *m = (MapFile){0};
}

static inline Status world_make(World *w, WorldKind kind, const char *path, int *node, Error *err)
{
    WorldName last;
    const int dir = world_walk(w, path, &last);
    if (dir < 0)
        return world_missing(path, err);
    if (last.node >= 0) {
        if (kind == WORLD_DIR && w->nodes[last.node]->kind == WORLD_DIR)
            return ST_OK;
        return error_set(err, ST_IO, "world: '%s' is there already", path);
    }
    bool half;
    const Status st = world_count(w, &half, err);
    if (st != ST_OK)
        return st;
    last.node = *node = world_new_node(w, kind);
    world_change(w, dir, &(WorldChange){{last}, 1});
    return world_result(w, err);
}

static inline Status world_make_dir(void *self, const char *path, Error *err)
{
    int node = -1;
    return world_make(self, WORLD_DIR, path, &node, err);
}

static inline Status world_make_link(void *self, const char *target, const char *path, Error *err)
{
    World *w = self;
    int node = -1;
    const Status st = world_make(w, WORLD_LINK, path, &node, err);
    if (node >= 0) { /* a link's target comes with its name */
        WorldNode *n = w->nodes[node];
        world_resize(&n->now, strlen(target) + 1);
        memcpy(n->now.data, target, strlen(target) + 1);
        world_copy_bytes(&n->durable, &n->now);
    }
    return st;
}

static inline Status world_sync_dir(void *self, const char *path, Error *err)
{
    World *w = self;
    const int node = world_node(w, path);
    if (node < 0 || w->nodes[node]->kind != WORLD_DIR)
        return world_missing(path, err);
    bool half;
    const Status st = world_count(w, &half, err);
    if (st != ST_OK)
        return st;
    WorldNode *n = w->nodes[node];
    if (!half) {
        world_copy_names(&n->durable_names, &n->names);
        world_forget(n);
    }
    return world_result(w, err);
}

static inline Status world_rename(void *self, const char *from, const char *to, Error *err)
{
    World *w = self;
    WorldName a, b;
    const int dir = world_walk(w, from, &a), dir_to = world_walk(w, to, &b);
    if (dir < 0 || dir_to < 0 || a.node < 0)
        return world_missing(from, err);
    CHECK(dir == dir_to); /* all that is needed, and one change */
    if (b.node >= 0 && w->nodes[b.node]->kind == WORLD_DIR)
        return error_set(err, ST_IO, "world: '%s' is a directory that is there already", to);
    bool half;
    const Status st = world_count(w, &half, err);
    if (st != ST_OK)
        return st;
    if (b.node >= 0)
        w->used -= w->nodes[b.node]->now.size;
    b.node = a.node;
    a.node = -1;
    world_change(w, dir, &(WorldChange){{a, b}, 2});
    return world_result(w, err);
}

static inline Status world_remove(void *self, const char *path, Error *err)
{
    World *w = self;
    WorldName last;
    const int dir = world_walk(w, path, &last);
    if (dir < 0 || last.node < 0)
        return world_missing(path, err);
    if (w->nodes[last.node]->kind == WORLD_DIR && w->nodes[last.node]->names.count > 0)
        return error_set(err, ST_IO, "world: '%s' is not empty", path);
    bool half;
    const Status st = world_count(w, &half, err);
    if (st != ST_OK)
        return st;
    w->used -= w->nodes[last.node]->now.size;
    last.node = -1;
    world_change(w, dir, &(WorldChange){{last}, 1});
    return world_result(w, err);
}

static inline Status world_list(void *self, const char *path, FileNameFn fn, void *arg, Error *err)
{
    const World *w = self;
    if (w->dead)
        return error_set(err, ST_IO, "world: gone");
    const int node = world_node(w, path);
    if (node < 0 || w->nodes[node]->kind != WORLD_DIR)
        return world_missing(path, err);
    WorldNames names = {NULL, 0};
    world_copy_names(&names, &w->nodes[node]->names);
    Status st = ST_OK;
    for (int k = 0; k < names.count && st == ST_OK; k++)
        st = fn(arg, names.items[k].name, w->nodes[names.items[k].node]->kind == WORLD_DIR);
    free(names.items);
    return st;
}

static inline Status world_space(void *self, const char *path, uint64_t *bytes, Error *err)
{
    const World *w = self;
    (void)path;
    (void)err;
    *bytes = w->capacity ? w->capacity - w->used : UINT64_MAX / 2;
    return ST_OK;
}

static inline Status world_lock(void *self, FileHandle **out, const char *path, Error *err)
{
    return world_open(self, out, path, FILE_CREATE, err);
}

/* ---- the world itself ---- */

static inline World *world_create(uint64_t seed)
{
    World *w = calloc(1, sizeof *w);
    CHECK(w);
    w->rng = (Rng){seed, 1, 0};
    world_new_node(w, WORLD_DIR);
    w->files = (Files){w,           world_open, world_write,    world_set_size, world_sync,     world_close,
                       world_map,   world_unmap, world_make_dir, world_sync_dir, world_rename,   world_remove,
                       world_make_link, world_list, world_space,    world_lock};
    return w;
}

static inline void world_destroy(World *w)
{
    for (int k = 0; k < w->node_count; k++) {
        WorldNode *n = w->nodes[k];
        world_forget(n);
        free(n->now.data);
        free(n->durable.data);
        free(n->names.items);
        free(n->durable_names.items);
        free(n);
    }
    free(w);
}

static inline void world_lose(World *w, WorldNode *n)
{
    const uint64_t luck = rng_below(&w->rng, 4); /* 0: nothing unsynced survives; 3: everything does */
    for (int k = 0; k < n->write_count; k++) {
        const WorldWrite *x = &n->writes[k];
        if (luck == 3 || (luck > 0 && rng_below(&w->rng, 2))) {
            size_t bytes = x->size;
            if (luck == 1 && bytes > WORLD_SECTOR)
                bytes = (size_t)rng_below(&w->rng, bytes / WORLD_SECTOR + 1) * WORLD_SECTOR;
            world_apply(&n->durable, x, bytes);
        }
    }
    for (int k = 0; k < n->change_count; k++)
        if (luck == 3 || (luck > 0 && rng_below(&w->rng, 2)))
            for (int i = 0; i < n->changes[k].count; i++)
                world_set_name(&n->durable_names, &n->changes[k].set[i]);
    world_copy_bytes(&n->now, &n->durable);
    world_copy_names(&n->names, &n->durable_names);
    world_forget(n);
}

/* The power comes back: only what was durable, and some of the rest, is there. */
static inline void world_restart(World *w)
{
    for (int k = 0; k < w->node_count; k++)
        world_lose(w, w->nodes[k]);
    w->dead = false;
    w->crash_at = w->fail_at = 0;
    w->calls = 0;
    w->used = 0;
    for (int k = 0; k < w->node_count; k++)
        w->used += w->nodes[k]->now.size; /* too much: nodes without a name count */
}

#endif
