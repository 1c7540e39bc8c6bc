/* SHA-256 through libcrypto. A Digest is libcrypto's own context under our name. */
#include "base/digest.h"

#include "base/mem.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#define READ_BYTES ((size_t)1 << 18)

static EVP_MD_CTX *context(Digest *d)
{
    return (EVP_MD_CTX *)d;
}

Status digest_create(Digest **out, Error *err)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (!c || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(c);
        return error_set(err, ST_INTERNAL, "cannot start a SHA-256 digest");
    }
    *out = (Digest *)c;
    return ST_OK;
}

Status digest_add(Digest *d, const void *data, size_t size, Error *err)
{
    if (EVP_DigestUpdate(context(d), data, size) != 1)
        return error_set(err, ST_INTERNAL, "SHA-256 digest failed");
    return ST_OK;
}

Status digest_finish(Digest *d, char hex[SHA256_HEX_SIZE], Error *err)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (EVP_DigestFinal_ex(context(d), sum, &size) != 1)
        return error_set(err, ST_INTERNAL, "SHA-256 digest failed");
    CHECK(2 * size + 1 == SHA256_HEX_SIZE);
    for (unsigned i = 0; i < size; i++) {
        hex[2 * i] = digits[sum[i] >> 4];
        hex[2 * i + 1] = digits[sum[i] & 15];
    }
    hex[2 * size] = 0;
    return ST_OK;
}

void digest_destroy(Digest *d)
{
    EVP_MD_CTX_free(context(d));
}

Status digest_bytes(char hex[SHA256_HEX_SIZE], const void *data, size_t size, Error *err)
{
    Digest *d = NULL;
    Status st;
    TRY(digest_create(&d, err));
    TRY(digest_add(d, data, size, err));
    TRY(digest_finish(d, hex, err));
out:
    digest_destroy(d);
    return st;
}

static Status add_file(Digest *d, int fd, uint8_t *buffer, const char *path, Error *err)
{
    for (;;) {
        const ssize_t n = read(fd, buffer, READ_BYTES);
        if (n < 0)
            return error_errno(err, "cannot read '%s'", path);
        if (n == 0)
            return ST_OK;
        const Status st = digest_add(d, buffer, (size_t)n, err);
        if (st != ST_OK)
            return st;
    }
}

Status digest_file(char hex[SHA256_HEX_SIZE], const char *path, Error *err)
{
    Status st = ST_OK;
    Digest *d = NULL;
    uint8_t *buffer = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", path);
    buffer = mem_alloc(READ_BYTES, 1);
    if (!buffer) {
        st = error_set(err, ST_NOMEM, "no memory to read '%s'", path);
        goto out;
    }
    TRY(digest_create(&d, err));
    TRY(add_file(d, fd, buffer, path, err));
    TRY(digest_finish(d, hex, err));
out:
    digest_destroy(d);
    mem_free(buffer);
    close(fd);
    return st;
}
