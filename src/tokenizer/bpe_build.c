/* Building the BPE model: the vocabulary's hash table, the merges, and what encoding wants ready.
 *
 * Both tables are at most half full, probed linearly, and in huge pages when large; a file whose tokens pile up in one place is
 * refused rather than searched for minutes. */
#include "tokenizer/bpe.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/bpe_internal.h"
#include "tokenizer/bytelevel.h"

#include <stdio.h>

#define PROBES_MAX 4096

static Status no_memory(Error *err)
{
    return error_set(err, ST_NOMEM, "no memory for the tokenizer's vocabulary");
}

static Status piled_up(Error *err)
{
    return error_set(err, ST_CORRUPT, "the tokenizer's vocabulary was made to collide in hash tables");
}

static size_t slot_bytes(int bits)
{
    return sizeof(BpeSlot) << bits;
}

static size_t merge_bytes(int bits)
{
    return sizeof(BpeMerge) << bits;
}

static int bits_for(size_t count)
{
    int bits = 4;
    while (bits < 40 && ((size_t)1 << bits) < 2 * count)
        bits++;
    return bits;
}

Status bpe_init(Bpe *b, size_t tokens, size_t merges, Error *err)
{
    if (tokens > BPE_ID_MAX || merges > BPE_ID_MAX)
        return error_set(err, ST_UNSUPPORTED, "a tokenizer of %zu tokens and %zu merges (at most %d)", tokens,
                         merges, BPE_ID_MAX);
    b->unk_id = -1;
    b->slot_bits = bits_for(tokens);
    b->merge_bits = bits_for(merges);
    b->slots = mem_alloc_pages(slot_bytes(b->slot_bits));
    b->merges = mem_alloc_pages(merge_bytes(b->merge_bits));
    if (!b->slots || !b->merges || bytebuf_append(&b->texts, "", 1) != ST_OK || bytebuf_append(&b->bytes, "", 1) != ST_OK)
        return no_memory(err); /* the first byte of both: even an empty token has an address */
    for (size_t i = 0; i < (size_t)1 << b->slot_bits; i++)
        b->slots[i].id = -1;
    for (size_t i = 0; i < (size_t)1 << b->merge_bits; i++)
        b->merges[i].pair = UINT64_MAX;
    return ST_OK;
}

void bpe_deinit(Bpe *b)
{
    mem_free(b->tokens);
    bytebuf_free(&b->texts);
    bytebuf_free(&b->bytes);
    bytebuf_free(&b->work);
    mem_free_pages(b->slots, slot_bytes(b->slot_bits));
    mem_free_pages(b->merges, merge_bytes(b->merge_bits));
    mem_free(b->filter);
    mem_free(b->byte_pairs);
    mem_free((void *)b->whole);
    *b = (Bpe){0};
}

/* ---- the vocabulary ---------------------------------------------------------------------------- */

/* The slot of the key, or the empty one where it would go; NULL after too many probes. */
static BpeSlot *find_slot(const Bpe *b, const uint8_t *p, size_t n, bool byte_level)
{
    const uint64_t head = bpe_head(p, n);
    const uint32_t shape = (uint32_t)n << 1 | byte_level;
    const size_t mask = ((size_t)1 << b->slot_bits) - 1;
    size_t i = (size_t)(bpe_hash(head, p, n) >> (64 - b->slot_bits));
    for (int probes = 0; probes < PROBES_MAX; probes++, i = (i + 1) & mask) {
        BpeSlot *s = &b->slots[i];
        if (s->id < 0)
            return s;
        if (s->head != head || s->shape != shape)
            continue;
        if (n <= 8 || memcmp(b->bytes.data + b->tokens[s->id].bytes + 8, p + 8, n - 8) == 0)
            return s;
    }
    return NULL;
}

int32_t bpe_find_bytes(const Bpe *b, const uint8_t *bytes, size_t len)
{
    if (len > BPE_TOKEN_BYTES_MAX)
        return -1;
    const BpeSlot *s = find_slot(b, bytes, len, true);
    return s ? s->id : -1;
}

int32_t bpe_find_text(const Bpe *b, const char *text, size_t len)
{
    uint8_t small[256], *bytes = small;
    if (len > BPE_TOKEN_BYTES_MAX)
        return -1;
    if (len > sizeof small && !(bytes = mem_alloc(len, 1)))
        return -1;
    const size_t n = bytelevel_decode(bytes, text, len);
    const BpeSlot *s =
        n == SIZE_MAX ? find_slot(b, (const uint8_t *)text, len, false) : find_slot(b, bytes, n, true);
    if (bytes != small)
        mem_free(bytes);
    return s ? s->id : -1;
}

/* Room for twice the slots. */
static Status grow_slots(Bpe *b, Error *err)
{
    Bpe next = *b;
    next.slot_bits++;
    next.slots = mem_alloc_pages(slot_bytes(next.slot_bits));
    if (!next.slots)
        return no_memory(err);
    for (size_t i = 0; i < (size_t)1 << next.slot_bits; i++)
        next.slots[i].id = -1;
    for (size_t i = 0; i < (size_t)1 << b->slot_bits; i++) {
        const BpeSlot *s = &b->slots[i];
        if (s->id < 0)
            continue;
        const BpeToken *t = &b->tokens[s->id];
        BpeSlot *to = find_slot(&next, b->bytes.data + t->bytes, t->bytes_len, t->byte_level);
        if (!to) {
            mem_free_pages(next.slots, slot_bytes(next.slot_bits));
            return piled_up(err);
        }
        *to = *s;
    }
    mem_free_pages(b->slots, slot_bytes(b->slot_bits));
    *b = next;
    return ST_OK;
}

/* Write text and bytes behind the others; the token's record. */
static Status store_token(Bpe *b, const char *text, size_t len, BpeToken *t, Error *err)
{
    const size_t from = b->bytes.count;
    if (b->texts.count + len > UINT32_MAX || from + len > UINT32_MAX)
        return error_set(err, ST_UNSUPPORTED, "a tokenizer with more than 4 GiB of text");
    *t = (BpeToken){.text = (uint32_t)b->texts.count, .text_len = (uint32_t)len, .bytes = (uint32_t)from, .used = true};
    if (bytebuf_append(&b->texts, text, len) != ST_OK || bytebuf_append(&b->bytes, text, len) != ST_OK)
        return no_memory(err);
    const size_t n = len ? bytelevel_decode(b->bytes.data + from, text, len) : 0;
    t->byte_level = n != SIZE_MAX;
    t->bytes_len = t->byte_level ? (uint32_t)n : (uint32_t)len;
    if (t->byte_level)
        b->bytes.count = from + n;
    else if (len)
        memcpy(b->bytes.data + from, text, len);
    return ST_OK;
}

static Status grow_tokens(Bpe *b, size_t count, Error *err)
{
    if (count <= b->token_count)
        return ST_OK;
    if (mem_grow((void **)&b->tokens, &b->token_cap, count, sizeof *b->tokens) != ST_OK)
        return no_memory(err);
    memset(b->tokens + b->token_count, 0, (count - b->token_count) * sizeof *b->tokens);
    b->token_count = count;
    return ST_OK;
}

Status bpe_add_token(Bpe *b, const char *text, size_t len, int64_t id, Error *err)
{
    Status st = ST_OK;
    BpeToken t;
    if (id < 0 || id >= BPE_ID_MAX || len > BPE_TOKEN_BYTES_MAX)
        return error_set(err, ST_CORRUPT, "token '%.*s': id %lld or length %zu out of range", (int)(len < 40 ? len : 40),
                         text, (long long)id, len);
    TRY(grow_tokens(b, (size_t)id + 1, err));
    if (b->tokens[id].used)
        return error_set(err, ST_CORRUPT, "id %lld is given to two tokens, the second is '%.*s'", (long long)id,
                         (int)(len < 40 ? len : 40), text);
    TRY(store_token(b, text, len, &t, err));
    b->tokens[id] = t;
    if (2 * (b->used + 1) > (size_t)1 << b->slot_bits)
        TRY(grow_slots(b, err));
    const uint8_t *bytes = b->bytes.data + t.bytes;
    BpeSlot *s = find_slot(b, bytes, t.bytes_len, t.byte_level);
    if (!s)
        return piled_up(err);
    b->used += s->id < 0;
    b->respelled = b->respelled || s->id >= 0;
    *s = (BpeSlot){bpe_head(bytes, t.bytes_len), (int32_t)id, t.bytes_len << 1 | t.byte_level};
out:
    return st;
}

/* ---- merges ------------------------------------------------------------------------------------ */

static BpeMerge *find_merge(BpeMerge *merges, int bits, uint64_t pair)
{
    const size_t mask = ((size_t)1 << bits) - 1;
    size_t i = (size_t)(bpe_mix(pair) >> (64 - bits));
    for (int probes = 0; probes < PROBES_MAX; probes++, i = (i + 1) & mask)
        if (merges[i].pair == UINT64_MAX || merges[i].pair == pair)
            return &merges[i];
    return NULL;
}

static Status grow_merges(Bpe *b, Error *err)
{
    const int bits = b->merge_bits + 1;
    BpeMerge *next = mem_alloc_pages(merge_bytes(bits));
    if (!next)
        return no_memory(err);
    for (size_t i = 0; i < (size_t)1 << bits; i++)
        next[i].pair = UINT64_MAX;
    for (size_t i = 0; i < (size_t)1 << b->merge_bits; i++) {
        if (b->merges[i].pair == UINT64_MAX)
            continue;
        BpeMerge *to = find_merge(next, bits, b->merges[i].pair);
        if (!to) {
            mem_free_pages(next, merge_bytes(bits));
            return piled_up(err);
        }
        *to = b->merges[i];
    }
    mem_free_pages(b->merges, merge_bytes(b->merge_bits));
    b->merges = next;
    b->merge_bits = bits;
    return ST_OK;
}

/* As bpe_find_bytes, trying the id behind the last merge's first: files list both in the same order. */
static int32_t find_sum(Bpe *b, const uint8_t *bytes, size_t n)
{
    const BpeToken *t = (size_t)b->guess < b->token_count ? &b->tokens[b->guess] : NULL;
    const bool hit = t && t->byte_level && t->used && t->bytes_len == n && memcmp(b->bytes.data + t->bytes, bytes, n) == 0;
    const int32_t id = hit && !b->respelled ? b->guess : bpe_find_bytes(b, bytes, n);
    b->guess = id + 1;
    return id;
}

/* The ids of left, right and left+right. */
static Status find_parts(Bpe *b, Str left, Str right, int32_t ids[3], Error *err)
{
    ByteBuf *w = &b->work; /* their sum, then room for its bytes; a first byte so that it is never NULL */
    const size_t both = left.len + right.len;
    w->count = 0;
    if (bytebuf_append(w, "", 1) != ST_OK || bytebuf_append(w, left.ptr, left.len) != ST_OK ||
        bytebuf_append(w, right.ptr, right.len) != ST_OK ||
        bytebuf_append(w, left.ptr, left.len) != ST_OK || bytebuf_append(w, right.ptr, right.len) != ST_OK)
        return no_memory(err);
    uint8_t *out = w->data + 1 + both;
    const size_t n = left.len ? bytelevel_decode(out, left.ptr, left.len) : 0;
    const size_t m = n != SIZE_MAX && right.len ? bytelevel_decode(out + n, right.ptr, right.len) : 0;
    if (n != SIZE_MAX && m != SIZE_MAX) {
        ids[0] = bpe_find_bytes(b, out, n);
        ids[1] = bpe_find_bytes(b, out + n, m);
        ids[2] = find_sum(b, out, n + m);
    } else {
        ids[0] = bpe_find_text(b, left.ptr, left.len);
        ids[1] = bpe_find_text(b, right.ptr, right.len);
        ids[2] = bpe_find_text(b, (const char *)w->data + 1, both);
    }
    return ST_OK;
}

Status bpe_add_merge(Bpe *b, Str left, Str right, uint32_t rank, Error *err)
{
    Status st = ST_OK;
    int32_t ids[3] = {-1, -1, -1};
    TRY(find_parts(b, left, right, ids, err));
    if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0)
        return error_set(err, ST_CORRUPT, "merge %u '%.*s' + '%.*s': %s is not in the vocabulary", rank,
                         (int)(left.len < 40 ? left.len : 40), left.ptr, (int)(right.len < 40 ? right.len : 40),
                         right.ptr, ids[0] < 0 ? "the left part" : ids[1] < 0 ? "the right part" : "their sum");
    if (2 * (b->merge_count + 1) > (size_t)1 << b->merge_bits)
        TRY(grow_merges(b, err));
    const uint64_t pair = (uint64_t)(uint32_t)ids[0] << 32 | (uint32_t)ids[1];
    BpeMerge *m = find_merge(b->merges, b->merge_bits, pair);
    if (!m)
        return piled_up(err);
    b->merge_count += m->pair == UINT64_MAX;
    *m = (BpeMerge){pair, rank, ids[2]};
out:
    return st;
}

/* ---- what encoding wants ready ----------------------------------------------------------------- */

/* The ids of "<0xC4>" and the like for the bytes of the character that stands for `byte`. */
static void find_fallback(const Bpe *b, uint8_t byte, BpeByte *out)
{
    uint8_t utf8[4];
    const int n = utf8_encode(utf8, bytelevel_char(byte));
    for (int i = 0; i < n; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", utf8[i]);
        out->id[i] = bpe_find_text(b, name, 6);
        if (out->id[i] < 0)
            return;
    }
    out->count = (uint8_t)n;
}

/* The byte that the token is, or -1. */
static int byte_of(const Bpe *b, uint32_t id)
{
    const BpeToken *t = &b->tokens[id];
    const int byte = t->byte_level && t->bytes_len == 1 ? b->bytes.data[t->bytes] : -1;
    return byte >= 0 && b->byte[byte].id[0] == (int32_t)id ? byte : -1;
}

static Status fill_byte_pairs(Bpe *b)
{
    b->byte_pairs = mem_alloc(65536, sizeof *b->byte_pairs);
    if (!b->byte_pairs)
        return ST_NOMEM;
    memset(b->byte_pairs, 0xff, 65536 * sizeof *b->byte_pairs);
    for (size_t i = 0; i < (size_t)1 << b->merge_bits; i++) {
        const BpeMerge *m = &b->merges[i];
        const int left = m->pair == UINT64_MAX ? -1 : byte_of(b, (uint32_t)(m->pair >> 32));
        const int right = left < 0 ? -1 : byte_of(b, (uint32_t)m->pair);
        if (right >= 0)
            b->byte_pairs[left << 8 | right] = (uint64_t)m->rank << 32 | (uint32_t)m->id;
    }
    return ST_OK;
}

/* merge_bits is at least 4, so that the filter has a whole word. */
static Status fill_filter(Bpe *b)
{
    b->filter = mem_alloc((size_t)1 << (b->merge_bits + 2 - 6), sizeof *b->filter);
    for (size_t i = 0; b->filter && i < (size_t)1 << b->merge_bits; i++)
        if (b->merges[i].pair != UINT64_MAX) {
            const size_t bit = bpe_filter_bit(b, bpe_mix(b->merges[i].pair));
            b->filter[bit >> 6] |= (uint64_t)1 << (bit & 63);
        }
    return b->filter ? ST_OK : ST_NOMEM;
}

Status bpe_finish(Bpe *b, Error *err)
{
    b->simple = true;
    for (int i = 0; i < 256; i++) {
        const uint8_t byte = (uint8_t)i;
        BpeByte *x = &b->byte[i];
        x->id[0] = bpe_find_bytes(b, &byte, 1);
        x->known = x->id[0] >= 0;
        x->count = x->known;
        if (!x->known) {
            b->simple = false;
            if (b->byte_fallback)
                find_fallback(b, byte, x);
            x->unknown = x->count == 0 && b->unk_id >= 0;
        }
    }
    b->whole = mem_alloc(b->token_count, 1);
    if (!b->whole || fill_filter(b) != ST_OK || (b->simple && fill_byte_pairs(b) != ST_OK))
        return no_memory(err);
    bytebuf_free(&b->work);
    return ST_OK;
}

void bpe_forbid_whole(Bpe *b, int32_t id)
{
    atomic_store_explicit(&b->whole[id], BPE_PARTS, memory_order_relaxed);
}
