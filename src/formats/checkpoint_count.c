/* See checkpoint_count.h. The names are those of published checkpoints: Hugging Face's, DeepSeek's own
 * (V4) and GGUF's. */
#include "formats/checkpoint_count.h"

#include "formats/tensor_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- metadata ---- */

/* The first of the keys that is there, also under text_config; -1: none. */
static int64_t first_int(const Kv *kv, const char *const *keys)
{
    static const char *const prefixes[] = {"", "text_config."};
    for (; *keys; keys++) {
        for (int p = 0; p < 2; p++) {
            char key[128];
            snprintf(key, sizeof key, "%s%s", prefixes[p], *keys);
            const int64_t v = kv_int(kv, key, -1);
            if (v >= 0)
                return v;
        }
    }
    return -1;
}

/* ARCHITECTURE.key of a GGUF file */
static int64_t gguf_int(const Kv *kv, const char *key, int64_t fallback)
{
    const Str arch = kv_str(kv, "general.architecture");
    char full[160];
    if (!arch.ptr || arch.len > 64)
        return fallback;
    snprintf(full, sizeof full, "%.*s.%s", (int)arch.len, arch.ptr, key);
    return kv_int(kv, full, fallback);
}

typedef struct {
    const TensorDir *dir;
    int64_t layers; /* -1: unknown */
    int64_t experts, used;
    bool tied;
} Facts;

static Facts read_facts(const TensorDir *dir)
{
    static const char *const layers[] = {"num_hidden_layers", "n_layers", "n_layer", NULL};
    static const char *const experts[] = {"n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts", NULL};
    static const char *const used[] = {"num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", NULL};
    const Kv *kv = tensordir_kv(dir);
    Facts f = {.dir = dir};
    if (tensordir_kind(dir) == TENSORDIR_GGUF) {
        f.layers = gguf_int(kv, "block_count", -1);
        const int64_t more = gguf_int(kv, "nextn_predict_layers", 0);
        if (more > 0 && more < f.layers)
            f.layers -= more;
        f.experts = gguf_int(kv, "expert_count", 0);
        f.used = gguf_int(kv, "expert_used_count", 0);
    } else {
        f.layers = first_int(kv, layers);
        f.experts = first_int(kv, experts);
        f.used = first_int(kv, used);
        f.tied = kv_bool(kv, "tie_word_embeddings", kv_bool(kv, "text_config.tie_word_embeddings", false));
    }
    if (f.experts <= 0 || f.experts > 1000000 || f.used <= 0 || f.used > f.experts)
        f.experts = f.used = 0;
    return f;
}

/* ---- names ---- */

static bool ends_with(const char *s, const char *tail)
{
    const size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

/* The tensor called as `name` with its ending `from` replaced by `to`; NULL: there is none. */
static const TensorEntry *relative(const TensorDir *dir, const char *name, const char *from, const char *to)
{
    char other[TENSOR_NAME_MAX + 32];
    if (!ends_with(name, from))
        return NULL;
    snprintf(other, sizeof other, "%.*s%s", (int)(strlen(name) - strlen(from)), name, to);
    return tensordir_find(dir, other);
}

/* How scales are called beside their weights. */
static const struct {
    const char *weight, *scale;
} scale_names[] = {
    {"weight", "weight_scale_inv"}, {"weight", "weight_scale"}, {"weight", "weight_scale_2"},
    {"weight", "scale"},            {"weight", "input_scale"},  {"weight_packed", "weight_scale"},
    {"weight_packed", "weight_global_scale"},                   {"_blocks", "_scales"},
};
enum { SCALE_NAMES = sizeof scale_names / sizeof *scale_names };

static bool is_scale(const TensorDir *dir, const TensorEntry *t)
{
    for (int k = 0; k < SCALE_NAMES; k++)
        if (relative(dir, t->name, scale_names[k].scale, scale_names[k].weight))
            return true;
    return false;
}

static bool has_scale(const TensorDir *dir, const TensorEntry *t)
{
    for (int k = 0; k < SCALE_NAMES; k++)
        if (relative(dir, t->name, scale_names[k].weight, scale_names[k].scale))
            return true;
    return false;
}

static bool is_integer(Dtype t)
{
    return (t >= DT_I8 && t <= DT_BOOL) || t == DT_C64;
}

static bool is_constant(const TensorEntry *t)
{
    return strcmp(t->name, "rope_freqs.weight") == 0 || ends_with(t->name, "rotary_emb.inv_freq");
}

/* model.layers.3.mlp.experts.7.…, or all of a layer in one; blk.3.ffn_gate_exps.weight; the old
 * blk.3.ffn_gate.7.weight */
static bool is_expert(const TensorEntry *t)
{
    if (strstr(t->name, ".experts.") || strstr(t->name, "_exps."))
        return true;
    static const char *const old[] = {".ffn_gate.", ".ffn_up.", ".ffn_down."};
    for (int k = 0; k < 3; k++) {
        const char *hit = strstr(t->name, old[k]);
        if (hit && hit[strlen(old[k])] >= '0' && hit[strlen(old[k])] <= '9')
            return true;
    }
    return false;
}

static bool is_drafter(const Facts *f, const TensorEntry *t)
{
    static const char *const stacks[] = {"model.layers.", "layers.", "blk.", "model.language_model.layers.",
                                         "language_model.model.layers."};
    if (strncmp(t->name, "mtp.", 4) == 0 || strncmp(t->name, "model.mtp.", 10) == 0)
        return true;
    for (size_t k = 0; k < sizeof stacks / sizeof *stacks && f->layers >= 0; k++) {
        const size_t n = strlen(stacks[k]);
        if (strncmp(t->name, stacks[k], n) == 0)
            return strtoll(t->name + n, NULL, 10) >= f->layers;
    }
    return false;
}

static const TensorEntry *find_first(const TensorDir *dir, const char *const *names)
{
    for (; *names; names++) {
        const TensorEntry *t = tensordir_find(dir, *names);
        if (t)
            return t;
    }
    return NULL;
}

static const TensorEntry *find_embedding(const TensorDir *dir)
{
    static const char *const names[] = {"model.embed_tokens.weight", "token_embd.weight", "embed.weight",
                                        "model.language_model.embed_tokens.weight",
                                        "language_model.model.embed_tokens.weight", "transformer.wte.weight", NULL};
    return find_first(dir, names);
}

static const TensorEntry *find_head(const TensorDir *dir)
{
    static const char *const names[] = {"lm_head.weight", "output.weight", "head.weight",
                                        "language_model.lm_head.weight", NULL};
    return find_first(dir, names);
}

/* ---- counting ---- */

static void count_tensor(CheckpointCount *c, const Facts *f, const TensorEntry *t)
{
    const bool packed = (t->dtype == DT_I8 || t->dtype == DT_U8) && has_scale(f->dir, t);
    if (is_scale(f->dir, t)) {
        c->scales += t->elements;
    } else if ((is_integer(t->dtype) && !packed) || is_constant(t)) {
        c->tables += t->elements;
    } else {
        const int64_t n = packed ? t->elements * 2 : t->elements;
        if (is_drafter(f, t)) {
            c->drafter += n;
            return;
        }
        c->total += n;
        if (is_expert(t))
            c->experts += n;
    }
}

/* value · used / experts without overflow for any counts */
static int64_t share(int64_t value, int64_t used, int64_t experts)
{
    return value / experts * used + value % experts * used / experts;
}

void checkpoint_count(CheckpointCount *out, const TensorDir *dir)
{
    CheckpointCount c = {.total = 0};
    const Facts f = read_facts(dir);
    const TensorEntry *embedding = find_embedding(dir), *head = find_head(dir);
    const bool twice = embedding && head && f.tied && embedding->elements == head->elements;
    for (int64_t k = 0; k < tensordir_count(dir); k++) {
        const TensorEntry *t = tensordir_at(dir, k);
        c.bytes += t->bytes;
        c.by_dtype[t->dtype].tensors++;
        c.by_dtype[t->dtype].bytes += t->bytes;
        if (!(twice && t == head))
            count_tensor(&c, &f, t);
    }
    c.active = c.total;
    if (c.experts > 0 && f.experts > 0) {
        c.expert_count = f.experts;
        c.expert_used = f.used;
        c.active = c.total - c.experts + share(c.experts, f.used, f.experts);
    }
    if (embedding && head && !twice)
        c.embedding = embedding->elements;
    *out = c;
}
