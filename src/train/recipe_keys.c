/* The table of all keys of a recipe: see recipe_internal.h. In the order of docs/RECIPES.md. */
#include "train/recipe_internal.h"

#define AT(field) offsetof(Recipe, field)
#define IN_SOURCE(field) offsetof(RecipeSource, field)
#define ANY 9.0e15 /* integers up to here are exact as doubles */
#define DIM 1048576

#define MODEL_INT(name, min, max, fallback, help) \
    {"model." #name, RECIPE_INT, AT(model.name), min, max, fallback, NULL, RECIPE_FIXED | RECIPE_CONFIG, help}
#define MODEL_REAL(name, min, max, fallback, help) \
    {"model." #name, RECIPE_REAL, AT(model.name), min, max, fallback, NULL, RECIPE_FIXED | RECIPE_CONFIG, help}
#define MODEL_WORD(name, words, fallback, help) \
    {"model." #name, RECIPE_CHOICE, AT(model.name), 0, 0, fallback, words, RECIPE_FIXED | RECIPE_CONFIG, help}
#define MODEL_BOOL(name, words, fallback, help) \
    {"model." #name, RECIPE_BOOL, AT(model.name), 0, 0, fallback, words, RECIPE_FIXED | RECIPE_CONFIG, help}
#define ROPE(name, type, field, min, max, fallback, words, help)                                             \
    {"model.rope_scaling." name, type, AT(model.field), min, max, fallback, words, RECIPE_FIXED | RECIPE_CONFIG, \
     help}
#define PLAIN(key, type, field, min, max, fallback, words, flags, help) \
    {key, type, AT(field), min, max, fallback, words, flags, help}
#define SOURCE(key, type, field, min, max, help) \
    {"data." key, type, IN_SOURCE(field), min, max, "", NULL, RECIPE_FIXED | RECIPE_SOURCE, help}

const RecipeKey recipe_keys[] = {
    PLAIN("model.from", RECIPE_TEXT, model.from, 0, 0, "", NULL, RECIPE_FIXED,
          "start from this checkpoint (a path, or a name that `plumb ls` shows); it brings sizes and tokenizer"),
    PLAIN("model.family", RECIPE_CHOICE, model.family, 0, 0, "deepseek_v4", "deepseek_v4", RECIPE_FIXED,
          "architecture of a new model; the keys below have the names of its config.json"),
    MODEL_INT(vocab_size, 0, 4194304, "0", "rows of the embedding; 0: as many as the tokenizer has"),
    MODEL_INT(hidden_size, 1, DIM, NULL, "width of a residual stream"),
    MODEL_INT(num_hidden_layers, 1, 1000, NULL, "layers"),
    MODEL_INT(num_attention_heads, 1, 4096, NULL, "query heads"),
    MODEL_INT(num_key_value_heads, 1, 1, "1", "always 1: one latent is key and value of all heads"),
    MODEL_INT(head_dim, 2, 65536, NULL, "width of a head"),
    MODEL_INT(qk_rope_head_dim, 2, 65536, NULL, "how much of it is rotated"),
    MODEL_INT(q_lora_rank, 1, DIM, NULL, "width of the query latent"),
    MODEL_INT(o_groups, 1, 4096, NULL, "groups of the output projection"),
    MODEL_INT(o_lora_rank, 1, DIM, NULL, "width of a group's latent"),
    MODEL_INT(sliding_window, 1, DIM, NULL, "positions that are seen uncompressed"),
    {"model.compress_ratios", RECIPE_INTS, AT(model.compress_ratios), 0, 128, NULL, NULL, RECIPE_FIXED | RECIPE_CONFIG,
     "kind of each layer: 0 window only, 4 compressed sparse, 128 heavily compressed"},
    MODEL_INT(compress_rate_csa, 1, DIM, "4", "positions in one entry of a layer of kind 4"),
    MODEL_INT(compress_rate_hca, 1, DIM, "128", "positions in one entry of a layer of kind 128"),
    MODEL_INT(n_routed_experts, 1, 65536, NULL, "experts of a layer"),
    MODEL_INT(n_shared_experts, 1, 1, "1", "always 1"),
    MODEL_INT(num_experts_per_tok, 1, 1024, NULL, "experts that a token visits"),
    MODEL_INT(moe_intermediate_size, 1, DIM, NULL, "width of an expert"),
    MODEL_INT(num_hash_layers, 0, 1000, "0", "first layers, whose experts are chosen by the token's id"),
    MODEL_WORD(scoring_func, "sqrtsoftplus", "sqrtsoftplus", "the family's only one"),
    MODEL_WORD(topk_method, "noaux_tc", "noaux_tc", "the family's only one"),
    MODEL_BOOL(norm_topk_prob, "true", "true", "always true"),
    MODEL_REAL(routed_scaling_factor, 0, 1e6, "1.5", "factor of the routed experts' sum"),
    MODEL_REAL(swiglu_limit, 0, 1e6, "10", "clamp inside an expert"),
    MODEL_INT(index_n_heads, 1, 4096, NULL, "heads of the indexer"),
    MODEL_INT(index_head_dim, 2, 65536, NULL, "width of an indexer head"),
    MODEL_INT(index_topk, 1, DIM, NULL, "compressed entries that a query sees"),
    MODEL_INT(hc_mult, 1, 64, "4", "residual streams"),
    MODEL_INT(hc_sinkhorn_iters, 1, 1000, "20", "Sinkhorn iterations of their mixing"),
    MODEL_REAL(hc_eps, 0, 1, "1e-6", "epsilon of it"),
    MODEL_REAL(rms_norm_eps, 0, 1, "1e-6", "epsilon of the norms"),
    MODEL_REAL(rope_theta, 1, 1e12, "10000", "base of the rotation in layers of kind 0"),
    MODEL_REAL(compress_rope_theta, 1, 1e12, "160000", "base of the rotation in compressed layers"),
    ROPE("type", RECIPE_CHOICE, rope_type, 0, 0, "yarn", "yarn", "the family's only one"),
    ROPE("factor", RECIPE_REAL, rope_factor, 1, 1e6, "16", NULL, "stretch of the second table"),
    ROPE("original_max_position_embeddings", RECIPE_INT, rope_original_max, 1, ANY, "65536", NULL,
         "positions before stretching"),
    ROPE("beta_fast", RECIPE_REAL, rope_beta_fast, 0, 1e6, "32", NULL, "rotations above which nothing is stretched"),
    ROPE("beta_slow", RECIPE_REAL, rope_beta_slow, 0, 1e6, "1", NULL, "rotations below which all is stretched"),
    MODEL_INT(max_position_embeddings, 1, ANY, "1048576", "longest context"),
    MODEL_INT(num_nextn_predict_layers, 0, 1, "1", "blocks that predict the token after the next, in training"),
    MODEL_BOOL(tie_word_embeddings, "false", "false", "always false"),
    MODEL_WORD(hidden_act, "silu", "silu", "the family's only one"),
    MODEL_BOOL(attention_bias, "false", "false", "always false"),
    MODEL_REAL(attention_dropout, 0, 0, "0", "always 0"),
    MODEL_REAL(initializer_range, 1e-9, 10, "0.02", "standard deviation of a new matrix"),

    PLAIN("tokenizer.file", RECIPE_TEXT, tokenizer.file, 0, 0, "", NULL, RECIPE_FIXED,
          "a tokenizer.json, or a directory with one"),
    PLAIN("tokenizer.train", RECIPE_INT, tokenizer.train, 0, 4194304, "0", NULL, RECIPE_FIXED,
          "train one with this vocabulary on the text of the data"),
    PLAIN("tokenizer.single_digits", RECIPE_BOOL, tokenizer.single_digits, 0, 0, "false", NULL, RECIPE_FIXED,
          "a trained vocabulary keeps every digit a token of its own"),

    SOURCE("text", RECIPE_TEXTS, text, 0, 0, "text files (one name or a list)"),
    SOURCE("jsonl", RECIPE_TEXTS, jsonl, 0, 0,
           "JSON Lines files; a line has `text`, or `messages` with loss on the assistant's words only"),
    SOURCE("problems.kinds", RECIPE_TEXTS, kinds, 0, 0, "kinds of problems that Plumb generates"),
    SOURCE("problems.weights", RECIPE_REALS, kind_weights, 0, 1e9, "how often each kind; none: all alike"),
    SOURCE("problems.sizes", RECIPE_TEXTS, sizes, 0, 0, "sizes, `3` or `1-5`: one for all kinds, or one each"),
    SOURCE("weight", RECIPE_REAL, weight, 0, 1e9,
           "with several sources (a list under data.sources): how often this one; all of them or none have it, "
           "none means by the number of documents"),
    PLAIN("data.validation.share", RECIPE_REAL, data.share, 0, 0.5, "0", NULL, RECIPE_FIXED,
          "part of the documents that is kept for evaluation"),
    PLAIN("data.validation.text", RECIPE_TEXTS, data.text, 0, 0, "", NULL, RECIPE_FIXED, "or text files for it"),
    PLAIN("data.validation.jsonl", RECIPE_TEXTS, data.jsonl, 0, 0, "", NULL, RECIPE_FIXED,
          "or JSON Lines files for it"),

    PLAIN("train.steps", RECIPE_INT, train.steps, 1, ANY, "1000", NULL, 0, "steps of the whole run"),
    PLAIN("train.batch", RECIPE_INT, train.batch, 1, 65536, "8", NULL, RECIPE_FIXED, "sequences of a batch"),
    PLAIN("train.length", RECIPE_INT, train.length, 2, DIM, "256", NULL, RECIPE_FIXED, "tokens of a sequence"),
    PLAIN("train.accumulate", RECIPE_INT, train.accumulate, 1, 65536, "1", NULL, RECIPE_FIXED, "batches of a step"),
    PLAIN("train.seed", RECIPE_INT, train.seed, 0, ANY, "1", NULL, RECIPE_FIXED,
          "of first weights and order of documents"),
    PLAIN("train.compute", RECIPE_CHOICE, train.compute, 0, 0, "f32", "f32 bf16", RECIPE_FIXED,
          "type of the matrix products' operands; weights are kept in f32"),
    PLAIN("train.recompute", RECIPE_BOOL, train.recompute, 0, 0, "false", NULL, 0,
          "compute a layer twice instead of keeping what it found: less memory, more time"),
    PLAIN("train.clip", RECIPE_REAL, train.clip, 0, 1e9, "1", NULL, RECIPE_FIXED,
          "largest norm of a gradient; 0: any"),

    PLAIN("optimiser.matrices", RECIPE_CHOICE, optimiser.matrices, 0, 0, "muon", "muon adamw", RECIPE_FIXED,
          "what updates matrices; embeddings, head, norms and gates always have AdamW"),
    PLAIN("optimiser.adamw.lr", RECIPE_REAL, optimiser.adamw_lr, 0, 10, "3e-4", NULL, RECIPE_FIXED,
          "full learning rate"),
    PLAIN("optimiser.adamw.betas", RECIPE_REALS, optimiser.adamw_betas, 0, 0.999999999, "[0.9, 0.95]", NULL,
          RECIPE_FIXED, "decay of the two moments"),
    PLAIN("optimiser.adamw.eps", RECIPE_REAL, optimiser.adamw_eps, 0, 1, "1e-20", NULL, RECIPE_FIXED, "epsilon"),
    PLAIN("optimiser.adamw.decay", RECIPE_REAL, optimiser.adamw_decay, 0, 10, "0.1", NULL, RECIPE_FIXED,
          "weight decay"),
    PLAIN("optimiser.muon.lr", RECIPE_REAL, optimiser.muon_lr, 0, 10, "3e-4", NULL, RECIPE_FIXED,
          "full learning rate"),
    PLAIN("optimiser.muon.momentum", RECIPE_REAL, optimiser.muon_momentum, 0, 0.999999999, "0.95", NULL, RECIPE_FIXED,
          "decay of the momentum"),
    PLAIN("optimiser.muon.decay", RECIPE_REAL, optimiser.muon_decay, 0, 10, "0.1", NULL, RECIPE_FIXED, "weight decay"),
    PLAIN("optimiser.muon.rms", RECIPE_REAL, optimiser.muon_rms, 1e-6, 100, "0.18", NULL, RECIPE_FIXED,
          "root-mean-square of an update before the learning rate"),
    PLAIN("optimiser.muon.iterations", RECIPE_INT, optimiser.muon_iterations, 1, 100, "10", NULL, RECIPE_FIXED,
          "Newton-Schulz iterations, of which the last two have the coefficients that converge"),

    PLAIN("schedule.warmup", RECIPE_INT, schedule.warmup, 0, ANY, "100", NULL, RECIPE_FIXED,
          "steps up to the full learning rate"),
    PLAIN("schedule.stable", RECIPE_INT, schedule.stable, -1, ANY, "-1", NULL, RECIPE_FIXED,
          "steps at the full rate; -1: so many that the decay ends with the run"),
    PLAIN("schedule.decay", RECIPE_INT, schedule.decay, 0, ANY, "0", NULL, RECIPE_FIXED,
          "steps down; warm-up and decay shrink in proportion when the run is shorter than both"),
    PLAIN("schedule.final", RECIPE_REAL, schedule.final, 0, 1, "0.1", NULL, RECIPE_FIXED,
          "learning rate behind the decay, as a share of the full one"),
    PLAIN("schedule.shape", RECIPE_CHOICE, schedule.shape, 0, 0, "cosine", "cosine linear", RECIPE_FIXED,
          "shape of the decay"),

    PLAIN("spike.window", RECIPE_INT, spike.window, 8, 100000, "128", NULL, RECIPE_FIXED,
          "steps with which a step's loss and gradient are compared"),
    PLAIN("spike.limit", RECIPE_REAL, spike.limit, 0, 1e9, "6", NULL, RECIPE_FIXED,
          "standard deviations above their mean at which a step is left out; 0: only when not finite"),
    PLAIN("spike.stop", RECIPE_INT, spike.stop, 1, ANY, "20", NULL, RECIPE_FIXED,
          "so many left out one after the other end the run"),

    PLAIN("balance.speed", RECIPE_REAL, balance.speed, 0, 1, "0.001", NULL, RECIPE_FIXED,
          "how much a step moves the bias of an expert towards equal load"),
    PLAIN("balance.sequence", RECIPE_REAL, balance.sequence, 0, 1, "1e-4", NULL, RECIPE_FIXED,
          "weight of the loss that balances experts inside a sequence"),
    PLAIN("mtp.weight", RECIPE_REAL, mtp.weight, 0, 10, "0.3", NULL, RECIPE_FIXED,
          "weight of the loss on the token after the next"),

    PLAIN("checkpoint.every", RECIPE_INT, checkpoint.every, 1, ANY, "100", NULL, 0, "steps between checkpoints"),
    PLAIN("checkpoint.keep", RECIPE_INT, checkpoint.keep, 0, ANY, "0", NULL, 0,
          "beside the last two keep those whose step is a multiple of this; 0: none"),
    PLAIN("evaluate.every", RECIPE_INT, evaluate.every, 0, ANY, "0", NULL, 0, "steps between evaluations; 0: none"),
    PLAIN("evaluate.batches", RECIPE_INT, evaluate.batches, 1, ANY, "8", NULL, 0, "batches of an evaluation, at most"),
    PLAIN("evaluate.samples", RECIPE_INT, evaluate.samples, 0, 1000, "0", NULL, 0, "answers shown at an evaluation"),
};

const int recipe_key_count = sizeof recipe_keys / sizeof *recipe_keys;
