/* Byte-level BPE tokenizers: text → ids → bytes, with the ids of the reference library
 * (Hugging Face `tokenizers` 0.23) on any valid UTF-8.
 *
 * A tokenizer comes from a tokenizer.json, from a Hugging Face directory that holds one, or from the
 * keys of a GGUF file. What it understands of them is listed at the functions below; anything else is
 * an ST_UNSUPPORTED error that names the thing, never a silent approximation.
 *
 *   text → added tokens cut out → normaliser (none, NFC) → pre-tokenizer (scanners of the published
 *   patterns) → bytes → BPE merges per piece → post-processor (BOS and the like)
 *
 * A Tokenizer is immutable after create (inside it remembers, in atomic bytes, which vocabulary entries
 * it has already verified); any number of threads may use it at once. */
#ifndef PLUMB_TOKENIZER_TOKENIZER_H
#define PLUMB_TOKENIZER_TOKENIZER_H

#include "base/buf.h"
#include "base/error.h"
#include "base/kv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Tokenizer Tokenizer;

/* Added tokens are never looked for inside the bytes of ordinary pieces; which of them are recognised in
 * a text is the caller's decision, because text of users must not be able to forge a turn:
 *   TOKENIZER_SPECIAL   as the reference's encode(): special and ordinary added tokens are recognised
 *   0                   ordinary added tokens only (the reference's encode_special_tokens = True)
 *   TOKENIZER_PLAIN     none at all: every byte of the text goes through the model's pieces.
 *                       For text of users: some files (DeepSeek R1) mark their role tokens not special. */
enum {
    TOKENIZER_SPECIAL = 1,
    TOKENIZER_PLAIN = 2,
    TOKENIZER_BOS = 4, /* add what the post-processor (or add_bos_token / add_eos_token) says */
};

/* ---- open and close ---------------------------------------------------------------------------- */

/* Read a tokenizer from `path`: a tokenizer.json, or a directory with one (there tokenizer_config.json
 * is read as well, if it is there: bos_token, eos_token, add_bos_token, add_eos_token). *out is owned.
 *
 * Understood of a tokenizer.json: normalizer NFC and Sequence; pre_tokenizer Split (every behaviour;
 * published patterns by hand-written scanners, others as pattern.h says), Digits, ByteLevel, Sequence;
 * model BPE without dropout, prefix and suffix; post_processor ByteLevel, TemplateProcessing, Sequence.
 * truncation and padding are ignored, as what loads such files for language models does. As in the
 * reference, ids of added tokens come from the vocabulary or are counted up behind it. */
MUST_USE Status tokenizer_open(Tokenizer **out, const char *path, Error *err);
MUST_USE Status tokenizer_open_json(Tokenizer **out, const char *path, Error *err);

/* The same from memory; `data` is borrowed until return. */
MUST_USE Status tokenizer_from_json(Tokenizer **out, const uint8_t *data, size_t size, Error *err);

/* From the tokenizer.ggml.* keys of a GGUF file; `keys` is borrowed until return. tokenizer.ggml.model
 * must be "gpt2"; tokenizer.ggml.pre chooses the pre-tokenizer. */
MUST_USE Status tokenizer_from_kv(Tokenizer **out, const Kv *keys, Error *err);

void tokenizer_destroy(Tokenizer *t); /* NULL is fine */

/* ---- text → ids -------------------------------------------------------------------------------- */

/* Append the ids of text[0..len) to *out. flags: above. ST_INVALID when the text is not valid UTF-8 (the
 * message says at which byte); on failure *out has its old count. Cost: O(n log n) in the longest piece. */
MUST_USE Status tokenizer_encode(const Tokenizer *t, const char *text, size_t len, unsigned flags,
                                 IdBuf *out, Error *err);

/* ---- ids → bytes ------------------------------------------------------------------------------- */

/* The bytes of one id, borrowed until destroy: what it adds to the text. A token of the model is read in
 * the byte-level alphabet where it can be; a token that was only added stands for its literal text (the
 * reference reads it in that alphabet too, which garbles an added "é"). {NULL, 0}: no such id. */
Str tokenizer_id_bytes(const Tokenizer *t, int32_t id);

/* Append the bytes of the ids. skip_special leaves special tokens out. Ids outside the vocabulary are
 * ST_INVALID. The bytes need not be valid UTF-8, if the ids are not those of a text. */
MUST_USE Status tokenizer_decode(const Tokenizer *t, const int32_t *ids, int64_t count, bool skip_special,
                                 ByteBuf *out, Error *err);

/* Streaming decode that never emits half a character: bytes that may be the start of one are held back
 * until the next push or the flush. What is emitted is always valid UTF-8: each maximal ill-formed
 * sequence, at the flush also an unfinished one, becomes U+FFFD (as the reference's decode()). All
 * pieces together equal the U+FFFD-repaired tokenizer_decode of all ids, however they were pushed.
 * A plain record, no memory of its own; zero-initialise through tokenstream_init. One thread at a time. */
typedef struct {
    const Tokenizer *tokenizer; /* borrowed until the last push */
    bool skip_special;
    uint8_t held[4];
    int held_count;
} TokenStream;

void tokenstream_init(TokenStream *s, const Tokenizer *t, bool skip_special);
/* Append what has become certain to *out (perhaps nothing). ST_INVALID for an id outside the vocabulary. */
MUST_USE Status tokenstream_push(TokenStream *s, int32_t id, ByteBuf *out, Error *err);
MUST_USE Status tokenstream_flush(TokenStream *s, ByteBuf *out, Error *err);

/* ---- vocabulary -------------------------------------------------------------------------------- */

/* One more than the largest id (ids in between may be unused). */
int64_t tokenizer_vocab_size(const Tokenizer *t);

/* The token's text as the file spells it ("Ġthe"); borrowed until destroy; {NULL, 0}: no such id. */
Str tokenizer_piece(const Tokenizer *t, int32_t id);

/* The id of a token spelled as in the file, -1 when there is none. Added tokens win over the model's. */
int32_t tokenizer_find(const Tokenizer *t, const char *text, size_t len);

bool tokenizer_is_special(const Tokenizer *t, int32_t id); /* false for ids outside the vocabulary */
bool tokenizer_is_added(const Tokenizer *t, int32_t id);   /* special or ordinary added token */

/* -1 when the source does not name one. tokenizer.json alone names none: bos is then the one token that
 * the post-processor puts in front, if any. eot: end of a turn, GGUF's eot_token_id. */
int32_t tokenizer_bos(const Tokenizer *t);
int32_t tokenizer_eos(const Tokenizer *t);
int32_t tokenizer_eot(const Tokenizer *t);

/* Whether TOKENIZER_BOS puts anything in front of a text. */
bool tokenizer_adds_bos(const Tokenizer *t);

#endif
