/* One step: batches without their padding, losses as means over the whole step, clipping, the spike rule. */
#include "train/trainer_internal.h"

#include "base/mem.h"
#include "train/schedule.h"

#include <math.h>

/* The token behind a text: config.json names it, which every checkpoint has. −1: none. */
static int32_t end_of_text(const Trainer *t)
{
    const int64_t id = kv_int(json_kv_view(t->config), "eos_token_id", -1);
    return id >= 0 && id < tokenizer_vocab_size(t->tokenizer) ? (int32_t)id : tokenizer_eos(t->tokenizer);
}

Status trainer_open_steps(Trainer *t, Error *err)
{
    const Recipe *r = &t->recipe;
    const size_t rows = (size_t)(r->train.batch * r->train.length);
    Status st = ST_OK;
    t->data = (DataParams){.corpus = t->corpus, .tokenizer = t->tokenizer, .chat = t->chat,
                           .bos_id = tokenizer_bos(t->tokenizer), .eos_id = end_of_text(t),
                           .batch = r->train.batch, .length = r->train.length, .seed = (uint64_t)r->train.seed};
    TRY(data_stream_create(&t->stream, &t->data, CORPUS_TRAIN, err));
    TRY(data_stream_create(&t->validation, &t->data, CORPUS_VALIDATION, err));
    t->batches = mem_alloc((size_t)r->train.accumulate, sizeof *t->batches);
    t->sequences = mem_alloc(rows, sizeof *t->sequences);
    t->ids = mem_alloc(rows, sizeof *t->ids);
    t->next_ids = mem_alloc(rows, sizeof *t->next_ids);
    for (int i = 0; i < BATCH_TARGETS; i++) {
        t->targets[i] = mem_alloc(rows, sizeof *t->targets[i]);
        t->weights[i] = mem_alloc(rows, sizeof *t->weights[i]);
        if (!t->targets[i] || !t->weights[i])
            TRY(error_set(err, ST_NOMEM, "no memory for a batch of %zu rows", rows));
    }
    if (!t->batches || !t->sequences || !t->ids || !t->next_ids)
        TRY(error_set(err, ST_NOMEM, "no memory for a batch of %zu rows", rows));
    for (; t->batch_count < r->train.accumulate; t->batch_count++)
        TRY(data_batch_init(&t->batches[t->batch_count], &t->data, err));
    TRY(spike_init(&t->spike, r->spike.window, r->spike.limit, err));
out:
    return st;
}

/* The batch without padding; share[i] is the weight of one row of target i, balance that of one row. */
static PassBatch compact(Trainer *t, const DataBatch *b, const double share[BATCH_TARGETS], double balance)
{
    int64_t rows = 0, count = 0;
    for (int64_t s = 0; s < b->sequence_count; s++) {
        const DataSequence *q = &b->sequences[s];
        if (q->source < 0)
            continue;
        t->sequences[count++] = (PassSequence){rows, q->rows};
        for (int64_t i = q->row0; i < q->row0 + q->rows; i++, rows++) {
            t->ids[rows] = b->ids[i];
            t->next_ids[rows] = b->next_ids[i];
            t->targets[0][rows] = b->targets[i];
            t->targets[1][rows] = b->mtp_targets[i];
            for (int k = 0; k < BATCH_TARGETS; k++)
                t->weights[k][rows] = (float)share[k];
        }
    }
    return (PassBatch){.rows = rows, .ids = t->ids, .next_ids = t->next_ids, .targets = {t->targets[0], t->targets[1]},
                       .target_weights = {t->weights[0], t->weights[1]}, .sequences = t->sequences, .sequence_count = count,
                       .balance_scale = balance};
}

static double share_of(double weight, int64_t count)
{
    return count > 0 ? weight / (double)count : 0;
}

/* The batches of the step, all at once: means are over the step. */
MUST_USE static Status fetch(Trainer *t, StepReport *r, int64_t *mtp_targets, Error *err)
{
    Status st = ST_OK;
    for (int64_t i = 0; i < t->batch_count; i++) {
        TRY(data_stream_next(t->stream, &t->batches[i], err));
        r->tokens += t->batches[i].used_rows;
        r->targets += t->batches[i].target_count;
        *mtp_targets += t->batches[i].mtp_target_count;
    }
out:
    return st;
}

Status trainer_step(Trainer *t, StepReport *r, Error *err)
{
    const Recipe *recipe = &t->recipe;
    int64_t mtp_targets = 0;
    Status st = ST_OK;
    *r = (StepReport){.share = schedule_share(recipe, t->step)};
    TRY(fetch(t, r, &mtp_targets, err));
    const double share[BATCH_TARGETS] = {share_of(1, r->targets), share_of(recipe->mtp.weight, mtp_targets)};
    learner_begin(t->learner);
    for (int64_t i = 0; i < t->batch_count; i++) {
        double losses[LEARNER_LOSSES];
        const PassBatch b = compact(t, &t->batches[i], share, share_of(1, r->tokens));
        if (b.rows == 0)
            continue;
        learner_add(t->learner, &b, losses);
        for (int k = 0; k < LEARNER_LOSSES; k++)
            r->losses[k] += losses[k];
        r->flops += learner_flops(t->learner, b.rows);
    }
    r->norm = learner_norm(t->learner);
    r->skipped = spike_judge(&t->spike, r->losses[0] + r->losses[1], r->norm);
    t->step++;
    t->tokens += r->tokens;
    if (!r->skipped) {
        const double clip = recipe->train.clip;
        const double scale = clip > 0 && r->norm > clip ? clip / r->norm : 1;
        learner_move(t->learner, ++t->updates, scale, r->share);
    }
    if (recipe->mtp.weight > 0)
        r->losses[1] /= recipe->mtp.weight;
out:
    return st;
}

Status trainer_evaluate(Trainer *t, double *loss, int64_t *targets, Error *err)
{
    const double one[BATCH_TARGETS] = {1, 0};
    DataBatch *b = &t->batches[0];
    Status st = ST_OK;
    *loss = 0;
    *targets = 0;
    data_stream_rewind(t->validation);
    for (int64_t i = 0; i < t->recipe.evaluate.batches; i++) {
        double losses[LEARNER_LOSSES];
        TRY(data_stream_next(t->validation, b, err));
        if (b->target_count == 0)
            break;
        const PassBatch pass = compact(t, b, one, 0);
        learner_evaluate(t->learner, &pass, losses);
        *loss += losses[0];
        *targets += b->target_count;
    }
    if (*targets > 0)
        *loss /= (double)*targets;
out:
    return st;
}
