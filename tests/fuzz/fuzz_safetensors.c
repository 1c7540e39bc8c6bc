/* A safetensors file in memory: whatever is accepted lies inside the file, tiles it, and can be decoded. */
#include "base/mem.h"
#include "formats/json_kv.h"
#include "formats/safetensors.h"
#include "formats/tensor_table.h"
#include "fuzz/touch.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_all(const TensorTable *t, const uint8_t *data, size_t size)
{
    size_t bytes = 0;
    for (size_t k = 0; k < t->count; k++) {
        const TensorEntry *e = &t->items[k];
        CHECK(tensor_table_find(t, (Str){e->name, strlen(e->name)}) == e);
        touch_tensor(e, data, size);
        bytes += e->bytes;
    }
    uint64_t header;
    memcpy(&header, data, 8);
    CHECK(8 + header + bytes == size);
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
