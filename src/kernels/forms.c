/* Packing of weight matrices into panels, and the plain decoder of panels.
 *
 * A quantised row is taken apart file block by file block (`Parts`: codes, scales, minima), and each
 * part is put where sixteen rows interleave. Rows are the inner loop, so that a block of the panel
 * (at most 1,152 bytes) stays in L1 while sixteen rows are read as sixteen streams. */
#include "kernels/forms.h"

#include "base/error.h"

#include <string.h>

#define SUPER 256 /* elements of the largest file block */

/* One file block of one row. Scales and minima are the bits that the panel stores (f16 or f32). */
typedef struct {
    uint8_t codes[SUPER];
    uint32_t scale[SUPER / 16];
    uint32_t min[SUPER / 16];
} Parts;

typedef void (*SplitFn)(Parts *p, const uint8_t *src);

PackForm form_of_dtype(Dtype t)
{
    switch (t) {
    case DT_F16:
        return (PackForm){FORM_F16, 1, 0, 0, false};
    case DT_BF16:
        return (PackForm){FORM_BF16, 1, 0, 0, false};
    case DT_Q4_0:
        return (PackForm){FORM_Q4, 32, 2, 8, false};
    case DT_Q4_1:
        return (PackForm){FORM_Q4, 32, 2, 0, true};
    case DT_Q5_0:
        return (PackForm){FORM_Q8, 32, 2, 16, false};
    case DT_Q5_1:
        return (PackForm){FORM_Q8, 32, 2, 0, true};
    case DT_Q8_0:
        return (PackForm){FORM_Q8, 32, 2, 128, false};
    case DT_Q2_K:
        return (PackForm){FORM_Q4, 16, 4, 0, true};
    case DT_Q3_K:
        return (PackForm){FORM_Q4, 16, 4, 4, false};
    case DT_Q4_K:
        return (PackForm){FORM_Q4, 32, 4, 0, true};
    case DT_Q5_K:
        return (PackForm){FORM_Q8, 32, 4, 0, true};
    case DT_Q6_K:
        return (PackForm){FORM_Q8, 16, 4, 32, false};
    default:
        return (PackForm){FORM_F32, 1, 0, 0, false};
    }
}

PackForm form_bf16_pairs(void)
{
    return (PackForm){FORM_BF16_PAIRS, 2, 0, 0, false};
}

bool form_is_quantised(const PackForm *f)
{
    return f->kind == FORM_Q4 || f->kind == FORM_Q8;
}

size_t form_block_bytes(const PackForm *f)
{
    const size_t scales = (size_t)PANEL_ROWS * f->scale_bytes * (f->has_min ? 2 : 1);
    switch (f->kind) {
    case FORM_F32:
        return PANEL_ROWS * sizeof(float);
    case FORM_F16:
    case FORM_BF16:
        return PANEL_ROWS * sizeof(uint16_t);
    case FORM_BF16_PAIRS:
        return PANEL_ROWS * 2 * sizeof(uint16_t);
    case FORM_Q4:
        return scales + (size_t)f->block * PANEL_ROWS / 2;
    case FORM_Q8:
        return scales + (size_t)f->block * PANEL_ROWS;
    }
    CHECK(!"unknown form");
    return 0;
}

/* Bytes of a panel's blocks; the last pair may be half a one. */
static size_t blocks_bytes(const PackForm *f, int64_t K)
{
    return form_block_bytes(f) * (size_t)((K + f->block - 1) / f->block);
}

size_t form_panel_bytes(const PackForm *f, int64_t K)
{
    const size_t bytes = blocks_bytes(f, K);
    return (bytes + 63) / 64 * 64;
}

size_t form_bytes(const PackForm *f, int64_t N, int64_t K)
{
    return form_panel_bytes(f, K) * (size_t)((N + PANEL_ROWS - 1) / PANEL_ROWS);
}

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t load_u32(const uint8_t *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static void store_u32(uint8_t *p, uint32_t x)
{
    memcpy(p, &x, sizeof x);
}

static uint32_t float_bits(float f)
{
    uint32_t x;
    memcpy(&x, &f, sizeof x);
    return x;
}

/* ---- file blocks (formats.md §4.3; the decoders in tensor/dtype_decode.c are their other reading) ---- */

static void nibbles(uint8_t *codes, const uint8_t *q, int n)
{
    for (int j = 0; j < n; j++)
        codes[j] = q[j] & 15;
    for (int j = 0; j < n; j++)
        codes[j + n] = q[j] >> 4;
}

/* Add bit j of `bits` as 16 to codes[j]: four bits at a time are spread over four bytes. */
static void fifth_bits(uint8_t *codes, uint32_t bits)
{
    for (int j = 0; j < 32; j += 4) {
        const uint32_t spread = ((bits >> j & 15) * 0x00204081u & 0x01010101u) << 4;
        store_u32(codes + j, load_u32(codes + j) | spread);
    }
}

static void split_q4_0(Parts *p, const uint8_t *src)
{
    p->scale[0] = load_u16(src);
    nibbles(p->codes, src + 2, 16);
}

static void split_q4_1(Parts *p, const uint8_t *src)
{
    p->scale[0] = load_u16(src);
    p->min[0] = load_u16(src + 2);
    nibbles(p->codes, src + 4, 16);
}

static void split_q5_0(Parts *p, const uint8_t *src)
{
    p->scale[0] = load_u16(src);
    nibbles(p->codes, src + 6, 16);
    fifth_bits(p->codes, load_u32(src + 2));
}

static void split_q5_1(Parts *p, const uint8_t *src)
{
    p->scale[0] = load_u16(src);
    p->min[0] = load_u16(src + 2);
    nibbles(p->codes, src + 8, 16);
    fifth_bits(p->codes, load_u32(src + 4));
}

static void split_q8_0(Parts *p, const uint8_t *src)
{
    p->scale[0] = load_u16(src);
    for (int j = 0; j < 32; j++)
        p->codes[j] = src[2 + j] ^ 0x80; /* two's complement + 128 */
}

static void two_bits(uint8_t *codes, const uint8_t *q)
{
    for (int n = 0; n < 2; n++)
        for (int j = 0; j < 4; j++)
            for (int l = 0; l < 32; l++)
                codes[128 * n + 32 * j + l] = q[32 * n + l] >> 2 * j & 3;
}

static void split_q2_k(Parts *p, const uint8_t *src)
{
    const float d = f16_to_f32(load_u16(src + 80)), dmin = f16_to_f32(load_u16(src + 82));
    two_bits(p->codes, src + 16);
    for (int i = 0; i < 16; i++) {
        p->scale[i] = float_bits(d * (float)(src[i] & 15));
        p->min[i] = float_bits(-(dmin * (float)(src[i] >> 4)));
    }
}

static void split_q3_k(Parts *p, const uint8_t *src)
{
    const uint8_t *const high = src, *const s = src + 96;
    const float d = f16_to_f32(load_u16(src + 108));
    two_bits(p->codes, src + 32);
    for (int b = 0; b < 8; b++)
        for (int l = 0; l < 32; l++)
            p->codes[32 * b + l] |= (high[l] >> b & 1) << 2;
    for (int i = 0; i < 16; i++) {
        const int low = i < 8 ? s[i] & 15 : s[i - 8] >> 4;
        const int top = s[8 + i % 4] >> 2 * (i / 4) & 3;
        p->scale[i] = float_bits(d * (float)((low | top << 4) - 32));
    }
}

/* The eight 6-bit scales and minima of Q4_K and Q5_K. */
static void six_bit_scales(Parts *p, const uint8_t *src)
{
    const float d = f16_to_f32(load_u16(src)), dmin = f16_to_f32(load_u16(src + 2));
    const uint8_t *const s = src + 4;
    for (int i = 0; i < 8; i++) {
        const int sc = i < 4 ? s[i] & 63 : (s[i + 4] & 15) | s[i - 4] >> 6 << 4;
        const int m = i < 4 ? s[i + 4] & 63 : s[i + 4] >> 4 | s[i] >> 6 << 4;
        p->scale[i] = float_bits(d * (float)sc);
        p->min[i] = float_bits(-(dmin * (float)m));
    }
}

static void split_q4_k(Parts *p, const uint8_t *src)
{
    six_bit_scales(p, src);
    for (int i = 0; i < 4; i++)
        nibbles(p->codes + 64 * i, src + 16 + 32 * i, 32);
}

static void split_q5_k(Parts *p, const uint8_t *src)
{
    six_bit_scales(p, src);
    for (int i = 0; i < 4; i++)
        nibbles(p->codes + 64 * i, src + 48 + 32 * i, 32);
    for (int b = 0; b < 8; b++)
        for (int l = 0; l < 32; l++)
            p->codes[32 * b + l] |= (src[16 + l] >> b & 1) << 4;
}

static void split_q6_k(Parts *p, const uint8_t *src)
{
    const float d = f16_to_f32(load_u16(src + 208));
    for (int n = 0; n < 2; n++) {
        uint8_t *const codes = p->codes + 128 * n;
        const uint8_t *const low = src + 64 * n, *const high = src + 128 + 32 * n;
        nibbles(codes, low, 64);
        for (int b = 0; b < 4; b++)
            for (int l = 0; l < 32; l++)
                codes[32 * b + l] |= (high[l] >> 2 * b & 3) << 4;
    }
    for (int i = 0; i < 16; i++)
        p->scale[i] = float_bits(d * (float)(int8_t)src[192 + i]);
}

static SplitFn split_of(Dtype t)
{
    switch (t) {
    case DT_Q4_0:
        return split_q4_0;
    case DT_Q4_1:
        return split_q4_1;
    case DT_Q5_0:
        return split_q5_0;
    case DT_Q5_1:
        return split_q5_1;
    case DT_Q8_0:
        return split_q8_0;
    case DT_Q2_K:
        return split_q2_k;
    case DT_Q3_K:
        return split_q3_k;
    case DT_Q4_K:
        return split_q4_k;
    case DT_Q5_K:
        return split_q5_k;
    case DT_Q6_K:
        return split_q6_k;
    default:
        return NULL;
    }
}

/* ---- panels ---- */

static void put_codes4(uint8_t *dst, const uint8_t *codes, int block)
{
    for (int i = 0; i < block / 8; i++)
        store_u32(dst + 64 * i, load_u32(codes + 8 * i) | load_u32(codes + 8 * i + 4) << 4);
}

static void put_codes8(uint8_t *dst, const uint8_t *codes, int block)
{
    for (int i = 0; i < block / 4; i++)
        store_u32(dst + 64 * i, load_u32(codes + 4 * i));
}

/* Scale or minimum of row r: the low `width` bytes of its bits. */
static void put_scale(uint8_t *dst, uint32_t bits, int width, int r)
{
    const uint16_t half = (uint16_t)bits;
    if (width == 2)
        memcpy(dst + 2 * r, &half, 2);
    else
        store_u32(dst + 4 * r, bits);
}

/* Row `r` of the panel block at dst: scale, min and codes number `sub` of the file block. */
static void put_block(const PackForm *f, uint8_t *dst, const Parts *p, int sub, int r)
{
    const int width = f->scale_bytes;
    put_scale(dst, p->scale[sub], width, r);
    dst += width * PANEL_ROWS;
    if (f->has_min) {
        put_scale(dst, p->min[sub], width, r);
        dst += width * PANEL_ROWS;
    }
    if (f->kind == FORM_Q4)
        put_codes4(dst + 4 * r, p->codes + sub * f->block, f->block);
    else
        put_codes8(dst + 4 * r, p->codes + sub * f->block, f->block);
}

static void pack_quantised(const PackForm *f, uint8_t *dst, Dtype t, const uint8_t *src, int rows,
                           int64_t K)
{
    const DtypeInfo *const info = dtype_info(t);
    const SplitFn split = split_of(t);
    const size_t row_bytes = dtype_row_bytes(t, K), block_bytes = form_block_bytes(f);
    const int subs = info->block_elements / f->block;
    Parts parts;
    for (int64_t b = 0; b < K / info->block_elements; b++) {
        for (int r = 0; r < rows; r++) {
            split(&parts, src + (size_t)r * row_bytes + (size_t)b * (size_t)info->block_bytes);
            for (int s = 0; s < subs; s++)
                put_block(f, dst + (size_t)s * block_bytes, &parts, s, r);
        }
        dst += (size_t)subs * block_bytes;
    }
}

static void pack_two_bytes(uint8_t *dst, const uint8_t *src, int rows, int64_t K)
{
    for (int64_t k = 0; k < K; k += 16)
        for (int r = 0; r < rows; r++)
            for (int64_t i = k; i < k + 16 && i < K; i++)
                memcpy(dst + 2 * (PANEL_ROWS * i + r), src + 2 * (K * r + i), 2);
}

static void pack_float(float *dst, Dtype t, const uint8_t *src, int rows, int64_t K)
{
    const size_t row_bytes = dtype_row_bytes(t, K);
    float chunk[SUPER];
    for (int64_t k = 0; k < K; k += SUPER) {
        const int64_t n = K - k < SUPER ? K - k : SUPER;
        for (int r = 0; r < rows; r++) {
            dtype_decode_f32(t, chunk, src + (size_t)r * row_bytes + dtype_row_bytes(t, k), n);
            for (int64_t i = 0; i < n; i++)
                dst[PANEL_ROWS * (k + i) + r] = chunk[i];
        }
    }
}

/* f32_to_bf16 for the loop below, which runs over all weights at every step of training. */
static inline uint32_t rounded(float f)
{
    const uint32_t bits = float_bits(f);
    return (bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static void pack_pairs(uint8_t *dst, Dtype t, const uint8_t *src, int rows, int64_t K)
{
    const size_t row_bytes = dtype_row_bytes(t, K);
    float chunk[SUPER + 1];
    for (int64_t k = 0; k < K; k += SUPER) {
        const int64_t n = K - k < SUPER ? K - k : SUPER;
        for (int r = 0; r < rows; r++) {
            dtype_decode_f32(t, chunk, src + (size_t)r * row_bytes + dtype_row_bytes(t, k), n);
            chunk[n] = 0;
            for (int64_t i = 0; i < n; i += 2)
                store_u32(dst + 4 * (PANEL_ROWS * (k + i) / 2 + r), rounded(chunk[i]) | rounded(chunk[i + 1]) << 16);
        }
    }
}

void form_pack_panel(const PackForm *f, void *dst, Dtype t, const void *stored, int64_t panel,
                     int64_t N, int64_t K)
{
    const int64_t row = panel * PANEL_ROWS;
    const int rows = (int)(N - row < PANEL_ROWS ? N - row : PANEL_ROWS);
    const size_t bytes = form_panel_bytes(f, K);
    const size_t used = blocks_bytes(f, K);
    const uint8_t *const src = (const uint8_t *)stored + (size_t)row * dtype_row_bytes(t, K);
    CHECK(rows > 0);
    CHECK(K % f->block == 0 || f->kind == FORM_BF16_PAIRS);
    if (rows < PANEL_ROWS)
        memset(dst, 0, bytes);
    else
        memset((uint8_t *)dst + used, 0, bytes - used);
    switch (f->kind) {
    case FORM_F32:
        pack_float(dst, t, src, rows, K);
        break;
    case FORM_F16:
    case FORM_BF16:
        CHECK(t == (f->kind == FORM_F16 ? DT_F16 : DT_BF16));
        pack_two_bytes(dst, src, rows, K);
        break;
    case FORM_BF16_PAIRS:
        pack_pairs(dst, t, src, rows, K);
        break;
    case FORM_Q4:
    case FORM_Q8:
        CHECK(split_of(t) != NULL);
        pack_quantised(f, dst, t, src, rows, K);
        break;
    }
}

/* ---- the definition ---- */

static float scale_at(const PackForm *f, const uint8_t *p, int r)
{
    float x;
    if (f->scale_bytes == 2)
        return f16_to_f32(load_u16(p + 2 * r));
    memcpy(&x, p + 4 * r, sizeof x);
    return x;
}

static int code_at(const PackForm *f, const uint8_t *codes, int k, int r)
{
    if (f->kind == FORM_Q8)
        return codes[k / 4 * 64 + 4 * r + k % 4];
    return codes[k / 8 * 64 + 4 * r + k % 4] >> (k / 4 % 2 * 4) & 15;
}

static void decode_block(const PackForm *f, float *dst, const uint8_t *block)
{
    const uint8_t *const min = block + (size_t)PANEL_ROWS * f->scale_bytes;
    const uint8_t *const codes = f->has_min ? min + (size_t)PANEL_ROWS * f->scale_bytes : min;
    for (int k = 0; k < f->block; k++) {
        for (int r = 0; r < PANEL_ROWS; r++) {
            const float w = scale_at(f, block, r) * (float)(code_at(f, codes, k, r) - f->zero);
            dst[PANEL_ROWS * k + r] = f->has_min ? w + scale_at(f, min, r) : w;
        }
    }
}

static void decode_pairs(float *dst, const uint8_t *src, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        for (int r = 0; r < PANEL_ROWS; r++)
            dst[PANEL_ROWS * k + r] = bf16_to_f32(load_u16(src + 64 * (k / 2) + 4 * r + 2 * (k % 2)));
}

void form_decode_panel(const PackForm *f, float *dst, const void *panel, int64_t k0, int64_t k1)
{
    const size_t block_bytes = form_block_bytes(f);
    const uint8_t *src = (const uint8_t *)panel + (size_t)(k0 / f->block) * block_bytes;
    if (f->kind == FORM_F32) {
        memcpy(dst, src, (size_t)(k1 - k0) * block_bytes);
        return;
    }
    if (f->kind == FORM_BF16_PAIRS) {
        decode_pairs(dst, src, k1 - k0);
        return;
    }
    for (int64_t k = k0; k < k1; k += f->block, src += block_bytes, dst += PANEL_ROWS * f->block) {
        if (form_is_quantised(f)) {
            decode_block(f, dst, src);
            continue;
        }
        for (int r = 0; r < PANEL_ROWS; r++) {
            const uint16_t h = load_u16(src + 2 * r);
            dst[r] = f->kind == FORM_F16 ? f16_to_f32(h) : bf16_to_f32(h);
        }
    }
}
