/* Data: documents as the files say, batches that mix none of them, the same order after every resume.
 *
 * Tokenizer and chat format are pretended, to know every id beforehand: a byte is its own id; a message is
 * its role's marker, its bytes, and a closing marker, with loss on what the assistant says. The packing is
 * compared with oracle/packing.py, which follows data.h and shares nothing with data.c. */
#include "base/mapfile.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/data.h"
#include "train/document.h"
#include "world.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ROLE = 256, CLOSE = 259, BOS, EOS };

#define OK(expr)                                   \
    do {                                           \
        Error ok_err = {0};                        \
        if ((expr) != ST_OK)                       \
            fail_msg("%s: %s", #expr, ok_err.msg); \
    } while (0)

Status tokenizer_encode(const Tokenizer *t, const char *text, size_t len, unsigned flags, IdBuf *out, Error *err)
{
    (void)t;
    (void)err;
    assert_int_equal(flags, TOKENIZER_PLAIN);
    for (size_t k = 0; k < len; k++)
        if (idbuf_push(out, (unsigned char)text[k]) != ST_OK)
            return error_set(err, ST_NOMEM, "no memory");
    return ST_OK;
}

unsigned chat_training_flags(const ChatFormat *f, const ChatMessage *messages, int64_t count)
{
    (void)f;
    assert_true(messages && count > 0);
    return CHAT_THINK;
}

Status chat_render(const ChatFormat *f, const ChatMessage *messages, int64_t count, unsigned flags, IdBuf *ids,
                   ByteBuf *loss, Error *err)
{
    (void)f;
    assert_int_equal(flags, CHAT_THINK);
    for (int64_t k = 0; k < count; k++) {
        const uint8_t learn = messages[k].role == CHAT_ASSISTANT, no = 0;
        Status st = idbuf_push(ids, ROLE + (int)messages[k].role);
        st = st == ST_OK ? bytebuf_append(loss, &no, 1) : st;
        for (const char *p = messages[k].content; *p && st == ST_OK; p++) {
            st = idbuf_push(ids, (unsigned char)*p);
            st = st == ST_OK ? bytebuf_append(loss, &learn, 1) : st;
        }
        st = st == ST_OK ? idbuf_push(ids, CLOSE) : st;
        st = st == ST_OK ? bytebuf_append(loss, &learn, 1) : st;
        if (st != ST_OK)
            return error_set(err, st, "no memory");
    }
    return ST_OK;
}

/* ---- corpora ---- */

static World *world;

static void put_file(const char *path, const void *data, size_t size)
{
    OK(files_write_new(&world->files, path, data, size, &ok_err));
}

static CorpusSource text_source(const char *const *file)
{
    return (CorpusSource){.kind = CORPUS_TEXT, .files = file, .file_count = 1};
}

static Corpus *open_sources(const CorpusSource *sources, int64_t count, double share, int64_t piece)
{
    const CorpusParams p = {&world->files, sources, count, share, 5, piece};
    Corpus *c = NULL;
    OK(corpus_open(&c, &p, &ok_err));
    return c;
}

static Corpus *open_text(const char *text, size_t size, int64_t piece)
{
    static const char *const file = "/t.txt";
    put_file(file, text, size);
    const CorpusSource s = text_source(&file);
    return open_sources(&s, 1, 0, piece);
}

static void text_is_cut_at_separators(void **state)
{
    (void)state;
    static const char text[] = "\xef\xbb\xbf" "one\n<|endoftext|>\n \n<|endoftext|>\r\ntwo <|endoftext|> two\n"
                               "x<|endoftext|>\n<|endoftext|>x\n<|endoftext|>";
    static const char *const want[] = {"one\n", "two <|endoftext|> two\nx<|endoftext|>\n<|endoftext|>x\n"};
    Corpus *c = open_text(text, sizeof text - 1, 256);
    assert_int_equal(corpus_count(c, CORPUS_TRAIN, 0), 2);
    for (int k = 0; k < 2; k++) {
        Document d = {0};
        OK(corpus_document(c, CORPUS_TRAIN, 0, k, &d, &ok_err));
        assert_int_equal(d.size, strlen(want[k]));
        assert_memory_equal(d.text, want[k], d.size);
        assert_true(d.begins && d.ends);
        document_free(&d);
    }
    corpus_close(c);
}

static void long_text_is_cut_at_line_ends_and_loses_nothing(void **state)
{
    (void)state;
    enum { N = 20000 };
    static char text[N], again[N];
    Rng rng = {3, 1, 0};
    for (int mode = 0; mode < 3; mode++) { /* lines, words, neither (characters of three bytes) */
        for (int k = 0; k < N; k++)
            text[k] = mode == 2 ? "\xe2\x82\xac"[k % 3] : rng_below(&rng, 9) ? 'a' : mode ? ' ' : '\n';
        const size_t size = mode == 2 ? N / 3 * 3 : N;
        Corpus *c = open_text(text, size, 300);
        size_t n = 0;
        const int64_t count = corpus_count(c, CORPUS_TRAIN, 0);
        for (int64_t k = 0; k < count; k++) {
            Document d = {0};
            OK(corpus_document(c, CORPUS_TRAIN, 0, k, &d, &ok_err));
            assert_true(d.size <= 300);
            assert_int_equal(d.begins, k == 0);
            assert_int_equal(d.ends, k == count - 1);
            if (mode < 2 && k < count - 1)
                assert_int_equal(d.text[d.size - 1], mode ? ' ' : '\n');
            memcpy(again + n, d.text, d.size);
            n += d.size;
            document_free(&d);
        }
        assert_int_equal(n, size);
        assert_memory_equal(again, text, n);
        assert_int_equal(corpus_bad_bytes(c), 0);
        corpus_close(c);
    }
}

/* As Python's bytes.decode("utf-8", "replace") has it. */
static void bytes_that_are_not_utf8_become_replacements(void **state)
{
    (void)state;
#define R "\xef\xbf\xbd"
    static const struct {
        const char *text, *want;
    } table[] = {
        {"a\xff" "b", "a" R "b"},           {"\xe2\x82", R},           {"\xe2\x82\xac\xe2\x82x", "\xe2\x82\xac" R "x"},
        {"\xf0\x9f\x98", R},                {"\xed\xa0\x80", R R R},   {"\xc0\x80", R R},
        {"\xf4\x90\x80\x80", R R R R},      {"\x80", R},               {"\xe2\xe2\x82\xac", R "\xe2\x82\xac"},
    };
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        Document d = {0};
        OK(document_from_text(&d, (const uint8_t *)table[k].text, strlen(table[k].text), &ok_err));
        assert_int_equal(d.size, strlen(table[k].want));
        assert_memory_equal(d.text, table[k].want, d.size);
        document_free(&d);
    }
}

static void json_lines_are_texts_and_messages(void **state)
{
    (void)state;
    static const char *const file = "/c.jsonl";
    static const char lines[] =
        "{\"text\": \"one\\n\", \"id\": [1, {\"text\": 2}]}\n"
        "\n"
        "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"content\": \"q\\u00e9\", \"role\": \"user\"},"
        " {\"role\": \"assistant\", \"content\": \"a\", \"thinking\": \"t\", \"name\": null}]}\r\n"
        "{\"text\": \"last\"}";
    put_file(file, lines, sizeof lines - 1);
    const CorpusSource s = {.kind = CORPUS_JSONL, .files = &file, .file_count = 1};
    Corpus *c = open_sources(&s, 1, 0, 256);
    assert_int_equal(corpus_count(c, CORPUS_TRAIN, 0), 3);
    Document d = {0};
    OK(corpus_document(c, CORPUS_TRAIN, 0, 0, &d, &ok_err));
    assert_string_equal(d.text, "one\n");
    document_free(&d);
    OK(corpus_document(c, CORPUS_TRAIN, 0, 1, &d, &ok_err));
    assert_null(d.text);
    assert_int_equal(d.message_count, 3);
    assert_int_equal(d.messages[1].role, CHAT_USER);
    assert_string_equal(d.messages[1].content, "q\xc3\xa9");
    assert_null(d.messages[1].thinking);
    assert_string_equal(d.messages[2].thinking, "t");
    document_free(&d);
    corpus_close(c);
}

static void errors_of_json_lines_name_file_and_line(void **state)
{
    (void)state;
    static const char *const file = "/c.jsonl";
    static const struct {
        const char *lines, *want;
    } table[] = {
        {"{\"text\": \"a\"}\n\n[1]\n", "/c.jsonl:3: JSON byte 0: expected an object, found an array"},
        {"{\"text\": 1}", "/c.jsonl:1: JSON byte 9: expected a string, found "},
        {"{\"text\": \"a\"}\n{\"text\": \"a\", \"messages\": []}", "/c.jsonl:2: JSON byte 14: a second \"text\" or \"messages\""},
        {"{\"txt\": \"a\"}", "/c.jsonl:1: neither \"text\" nor \"messages\" is there"},
        {"{\"messages\": []}", "/c.jsonl:1: \"messages\" is empty"},
        {"{\"messages\": [1]}", "/c.jsonl:1: JSON byte 14: expected a message, an object"},
        {"{\"messages\": [{\"role\": \"tool\", \"content\": \"\"}]}", "/c.jsonl:1: JSON byte 23: role 'tool' is none of"},
        {"{\"messages\": [{\"role\": \"user\"}]}", "/c.jsonl:1: JSON byte 14: a message lacks its content"},
        {"{\"messages\": [{\"content\": \"user\"}]}", "/c.jsonl:1: JSON byte 14: a message lacks its role"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"\", \"thinking\": \"\"}]}", "/c.jsonl:1: JSON byte 14: only the"},
        {"{\"text\": \"a\\u0000b\"}", "/c.jsonl:1: JSON byte 9: a text holds a zero character"},
        {"{\"text\": \"\xff\"}", "/c.jsonl:1: JSON byte 10: "},
        {"{\"text\": \"a\"} x", "/c.jsonl:1: JSON byte 14: "},
        {"{\"text\": \"a\"", "/c.jsonl:1: JSON byte 12: "},
        {"\n \n", "the data holds no document to train on"},
    };
    const CorpusSource s = {.kind = CORPUS_JSONL, .files = &file, .file_count = 1};
    const CorpusParams p = {&world->files, &s, 1, 0, 5, 256};
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        Corpus *c = NULL;
        Error err = {0};
        put_file(file, table[k].lines, strlen(table[k].lines));
        if (corpus_open(&c, &p, &err) == ST_OK || strncmp(err.msg, table[k].want, strlen(table[k].want)) != 0)
            fail_msg("row %zu\n  got  %s\n  want %s", k, err.msg, table[k].want);
    }
    static const char *const missing = "/none.jsonl";
    const CorpusSource none = {.kind = CORPUS_JSONL, .files = &missing, .file_count = 1};
    const CorpusParams q = {&world->files, &none, 1, 0, 5, 256};
    Corpus *c = NULL;
    assert_int_equal(corpus_open(&c, &q, NULL), ST_NOTFOUND);
}

/* ---- order ---- */

static void shuffling_is_a_permutation_of_its_own_in_every_pass(void **state)
{
    (void)state;
    static int64_t seen[2000];
    memset(seen, 0, sizeof seen);
    int64_t stamp = 0, same = 0;
    for (int64_t n = 1; n <= 2000; n += n < 70 ? 1 : 193) {
        for (uint64_t stream = 0; stream < 3; stream++) {
            stamp++;
            for (int64_t i = 0; i < n; i++) {
                const int64_t k = data_shuffled(i, n, 9, stream);
                assert_true(k >= 0 && k < n);
                assert_int_not_equal(seen[k], stamp);
                seen[k] = stamp;
                same += n > 1000 && k == i;
            }
        }
    }
    assert_true(same < 60); /* about one a permutation is expected */
    assert_true(data_shuffled(((int64_t)1 << 40) - 1, (int64_t)1 << 40, 1, 1) < (int64_t)1 << 40);
}

/* ---- packing ---- */

/* Document k: `length` letters, different in every document. */
typedef struct {
    int64_t count;
    const int64_t *lengths;
} Lengths;

static Status make_letters(const void *arg, bool held_out, int64_t number, Document *out, Error *err)
{
    const Lengths *l = arg;
    (void)held_out;
    const size_t n = (size_t)l->lengths[number % l->count];
    char *text = arena_alloc(&out->arena, n + 1);
    if (!text)
        return error_set(err, ST_NOMEM, "no memory");
    for (size_t k = 0; k < n; k++)
        text[k] = (char)('a' + (k + (size_t)number) % 26);
    out->text = text;
    out->size = n;
    out->begins = out->ends = true;
    return ST_OK;
}

typedef struct {
    Corpus *corpus;
    DataStream *stream;
    DataBatch batch;
    DataParams params;
} Rig;

static void rig_open(Rig *r, Corpus *c, CorpusPart part, int64_t batch, int64_t length)
{
    static const ChatFormat *const pretended = (const ChatFormat *)&world;
    r->corpus = c;
    r->params = (DataParams){c, NULL, pretended, BOS, EOS, batch, length, 11};
    OK(data_stream_create(&r->stream, &r->params, part, &ok_err));
    OK(data_batch_init(&r->batch, &r->params, &ok_err));
}

static void rig_close(Rig *r)
{
    data_stream_destroy(r->stream);
    data_batch_free(&r->batch);
    corpus_close(r->corpus);
}

static void packing_is_that_of_the_independent_script(void **state)
{
    (void)state;
    json_error_t why;
    json_t *cases = json_load_file("tests/vectors/packing.json", 0, &why);
    if (!cases)
        fail_msg("packing.json: %s", why.text);
    size_t i, k;
    json_t *one, *value;
    json_array_foreach(cases, i, one) {
        const json_t *lengths = json_object_get(one, "lengths"), *want = json_object_get(one, "sequences");
        int64_t numbers[CORPUS_HELD_OUT];
        assert_int_equal(json_array_size(lengths), CORPUS_HELD_OUT);
        json_array_foreach(lengths, k, value) numbers[k] = json_integer_value(value) - 2; /* BOS and EOS */
        const Lengths l = {CORPUS_HELD_OUT, numbers};
        const CorpusSource s = {.kind = CORPUS_MADE, .make = make_letters, .arg = &l};
        Rig r;
        rig_open(&r, open_sources(&s, 1, 0, 256), CORPUS_VALIDATION, 4, json_integer_value(json_object_get(one, "length")));
        size_t at = 0;
        for (int64_t base = 0;; base += r.batch.rows) {
            OK(data_stream_next(r.stream, &r.batch, &ok_err));
            if (r.batch.used_rows == 0)
                break;
            for (int64_t q = 0; q < r.batch.sequence_count; q++) {
                const DataSequence *x = &r.batch.sequences[q];
                if (x->source < 0)
                    continue;
                const json_t *w = json_array_get(want, at++);
                const int64_t got[4] = {base + x->row0, x->rows, x->document, x->first};
                for (size_t n = 0; n < 4; n++)
                    assert_int_equal(got[n], json_integer_value(json_array_get(w, n)));
            }
        }
        assert_int_equal(at, json_array_size(want));
        rig_close(&r);
    }
    json_decref(cases);
}

/* ---- what must hold of any batch ---- */

/* The tokens of a document, by this file's own rules. */
static int64_t expected(const Corpus *c, CorpusPart part, const DataSequence *q, int32_t *ids, uint8_t *loss)
{
    Document d = {0};
    int64_t n = 0;
    OK(corpus_document(c, part, q->source, q->document, &d, &ok_err));
    if (d.text) {
        if (d.begins)
            ids[n++] = BOS;
        for (size_t k = 0; k < d.size; k++)
            ids[n++] = (unsigned char)d.text[k];
        if (d.ends)
            ids[n++] = EOS;
        memset(loss, 1, (size_t)n);
    }
    for (int64_t m = 0; m < d.message_count; m++) {
        const bool learn = d.messages[m].role == CHAT_ASSISTANT;
        ids[n] = ROLE + (int)d.messages[m].role;
        loss[n++] = 0;
        for (const char *p = d.messages[m].content; *p; p++) {
            ids[n] = (unsigned char)*p;
            loss[n++] = learn;
        }
        ids[n] = CLOSE;
        loss[n++] = learn;
    }
    document_free(&d);
    return n;
}

enum { TOKENS_MAX = 1 << 16 };

static void check_sequence(const Rig *r, CorpusPart part, const DataSequence *q)
{
    static int32_t ids[TOKENS_MAX + 2];
    static uint8_t loss[TOKENS_MAX + 2];
    const DataBatch *b = &r->batch;
    memset(loss, 0, sizeof loss);
    const int64_t n = q->source < 0 ? 0 : expected(r->corpus, part, q, ids, loss);
    assert_int_equal(q->row0 / r->params.length, (q->row0 + q->rows - 1) / r->params.length); /* one bin */
    for (int64_t k = 0; k < q->rows; k++) {
        const int64_t row = q->row0 + k, at = q->first + k;
        assert_int_equal(b->positions[row], k);
        if (q->source < 0) {
            assert_int_equal(b->targets[row], -1);
            assert_int_equal(b->mtp_targets[row], -1);
            continue;
        }
        assert_true(at < n);
        assert_int_equal(b->ids[row], ids[at]);
        assert_int_equal(b->next_ids[row], at + 1 < n ? ids[at + 1] : 0);
        assert_int_equal(b->targets[row], at + 1 < n && loss[at + 1] ? ids[at + 1] : -1);
        assert_int_equal(b->mtp_targets[row], at + 2 < n && loss[at + 2] ? ids[at + 2] : -1);
    }
}

static void check_batch(const Rig *r, CorpusPart part)
{
    const DataBatch *b = &r->batch;
    int64_t row = 0, targets = 0, mtp_targets = 0, used = 0;
    for (int64_t k = 0; k < b->sequence_count; k++) {
        const DataSequence *q = &b->sequences[k];
        assert_int_equal(q->row0, row);
        assert_true(q->rows > 0);
        check_sequence(r, part, q);
        row += q->rows;
        used += q->source >= 0 ? q->rows : 0;
    }
    assert_int_equal(row, b->rows);
    for (row = 0; row < b->rows; row++) {
        targets += b->targets[row] >= 0;
        mtp_targets += b->mtp_targets[row] >= 0;
    }
    assert_int_equal(targets, b->target_count);
    assert_int_equal(mtp_targets, b->mtp_target_count);
    assert_int_equal(used, b->used_rows);
}

/* Text in pieces, conversations, and documents that are made; some held out. */
static Corpus *mixed_corpus(void)
{
    static const char *const text_file = "/mix.txt", *const json_file = "/mix.jsonl";
    static const int64_t lengths[] = {3, 40, 1, 7, 100, 12, 0, 25};
    static const Lengths made = {8, lengths};
    ByteBuf text = {0}, json = {0};
    Rng rng = {77, 1, 0};
    for (int k = 0; k < 200; k++) {
        for (uint64_t n = rng_below(&rng, 150); n > 0; n--)
            OK(bytebuf_printf(&text, "%c", (int)('A' + rng_below(&rng, 26))));
        OK(bytebuf_printf(&text, rng_below(&rng, 6) ? "\n" : "\n<|endoftext|>\n"));
        OK(bytebuf_printf(&json, "{\"messages\": [{\"role\": \"user\", \"content\": \"q%d\"}, ", k));
        OK(bytebuf_printf(&json, "{\"role\": \"assistant\", \"content\": \"%.*s\"}, ", (int)rng_below(&rng, 30),
                          "the answer is some other thing"));
        OK(bytebuf_printf(&json, "{\"role\": \"user\", \"content\": \"\"}]}\n"));
    }
    put_file(text_file, text.data, text.count);
    put_file(json_file, json.data, json.count);
    const CorpusSource sources[] = {
        {.kind = CORPUS_TEXT, .files = &text_file, .file_count = 1, .weight = 2},
        {.kind = CORPUS_JSONL, .files = &json_file, .file_count = 1, .weight = 1},
        {.kind = CORPUS_MADE, .make = make_letters, .arg = &made, .weight = 1},
    };
    bytebuf_free(&text);
    bytebuf_free(&json);
    return open_sources(sources, 3, 0.1, 256);
}

static void batches_hold_whole_documents_side_by_side(void **state)
{
    (void)state;
    for (int64_t length = 2; length <= 128; length *= 4) {
        Rig r;
        rig_open(&r, mixed_corpus(), CORPUS_TRAIN, 5, length);
        int64_t used = 0, rows = 0;
        for (int k = 0; k < 60; k++) {
            OK(data_stream_next(r.stream, &r.batch, &ok_err));
            check_batch(&r, CORPUS_TRAIN);
            used += r.batch.used_rows;
            rows += r.batch.rows;
        }
        assert_true((double)used > 0.98 * (double)rows);
        rig_close(&r);
    }
}

/* Counts how often every token of a training document was an input. */
static void every_token_comes_once_in_a_pass(void **state)
{
    (void)state;
    enum { DOCUMENTS = 2000, LONGEST = 120 };
    static uint8_t seen[DOCUMENTS][LONGEST];
    static int32_t ids[TOKENS_MAX + 2];
    static uint8_t loss[TOKENS_MAX + 2];
    ByteBuf text = {0};
    for (int k = 0; k < DOCUMENTS; k++)
        OK(bytebuf_printf(&text, "document %d %.*s\n<|endoftext|>\n", k, k % 90,
                          "................................................................................................"));
    Rig r;
    rig_open(&r, open_text((char *)text.data, text.count, 256), CORPUS_TRAIN, 4, 64);
    while (data_stream_passes(r.stream, 0) < 0.95) {
        OK(data_stream_next(r.stream, &r.batch, &ok_err));
        for (int64_t k = 0; k < r.batch.sequence_count; k++) {
            const DataSequence *q = &r.batch.sequences[k];
            for (int64_t n = 0; q->source >= 0 && n < q->rows; n++)
                seen[q->document][q->first + n]++;
        }
    }
    int64_t missing = 0, total = 0, lonely = 0; /* missing: what waits in the buffer, and what was not drawn */
    for (int64_t k = 0; k < DOCUMENTS; k++) {
        const DataSequence q = {.document = k};
        const int64_t n = expected(r.corpus, CORPUS_TRAIN, &q, ids, loss);
        for (int64_t i = 0; i < n; i++) {
            assert_true(seen[k][i] <= 1);
            missing += seen[k][i] == 0;
        }
        total += n;
        lonely += n % 64 == 1; /* a last part of one token has nothing to learn and is left out */
    }
    assert_true(missing < total / 4);
    rig_close(&r);
    /* Validation comes wholly, in order, once. */
    static const char *const file = "/t.txt";
    CorpusSource s = text_source(&file);
    s.validation_only = true;
    const CorpusSource two[] = {text_source(&file), s};
    rig_open(&r, open_sources(two, 2, 0, 256), CORPUS_VALIDATION, 4, 64);
    for (int again = 0; again < 2; again++) {
        int64_t tokens = 0;
        do {
            OK(data_stream_next(r.stream, &r.batch, &ok_err));
            check_batch(&r, CORPUS_VALIDATION);
            tokens += r.batch.used_rows;
        } while (r.batch.target_count > 0);
        assert_int_equal(tokens, total - lonely);
        data_stream_rewind(r.stream);
    }
    rig_close(&r);
    bytebuf_free(&text);
}

static void held_out_documents_are_never_trained_on(void **state)
{
    (void)state;
    static const char *const file = "/t.txt";
    ByteBuf text = {0};
    for (int k = 0; k < 500; k++)
        OK(bytebuf_printf(&text, "%d\n<|endoftext|>\n", k));
    put_file(file, text.data, text.count);
    const CorpusSource s = text_source(&file);
    for (int k = 0; k < 4; k++) {
        static const double shares[] = {0, 1e-9, 0.1, 0.5};
        Corpus *c = open_sources(&s, 1, shares[k], 256);
        const int64_t train = corpus_count(c, CORPUS_TRAIN, 0), held_out = corpus_count(c, CORPUS_VALIDATION, 0);
        assert_int_equal(train + held_out, 500);
        assert_true(k == 0 ? held_out == 0 : k == 1 ? held_out == 1 : llabs(held_out - (k == 2 ? 50 : 250)) < 40);
        bool seen[500] = {false};
        for (int64_t i = 0; i < 500; i++) {
            Document d = {0};
            OK(corpus_document(c, i < train ? CORPUS_TRAIN : CORPUS_VALIDATION, 0, i < train ? i : i - train, &d, &ok_err));
            const long number = strtol(d.text, NULL, 10);
            assert_false(seen[number]);
            seen[number] = true;
            document_free(&d);
        }
        corpus_close(c);
    }
    bytebuf_free(&text);
    for (uint64_t seed = 0; seed < 20; seed++) { /* one document always trains */
        put_file(file, "only", 4);
        const CorpusParams p = {&world->files, &s, 1, 0.5, seed, 256};
        Corpus *c = NULL;
        OK(corpus_open(&c, &p, &ok_err));
        assert_int_equal(corpus_count(c, CORPUS_TRAIN, 0), 1);
        corpus_close(c);
    }
}

static void sources_are_drawn_by_weight(void **state)
{
    (void)state;
    Rig r;
    DataCursor cursor = {0};
    rig_open(&r, mixed_corpus(), CORPUS_TRAIN, 8, 512);
    for (int k = 0; k < 100; k++)
        OK(data_stream_next(r.stream, &r.batch, &ok_err));
    OK(data_stream_save(r.stream, &cursor, &ok_err));
    const double draws = (double)cursor.values[8];
    assert_true(draws > 2000);
    for (int k = 0; k < 3; k++)
        assert_true(fabs((double)cursor.values[10 + k] / draws - (k ? 0.25 : 0.5)) < 0.03);
    data_cursor_free(&cursor);
    rig_close(&r);
}

/* ---- the cursor ---- */

static void assert_same_batch(const DataBatch *a, const DataBatch *b)
{
    const size_t bytes = (size_t)a->rows * sizeof *a->ids;
    assert_memory_equal(a->ids, b->ids, bytes);
    assert_memory_equal(a->targets, b->targets, bytes);
    assert_memory_equal(a->next_ids, b->next_ids, bytes);
    assert_memory_equal(a->mtp_targets, b->mtp_targets, bytes);
    assert_int_equal(a->sequence_count, b->sequence_count);
    assert_memory_equal(a->sequences, b->sequences, (size_t)a->sequence_count * sizeof *a->sequences);
}

static void a_restored_cursor_gives_the_same_batches(void **state)
{
    (void)state;
    Rig a, b;
    DataCursor cursor = {0};
    rig_open(&a, mixed_corpus(), CORPUS_TRAIN, 3, 48);
    rig_open(&b, mixed_corpus(), CORPUS_TRAIN, 3, 48);
    for (int k = 0; k < 40; k++) {
        OK(data_stream_save(a.stream, &cursor, &ok_err));
        OK(data_stream_restore(b.stream, cursor.values, (int64_t)cursor.count, &ok_err));
        for (int n = 0; n < (k % 20 == 19 ? 300 : 1 + k % 3); n++) { /* at times past all that waited */
            OK(data_stream_next(a.stream, &a.batch, &ok_err));
            OK(data_stream_next(b.stream, &b.batch, &ok_err));
            assert_same_batch(&a.batch, &b.batch);
        }
    }
    data_stream_rewind(b.stream);
    DataBatch first = b.batch;
    OK(data_batch_init(&b.batch, &b.params, &ok_err));
    OK(data_stream_next(b.stream, &b.batch, &ok_err));
    assert_int_equal(b.batch.sequences[0].source == first.sequences[0].source &&
                     b.batch.sequences[0].document == first.sequences[0].document, false);
    data_batch_free(&first);
    data_cursor_free(&cursor);
    rig_close(&a);
    rig_close(&b);
}

static void a_cursor_of_other_data_is_refused(void **state)
{
    (void)state;
    Rig r;
    DataCursor cursor = {0};
    Error err;
    rig_open(&r, open_text("one\ntwo\n", 8, 256), CORPUS_TRAIN, 2, 4);
    OK(data_stream_next(r.stream, &r.batch, &ok_err));
    OK(data_stream_save(r.stream, &cursor, &ok_err));
    rig_close(&r);
    rig_open(&r, open_text("one\ntwO\n", 8, 256), CORPUS_TRAIN, 2, 4);
    assert_int_equal(data_stream_restore(r.stream, cursor.values, (int64_t)cursor.count, &err), ST_MISMATCH);
    assert_non_null(strstr(err.msg, "data has changed"));
    rig_close(&r);
    rig_open(&r, open_text("one\ntwo\n", 8, 256), CORPUS_TRAIN, 2, 8);
    assert_int_equal(data_stream_restore(r.stream, cursor.values, (int64_t)cursor.count, &err), ST_MISMATCH);
    rig_close(&r);
    /* Numbers that lie are refused or make a stream that works; cut ones are refused. */
    rig_open(&r, open_text("one\ntwo\n", 8, 256), CORPUS_TRAIN, 2, 4);
    Rng rng = {4, 1, 0};
    for (size_t n = 0; n < cursor.count; n++)
        assert_int_not_equal(data_stream_restore(r.stream, cursor.values, (int64_t)n, NULL), ST_OK);
    for (int k = 0; k < 3000; k++) {
        const size_t at = (size_t)rng_below(&rng, k % 2 ? cursor.count : 24);
        const int64_t before = cursor.values[at];
        cursor.values[at] = k % 3 ? (int64_t)rng_bits(&rng) : before + (k % 5) - 2;
        if (data_stream_restore(r.stream, cursor.values, (int64_t)cursor.count, NULL) == ST_OK)
            OK(data_stream_next(r.stream, &r.batch, &ok_err));
        cursor.values[at] = before;
    }
    rig_close(&r);
    data_cursor_free(&cursor);
}

/* ---- failures ---- */

static void nothing_to_learn_is_an_error(void **state)
{
    (void)state;
    static const char *const file = "/q.jsonl";
    static const char line[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"hm\"}]}\n";
    Error err;
    Rig r;
    put_file(file, line, sizeof line - 1);
    const CorpusSource s = {.kind = CORPUS_JSONL, .files = &file, .file_count = 1};
    rig_open(&r, open_sources(&s, 1, 0, 256), CORPUS_TRAIN, 2, 4);
    assert_int_equal(data_stream_next(r.stream, &r.batch, &err), ST_INVALID);
    assert_non_null(strstr(err.msg, "nothing to learn"));
    data_stream_destroy(r.stream);
    r.params.chat = NULL;
    OK(data_stream_create(&r.stream, &r.params, CORPUS_TRAIN, &ok_err));
    assert_int_equal(data_stream_next(r.stream, &r.batch, &err), ST_UNSUPPORTED);
    assert_int_equal(strncmp(err.msg, "/q.jsonl:1: messages, but", 25), 0);
    rig_close(&r);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    Corpus *c = mixed_corpus();
    corpus_close(c);
    for (int64_t n = 1;; n += n < 100 ? 1 : 37) {
        static const char *const text_file = "/mix.txt", *const json_file = "/mix.jsonl";
        const CorpusSource sources[] = {{.kind = CORPUS_TEXT, .files = &text_file, .file_count = 1},
                                        {.kind = CORPUS_JSONL, .files = &json_file, .file_count = 1}};
        const CorpusParams p = {&world->files, sources, 2, 0.1, 5, 256};
        DataParams d = {NULL, NULL, (const ChatFormat *)&world, -1, EOS, 2, 32, 1};
        DataStream *s = NULL;
        DataBatch b = {0};
        DataCursor cursor = {0};
        c = NULL;
        mem_fail_at(n);
        Status st = corpus_open(&c, &p, NULL);
        d.corpus = c;
        st = st == ST_OK ? data_stream_create(&s, &d, CORPUS_TRAIN, NULL) : st;
        st = st == ST_OK ? data_batch_init(&b, &d, NULL) : st;
        st = st == ST_OK ? data_stream_next(s, &b, NULL) : st;
        st = st == ST_OK ? data_stream_save(s, &cursor, NULL) : st;
        st = st == ST_OK ? data_stream_restore(s, cursor.values, (int64_t)cursor.count, NULL) : st;
        mem_fail_at(0);
        data_stream_destroy(s);
        data_batch_free(&b);
        data_cursor_free(&cursor);
        corpus_close(c);
        if (st == ST_OK)
            break;
        assert_int_equal(st, ST_NOMEM);
    }
}

static int make_world(void **state)
{
    (void)state;
    world = world_create(1);
    return 0;
}

static int drop_world(void **state)
{
    (void)state;
    world_destroy(world);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_cut_at_separators),
        cmocka_unit_test(long_text_is_cut_at_line_ends_and_loses_nothing),
        cmocka_unit_test(bytes_that_are_not_utf8_become_replacements),
        cmocka_unit_test(json_lines_are_texts_and_messages),
        cmocka_unit_test(errors_of_json_lines_name_file_and_line),
        cmocka_unit_test(shuffling_is_a_permutation_of_its_own_in_every_pass),
        cmocka_unit_test(packing_is_that_of_the_independent_script),
        cmocka_unit_test(batches_hold_whole_documents_side_by_side),
        cmocka_unit_test(every_token_comes_once_in_a_pass),
        cmocka_unit_test(held_out_documents_are_never_trained_on),
        cmocka_unit_test(sources_are_drawn_by_weight),
        cmocka_unit_test(a_restored_cursor_gives_the_same_batches),
        cmocka_unit_test(a_cursor_of_other_data_is_refused),
        cmocka_unit_test(nothing_to_learn_is_an_error),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, make_world, drop_world);
}
