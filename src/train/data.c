/* Documents → tokens → parts → bins: see data.h. */
#include "train/data.h"

#include "base/mem.h"
#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

#define AHEAD 2 /* tokens behind a part's last row that its targets need */

/* A document, or a part of a long one, that waits for its bin. Tokens of a document that follow the part
 * are kept for its targets; behind the document they are -1. */
typedef struct {
    int64_t source, document, first, rows;
    int32_t *ids;  /* [rows + AHEAD] owned */
    uint8_t *loss; /* [rows + AHEAD], behind ids in the same block */
} Part;

typedef struct {
    Part *items; /* owned, the one that has waited longest first */
    size_t count, cap;
} Parts;

struct DataStream {
    DataParams params;
    CorpusPart part;
    int64_t draws;                         /* documents so far */
    int64_t places[CORPUS_SOURCES_MAX];    /* of them, by source */
    Parts waiting;
    IdBuf ids;                             /* of the document at hand */
    ByteBuf loss;
};

enum {
    STREAM_SOURCE = 1, /* of base/rng.h, with DATA_STREAM */
    DRAWS_WITHOUT_PART_MAX = 100000,
};
#define DATA_STREAM 0x6461746100000000u
#define ORDER_STREAM 0x6f00000000000000u

/* ---- order ---- */

/* A permutation of 0 … 2^(2h)-1 by six rounds of a Feistel network whose round function is Philox; a value
 * beyond n is permuted again until it is below, which is a permutation of what is below. */
int64_t data_shuffled(int64_t i, int64_t n, uint64_t seed, uint64_t stream)
{
    CHECK(i >= 0);
    CHECK(i < n);
    int half = 1;
    while (half < 31 && (int64_t)1 << (2 * half) < n)
        half++;
    const uint64_t mask = ((uint64_t)1 << half) - 1;
    uint64_t v = (uint64_t)i;
    do {
        uint64_t left = v >> half, right = v & mask;
        for (uint64_t round = 0; round < 6; round++) {
            const uint64_t mixed = left ^ (rng_bits_at(seed, stream, round << 32 | right) & mask);
            left = right;
            right = mixed;
        }
        v = left << half | right;
    } while (v >= (uint64_t)n);
    return (int64_t)v;
}

/* The source of draw number `draws`. */
static int64_t draw_source(const DataStream *s)
{
    const Corpus *c = s->params.corpus;
    const int64_t n = corpus_sources(c);
    double sum = 0;
    int64_t last = 0;
    for (int64_t k = 0; k < n; k++)
        if (corpus_count(c, CORPUS_TRAIN, k) > 0) {
            sum += corpus_weight(c, k);
            last = k;
        }
    double at = rng_unit_at(s->params.seed, DATA_STREAM + STREAM_SOURCE, (uint64_t)s->draws) * sum;
    for (int64_t k = 0; k < last; k++) {
        if (corpus_count(c, CORPUS_TRAIN, k) == 0)
            continue;
        at -= corpus_weight(c, k);
        if (at < 0)
            return k;
    }
    return last;
}

/* Where the stream goes next: source and document; false at the end. */
static bool next_document(const DataStream *s, int64_t *source, int64_t *document)
{
    const Corpus *c = s->params.corpus;
    if (s->part == CORPUS_VALIDATION) {
        for (*source = 0; *source < corpus_sources(c); ++*source) {
            *document = s->places[*source];
            if (*document < corpus_count(c, s->part, *source))
                return true;
        }
        return false;
    }
    *source = draw_source(s);
    const int64_t n = corpus_count(c, s->part, *source), place = s->places[*source];
    const uint64_t stream = ORDER_STREAM | (uint64_t)*source << 40 | (uint64_t)(place / n);
    *document = n == CORPUS_ENDLESS ? place % n : data_shuffled(place % n, n, s->params.seed, stream);
    return true;
}

/* ---- tokens ---- */

static Status no_memory(Error *err)
{
    return error_set(err, ST_NOMEM, "no memory for the tokens of a document");
}

MUST_USE static Status encode_text(DataStream *s, const Document *d, Error *err)
{
    const DataParams *p = &s->params;
    Status st = ST_OK;
    if (p->bos_id >= 0 && d->begins)
        TRY(idbuf_push(&s->ids, p->bos_id));
    TRY(tokenizer_encode(p->tokenizer, d->text, d->size, TOKENIZER_PLAIN, &s->ids, err));
    if (p->eos_id >= 0 && d->ends)
        TRY(idbuf_push(&s->ids, p->eos_id));
    static const uint8_t one = 1;
    for (int64_t k = 0; k < s->ids.count; k++)
        TRY(bytebuf_append(&s->loss, &one, 1));
out:
    return st == ST_NOMEM ? no_memory(err) : st;
}

/* The tokens of a document into s->ids and s->loss. */
MUST_USE static Status encode_document(DataStream *s, int64_t source, int64_t document, Error *err)
{
    const DataParams *p = &s->params;
    Document d = {0};
    s->ids.count = 0;
    s->loss.count = 0;
    Status st = corpus_document(p->corpus, s->part, source, document, &d, err);
    if (st != ST_OK)
        return st;
    if (d.text)
        st = encode_text(s, &d, err);
    else if (!p->chat)
        st = error_set(err, ST_UNSUPPORTED, "messages, but the model has no chat format that we know");
    else
        st = chat_render(p->chat, d.messages, d.message_count,
                         chat_training_flags(p->chat, d.messages, d.message_count), &s->ids, &s->loss, err);
    document_free(&d);
    if (st != ST_OK)
        return corpus_blame(p->corpus, s->part, source, document, st, err);
    CHECK((size_t)s->ids.count == s->loss.count);
    return ST_OK;
}

/* ---- parts ---- */

static void free_parts(Parts *parts)
{
    for (size_t k = 0; k < parts->count; k++)
        mem_free(parts->items[k].ids);
    parts->count = 0;
}

/* The tokens first … first + rows - 1 of the document at hand, and those ahead. */
MUST_USE static Status add_part(DataStream *s, Parts *to, int64_t source, int64_t document, int64_t first, int64_t rows,
                                Error *err)
{
    const size_t n = (size_t)(rows + AHEAD);
    void *items = to->items;
    if (mem_grow(&items, &to->cap, to->count + 1, sizeof(Part)) != ST_OK)
        return no_memory(err);
    to->items = items;
    int32_t *ids = mem_alloc(n, sizeof *ids + 1);
    if (!ids)
        return no_memory(err);
    const Part part = {source, document, first, rows, ids, (uint8_t *)(ids + n)};
    for (int64_t k = 0; k < rows + AHEAD; k++) {
        const bool there = first + k < s->ids.count;
        ids[k] = there ? s->ids.data[first + k] : -1;
        part.loss[k] = there ? s->loss.data[first + k] : 0;
    }
    to->items[to->count++] = part;
    return ST_OK;
}

/* Is there a target in these rows? */
static bool has_target(const DataStream *s, int64_t first, int64_t rows)
{
    for (int64_t k = first + 1; k <= first + rows && k < s->ids.count; k++)
        if (s->loss.data[k])
            return true;
    return false;
}

/* All parts of a document from which there is something to learn. On failure none is added. */
MUST_USE static Status add_document(DataStream *s, Parts *to, int64_t source, int64_t document, Error *err)
{
    Status st = encode_document(s, source, document, err);
    const size_t before = to->count;
    const int64_t length = s->params.length;
    for (int64_t first = 0; st == ST_OK && first < s->ids.count; first += length) {
        const int64_t rows = s->ids.count - first < length ? s->ids.count - first : length;
        if (has_target(s, first, rows))
            st = add_part(s, to, source, document, first, rows, err);
    }
    while (st != ST_OK && to->count > before)
        mem_free(to->items[--to->count].ids);
    return st;
}

MUST_USE static Status fill_buffer(DataStream *s, Error *err)
{
    int64_t source, document;
    for (int64_t useless = 0; s->waiting.count < DATA_BUFFER_PARTS && next_document(s, &source, &document);) {
        const size_t before = s->waiting.count;
        const Status st = add_document(s, &s->waiting, source, document, err);
        if (st != ST_OK)
            return st;
        s->draws++;
        s->places[source]++;
        useless = s->waiting.count == before ? useless + 1 : 0;
        if (useless == DRAWS_WITHOUT_PART_MAX)
            return error_set(err, ST_INVALID, "%lld documents one after the other have nothing to learn",
                             (long long)useless);
    }
    return ST_OK;
}

/* ---- bins ---- */

/* Add rows to the batch's last sequence; ids and targets are set, the rest follows from them. */
static void add_sequence(DataBatch *b, const DataSequence *q)
{
    b->sequences[b->sequence_count++] = *q;
    for (int64_t k = 0; k < q->rows; k++) {
        const int64_t row = q->row0 + k;
        b->positions[row] = (int32_t)k;
        b->target_count += b->targets[row] >= 0;
        b->mtp_target_count += b->mtp_targets[row] >= 0;
    }
    b->used_rows += q->source >= 0 ? q->rows : 0;
}

static void put_part(DataBatch *b, const Part *p, int64_t row0)
{
    for (int64_t k = 0; k < p->rows; k++) {
        const int64_t row = row0 + k;
        b->ids[row] = p->ids[k];
        b->next_ids[row] = p->ids[k + 1] >= 0 ? p->ids[k + 1] : 0;
        b->targets[row] = p->loss[k + 1] ? p->ids[k + 1] : -1;
        b->mtp_targets[row] = p->loss[k + 2] ? p->ids[k + 2] : -1;
    }
    add_sequence(b, &(DataSequence){row0, p->rows, p->source, p->document, p->first});
}

static void put_padding(const DataStream *s, DataBatch *b, int64_t row0, int64_t rows)
{
    for (int64_t row = row0; row < row0 + rows; row++) {
        b->ids[row] = s->params.eos_id >= 0 ? s->params.eos_id : 0;
        b->next_ids[row] = 0;
        b->targets[row] = b->mtp_targets[row] = -1;
    }
    if (rows > 0)
        add_sequence(b, &(DataSequence){row0, rows, -1, -1, 0});
}

/* The largest part of at most `rows` rows, of equal ones the oldest; -1 when none fits. */
static int64_t best_fit(const Parts *p, int64_t rows)
{
    int64_t best = -1;
    for (size_t k = 0; k < p->count; k++)
        if (p->items[k].rows <= rows && (best < 0 || p->items[k].rows > p->items[best].rows))
            best = (int64_t)k;
    return best;
}

static void take_part(Parts *p, int64_t k, DataBatch *b, int64_t row0)
{
    put_part(b, &p->items[k], row0);
    mem_free(p->items[k].ids);
    p->count--;
    memmove(p->items + k, p->items + k + 1, (p->count - (size_t)k) * sizeof *p->items);
}

MUST_USE static Status fill_bin(DataStream *s, DataBatch *b, int64_t bin, Error *err)
{
    const Status st = fill_buffer(s, err);
    if (st != ST_OK)
        return st;
    const int64_t end = (bin + 1) * s->params.length;
    int64_t at = bin * s->params.length;
    int64_t k = s->waiting.count > 0 ? 0 : -1; /* the one that has waited longest; then what fits best */
    for (; k >= 0; k = best_fit(&s->waiting, end - at)) {
        const int64_t rows = s->waiting.items[k].rows;
        take_part(&s->waiting, k, b, at);
        at += rows;
    }
    put_padding(s, b, at, end - at);
    return ST_OK;
}

Status data_stream_next(DataStream *s, DataBatch *b, Error *err)
{
    CHECK(b->rows == s->params.batch * s->params.length);
    b->sequence_count = b->target_count = b->mtp_target_count = b->used_rows = 0;
    for (int64_t bin = 0; bin < s->params.batch; bin++) {
        const Status st = fill_bin(s, b, bin, err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

/* ---- life ---- */

Status data_batch_init(DataBatch *b, const DataParams *params, Error *err)
{
    const size_t rows = (size_t)(params->batch * params->length);
    DataBatch out = {.rows = (int64_t)rows};
    int32_t **const arrays[] = {&out.ids, &out.targets, &out.next_ids, &out.mtp_targets, &out.positions};
    bool whole = true;
    for (size_t k = 0; k < sizeof arrays / sizeof *arrays; k++) {
        *arrays[k] = mem_alloc(rows, sizeof **arrays[k]);
        whole = whole && *arrays[k];
    }
    out.sequences = mem_alloc(rows, sizeof *out.sequences);
    if (!whole || !out.sequences) {
        data_batch_free(&out);
        return error_set(err, ST_NOMEM, "no memory for a batch of %zu rows", rows);
    }
    *b = out;
    return ST_OK;
}

void data_batch_free(DataBatch *b)
{
    mem_free(b->ids);
    mem_free(b->targets);
    mem_free(b->next_ids);
    mem_free(b->mtp_targets);
    mem_free(b->positions);
    mem_free(b->sequences);
    *b = (DataBatch){0};
}

Status data_stream_create(DataStream **out, const DataParams *params, CorpusPart part, Error *err)
{
    CHECK(params->batch >= 1);
    CHECK(params->length >= 2);
    DataStream *s = mem_alloc(1, sizeof *s);
    if (!s)
        return error_set(err, ST_NOMEM, "no memory for a stream of data");
    s->params = *params;
    s->part = part;
    *out = s;
    return ST_OK;
}

void data_stream_destroy(DataStream *s)
{
    if (!s)
        return;
    free_parts(&s->waiting);
    mem_free(s->waiting.items);
    idbuf_free(&s->ids);
    bytebuf_free(&s->loss);
    mem_free(s);
}

void data_stream_rewind(DataStream *s)
{
    free_parts(&s->waiting);
    s->draws = 0;
    memset(s->places, 0, sizeof s->places);
}

double data_stream_passes(const DataStream *s, int64_t source)
{
    const int64_t n = corpus_count(s->params.corpus, s->part, source);
    return n == CORPUS_ENDLESS || n == 0 ? 0 : (double)s->places[source] / (double)n;
}

/* ---- the cursor ---- */

/* version, seed, batch, length, four words of the corpus's digest; draws; sources, a place each; parts, four
 * numbers each */
enum { CURSOR_VERSION = 1, CURSOR_HEAD = 8, PART_NUMBERS = 4 };

void data_cursor_free(DataCursor *c)
{
    mem_free(c->values);
    *c = (DataCursor){0};
}

static void cursor_head(const DataStream *s, int64_t head[CURSOR_HEAD])
{
    const char *hex = corpus_digest(s->params.corpus);
    head[0] = CURSOR_VERSION;
    head[1] = (int64_t)s->params.seed;
    head[2] = s->params.batch;
    head[3] = s->params.length;
    for (int k = 0; k < 4; k++) {
        char word[17] = {0};
        memcpy(word, hex + 16 * k, 16);
        head[4 + k] = (int64_t)strtoull(word, NULL, 16);
    }
}

MUST_USE static Status push(DataCursor *c, const int64_t *values, size_t n)
{
    void *items = c->values;
    if (mem_grow(&items, &c->cap, c->count + n, sizeof *values) != ST_OK)
        return ST_NOMEM;
    c->values = items;
    memcpy(c->values + c->count, values, n * sizeof *values);
    c->count += n;
    return ST_OK;
}

Status data_stream_save(const DataStream *s, DataCursor *out, Error *err)
{
    int64_t head[CURSOR_HEAD];
    const int64_t sources = corpus_sources(s->params.corpus), waiting = (int64_t)s->waiting.count;
    Status st = ST_OK;
    cursor_head(s, head);
    out->count = 0;
    TRY(push(out, head, CURSOR_HEAD));
    TRY(push(out, &s->draws, 1));
    TRY(push(out, &sources, 1));
    TRY(push(out, s->places, (size_t)sources));
    TRY(push(out, &waiting, 1));
    for (int64_t k = 0; k < waiting; k++) {
        const Part *p = &s->waiting.items[k];
        const int64_t numbers[PART_NUMBERS] = {p->source, p->document, p->first, p->rows};
        TRY(push(out, numbers, PART_NUMBERS));
    }
    return ST_OK;
out:
    return error_set(err, st, "no memory to save the place in the data");
}

static Status corrupt(Error *err, const char *what)
{
    return error_set(err, ST_CORRUPT, "the saved place in the data: %s", what);
}

/* The part that these numbers name, from the document at hand. */
MUST_USE static Status restore_part(DataStream *s, const int64_t *numbers, Error *err)
{
    const int64_t first = numbers[2], rows = numbers[3], length = s->params.length;
    const int64_t left = s->ids.count - first;
    if (first < 0 || first % length != 0 || left <= 0 || rows != (left < length ? left : length))
        return corrupt(err, "a waiting part is none of its document");
    return add_part(s, &s->waiting, numbers[0], numbers[1], first, rows, err);
}

MUST_USE static Status restore_parts(DataStream *s, const int64_t *parts, int64_t count, Error *err)
{
    const Corpus *c = s->params.corpus;
    Status st = ST_OK;
    for (int64_t k = 0; k < count; k++) {
        const int64_t *p = parts + k * PART_NUMBERS;
        if (p[0] < 0 || p[0] >= corpus_sources(c) || p[1] < 0 || p[1] >= corpus_count(c, s->part, p[0]))
            return corrupt(err, "a waiting document does not exist");
        if (k == 0 || p[0] != p[-PART_NUMBERS] || p[1] != p[1 - PART_NUMBERS])
            TRY(encode_document(s, p[0], p[1], err));
        TRY(restore_part(s, p, err));
    }
out:
    return st;
}

MUST_USE static Status restore(DataStream *s, const int64_t *values, int64_t count, Error *err)
{
    int64_t head[CURSOR_HEAD];
    const int64_t sources = corpus_sources(s->params.corpus);
    cursor_head(s, head);
    if (count < CURSOR_HEAD)
        return corrupt(err, "too short");
    if (values[0] != CURSOR_VERSION)
        return error_set(err, ST_UNSUPPORTED, "the saved place in the data has version %lld, expected %d",
                         (long long)values[0], CURSOR_VERSION);
    if (memcmp(values + 1, head + 1, 3 * sizeof *head) != 0)
        return error_set(err, ST_MISMATCH, "train.seed, train.batch or train.length has changed since the checkpoint");
    if (memcmp(values + 4, head + 4, 4 * sizeof *head) != 0)
        return error_set(err, ST_MISMATCH, "the data has changed since the checkpoint: its files have other bytes");
    if (count < CURSOR_HEAD + 3 + sources || values[CURSOR_HEAD + 1] != sources)
        return corrupt(err, "wrong number of sources");
    const int64_t *places = values + CURSOR_HEAD + 2, waiting = places[sources];
    if (waiting < 0 || waiting != (count - CURSOR_HEAD - 3 - sources) / PART_NUMBERS ||
        (count - CURSOR_HEAD - 3 - sources) % PART_NUMBERS != 0)
        return corrupt(err, "wrong number of waiting parts");
    for (int64_t k = 0; k < sources; k++)
        if (places[k] < 0 || (places[k] > 0 && corpus_count(s->params.corpus, s->part, k) == 0))
            return corrupt(err, "a source's place is none");
    s->draws = values[CURSOR_HEAD];
    memcpy(s->places, places, (size_t)sources * sizeof *places);
    return s->draws < 0 ? corrupt(err, "negative") : restore_parts(s, places + sources + 1, waiting, err);
}

Status data_stream_restore(DataStream *s, const int64_t *values, int64_t count, Error *err)
{
    data_stream_rewind(s);
    const Status st = restore(s, values, count, err);
    if (st != ST_OK)
        data_stream_rewind(s);
    return st;
}
