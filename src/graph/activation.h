// Relu, Clip and LeakyRelu as one function of a real. Passes, quantization and the engine all recognize them here.
#pragma once

#include <limits>
#include <optional>

#include "bitfold/graph.h"

namespace bitfold {

/// The number in a one-element float32 constant without a grid.
std::optional<float> scalar_constant(const Graph& graph, ValueId id);

/// Whether every real that the node fills in is 0, as in a Pad. True if it fills in none.
bool fills_with_zero(const Graph& graph, const Node& node);

/// y = x < 0 ? negative_slope * x : x, then limited to [low, high]. NaN stays NaN, as in ONNX.
struct Activation {
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();

  float low = -kInfinity, high = kInfinity;  ///< low <= high, neither is NaN.
  float negative_slope = 1;

  bool operator==(const Activation&) const = default;

  float operator()(float x) const {
    const float y = x < 0 ? negative_slope * x : x;
    return y < low ? low : y > high ? high : y;  // comparisons with NaN are false
  }
  /// The derivative at x.
  float derivative(float x) const {
    const float y = x < 0 ? negative_slope * x : x;
    return y < low || y > high ? 0.0F : x < 0 ? negative_slope : 1.0F;
  }
  /// Whether it only clamps: a Relu or a Clip.
  bool is_clamp() const { return negative_slope == 1; }
  /// Whether it is a LeakyRelu of slope 0 to 1, which keeps order and signs. An integer layer can apply it to
  /// accumulators before they are rounded.
  bool shrinks_negatives() const {
    return low == -kInfinity && high == kInfinity && negative_slope >= 0 && negative_slope <= 1;
  }
};

/// The activation of a node that is a Relu, a LeakyRelu, or a Clip with absent or constant bounds, on real values. A
/// bound equal to the largest float means no bound, as exporters write it. If the lower bound of a Clip is above the
/// upper one, every number becomes the upper bound, as in ONNX. Empty for other nodes.
std::optional<Activation> find_activation(const Graph& graph, NodeId id);

/// The same, for a Relu or a Clip only.
std::optional<Activation> find_clamp(const Graph& graph, NodeId id);

/// The non-decreasing activation that is the only reader of the first output of node `id`; the identity if there is
/// none.
Activation activation_after(const Graph& graph, NodeId id);

}  // namespace bitfold
