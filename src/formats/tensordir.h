/* A checkpoint on disk as one thing: a directory of named tensors and a metadata view, whatever the
 * file format. Opened from a GGUF file, a .safetensors file, or a Hugging Face directory
 * (config.json + model.safetensors or model.safetensors.index.json).
 *
 * Tensor data is mapped, never copied. Shapes are row-major, outermost first (GGUF's reversed order
 * is turned around here). Immutable after open; any thread. */
#ifndef PLUMB_FORMATS_TENSORDIR_H
#define PLUMB_FORMATS_TENSORDIR_H

#include "base/error.h"
#include "base/kv.h"
#include "tensor/dtype.h"

#define TENSOR_DIMS_MAX 8

typedef struct {
    const char *name; /* terminated; owned by the directory */
    Dtype dtype;
    int ndim; /* 0 = scalar */
    int64_t dims[TENSOR_DIMS_MAX];
    int64_t elements;
    const void *data; /* mapped, possibly unaligned; borrowed until tensordir_close */
    size_t bytes;
    int file; /* index into the directory's files */
    uint64_t offset; /* of data in that file */
} TensorEntry;

typedef enum { TENSORDIR_GGUF, TENSORDIR_SAFETENSORS, TENSORDIR_HF } TensorDirKind;

typedef struct TensorDir TensorDir;

/* `path`: file or directory. *out is owned by the caller. Errors name file, tensor or key, offset,
 * found and expected. */
MUST_USE Status tensordir_open(TensorDir **out, const char *path, Error *err);
void tensordir_close(TensorDir *dir); /* NULL is fine */

TensorDirKind tensordir_kind(const TensorDir *dir);
const char *tensordir_path(const TensorDir *dir);
const Kv *tensordir_kv(const TensorDir *dir); /* GGUF keys; config.json, also one
    beside a single safetensors file; else its __metadata__ */

int64_t tensordir_count(const TensorDir *dir);
const TensorEntry *tensordir_at(const TensorDir *dir, int64_t i); /* order of the file(s) */
const TensorEntry *tensordir_find(const TensorDir *dir, const char *name); /* NULL when absent; O(1) */

int tensordir_file_count(const TensorDir *dir);
const char *tensordir_file_path(const TensorDir *dir, int file);

#endif
