/* The writer of json_write.h. */
#include "base/json_write.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_write_init(JsonWriter *w, int indent, size_t max)
{
    memset(w, 0, sizeof *w);
    w->indent = indent;
    w->max = max;
}

void json_write_deinit(JsonWriter *w)
{
    mem_free(w->buf);
    memset(w, 0, sizeof *w);
}

static void put(JsonWriter *w, const char *bytes, size_t n)
{
    if (w->status != ST_OK)
        return;
    if (n > w->max || w->len > w->max - n) {
        w->status = ST_FULL;
        return;
    }
    void *buf = w->buf;
    w->status = mem_grow(&buf, &w->cap, w->len + n + 1, 1);
    w->buf = buf;
    if (w->status != ST_OK)
        return;
    memcpy(w->buf + w->len, bytes, n);
    w->len += n;
}

static bool in_object(const JsonWriter *w)
{
    const int d = w->depth - 1;
    return d >= 0 && (w->is_object[d / 64] >> (d % 64) & 1);
}

static void new_line(JsonWriter *w)
{
    static const char spaces[] = "                ";
    if (w->indent == 0)
        return;
    put(w, "\n", 1);
    for (int left = w->indent * w->depth; left > 0; left -= 16)
        put(w, spaces, left < 16 ? (size_t)left : 16);
}

/* What stands in front of a key or of a value without one. */
static void separate(JsonWriter *w)
{
    if (w->has_items)
        put(w, ",", 1);
    if (w->depth > 0)
        new_line(w);
    w->has_items = true;
}

static void begin_value(JsonWriter *w)
{
    CHECK(w->depth > 0 || !w->has_items);
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    CHECK(!in_object(w));
    separate(w);
}

static void begin_container(JsonWriter *w, bool object)
{
    begin_value(w);
    CHECK(w->depth < JSON_WRITE_DEPTH_MAX);
    put(w, object ? "{" : "[", 1);
    const int d = w->depth++;
    const uint64_t bit = (uint64_t)1 << (d % 64);
    w->is_object[d / 64] = (w->is_object[d / 64] & ~bit) | (object ? bit : 0);
    w->has_items = false;
}

static void end_container(JsonWriter *w, bool object)
{
    CHECK(w->depth > 0);
    CHECK(in_object(w) == object);
    CHECK(!w->after_key);
    w->depth--;
    if (w->has_items)
        new_line(w);
    put(w, object ? "}" : "]", 1);
    w->has_items = true;
}

void json_write_object_begin(JsonWriter *w)
{
    begin_container(w, true);
}

void json_write_object_end(JsonWriter *w)
{
    end_container(w, true);
}

void json_write_array_begin(JsonWriter *w)
{
    begin_container(w, false);
}

void json_write_array_end(JsonWriter *w)
{
    end_container(w, false);
}

/* One byte that may not stand in a string as it is. */
static void put_escaped(JsonWriter *w, uint8_t b)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *hit = b ? strchr(from, b) : NULL;
    char text[8];
    if (hit) {
        text[0] = '\\';
        text[1] = to[hit - from];
        put(w, text, 2);
    } else {
        snprintf(text, sizeof text, "\\u%04x", b);
        put(w, text, 6);
    }
}

static void put_string(JsonWriter *w, const char *s, size_t len)
{
    put(w, "\"", 1);
    size_t run = 0, p = 0;
    while (p < len) {
        const uint8_t b = (uint8_t)s[p];
        const int n = utf8_decode((const uint8_t *)s + p, len - p, NULL);
        if (n > 0 && b >= 0x20 && b != '"' && b != '\\') {
            p += (size_t)n;
            continue;
        }
        put(w, s + run, p - run);
        if (n == 0)
            put(w, "\xef\xbf\xbd", 3);
        else
            put_escaped(w, b);
        run = ++p;
    }
    if (len > run)
        put(w, s + run, len - run);
    put(w, "\"", 1);
}

void json_write_key_n(JsonWriter *w, const char *key, size_t len)
{
    CHECK(in_object(w));
    CHECK(!w->after_key);
    separate(w);
    put_string(w, key, len);
    put(w, ": ", w->indent ? 2 : 1);
    w->after_key = true;
}

void json_write_key(JsonWriter *w, const char *key)
{
    json_write_key_n(w, key, strlen(key));
}

void json_write_string_n(JsonWriter *w, const char *s, size_t len)
{
    begin_value(w);
    put_string(w, s, len);
}

void json_write_string(JsonWriter *w, const char *s)
{
    json_write_string_n(w, s, strlen(s));
}

static void put_value(JsonWriter *w, const char *text)
{
    begin_value(w);
    put(w, text, strlen(text));
}

void json_write_int(JsonWriter *w, int64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)v);
    put_value(w, text);
}

/* A locale may print another decimal point; and a whole double keeps a sign that it is one. */
static void put_real(JsonWriter *w, char *text, size_t size)
{
    bool whole = true;
    for (char *p = text; *p; p++) {
        const bool digit = (*p >= '0' && *p <= '9') || *p == '-' || *p == '+';
        if (!digit && *p != 'e')
            *p = '.';
        whole = whole && digit;
    }
    const size_t n = strlen(text);
    if (whole && n + 2 < size)
        memcpy(text + n, ".0", 3);
    put_value(w, text);
}

void json_write_double(JsonWriter *w, double v)
{
    char text[40];
    if (!isfinite(v)) {
        put_value(w, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    put_real(w, text, sizeof text);
}

void json_write_float(JsonWriter *w, float v)
{
    char text[40];
    if (!isfinite(v)) {
        put_value(w, "null");
        return;
    }
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v)
            break;
    }
    put_real(w, text, sizeof text);
}

void json_write_bool(JsonWriter *w, bool v)
{
    put_value(w, v ? "true" : "false");
}

void json_write_null(JsonWriter *w)
{
    put_value(w, "null");
}

Status json_write_finish(JsonWriter *w, Error *err)
{
    CHECK(w->depth == 0);
    CHECK(!w->after_key);
    if (w->status == ST_NOMEM)
        return error_set(err, ST_NOMEM, "no memory for %zu bytes of JSON", w->len);
    if (w->status != ST_OK)
        return error_set(err, w->status, "JSON output is larger than its limit of %zu bytes", w->max);
    CHECK(w->buf);
    w->buf[w->len] = 0;
    return ST_OK;
}
