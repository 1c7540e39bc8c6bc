/* Perplexity: see perplexity.h. */
#include "eval/perplexity.h"

#include "kernels/kernels.h"

#include <math.h>

/* Bytes of an unfinished UTF-8 character at the end. */
static size_t unfinished_bytes(const char *text, size_t len)
{
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        const unsigned char c = (unsigned char)text[len - back];
        if ((c & 0xC0) == 0x80)
            continue;
        const size_t need = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
        return need > back ? back : 0;
    }
    return 0;
}

typedef struct {
    double sum, sum_squares;
    int64_t count;
} Tally;

static void tally_rows(Tally *t, const float *logits, int64_t vocab, const int32_t *targets, int64_t rows)
{
    const Kernels *k = kernels_at(kernels_best_level());
    for (int64_t i = 0; i < rows; i++) {
        const float *row = logits + i * vocab;
        const double nll = k->logsumexp(row, vocab) - (double)row[targets[i]];
        t->sum += nll;
        t->sum_squares += nll * nll;
        t->count++;
    }
}

MUST_USE static Status measure_window(Tally *t, Session *s, int64_t vocab, const int32_t *ids, int64_t n, Error *err)
{
    const int64_t half = n / 2;
    Status st = ST_OK;
    session_rewind(s, 0);
    TRY(session_append(s, ids, half, LOGITS_LAST, NULL, err));
    TRY(session_append(s, ids + half, n - half, LOGITS_ALL, NULL, err));
    tally_rows(t, session_logits(s), vocab, ids + half + 1, n - half - 1);
out:
    return st;
}

MUST_USE static Status measure(PerplexityResult *out, Model *m, Session *s, IdBuf *ids, const PerplexityParams *p,
                               Error *err)
{
    const Tokenizer *tok = model_tokenizer(m);
    ModelInfo info;
    model_info(m, &info);
    int64_t windows = ids->count / p->window;
    if (windows == 0)
        return error_set(err, ST_INVALID, "the text has %lld tokens, a window takes %lld", (long long)ids->count,
                         (long long)p->window);
    if (p->windows_max > 0 && windows > p->windows_max)
        windows = p->windows_max;
    Tally t = {0};
    for (int64_t w = 0; w < windows; w++) {
        int32_t *window = ids->data + w * p->window;
        if (tokenizer_adds_bos(tok) && tokenizer_bos(tok) >= 0)
            window[0] = tokenizer_bos(tok);
        const Status st = measure_window(&t, s, info.vocab, window, p->window, err);
        if (st != ST_OK)
            return st;
        if (p->progress)
            p->progress(p->arg, w + 1, windows, exp(t.sum / (double)t.count));
    }
    const double mean = t.sum / (double)t.count;
    const double variance = t.sum_squares / (double)t.count - mean * mean;
    *out = (PerplexityResult){windows, t.count, exp(mean), mean,
                              t.count > 1 ? sqrt(variance > 0 ? variance / (double)(t.count - 1) : 0) : 0};
    return ST_OK;
}

Status perplexity_measure(PerplexityResult *out, Model *m, const char *text, size_t len,
                          const PerplexityParams *p, Error *err)
{
    IdBuf ids = {0};
    Session *s = NULL;
    Status st = ST_OK;
    if (p->window < 4)
        return error_set(err, ST_INVALID, "a window of %lld tokens is too short, expected at least 4",
                         (long long)p->window);
    TRY(session_create(&s, m, &(SessionParams){.context = p->window}, err));
    TRY(tokenizer_encode(model_tokenizer(m), text, len - unfinished_bytes(text, len), TOKENIZER_BOS, &ids, err));
    TRY(measure(out, m, s, &ids, p, err));
out:
    session_destroy(s);
    idbuf_free(&ids);
    return st;
}
