/* SHA-256 of bytes and of files, as lower-case hexadecimal text. */
#ifndef PLUMB_BASE_DIGEST_H
#define PLUMB_BASE_DIGEST_H

#include "base/error.h"

#include <stddef.h>

#define SHA256_HEX_SIZE 65 /* 64 digits and the zero byte */

/* A digest of bytes that come in pieces. One thread at a time. */
typedef struct Digest Digest;

MUST_USE Status digest_create(Digest **out, Error *err);
MUST_USE Status digest_add(Digest *d, const void *data, size_t size, Error *err);
/* The digest of all bytes added; afterwards `d` can only be destroyed. */
MUST_USE Status digest_finish(Digest *d, char hex[SHA256_HEX_SIZE], Error *err);
void digest_destroy(Digest *d); /* NULL is fine */

/* Of a buffer; and of a whole file, whose errors name the path. Any thread. */
MUST_USE Status digest_bytes(char hex[SHA256_HEX_SIZE], const void *data, size_t size, Error *err);
MUST_USE Status digest_file(char hex[SHA256_HEX_SIZE], const char *path, Error *err);

#endif
