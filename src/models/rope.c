/* Rotary frequencies. Steps are rounded to float where the reference library rounds (it divides a number
 * by a tensor as reciprocal times number), because one ulp of a frequency is 5e-4 rad at position 8192. */
#include "models/rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PI 3.14159265358979323846

static double clamp(double x, double lo, double hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

/* ---- configuration ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    RopeScaling scaling;
} scaling_names[] = {{"default", ROPE_PLAIN}, {"none", ROPE_PLAIN},     {"linear", ROPE_LINEAR},
                     {"dynamic", ROPE_DYNAMIC}, {"llama3", ROPE_LLAMA3}, {"yarn", ROPE_YARN}};

#define SCALING_NAMES (sizeof scaling_names / sizeof *scaling_names)

MUST_USE static Status scaling_of_name(RopeScaling *out, Str name, Error *err)
{
    for (size_t i = 0; i < SCALING_NAMES; i++)
        if (str_eq(name, scaling_names[i].name)) {
            *out = scaling_names[i].scaling;
            return ST_OK;
        }
    return error_set(err, ST_UNSUPPORTED, "rope scaling '%.*s' is not supported (linear, dynamic, llama3, yarn are)",
                     (int)(name.len < 64 ? name.len : 64), name.ptr);
}

MUST_USE static Status check_config(const RopeConfig *c, Error *err)
{
    if (!(c->base > 0) || !isfinite(c->base))
        return error_set(err, ST_CORRUPT, "rope base is %g, expected a positive number", c->base);
    if (!(c->factor > 0) || !isfinite(c->factor))
        return error_set(err, ST_CORRUPT, "rope scaling factor is %g, expected a positive number", c->factor);
    if (c->scaling == ROPE_LLAMA3 && !(c->high_freq_factor > c->low_freq_factor))
        return error_set(err, ST_CORRUPT, "rope high_freq_factor %g is not above low_freq_factor %g",
                         c->high_freq_factor, c->low_freq_factor);
    if (!(c->original_context >= 1))
        return error_set(err, ST_CORRUPT, "rope original context is %g, expected at least 1",
                         c->original_context);
    return ST_OK;
}

Status rope_config_hf(RopeConfig *out, const Kv *kv, double base_default, int64_t context, Error *err)
{
    const char *group = kv_has(kv, "rope_parameters.rope_type") || kv_has(kv, "rope_parameters.rope_theta")
                            ? "rope_parameters"
                            : "rope_scaling";
    return rope_config_group(out, kv, group, kv_float(kv, "rope_theta", base_default), context, err);
}

Status rope_config_group(RopeConfig *out, const Kv *kv, const char *group, double base_default, int64_t context,
                         Error *err)
{
    char key[96];
#define GET(name, fallback) (snprintf(key, sizeof key, "%s." name, group), kv_float(kv, key, fallback))
    RopeConfig c = {.base = GET("rope_theta", base_default),
                    .factor = GET("factor", 1),
                    .original_context = GET("original_max_position_embeddings", (double)context),
                    .low_freq_factor = GET("low_freq_factor", 1),
                    .high_freq_factor = GET("high_freq_factor", 4),
                    .beta_fast = GET("beta_fast", 32),
                    .beta_slow = GET("beta_slow", 1),
                    .attention_factor = GET("attention_factor", 0),
                    .mscale = GET("mscale", 0),
                    .mscale_all = GET("mscale_all_dim", 0)};
#undef GET
    snprintf(key, sizeof key, "%s.truncate", group);
    c.truncate = kv_bool(kv, key, true);
    snprintf(key, sizeof key, "%s.rope_type", group);
    Str name = kv_str(kv, key);
    if (!name.ptr) {
        snprintf(key, sizeof key, "%s.type", group);
        name = kv_str(kv, key);
    }
    Status st = ST_OK;
    if (name.ptr)
        TRY(scaling_of_name(&c.scaling, name, err));
    TRY(check_config(&c, err));
    *out = c;
out:
    return st;
}

Status rope_config_gguf(RopeConfig *out, const Kv *kv, const char *architecture, int64_t context, Error *err)
{
    char key[96];
#define GET(name, fallback) (snprintf(key, sizeof key, "%s.rope." name, architecture), kv_float(kv, key, fallback))
    const double old_factor = GET("scale_linear", 1); /* what files of 2023 wrote; never nested: one `key` */
    RopeConfig c = {.base = GET("freq_base", 10000),
                    .factor = GET("scaling.factor", old_factor),
                    .original_context = GET("scaling.original_context_length", (double)context),
                    .low_freq_factor = 1,
                    .high_freq_factor = 4,
                    .beta_fast = GET("scaling.yarn_beta_fast", 32),
                    .beta_slow = GET("scaling.yarn_beta_slow", 1),
                    .attention_factor = GET("scaling.attn_factor", 0),
                    .truncate = true};
#undef GET
    snprintf(key, sizeof key, "%s.rope.scaling.type", architecture);
    const Str name = kv_str(kv, key);
    Status st = ST_OK;
    if (name.ptr)
        TRY(scaling_of_name(&c.scaling, name, err));
    else if (c.factor != 1)
        c.scaling = ROPE_LINEAR;
    TRY(check_config(&c, err));
    *out = c;
out:
    return st;
}

static void write_number(JsonWriter *w, const char *key, double x)
{
    json_write_key(w, key);
    if (x == floor(x) && fabs(x) < 1e15)
        json_write_int(w, (int64_t)x);
    else
        json_write_double(w, x);
}

static void write_fraction(JsonWriter *w, const char *key, double x)
{
    json_write_key(w, key);
    json_write_double(w, x);
}

static void write_yarn(const RopeConfig *c, JsonWriter *w)
{
    if (c->attention_factor != 0)
        write_fraction(w, "attention_factor", c->attention_factor);
    write_fraction(w, "beta_fast", c->beta_fast);
    write_fraction(w, "beta_slow", c->beta_slow);
    if (c->mscale != 0)
        write_fraction(w, "mscale", c->mscale);
    if (c->mscale_all != 0)
        write_fraction(w, "mscale_all_dim", c->mscale_all);
    if (!c->truncate) {
        json_write_key(w, "truncate");
        json_write_bool(w, false);
    }
}

void rope_config_write(const RopeConfig *c, JsonWriter *w)
{
    const char *name = "default";
    for (size_t i = SCALING_NAMES; i-- > 0;)
        if (scaling_names[i].scaling == c->scaling)
            name = scaling_names[i].name;
    json_write_key(w, "rope_type");
    json_write_string(w, name);
    write_fraction(w, "rope_theta", c->base);
    if (c->scaling == ROPE_PLAIN)
        return;
    write_fraction(w, "factor", c->factor);
    if (c->scaling == ROPE_YARN || c->scaling == ROPE_LLAMA3 || c->scaling == ROPE_DYNAMIC)
        write_number(w, "original_max_position_embeddings", c->original_context);
    if (c->scaling == ROPE_LLAMA3) {
        write_fraction(w, "low_freq_factor", c->low_freq_factor);
        write_fraction(w, "high_freq_factor", c->high_freq_factor);
    }
    if (c->scaling == ROPE_YARN)
        write_yarn(c, w);
}

/* ---- frequencies ------------------------------------------------------------------------------- */

static float llama3_frequency(const RopeConfig *c, float f)
{
    const float wave = 1.0f / f * (float)(2 * PI);
    const float low = (float)(c->original_context / c->low_freq_factor);
    const float high = (float)(c->original_context / c->high_freq_factor);
    if (wave > low)
        return f / (float)c->factor;
    if (wave < high)
        return f;
    const float smooth = (1.0f / wave * (float)c->original_context - (float)c->low_freq_factor) /
                         (float)(c->high_freq_factor - c->low_freq_factor);
    return (1 - smooth) * f / (float)c->factor + smooth * f;
}

/* The index of the frequency that turns `rotations` times over the trained length. */
static double yarn_index(const RopeConfig *c, double rotations, int64_t dim)
{
    return (double)dim * log(c->original_context / (rotations * 2 * PI)) / (2 * log(c->base));
}

static float yarn_frequency(const RopeConfig *c, float period, int64_t i, int64_t dim)
{
    double low = yarn_index(c, c->beta_fast, dim), high = yarn_index(c, c->beta_slow, dim);
    if (c->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = low > 0 ? low : 0;
    high = high < (double)dim - 1 ? high : (double)dim - 1;
    if (low == high)
        high += 0.001;
    const float ramp = (float)clamp(((double)i - low) / (high - low), 0, 1);
    const float keep = 1 - ramp, interpolated = 1.0f / ((float)c->factor * period);
    return interpolated * (1 - keep) + 1.0f / period * keep;
}

static float frequency(const RopeConfig *c, RopeScaling scaling, int64_t dim, int64_t i)
{
    const float exponent = (float)(2 * i) / (float)dim;
    const float period = (float)pow(c->base, (double)exponent), f = 1.0f / period;
    switch (scaling) {
    case ROPE_LINEAR: return f / (float)c->factor;
    case ROPE_LLAMA3: return llama3_frequency(c, f);
    case ROPE_YARN: return yarn_frequency(c, period, i, dim);
    case ROPE_PLAIN:
    case ROPE_DYNAMIC: break;
    }
    return f;
}

void rope_frequencies(const RopeConfig *c, int64_t dim, float *inv_freq)
{
    for (int64_t i = 0; i < dim / 2; i++)
        inv_freq[i] = frequency(c, c->scaling, dim, i);
}

static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

double rope_magnitude(const RopeConfig *c)
{
    if (c->scaling != ROPE_YARN)
        return 1;
    if (c->attention_factor != 0)
        return c->attention_factor;
    if (c->mscale != 0 && c->mscale_all != 0)
        return yarn_mscale(c->factor, c->mscale) / yarn_mscale(c->factor, c->mscale_all);
    return yarn_mscale(c->factor, 1);
}

/* ---- the rule behind given frequencies --------------------------------------------------------- */

static bool gives(const RopeConfig *c, int64_t dim, const float *wanted)
{
    for (int64_t i = 0; i < dim / 2; i++)
        if (!(fabsf(frequency(c, c->scaling, dim, i) - wanted[i]) <= 1e-6f * wanted[i]))
            return false;
    return true;
}

/* Published models take these factors of frequencies and powers of two for everything else. */
static bool find_usual(RopeConfig *c, double largest, int64_t dim, const float *wanted)
{
    for (int k = 0; k <= 6; k++)
        for (int bits = 5; bits <= 20; bits++) {
            c->factor = k == 0 ? largest : (double)(1 << k);
            c->original_context = (double)(1 << bits);
            c->low_freq_factor = 1;
            c->high_freq_factor = 4;
            if (gives(c, dim, wanted))
                return true;
        }
    return false;
}

/* Between the two ends the share of the unscaled frequency is a straight line over 1/wave: two of its points say
 * where the ends are, but for a common measure, which low_freq_factor 1 sets. */
static bool find_line(RopeConfig *c, int64_t dim, const float *wanted)
{
    double x[2] = {0}, share[2] = {0};
    int count = 0;
    for (int64_t i = 0; i < dim / 2; i++) {
        const double plain = (double)frequency(c, ROPE_PLAIN, dim, i);
        const double s = ((double)wanted[i] / plain - 1 / c->factor) / (1 - 1 / c->factor);
        if (!(s > 1e-4 && s < 1 - 1e-4))
            continue;
        x[count > 0] = plain / (2 * PI);
        share[count > 0] = s;
        count++;
    }
    if (count < 2)
        return false;
    const double slope = (share[0] - share[1]) / (x[0] - x[1]), start = slope * x[0] - share[0];
    if (!(start > 0 && slope > 0))
        return false;
    c->low_freq_factor = 1;
    c->high_freq_factor = 1 + 1 / start;
    c->original_context = round(slope / start);
    return c->original_context >= 1 && gives(c, dim, wanted);
}

bool rope_config_find(RopeConfig *c, int64_t dim, const float *inv_freq)
{
    if (gives(c, dim, inv_freq))
        return true;
    RopeConfig found = *c;
    double largest = 1;
    for (int64_t i = 0; i < dim / 2; i++) {
        const double divisor = (double)frequency(c, ROPE_PLAIN, dim, i) / (double)inv_freq[i];
        largest = fmax(largest, round(1e4 * divisor) / 1e4);
    }
    found.scaling = ROPE_LLAMA3;
    if (!find_usual(&found, largest, dim, inv_freq)) {
        found.factor = largest;
        if (!find_line(&found, dim, inv_freq))
            return false;
    }
    *c = found;
    return true;
}
