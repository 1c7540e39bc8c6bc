/* DeepSeek-V4 (text): what its configuration says and where its tensors are (deepseek-v4.md §1, 2, 4, 9).
 *
 * Both spellings of config.json (the released one, and that of the reference library) and all three namings of
 * tensors end up in this record; the graph is written from it and sees no difference. M = streams,
 * R = rope_dim, D = head_dim, everything else as named. Constants of the spec: 0 the rotary frequencies
 * [R/2] of layers without compressed entries, 1 those of layers with them (YaRN). */
#ifndef PLUMB_MODELS_DEEPSEEK_V4_H
#define PLUMB_MODELS_DEEPSEEK_V4_H

#include "models/model.h"
#include "models/rope.h"

typedef enum {
    V4_SLIDING, /* a window, nothing else */
    V4_SPARSE,  /* and overlapping entries of `rate` tokens, of which an indexer chooses (CSA) */
    V4_HEAVY,   /* and all entries of `rate` tokens (HCA) */
} V4Attention;

typedef enum { V4_RELEASE, V4_SAVED, V4_MODULE } V4Naming;

/* In what follows an int32_t is a row of the tensor table, −1 where the layer has no such tensor. */

typedef struct {
    int32_t fn, scale, base; /* matrix [n,M·d]; vectors [3] or [1], [n]. n = (2+M)·M, head: M */
} V4Hyper;

/* c = width of an entry (D, or index_dim in the indexer), f = 2 in sparse layers and 1 in heavy ones. */
typedef struct {
    int32_t wkv, wgate, ape, norm; /* matrices [f·c,d]; vectors [rate,f·c], [c] */
} V4Compressor;

typedef struct {
    V4Attention kind;
    int64_t rate; /* 0 in sliding layers */
    bool hashed;  /* experts by a table of ids instead of scores */

    V4Hyper hc_attention, hc_ffn;
    int32_t attention_norm, ffn_norm;                       /* gains [d] */
    int32_t wq_a, q_norm, wq_b, wkv, kv_norm, sink;         /* [ql,d], [ql], [H·D,ql], [D,d], [D], [H] */
    int32_t wo_a, wo_b;                                     /* [G·ol, H·D/G] in G groups, [d, G·ol] */
    V4Compressor compressor;
    V4Compressor index_compressor;                          /* sparse layers */
    int32_t index_q, index_weights;                         /* [IH·ic,ql], [IH,d] */
    int32_t gate, gate_bias, gate_ids;                      /* [E,d]; [E] if scored; [vocab,k] if hashed */
    int32_t experts;                                        /* w1, w3, w2 of expert e: experts + 3e, +1, +2 */
    int32_t shared;                                         /* w1, w3, w2 */
    int32_t part;                                           /* its first state part, see V4Part */
} V4Layer;

/* State parts of a layer, in this order, as far as its kind has them: keys of the window; rows to be pooled and
 * the entries made of them; the same for the index. */
enum { V4_PART_WINDOW, V4_PART_VALUES, V4_PART_GATES, V4_PART_ENTRIES, V4_PART_INDEX_VALUES, V4_PART_INDEX_GATES,
       V4_PART_INDEX_KEYS, V4_PARTS_MAX };

/* The block that predicts the token after the next. Its layer is a sliding, scored one. */
typedef struct {
    V4Layer layer;
    int32_t e_proj, h_proj;       /* [d,d] */
    int32_t enorm, hnorm, norm;   /* [d] */
    V4Hyper hc_head;
} V4Mtp;

typedef struct {
    int64_t heads, head_dim, rope_dim, q_rank, o_groups, o_rank, window;
    int64_t experts, topk, intermediate; /* routed, of them a token; width of every expert */
    int64_t index_heads, index_dim, index_topk;
    int64_t streams, sinkhorn;
    double eps, hc_eps, routed_scale, swiglu_limit, init_std;
    int64_t sparse_rate, heavy_rate;
    int64_t mtp_layers;  /* as configured; a file need not have them */
    bool tied;           /* head is the embedding */
    bool ratios_as_given; /* rates of heavy layers differ from one another */
    V4Naming naming;
    RopeConfig rope_main, rope_compress;
    double rope_main_scale, rope_compress_scale; /* of cosine and sine */

    int32_t embedding, norm, head;
    V4Hyper hc_head;
    bool has_mtp; /* rows of mtp are there */
    V4Mtp mtp;
    V4Layer *layers; /* [spec->layers], behind the record in the same block */
} DeepseekV4Config;

#define V4_STREAMS_MAX 8
#define V4_SPARSE_RATE_MAX 128 /* what an entry pools: twice as many rows in sparse layers */
#define V4_HEAVY_RATE_MAX 256

bool deepseek_v4_matches(TensorDirKind kind, Str architecture);
MUST_USE Status deepseek_v4_configure(ModelSpec *spec, const ModelSource *source, Error *err);
MUST_USE Status deepseek_v4_write_config(const ModelSpec *spec, const ModelConfigExtras *extras, JsonWriter *w,
                                         Error *err);

MUST_USE Status deepseek_v4_build(const ModelSpec *spec, const BuildParams *p, Graph *g, Error *err);

/* Parts of configure, for its own files. Sizes and layers from config.json; the record is allocated here. */
MUST_USE Status deepseek_v4_read_config(ModelSpec *spec, const Kv *kv, Error *err);
/* The tensor table; `dir` NULL: names as saved. */
MUST_USE Status deepseek_v4_add_tensors(ModelSpec *spec, const ModelSource *source, Error *err);

/* State parts of all layers. */
MUST_USE Status deepseek_v4_add_parts(ModelSpec *spec, Error *err);

#endif
