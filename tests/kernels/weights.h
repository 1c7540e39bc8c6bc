/* Weights as files store them, for checks of products: random, hostile, of any type. */
#ifndef PLUMB_TESTS_KERNELS_WEIGHTS_H
#define PLUMB_TESTS_KERNELS_WEIGHTS_H

#include "check.h"

/* Where a block keeps its float16 scales: random bytes there would be infinite now and then. */
static inline int scale_offsets(Dtype t, int *offsets)
{
    switch (t) {
    case DT_Q2_K:
        return offsets[0] = 80, offsets[1] = 82, 2;
    case DT_Q3_K:
        return offsets[0] = 108, 1;
    case DT_Q6_K:
        return offsets[0] = 208, 1;
    case DT_Q4_1:
    case DT_Q5_1:
    case DT_Q4_K:
    case DT_Q5_K:
        return offsets[0] = 0, offsets[1] = 2, 2;
    default:
        return offsets[0] = 0, 1;
    }
}

static inline void put_u16(uint8_t *p, uint16_t x)
{
    memcpy(p, &x, sizeof x);
}

static inline void random_blocks(Run *run, uint8_t *dst, Dtype t, size_t bytes, bool tame)
{
    const size_t block = (size_t)dtype_info(t)->block_bytes;
    int offsets[2];
    const int scales = scale_offsets(t, offsets);
    for (size_t i = 0; i < bytes; i++)
        dst[i] = (uint8_t)random_u64(run);
    for (size_t b = 0; tame && b < bytes; b += block)
        for (int i = 0; i < scales; i++)
            put_u16(dst + b + offsets[i], f32_to_f16((float)random_unit(run)));
}

static inline uint8_t *random_weights(Run *run, Dtype t, int64_t n, InputKind kind)
{
    const size_t bytes = dtype_row_bytes(t, n);
    uint8_t *const p = mem_alloc(bytes + 1, 1);
    if (!p)
        exit(3);
    if (t == DT_F8_E4M3) {
        for (int64_t i = 0; i < n; i++)
            p[i] = (uint8_t)(random_u64(run) % 127 | random_u64(run) << 7);
        return p;
    }
    if (t != DT_F32 && t != DT_F16 && t != DT_BF16) {
        random_blocks(run, p, t, bytes, kind != IN_SPECIAL);
        return p;
    }
    for (int64_t i = 0; i < n; i++) {
        const float w = random_float(run, kind);
        if (t == DT_F32)
            memcpy(p + 4 * i, &w, 4);
        else
            put_u16(p + 2 * i, t == DT_F16 ? f32_to_f16(w) : f32_to_bf16(w));
    }
    return p;
}

#endif
