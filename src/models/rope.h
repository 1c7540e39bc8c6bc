/* Rotary frequencies with the published scalings (open-families.md §1.2).
 *
 * inv_freq[i] = base^(−2i/d), in float as the reference library computes it, then scaled:
 *   linear   divided by factor                      dynamic  unchanged up to the trained length
 *   llama3   long waves divided by factor, short ones kept, a ramp between
 *   yarn     interpolation ramp between beta_fast and beta_slow rotations; cos and sin are multiplied by
 *            the attention factor
 *   divisors from the file (GGUF rope_freqs.weight): inv_freq[i] / divisor[i] */
#ifndef PLUMB_MODELS_ROPE_H
#define PLUMB_MODELS_ROPE_H

#include "base/error.h"
#include "base/json_write.h"
#include "base/kv.h"

typedef enum { ROPE_PLAIN, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3, ROPE_YARN } RopeScaling;

typedef struct {
    RopeScaling scaling;
    double base, factor, original_context;
    double low_freq_factor, high_freq_factor;     /* llama3 */
    double beta_fast, beta_slow;                  /* yarn */
    double attention_factor, mscale, mscale_all;  /* yarn; 0: absent */
    bool truncate;                                /* yarn */
} RopeConfig;

/* From config.json (rope_theta with rope_scaling, or rope_parameters) or from GGUF keys
 * ("llama.rope.…"). ST_UNSUPPORTED names a scaling that is none of the above. */
MUST_USE Status rope_config_hf(RopeConfig *out, const Kv *kv, double base_default, int64_t context, Error *err);
/* From one object of config.json, whose members are "group.rope_type" and so on. */
MUST_USE Status rope_config_group(RopeConfig *out, const Kv *kv, const char *group, double base_default,
                                  int64_t context, Error *err);
MUST_USE Status rope_config_gguf(RopeConfig *out, const Kv *kv, const char *architecture, int64_t context,
                                 Error *err);

/* The members of such an object, between its braces. */
void rope_config_write(const RopeConfig *c, JsonWriter *w);

/* Find a configuration that gives these inv_freq [dim/2] (within 1e-6 of each): *c as it is, or llama3 scaling with its
 * base, as files have it that hold divisors instead of a rule. false: there is none, and *c is unchanged. */
bool rope_config_find(RopeConfig *c, int64_t dim, const float *inv_freq);

/* inv_freq [dim/2]. */
void rope_frequencies(const RopeConfig *c, int64_t dim, float *inv_freq);
/* What cos and sin are multiplied by: 1, or yarn's attention factor. */
double rope_magnitude(const RopeConfig *c);

#endif
