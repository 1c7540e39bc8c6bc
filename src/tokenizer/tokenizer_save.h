/* Writing a tokenizer as the files of a Hugging Face directory, from whatever it was read from: a
 * tokenizer.json, GGUF keys, or the trainer. What is written gives the same ids in the reference library, in
 * what loads such directories, and when it is read back here.
 *
 * Where the tokenizer came from a directory its own files say more (comments of templates, tokens of tools); they
 * are copied as they are (train/export.h). Nothing here syncs a directory; that is the caller's. */
#ifndef PLUMB_TOKENIZER_TOKENIZER_SAVE_H
#define PLUMB_TOKENIZER_TOKENIZER_SAVE_H

#include "base/buf.h"
#include "base/fileio.h"
#include "base/kv.h"
#include "tokenizer/tokenizer.h"

/* What tokenizer_config.json says beyond the tokenizer. */
typedef struct {
    Str chat_template;   /* Jinja, as the model has it; {NULL, 0}: none */
    int64_t context_max; /* the longest text the model takes; 0: not said */
    int32_t pad;         /* the token that fills batches; −1: none */
} TokenizerExtras;

/* Append a tokenizer.json to *out: vocabulary with its ids, merges by rank, added tokens with their flags,
 * normaliser, pre-tokenizer with the patterns' texts, what TOKENIZER_BOS adds. */
MUST_USE Status tokenizer_write(const Tokenizer *t, ByteBuf *out, Error *err);

/* Append a tokenizer_config.json: bos, eos, pad and the other special tokens, the template. */
MUST_USE Status tokenizer_write_config(const Tokenizer *t, const TokenizerExtras *extras, ByteBuf *out, Error *err);

/* Both, as new files of the directory `dir`, which exists. */
MUST_USE Status tokenizer_save(const Tokenizer *t, const TokenizerExtras *extras, const Files *fs, const char *dir,
                               Error *err);

#endif
