/* Hashing and the merge table, shared by the builder and the encoder of the BPE model. */
#ifndef PLUMB_TOKENIZER_BPE_INTERNAL_H
#define PLUMB_TOKENIZER_BPE_INTERNAL_H

#include "tokenizer/bpe.h"

#include <string.h>

#define BPE_NO_MERGE UINT64_MAX /* rank and id of a pair that does not merge */

/* p[0..n), n ≤ 8, zero-filled to eight bytes (little-endian order of the machine; never stored). */
static inline uint64_t bpe_head(const uint8_t *p, size_t n)
{
    uint64_t head = 0;
    uint32_t low = 0, high = 0;
    if (n >= 8) {
        memcpy(&head, p, 8);
    } else if (n >= 4) {
        memcpy(&low, p, 4);
        memcpy(&high, p + n - 4, 4);
        head = low | (uint64_t)high << ((n - 4) * 8);
    } else if (n > 0) {
        head = p[0] | (uint64_t)p[n / 2] << (n / 2 * 8) | (uint64_t)p[n - 1] << ((n - 1) * 8);
    }
    return head;
}

static inline uint64_t bpe_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    return x * 0xbf58476d1ce4e5b9u;
}

static inline uint64_t bpe_hash(uint64_t head, const uint8_t *p, size_t n)
{
    uint64_t h = bpe_mix(head + n * 0x2545f4914f6cdd1du);
    for (size_t at = 8; at < n; at += 8)
        h = bpe_mix(h + bpe_head(p + at, n - at));
    return h;
}

static inline size_t bpe_filter_bit(const Bpe *b, uint64_t hash)
{
    return (size_t)(hash >> (62 - b->merge_bits));
}

/* rank << 32 | id of the merge of two ids, or BPE_NO_MERGE. */
static inline uint64_t bpe_merge_of(const Bpe *b, int32_t left, int32_t right)
{
    const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right, hash = bpe_mix(pair);
    const size_t mask = ((size_t)1 << b->merge_bits) - 1, bit = bpe_filter_bit(b, hash);
    if (!(b->filter[bit >> 6] >> (bit & 63) & 1))
        return BPE_NO_MERGE;
    for (size_t i = (size_t)(hash >> (64 - b->merge_bits));; i = (i + 1) & mask) {
        const BpeMerge *m = &b->merges[i];
        if (m->pair == pair)
            return (uint64_t)m->rank << 32 | (uint32_t)m->id;
        if (m->pair == UINT64_MAX)
            return BPE_NO_MERGE;
    }
}

#endif
