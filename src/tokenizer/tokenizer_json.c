/* Reading tokenizer.json.
 *
 * The two large parts, vocabulary and merges, go straight from the pull reader into the model. All other
 * parts are small: their values are remembered as ranges of the text and looked into by key, as often as
 * needed, once the vocabulary is there. */
#include "tokenizer/tokenizer.h"

#include "base/json.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "tokenizer/tokenizer_internal.h"

#include <string.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX ((size_t)1 << 30)

/* A value inside the text; n is 0 for one that is absent or null. */
typedef struct {
    const uint8_t *p;
    size_t n;
} Value;

/* ---- looking into small values ----------------------------------------------------------------- */

/* The value behind the current key, skipped. */
static Status take_value(JsonReader *r, Value *out, Error *err)
{
    const Status st = json_skip(r, err);
    if (st == ST_OK)
        *out = (Value){r->text + r->offset, r->end - r->offset};
    if (st == ST_OK && out->n == 4 && memcmp(out->p, "null", 4) == 0)
        *out = (Value){NULL, 0};
    return st;
}

/* Member `key` of an object. */
static Status get(Value object, const char *key, Value *out, Error *err)
{
    Status st = ST_OK;
    JsonReader r;
    *out = (Value){NULL, 0};
    json_init(&r, object.p, object.n);
    TRY(json_expect(&r, JSON_TOK_OBJECT_BEGIN, err));
    for (;;) {
        TRY(json_next(&r, err));
        if (r.token == JSON_TOK_OBJECT_END)
            break;
        if (str_eq(r.str, key))
            TRY(take_value(&r, out, err));
        else
            TRY(json_skip(&r, err));
    }
out:
    json_deinit(&r);
    return st;
}

/* A string value into *out (emptied first). */
static Status string_of(Value v, ByteBuf *out, Error *err)
{
    Status st = ST_OK;
    JsonReader r;
    out->count = 0;
    json_init(&r, v.p, v.n);
    TRY(json_expect(&r, JSON_TOK_STRING, err));
    if (bytebuf_append(out, r.str.ptr, r.str.len) != ST_OK)
        st = error_set(err, ST_NOMEM, "no memory for a string");
out:
    json_deinit(&r);
    return st;
}

/* A string member into *out; empty when it is absent or null. */
static Status get_string(Value object, const char *key, ByteBuf *out, Error *err)
{
    Value v;
    Status st = get(object, key, &v, err);
    out->count = 0;
    if (st == ST_OK && v.n > 0)
        st = string_of(v, out, err);
    return st;
}

static Status get_bool(Value object, const char *key, bool fallback, bool *out, Error *err)
{
    Value v;
    const Status st = get(object, key, &v, err);
    if (st != ST_OK)
        return st;
    *out = fallback;
    if (v.n == 0)
        return ST_OK;
    if (v.n == 4 && memcmp(v.p, "true", 4) == 0)
        *out = true;
    else if (v.n == 5 && memcmp(v.p, "false", 5) == 0)
        *out = false;
    else
        return error_set(err, ST_CORRUPT, "'%s' is neither true nor false", key);
    return ST_OK;
}

/* Whether the "type" of an object is this one. */
static bool type_is(const ByteBuf *type, const char *name)
{
    return type->count == strlen(name) && memcmp(type->data, name, type->count) == 0;
}

static Status unsupported(Error *err, const char *what, const ByteBuf *type)
{
    return error_set(err, ST_UNSUPPORTED, "%s '%.*s' is not supported", what, (int)(type->count < 80 ? type->count : 80),
                     type->count ? (const char *)type->data : "");
}

/* Called for every item of an array. */
typedef Status (*ItemFn)(Tokenizer *t, Value item, void *arg, Error *err);

static Status each(Tokenizer *t, Value array, ItemFn fn, void *arg, Error *err)
{
    Status st = ST_OK;
    JsonReader r;
    json_init(&r, array.p, array.n);
    TRY(json_expect(&r, JSON_TOK_ARRAY_BEGIN, err));
    for (;;) {
        TRY(json_next(&r, err));
        if (r.token == JSON_TOK_ARRAY_END)
            break;
        if (r.token == JSON_TOK_OBJECT_BEGIN || r.token == JSON_TOK_ARRAY_BEGIN)
            TRY(json_skip(&r, err));
        TRY(fn(t, (Value){r.text + r.offset, r.end - r.offset}, arg, err));
    }
out:
    json_deinit(&r);
    return st;
}

/* ---- model ------------------------------------------------------------------------------------- */

typedef struct {
    Tokenizer *t;
    Value merges; /* kept for later when they come before the vocabulary */
    bool vocab_seen, merges_seen;
    ByteBuf type, unk;
    size_t size; /* of the file: a hint for the tables */
} ModelReader;

static Status read_vocab(ModelReader *m, JsonReader *r, Error *err)
{
    Status st = ST_OK;
    ByteBuf key = {0};
    if (m->vocab_seen) {
        st = error_set(err, ST_CORRUPT, "model: a second vocab");
        goto out;
    }
    m->vocab_seen = true;
    TRY(json_expect(r, JSON_TOK_OBJECT_BEGIN, err));
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_OBJECT_END)
            break;
        Str text = r->str;
        if (!r->in_text) { /* it would not survive reading the id */
            key.count = 0;
            if (bytebuf_append(&key, text.ptr, text.len) != ST_OK) {
                st = error_set(err, ST_NOMEM, "no memory for a token");
                goto out;
            }
            text = (Str){(const char *)key.data, key.count};
        }
        TRY(json_expect(r, JSON_TOK_INT, err));
        TRY(bpe_add_token(&m->t->bpe, text.len ? text.ptr : "", text.len, r->i, err));
    }
out:
    bytebuf_free(&key);
    return st;
}

/* "left right" with exactly one space. */
static Status add_merge_line(Tokenizer *t, Str line, uint32_t *rank, Error *err)
{
    if (line.len >= 8 && memcmp(line.ptr, "#version", 8) == 0)
        return ST_OK;
    const char *space = line.len ? memchr(line.ptr, ' ', line.len) : NULL;
    const size_t left = space ? (size_t)(space - line.ptr) : 0;
    if (!space || memchr(space + 1, ' ', line.len - left - 1))
        return error_set(err, ST_CORRUPT, "merge %u '%.*s': not two tokens with one space between them", *rank,
                         (int)(line.len < 80 ? line.len : 80), line.ptr);
    return bpe_add_merge(&t->bpe, (Str){line.ptr, left}, (Str){space + 1, line.len - left - 1}, (*rank)++, err);
}

/* ["left", "right"]: the reader stands on the bracket. */
static Status add_merge_pair(Tokenizer *t, JsonReader *r, ByteBuf *keep, uint32_t *rank, Error *err)
{
    Status st = ST_OK;
    TRY(json_expect(r, JSON_TOK_STRING, err));
    Str left = r->str;
    if (!r->in_text) {
        keep->count = 0;
        if (bytebuf_append(keep, left.ptr, left.len) != ST_OK)
            return error_set(err, ST_NOMEM, "no memory for a merge");
        left = (Str){(const char *)keep->data, keep->count};
    }
    TRY(json_expect(r, JSON_TOK_STRING, err));
    TRY(bpe_add_merge(&t->bpe, left, r->str, (*rank)++, err));
    TRY(json_expect(r, JSON_TOK_ARRAY_END, err));
out:
    return st;
}

static Status read_merges(ModelReader *m, JsonReader *r, Error *err)
{
    Status st = ST_OK;
    ByteBuf keep = {0};
    uint32_t rank = 0;
    if (m->merges_seen) {
        st = error_set(err, ST_CORRUPT, "model: a second list of merges");
        goto out;
    }
    m->merges_seen = true;
    TRY(json_expect(r, JSON_TOK_ARRAY_BEGIN, err));
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_ARRAY_END)
            break;
        if (r->token == JSON_TOK_STRING)
            TRY(add_merge_line(m->t, r->str, &rank, err));
        else if (r->token == JSON_TOK_ARRAY_BEGIN)
            TRY(add_merge_pair(m->t, r, &keep, &rank, err));
        else
            TRY(json_error_token(r, err, "a merge"));
    }
out:
    bytebuf_free(&keep);
    return st;
}

static Status read_dropout(Value v, Error *err)
{
    Status st = ST_OK;
    JsonReader r;
    json_init(&r, v.p, v.n);
    if (v.n > 0)
        TRY(json_next(&r, err));
    if (v.n > 0 && !((r.token == JSON_TOK_INT || r.token == JSON_TOK_DOUBLE) && r.f == 0.0))
        st = error_set(err, ST_UNSUPPORTED, "model: dropout is not supported");
out:
    json_deinit(&r);
    return st;
}

static Status read_small_member(ModelReader *m, Str key, Value v, Error *err)
{
    Bpe *b = &m->t->bpe;
    const struct {
        const char *name;
        bool *target;
    } flags[] = {{"fuse_unk", &b->fuse_unk}, {"byte_fallback", &b->byte_fallback}, {"ignore_merges", &b->ignore_merges}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (str_eq(key, flags[i].name))
            *flags[i].target = v.n == 4 && memcmp(v.p, "true", 4) == 0;
    if (str_eq(key, "type") && v.n > 0)
        return string_of(v, &m->type, err);
    if (str_eq(key, "unk_token") && v.n > 0)
        return string_of(v, &m->unk, err);
    if (str_eq(key, "dropout"))
        return read_dropout(v, err);
    const bool text = str_eq(key, "continuing_subword_prefix") || str_eq(key, "end_of_word_suffix");
    if (text && v.n > 0 && !(v.n == 2 && memcmp(v.p, "\"\"", 2) == 0))
        return error_set(err, ST_UNSUPPORTED, "model: %.*s is not supported", (int)key.len, key.ptr);
    return ST_OK;
}

static Status read_member(ModelReader *m, JsonReader *r, Error *err)
{
    Status st = ST_OK;
    char name[32] = {0};
    Value v;
    if (r->str.len > 0 && r->str.len < sizeof name)
        memcpy(name, r->str.ptr, r->str.len);
    if (strcmp(name, "vocab") == 0)
        return read_vocab(m, r, err);
    if (strcmp(name, "merges") == 0 && m->vocab_seen)
        return read_merges(m, r, err);
    TRY(take_value(r, &v, err));
    if (strcmp(name, "merges") == 0)
        m->merges = v;
    else
        TRY(read_small_member(m, (Str){name, strlen(name)}, v, err));
out:
    return st;
}

static Status check_model(ModelReader *m, Error *err)
{
    Bpe *b = &m->t->bpe;
    if (m->type.count > 0 && !type_is(&m->type, "BPE"))
        return unsupported(err, "model type", &m->type);
    if (!m->vocab_seen || !m->merges_seen)
        return error_set(err, ST_CORRUPT, "model: no %s", m->vocab_seen ? "merges" : "vocab");
    if (m->unk.count > 0)
        b->unk_id = bpe_find_text(b, (const char *)m->unk.data, m->unk.count);
    if (m->unk.count > 0 && b->unk_id < 0)
        return unsupported(err, "model: an unk_token outside the vocabulary,", &m->unk);
    return ST_OK;
}

/* The reader stands behind the key "model". */
static Status read_model(Tokenizer *t, JsonReader *r, Error *err)
{
    Status st = ST_OK;
    ModelReader m = {.t = t};
    JsonReader late = {0};
    const size_t guess = r->size / 64 < BPE_ID_MAX / 4 ? r->size / 64 : BPE_ID_MAX / 4;
    TRY(bpe_init(&t->bpe, guess, guess, err));
    TRY(json_expect(r, JSON_TOK_OBJECT_BEGIN, err));
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_OBJECT_END)
            break;
        TRY(read_member(&m, r, err));
    }
    if (m.merges.n > 0 && m.vocab_seen && !m.merges_seen) {
        json_init(&late, m.merges.p, m.merges.n);
        TRY(read_merges(&m, &late, err));
    }
    TRY(check_model(&m, err));
out:
    json_deinit(&late);
    bytebuf_free(&m.type);
    bytebuf_free(&m.unk);
    return st;
}

/* ---- normaliser -------------------------------------------------------------------------------- */

#define NESTING_MAX 8

static Status read_normalizer(Tokenizer *t, Value v, void *depth, Error *err)
{
    Status st = ST_OK;
    ByteBuf type = {0};
    Value items;
    int level = *(const int *)depth + 1;
    TRY(get_string(v, "type", &type, err));
    if (type_is(&type, "NFC")) {
        t->nfc = true;
    } else if (type_is(&type, "Sequence") && level <= NESTING_MAX) {
        TRY(get(v, "normalizers", &items, err));
        if (items.n > 0)
            TRY(each(t, items, read_normalizer, &level, err));
    } else {
        st = unsupported(err, "normalizer", &type);
    }
out:
    bytebuf_free(&type);
    return st;
}

/* ---- pre-tokenizer ----------------------------------------------------------------------------- */

typedef struct {
    int depth;
    bool byte_level; /* seen: nothing may follow, as it would see the byte-level characters */
} PreReader;

static Status read_behavior(const ByteBuf *name, SplitBehavior *out, Error *err)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    for (int i = 0; i < 5; i++)
        if (type_is(name, names[i])) {
            *out = (SplitBehavior)i;
            return ST_OK;
        }
    return unsupported(err, "pre_tokenizer Split: behavior", name);
}

/* {"Regex": "…"} or {"String": "…"} */
static Status read_split(Tokenizer *t, Value v, Error *err)
{
    Status st = ST_OK;
    ByteBuf text = {0};
    Value pattern, regex;
    SplitBehavior behavior = SPLIT_ISOLATED;
    bool invert;
    TRY(get_string(v, "behavior", &text, err));
    TRY(read_behavior(&text, &behavior, err));
    TRY(get_bool(v, "invert", false, &invert, err));
    TRY(get(v, "pattern", &pattern, err));
    TRY(get(pattern, "Regex", &regex, err));
    TRY(get_string(pattern, regex.n ? "Regex" : "String", &text, err));
    TRY(splitter_add_pattern(&t->splitter, text.count ? (const char *)text.data : "", text.count, regex.n == 0,
                             behavior, invert, err));
out:
    bytebuf_free(&text);
    return st;
}

static Status read_digits(Tokenizer *t, Value v, Error *err)
{
    bool individual;
    const Status st = get_bool(v, "individual_digits", false, &individual, err);
    if (st != ST_OK)
        return st;
    const SplitStep step = {.scan = individual ? scan_numeric_char : scan_numeric_run,
                            .behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS};
    return splitter_add(&t->splitter, step, err);
}

static Status read_byte_level(Tokenizer *t, Value v, Error *err)
{
    Status st = ST_OK;
    bool prefix, regex;
    TRY(get_bool(v, "add_prefix_space", true, &prefix, err));
    TRY(get_bool(v, "use_regex", true, &regex, err));
    SplitStep step = {.prefix_space = prefix};
    if (regex)
        step.scan = scan_by_pattern(scan_text_gpt2, strlen(scan_text_gpt2))->find;
    if (prefix || regex)
        TRY(splitter_add(&t->splitter, step, err));
out:
    return st;
}

static Status read_pre_tokenizer(Tokenizer *t, Value v, void *arg, Error *err)
{
    Status st = ST_OK;
    PreReader *pre = arg;
    ByteBuf type = {0};
    Value items;
    TRY(get_string(v, "type", &type, err));
    if (pre->byte_level && !type_is(&type, "Sequence")) {
        st = unsupported(err, "pre_tokenizer: a step behind ByteLevel,", &type);
    } else if (type_is(&type, "Split")) {
        TRY(read_split(t, v, err));
    } else if (type_is(&type, "Digits")) {
        TRY(read_digits(t, v, err));
    } else if (type_is(&type, "ByteLevel")) {
        pre->byte_level = true;
        TRY(read_byte_level(t, v, err));
    } else if (type_is(&type, "Sequence") && pre->depth < NESTING_MAX) {
        TRY(get(v, "pretokenizers", &items, err));
        pre->depth++;
        if (items.n > 0)
            TRY(each(t, items, read_pre_tokenizer, pre, err));
        pre->depth--;
    } else {
        st = unsupported(err, "pre_tokenizer", &type);
    }
out:
    bytebuf_free(&type);
    return st;
}

/* ---- added tokens ------------------------------------------------------------------------------ */

static Status read_added(Tokenizer *t, Value v, void *arg, Error *err)
{
    Status st = ST_OK;
    ByteBuf text = {0};
    AddedToken a = {0};
    TRY(get_string(v, "content", &text, err));
    TRY(get_bool(v, "special", false, &a.special, err));
    TRY(get_bool(v, "single_word", false, &a.single_word, err));
    TRY(get_bool(v, "lstrip", false, &a.lstrip, err));
    TRY(get_bool(v, "rstrip", false, &a.rstrip, err));
    TRY(get_bool(v, "normalized", false, &a.normalized, err));
    TRY(tokenizer_add_token(t, a, (Str){(const char *)text.data, text.count}, err));
out:
    bytebuf_free(&text);
    (void)arg;
    return st;
}

/* ---- post-processor ---------------------------------------------------------------------------- */

typedef struct {
    Value special_tokens;
    IdBuf before, after;
    int sequences;
} TemplateReader;

static Status read_id(Tokenizer *t, Value v, void *ids, Error *err)
{
    Status st = ST_OK;
    JsonReader r;
    (void)t;
    json_init(&r, v.p, v.n);
    TRY(json_expect(&r, JSON_TOK_INT, err));
    if (r.i < 0 || r.i > INT32_MAX)
        st = error_set(err, ST_CORRUPT, "post_processor: id %lld", (long long)r.i);
    else if (idbuf_push(ids, (int32_t)r.i) != ST_OK)
        st = error_set(err, ST_NOMEM, "no memory for the post-processor");
out:
    json_deinit(&r);
    return st;
}

/* {"SpecialToken": {"id": "<s>", …}} or {"Sequence": {"id": "A", …}} */
static Status read_template_piece(Tokenizer *t, Value v, void *arg, Error *err)
{
    Status st = ST_OK;
    TemplateReader *x = arg;
    ByteBuf name = {0};
    Value special, token, ids;
    TRY(get(v, "SpecialToken", &special, err));
    if (special.n == 0) {
        x->sequences++;
        return ST_OK;
    }
    TRY(get_string(special, "id", &name, err));
    const char *key = bytebuf_cstr(&name);
    if (!key) {
        st = error_set(err, ST_NOMEM, "no memory for the post-processor");
        goto out;
    }
    TRY(get(x->special_tokens, key, &token, err));
    if (token.n == 0) {
        st = error_set(err, ST_CORRUPT, "post_processor: no special token '%s'", key);
        goto out;
    }
    TRY(get(token, "ids", &ids, err));
    TRY(each(t, ids, read_id, x->sequences ? &x->after : &x->before, err));
out:
    bytebuf_free(&name);
    return st;
}

static Status read_template(Tokenizer *t, Value v, Error *err)
{
    Status st = ST_OK;
    TemplateReader x = {0};
    Value single;
    TRY(get(v, "special_tokens", &x.special_tokens, err));
    TRY(get(v, "single", &single, err));
    TRY(each(t, single, read_template_piece, &x, err));
    if (x.sequences != 1 || t->before.count || t->after.count) {
        st = error_set(err, ST_UNSUPPORTED, "post_processor: more than one template, or one with %d texts", x.sequences);
        goto out;
    }
    t->before = x.before;
    t->after = x.after;
    return ST_OK;
out:
    idbuf_free(&x.before);
    idbuf_free(&x.after);
    return st;
}

static Status read_post_processor(Tokenizer *t, Value v, void *depth, Error *err)
{
    Status st = ST_OK;
    ByteBuf type = {0};
    Value items;
    int level = *(const int *)depth + 1;
    TRY(get_string(v, "type", &type, err));
    if (type_is(&type, "TemplateProcessing")) {
        TRY(read_template(t, v, err));
    } else if (type_is(&type, "Sequence") && level <= NESTING_MAX) {
        TRY(get(v, "processors", &items, err));
        if (items.n > 0)
            TRY(each(t, items, read_post_processor, &level, err));
    } else if (!type_is(&type, "ByteLevel")) { /* ByteLevel concerns offsets only */
        st = unsupported(err, "post_processor", &type);
    }
out:
    bytebuf_free(&type);
    return st;
}

/* ---- the whole file ---------------------------------------------------------------------------- */

typedef struct {
    Value added, normalizer, pre_tokenizer, post_processor;
    bool model;
} TopLevel;

static Status read_top_level(Tokenizer *t, const uint8_t *data, size_t size, TopLevel *top, Error *err)
{
    Status st = ST_OK;
    JsonReader r;
    json_init(&r, data, size);
    TRY(json_expect(&r, JSON_TOK_OBJECT_BEGIN, err));
    for (;;) {
        TRY(json_next(&r, err));
        if (r.token == JSON_TOK_OBJECT_END)
            break;
        Value ignored;
        const bool second = top->model && str_eq(r.str, "model");
        Value *const to = str_eq(r.str, "added_tokens")     ? &top->added
                          : str_eq(r.str, "normalizer")     ? &top->normalizer
                          : str_eq(r.str, "pre_tokenizer")  ? &top->pre_tokenizer
                          : str_eq(r.str, "post_processor") ? &top->post_processor
                                                            : &ignored;
        if (!str_eq(r.str, "model") || second) {
            TRY(take_value(&r, to, err));
            continue;
        }
        top->model = true;
        TRY(read_model(t, &r, err));
    }
    TRY(json_expect(&r, JSON_TOK_END, err));
out:
    json_deinit(&r);
    return st;
}

static Status read_parts(Tokenizer *t, const TopLevel *top, Error *err)
{
    Status st = ST_OK;
    int depth = 0;
    PreReader pre = {0};
    if (!top->model)
        return error_set(err, ST_CORRUPT, "no model");
    if (top->normalizer.n > 0)
        TRY(read_normalizer(t, top->normalizer, &depth, err));
    if (top->pre_tokenizer.n > 0)
        TRY(read_pre_tokenizer(t, top->pre_tokenizer, &pre, err));
    if (!pre.byte_level)
        return error_set(err, ST_UNSUPPORTED, "a tokenizer without the ByteLevel pre-tokenizer is not supported");
    if (top->added.n > 0)
        TRY(each(t, top->added, read_added, NULL, err));
    if (top->post_processor.n > 0)
        TRY(read_post_processor(t, top->post_processor, &depth, err));
    if (t->before.count == 1)
        t->bos = t->before.data[0];
out:
    return st;
}

Status tokenizer_from_json(Tokenizer **out, const uint8_t *data, size_t size, Error *err)
{
    Status st = ST_OK;
    TopLevel top = {0};
    Tokenizer *t = tokenizer_alloc();
    if (!t)
        return error_set(err, ST_NOMEM, "no memory for a tokenizer");
    TRY(read_top_level(t, data, size, &top, err));
    TRY(read_parts(t, &top, err));
    TRY(tokenizer_finish(t, err));
    *out = t;
    return ST_OK;
out:
    tokenizer_destroy(t);
    return error_context(err, st, "tokenizer.json");
}

Status tokenizer_open_json(Tokenizer **out, const char *path, Error *err)
{
    MapFile file = {0};
    Status st = mapfile_open(&file, path, err);
    if (st != ST_OK)
        return st;
    st = file.size > FILE_BYTES_MAX ? error_set(err, ST_UNSUPPORTED, "a tokenizer of %zu bytes", file.size)
                                    : tokenizer_from_json(out, file.data, file.size, err);
    mapfile_close(&file);
    return st == ST_OK ? ST_OK : error_context(err, st, "'%s'", path);
}

/* ---- tokenizer_config.json --------------------------------------------------------------------- */

/* bos_token and the like: a string, or an object with its content. -1 when absent or unknown. */
static Status config_token(const Tokenizer *t, Value config, const char *key, int32_t *id, Error *err)
{
    Status st = ST_OK;
    ByteBuf text = {0};
    Value v;
    TRY(get(config, key, &v, err));
    if (v.n > 0 && v.p[0] == '{')
        TRY(get_string(v, "content", &text, err));
    else if (v.n > 0)
        TRY(string_of(v, &text, err));
    if (text.count > 0)
        *id = tokenizer_find(t, (const char *)text.data, text.count);
out:
    bytebuf_free(&text);
    return st;
}

static Status read_config(Tokenizer *t, Value config, Error *err)
{
    Status st = ST_OK;
    bool add_bos, add_eos;
    TRY(config_token(t, config, "bos_token", &t->bos, err));
    TRY(config_token(t, config, "eos_token", &t->eos, err));
    TRY(get_bool(config, "add_bos_token", false, &add_bos, err));
    TRY(get_bool(config, "add_eos_token", false, &add_eos, err));
    if ((add_bos && t->bos >= 0 && t->before.count == 0 && idbuf_push(&t->before, t->bos) != ST_OK) ||
        (add_eos && t->eos >= 0 && t->after.count == 0 && idbuf_push(&t->after, t->eos) != ST_OK))
        st = error_set(err, ST_NOMEM, "no memory for a tokenizer");
out:
    return st;
}

static Status open_directory(Tokenizer **out, const char *path, Error *err)
{
    Status st = ST_OK;
    ByteBuf name = {0};
    MapFile config = {0};
    Tokenizer *t = NULL;
    TRY(bytebuf_printf(&name, "%s/tokenizer.json", path));
    TRY(tokenizer_open_json(&t, (const char *)name.data, err));
    name.count = 0;
    TRY(bytebuf_printf(&name, "%s/tokenizer_config.json", path));
    st = mapfile_open(&config, (const char *)name.data, err);
    if (st == ST_OK)
        st = read_config(t, (Value){config.data, config.size}, err);
    if (st != ST_OK && st != ST_NOTFOUND) {
        st = error_context(err, st, "'%s'", (const char *)name.data);
        goto out;
    }
    st = ST_OK;
    *out = t;
    t = NULL;
out:
    tokenizer_destroy(t);
    mapfile_close(&config);
    bytebuf_free(&name);
    return st;
}

Status tokenizer_open(Tokenizer **out, const char *path, Error *err)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return open_directory(out, path, err);
    return tokenizer_open_json(out, path, err);
}
