/* A safetensors file in memory: whatever is accepted lies inside the file, tiles it, and can be decoded.
 *
 * A fuzzer that inserts a byte into the header makes its length wrong and gets no further, so every other
 * mutation changes the text alone and corrects the length. */
#include "base/mem.h"
#include "formats/json_kv.h"
#include "formats/safetensors.h"
#include "formats/tensor_table.h"
#include "fuzz/touch.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) __attribute__((weak)); /* libFuzzer's */

/* Every byte behind the header belongs to exactly one tensor. */
static void check_all(const TensorTable *t, const uint8_t *data, size_t size)
{
    uint8_t *owners = mem_alloc(size, 1);
    CHECK(owners);
    for (size_t k = 0; k < t->count; k++) {
        const TensorEntry *e = &t->items[k];
        CHECK(tensor_table_find(t, (Str){e->name, strlen(e->name)}) == e);
        touch_tensor(e, data, size);
        for (size_t n = 0; n < e->bytes; n++)
            owners[e->offset + n]++;
    }
    uint64_t header;
    memcpy(&header, data, 8);
    for (size_t n = 0; n < size; n++)
        CHECK(owners[n] == (n >= 8 + header));
    mem_free(owners);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    TensorTable t = {0};
    Str meta = {NULL, 0};
    Error err;
    const Status st = safetensors_read(&t, &meta, data, size, 0, &err);
    if (st == ST_OK) {
        check_all(&t, data, size);
        JsonKv *kv = NULL;
        if (meta.ptr && json_kv_parse(&kv, meta.ptr, meta.len, &err) == ST_OK)
            touch_kv(json_kv_view(kv));
        json_kv_destroy(kv);
    }
    CHECK(st == ST_OK || st == ST_CORRUPT || st == ST_UNSUPPORTED);
    tensor_table_free(&t);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    uint64_t n = 0;
    if (size >= 8)
        memcpy(&n, data, 8);
    if (seed % 2 || size < 8 || n > size - 8)
        return LLVMFuzzerMutate(data, size, max);
    const size_t behind = size - 8 - (size_t)n;
    uint8_t *tail = mem_alloc(behind, 1);
    CHECK(tail);
    memcpy(tail, data + 8 + n, behind);
    n = LLVMFuzzerMutate(data + 8, (size_t)n, max - 8 - behind);
    memcpy(data, &n, 8);
    memcpy(data + 8 + n, tail, behind);
    mem_free(tail);
    return 8 + (size_t)n + behind;
}
