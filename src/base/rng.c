/* Counter-based random numbers: see rng.h. */
#include "base/rng.h"

#include "base/error.h"

#include <math.h>

#define ROUNDS 10
#define MULTIPLIER_0 0xd2511f53u
#define MULTIPLIER_1 0xcd9e8d57u
#define WEYL_0 0x9e3779b9u /* golden ratio */
#define WEYL_1 0xbb67ae85u /* sqrt(3) - 1 */

void philox4x32(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int i = 0; i < ROUNDS; i++) {
        const uint64_t p0 = (uint64_t)MULTIPLIER_0 * c0;
        const uint64_t p1 = (uint64_t)MULTIPLIER_1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static void block_at(uint64_t out[2], uint64_t seed, uint64_t stream, uint64_t counter)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t number[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), (uint32_t)stream,
                                (uint32_t)(stream >> 32)};
    uint32_t word[4];
    philox4x32(word, number, key);
    out[0] = (uint64_t)word[1] << 32 | word[0];
    out[1] = (uint64_t)word[3] << 32 | word[2];
}

static double unit_of(uint64_t bits)
{
    return (double)(bits >> 11) * 0x1p-53;
}

uint64_t rng_bits_at(uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint64_t b[2];
    block_at(b, seed, stream, counter);
    return b[0];
}

double rng_unit_at(uint64_t seed, uint64_t stream, uint64_t counter)
{
    return unit_of(rng_bits_at(seed, stream, counter));
}

double rng_normal_at(uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint64_t b[2];
    block_at(b, seed, stream, counter);
    const double u = 1.0 - unit_of(b[0]); /* in (0, 1]: its logarithm is finite */
    return sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * unit_of(b[1]));
}

uint64_t rng_bits(Rng *r)
{
    return rng_bits_at(r->seed, r->stream, r->counter++);
}

double rng_unit(Rng *r)
{
    return rng_unit_at(r->seed, r->stream, r->counter++);
}

double rng_normal(Rng *r)
{
    return rng_normal_at(r->seed, r->stream, r->counter++);
}

/* Values of the last, incomplete run of n would favour small results: draw again. */
uint64_t rng_below(Rng *r, uint64_t n)
{
    CHECK(n >= 1);
    const uint64_t left_over = (UINT64_MAX % n + 1) % n;
    uint64_t v;
    do
        v = rng_bits(r);
    while (v > UINT64_MAX - left_over);
    return v % n;
}
