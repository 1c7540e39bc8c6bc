/* Running a model: open it, keep a conversation's state, get logits.
 *
 *   Model    weights, tokenizer, descriptor and compiled programs; immutable after open
 *   Session  the state cache of one sequence; one thread at a time
 *
 * Nothing here knows a model family: state parts, tensor names and programs come from the descriptor
 * (models/). Every output depends on the ids alone: not on threads, chunking or what else runs. */
#ifndef PLUMB_ENGINE_ENGINE_H
#define PLUMB_ENGINE_ENGINE_H

#include "base/error.h"
#include "base/kv.h"
#include "tokenizer/tokenizer.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Model Model;
typedef struct Session Session;

/* The arithmetic of a program (docs/ARCHITECTURE.md, "Numbers"). */
typedef enum {
    MODE_AUTO, /* int8 where most weights are quantised, else f32 */
    MODE_F32,  /* exact weights, float activations */
    MODE_INT8, /* quantised weights meet activations of 8 bits in blocks of 32; others as in f32 */
    MODE_F64,  /* everything in double, scalar: the oracle */
} ComputeMode;

/* "auto", "f32", "int8", "f64"; ST_USAGE names the value. */
MUST_USE Status mode_parse(ComputeMode *out, const char *name, Error *err);
const char *mode_name(ComputeMode mode);

typedef struct {
    ComputeMode mode;
    int threads;       /* 0: all processors this process may use, fewer for a model too small to gain by them */
    bool no_tokenizer; /* do not look for one (trace of a bare model) */
    /* Called while weights are packed; may be NULL. done of total bytes. */
    void (*progress)(void *arg, size_t done, size_t total);
    void *progress_arg;
} ModelParams;

/* `path`: GGUF file, .safetensors file beside its config.json, or Hugging Face directory.
 * *out is owned by the caller. */
MUST_USE Status model_open(Model **out, const char *path, const ModelParams *params, Error *err);
void model_close(Model *m); /* NULL is fine; sessions must be gone */

typedef struct {
    const char *family; /* "llama" */
    const char *name;   /* the file's own name for it, or its path */
    ComputeMode mode;   /* never MODE_AUTO */
    const char *level;  /* kernel level in use */
    int threads;
    int64_t layers, hidden, vocab, context_max;
    int64_t stream;           /* width of the residual stream between layers: hidden, or several of them */
    int64_t parameters;       /* elements of all bound weights */
    size_t weight_bytes;      /* in memory, packed */
    size_t token_bytes;       /* weights read to decode one token */
    double token_flops;       /* operations to decode one token, attention left out */
    size_t state_bytes_entry; /* state of one position */
} ModelInfo;

void model_info(const Model *m, ModelInfo *out);
const Tokenizer *model_tokenizer(const Model *m); /* NULL with no_tokenizer */
const Kv *model_kv(const Model *m);               /* the checkpoint's metadata */
const char *model_path(const Model *m);

typedef struct {
    int64_t context; /* positions; 0: the model's maximum, or less if memory is short */
    int64_t chunk;   /* rows evaluated at once in prefill; 0: 512 */
} SessionParams;

MUST_USE Status session_create(Session **out, Model *m, const SessionParams *params, Error *err);
void session_destroy(Session *s); /* NULL is fine */

int64_t session_context(const Session *s);    /* capacity in positions */
int64_t session_count(const Session *s);      /* positions filled */
const int32_t *session_ids(const Session *s); /* the ids at them; borrowed until the next append */

/* Which logits an append keeps. */
typedef enum { LOGITS_LAST, LOGITS_ALL } LogitsWanted;

/* A hook that sees progress between chunks of a long prompt and may stop it (return false):
 * ST_CANCELLED, with the finished chunks kept. */
typedef struct {
    bool (*step)(void *arg, int64_t done, int64_t total);
    void *arg;
} SessionProgress;

/* Evaluate n ids (n >= 1) behind those already there. Ids out of range: ST_INVALID with index and value.
 * More than the context holds: ST_FULL with both numbers, and nothing is evaluated. */
MUST_USE Status session_append(Session *s, const int32_t *ids, int64_t n, LogitsWanted wanted,
                               const SessionProgress *progress, Error *err);

/* Logits of the last append: rows [session_logits_rows][vocab], f32 (f64 programs: rounded to f32).
 * With LOGITS_LAST one row. Borrowed until the next append or rewind. */
const float *session_logits(const Session *s);
int64_t session_logits_rows(const Session *s);
int64_t session_vocab(const Session *s); /* their columns */

/* Forget all but the first `count` positions. */
void session_rewind(Session *s, int64_t count);

/* Keep the longest common prefix of what is there and ids[n], rewind to it (at most n−1, so that the
 * last id is evaluated and has logits), and append the rest. */
MUST_USE Status session_sync(Session *s, const int32_t *ids, int64_t n, const SessionProgress *progress,
                             Error *err);

/* Observe the output of every layer during appends (trace --hidden): called once a layer and chunk with
 * rows [count][stream] in f32. NULL switches it off. */
typedef void (*HiddenHook)(void *arg, int64_t layer, int64_t row0, const float *rows, int64_t count);
void session_set_hidden_hook(Session *s, HiddenHook hook, void *arg);

#endif
