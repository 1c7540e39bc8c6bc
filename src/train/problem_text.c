/* See problem_text.h. Words are short and few, so that a small vocabulary has most of them whole. */
#include "train/problem_text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define ONE_OF(list, rng) ((list)[rng_below((rng), COUNT(list))])

/* ---- words --------------------------------------------------------------------------------------- */

/* Boys and girls in turn: {p} he, she; {q} him, her; {P} He, She. */
static const char *const names[] = {
    "Tom", "Anna", "Ben", "Mia", "Sam", "Lily", "Jack", "Emma", "Leo", "Sara", "Max", "Ella", "Paul", "Nina", "Omar",
    "Zoe", "Ivan", "Lucy", "Adam", "Rosa", "Noah", "Maya", "Hugo", "Jane", "Carl", "Eva", "Luis", "Amy", "Ravi",
    "Yuki", "Bob", "Alice", "John", "Mary", "Peter", "Kate", "David", "Sofia", "Ali", "Fatima", "Chen", "Olga",
};
static const char *const objects[] = {
    "apples", "books", "coins", "marbles", "cards", "pens", "stamps", "shells", "stones", "pears", "eggs", "cups",
    "toys", "balls", "cakes", "cookies", "oranges", "plums", "nuts", "beads", "keys", "stickers", "pencils", "flowers",
    "buttons", "tickets", "candles", "lemons", "photos", "boxes of tea", "carrots", "potatoes", "bottles", "sweets",
};
static const char *const containers[] = {"box", "bag", "basket", "jar", "room", "shop", "drawer", "tin", "bowl", "case"};
static const char *const containers_plural[] = {"boxes", "bags", "baskets", "jars", "rooms", "shops", "drawers", "tins",
                                                "bowls", "cases"};
static const char *const animals[] = {"birds", "ducks", "cows", "sheep", "hens", "goats", "cats", "dogs", "bees", "fish",
                                      "pigs", "horses", "rabbits", "ants", "frogs", "geese"};
static const char *const lengths[] = {"meters", "miles", "steps", "kilometers", "feet", "blocks"};
static const char *const things[] = {"hat", "book", "bike", "lamp", "shirt", "chair", "game", "bag", "coat", "clock",
                                     "table", "phone", "ball", "cake", "knife", "tent"};
static const char *const days[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
static const char *const plants[] = {"trees", "roses", "flowers", "beans", "cabbages", "tulips", "bushes"};
static const char *const workers[] = {"A farmer", "A teacher", "A baker", "A shop", "A school", "A factory", "A library"};

static const char *draw_other(const char *const *list, size_t n, const char *but, Rng *rng)
{
    const char *word;
    do
        word = list[rng_below(rng, n)];
    while (but && strcmp(word, but) == 0);
    return word;
}

static void draw_name(Wording *w, Rng *rng)
{
    const uint64_t i = rng_below(rng, COUNT(names));
    w->slot['n'] = names[i];
    w->slot['p'] = i % 2 ? "she" : "he";
    w->slot['q'] = i % 2 ? "her" : "him";
    w->slot['P'] = i % 2 ? "She" : "He";
}

static void draw_container(Wording *w, Rng *rng)
{
    const uint64_t i = rng_below(rng, COUNT(containers));
    w->slot['k'] = containers[i];
    w->slot['K'] = containers_plural[i];
}

static const char *slot(Wording *w, unsigned char letter, Rng *rng)
{
    if (w->slot[letter])
        return w->slot[letter];
    switch (letter) {
    case 'n': case 'p': case 'q': case 'P': draw_name(w, rng); break;
    case 'k': case 'K': draw_container(w, rng); break;
    case 'm': w->slot['m'] = draw_other(names, COUNT(names), slot(w, 'n', rng), rng); break;
    case 'o': w->slot['o'] = ONE_OF(objects, rng); break;
    case 'v': w->slot['v'] = ONE_OF(animals, rng); break;
    case 'w': w->slot['w'] = draw_other(animals, COUNT(animals), slot(w, 'v', rng), rng); break;
    case 'u': w->slot['u'] = ONE_OF(lengths, rng); break;
    case 'i': w->slot['i'] = ONE_OF(things, rng); break;
    case 'j': w->slot['j'] = draw_other(things, COUNT(things), slot(w, 'i', rng), rng); break;
    case 'd': w->slot['d'] = ONE_OF(days, rng); break;
    case 'e': w->slot['e'] = draw_other(days, COUNT(days), slot(w, 'd', rng), rng); break;
    case 't': w->slot['t'] = ONE_OF(plants, rng); break;
    case 'W': w->slot['W'] = ONE_OF(workers, rng); break;
    default: CHECK(!"a slot without a list");
    }
    return w->slot[letter];
}

/* ---- templates ----------------------------------------------------------------------------------- */

void wording_numbers(Wording *w, int64_t a, int64_t b, int64_t c)
{
    const int64_t x[] = {a, b, c};
    for (int i = 0; i < 3; i++) {
        snprintf(w->number[i], sizeof w->number[i], "%" PRId64, x[i]);
        w->slot['a' + i] = w->number[i];
    }
}

/* Everything but choices. */
static Status fill_slots(Wording *w, const char *text, size_t len, Rng *rng, ByteBuf *out)
{
    Status st = ST_OK;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '{') {
            TRY(bytebuf_append(out, text + i, 1));
            continue;
        }
        CHECK(i + 2 < len && text[i + 2] == '}');
        const char *const word = slot(w, (unsigned char)text[i + 1] & 127, rng);
        TRY(bytebuf_append(out, word, strlen(word)));
        i += 2;
    }
out:
    return st;
}

/* The chosen one of "[a|b|c]"; *len its length, the result behind it is the closing bracket's end. */
static const char *choose(const char *open, const char *close, Rng *rng, size_t *len)
{
    uint64_t n = 1;
    for (const char *p = open; p < close; p++)
        n += *p == '|';
    uint64_t k = rng_below(rng, n);
    const char *start = open;
    for (; k > 0; k--)
        start = (const char *)memchr(start, '|', (size_t)(close - start)) + 1;
    const char *const bar = memchr(start, '|', (size_t)(close - start));
    *len = (size_t)((bar ? bar : close) - start);
    return start;
}

Status wording_fill(Wording *w, const char *text, Rng *rng, ByteBuf *out)
{
    Status st = ST_OK;
    while (*text) {
        const size_t plain = strcspn(text, "[");
        TRY(fill_slots(w, text, plain, rng, out));
        text += plain;
        if (*text == 0)
            break;
        const char *const close = strchr(text, ']');
        size_t len;
        CHECK(close);
        const char *const chosen = choose(text + 1, close, rng, &len);
        TRY(fill_slots(w, chosen, len, rng, out));
        text = close + 1;
    }
out:
    return st;
}

Status wording_nonsense(Rng *rng, ByteBuf *out)
{
    static const char *const heads[] = {"b", "bl", "d", "dr", "f", "fl", "g", "gr", "j", "k", "kl", "l", "m", "n",
                                        "p", "pr", "qu", "r", "s", "sh", "sk", "st", "t", "tr", "v", "w", "x", "z"};
    static const char *const vowels[] = {"a", "e", "i", "o", "u", "ai", "ee", "ou", "y"};
    static const char *const tails[] = {"", "", "b", "ck", "d", "ft", "l", "m", "n", "nd", "p", "r", "s", "t", "x", "sh"};
    Status st = ST_OK;
    for (uint64_t n = 1 + rng_below(rng, 3); n > 0; n--) {
        const char *const part[] = {ONE_OF(heads, rng), ONE_OF(vowels, rng), ONE_OF(tails, rng)};
        for (int i = 0; i < 3; i++)
            TRY(bytebuf_append(out, part[i], strlen(part[i])));
    }
out:
    return st;
}

/* ---- calculations -------------------------------------------------------------------------------- */

static const char *const add_words[] = {
    "[What is|What's|Calculate|Compute|Work out|Find|How much is|Tell me] {a} + {b}[?|.|]",
    "{a} + {b}[| =| = ?|?|=]", "{a}+{b}[|=|=?|?]", "[What is|How much is|What's] {a} plus {b}?",
    "Add {a} [and|to|plus] {b}[.|]", "[What is|Find|Calculate] the sum of {a} and {b}[?|.|]",
    "Sum of {a} and {b}[?|]", "[Please add|Can you add|Could you add] {a} and {b}[?|]",
    "If you add {a} and {b}, what do you get?", "What do you get when you add {a} to {b}?",
    "{a} and {b} [together|make what|added together|in total][?|]", "What is {a} increased by {b}?",
    "What number is {a} more than {b}?", "[Solve|Evaluate]: {a} + {b}", "What does {a} + {b} equal?",
    "{a} plus {b}[| is| equals| equals what?]", "Total of {a} and {b}[?|]", "x = {a} + {b}. What is x?",
};
static const char *const sub_words[] = {
    "[What is|What's|Calculate|Compute|Work out|Find|How much is|Tell me] {a} - {b}[?|.|]",
    "{a} - {b}[| =| = ?|?|=]", "{a}-{b}[|=|=?|?]", "[What is|How much is|What's] {a} minus {b}?",
    "Subtract {b} from {a}[.|]", "[What is|Find|Calculate] the difference [between|of] {a} and {b}[?|.|]",
    "Take {b} [away from|from] {a}[.|]", "[Please subtract|Can you subtract|Could you take] {b} from {a}[?|]",
    "If you take {b} from {a}, what is left?", "What is left when you subtract {b} from {a}?",
    "What is {a} [reduced|decreased] by {b}?", "[Solve|Evaluate]: {a} - {b}", "What does {a} - {b} equal?",
    "{a} minus {b}[| is| equals| equals what?]", "{a} take away {b}[?|]", "x = {a} - {b}. What is x?",
    "What number is {b} less than {a}?", "How much more is {a} than {b}?",
};
static const char *const mul_words[] = {
    "[What is|What's|Calculate|Compute|Work out|Find|How much is|Tell me] {a} [*|x|×] {b}[?|.|]",
    "{a} [*|x|×] {b}[| =| = ?|?|=]", "{a}[*|x|×]{b}[|=|=?|?]", "[What is|How much is|What's] {a} times {b}?",
    "Multiply {a} [by|and|with] {b}[.|]", "[What is|Find|Calculate] the product of {a} and {b}[?|.|]",
    "Product of {a} and {b}[?|]", "[Please multiply|Can you multiply|Could you multiply] {a} by {b}[?|]",
    "If you multiply {a} by {b}, what do you get?", "What do you get when you multiply {a} by {b}?",
    "[Solve|Evaluate]: {a} [*|x] {b}", "What does {a} [*|x] {b} equal?", "{a} times {b}[| is| equals| equals what?]",
    "What is {a} multiplied by {b}?", "x = {a} * {b}. What is x?",
};

const char *wording_calculation(Calculation c, Rng *rng)
{
    return c == CALC_ADD ? ONE_OF(add_words, rng) : c == CALC_SUB ? ONE_OF(sub_words, rng) : ONE_OF(mul_words, rng);
}

/* ---- stories ------------------------------------------------------------------------------------- */

static const char *const add_stories[] = {
    ("{n} [has|had] {a} {o}. [{P} buys|{P} finds|{P} gets|{P} makes|{m} gives {q}|{P} wins] {b} more. "
    "How many {o} does {n} have [now|in all|in total|altogether]?"),
    "{n} has {a} {o} and {m} has {b}[| {o}]. How many {o} do they have [together|in all|in total|altogether]?",
    "[There are|We count|{n} counts] {a} {o} in a {k}. {n} [puts in|adds|brings] {b} more. How many {o} are [in the {k}|there] now?",
    ("{n} [found|sold|bought|collected|picked|counted] {a} {o} on {d} and {b} on {e}. "
    "How many {o} [is that|were there] [in all|in total|altogether|together]?"),
    "{W} [sold|used|bought|made] {a} {o} in the morning and {b} in the afternoon. How many {o} [is that|are that in all]?",
    "{n} read {a} pages [yesterday|on {d}|last week] and {b} pages [today|on {e}|this week]. How many pages did {p} read?",
    ("A [train|bus|ship|plane] [carries|has] {a} people. [At a stop|Then|Later] {b} more get on. "
    "How many people are on it now?"),
    "{n} [walked|ran|rode|drove] {a} {u} and then {b} {u} more. How many {u} [is that|did {p} go]?",
    "{n} paid {a} dollars for a {i} and {b} dollars for a {j}. How much did {p} [pay|spend] [in all|together|]?",
    "[In a school|In a class|At a party|In a park] there are {a} girls and {b} boys. How many children are there?",
    "{n} is {a} years old. How old will {p} be in {b} years?",
    "There [were|are] {a} {v} [on a lake|in a field|on a farm|in a garden]. [Then {b} more came|{b} more come]. How many are there now?",
    "{n} scored {a} points in the first game and {b} in the second. How many points [is that|did {p} score]?",
    "A farmer has {a} {v} and {b} {w}. How many animals [is that|does the farmer have]?",
    "{m} gave {n} {a} {o} and {b} {o} came [by post|from a friend|later]. How many {o} did {n} get?",
    "{n} [saves|saved] {a} dollars in one month and {b} dollars in the next. How many dollars did {p} save?",
    "A {i} costs {a} dollars and a {j} costs {b}. How much do both cost?",
    "{n} planted {a} {t} and {m} planted {b}. How many {t} [did they plant|were planted]?",
};
static const char *const sub_stories[] = {
    ("{n} [has|had] {a} {o}. [{P} gives {b} to {m}|{P} loses {b}|{P} sells {b}|{m} takes {b}|{P} uses {b}|{P} gives away {b}]. "
    "How many {o} [does {n} have left|are left|does {n} still have]?"),
    "{n} had {a} {o} and [lost|sold|ate|used|gave away] {b}[| of them]. How many {o} [are left|does {p} have now|remain]?",
    "There [are|were] {a} {o} in a {k}. {n} [takes out|removes|takes] {b}. How many {o} are [left|still there|in the {k} now]?",
    "{W} had {a} {o} and [sold|used|lost] {b}. How many {o} are left?",
    "A [train|bus|ship|plane] has {a} people. [At a stop|Then] {b} get off. How many people are still on it?",
    "{n} has {a} {o}. {m} has {b}. How many more {o} does {n} have than {m}?",
    "A book has {a} pages. {n} has read {b}[| of them]. How many pages are left?",
    "{n} had {a} dollars and spent {b}[| on a {i}]. How [much money|many dollars] [is left|are left|does {p} have left]?",
    "Of {a} {v}, {b} [ran away|went home|left]. How many [stayed|are left|remain]?",
    "A [rope|road|wall|ribbon] is {a} {u} long. {n} [cuts off|has done|takes] {b} {u}. How many {u} are left?",
    "{n} needs {a} {o} and has {b}. How many [more|more {o}] does {p} need?",
    "{n} is {a} years old and {m} is {b}. How [much|many years] older is {n}?",
    "There were {a} {v} [in a field|on a lake|on a farm]. {b} [went away|flew away|left]. How many {v} [stayed|are left]?",
    "A {i} costs {a} dollars. {n} has {b} dollars. How many dollars are missing?",
    "{n} wants to walk {a} {u} and has walked {b}. How many {u} are left?",
    "{n} planted {a} {t}. {b} of them [died|did not grow]. How many {t} are left?",
    "A {i} costs {a} dollars and a {j} {b}. How much [cheaper is the {j}|more does the {i} cost]?",
};
static const char *const mul_stories[] = {
    "[There are|{n} has|We have|{W} has] {b} {K} with {a} {o} [each|in each|in every one]. How many {o} [are there|is that] [in all|altogether|]?",
    "{n} buys {b} {K} of {a} {o}[| each]. How many {o} [is that|does {p} buy]?",
    "A {i} costs {a} dollars. How much do {b} of them cost?",
    "{n} [walks|runs|rides|drives] {a} {u} [every day|a day|each day]. How many {u} is that in {b} days?",
    "Each of {b} [friends|children|people|boys|girls] has {a} {o}. How many {o} do they have [together|in all]?",
    "{n} reads {a} pages [a day|every day]. How many pages does {p} read in {b} days?",
    "[A bus|A train|A plane|A boat] holds {a} people. How many people do {b} of them hold?",
    "{n} earns {a} dollars [an hour|a day|a week]. How much does {p} earn in {b} of them?",
    "A farmer has {b} fields with {a} {v} in each. How many {v} are there?",
    "{n} plants {b} rows of {a} {t}. How many {t} [is that|does {p} plant]?",
    "A machine makes {a} {o} an hour. How many {o} does it make in {b} hours?",
    "There are {a} {o} in every {k}. How many {o} are in {b} {K}?",
    "{b} {K} hold {a} {o} each. How many {o} do they hold [together|in all]?",
    "{n} pays {a} dollars [a month|a week]. How much is that in {b} [months|weeks]?",
    "{n} has {a} {o}. {m} has {b} times as many. How many {o} does {m} have?",
};

const char *wording_story(Calculation c, Rng *rng)
{
    return c == CALC_ADD ? ONE_OF(add_stories, rng) : c == CALC_SUB ? ONE_OF(sub_stories, rng) : ONE_OF(mul_stories, rng);
}

static const struct {
    Calculation c[2];
    const char *text;
} two_stories[] = {
    {{CALC_ADD, CALC_SUB}, "{n} has {a} {o}. [{P} buys|{P} finds|{m} gives {q}] {b} more and then [loses|sells|gives away] {c}. "
                           "How many {o} does {n} have now?"},
    {{CALC_ADD, CALC_SUB}, "[A bus|A train] has {a} people. {b} get on and {c} get off. How many people are on it now?"},
    {{CALC_ADD, CALC_SUB}, "{n} has {a} dollars and gets {b} from {m}. Then {p} pays {c} for a {i}. How many dollars are left?"},
    {{CALC_ADD, CALC_ADD}, "{n} [found|sold|picked] {a} {o} on {d}, {b} on {e} and {c} [more later|on the day after]. "
                           "How many {o} is that in all?"},
    {{CALC_ADD, CALC_ADD}, "A {i} costs {a} dollars, a {j} {b} and a map {c}. How much do they cost together?"},
    {{CALC_ADD, CALC_ADD}, "{n} has {a} {o}, {m} has {b} and their friend has {c}. How many {o} do they have together?"},
    {{CALC_SUB, CALC_SUB}, "{n} had {a} {o}. {P} [gave|sold] {b} to {m} and lost {c}. How many {o} are left?"},
    {{CALC_SUB, CALC_SUB}, "A book has {a} pages. {n} read {b} on {d} and {c} on {e}. How many pages are left?"},
    {{CALC_SUB, CALC_ADD}, "{n} had {a} {o}, [gave away|lost|sold] {b} and then [found|bought|got] {c}. How many {o} does {p} have now?"},
    {{CALC_SUB, CALC_ADD}, "There were {a} {v} on a lake. {b} flew away and {c} came. How many are there now?"},
    {{CALC_MUL, CALC_ADD}, "{n} has {b} {K} with {a} {o} each and {c} more {o}. How many {o} is that in all?"},
    {{CALC_MUL, CALC_ADD}, "{n} buys {b} tickets for {a} dollars each and a {i} for {c} dollars. How much does {p} pay?"},
    {{CALC_MUL, CALC_SUB}, "There are {b} {K} with {a} {o} each. {n} takes {c}. How many {o} are left?"},
    {{CALC_MUL, CALC_SUB}, "{n} earns {a} dollars a day for {b} days and spends {c}. How many dollars are left?"},
};

const char *wording_story_of_two(Calculation c[2], Rng *rng)
{
    const uint64_t i = rng_below(rng, COUNT(two_stories));
    c[0] = two_stories[i].c[0];
    c[1] = two_stories[i].c[1];
    return two_stories[i].text;
}

/* ---- comparing, sorting -------------------------------------------------------------------------- */

static const char *const compare_words[ASK_COUNT][6] = {
    [ASK_LARGER] = {"Which [number |]is [larger|bigger|greater], {a} or {b}?", "Which is [more|the larger one|the bigger one]: {a} or {b}?",
                    "What is the [larger|bigger|greater] [one |]of {a} and {b}?", "[Larger|Bigger|Greater]: {a} or {b}[?|]",
                    "Compare {a} and {b}. Which is [larger|bigger|greater]?", "Is {a} or {b} [larger|bigger|greater|more]?"},
    [ASK_SMALLER] = {"Which [number |]is [smaller|less|lower], {a} or {b}?", "Which is [less|the smaller one|the lower one]: {a} or {b}?",
                     "What is the [smaller|lower] [one |]of {a} and {b}?", "[Smaller|Lower]: {a} or {b}[?|]",
                     "Compare {a} and {b}. Which is [smaller|lower|less]?", "Is {a} or {b} [smaller|lower|less]?"},
    [ASK_IS_LARGER] = {"Is {a} [larger|bigger|greater|more] than {b}?", "Is it true that {a} is [larger|bigger|greater] than {b}?",
                       "{a} > {b}?", "Is {a} > {b}?", "Tell me if {a} is [larger|greater|bigger] than {b}[.|]",
                       "Is {a} above {b}?"},
    [ASK_IS_SMALLER] = {"Is {a} [smaller|less|lower] than {b}?", "Is it true that {a} is [smaller|less] than {b}?", "{a} < {b}?",
                        "Is {a} < {b}?", "Tell me if {a} is [smaller|less] than {b}[.|]", "Is {a} below {b}?"},
    [ASK_SIGN] = {"Which sign [goes|belongs] between {a} and {b}: <, > or =?", "Compare with <, > or =: {a} and {b}",
                  "{a} ? {b} Put in <, > or =.", "Put <, > or = between {a} and {b}[.|]", "<, > or =: {a} ... {b}",
                  "Compare {a} and {b} with a sign[.|]"},
};

const char *wording_comparison(Comparison c, Rng *rng)
{
    CHECK((unsigned)c < ASK_COUNT);
    return compare_words[c][rng_below(rng, 6)];
}

const char *wording_sort(bool descending, Rng *rng)
{
    static const char *const up[] = {
        "Sort [|these numbers: |the numbers |the list ]{l}[.|]", "Sort {l} [in ascending order|from smallest to largest|from low to high|ascending|upwards][.|]",
        "[Put|Arrange|Order] [these numbers|the numbers] [in order|from smallest to largest|in ascending order|from least to greatest]: {l}",
        "[Order|Arrange] {l} [from smallest to largest|from small to big|from least to greatest][.|]",
        "What is the sorted order of {l}?", "Put {l} in order[.|]", "Can you sort {l}?"};
    static const char *const down[] = {
        "Sort {l} [in descending order|from largest to smallest|from high to low|descending|downwards|in reverse order][.|]",
        "[Put|Arrange|Order] [these numbers|the numbers] [from largest to smallest|in descending order|from greatest to least]: {l}",
        "[Order|Arrange] {l} [from largest to smallest|from big to small|from greatest to least][.|]",
        "Sort [these numbers|the numbers] {l}, largest first[.|]"};
    return descending ? ONE_OF(down, rng) : ONE_OF(up, rng);
}

const char *wording_extreme(bool largest, Rng *rng)
{
    static const char *const most[] = {
        "[What|Which] is the [largest|biggest|greatest|highest] [of|number of|number in|number among] {l}?", "Find the [maximum|largest|biggest] of {l}[.|]",
        "[Largest|Biggest|Maximum] of {l}[?|]", "max({l})", "Which of {l} is the [largest|biggest|greatest]?"};
    static const char *const least[] = {
        "[What|Which] is the [smallest|least|lowest] [of|number of|number in|number among] {l}?", "Find the [minimum|smallest|lowest] of {l}[.|]",
        "[Smallest|Lowest|Minimum] of {l}[?|]", "min({l})", "Which of {l} is the [smallest|lowest|least]?"};
    return largest ? ONE_OF(most, rng) : ONE_OF(least, rng);
}

const char *wording_parity(Rng *rng)
{
    static const char *const words[] = {"Is {a} [even or odd|odd or even|an even or an odd number]?", "{a}: [even or odd|odd or even]?",
                                        "[Even or odd|Odd or even]: {a}", "Tell me whether {a} is [even or odd|odd or even][.|]",
                                        "Is the number {a} [even or odd|odd or even]?"};
    return ONE_OF(words, rng);
}
