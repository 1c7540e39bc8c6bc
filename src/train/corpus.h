/* Where training text comes from, as numbered documents: text files, JSON Lines, and functions that make them.
 *
 * Files are mapped and indexed by offsets (16 bytes a document), never loaded. Opening reads every byte once:
 * it finds the documents, checks all JSON Lines, takes a digest of what it saw and sets the documents for
 * validation apart, so that nothing about the data can surprise a run later.
 *
 * Text files: a document ends at a line that is "<|endoftext|>" and at the end of the file. A document is
 * handed out in pieces of at most piece_bytes, cut at line ends where there are any; documents below are such
 * pieces. JSON Lines: one document a line, {"text": …} or {"messages": [{"role", "content", "thinking"}…]}, the last also
 * as "reasoning_content".
 *
 * Immutable after open; any thread. */
#ifndef PLUMB_TRAIN_CORPUS_H
#define PLUMB_TRAIN_CORPUS_H

#include "base/arena.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/fileio.h"
#include "chat/chat.h"

#include <stddef.h>
#include <stdint.h>

#define CORPUS_SOURCES_MAX 64
#define CORPUS_FILES_MAX 4096
#define CORPUS_PIECE_BYTES_MIN 256
#define CORPUS_LINE_BYTES_MAX (16u << 20) /* of a line of JSON Lines */

/* One document: a text, or messages. Zero-initialise; document_free after use. */
typedef struct {
    Arena arena;             /* owns everything below */
    const char *text;        /* UTF-8; NULL: messages */
    size_t size;
    bool begins, ends;       /* the text is the first, the last piece of its document */
    ChatMessage *messages;
    int64_t message_count;
} Document;

void document_free(Document *d);

/* A source that makes its documents. Pure: the same number gives the same document. Documents that are held
 * out are for validation. Texts are allocated from out->arena. */
typedef Status (*DocumentFn)(const void *arg, bool held_out, int64_t number, Document *out, Error *err);

typedef enum { CORPUS_TEXT, CORPUS_JSONL, CORPUS_MADE } CorpusKind;

typedef struct {
    CorpusKind kind;
    const char *const *files; /* TEXT and JSONL */
    int64_t file_count;
    DocumentFn make;          /* MADE */
    const void *arg;          /* borrowed until close */
    double weight;            /* > 0 for all, or 0 for all: by the number of documents */
    bool validation_only;     /* all its documents are held out */
} CorpusSource;

typedef struct {
    const Files *fs;
    const CorpusSource *sources;
    int64_t source_count;
    double share;  /* of the documents of files, held out for validation: about so many, at least one of two */
    uint64_t seed; /* decides which */
    int64_t piece_bytes; /* at least CORPUS_PIECE_BYTES_MIN */
} CorpusParams;

typedef enum { CORPUS_TRAIN, CORPUS_VALIDATION } CorpusPart;

typedef struct Corpus Corpus;

/* Errors name the file, of JSON Lines also the line. No document to train on: ST_INVALID. */
MUST_USE Status corpus_open(Corpus **out, const CorpusParams *params, Error *err);
void corpus_close(Corpus *c); /* NULL is fine */

/* Documents of a source in a part. A source that makes its documents has CORPUS_ENDLESS for training and
 * CORPUS_HELD_OUT for validation. */
#define CORPUS_ENDLESS ((int64_t)1 << 40)
#define CORPUS_HELD_OUT 1000
int64_t corpus_sources(const Corpus *c);
int64_t corpus_count(const Corpus *c, CorpusPart part, int64_t source);

/* How often to draw from a source for training: its weight, or its number of documents. */
double corpus_weight(const Corpus *c, int64_t source);

/* Document `number` of a source in a part; *out is zeroed or freed. Errors name file and line. */
MUST_USE Status corpus_document(const Corpus *c, CorpusPart part, int64_t source, int64_t number, Document *out,
                                Error *err);

/* Puts "FILE:LINE: " of a document in front of what err says (of made documents the number). */
Status corpus_blame(const Corpus *c, CorpusPart part, int64_t source, int64_t number, Status st, Error *err);

/* SHA-256 over all files and what decides how they are cut: equal digests mean equal documents. */
const char *corpus_digest(const Corpus *c);

/* Texts have this many bytes that are not UTF-8; each ill-formed sequence is handed out as U+FFFD. */
int64_t corpus_bad_bytes(const Corpus *c);

#endif
