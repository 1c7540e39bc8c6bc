/* See atomic_file.h. */
#include "base/atomic_file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

Status atomic_file_open(AtomicFile *f, const char *path, Error *err)
{
    char tmp[PATH_MAX];
    const int n = snprintf(tmp, sizeof tmp, "%s.tmp-%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof tmp)
        return error_set(err, ST_INVALID, "path too long: '%s'", path);
    AtomicFile out = {mem_strdup(path), mem_strdup(tmp), -1};
    Status st = ST_OK;
    if (!out.path || !out.tmp) {
        st = error_set(err, ST_NOMEM, "no memory to write '%s'", path);
        goto out;
    }
    out.fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (out.fd < 0) {
        st = error_errno(err, "cannot create '%s'", tmp);
        goto out;
    }
    *f = out;
    return ST_OK;
out:
    mem_free(out.path);
    mem_free(out.tmp);
    return st;
}

Status atomic_file_write(AtomicFile *f, uint64_t offset, const void *data, size_t size, Error *err)
{
    const uint8_t *p = data;
    while (size > 0) {
        const ssize_t n = pwrite(f->fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "cannot write '%s'", f->tmp);
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return ST_OK;
}

/* A rename is only durable once its directory is. */
MUST_USE static Status sync_directory_of(const char *path, Error *err)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof dir)
        return error_set(err, ST_INVALID, "path too long: '%s'", path);
    memcpy(dir, path, n);
    dir[n] = 0;
    const int fd = open(n ? dir : slash ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot open the directory of '%s'", path);
    const Status st = fsync(fd) == 0 ? ST_OK : error_errno(err, "cannot sync the directory of '%s'", path);
    close(fd);
    return st;
}

Status atomic_file_commit(AtomicFile *f, Error *err)
{
    CHECK(f->path);
    Status st = fsync(f->fd) == 0 ? ST_OK : error_errno(err, "cannot sync '%s'", f->tmp);
    if (close(f->fd) != 0 && st == ST_OK)
        st = error_errno(err, "cannot close '%s'", f->tmp);
    f->fd = -1;
    if (st == ST_OK && rename(f->tmp, f->path) != 0)
        st = error_errno(err, "cannot rename '%s' to '%s'", f->tmp, f->path);
    if (st == ST_OK) {
        st = sync_directory_of(f->path, err);
        mem_free(f->tmp);
        f->tmp = NULL; /* nothing left to remove */
    }
    atomic_file_abandon(f);
    return st;
}

void atomic_file_abandon(AtomicFile *f)
{
    if (f->path && f->fd >= 0)
        close(f->fd);
    if (f->tmp)
        unlink(f->tmp);
    mem_free(f->path);
    mem_free(f->tmp);
    *f = (AtomicFile){0};
}
