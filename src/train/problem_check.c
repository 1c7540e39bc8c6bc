/* Whether an answer is right, for models that answer in sentences as well. */
#include "train/problems.h"

#include "train/problem_work.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define NUMBER_DIGITS_MAX 18

typedef struct {
    int64_t x[WORK_LIST_MAX];
    int count; /* the last WORK_LIST_MAX are kept */
} Numbers;

static void keep_number(Numbers *n, int64_t x)
{
    if (n->count == WORK_LIST_MAX) {
        memmove(n->x, n->x + 1, (WORK_LIST_MAX - 1) * sizeof *n->x);
        n->count--;
    }
    n->x[n->count++] = x;
}

/* A comma with three digits behind it and no fourth, inside a number of at most three digits before. */
static bool is_thousands_comma(const char *s, size_t len, size_t i, size_t digits)
{
    if (s[i] != ',' || digits < 1 || digits > 3 || i + 3 >= len)
        return false;
    for (size_t k = 1; k <= 3; k++)
        if (!isdigit((unsigned char)s[i + k]))
            return false;
    return i + 4 >= len || !isdigit((unsigned char)s[i + 4]);
}

static Numbers find_numbers(const char *s, size_t len)
{
    Numbers n = {0};
    for (size_t i = 0; i < len;) {
        if (!isdigit((unsigned char)s[i])) {
            i++;
            continue;
        }
        const bool negative = i > 0 && s[i - 1] == '-' && (i == 1 || !isalnum((unsigned char)s[i - 2]));
        int64_t x = 0;
        size_t digits = 0, group = 0;
        for (; i < len; i++) {
            if (isdigit((unsigned char)s[i])) {
                x = digits < NUMBER_DIGITS_MAX ? x * 10 + (s[i] - '0') : -1;
                digits++;
                group++;
            } else if (is_thousands_comma(s, len, i, group)) {
                group = 0;
            } else {
                break;
            }
        }
        keep_number(&n, negative ? -x : x);
    }
    return n;
}

static bool are_last_numbers(const Numbers *have, const Numbers *want)
{
    return have->count >= want->count && want->count > 0 &&
           memcmp(have->x + have->count - want->count, want->x, (size_t)want->count * sizeof *want->x) == 0;
}

/* The first of the words that an answer in a word can be. */
static const char *find_word(const char *s, size_t len)
{
    static const char *const words[] = {"yes", "no", "even", "odd", "equal"};
    for (size_t i = 0; i < len;) {
        size_t n = 0;
        while (i + n < len && isalpha((unsigned char)s[i + n]))
            n++;
        for (size_t k = 0; k < sizeof words / sizeof *words; k++)
            if (n == strlen(words[k]) && strncasecmp(s + i, words[k], n) == 0)
                return words[k];
        i += n + 1;
    }
    return NULL;
}

static char find_sign(const char *s, size_t len)
{
    while (len > 0 && !strchr("<>=", s[len - 1]))
        len--;
    return len > 0 ? s[len - 1] : 0;
}

static bool speaks_of(const char *s, size_t len, const char *word)
{
    const size_t n = strlen(word);
    for (size_t i = 0; i + n <= len; i++)
        if (strncasecmp(s + i, word, n) == 0)
            return true;
    return false;
}

bool problem_is_right(const Problem *p, const char *text, size_t len)
{
    const char *const want = (const char *)p->answer.data;
    const size_t want_len = p->answer.count;
    while (len > 0 && isspace((unsigned char)text[0]))
        text++, len--;
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    if (len == want_len && memcmp(text, want, len) == 0)
        return true;
    if (p->kind == PROBLEM_CHAT)
        return speaks_of(text, len, "arithmetic");
    if (isalpha((unsigned char)want[0])) {
        const char *const word = find_word(text, len);
        return word && strncasecmp(word, want, want_len) == 0 && strlen(word) == want_len;
    }
    if (strchr("<>=", want[0]))
        return find_sign(text, len) == want[0];
    const Numbers numbers = find_numbers(want, want_len), have = find_numbers(text, len);
    return are_last_numbers(&have, &numbers);
}
