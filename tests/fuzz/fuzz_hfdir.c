/* The two texts of a model directory: first byte 'i' and then an index, or any other and a config.json. */
#include "base/mem.h"
#include "formats/tensordir_internal.h"
#include "fuzz/touch.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_index(const void *text, size_t size)
{
    HfIndex index = {.name_count = 0};
    Error err;
    if (hf_index_parse(&index, text, size, &err) == ST_OK) {
        CHECK(index.tensors.count == index.name_count);
        for (size_t k = 0; k < index.name_count; k++) {
            int64_t shard = -1;
            CHECK(strmap_find(&index.tensors, index.names[k], &shard));
            CHECK(shard >= 0);
            CHECK((size_t)shard < index.shard_count);
        }
        for (size_t k = 0; k < index.shard_count; k++) {
            CHECK(!strchr(index.shards[k], '/'));
            CHECK(strcmp(index.shards[k], "..") != 0);
        }
    }
    hf_index_free(&index);
}

static void try_config(const void *text, size_t size)
{
    JsonKv *kv = NULL;
    Error err;
    if (json_kv_parse(&kv, text, size, &err) == ST_OK)
        touch_kv(json_kv_view(kv));
    json_kv_destroy(kv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == 'i')
        try_index(data + 1, size - 1);
    else
        try_config(data + 1, size - 1);
    return 0;
}
