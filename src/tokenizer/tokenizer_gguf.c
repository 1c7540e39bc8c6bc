/* Tokenizers from the keys of a GGUF file.
 *
 * tokenizer.ggml.pre names a pre-tokenizer instead of spelling it; the table below holds what the
 * families' own tokenizer.json files say. (llama.cpp spells some of them differently, because its regular
 * expressions cannot fold case: it does not take 'ſ for 's. Here the original counts.) */
#include "tokenizer/tokenizer.h"

#include "base/mem.h"
#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/unicode.h"

#include <string.h>

/* A cut that is no pattern: every numeric character alone. */
static const char digits[] = "digits";

/* Cased letters as DeepSeek LLM lists them. */
#define CASED_LETTERS \
    "A-Za-z\\u00B5\\u00C0-\\u00D6\\u00D8-\\u00F6\\u00F8-\\u01BA\\u01BC-\\u01BF\\u01C4-\\u0293" \
    "\\u0295-\\u02AF\\u0370-\\u0373\\u0376\\u0377\\u037B-\\u037D\\u037F\\u0386\\u0388-\\u038A" \
    "\\u038C\\u038E-\\u03A1\\u03A3-\\u03F5\\u03F7-\\u0481\\u048A-\\u052F\\u0531-\\u0556" \
    "\\u10A0-\\u10C5\\u13A0-\\u13F5\\u13F8-\\u13FD\\u1C90-\\u1CBA\\u1CBD-\\u1CBF\\u1D00-\\u1D2B" \
    "\\u1D6B-\\u1D77\\u1D79-\\u1D9A\\u1E00-\\u1F15\\u1F18-\\u1F1D\\u1F20-\\u1F45\\u1F48-\\u1F4D" \
    "\\u1F50-\\u1F57\\u1F59\\u1F5B\\u1F5D\\u1F5F-\\u1F7D\\u1F80-\\u1FB4\\u1FB6-\\u1FBC\\u1FBE" \
    "\\u1FC2-\\u1FC4\\u1FC6-\\u1FCC\\u1FD0-\\u1FD3\\u1FD6-\\u1FDB\\u1FE0-\\u1FEC\\u1FF2-\\u1FF4" \
    "\\u1FF6-\\u1FFC\\u2102\\u2107\\u210A-\\u2113\\u2115\\u2119-\\u211D\\u2124\\u2126\\u2128" \
    "\\u212A-\\u212D\\u212F-\\u2134\\u2139\\u213C-\\u213F\\u2145-\\u2149\\u214E\\u2183\\u2184" \
    "\\u2C00-\\u2C7B\\u2C7E-\\u2CE4\\u2CEB-\\u2CEE\\u2CF2\\u2CF3\\uA640-\\uA66D\\uA680-\\uA69B" \
    "\\uA722-\\uA76F\\uA771-\\uA787\\uA78B-\\uA78E\\uAB70-\\uABBF\\uFB00-\\uFB06\\uFB13-\\uFB17" \
    "\\uFF21-\\uFF3A\\uFF41-\\uFF5A\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}" \
    "\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}" \
    "\\x{1E900}-\\x{1E943}"

static const char split_qwen35[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char split_newline[] = "[\r\n]";
static const char split_cased[] = "\\s?[" CASED_LETTERS "]+";
static const char split_marks[] = "\\s?[!-/:-~\\uFF01-\\uFF0F\\uFF1A-\\uFF5E\\u2018-\\u201F\\u3000-\\u3002]+";
static const char split_last_white[] = "\\s+$";
static const char split_asian[] = "[\\u4E00-\\u9FA5\\u0800-\\u4E00\\uAC00-\\uD7FF]+";
static const char split_letters[] = "\\s?\\p{L}+";
static const char split_punctuation[] = "\\s?\\p{P}+";

typedef struct {
    const char *names; /* each between spaces */
    const char *steps[6];
    bool nfc, ignore_merges, add_bos;
} Pre;

static const Pre pre_table[] = {
    {" default gpt-2 phi-2 olmo mpt jais trillion exaone4 ", {scan_text_gpt2}, false, false, false},
    {" smollm starcoder refact command-r codeshell ", {digits, scan_text_gpt2}, false, false, false},
    {" llama-bpe llama3 llama-v3 falcon3 pixtral ", {scan_text_llama3}, false, true, true},
    {" dbrx smaug-bpe glm4 chatglm-bpe ", {scan_text_llama3}, false, false, false},
    {" qwen2 deepseek-r1-qwen ", {scan_text_qwen2}, true, false, false},
    {" qwen35 ", {split_qwen35}, true, false, false},
    {" gpt-4o llama4 ", {scan_text_o200k}, false, false, false},
    {" tekken ", {scan_text_tekken}, false, true, true},
    {" deepseek-v3 ", {scan_text_deepseek_numbers, scan_text_deepseek_cjk, scan_text_deepseek_words}, false, false, false},
    {" deepseek-llm ", {split_newline, split_cased, split_marks, split_last_white, split_asian, digits}, false, false, false},
    {" deepseek-coder ", {split_newline, split_letters, split_punctuation, split_asian, digits}, false, false, false},
};

static const Pre *find_pre(Str name)
{
    if (memchr(name.ptr, ' ', name.len))
        return NULL;
    for (size_t i = 0; i < sizeof pre_table / sizeof *pre_table; i++)
        for (const char *at = pre_table[i].names; at[1]; at = strchr(at + 1, ' '))
            if (strncmp(at + 1, name.ptr, name.len) == 0 && at[1 + name.len] == ' ')
                return &pre_table[i];
    return NULL;
}

static Status set_pre(Tokenizer *t, const Pre *pre, Error *err)
{
    Status st = ST_OK;
    for (int i = 0; i < 6 && pre->steps[i]; i++) {
        if (pre->steps[i] == digits)
            TRY(splitter_add(&t->splitter, (SplitStep){.scan = scan_numeric_char}, err));
        else
            TRY(splitter_add_pattern(&t->splitter, pre->steps[i], strlen(pre->steps[i]), false, SPLIT_ISOLATED, false, err));
    }
    t->nfc = pre->nfc;
    t->bpe.ignore_merges = pre->ignore_merges;
out:
    return st;
}

/* ---- vocabulary -------------------------------------------------------------------------------- */

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4 };

static Status get_array(const Kv *keys, const char *key, KvValue *out, Error *err)
{
    if (!keys->get(keys, key, out) || out->type != KV_ARRAY)
        return error_set(err, ST_CORRUPT, "no array %s", key);
    if (out->count > BPE_ID_MAX)
        return error_set(err, ST_UNSUPPORTED, "%s has %lld entries (at most %d)", key, (long long)out->count, BPE_ID_MAX);
    return ST_OK;
}

static Status add_one(Tokenizer *t, Str text, int64_t id, int64_t type, Error *err)
{
    const Status st = bpe_add_token(&t->bpe, text.len ? text.ptr : "", text.len, id, err);
    if (st != ST_OK || text.len == 0 || (type != TYPE_UNKNOWN && type != TYPE_CONTROL && type != TYPE_USER_DEFINED))
        return st;
    if (t->added.count == ADDED_TOKENS_MAX)
        return error_set(err, ST_UNSUPPORTED, "more than %d control and user-defined tokens", ADDED_TOKENS_MAX);
    const AddedToken a = {.id = (int32_t)id, .special = type != TYPE_USER_DEFINED};
    return added_add(&t->added, a, text, err);
}

static Status add_tokens(Tokenizer *t, const Kv *keys, const KvValue *tokens, Error *err)
{
    Status st = ST_OK;
    const void *at = NULL, *type_at = NULL;
    KvValue types, v, type;
    const bool typed = keys->get(keys, "tokenizer.ggml.token_type", &types) && types.type == KV_ARRAY;
    for (int64_t id = 0; keys->next(keys, tokens, &at, &v); id++) {
        if (v.type != KV_STRING || utf8_valid_prefix((const uint8_t *)v.s.ptr, v.s.len) < v.s.len)
            return error_set(err, ST_CORRUPT, "tokenizer.ggml.tokens: entry %lld is not a text", (long long)id);
        const bool has_type = typed && keys->next(keys, &types, &type_at, &type) && type.type == KV_INT;
        TRY(add_one(t, v.s, id, has_type ? type.i : TYPE_NORMAL, err));
    }
out:
    return st;
}

static Status add_merges(Tokenizer *t, const Kv *keys, const KvValue *merges, Error *err)
{
    Status st = ST_OK;
    const void *at = NULL;
    KvValue v;
    for (uint32_t rank = 0; keys->next(keys, merges, &at, &v); rank++) {
        /* the first part may itself begin with a space */
        const char *space = v.type == KV_STRING && v.s.len > 2 ? memchr(v.s.ptr + 1, ' ', v.s.len - 2) : NULL;
        if (!space || utf8_valid_prefix((const uint8_t *)v.s.ptr, v.s.len) < v.s.len)
            return error_set(err, ST_CORRUPT, "tokenizer.ggml.merges: entry %u is not two tokens", rank);
        const size_t left = (size_t)(space - v.s.ptr);
        TRY(bpe_add_merge(&t->bpe, (Str){v.s.ptr, left}, (Str){space + 1, v.s.len - left - 1}, rank, err));
    }
out:
    return st;
}

/* ---- special ids ------------------------------------------------------------------------------- */

/* An id key; -1 when absent or outside the vocabulary (writers put 2^32 - 1 for none). */
static int32_t id_of(const Tokenizer *t, const Kv *keys, const char *key)
{
    const int64_t id = kv_int(keys, key, -1);
    return id >= 0 && id < tokenizer_vocab_size(t) ? (int32_t)id : -1;
}

static Status set_ids(Tokenizer *t, const Kv *keys, const Pre *pre, Error *err)
{
    t->bos = id_of(t, keys, "tokenizer.ggml.bos_token_id");
    t->eos = id_of(t, keys, "tokenizer.ggml.eos_token_id");
    t->eot = id_of(t, keys, "tokenizer.ggml.eot_token_id");
    const bool add_bos = kv_bool(keys, "tokenizer.ggml.add_bos_token", pre->add_bos);
    const bool add_eos = kv_bool(keys, "tokenizer.ggml.add_eos_token", false);
    if ((add_bos && t->bos >= 0 && idbuf_push(&t->before, t->bos) != ST_OK) ||
        (add_eos && t->eos >= 0 && idbuf_push(&t->after, t->eos) != ST_OK))
        return error_set(err, ST_NOMEM, "no memory for a tokenizer");
    return ST_OK;
}

static Status load(Tokenizer *t, const Kv *keys, Error *err)
{
    Status st = ST_OK;
    KvValue tokens, merges;
    const Str model = kv_str(keys, "tokenizer.ggml.model");
    if (!str_eq(model, "gpt2"))
        return error_set(err, ST_UNSUPPORTED, "tokenizer.ggml.model '%.*s' is not supported yet (only 'gpt2')",
                         (int)(model.len < 80 ? model.len : 80), model.len ? model.ptr : "");
    const Str name = kv_str(keys, "tokenizer.ggml.pre");
    const Pre *pre = find_pre(name.len ? name : (Str){"default", 7});
    if (!pre)
        return error_set(err, ST_UNSUPPORTED, "tokenizer.ggml.pre '%.*s' is not supported",
                         (int)(name.len < 80 ? name.len : 80), name.ptr);
    TRY(get_array(keys, "tokenizer.ggml.tokens", &tokens, err));
    TRY(get_array(keys, "tokenizer.ggml.merges", &merges, err));
    TRY(bpe_init(&t->bpe, (size_t)tokens.count, (size_t)merges.count, err));
    TRY(set_pre(t, pre, err));
    TRY(add_tokens(t, keys, &tokens, err));
    TRY(add_merges(t, keys, &merges, err));
    TRY(set_ids(t, keys, pre, err));
    TRY(tokenizer_finish(t, err));
    for (size_t i = 0; i < t->added.count; i++)
        bpe_forbid_whole(&t->bpe, t->added.tokens[i].id);
out:
    return st;
}

Status tokenizer_from_kv(Tokenizer **out, const Kv *keys, Error *err)
{
    Tokenizer *t = tokenizer_alloc();
    if (!t)
        return error_set(err, ST_NOMEM, "no memory for a tokenizer");
    const Status st = load(t, keys, err);
    if (st == ST_OK)
        *out = t;
    else
        tokenizer_destroy(t);
    return st;
}
