/* Wordings: templates with choices and slots, and the words for the slots.
 *
 *   [a|b|c]   one of these, not nested
 *   {x}       slot x, a lower-case letter or a capital one: what the caller gave, or a word of the list of
 *             that letter (problem_text.c), the same one in all of a text
 * Every draw comes from the Rng, in the order of the text. */
#ifndef PLUMB_TRAIN_PROBLEM_TEXT_H
#define PLUMB_TRAIN_PROBLEM_TEXT_H

#include "base/buf.h"
#include "base/error.h"
#include "base/rng.h"

#include <stdint.h>

typedef struct {
    const char *slot[128]; /* by letter; NULL: not decided yet */
    char number[3][24];    /* {a} {b} {c} */
} Wording;

/* Zeroed *w; gives it the numbers. */
void wording_numbers(Wording *w, int64_t a, int64_t b, int64_t c);

/* Append the filled template. ST_NOMEM only. */
MUST_USE Status wording_fill(Wording *w, const char *text, Rng *rng, ByteBuf *out);

/* One of the wordings of a calculation, of a story around one, of a story around two. */
typedef enum { CALC_ADD, CALC_SUB, CALC_MUL } Calculation;
const char *wording_calculation(Calculation c, Rng *rng);
const char *wording_story(Calculation c, Rng *rng);
/* The first calculation goes into c[0], what its result meets into c[1]. */
const char *wording_story_of_two(Calculation c[2], Rng *rng);

/* Which sign, larger, smaller, whether larger, whether smaller. */
typedef enum { ASK_LARGER, ASK_SMALLER, ASK_IS_LARGER, ASK_IS_SMALLER, ASK_SIGN, ASK_COUNT } Comparison;
const char *wording_comparison(Comparison c, Rng *rng);
const char *wording_sort(bool descending, Rng *rng);    /* the list is {l} */
const char *wording_extreme(bool largest, Rng *rng);
const char *wording_parity(Rng *rng);

/* An ordinary question (problem_chat.c) of the training split; the test split's are numbered. */
MUST_USE Status wording_chat(Rng *rng, ByteBuf *out);
#define CHAT_TEST_COUNT 100
extern const char *const chat_test_questions[CHAT_TEST_COUNT];

/* A word nobody knows, for {z}: syllables. */
MUST_USE Status wording_nonsense(Rng *rng, ByteBuf *out);

#endif
