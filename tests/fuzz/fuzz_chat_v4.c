/* DeepSeek-V4 conversations of hostile text. The input: a byte of flags, then messages: a byte for the role,
 * the text up to a zero byte; an assistant's up to the first 0x01 is its thinking. What renders must have
 * exactly the markers of its structure, whatever the texts say, and its ids must decode to the rendered text.
 * Then the whole input is an answer: however it is cut, the events are the same, and no byte gets lost. */
#include "base/buf.h"
#include "base/mem.h"
#include "chat/chat_internal.h"
#include "tokenizer/unicode.h"
#include "v4_words.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MESSAGES_MAX 16
#define TEXT_MAX 4096

typedef struct {
    ChatMessage items[MESSAGES_MAX];
    char *copy; /* owned: the input, terminated; texts lie in it */
    int64_t count;
    unsigned flags;
} Input;

static Input read_input(const uint8_t *data, size_t size)
{
    Input in = {.copy = mem_strndup("", 0)};
    if (size < 2 || size > TEXT_MAX)
        return in;
    mem_free(in.copy);
    in.copy = mem_alloc(size + 1, 1);
    CHECK(in.copy);
    memcpy(in.copy, data, size);
    in.flags = data[0] & 63;
    for (size_t at = 1; at < size && in.count < MESSAGES_MAX; at += strlen(in.copy + at) + 1) {
        ChatMessage *const m = &in.items[in.count++];
        m->role = (ChatRole)(data[at++] % 3);
        m->content = in.copy + (at < size ? at : size);
        char *const split = m->role == CHAT_ASSISTANT ? strchr(m->content, 1) : NULL;
        if (split) {
            *split = ' ';
            m->thinking = split; /* what follows, and the content holds it too */
        }
    }
    return in;
}

static void check_markers(const Input *in, const IdBuf *ids)
{
    int64_t want[V4_MARKERS] = {[V4_BOS] = 1}, have[V4_MARKERS] = {0};
    for (int64_t i = 0; i < in->count; i++) {
        const ChatRole role = in->items[i].role;
        want[V4_USER] += role == CHAT_USER && (i == 0 || in->items[i - 1].role != CHAT_USER);
        want[V4_EOS] += role == CHAT_ASSISTANT;
        want[V4_ASSISTANT] += role == CHAT_USER && (i + 1 < in->count ? in->items[i + 1].role == CHAT_ASSISTANT
                                                                        : in->flags & CHAT_GENERATION_PROMPT);
    }
    for (int64_t i = 0; i < ids->count; i++)
        if (ids->data[i] < V4_MARKERS)
            have[ids->data[i]]++;
    for (int i = V4_BOS; i <= V4_ASSISTANT; i++)
        CHECK(have[i] == want[i]);
    CHECK(have[V4_THINK] <= want[V4_ASSISTANT]);
    CHECK(have[V4_THINK] + have[V4_THINK_END] >= want[V4_ASSISTANT]);
    CHECK(in->flags & CHAT_THINK || have[V4_THINK] == 0);
}

static void render(const ChatFormat *f, const Tokenizer *t, const Input *in)
{
    IdBuf ids = {0};
    ByteBuf loss = {0}, bytes = {0};
    char *text = NULL;
    Error err = {0};
    bool valid = true;
    for (int64_t i = 0; i < in->count; i++) {
        const char *const s = in->items[i].content;
        valid = valid && utf8_valid_prefix((const uint8_t *)s, strlen(s)) == strlen(s);
    }
    const Status st = chat_render(f, in->items, in->count, in->flags, &ids, &loss, &err);
    CHECK(chat_render_text(f, in->items, in->count, in->flags, &text, &err) == (in->count ? ST_OK : ST_INVALID));
    CHECK(st == (in->count > 0 && valid ? ST_OK : ST_INVALID));
    if (st == ST_OK) {
        CHECK((size_t)ids.count == loss.count);
        check_markers(in, &ids);
        CHECK(tokenizer_decode(t, ids.data, ids.count, false, &bytes, &err) == ST_OK);
        CHECK(bytes.count == strlen(text) && memcmp(bytes.data, text, bytes.count) == 0);
    }
    mem_free(text);
    idbuf_free(&ids);
    bytebuf_free(&loss);
    bytebuf_free(&bytes);
}

typedef struct {
    ByteBuf bytes[2]; /* by kind */
} Heard;

static void hear(void *arg, ChatEventKind kind, const char *bytes, size_t len)
{
    CHECK(len > 0);
    CHECK(bytebuf_append(&((Heard *)arg)->bytes[kind], bytes, len) == ST_OK);
}

static Heard parse(const ChatFormat *f, unsigned flags, const uint8_t *data, size_t size, size_t step)
{
    Heard h = {0};
    ChatParser *p = NULL;
    CHECK(chat_parser_create(&p, f, flags, hear, &h, NULL) == ST_OK);
    for (size_t at = 0; at < size; at += step)
        chat_parser_feed(p, (const char *)data + at, size - at < step ? size - at : step);
    chat_parser_finish(p);
    chat_parser_destroy(p);
    return h;
}

static void split(const ChatFormat *f, unsigned flags, const uint8_t *data, size_t size)
{
    Heard a = parse(f, flags, data, size, size ? size : 1);
    const size_t heard = a.bytes[0].count + a.bytes[1].count;
    CHECK(heard == size || (flags & CHAT_THINK && heard + strlen("</think>") == size));
    for (size_t step = 1; step < 8; step += 2) {
        Heard b = parse(f, flags, data, size, step);
        for (int k = 0; k < 2; k++) {
            CHECK(a.bytes[k].count == b.bytes[k].count);
            CHECK(a.bytes[k].count == 0 || memcmp(a.bytes[k].data, b.bytes[k].data, a.bytes[k].count) == 0);
            bytebuf_free(&b.bytes[k]);
        }
    }
    bytebuf_free(&a.bytes[0]);
    bytebuf_free(&a.bytes[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Tokenizer *t; /* for the life of the process, as the fuzzer calls millions of times */
    static ChatFormat *f;
    if (!t) {
        t = v4_tokenizer(V4_MARKERS);
        CHECK(chat_format_deepseek_v4(&f, t, NULL) == ST_OK);
    }
    Input in = read_input(data, size);
    render(f, t, &in);
    mem_free(in.copy);
    split(f, CHAT_THINK, data, size);
    split(f, 0, data, size);
    return 0;
}
