/* tokenizer.json: see tokenizer_save.h.
 *
 * The steps of the pre-tokenizer become what they were read from, with two liberties that change no piece:
 * ByteLevel always stands last, and a last cut by GPT-2's pattern is ByteLevel's own. Merges are lines
 * "left right" unless some part has a space in it. */
#include "tokenizer/tokenizer_save.h"

#include "base/json_write.h"
#include "base/mem.h"
#include "tokenizer/tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX ((size_t)1 << 30)

/* ---- small values ------------------------------------------------------------------------------ */

static void write_string(JsonWriter *w, const char *key, const char *value)
{
    json_write_key(w, key);
    json_write_string(w, value);
}

static void write_text(JsonWriter *w, const char *key, Str value)
{
    json_write_key(w, key);
    json_write_string_n(w, value.len ? value.ptr : "", value.len);
}

static void write_bool(JsonWriter *w, const char *key, bool value)
{
    json_write_key(w, key);
    json_write_bool(w, value);
}

static void write_null(JsonWriter *w, const char *key)
{
    json_write_key(w, key);
    json_write_null(w);
}

static Str spelling(const Bpe *b, int32_t id)
{
    return (Str){(const char *)b->texts.data + b->tokens[id].text, b->tokens[id].text_len};
}

/* ---- added tokens and normaliser --------------------------------------------------------------- */

static void write_added(JsonWriter *w, const Added *a)
{
    json_write_key(w, "added_tokens");
    json_write_array_begin(w);
    for (size_t i = 0; i < a->count; i++) {
        const AddedToken *t = &a->tokens[i];
        json_write_object_begin(w);
        json_write_key(w, "id");
        json_write_int(w, t->id);
        write_text(w, "content", added_content(a, t));
        write_bool(w, "single_word", t->single_word);
        write_bool(w, "lstrip", t->lstrip);
        write_bool(w, "rstrip", t->rstrip);
        write_bool(w, "normalized", t->normalized);
        write_bool(w, "special", t->special);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

static void write_normalizer(JsonWriter *w, bool nfc)
{
    json_write_key(w, "normalizer");
    if (!nfc) {
        json_write_null(w);
        return;
    }
    json_write_object_begin(w);
    write_string(w, "type", "NFC");
    json_write_object_end(w);
}

/* ---- pre-tokenizer ----------------------------------------------------------------------------- */

static void write_byte_level(JsonWriter *w, bool prefix_space, bool use_regex)
{
    json_write_object_begin(w);
    write_string(w, "type", "ByteLevel");
    write_bool(w, "add_prefix_space", prefix_space);
    write_bool(w, "trim_offsets", true);
    write_bool(w, "use_regex", use_regex);
    json_write_object_end(w);
}

static void write_digits(JsonWriter *w, bool individual)
{
    json_write_object_begin(w);
    write_string(w, "type", "Digits");
    write_bool(w, "individual_digits", individual);
    json_write_object_end(w);
}

static void write_split(JsonWriter *w, const SplitStep *step)
{
    static const char *const behaviors[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext",
                                            "Contiguous"};
    bool literal = false;
    const char *known = step->scan ? scan_by_function(step->scan)->pattern : NULL;
    const Str text = known ? (Str){known, strlen(known)} : pattern_text(step->pattern, &literal);
    json_write_object_begin(w);
    write_string(w, "type", "Split");
    json_write_key(w, "pattern");
    json_write_object_begin(w);
    write_text(w, literal ? "String" : "Regex", text);
    json_write_object_end(w);
    write_string(w, "behavior", behaviors[step->behavior]);
    write_bool(w, "invert", step->invert);
    json_write_object_end(w);
}

static void write_step(JsonWriter *w, const SplitStep *step)
{
    if (step->scan == scan_numeric_char || step->scan == scan_numeric_run)
        write_digits(w, step->scan == scan_numeric_char);
    else
        write_split(w, step);
}

/* Whether ByteLevel itself does what this step, the last one, says. */
static bool is_byte_level(const SplitStep *step)
{
    const bool gpt2 = step->scan && step->scan == scan_by_pattern(scan_text_gpt2, strlen(scan_text_gpt2))->find;
    return step->prefix_space || (gpt2 && step->behavior == SPLIT_ISOLATED && !step->invert);
}

static void write_pre_tokenizer(JsonWriter *w, const Splitter *x)
{
    const SplitStep *last = x->count > 0 && is_byte_level(&x->step[x->count - 1]) ? &x->step[x->count - 1] : NULL;
    const int others = last ? x->count - 1 : x->count;
    json_write_key(w, "pre_tokenizer");
    if (others > 0) {
        json_write_object_begin(w);
        write_string(w, "type", "Sequence");
        json_write_key(w, "pretokenizers");
        json_write_array_begin(w);
    }
    for (int i = 0; i < others; i++) {
        CHECK(!x->step[i].prefix_space); /* only ByteLevel makes it, and nothing follows that */
        write_step(w, &x->step[i]);
    }
    write_byte_level(w, last && last->prefix_space, last && last->scan);
    if (others > 0) {
        json_write_array_end(w);
        json_write_object_end(w);
    }
}

/* ---- post-processor ---------------------------------------------------------------------------- */

#define MADE_UP_MAX 40

/* A name for the id in the template: its text, or one that no token has where that would name another. */
static Str template_name(const Tokenizer *t, int32_t id, char made_up[MADE_UP_MAX])
{
    Str name = tokenizer_piece(t, id);
    if (name.len > 0 && tokenizer_find(t, name.ptr, name.len) == id)
        return name;
    for (int64_t k = 0; k == 0 || tokenizer_find(t, name.ptr, name.len) >= 0; k++)
        name = (Str){made_up, (size_t)snprintf(made_up, MADE_UP_MAX, "#%d.%lld", id, (long long)k)};
    return name;
}

static void write_template_token(JsonWriter *w, const Tokenizer *t, int32_t id, int type_id)
{
    char made_up[MADE_UP_MAX];
    json_write_object_begin(w);
    json_write_key(w, "SpecialToken");
    json_write_object_begin(w);
    write_text(w, "id", template_name(t, id, made_up));
    json_write_key(w, "type_id");
    json_write_int(w, type_id);
    json_write_object_end(w);
    json_write_object_end(w);
}

/* One text with what stands around it. */
static void write_template_text(JsonWriter *w, const Tokenizer *t, int type_id)
{
    for (int64_t i = 0; i < t->before.count; i++)
        write_template_token(w, t, t->before.data[i], type_id);
    json_write_object_begin(w);
    json_write_key(w, "Sequence");
    json_write_object_begin(w);
    write_string(w, "id", type_id == 0 ? "A" : "B");
    json_write_key(w, "type_id");
    json_write_int(w, type_id);
    json_write_object_end(w);
    json_write_object_end(w);
    for (int64_t i = 0; i < t->after.count; i++)
        write_template_token(w, t, t->after.data[i], type_id);
}

static bool holds(const IdBuf *ids, int64_t count, int32_t id)
{
    for (int64_t i = 0; i < count; i++)
        if (ids->data[i] == id)
            return true;
    return false;
}

static void write_template_ids(JsonWriter *w, const Tokenizer *t)
{
    json_write_key(w, "special_tokens");
    json_write_object_begin(w);
    for (int64_t i = 0; i < t->before.count + t->after.count; i++) {
        const bool front = i < t->before.count;
        const int64_t k = front ? i : i - t->before.count;
        const int32_t id = (front ? &t->before : &t->after)->data[k];
        if (holds(front ? &t->before : &t->after, k, id) || (!front && holds(&t->before, t->before.count, id)))
            continue; /* told already */
        char made_up[MADE_UP_MAX];
        const Str name = template_name(t, id, made_up);
        json_write_key_n(w, name.ptr, name.len);
        json_write_object_begin(w);
        write_text(w, "id", name);
        json_write_key(w, "ids");
        json_write_array_begin(w);
        json_write_int(w, id);
        json_write_array_end(w);
        json_write_key(w, "tokens");
        json_write_array_begin(w);
        json_write_string_n(w, name.ptr, name.len);
        json_write_array_end(w);
        json_write_object_end(w);
    }
    json_write_object_end(w);
}

static void write_post_processor(JsonWriter *w, const Tokenizer *t)
{
    json_write_key(w, "post_processor");
    if (t->before.count + t->after.count == 0) {
        json_write_null(w);
        return;
    }
    json_write_object_begin(w);
    write_string(w, "type", "TemplateProcessing");
    for (int texts = 1; texts <= 2; texts++) {
        json_write_key(w, texts == 1 ? "single" : "pair");
        json_write_array_begin(w);
        for (int type_id = 0; type_id < texts; type_id++)
            write_template_text(w, t, type_id);
        json_write_array_end(w);
    }
    write_template_ids(w, t);
    json_write_object_end(w);
}

/* ---- model ------------------------------------------------------------------------------------- */

static void write_vocab(JsonWriter *w, const Bpe *b)
{
    json_write_key(w, "vocab");
    json_write_object_begin(w);
    for (size_t i = 0; i < b->token_count; i++) {
        if (!b->tokens[i].used)
            continue;
        const Str text = spelling(b, (int32_t)i);
        json_write_key_n(w, text.ptr, text.len);
        json_write_int(w, (int64_t)i);
    }
    json_write_object_end(w);
}

static int compare_ranks(const void *a, const void *b)
{
    const BpeMerge *x = a, *y = b;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* All merges by rank; owned by the caller; NULL without memory. */
static BpeMerge *sorted_merges(const Bpe *b)
{
    size_t n = 0;
    BpeMerge *list = mem_alloc(b->merge_count + 1, sizeof *list);
    for (size_t i = 0; list && i < (size_t)1 << b->merge_bits; i++)
        if (b->merges[i].pair != UINT64_MAX)
            list[n++] = b->merges[i];
    if (list && n > 0)
        qsort(list, n, sizeof *list, compare_ranks);
    return list;
}

static Str left_of(const Bpe *b, const BpeMerge *m)
{
    return spelling(b, (int32_t)(m->pair >> 32));
}

static Str right_of(const Bpe *b, const BpeMerge *m)
{
    return spelling(b, (int32_t)(uint32_t)m->pair);
}

/* Whether "left right" can be read in one way only. */
static bool is_line(Str left, Str right)
{
    const bool comment = left.len >= 8 && memcmp(left.ptr, "#version", 8) == 0;
    return left.len > 0 && right.len > 0 && !comment && !memchr(left.ptr, ' ', left.len) &&
           !memchr(right.ptr, ' ', right.len);
}

static Status write_merge(JsonWriter *w, Str left, Str right, bool lines, ByteBuf *line)
{
    Status st = ST_OK;
    if (!lines) {
        json_write_array_begin(w);
        json_write_string_n(w, left.ptr, left.len);
        json_write_string_n(w, right.ptr, right.len);
        json_write_array_end(w);
        return ST_OK;
    }
    line->count = 0;
    TRY(bytebuf_append(line, left.ptr, left.len));
    TRY(bytebuf_append(line, " ", 1));
    TRY(bytebuf_append(line, right.ptr, right.len));
    json_write_string_n(w, (const char *)line->data, line->count);
out:
    return st;
}

static Status write_merges(JsonWriter *w, const Bpe *b)
{
    Status st = ST_OK;
    ByteBuf line = {0};
    BpeMerge *merges = sorted_merges(b);
    bool lines = true;
    if (!merges)
        return ST_NOMEM;
    for (size_t i = 0; i < b->merge_count; i++)
        lines = lines && is_line(left_of(b, &merges[i]), right_of(b, &merges[i]));
    json_write_key(w, "merges");
    json_write_array_begin(w);
    for (size_t i = 0; i < b->merge_count; i++)
        TRY(write_merge(w, left_of(b, &merges[i]), right_of(b, &merges[i]), lines, &line));
    json_write_array_end(w);
out:
    bytebuf_free(&line);
    mem_free(merges);
    return st;
}

static Status write_model(JsonWriter *w, const Bpe *b)
{
    json_write_key(w, "model");
    json_write_object_begin(w);
    write_string(w, "type", "BPE");
    write_null(w, "dropout");
    if (b->unk_id >= 0)
        write_text(w, "unk_token", spelling(b, b->unk_id));
    else
        write_null(w, "unk_token");
    write_null(w, "continuing_subword_prefix");
    write_null(w, "end_of_word_suffix");
    write_bool(w, "fuse_unk", b->fuse_unk);
    write_bool(w, "byte_fallback", b->byte_fallback);
    write_bool(w, "ignore_merges", b->ignore_merges);
    write_vocab(w, b);
    const Status st = write_merges(w, b);
    if (st == ST_OK)
        json_write_object_end(w);
    return st;
}

Status tokenizer_write(const Tokenizer *t, ByteBuf *out, Error *err)
{
    Status st = ST_OK;
    const size_t before = out->count;
    JsonWriter w;
    json_write_init(&w, 1, FILE_BYTES_MAX);
    json_write_object_begin(&w);
    write_string(&w, "version", "1.0");
    write_null(&w, "truncation");
    write_null(&w, "padding");
    write_added(&w, &t->added);
    write_normalizer(&w, t->nfc);
    write_pre_tokenizer(&w, &t->splitter);
    write_post_processor(&w, t);
    json_write_key(&w, "decoder");
    write_byte_level(&w, false, true);
    TRY(write_model(&w, &t->bpe));
    json_write_object_end(&w);
    TRY(json_write_finish(&w, err));
    if (bytebuf_append(out, w.buf, w.len) != ST_OK || bytebuf_append(out, "\n", 1) != ST_OK)
        st = ST_NOMEM;
out:
    json_write_deinit(&w);
    if (st != ST_OK)
        out->count = before;
    return st == ST_NOMEM ? error_set(err, st, "no memory to write a tokenizer") : st;
}
