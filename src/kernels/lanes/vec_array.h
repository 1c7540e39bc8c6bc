/* vec.h on arrays of sixteen: levels scalar and f64, and every processor without a level of its own.
 * Compilers turn these loops into whatever vectors the target has. */
#ifndef PLUMB_KERNELS_LANES_VEC_ARRAY_H
#define PLUMB_KERNELS_LANES_VEC_ARRAY_H

#define VEC_REGISTERS 16 /* how many vreal a tile may hold (as if they were two registers of 32) */

typedef struct {
    real v[LANES];
} vreal;
typedef struct {
    int32_t v[LANES];
} vint;
typedef struct {
    bool v[LANES];
} vmask;

#define VEC_EACH(type, expr)              \
    type r;                               \
    for (int i = 0; i < LANES; i++)       \
        r.v[i] = (expr);                  \
    return r

INLINE vreal v_set1(real x)
{
    VEC_EACH(vreal, x);
}

INLINE vreal v_zero(void)
{
    return v_set1(0);
}

INLINE vreal v_load(const real *p)
{
    VEC_EACH(vreal, p[i]);
}

INLINE void v_store(real *p, vreal a)
{
    for (int i = 0; i < LANES; i++)
        p[i] = a.v[i];
}

INLINE vreal v_load_part(const real *p, int64_t n)
{
    VEC_EACH(vreal, i < n ? p[i] : 0);
}

INLINE void v_store_part(real *p, vreal a, int64_t n)
{
    for (int i = 0; i < LANES && i < n; i++)
        p[i] = a.v[i];
}

INLINE vreal v_load_f16(const uint16_t *p)
{
    VEC_EACH(vreal, (real)f16_to_f32(p[i]));
}

INLINE vreal v_load_bf16(const uint16_t *p)
{
    VEC_EACH(vreal, (real)bf16_to_f32(p[i]));
}

INLINE vreal v_add(vreal a, vreal b)
{
    VEC_EACH(vreal, a.v[i] + b.v[i]);
}

INLINE vreal v_sub(vreal a, vreal b)
{
    VEC_EACH(vreal, a.v[i] - b.v[i]);
}

INLINE vreal v_mul(vreal a, vreal b)
{
    VEC_EACH(vreal, a.v[i] * b.v[i]);
}

INLINE vreal v_div(vreal a, vreal b)
{
    VEC_EACH(vreal, a.v[i] / b.v[i]);
}

#if REAL_IS_DOUBLE
INLINE vreal v_sqrt(vreal a)
{
    VEC_EACH(vreal, sqrt(a.v[i]));
}

INLINE vreal v_fma(vreal a, vreal b, vreal c)
{
    VEC_EACH(vreal, fma(a.v[i], b.v[i], c.v[i]));
}

INLINE vreal v_fnma(vreal a, vreal b, vreal c)
{
    VEC_EACH(vreal, fma(-a.v[i], b.v[i], c.v[i]));
}
#else
INLINE void v_store_f16(uint16_t *p, vreal a)
{
    for (int i = 0; i < LANES; i++)
        p[i] = f32_to_f16(a.v[i]);
}

INLINE void v_store_bf16(uint16_t *p, vreal a)
{
    for (int i = 0; i < LANES; i++)
        p[i] = f32_to_bf16(a.v[i]);
}

INLINE vreal v_sqrt(vreal a)
{
    VEC_EACH(vreal, sqrtf(a.v[i]));
}

INLINE vreal v_fma(vreal a, vreal b, vreal c)
{
    VEC_EACH(vreal, fmaf(a.v[i], b.v[i], c.v[i]));
}

INLINE vreal v_fnma(vreal a, vreal b, vreal c)
{
    VEC_EACH(vreal, fmaf(-a.v[i], b.v[i], c.v[i]));
}

INLINE vint v_bits(vreal a)
{
    vint r;
    memcpy(&r, &a, sizeof r);
    return r;
}

INLINE vreal v_of_bits(vint a)
{
    vreal r;
    memcpy(&r, &a, sizeof r);
    return r;
}
#endif

INLINE vreal v_max(vreal a, vreal b)
{
    VEC_EACH(vreal, a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}

INLINE vreal v_min(vreal a, vreal b)
{
    VEC_EACH(vreal, a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}

INLINE vmask v_lt(vreal a, vreal b)
{
    VEC_EACH(vmask, a.v[i] < b.v[i]);
}

INLINE vmask v_first(int64_t n)
{
    VEC_EACH(vmask, i < n);
}

INLINE vmask m_andnot(vmask a, vmask b)
{
    VEC_EACH(vmask, a.v[i] && !b.v[i]);
}

INLINE vreal v_select(vmask m, vreal a, vreal b)
{
    VEC_EACH(vreal, m.v[i] ? a.v[i] : b.v[i]);
}

INLINE real v_reduce_add(vreal a)
{
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            a.v[i] = a.v[i] + a.v[i + half];
    return a.v[0];
}

INLINE real v_reduce_max(vreal a)
{
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            a.v[i] = a.v[i] > a.v[i + half] ? a.v[i] : a.v[i + half];
    return a.v[0];
}

INLINE vint vi_load(const void *p)
{
    vint r;
    memcpy(&r, p, sizeof r);
    return r;
}

INLINE vint vi_set1(int32_t x)
{
    VEC_EACH(vint, x);
}

INLINE vint vi_and(vint a, vint b)
{
    VEC_EACH(vint, a.v[i] & b.v[i]);
}

INLINE vint vi_or(vint a, vint b)
{
    VEC_EACH(vint, a.v[i] | b.v[i]);
}

INLINE vint vi_xor(vint a, vint b)
{
    VEC_EACH(vint, a.v[i] ^ b.v[i]);
}

INLINE vint vi_add(vint a, vint b)
{
    VEC_EACH(vint, (int32_t)((uint32_t)a.v[i] + (uint32_t)b.v[i]));
}

INLINE vint vi_sub(vint a, vint b)
{
    VEC_EACH(vint, (int32_t)((uint32_t)a.v[i] - (uint32_t)b.v[i]));
}

INLINE vint vi_shl(vint a, int n)
{
    VEC_EACH(vint, (int32_t)((uint32_t)a.v[i] << n));
}

INLINE vint vi_shr(vint a, int n)
{
    VEC_EACH(vint, (int32_t)((uint32_t)a.v[i] >> n));
}

INLINE vint vi_sar(vint a, int n)
{
    VEC_EACH(vint, a.v[i] >> n);
}

INLINE vreal v_from_int(vint a)
{
    VEC_EACH(vreal, (real)a.v[i]);
}

#endif
