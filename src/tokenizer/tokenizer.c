/* Encoding and decoding: the tokenizer's parts put together. See tokenizer.h. */
#include "tokenizer/tokenizer.h"

#include "base/mem.h"
#include "tokenizer/nfc.h"
#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/unicode.h"

#include <string.h>

Tokenizer *tokenizer_alloc(void)
{
    Tokenizer *t = mem_alloc(1, sizeof *t);
    if (t)
        t->bos = t->eos = t->eot = -1;
    return t;
}

void tokenizer_destroy(Tokenizer *t)
{
    if (!t)
        return;
    bpe_deinit(&t->bpe);
    added_deinit(&t->added);
    splitter_deinit(&t->splitter);
    idbuf_free(&t->before);
    idbuf_free(&t->after);
    mem_free(t);
}

/* ---- building ---------------------------------------------------------------------------------- */

Status tokenizer_add_token(Tokenizer *t, AddedToken token, Str content, Error *err)
{
    if (content.len == 0)
        return ST_OK;
    if (content.len > BPE_TOKEN_BYTES_MAX)
        return error_set(err, ST_UNSUPPORTED, "an added token of %zu bytes (at most %d)", content.len,
                         BPE_TOKEN_BYTES_MAX);
    if (t->added.count == ADDED_TOKENS_MAX)
        return error_set(err, ST_UNSUPPORTED, "more than %d added tokens", ADDED_TOKENS_MAX);
    AddedToken *same = added_by_content(&t->added, content);
    token.id = same ? same->id : bpe_find_text(&t->bpe, content.ptr, content.len);
    if (same) /* special once, special always */
        same->special = token.special = same->special || token.special;
    if (token.id < 0) {
        const int64_t vocab = (int64_t)t->bpe.used;
        const int64_t next = t->added.id_count > vocab ? t->added.id_count : vocab;
        if (next >= BPE_ID_MAX)
            return error_set(err, ST_UNSUPPORTED, "more than %d tokens", BPE_ID_MAX);
        token.id = (int32_t)next;
    }
    return added_add(&t->added, token, content, err);
}

Status tokenizer_finish(Tokenizer *t, Error *err)
{
    Status st = ST_OK;
    TRY(bpe_finish(&t->bpe, err));
    TRY(added_finish(&t->added, t->nfc, err));
out:
    return st;
}

/* ---- text → ids -------------------------------------------------------------------------------- */

#define CACHE_TEXT_BYTES 8192 /* from this size on a text pays for its cache of pieces */

typedef struct {
    const Tokenizer *t;
    unsigned flags;
    SplitRun split;
    BpeScratch scratch;
    ByteBuf normal;
    IdBuf *out;
    Error *err;
} Encoding;

static Status no_memory(Error *err)
{
    return error_set(err, ST_NOMEM, "no memory to encode a text");
}

/* Ordinary text without added tokens. */
static Status encode_plain(Encoding *e, const uint8_t *s, size_t n)
{
    const uint8_t *piece;
    Status st = split_start(&e->split, s, n, e->err);
    while (st == ST_OK) {
        st = split_next(&e->split, &piece, &n, e->err);
        if (st != ST_OK || n == 0)
            break;
        if (bpe_encode(&e->t->bpe, piece, n, &e->scratch, e->out) != ST_OK)
            st = no_memory(e->err);
    }
    return st;
}

/* Text in its normal form: cut out the added tokens of this set, pass the rest on. */
static Status encode_normal(Encoding *e, const uint8_t *s, size_t n)
{
    AddedWalk walk;
    size_t start, stop;
    const AddedToken *token;
    if ((e->flags & TOKENIZER_PLAIN) || e->t->added.normalized.count == 0)
        return encode_plain(e, s, n);
    added_walk_init(&walk, &e->t->added, &e->t->added.normalized, e->flags & TOKENIZER_SPECIAL, s, n);
    while (added_walk_next(&walk, &start, &stop, &token)) {
        Status st = encode_plain(e, s + start, stop - start);
        if (st == ST_OK && token && idbuf_push(e->out, token->id) != ST_OK)
            st = no_memory(e->err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

/* Raw text between added tokens. */
static Status encode_raw(Encoding *e, const uint8_t *s, size_t n)
{
    if (!e->t->nfc || nfc_is_plain(s, n))
        return encode_normal(e, s, n);
    e->normal.count = 0;
    if (nfc_append(s, n, &e->normal) != ST_OK)
        return no_memory(e->err);
    return encode_normal(e, e->normal.data, e->normal.count);
}

static Status encode_text(Encoding *e, const uint8_t *s, size_t n)
{
    AddedWalk walk;
    size_t start, stop;
    const AddedToken *token;
    if (e->flags & TOKENIZER_PLAIN)
        return encode_raw(e, s, n);
    added_walk_init(&walk, &e->t->added, &e->t->added.raw, e->flags & TOKENIZER_SPECIAL, s, n);
    while (added_walk_next(&walk, &start, &stop, &token)) {
        Status st = encode_raw(e, s + start, stop - start);
        if (st == ST_OK && token && idbuf_push(e->out, token->id) != ST_OK)
            st = no_memory(e->err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

Status tokenizer_encode(const Tokenizer *t, const char *text, size_t len, unsigned flags, IdBuf *out, Error *err)
{
    Status st = ST_OK;
    const int64_t before = out->count;
    const uint8_t *s = (const uint8_t *)text;
    const size_t valid = utf8_valid_prefix(s, len);
    if (valid < len)
        return error_set(err, ST_INVALID, "the text is not valid UTF-8 at byte %zu (0x%02x)", valid, s[valid]);
    Encoding e = {.t = t, .flags = flags, .out = out, .err = err};
    split_init(&e.split, &t->splitter);
    if (len >= CACHE_TEXT_BYTES && bpescratch_add_cache(&e.scratch, len) != ST_OK)
        st = no_memory(err);
    if (st == ST_OK && (flags & TOKENIZER_BOS) && idbuf_append(out, t->before.data, t->before.count) != ST_OK)
        st = no_memory(err);
    if (st == ST_OK)
        st = encode_text(&e, s, len);
    if (st == ST_OK && (flags & TOKENIZER_BOS) && idbuf_append(out, t->after.data, t->after.count) != ST_OK)
        st = no_memory(err);
    if (st != ST_OK)
        out->count = before;
    split_deinit(&e.split);
    bpescratch_deinit(&e.scratch);
    bytebuf_free(&e.normal);
    return st;
}

/* ---- ids → bytes ------------------------------------------------------------------------------- */

static const BpeToken *model_token(const Tokenizer *t, int64_t id)
{
    if (id < 0 || id >= (int64_t)t->bpe.token_count || !t->bpe.tokens[id].used)
        return NULL;
    return &t->bpe.tokens[id];
}

Str tokenizer_id_bytes(const Tokenizer *t, int32_t id)
{
    const BpeToken *m = model_token(t, id);
    const AddedToken *a = added_by_id(&t->added, id);
    const bool same = m && a && m->text_len == a->text_len &&
                      memcmp(t->bpe.texts.data + m->text, t->added.texts.data + a->text, m->text_len) == 0;
    if (a && !same)
        return added_content(&t->added, a);
    return m ? (Str){(const char *)t->bpe.bytes.data + m->bytes, m->bytes_len} : (Str){NULL, 0};
}

Str tokenizer_piece(const Tokenizer *t, int32_t id)
{
    const AddedToken *a = added_by_id(&t->added, id);
    if (a)
        return added_content(&t->added, a);
    const BpeToken *m = model_token(t, id);
    return m ? (Str){(const char *)t->bpe.texts.data + m->text, m->text_len} : (Str){NULL, 0};
}

static Status bad_id(const Tokenizer *t, int32_t id, Error *err)
{
    return error_set(err, ST_INVALID, "id %d is not in the vocabulary (%lld tokens)", id,
                     (long long)tokenizer_vocab_size(t));
}

Status tokenizer_decode(const Tokenizer *t, const int32_t *ids, int64_t count, bool skip_special, ByteBuf *out,
                        Error *err)
{
    const size_t before = out->count;
    for (int64_t i = 0; i < count; i++) {
        const Str s = tokenizer_id_bytes(t, ids[i]);
        Status st = s.ptr ? ST_OK : bad_id(t, ids[i], err);
        if (st == ST_OK && skip_special && tokenizer_is_special(t, ids[i]))
            continue;
        if (st == ST_OK && bytebuf_append(out, s.ptr, s.len) != ST_OK)
            st = error_set(err, ST_NOMEM, "no memory to decode %lld ids", (long long)count);
        if (st != ST_OK) {
            out->count = before;
            return st;
        }
    }
    return ST_OK;
}

void tokenstream_init(TokenStream *s, const Tokenizer *t, bool skip_special)
{
    *s = (TokenStream){.tokenizer = t, .skip_special = skip_special};
}

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

/* One byte more: whole characters go to *out, an ill-formed beginning becomes U+FFFD. */
static Status stream_byte(TokenStream *s, uint8_t byte, ByteBuf *out)
{
    Status st = ST_OK;
    unsigned len = utf8_continue(s->held, s->held_count, byte);
    if (len == 0 && s->held_count > 0) {
        st = bytebuf_append(out, replacement, 3);
        s->held_count = 0;
        len = utf8_continue(s->held, 0, byte);
    }
    if (st != ST_OK || len == 0)
        return st != ST_OK ? st : bytebuf_append(out, replacement, 3);
    s->held[s->held_count++] = byte;
    if ((unsigned)s->held_count < len)
        return ST_OK;
    s->held_count = 0;
    return bytebuf_append(out, s->held, len);
}

Status tokenstream_push(TokenStream *s, int32_t id, ByteBuf *out, Error *err)
{
    const Str bytes = tokenizer_id_bytes(s->tokenizer, id);
    const TokenStream saved = *s;
    const size_t before = out->count;
    if (!bytes.ptr)
        return bad_id(s->tokenizer, id, err);
    if (s->skip_special && tokenizer_is_special(s->tokenizer, id))
        return ST_OK;
    for (size_t i = 0; i < bytes.len; i++)
        if (stream_byte(s, (uint8_t)bytes.ptr[i], out) != ST_OK) {
            *s = saved;
            out->count = before;
            return error_set(err, ST_NOMEM, "no memory to decode an id");
        }
    return ST_OK;
}

Status tokenstream_flush(TokenStream *s, ByteBuf *out, Error *err)
{
    if (s->held_count > 0 && bytebuf_append(out, replacement, 3) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory to decode an id");
    s->held_count = 0;
    return ST_OK;
}

/* ---- vocabulary -------------------------------------------------------------------------------- */

int64_t tokenizer_vocab_size(const Tokenizer *t)
{
    const int64_t model = (int64_t)t->bpe.token_count;
    return t->added.id_count > model ? t->added.id_count : model;
}

int32_t tokenizer_find(const Tokenizer *t, const char *text, size_t len)
{
    const AddedToken *added = added_by_content(&t->added, (Str){text, len});
    return added ? added->id : bpe_find_text(&t->bpe, text, len);
}

bool tokenizer_is_special(const Tokenizer *t, int32_t id)
{
    const AddedToken *a = added_by_id(&t->added, id);
    return a && a->special;
}

bool tokenizer_is_added(const Tokenizer *t, int32_t id)
{
    return added_by_id(&t->added, id) != NULL;
}

int32_t tokenizer_bos(const Tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const Tokenizer *t)
{
    return t->eos;
}

int32_t tokenizer_eot(const Tokenizer *t)
{
    return t->eot;
}

bool tokenizer_adds_bos(const Tokenizer *t)
{
    return t->before.count > 0;
}
