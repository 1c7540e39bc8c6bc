/* See problem_work.h. */
#include "train/problem_work.h"

#include <inttypes.h>
#include <string.h>

int work_digits(int64_t a)
{
    int n = 1;
    for (; a >= 10; a /= 10)
        n++;
    return n;
}

static int longer(int64_t a, int64_t b)
{
    return work_digits(a > b ? a : b);
}

/* Digit number k of a, the last one is number 0. */
static int digit(int64_t a, int k)
{
    for (; k > 0; k--)
        a /= 10;
    return (int)(a % 10);
}

static Status new_line(ByteBuf *out)
{
    return out->count > 0 ? bytebuf_append(out, "\n", 1) : ST_OK;
}

Status work_add(ByteBuf *out, int64_t a, int64_t b)
{
    Status st = ST_OK;
    const int n = longer(a, b);
    int carry = 0;
    TRY(new_line(out));
    TRY(bytebuf_printf(out, "%0*" PRId64 "+%0*" PRId64, n, a, n, b));
    for (int k = 0; k < n; k++) {
        const int x = digit(a, k), y = digit(b, k), sum = x + y + carry;
        TRY(bytebuf_printf(out, "\n%d+%d+%d=%02d", x, y, carry, sum));
        carry = sum / 10;
    }
    TRY(bytebuf_printf(out, "\n=%0*" PRId64, n + 1, a + b));
out:
    return st;
}

/* The lines of a difference; *borrow is what the last one still owes. */
static Status subtract_lines(ByteBuf *out, int64_t a, int64_t b, int n, int *borrow)
{
    Status st = ST_OK;
    *borrow = 0;
    for (int k = 0; k < n; k++) {
        const int x = digit(a, k), y = digit(b, k), left = x - y - *borrow, owes = left < 0;
        TRY(bytebuf_printf(out, "\n%d-%d-%d=%db%d", x, y, *borrow, left + 10 * owes, owes));
        *borrow = owes;
    }
out:
    return st;
}

Status work_sub(ByteBuf *out, int64_t a, int64_t b)
{
    Status st = ST_OK;
    const int n = longer(a, b);
    int borrow;
    TRY(new_line(out));
    TRY(bytebuf_printf(out, "%0*" PRId64 "-%0*" PRId64, n, a, n, b));
    TRY(subtract_lines(out, a, b, n, &borrow));
    if (!borrow)
        return bytebuf_printf(out, "\n=%0*" PRId64, n, a - b);
    TRY(bytebuf_printf(out, "\n-(%0*" PRId64 "-%0*" PRId64 ")", n, b, n, a));
    TRY(subtract_lines(out, b, a, n, &borrow));
    CHECK(!borrow);
    TRY(bytebuf_printf(out, "\n=-%0*" PRId64, n, b - a));
out:
    return st;
}

static Status multiply_by_digit(ByteBuf *out, int64_t a, int d)
{
    Status st = ST_OK;
    const int n = work_digits(a);
    int carry = 0;
    TRY(new_line(out));
    TRY(bytebuf_printf(out, "%" PRId64 "*%d", a, d));
    for (int k = 0; k < n; k++) {
        const int x = digit(a, k), product = x * d + carry;
        TRY(bytebuf_printf(out, "\n%d*%d+%d=%02d", x, d, carry, product));
        carry = product / 10;
    }
    TRY(bytebuf_printf(out, "\n=%0*" PRId64, n + 1, a * d));
out:
    return st;
}

Status work_mul(ByteBuf *out, int64_t a, int64_t b)
{
    Status st = ST_OK;
    CHECK(b >= 0 && b < 100);
    if (b < 10)
        return multiply_by_digit(out, a, (int)b);
    TRY(new_line(out));
    TRY(bytebuf_printf(out, "%" PRId64 "*%" PRId64, a, b));
    TRY(multiply_by_digit(out, a, (int)(b % 10)));
    TRY(multiply_by_digit(out, a, (int)(b / 10)));
    TRY(work_add(out, a * (b % 10), a * (b / 10) * 10));
out:
    return st;
}

Status work_compare(ByteBuf *out, int64_t a, int64_t b)
{
    Status st = ST_OK;
    const int n = longer(a, b);
    TRY(new_line(out));
    TRY(bytebuf_printf(out, "%0*" PRId64 "?%0*" PRId64, n, a, n, b));
    for (int k = n - 1; k >= 0; k--) {
        const int x = digit(a, k), y = digit(b, k);
        TRY(bytebuf_printf(out, "\n%d%c%d", x, x < y ? '<' : x > y ? '>' : '=', y));
        if (x != y)
            break;
    }
out:
    return st;
}

/* "045 003 067" */
static Status put_list(ByteBuf *out, const int64_t *x, int count, int width)
{
    Status st = ST_OK;
    for (int i = 0; i < count; i++)
        TRY(bytebuf_printf(out, "%s%0*" PRId64, i ? " " : "", width, x[i]));
out:
    return st;
}

static int widest(const int64_t *x, int count)
{
    int width = 1;
    for (int i = 0; i < count; i++)
        width = work_digits(x[i]) > width ? work_digits(x[i]) : width;
    return width;
}

static int find_extreme(const int64_t *x, int count, bool largest)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        if (largest ? x[i] > x[best] : x[i] < x[best])
            best = i;
    return best;
}

Status work_extreme(ByteBuf *out, const int64_t *x, int count, bool largest)
{
    Status st = ST_OK;
    const int width = widest(x, count);
    TRY(new_line(out));
    TRY(put_list(out, x, count, width));
    TRY(bytebuf_printf(out, "\n%c%0*" PRId64, largest ? '>' : '<', width, x[find_extreme(x, count, largest)]));
out:
    return st;
}

Status work_sort(ByteBuf *out, const int64_t *x, int count, bool descending)
{
    Status st = ST_OK;
    int64_t rest[WORK_LIST_MAX];
    const int width = widest(x, count);
    CHECK(count >= 1 && count <= WORK_LIST_MAX);
    memcpy(rest, x, (size_t)count * sizeof *rest);
    TRY(new_line(out));
    TRY(put_list(out, rest, count, width));
    while (count > 0) {
        const int best = find_extreme(rest, count, descending);
        TRY(bytebuf_printf(out, "\n%c%0*" PRId64, descending ? '>' : '<', width, rest[best]));
        count--;
        memmove(rest + best, rest + best + 1, (size_t)(count - best) * sizeof *rest);
        if (count > 0)
            TRY(bytebuf_append(out, " ", 1));
        TRY(put_list(out, rest, count, width));
    }
out:
    return st;
}

Status work_parity(ByteBuf *out, int64_t a)
{
    const Status st = new_line(out);
    return st != ST_OK ? st : bytebuf_printf(out, "%" PRId64 "\n%d", a, digit(a, 0));
}
