/* The directory of a training run, and checkpoints in it that survive any crash.
 *
 *     DIR/step-000100/   a Hugging Face directory (config.json, model.safetensors, tokenizer files), and
 *        trainer/        what else goes on from there: state.safetensors, the recipe, manifest.json
 *     DIR/latest         a link to the newest one
 *     DIR/metrics.jsonl  one line a step
 *     DIR/lock           held while somebody trains there
 *
 * A checkpoint is written under a temporary name, file by file made durable, the manifest with the sizes
 * and digests of all others last, and then renamed. So at any moment the newest complete checkpoint is
 * whole, and what a crash leaves of another one is recognised and passed over. Formats: docs/FORMATS.md.
 *
 *     TRY(run_open(&run, &params, resume, err));
 *     st = checkpoint_open_newest(&c, run, err);               ST_NOTFOUND: begin at step 0
 *     TRY(recipe_check_record(&recipe, text.ptr, text.len, err));    text: checkpoint_text(c, "trainer/…")
 *     … take weights, optimiser and cursor from c; checkpoint_close(c) …
 *     TRY(run_cut_metrics(run, step, err));
 *     each step: run_add_metrics; every N steps: checkpoint_save
 *
 * One thread at a time. */
#ifndef PLUMB_TRAIN_CHECKPOINT_H
#define PLUMB_TRAIN_CHECKPOINT_H

#include "base/error.h"
#include "base/fileio.h"
#include "base/kv.h"
#include "formats/safetensors.h"
#include "formats/tensordir.h"

#include <stdint.h>

/* One line for the user, without line end. */
typedef void (*RunLogFn)(void *arg, const char *line);

typedef struct {
    const Files *fs;
    const char *dir;
    int64_t keep; /* beside the last two keep checkpoints whose step is a multiple of this; 0: none */
    RunLogFn log; /* may be NULL */
    void *log_arg;
} RunParams;

typedef struct Run Run;

/* Make the directory (and those above it) when it is missing, take its lock (ST_BUSY: somebody trains there).
 * Without `resume` a directory that holds a run already (a checkpoint, or a line of metrics) is ST_INVALID.
 * What a crash left half written is removed. */
MUST_USE Status run_open(Run **out, const RunParams *params, bool resume, Error *err);
void run_close(Run *r); /* NULL is fine */

/* ---- metrics ---- */

/* Append one line: a JSON object without line breaks that has "step", in ascending order. Lines are durable from
 * the next checkpoint on. After an error (the disk is full) the file ends with the line before. */
MUST_USE Status run_add_metrics(Run *r, const char *line, Error *err);

/* Drop all lines from the first one whose "step" is above `step`, or that is broken. */
MUST_USE Status run_cut_metrics(Run *r, int64_t step, Error *err);

/* ---- saving ---- */

typedef struct {
    const char *name; /* in the checkpoint: "config.json", "trainer/recipe.json" */
    const void *data;
    size_t size;
} CheckpointText;

typedef struct {
    int64_t step; /* steps done */
    const SafetensorsItem *weights; /* → model.safetensors */
    int64_t weight_count;
    const SafetensorsItem *state; /* → trainer/state.safetensors: optimiser, biases, cursor */
    int64_t state_count;
    const CheckpointText *texts;
    int64_t text_count;
} CheckpointContent;

/* Durable when this returns ST_OK. Checkpoints that need not be kept are removed then, and only then: going on
 * with the wrong recipe costs none. The step saved last is not saved again. On failure (ST_NOSPACE says how
 * much is needed) older ones are untouched. */
MUST_USE Status checkpoint_save(Run *r, const CheckpointContent *content, Error *err);

/* ---- going on ---- */

typedef struct Checkpoint Checkpoint; /* immutable; mapped files */

/* The newest complete one, all its digests verified. One that is damaged is named in the log, set aside as
 * "damaged-step-N", and the one before it is tried. ST_NOTFOUND: none. ST_UNSUPPORTED: of another version. */
MUST_USE Status checkpoint_open_newest(Checkpoint **out, Run *r, Error *err);
void checkpoint_close(Checkpoint *c); /* NULL is fine; before run_close */

int64_t checkpoint_step(const Checkpoint *c);
const char *checkpoint_path(const Checkpoint *c); /* "DIR/step-000100"; borrowed until close, as all below */

/* NULL when absent */
const TensorEntry *checkpoint_weight(const Checkpoint *c, const char *name);
const TensorEntry *checkpoint_state(const Checkpoint *c, const char *name);

/* A state tensor that must have this type and number of elements; else ST_CORRUPT or ST_NOTFOUND by name. */
MUST_USE Status checkpoint_state_data(const Checkpoint *c, const char *name, Dtype dtype, int64_t elements,
                                      const void **data, Error *err);

/* A file of the checkpoint; {NULL, 0} when absent. */
Str checkpoint_text(const Checkpoint *c, const char *name);

#endif
