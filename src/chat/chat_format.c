/* Where a model keeps its chat template, and what a format remembers of it. */
#include "chat/chat_internal.h"

#include "base/json.h"
#include "base/mapfile.h"
#include "base/mem.h"

#include <string.h>

#define CONFIG_BYTES_MAX ((size_t)64 << 20) /* tokenizer_config.json lists added tokens as well */

static Status take_string(const JsonReader *r, ByteBuf *out)
{
    out->count = 0;
    return bytebuf_append(out, r->str.ptr, r->str.len);
}

/* One {"name": …, "template": …}; *is_default: its name is "default". The reader is at its begin. */
static Status read_named_template(JsonReader *r, ByteBuf *out, bool *is_default, Error *err)
{
    Status st = ST_OK;
    *is_default = false;
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_OBJECT_END)
            break;
        const bool name = str_eq(r->str, "name"), text = str_eq(r->str, "template");
        if (!name && !text) {
            TRY(json_skip(r, err));
            continue;
        }
        TRY(json_expect(r, JSON_TOK_STRING, err));
        if (name)
            *is_default = str_eq(r->str, "default");
        else
            TRY(take_string(r, out));
    }
out:
    return st;
}

/* The value of "chat_template": a string, or a list of named ones of which the default is taken. */
static Status read_template_value(JsonReader *r, ByteBuf *out, bool *found, Error *err)
{
    Status st = ST_OK;
    TRY(json_next(r, err));
    if (r->token == JSON_TOK_STRING) {
        *found = true;
        return take_string(r, out);
    }
    if (r->token != JSON_TOK_ARRAY_BEGIN)
        return json_skip(r, err);
    for (;;) {
        TRY(json_next(r, err));
        if (r->token == JSON_TOK_ARRAY_END)
            break;
        if (r->token != JSON_TOK_OBJECT_BEGIN || *found) {
            TRY(json_skip(r, err));
            continue;
        }
        TRY(read_named_template(r, out, found, err));
    }
out:
    return st;
}

static Status read_config_template(const uint8_t *text, size_t size, ByteBuf *out, bool *found, Error *err)
{
    Status st = ST_OK;
    JsonReader r;
    json_init(&r, text, size);
    TRY(json_expect(&r, JSON_TOK_OBJECT_BEGIN, err));
    for (;;) {
        TRY(json_next(&r, err));
        if (r.token == JSON_TOK_OBJECT_END)
            break;
        if (str_eq(r.str, "chat_template"))
            TRY(read_template_value(&r, out, found, err));
        else
            TRY(json_skip(&r, err));
    }
out:
    json_deinit(&r);
    return st == ST_OK ? st : error_context(err, st, "tokenizer_config.json");
}

/* chat_template.jinja wins over tokenizer_config.json, as in the reference. */
static Status find_in_directory(ByteBuf *out, const char *path, Error *err)
{
    uint8_t *text = NULL;
    size_t size = 0;
    bool found = false;
    Status st = file_read_beside(&text, &size, path, "chat_template.jinja", CONFIG_BYTES_MAX, err);
    if (st == ST_OK) {
        found = true;
        st = bytebuf_append(out, text, size);
    } else if (st == ST_NOTFOUND) {
        st = file_read_beside(&text, &size, path, "tokenizer_config.json", CONFIG_BYTES_MAX, err);
        if (st == ST_OK)
            st = read_config_template(text, size, out, &found, err);
        else if (st == ST_NOTFOUND)
            st = ST_OK;
    }
    mem_free(text);
    if (st == ST_OK && !found)
        return error_set(err, ST_NOTFOUND, "'%s' has no chat template", path);
    return st;
}

static Status find_template(ByteBuf *out, const Kv *kv, const char *path, Error *err)
{
    KvValue v;
    if (kv && kv->get(kv, "tokenizer.chat_template", &v) && v.type == KV_STRING) {
        const Status st = bytebuf_append(out, v.s.ptr, v.s.len);
        return st == ST_OK ? st : error_set(err, st, "chat template: no memory");
    }
    if (kv && kv_has(kv, "general.architecture")) /* a GGUF file: everything is inside */
        return error_set(err, ST_NOTFOUND, "'%s' has no chat template", path);
    return find_in_directory(out, path, err);
}

int32_t chat_format_find_token(const Tokenizer *t, const char *text)
{
    const int32_t id = tokenizer_find(t, text, strlen(text));
    return id >= 0 && tokenizer_is_added(t, id) ? id : -1;
}

void chat_format_add_stop(ChatFormat *f, int32_t id)
{
    for (int64_t i = 0; i < f->stop_count; i++)
        if (f->stop_ids[i] == id)
            return;
    if (id < 0)
        return;
    CHECK(f->stop_count < CHAT_STOPS_MAX);
    f->stop_ids[f->stop_count++] = id;
}

static Status bind_tokens(ChatFormat *f, const Tokenizer *t, Error *err)
{
    f->tokenizer = t;
    f->start_id = chat_format_find_token(t, "<|im_start|>");
    f->end_id = chat_format_find_token(t, "<|im_end|>");
    if (f->start_id < 0 || f->end_id < 0)
        return error_set(err, ST_UNSUPPORTED, "chat template: the vocabulary has no token %s",
                         f->start_id < 0 ? "<|im_start|>" : "<|im_end|>");
    f->bos_id = tokenizer_bos(t);
    if (f->shape.bos && f->bos_id < 0)
        return error_set(err, ST_UNSUPPORTED, "chat template: it begins with a BOS token, the tokenizer names none");
    const int32_t end_of_text = chat_format_find_token(t, "<|endoftext|>");
    chat_format_add_stop(f, f->end_id);
    chat_format_add_stop(f, tokenizer_eos(t));
    chat_format_add_stop(f, tokenizer_eot(t));
    chat_format_add_stop(f, end_of_text);
    f->think_id = chat_format_find_token(t, CHAT_THINK_OPEN);
    f->think_end_id = chat_format_find_token(t, CHAT_THINK_CLOSE);
    f->thinks = f->think_id >= 0 && f->think_end_id >= 0;
    /* Without special tokens a text cannot forge a turn, provided that what makes turns is special. */
    const bool safe = tokenizer_is_special(t, f->start_id) && tokenizer_is_special(t, f->end_id) &&
                      (end_of_text < 0 || tokenizer_is_special(t, end_of_text));
    f->text_flags = safe ? 0 : TOKENIZER_PLAIN;
    return ST_OK;
}

/* By the template; *f is zeroed. */
static Status open_by_template(ChatFormat *f, const Kv *kv, const char *path, const Tokenizer *tokenizer, Error *err)
{
    ByteBuf text = {0};
    Status st = ST_OK;
    TRY(find_template(&text, kv, path, err));
    TRY(chat_template_recognise(&f->shape, (const char *)text.data, text.count, err));
    TRY(bind_tokens(f, tokenizer, err));
    f->text = mem_strndup((const char *)text.data, text.count);
    if (!f->text)
        st = error_set(err, ST_NOMEM, "chat template: no memory");
out:
    bytebuf_free(&text);
    return st;
}

Status chat_format_open(ChatFormat **out, const Kv *kv, const char *model_path, const Tokenizer *tokenizer,
                        Error *err)
{
    ChatFormat *const f = mem_alloc(1, sizeof *f);
    if (!f)
        return error_set(err, ST_NOMEM, "chat template: no memory");
    const bool v4 = chat_v4_is_model(kv) && chat_v4_has_tokens(tokenizer);
    const Status st = v4 ? chat_v4_bind(f, kv, tokenizer, err) : open_by_template(f, kv, model_path, tokenizer, err);
    if (st == ST_OK)
        *out = f;
    else
        chat_format_close(f);
    return st;
}

Status chat_format_deepseek_v4(ChatFormat **out, const Tokenizer *tokenizer, Error *err)
{
    ChatFormat *const f = mem_alloc(1, sizeof *f);
    if (!f)
        return error_set(err, ST_NOMEM, "chat format: no memory");
    const Status st = chat_v4_bind(f, NULL, tokenizer, err);
    if (st == ST_OK)
        *out = f;
    else
        chat_format_close(f);
    return st;
}

void chat_format_close(ChatFormat *f)
{
    if (!f)
        return;
    mem_free(f->shape.default_system);
    mem_free(f->text);
    mem_free(f);
}

const char *chat_format_name(const ChatFormat *f)
{
    return f->kind == CHAT_KIND_V4 ? "deepseek-v4" : "chatml";
}

const char *chat_format_default_system(const ChatFormat *f)
{
    return f->shape.default_system;
}

const char *chat_format_template(const ChatFormat *f)
{
    return f->text;
}

bool chat_format_thinks(const ChatFormat *f)
{
    return f->thinks;
}

bool chat_format_has_modes(const ChatFormat *f)
{
    return f->kind == CHAT_KIND_V4;
}

const int32_t *chat_format_stop_ids(const ChatFormat *f, int64_t *count)
{
    *count = f->stop_count;
    return f->stop_ids;
}
