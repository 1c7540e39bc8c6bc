/* Heap memory with overflow-checked sizes, and the hooks that tests use to make it fail.
 *
 * Library code allocates through these functions only, so that the allocation-failure test can walk
 * every loader and a decode, and so that steady-state code can prove that it allocates nothing. */
#ifndef PLUMB_BASE_MEM_H
#define PLUMB_BASE_MEM_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* a*b and a+b into *out; false (and *out untouched) when the result does not fit. */
bool size_mul(size_t a, size_t b, size_t *out);
bool size_add(size_t a, size_t b, size_t *out);

/* count × size bytes, zeroed; NULL when the product overflows or memory is short. A zero size gives
 * a pointer that can be freed. */
void *mem_alloc(size_t count, size_t size);
/* Grow or shrink; new bytes are not initialised. On failure the old block is still owned. */
void *mem_resize(void *p, size_t count, size_t size);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
void mem_free(void *p); /* NULL is fine */

/* Large zeroed blocks, aligned to 64 bytes; from 4 MiB on 2 MiB aligned and advised as huge pages.
 * `bytes` must be given back to mem_free_pages. */
void *mem_alloc_pages(size_t bytes);
void mem_free_pages(void *p, size_t bytes);

/* Test hooks. After mem_fail_at(n) the n-th allocation from now (1 = next) and all after it fail;
 * 0 switches that off. mem_alloc_count is the number of allocations (of all threads) so far. */
void mem_fail_at(int64_t n);
int64_t mem_alloc_count(void);

/* Grow an array that a struct owns: makes room for `need` elements in *items (capacity *cap),
 * doubling. ST_NOMEM leaves both untouched. */
MUST_USE Status mem_grow(void **items, size_t *cap, size_t need, size_t item_size);

#endif
