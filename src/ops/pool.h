// Pooling of images stored channels-last, for runs that keep this order.
#pragma once

#include "bitfold/node.h"

namespace bitfold::ops {

/// MaxPool over at most two spatial axes; shapes are [N, C, H, W], memory order is [N, H, W, C].
void max_pool_channels_last(const Node& node, const TensorView& in, const TensorView& out);

}  // namespace bitfold::ops
