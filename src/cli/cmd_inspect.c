/* plumb inspect: what is in a model file or directory. */
#include "cli/cli.h"
#include "cli/model_arg.h"
#include "cli/options.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "formats/checkpoint_count.h"
#include "formats/tensordir.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Of a long array the first elements are shown; of a long string the first bytes. */
enum { SHOWN_WHOLE = 16, SHOWN_FIRST = 8, STRING_SHOWN = 72 };

static const char *kind_name(TensorDirKind kind)
{
    switch (kind) {
    case TENSORDIR_GGUF: return "gguf";
    case TENSORDIR_SAFETENSORS: return "safetensors";
    case TENSORDIR_HF: return "huggingface";
    }
    return "?";
}

/* ---- text: names and strings come from the file, so nothing of them may steer the terminal ---- */

static void print_text(const char *s, size_t n, size_t max)
{
    size_t p = 0;
    while (p < n && p < max) {
        uint32_t cp = 0;
        const int len = utf8_decode((const uint8_t *)s + p, n - p, &cp);
        if (len == 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
            fputs(cp == '\n' ? "\\n" : cp == '\t' ? "\\t" : "?", stdout);
        else
            fwrite(s + p, 1, (size_t)len, stdout);
        p += len ? (size_t)len : 1;
    }
    if (p < n)
        printf("... (%zu bytes)", n);
}

static void print_value(const Kv *kv, const KvValue *v, bool quoted)
{
    switch (v->type) {
    case KV_NULL: fputs("null", stdout); break;
    case KV_BOOL: fputs(v->b ? "true" : "false", stdout); break;
    case KV_INT: printf("%" PRId64, v->i); break;
    case KV_FLOAT: printf("%.9g", v->f); break;
    case KV_OBJECT: printf("{%" PRId64 " members}", v->count); break;
    case KV_STRING:
        fputs(quoted ? "\"" : "", stdout);
        print_text(v->s.ptr, v->s.len, STRING_SHOWN);
        fputs(quoted ? "\"" : "", stdout);
        break;
    case KV_ARRAY: {
        const bool whole = v->count <= SHOWN_WHOLE;
        const void *cursor = NULL;
        KvValue item;
        putchar('[');
        for (int64_t n = 0; (whole || n < SHOWN_FIRST) && kv->next(kv, v, &cursor, &item); n++) {
            fputs(n ? ", " : "", stdout);
            print_value(kv, &item, true);
        }
        if (!whole)
            printf(", ... (%" PRId64 " in all)", v->count);
        putchar(']');
        break;
    }
    }
}

static void print_metadata(const Kv *kv)
{
    printf("\nmetadata\n");
    for (int64_t k = 0; k < kv->count(kv) && !cli_output_closed(); k++) {
        KvValue v;
        const Str key = kv->at(kv, k, &v);
        if (v.type == KV_OBJECT && v.count > 0)
            continue; /* its members follow */
        fputs("  ", stdout);
        print_text(key.ptr, key.len, SIZE_MAX);
        printf("%*s  ", key.len < 40 ? (int)(40 - key.len) : 0, "");
        print_value(kv, &v, false);
        putchar('\n');
    }
}

static void print_shape(const TensorEntry *t)
{
    char shape[200] = "[]";
    size_t len = 0;
    for (int d = 0; d < t->ndim; d++)
        len += (size_t)snprintf(shape + len, sizeof shape - len, "%s%" PRId64 "%s", d ? ", " : "[", t->dims[d],
                                d == t->ndim - 1 ? "]" : "");
    printf("  %-20s", shape);
}

static void print_tensors(const TensorDir *dir)
{
    const bool many = tensordir_file_count(dir) > 1;
    printf("\ntensors%*s  %-8s%-20s  %14s  %14s%s\n", 35, "", "type", "shape", "offset", "bytes", many ? "  file" : "");
    for (int64_t k = 0; k < tensordir_count(dir) && !cli_output_closed(); k++) {
        const TensorEntry *t = tensordir_at(dir, k);
        const size_t n = strlen(t->name);
        fputs("  ", stdout);
        print_text(t->name, n, SIZE_MAX);
        printf("%*s  %-6s", n < 40 ? (int)(40 - n) : 0, "", dtype_info(t->dtype)->name);
        print_shape(t);
        printf("  %14" PRIu64 "  %14zu", t->offset, t->bytes);
        if (many)
            printf("  %d", t->file);
        putchar('\n');
    }
}

/* 1234567 → "1.23 million" */
static void print_count(const char *name, int64_t n)
{
    const double v = (double)n;
    printf("  %-24s %16" PRId64, name, n);
    if (n >= 1000000000)
        printf("  (%.2f billion)", v / 1e9);
    else if (n >= 1000000)
        printf("  (%.2f million)", v / 1e6);
}

static void print_line(const char *name, int64_t n)
{
    if (n == 0)
        return;
    print_count(name, n);
    putchar('\n');
}

static void print_counts(const CheckpointCount *c)
{
    printf("\nparameters\n");
    print_count("total", c->total);
    putchar('\n');
    print_count("active a token", c->active);
    if (c->expert_count)
        printf(", %" PRId64 " of %" PRId64 " experts", c->expert_used, c->expert_count);
    putchar('\n');
    if (c->embedding)
        print_line("  without embedding", c->active - c->embedding);
    print_line("in routed experts", c->experts);
    print_line("further-token layers", c->drafter);
    print_line("scales (not counted)", c->scales);
    print_line("tables (not counted)", c->tables);
    printf("\nbytes by type\n");
    for (int t = 0; t < DT_COUNT; t++)
        if (c->by_dtype[t].tensors)
            printf("  %-8s %16zu  %5.1f %%  in %" PRId64 " tensors\n", dtype_info((Dtype)t)->name, c->by_dtype[t].bytes,
                   c->bytes ? 100.0 * (double)c->by_dtype[t].bytes / (double)c->bytes : 0.0, c->by_dtype[t].tensors);
    printf("  %-8s %16zu\n", "all", c->bytes);
}

static void print_all(const TensorDir *dir, const CheckpointCount *c)
{
    print_text(tensordir_path(dir), strlen(tensordir_path(dir)), SIZE_MAX);
    printf("\n  %s, %" PRId64 " tensors\n", kind_name(tensordir_kind(dir)), tensordir_count(dir));
    for (int k = 0; k < tensordir_file_count(dir) && tensordir_file_count(dir) > 1; k++) {
        printf("  file %-4d ", k);
        print_text(tensordir_file_path(dir, k), strlen(tensordir_file_path(dir, k)), SIZE_MAX);
        putchar('\n');
    }
    print_metadata(tensordir_kv(dir));
    print_tensors(dir);
    print_counts(c);
}

/* ---- JSON ---- */

static void write_int(JsonWriter *w, const char *key, int64_t v)
{
    json_write_key(w, key);
    json_write_int(w, v);
}

static void write_string(JsonWriter *w, const char *key, const char *s)
{
    json_write_key(w, key);
    json_write_string(w, s);
}

static void write_value(JsonWriter *w, const Kv *kv, const KvValue *v);

static void write_items(JsonWriter *w, const Kv *kv, const KvValue *v, int64_t max)
{
    const void *cursor = NULL;
    KvValue item;
    json_write_array_begin(w);
    for (int64_t n = 0; n < max && kv->next(kv, v, &cursor, &item); n++)
        write_value(w, kv, &item);
    json_write_array_end(w);
}

/* A long array becomes {"count", "first"}. */
static void write_array(JsonWriter *w, const Kv *kv, const KvValue *v)
{
    if (v->count <= SHOWN_WHOLE) {
        write_items(w, kv, v, v->count);
        return;
    }
    json_write_object_begin(w);
    write_int(w, "count", v->count);
    json_write_key(w, "first");
    write_items(w, kv, v, SHOWN_FIRST);
    json_write_object_end(w);
}

static void write_value(JsonWriter *w, const Kv *kv, const KvValue *v)
{
    switch (v->type) {
    case KV_NULL: json_write_null(w); break;
    case KV_BOOL: json_write_bool(w, v->b); break;
    case KV_INT: json_write_int(w, v->i); break;
    case KV_FLOAT: json_write_double(w, v->f); break;
    case KV_STRING: json_write_string_n(w, v->s.ptr, v->s.len); break;
    case KV_ARRAY: write_array(w, kv, v); break;
    case KV_OBJECT:
        json_write_object_begin(w);
        json_write_object_end(w);
        break;
    }
}

static void write_tensor(JsonWriter *w, const TensorEntry *t)
{
    json_write_object_begin(w);
    write_string(w, "name", t->name);
    write_string(w, "dtype", dtype_info(t->dtype)->name);
    json_write_key(w, "shape");
    json_write_array_begin(w);
    for (int d = 0; d < t->ndim; d++)
        json_write_int(w, t->dims[d]);
    json_write_array_end(w);
    write_int(w, "file", t->file);
    write_int(w, "offset", (int64_t)t->offset);
    write_int(w, "bytes", (int64_t)t->bytes);
    json_write_object_end(w);
}

static void write_counts(JsonWriter *w, const CheckpointCount *c)
{
    json_write_key(w, "parameters");
    json_write_object_begin(w);
    write_int(w, "total", c->total);
    write_int(w, "active", c->active);
    write_int(w, "active_without_embedding", c->active - c->embedding);
    write_int(w, "experts", c->experts);
    write_int(w, "experts_per_layer", c->expert_count);
    write_int(w, "experts_per_token", c->expert_used);
    write_int(w, "further_token_layers", c->drafter);
    write_int(w, "scales", c->scales);
    write_int(w, "tables", c->tables);
    json_write_object_end(w);
    write_int(w, "bytes", (int64_t)c->bytes);
    json_write_key(w, "types");
    json_write_object_begin(w);
    for (int t = 0; t < DT_COUNT; t++) {
        if (!c->by_dtype[t].tensors)
            continue;
        json_write_key(w, dtype_info((Dtype)t)->name);
        json_write_object_begin(w);
        write_int(w, "tensors", c->by_dtype[t].tensors);
        write_int(w, "bytes", (int64_t)c->by_dtype[t].bytes);
        json_write_object_end(w);
    }
    json_write_object_end(w);
}

static int write_all(const Cli *cli, const TensorDir *dir, const CheckpointCount *c)
{
    const Kv *kv = tensordir_kv(dir);
    JsonWriter w;
    json_write_init(&w, 0, (size_t)1 << 31);
    json_write_object_begin(&w);
    write_string(&w, "path", tensordir_path(dir));
    write_string(&w, "kind", kind_name(tensordir_kind(dir)));
    json_write_key(&w, "files");
    json_write_array_begin(&w);
    for (int k = 0; k < tensordir_file_count(dir); k++)
        json_write_string(&w, tensordir_file_path(dir, k));
    json_write_array_end(&w);
    write_counts(&w, c);
    json_write_key(&w, "metadata");
    json_write_object_begin(&w);
    for (int64_t k = 0; k < kv->count(kv); k++) {
        KvValue v;
        const Str key = kv->at(kv, k, &v);
        if (v.type == KV_OBJECT && v.count > 0)
            continue; /* its members follow */
        json_write_key_n(&w, key.ptr, key.len);
        write_value(&w, kv, &v);
    }
    json_write_object_end(&w);
    json_write_key(&w, "tensors");
    json_write_array_begin(&w);
    for (int64_t k = 0; k < tensordir_count(dir); k++)
        write_tensor(&w, tensordir_at(dir, k));
    json_write_array_end(&w);
    json_write_object_end(&w);
    const int code = cli_print_json(cli, &w);
    json_write_deinit(&w);
    return code;
}

static int run_inspect(Cli *cli)
{
    Error err = {0};
    char *path = NULL;
    TensorDir *dir = NULL;
    int code = 0;
    Status st = model_arg_path(&path, cli_positional(cli, 0), &err);
    if (st == ST_OK)
        st = tensordir_open(&dir, path, &err);
    if (st != ST_OK) {
        code = cli_fail(cli, st, &err);
    } else {
        CheckpointCount count;
        checkpoint_count(&count, dir);
        if (cli_json(cli))
            code = write_all(cli, dir, &count);
        else
            print_all(dir, &count);
    }
    tensordir_close(dir);
    mem_free(path);
    return code;
}

static const CliOption options[] = {CLI_OPTION_JSON, {0}};

const CliCommand cmd_inspect = {
    .name = "inspect",
    .args = "PATH",
    .help = "show what is in a model file or directory",
    .about = "Prints the metadata, the tensors and the counts of a GGUF file, a safetensors file or a Hugging Face "
             "directory; of any model, also those that cannot be run. PATH may also be the name of a model of the "
             "store.\n"
             "Active parameters are what one token is multiplied with: of a mixture of experts, the share of experts "
             "that a token uses. Scales of quantised weights are no parameters, and layers that only predict further "
             "tokens are counted apart. Long arrays are shown by their count and first elements.",
    .example = "plumb inspect model.gguf",
    .options = options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = run_inspect,
};
