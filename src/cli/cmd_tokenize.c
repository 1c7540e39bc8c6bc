/* plumb tokenize, detokenize: text to ids and back. plumb tokenizer train: a new tokenizer from texts. */
#include "base/buf.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "base/pool.h"
#include "cli/model_path.h"
#include "cli/options.h"
#include "formats/tensordir.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/train.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX ((size_t)4 << 30)

/* ---- opening ----------------------------------------------------------------------------------- */

/* A tokenizer.json, a directory with one, or a GGUF file. */
static Status open_path(Tokenizer **out, const char *path, Error *err)
{
    MapFile file = {0};
    TensorDir *dir = NULL;
    Status st = mapfile_open(&file, path, NULL);
    const bool gguf = st == ST_OK && file.size >= 4 && memcmp(file.data, "GGUF", 4) == 0;
    mapfile_close(&file);
    if (!gguf)
        return tokenizer_open(out, path, err);
    st = tensordir_open(&dir, path, err);
    if (st == ST_OK) {
        st = tokenizer_from_kv(out, tensordir_kv(dir), err);
        if (st != ST_OK)
            error_context(err, st, "'%s'", path);
    }
    tensordir_close(dir);
    return st;
}

/* The tokenizer of --tokenizer or of the model that the first positional names; *next is the first
 * positional behind that. Prints what goes wrong and returns the exit code. */
static int open_tokenizer(const Cli *cli, Tokenizer **out, int *next)
{
    Error err = {0};
    char *path = NULL;
    const char *file = cli_string(cli, "tokenizer", NULL);
    *next = file ? 0 : 1;
    if (!file && !cli_positional(cli, 0))
        return cli_usage(cli, "no MODEL and no --tokenizer FILE");
    if (!file) {
        const int code = cli_model_path(cli, cli_positional(cli, 0), false, &path);
        if (code)
            return code;
    }
    const Status st = open_path(out, file ? file : path, &err);
    mem_free(path);
    return st == ST_OK ? 0 : cli_fail(cli, st, &err);
}

/* What the command works on: --file, the positionals from `next` on joined by spaces, or standard input. */
static Status read_input(const Cli *cli, int next, ByteBuf *out, Error *err)
{
    Status st = ST_OK;
    uint8_t *data = NULL;
    size_t size = 0;
    const char *file = cli_string(cli, "file", next < cli_positional_count(cli) ? NULL : "-");
    for (int i = next; !file && i < cli_positional_count(cli); i++)
        TRY(bytebuf_printf(out, "%s%s", i > next ? " " : "", cli_positional(cli, i)));
    if (file) {
        TRY(file_read_all(&data, &size, file, TEXT_BYTES_MAX, err));
        TRY(bytebuf_append(out, data, size));
    }
out:
    mem_free(data);
    return st;
}

/* ---- tokenize ---------------------------------------------------------------------------------- */

static void print_ids(const IdBuf *ids)
{
    for (int64_t i = 0; i < ids->count && !cli_output_closed(); i++)
        printf("%s%d", i ? " " : "", ids->data[i]);
    printf("\n");
}

static int run_tokenize(Cli *cli)
{
    Error err = {0};
    Tokenizer *t = NULL;
    ByteBuf text = {0};
    IdBuf ids = {0};
    int next = 0;
    int code = open_tokenizer(cli, &t, &next);
    if (code)
        return code;
    const unsigned flags = cli_flag(cli, "special") ? TOKENIZER_SPECIAL | TOKENIZER_BOS : 0;
    Status st = ST_OK;
    if (cli_given(cli, "file") && next < cli_positional_count(cli))
        code = cli_usage(cli, "both --file and a text");
    else if ((st = read_input(cli, next, &text, &err)) == ST_OK)
        st = tokenizer_encode(t, text.count ? (const char *)text.data : "", text.count, flags, &ids, &err);
    if (st != ST_OK)
        code = cli_fail(cli, st, &err);
    else if (code == 0)
        print_ids(&ids);
    idbuf_free(&ids);
    bytebuf_free(&text);
    tokenizer_destroy(t);
    return code;
}

/* ---- detokenize -------------------------------------------------------------------------------- */

static bool is_separator(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == ',' || c == '[' || c == ']';
}

/* Ids separated by white space; commas and brackets are taken too, as other programs print them. */
static Status parse_ids(const char *s, IdBuf *ids, Error *err)
{
    for (;;) {
        while (is_separator(*s))
            s++;
        if (!*s)
            return ST_OK;
        char *end;
        errno = 0;
        const long long id = strtoll(s, &end, 10);
        if (end == s || (*end && !is_separator(*end)) || errno || id < 0 || id > INT32_MAX)
            return error_set(err, ST_INVALID, "'%.20s' is not an id", s);
        if (idbuf_push(ids, (int32_t)id) != ST_OK)
            return error_set(err, ST_NOMEM, "no memory for ids");
        s = end;
    }
}

static int run_detokenize(Cli *cli)
{
    Error err = {0};
    Status st = ST_OK;
    Tokenizer *t = NULL;
    ByteBuf input = {0}, text = {0};
    IdBuf ids = {0};
    int next = 0;
    int code = open_tokenizer(cli, &t, &next);
    if (code)
        return code;
    if (cli_given(cli, "file") && next < cli_positional_count(cli)) {
        code = cli_usage(cli, "both --file and ids");
        goto out;
    }
    TRY(read_input(cli, next, &input, &err));
    TRY(bytebuf_cstr(&input) ? ST_OK : ST_NOMEM);
    TRY(parse_ids((const char *)input.data, &ids, &err));
    TRY(tokenizer_decode(t, ids.data, ids.count, !cli_flag(cli, "special"), &text, &err));
    fwrite(text.data, 1, text.count, stdout);
out:
    if (st != ST_OK)
        code = cli_fail(cli, st, &err);
    idbuf_free(&ids);
    bytebuf_free(&text);
    bytebuf_free(&input);
    tokenizer_destroy(t);
    return code;
}

/* ---- tokenizer train --------------------------------------------------------------------------- */

typedef struct {
    MapFile *files; /* owned */
    Str *texts;     /* owned array, borrowed texts */
    Str *special;
    int count;
} Corpus;

static void corpus_close(Corpus *c)
{
    for (int i = 0; c->files && i < c->count; i++)
        mapfile_close(&c->files[i]);
    mem_free(c->files);
    mem_free(c->texts);
    mem_free(c->special);
}

static Status corpus_open(Corpus *c, const Cli *cli, Error *err)
{
    Status st = ST_OK;
    const int special = cli_list_count(cli, "special");
    c->count = cli_list_count(cli, "file");
    c->files = mem_alloc((size_t)c->count, sizeof *c->files);
    c->texts = mem_alloc((size_t)c->count, sizeof *c->texts);
    c->special = mem_alloc((size_t)special, sizeof *c->special);
    if (!c->files || !c->texts || !c->special)
        return error_set(err, ST_NOMEM, "no memory for %d files", c->count);
    for (int i = 0; i < c->count; i++) {
        TRY(mapfile_open(&c->files[i], cli_list_at(cli, "file", i), err));
        c->texts[i] = (Str){c->files[i].size ? (const char *)c->files[i].data : "", c->files[i].size};
    }
    for (int i = 0; i < special; i++)
        c->special[i] = (Str){cli_list_at(cli, "special", i), strlen(cli_list_at(cli, "special", i))};
out:
    return st;
}

static int run_train(Cli *cli)
{
    Error err = {0};
    Status st = ST_OK;
    Corpus corpus = {0};
    ByteBuf json = {0};
    const char *out_path = cli_string(cli, "out", NULL);
    if (!cli_given(cli, "vocab") || !out_path || cli_list_count(cli, "file") == 0)
        return cli_usage(cli, "--file, --vocab and --out are needed");
    TRY(corpus_open(&corpus, cli, &err));
    const TrainParams params = {
        .vocab_size = cli_int(cli, "vocab", 0),
        .special = corpus.special,
        .special_count = (size_t)cli_list_count(cli, "special"),
        .single_digits = cli_flag(cli, "single-digits"),
        .threads = (int)cli_int(cli, "threads", 1),
    };
    TRY(tokenizer_train(corpus.texts, (size_t)corpus.count, &params, &json, &err));
    TRY(file_write_atomic(out_path, json.data, json.count, &err));
out:
    bytebuf_free(&json);
    corpus_close(&corpus);
    return st == ST_OK ? 0 : cli_fail(cli, st, &err);
}

/* ---- tables ------------------------------------------------------------------------------------ */

#define OPTION_TOKENIZER                                                                             \
    {.name = "tokenizer", .kind = OPT_STRING, .value = "FILE",                                       \
     .help = "a tokenizer.json, a directory with one, or a GGUF file; instead of MODEL"}

static const CliOption tokenize_options[] = {
    OPTION_TOKENIZER,
    {.name = "file", .letter = 'f', .kind = OPT_STRING, .value = "FILE", .help = "read the text from FILE (-: standard input)"},
    {.name = "special", .kind = OPT_FLAG, .on = true,
     .help = "take special tokens in the text for text, and add none (as BOS) around it"},
    {0},
};

static const CliOption detokenize_options[] = {
    OPTION_TOKENIZER,
    {.name = "file", .letter = 'f', .kind = OPT_STRING, .value = "FILE", .help = "read the ids from FILE (-: standard input)"},
    {.name = "special", .kind = OPT_FLAG, .on = true, .help = "leave special tokens out"},
    {0},
};

static const CliOption train_options[] = {
    {.name = "file", .letter = 'f', .kind = OPT_LIST, .value = "FILE", .help = "a text to learn from; may be repeated"},
    {.name = "vocab", .also = "vocab-size", .kind = OPT_INT, .value = "N", .min = 256, .max = 4194304,
     .help = "size of the vocabulary: special tokens, 256 bytes, one token a merge"},
    {.name = "out", .letter = 'o', .kind = OPT_STRING, .value = "FILE", .help = "where to write the tokenizer.json"},
    {.name = "special", .kind = OPT_LIST, .value = "TOKEN",
     .help = "a special token; they get the ids 0, 1, … and are never part of a merge"},
    {.name = "single-digits", .kind = OPT_FLAG, .help = "every digit is a token of its own"},
    {.name = "threads", .letter = 't', .kind = OPT_INT, .value = "N", .min = 1, .max = POOL_THREADS_MAX,
     .help = "threads to cut and count with; the result is the same for any number (default 1)"},
    {0},
};

const CliCommand cmd_tokenize = {
    .name = "tokenize",
    .args = "[MODEL] [TEXT...]",
    .help = "text to token ids",
    .about = "Prints the ids of a text, separated by spaces, on one line. The text is TEXT, --file, or standard "
             "input, byte for byte. MODEL is a model of the store or a path; with --tokenizer there is none.",
    .example = "plumb tokenize smollm2-135m-instruct 'Hello world'\n"
               "plumb tokenize --tokenizer tokenizer.json --file book.txt",
    .options = tokenize_options,
    .positionals_max = -1,
    .run = run_tokenize,
};

const CliCommand cmd_detokenize = {
    .name = "detokenize",
    .args = "[MODEL] [ID...]",
    .help = "token ids to text",
    .about = "Prints the bytes of the ids, exactly, without a line break behind them. The ids are ID, --file, or "
             "standard input, separated by white space. MODEL is a model of the store or a path; with --tokenizer "
             "there is none.",
    .example = "plumb tokenize smollm2-135m-instruct Hello | plumb detokenize smollm2-135m-instruct",
    .options = detokenize_options,
    .positionals_max = -1,
    .run = run_detokenize,
};

const CliCommand cmd_tokenizer_train = {
    .name = "tokenizer train",
    .help = "train a byte-level BPE tokenizer",
    .about = "Cuts the texts with the GPT-2 pattern and merges the most frequent pairs; of equally frequent ones the "
             "pair with the smaller ids. The tokenizer.json that it writes is read by Plumb and by Hugging Face's "
             "libraries.",
    .example = "plumb tokenizer train --file book.txt --vocab 8192 --special '<|endoftext|>' --out tokenizer.json",
    .options = train_options,
    .run = run_train,
};
