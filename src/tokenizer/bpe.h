/* The BPE model: a vocabulary of byte strings, and merges of pairs with ranks.
 *
 * Built by one thread, then immutable but for one atomic byte a token; any thread may encode. The bytes
 * of a piece become ids by merging, again and again, the adjacent pair of lowest rank (the leftmost of
 * equals), exactly as the reference library does. */
#ifndef PLUMB_TOKENIZER_BPE_H
#define PLUMB_TOKENIZER_BPE_H

#include "base/buf.h"
#include "base/error.h"
#include "base/kv.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BPE_ID_MAX (1 << 22)
#define BPE_TOKEN_BYTES_MAX 65536

/* A token: where its spelling and its bytes are. A hole in the ids has text_len 0 and used false. */
typedef struct {
    uint32_t text, text_len;   /* in texts */
    uint32_t bytes, bytes_len; /* in bytes; spelled outside the byte-level alphabet: a copy of the text */
    bool used;
    bool byte_level; /* the spelling lies in the byte-level alphabet */
} BpeToken;

typedef struct {
    uint64_t head;  /* the first eight bytes, zero-filled */
    int32_t id;     /* -1: empty */
    uint32_t shape; /* length << 1 | byte_level */
} BpeSlot;

typedef struct {
    uint64_t pair; /* left << 32 | right; UINT64_MAX: empty */
    uint32_t rank;
    int32_t id;
} BpeMerge;

/* What a byte starts as: its token, or the one or two fallback tokens of its character. */
typedef struct {
    int32_t id[2];
    uint8_t count;
    bool known;   /* it is a token */
    bool unknown; /* it has neither and becomes the unknown token; without one it is dropped */
} BpeByte;

enum { BPE_UNTRIED, BPE_WHOLE, BPE_PARTS };

typedef struct {
    BpeToken *tokens; /* owned, by id */
    size_t token_count, token_cap;
    ByteBuf texts, bytes;
    BpeSlot *slots; /* owned: 1 << slot_bits, open addressing */
    int slot_bits;
    size_t used;
    BpeMerge *merges; /* owned: 1 << merge_bits, open addressing */
    int merge_bits;
    size_t merge_count; /* different pairs */
    /* One bit for every merge, by the top merge_bits + 2 bits of its hash: most pairs that are asked about do
     * not merge, and this table stays in a core's cache. */
    uint64_t *filter; /* owned; bpe_finish makes it */
    int32_t guess;      /* while building: the id that the next merge probably makes */
    bool respelled;     /* a spelling was given a second id: the first one is no longer its own */
    uint64_t *byte_pairs; /* owned, when simple: rank << 32 | id of the merge of two bytes, by left << 8 | right */
    ByteBuf work;         /* of the builder */
    BpeByte byte[256];
    int32_t unk_id; /* -1: unknown bytes are dropped */
    bool ignore_merges, byte_fallback, fuse_unk;
    bool simple; /* every byte is one token */
    /* Per token: whether its own bytes encode to it alone. A memo, filled while encoding. */
    _Atomic uint8_t *whole; /* owned */
} Bpe;

/* Expect about this many tokens and merges. Zeroed memory in. */
MUST_USE Status bpe_init(Bpe *b, size_t tokens, size_t merges, Error *err);
void bpe_deinit(Bpe *b); /* zeroed or twice is fine */

/* Give `id` to the token spelled text (valid UTF-8). A second use of the spelling moves it to the new id;
 * a second use of the id is an error. */
MUST_USE Status bpe_add_token(Bpe *b, const char *text, size_t len, int64_t id, Error *err);

/* Merge number `rank`. Both parts and their concatenation must be tokens. A pair that comes again takes
 * the later rank. */
MUST_USE Status bpe_add_merge(Bpe *b, Str left, Str right, uint32_t rank, Error *err);

/* After the last merge and with the switches set: prepare for encoding. */
MUST_USE Status bpe_finish(Bpe *b, Error *err);

/* After bpe_finish: a piece with this token's bytes never becomes it whole. For control tokens, which only
 * added-token matching may produce. */
void bpe_forbid_whole(Bpe *b, int32_t id);

/* The id of a token by spelling, or -1. */
int32_t bpe_find_text(const Bpe *b, const char *text, size_t len);
/* The id of a byte-level token by its bytes, or -1. */
int32_t bpe_find_bytes(const Bpe *b, const uint8_t *bytes, size_t len);

/* The last pieces of a text and their ids, so that a word is merged once a text and not once a time. */
#define BPE_CACHE_BITS 13 /* sets of two, at most */
#define BPE_CACHED_BYTES 15
#define BPE_CACHED_IDS 3

typedef struct {
    uint64_t key[2]; /* the bytes, zero-filled, and their number in the last byte; 0: empty */
    int32_t count;
    int32_t id[BPE_CACHED_IDS];
} BpeCached;

/* Working memory of one encoding thread; zeroed to begin with. */
typedef struct {
    void *block; /* owned: for long pieces */
    size_t block_cap;
    BpeCached *cache; /* owned: 2 << cache_bits, two by two; or NULL: none */
    int cache_bits;
} BpeScratch;

/* Give it a cache of a size for a text of so many bytes. */
MUST_USE Status bpescratch_add_cache(BpeScratch *s, size_t text_bytes);
void bpescratch_deinit(BpeScratch *s);

/* Append the ids of one piece, n > 0. ST_NOMEM only. */
MUST_USE Status bpe_encode(const Bpe *b, const uint8_t *piece, size_t n, BpeScratch *scratch, IdBuf *out);

#endif
