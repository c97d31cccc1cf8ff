// The function that a layer's outputs pass.
#pragma once

#include <algorithm>
#include <limits>

#include "bitfold/graph.h"

namespace bitfold::quantization {

/// min(high, max(low, z < 0 ? negative_slope * z : z)): a Relu, Clip or LeakyRelu, or nothing.
struct Activation {
  float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();
  float negative_slope = 1;

  float operator()(float z) const { return std::min(high, std::max(low, z < 0 ? negative_slope * z : z)); }
  /// The derivative at z.
  float slope(float z) const {
    const float y = z < 0 ? negative_slope * z : z;
    return y < low || y > high ? 0.0F : z < 0 ? negative_slope : 1.0F;
  }
};

/// The activation that alone reads the outputs of node `id`.
Activation activation_behind(const Graph& graph, NodeId id);

}  // namespace bitfold::quantization
