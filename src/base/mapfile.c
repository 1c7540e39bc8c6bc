/* Mapped files, whole reads, atomic writes. */
#include "base/mapfile.h"

#include "base/atomic_file.h"
#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

MUST_USE static Status open_regular(int *fd_out, size_t *size, const char *path, Error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", path);
    struct stat info;
    if (fstat(fd, &info) != 0) {
        const Status st = error_errno(err, "cannot stat '%s'", path);
        close(fd);
        return st;
    }
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return error_set(err, ST_INVALID, "'%s' is not a regular file", path);
    }
    *fd_out = fd;
    *size = (size_t)info.st_size;
    return ST_OK;
}

Status mapfile_open(MapFile *m, const char *path, Error *err)
{
    int fd = -1;
    size_t size = 0;
    const Status st = open_regular(&fd, &size, path, err);
    if (st != ST_OK)
        return st;
    void *p = NULL;
    if (size > 0)
        p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    const Status map_st = p == MAP_FAILED ? error_errno(err, "cannot map '%s'", path) : ST_OK;
    close(fd);
    if (map_st == ST_OK)
        *m = (MapFile){p, size};
    return map_st;
}

void mapfile_close(MapFile *m)
{
    if (m->data)
        munmap((void *)(uintptr_t)m->data, m->size);
    *m = (MapFile){0};
}

/* Reads until end of file or max+1 bytes, whichever comes first. */
MUST_USE static Status read_stream(uint8_t **out, size_t *size, int fd, const char *path, size_t max,
                                   Error *err)
{
    void *buf = NULL;
    size_t cap = 0, len = 0;
    Status st = ST_OK;
    for (;;) {
        if (mem_grow(&buf, &cap, len + 65537, 1) != ST_OK) {
            st = error_set(err, ST_NOMEM, "no memory to read '%s' (%zu bytes so far)", path, len);
            goto out;
        }
        const ssize_t n = read(fd, (uint8_t *)buf + len, cap - len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            st = error_errno(err, "cannot read '%s'", path);
            goto out;
        }
        if (n == 0)
            break;
        len += (size_t)n;
        if (len > max) {
            st = error_set(err, ST_INVALID, "'%s' is larger than the limit of %zu bytes", path, max);
            goto out;
        }
    }
    ((uint8_t *)buf)[len] = 0;
    *out = buf;
    *size = len;
    return ST_OK;
out:
    mem_free(buf);
    return st;
}

Status file_read_all(uint8_t **out, size_t *size, const char *path, size_t max, Error *err)
{
    if (strcmp(path, "-") == 0)
        return read_stream(out, size, STDIN_FILENO, "standard input", max, err);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", path);
    const Status st = read_stream(out, size, fd, path, max, err);
    close(fd);
    return st;
}

Status file_write_atomic(const char *path, const void *data, size_t size, Error *err)
{
    AtomicFile f = {0};
    Status st = ST_OK;
    TRY(atomic_file_open(&f, files_real(), path, err));
    TRY(atomic_file_write(&f, 0, data, size, err));
    TRY(atomic_file_commit(&f, err));
    return ST_OK;
out:
    atomic_file_abandon(&f);
    return st;
}

/* "DIRECTORY/name", owned; the directory is `path` itself or the one its file lies in. NULL: no memory. */
static char *path_beside(const char *path, const char *name)
{
    struct stat info;
    const bool is_directory = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    const char *const slash = strrchr(path, '/');
    const size_t len = is_directory ? strlen(path) : slash ? (size_t)(slash - path) : 0;
    ByteBuf b = {0};
    Status st = bytebuf_append(&b, path, len);
    if (st == ST_OK && (is_directory || slash))
        st = bytebuf_append(&b, "/", 1);
    if (st == ST_OK)
        st = bytebuf_append(&b, name, strlen(name) + 1);
    if (st != ST_OK)
        bytebuf_free(&b);
    return (char *)b.data;
}

Status file_read_beside(uint8_t **out, size_t *size, const char *path, const char *name, size_t max, Error *err)
{
    char *const full = path_beside(path, name);
    if (!full)
        return error_set(err, ST_NOMEM, "no memory for a path");
    const Status st = file_read_all(out, size, full, max, err);
    mem_free(full);
    return st;
}
