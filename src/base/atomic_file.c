/* See atomic_file.h. */
#include "base/atomic_file.h"

#include "base/mem.h"

#include <stdio.h>
#include <unistd.h>

Status atomic_file_open(AtomicFile *f, const Files *fs, const char *path, Error *err)
{
    char tmp[FILES_PATH_MAX];
    const int n = snprintf(tmp, sizeof tmp, "%s.tmp-%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof tmp)
        return error_set(err, ST_INVALID, "path too long: '%s'", path);
    AtomicFile out = {mem_strdup(path), mem_strdup(tmp), fs, NULL};
    Status st = ST_OK;
    if (!out.path || !out.tmp) {
        st = error_set(err, ST_NOMEM, "no memory to write '%s'", path);
        goto out;
    }
    TRY(fs->open(fs->self, &out.handle, tmp, FILE_CREATE, err));
    *f = out;
    return ST_OK;
out:
    mem_free(out.path);
    mem_free(out.tmp);
    return st;
}

Status atomic_file_write(AtomicFile *f, uint64_t offset, const void *data, size_t size, Error *err)
{
    return f->fs->write(f->fs->self, f->handle, offset, data, size, err);
}

Status atomic_file_commit(AtomicFile *f, Error *err)
{
    CHECK(f->path);
    const Files *fs = f->fs;
    Status st = fs->sync(fs->self, f->handle, err);
    const Status close_st = fs->close(fs->self, f->handle, st == ST_OK ? err : NULL);
    f->handle = NULL;
    if (st == ST_OK)
        st = close_st;
    if (st == ST_OK)
        st = fs->rename(fs->self, f->tmp, f->path, err);
    if (st == ST_OK) {
        mem_free(f->tmp);
        f->tmp = NULL; /* nothing left to remove */
        st = files_sync_parent(fs, f->path, err); /* a rename is only durable once its directory is */
    }
    atomic_file_abandon(f);
    return st;
}

void atomic_file_abandon(AtomicFile *f)
{
    if (f->handle)
        (void)f->fs->close(f->fs->self, f->handle, NULL);
    if (f->tmp)
        (void)f->fs->remove(f->fs->self, f->tmp, NULL);
    mem_free(f->path);
    mem_free(f->tmp);
    *f = (AtomicFile){0};
}
