/* Weights of a model, bound by name and brought into the forms in which they are used.
 *
 * Embedding rows stay where the file maps them. Matrices are packed into panels (kernels/forms.h): a copy,
 * because panels are read in order at full bandwidth, lie in huge pages, and keep the file's bits per
 * weight. Groups of a matrix are packed one after the other, each as a matrix of its own, so that group g
 * begins form_bytes(N/groups, K)·g behind the first. Vectors become reals, ids int32 and are checked against
 * their limit. Slices read their part of the stored tensor. Immutable after bind; any thread. */
#ifndef PLUMB_WEIGHTS_WEIGHTS_H
#define PLUMB_WEIGHTS_WEIGHTS_H

#include "backend/program.h"
#include "base/pool.h"
#include "formats/tensordir.h"
#include "graph/parts.h"

typedef struct Weights Weights;

typedef struct {
    size_t real_bytes; /* of vectors: 4, or 8 for f64 programs */
    void (*progress)(void *arg, size_t done, size_t total); /* may be NULL; bytes packed */
    void *progress_arg;
} WeightParams;

/* Check that the directory has every row with its shape (the first few that are missing or wrong are
 * named together with their number), then pack on the pool. `dir` is borrowed until weights_free. */
MUST_USE Status weights_bind(Weights **out, const TensorRow *rows, int32_t count, const TensorDir *dir,
                             ThreadPool *pool, const WeightParams *params, Error *err);
void weights_free(Weights *w); /* NULL is fine */

const WeightView *weights_views(const Weights *w); /* by row number */
size_t weights_packed_bytes(const Weights *w);
int64_t weights_parameters(const Weights *w); /* elements of all bound tensors */
/* Of one token, which uses only its share of some rows. */
size_t weights_matrix_bytes(const Weights *w); /* read to decode it */
double weights_matrix_flops(const Weights *w); /* two for every matrix element */
/* Bytes of all matrices that are quantised; more than half of all makes int8 the mode of choice. */
size_t weights_quantised_bytes(const Weights *w);

#endif
