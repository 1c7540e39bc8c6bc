/* Scanners: see scan.h. All published patterns end in the same three alternatives for white space, and
 * most begin with words that may take one character in front; the pieces are shared.
 *
 * Characters are looked up one at a time; ASCII, which is most of most texts, without decoding. */
#include "tokenizer/scan.h"

#include "tokenizer/unicode.h"

#include <string.h>

/* The class at s[at], at < end, and its length. */
static inline uint8_t class_at(const uint8_t *s, size_t at, unsigned *len)
{
    if (s[at] < 0x80) {
        *len = 1;
        return unicode_class(s[at]);
    }
    return utf8_class(s + at, len);
}

/* End of the run of characters of these categories from `at`. */
static size_t run_of(const uint8_t *s, size_t at, size_t end, uint32_t categories)
{
    unsigned len;
    while (at < end && class_in(class_at(s, at, &len), categories))
        at += len;
    return at;
}

/* End of the run of characters that are neither of these categories nor white. */
static size_t run_outside(const uint8_t *s, size_t at, size_t end, uint32_t categories)
{
    while (at < end) {
        unsigned len;
        const uint8_t cls = class_at(s, at, &len);
        if (class_in(cls, categories) || (cls & CLASS_WHITE))
            break;
        at += len;
    }
    return at;
}

static size_t run_of_newlines(const uint8_t *s, size_t at, size_t end)
{
    while (at < end && (s[at] == '\r' || s[at] == '\n'))
        at++;
    return at;
}

static bool is_newline(uint8_t b)
{
    return b == '\r' || b == '\n';
}

/* White space from `at`, whose character is white: with newlines \s*[\r\n]+, then \s+(?!\S), then \s+. */
static size_t white_end(const uint8_t *s, size_t at, size_t end, bool newlines)
{
    size_t stop = at, last = at, newline = 0;
    while (stop < end) {
        unsigned len;
        if (!(class_at(s, stop, &len) & CLASS_WHITE))
            break;
        last = stop;
        stop += len;
        if (is_newline(s[last]))
            newline = stop;
    }
    if (newlines && newline > at)
        return newline;
    return stop == end || last == at ? stop : last;
}

/* 's 't 're 've 'm 'll 'd from s[at] = '\'', in any case when fold (there 's also as 'ſ); 0: none. */
static size_t contraction_length(const uint8_t *s, size_t at, size_t end, bool fold)
{
    const size_t left = end - at;
    const uint8_t bit = fold ? 0x20 : 0;
    if (left < 2)
        return 0;
    const uint8_t a = s[at + 1] | bit;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if (left < 3)
        return 0;
    const uint8_t b = s[at + 2] | bit;
    if (((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l'))
        return 3;
    return fold && s[at + 1] == 0xc5 && s[at + 2] == 0xbf ? 3 : 0;
}

/* ---- GPT-2 ------------------------------------------------------------------------------------- */

static bool scan_gpt2(const uint8_t *s, size_t from, size_t end, size_t *start, size_t *stop)
{
    *start = from;
    if (from >= end)
        return false;
    if (s[from] == '\'') {
        const size_t n = contraction_length(s, from, end, false);
        *stop = from + n;
        if (n)
            return true;
    }
    size_t at = from;
    unsigned len;
    uint8_t cls = class_at(s, at, &len);
    if (s[from] == ' ' && from + 1 < end) {
        at++;
        cls = class_at(s, at, &len);
    }
    if (cls & CLASS_WHITE)
        *stop = white_end(s, from, end, false);
    else if (class_in(cls, GCS_L))
        *stop = run_of(s, at + len, end, GCS_L);
    else if (class_in(cls, GCS_N))
        *stop = run_of(s, at + len, end, GCS_N);
    else
        *stop = run_outside(s, at + len, end, GCS_L | GCS_N);
    return true;
}

/* ---- Llama 3, Qwen 2 and their relatives ------------------------------------------------------- */

/* (?i:'s|…)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*| white space */
static size_t cl100k_end(const uint8_t *s, size_t at, size_t end, int digits)
{
    unsigned len, next_len;
    if (s[at] == '\'') {
        const size_t n = contraction_length(s, at, end, true);
        if (n)
            return at + n;
    }
    const uint8_t cls = class_at(s, at, &len);
    const size_t next = at + len;
    if (class_in(cls, GCS_L))
        return run_of(s, next, end, GCS_L);
    if (class_in(cls, GCS_N)) {
        size_t stop = next;
        while (--digits > 0 && stop < end && class_in(class_at(s, stop, &len), GCS_N))
            stop += len;
        return stop;
    }
    const uint8_t next_cls = next < end ? class_at(s, next, &next_len) : CLASS_WHITE;
    if (!is_newline(s[at]) && class_in(next_cls, GCS_L))
        return run_of(s, next + next_len, end, GCS_L);
    const bool white = (cls & CLASS_WHITE) != 0;
    if (!white || (s[at] == ' ' && !(next_cls & CLASS_WHITE) && !class_in(next_cls, GCS_L | GCS_N)))
        return run_of_newlines(s, run_outside(s, next, end, GCS_L | GCS_N), end);
    return white_end(s, at, end, true);
}

static bool scan_llama3(const uint8_t *s, size_t from, size_t end, size_t *start, size_t *stop)
{
    *start = from;
    if (from >= end)
        return false;
    *stop = cl100k_end(s, from, end, 3);
    return true;
}

static bool scan_qwen2(const uint8_t *s, size_t from, size_t end, size_t *start, size_t *stop)
{
    *start = from;
    if (from >= end)
        return false;
    *stop = cl100k_end(s, from, end, 1);
    return true;
}

/* ---- DeepSeek V3, R1, V4 ----------------------------------------------------------------------- */

/* \p{N}{1,3} */
static bool scan_numbers(const uint8_t *s, size_t from, size_t end, size_t *start, size_t *stop)
{
    unsigned len;
    while (from < end && !class_in(class_at(s, from, &len), GCS_N))
        from += len;
    if (from >= end)
        return false;
    *start = from;
    for (int i = 0; i < 3 && from < end && class_in(class_at(s, from, &len), GCS_N); i++)
        from += len;
    *stop = from;
    return true;
}

/* [一-龥぀-ゟ゠-ヿ]: three bytes, U+3040…U+30FF or U+4E00…U+9FA5 */
static bool is_cjk(const uint8_t *s)
{
    if (s[0] < 0xe3 || s[0] > 0xe9)
        return false;
    const uint32_t cp = (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
    return (cp >= 0x3040 && cp <= 0x30ff) || (cp >= 0x4e00 && cp <= 0x9fa5);
}

static bool scan_cjk(const uint8_t *s, size_t from, size_t end, size_t *start, size_t *stop)
{
    for (; from < end; from++)
        if (is_cjk(s + from))
            break;
    if (from >= end)
        return false;
    *start = from;
    while (from < end && is_cjk(s + from))
        from += 3;
    *stop = from;
    return true;
}

static bool is_ascii_letter(uint8_t b)
{
    return (uint8_t)((b | 0x20) - 'a') < 26;
}

/* The match at `at`, whose class is cls and length len; `at` itself when there is none:
 * [!-/:-~ but letters and digits][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|… */
static size_t deepseek_end(const uint8_t *s, size_t at, size_t end, uint8_t cls, unsigned len)
{
    const size_t next = at + len;
    unsigned next_len;
    if (class_in(cls, GCS_L | GCS_M))
        return run_of(s, next, end, GCS_L | GCS_M);
    const bool marks = class_in(cls, GCS_P | GCS_S);
    if (marks) {
        if (s[at] < 0x80 && next < end && is_ascii_letter(s[next])) {
            size_t stop = next + 1;
            while (stop < end && is_ascii_letter(s[stop]))
                stop++;
            return stop;
        }
        return run_of_newlines(s, run_of(s, next, end, GCS_P | GCS_S), end);
    }
    const uint8_t next_cls = next < end ? class_at(s, next, &next_len) : CLASS_WHITE;
    if (!is_newline(s[at]) && class_in(next_cls, GCS_L | GCS_M))
        return run_of(s, next + next_len, end, GCS_L | GCS_M);
    if (s[at] == ' ' && class_in(next_cls, GCS_P | GCS_S))
        return run_of_newlines(s, run_of(s, next + next_len, end, GCS_P | GCS_S), end);
    return cls & CLASS_WHITE ? white_end(s, at, end, true) : at;
}

static bool scan_deepseek(const uint8_t *s, size_t from, size_t end, size_t *start, size_t *stop)
{
    while (from < end) {
        unsigned len;
        const uint8_t cls = class_at(s, from, &len);
        *stop = deepseek_end(s, from, end, cls, len);
        if (*stop > from) {
            *start = from;
            return true;
        }
        from += len;
    }
    return false;
}

/* ---- the Digits step --------------------------------------------------------------------------- */

static size_t find_numeric(const uint8_t *s, size_t from, size_t end)
{
    unsigned len;
    while (from < end && !(class_at(s, from, &len) & CLASS_NUMERIC))
        from += len;
    return from;
}

bool scan_numeric_char(const uint8_t *s, size_t from, size_t end, size_t *start, size_t *stop)
{
    unsigned len = 0;
    *start = find_numeric(s, from, end);
    if (*start >= end)
        return false;
    utf8_get(s + *start, &len);
    *stop = *start + len;
    return true;
}

bool scan_numeric_run(const uint8_t *s, size_t from, size_t end, size_t *start, size_t *stop)
{
    unsigned len;
    *start = *stop = find_numeric(s, from, end);
    while (*stop < end && (class_at(s, *stop, &len) & CLASS_NUMERIC))
        *stop += len;
    return *start < end;
}

/* ---- the patterns ------------------------------------------------------------------------------ */

const char scan_text_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char scan_text_llama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char scan_text_qwen2[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char scan_text_deepseek_numbers[] = "\\p{N}{1,3}";
const char scan_text_deepseek_cjk[] = "[一-龥぀-ゟ゠-ヿ]+";
const char scan_text_deepseek_words[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
const char scan_text_o200k[] =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char scan_text_tekken[] =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"
    "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static const Scanner table[] = {
    {"gpt2", scan_text_gpt2, scan_gpt2},
    {"llama3", scan_text_llama3, scan_llama3},
    {"qwen2", scan_text_qwen2, scan_qwen2},
    {"deepseek-numbers", scan_text_deepseek_numbers, scan_numbers},
    {"deepseek-cjk", scan_text_deepseek_cjk, scan_cjk},
    {"deepseek-words", scan_text_deepseek_words, scan_deepseek},
    {NULL, NULL, NULL},
};

const Scanner *scan_table(void)
{
    return table;
}

const Scanner *scan_by_pattern(const char *text, size_t len)
{
    for (const Scanner *x = table; x->name; x++)
        if (strlen(x->pattern) == len && memcmp(x->pattern, text, len) == 0)
            return x;
    return NULL;
}

const Scanner *scan_by_function(ScanFn find)
{
    for (const Scanner *x = table; x->name; x++)
        if (x->find == find)
            return x;
    return NULL;
}
