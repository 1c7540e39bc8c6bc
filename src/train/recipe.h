/* A recipe: everything that decides what a training run does, from a YAML file and --set KEY=VALUE.
 *
 * One table (recipe_keys.c) has a row for every key: name, type, range, default, help. Parsing, --set,
 * the record beside a checkpoint, config.json and docs/RECIPES.md all come from it; to add a key, add
 * a field here and a row there. An unknown key is an error. Numbers are checked against the row's
 * range, so a Recipe that was loaded holds only values in range. Immutable after load; any thread. */
#ifndef PLUMB_TRAIN_RECIPE_H
#define PLUMB_TRAIN_RECIPE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

#include <stdint.h>

typedef struct {
    const char **items;
    int64_t count;
} RecipeTexts;

typedef struct {
    int64_t *items;
    int64_t count;
} RecipeInts;

typedef struct {
    double *items;
    int64_t count;
} RecipeReals;

/* Choices, in the order of the words in the table. */
typedef enum { RECIPE_F32, RECIPE_BF16 } RecipeCompute;
typedef enum { RECIPE_MUON, RECIPE_ADAMW } RecipeMatrices;
typedef enum { RECIPE_COSINE, RECIPE_LINEAR } RecipeDecay;

/* config.json of a V4 model, under its own names (deepseek-v4.md §1.2); unused when `from` is given. */
typedef struct {
    const char *from;   /* a checkpoint to start from (path or name); "": a new model */
    int64_t family;     /* one choice: deepseek_v4 */
    int64_t vocab_size; /* 0: what the tokenizer has */
    int64_t hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim, qk_rope_head_dim;
    int64_t q_lora_rank, o_groups, o_lora_rank, sliding_window;
    RecipeInts compress_ratios; /* one a layer */
    int64_t compress_rate_csa, compress_rate_hca;
    int64_t n_routed_experts, n_shared_experts, num_experts_per_tok, moe_intermediate_size, num_hash_layers;
    int64_t scoring_func, topk_method, hidden_act, rope_type; /* one choice each */
    bool norm_topk_prob, tie_word_embeddings, attention_bias;
    double attention_dropout, routed_scaling_factor, swiglu_limit;
    int64_t index_n_heads, index_head_dim, index_topk;
    int64_t hc_mult, hc_sinkhorn_iters;
    double hc_eps, rms_norm_eps, rope_theta, compress_rope_theta;
    double rope_factor, rope_beta_fast, rope_beta_slow;
    int64_t rope_original_max, max_position_embeddings, num_nextn_predict_layers;
    double initializer_range;
} RecipeModel;

typedef struct {
    const char *file;     /* a tokenizer.json or a directory with one; "": not from a file */
    int64_t train;        /* vocabulary to train on the data's text; 0: none is trained */
    bool single_digits;   /* a trained vocabulary never joins digits */
} RecipeTokenizer;

/* Exactly one of text, jsonl and kinds is there. */
typedef struct {
    RecipeTexts text, jsonl; /* files */
    RecipeTexts kinds;       /* of problems */
    RecipeReals kind_weights; /* none, or one a kind */
    RecipeTexts sizes;        /* none, one for all, or one a kind: "3" or "1-5" */
    double weight;            /* its share among the sources; 0: by its number of documents */
} RecipeSource;

#define RECIPE_SOURCES_MAX 16

typedef struct {
    RecipeModel model;
    RecipeTokenizer tokenizer;
    struct {
        RecipeSource sources[RECIPE_SOURCES_MAX];
        int64_t source_count; /* at least 1 */
        double share;         /* of the documents, kept for evaluation */
        RecipeTexts text, jsonl; /* or files of their own for it */
    } data;
    struct {
        int64_t steps, batch, length, accumulate, seed;
        int64_t compute; /* RecipeCompute */
        bool recompute;
        double clip; /* largest norm of a step's gradient; 0: any */
    } train;
    struct {
        int64_t matrices; /* RecipeMatrices: what updates the matrices; the rest is always AdamW */
        double adamw_lr, adamw_eps, adamw_decay;
        RecipeReals adamw_betas; /* two */
        double muon_lr, muon_momentum, muon_decay, muon_rms;
        int64_t muon_iterations;
    } optimiser;
    struct {
        int64_t warmup, stable, decay; /* steps; stable -1: until the decay */
        double final;                  /* learning rate at the end, as a share of the full one */
        int64_t shape;                 /* RecipeDecay */
    } schedule;
    struct {
        int64_t window, stop;
        double limit;
    } spike;
    struct {
        double speed, sequence;
    } balance;
    struct {
        double weight;
    } mtp;
    struct {
        int64_t every, keep;
    } checkpoint;
    struct {
        int64_t every, batches, samples;
    } evaluate;

    Arena arena; /* owns every text and list */
} Recipe;

/* Read a recipe and apply `sets` ("KEY=VALUE", in order). On failure *out is untouched; errors are
 * "FILE:LINE: KEY: what is wrong" or "--set KEY: what is wrong". */
MUST_USE Status recipe_load(Recipe *out, const char *path, const char *const *sets, int64_t set_count, Error *err);
MUST_USE Status recipe_parse(Recipe *out, const char *name, const void *data, size_t size, const char *const *sets,
                             int64_t set_count, Error *err);
void recipe_free(Recipe *r); /* zeroed is fine */

/* The record of a run: all keys and values as one JSON object. */
MUST_USE Status recipe_record(const Recipe *r, ByteBuf *out, Error *err);

/* May a run that was recorded so go on with this recipe? ST_MISMATCH names the first key whose value
 * must stay and does not, with both values. Keys that may change are marked so in the table. A key that
 * the record lacks had its default. */
MUST_USE Status recipe_check_record(const Recipe *r, const char *record, size_t size, Error *err);

/* config.json of the model (a new one: `from` must be empty). */
typedef struct {
    int64_t vocab_size; /* of the tokenizer; model.vocab_size, when given, must not be less: ST_INVALID */
    int64_t bos_id, eos_id; /* -1: none */
} RecipeVocabulary;
MUST_USE Status recipe_write_config(const Recipe *r, const RecipeVocabulary *vocabulary, ByteBuf *out, Error *err);

/* The table as Markdown, for docs/RECIPES.md. */
MUST_USE Status recipe_write_help(ByteBuf *out);

#endif
