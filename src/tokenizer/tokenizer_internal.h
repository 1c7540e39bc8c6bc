/* The tokenizer's parts, shared by its loaders and tests. */
#ifndef PLUMB_TOKENIZER_TOKENIZER_INTERNAL_H
#define PLUMB_TOKENIZER_TOKENIZER_INTERNAL_H

#include "tokenizer/added.h"
#include "tokenizer/bpe.h"
#include "tokenizer/split.h"
#include "tokenizer/tokenizer.h"

struct Tokenizer {
    Bpe bpe;
    Added added;
    Splitter splitter;
    bool nfc;
    IdBuf before, after; /* what TOKENIZER_BOS puts around a text */
    int32_t bos, eos, eot;
};

/* Zeroed, with no ids known; NULL without memory. */
Tokenizer *tokenizer_alloc(void);

/* Give an added token the id that the reference library would: that of the same text among the added
 * tokens or in the vocabulary, else the next one behind both; then add it. Empty texts are ignored. */
MUST_USE Status tokenizer_add_token(Tokenizer *t, AddedToken token, Str content, Error *err);

/* After all tokens, merges and steps. */
MUST_USE Status tokenizer_finish(Tokenizer *t, Error *err);

#endif
