/* Recognising chat templates of the ChatML kind without interpreting Jinja.
 *
 * A template is brought into a canonical spelling: literals joined, white space and quotes unified,
 * message['role'] written message.role, white space around tags removed as Jinja does (with trim_blocks and
 * lstrip_blocks, as the reference sets them), and branches dropped that need tools. What is left is
 * compared, byte for byte, with the few programs below, which have one hole: the default system text. So a
 * template that does anything else with a conversation is never taken for one that it only resembles.
 *
 * Canonical spelling: \1statement\2, \3expression\4, and literal text as it is. */
#include "chat/chat_internal.h"

#include "base/mem.h"

#include <ctype.h>
#include <string.h>

#define TEMPLATE_BYTES_MAX ((size_t)1 << 20)
#define ITEMS_MAX 4096
#define DEPTH_MAX 32

#define S(statement) "\1" statement "\2"
#define V(expression) "\3" expression "\4"
#define HOLE '\5'
#define TURN "<|im_start|>" V("message.role") "\n" V("message.content") "<|im_end|>\n"
#define GIVEN_SYSTEM "<|im_start|>system\n" V("messages[0].content") "<|im_end|>\n"
#define DEFAULT_SYSTEM "<|im_start|>system\n\5<|im_end|>\n"
#define PROMPT "<|im_start|>assistant\n"
#define GENERATION S("if add_generation_prompt") PROMPT S("endif")
#define FOR S("for message in messages")
#define END S("endfor")
#define USER_OR_LATER_SYSTEM "(message.role=='user')or(message.role=='system' and not loop.first)"
#define EVERY_PLAIN_TURN USER_OR_LATER_SYSTEM "or(message.role=='assistant' and not message.tool_calls)"

static const char *const programs[] = {
    /* ChatML as most write it */
    FOR TURN END GENERATION,
    FOR TURN S("if loop.last and add_generation_prompt") PROMPT S("endif") END,
    /* SmolLM2, Qwen2: a default when the first turn is not the system's */
    FOR S("if loop.first and messages[0].role!='system'") DEFAULT_SYSTEM S("endif") TURN END GENERATION,
    /* Qwen2.5: the same, written around its tools */
    S("if messages[0].role=='system'") GIVEN_SYSTEM S("else") DEFAULT_SYSTEM S("endif")
    FOR S("if" EVERY_PLAIN_TURN) TURN S("endif") END GENERATION,
    S("if messages[0].role!='system'") DEFAULT_SYSTEM S("endif") FOR TURN END GENERATION,
    S("if messages[0].role=='system'") GIVEN_SYSTEM S("endif")
    FOR S("if" EVERY_PLAIN_TURN) TURN S("endif") END GENERATION,
    S("if messages[0].role=='system'") GIVEN_SYSTEM S("else") DEFAULT_SYSTEM S("endif")
    FOR S("if" USER_OR_LATER_SYSTEM) TURN
    S("elif(message.role=='assistant' and not message.tool_calls)") TURN S("endif") END GENERATION,
};

static const char declares_flag[] = S("if not add_generation_prompt is defined")
    S("set add_generation_prompt=false") S("endif");

/* ---- Jinja → items ----------------------------------------------------------------------------- */

typedef enum { ITEM_LITERAL, ITEM_STATEMENT, ITEM_EXPRESSION } ItemKind;

typedef struct {
    ItemKind kind;
    size_t start, len; /* in the pool */
} Item;

typedef struct {
    const char *text;
    size_t len, at;
    Str loop_word; /* what the template calls the message of its loop */
    ByteBuf pool;
    Item *items; /* owned */
    size_t count, cap;
} Reader;

/* Everything that is not understood ends in this status; the message is made once, by the caller. */
static Status unknown(void)
{
    return ST_UNSUPPORTED;
}

static Status add_item(Reader *r, ItemKind kind, size_t start)
{
    if (r->count >= ITEMS_MAX)
        return unknown();
    const Status st = mem_grow((void **)&r->items, &r->cap, r->count + 1, sizeof *r->items);
    if (st == ST_OK)
        r->items[r->count++] = (Item){kind, start, r->pool.count - start};
    return st;
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* Decode the string literal at text[*at] (a quote) into the pool; *at moves behind it. */
static Status read_string(Reader *r, size_t *at, size_t end, bool quoted)
{
    Status st = ST_OK;
    const char quote = r->text[(*at)++];
    if (quoted)
        TRY(bytebuf_append(&r->pool, "'", 1));
    for (;; (*at)++) {
        if (*at >= end)
            return unknown();
        char c = r->text[*at];
        if (c == quote)
            break;
        if (c == '\\') {
            static const char from[] = "nrt\\'\"", to[] = "\n\r\t\\'\"";
            const char *const found = ++(*at) < end ? memchr(from, r->text[*at], sizeof from - 1) : NULL;
            if (!found)
                return unknown();
            c = to[found - from];
        }
        if (quoted && (c == '\'' || c == '\\'))
            TRY(bytebuf_append(&r->pool, "\\", 1));
        TRY(bytebuf_append(&r->pool, &c, 1));
    }
    (*at)++;
    if (quoted)
        TRY(bytebuf_append(&r->pool, "'", 1));
out:
    return st;
}

/* Length of ['name'] at text[at], with the name's range; 0 when something else is there. */
static size_t match_subscript(const Reader *r, size_t at, size_t end, size_t *name, size_t *name_len)
{
    size_t i = at + 1;
    if (r->text[at] != '[' || i >= end || (r->text[i] != '\'' && r->text[i] != '"'))
        return 0;
    const char quote = r->text[i++];
    *name = i;
    while (i < end && is_word(r->text[i]))
        i++;
    *name_len = i - *name;
    if (*name_len == 0 || isdigit((unsigned char)r->text[*name]) || i + 1 >= end || r->text[i] != quote ||
        r->text[i + 1] != ']')
        return 0;
    return i + 2 - at;
}

/* One token of an expression to the pool: a word, a string, a subscript as attribute, or one character. */
static Status read_token(Reader *r, size_t *at, size_t end)
{
    size_t name, name_len;
    const char c = r->text[*at];
    if (c == '\'' || c == '"')
        return read_string(r, at, end, true);
    const size_t subscript = match_subscript(r, *at, end, &name, &name_len);
    if (subscript) {
        *at += subscript;
        const Status st = bytebuf_append(&r->pool, ".", 1);
        return st != ST_OK ? st : bytebuf_append(&r->pool, r->text + name, name_len);
    }
    const size_t start = *at;
    while (*at < end && is_word(r->text[*at]))
        (*at)++;
    if (*at == start)
        (*at)++;
    const bool attribute = r->pool.count > 0 && r->pool.data[r->pool.count - 1] == '.';
    if (!attribute && r->loop_word.len == *at - start &&
        memcmp(r->loop_word.ptr, r->text + start, *at - start) == 0)
        return bytebuf_append(&r->pool, "message", 7);
    return bytebuf_append(&r->pool, r->text + start, *at - start);
}

/* The X of "for X in messages". */
static void note_loop_word(Reader *r, size_t at, size_t end)
{
    static const char rest[] = " in messages";
    const size_t start = at + 4;
    if (end - at < 4 || memcmp(r->text + at, "for ", 4) != 0)
        return;
    for (at = start; at < end && is_word(r->text[at]);)
        at++;
    if (at > start && end - at >= sizeof rest - 1 && memcmp(r->text + at, rest, sizeof rest - 1) == 0)
        r->loop_word = (Str){r->text + start, at - start};
}

static void skip_space(const Reader *r, size_t *at, size_t end)
{
    while (*at < end && isspace((unsigned char)r->text[*at]))
        (*at)++;
}

/* Text up to `end`, or with `operand` up to a + or ~ outside of brackets, in the canonical spelling: one
 * space between words and strings, none elsewhere. *tokens tells how many there were. */
static Status read_tokens(Reader *r, size_t *at, size_t end, bool operand, int *tokens)
{
    Status st = ST_OK;
    int depth = 0;
    bool after_word = false;
    *tokens = 0;
    for (skip_space(r, at, end); *at < end; skip_space(r, at, end)) {
        const char c = r->text[*at];
        if (operand && depth == 0 && (c == '+' || c == '~'))
            break;
        depth += (c == '(' || c == '[' || c == '{') - (c == ')' || c == ']' || c == '}');
        const bool word = is_word(c) || c == '\'' || c == '"';
        if (after_word && word)
            TRY(bytebuf_append(&r->pool, " ", 1));
        const bool subscript = c == '[';
        const size_t before = r->pool.count;
        TRY(read_token(r, at, end));
        if (subscript && r->pool.data[before] == '.') {
            depth--; /* its closing bracket went along */
            after_word = true;
        } else {
            after_word = word;
        }
        (*tokens)++;
    }
out:
    return st;
}

/* The inside of {{ }}: operands of + one by one, string literals as literals. */
static Status read_expression(Reader *r, size_t at, size_t end)
{
    Status st = ST_OK;
    for (;;) {
        skip_space(r, &at, end);
        const size_t start = r->pool.count, operand_at = at;
        int tokens;
        TRY(read_tokens(r, &at, end, true, &tokens));
        if (tokens == 0)
            return unknown();
        const char c = r->text[operand_at];
        if (tokens == 1 && (c == '\'' || c == '"')) {
            size_t again = operand_at;
            r->pool.count = start;
            TRY(read_string(r, &again, end, false));
            TRY(add_item(r, ITEM_LITERAL, start));
        } else {
            TRY(add_item(r, ITEM_EXPRESSION, start));
        }
        if (at >= end)
            break;
        at++; /* the + */
    }
out:
    return st;
}

/* Position of the closing pair of a tag, looking past strings; SIZE_MAX when there is none. */
static size_t find_close(const Reader *r, size_t at, const char *close)
{
    const bool comment = close[0] == '#';
    while (at + 1 < r->len) {
        const char c = r->text[at];
        if (c == close[0] && r->text[at + 1] == close[1])
            return at;
        if (!comment && (c == '\'' || c == '"')) {
            for (at++; at < r->len && r->text[at] != c; at++)
                at += r->text[at] == '\\';
        }
        at++;
    }
    return SIZE_MAX;
}

/* The text before a tag, without what the tag strips from it. `line_start`: it begins a line. */
static Status add_text(Reader *r, size_t start, size_t end, bool line_start, bool block, char sign)
{
    if (sign == '-') {
        while (end > start && isspace((unsigned char)r->text[end - 1]))
            end--;
    } else if (block && sign != '+') {
        size_t i = end;
        while (i > start && r->text[i - 1] != '\n' && isspace((unsigned char)r->text[i - 1]))
            i--;
        if (i > start ? r->text[i - 1] == '\n' : line_start)
            end = i;
    }
    const size_t at = r->pool.count;
    if (end == start)
        return ST_OK;
    const Status st = bytebuf_append(&r->pool, r->text + start, end - start);
    return st != ST_OK ? st : add_item(r, ITEM_LITERAL, at);
}

/* The next "{{", "{%" or "{#" from `at`; SIZE_MAX when there is none. */
static size_t find_open(const Reader *r, size_t at)
{
    for (; at + 1 < r->len; at++)
        if (r->text[at] == '{' && strchr("{%#", r->text[at + 1]) && r->text[at + 1])
            return at;
    return SIZE_MAX;
}

static Status read_tag(Reader *r, size_t at, size_t end, char kind)
{
    Status st = ST_OK;
    int tokens;
    if (kind == '#')
        return ST_OK;
    if (kind == '{')
        return read_expression(r, at, end);
    const size_t start = r->pool.count;
    skip_space(r, &at, end);
    note_loop_word(r, at, end);
    TRY(read_tokens(r, &at, end, false, &tokens));
    TRY(add_item(r, ITEM_STATEMENT, start));
out:
    return st;
}

static Status read_template(Reader *r)
{
    Status st = ST_OK;
    bool line_start = true;
    for (;;) {
        const size_t open = find_open(r, r->at);
        if (open == SIZE_MAX)
            return add_text(r, r->at, r->len, line_start, false, 0);
        const char kind = r->text[open + 1];
        const char close[3] = {kind == '{' ? '}' : kind, '}', 0};
        size_t inside = open + 2;
        const char sign = inside < r->len ? r->text[inside] : 0;
        inside += sign == '-' || sign == '+';
        TRY(add_text(r, r->at, open, line_start, kind != '{', sign));
        const size_t end = find_close(r, inside, close);
        if (end == SIZE_MAX)
            return unknown();
        const char last = end > inside ? r->text[end - 1] : 0;
        const bool strips = last == '-', keeps = last == '+';
        TRY(read_tag(r, inside, end - (strips || keeps), kind));
        r->at = end + 2;
        line_start = false;
        if (strips) {
            skip_space(r, &r->at, r->len);
        } else if (kind != '{' && !keeps && r->at < r->len && r->text[r->at] == '\n') {
            r->at++;
            line_start = true;
        }
    }
out:
    return st;
}

/* ---- items → canonical text, without the branches that need tools ------------------------------- */

typedef struct {
    const Reader *r;
    size_t at;
    ByteBuf out;
} Pruner;

static Str item_text(const Pruner *p, size_t i)
{
    const Item *const item = &p->r->items[i];
    return item->len ? (Str){(const char *)p->r->pool.data + item->start, item->len} : (Str){"", 0};
}

static bool starts_with(Str s, const char *prefix)
{
    const size_t n = strlen(prefix);
    return s.len >= n && memcmp(s.ptr, prefix, n) == 0;
}

static bool contains(Str s, const char *part)
{
    return memmem(s.ptr, s.len, part, strlen(part)) != NULL;
}

/* A conjunction with a term that needs tools is false in a conversation without. */
static bool needs_tools(Str condition)
{
    static const char *const terms[] = {"tools", "tools is not none", "message.tool_calls",
                                        "message.role=='tool'"};
    if (contains(condition, " or ") || contains(condition, "or(") || contains(condition, ")or"))
        return false;
    while (condition.len > 0) {
        const char *const and = memmem(condition.ptr, condition.len, " and ", 5);
        const Str term = {condition.ptr, and ? (size_t)(and - condition.ptr) : condition.len};
        for (size_t i = 0; i < sizeof terms / sizeof *terms; i++)
            if (str_eq(term, terms[i]))
                return true;
        const size_t used = and ? term.len + 5 : term.len;
        condition.ptr += used;
        condition.len -= used;
    }
    return false;
}

static Status put(Pruner *p, bool keep, char open, const char *word, Str text, char close)
{
    Status st = ST_OK;
    if (!keep)
        return ST_OK;
    if (open)
        TRY(bytebuf_append(&p->out, &open, 1));
    TRY(bytebuf_append(&p->out, word, strlen(word)));
    TRY(bytebuf_append(&p->out, text.ptr, text.len));
    if (close)
        TRY(bytebuf_append(&p->out, &close, 1));
out:
    return st;
}

static Status prune(Pruner *p, bool keep, int depth);

/* if … elif … else … endif. A branch that needs tools goes; what stands behind a condition that every
 * turn without tools meets goes; an else that is left alone stands without a condition. */
static Status prune_if(Pruner *p, bool keep, int depth)
{
    Status st = ST_OK;
    bool written = false, over = false;
    for (;;) {
        const Str s = item_text(p, p->at++);
        const bool is_else = str_eq(s, "else");
        const size_t skip = is_else ? 4 : starts_with(s, "elif") ? 4 : 2;
        Str condition = {s.ptr + skip, s.len - skip};
        while (condition.len > 0 && *condition.ptr == ' ') {
            condition.ptr++;
            condition.len--;
        }
        const bool kept = keep && !over && !needs_tools(condition);
        if (kept && is_else && !written)
            over = true;
        else if (kept)
            TRY(put(p, true, '\1', is_else ? "else" : written ? "elif" : "if",
                    (Str){s.ptr + skip, s.len - skip}, '\2'));
        written = written || (kept && !over);
        over = over || (kept && str_eq(condition, EVERY_PLAIN_TURN));
        TRY(prune(p, kept, depth + 1));
        if (p->at >= p->r->count)
            return unknown();
        const Str next = item_text(p, p->at);
        if (str_eq(next, "endif"))
            break;
        if (is_else || !(str_eq(next, "else") || starts_with(next, "elif")))
            return unknown();
    }
    p->at++;
    TRY(put(p, keep && written, '\1', "endif", (Str){"", 0}, '\2'));
out:
    return st;
}

static Status prune_for(Pruner *p, bool keep, int depth)
{
    Status st = ST_OK;
    TRY(put(p, keep, '\1', "", item_text(p, p->at++), '\2'));
    TRY(prune(p, keep, depth + 1));
    if (p->at >= p->r->count || !str_eq(item_text(p, p->at), "endfor"))
        return unknown();
    TRY(put(p, keep, '\1', "", item_text(p, p->at++), '\2'));
out:
    return st;
}

/* Items up to the end, or up to the statement that ends this block, which is left to the caller. */
static Status prune(Pruner *p, bool keep, int depth)
{
    Status st = ST_OK;
    if (depth > DEPTH_MAX)
        return unknown();
    while (p->at < p->r->count) {
        const Str s = item_text(p, p->at);
        const ItemKind kind = p->r->items[p->at].kind;
        if (kind == ITEM_LITERAL) {
            TRY(put(p, keep, 0, "", s, 0));
        } else if (kind == ITEM_EXPRESSION) {
            TRY(put(p, keep, '\3', "", s, '\4'));
        } else if (starts_with(s, "if ") || starts_with(s, "if(")) {
            TRY(prune_if(p, keep, depth));
            continue;
        } else if (starts_with(s, "for ")) {
            TRY(prune_for(p, keep, depth));
            continue;
        } else if (starts_with(s, "el") || starts_with(s, "endif") || starts_with(s, "endfor")) {
            return depth > 0 ? ST_OK : unknown();
        } else if (!str_eq(s, "generation") && !str_eq(s, "endgeneration")) {
            TRY(put(p, keep, '\1', "", s, '\2'));
        }
        p->at++;
    }
    if (depth > 0)
        return unknown();
out:
    return st;
}

/* ---- comparison -------------------------------------------------------------------------------- */

static bool match_program(const char *program, Str text, Str *system)
{
    const char *const hole = strchr(program, HOLE);
    *system = (Str){NULL, 0};
    if (!hole)
        return str_eq(text, program);
    const size_t before = (size_t)(hole - program), behind = strlen(hole + 1);
    if (text.len < before + behind || memcmp(text.ptr, program, before) != 0)
        return false;
    const char *const found = text.ptr + before;
    const char *const end = memmem(found, text.len - before, "<|im_end|>", 10);
    if (!end || text.len - (size_t)(end - text.ptr) != behind || memcmp(end, hole + 1, behind) != 0)
        return false;
    *system = (Str){found, (size_t)(end - found)};
    for (size_t i = 0; i < system->len; i++)
        if ((unsigned char)found[i] < 6) /* a statement or an expression in the middle of it */
            return false;
    return true;
}

static Status match_any(ChatShape *out, Str text)
{
    static const char bos[] = V("bos_token");
    ChatShape shape = {0};
    for (bool again = true; again;) {
        again = false;
        if (starts_with(text, declares_flag)) {
            text = (Str){text.ptr + sizeof declares_flag - 1, text.len - (sizeof declares_flag - 1)};
            again = true;
        }
        if (!shape.bos && starts_with(text, bos)) {
            text = (Str){text.ptr + sizeof bos - 1, text.len - (sizeof bos - 1)};
            shape.bos = again = true;
        }
    }
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        Str system;
        if (!match_program(programs[i], text, &system))
            continue;
        if (system.ptr) {
            shape.default_system = mem_strndup(system.ptr, system.len);
            if (!shape.default_system)
                return ST_NOMEM;
        }
        *out = shape;
        return ST_OK;
    }
    return unknown();
}

/* Control bytes would look like the marks of the canonical spelling. Line ends become \n, and one at
 * the end goes, as in Jinja. */
static Status clean_text(ByteBuf *out, const char *text, size_t len)
{
    Status st = ST_OK;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 6)
            return unknown();
        if (text[i] == '\r') {
            TRY(bytebuf_append(out, "\n", 1));
            i += i + 1 < len && text[i + 1] == '\n';
        } else {
            TRY(bytebuf_append(out, text + i, 1));
        }
    }
    if (out->count > 0 && out->data[out->count - 1] == '\n')
        out->count--;
out:
    return st;
}

Status chat_template_recognise(ChatShape *out, const char *text, size_t len, Error *err)
{
    Status st = ST_OK;
    ByteBuf clean = {0};
    Reader r = {0};
    Pruner p = {.r = &r};
    if (len > TEMPLATE_BYTES_MAX)
        return error_set(err, ST_UNSUPPORTED, "chat template: %zu bytes, at most %zu are read", len,
                         TEMPLATE_BYTES_MAX);
    TRY(clean_text(&clean, text, len));
    r.text = (const char *)clean.data;
    r.len = clean.count;
    TRY(read_template(&r));
    TRY(prune(&p, true, 0));
    TRY(match_any(out, (Str){(const char *)p.out.data, p.out.count}));
out:
    bytebuf_free(&clean);
    bytebuf_free(&r.pool);
    mem_free(r.items);
    bytebuf_free(&p.out);
    if (st == ST_UNSUPPORTED)
        return error_set(err, st, "chat template: not one of the known kinds (ChatML); it begins '%.*s'%s",
                         (int)(len < 60 ? len : 60), text, len < 60 ? "" : "...");
    return st == ST_OK ? st : error_set(err, st, "chat template: %s", status_text(st));
}
