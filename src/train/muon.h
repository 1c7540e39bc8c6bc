/* The direction in which Muon moves a matrix (training.md §3.2): momentum, made semi-orthogonal.
 *
 *     M ← μ·M + G;   X = (μ·M + G) / ‖μ·M + G‖_F
 *     X ← a·X + (b·A + c·A²)·X,  A = X·Xᵀ     eight times (3.4445, −4.7750, 2.0315), then (2, −1.5, 0.5)
 *     O = γ·sqrt(max(n,m))·X
 *
 * All in float by the level's matrix kernels, in an order that depends on the shape only. */
#ifndef PLUMB_TRAIN_MUON_H
#define PLUMB_TRAIN_MUON_H

#include "kernels/kernels.h"

typedef struct {
    double momentum, rms; /* μ, γ */
    int64_t iterations;   /* the last two are of the second kind */
} MuonParams;

/* Bytes of scratch for a matrix [n,m]; 64-byte aligned. */
size_t muon_scratch_bytes(int64_t n, int64_t m);

/* M [n,m] becomes the new momentum, `out` [n,m] is O. grad is scaled by `scale` first (clipping). A zero gradient and
 * momentum give O = 0. Any thread, disjoint memory. */
void muon_direction(float *out, float *M, const float *grad, int64_t n, int64_t m, double scale, const MuonParams *p,
                    const Kernels *k, void *scratch);

#endif
