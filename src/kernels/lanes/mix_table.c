/* The kernels of hyper-connections, pooling, index and router of this level. */
#include "kernels/lanes/lanes.h"

const MixKernels KERNEL(mix_table) = {
    .hyper_split = KERNEL(hyper_split),
    .hyper_split_back = KERNEL(hyper_split_back),
    .hyper_pre = KERNEL(hyper_pre),
    .hyper_pre_back = KERNEL(hyper_pre_back),
    .hyper_post = KERNEL(hyper_post),
    .hyper_post_back = KERNEL(hyper_post_back),
    .pool = KERNEL(pool),
    .pool_back = KERNEL(pool_back),
    .index_choose = KERNEL(index_choose),
    .route = KERNEL(route),
    .route_back = KERNEL(route_back),
    .balance_back = KERNEL(balance_back),
    .combine = KERNEL(combine),
    .combine_back = KERNEL(combine_back),
};
