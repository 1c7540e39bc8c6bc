/* safetensors files: reading, and writing in the layout of the reference library.
 *
 *   u64 N, little-endian · N bytes of JSON, padded with spaces · the tensors' bytes to the end of file
 * The JSON maps each name to {"dtype", "shape", "data_offsets": [begin, end)} relative to the byte behind
 * it, and "__metadata__" to an object of strings. The tensors tile the data: no hole, no overlap. */
#ifndef PLUMB_FORMATS_SAFETENSORS_H
#define PLUMB_FORMATS_SAFETENSORS_H

#include "base/error.h"
#include "base/fileio.h"
#include "base/kv.h"
#include "formats/tensordir.h"
#include "tensor/dtype.h"

#define SAFETENSORS_HEADER_MAX 100000000u /* bytes, the reference library's limit */

/* ---- reading ---- */

struct TensorTable;

/* Read the file that lies at data[0..size) and add its tensors to `table` (see tensor_table.h), with
 * `file` as their file number. *metadata gets the text of the __metadata__ object ({NULL, 0}: none).
 * Entries and text point into `data`, which must outlive them. All rules of the format are checked;
 * errors name tensor, offset, found and expected, not the file. */
MUST_USE Status safetensors_read(struct TensorTable *table, Str *metadata, const void *data, size_t size,
                                 int file, Error *err);

/* ---- writing ---- */

/* Declare all tensors, begin, write their bytes, finish:
 *     TRY(safetensors_writer_create(&w, err));
 *     TRY(safetensors_writer_meta(w, "format", "pt", err));          transformers wants this one
 *     TRY(safetensors_writer_declare(w, "model.norm.weight", DT_F32, 1, &d, err));
 *     TRY(safetensors_writer_begin(w, path, 0, err));
 *     TRY(safetensors_writer_write(w, "model.norm.weight", data, bytes, err));
 *     TRY(safetensors_writer_finish(w, err));
 *     safetensors_writer_destroy(w);                                 always, also after an error
 * Tensors lie in the order of the reference writer (types of wide alignment first, then by name), which
 * makes the file equal byte for byte to what it writes for the same tensors. One thread at a time. */
typedef struct SafetensorsWriter SafetensorsWriter;

MUST_USE Status safetensors_writer_create(SafetensorsWriter **out, Error *err);

/* Removes what is unfinished; finished files stay. NULL is fine. */
void safetensors_writer_destroy(SafetensorsWriter *w);

/* Before begin: write among these files instead of files_real(). */
void safetensors_writer_files(SafetensorsWriter *w, const Files *fs);

/* Before begin. Names and values are copied; a name declared twice, or of a type that safetensors does not
 * have, is ST_INVALID. Metadata is written in the order given. */
MUST_USE Status safetensors_writer_meta(SafetensorsWriter *w, const char *key, const char *value, Error *err);
MUST_USE Status safetensors_writer_declare(SafetensorsWriter *w, const char *name, Dtype dtype, int ndim,
                                           const int64_t *dims, Error *err);

/* Fix the layout and create the temporary files.
 * shard_bytes_max 0: one file of this path. Else `path` is a directory that exists: shards
 * "model-00001-of-0000N.safetensors", filled in the order of declaration with at most that many bytes
 * (one larger tensor gets a shard of its own), and "model.safetensors.index.json"; or, when all fits
 * in one, just "model.safetensors". */
MUST_USE Status safetensors_writer_begin(SafetensorsWriter *w, const char *path, uint64_t shard_bytes_max,
                                         Error *err);

/* The next bytes of a tensor, whole or piece by piece; tensors in any order. Writing past the end of a
 * tensor is ST_INVALID. */
MUST_USE Status safetensors_writer_write(SafetensorsWriter *w, const char *name, const void *data, size_t bytes,
                                         Error *err);

/* Every declared byte must have been written (else ST_INVALID names the tensor). Files are fsynced and
 * renamed, the index last. */
MUST_USE Status safetensors_writer_finish(SafetensorsWriter *w, Error *err);

/* All of it in one call. `meta`: key, value, key, value, …, NULL; may be NULL itself. */
typedef struct {
    const char *name;
    Dtype dtype;
    int ndim;
    int64_t dims[TENSOR_DIMS_MAX];
    const void *data;
} SafetensorsItem;

MUST_USE Status safetensors_save(const char *path, const SafetensorsItem *items, int64_t count,
                                 const char *const *meta, Error *err);
MUST_USE Status safetensors_save_in(const Files *fs, const char *path, const SafetensorsItem *items, int64_t count,
                                    const char *const *meta, Error *err);

#endif
