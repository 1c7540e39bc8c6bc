/* NFC: cut the text before every character that cannot join what precedes it, and where a piece holds
 * anything active, decompose it, order its combining marks, compose it (Unicode standard, section 3.11).
 *
 * Only the order of combining classes matters, so the generated classes are numbered 1, 2, 3, …. */
#include "tokenizer/nfc.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/unicode.h"

#include <string.h>

enum { S_BASE = 0xac00, L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11a7, L_COUNT = 19, V_COUNT = 21, T_COUNT = 28 };

bool nfc_is_plain(const uint8_t *s, size_t n)
{
    for (size_t at = 0; at < n;) {
        if (s[at] < 0xcc) { /* below U+0300 nothing is active */
            at++;
            continue;
        }
        unsigned len;
        const uint32_t cp = utf8_get(s + at, &len);
        if (unicode_nfc_active(cp))
            return false;
        at += len;
    }
    return true;
}

/* One character with its combining class; the index keeps equal classes in order. */
typedef struct {
    uint32_t cp;
    uint32_t ccc;
} Mark;

typedef struct {
    Mark *items; /* owned */
    Mark *spare; /* owned: as many */
    size_t count, cap, spare_cap;
} Marks;

static uint32_t combining_class(uint32_t cp)
{
    int32_t lo = 0, hi = unicode_ccc_count;
    while (lo < hi) {
        const int32_t mid = (lo + hi) / 2;
        if (unicode_ccc_last_class[mid] >> 8 < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    const bool found = lo < unicode_ccc_count && unicode_ccc_first[lo] <= cp;
    return found ? unicode_ccc_last_class[lo] & 0xff : 0;
}

static Status push(Marks *m, uint32_t cp)
{
    const Status st = mem_grow((void **)&m->items, &m->cap, m->count + 1, sizeof *m->items);
    if (st == ST_OK)
        m->items[m->count++] = (Mark){cp, cp < 0x300 ? 0 : combining_class(cp)};
    return st;
}

static Status push_hangul(Marks *m, uint32_t index)
{
    Status st = push(m, L_BASE + index / (V_COUNT * T_COUNT));
    if (st == ST_OK)
        st = push(m, V_BASE + index % (V_COUNT * T_COUNT) / T_COUNT);
    if (st == ST_OK && index % T_COUNT != 0)
        st = push(m, T_BASE + index % T_COUNT);
    return st;
}

static Status push_decomposed(Marks *m, uint32_t cp)
{
    if (cp - S_BASE < L_COUNT * V_COUNT * T_COUNT)
        return push_hangul(m, cp - S_BASE);
    int32_t lo = 0, hi = unicode_decomposition_count;
    while (lo < hi) {
        const int32_t mid = (lo + hi) / 2;
        if (unicode_decomposition_char[mid] < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == unicode_decomposition_count || unicode_decomposition_char[lo] != cp)
        return push(m, cp);
    const unsigned place = unicode_decomposition_place[lo];
    Status st = ST_OK;
    for (unsigned i = 0; i < (place & 7) && st == ST_OK; i++)
        st = push(m, unicode_decomposition_pool[(place >> 3) + i]);
    return st;
}

/* Stable merge sort of one run of marks by class. */
static void sort_run(Mark *a, Mark *spare, size_t n)
{
    if (n < 2)
        return;
    const size_t half = n / 2;
    sort_run(a, spare, half);
    sort_run(a + half, spare, n - half);
    memcpy(spare, a, half * sizeof *a);
    size_t i = 0, j = half, k = 0;
    while (i < half)
        a[k++] = j < n && a[j].ccc < spare[i].ccc ? a[j++] : spare[i++];
}

static Status order_marks(Marks *m)
{
    const Status st = mem_grow((void **)&m->spare, &m->spare_cap, m->count, sizeof *m->spare);
    if (st != ST_OK)
        return st;
    for (size_t i = 0; i < m->count;) {
        size_t end = i;
        while (end < m->count && m->items[end].ccc != 0)
            end++;
        sort_run(m->items + i, m->spare, end - i);
        i = end + 1;
    }
    return ST_OK;
}

/* The primary composite of two characters, or 0. */
static uint32_t compose_pair(uint32_t a, uint32_t b)
{
    if (a - L_BASE < L_COUNT && b - V_BASE < V_COUNT)
        return S_BASE + ((a - L_BASE) * V_COUNT + (b - V_BASE)) * T_COUNT;
    if (a - S_BASE < L_COUNT * V_COUNT * T_COUNT && (a - S_BASE) % T_COUNT == 0 && b - T_BASE - 1 < T_COUNT - 1)
        return a + (b - T_BASE);
    const uint64_t key = (uint64_t)a << 32 | b;
    int32_t lo = 0, hi = unicode_composition_count;
    while (lo < hi) {
        const int32_t mid = (lo + hi) / 2;
        if (unicode_composition_pair[mid] < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    const bool found = lo < unicode_composition_count && unicode_composition_pair[lo] == key;
    return found ? unicode_composition_char[lo] : 0;
}

/* Join every mark to the last starter where nothing between them blocks it. */
static void compose(Marks *m)
{
    size_t out = 0, starter = SIZE_MAX;
    uint32_t last = 0; /* class of the character kept last behind the starter; 0: none */
    for (size_t i = 0; i < m->count; i++) {
        const Mark c = m->items[i];
        const bool adjacent = starter != SIZE_MAX && out == starter + 1;
        if (starter != SIZE_MAX && (adjacent || (c.ccc != 0 && last < c.ccc))) {
            const uint32_t joined = compose_pair(m->items[starter].cp, c.cp);
            if (joined) {
                m->items[starter].cp = joined;
                continue;
            }
        }
        if (c.ccc == 0)
            starter = out;
        last = c.ccc;
        m->items[out++] = c;
    }
    m->count = out;
}

static Status append_segment(Marks *m, const uint8_t *s, size_t n, ByteBuf *out)
{
    Status st = ST_OK;
    m->count = 0;
    for (size_t at = 0; at < n;) {
        unsigned len;
        TRY(push_decomposed(m, utf8_get(s + at, &len)));
        at += len;
    }
    TRY(order_marks(m));
    compose(m);
    for (size_t i = 0; i < m->count; i++) {
        uint8_t bytes[4];
        TRY(bytebuf_append(out, bytes, (size_t)utf8_encode(bytes, m->items[i].cp)));
    }
out:
    return st;
}

Status nfc_append(const uint8_t *s, size_t n, ByteBuf *out)
{
    Status st = ST_OK;
    Marks marks = {0};
    size_t kept = 0;  /* everything before is in *out */
    size_t start = 0; /* of the segment under the cursor: the last inactive character */
    for (size_t at = 0; at < n;) {
        unsigned len;
        const uint32_t cp = utf8_get(s + at, &len);
        if (!unicode_nfc_active(cp)) {
            start = at;
            at += len;
            continue;
        }
        size_t end = at + len;
        while (end < n && unicode_nfc_active(utf8_get(s + end, &len)))
            end += len;
        TRY(bytebuf_append(out, s + kept, start - kept));
        TRY(append_segment(&marks, s + start, end - start, out));
        kept = start = at = end;
    }
    TRY(bytebuf_append(out, s + kept, n - kept));
out:
    mem_free(marks.items);
    mem_free(marks.spare);
    return st;
}
