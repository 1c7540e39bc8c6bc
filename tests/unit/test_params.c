/* Masters from stored checkpoints, and the directory that is made of them: a Llama from a GGUF file, whose names, row
 * order and rotary scaling are others, saved as a Hugging Face directory, computes what the file computes.
 *
 * With PLUMB_SAVED_FROM (a GGUF file) and PLUMB_SAVED_TO (a directory that exists) in the environment the program writes
 * that directory and does nothing else: for oracle/check_saved.py and tests/e2e/test_saved.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "formats/json_kv.h"
#include "formats/safetensors.h"
#include "tokenizer/tokenizer_save.h"
#include "train/params.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK(call) expect_ok(call, &err, __LINE__)

static void expect_ok(Status st, const Error *err, int line)
{
    if (st != ST_OK)
        fail_msg("line %d: %s", line, err->msg);
}

/* ---- saving ------------------------------------------------------------------------------------ */

/* A stored checkpoint, its parameters as masters, and the specification that the written configuration makes. */
typedef struct {
    TensorDir *dir;
    ModelSpec stored, spec;
    JsonWriter config;
    JsonKv *kv;
    Params *params;
} Loaded;

static Status load(Loaded *x, const char *path, Error *err)
{
    Status st = ST_OK;
    *x = (Loaded){0};
    TRY(tensordir_open(&x->dir, path, err));
    TRY(model_spec_load(&x->stored, x->dir, err));
    const Kv *kv = tensordir_kv(x->dir);
    const ModelConfigExtras extras = {"float32", kv_int(kv, "tokenizer.ggml.bos_token_id", -1),
                                      kv_int(kv, "tokenizer.ggml.eos_token_id", -1),
                                      kv_int(kv, "tokenizer.ggml.padding_token_id", -1)};
    json_write_init(&x->config, 2, (size_t)1 << 20);
    TRY(x->stored.family->write_config(&x->stored, &extras, &x->config, err));
    TRY(json_write_finish(&x->config, err));
    TRY(json_kv_parse(&x->kv, x->config.buf, x->config.len, err));
    TRY(model_spec_from(&x->spec, &(ModelSource){.kv = json_kv_view(x->kv)}, err));
    TRY(params_create(&x->params, &x->spec, &(ParamsKind){0}, err));
    TRY(params_load(x->params, &x->stored, x->dir, err));
out:
    return st;
}

static void unload(Loaded *x)
{
    params_destroy(x->params);
    model_spec_free(&x->spec);
    model_spec_free(&x->stored);
    json_kv_destroy(x->kv);
    json_write_deinit(&x->config);
    tensordir_close(x->dir);
}

static Status save_weights(const Loaded *x, const char *path, Error *err)
{
    const int32_t n = params_count(x->params);
    SafetensorsItem *items = mem_alloc((size_t)n, sizeof *items);
    if (!items)
        return error_set(err, ST_NOMEM, "no memory for a list");
    for (int32_t i = 0; i < n; i++) {
        const Param *p = params_at(x->params, i);
        items[i] = (SafetensorsItem){p->row->saved_name, DT_F32, p->row->ndim, {p->row->dims[0], p->row->dims[1]}, p->master};
    }
    const Status st = safetensors_save(path, items, n, (const char *const[]){"format", "pt", NULL}, err);
    mem_free(items);
    return st;
}

static Status save(const Loaded *x, const char *to, Error *err)
{
    Status st = ST_OK;
    char path[FILES_PATH_MAX];
    Tokenizer *t = NULL;
    const Kv *kv = tensordir_kv(x->dir);
    TRY(files_join(path, to, "config.json", err));
    TRY(files_write_new(files_real(), path, x->config.buf, x->config.len, err));
    TRY(files_join(path, to, "model.safetensors", err));
    TRY(save_weights(x, path, err));
    if (kv_has(kv, "tokenizer.ggml.model")) {
        const TokenizerExtras extras = {.chat_template = kv_str(kv, "tokenizer.chat_template"),
                                        .context_max = x->spec.context_max,
                                        .pad = (int32_t)kv_int(kv, "tokenizer.ggml.padding_token_id", -1)};
        TRY(tokenizer_from_kv(&t, kv, err));
        TRY(tokenizer_save(t, &extras, files_real(), to, err));
    }
out:
    tokenizer_destroy(t);
    return st;
}

/* ---- what it computes -------------------------------------------------------------------------- */

enum { IDS = 24 };

/* Logits of all rows in double, where the order of sums is no matter; owned. */
static float *logits_of(const char *path, int64_t *count)
{
    Error err = {0};
    Model *m;
    Session *s;
    int32_t ids[IDS];
    OK(model_open(&m, path, &(ModelParams){.mode = MODE_F64, .threads = 1, .no_tokenizer = true}, &err));
    OK(session_create(&s, m, &(SessionParams){.context = IDS}, &err));
    for (int32_t i = 0; i < IDS; i++)
        ids[i] = (int32_t)((i * 7 + i * i) % session_vocab(s));
    OK(session_append(s, ids, IDS, LOGITS_ALL, NULL, &err));
    *count = IDS * session_vocab(s);
    float *out = mem_alloc((size_t)*count, sizeof *out);
    assert_non_null(out);
    memcpy(out, session_logits(s), (size_t)*count * sizeof *out);
    session_destroy(s);
    model_close(m);
    return out;
}

static void expect_same_logits(const char *a, const char *b)
{
    int64_t n, m;
    float *x = logits_of(a, &n), *y = logits_of(b, &m), worst = 0;
    assert_int_equal(n, m);
    for (int64_t i = 0; i < n; i++)
        worst = fmaxf(worst, fabsf(x[i] - y[i]));
    if (!(worst <= 1e-5f))
        fail_msg("'%s': logits differ by %g once it is saved", a, (double)worst);
    mem_free(x);
    mem_free(y);
}

static void make_directory(char path[64])
{
    memcpy(path, "/tmp/plumb-params-XXXXXX", 25);
    assert_non_null(mkdtemp(path));
}

static void a_llama_from_gguf_is_the_same_as_a_directory(void **state)
{
    (void)state;
    static const char *const names[] = {"gguf-f16-llama3", "gguf-f16-yarn-tied", "gguf-mixed-types", "gguf-q4_1-tied",
                                        "gguf-q8_0-linear"};
    Error err = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char from[128], to[64];
        Loaded x;
        snprintf(from, sizeof from, "tests/vectors/llama/%s.gguf", names[i]);
        make_directory(to);
        OK(load(&x, from, &err));
        OK(save(&x, to, &err));
        unload(&x);
        expect_same_logits(from, to);
        OK(files_remove_tree(files_real(), to, &err));
    }
}

/* The rows of a head in its saved order, with a bias. */
static void paired_rows_go_half_a_head_apart(void **state)
{
    (void)state;
    const TensorRow row = {.paired_head = 6};
    static const int64_t expected[] = {0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11};
    for (int64_t r = 0; r < 12; r++)
        assert_int_equal(tensor_saved_row(&row, r), expected[r]);
    assert_int_equal(tensor_saved_row(&(TensorRow){0}, 7), 7);
}

static void a_checkpoint_that_does_not_fit_is_named(void **state)
{
    (void)state;
    Error err = {0};
    Loaded x;
    TensorDir *other;
    OK(load(&x, "tests/vectors/llama/gguf-f16-llama3.gguf", &err));
    OK(tensordir_open(&other, "tests/vectors/llama/plain-f32", &err));
    assert_int_equal(params_load(x.params, &x.stored, other, &err), ST_CORRUPT);
    assert_non_null(strstr(err.msg, "token_embd.weight"));
    tensordir_close(other);
    unload(&x);
}

static int write_directory(const char *from, const char *to)
{
    Error err = {0};
    Loaded x;
    Status st = load(&x, from, &err);
    if (st == ST_OK)
        st = save(&x, to, &err);
    if (st != ST_OK)
        fprintf(stderr, "%s\n", err.msg);
    unload(&x);
    return st == ST_OK ? 0 : 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_llama_from_gguf_is_the_same_as_a_directory),
        cmocka_unit_test(paired_rows_go_half_a_head_apart),
        cmocka_unit_test(a_checkpoint_that_does_not_fit_is_named),
    };
    const char *from = getenv("PLUMB_SAVED_FROM"), *to = getenv("PLUMB_SAVED_TO");
    return from && to ? write_directory(from, to) : cmocka_run_group_tests(tests, NULL, NULL);
}
