/* A checkpoint as a model to hand on: a Hugging Face directory without what training needs to go on.
 *
 *     OUT/config.json, model.safetensors, the tokenizer's files, and
 *     OUT/manifest.json: size and SHA-256 of each of them (docs/FORMATS.md)
 *
 * One thread at a time. */
#ifndef PLUMB_TRAIN_EXPORT_H
#define PLUMB_TRAIN_EXPORT_H

#include "base/error.h"
#include "base/fileio.h"
#include "tensor/dtype.h"

typedef struct {
    const Files *fs;
    const char *from; /* a run (its newest checkpoint is taken), a checkpoint, or any directory of a known family */
    const char *out;  /* must not hold anything yet */
    Dtype dtype;      /* DT_F32, or DT_BF16: matrices and embeddings rounded to nearest even; gains, biases and other
                         small tables stay F32 */
    double temperature; /* that generation_config.json shall recommend, 0: the likeliest token; −1: the file as it is */
} ExportParams;

typedef struct {
    int64_t tensors, numbers;
    uint64_t bytes; /* of model.safetensors */
} ExportResult;

/* All of it or, on failure, nothing: OUT gets its name when everything is durable. Tensors get the names of the
 * reference library. ST_UNSUPPORTED for GGUF; ST_INVALID when OUT holds something. */
MUST_USE Status export_model(const ExportParams *p, ExportResult *result, Error *err);

/* What belongs to a model beside config.json and weights, in the directories that libraries write; NULL ends it. */
extern const char *const export_companions[];

#endif
