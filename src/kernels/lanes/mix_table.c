/* The kernels of hyper-connections, pooling, index and router of this level. */
#include "kernels/lanes/lanes.h"

const MixKernels KERNEL(mix_table) = {
    .hyper_split = NULL,
};
