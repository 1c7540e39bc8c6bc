/* Element and block types of tensors in files and in memory.
 *
 * One row per type: name as safetensors or GGUF spell it, elements and bytes per block, GGUF id.
 * Blocks run along the last (fastest) dimension. Layouts: shared knowledge of the formats, written
 * down beside the decoders in dtype_decode.c. */
#ifndef PLUMB_TENSOR_DTYPE_H
#define PLUMB_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* enum, name, elements/block, bytes/block, GGUF type id (-1: none), decodes to real numbers */
#define DTYPE_TABLE(X)                         \
    X(DT_F32, "F32", 1, 4, 0, true)            \
    X(DT_F16, "F16", 1, 2, 1, true)            \
    X(DT_BF16, "BF16", 1, 2, 30, true)         \
    X(DT_F64, "F64", 1, 8, 28, true)           \
    X(DT_I8, "I8", 1, 1, 24, true)             \
    X(DT_I16, "I16", 1, 2, 25, true)           \
    X(DT_I32, "I32", 1, 4, 26, true)           \
    X(DT_I64, "I64", 1, 8, 27, true)           \
    X(DT_U8, "U8", 1, 1, -1, true)             \
    X(DT_U16, "U16", 1, 2, -1, true)           \
    X(DT_U32, "U32", 1, 4, -1, true)           \
    X(DT_U64, "U64", 1, 8, -1, true)           \
    X(DT_BOOL, "BOOL", 1, 1, -1, true)         \
    X(DT_C64, "C64", 1, 8, -1, false)          \
    X(DT_F8_E4M3, "F8_E4M3", 1, 1, -1, true)   \
    X(DT_F8_E5M2, "F8_E5M2", 1, 1, -1, true)   \
    X(DT_F8_E8M0, "F8_E8M0", 1, 1, -1, true)   \
    X(DT_F4, "F4", 2, 1, -1, true)             \
    X(DT_Q4_0, "Q4_0", 32, 18, 2, true)        \
    X(DT_Q4_1, "Q4_1", 32, 20, 3, true)        \
    X(DT_Q5_0, "Q5_0", 32, 22, 6, true)        \
    X(DT_Q5_1, "Q5_1", 32, 24, 7, true)        \
    X(DT_Q8_0, "Q8_0", 32, 34, 8, true)        \
    X(DT_Q2_K, "Q2_K", 256, 84, 10, true)      \
    X(DT_Q3_K, "Q3_K", 256, 110, 11, true)     \
    X(DT_Q4_K, "Q4_K", 256, 144, 12, true)     \
    X(DT_Q5_K, "Q5_K", 256, 176, 13, true)     \
    X(DT_Q6_K, "Q6_K", 256, 210, 14, true)

typedef enum {
#define X(e, name, el, bytes, id, real) e,
    DTYPE_TABLE(X)
#undef X
    DT_COUNT
} Dtype;

typedef struct {
    const char *name;
    int block_elements;
    int block_bytes;
    int gguf_id;
    bool is_real; /* dtype_decode_* accept it */
} DtypeInfo;

const DtypeInfo *dtype_info(Dtype t);

/* Find a type by safetensors/GGUF name or by GGUF id; false when unknown. */
bool dtype_from_name(const char *name, size_t len, Dtype *out);
bool dtype_from_gguf(uint32_t id, Dtype *out);

/* Bytes of a row of n elements; n must be a multiple of the block (CHECKed). */
size_t dtype_row_bytes(Dtype t, int64_t n);

/* Decode n consecutive elements, starting at a block boundary, exactly as the format defines them.
 * src has dtype_row_bytes(t, n) bytes and may be unaligned. Any thread. Cannot fail for is_real types. */
void dtype_decode_f32(Dtype t, float *dst, const void *src, int64_t n);
void dtype_decode_f64(Dtype t, double *dst, const void *src, int64_t n);

/* Single conversions, round to nearest even (formats.md §5). */
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f);

#endif
