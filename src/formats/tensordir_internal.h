/* The inside of a TensorDir, for the files of src/formats that fill one. */
#ifndef PLUMB_FORMATS_TENSORDIR_INTERNAL_H
#define PLUMB_FORMATS_TENSORDIR_INTERNAL_H

#include "base/mapfile.h"
#include "base/strmap.h"
#include "formats/gguf.h"
#include "formats/json_kv.h"
#include "formats/tensor_table.h"
#include "formats/tensordir.h"

#define CONFIG_BYTES_MAX ((size_t)16 << 20)  /* config.json */
#define INDEX_BYTES_MAX ((size_t)512 << 20)  /* model.safetensors.index.json; 150,000 tensors take 16 MB */
#define SHARDS_MAX 10000

typedef struct {
    char *path; /* owned */
    MapFile map;
} DirFile;

struct TensorDir {
    TensorDirKind kind;
    char *path; /* owned */
    DirFile *files;
    size_t file_count, file_cap;
    TensorTable table;
    Gguf *gguf;   /* one of these two is the metadata */
    JsonKv *json;
};

/* Map a file and append it; *out stays valid until the next one is added. */
MUST_USE Status dir_add_file(TensorDir *dir, const char *path, const DirFile **out, Error *err);

/* Fill an empty directory of kind TENSORDIR_HF from dir->path. On failure dir is half built. */
MUST_USE Status hfdir_read(TensorDir *dir, Error *err);

/* model.safetensors.index.json: which tensor is in which file. */
typedef struct {
    Arena text;
    StrMap tensors;  /* name → position in shards */
    Str *names;      /* in the order of the text */
    size_t name_count, name_cap;
    StrMap by_shard; /* file name → position in shards */
    const char **shards;
    size_t shard_count, shard_cap;
} HfIndex;

/* Read the text of an index into a zeroed struct. File names hold no separators and are not "..". Free it with
 * hf_index_free, also after an error. */
MUST_USE Status hf_index_parse(HfIndex *index, const void *text, size_t size, Error *err);
void hf_index_free(HfIndex *index);

#endif
