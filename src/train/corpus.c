/* The index of a corpus: see corpus.h. */
#include "train/corpus.h"

#include "base/mem.h"
#include "base/rng.h"
#include "train/document.h"

#include <stdio.h>
#include <string.h>

/* A document in a file. */
typedef struct {
    uint64_t offset;
    uint32_t size;
    uint16_t file;
    uint8_t begins, ends;
} Entry;

typedef struct {
    Entry *items; /* owned */
    size_t count, cap;
} Entries;

typedef struct {
    CorpusSource given;   /* `files` is not used after open */
    Entries parts[2];     /* by CorpusPart */
} Source;

typedef struct {
    char *path; /* owned */
    MapFile map;
} CorpusFile;

struct Corpus {
    const Files *fs;
    Source sources[CORPUS_SOURCES_MAX];
    int64_t source_count;
    CorpusFile *files; /* owned */
    size_t file_count;
    int64_t bad_bytes;
    char digest[SHA256_HEX_SIZE];
    /* Only while it is opened: */
    CorpusParams params;
    Digest *digesting;
};

#define SEPARATOR "<|endoftext|>"
#define STREAM_VALIDATION 0x76616c6964000000u /* of base/rng.h */

/* ---- the index ---- */

/* Whether a document of a source is held out depends on its number in the source alone. */
MUST_USE static Status add_entry(Corpus *c, int64_t source, const Entry *e, Error *err)
{
    Source *s = &c->sources[source];
    const uint64_t number = s->parts[0].count + s->parts[1].count;
    const bool held_out = s->given.validation_only ||
                          (c->params.share > 0 && rng_unit_at(c->params.seed, STREAM_VALIDATION + (uint64_t)source,
                                                              number) < c->params.share);
    Entries *list = &s->parts[held_out ? CORPUS_VALIDATION : CORPUS_TRAIN];
    void *items = list->items;
    if (mem_grow(&items, &list->cap, list->count + 1, sizeof *e) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for the index of '%s'", c->files[e->file].path);
    list->items = items;
    list->items[list->count++] = *e;
    return ST_OK;
}

static bool is_blank(const uint8_t *p, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (p[k] != ' ' && p[k] != '\t' && p[k] != '\r' && p[k] != '\n')
            return false;
    return true;
}

/* Behind the last line end in p[n/2 .. n), else behind the last blank there, else before a character. */
static size_t good_cut(const uint8_t *p, size_t n)
{
    const uint8_t *line = memrchr(p + n / 2, '\n', n - n / 2);
    if (line)
        return (size_t)(line - p) + 1;
    const uint8_t *blank = memrchr(p + n / 2, ' ', n - n / 2);
    if (blank)
        return (size_t)(blank - p) + 1;
    size_t cut = n;
    while (cut > n - 3 && (p[cut] & 0xc0) == 0x80)
        cut--;
    return (p[cut] & 0xc0) == 0x80 ? n : cut;
}

MUST_USE static Status add_text(Corpus *c, int64_t source, size_t file, size_t begin, size_t end, Error *err)
{
    const uint8_t *text = c->files[file].map.data;
    const size_t piece = (size_t)c->params.piece_bytes;
    if (is_blank(text + begin, end - begin))
        return ST_OK;
    for (size_t at = begin; at < end;) {
        const size_t n = end - at <= piece ? end - at : good_cut(text + at, piece);
        const Entry e = {at, (uint32_t)n, (uint16_t)file, at == begin, at + n == end};
        const Status st = add_entry(c, source, &e, err);
        if (st != ST_OK)
            return st;
        at += n;
    }
    return ST_OK;
}

/* The next line that is a separator: its begin, and where the text goes on in *behind; `size` when none is left. */
static size_t find_separator(const uint8_t *p, size_t size, size_t from, size_t *behind)
{
    const size_t n = strlen(SEPARATOR);
    for (size_t at = from; at < size;) {
        const uint8_t *found = memmem(p + at, size - at, SEPARATOR, n);
        if (!found)
            break;
        const size_t begin = (size_t)(found - p);
        size_t end = begin + n;
        end += end < size && p[end] == '\r';
        const bool alone = (begin == 0 || p[begin - 1] == '\n') && (end == size || p[end] == '\n');
        if (alone) {
            *behind = end + (end < size);
            return begin;
        }
        at = begin + n;
    }
    *behind = size;
    return size;
}

static size_t skip_mark(const uint8_t *p, size_t size)
{
    return size >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

MUST_USE static Status index_text(Corpus *c, int64_t source, size_t file, Error *err)
{
    const MapFile *m = &c->files[file].map;
    c->bad_bytes += text_bad_bytes(m->data, m->size);
    for (size_t at = skip_mark(m->data, m->size); at < m->size;) {
        size_t behind;
        const size_t end = find_separator(m->data, m->size, at, &behind);
        const Status st = add_text(c, source, file, at, end, err);
        if (st != ST_OK)
            return st;
        at = behind;
    }
    return ST_OK;
}

MUST_USE static Status index_lines(Corpus *c, int64_t source, size_t file, Error *err)
{
    const MapFile *m = &c->files[file].map;
    int64_t number = 0;
    for (size_t at = skip_mark(m->data, m->size); at < m->size;) {
        const uint8_t *line = m->data + at;
        const uint8_t *newline = memchr(line, '\n', m->size - at);
        const size_t n = newline ? (size_t)(newline - line) : m->size - at;
        number++;
        Status st = ST_OK;
        if (n > CORPUS_LINE_BYTES_MAX)
            st = error_set(err, ST_CORRUPT, "a line has more than %u bytes", CORPUS_LINE_BYTES_MAX);
        else if (!is_blank(line, n))
            st = document_from_json(NULL, line, n, err);
        if (st != ST_OK)
            return error_context(err, st, "%s:%lld", c->files[file].path, (long long)number);
        const Entry e = {at, (uint32_t)n, (uint16_t)file, 1, 1};
        if (!is_blank(line, n))
            st = add_entry(c, source, &e, err);
        if (st != ST_OK)
            return st;
        at += n + (newline != NULL);
    }
    return ST_OK;
}

/* ---- open ---- */

MUST_USE static Status digest_number(Corpus *c, uint64_t v, Error *err)
{
    uint8_t bytes[8];
    for (int k = 0; k < 8; k++)
        bytes[k] = (uint8_t)(v >> (8 * k));
    return digest_add(c->digesting, bytes, sizeof bytes, err);
}

MUST_USE static Status open_file(Corpus *c, int64_t source, const char *path, Error *err)
{
    Status st = ST_OK;
    const size_t file = c->file_count;
    if (file == CORPUS_FILES_MAX)
        return error_set(err, ST_INVALID, "'%s': more than %d files", path, CORPUS_FILES_MAX);
    CorpusFile *f = &c->files[file];
    f->path = mem_strdup(path);
    if (!f->path)
        return error_set(err, ST_NOMEM, "no memory to open '%s'", path);
    c->file_count++;
    TRY(c->fs->map(c->fs->self, &f->map, path, err));
    TRY(digest_number(c, f->map.size, err));
    TRY(digest_add(c->digesting, f->map.data, f->map.size, err));
    if (c->sources[source].given.kind == CORPUS_TEXT)
        TRY(index_text(c, source, file, err));
    else
        TRY(index_lines(c, source, file, err));
out:
    return st;
}

MUST_USE static Status open_source(Corpus *c, const CorpusSource *given, Error *err)
{
    const int64_t source = c->source_count++;
    c->sources[source].given = *given;
    Status st = ST_OK;
    TRY(digest_number(c, (uint64_t)given->kind * 2 + given->validation_only, err));
    TRY(digest_number(c, (uint64_t)given->file_count, err));
    for (int64_t k = 0; given->kind != CORPUS_MADE && k < given->file_count; k++)
        TRY(open_file(c, source, given->files[k], err));
out:
    return st;
}

/* Chance may hold out all of few documents, or none. Then all of them train; or of the source that has the
 * most, and at least two, the last one is held out. */
MUST_USE static Status mend_parts(Corpus *c, Error *err)
{
    Source *largest = NULL;
    int64_t held_out = 0;
    for (int64_t k = 0; k < c->source_count; k++) {
        Source *s = &c->sources[k];
        if (!s->given.validation_only && s->parts[CORPUS_TRAIN].count == 0) {
            const Entries none = s->parts[CORPUS_TRAIN];
            s->parts[CORPUS_TRAIN] = s->parts[CORPUS_VALIDATION];
            s->parts[CORPUS_VALIDATION] = none;
        }
        held_out += corpus_count(c, CORPUS_VALIDATION, k);
        if (!largest || s->parts[CORPUS_TRAIN].count > largest->parts[CORPUS_TRAIN].count)
            largest = s;
    }
    if (c->params.share <= 0 || held_out > 0 || !largest || largest->parts[CORPUS_TRAIN].count < 2)
        return ST_OK;
    Entries one = {mem_alloc(1, sizeof(Entry)), 1, 1};
    if (!one.items)
        return error_set(err, ST_NOMEM, "no memory for the index of the data");
    one.items[0] = largest->parts[CORPUS_TRAIN].items[--largest->parts[CORPUS_TRAIN].count];
    mem_free(largest->parts[CORPUS_VALIDATION].items);
    largest->parts[CORPUS_VALIDATION] = one;
    return ST_OK;
}

/* Something to train on. */
MUST_USE static Status check_parts(const Corpus *c, Error *err)
{
    int64_t train = 0;
    for (int64_t s = 0; s < c->source_count; s++) {
        if (c->sources[s].given.validation_only && corpus_count(c, CORPUS_VALIDATION, s) == 0)
            return error_set(err, ST_INVALID, "the files for validation hold no document");
        train += corpus_count(c, CORPUS_TRAIN, s);
    }
    return train ? ST_OK : error_set(err, ST_INVALID, "the data holds no document to train on");
}

MUST_USE static Status open_all(Corpus *c, Error *err)
{
    const CorpusParams *p = &c->params;
    uint64_t share_bits;
    memcpy(&share_bits, &p->share, sizeof share_bits);
    c->files = mem_alloc(CORPUS_FILES_MAX, sizeof *c->files);
    if (!c->files)
        return error_set(err, ST_NOMEM, "no memory for the files of the data");
    Status st = ST_OK;
    TRY(digest_create(&c->digesting, err));
    TRY(digest_number(c, p->seed, err));
    TRY(digest_number(c, share_bits, err));
    TRY(digest_number(c, (uint64_t)p->piece_bytes, err));
    for (int64_t s = 0; s < p->source_count; s++)
        TRY(open_source(c, &p->sources[s], err));
    TRY(digest_finish(c->digesting, c->digest, err));
    TRY(mend_parts(c, err));
    TRY(check_parts(c, err));
out:
    digest_destroy(c->digesting);
    c->digesting = NULL;
    return st;
}

Status corpus_open(Corpus **out, const CorpusParams *params, Error *err)
{
    CHECK(params->piece_bytes >= CORPUS_PIECE_BYTES_MIN);
    CHECK(params->piece_bytes <= CORPUS_LINE_BYTES_MAX);
    CHECK(params->source_count <= CORPUS_SOURCES_MAX);
    Corpus *c = mem_alloc(1, sizeof *c);
    if (!c)
        return error_set(err, ST_NOMEM, "no memory for the data");
    c->fs = params->fs;
    c->params = *params;
    const Status st = open_all(c, err);
    if (st != ST_OK) {
        corpus_close(c);
        return st;
    }
    c->params.sources = NULL;
    *out = c;
    return ST_OK;
}

void corpus_close(Corpus *c)
{
    if (!c)
        return;
    for (size_t k = 0; k < c->file_count; k++) {
        c->fs->unmap(c->fs->self, &c->files[k].map);
        mem_free(c->files[k].path);
    }
    mem_free(c->files);
    for (int64_t s = 0; s < c->source_count; s++) {
        mem_free(c->sources[s].parts[0].items);
        mem_free(c->sources[s].parts[1].items);
    }
    mem_free(c);
}

/* ---- reading ---- */

int64_t corpus_sources(const Corpus *c)
{
    return c->source_count;
}

int64_t corpus_count(const Corpus *c, CorpusPart part, int64_t source)
{
    CHECK(source < c->source_count);
    const Source *s = &c->sources[source];
    if (s->given.kind != CORPUS_MADE)
        return (int64_t)s->parts[part].count;
    if (part == CORPUS_VALIDATION)
        return CORPUS_HELD_OUT;
    return s->given.validation_only ? 0 : CORPUS_ENDLESS;
}

double corpus_weight(const Corpus *c, int64_t source)
{
    const int64_t count = corpus_count(c, CORPUS_TRAIN, source);
    const double weight = c->sources[source].given.weight;
    return count > 0 && weight > 0 ? weight : (double)count;
}

Status corpus_blame(const Corpus *c, CorpusPart part, int64_t source, int64_t number, Status st, Error *err)
{
    const Source *s = &c->sources[source];
    if (s->given.kind == CORPUS_MADE)
        return error_context(err, st, "made document %lld", (long long)number);
    const Entry *e = &s->parts[part].items[number];
    const CorpusFile *f = &c->files[e->file];
    int64_t line = 1;
    for (uint64_t k = 0; k < e->offset; k++)
        line += f->map.data[k] == '\n';
    return error_context(err, st, "%s:%lld", f->path, (long long)line);
}

Status corpus_document(const Corpus *c, CorpusPart part, int64_t source, int64_t number, Document *out, Error *err)
{
    CHECK(number >= 0);
    CHECK(number < corpus_count(c, part, source));
    const Source *s = &c->sources[source];
    Document d = {0};
    Status st;
    if (s->given.kind == CORPUS_MADE) {
        st = s->given.make(s->given.arg, part == CORPUS_VALIDATION, number, &d, err);
    } else {
        const Entry *e = &s->parts[part].items[number];
        const uint8_t *bytes = c->files[e->file].map.data + e->offset;
        d.begins = e->begins;
        d.ends = e->ends;
        st = s->given.kind == CORPUS_TEXT ? document_from_text(&d, bytes, e->size, err)
                                          : document_from_json(&d, bytes, e->size, err);
    }
    if (st != ST_OK) {
        document_free(&d);
        return corpus_blame(c, part, source, number, st, err);
    }
    *out = d;
    return ST_OK;
}

const char *corpus_digest(const Corpus *c)
{
    return c->digest;
}

int64_t corpus_bad_bytes(const Corpus *c)
{
    return c->bad_bytes;
}
