/* Exact scalar decoders of every type, the definition that kernels are compared with.
 *
 * A block is decoded in double, where every formula below is exact: a scale has 11 bits and at most 2^40
 * of range, the integers have at most 14. Rounding that to float once gives the bits of a float program
 * whose products are exact and whose one sum rounds, which is what the reference dequantisers compute.
 *
 * Block layouts (little-endian; h = float16; lo, hi = the halves of a byte; y = outputs; j < 16):
 *   Q4_0  h d, q[16]                    y[j] = d (lo - 8), y[j+16] = d (hi - 8)
 *   Q4_1  h d, h m, q[16]               y = d lo|hi + m
 *   Q5_0  h d, u32 high, q[16]          as Q4_0 with bit j (j+16) of `high` as fifth bit, minus 16
 *   Q5_1  h d, h m, u32 high, q[16]     y = d v + m
 *   Q8_0  h d, i8 q[32]                 y = d q
 *   Q2_K  sc[16], q[64], h d, h dmin    16 groups of 16: y = d (sc & 15) v - dmin (sc >> 4)
 *   Q3_K  hm[32], q[64], s[12], h d     16 groups of 16: y = d (s6 - 32) (v - 4 where the high bit is 0)
 *   Q4_K  h d, h dmin, s[12], q[128]    8 groups of 32: y = d sc v - dmin m, (sc, m) of 6 bits each
 *   Q5_K  h d, h dmin, s[12], qh[32], q[128]   as Q4_K with a fifth bit from qh
 *   Q6_K  ql[128], qh[64], i8 sc[16], h d      16 groups of 16: y = d sc (v - 32)
 * What the bytes of the K types mean in detail stands at each decoder. */
#include "tensor/dtype.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

enum { BLOCK_MAX = 256 };

static uint16_t read_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static double read_half(const uint8_t *p)
{
    return (double)f16_to_f32(read_u16(p));
}

/* ---- small floats ---- */

/* 1-4-3, bias 7, no infinity */
static float e4m3_value(uint8_t b)
{
    const int e = b >> 3 & 15, m = b & 7;
    if (e == 15 && m == 7)
        return b & 0x80 ? -NAN : NAN;
    const float v = e == 0 ? ldexpf((float)m, -9) : ldexpf((float)(8 + m), e - 10);
    return b & 0x80 ? -v : v;
}

/* 1-5-2: the upper byte of a float16 */
static float e5m2_value(uint8_t b)
{
    return f16_to_f32((uint16_t)(b << 8));
}

/* a power of two; 255 is NaN */
static float e8m0_value(uint8_t b)
{
    return b == 255 ? NAN : ldexpf(1, b - 127);
}

static const float e2m1_values[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -.5f, -1, -1.5f, -2, -3, -4, -6};

/* ---- blocks of 32 ---- */

static void decode_q4_0(double *y, const uint8_t *b)
{
    const double d = read_half(b);
    for (int j = 0; j < 16; j++) {
        y[j] = d * ((b[2 + j] & 15) - 8);
        y[j + 16] = d * ((b[2 + j] >> 4) - 8);
    }
}

static void decode_q4_1(double *y, const uint8_t *b)
{
    const double d = read_half(b), m = read_half(b + 2);
    for (int j = 0; j < 16; j++) {
        y[j] = d * (b[4 + j] & 15) + m;
        y[j + 16] = d * (b[4 + j] >> 4) + m;
    }
}

/* Values 0..31 of a Q5 block from its nibbles and its word of fifth bits. */
static void unpack_q5(int *v, const uint8_t *q, uint32_t high)
{
    for (int j = 0; j < 16; j++) {
        v[j] = (q[j] & 15) | (int)(high >> j & 1) << 4;
        v[j + 16] = q[j] >> 4 | (int)(high >> (j + 16) & 1) << 4;
    }
}

static void decode_q5_0(double *y, const uint8_t *b)
{
    const double d = read_half(b);
    int v[32];
    unpack_q5(v, b + 6, read_u32(b + 2));
    for (int j = 0; j < 32; j++)
        y[j] = d * (v[j] - 16);
}

static void decode_q5_1(double *y, const uint8_t *b)
{
    const double d = read_half(b), m = read_half(b + 2);
    int v[32];
    unpack_q5(v, b + 8, read_u32(b + 4));
    for (int j = 0; j < 32; j++)
        y[j] = d * v[j] + m;
}

static void decode_q8_0(double *y, const uint8_t *b)
{
    const double d = read_half(b);
    for (int j = 0; j < 32; j++)
        y[j] = d * (int8_t)b[2 + j];
}

/* ---- blocks of 256 ---- */

/* Element e of the 64 bytes of 2-bit values: half n = e/128 has 32 bytes, each with four values, of
 * which value j belongs to the j-th run of 32. */
static int q2_value(const uint8_t *q, int e)
{
    const int n = e / 128, j = e % 128 / 32, l = e % 32;
    return q[32 * n + l] >> (2 * j) & 3;
}

static void decode_q2_k(double *y, const uint8_t *b)
{
    const uint8_t *sc = b, *q = b + 16;
    const double d = read_half(b + 80), dmin = read_half(b + 82);
    for (int e = 0; e < 256; e++)
        y[e] = d * (sc[e / 16] & 15) * q2_value(q, e) - dmin * (sc[e / 16] >> 4);
}

/* 16 scales of 6 bits in 12 bytes: the low four bits in halves of s[0..8), the high two in s[8..12). */
static int q3_scale(const uint8_t *s, int i)
{
    const int low = i < 8 ? s[i] & 15 : s[i - 8] >> 4;
    const int high = s[8 + i % 4] >> (2 * (i / 4)) & 3;
    return (low | high << 4) - 32;
}

static void decode_q3_k(double *y, const uint8_t *b)
{
    const uint8_t *hm = b, *q = b + 32, *s = b + 96;
    const double d = read_half(b + 108);
    for (int e = 0; e < 256; e++) {
        const int high = hm[e % 32] >> (e / 32) & 1;
        y[e] = d * q3_scale(s, e / 16) * (q2_value(q, e) - (high ? 0 : 4));
    }
}

/* Scale and minimum (6 bits each) of group i of 8, out of 12 bytes. */
static void q4_scale_min(const uint8_t *s, int i, int *sc, int *m)
{
    if (i < 4) {
        *sc = s[i] & 63;
        *m = s[i + 4] & 63;
    } else {
        *sc = (s[i + 4] & 15) | s[i - 4] >> 6 << 4;
        *m = s[i + 4] >> 4 | s[i] >> 6 << 4;
    }
}

static void decode_q4_k(double *y, const uint8_t *b)
{
    const uint8_t *s = b + 4, *q = b + 16;
    const double d = read_half(b), dmin = read_half(b + 2);
    for (int i = 0; i < 8; i++) {
        int sc, m;
        q4_scale_min(s, i, &sc, &m);
        for (int l = 0; l < 32; l++) {
            const int v = q[32 * (i / 2) + l] >> (4 * (i % 2)) & 15;
            y[32 * i + l] = d * sc * v - dmin * m;
        }
    }
}

static void decode_q5_k(double *y, const uint8_t *b)
{
    const uint8_t *s = b + 4, *qh = b + 16, *q = b + 48;
    const double d = read_half(b), dmin = read_half(b + 2);
    for (int i = 0; i < 8; i++) {
        int sc, m;
        q4_scale_min(s, i, &sc, &m);
        for (int l = 0; l < 32; l++) {
            const int low = q[32 * (i / 2) + l] >> (4 * (i % 2)) & 15;
            const int v = low | (qh[l] >> i & 1) << 4;
            y[32 * i + l] = d * sc * v - dmin * m;
        }
    }
}

/* Each half of 128 has 64 bytes of low nibbles and 32 bytes of four 2-bit high parts; runs 0 and 1 of
 * 32 take the low nibbles, runs 2 and 3 the high ones. */
static void decode_q6_k(double *y, const uint8_t *b)
{
    const double d = read_half(b + 208);
    for (int e = 0; e < 256; e++) {
        const int n = e / 128, run = e % 128 / 32, l = e % 32;
        const int low = b[64 * n + 32 * (run % 2) + l] >> (4 * (run / 2)) & 15;
        const int high = b[128 + 32 * n + l] >> (2 * run) & 3;
        y[e] = d * (int8_t)b[192 + e / 16] * ((low | high << 4) - 32);
    }
}

static void decode_f4(double *y, const uint8_t *b)
{
    y[0] = (double)e2m1_values[b[0] & 15];
    y[1] = (double)e2m1_values[b[0] >> 4];
}

typedef void DecodeBlock(double *y, const uint8_t *b);

/* NULL for types whose block is one element */
static DecodeBlock *block_decoder(Dtype t)
{
    switch (t) {
    case DT_F4: return decode_f4;
    case DT_Q4_0: return decode_q4_0;
    case DT_Q4_1: return decode_q4_1;
    case DT_Q5_0: return decode_q5_0;
    case DT_Q5_1: return decode_q5_1;
    case DT_Q8_0: return decode_q8_0;
    case DT_Q2_K: return decode_q2_k;
    case DT_Q3_K: return decode_q3_k;
    case DT_Q4_K: return decode_q4_k;
    case DT_Q5_K: return decode_q5_k;
    case DT_Q6_K: return decode_q6_k;
    default: return NULL;
    }
}

/* ---- whole rows ---- */

/* One case of the element switch: read a T at p, convert it once. Bytes are copied because tensors may
 * lie unaligned in their file. */
#define ELEMENTS(T, value)                        \
    for (int64_t i = 0; i < n; i++) {             \
        T v;                                      \
        memcpy(&v, p + (size_t)i * sizeof v, sizeof v); \
        dst[i] = (value);                         \
    }                                             \
    break

static void decode_elements_f32(Dtype t, float *dst, const uint8_t *p, int64_t n)
{
    switch (t) {
    case DT_F32: memcpy(dst, p, (size_t)n * sizeof *dst); break;
    case DT_F16: ELEMENTS(uint16_t, f16_to_f32(v));
    case DT_BF16: ELEMENTS(uint16_t, bf16_to_f32(v));
    case DT_F64: ELEMENTS(double, (float)v);
    case DT_I8: ELEMENTS(int8_t, v);
    case DT_I16: ELEMENTS(int16_t, v);
    case DT_I32: ELEMENTS(int32_t, (float)v);
    case DT_I64: ELEMENTS(int64_t, (float)v);
    case DT_U8: ELEMENTS(uint8_t, v);
    case DT_U16: ELEMENTS(uint16_t, v);
    case DT_U32: ELEMENTS(uint32_t, (float)v);
    case DT_U64: ELEMENTS(uint64_t, (float)v);
    case DT_BOOL: ELEMENTS(uint8_t, v != 0);
    case DT_F8_E4M3: ELEMENTS(uint8_t, e4m3_value(v));
    case DT_F8_E5M2: ELEMENTS(uint8_t, e5m2_value(v));
    case DT_F8_E8M0: ELEMENTS(uint8_t, e8m0_value(v));
    default: break; /* is_real was checked, blocks are elsewhere */
    }
}

static void decode_elements_f64(Dtype t, double *dst, const uint8_t *p, int64_t n)
{
    switch (t) {
    case DT_F32: ELEMENTS(float, (double)v);
    case DT_F16: ELEMENTS(uint16_t, (double)f16_to_f32(v));
    case DT_BF16: ELEMENTS(uint16_t, (double)bf16_to_f32(v));
    case DT_F64: memcpy(dst, p, (size_t)n * sizeof *dst); break;
    case DT_I8: ELEMENTS(int8_t, v);
    case DT_I16: ELEMENTS(int16_t, v);
    case DT_I32: ELEMENTS(int32_t, v);
    case DT_I64: ELEMENTS(int64_t, (double)v);
    case DT_U8: ELEMENTS(uint8_t, v);
    case DT_U16: ELEMENTS(uint16_t, v);
    case DT_U32: ELEMENTS(uint32_t, v);
    case DT_U64: ELEMENTS(uint64_t, (double)v);
    case DT_BOOL: ELEMENTS(uint8_t, v != 0);
    case DT_F8_E4M3: ELEMENTS(uint8_t, (double)e4m3_value(v));
    case DT_F8_E5M2: ELEMENTS(uint8_t, (double)e5m2_value(v));
    case DT_F8_E8M0: ELEMENTS(uint8_t, (double)e8m0_value(v));
    default: break; /* is_real was checked, blocks are elsewhere */
    }
}

void dtype_decode_f32(Dtype t, float *dst, const void *src, int64_t n)
{
    const DtypeInfo *info = dtype_info(t);
    CHECK(info->is_real);
    CHECK(n >= 0);
    CHECK(n % info->block_elements == 0);
    DecodeBlock *const decode = block_decoder(t);
    if (!decode) {
        decode_elements_f32(t, dst, src, n);
        return;
    }
    const uint8_t *p = src;
    const int m = info->block_elements;
    for (int64_t i = 0; i < n; i += m, p += info->block_bytes) {
        double y[BLOCK_MAX];
        decode(y, p);
        for (int k = 0; k < m; k++)
            dst[i + k] = (float)y[k];
    }
}

void dtype_decode_f64(Dtype t, double *dst, const void *src, int64_t n)
{
    const DtypeInfo *info = dtype_info(t);
    CHECK(info->is_real);
    CHECK(n >= 0);
    CHECK(n % info->block_elements == 0);
    DecodeBlock *const decode = block_decoder(t);
    if (!decode) {
        decode_elements_f64(t, dst, src, n);
        return;
    }
    const uint8_t *p = src;
    const int m = info->block_elements;
    for (int64_t i = 0; i < n; i += m, p += info->block_bytes)
        decode(dst + i, p);
}
