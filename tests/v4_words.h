/* A small tokenizer with the markers of DeepSeek-V4, made by our own trainer: ids 0 … 6 are the markers. */
#ifndef PLUMB_TESTS_V4_WORDS_H
#define PLUMB_TESTS_V4_WORDS_H

#include "tokenizer/tokenizer.h"
#include "tokenizer/train.h"

#include <string.h>

enum { V4_BOS, V4_EOS, V4_USER, V4_ASSISTANT, V4_THINK, V4_THINK_END, V4_MARKERS };
static const char *const v4_markers[V4_MARKERS] = {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>",
                                                   "<｜Assistant｜>", "<think>", "</think>"};

/* With `special` only the first so many markers. */
static inline Tokenizer *v4_tokenizer(size_t special)
{
    static const char text[] = "the user thinks and the assistant answers; think of begin and end, of this and that";
    Str markers[V4_MARKERS];
    for (size_t i = 0; i < V4_MARKERS; i++)
        markers[i] = (Str){v4_markers[i], strlen(v4_markers[i])};
    const TrainParams params = {.vocab_size = 290, .special = markers, .special_count = special, .threads = 1};
    ByteBuf json = {0};
    Tokenizer *t = NULL;
    CHECK(tokenizer_train(&(Str){text, sizeof text - 1}, 1, &params, &json, NULL) == ST_OK);
    CHECK(tokenizer_from_json(&t, json.data, json.count, NULL) == ST_OK);
    bytebuf_free(&json);
    return t;
}

#endif
