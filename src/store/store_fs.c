/* Directories and trees. Links are never followed: a tree is removed where it stands. */
#include "store/store_internal.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TREE_DEPTH_MAX 32

char *path_join(const char *first, ...)
{
    ByteBuf b = {0};
    Status st = bytebuf_append(&b, first, strlen(first));
    va_list ap;
    va_start(ap, first);
    for (const char *part; st == ST_OK && (part = va_arg(ap, const char *)) != NULL;)
        st = bytebuf_printf(&b, "/%s", part);
    va_end(ap);
    if (st == ST_OK)
        st = bytebuf_append(&b, "", 1);
    if (st != ST_OK)
        bytebuf_free(&b);
    return (char *)b.data;
}

Status fs_sync_dir(const char *path, Error *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot open the directory '%s'", path);
    const Status st = fsync(fd) == 0 ? ST_OK : error_errno(err, "cannot sync the directory '%s'", path);
    close(fd);
    return st;
}

/* `path` up to byte n, which holds a slash or the end. */
MUST_USE static Status make_dir(char *path, size_t n, Error *err)
{
    const char saved = path[n];
    path[n] = 0;
    Status st = ST_OK;
    if (mkdir(path, 0777) == 0) {
        char *slash = strrchr(path, '/');
        if (slash && slash != path) {
            *slash = 0;
            st = fs_sync_dir(path, err);
            *slash = '/';
        }
    } else if (errno != EEXIST) {
        st = error_errno(err, "cannot make the directory '%s'", path);
    }
    path[n] = saved;
    return st;
}

Status fs_make_dirs(const char *path, Error *err)
{
    Status st = ST_OK;
    char copy[PATH_MAX];
    const size_t n = strlen(path);
    if (n >= sizeof copy)
        return error_set(err, ST_INVALID, "path too long: '%s'", path);
    memcpy(copy, path, n + 1);
    struct stat info;
    if (stat(copy, &info) == 0 && S_ISDIR(info.st_mode))
        return ST_OK;
    for (size_t k = 1; k <= n; k++)
        if (copy[k] == '/' || !copy[k])
            TRY(make_dir(copy, k, err));
    if (stat(copy, &info) != 0 || !S_ISDIR(info.st_mode))
        st = error_set(err, ST_IO, "'%s' is not a directory", path);
out:
    return st;
}

/* ---- Trees, by descriptors, so that nobody can put a link in the way ---- */

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static DIR *open_dir_at(int fd, const char *name)
{
    const int dir_fd = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *const dir = dir_fd < 0 ? NULL : fdopendir(dir_fd);
    if (!dir && dir_fd >= 0)
        close(dir_fd);
    return dir;
}

static int remove_at(int fd, const char *name, int depth)
{
    if (unlinkat(fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if ((errno != EISDIR && errno != EPERM) || depth == TREE_DEPTH_MAX)
        return -1;
    DIR *const dir = open_dir_at(fd, name);
    if (!dir)
        return -1;
    int result = 0;
    for (const struct dirent *e; result == 0 && (e = readdir(dir)) != NULL;)
        if (!is_dots(e->d_name))
            result = remove_at(dirfd(dir), e->d_name, depth + 1);
    closedir(dir);
    return result == 0 ? unlinkat(fd, name, AT_REMOVEDIR) : result;
}

Status fs_remove_tree(const char *path, Error *err)
{
    return remove_at(AT_FDCWD, path, 0) == 0 ? ST_OK : error_errno(err, "cannot remove '%s'", path);
}

static int64_t bytes_at(int fd, const char *name, int depth, int64_t *largest)
{
    DIR *const dir = open_dir_at(fd, name);
    if (!dir)
        return 0;
    int64_t sum = 0;
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct stat info;
        if (is_dots(e->d_name) || fstatat(dirfd(dir), e->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISDIR(info.st_mode) && depth < TREE_DEPTH_MAX)
            sum += bytes_at(dirfd(dir), e->d_name, depth + 1, largest);
        if (S_ISREG(info.st_mode)) {
            sum += info.st_size;
            if (info.st_size > *largest)
                *largest = info.st_size;
        }
    }
    closedir(dir);
    return sum;
}

int64_t fs_tree_bytes(const char *path, int64_t *largest)
{
    *largest = 0;
    return bytes_at(AT_FDCWD, path, 0, largest);
}

/* ---- Sizes ---- */

int64_t fs_file_bytes(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && S_ISREG(info.st_mode) ? (int64_t)info.st_size : -1;
}

int64_t fs_free_bytes(const char *path)
{
    char copy[PATH_MAX];
    struct statvfs info;
    if (strlen(path) >= sizeof copy)
        return INT64_MAX;
    memcpy(copy, path, strlen(path) + 1);
    while (statvfs(copy, &info) != 0) {
        char *slash = strrchr(copy, '/');
        if (errno != ENOENT || !slash || slash == copy)
            return INT64_MAX;
        *slash = 0;
    }
    size_t bytes;
    if (!size_mul(info.f_bavail, info.f_frsize, &bytes) || bytes > INT64_MAX)
        return INT64_MAX;
    return (int64_t)bytes;
}
