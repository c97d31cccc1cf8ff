// Pow.
#pragma once

#include <span>

#include "bitfold/node.h"

namespace bitfold::ops {

/// The result has the type of the base; the exponent may have another type.
void power(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out);

}  // namespace bitfold::ops
