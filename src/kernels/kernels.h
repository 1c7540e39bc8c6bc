/* Compute kernels: pure functions on pointers, strides and sizes; one table per instruction-set level.
 *
 * One source (src/kernels/lanes/) is written on vectors of sixteen lanes and compiled once per level:
 *   f64      sixteen doubles in an array: the oracle for traces and finite differences
 *   scalar   sixteen floats in an array: the definition
 *   avx2     two registers a vector         avx512  one register      vnni  avx512 + dpbusd for int8
 *   amx      the table of vnni, but for linear_int8, which uses matrix tiles for many rows, and for bf16
 * `real` below is double in the f64 table and float in all others; `real_bytes` says which.
 *
 * The order of every sum is a function of indices only (ascending, or sixteen lanes and a fixed tree),
 * never of the number of rows, threads or the level, and multiply-adds are fused where the source says
 * so and nowhere else: all f32 levels give the same bits, for every row alone as in any batch. The products
 * of kernels/bf16.h promise that for one instruction each.
 *
 * Kernels never allocate, never start threads, cannot fail, and may run in any thread on disjoint
 * outputs. Shapes are row-major, outermost first; ld* are row strides in elements. */
#ifndef PLUMB_KERNELS_KERNELS_H
#define PLUMB_KERNELS_KERNELS_H

#include "base/error.h"
#include "kernels/args.h"
#include "kernels/bf16.h"
#include "kernels/grad.h"
#include "kernels/mix.h"

/* An activation row quantised for the int8 mode, in blocks of 32 (K a multiple of 32):
 *     d[b] = max|x|/127 over the block,  q = round-half-even(x / d) (0 when d is 0, within ±127),
 *     sum[h] = Σ q over 16 consecutive values (two a block).
 * A block with an infinity or a NaN gets d = NaN, which reaches every output of the row, and q = 0.
 * A matrix of M rows is three arrays: q [M][K], d [M][K/32], sum [M][K/16]. */
typedef struct {
    int8_t *q;
    float *d;
    int32_t *sum;
} QuantRows;

typedef struct {
    const char *name;  /* "scalar", "avx2", … */
    size_t real_bytes; /* 4, or 8 in the f64 table */
    const GradKernels *grad; /* gradients, losses, optimisers */
    const MixKernels *mix;   /* DeepSeek-V4's own parts */
    const Bf16Kernels *bf16; /* products of BF16; NULL in the f64 table */

    /* y[M,N] = x[M,K] · w[N,K]ᵀ (+ bias[N] when not NULL, added after the sum), only the outputs of
     * panels panel0 … panel1−1; other columns of y are not touched. y may not alias x.
     * One fused multiply-add a product, ascending k, from 0 (K = 0 gives 0). The weights are float32
     * numbers at level f64 too, so that its result is the exact one of the same model.
     * scratch: LINEAR_SCRATCH bytes, 64-byte aligned, one a thread. */
    void (*linear)(const LinearShape *s, void *y, int64_t ldy, const void *x, int64_t ldx,
                   const void *bias, void *scratch);

    /* The int8 mode, quantised forms only; NULL in the f64 table. Per block of the form, ascending:
     *     i = Σ code·q − zero·Σ q (integers);  acc = fma(scale · d, (float)i, acc);
     *     with has_min also  acc = fma(min, d · (float)Σ q, acc)   after it.
     * y is float. The same bits at every level. */
    void (*linear_int8)(const LinearShape *s, float *y, int64_t ldy, const QuantRows *x,
                        const float *bias, void *scratch);
    /* Rows of x[M][ldx] into `out` (see QuantRows). NULL in the f64 table. */
    void (*quantise_rows)(const QuantRows *out, const float *x, int64_t ldx, int64_t M, int64_t K);

    /* y[t,i] = g[i] · (x[t,i] · 1/sqrt(mean_j x[t,j]² + eps))   (RMSNorm, arXiv:1910.07467); gain NULL: g = 1.
     * y may be x. Squares are summed in sixteen lanes, then by a fixed tree. */
    void (*rmsnorm_rows)(void *y, int64_t ldy, const void *x, int64_t ldx, const void *gain,
                         int64_t rows, int64_t d, double eps);

    /* Rotate `heads` heads of head_dim each in row t by the angles of its position (RoPE,
     * arXiv:2104.09864): cos_sin[(positions[t]) · rot .. ] holds rot/2 cosines, then rot/2 sines, in
     * float (also in the f64 table). interleaved: pairs (2i, 2i+1), else (i, i + rot/2). Elements from
     * rot on are untouched. In place. */
    void (*rope_rows)(void *x, int64_t ldx, const int32_t *positions, const float *cos_sin, int64_t rows,
                      int64_t heads, int64_t head_dim, int64_t rot, bool interleaved);

    /* Softmax attention by blocks of 64 keys at absolute positions, ascending, then by blocks of 64 of the entries
     * that a row sees, ascending, with a running maximum (online softmax, arXiv:2205.14135), the sink last.
     * Scores ascend over head_dim, values over keys, one fused multiply-add each. The keys, entries and
     * values that a row sees are all that its result depends on: the rest of a page may hold anything,
     * later rows of the same chunk or NaNs of another life.
     * scratch: ATTENTION_SCRATCH bytes, 64-byte aligned, one a thread. out may not alias q. */
    void (*attention)(const AttentionArgs *a, void *scratch);

    /* Write rows of keys and values into their page (see AttentionArgs for the layout): row r of k and v
     * [rows][head_dim] goes to entry entry0 + r of the page; rows stay inside the page. Float16 rounds to
     * nearest even. Padding of values is not written. v NULL: keys alone, and the page has no room for values. */
    void (*kv_write)(void *page, size_t key_offset, size_t value_offset, Dtype kv_type, int64_t entry0,
                     int64_t rows, const void *k, int64_t ldk, const void *v, int64_t ldv,
                     int64_t head_dim);

    /* Element-wise over n consecutive elements; y may be an input. silu is within 6 ULP and goes to −0
     * (not NaN) at −inf. limit > 0: gate becomes min(gate, limit) and up is clamped to ±limit first. */
    void (*silu_mul)(void *y, const void *gate, const void *up, int64_t n, double limit); /* gate·σ(gate)·up */
    void (*add)(void *y, const void *a, const void *b, int64_t n);

    /* log Σ exp(x[i]), for sampler, losses and log-probabilities: the only one there is. The maximum is
     * taken out first; −inf for n = 0; NaN when there is one. */
    double (*logsumexp)(const void *x, int64_t n);

    /* For kernels/peaks.h: nothing but multiply-adds, nothing but the level's product of bytes with the
     * addition behind it, nothing but reading. They return the operations (a multiply-add is two) or
     * the bytes of the run; *sink is there to be written to. */
    int64_t (*measure_fma)(int64_t steps, double *sink);
    int64_t (*measure_bytes)(int64_t steps, double *sink);
    int64_t (*measure_read)(const void *p, int64_t bytes, double *sink);
} Kernels;

#define LINEAR_SCRATCH ((size_t)1 << 18)    /* bytes a thread: decoded panels */
#define ATTENTION_SCRATCH ((size_t)1 << 17)

typedef enum { LEVEL_SCALAR, LEVEL_AVX2, LEVEL_AVX512, LEVEL_VNNI, LEVEL_AMX, LEVEL_COUNT } KernelLevel;

const char *kernels_level_name(KernelLevel level);
/* The best level this processor and operating system can run; PLUMB_CPU=NAME lowers it. */
KernelLevel kernels_best_level(void);
/* The table of a level, NULL when this build or this processor lacks it (whatever PLUMB_CPU says). */
const Kernels *kernels_at(KernelLevel level);
const Kernels *kernels_f64(void);

#endif
