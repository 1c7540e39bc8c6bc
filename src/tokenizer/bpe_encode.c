/* Encoding with the BPE model.
 *
 * Short pieces are first looked for among the last ones of the same text (at most 512 KiB, which a core's
 * cache holds; the vocabulary's tables do not fit). A piece that is itself a token is looked up next: nearly
 * all such tokens encode to themselves, and whether this one does is remembered after the first time.
 * Other short pieces keep ids and the merges of their adjacent pairs in small arrays and search the
 * minimum again after every merge; long pieces use a linked list and a heap, so that no input costs more
 * than O(n log n). */
#include "tokenizer/bpe.h"

#include "base/mem.h"
#include "tokenizer/bpe_internal.h"

#define SHORT_MAX 48

void bpescratch_deinit(BpeScratch *s)
{
    mem_free(s->block);
    mem_free(s->cache);
    *s = (BpeScratch){0};
}

Status bpescratch_add_cache(BpeScratch *s, size_t text_bytes)
{
    s->cache_bits = 6;
    while (s->cache_bits < BPE_CACHE_BITS && text_bytes >> s->cache_bits > 16)
        s->cache_bits++;
    s->cache = mem_alloc((size_t)2 << s->cache_bits, sizeof *s->cache);
    return s->cache ? ST_OK : ST_NOMEM;
}

/* The symbols that the bytes start as, in the reference's order (an unknown token is held back until the
 * next known byte, fallback tokens overtake it); at most 2 n. */
static size_t first_symbols(const Bpe *b, const uint8_t *piece, size_t n, int32_t *ids)
{
    size_t count = 0;
    bool held = false;
    for (size_t i = 0; i < n; i++) {
        const BpeByte *x = &b->byte[piece[i]];
        if (held && (x->known || (x->unknown && !b->fuse_unk))) {
            ids[count++] = b->unk_id;
            held = false;
        }
        for (int j = 0; j < x->count; j++)
            ids[count++] = x->id[j];
        held = held || x->unknown;
    }
    if (held)
        ids[count++] = b->unk_id;
    return count;
}

/* ---- short pieces ------------------------------------------------------------------------------ */

/* Merge ids[0..n) in place; merges[i] is the merge of ids[i] and ids[i + 1]. Returns the new count. */
static size_t merge_short(const Bpe *b, int32_t *ids, uint64_t *merges, size_t n)
{
    for (;;) {
        uint64_t best = BPE_NO_MERGE;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            if (merges[i] < best) {
                best = merges[i];
                at = i;
            }
        if (best == BPE_NO_MERGE)
            return n;
        n--;
        ids[at] = (int32_t)(uint32_t)best;
        for (size_t i = at + 1; i < n; i++)
            ids[i] = ids[i + 1];
        for (size_t i = at + 1; i + 1 < n; i++)
            merges[i] = merges[i + 1];
        if (at + 1 < n)
            merges[at] = bpe_merge_of(b, ids[at], ids[at + 1]);
        if (at > 0)
            merges[at - 1] = bpe_merge_of(b, ids[at - 1], ids[at]);
    }
}

static size_t encode_short(const Bpe *b, const uint8_t *piece, size_t n, int32_t *ids)
{
    uint64_t merges[2 * SHORT_MAX];
    if (b->simple) {
        for (size_t i = 0; i < n; i++)
            ids[i] = b->byte[piece[i]].id[0];
        for (size_t i = 0; i + 1 < n; i++)
            merges[i] = b->byte_pairs[(unsigned)piece[i] << 8 | piece[i + 1]];
        return merge_short(b, ids, merges, n);
    }
    n = first_symbols(b, piece, n, ids);
    for (size_t i = 0; i + 1 < n; i++)
        merges[i] = bpe_merge_of(b, ids[i], ids[i + 1]);
    return merge_short(b, ids, merges, n);
}

/* ---- long pieces ------------------------------------------------------------------------------- */

#define NOBODY UINT32_MAX

/* A symbol of a list; a merged-away one has rank NOBODY and is out of the list. */
typedef struct {
    int32_t id, merged; /* merged: what it and its right neighbour become */
    uint32_t rank;      /* of that merge, NOBODY: none */
    uint32_t prev, next;
} Symbol;

/* A binary heap of rank << 32 | position, smallest first. */
typedef struct {
    uint64_t *key;
    size_t count;
} Heap;

static void heap_push(Heap *h, uint64_t key)
{
    size_t i = h->count++;
    for (; i > 0 && h->key[(i - 1) / 2] > key; i = (i - 1) / 2)
        h->key[i] = h->key[(i - 1) / 2];
    h->key[i] = key;
}

static uint64_t heap_pop(Heap *h)
{
    const uint64_t top = h->key[0];
    const uint64_t last = h->key[--h->count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < h->count; i = child) {
        child += child + 1 < h->count && h->key[child + 1] < h->key[child];
        if (h->key[child] >= last)
            break;
        h->key[i] = h->key[child];
    }
    h->key[i] = last;
    return top;
}

/* Queue the merge m of symbol i with its right neighbour. */
static void queue_known_merge(Symbol *x, uint32_t i, uint64_t m, Heap *h)
{
    x[i].rank = (uint32_t)(m >> 32);
    x[i].merged = (int32_t)(uint32_t)m;
    if (m != BPE_NO_MERGE)
        heap_push(h, (uint64_t)x[i].rank << 32 | i);
}

/* Look it up and queue it. */
static void queue_merge(const Bpe *b, Symbol *x, uint32_t i, Heap *h)
{
    queue_known_merge(x, i, x[i].next == NOBODY ? BPE_NO_MERGE : bpe_merge_of(b, x[i].id, x[x[i].next].id), h);
}

static void merge_long(const Bpe *b, Symbol *x, Heap *h)
{
    while (h->count > 0) {
        const uint64_t top = heap_pop(h);
        const uint32_t i = (uint32_t)top;
        if (x[i].rank != top >> 32)
            continue; /* the pair has changed since: a pair is known by its rank */
        const uint32_t gone = x[i].next;
        x[i].id = x[i].merged;
        x[i].next = x[gone].next;
        x[gone].rank = NOBODY;
        if (x[i].next != NOBODY)
            x[x[i].next].prev = i;
        queue_merge(b, x, i, h);
        if (x[i].prev != NOBODY)
            queue_merge(b, x, x[i].prev, h);
    }
}

/* ids[0..n) merged in place; bytes: those they stand for, one each, or NULL. Every merge queues at most two
 * and ends one symbol: 3 n keys. */
static Status encode_long(const Bpe *b, const uint8_t *bytes, int32_t *ids, size_t *count, BpeScratch *scratch)
{
    const size_t n = *count;
    size_t size;
    if (n == 0) /* the vocabulary knows none of the bytes */
        return ST_OK;
    if (n >= NOBODY || !size_mul(n, sizeof(Symbol) + 3 * sizeof(uint64_t), &size))
        return ST_NOMEM;
    if (size > scratch->block_cap) {
        mem_free(scratch->block);
        scratch->block = NULL;
        scratch->block_cap = 0;
        scratch->block = mem_alloc(size, 1);
        if (!scratch->block)
            return ST_NOMEM;
        scratch->block_cap = size;
    }
    Heap heap = {.key = scratch->block};
    Symbol *x = (Symbol *)(heap.key + 3 * n);
    for (uint32_t i = 0; i < n; i++)
        x[i] = (Symbol){.id = ids[i], .prev = i == 0 ? NOBODY : i - 1, .next = i + 1 == n ? NOBODY : i + 1};
    for (uint32_t i = 0; i < n; i++)
        if (bytes && i + 1 < n)
            queue_known_merge(x, i, b->byte_pairs[(unsigned)bytes[i] << 8 | bytes[i + 1]], &heap);
        else
            queue_merge(b, x, i, &heap);
    merge_long(b, x, &heap);
    *count = 0;
    for (uint32_t i = 0; i != NOBODY; i = x[i].next)
        ids[(*count)++] = x[i].id;
    return ST_OK;
}

/* ---- pieces ------------------------------------------------------------------------------------ */

static Status reserve(IdBuf *out, size_t more)
{
    void *p = out->data;
    size_t cap = (size_t)out->cap, need;
    if (!size_add((size_t)out->count, more, &need))
        return ST_NOMEM;
    const Status st = mem_grow(&p, &cap, need, sizeof *out->data);
    if (st == ST_OK) {
        out->data = p;
        out->cap = (int64_t)cap;
    }
    return st;
}

/* The ids of one piece to ids[], which has room for two a byte. */
static Status encode_piece(const Bpe *b, const uint8_t *piece, size_t n, BpeScratch *scratch, int32_t *ids, size_t *count)
{
    const int32_t id = bpe_find_bytes(b, piece, n);
    const int state = id < 0 ? BPE_PARTS : atomic_load_explicit(&b->whole[id], memory_order_relaxed);
    *count = 1;
    ids[0] = id;
    if (state == BPE_WHOLE || (b->ignore_merges && state == BPE_UNTRIED))
        return ST_OK;
    if (n <= SHORT_MAX) {
        *count = encode_short(b, piece, n, ids);
    } else {
        *count = first_symbols(b, piece, n, ids);
        const Status st = encode_long(b, b->simple ? piece : NULL, ids, count, scratch);
        if (st != ST_OK)
            return st;
    }
    const int found = *count == 1 && ids[0] == id ? BPE_WHOLE : BPE_PARTS;
    if (state == BPE_UNTRIED)
        atomic_store_explicit(&b->whole[id], (uint8_t)found, memory_order_relaxed);
    return ST_OK;
}

/* Append the ids of a piece through the cache: those of the same bytes, or these in place of the older
 * of the two that share its set. */
static Status encode_cached(const Bpe *b, const uint8_t *piece, size_t n, BpeScratch *scratch, IdBuf *out)
{
    const uint64_t low = bpe_head(piece, n);
    const uint64_t high = (n > 8 ? bpe_head(piece + 8, n - 8) : 0) | (uint64_t)n << 56;
    BpeCached *c = scratch->cache + 2 * (bpe_mix(low ^ high * 0x2545f4914f6cdd1du) >> (64 - scratch->cache_bits));
    int32_t *ids = out->data + out->count;
    for (int way = 0; way < 2; way++)
        if (c[way].key[0] == low && c[way].key[1] == high) {
            memcpy(ids, c[way].id, sizeof c->id);
            out->count += c[way].count;
            return ST_OK;
        }
    size_t count;
    const Status st = encode_piece(b, piece, n, scratch, ids, &count);
    if (st != ST_OK)
        return st;
    out->count += (int64_t)count;
    if (count <= BPE_CACHED_IDS) {
        c[1] = c[0];
        c[0] = (BpeCached){.key = {low, high}, .count = (int32_t)count};
        memcpy(c->id, ids, count * sizeof *ids);
    }
    return ST_OK;
}

Status bpe_encode(const Bpe *b, const uint8_t *piece, size_t n, BpeScratch *scratch, IdBuf *out)
{
    const size_t most = (b->simple ? n : 2 * n) + BPE_CACHED_IDS; /* a hit copies all three */
    if ((size_t)(out->cap - out->count) < most && reserve(out, most) != ST_OK)
        return ST_NOMEM;
    if (scratch->cache && n <= BPE_CACHED_BYTES)
        return encode_cached(b, piece, n, scratch, out);
    size_t count;
    const Status st = encode_piece(b, piece, n, scratch, out->data + out->count, &count);
    if (st == ST_OK)
        out->count += (int64_t)count;
    return st;
}
