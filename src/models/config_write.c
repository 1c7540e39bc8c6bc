/* Members of a config.json. */
#include "models/model.h"

void config_write_int(JsonWriter *w, const char *key, int64_t v)
{
    json_write_key(w, key);
    json_write_int(w, v);
}

void config_write_float(JsonWriter *w, const char *key, double v)
{
    json_write_key(w, key);
    json_write_double(w, v);
}

void config_write_bool(JsonWriter *w, const char *key, bool v)
{
    json_write_key(w, key);
    json_write_bool(w, v);
}

void config_write_string(JsonWriter *w, const char *key, const char *v)
{
    json_write_key(w, key);
    json_write_string(w, v);
}

void config_write_architecture(JsonWriter *w, const char *architecture, const char *model_type)
{
    json_write_key(w, "architectures");
    json_write_array_begin(w);
    json_write_string(w, architecture);
    json_write_array_end(w);
    config_write_string(w, "model_type", model_type);
}

static void write_id(JsonWriter *w, const char *key, int64_t id)
{
    json_write_key(w, key);
    if (id < 0)
        json_write_null(w);
    else
        json_write_int(w, id);
}

void config_write_extras(JsonWriter *w, const ModelConfigExtras *extras)
{
    write_id(w, "bos_token_id", extras->bos);
    write_id(w, "eos_token_id", extras->eos);
    write_id(w, "pad_token_id", extras->pad);
    config_write_string(w, "dtype", extras->dtype);
}
