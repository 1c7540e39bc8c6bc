/* The loop of a run: see trainer.h. */
#include "train/trainer.h"

#include "train/trainer_internal.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/json_write.h"
#include "base/mem.h"
#include "kernels/peaks.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

void trainer_say(const Trainer *t, const char *format, ...)
{
    char line[512];
    va_list ap;
    if (!t->p->log)
        return;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    t->p->log(t->p->arg, line);
}

/* ---- beginning --------------------------------------------------------------------------------- */

static void say_line(void *arg, const char *line)
{
    trainer_say(arg, "%s", line);
}

/* The newest checkpoint, if there is one and the recipe is still its recipe. */
MUST_USE static Status find_start(Trainer *t, Error *err)
{
    const Status st = checkpoint_open_newest(&t->start, t->run, err);
    if (st == ST_NOTFOUND) {
        t->start = NULL;
        trainer_say(t, "'%s' has no complete checkpoint: the run begins at step 0", t->p->out);
        return ST_OK;
    }
    if (st != ST_OK)
        return st;
    const Str record = checkpoint_text(t->start, "trainer/recipe.json");
    if (!record.ptr)
        return error_set(err, ST_CORRUPT, "'%s' has no trainer/recipe.json", checkpoint_path(t->start));
    return recipe_check_record(&t->recipe, record.ptr, record.len, err);
}

/* A measure for the progress line, if anybody looks; without memory for it the run goes on. */
static void measure_machine(Trainer *t)
{
    Peaks peaks;
    Error ignored;
    if (t->p->progress && peaks_measure(&peaks, t->kernels, t->pool, &ignored) == ST_OK)
        t->peak_flops = t->recipe.train.compute == RECIPE_BF16 ? peaks.bf16_flops : peaks.flops;
}

MUST_USE static Status open_run(Trainer *t, Error *err)
{
    const RunParams run = {.fs = t->p->fs, .dir = t->p->out, .keep = t->recipe.checkpoint.keep, .log = say_line,
                           .log_arg = t};
    Status st = ST_OK;
    CpuInfo info;
    cpu_info(&info);
    TRY(pool_create(&t->pool, t->p->threads > 0 ? t->p->threads : info.cores, err));
    t->kernels = kernels_at(kernels_best_level());
    TRY(run_open(&t->run, &run, t->p->resume, err));
    measure_machine(t);
    if (t->p->resume)
        TRY(find_start(t, err));
out:
    return st;
}

MUST_USE static Status open_all(Trainer *t, Error *err)
{
    Status st = ST_OK;
    TRY(recipe_load(&t->recipe, t->p->recipe, t->p->sets, t->p->set_count, err));
    TRY(open_run(t, err));
    TRY(trainer_open_data(t, err));
    TRY(trainer_open_model(t, err));
    TRY(trainer_open_steps(t, err));
    t->saved = -1;
    if (t->start)
        TRY(trainer_restore(t, err));
    TRY(run_cut_metrics(t->run, t->step, err));
    learner_refresh(t->learner);
    trainer_say(t, "%s: %lld parameters, %.0f of them at work for a token; %lld tokens a step at most", t->spec.family->name,
                (long long)params_total(learner_params(t->learner)), params_active(learner_params(t->learner)),
                (long long)(t->recipe.train.batch * t->recipe.train.length * t->recipe.train.accumulate));
    if (t->start)
        trainer_say(t, "going on behind step %lld", (long long)t->step);
    checkpoint_close(t->start);
    t->start = NULL;
out:
    return st;
}

static void close_all(Trainer *t)
{
    checkpoint_close(t->start);
    run_close(t->run);
    learner_destroy(t->learner);
    data_stream_destroy(t->stream);
    data_stream_destroy(t->validation);
    for (int64_t i = 0; i < t->batch_count; i++)
        data_batch_free(&t->batches[i]);
    mem_free(t->batches);
    mem_free(t->sequences);
    mem_free(t->ids);
    mem_free(t->next_ids);
    for (int i = 0; i < BATCH_TARGETS; i++) {
        mem_free(t->targets[i]);
        mem_free(t->weights[i]);
    }
    spike_free(&t->spike);
    chat_format_close(t->chat);
    tokenizer_destroy(t->tokenizer);
    corpus_close(t->corpus);
    model_spec_free(&t->spec);
    json_kv_destroy(t->config);
    for (int i = 0; i < t->file_count; i++) {
        mem_free(t->files[i].name);
        bytebuf_free(&t->files[i].bytes);
    }
    mem_free(t->from_path);
    pool_destroy(t->pool);
    recipe_free(&t->recipe);
}

/* ---- steps ------------------------------------------------------------------------------------- */

#define SMOOTHING 0.1 /* share of the newest step in what a step takes */

static void show(Trainer *t, const StepReport *r, double seconds)
{
    t->seconds = t->seconds > 0 ? t->seconds + SMOOTHING * (seconds - t->seconds) : seconds;
    const TrainerProgress p = {
        .step = t->step,
        .steps = t->recipe.train.steps,
        .loss = r->losses[0],
        .mtp_loss = r->losses[1],
        .norm = r->norm,
        .share = r->share,
        .skipped = r->skipped != NULL,
        .tokens_per_s = (double)r->tokens / seconds,
        .peak_share = t->peak_flops > 0 ? r->flops / seconds / t->peak_flops : 0,
        .seconds_left = t->seconds * (double)(t->recipe.train.steps - t->step),
    };
    if (r->skipped)
        trainer_say(t, "step %lld left out: %s (loss %g, gradient %g)", (long long)t->step, r->skipped, r->losses[0], r->norm);
    if (t->p->progress)
        t->p->progress(t->p->arg, &p);
}

static void put_number(JsonWriter *w, const char *key, double v)
{
    json_write_key(w, key);
    json_write_double(w, v);
}

/* validation: NULL: there was none at this step. */
MUST_USE static Status record(Trainer *t, const StepReport *r, double seconds, const double *validation, Error *err)
{
    JsonWriter w;
    json_write_init(&w, 0, 1 << 16);
    json_write_object_begin(&w);
    json_write_key(&w, "step");
    json_write_int(&w, t->step);
    put_number(&w, "loss", r->losses[0]);
    if (t->recipe.mtp.weight > 0)
        put_number(&w, "mtp_loss", r->losses[1]);
    put_number(&w, "gradient_norm", r->norm);
    put_number(&w, "lr_share", r->share);
    json_write_key(&w, "tokens");
    json_write_int(&w, t->tokens);
    put_number(&w, "seconds", seconds);
    put_number(&w, "tokens_per_s", (double)r->tokens / seconds);
    if (r->skipped) {
        json_write_key(&w, "skipped");
        json_write_string(&w, r->skipped);
    }
    if (validation)
        put_number(&w, "validation_loss", *validation);
    json_write_object_end(&w);
    Status st = json_write_finish(&w, err);
    if (st == ST_OK)
        st = run_add_metrics(t->run, w.buf, err);
    json_write_deinit(&w);
    return st;
}

static bool due(int64_t step, int64_t every, int64_t last)
{
    return every > 0 && (step % every == 0 || step == last);
}

MUST_USE static Status evaluate(Trainer *t, double *loss, bool *there, Error *err)
{
    int64_t targets = 0;
    *there = false;
    if (!due(t->step, t->recipe.evaluate.every, t->recipe.train.steps))
        return ST_OK;
    const Status st = trainer_evaluate(t, loss, &targets, err);
    if (st != ST_OK)
        return st;
    *there = targets > 0;
    if (*there)
        trainer_say(t, "step %lld: validation loss %.4f over %lld tokens", (long long)t->step, *loss, (long long)targets);
    return t->recipe.evaluate.samples > 0 ? trainer_sample(t, err) : ST_OK;
}

MUST_USE static Status one_step(Trainer *t, Error *err)
{
    StepReport r;
    double validation = 0;
    bool validated;
    Status st = ST_OK;
    const int64_t begin = clock_ns();
    TRY(trainer_step(t, &r, err));
    const double seconds = (double)(clock_ns() - begin) / 1e9;
    show(t, &r, seconds);
    TRY(evaluate(t, &validation, &validated, err));
    TRY(record(t, &r, seconds, validated ? &validation : NULL, err));
    if (t->spike.in_a_row >= t->recipe.spike.stop)
        TRY(error_set(err, ST_INVALID, "%lld steps one after the other were left out, the last because %s: the run does not "
                      "learn any more (lower learning rate? spike.limit?)", (long long)t->spike.in_a_row, r.skipped));
    if (due(t->step, t->recipe.checkpoint.every, t->recipe.train.steps))
        TRY(trainer_save(t, err));
out:
    return st;
}

MUST_USE static Status run_steps(Trainer *t, Error *err)
{
    Status st = ST_OK;
    while (t->step < t->recipe.train.steps) {
        TRY(one_step(t, err));
        if (t->p->stop && t->p->stop(t->p->arg)) {
            if (t->saved != t->step)
                TRY(trainer_save(t, err));
            return error_set(err, ST_CANCELLED, "stopped behind step %lld; --resume goes on", (long long)t->step);
        }
    }
out:
    return st;
}

Status trainer_run(const TrainerParams *p, Error *err)
{
    Trainer *t = mem_alloc(1, sizeof *t);
    if (!t)
        return error_set(err, ST_NOMEM, "no memory for a training run");
    t->p = p;
    Status st = open_all(t, err);
    if (st == ST_OK)
        st = run_steps(t, err);
    close_all(t);
    mem_free(t);
    return st;
}
