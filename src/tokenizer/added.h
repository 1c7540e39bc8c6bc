/* Added tokens: texts that are cut out of the input before anything else and become one id each.
 *
 * As in the reference library: of the tokens that begin at the leftmost place the longest wins; tokens
 * not "normalized" are looked for in the raw text, the others in the normalised text between those, in
 * their own normalised form; ids are given by the vocabulary, or counted up behind it. Built by one
 * thread, then immutable. */
#ifndef PLUMB_TOKENIZER_ADDED_H
#define PLUMB_TOKENIZER_ADDED_H

#include "base/buf.h"
#include "base/error.h"
#include "base/kv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDED_TOKENS_MAX 32768

typedef struct {
    size_t text, text_len; /* the content, in Added.texts */
    int32_t id;
    bool special, single_word, lstrip, rstrip, normalized;
} AddedToken;

typedef struct {
    Str text; /* as it is looked for: normalised where the token says so */
    int32_t token;
} AddedPattern;

/* Patterns sorted by bytes; all that start with byte b lie at first[b] … first[b + 1] - 1. */
typedef struct {
    AddedPattern *patterns; /* owned */
    int32_t count;
    int32_t first[257];
    int only; /* the one byte that patterns start with, or -1 */
} AddedSet;

typedef struct {
    AddedToken *tokens; /* owned */
    size_t count, cap;
    ByteBuf texts;
    AddedSet raw, normalized;
    int32_t *by_id; /* owned: token number by id, or -1; the last of several */
    int64_t id_count;
} Added;

/* Add a token, whose id the caller has found; the content is copied. */
MUST_USE Status added_add(Added *a, AddedToken token, Str content, Error *err);
/* After the last token: build the sets. nfc: the normaliser. */
MUST_USE Status added_finish(Added *a, bool nfc, Error *err);
void added_deinit(Added *a);

/* The token with this id, or NULL. */
const AddedToken *added_by_id(const Added *a, int64_t id);
/* The token with this content, or NULL; also while building. */
AddedToken *added_by_content(const Added *a, Str content);
/* Borrowed until the next added_add; for good after added_finish. */
Str added_content(const Added *a, const AddedToken *token);

/* A walk over one text. */
typedef struct {
    const Added *added;
    const AddedSet *set;
    const uint8_t *s;
    size_t n, scan, done;
    bool special; /* special tokens are recognised too */
} AddedWalk;

void added_walk_init(AddedWalk *w, const Added *a, const AddedSet *set, bool special, const uint8_t *s, size_t n);

/* The next stretch of ordinary text s[*start..*stop), perhaps empty, and the added token behind it (NULL
 * at the end of the text). False when there is nothing more. */
bool added_walk_next(AddedWalk *w, size_t *start, size_t *stop, const AddedToken **token);

#endif
