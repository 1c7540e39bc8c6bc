/* tokenizer_config.json, and the files of a directory: see tokenizer_save.h. */
#include "tokenizer/tokenizer_save.h"

#include "base/json_write.h"
#include "base/mem.h"
#include "tokenizer/tokenizer_internal.h"

#define CONFIG_BYTES_MAX ((size_t)1 << 26)

/* ---- tokenizer_config.json --------------------------------------------------------------------- */

static void write_token(JsonWriter *w, const Tokenizer *t, const char *key, int32_t id)
{
    const Str text = id >= 0 ? tokenizer_piece(t, id) : (Str){NULL, 0};
    json_write_key(w, key);
    if (text.len > 0)
        json_write_string_n(w, text.ptr, text.len);
    else
        json_write_null(w);
}

/* Special tokens with no part of their own. */
static void write_other_specials(JsonWriter *w, const Tokenizer *t, int32_t pad)
{
    json_write_key(w, "additional_special_tokens");
    json_write_array_begin(w);
    for (size_t i = 0; i < t->added.count; i++) {
        const AddedToken *a = &t->added.tokens[i];
        if (!a->special || a->id == t->bos || a->id == t->eos || a->id == pad || added_by_id(&t->added, a->id) != a)
            continue;
        const Str text = added_content(&t->added, a);
        json_write_string_n(w, text.ptr, text.len);
    }
    json_write_array_end(w);
}

Status tokenizer_write_config(const Tokenizer *t, const TokenizerExtras *extras, ByteBuf *out, Error *err)
{
    Status st = ST_OK;
    JsonWriter w;
    json_write_init(&w, 2, CONFIG_BYTES_MAX);
    json_write_object_begin(&w);
    write_other_specials(&w, t, extras->pad);
    write_token(&w, t, "bos_token", t->bos);
    if (extras->chat_template.ptr) {
        json_write_key(&w, "chat_template");
        json_write_string_n(&w, extras->chat_template.ptr, extras->chat_template.len);
    }
    json_write_key(&w, "clean_up_tokenization_spaces");
    json_write_bool(&w, false);
    write_token(&w, t, "eos_token", t->eos);
    if (extras->context_max > 0) {
        json_write_key(&w, "model_max_length");
        json_write_int(&w, extras->context_max);
    }
    write_token(&w, t, "pad_token", extras->pad);
    json_write_key(&w, "tokenizer_class");
    json_write_string(&w, "PreTrainedTokenizerFast"); /* "what tokenizer.json says", for all versions */
    write_token(&w, t, "unk_token", t->bpe.unk_id);
    json_write_object_end(&w);
    TRY(json_write_finish(&w, err));
    const size_t before = out->count;
    if (bytebuf_append(out, w.buf, w.len) != ST_OK || bytebuf_append(out, "\n", 1) != ST_OK) {
        out->count = before;
        st = error_set(err, ST_NOMEM, "no memory to write a tokenizer's configuration");
    }
out:
    json_write_deinit(&w);
    return st;
}

/* ---- files ------------------------------------------------------------------------------------- */

static Status write_file(const Files *fs, const char *dir, const char *name, const void *data, size_t size, Error *err)
{
    char path[FILES_PATH_MAX];
    const Status st = files_join(path, dir, name, err);
    return st == ST_OK ? files_write_new(fs, path, data, size, err) : st;
}

Status tokenizer_save(const Tokenizer *t, const TokenizerExtras *extras, const Files *fs, const char *dir, Error *err)
{
    Status st = ST_OK;
    ByteBuf text = {0};
    TRY(tokenizer_write(t, &text, err));
    TRY(write_file(fs, dir, "tokenizer.json", text.data, text.count, err));
    text.count = 0;
    TRY(tokenizer_write_config(t, extras, &text, err));
    TRY(write_file(fs, dir, "tokenizer_config.json", text.data, text.count, err));
out:
    bytebuf_free(&text);
    return st;
}
