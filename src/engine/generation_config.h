/* What a checkpoint recommends for generation: generation_config.json beside its weights, as the Hugging Face
 * libraries write it. GGUF files have none.
 *
 *     do_sample           false: temperature 0, whatever the others say
 *     temperature, top_p, top_k, min_p, repetition_penalty
 *                         each that is there takes the place of our default (engine/sampler.h)
 *     eos_token_id        one id or a list; those of config.json end an answer as well
 *
 * Other keys are ignored, and null is an absent value. */
#ifndef PLUMB_ENGINE_GENERATION_CONFIG_H
#define PLUMB_ENGINE_GENERATION_CONFIG_H

#include "base/buf.h"
#include "base/kv.h"
#include "engine/sampler.h"

#define GENERATION_CONFIG "generation_config.json"
#define GENERATION_STOPS_MAX 32

typedef struct {
    SamplerParams sampler;
    int32_t stops[GENERATION_STOPS_MAX]; /* ids that end an answer, each once */
    int64_t stop_count;
} GenerationConfig;

/* `path` as of model_open: its directory has the file or not, and without it the defaults are returned. `config`:
 * the model's own metadata. Ids that are not below `vocab` are ignored: they cannot occur. ST_CORRUPT names file, key
 * and value. */
MUST_USE Status generation_config_read(GenerationConfig *out, const char *path, const Kv *config, int64_t vocab,
                                       Error *err);

/* Append the file that recommends this temperature; 0: the likeliest token. Ids of −1 are left out. */
MUST_USE Status generation_config_write(double temperature, int64_t bos, int64_t eos, int64_t pad, ByteBuf *out,
                                        Error *err);

#endif
