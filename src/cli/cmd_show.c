/* plumb show MODEL: what a model is, from its file and from the store. */
#include "base/buf.h"
#include "base/mem.h"
#include "cli/model_path.h"
#include "cli/options.h"
#include "formats/tensordir.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    StoreModel stored; /* zeroed when the model is a path */
    char *path;        /* owned */
    TensorDir *dir;
    Str name, architecture, licence, template;
    int64_t context, layers, hidden, vocab; /* 0: the file does not say */
    int64_t parameters, bytes;
    int64_t tensors_of[DT_COUNT];
} Shown;

static void shown_deinit(Shown *s)
{
    store_model_free(&s->stored);
    mem_free(s->path);
    tensordir_close(s->dir);
}

/* ---- Gathering ---- */

/* GGUF writes "llama.context_length", config.json "max_position_embeddings". */
static int64_t number_of(const Shown *s, const char *gguf_key, const char *config_key)
{
    const Kv *kv = tensordir_kv(s->dir);
    char key[160];
    const int n = snprintf(key, sizeof key, "%.*s.%s", (int)s->architecture.len, s->architecture.ptr, gguf_key);
    if (tensordir_kind(s->dir) == TENSORDIR_GGUF)
        return n > 0 && (size_t)n < sizeof key ? kv_int(kv, key, 0) : 0;
    return kv_int(kv, config_key, 0);
}

static void read_metadata(Shown *s)
{
    const Kv *kv = tensordir_kv(s->dir);
    const bool gguf = tensordir_kind(s->dir) == TENSORDIR_GGUF;
    KvValue tokens;
    s->architecture = kv_str(kv, gguf ? "general.architecture" : "model_type");
    s->name = kv_str(kv, gguf ? "general.name" : "_name_or_path");
    s->licence = kv_str(kv, gguf ? "general.license" : "license");
    s->template = kv_str(kv, gguf ? "tokenizer.chat_template" : "chat_template");
    s->context = number_of(s, "context_length", "max_position_embeddings");
    s->layers = number_of(s, "block_count", "num_hidden_layers");
    s->hidden = number_of(s, "embedding_length", "hidden_size");
    s->vocab = number_of(s, "vocab_size", "vocab_size");
    if (s->vocab == 0 && kv->get(kv, "tokenizer.ggml.tokens", &tokens) && tokens.type == KV_ARRAY)
        s->vocab = tokens.count;
    for (int64_t k = 0; k < tensordir_count(s->dir); k++) {
        const TensorEntry *t = tensordir_at(s->dir, k);
        s->parameters += t->elements;
        s->bytes += (int64_t)t->bytes;
        s->tensors_of[t->dtype]++;
    }
}

MUST_USE static Status gather(Shown *s, const char *name, Error *err)
{
    Models models = {0};
    StoreList list = {0};
    Status st = ST_OK;
    TRY(models_open(&models, err));
    TRY(store_resolve(models.store, models.catalogue, name, &s->path, err));
    TRY(store_list(models.store, models.catalogue, &list, err));
    for (size_t k = 0; k < list.count && !s->stored.name; k++)
        if (!list.items[k].problem && strcmp(list.items[k].path, s->path) == 0) {
            s->stored = list.items[k];
            list.items[k] = (StoreModel){0};
        }
    TRY(tensordir_open(&s->dir, s->path, err));
    read_metadata(s);
out:
    store_list_free(&list);
    models_close(&models);
    return st;
}

/* "Q4_1 180, Q8_0 31, F32 61" */
static void list_types(const Shown *s, char *buf, size_t size)
{
    size_t n = 0;
    buf[0] = 0;
    for (int t = 0; t < DT_COUNT; t++)
        if (s->tensors_of[t] > 0 && n < size) {
            const int m = snprintf(buf + n, size - n, "%s%s %lld", n ? ", " : "", dtype_info((Dtype)t)->name,
                                   (long long)s->tensors_of[t]);
            n += m > 0 ? (size_t)m : 0;
        }
}

static const char *kind_name(TensorDirKind kind)
{
    static const char *const names[] = {"GGUF", "safetensors", "Hugging Face directory"};
    return names[kind];
}

/* ---- For people ---- */

static void print_text(const char *label, const char *text)
{
    if (text)
        printf("%-14s %s\n", label, text);
}

/* Texts of the file may hold anything: control characters become '?'. */
static void print_str(const char *label, Str s)
{
    if (s.len == 0)
        return;
    printf("%-14s ", label);
    for (size_t k = 0; k < s.len && k < 200; k++)
        putchar((unsigned char)s.ptr[k] < 0x20 || s.ptr[k] == 0x7f ? '?' : s.ptr[k]);
    putchar('\n');
}

static void print_number(const char *label, int64_t v)
{
    if (v > 0)
        printf("%-14s %lld\n", label, (long long)v);
}

static void print_people(const Shown *s)
{
    char text[400];
    print_text("name", s->stored.name);
    print_text("title", s->stored.title);
    print_str("file's name", s->name);
    print_text("format", kind_name(tensordir_kind(s->dir)));
    print_str("architecture", s->architecture);
    snprintf(text, sizeof text, "%lld (%.1f million)", (long long)s->parameters, (double)s->parameters / 1e6);
    print_text("parameters", text);
    list_types(s, text, sizeof text);
    print_text("tensors", text);
    print_number("context", s->context);
    print_number("layers", s->layers);
    print_number("hidden", s->hidden);
    print_number("vocabulary", s->vocab);
    if (s->stored.licence)
        print_text("licence", s->stored.licence);
    else
        print_str("licence", s->licence);
    format_bytes(text, sizeof text, (double)s->bytes);
    print_text("weights", text);
    if (s->stored.sha256)
        printf("%-14s sha256:%s\n", "digest", s->stored.sha256);
    print_text("source", s->stored.source);
    print_text("pulled", s->stored.pulled);
    print_text("path", s->path);
    if (s->template.len)
        printf("%-14s %zu bytes ('plumb show --template' prints it)\n", "chat template", s->template.len);
}

/* ---- JSON ---- */

static void write_text(JsonWriter *w, const char *key, const char *text)
{
    if (!text)
        return;
    json_write_key(w, key);
    json_write_string(w, text);
}

static void write_str(JsonWriter *w, const char *key, Str s)
{
    if (!s.ptr)
        return;
    json_write_key(w, key);
    json_write_string_n(w, s.ptr, s.len);
}

static void write_number(JsonWriter *w, const char *key, int64_t v)
{
    if (v <= 0)
        return;
    json_write_key(w, key);
    json_write_int(w, v);
}

static void write_shown(JsonWriter *w, const Shown *s)
{
    char digest[80];
    json_write_object_begin(w);
    write_text(w, "name", s->stored.name);
    write_text(w, "title", s->stored.title);
    write_str(w, "file_name", s->name);
    write_text(w, "format", kind_name(tensordir_kind(s->dir)));
    write_str(w, "architecture", s->architecture);
    write_number(w, "parameters", s->parameters);
    json_write_key(w, "tensors");
    json_write_object_begin(w);
    for (int t = 0; t < DT_COUNT; t++)
        write_number(w, dtype_info((Dtype)t)->name, s->tensors_of[t]);
    json_write_object_end(w);
    write_number(w, "context", s->context);
    write_number(w, "layers", s->layers);
    write_number(w, "hidden", s->hidden);
    write_number(w, "vocabulary", s->vocab);
    if (s->stored.licence)
        write_text(w, "licence", s->stored.licence);
    else
        write_str(w, "licence", s->licence);
    write_number(w, "weight_bytes", s->bytes);
    write_number(w, "bytes", s->stored.bytes);
    if (s->stored.sha256) {
        snprintf(digest, sizeof digest, "sha256:%.64s", s->stored.sha256);
        write_text(w, "digest", digest);
    }
    write_text(w, "source", s->stored.source);
    write_text(w, "pulled", s->stored.pulled);
    write_text(w, "path", s->path);
    json_write_key(w, "embedded");
    json_write_bool(w, s->stored.embedded);
    write_str(w, "chat_template", s->template);
    json_write_object_end(w);
}

static int print_json(const Cli *cli, const Shown *s)
{
    JsonWriter w;
    json_write_init(&w, 0, (size_t)64 << 20);
    write_shown(&w, s);
    const int code = cli_print_json(cli, &w);
    json_write_deinit(&w);
    return code;
}

static int print_template(const Cli *cli, const Shown *s)
{
    Error err = {0};
    if (!s->template.len)
        return cli_fail(cli, error_set(&err, ST_NOTFOUND, "'%s' holds no chat template", s->path), &err);
    fwrite(s->template.ptr, 1, s->template.len, stdout);
    if (s->template.ptr[s->template.len - 1] != '\n')
        putchar('\n');
    return 0;
}

static int run_show(Cli *cli)
{
    Error err = {0};
    Shown s = {0};
    int code = 0;
    const Status st = gather(&s, cli_positional(cli, 0), &err);
    if (st != ST_OK)
        code = cli_fail(cli, st, &err);
    else if (cli_flag(cli, "template"))
        code = print_template(cli, &s);
    else if (cli_json(cli))
        code = print_json(cli, &s);
    else
        print_people(&s);
    shown_deinit(&s);
    return code;
}

static const CliOption options[] = {
    {.name = "template", .kind = OPT_FLAG, .help = "print the chat template of the file and nothing else"},
    CLI_OPTION_JSON,
    {0},
};

const CliCommand cmd_show = {
    .name = "show",
    .args = "MODEL",
    .help = "tell what a model is: architecture, size, licence, path",
    .about = "MODEL is a model of the store, a model file, or a directory with config.json and safetensors files. "
             "'plumb inspect' lists the tensors.",
    .example = "plumb show smollm2-135m-instruct\nplumb show --json ./model.gguf",
    .options = options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = run_show,
};
