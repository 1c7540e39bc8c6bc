/* Pre-tokenisation: the hand-written scanners do what their patterns say to a matcher that shares no code
 * with them, and the matcher does what regular expressions mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hostile.h"
#include "tokenizer/pattern.h"
#include "tokenizer/scan.h"
#include "tokenizer/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Pattern *compile(const char *text)
{
    Error err = {0};
    Pattern *p = NULL;
    if (pattern_compile(&p, text, strlen(text), false, &err) != ST_OK)
        fail_msg("%s", err.msg);
    return p;
}

/* Compare all matches of both in s[0..n). */
static void compare(const Scanner *x, const Pattern *p, const char *text, size_t n)
{
    const uint8_t *s = (const uint8_t *)text;
    int64_t steps = INT64_MAX / 2;
    for (size_t at = 0;;) {
        size_t a = 0, b = 0, c = 0, d = 0;
        const bool found = x->find(s, at, n, &a, &b), expected = pattern_find(p, s, 0, at, n, &c, &d, &steps);
        if (found != expected || (found && (a != c || b != d)))
            fail_msg("%s: '%.*s' from %zu: %d [%zu,%zu), expected %d [%zu,%zu)", x->name, (int)n, text, at, found, a, b,
                     expected, c, d);
        if (!found)
            return;
        assert_true(b > a);
        at = b;
    }
}

static void scanners_agree_with_their_patterns_on_hostile_texts(void **state)
{
    (void)state;
    char text[HOSTILE_BYTES_MAX];
    for (const Scanner *x = scan_table(); x->name; x++) {
        Pattern *p = compile(x->pattern);
        for (uint64_t seed = 0; seed < 20000; seed++)
            compare(x, p, text, hostile_text(text, seed));
        pattern_destroy(p);
    }
}

/* Every character of the first planes between those that decide. */
static void scanners_agree_with_their_patterns_on_every_character(void **state)
{
    (void)state;
    static const char *const around[][2] = {{"", ""}, {"a", "b"}, {"1", "2"}, {" ", " "}, {"!", "!"}, {"'", "s"},
                                            {"\n", "\n"}, {"一", "あ"}, {" ", "a"}, {"  ", "1"}};
    for (const Scanner *x = scan_table(); x->name; x++) {
        Pattern *p = compile(x->pattern);
        for (uint32_t cp = 1; cp < 0x110000; cp += cp < 0x32000 ? 1 : 257) {
            char text[32];
            if (cp >= 0xd800 && cp < 0xe000)
                continue;
            for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
                const size_t a = strlen(around[i][0]), b = strlen(around[i][1]);
                memcpy(text, around[i][0], a);
                const size_t n = (size_t)utf8_encode((uint8_t *)text + a, cp);
                memcpy(text + a + n, around[i][1], b);
                compare(x, p, text, a + n + b);
            }
        }
        pattern_destroy(p);
    }
}

static void scanners_are_found_by_the_text_of_their_pattern(void **state)
{
    (void)state;
    for (const Scanner *x = scan_table(); x->name; x++)
        assert_ptr_equal(scan_by_pattern(x->pattern, strlen(x->pattern)), x);
    assert_null(scan_by_pattern("\\p{N}", 5));
}

static void patterns_mean_what_they_mean_in_oniguruma(void **state)
{
    (void)state;
    /* matches of the pattern in the text, between bars; as the reference's Split gives them */
    static const struct {
        const char *pattern, *text, *matches;
    } cases[] = {
        {"a|b", "cab", "a|b|"},
        {"ab|a", "aab", "a|ab|"},
        {"a|ab", "ab", "a|"},
        {"a+", "baaac", "aaa|"},
        {"a+?", "baaac", "a|a|a|"},
        {"a{2}", "aaaaa", "aa|aa|"},
        {"a{2,3}?b", "aaaab", "aaab|"},
        {"a{2,}", "abaab", "aa|"},
        {"a++a", "aaa", ""},
        {"a?+ab", "aab", "aab|"},
        {"(?:ab|c)?d", "abdcdd", "abd|cd|d|"},
        {"(a|b)c", "acbc", "ac|bc|"},
        {"x(?:a|ab)(?:c|bcd)", "xabcd", "xabcd|"},
        {"\\s+(?!\\S)|\\s+", "a   b ", "  | | |"},
        {"a(?=b)", "aab", "a|"},
        {"^a", "a\na", "a|a|"},
        {"a$", "a\nba", "a|a|"},
        {"\\s+$", "a  \n  ", "  \n  |"},
        {"\\Aa|b\\z", "aabb", "a|b|"},
        {"(?i:'s|Kb)", "'S'ſKbk", "'S|'ſ|Kb|"},
        {"(?i:[k-m])", "KLMk\xe2\x84\xaa", "K|L|M|k|\xe2\x84\xaa|"},
        {"[^a]", "ab\n", "b|\n|"},
        {"[\\]a-]+", "]a-b", "]a-|"},
        {"[\\s\\d]+", "a 1\t٣b", " 1\t٣|"},
        {"[^\\s\\p{L}]+", "a!1 b", "!1|"},
        {"\\p{^L}|\\P{Ll}", "aB1", "B|1|"},
        {".", "a\nb", "a|b|"},
        {"\\x41\\u00e9\\x{1F600}", "Aé😀", "Aé😀|"},
        {"\\.\\-\\/", ".-/", ".-/|"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char got[256] = "";
        size_t used = 0, start, stop;
        int64_t steps = 1000000;
        Pattern *p = compile(cases[i].pattern);
        const char *s = cases[i].text;
        for (size_t at = 0; pattern_find(p, (const uint8_t *)s, 0, at, strlen(s), &start, &stop, &steps); at = stop)
            used += (size_t)snprintf(got + used, sizeof got - used, "%.*s|", (int)(stop - start), s + start);
        if (strcmp(got, cases[i].matches) != 0)
            fail_msg("%s in '%s': '%s', expected '%s'", cases[i].pattern, s, got, cases[i].matches);
        pattern_destroy(p);
    }
}

static void a_pattern_that_takes_too_long_is_stopped(void **state)
{
    (void)state;
    char text[2001];
    size_t start, stop;
    int64_t steps = 10000000;
    memset(text, 'a', 2000);
    Pattern *p = compile("a*a*a*a*a*a*b");
    assert_false(pattern_find(p, (const uint8_t *)text, 0, 0, 2000, &start, &stop, &steps));
    assert_true(steps < 0);
    pattern_destroy(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scanners_agree_with_their_patterns_on_hostile_texts),
        cmocka_unit_test(scanners_agree_with_their_patterns_on_every_character),
        cmocka_unit_test(scanners_are_found_by_the_text_of_their_pattern),
        cmocka_unit_test(patterns_mean_what_they_mean_in_oniguruma),
        cmocka_unit_test(a_pattern_that_takes_too_long_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
