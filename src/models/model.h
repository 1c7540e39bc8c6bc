/* Model families: from a checkpoint's metadata to everything the engine needs to know.
 *
 * A family is one file that fills a ModelSpec: sizes, the table of its tensors, the constants and state
 * parts of its layers, and a function that writes its graph. Engine, weights and trainer read the spec
 * and know no family. To add one: write src/models/FAMILY.c and add its row to registry.c. */
#ifndef PLUMB_MODELS_MODEL_H
#define PLUMB_MODELS_MODEL_H

#include "base/json_write.h"
#include "formats/tensordir.h"
#include "graph/graph.h"
#include "graph/parts.h"

typedef struct {
    float *data; /* owned */
    int64_t count;
} ModelConstant;

typedef struct ModelFamily ModelFamily;

/* What a spec is made from. */
typedef struct {
    const Kv *kv;         /* GGUF keys or config.json */
    const TensorDir *dir; /* NULL: a model to be made from nothing, whose tensors get the names we write */
    bool mtp;             /* with the block that predicts the token after the next; ST_INVALID if it has none */
} ModelSource;

/* What a config.json says beyond the spec. */
typedef struct {
    const char *dtype;        /* "float32", "bfloat16" */
    int64_t bos, eos, pad;    /* −1: null */
} ModelConfigExtras;

typedef struct {
    const ModelFamily *family;
    int64_t layers, hidden, vocab, context_max;
    int64_t stream; /* width of the residual stream that a layer hands to the next; 0 is hidden */
    TensorRow *tensors; /* owned */
    int32_t tensor_count;
    size_t tensor_cap;
    StatePart *parts; /* owned */
    int32_t part_count;
    ModelConstant *constants; /* owned, as each data is */
    int32_t constant_count;
    void *config; /* owned; the family's own record, plain memory */
} ModelSpec;

/* What the graph is for. */
typedef struct {
    bool loss;            /* ends in CROSS_ENTROPY of all rows (batch targets 0) instead of logits of the wanted rows */
    double balance_alpha; /* weight of the sequence balance loss of routed experts, in the gradient */
    int64_t length;       /* no sequence is longer: what cannot matter then may be left out; 0: any length */
} BuildParams;

struct ModelFamily {
    const char *name;
    /* Whether this family describes the checkpoint. `architecture` is GGUF's general.architecture or the
     * first of config.json's architectures. */
    bool (*matches)(TensorDirKind kind, Str architecture);
    /* Fill the spec (zeroed, but for `family`) from the metadata. */
    Status (*configure)(ModelSpec *spec, const ModelSource *source, Error *err);
    /* Write the graph: ids in, logits of the wanted rows out, or losses (output 0 the next token's). Residual
     * streams behind layers carry the site "hidden". */
    Status (*build)(const ModelSpec *spec, const BuildParams *p, Graph *g, Error *err);
    /* Write config.json (one object) as the reference library spells it, so that it loads the directory with the
     * tensors under their saved_name. ST_UNSUPPORTED for what that cannot express. */
    Status (*write_config)(const ModelSpec *spec, const ModelConfigExtras *extras, JsonWriter *w, Error *err);
};

/* Find the family and configure it. ST_UNSUPPORTED names the architecture. On failure nothing is owned. */
MUST_USE Status model_spec_load(ModelSpec *out, const TensorDir *dir, Error *err);
/* The same with more to say; without a directory the family is that of kv's architectures or model_type. */
MUST_USE Status model_spec_from(ModelSpec *out, const ModelSource *source, Error *err);
void model_spec_free(ModelSpec *spec); /* zeroed is fine */

/* For families: append a row; *index is its number. An empty saved_name becomes the name. */
MUST_USE Status model_spec_add(ModelSpec *spec, const TensorRow *row, int32_t *index, Error *err);
/* Text for a name, CHECKed to fit. */
void tensor_name_set(char name[TENSOR_NAME_MAX], const char *format, ...) PRINTF_LIKE(2, 3);

/* Bounds that every configuration must keep; the message names key, value and range. */
MUST_USE Status config_int(const Kv *kv, const char *key, int64_t fallback, int64_t lo, int64_t hi,
                           int64_t *out, Error *err);
MUST_USE Status config_float(const Kv *kv, const char *key, double fallback, double lo, double hi,
                             double *out, Error *err);

/* Members of a config.json: key and value. */
void config_write_int(JsonWriter *w, const char *key, int64_t v);
void config_write_float(JsonWriter *w, const char *key, double v);
void config_write_bool(JsonWriter *w, const char *key, bool v);
void config_write_string(JsonWriter *w, const char *key, const char *v);
void config_write_architecture(JsonWriter *w, const char *architecture, const char *model_type);
void config_write_extras(JsonWriter *w, const ModelConfigExtras *extras);

static inline int64_t model_stream_width(const ModelSpec *spec)
{
    return spec->stream > 0 ? spec->stream : spec->hidden;
}

extern const ModelFamily model_llama;
extern const ModelFamily model_deepseek_v4;

#endif
