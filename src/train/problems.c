/* See problems.h: operands are drawn until they belong to the split, then question, work and answer are written. */
#include "train/problems.h"

#include "base/mem.h"
#include "base/rng.h"
#include "train/problem_text.h"
#include "train/problem_work.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const ProblemKindInfo kinds[] = {
#define X(kind, name, min, usual, max, what, parts) {name, min, usual, max, what, parts},
    PROBLEM_KINDS(X)
#undef X
};

const char problem_purpose[] = "I am a small arithmetic model trained by Plumb. I add, subtract, multiply, compare and "
                               "sort numbers, and I solve small word problems.";

#define DRAWS_MAX ((uint64_t)1 << 20) /* counters that a problem may use */
#define TRIES_MAX 20000

typedef struct {
    Calculation c[2]; /* of stories */
    int64_t a, b, e;  /* e: the third number of a story of two */
    int64_t list[WORK_LIST_MAX];
    int count;
    bool flag;           /* descending, largest */
    Comparison ask;
    const char *wording; /* a story's */
} Operands;

const ProblemKindInfo *problem_kind_info(ProblemKind kind)
{
    CHECK((unsigned)kind < PROBLEM_KIND_COUNT);
    return &kinds[kind];
}

Status problem_kind_parse(ProblemKind *out, const char *name, Error *err)
{
    char all[256] = "";
    for (int k = 0; k < PROBLEM_KIND_COUNT; k++) {
        if (strcmp(name, kinds[k].name) == 0) {
            *out = (ProblemKind)k;
            return ST_OK;
        }
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", k ? ", " : "", kinds[k].name);
    }
    return error_set(err, ST_USAGE, "'%s' is no kind of problem: there are %s", name, all);
}

void problem_free(Problem *p)
{
    bytebuf_free(&p->question);
    bytebuf_free(&p->thinking);
    bytebuf_free(&p->answer);
}

/* ---- the split ----------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Whether the numbers belong to the test split, for something of class `what`. */
static bool is_unseen(uint64_t what, const int64_t *x, int count)
{
    uint64_t h = mix(what * 0x9e3779b97f4a7c15u + 29);
    for (int i = 0; i < count; i++)
        h = mix(h + 0x9e3779b97f4a7c15u * ((uint64_t)x[i] + 1));
    return h % 16 == 0;
}

static bool is_pair_unseen(uint64_t what, int64_t a, int64_t b)
{
    const int64_t pair[] = {a < b ? a : b, a < b ? b : a};
    return is_unseen(what, pair, 2);
}

enum { CLASS_COMPARE = 16, CLASS_LIST, CLASS_PARITY };

static bool is_calculation_unseen(Calculation c, int64_t a, int64_t b)
{
    return c == CALC_SUB ? is_unseen(CALC_SUB, (const int64_t[]){a, b}, 2) : is_pair_unseen((uint64_t)c, a, b);
}

static int64_t result_of(Calculation c, int64_t a, int64_t b)
{
    return c == CALC_ADD ? a + b : c == CALC_SUB ? a - b : a * b;
}

static bool is_list_unseen(const Operands *o)
{
    int64_t sorted[WORK_LIST_MAX];
    memcpy(sorted, o->list, (size_t)o->count * sizeof *sorted);
    for (int i = 1; i < o->count; i++)
        for (int k = i; k > 0 && sorted[k] < sorted[k - 1]; k--) {
            const int64_t t = sorted[k];
            sorted[k] = sorted[k - 1];
            sorted[k - 1] = t;
        }
    return is_unseen(CLASS_LIST, sorted, o->count);
}

/* The calculation that makes a problem one of the test split. */
static bool is_test(ProblemKind kind, const Operands *o)
{
    switch (kind) {
    case PROBLEM_ADD: return is_calculation_unseen(CALC_ADD, o->a, o->b);
    case PROBLEM_SUB: return is_calculation_unseen(CALC_SUB, o->a, o->b);
    case PROBLEM_MUL:
    case PROBLEM_MUL2: return is_calculation_unseen(CALC_MUL, o->a, o->b);
    case PROBLEM_WORD:
    case PROBLEM_WORD2: return is_calculation_unseen(o->c[0], o->a, o->b);
    case PROBLEM_COMPARE: return is_pair_unseen(CLASS_COMPARE, o->a, o->b);
    case PROBLEM_SORT:
    case PROBLEM_EXTREME: return is_list_unseen(o);
    default: return is_unseen(CLASS_PARITY, &o->a, 1);
    }
}

/* Whether a training text may show all that the problem calculates. */
static bool is_train(ProblemKind kind, const Operands *o)
{
    if (is_test(kind, o))
        return false;
    if (kind == PROBLEM_WORD2)
        return !is_calculation_unseen(o->c[1], result_of(o->c[0], o->a, o->b), o->e);
    if (kind == PROBLEM_SUB && o->a < o->b) /* the work exchanges them */
        return !is_calculation_unseen(CALC_SUB, o->b, o->a);
    if (kind != PROBLEM_MUL2)
        return true;
    const int64_t ones = o->b % 10, tens = o->b / 10;
    return !is_calculation_unseen(CALC_MUL, o->a, ones) && !is_calculation_unseen(CALC_MUL, o->a, tens) &&
           !is_calculation_unseen(CALC_ADD, o->a * ones, o->a * tens * 10);
}

/* ---- operands ------------------------------------------------------------------------------------ */

static int64_t power_of_ten(int n)
{
    int64_t p = 1;
    for (; n > 0; n--)
        p *= 10;
    return p;
}

/* Of exactly so many digits; 0 has one. */
static int64_t draw_number(Rng *rng, int digits)
{
    const int64_t low = digits > 1 ? power_of_ten(digits - 1) : 0;
    return low + (int64_t)rng_below(rng, (uint64_t)(power_of_ten(digits) - low));
}

/* One has `size` digits, the other as many every other time, else any number up to that; in either order. */
static void draw_pair(Operands *o, int size, Rng *rng)
{
    const int other = rng_below(rng, 2) ? size : 1 + (int)rng_below(rng, (uint64_t)size);
    o->a = draw_number(rng, size);
    o->b = draw_number(rng, other);
    if (rng_below(rng, 2)) {
        const int64_t t = o->a;
        o->a = o->b;
        o->b = t;
    }
}

static void put_larger_first(Operands *o)
{
    if (o->a >= o->b)
        return;
    const int64_t t = o->a;
    o->a = o->b;
    o->b = t;
}

/* Often numbers with the same beginning, sometimes the same number. */
static void draw_comparison(Operands *o, int size, Rng *rng)
{
    draw_pair(o, size, rng);
    const uint64_t how = rng_below(rng, 16);
    if (how == 0)
        o->b = o->a = draw_number(rng, size);
    if (how > 0 && how < 6) {
        const int64_t tail = power_of_ten(1 + (int)rng_below(rng, (uint64_t)size));
        o->a = draw_number(rng, size);
        o->b = o->a / tail * tail + (int64_t)rng_below(rng, (uint64_t)tail);
    }
    o->ask = (Comparison)rng_below(rng, ASK_COUNT);
}

static void draw_list(Operands *o, int count, Rng *rng)
{
    static const int digits[] = {1, 2, 2, 3, 3, 3};
    const int64_t end = power_of_ten(digits[rng_below(rng, 6)]);
    o->count = count;
    o->flag = rng_below(rng, 3) == 0;
    for (int i = 0; i < count; i++)
        o->list[i] = (int64_t)rng_below(rng, (uint64_t)end);
}

/* Numbers of a story are at least 2. */
static int64_t at_least_two(int64_t x)
{
    return x < 2 ? x + 2 : x;
}

static void draw_story(Operands *o, int size, Rng *rng)
{
    o->c[0] = (Calculation)rng_below(rng, 3);
    draw_pair(o, size, rng);
    if (o->c[0] == CALC_MUL) {
        o->a = draw_number(rng, size);
        o->b = draw_number(rng, 1);
    }
    o->a = at_least_two(o->a);
    o->b = at_least_two(o->b);
    if (o->c[0] == CALC_SUB)
        put_larger_first(o);
}

static void draw_story_of_two(Operands *o, int size, Rng *rng)
{
    o->wording = wording_story_of_two(o->c, rng);
    draw_pair(o, size, rng);
    if (o->c[0] == CALC_MUL) {
        o->a = draw_number(rng, size > 1 ? size - 1 : 1);
        o->b = draw_number(rng, 1);
    }
    o->a = at_least_two(o->a);
    o->b = at_least_two(o->b);
    if (o->c[0] == CALC_SUB)
        put_larger_first(o);
    const int64_t middle = result_of(o->c[0], o->a, o->b);
    o->e = o->c[1] == CALC_ADD ? at_least_two(draw_number(rng, 1 + (int)rng_below(rng, (uint64_t)size)))
                               : (int64_t)rng_below(rng, (uint64_t)middle + 1);
}

static void draw_operands(Operands *o, ProblemKind kind, int size, Rng *rng)
{
    switch (kind) {
    case PROBLEM_ADD: draw_pair(o, size, rng); break;
    case PROBLEM_SUB:
        draw_pair(o, size, rng);
        if (rng_below(rng, 5)) /* one in ten is below zero */
            put_larger_first(o);
        break;
    case PROBLEM_MUL:
        o->a = draw_number(rng, size);
        o->b = draw_number(rng, 1);
        break;
    case PROBLEM_MUL2:
        o->a = draw_number(rng, size);
        o->b = draw_number(rng, 2);
        break;
    case PROBLEM_COMPARE: draw_comparison(o, size, rng); break;
    case PROBLEM_SORT:
    case PROBLEM_EXTREME: draw_list(o, size, rng); break;
    case PROBLEM_WORD: draw_story(o, size, rng); break;
    case PROBLEM_WORD2: draw_story_of_two(o, size, rng); break;
    default: o->a = draw_number(rng, size);
    }
}

/* ---- writing ------------------------------------------------------------------------------------- */

static Status work(ByteBuf *out, Calculation c, int64_t a, int64_t b)
{
    return c == CALC_ADD ? work_add(out, a, b) : c == CALC_SUB ? work_sub(out, a, b) : work_mul(out, a, b);
}

static Status write_calculation(Problem *p, Calculation c, const Operands *o, const char *wording, Rng *rng)
{
    Status st = ST_OK;
    Wording w = {0};
    /* The work multiplies by the shorter number; the question may begin with either. */
    const bool exchange = c == CALC_MUL && p->kind != PROBLEM_WORD && work_digits(o->a) > work_digits(o->b) && rng_below(rng, 3) == 0;
    wording_numbers(&w, exchange ? o->b : o->a, exchange ? o->a : o->b, 0);
    TRY(wording_fill(&w, wording, rng, &p->question));
    TRY(work(&p->thinking, c, o->a, o->b));
    TRY(bytebuf_printf(&p->answer, "%" PRId64, result_of(c, o->a, o->b)));
out:
    return st;
}

static Status write_story_of_two(Problem *p, const Operands *o, Rng *rng)
{
    Status st = ST_OK;
    Wording w = {0};
    const int64_t middle = result_of(o->c[0], o->a, o->b);
    wording_numbers(&w, o->a, o->b, o->e);
    TRY(wording_fill(&w, o->wording, rng, &p->question));
    TRY(work(&p->thinking, o->c[0], o->a, o->b));
    TRY(work(&p->thinking, o->c[1], middle, o->e));
    TRY(bytebuf_printf(&p->answer, "%" PRId64, result_of(o->c[1], middle, o->e)));
out:
    return st;
}

static Status write_comparison(Problem *p, const Operands *o, Rng *rng)
{
    Status st = ST_OK;
    Wording w = {0};
    wording_numbers(&w, o->a, o->b, 0);
    TRY(wording_fill(&w, wording_comparison(o->ask, rng), rng, &p->question));
    TRY(work_compare(&p->thinking, o->a, o->b));
    const bool more = o->a > o->b, less = o->a < o->b;
    if (o->ask == ASK_SIGN)
        return bytebuf_append(&p->answer, more ? ">" : less ? "<" : "=", 1);
    if (o->ask == ASK_IS_LARGER || o->ask == ASK_IS_SMALLER)
        return bytebuf_printf(&p->answer, "%s", (o->ask == ASK_IS_LARGER ? more : less) ? "Yes" : "No");
    if (!more && !less)
        return bytebuf_printf(&p->answer, "equal");
    st = bytebuf_printf(&p->answer, "%" PRId64, (o->ask == ASK_LARGER) == more ? o->a : o->b);
out:
    return st;
}

/* "45, 3 and 67", "45, 3, 67", "45 3 67" */
static Status put_list(ByteBuf *out, const int64_t *x, int count, uint64_t style)
{
    Status st = ST_OK;
    for (int i = 0; i < count; i++) {
        const char *const between = i == 0 ? "" : style == 0 && i == count - 1 ? " and " : style == 2 ? " " : ", ";
        TRY(bytebuf_printf(out, "%s%" PRId64, between, x[i]));
    }
out:
    return st;
}

/* What work_sort leaves in its lines: the first numbers of the picks. */
static void sort_list(int64_t *x, int count, bool descending)
{
    for (int i = 1; i < count; i++)
        for (int k = i; k > 0 && (descending ? x[k] > x[k - 1] : x[k] < x[k - 1]); k--) {
            const int64_t t = x[k];
            x[k] = x[k - 1];
            x[k - 1] = t;
        }
}

static Status write_list(Problem *p, const Operands *o, Rng *rng)
{
    Status st = ST_OK;
    Wording w = {0};
    ByteBuf text = {0};
    int64_t sorted[WORK_LIST_MAX];
    const bool sort = p->kind == PROBLEM_SORT;
    memcpy(sorted, o->list, (size_t)o->count * sizeof *sorted);
    sort_list(sorted, o->count, o->flag);
    TRY(put_list(&text, o->list, o->count, rng_below(rng, 4)));
    w.slot['l'] = bytebuf_cstr(&text);
    if (!w.slot['l'])
        TRY(ST_NOMEM);
    TRY(wording_fill(&w, sort ? wording_sort(o->flag, rng) : wording_extreme(o->flag, rng), rng, &p->question));
    if (sort)
        TRY(work_sort(&p->thinking, o->list, o->count, o->flag));
    else
        TRY(work_extreme(&p->thinking, o->list, o->count, o->flag));
    TRY(put_list(&p->answer, sorted, sort ? o->count : 1, 1));
out:
    bytebuf_free(&text);
    return st;
}

static Status write_parity(Problem *p, const Operands *o, Rng *rng)
{
    Status st = ST_OK;
    Wording w = {0};
    wording_numbers(&w, o->a, 0, 0);
    TRY(wording_fill(&w, wording_parity(rng), rng, &p->question));
    TRY(work_parity(&p->thinking, o->a));
    TRY(bytebuf_printf(&p->answer, "%s", o->a % 2 ? "odd" : "even"));
out:
    return st;
}

static Status write_chat(Problem *p, ProblemSplit split, uint64_t index, Rng *rng)
{
    Status st = ST_OK;
    if (split == PROBLEM_TEST)
        TRY(bytebuf_printf(&p->question, "%s", chat_test_questions[index % CHAT_TEST_COUNT]));
    else
        TRY(wording_chat(rng, &p->question));
    TRY(bytebuf_printf(&p->thinking, "no arithmetic"));
    TRY(bytebuf_printf(&p->answer, "%s", problem_purpose));
out:
    return st;
}

/* People do not always begin with a capital letter. */
static void roughen(Problem *p, Rng *rng)
{
    char *const c = (char *)p->question.data;
    if (rng_below(rng, 6) == 0 && p->question.count > 1 && isupper((unsigned char)c[0]) && islower((unsigned char)c[1]))
        c[0] = (char)tolower((unsigned char)c[0]);
}

static Status write_problem(Problem *p, ProblemSplit split, uint64_t index, const Operands *o, Rng *rng)
{
    switch (p->kind) {
    case PROBLEM_ADD: return write_calculation(p, CALC_ADD, o, wording_calculation(CALC_ADD, rng), rng);
    case PROBLEM_SUB: return write_calculation(p, CALC_SUB, o, wording_calculation(CALC_SUB, rng), rng);
    case PROBLEM_MUL:
    case PROBLEM_MUL2: return write_calculation(p, CALC_MUL, o, wording_calculation(CALC_MUL, rng), rng);
    case PROBLEM_WORD: return write_calculation(p, o->c[0], o, wording_story(o->c[0], rng), rng);
    case PROBLEM_WORD2: return write_story_of_two(p, o, rng);
    case PROBLEM_COMPARE: return write_comparison(p, o, rng);
    case PROBLEM_SORT:
    case PROBLEM_EXTREME: return write_list(p, o, rng);
    case PROBLEM_PARITY: return write_parity(p, o, rng);
    default: return write_chat(p, split, index, rng);
    }
}

/* ---- streams ------------------------------------------------------------------------------------- */

Status problem_make(Problem *p, ProblemKind kind, int size, ProblemSplit split, uint64_t seed, uint64_t index,
                    Error *err)
{
    Status st = ST_OK;
    const ProblemKindInfo *const info = problem_kind_info(kind);
    Rng rng = {.seed = seed, .stream = (uint64_t)kind << 32 | (uint64_t)size << 8 | (uint64_t)split,
               .counter = index * DRAWS_MAX};
    Operands o = {0};
    if (size < info->size_min || size > info->size_max)
        return error_set(err, ST_INVALID, "size %d of kind %s: expected %d to %d (%s)", size, info->name,
                         info->size_min, info->size_max, info->size_means);
    p->kind = kind;
    p->size = size;
    p->question.count = p->thinking.count = p->answer.count = 0;
    int tries = 0;
    do {
        o = (Operands){0};
        draw_operands(&o, kind, size, &rng);
        CHECK(++tries < TRIES_MAX); /* every kind and size has both splits: tested */
    } while (kind != PROBLEM_CHAT && !(split == PROBLEM_TEST ? is_test(kind, &o) : is_train(kind, &o)));
    TRY(write_problem(p, split, index, &o, &rng));
    if (!bytebuf_cstr(&p->question) || !bytebuf_cstr(&p->thinking) || !bytebuf_cstr(&p->answer))
        st = ST_NOMEM;
    else if (split == PROBLEM_TRAIN || kind != PROBLEM_CHAT)
        roughen(p, &rng);
out:
    return st == ST_OK ? st : error_set(err, st, "no memory for a problem");
}

/* Sizes of the mixed stream and how often each comes. */
static int draw_size(ProblemKind kind, Rng *rng)
{
    static const char *const sizes[PROBLEM_KIND_COUNT] = {
        [PROBLEM_ADD] = "122333344444555555556", [PROBLEM_SUB] = "122333344444555555556",
        [PROBLEM_MUL] = "1122233333334",         [PROBLEM_MUL2] = "2222333",
        [PROBLEM_COMPARE] = "1223344455556",     [PROBLEM_SORT] = "23344555666667",
        [PROBLEM_EXTREME] = "34566",             [PROBLEM_PARITY] = "2345",
        [PROBLEM_WORD] = "112222233333",         [PROBLEM_WORD2] = "1122233",
        [PROBLEM_CHAT] = "1",
    };
    return sizes[kind][rng_below(rng, strlen(sizes[kind]))] - '0';
}

Status problem_mixed(Problem *p, ProblemSplit split, uint64_t seed, uint64_t index, Error *err)
{
    Rng rng = {.seed = seed, .stream = ~(uint64_t)split, .counter = index * 64};
    int left = (int)rng_below(&rng, 1000), kind = 0;
    while (left >= kinds[kind].parts)
        left -= kinds[kind++].parts;
    return problem_make(p, (ProblemKind)kind, draw_size((ProblemKind)kind, &rng), split, seed, index, err);
}
