/* Where a run's data, tokenizer and model come from: the recipe at first, the checkpoint from then on. */
#include "train/trainer_internal.h"

#include "base/mem.h"
#include "tokenizer/tokenizer_save.h"
#include "tokenizer/train.h"
#include "train/export.h"

#include <stdio.h>
#include <string.h>

#define FILE_BYTES_MAX ((size_t)64 << 20)
#define PADDING_KEY "tokenizer.ggml.padding_token_id"

/* ---- data -------------------------------------------------------------------------------------- */

MUST_USE static Status describe_source(Trainer *t, int64_t i, CorpusSource *out, Error *err)
{
    const RecipeSource *s = &t->recipe.data.sources[i];
    *out = (CorpusSource){.weight = s->weight};
    if (s->kinds.count > 0) {
        out->kind = CORPUS_MADE;
        out->make = problem_source_document;
        out->arg = &t->made[i];
        return problem_source_init(&t->made[i], s, (uint64_t)t->recipe.train.seed, err);
    }
    const RecipeTexts *files = s->text.count ? &s->text : &s->jsonl;
    out->kind = s->text.count ? CORPUS_TEXT : CORPUS_JSONL;
    out->files = files->items;
    out->file_count = files->count;
    return ST_OK;
}

static void add_validation(CorpusSource *sources, int64_t *count, CorpusKind kind, const RecipeTexts *files)
{
    if (files->count > 0)
        sources[(*count)++] = (CorpusSource){.kind = kind, .files = files->items, .file_count = files->count,
                                             .validation_only = true};
}

Status trainer_open_data(Trainer *t, Error *err)
{
    CorpusSource sources[RECIPE_SOURCES_MAX + 2];
    int64_t count = 0;
    Status st = ST_OK;
    for (; count < t->recipe.data.source_count; count++)
        TRY(describe_source(t, count, &sources[count], err));
    add_validation(sources, &count, CORPUS_TEXT, &t->recipe.data.text);
    add_validation(sources, &count, CORPUS_JSONL, &t->recipe.data.jsonl);
    const int64_t piece = t->recipe.train.length * 8; /* about two rows of text: few cuts, fine shuffling */
    const CorpusParams params = {
        .fs = t->p->fs,
        .sources = sources,
        .source_count = count,
        .share = t->recipe.data.share,
        .seed = (uint64_t)t->recipe.train.seed,
        .piece_bytes = piece < CORPUS_PIECE_BYTES_MIN ? CORPUS_PIECE_BYTES_MIN : piece,
    };
    TRY(corpus_open(&t->corpus, &params, err));
    if (corpus_bad_bytes(t->corpus) > 0)
        trainer_say(t, "the data has %lld bytes that are not UTF-8; they are read as U+FFFD",
                    (long long)corpus_bad_bytes(t->corpus));
out:
    return st;
}

/* ---- files beside the weights ------------------------------------------------------------------ */

/* A further file; its content is copied. */
MUST_USE static Status add_file(Trainer *t, const char *name, const void *bytes, size_t size, Error *err)
{
    CHECK(t->file_count < TRAINER_FILES_MAX);
    TrainerFile *f = &t->files[t->file_count++];
    f->name = mem_strdup(name);
    if (!f->name || bytebuf_append(&f->bytes, bytes, size) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for '%s'", name);
    return ST_OK;
}

static const TrainerFile *file_called(const Trainer *t, const char *name)
{
    for (int i = 0; i < t->file_count; i++)
        if (strcmp(t->files[i].name, name) == 0)
            return &t->files[i];
    return NULL;
}

MUST_USE static Status copy_companions(Trainer *t, const char *dir, Error *err)
{
    Status st = ST_OK;
    for (int i = 0; export_companions[i] && st == ST_OK; i++) {
        char path[FILES_PATH_MAX];
        uint8_t *bytes = NULL;
        size_t size = 0;
        if (!files_exist(t->p->fs, dir, export_companions[i]))
            continue;
        TRY(files_join(path, dir, export_companions[i], err));
        TRY(files_read(t->p->fs, &bytes, &size, path, FILE_BYTES_MAX, err));
        st = add_file(t, export_companions[i], bytes, size, err);
        mem_free(bytes);
    }
out:
    return st;
}

/* ---- tokenizer --------------------------------------------------------------------------------- */

/* The markers of DeepSeek-V4's conversations (deepseek-v4.md §5.2); ids 0, 1, 2 are those of the release. */
static const char *const markers[] = {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>",
                                      "<｜User｜>",              "<｜Assistant｜>",       "<think>",
                                      "</think>"};
#define MARKERS (sizeof markers / sizeof *markers)
#define TEXT_MARKERS 3 /* without those of conversations the model completes texts */

#define TRAIN_DOCUMENTS 20000                /* of problems; files have an end */
#define TRAIN_BYTES_MAX ((size_t)256 << 20)  /* of text that a tokenizer is trained on */

/* Texts that live until the tokenizer is there. */
typedef struct {
    Arena arena;
    Str *items; /* owned */
    size_t count, cap, bytes;
} Texts;

MUST_USE static Status add_text(Texts *x, const char *s, size_t n, Error *err)
{
    void *items = x->items;
    char *copy = arena_strndup(&x->arena, s, n);
    if (!copy || mem_grow(&items, &x->cap, x->count + 1, sizeof *x->items) != ST_OK)
        return error_set(err, ST_NOMEM, "no memory for the text that the tokenizer is trained on");
    x->items = items;
    x->items[x->count++] = (Str){copy, n};
    x->bytes += n;
    return ST_OK;
}

MUST_USE static Status add_document(Texts *x, const Document *d, Error *err)
{
    Status st = ST_OK;
    if (d->text)
        TRY(add_text(x, d->text, d->size, err));
    for (int64_t i = 0; i < d->message_count; i++) {
        TRY(add_text(x, d->messages[i].content, strlen(d->messages[i].content), err));
        if (d->messages[i].thinking)
            TRY(add_text(x, d->messages[i].thinking, strlen(d->messages[i].thinking), err));
    }
out:
    return st;
}

MUST_USE static Status gather_texts(const Trainer *t, Texts *x, Error *err)
{
    Status st = ST_OK;
    for (int64_t s = 0; s < corpus_sources(t->corpus); s++) {
        int64_t count = corpus_count(t->corpus, CORPUS_TRAIN, s);
        count = count == CORPUS_ENDLESS ? TRAIN_DOCUMENTS : count;
        for (int64_t i = 0; i < count && x->bytes < TRAIN_BYTES_MAX; i++) {
            Document d = {0};
            TRY(corpus_document(t->corpus, CORPUS_TRAIN, s, i, &d, err));
            st = add_document(x, &d, err);
            document_free(&d);
            TRY(st);
        }
    }
out:
    return st;
}

/* What loaders want to know beside tokenizer.json. */
MUST_USE static Status write_tokenizer_config(Trainer *t, Error *err)
{
    JsonWriter w;
    json_write_init(&w, 2, 1 << 16);
    json_write_object_begin(&w);
    static const char *const keys[] = {"bos_token", "eos_token", "pad_token"};
    for (int i = 0; i < 3; i++) {
        json_write_key(&w, keys[i]);
        json_write_string(&w, markers[i]);
    }
    json_write_key(&w, "add_bos_token");
    json_write_bool(&w, false);
    json_write_key(&w, "clean_up_tokenization_spaces");
    json_write_bool(&w, false);
    json_write_key(&w, "tokenizer_class");
    json_write_string(&w, "PreTrainedTokenizerFast");
    json_write_object_end(&w);
    Status st = json_write_finish(&w, err);
    if (st == ST_OK)
        st = add_file(t, "tokenizer_config.json", w.buf, w.len, err);
    json_write_deinit(&w);
    return st;
}

static bool has_conversations(const Recipe *r)
{
    for (int64_t i = 0; i < r->data.source_count; i++)
        if (r->data.sources[i].text.count == 0)
            return true;
    return false;
}

MUST_USE static Status train_tokenizer(Trainer *t, Error *err)
{
    const size_t special_count = has_conversations(&t->recipe) ? MARKERS : TEXT_MARKERS;
    const RecipeTokenizer *r = &t->recipe.tokenizer;
    Str special[MARKERS];
    Texts texts = {0};
    ByteBuf json = {0};
    Status st = ST_OK;
    for (size_t i = 0; i < MARKERS; i++)
        special[i] = (Str){markers[i], strlen(markers[i])};
    TRY(gather_texts(t, &texts, err));
    trainer_say(t, "training a tokenizer of %lld tokens on %zu bytes", (long long)r->train, texts.bytes);
    TRY(tokenizer_train(texts.items, texts.count,
                        &(TrainParams){.vocab_size = r->train, .special = special, .special_count = special_count,
                                       .single_digits = r->single_digits, .threads = pool_threads(t->pool)},
                        &json, err));
    TRY(add_file(t, "tokenizer.json", json.data, json.count, err));
    TRY(write_tokenizer_config(t, err));
out:
    bytebuf_free(&json);
    arena_free(&texts.arena);
    mem_free(texts.items);
    return st;
}

/* From the files that are there by now. */
MUST_USE static Status open_tokenizer(Trainer *t, Error *err)
{
    const TrainerFile *f = file_called(t, "tokenizer.json");
    if (!f)
        return error_set(err, ST_NOTFOUND, "the model to start from has no tokenizer.json");
    return tokenizer_from_json(&t->tokenizer, f->bytes.data, f->bytes.count, err);
}

/* ---- configuration ----------------------------------------------------------------------------- */

/* The spec of what is trained, from config.json. */
MUST_USE static Status open_spec(Trainer *t, Error *err)
{
    const TrainerFile *f = file_called(t, "config.json");
    ModelSource source = {0};
    Status st = ST_OK;
    TRY(json_kv_parse(&t->config, f->bytes.data, f->bytes.count, err));
    source.kv = json_kv_view(t->config);
    source.mtp = t->recipe.mtp.weight > 0 && kv_int(source.kv, "num_nextn_predict_layers", 0) > 0;
    TRY(model_spec_from(&t->spec, &source, err));
    if (t->recipe.train.length > t->spec.context_max)
        TRY(error_set(err, ST_INVALID, "train.length is %lld, but the model has %lld positions",
                      (long long)t->recipe.train.length, (long long)t->spec.context_max));
    if (tokenizer_vocab_size(t->tokenizer) > t->spec.vocab)
        TRY(error_set(err, ST_INVALID, "the tokenizer has %lld ids, the model's embedding %lld rows",
                      (long long)tokenizer_vocab_size(t->tokenizer), (long long)t->spec.vocab));
out:
    return st;
}

static int32_t marker_id(const Trainer *t, int i)
{
    return tokenizer_find(t->tokenizer, markers[i], strlen(markers[i]));
}

MUST_USE static Status write_new_config(Trainer *t, Error *err)
{
    ByteBuf json = {0};
    const RecipeVocabulary v = {tokenizer_vocab_size(t->tokenizer), marker_id(t, 0), marker_id(t, 1)};
    Status st = recipe_write_config(&t->recipe, &v, &json, err);
    if (st == ST_OK)
        st = add_file(t, "config.json", json.data, json.count, err);
    bytebuf_free(&json);
    return st;
}

/* The configuration of another checkpoint, written as we write it. */
MUST_USE static Status write_config_of(Trainer *t, const ModelSpec *spec, const Kv *kv, Error *err)
{
    const bool gguf = kv_has(kv, "general.architecture");
    const ModelConfigExtras extras = {
        .dtype = "float32",
        .bos = kv_int(kv, gguf ? "tokenizer.ggml.bos_token_id" : "bos_token_id", -1),
        .eos = kv_int(kv, gguf ? "tokenizer.ggml.eos_token_id" : "eos_token_id", -1),
        .pad = kv_int(kv, gguf ? PADDING_KEY : "pad_token_id", -1),
    };
    JsonWriter w;
    Status st = ST_OK;
    json_write_init(&w, 2, 1 << 20);
    st = spec->family->write_config(spec, &extras, &w, err);
    if (st == ST_OK)
        st = json_write_finish(&w, err);
    if (st == ST_OK)
        st = add_file(t, "config.json", w.buf, w.len, err);
    json_write_deinit(&w);
    return st;
}

/* ---- the learner ------------------------------------------------------------------------------- */

MUST_USE static Status open_learner(Trainer *t, Error *err)
{
    const Recipe *r = &t->recipe;
    const LearnerParams params = {
        .optimiser = learner_optimiser(r),
        .balance_alpha = r->balance.sequence,
        .rows = r->train.batch * r->train.length,
        .sequences = r->train.batch * r->train.length, /* documents may be as short as one token */
        .length = r->train.length,
        .recompute = r->train.recompute,
        .bf16 = r->train.compute == RECIPE_BF16,
    };
    return learner_create(&t->learner, &t->spec, &params, t->kernels, t->pool, err);
}

/* The conversations of the model; a model without a known template cannot learn from messages. */
MUST_USE static Status open_chat(Trainer *t, const Kv *kv, const char *path, Error *err)
{
    Error ignored;
    Status st = chat_format_open(&t->chat, kv, path, t->tokenizer, &ignored);
    if (st == ST_NOTFOUND || st == ST_UNSUPPORTED) {
        t->chat = NULL;
        return ST_OK;
    }
    return st == ST_OK ? st : error_set(err, st, "%s", ignored.msg);
}

/* ---- the three ways a run begins --------------------------------------------------------------- */

MUST_USE static Status begin_new(Trainer *t, Error *err)
{
    const char *file = t->recipe.tokenizer.file;
    Status st = ST_OK;
    if (*file) {
        uint8_t *bytes = NULL;
        size_t size = 0;
        char path[FILES_PATH_MAX];
        if (files_exist(t->p->fs, file, "tokenizer.json")) {
            TRY(copy_companions(t, file, err));
        } else {
            snprintf(path, sizeof path, "%s", file);
            TRY(files_read(t->p->fs, &bytes, &size, path, FILE_BYTES_MAX, err));
            st = add_file(t, "tokenizer.json", bytes, size, err);
            mem_free(bytes);
            TRY(st);
        }
    } else {
        TRY(train_tokenizer(t, err));
    }
    TRY(open_tokenizer(t, err));
    TRY(write_new_config(t, err));
    TRY(open_spec(t, err));
    TRY(open_chat(t, json_kv_view(t->config), t->p->out, err));
    TRY(open_learner(t, err));
    params_initialise(learner_params(t->learner), (uint64_t)t->recipe.train.seed);
out:
    return st;
}

/* The directory of a file. */
static const char *parent_of(char out[FILES_PATH_MAX], const char *path)
{
    const char *slash = strrchr(path, '/');
    snprintf(out, FILES_PATH_MAX, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    return out;
}

/* What a GGUF file says of its tokenizer, as the files that a directory has. */
MUST_USE static Status write_gguf_tokenizer(Trainer *t, const Kv *kv, Error *err)
{
    const TokenizerExtras extras = {.chat_template = kv_str(kv, "tokenizer.chat_template"),
                                    .pad = (int32_t)kv_int(kv, PADDING_KEY, -1)};
    ByteBuf json = {0}, config = {0};
    Tokenizer *stored = NULL;
    Status st = ST_OK;
    TRY(tokenizer_from_kv(&stored, kv, err));
    TRY(tokenizer_write(stored, &json, err));
    TRY(tokenizer_write_config(stored, &extras, &config, err));
    TRY(add_file(t, "tokenizer.json", json.data, json.count, err));
    TRY(add_file(t, "tokenizer_config.json", config.data, config.count, err));
out:
    tokenizer_destroy(stored);
    bytebuf_free(&json);
    bytebuf_free(&config);
    return st;
}

/* Always through the files that the checkpoints get, so that a run which goes on has the same one. */
MUST_USE static Status take_tokenizer(Trainer *t, const TensorDir *dir, Error *err)
{
    Status st = ST_OK;
    if (tensordir_kind(dir) != TENSORDIR_GGUF) {
        char parent[FILES_PATH_MAX];
        TRY(copy_companions(t, tensordir_kind(dir) == TENSORDIR_SAFETENSORS ? parent_of(parent, t->from_path) : t->from_path,
                            err));
    } else {
        TRY(write_gguf_tokenizer(t, tensordir_kv(dir), err));
    }
    TRY(open_tokenizer(t, err));
out:
    return st;
}

MUST_USE static Status begin_from(Trainer *t, Error *err)
{
    TensorDir *dir = NULL;
    ModelSpec stored = {0};
    Status st = ST_OK;
    if (t->p->find_model)
        TRY(t->p->find_model(t->p->arg, t->recipe.model.from, &t->from_path, err));
    else
        t->from_path = mem_strdup(t->recipe.model.from);
    if (!t->from_path)
        TRY(error_set(err, ST_NOMEM, "no memory for a path"));
    TRY(tensordir_open(&dir, t->from_path, err));
    TRY(model_spec_load(&stored, dir, err));
    TRY(take_tokenizer(t, dir, err));
    TRY(write_config_of(t, &stored, tensordir_kv(dir), err));
    TRY(open_spec(t, err));
    TRY(open_chat(t, tensordir_kv(dir), t->from_path, err));
    TRY(open_learner(t, err));
    params_initialise(learner_params(t->learner), (uint64_t)t->recipe.train.seed); /* what the file may lack */
    TRY(params_load(learner_params(t->learner), &stored, dir, err));
out:
    model_spec_free(&stored);
    tensordir_close(dir);
    return st;
}

MUST_USE static Status begin_again(Trainer *t, Error *err)
{
    static const char *const config = "config.json";
    Status st = ST_OK;
    const Str text = checkpoint_text(t->start, config);
    if (!text.ptr)
        return error_set(err, ST_CORRUPT, "'%s' has no config.json", checkpoint_path(t->start));
    TRY(add_file(t, config, text.ptr, text.len, err));
    for (int i = 0; export_companions[i]; i++) {
        const Str s = checkpoint_text(t->start, export_companions[i]);
        if (s.ptr)
            TRY(add_file(t, export_companions[i], s.ptr, s.len, err));
    }
    TRY(open_tokenizer(t, err));
    TRY(open_spec(t, err));
    TRY(open_chat(t, json_kv_view(t->config), checkpoint_path(t->start), err));
    TRY(open_learner(t, err));
out:
    return st;
}

Status trainer_open_model(Trainer *t, Error *err)
{
    if (t->start)
        return begin_again(t, err);
    return *t->recipe.model.from ? begin_from(t, err) : begin_new(t, err);
}
