/* One step of the optimiser over all parameters (training.md §1.2, 1.3, 3.2).
 *
 * Matrices are moved by Muon or, like everything else, by AdamW; each of several groups that share a tensor is a
 * matrix of its own. Gains, vectors and embeddings: AdamW; decay is on all but balance biases. A balance bias moves by
 * its rule: b += speed · sign(mean − count). Bits do not depend on threads. */
#ifndef PLUMB_TRAIN_OPTIMISER_H
#define PLUMB_TRAIN_OPTIMISER_H

#include "base/pool.h"
#include "kernels/kernels.h"
#include "train/muon.h"
#include "train/params.h"

typedef struct {
    bool muon;
    double adamw_lr, beta1, beta2, eps, adamw_decay;
    double muon_lr, muon_decay;
    MuonParams muon_params;
    double balance_speed;
} OptimiserParams;

typedef struct Optimiser Optimiser;

/* What is borrowed stays borrowed for the optimiser's life. *out is owned. */
MUST_USE Status optimiser_create(Optimiser **out, Params *p, const OptimiserParams *o, const Kernels *k, ThreadPool *pool,
                                 Error *err);
void optimiser_destroy(Optimiser *o); /* NULL is fine */

/* ‖gradient‖₂ over all trainable rows; NaN or infinity when one is in it. */
double optimiser_norm(Optimiser *o);

/* Step number t (from 1): masters and moments move. `scale` multiplies the gradients first (clipping), `share` the
 * learning rates (schedule). Packed forms are stale afterwards. */
void optimiser_step(Optimiser *o, int64_t t, double scale, double share);

#endif
