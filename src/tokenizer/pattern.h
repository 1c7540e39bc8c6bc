/* Regular expressions of tokenizer files: the subset that such patterns use, with the meaning they have
 * in the reference library (Oniguruma, Ruby syntax) and its Unicode tables.
 *
 * Understood: literals; escapes \r \n \t \f \v \a \e \xHH \x{H…} \uHHHH; \s \S \d \D \w \W \p{…} \P{…}
 * with general categories, also inside classes; classes with ranges and negation; groups ( ) and (?: )
 * with alternatives; (?i: ) over ASCII; look-ahead (?= ) (?! ); anchors ^ $ \A \z; the quantifiers
 * ? * + {m} {m,} {m,n}, greedy, lazy (+?) or possessive (++), on single characters and classes; on groups
 * only ?. Anything else, and any pattern that can match the empty text, is ST_UNSUPPORTED and is named.
 *
 * A compiled pattern is immutable; any thread. */
#ifndef PLUMB_TOKENIZER_PATTERN_H
#define PLUMB_TOKENIZER_PATTERN_H

#include "base/error.h"
#include "base/kv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Pattern Pattern;

#define PATTERN_BYTES_MAX 65536

/* Compile `text` (valid UTF-8); literal: it stands for itself. *out is owned. */
MUST_USE Status pattern_compile(Pattern **out, const char *text, size_t len, bool literal, Error *err);
void pattern_destroy(Pattern *p); /* NULL is fine */

/* What it was compiled from, borrowed until destroy. */
Str pattern_text(const Pattern *p, bool *literal);

/* The first match in s[begin..end) that starts at `from` or later: true and its range, else false. Anchors
 * and look-ahead see only s[begin..end). Valid UTF-8. *steps is a budget of elementary steps, taken
 * from as the search goes; when it is used up the search ends with false and *steps < 0. */
bool pattern_find(const Pattern *p, const uint8_t *s, size_t begin, size_t from, size_t end, size_t *start,
                  size_t *stop, int64_t *steps);

#endif
