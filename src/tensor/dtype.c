/* The type table and the 16-bit floats: see dtype.h. */
#include "tensor/dtype.h"

#include "base/error.h"

#include <assert.h>
#include <string.h>

static const DtypeInfo infos[] = {
#define X(e, name, el, bytes, id, real) {name, el, bytes, id, real},
    DTYPE_TABLE(X)
#undef X
};
static_assert(sizeof infos / sizeof *infos == DT_COUNT, "one row per type");

const DtypeInfo *dtype_info(Dtype t)
{
    CHECK((unsigned)t < DT_COUNT);
    return &infos[t];
}

bool dtype_from_name(const char *name, size_t len, Dtype *out)
{
    for (int t = 0; t < DT_COUNT; t++) {
        if (strlen(infos[t].name) == len && memcmp(infos[t].name, name, len) == 0) {
            *out = (Dtype)t;
            return true;
        }
    }
    return false;
}

bool dtype_from_gguf(uint32_t id, Dtype *out)
{
    for (int t = 0; t < DT_COUNT; t++) {
        if (infos[t].gguf_id >= 0 && (uint32_t)infos[t].gguf_id == id) {
            *out = (Dtype)t;
            return true;
        }
    }
    return false;
}

size_t dtype_row_bytes(Dtype t, int64_t n)
{
    const DtypeInfo *info = dtype_info(t);
    CHECK(n >= 0);
    CHECK(n % info->block_elements == 0);
    const size_t blocks = (size_t)(n / info->block_elements);
    CHECK(blocks <= SIZE_MAX / (size_t)info->block_bytes);
    return blocks * (size_t)info->block_bytes;
}

static float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t bits_of_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t e = h >> 10 & 31, m = h & 0x3ff;
    if (e == 0) {
        const float v = (float)m * 0x1p-24f;
        return sign ? -v : v;
    }
    if (e == 31)
        return float_of_bits(sign | 0x7f800000 | m << 13 | (m ? 0x400000u : 0)); /* NaN made quiet */
    return float_of_bits(sign | (e + 112) << 23 | m << 13);
}

uint16_t f32_to_f16(float f)
{
    const uint32_t bits = bits_of_float(f);
    const uint32_t sign = bits >> 16 & 0x8000, a = bits & 0x7fffffff;
    if (a > 0x7f800000) /* NaN: quiet, top of the payload kept */
        return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    if (a >= 0x477ff000) /* 65520 and more */
        return (uint16_t)(sign | 0x7c00);
    if (a < 0x38800000) { /* below 2^-14: adding 0.5 rounds at 2^-24 into the low bits */
        const float sum = float_of_bits(a) + 0.5f;
        return (uint16_t)(sign | (bits_of_float(sum) - 0x3f000000));
    }
    const uint32_t rounded = a - 0x38000000 + 0xfff + (a >> 13 & 1);
    return (uint16_t)(sign | rounded >> 13);
}

float bf16_to_f32(uint16_t h)
{
    return float_of_bits((uint32_t)h << 16);
}

uint16_t f32_to_bf16(float f)
{
    const uint32_t bits = bits_of_float(f);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
