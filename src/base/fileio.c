/* The machine's own files, and what is made of the interface alone: see fileio.h. */
#include "base/fileio.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct FileHandle {
    int fd;
    char *path; /* owned, for messages */
};

/* Open with these flags and wrap; on failure nothing is left. */
MUST_USE static Status open_handle(FileHandle **out, const char *path, int flags, const char *doing, Error *err)
{
    FileHandle *f = mem_alloc(1, sizeof *f);
    char *copy = mem_strdup(path);
    Status st = ST_OK;
    if (!f || !copy) {
        st = error_set(err, ST_NOMEM, "no memory to open '%s'", path);
        goto out;
    }
    *f = (FileHandle){open(path, flags | O_CLOEXEC, 0666), copy};
    if (f->fd < 0) {
        st = error_errno(err, "cannot %s '%s'", doing, path);
        goto out;
    }
    *out = f;
    return ST_OK;
out:
    mem_free(copy);
    mem_free(f);
    return st;
}

static Status real_open(void *self, FileHandle **out, const char *path, FileMode mode, Error *err)
{
    (void)self;
    if (mode == FILE_CREATE)
        return open_handle(out, path, O_WRONLY | O_CREAT | O_TRUNC, "create", err);
    return open_handle(out, path, O_WRONLY, "open", err);
}

static Status real_write(void *self, FileHandle *f, uint64_t offset, const void *data, size_t size, Error *err)
{
    (void)self;
    const uint8_t *p = data;
    while (size > 0) {
        const ssize_t n = pwrite(f->fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "cannot write '%s'", f->path);
        p += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return ST_OK;
}

static Status real_set_size(void *self, FileHandle *f, uint64_t size, Error *err)
{
    (void)self;
    return ftruncate(f->fd, (off_t)size) == 0 ? ST_OK : error_errno(err, "cannot change the size of '%s'", f->path);
}

static Status real_sync(void *self, FileHandle *f, Error *err)
{
    (void)self;
    return fsync(f->fd) == 0 ? ST_OK : error_errno(err, "cannot sync '%s'", f->path);
}

static Status real_close(void *self, FileHandle *f, Error *err)
{
    (void)self;
    if (!f)
        return ST_OK;
    const Status st = close(f->fd) == 0 ? ST_OK : error_errno(err, "cannot close '%s'", f->path);
    mem_free(f->path);
    mem_free(f);
    return st;
}

static Status real_map(void *self, MapFile *out, const char *path, Error *err)
{
    (void)self;
    return mapfile_open(out, path, err);
}

static void real_unmap(void *self, MapFile *m)
{
    (void)self;
    mapfile_close(m);
}

static Status real_make_dir(void *self, const char *path, Error *err)
{
    (void)self;
    struct stat info;
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && stat(path, &info) == 0 && S_ISDIR(info.st_mode)))
        return ST_OK;
    return error_errno(err, "cannot make the directory '%s'", path);
}

static Status real_sync_dir(void *self, const char *path, Error *err)
{
    (void)self;
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot open the directory '%s'", path);
    const Status st = fsync(fd) == 0 ? ST_OK : error_errno(err, "cannot sync the directory '%s'", path);
    close(fd);
    return st;
}

static Status real_rename(void *self, const char *from, const char *to, Error *err)
{
    (void)self;
    return rename(from, to) == 0 ? ST_OK : error_errno(err, "cannot rename '%s' to '%s'", from, to);
}

static Status real_remove(void *self, const char *path, Error *err)
{
    (void)self;
    return remove(path) == 0 ? ST_OK : error_errno(err, "cannot remove '%s'", path);
}

static Status real_make_link(void *self, const char *target, const char *path, Error *err)
{
    (void)self;
    return symlink(target, path) == 0 ? ST_OK : error_errno(err, "cannot make the link '%s'", path);
}

static Status real_list(void *self, const char *path, FileNameFn fn, void *arg, Error *err)
{
    (void)self;
    DIR *dir = opendir(path);
    if (!dir)
        return error_errno(err, "cannot read the directory '%s'", path);
    Status st = ST_OK;
    while (st == ST_OK) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (!e) {
            st = errno ? error_errno(err, "cannot read the directory '%s'", path) : ST_OK;
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        struct stat info;
        const bool is_dir = fstatat(dirfd(dir), e->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode);
        st = fn(arg, e->d_name, is_dir);
    }
    closedir(dir);
    return st;
}

static Status real_space(void *self, const char *path, uint64_t *bytes, Error *err)
{
    (void)self;
    struct statvfs info;
    if (statvfs(path, &info) != 0)
        return error_errno(err, "cannot see how much space is free at '%s'", path);
    *bytes = (uint64_t)info.f_bavail * info.f_frsize;
    return ST_OK;
}

static Status real_lock(void *self, FileHandle **out, const char *path, Error *err)
{
    FileHandle *f = NULL;
    const Status st = open_handle(&f, path, O_RDWR | O_CREAT, "open", err);
    if (st != ST_OK)
        return st;
    if (flock(f->fd, LOCK_EX | LOCK_NB) == 0) {
        *out = f;
        return ST_OK;
    }
    const Status why = errno == EWOULDBLOCK ? error_set(err, ST_BUSY, "another process holds '%s'", path)
                                            : error_errno(err, "cannot lock '%s'", path);
    (void)real_close(self, f, NULL);
    return why;
}

const Files *files_real(void)
{
    static const Files real = {
        .open = real_open,
        .write = real_write,
        .set_size = real_set_size,
        .sync = real_sync,
        .close = real_close,
        .map = real_map,
        .unmap = real_unmap,
        .make_dir = real_make_dir,
        .sync_dir = real_sync_dir,
        .rename = real_rename,
        .remove = real_remove,
        .make_link = real_make_link,
        .list = real_list,
        .space = real_space,
        .lock = real_lock,
    };
    return &real;
}

/* ---- in terms of the interface ---- */

Status files_join(char out[FILES_PATH_MAX], const char *dir, const char *name, Error *err)
{
    const int n = snprintf(out, FILES_PATH_MAX, "%s/%s", dir, name);
    if (n < 0 || n >= FILES_PATH_MAX)
        return error_set(err, ST_INVALID, "path too long: '%s/%s'", dir, name);
    return ST_OK;
}

Status files_sync_parent(const Files *fs, const char *path, Error *err)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    if (n == 0)
        return fs->sync_dir(fs->self, ".", err);
    char dir[FILES_PATH_MAX]; /* on the stack: after a rename nothing may fail for want of memory */
    if (n >= sizeof dir)
        return error_set(err, ST_INVALID, "path too long: '%s'", path);
    memcpy(dir, path, n);
    dir[n] = 0;
    return fs->sync_dir(fs->self, dir, err);
}

Status files_write_new(const Files *fs, const char *path, const void *data, size_t size, Error *err)
{
    FileHandle *f = NULL;
    Status st = fs->open(fs->self, &f, path, FILE_CREATE, err);
    if (st != ST_OK)
        return st;
    st = fs->write(fs->self, f, 0, data, size, err);
    if (st == ST_OK)
        st = fs->sync(fs->self, f, err);
    const Status close_st = fs->close(fs->self, f, st == ST_OK ? err : NULL);
    return st == ST_OK ? close_st : st;
}

Status files_read(const Files *fs, uint8_t **out, size_t *size, const char *path, size_t max, Error *err)
{
    MapFile m = {0};
    Status st = fs->map(fs->self, &m, path, err);
    if (st != ST_OK)
        return st;
    uint8_t *copy = NULL;
    if (m.size > max)
        st = error_set(err, ST_INVALID, "'%s' is larger than the limit of %zu bytes", path, max);
    else if (!(copy = mem_alloc(m.size + 1, 1)))
        st = error_set(err, ST_NOMEM, "no memory to read '%s'", path);
    else if (m.size > 0)
        memcpy(copy, m.data, m.size);
    if (st == ST_OK) {
        *out = copy;
        *size = m.size;
    }
    fs->unmap(fs->self, &m);
    return st;
}

typedef struct {
    const char *name;
    bool found;
} Search;

static Status match_name(void *arg, const char *name, bool is_dir)
{
    Search *s = arg;
    (void)is_dir;
    s->found = s->found || strcmp(name, s->name) == 0;
    return ST_OK;
}

bool files_exist(const Files *fs, const char *dir, const char *name)
{
    Search s = {name, false};
    return fs->list(fs->self, dir, match_name, &s, NULL) == ST_OK && s.found;
}

/* The first name of a directory: removing while listing would be left to the implementation. */
typedef struct {
    char *name; /* owned */
    bool is_dir;
} FirstName;

static Status take_first(void *arg, const char *name, bool is_dir)
{
    FirstName *first = arg;
    if (first->name)
        return ST_OK;
    first->name = mem_strdup(name);
    first->is_dir = is_dir;
    return first->name ? ST_OK : ST_NOMEM;
}

#define TREE_DEPTH_MAX 16

MUST_USE static Status remove_tree(const Files *fs, const char *path, int depth, Error *err)
{
    if (depth == TREE_DEPTH_MAX)
        return error_set(err, ST_INVALID, "'%s' is too deep to be removed", path);
    Status st = ST_OK;
    while (st == ST_OK) {
        FirstName first = {NULL, false};
        st = fs->list(fs->self, path, take_first, &first, err);
        if (st != ST_OK || !first.name)
            break;
        char inner[FILES_PATH_MAX];
        st = files_join(inner, path, first.name, err);
        if (st == ST_OK)
            st = first.is_dir ? remove_tree(fs, inner, depth + 1, err) : fs->remove(fs->self, inner, err);
        mem_free(first.name);
    }
    return st == ST_OK ? fs->remove(fs->self, path, err) : st;
}

Status files_remove_tree(const Files *fs, const char *path, Error *err)
{
    const Status st = remove_tree(fs, path, 0, err);
    return st == ST_NOTFOUND ? ST_OK : st;
}
