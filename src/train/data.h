/* Batches of packed sequences from a corpus, the same ones on every machine and after every resume.
 *
 * A batch has `batch` bins of `length` rows. A bin holds whole documents side by side; only a document
 * longer than a bin is cut, and its parts are sequences of their own. A sequence sees nothing but itself.
 * Each bin takes the part that has waited longest, then again and again the largest that still fits
 * (best fit over a buffer of DATA_BUFFER_PARTS); what stays free is padding.
 *
 * Which document comes next is a function of (seed, how many came before): with several sources one is
 * drawn by weight, and each source is gone through in a new random order in every pass. */
#ifndef PLUMB_TRAIN_DATA_H
#define PLUMB_TRAIN_DATA_H

#include "base/error.h"
#include "chat/chat.h"
#include "tokenizer/tokenizer.h"
#include "train/corpus.h"

#include <stdint.h>

#define DATA_BUFFER_PARTS 512

typedef struct {
    int64_t row0, rows;
    int64_t source;   /* of the corpus; -1: padding */
    int64_t document; /* number in the source and part of the corpus */
    int64_t first;    /* place of row row0 among the document's tokens; in the sequence it is position 0 */
} DataSequence;

/* Rows are all bins one after the other. Sequences tile them, in order, padding included; a target of -1
 * takes no part in the loss: at the end of a document, where the next token is not to be learnt (words
 * that are not the assistant's), and in padding. */
typedef struct {
    int64_t rows;
    int32_t *ids;         /* [rows] owned */
    int32_t *targets;     /* [rows] owned: the next id, or -1 */
    int32_t *next_ids;    /* [rows] owned: the next id even where it is no target; 0 behind a document's last */
    int32_t *mtp_targets; /* [rows] owned: the id after the next, or -1 */
    int32_t *positions;   /* [rows] owned: in the sequence, from 0 */
    DataSequence *sequences; /* owned */
    int64_t sequence_count;
    int64_t target_count, mtp_target_count; /* that are not -1 */
    int64_t used_rows;                      /* that are no padding */
} DataBatch;

typedef struct {
    const Corpus *corpus;       /* borrowed until destroy, and so are these two: */
    const Tokenizer *tokenizer;
    const ChatFormat *chat;     /* NULL: messages are an error */
    int32_t bos_id, eos_id;     /* put around a text; -1: none */
    int64_t batch, length;
    uint64_t seed;
} DataParams;

typedef struct DataStream DataStream; /* one thread at a time */

/* CORPUS_TRAIN: without end. CORPUS_VALIDATION: each document once, in order; behind the last one batches
 * have no sequence but padding (target_count 0). */
MUST_USE Status data_stream_create(DataStream **out, const DataParams *params, CorpusPart part, Error *err);
void data_stream_destroy(DataStream *s); /* NULL is fine */

MUST_USE Status data_batch_init(DataBatch *b, const DataParams *params, Error *err);
void data_batch_free(DataBatch *b); /* zeroed is fine */

/* The next batch. Errors are those of documents, by file and line; ST_INVALID when no document has
 * anything to learn. After an error only restore, rewind and destroy make sense. */
MUST_USE Status data_stream_next(DataStream *s, DataBatch *b, Error *err);

/* Back to the beginning, for the next evaluation. */
void data_stream_rewind(DataStream *s);

/* Passes over a source so far, as a fraction; 0 for sources without end. */
double data_stream_passes(const DataStream *s, int64_t source);

/* Where the stream stands, as numbers for a tensor: format in docs/FORMATS.md. The parts that wait in the
 * buffer are saved as their places, and are made again from the corpus. */
typedef struct {
    int64_t *values; /* owned */
    size_t count, cap;
} DataCursor;

void data_cursor_free(DataCursor *c); /* zeroed is fine */
MUST_USE Status data_stream_save(const DataStream *s, DataCursor *out, Error *err);

/* Go to a saved place: the next batch is the one that would have followed there. ST_MISMATCH when the data or
 * its order has changed since; ST_CORRUPT. On failure the stream is at its beginning. */
MUST_USE Status data_stream_restore(DataStream *s, const int64_t *values, int64_t count, Error *err);

/* Number `i` of a random order of 0 … n-1, for tests too: the order is a function of (seed, stream). */
int64_t data_shuffled(int64_t i, int64_t n, uint64_t seed, uint64_t stream);

#endif
