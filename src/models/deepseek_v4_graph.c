/* The graph of DeepSeek-V4 (deepseek-v4.md §2): X is M residual streams of d numbers, and every sublayer F is
 *
 *     c = hyper_split(fn · X);  X ← hyper_post(X, c, F(rmsnorm(hyper_pre(X, c))))
 *
 * Attention has one head of keys that are their own values: a window of the latest tokens, and in layers with a rate
 * r one entry for every r tokens, of which an indexer chooses in sparse layers. */
#include "models/deepseek_v4.h"

#include "base/mem.h"
#include "nn/experts.h"
#include "nn/nn.h"

#include <math.h>

const ModelFamily model_deepseek_v4 = {.name = "deepseek_v4", .matches = deepseek_v4_matches,
                                       .configure = deepseek_v4_configure, .build = deepseek_v4_build,
                                       .write_config = deepseek_v4_write_config};

/* ---- state ------------------------------------------------------------------------------------- */

static void add_part(ModelSpec *spec, int32_t layer, StateKind kind, int64_t width, int64_t tokens)
{
    spec->parts[spec->part_count++] = (StatePart){.layer = layer, .kv_heads = 1, .head_dim = width, .kind = kind,
                                                  .tokens = tokens};
}

/* In the order of V4Part. */
static void add_layer_parts(ModelSpec *spec, V4Layer *l, int32_t layer)
{
    const DeepseekV4Config *c = spec->config;
    const int64_t halves = l->kind == V4_SPARSE ? 2 : 1;
    l->part = spec->part_count;
    add_part(spec, layer, STATE_SHARED, c->head_dim, 1);
    if (l->kind == V4_SLIDING)
        return;
    for (int i = 0; i < 2; i++)
        add_part(spec, layer, STATE_ROWS, halves * c->head_dim, 1);
    add_part(spec, layer, STATE_SHARED, c->head_dim, l->rate);
    if (l->kind == V4_HEAVY)
        return;
    for (int i = 0; i < 2; i++)
        add_part(spec, layer, STATE_ROWS, halves * c->index_dim, 1);
    add_part(spec, layer, STATE_KEYS, c->index_dim, l->rate);
}

Status deepseek_v4_add_parts(ModelSpec *spec, Error *err)
{
    DeepseekV4Config *c = spec->config;
    spec->parts = mem_alloc((size_t)(spec->layers + 1) * V4_PARTS_MAX, sizeof *spec->parts);
    if (!spec->parts)
        return error_set(err, ST_NOMEM, "no memory for the state parts of %lld layers", (long long)spec->layers);
    for (int32_t i = 0; i < (int32_t)spec->layers; i++)
        add_layer_parts(spec, &c->layers[i], i);
    if (c->has_mtp)
        add_layer_parts(spec, &c->mtp.layer, (int32_t)spec->layers);
    return ST_OK;
}

/* ---- leaves ------------------------------------------------------------------------------------ */

/* What building takes everywhere. */
typedef struct {
    const ModelSpec *spec;
    const DeepseekV4Config *c;
    const BuildParams *p;
    Graph *g;
    NodeId ids, next_ids, positions;
    NodeId frequencies[2], tables[2]; /* of layers without and with entries; tables NO_NODE until needed */
    Error *err;
} Builder;

MUST_USE static Status weight(const Builder *b, int32_t row, NodeId *out)
{
    const TensorRow *t = &b->spec->tensors[row];
    return graph_leaf(b->g, OP_WEIGHT, row, (Shape){.ndim = t->ndim, .dims = {t->dims[0], t->dims[1]}}, out, b->err);
}

MUST_USE static Status part(const Builder *b, const V4Layer *l, int which, NodeId *out)
{
    const int32_t i = l->part + which;
    return graph_leaf(b->g, OP_STATE, i, shape_2d(1, b->spec->parts[i].head_dim), out, b->err);
}

MUST_USE static Status linear(const Builder *b, NodeId x, int32_t row, const char *site, NodeId *out)
{
    NnLinear w = {.bias = NO_NODE, .site = site};
    const Status st = weight(b, row, &w.weight);
    return st == ST_OK ? nn_linear(b->g, x, &w, 1, out, b->err) : st;
}

MUST_USE static Status normalised(const Builder *b, NodeId x, int32_t gain_row, NodeId *out)
{
    NodeId gain;
    const Status st = weight(b, gain_row, &gain);
    return st == ST_OK ? nn_rmsnorm(b->g, x, gain, b->c->eps, out, b->err) : st;
}

/* ---- hyper-connections ------------------------------------------------------------------------- */

static OpParams hyper_params(const Builder *b, bool head)
{
    return (OpParams){.streams = b->c->streams, .eps = b->c->eps, .hc_eps = b->c->hc_eps, .iterations = b->c->sinkhorn,
                      .head = head};
}

/* *c: the coefficients; *y: what the sublayer, or the head, sees. */
MUST_USE static Status hyper_open(const Builder *b, NodeId X, const V4Hyper *h, bool head, NodeId *c, NodeId *y)
{
    const OpParams p = hyper_params(b, head);
    NodeId z, scale, base;
    Status st = ST_OK;
    TRY(linear(b, X, h->fn, "hyper.fn", &z));
    TRY(weight(b, h->scale, &scale));
    TRY(weight(b, h->base, &base));
    TRY(graph_add(b->g, OP_HYPER_SPLIT, (NodeId[]){z, X, scale, base}, 4, &p, c, b->err));
    TRY(graph_add(b->g, OP_HYPER_PRE, (NodeId[]){X, *c}, 2, &p, y, b->err));
out:
    return st;
}

MUST_USE static Status hyper_close(const Builder *b, NodeId *X, NodeId c, NodeId f)
{
    const OpParams p = hyper_params(b, false);
    return graph_add(b->g, OP_HYPER_POST, (NodeId[]){*X, c, f}, 3, &p, X, b->err);
}

/* ---- attention --------------------------------------------------------------------------------- */

static bool has_entries(const V4Layer *l)
{
    return l->kind != V4_SLIDING;
}

/* Rotate the last R numbers of each head. */
MUST_USE static Status rotate(const Builder *b, const V4Layer *l, NodeId x, int64_t heads, int64_t width, bool inverse,
                              NodeId *out)
{
    const OpParams p = {.heads = heads, .kv_heads = 1, .head_dim = width, .offset = width - b->c->rope_dim,
                        .interleaved = true, .inverse = inverse};
    return graph_add(b->g, OP_ROPE, (NodeId[]){x, b->tables[has_entries(l)]}, 2, &p, out, b->err);
}

MUST_USE static Status remember(const Builder *b, const V4Layer *l, int which, NodeId x, NodeId *out)
{
    const OpParams p = {.kv_heads = 1, .head_dim = b->spec->parts[l->part + which].head_dim};
    NodeId state;
    const Status st = part(b, l, which, &state);
    return st == ST_OK ? graph_add(b->g, OP_STATE_WRITE, (NodeId[]){state, x}, 2, &p, out, b->err) : st;
}

/* The entries that pooling makes of x; parts `values`, `values` + 1 (gates) and `values` + 2 (entries). */
MUST_USE static Status compress(const Builder *b, const V4Layer *l, const V4Compressor *w, NodeId x, int values,
                                NodeId *out)
{
    const OpParams p = {.tokens = l->rate, .overlap = l->kind == V4_SPARSE, .eps = b->c->eps, .rot = b->c->rope_dim,
                        .scale = b->c->rope_compress_scale};
    NodeId in[6];
    Status st = ST_OK;
    TRY(linear(b, x, w->wkv, "compressor.kv", &in[1]));
    TRY(linear(b, x, w->wgate, "compressor.gate", &in[2]));
    TRY(remember(b, l, values, in[1], &in[1]));
    TRY(remember(b, l, values + 1, in[2], &in[2]));
    TRY(part(b, l, values + 2, &in[0]));
    TRY(weight(b, w->ape, &in[3]));
    TRY(weight(b, w->norm, &in[4]));
    in[5] = b->frequencies[1];
    TRY(graph_add(b->g, OP_COMPRESS, in, 6, &p, out, b->err));
out:
    return st;
}

/* Whether the index could leave out an entry; as long as all fit it has nothing to choose. */
static bool index_matters(const Builder *b, const V4Layer *l)
{
    return l->kind == V4_SPARSE && (b->p->length == 0 || b->p->length / l->rate > b->c->index_topk);
}

MUST_USE static Status choose(const Builder *b, const V4Layer *l, NodeId x, NodeId latent, NodeId *out)
{
    const DeepseekV4Config *c = b->c;
    const OpParams p = {.heads = c->index_heads, .head_dim = c->index_dim, .tokens = l->rate, .topk = c->index_topk};
    NodeId q, w, keys;
    Status st = ST_OK;
    TRY(linear(b, latent, l->index_q, "indexer.q", &q));
    TRY(rotate(b, l, q, c->index_heads, c->index_dim, false, &q));
    TRY(linear(b, x, l->index_weights, "indexer.weights", &w));
    TRY(compress(b, l, &l->index_compressor, x, V4_PART_INDEX_VALUES, &keys));
    TRY(graph_add(b->g, OP_INDEX_CHOOSE, (NodeId[]){q, w, keys}, 3, &p, out, b->err));
out:
    return st;
}

/* Queries from their latent form, normalised a head and rotated. */
MUST_USE static Status queries(const Builder *b, const V4Layer *l, NodeId latent, NodeId *out)
{
    const DeepseekV4Config *c = b->c;
    Status st = ST_OK;
    TRY(linear(b, latent, l->wq_b, "attn.q_b", out));
    TRY(graph_add(b->g, OP_RMSNORM, out, 1, &(OpParams){.eps = c->eps, .heads = c->heads}, out, b->err));
    TRY(rotate(b, l, *out, c->heads, c->head_dim, false, out));
out:
    return st;
}

MUST_USE static Status window_keys(const Builder *b, const V4Layer *l, NodeId x, NodeId *out)
{
    NodeId kv;
    Status st = ST_OK;
    TRY(linear(b, x, l->wkv, "attn.kv", &kv));
    TRY(normalised(b, kv, l->kv_norm, &kv));
    TRY(rotate(b, l, kv, 1, b->c->head_dim, false, &kv));
    TRY(remember(b, l, V4_PART_WINDOW, kv, out));
out:
    return st;
}

/* Values carry their rotation, so the output is turned back; then groups of heads go through a low rank. */
MUST_USE static Status project(const Builder *b, const V4Layer *l, NodeId o, NodeId *out)
{
    const DeepseekV4Config *c = b->c;
    NodeId w;
    Status st = ST_OK;
    TRY(rotate(b, l, o, c->heads, c->head_dim, true, &o));
    TRY(weight(b, l->wo_a, &w));
    b->g->site = "attn.o_a";
    TRY(graph_add(b->g, OP_LINEAR, (NodeId[]){o, w}, 2, &(OpParams){.groups = c->o_groups}, &o, b->err));
    TRY(linear(b, o, l->wo_b, "attn.o_b", out));
out:
    b->g->site = NULL;
    return st;
}

MUST_USE static Status attention(const Builder *b, const V4Layer *l, NodeId x, NodeId *out)
{
    const DeepseekV4Config *c = b->c;
    const OpParams p = {.heads = c->heads, .kv_heads = 1, .head_dim = c->head_dim, .window = c->window, .tokens = l->rate,
                        .scale = 1 / sqrt((double)c->head_dim)};
    NodeId latent, in[5];
    int count = 3;
    Status st = ST_OK;
    TRY(linear(b, x, l->wq_a, "attn.q_a", &latent));
    TRY(normalised(b, latent, l->q_norm, &latent));
    TRY(queries(b, l, latent, &in[0]));
    TRY(window_keys(b, l, x, &in[1]));
    TRY(weight(b, l->sink, &in[2]));
    if (has_entries(l))
        TRY(compress(b, l, &l->compressor, x, V4_PART_VALUES, &in[count++]));
    if (index_matters(b, l))
        TRY(choose(b, l, x, latent, &in[count++]));
    TRY(graph_add(b->g, OP_ATTENTION, in, count, &p, out, b->err));
    TRY(project(b, l, *out, out));
out:
    return st;
}

/* ---- experts ----------------------------------------------------------------------------------- */

MUST_USE static Status routed(const Builder *b, const V4Layer *l, NodeId x, NodeId *out)
{
    const DeepseekV4Config *c = b->c;
    NnExperts e = {.first = l->experts, .experts = c->experts, .topk = c->topk, .hidden = b->spec->hidden,
                   .width = c->intermediate, .scale = c->routed_scale, .limit = c->swiglu_limit, .bias = NO_NODE,
                   .table = NO_NODE, .ids = l == &c->mtp.layer ? b->next_ids : b->ids};
    NodeId logits;
    Status st = ST_OK;
    TRY(linear(b, x, l->gate, "ffn.gate", &logits));
    if (l->hashed) {
        TRY(weight(b, l->gate_ids, &e.table));
    } else {
        TRY(weight(b, l->gate_bias, &e.bias));
        e.balance_alpha = b->p->balance_alpha;
    }
    TRY(nn_experts(b->g, x, logits, &e, out, b->err));
out:
    return st;
}

MUST_USE static Status experts(const Builder *b, const V4Layer *l, NodeId x, NodeId *out)
{
    static const char *const sites[] = {"ffn.shared.gate", "ffn.shared.up", "ffn.shared.down"};
    NnLinear w[3];
    NodeId shared;
    Status st = ST_OK;
    TRY(routed(b, l, x, out));
    for (int i = 0; i < 3; i++) {
        w[i] = (NnLinear){.bias = NO_NODE, .site = sites[i]};
        TRY(weight(b, l->shared + i, &w[i].weight));
    }
    TRY(nn_swiglu(b->g, x, w[0], w[1], w[2], b->c->swiglu_limit, &shared, b->err));
    TRY(nn_add(b->g, *out, shared, out, b->err));
out:
    return st;
}

/* ---- the whole --------------------------------------------------------------------------------- */

MUST_USE static Status block(const Builder *b, const V4Layer *l, NodeId *X)
{
    NodeId c, y;
    Status st = ST_OK;
    TRY(hyper_open(b, *X, &l->hc_attention, false, &c, &y));
    TRY(normalised(b, y, l->attention_norm, &y));
    TRY(attention(b, l, y, &y));
    TRY(hyper_close(b, X, c, y));
    TRY(hyper_open(b, *X, &l->hc_ffn, false, &c, &y));
    TRY(normalised(b, y, l->ffn_norm, &y));
    TRY(experts(b, l, y, &y));
    if (l != &b->c->mtp.layer)
        b->g->site = "hidden";
    TRY(hyper_close(b, X, c, y));
out:
    b->g->site = NULL;
    return st;
}

/* From streams to logits or, with target 0 or 1, to the loss of the next token or the one after it. */
MUST_USE static Status head(const Builder *b, NodeId X, const V4Hyper *h, int32_t norm, int target)
{
    const OpParams p = {.target = target};
    NodeId c, y, w;
    Status st = ST_OK;
    if (!b->p->loss)
        TRY(graph_add(b->g, OP_SELECT_ROWS, &X, 1, NULL, &X, b->err));
    TRY(hyper_open(b, X, h, true, &c, &y));
    TRY(normalised(b, y, norm, &y));
    TRY(weight(b, b->c->head, &w));
    if (b->p->loss)
        TRY(graph_add(b->g, OP_CROSS_ENTROPY, (NodeId[]){y, w}, 2, &p, &y, b->err));
    else
        TRY(linear(b, y, b->c->head, "head", &y));
    TRY(graph_output(b->g, y, b->err));
out:
    return st;
}

/* The block for the token after the next (§2.8): Z = e_proj·rms(embed(next)) + h_proj·rms(X) in every stream. */
MUST_USE static Status predict_further(const Builder *b, NodeId X)
{
    const DeepseekV4Config *c = b->c;
    const V4Mtp *m = &c->mtp;
    const OpParams streams = {.streams = c->streams};
    NodeId embedding, e, z, gain;
    Status st = ST_OK;
    TRY(weight(b, c->embedding, &embedding));
    TRY(graph_add(b->g, OP_EMBED, (NodeId[]){embedding, b->next_ids}, 2, NULL, &e, b->err));
    TRY(normalised(b, e, m->enorm, &e));
    TRY(linear(b, e, m->e_proj, "mtp.e", &e));
    TRY(graph_add(b->g, OP_HYPER_EXPAND, &e, 1, &streams, &e, b->err));
    TRY(weight(b, m->hnorm, &gain));
    TRY(graph_add(b->g, OP_RMSNORM, (NodeId[]){X, gain}, 2, &(OpParams){.eps = c->eps, .heads = c->streams}, &z, b->err));
    TRY(graph_add(b->g, OP_SPLIT_ROWS, &z, 1, &streams, &z, b->err));
    TRY(linear(b, z, m->h_proj, "mtp.h", &z));
    TRY(graph_add(b->g, OP_JOIN_ROWS, &z, 1, &streams, &z, b->err));
    TRY(nn_add(b->g, e, z, &z, b->err));
    TRY(block(b, &m->layer, &z));
    TRY(head(b, z, &m->hc_head, m->norm, 1));
out:
    return st;
}

MUST_USE static Status rotary(Builder *b)
{
    const double scales[2] = {b->c->rope_main_scale, b->c->rope_compress_scale};
    Status st = ST_OK;
    for (int i = 0; i < 2; i++) {
        TRY(graph_leaf(b->g, OP_CONSTANT, i, shape_1d(b->c->rope_dim / 2), &b->frequencies[i], b->err));
        TRY(graph_add(b->g, OP_ROPE_TABLE, (NodeId[]){b->positions, b->frequencies[i]}, 2, &(OpParams){.scale = scales[i]},
                      &b->tables[i], b->err));
    }
out:
    return st;
}

MUST_USE static Status inputs(Builder *b, NodeId *X)
{
    NodeId embedding;
    Status st = ST_OK;
    TRY(graph_add(b->g, OP_IDS, NULL, 0, NULL, &b->ids, b->err));
    TRY(graph_add_indexed(b->g, OP_IDS, NULL, 0, NULL, 1, &b->next_ids, b->err));
    TRY(graph_add(b->g, OP_POSITIONS, NULL, 0, NULL, &b->positions, b->err));
    TRY(rotary(b));
    TRY(weight(b, b->c->embedding, &embedding));
    TRY(graph_add(b->g, OP_EMBED, (NodeId[]){embedding, b->ids}, 2, NULL, X, b->err));
    TRY(graph_add(b->g, OP_HYPER_EXPAND, X, 1, &(OpParams){.streams = b->c->streams}, X, b->err));
out:
    return st;
}

Status deepseek_v4_build(const ModelSpec *spec, const BuildParams *p, Graph *g, Error *err)
{
    Builder b = {.spec = spec, .c = spec->config, .p = p, .g = g, .err = err};
    NodeId X;
    Status st = ST_OK;
    TRY(inputs(&b, &X));
    for (g->layer = 0; g->layer < (int32_t)spec->layers; g->layer++)
        TRY(block(&b, &b.c->layers[g->layer], &X));
    g->layer = -1;
    TRY(head(&b, X, &b.c->hc_head, b.c->norm, 0));
    if (p->loss && b.c->has_mtp) {
        g->layer = (int32_t)spec->layers;
        TRY(predict_further(&b, X));
    }
out:
    g->layer = -1;
    return st;
}
