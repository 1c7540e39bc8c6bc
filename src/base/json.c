/* The pull reader of json.h.
 *
 * A state says what may come next; a bit per open container says whether it is an object. Strings are
 * scanned once: plain bytes are passed over by a table, and only a backslash makes a copy. */
#include "base/json.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(JSON_DEPTH_MAX % 64 == 0, "the container bits fill whole words");

enum {
    WANT_VALUE,        /* at the start, behind ':' and behind ',' in an array */
    WANT_VALUE_OR_END, /* behind '[' */
    WANT_KEY,          /* behind ',' in an object */
    WANT_KEY_OR_END,   /* behind '{' */
    WANT_COMMA_OR_END, /* behind a value in a container */
    WANT_NOTHING,      /* behind the outermost value */
    FAILED,
};

static const char *const wanted[] = {
    [WANT_VALUE] = "a value",
    [WANT_VALUE_OR_END] = "a value or ']'",
    [WANT_KEY] = "a key",
    [WANT_KEY_OR_END] = "a key or '}'",
    [WANT_NOTHING] = "the end of the text",
};

const char *json_token_name(JsonToken t)
{
    switch (t) {
    case JSON_TOK_END: return "the end of the text";
    case JSON_TOK_OBJECT_BEGIN: return "an object";
    case JSON_TOK_OBJECT_END: return "the end of an object";
    case JSON_TOK_ARRAY_BEGIN: return "an array";
    case JSON_TOK_ARRAY_END: return "the end of an array";
    case JSON_TOK_KEY: return "a key";
    case JSON_TOK_STRING: return "a string";
    case JSON_TOK_INT: return "a whole number";
    case JSON_TOK_DOUBLE: return "a number";
    case JSON_TOK_TRUE: return "true";
    case JSON_TOK_FALSE: return "false";
    case JSON_TOK_NULL: return "null";
    }
    return "?";
}

void json_init(JsonReader *r, const void *text, size_t size)
{
    memset(r, 0, sizeof *r);
    r->text = text;
    r->size = size;
    r->state = WANT_VALUE;
}

void json_deinit(JsonReader *r)
{
    mem_free(r->scratch);
    memset(r, 0, sizeof *r);
    r->state = FAILED;
}

/* The error at byte `at`: what stands there against what was expected. */
static Status fail_at(JsonReader *r, Error *err, size_t at, const char *want)
{
    r->state = FAILED;
    if (at >= r->size)
        return error_set(err, ST_CORRUPT, "JSON byte %zu: expected %s, found the end of the text", at,
                         want);
    const uint8_t b = r->text[at];
    if (b > 0x20 && b < 0x7f)
        return error_set(err, ST_CORRUPT, "JSON byte %zu: expected %s, found '%c'", at, want, b);
    return error_set(err, ST_CORRUPT, "JSON byte %zu: expected %s, found byte 0x%02x", at, want, b);
}

Status json_error_token(const JsonReader *r, Error *err, const char *want)
{
    return error_set(err, ST_CORRUPT, "JSON byte %zu: expected %s, found %s", r->offset, want,
                     json_token_name(r->token));
}

static void skip_space(JsonReader *r)
{
    const uint8_t *const t = r->text;
    size_t p = r->end;
    while (p < r->size && (t[p] == ' ' || t[p] == '\n' || t[p] == '\t' || t[p] == '\r'))
        p++;
    r->end = p;
}

static bool in_object(const JsonReader *r)
{
    const int d = r->depth - 1;
    return r->is_object[d / 64] >> (d % 64) & 1;
}

static void after_value(JsonReader *r)
{
    r->state = r->depth == 0 ? WANT_NOTHING : WANT_COMMA_OR_END;
}

/* ---- strings ---- */

static int hex_digit(uint8_t b)
{
    if (b >= '0' && b <= '9')
        return b - '0';
    const int lower = b | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The four digits at byte `at`. */
MUST_USE static Status read_hex4(JsonReader *r, size_t at, uint32_t *out, Error *err)
{
    uint32_t value = 0;
    for (size_t k = at; k < at + 4; k++) {
        const int d = k < r->size ? hex_digit(r->text[k]) : -1;
        if (d < 0)
            return fail_at(r, err, k, "a hexadecimal digit");
        value = value << 4 | (uint32_t)d;
    }
    *out = value;
    return ST_OK;
}

/* \uXXXX or a surrogate pair, with r->text[*pos] == 'u'; *pos moves behind it. */
MUST_USE static Status read_unicode_escape(JsonReader *r, size_t *pos, uint32_t *cp, Error *err)
{
    uint32_t hi = 0, lo = 0;
    const size_t start = *pos - 1;
    Status st = ST_OK;
    TRY(read_hex4(r, *pos + 1, &hi, err));
    *pos += 5;
    if (hi < 0xd800 || hi > 0xdfff) {
        *cp = hi;
        return ST_OK;
    }
    const bool pair = hi < 0xdc00 && *pos + 1 < r->size && r->text[*pos] == '\\' &&
                      r->text[*pos + 1] == 'u';
    if (pair)
        TRY(read_hex4(r, *pos + 2, &lo, err));
    if (lo < 0xdc00 || lo > 0xdfff) {
        r->state = FAILED;
        return error_set(err, ST_CORRUPT, "JSON byte %zu: expected a surrogate pair, found a lone \\u%04x",
                         start, (unsigned)hi);
    }
    *pos += 6;
    *cp = 0x10000 + ((hi - 0xd800) << 10) + (lo - 0xdc00);
out:
    return st;
}

/* The escape behind the backslash at *pos - 1: its bytes to dst[0..4), *pos behind it. */
MUST_USE static Status read_escape(JsonReader *r, size_t *pos, uint8_t *dst, int *len, Error *err)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const uint8_t b = *pos < r->size ? r->text[*pos] : 0;
    const char *hit = b ? strchr(from, b) : NULL;
    if (hit) {
        dst[0] = (uint8_t)to[hit - from];
        *len = 1;
        *pos += 1;
        return ST_OK;
    }
    if (b != 'u')
        return fail_at(r, err, *pos, "an escape (one of \"\\/bfnrtu)");
    uint32_t cp = 0;
    const Status st = read_unicode_escape(r, pos, &cp, err);
    if (st == ST_OK)
        *len = utf8_encode(dst, cp);
    return st;
}

/* Printable ASCII other than '"' and '\': what most strings are made of. */
static bool is_plain(uint8_t b)
{
    return b >= 0x20 && b < 0x80 && b != '"' && b != '\\';
}

/* First byte from p on that is not plain, eight at a time. */
static size_t skip_plain(const uint8_t *t, size_t p, size_t size)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    for (; p + 8 <= size; p += 8) {
        uint64_t w;
        memcpy(&w, t + p, 8);
        const uint64_t quote = w ^ ones * '"', slash = w ^ ones * '\\';
        /* a bit is set where a byte is >= 0x80, < 0x20, or equal to one of the two (exactly, or in a
         * higher byte than such a one: then the byte loop decides) */
        if ((w | (w - ones * 0x20) | (quote - ones) | (slash - ones)) & high)
            break;
    }
    while (p < size && is_plain(t[p]))
        p++;
    return p;
}

MUST_USE static Status append(JsonReader *r, size_t *len, const void *bytes, size_t n, Error *err)
{
    if (mem_grow(&r->scratch, &r->scratch_cap, *len + n, 1) != ST_OK) {
        r->state = FAILED;
        return error_set(err, ST_NOMEM, "JSON byte %zu: no memory for a string", r->offset);
    }
    if (n)
        memcpy((uint8_t *)r->scratch + *len, bytes, n);
    *len += n;
    return ST_OK;
}

/* A string whose quote is at r->offset. */
MUST_USE static Status read_string(JsonReader *r, Error *err)
{
    const uint8_t *const t = r->text;
    size_t p = r->offset + 1, run = p, len = 0;
    bool copied = false;
    Status st = ST_OK;
    for (;;) {
        p = skip_plain(t, p, r->size);
        if (p >= r->size)
            return fail_at(r, err, p, "'\"' at the end of a string");
        if (t[p] == '"')
            break;
        if (t[p] < 0x20)
            return fail_at(r, err, p, "an escape for a control character");
        if (t[p] == '\\') {
            uint8_t bytes[4];
            int n = 0;
            TRY(append(r, &len, t + run, p - run, err));
            copied = true;
            p++;
            TRY(read_escape(r, &p, bytes, &n, err));
            TRY(append(r, &len, bytes, (size_t)n, err));
            run = p;
        } else {
            const int n = utf8_decode(t + p, r->size - p, NULL);
            if (n == 0)
                return fail_at(r, err, p, "valid UTF-8");
            p += (size_t)n;
        }
    }
    if (copied)
        TRY(append(r, &len, t + run, p - run, err));
    r->in_text = !copied;
    r->str = copied ? (Str){r->scratch, len} : (Str){(const char *)t + run, p - run};
    r->end = p + 1;
out:
    return st;
}

/* ---- numbers ---- */

/* The parts of a number: where the digits are, and the power of ten behind them. */
typedef struct {
    size_t digits, point, digits_end; /* point: of '.', or digits_end */
    int64_t exponent;
    bool negative, whole;
} Number;

static size_t skip_digits(const JsonReader *r, size_t p)
{
    while (p < r->size && r->text[p] >= '0' && r->text[p] <= '9')
        p++;
    return p;
}

MUST_USE static Status scan_exponent(JsonReader *r, Number *n, Error *err)
{
    size_t p = n->digits_end + 1;
    const bool minus = p < r->size && r->text[p] == '-';
    if (p < r->size && (r->text[p] == '-' || r->text[p] == '+'))
        p++;
    const size_t end = skip_digits(r, p);
    if (end == p)
        return fail_at(r, err, p, "a digit of the exponent");
    for (; p < end; p++)
        if (n->exponent < 1000000000000) /* more makes no difference, whatever the digits */
            n->exponent = n->exponent * 10 + (r->text[p] - '0');
    if (minus)
        n->exponent = -n->exponent;
    r->end = end;
    return ST_OK;
}

MUST_USE static Status scan_number(JsonReader *r, Number *n, Error *err)
{
    const uint8_t *const t = r->text;
    size_t p = r->offset;
    *n = (Number){.negative = t[p] == '-', .whole = true};
    if (n->negative)
        p++;
    n->digits = p;
    p = skip_digits(r, p);
    if (p == n->digits)
        return fail_at(r, err, p, "a digit");
    if (t[n->digits] == '0' && p > n->digits + 1)
        return fail_at(r, err, n->digits + 1, "no digit behind a leading zero");
    n->point = p;
    if (p < r->size && t[p] == '.') {
        n->whole = false;
        p = skip_digits(r, n->point + 1);
        if (p == n->point + 1)
            return fail_at(r, err, p, "a digit behind the decimal point");
    }
    n->digits_end = p;
    r->end = p;
    if (p < r->size && (t[p] == 'e' || t[p] == 'E')) {
        n->whole = false;
        return scan_exponent(r, n, err);
    }
    return ST_OK;
}

/* The nearest double. The digits go to strtod as one whole number with an exponent, so that the
 * locale's decimal point has no say. A double's digits are decided by its first 767 significant ones
 * and by whether anything follows: the rest is replaced by a single 1. */
static double number_double(const JsonReader *r, const Number *n)
{
    enum { DIGITS_MAX = 800 };
    char buf[DIGITS_MAX + 40];
    size_t len = 0;
    int64_t exponent = n->exponent;
    bool rest = false;
    for (size_t p = n->digits; p < n->digits_end; p++) {
        if (p == n->point)
            continue;
        const char c = (char)r->text[p];
        const bool fraction = p > n->point;
        if (len < DIGITS_MAX) {
            exponent -= fraction;
            if (len > 0 || c != '0')
                buf[len++] = c;
        } else {
            exponent += !fraction;
            rest |= c != '0';
        }
    }
    if (len == 0)
        return n->negative ? -0.0 : 0.0;
    if (rest) {
        buf[len++] = '1';
        exponent--;
    }
    snprintf(buf + len, sizeof buf - len, "e%lld", (long long)exponent);
    const double value = strtod(buf, NULL);
    return n->negative ? -value : value;
}

/* true when the number is whole and fits */
static bool number_int(const JsonReader *r, const Number *n, int64_t *out)
{
    if (!n->whole || n->digits_end - n->digits > 19)
        return false;
    uint64_t v = 0; /* 19 digits fit */
    for (size_t p = n->digits; p < n->digits_end; p++)
        v = v * 10 + (uint64_t)(r->text[p] - '0');
    if (v > (uint64_t)INT64_MAX + n->negative)
        return false;
    *out = n->negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

MUST_USE static Status read_number(JsonReader *r, Error *err)
{
    Number n;
    const Status st = scan_number(r, &n, err);
    if (st != ST_OK)
        return st;
    if (number_int(r, &n, &r->i)) {
        r->token = JSON_TOK_INT;
        r->f = r->i == 0 && n.negative ? -0.0 : (double)r->i;
        return ST_OK;
    }
    r->token = JSON_TOK_DOUBLE;
    r->i = 0;
    r->f = number_double(r, &n);
    if (isinf(r->f)) {
        r->state = FAILED;
        return error_set(err, ST_CORRUPT, "JSON byte %zu: expected a number within double, found a larger one",
                         r->offset);
    }
    return ST_OK;
}

/* ---- structure ---- */

MUST_USE static Status open_container(JsonReader *r, bool object, Error *err)
{
    if (r->depth == JSON_DEPTH_MAX) {
        r->state = FAILED;
        return error_set(err, ST_CORRUPT, "JSON byte %zu: expected at most %d nested containers, found more",
                         r->offset, JSON_DEPTH_MAX);
    }
    const int d = r->depth++;
    const uint64_t bit = (uint64_t)1 << (d % 64);
    r->is_object[d / 64] = (r->is_object[d / 64] & ~bit) | (object ? bit : 0);
    r->token = object ? JSON_TOK_OBJECT_BEGIN : JSON_TOK_ARRAY_BEGIN;
    r->state = object ? WANT_KEY_OR_END : WANT_VALUE_OR_END;
    r->end = r->offset + 1;
    return ST_OK;
}

static void close_container(JsonReader *r)
{
    r->token = in_object(r) ? JSON_TOK_OBJECT_END : JSON_TOK_ARRAY_END;
    r->end = r->offset + 1;
    r->depth--;
    after_value(r);
}

MUST_USE static Status read_literal(JsonReader *r, const char *word, JsonToken token, Error *err)
{
    const size_t n = strlen(word);
    if (r->size - r->offset < n || memcmp(r->text + r->offset, word, n) != 0)
        return fail_at(r, err, r->offset, "a value");
    r->token = token;
    r->end = r->offset + n;
    after_value(r);
    return ST_OK;
}

MUST_USE static Status read_value(JsonReader *r, Error *err)
{
    Status st;
    const uint8_t b = r->text[r->offset];
    switch (b) {
    case '{': return open_container(r, true, err);
    case '[': return open_container(r, false, err);
    case 't': return read_literal(r, "true", JSON_TOK_TRUE, err);
    case 'f': return read_literal(r, "false", JSON_TOK_FALSE, err);
    case 'n': return read_literal(r, "null", JSON_TOK_NULL, err);
    case '"':
        r->token = JSON_TOK_STRING;
        st = read_string(r, err);
        break;
    default:
        if (b != '-' && (b < '0' || b > '9'))
            return fail_at(r, err, r->offset, wanted[r->state]);
        st = read_number(r, err);
    }
    if (st == ST_OK)
        after_value(r);
    return st;
}

MUST_USE static Status read_key(JsonReader *r, Error *err)
{
    if (r->text[r->offset] != '"')
        return fail_at(r, err, r->offset, wanted[r->state]);
    r->token = JSON_TOK_KEY;
    const Status st = read_string(r, err);
    if (st != ST_OK)
        return st;
    skip_space(r);
    if (r->end >= r->size || r->text[r->end] != ':')
        return fail_at(r, err, r->end, "':' behind a key");
    r->end++;
    r->state = WANT_VALUE;
    return ST_OK;
}

/* Behind a value in a container: its end, or a comma and what must follow that. */
MUST_USE static Status after_comma(JsonReader *r, Error *err)
{
    const bool object = in_object(r);
    if (r->end == r->size || r->text[r->end] != ',')
        return fail_at(r, err, r->end, object ? "',' or '}'" : "',' or ']'");
    r->state = object ? WANT_KEY : WANT_VALUE;
    r->end++;
    skip_space(r);
    r->offset = r->end;
    return ST_OK;
}

static bool at_container_end(const JsonReader *r)
{
    const bool may_end = r->state == WANT_COMMA_OR_END || r->state == WANT_KEY_OR_END ||
                         r->state == WANT_VALUE_OR_END;
    return may_end && r->end < r->size && r->text[r->end] == (in_object(r) ? '}' : ']');
}

Status json_next(JsonReader *r, Error *err)
{
    if (r->state == FAILED)
        return error_set(err, ST_CORRUPT, "JSON byte %zu: the text was already found to be invalid", r->offset);
    skip_space(r);
    r->offset = r->end;
    if (r->state == WANT_NOTHING) {
        r->token = JSON_TOK_END;
        return r->end == r->size ? ST_OK : fail_at(r, err, r->end, wanted[WANT_NOTHING]);
    }
    if (at_container_end(r)) {
        close_container(r);
        return ST_OK;
    }
    if (r->state == WANT_COMMA_OR_END) {
        const Status st = after_comma(r, err);
        if (st != ST_OK)
            return st;
    }
    if (r->end == r->size)
        return fail_at(r, err, r->end, wanted[r->state]);
    const bool key = r->state == WANT_KEY || r->state == WANT_KEY_OR_END;
    return key ? read_key(r, err) : read_value(r, err);
}

Status json_expect(JsonReader *r, JsonToken want, Error *err)
{
    const Status st = json_next(r, err);
    if (st == ST_OK && r->token != want)
        return json_error_token(r, err, json_token_name(want));
    return st;
}

Status json_skip(JsonReader *r, Error *err)
{
    Status st = ST_OK;
    if (r->token == JSON_TOK_KEY)
        TRY(json_next(r, err));
    if (r->token != JSON_TOK_OBJECT_BEGIN && r->token != JSON_TOK_ARRAY_BEGIN)
        return ST_OK;
    const size_t start = r->offset;
    for (const int depth = r->depth; r->depth >= depth;)
        TRY(json_next(r, err));
    r->offset = start;
out:
    return st;
}
