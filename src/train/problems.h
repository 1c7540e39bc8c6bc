/* Problems that Plumb makes up itself: a question, the work written out step by step, the answer.
 *
 * A problem is a pure function of (kind, size, split, seed, index), so a stream of them needs no file, can be
 * read from any place and by any number of threads. Questions come in many wordings; the work of one kind
 * always has the same shape (problem_work.h), short lines of which each needs only a few tokens before it.
 *
 * Unseen by construction: a hash of the operands (for a sum or a product of the pair in either order) says of
 * every calculation whether it belongs to the test split, one in sixteen does. A training text contains no
 * calculation of the test split, not in a word problem and not as a part of a longer one either; a problem of the test
 * split is one whose (first) calculation belongs to it. Which numbers are compared, sorted or searched is hashed
 * as the sorted list of them. Ordinary questions: the test split is a list of 100 that no training wording makes. */
#ifndef PLUMB_TRAIN_PROBLEMS_H
#define PLUMB_TRAIN_PROBLEMS_H

#include "base/buf.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* kind, name, smallest size, largest usual one (what the embedded model is meant for), largest size, what the
 * size is, parts of a mixed stream in thousandths */
#define PROBLEM_KINDS(X)                                                             \
    X(ADD, "add", 1, 5, 9, "digits of the longer number", 170)                       \
    X(SUB, "sub", 1, 5, 9, "digits of the longer number", 170)                       \
    X(MUL, "mul", 1, 3, 9, "digits of the number that one digit multiplies", 120)    \
    X(MUL2, "mul2", 1, 3, 4, "digits of the number that two digits multiply", 80)    \
    X(COMPARE, "compare", 1, 5, 9, "digits of the longer number", 80)                \
    X(SORT, "sort", 2, 6, 8, "numbers, of up to three digits", 130)                  \
    X(EXTREME, "extreme", 3, 6, 8, "numbers, of up to three digits", 40)             \
    X(PARITY, "parity", 2, 5, 9, "digits", 20)                                       \
    X(WORD, "word", 1, 3, 4, "digits of the longer number", 120)                     \
    X(WORD2, "word2", 1, 3, 3, "digits of the longest number", 30)                   \
    X(CHAT, "chat", 1, 1, 1, "has no meaning", 40)

typedef enum {
#define X(kind, name, min, usual, max, what, parts) PROBLEM_##kind,
    PROBLEM_KINDS(X)
#undef X
    PROBLEM_KIND_COUNT
} ProblemKind;

typedef struct {
    const char *name;
    int size_min, size_usual, size_max;
    const char *size_means;
    int parts;
} ProblemKindInfo;

const ProblemKindInfo *problem_kind_info(ProblemKind kind);
/* ST_USAGE names the word and the kinds there are. */
MUST_USE Status problem_kind_parse(ProblemKind *out, const char *name, Error *err);

typedef enum { PROBLEM_TRAIN, PROBLEM_TEST } ProblemSplit;

/* Zero-initialise; may be used again and again; problem_free at the end. Texts are UTF-8 and terminated. */
typedef struct {
    ProblemKind kind;
    int size;
    ByteBuf question, thinking, answer; /* owned; count without the terminating zero */
} Problem;

void problem_free(Problem *p); /* zeroed or twice is fine */

/* Problem number `index` of its stream. A size out of range: ST_INVALID with the range. */
MUST_USE Status problem_make(Problem *p, ProblemKind kind, int size, ProblemSplit split, uint64_t seed,
                             uint64_t index, Error *err);

/* Number `index` of the stream that mixes kinds and sizes for training: by the parts above; sizes up to what
 * the embedded model is meant for, larger ones more often. */
MUST_USE Status problem_mixed(Problem *p, ProblemSplit split, uint64_t seed, uint64_t index, Error *err);

/* Whether an answer in words holds the right one. The same text does. Else: of numbers the last one counts (thousands may
 * have commas), of a list as many of the last ones, of yes, no, even, odd and equal the first such word, of
 * the signs < > = the last; of ordinary questions, whether it speaks of arithmetic. */
bool problem_is_right(const Problem *p, const char *text, size_t len);

/* What the chat kind answers. */
extern const char problem_purpose[];

#endif
