/* GGUF files, versions 2 and 3, little-endian: keys as a metadata view, and tensors.
 *
 *   "GGUF" · u32 version · u64 tensors · u64 keys · keys · tensor infos · padding · data
 * A key is a string, a type and a value; an array has an element type, a count and the elements, and may
 * hold arrays. Dimensions are stored fastest first; here they are turned around. Blocks of quantised
 * types run along the last dimension.
 *
 * Values are found where they lie in the file, so a vocabulary of 100,000 strings costs nothing until it
 * is walked. In a KvValue that is an array, raw and raw_type are the first element and its GGUF type, and
 * s is the span of all elements (for arrays of numbers: raw little-endian, unaligned). u64 values above
 * INT64_MAX are clamped to it. Immutable; any thread. */
#ifndef PLUMB_FORMATS_GGUF_H
#define PLUMB_FORMATS_GGUF_H

#include "base/error.h"
#include "base/kv.h"

#include <stddef.h>
#include <stdint.h>

#define GGUF_KEYS_MAX (1 << 20)
#define GGUF_DIMS_MAX 4
#define GGUF_ARRAY_DEPTH_MAX 8

struct TensorTable;
typedef struct Gguf Gguf;

/* Read the file that lies at data[0..size) (borrowed until gguf_destroy) and add its tensors to `table`
 * with `file` as their file number; entries point into `data`. Everything is checked: counts and lengths
 * before anything is allocated, types, alignment, offsets, overlaps, duplicate names and keys. Errors
 * name key or tensor, offset, found and expected, not the file. *out is owned by the caller. */
MUST_USE Status gguf_read(Gguf **out, struct TensorTable *table, const void *data, size_t size, int file, Error *err);
void gguf_destroy(Gguf *g); /* NULL is fine */

const Kv *gguf_kv(const Gguf *g);
uint32_t gguf_version(const Gguf *g);

#endif
