/* See nearest.h. */
#include "base/nearest.h"

#include <string.h>

#define WORD_MAX 63

/* Edits (insert, delete, replace, swap of neighbours) from a to b: the optimal string alignment
 * distance, three rows of its table at a time. */
static int edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
    int rows[3][WORD_MAX + 1];
    int *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= nb; j++)
        last[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int d = last[j - 1] + (a[i - 1] != b[j - 1]);
            d = last[j] + 1 < d ? last[j] + 1 : d;
            d = row[j - 1] + 1 < d ? row[j - 1] + 1 : d;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < d)
                d = before[j - 2] + 1;
            row[j] = d;
        }
        int *const free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[nb];
}

void nearest_init(Nearest *n, const char *word, size_t len)
{
    /* A third of the letters may be wrong, and of two letters none. */
    *n = (Nearest){.word = word, .len = len, .best_distance = (int)(len / 3) + 1};
}

void nearest_try(Nearest *n, const char *candidate, size_t len)
{
    if (n->len == 0 || n->len > WORD_MAX || len > WORD_MAX)
        return;
    int d = edit_distance(n->word, n->len, candidate, len);
    if (n->len >= 3 && n->len < len && memcmp(n->word, candidate, n->len) == 0)
        d = 0; /* the beginning of a word is a good way to mean it */
    if (d < n->best_distance) {
        n->best = candidate;
        n->best_len = len;
        n->best_distance = d;
    }
}
