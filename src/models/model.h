/* Model families: from a checkpoint's metadata to everything the engine needs to know.
 *
 * A family is one file that fills a ModelSpec: sizes, the table of its tensors, the constants and state
 * parts of its layers, and a function that writes its graph. Engine, weights and trainer read the spec
 * and know no family. To add one: write src/models/FAMILY.c and add its row to registry.c. */
#ifndef PLUMB_MODELS_MODEL_H
#define PLUMB_MODELS_MODEL_H

#include "formats/tensordir.h"
#include "graph/graph.h"
#include "graph/parts.h"

typedef struct {
    float *data; /* owned */
    int64_t count;
} ModelConstant;

typedef struct ModelFamily ModelFamily;

typedef struct {
    const ModelFamily *family;
    int64_t layers, hidden, vocab, context_max;
    TensorRow *tensors; /* owned */
    int32_t tensor_count;
    size_t tensor_cap;
    StatePart *parts; /* owned */
    int32_t part_count;
    ModelConstant *constants; /* owned, as each data is */
    int32_t constant_count;
    void *config; /* owned; the family's own record, plain memory */
} ModelSpec;

struct ModelFamily {
    const char *name;
    /* Whether this family describes the checkpoint. `architecture` is GGUF's general.architecture or the
     * first of config.json's architectures. */
    bool (*matches)(TensorDirKind kind, Str architecture);
    /* Fill the spec (zeroed, but for `family`) from the metadata. */
    Status (*configure)(ModelSpec *spec, const TensorDir *dir, Error *err);
    /* Write the graph: ids in, logits of the wanted rows out (output 0). Residual streams behind layers
     * carry the site "hidden". */
    Status (*build)(const ModelSpec *spec, Graph *g, Error *err);
};

/* Find the family and configure it. ST_UNSUPPORTED names the architecture. On failure nothing is owned. */
MUST_USE Status model_spec_load(ModelSpec *out, const TensorDir *dir, Error *err);
void model_spec_free(ModelSpec *spec); /* zeroed is fine */

/* For families: append a row; *index is its number. */
MUST_USE Status model_spec_tensor(ModelSpec *spec, unsigned uses, int ndim, int64_t d0, int64_t d1,
                                  int32_t layer, int32_t *index, Error *err, const char *name_format, ...)
    PRINTF_LIKE(9, 10);

/* Bounds that every configuration must keep; the message names key, value and range. */
MUST_USE Status config_int(const Kv *kv, const char *key, int64_t fallback, int64_t lo, int64_t hi,
                           int64_t *out, Error *err);
MUST_USE Status config_float(const Kv *kv, const char *key, double fallback, double lo, double hi,
                             double *out, Error *err);

extern const ModelFamily model_llama;

#endif
