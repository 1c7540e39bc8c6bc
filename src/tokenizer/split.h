/* Pre-tokenisation: a text becomes pieces, by a sequence of steps that each cut the pieces of the one
 * before. A Splitter is built once and immutable then; any thread. A SplitRun walks one text. */
#ifndef PLUMB_TOKENIZER_SPLIT_H
#define PLUMB_TOKENIZER_SPLIT_H

#include "base/buf.h"
#include "base/error.h"
#include "tokenizer/pattern.h"
#include "tokenizer/scan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPLIT_STEPS_MAX 16

/* What becomes of the matches of a pattern, as the reference library names it. */
typedef enum {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS,
} SplitBehavior;

typedef struct {
    ScanFn scan;      /* either a scanner */
    Pattern *pattern; /* or a compiled pattern, owned; or neither: no cut here */
    SplitBehavior behavior;
    bool invert;
    bool prefix_space; /* first put a space in front of a piece that does not start with one */
} SplitStep;

typedef struct {
    SplitStep step[SPLIT_STEPS_MAX];
    int count;
} Splitter;

/* Add a step; `step` and its pattern are transferred, on failure too (the pattern is destroyed then). */
MUST_USE Status splitter_add(Splitter *x, SplitStep step, Error *err);
/* Add a step for a pattern's text: a scanner where there is one. */
MUST_USE Status splitter_add_pattern(Splitter *x, const char *text, size_t len, bool literal,
                                     SplitBehavior behavior, bool invert, Error *err);
void splitter_deinit(Splitter *x); /* zeroed or twice is fine */

/* One step's view of the piece it is cutting. */
typedef struct {
    const uint8_t *s;
    size_t begin, at, end;
    size_t match_start, match_stop; /* a match found while its gap was handed out */
    bool pending;
    size_t peek_start, peek_stop; /* a piece taken ahead and put back */
    bool peeked, peek_is_match;
    ByteBuf copy; /* of the piece, with its prefix space */
} SplitLevel;

typedef struct {
    const Splitter *splitter; /* borrowed */
    int depth;
    int64_t steps; /* budget of the compiled patterns */
    const uint8_t *whole; /* a text without any steps, handed out once */
    size_t whole_size;
    SplitLevel level[SPLIT_STEPS_MAX];
} SplitRun;

/* A run lives on for many texts: init once, start for each, deinit at the end. */
void split_init(SplitRun *r, const Splitter *x);
void split_deinit(SplitRun *r);
/* Begin with s[0..n), valid UTF-8, borrowed until the last split_next. */
MUST_USE Status split_start(SplitRun *r, const uint8_t *s, size_t n, Error *err);
/* The next piece, never empty, borrowed until the next call; *n is 0 after the last one. */
MUST_USE Status split_next(SplitRun *r, const uint8_t **piece, size_t *n, Error *err);

#endif
