/* Counting the pieces of texts, in parallel.
 *
 * A text is first cut at special tokens, then into blocks that threads can take alone: at a space between
 * two ASCII letters, where the GPT-2 pattern always ends a piece, whatever came before. Every thread
 * counts into a table of its own; the tables are added up at the end. */
#include "tokenizer/train_words.h"

#include "base/mem.h"
#include "base/pool.h"
#include "tokenizer/added.h"
#include "tokenizer/bpe_internal.h"
#include "tokenizer/scan.h"

#include <string.h>

#define BLOCK_BYTES ((size_t)256 << 10)

void words_deinit(WordTable *t)
{
    mem_free(t->slots);
    *t = (WordTable){0};
}

static Word *find_slot(const WordTable *t, const uint8_t *bytes, size_t len, uint64_t hash)
{
    for (size_t i = (size_t)hash & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
        Word *w = &t->slots[i];
        if (!w->bytes || (w->hash == hash && w->len == len && memcmp(w->bytes, bytes, len) == 0))
            return w;
    }
}

static Status grow(WordTable *t)
{
    WordTable next = {.cap = t->cap ? 2 * t->cap : 4096, .count = t->count};
    next.slots = mem_alloc(next.cap, sizeof *next.slots);
    if (!next.slots)
        return ST_NOMEM;
    for (size_t i = 0; i < t->cap; i++)
        if (t->slots[i].bytes)
            *find_slot(&next, t->slots[i].bytes, t->slots[i].len, t->slots[i].hash) = t->slots[i];
    mem_free(t->slots);
    *t = next;
    return ST_OK;
}

static Status add(WordTable *t, const uint8_t *bytes, size_t len, uint64_t hash, int64_t count)
{
    if (2 * (t->count + 1) > t->cap && grow(t) != ST_OK)
        return ST_NOMEM;
    Word *w = find_slot(t, bytes, len, hash);
    if (!w->bytes) {
        *w = (Word){.bytes = bytes, .len = len, .hash = hash};
        t->count++;
    }
    w->count += count;
    return ST_OK;
}

/* ---- blocks ------------------------------------------------------------------------------------ */

typedef struct {
    Str *items; /* owned */
    size_t count, cap;
} Blocks;

static bool is_letter(char c)
{
    return (unsigned char)((c | 0x20) - 'a') < 26;
}

/* Cut an ordinary stretch of text into blocks. */
static Status add_blocks(Blocks *b, const char *s, size_t n)
{
    for (size_t from = 0; from < n;) {
        size_t to = n - from > BLOCK_BYTES ? from + BLOCK_BYTES : n;
        while (to < n && !(s[to] == ' ' && is_letter(s[to - 1]) && to + 1 < n && is_letter(s[to + 1])))
            to++;
        if (mem_grow((void **)&b->items, &b->cap, b->count + 1, sizeof *b->items) != ST_OK)
            return ST_NOMEM;
        b->items[b->count++] = (Str){s + from, to - from};
        from = to;
    }
    return ST_OK;
}

/* The special tokens as something that can be searched for. */
static Status make_added(Added *a, const Str *special, size_t count, Error *err)
{
    Status st = ST_OK;
    for (size_t i = 0; i < count; i++)
        if (special[i].len > 0)
            TRY(added_add(a, (AddedToken){.id = (int32_t)i, .special = true}, special[i], err));
    TRY(added_finish(a, false, err));
out:
    return st;
}

static Status make_blocks(Blocks *b, const Str *texts, size_t count, const Added *special)
{
    Status st = ST_OK;
    for (size_t i = 0; i < count; i++) {
        AddedWalk walk;
        size_t start, stop;
        const AddedToken *token;
        added_walk_init(&walk, special, &special->raw, true, (const uint8_t *)texts[i].ptr, texts[i].len);
        while (added_walk_next(&walk, &start, &stop, &token))
            TRY(add_blocks(b, texts[i].ptr + start, stop - start));
    }
out:
    return st;
}

/* ---- counting ---------------------------------------------------------------------------------- */

typedef struct {
    const Blocks *blocks;
    WordTable *tables; /* one a thread */
    Status *status;
    WorkQueue queue;
    ScanFn scan;
    bool single_digits;
} Counting;

static Status count_stretch(WordTable *t, ScanFn scan, const uint8_t *s, size_t len)
{
    size_t start, stop;
    for (size_t at = 0; scan(s, at, len, &start, &stop); at = stop) {
        const size_t n = stop - start;
        const uint64_t hash = bpe_hash(bpe_head(s + start, n), s + start, n);
        if (add(t, s + start, n, hash ^ hash >> 32, 1) != ST_OK)
            return ST_NOMEM;
    }
    return ST_OK;
}

static Status count_block(WordTable *t, const Counting *c, const Str *block)
{
    Status st = ST_OK;
    const uint8_t *s = (const uint8_t *)block->ptr;
    size_t at = 0, start, stop;
    while (c->single_digits && scan_numeric_char(s, at, block->len, &start, &stop)) {
        TRY(count_stretch(t, c->scan, s + at, start - at));
        TRY(count_stretch(t, c->scan, s + start, stop - start));
        at = stop;
    }
    st = count_stretch(t, c->scan, s + at, block->len - at);
out:
    return st;
}

static void count_some(void *arg, int thread, int threads)
{
    Counting *c = arg;
    int64_t block;
    (void)threads;
    while (c->status[thread] == ST_OK && work_next(&c->queue, thread, &block))
        c->status[thread] = count_block(&c->tables[thread], c, &c->blocks->items[block]);
}

static Status add_up(WordTable *out, const WordTable *tables, const Status *status, int threads)
{
    Status st = ST_OK;
    for (int i = 0; i < threads; i++) {
        TRY(status[i]);
        for (size_t j = 0; j < tables[i].cap; j++) {
            const Word *w = &tables[i].slots[j];
            if (w->bytes)
                TRY(add(out, w->bytes, w->len, w->hash, w->count));
        }
    }
out:
    return st;
}

static Status count_blocks(WordTable *out, const Blocks *blocks, bool single_digits, int threads, Error *err)
{
    Status st = ST_OK;
    Counting c = {.blocks = blocks, .single_digits = single_digits, .scan = scan_by_pattern(scan_text_gpt2, strlen(scan_text_gpt2))->find};
    ThreadPool *pool = NULL;
    c.tables = mem_alloc((size_t)threads, sizeof *c.tables);
    c.status = mem_alloc((size_t)threads, sizeof *c.status);
    if (!c.tables || !c.status) {
        st = error_set(err, ST_NOMEM, "no memory to count words");
        goto out;
    }
    TRY(pool_create(&pool, threads, err));
    work_init(&c.queue, (int64_t)blocks->count, threads);
    pool_run(pool, count_some, &c);
    if (add_up(out, c.tables, c.status, threads) != ST_OK)
        st = error_set(err, ST_NOMEM, "no memory to count words");
out:
    pool_destroy(pool);
    for (int i = 0; c.tables && i < threads; i++)
        words_deinit(&c.tables[i]);
    mem_free(c.tables);
    mem_free(c.status);
    return st;
}

Status words_count(WordTable *out, const Str *texts, size_t count, const Str *special, size_t special_count,
                   bool single_digits, int threads, Error *err)
{
    Status st = ST_OK;
    Added added = {0};
    Blocks blocks = {0};
    TRY(make_added(&added, special, special_count, err));
    if (make_blocks(&blocks, texts, count, &added) != ST_OK) {
        st = error_set(err, ST_NOMEM, "no memory to count words");
        goto out;
    }
    TRY(count_blocks(out, &blocks, single_digits, threads, err));
out:
    added_deinit(&added);
    mem_free(blocks.items);
    return st;
}
