/* Rows of the option table that several commands share. A command that lists a group implements all
 * of it; a group is split rather than half used. */
#ifndef PLUMB_CLI_OPTIONS_H
#define PLUMB_CLI_OPTIONS_H

#include "cli/cli.h"

/* "model" for commands that do not take it as a positional. */
#define CLI_OPTION_MODEL                                                                             \
    {.name = "model", .letter = 'm', .kind = OPT_STRING, .value = "NAME",                            \
     .help = "a model of the store, or the path of a model file"}

#define CLI_OPTION_JSON                                                                              \
    {.name = "json", .kind = OPT_FLAG, .help = "machine-readable output on standard output"}

#define CLI_OPTION_QUIET                                                                             \
    {.name = "quiet", .letter = 'q', .kind = OPT_FLAG, .help = "no progress and no notes"}

#define CLI_OPTION_CONTEXT                                                                           \
    {.name = "ctx-size", .letter = 'c', .also = "ctx num-ctx", .kind = OPT_SIZE, .value = "N",       \
     .min = 0, .max = 1073741824,                                                                    \
     .help = "context in tokens; 0: the model's maximum (default: as large as fits)"}

#define CLI_OPTION_MAX_TOKENS                                                                        \
    {.name = "max-tokens", .letter = 'n', .also = "predict n-predict tokens", .kind = OPT_INT,       \
     .value = "N", .min = 1, .max = 1073741824, .help = "stop an answer after N tokens"}

/* How a model is computed: ModelParams. */
#define CLI_OPTIONS_COMPUTE                                                                          \
    {.name = "threads", .letter = 't', .kind = OPT_INT, .value = "N", .min = 1, .max = 64,           \
     .help = "threads to compute with (default: every processor; fewer for a tiny model)"},             \
    {.name = "mode", .kind = OPT_STRING, .value = "MODE", .choices = "auto f32 int8",                \
     .help = "arithmetic: auto, f32, int8 (default auto: int8 where most weights are quantised)"}

/* SamplerParams. */
#define CLI_OPTIONS_SAMPLING                                                                         \
    {.name = "temp", .also = "temperature", .kind = OPT_FLOAT, .value = "X", .min = 0, .max = 100,   \
     .help = "temperature; 0 always takes the likeliest token"},                                     \
    {.name = "top-k", .kind = OPT_INT, .value = "N", .min = 0, .max = 1073741824,                    \
     .help = "draw from the N likeliest tokens; 0: off"},                                            \
    {.name = "top-p", .kind = OPT_FLOAT, .value = "X", .min = 0, .max = 1,                           \
     .help = "draw from the likeliest tokens that together reach X; 1: off"},                        \
    {.name = "min-p", .kind = OPT_FLOAT, .value = "X", .min = 0, .max = 1,                           \
     .help = "leave out tokens less likely than X times the likeliest; 0: off"},                     \
    {.name = "seed", .kind = OPT_INT, .value = "N", .min = 0, .max = 9.2e18,                         \
     .help = "seed of the random draws (default: another one every time)"},                          \
    {.name = "repeat-penalty", .also = "repetition-penalty", .kind = OPT_FLOAT, .value = "X",        \
     .min = 0.01, .max = 100, .help = "divide the logits of recent tokens by X; 1: off"},            \
    {.name = "presence-penalty", .kind = OPT_FLOAT, .value = "X", .min = -100, .max = 100,           \
     .help = "subtract X from the logits of recent tokens; 0: off"},                                 \
    {.name = "frequency-penalty", .kind = OPT_FLOAT, .value = "X", .min = -100, .max = 100,          \
     .help = "subtract X for every time a token occurred recently; 0: off"},                         \
    {.name = "stop", .kind = OPT_LIST, .value = "TEXT",                                              \
     .help = "end an answer before TEXT; may be given several times"}

/* The system text of a conversation: at most one of the two. */
#define CLI_OPTIONS_SYSTEM                                                                           \
    {.name = "system", .letter = 's', .also = "-sys", .kind = OPT_STRING, .value = "TEXT",           \
     .help = "system text in place of the model's own"},                                             \
    {.name = "system-file", .kind = OPT_STRING, .value = "FILE", .help = "read the system text from FILE"}

#endif
