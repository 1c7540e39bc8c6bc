/* What a misspelt word may have meant: the nearest of the words that would have been right. */
#ifndef PLUMB_BASE_NEAREST_H
#define PLUMB_BASE_NEAREST_H

#include <stddef.h>

/* Remember the best of many candidates for a misspelt word. */
typedef struct {
    const char *word;
    size_t len;
    const char *best; /* borrowed candidate, best_len bytes; NULL while none is near */
    size_t best_len;
    int best_distance;
} Nearest;

void nearest_init(Nearest *n, const char *word, size_t len);
void nearest_try(Nearest *n, const char *candidate, size_t len);

#endif
