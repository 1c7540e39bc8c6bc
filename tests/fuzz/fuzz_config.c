/* config.json to a model's spec: the family is chosen by a bit of the first byte, the rest is the text. What can
 * be read is written and read again. */
#include "formats/json_kv.h"
#include "models/deepseek_v4.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Status read_spec(ModelSpec *spec, bool v4, bool mtp, const void *text, size_t size)
{
    JsonKv *kv = NULL;
    Error err;
    *spec = (ModelSpec){0};
    Status st = json_kv_parse(&kv, text, size, &err);
    const ModelSource source = {.kv = kv ? json_kv_view(kv) : NULL, .mtp = mtp};
    if (st == ST_OK && !v4)
        st = model_llama.configure(spec, &source, &err);
    else if (st == ST_OK)
        st = deepseek_v4_configure(spec, &source, &err);
    json_kv_destroy(kv);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const bool v4 = data[0] & 1, mtp = data[0] & 2;
    ModelSpec spec, again = {0};
    JsonWriter w;
    Error err;
    json_write_init(&w, 0, (size_t)1 << 20);
    Status st = read_spec(&spec, v4, mtp, data + 1, size - 1);
    if (st == ST_OK && spec.tensor_count < 4096)
        st = (v4 ? deepseek_v4_write_config : model_llama.write_config)(
            &spec, &(ModelConfigExtras){"float32", 0, 1, -1}, &w, &err);
    if (st == ST_OK && spec.tensor_count < 4096) {
        CHECK(json_write_finish(&w, &err) == ST_OK);
        CHECK(read_spec(&again, v4, mtp, w.buf, w.len) == ST_OK);
        CHECK(again.tensor_count == spec.tensor_count);
        for (int32_t i = 0; i < spec.tensor_count; i++) {
            CHECK(strcmp(again.tensors[i].name, spec.tensors[i].saved_name) == 0);
            CHECK(memcmp(again.tensors[i].dims, spec.tensors[i].dims, sizeof spec.tensors[i].dims) == 0);
        }
    }
    json_write_deinit(&w);
    model_spec_free(&spec);
    model_spec_free(&again);
    return 0;
}
