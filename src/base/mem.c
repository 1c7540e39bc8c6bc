/* Heap memory: see mem.h. The only file that calls the C allocator. */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Atomic int64_t alloc_count;
static _Atomic int64_t fail_from; /* absolute allocation number, 0 = never */

bool size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* Count one allocation; false when the test hook wants it to fail. */
static bool count_one(void)
{
    const int64_t n = atomic_fetch_add(&alloc_count, 1) + 1;
    const int64_t from = atomic_load(&fail_from);
    return from == 0 || n < from;
}

void mem_fail_at(int64_t n)
{
    atomic_store(&fail_from, n == 0 ? 0 : atomic_load(&alloc_count) + n);
}

int64_t mem_alloc_count(void)
{
    return atomic_load(&alloc_count);
}

void *mem_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || !count_one())
        return NULL;
    return calloc(bytes ? bytes : 1, 1);
}

void *mem_resize(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || !count_one())
        return NULL;
    return realloc(p, bytes ? bytes : 1);
}

char *mem_strndup(const char *s, size_t n)
{
    char *copy = mem_alloc(n + 1, 1);
    if (copy)
        memcpy(copy, s, n);
    return copy;
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

void mem_free(void *p)
{
    free(p);
}

#define HUGE_PAGE ((size_t)2 << 20)

static bool is_large(size_t bytes)
{
    return bytes >= 2 * HUGE_PAGE;
}

static size_t page_bytes(size_t bytes)
{
    const size_t unit = is_large(bytes) ? HUGE_PAGE : 4096;
    return bytes > SIZE_MAX - unit ? 0 : (bytes + unit - 1) / unit * unit;
}

void *mem_alloc_pages(size_t bytes)
{
    const size_t size = page_bytes(bytes ? bytes : 1);
    if (size == 0 || !count_one())
        return NULL;
    const size_t slack = is_large(bytes) ? HUGE_PAGE : 0;
    if (size > SIZE_MAX - slack)
        return NULL;
    char *p = mmap(NULL, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (slack == 0)
        return p;
    char *start = (char *)(((uintptr_t)p + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    if (start > p)
        munmap(p, (size_t)(start - p));
    char *end = p + size + slack;
    if (end > start + size)
        munmap(start + size, (size_t)(end - (start + size)));
    madvise(start, size, MADV_HUGEPAGE);
    return start;
}

void mem_free_pages(void *p, size_t bytes)
{
    if (p)
        munmap(p, page_bytes(bytes ? bytes : 1));
}

Status mem_grow(void **items, size_t *cap, size_t need, size_t item_size)
{
    if (need <= *cap)
        return ST_OK;
    size_t next = *cap ? *cap : 16;
    while (next < need)
        if (!size_mul(next, 2, &next))
            return ST_NOMEM;
    void *p = mem_resize(*items, next, item_size);
    if (!p)
        return ST_NOMEM;
    *items = p;
    *cap = next;
    return ST_OK;
}
