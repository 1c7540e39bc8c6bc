/* Training a byte-level BPE tokenizer.
 *
 * Texts are cut at special tokens and into GPT-2 pieces; each piece begins as its bytes; then, again and
 * again, the adjacent pair of tokens that occurs most often becomes a token (of equally frequent pairs
 * the one with the smaller ids, left before right), until the vocabulary is full or no pair is left. A
 * pair whose text is longer than BPE_TOKEN_BYTES_MAX is passed over.
 * The result depends on the texts alone, not on the number of threads, and is what the reference
 * library's own trainer makes of the same pieces. */
#ifndef PLUMB_TOKENIZER_TRAIN_H
#define PLUMB_TOKENIZER_TRAIN_H

#include "base/buf.h"
#include "base/error.h"
#include "base/kv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t vocab_size;  /* special tokens, 256 bytes, then one token a merge */
    const Str *special;  /* ids 0, 1, …; never part of a merge; borrowed until return */
    size_t special_count;
    bool single_digits;  /* every numeric character is a piece of its own, as the reference's Digits step cuts */
    int threads;         /* 1 … POOL_THREADS_MAX, for cutting and counting */
} TrainParams;

/* Train on texts (valid UTF-8; ST_INVALID with text and offset otherwise) and append a tokenizer.json to
 * *out, that tokenizer_from_json and the reference library read. ST_INVALID for a vocabulary that is too
 * small; a text too small for the vocabulary only makes a smaller one. */
MUST_USE Status tokenizer_train(const Str *texts, size_t count, const TrainParams *params, ByteBuf *out, Error *err);

#endif
