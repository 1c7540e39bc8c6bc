/* A software model of the AMX instructions that the int8 and BF16 kernels use, for tests on processors without
 * them: tiles of at most 16 rows of 64 bytes under a configuration, as the manual defines
 * (Intel SDM, volume 1 chapter 18, and the instruction pages). What a processor would fault on, or what
 * would silently compute something else, ends the test: an instruction without a configuration, an
 * unconfigured tile, a bad palette or size, shapes that do not fit, release without configuration.
 *
 * It replaces the intrinsics by name, so that kernels are the same source. One state a thread. */
#ifndef PLUMB_TESTS_KERNELS_AMX_MODEL_H
#define PLUMB_TESTS_KERNELS_AMX_MODEL_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AMX_TILES 8
#define AMX_ROWS 16
#define AMX_ROW_BYTES 64
#define AMX_FN static inline __attribute__((unused))

typedef struct {
    bool configured;
    int rows[AMX_TILES], row_bytes[AMX_TILES];
    uint8_t tile[AMX_TILES][AMX_ROWS][AMX_ROW_BYTES];
} AmxState;

static _Thread_local AmxState amx __attribute__((unused));

AMX_FN void amx_require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "AMX model: %s\n", what);
    abort();
}

AMX_FN void amx_require_tile(int t)
{
    amx_require(amx.configured, "a tile instruction without a configuration");
    amx_require(t >= 0 && t < AMX_TILES && amx.rows[t] > 0, "a tile that is not configured");
}

AMX_FN void amx_clear(int t)
{
    memset(amx.tile[t], 0, sizeof amx.tile[t]);
}

/* LDTILECFG: palette, start row, 14 reserved bytes, 16 × u16 bytes a row, 16 × u8 rows. */
AMX_FN void amx_load_config(const void *p)
{
    uint8_t c[64];
    memcpy(c, p, sizeof c);
    amx_require(c[0] == 1, "a palette other than 1");
    for (int i = 1; i < 16; i++)
        amx_require(c[i] == 0, "reserved bytes or a start row in a configuration");
    for (int t = 0; t < 16; t++) {
        const int row_bytes = c[16 + 2 * t] | c[17 + 2 * t] << 8, rows = c[48 + t];
        amx_require(t < AMX_TILES || (rows == 0 && row_bytes == 0), "a tile beyond the eighth");
        amx_require((rows == 0) == (row_bytes == 0), "rows without bytes or bytes without rows");
        amx_require(rows <= AMX_ROWS && row_bytes <= AMX_ROW_BYTES, "a tile that is too large");
        amx_require(row_bytes % 4 == 0, "rows of broken groups of four");
        if (t >= AMX_TILES)
            continue;
        amx.rows[t] = rows;
        amx.row_bytes[t] = row_bytes;
        amx_clear(t);
    }
    amx.configured = true;
}

AMX_FN void amx_release(void)
{
    amx_require(amx.configured, "a release without a configuration");
    memset(&amx, 0, sizeof amx);
}

AMX_FN void amx_zero(int t)
{
    amx_require_tile(t);
    amx_clear(t);
}

/* Rows and bytes beyond the configured ones become zero. */
AMX_FN void amx_load(int t, const void *p, int64_t stride)
{
    amx_require_tile(t);
    amx_clear(t);
    for (int r = 0; r < amx.rows[t]; r++)
        memcpy(amx.tile[t][r], (const char *)p + r * stride, (size_t)amx.row_bytes[t]);
}

AMX_FN void amx_store(int t, void *p, int64_t stride)
{
    amx_require_tile(t);
    for (int r = 0; r < amx.rows[t]; r++)
        memcpy((char *)p + r * stride, amx.tile[t][r], (size_t)amx.row_bytes[t]);
}

AMX_FN int amx_byte(uint8_t b, bool is_signed)
{
    return is_signed ? (int8_t)b : b;
}

/* c[m][n] += Σ_k Σ_j a[m][4k+j] · b[k][4n+j] */
AMX_FN void amx_dot(int c, int a, int b, bool a_signed, bool b_signed)
{
    amx_require_tile(c);
    amx_require_tile(a);
    amx_require_tile(b);
    amx_require(c != a && c != b && a != b, "a product of a tile with itself");
    amx_require(amx.rows[c] == amx.rows[a], "rows of the sum and of the left factor differ");
    amx_require(amx.row_bytes[c] == amx.row_bytes[b], "columns of the sum and of the right factor differ");
    amx_require(amx.row_bytes[a] / 4 == amx.rows[b], "depths of the factors differ");
    for (int m = 0; m < amx.rows[c]; m++)
        for (int n = 0; n < amx.row_bytes[c] / 4; n++) {
            uint32_t sum; /* wraps, as the instruction does */
            memcpy(&sum, &amx.tile[c][m][4 * n], 4);
            for (int k = 0; k < amx.rows[b]; k++)
                for (int j = 0; j < 4; j++)
                    sum += (uint32_t)(amx_byte(amx.tile[a][m][4 * k + j], a_signed) *
                                      amx_byte(amx.tile[b][k][4 * n + j], b_signed));
            memcpy(&amx.tile[c][m][4 * n], &sum, 4);
        }
}

/* A float of two BF16, or of a sum, with denormals as zeros. */
AMX_FN float amx_flushed(uint32_t bits)
{
    float x;
    if ((bits & 0x7F800000) == 0)
        bits &= 0x80000000;
    memcpy(&x, &bits, sizeof x);
    return x;
}

AMX_FN float amx_flush(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return amx_flushed(bits);
}

AMX_FN float amx_bf16(const uint8_t *p)
{
    return amx_flushed((uint32_t)p[0] << 16 | (uint32_t)p[1] << 24);
}

/* TDPBF16PS: even and odd products of a pair are summed apart, each from 0 with fused multiply-adds that flush
 * denormals, then added, then added to the sum. */
AMX_FN void amx_dot_bf16(int c, int a, int b)
{
    amx_require_tile(c);
    amx_require_tile(a);
    amx_require_tile(b);
    amx_require(c != a && c != b && a != b, "a product of a tile with itself");
    amx_require(amx.rows[c] == amx.rows[a], "rows of the sum and of the left factor differ");
    amx_require(amx.row_bytes[c] == amx.row_bytes[b], "columns of the sum and of the right factor differ");
    amx_require(amx.row_bytes[a] / 4 == amx.rows[b], "depths of the factors differ");
    for (int m = 0; m < amx.rows[c]; m++)
        for (int n = 0; n < amx.row_bytes[c] / 4; n++) {
            float sum[2] = {0, 0}, before;
            for (int k = 0; k < amx.rows[b]; k++)
                for (int j = 0; j < 2; j++)
                    sum[j] = amx_flush(fmaf(amx_bf16(&amx.tile[a][m][4 * k + 2 * j]), amx_bf16(&amx.tile[b][k][4 * n + 2 * j]),
                                            sum[j]));
            memcpy(&before, &amx.tile[c][m][4 * n], 4);
            const float after = amx_flush(amx_flush(before) + amx_flush(sum[0] + sum[1]));
            memcpy(&amx.tile[c][m][4 * n], &after, 4);
        }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbssd
#undef _tile_dpbsud
#undef _tile_dpbusd
#undef _tile_dpbuud
#define _tile_loadconfig(config) amx_load_config(config)
#define _tile_release() amx_release()
#define _tile_zero(t) amx_zero(t)
#define _tile_loadd(t, p, stride) amx_load(t, p, stride)
#define _tile_stored(t, p, stride) amx_store(t, p, stride)
#define _tile_dpbssd(c, a, b) amx_dot(c, a, b, true, true)
#define _tile_dpbsud(c, a, b) amx_dot(c, a, b, true, false)
#define _tile_dpbusd(c, a, b) amx_dot(c, a, b, false, true)
#define _tile_dpbuud(c, a, b) amx_dot(c, a, b, false, false)
#undef _tile_dpbf16ps
#define _tile_dpbf16ps(c, a, b) amx_dot_bf16(c, a, b)

#endif
