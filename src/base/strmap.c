/* Open addressing with linear probing, at most three quarters full: see strmap.h. */
#include "base/strmap.h"

#include "base/mem.h"

#include <string.h>
#include <sys/random.h>

struct StrMapSlot {
    Str key; /* ptr NULL: free */
    uint64_t hash;
    int64_t value;
};

static uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
    v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

static uint64_t hash_of(const StrMap *m, Str s)
{
    uint64_t v[4] = {m->key[0] ^ 0x736f6d6570736575u, m->key[1] ^ 0x646f72616e646f6du,
                     m->key[0] ^ 0x6c7967656e657261u, m->key[1] ^ 0x7465646279746573u};
    size_t p = 0;
    for (; s.len - p >= 8; p += 8) {
        uint64_t w;
        memcpy(&w, s.ptr + p, 8);
        v[3] ^= w;
        sip_round(v);
        v[0] ^= w;
    }
    uint64_t tail = (uint64_t)s.len << 56;
    for (int k = 0; p < s.len; p++, k += 8)
        tail |= (uint64_t)(uint8_t)s.ptr[p] << k;
    v[3] ^= tail;
    sip_round(v);
    v[0] ^= tail;
    v[2] ^= 0xff;
    for (int k = 0; k < 3; k++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void strmap_free(StrMap *m)
{
    mem_free(m->slots);
    *m = (StrMap){0};
}

/* The slot of the key, or the free one where it belongs. The map has free slots. */
static struct StrMapSlot *slot_of(const StrMap *m, Str key, uint64_t hash)
{
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct StrMapSlot *s = &m->slots[i];
        if (!s->key.ptr)
            return s;
        if (s->hash == hash && s->key.len == key.len && memcmp(s->key.ptr, key.ptr, key.len) == 0)
            return s;
    }
}

MUST_USE static Status grow(StrMap *m)
{
    const size_t cap = m->cap ? m->cap * 2 : 16;
    struct StrMapSlot *slots = mem_alloc(cap, sizeof *slots);
    if (!slots)
        return ST_NOMEM;
    if (m->cap == 0 && getrandom(m->key, sizeof m->key, GRND_NONBLOCK) != sizeof m->key)
        m->key[0] = (uintptr_t)slots; /* no entropy yet at boot: the address is the second best */
    const StrMap bigger = {slots, cap, m->count, {m->key[0], m->key[1]}};
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].key.ptr)
            *slot_of(&bigger, m->slots[i].key, m->slots[i].hash) = m->slots[i];
    mem_free(m->slots);
    *m = bigger;
    return ST_OK;
}

Status strmap_add(StrMap *m, Str key, int64_t value)
{
    if (m->count + 1 > m->cap / 4 * 3) {
        const Status st = grow(m);
        if (st != ST_OK)
            return st;
    }
    const Str k = {key.ptr ? key.ptr : "", key.len};
    const uint64_t hash = hash_of(m, k);
    struct StrMapSlot *s = slot_of(m, k, hash);
    if (s->key.ptr)
        return ST_INVALID;
    *s = (struct StrMapSlot){k, hash, value};
    m->count++;
    return ST_OK;
}

bool strmap_find(const StrMap *m, Str key, int64_t *value)
{
    if (m->count == 0)
        return false;
    const Str k = {key.ptr ? key.ptr : "", key.len};
    const struct StrMapSlot *s = slot_of(m, k, hash_of(m, k));
    if (!s->key.ptr)
        return false;
    if (value)
        *value = s->value;
    return true;
}
