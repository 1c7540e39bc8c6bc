/* A GGUF file in memory: whatever is accepted lies inside the file, and every value can be walked. */
#include "base/mem.h"
#include "formats/gguf.h"
#include "formats/tensor_table.h"
#include "fuzz/touch.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    TensorTable t = {0};
    Gguf *g = NULL;
    Error err;
    const Status st = gguf_read(&g, &t, data, size, 0, &err);
    if (st == ST_OK) {
        CHECK(gguf_version(g) == 2 || gguf_version(g) == 3);
        touch_kv(gguf_kv(g));
        for (size_t k = 0; k < t.count; k++) {
            CHECK(tensor_table_find(&t, (Str){t.items[k].name, strlen(t.items[k].name)}) == &t.items[k]);
            touch_tensor(&t.items[k], data, size);
        }
    }
    CHECK(st == ST_OK || st == ST_CORRUPT || st == ST_UNSUPPORTED);
    gguf_destroy(g);
    tensor_table_free(&t);
    return 0;
}
