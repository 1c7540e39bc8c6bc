/* Training by incremental pair counts: see train.h.
 *
 * Every different piece is kept once, as a list of ids that merges shrink in place, with how often it
 * occurs. For every pair there is its count and the words that it was seen in; a merge visits only the
 * words of its pair. The most frequent pair comes from a heap whose entries may be out of date: an entry
 * that promises too much goes back with the true count, and a pair whose count has grown (only pairs with
 * the newest token do) gets a new entry. */
#include "tokenizer/train.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/bpe.h"
#include "tokenizer/bpe_internal.h"
#include "tokenizer/bytelevel.h"
#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/tokenizer_save.h"
#include "tokenizer/train_words.h"
#include "tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t start, len; /* in Trainer.ids */
    int64_t count;
} TrainWord;

typedef struct {
    uint64_t pair; /* left << 32 | right */
    int64_t count;
    int64_t promised; /* the highest count of its entries in the heap */
    uint32_t *words;  /* owned: where it was seen; may name a word that has lost it */
    size_t word_count, word_cap;
    bool fresh; /* in Trainer.fresh */
} Pair;

typedef struct {
    int64_t count;
    uint64_t pair;
    uint32_t index;
} HeapEntry;

typedef struct {
    int32_t left, right;
} TrainMerge;

typedef struct {
    Bpe vocab; /* special tokens first */
    size_t special_count;
    int32_t byte_id[256];
    TrainWord *words;
    size_t word_count;
    int32_t *ids;
    Pair *pairs;
    size_t pair_count, pair_cap;
    uint32_t *index; /* of pairs, by hash; 0: empty, else 1 + number; 1 << index_bits */
    int index_bits;
    HeapEntry *heap;
    size_t heap_count, heap_cap;
    uint32_t *fresh; /* pairs that have grown in this step */
    size_t fresh_count, fresh_cap;
    TrainMerge *merges;
    size_t merge_count, merge_cap;
} Trainer;

static void trainer_deinit(Trainer *t)
{
    bpe_deinit(&t->vocab);
    for (size_t i = 0; i < t->pair_count; i++)
        mem_free(t->pairs[i].words);
    mem_free(t->words);
    mem_free(t->ids);
    mem_free(t->pairs);
    mem_free(t->index);
    mem_free(t->heap);
    mem_free(t->fresh);
    mem_free(t->merges);
}

/* ---- vocabulary -------------------------------------------------------------------------------- */

/* Special tokens, then the bytes in the order of their characters. */
static Status start_vocab(Trainer *t, const TrainParams *p, Error *err)
{
    Status st = ST_OK;
    int32_t next = 0;
    TRY(bpe_init(&t->vocab, (size_t)p->vocab_size, 0, err));
    for (size_t i = 0; i < p->special_count; i++)
        if (p->special[i].len > 0 && bpe_find_text(&t->vocab, p->special[i].ptr, p->special[i].len) < 0)
            TRY(bpe_add_token(&t->vocab, p->special[i].ptr, p->special[i].len, next++, err));
    t->special_count = (size_t)next;
    for (uint32_t cp = 0x21; cp < 0x144; cp++) {
        uint8_t text[4];
        const int byte = bytelevel_byte(cp);
        if (byte < 0)
            continue;
        const size_t n = (size_t)utf8_encode(text, cp);
        t->byte_id[byte] = bpe_find_text(&t->vocab, (const char *)text, n);
        if (t->byte_id[byte] >= 0)
            continue;
        t->byte_id[byte] = next;
        TRY(bpe_add_token(&t->vocab, (const char *)text, n, next++, err));
    }
    if (p->vocab_size < next)
        st = error_set(err, ST_INVALID, "a vocabulary of %lld has no room for 256 bytes and %zu special tokens",
                       (long long)p->vocab_size, t->special_count);
out:
    return st;
}

static Str token_text(const Bpe *b, int32_t id)
{
    return (Str){(const char *)b->texts.data + b->tokens[id].text, b->tokens[id].text_len};
}

/* The id of left + right: a new one, unless another merge has made the same text already. */
static Status join_tokens(Trainer *t, int32_t left, int32_t right, int32_t *id, Error *err)
{
    ByteBuf text = {0};
    const Str a = token_text(&t->vocab, left), b = token_text(&t->vocab, right);
    Status st = ST_OK;
    if (bytebuf_append(&text, a.ptr, a.len) != ST_OK || bytebuf_append(&text, b.ptr, b.len) != ST_OK) {
        st = error_set(err, ST_NOMEM, "no memory for a token");
        goto out;
    }
    *id = bpe_find_text(&t->vocab, (const char *)text.data, text.count);
    if (*id < 0) {
        *id = (int32_t)t->vocab.token_count;
        TRY(bpe_add_token(&t->vocab, (const char *)text.data, text.count, *id, err));
    }
out:
    bytebuf_free(&text);
    return st;
}

/* ---- pairs ------------------------------------------------------------------------------------- */

static Status grow_index(Trainer *t)
{
    const int bits = t->index_bits ? t->index_bits + 1 : 12;
    const size_t mask = ((size_t)1 << bits) - 1;
    uint32_t *index = mem_alloc((size_t)1 << bits, sizeof *index);
    if (!index)
        return ST_NOMEM;
    for (size_t k = 0; k < t->pair_count; k++) {
        size_t i = (size_t)(bpe_mix(t->pairs[k].pair) >> (64 - bits));
        while (index[i])
            i = (i + 1) & mask;
        index[i] = (uint32_t)k + 1;
    }
    mem_free(t->index);
    t->index = index;
    t->index_bits = bits;
    return ST_OK;
}

/* The pair, made when it is not there; NULL without memory. Moves the others. */
static Pair *get_pair(Trainer *t, int32_t left, int32_t right)
{
    const uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    if ((t->index_bits == 0 || 2 * (t->pair_count + 1) > (size_t)1 << t->index_bits) && grow_index(t) != ST_OK)
        return NULL;
    const size_t mask = ((size_t)1 << t->index_bits) - 1;
    size_t i = (size_t)(bpe_mix(key) >> (64 - t->index_bits));
    for (; t->index[i]; i = (i + 1) & mask)
        if (t->pairs[t->index[i] - 1].pair == key)
            return &t->pairs[t->index[i] - 1];
    if (t->pair_count == UINT32_MAX - 1 ||
        mem_grow((void **)&t->pairs, &t->pair_cap, t->pair_count + 1, sizeof *t->pairs) != ST_OK)
        return NULL;
    t->pairs[t->pair_count] = (Pair){.pair = key};
    t->index[i] = (uint32_t)++t->pair_count;
    return &t->pairs[t->pair_count - 1];
}

static Status add_count(Trainer *t, int32_t left, int32_t right, int64_t count, uint32_t word)
{
    Pair *p = get_pair(t, left, right);
    if (!p)
        return ST_NOMEM;
    p->count += count;
    if (p->word_count == 0 || p->words[p->word_count - 1] != word) {
        if (mem_grow((void **)&p->words, &p->word_cap, p->word_count + 1, sizeof *p->words) != ST_OK)
            return ST_NOMEM;
        p->words[p->word_count++] = word;
    }
    if (!p->fresh) {
        if (mem_grow((void **)&t->fresh, &t->fresh_cap, t->fresh_count + 1, sizeof *t->fresh) != ST_OK)
            return ST_NOMEM;
        p->fresh = true;
        t->fresh[t->fresh_count++] = (uint32_t)(p - t->pairs);
    }
    return ST_OK;
}

static Status take_count(Trainer *t, int32_t left, int32_t right, int64_t count)
{
    Pair *p = get_pair(t, left, right);
    if (!p)
        return ST_NOMEM;
    p->count -= count;
    return ST_OK;
}

/* ---- the heap ---------------------------------------------------------------------------------- */

static bool before(const HeapEntry *a, const HeapEntry *b)
{
    return a->count != b->count ? a->count > b->count : a->pair < b->pair;
}

static Status heap_push(Trainer *t, HeapEntry e)
{
    if (mem_grow((void **)&t->heap, &t->heap_cap, t->heap_count + 1, sizeof *t->heap) != ST_OK)
        return ST_NOMEM;
    size_t i = t->heap_count++;
    for (; i > 0 && before(&e, &t->heap[(i - 1) / 2]); i = (i - 1) / 2)
        t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = e;
    return ST_OK;
}

static HeapEntry heap_pop(Trainer *t)
{
    const HeapEntry top = t->heap[0], last = t->heap[--t->heap_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < t->heap_count; i = child) {
        child += child + 1 < t->heap_count && before(&t->heap[child + 1], &t->heap[child]);
        if (!before(&t->heap[child], &last))
            break;
        t->heap[i] = t->heap[child];
    }
    t->heap[i] = last;
    return top;
}

static Status push_fresh(Trainer *t)
{
    for (size_t i = 0; i < t->fresh_count; i++) {
        Pair *p = &t->pairs[t->fresh[i]];
        p->fresh = false;
        if (p->count <= p->promised)
            continue;
        p->promised = p->count;
        if (heap_push(t, (HeapEntry){p->count, p->pair, t->fresh[i]}) != ST_OK)
            return ST_NOMEM;
    }
    t->fresh_count = 0;
    return ST_OK;
}

/* The most frequent pair; false when none occurs any more. */
static Status pop_pair(Trainer *t, uint32_t *index, bool *found)
{
    *found = false;
    while (t->heap_count > 0 && !*found) {
        HeapEntry e = heap_pop(t);
        Pair *p = &t->pairs[e.index];
        if (e.count == p->count && p->count > 0) {
            *index = e.index;
            *found = true;
        } else if (e.count > p->count && p->count > 0) {
            p->promised = e.count = p->count;
            if (heap_push(t, e) != ST_OK)
                return ST_NOMEM;
        }
    }
    return ST_OK;
}

/* ---- merging ----------------------------------------------------------------------------------- */

/* Replace the pair in one word, left to right. */
static Status merge_word(Trainer *t, uint32_t word, int32_t left, int32_t right, int32_t id)
{
    Status st = ST_OK;
    TrainWord *w = &t->words[word];
    int32_t *s = t->ids + w->start;
    int64_t out = 0;
    for (int64_t i = 0; i < w->len; i++) {
        if (s[i] != left || i + 1 == w->len || s[i + 1] != right) {
            s[out++] = s[i];
            continue;
        }
        if (out > 0) {
            TRY(take_count(t, s[out - 1], left, w->count));
            TRY(add_count(t, s[out - 1], id, w->count, word));
        }
        if (i + 2 < w->len) {
            TRY(take_count(t, right, s[i + 2], w->count));
            TRY(add_count(t, id, s[i + 2], w->count, word));
        }
        s[out++] = id;
        i++;
    }
    w->len = out;
out:
    return st;
}

static Status merge_pair(Trainer *t, uint32_t index, Error *err)
{
    Status st = ST_OK;
    const int32_t left = (int32_t)(t->pairs[index].pair >> 32), right = (int32_t)(uint32_t)t->pairs[index].pair;
    uint32_t *words = t->pairs[index].words;
    const size_t count = t->pairs[index].word_count;
    int32_t id = -1;
    if (token_text(&t->vocab, left).len + token_text(&t->vocab, right).len > BPE_TOKEN_BYTES_MAX) {
        t->pairs[index].count = 0; /* longer than any tokenizer may have: left as two */
        return ST_OK;
    }
    TRY(join_tokens(t, left, right, &id, err));
    if (mem_grow((void **)&t->merges, &t->merge_cap, t->merge_count + 1, sizeof *t->merges) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for merges");
    t->merges[t->merge_count++] = (TrainMerge){left, right};
    t->pairs[index].words = NULL; /* it never comes again: its two ids are older than any new neighbour */
    t->pairs[index].word_count = t->pairs[index].word_cap = 0;
    for (size_t i = 0; i < count && st == ST_OK; i++)
        st = merge_word(t, words[i], left, right, id);
    mem_free(words);
    t->pairs[index].count = 0;
    if (st != ST_OK || push_fresh(t) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for pairs");
out:
    return st;
}

/* The table of words as lists of byte ids, and the counts of their pairs. */
static Status start_words(Trainer *t, const WordTable *table)
{
    size_t total = 0;
    for (size_t i = 0; i < table->cap; i++)
        total += table->slots[i].bytes ? table->slots[i].len : 0;
    t->words = mem_alloc(table->count, sizeof *t->words);
    t->ids = mem_alloc(total, sizeof *t->ids);
    if (!t->words || !t->ids || table->count > UINT32_MAX)
        return ST_NOMEM;
    total = 0;
    for (size_t i = 0; i < table->cap; i++) {
        const Word *w = &table->slots[i];
        if (!w->bytes)
            continue;
        const uint32_t word = (uint32_t)t->word_count++;
        t->words[word] = (TrainWord){(int64_t)total, (int64_t)w->len, w->count};
        for (size_t j = 0; j < w->len; j++)
            t->ids[total + j] = t->byte_id[w->bytes[j]];
        for (size_t j = 0; j + 1 < w->len; j++)
            if (add_count(t, t->ids[total + j], t->ids[total + j + 1], w->count, word) != ST_OK)
                return ST_NOMEM;
        total += w->len;
    }
    return push_fresh(t);
}

static Status merge_all(Trainer *t, int64_t vocab_size, Error *err)
{
    Status st = ST_OK;
    bool found = true;
    while ((int64_t)t->vocab.token_count < vocab_size) {
        uint32_t index = 0;
        if (pop_pair(t, &index, &found) != ST_OK)
            return error_set(err, ST_NOMEM, "no memory for pairs");
        if (!found)
            break;
        TRY(merge_pair(t, index, err));
    }
out:
    return st;
}

/* ---- tokenizer.json ---------------------------------------------------------------------------- */

/* The tokenizer that was trained, whose vocabulary moves out of the trainer. */
static Status make_tokenizer(Trainer *t, bool single_digits, Tokenizer *out, Error *err)
{
    Status st = ST_OK;
    out->bpe = t->vocab;
    t->vocab = (Bpe){0};
    Bpe *b = &out->bpe;
    for (int32_t i = 0; i < (int32_t)t->special_count; i++)
        TRY(tokenizer_add_token(out, (AddedToken){.special = true}, token_text(b, i), err));
    for (size_t i = 0; i < t->merge_count; i++)
        TRY(bpe_add_merge(b, token_text(b, t->merges[i].left), token_text(b, t->merges[i].right), (uint32_t)i, err));
    if (single_digits)
        TRY(splitter_add(&out->splitter, (SplitStep){.scan = scan_numeric_char}, err));
    TRY(splitter_add_pattern(&out->splitter, scan_text_gpt2, strlen(scan_text_gpt2), false, SPLIT_ISOLATED, false, err));
out:
    return st;
}

static Status write_tokenizer(Trainer *t, bool single_digits, ByteBuf *out, Error *err)
{
    Tokenizer *made = tokenizer_alloc();
    if (!made)
        return error_set(err, ST_NOMEM, "no memory for the tokenizer");
    Status st = make_tokenizer(t, single_digits, made, err);
    if (st == ST_OK)
        st = tokenizer_write(made, out, err);
    tokenizer_destroy(made);
    return st;
}

/* ---- all of it --------------------------------------------------------------------------------- */

static Status check_params(const Str *texts, size_t count, const TrainParams *p, Error *err)
{
    for (size_t i = 0; i < count; i++) {
        const size_t valid = utf8_valid_prefix((const uint8_t *)texts[i].ptr, texts[i].len);
        if (valid < texts[i].len)
            return error_set(err, ST_INVALID, "text %zu is not valid UTF-8 at byte %zu", i + 1, valid);
    }
    for (size_t i = 0; i < p->special_count; i++) {
        const Str s = p->special[i];
        if (s.len == 0 || utf8_valid_prefix((const uint8_t *)s.ptr, s.len) < s.len)
            return error_set(err, ST_INVALID, "special token %zu is empty or not valid UTF-8", i + 1);
    }
    if (p->vocab_size > BPE_ID_MAX)
        return error_set(err, ST_INVALID, "a vocabulary of %lld (at most %d)", (long long)p->vocab_size, BPE_ID_MAX);
    return ST_OK;
}

Status tokenizer_train(const Str *texts, size_t count, const TrainParams *params, ByteBuf *out, Error *err)
{
    Status st = ST_OK;
    WordTable table = {0};
    Trainer t = {0};
    const size_t before = out->count;
    TRY(check_params(texts, count, params, err));
    TRY(start_vocab(&t, params, err));
    TRY(words_count(&table, texts, count, params->special, params->special_count, params->single_digits, params->threads,
                    err));
    if (start_words(&t, &table) != ST_OK) {
        st = error_set(err, ST_NOMEM, "no memory for words");
        goto out;
    }
    words_deinit(&table);
    TRY(merge_all(&t, params->vocab_size, err));
    TRY(write_tokenizer(&t, params->single_digits, out, err));
out:
    if (st != ST_OK)
        out->count = before;
    words_deinit(&table);
    trainer_deinit(&t);
    return st;
}
