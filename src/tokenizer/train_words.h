/* Counting the different pieces of texts: the first half of training. */
#ifndef PLUMB_TOKENIZER_TRAIN_WORDS_H
#define PLUMB_TOKENIZER_TRAIN_WORDS_H

#include "base/error.h"
#include "base/kv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *bytes; /* borrowed: lies in a text; NULL: an empty slot */
    size_t len;
    uint64_t hash;
    int64_t count;
} Word;

/* An open-addressing table, at most half full. */
typedef struct {
    Word *slots; /* owned */
    size_t cap, count;
} WordTable;

void words_deinit(WordTable *t); /* zeroed or twice is fine */

/* Count the pieces of all texts, cut at the special tokens, with this many threads; single_digits: train.h. The texts stay
 * borrowed by the table. The order of the slots depends on the threads, the contents do not. */
MUST_USE Status words_count(WordTable *out, const Str *texts, size_t count, const Str *special, size_t special_count,
                            bool single_digits, int threads, Error *err);

#endif
