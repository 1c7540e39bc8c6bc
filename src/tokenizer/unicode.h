/* Characters as the reference library sees them: general category, white space, what its Digits step
 * and its word boundaries mean, and the data of its NFC. The tables are generated (tools/gen_unicode.py)
 * by asking the library about every code point, because the Unicode versions inside it differ from part
 * to part and from those of any library installed here. Static data; any thread. */
#ifndef PLUMB_TOKENIZER_UNICODE_H
#define PLUMB_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* General categories in the order of the generator. */
enum {
    GC_CN, GC_LU, GC_LL, GC_LT, GC_LM, GC_LO, GC_MN, GC_MC, GC_ME, GC_ND, GC_NL, GC_NO, GC_PC, GC_PD, GC_PS,
    GC_PE, GC_PI, GC_PF, GC_PO, GC_SM, GC_SC, GC_SK, GC_SO, GC_ZS, GC_ZL, GC_ZP, GC_CC, GC_CF, GC_CO,
    GC_COUNT
};

/* A class is the category in the low five bits, and these. */
#define CLASS_CATEGORY 0x1f
#define CLASS_WHITE 0x20   /* \s */
#define CLASS_NUMERIC 0x40 /* Rust's char::is_numeric, a newer Unicode than \p{N} */
#define CLASS_WORD 0x80    /* \w of Rust's regex crate */

/* Sets of categories. */
#define GCS(name) (1u << GC_##name)
#define GCS_L (GCS(LU) | GCS(LL) | GCS(LT) | GCS(LM) | GCS(LO))
#define GCS_M (GCS(MN) | GCS(MC) | GCS(ME))
#define GCS_N (GCS(ND) | GCS(NL) | GCS(NO))
#define GCS_P (GCS(PC) | GCS(PD) | GCS(PS) | GCS(PE) | GCS(PI) | GCS(PF) | GCS(PO))
#define GCS_S (GCS(SM) | GCS(SC) | GCS(SK) | GCS(SO))
#define GCS_Z (GCS(ZS) | GCS(ZL) | GCS(ZP))
#define GCS_C (GCS(CC) | GCS(CF) | GCS(CO) | GCS(CN))

extern const uint8_t unicode_class_top[272];
extern const uint16_t unicode_class_middle[];
extern const uint8_t unicode_class_leaf[];

extern const uint8_t unicode_nfc_top[272];
extern const uint8_t unicode_nfc_middle[];
extern const uint64_t unicode_nfc_mask[];
extern const int32_t unicode_ccc_count;
extern const uint32_t unicode_ccc_first[];
extern const uint32_t unicode_ccc_last_class[];
extern const int32_t unicode_decomposition_count;
extern const uint32_t unicode_decomposition_char[];
extern const uint16_t unicode_decomposition_place[];
extern const uint32_t unicode_decomposition_pool[];
extern const int32_t unicode_composition_count;
extern const uint64_t unicode_composition_pair[];
extern const uint32_t unicode_composition_char[];

/* cp < 0x110000. ASCII is the first two leaves (checked by a test). */
static inline uint8_t unicode_class(uint32_t cp)
{
    if (cp < 0x80)
        return unicode_class_leaf[cp];
    const unsigned block = unicode_class_middle[unicode_class_top[cp >> 12] * 64u + ((cp >> 6) & 63)];
    return unicode_class_leaf[block * 64u + (cp & 63)];
}

static inline bool class_in(uint8_t cls, uint32_t categories)
{
    return (categories >> (cls & CLASS_CATEGORY)) & 1;
}

/* Whether NFC may change the character or join it to what stands before it. */
static inline bool unicode_nfc_active(uint32_t cp)
{
    const unsigned block = unicode_nfc_middle[unicode_nfc_top[cp >> 12] * 64u + ((cp >> 6) & 63)];
    return (unicode_nfc_mask[block] >> (cp & 63)) & 1;
}

/* The character at p of a text known to be valid UTF-8, and its length. */
static inline uint32_t utf8_get(const uint8_t *p, unsigned *len)
{
    const uint32_t a = p[0];
    if (a < 0x80) {
        *len = 1;
        return a;
    }
    if (a < 0xe0) {
        *len = 2;
        return (a & 0x1f) << 6 | (p[1] & 0x3fu);
    }
    if (a < 0xf0) {
        *len = 3;
        return (a & 0x0f) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    }
    *len = 4;
    return (a & 0x07) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
}

static inline uint8_t utf8_class(const uint8_t *p, unsigned *len)
{
    return unicode_class(utf8_get(p, len));
}

/* Start of the character that ends before `at` > 0; valid UTF-8. */
static inline size_t utf8_back(const uint8_t *s, size_t at)
{
    do
        at--;
    while ((s[at] & 0xc0) == 0x80);
    return at;
}

/* Offset of the first byte that does not continue or start a well-formed sequence; n if there is none. */
size_t utf8_valid_prefix(const uint8_t *s, size_t n);

/* How the byte `b` goes on after the n ≤ 3 bytes `held`, which are the start of a character: the number
 * of bytes the whole character will have, or 0 when the sequence is ill-formed with it. */
unsigned utf8_continue(const uint8_t *held, int n, uint8_t b);

#endif
