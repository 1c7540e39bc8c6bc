/* The int8 mode as kernels.h defines it, in plain loops: the definition that every level must equal. */
#include "kernels/lanes/lanes.h"

#ifdef LEVEL_scalar

#include <math.h>
#include <string.h>

static float scale_at(const PackForm *f, const uint8_t *scales, int lane)
{
    if (f->scale_bytes == 2) {
        uint16_t h;
        memcpy(&h, scales + 2 * lane, sizeof h);
        return f16_to_f32(h);
    }
    float s;
    memcpy(&s, scales + 4 * lane, sizeof s);
    return s;
}

/* Σ code·q over the block, a sum for each of the sixteen rows. */
static void block_dot(const PackForm *f, const uint8_t *codes, const int8_t *q, int32_t sum[LANES])
{
    memset(sum, 0, LANES * sizeof sum[0]);
    for (int g = 0; g < f->block / 4; g++) {
        const bool nibbles = f->kind == FORM_Q4;
        const uint8_t *const c = codes + 64 * (nibbles ? g / 2 : g);
        const int shift = nibbles ? 4 * (g % 2) : 0, mask = nibbles ? 15 : 255;
        for (int lane = 0; lane < LANES; lane++)
            for (int j = 0; j < 4; j++)
                sum[lane] += (c[4 * lane + j] >> shift & mask) * q[4 * g + j];
    }
}

/* Sums of one row of x (q, d, sum) with the sixteen rows of a panel. */
static void panel_row(const PackForm *f, const uint8_t *panel, int64_t K, const int8_t *q,
                      const float *d, const int32_t *sum, float acc[LANES])
{
    const size_t bytes = form_block_bytes(f), scales = (size_t)PANEL_ROWS * f->scale_bytes;
    memset(acc, 0, LANES * sizeof acc[0]);
    for (int64_t k = 0; k < K; k += f->block, panel += bytes) {
        int32_t dot[LANES];
        const int32_t s = sum[k / 16] + (f->block == 32 ? sum[k / 16 + 1] : 0);
        block_dot(f, panel + (f->has_min ? 2 * scales : scales), q + k, dot);
        for (int lane = 0; lane < LANES; lane++) {
            const float i = (float)(dot[lane] - f->zero * s);
            acc[lane] = fmaf(scale_at(f, panel, lane) * d[k / 32], i, acc[lane]);
            if (f->has_min)
                acc[lane] = fmaf(scale_at(f, panel + scales, lane), d[k / 32] * (float)s, acc[lane]);
        }
    }
}

void linear_int8_scalar(const LinearShape *s, float *y, int64_t ldy, const QuantRows *x,
                        const float *bias, void *scratch)
{
    const size_t panel_bytes = form_panel_bytes(s->form, s->K);
    (void)scratch;
    for (int64_t p = s->panel0; p < s->panel1; p++) {
        const uint8_t *const panel = (const uint8_t *)s->panels + (size_t)p * panel_bytes;
        for (int64_t m = 0; m < s->M; m++) {
            float acc[LANES];
            panel_row(s->form, panel, s->K, x->q + m * s->K, x->d + m * (s->K / 32),
                      x->sum + m * (s->K / 16), acc);
            for (int64_t n = LANES * p; n < LANES * (p + 1) && n < s->N; n++)
                y[m * ldy + n] = bias ? acc[n - LANES * p] + bias[n] : acc[n - LANES * p];
        }
    }
}

/* Blocks that hold an infinity or a NaN get d = NaN, which reaches every output, and q = 0. */
static void quantise_block(int8_t q[32], float *d, int32_t sum[2], const float x[32])
{
    float max = 0;
    bool finite = true;
    for (int i = 0; i < 32; i++) {
        finite = finite && isfinite(x[i]);
        max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
    }
    const float scale = finite ? max / 127 : NAN;
    *d = scale;
    sum[0] = sum[1] = 0;
    for (int i = 0; i < 32; i++) {
        /* only a denormal d, being rounded, leaves quotients above 127 */
        const float r = scale > 0 ? rintf(x[i] / scale) : 0;
        q[i] = (int8_t)(r > 127 ? 127 : r < -127 ? -127 : r);
        sum[i / 16] += q[i];
    }
}

void quantise_rows_scalar(const QuantRows *out, const float *x, int64_t ldx, int64_t M, int64_t K)
{
    for (int64_t m = 0; m < M; m++)
        for (int64_t b = 0; b < K / 32; b++)
            quantise_block(out->q + m * K + 32 * b, out->d + m * (K / 32) + b,
                           out->sum + m * (K / 16) + 2 * b, x + m * ldx + 32 * b);
}

#endif
