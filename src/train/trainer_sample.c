/* What the model says so far: answers to held-out questions, continuations of held-out texts. */
#include "train/trainer_internal.h"

#include "base/mem.h"
#include "chat/answer.h"
#include "engine/generate.h"
#include "engine/model_over.h"

#include <string.h>

#define PROMPT_TOKENS 16       /* of a text, to be continued */
#define CONTINUATION_TOKENS 48
#define SHOWN_BYTES 160        /* of prompt and answer each */

typedef struct {
    Trainer *t;
    Model *model;
    Session *session;
    IdBuf prompt;
    ByteBuf question, said;
    TokenStream stream;
    Status failed; /* in a callback */
} Sample;

static bool take_token(void *arg, int32_t id, double logprob)
{
    Sample *s = arg;
    (void)logprob;
    Error ignored;
    s->failed = tokenstream_push(&s->stream, id, &s->said, &ignored);
    return s->failed == ST_OK;
}

/* On one line, not too long. */
static const char *one_line(ByteBuf *b)
{
    if (b->count > SHOWN_BYTES) {
        b->count = SHOWN_BYTES;
        while (b->count > 0 && (b->data[b->count - 1] & 0xC0) == 0x80)
            b->count--;
        if (b->count > 0 && b->data[b->count - 1] >= 0xC0)
            b->count--; /* the first byte of a character that was cut */
    }
    for (size_t i = 0; i < b->count; i++)
        if (b->data[i] == '\n' || b->data[i] == '\r')
            b->data[i] = ' ';
    const char *text = bytebuf_cstr(b);
    return text ? text : "";
}

/* The conversation up to its last answer, or the first tokens of a text. */
MUST_USE static Status make_prompt(Sample *s, const Document *d, Error *err)
{
    const Trainer *t = s->t;
    Status st = ST_OK;
    if (!d->text) {
        const int64_t asked = d->message_count - 1;
        const unsigned flags = chat_training_flags(t->chat, d->messages, d->message_count) & CHAT_THINK;
        TRY(chat_render(t->chat, d->messages, asked, flags | CHAT_GENERATION_PROMPT, &s->prompt, NULL, err));
        return bytebuf_append(&s->question, d->messages[asked - 1].content, strlen(d->messages[asked - 1].content));
    }
    if (t->data.bos_id >= 0)
        TRY(idbuf_push(&s->prompt, t->data.bos_id));
    TRY(tokenizer_encode(t->tokenizer, d->text, d->size, TOKENIZER_PLAIN, &s->prompt, err));
    if (s->prompt.count > PROMPT_TOKENS)
        s->prompt.count = PROMPT_TOKENS;
    TRY(tokenizer_decode(t->tokenizer, s->prompt.data, s->prompt.count, true, &s->question, err));
out:
    return st;
}

MUST_USE static Status answer(Sample *s, bool text, Error *err)
{
    const Trainer *t = s->t;
    GenerateParams p = {.prompt = s->prompt.data, .prompt_count = s->prompt.count, .sampler = sampler_defaults(),
                        .on_token = take_token, .arg = s};
    GenerateStats stats;
    const int64_t room = session_context(s->session) - s->prompt.count;
    p.sampler.temperature = 0;
    p.max_tokens = text && room > CONTINUATION_TOKENS ? CONTINUATION_TOKENS : room;
    const int32_t eos = t->data.eos_id;
    p.stop_ids = &eos;
    p.stop_id_count = eos >= 0;
    if (!text)
        p.stop_ids = chat_format_stop_ids(t->chat, &p.stop_id_count);
    if (room <= 0)
        return ST_OK; /* the question alone fills the trained length */
    tokenstream_init(&s->stream, t->tokenizer, false);
    session_rewind(s->session, 0);
    Status st = generate(s->session, &p, &stats, err);
    if (st == ST_OK && s->failed != ST_OK)
        st = error_set(err, s->failed, "an answer could not be decoded");
    return st == ST_OK ? tokenstream_flush(&s->stream, &s->said, err) : st;
}

MUST_USE static Status sample_document(Sample *s, int64_t source, int64_t number, Error *err)
{
    Document d = {0};
    Status st = ST_OK;
    s->prompt.count = 0;
    s->question.count = s->said.count = 0;
    TRY(corpus_document(s->t->corpus, CORPUS_VALIDATION, source, number, &d, err));
    const bool asks = d.message_count >= 2 && d.messages[d.message_count - 1].role == CHAT_ASSISTANT;
    if (d.text || (s->t->chat && asks)) {
        TRY(make_prompt(s, &d, err));
        TRY(answer(s, d.text != NULL, err));
        trainer_say(s->t, "  %s  →  %s", one_line(&s->question), one_line(&s->said));
    }
out:
    document_free(&d);
    return st;
}

MUST_USE static Status open_sample(Sample *s, Error *err)
{
    const Trainer *t = s->t;
    const ModelOver over = {.spec = &t->spec, .views = params_views(learner_params(t->learner)), .kernels = t->kernels,
                            .pool = t->pool, .tokenizer = t->tokenizer};
    Status st = ST_OK;
    TRY(model_open_over(&s->model, &over, err));
    TRY(session_create(&s->session, s->model, &(SessionParams){.context = t->recipe.train.length, .chunk = 64}, err));
out:
    return st;
}

Status trainer_sample(Trainer *t, Error *err)
{
    Sample s = {.t = t};
    int64_t shown = 0;
    Status st = ST_OK;
    TRY(open_sample(&s, err));
    for (int64_t number = 0; shown < t->recipe.evaluate.samples; number++) {
        const int64_t before = shown;
        for (int64_t source = 0; source < corpus_sources(t->corpus) && shown < t->recipe.evaluate.samples; source++)
            if (number < corpus_count(t->corpus, CORPUS_VALIDATION, source)) {
                TRY(sample_document(&s, source, number, err));
                shown++;
            }
        if (shown == before)
            break; /* no more documents */
    }
out:
    session_destroy(s.session);
    model_close(s.model);
    idbuf_free(&s.prompt);
    bytebuf_free(&s.question);
    bytebuf_free(&s.said);
    return st;
}
