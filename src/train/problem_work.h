/* The written work of calculations: what stands between <think> and </think>. Lines are joined by line breaks,
 * digits are worked from the last to the first, every line repeats what it needs.
 *
 *   sum             4873+0956       operands with as many digits as the longer one
 *                   3+6+0=09        digit + digit + carry = carry and digit
 *                   7+5+0=12
 *                   8+9+1=18
 *                   4+0+1=05
 *                   =05829          the result, carry first
 *   difference      52-17           5-1 with a borrow: digit - digit - borrow = digit b borrow
 *                   2-7-0=5b1
 *                   5-1-1=3b0
 *                   =35
 *     below zero    …               the last borrow is 1: the same with the operands exchanged,
 *                   -(52-17)        and a sign
 *                   …
 *                   =-35
 *   product         873*6           digit * digit + carry = carry and digit
 *                   3*6+0=18
 *                   7*6+1=43
 *                   8*6+4=52
 *                   =5238
 *     two digits    873*46          both partial products, then their sum (the second moved one place)
 *   comparison      4873?4956       from the first digit to the first difference
 *                   4=4
 *                   8<9
 *   extreme         045 003 067     the list, then the one
 *                   <003            < the smallest, > the largest
 *   sorting         045 003 067     again and again: the smallest (or largest), and the rest
 *                   <003 045 067
 *                   <045 067
 *                   <067
 *   parity          473             the last digit
 *                   3
 */
#ifndef PLUMB_TRAIN_PROBLEM_WORK_H
#define PLUMB_TRAIN_PROBLEM_WORK_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Numbers are 0 … 10^17. All append to *out, behind a line break when it holds anything. ST_NOMEM only. */
MUST_USE Status work_add(ByteBuf *out, int64_t a, int64_t b);
MUST_USE Status work_sub(ByteBuf *out, int64_t a, int64_t b);
MUST_USE Status work_mul(ByteBuf *out, int64_t a, int64_t b); /* b: one or two digits */
MUST_USE Status work_compare(ByteBuf *out, int64_t a, int64_t b);
MUST_USE Status work_extreme(ByteBuf *out, const int64_t *x, int count, bool largest);
MUST_USE Status work_sort(ByteBuf *out, const int64_t *x, int count, bool descending);
MUST_USE Status work_parity(ByteBuf *out, int64_t a);

#define WORK_LIST_MAX 16 /* numbers in a list */

int work_digits(int64_t a); /* 1 for 0 */

#endif
