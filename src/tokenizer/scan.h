/* Hand-written matchers of the patterns that published tokenizers use, and the one place that knows the
 * patterns' texts. Each does exactly what `pattern.h` would do with the same text, only faster; the tests
 * compare the two. Pure functions of static data; any thread. */
#ifndef PLUMB_TOKENIZER_SCAN_H
#define PLUMB_TOKENIZER_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first match in s[from..end) that starts at `from` or later. Look-ahead ends at `end`; nothing looks
 * back. Valid UTF-8. */
typedef bool (*ScanFn)(const uint8_t *s, size_t from, size_t end, size_t *start, size_t *stop);

typedef struct {
    const char *name;
    const char *pattern; /* NULL for the two that stand for the Digits step */
    ScanFn find;
} Scanner;

/* The scanner whose pattern is this text, NULL when there is none. */
const Scanner *scan_by_pattern(const char *text, size_t len);
/* The scanner that finds so, NULL for the two of the Digits step. */
const Scanner *scan_by_function(ScanFn find);
/* All of them, ended by a NULL name. */
const Scanner *scan_table(void);

/* Each numeric character; runs of them. */
bool scan_numeric_char(const uint8_t *s, size_t from, size_t end, size_t *start, size_t *stop);
bool scan_numeric_run(const uint8_t *s, size_t from, size_t end, size_t *start, size_t *stop);

/* Texts of patterns that the GGUF `pre` names stand for. */
extern const char scan_text_gpt2[], scan_text_llama3[], scan_text_qwen2[], scan_text_o200k[], scan_text_tekken[];
extern const char scan_text_deepseek_numbers[], scan_text_deepseek_cjk[], scan_text_deepseek_words[];

#endif
