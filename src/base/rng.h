/* Random numbers that are a function of (seed, stream, counter), so that they do not depend on who
 * draws them, when, or how many others were drawn: resuming and threads change nothing.
 *
 * Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011). The seed is
 * its key; the counter is the low half and the stream the high half of its block number. */
#ifndef PLUMB_BASE_RNG_H
#define PLUMB_BASE_RNG_H

#include <stdint.h>

/* One block of four words. Pure; any thread. */
void philox4x32(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

/* The value number `counter` of a stream: 64 bits; in [0, 1) with 53 bits; of the standard normal
 * distribution (Box-Muller, one value a block). Pure; any thread. */
uint64_t rng_bits_at(uint64_t seed, uint64_t stream, uint64_t counter);
double rng_unit_at(uint64_t seed, uint64_t stream, uint64_t counter);
double rng_normal_at(uint64_t seed, uint64_t stream, uint64_t counter);

/* A position in a stream, for code that draws one value after the other. Plain data: may be copied
 * and saved. One thread at a time. */
typedef struct {
    uint64_t seed;
    uint64_t stream;
    uint64_t counter; /* of the next value */
} Rng;

uint64_t rng_bits(Rng *r);
double rng_unit(Rng *r);
double rng_normal(Rng *r);

/* Uniform in 0 … n-1, exactly; n >= 1. May use more than one counter. */
uint64_t rng_below(Rng *r, uint64_t n);

#endif
