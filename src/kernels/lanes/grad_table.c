/* The training kernels of this level. */
#include "kernels/lanes/lanes.h"

const GradKernels KERNEL(grad_table) = {
    .linear_back = NULL,
};
