// Relu, Clip and LeakyRelu as one function of a real. Passes, quantization and the engine all recognise them here.
#pragma once

#include <limits>
#include <optional>

#include "bitfold/graph.h"

namespace bitfold {

/// The number in a one-element float32 constant without a grid.
std::optional<float> scalar_constant(const Graph& graph, ValueId id);

/// y = x < 0 ? negative_slope * x : x, then limited to [low, high]. NaN stays NaN, as in ONNX.
struct Activation {
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();

  float low = -kInfinity, high = kInfinity;  ///< Never low > high, never NaN.
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
  /// Whether it only limits: a Relu or a Clip.
  bool is_clamp() const { return negative_slope == 1; }
  /// Whether it keeps order and signs and only shrinks negative numbers: a LeakyRelu of slope 0 to 1. An integer layer
  /// can apply it to accumulators before they are rounded.
  bool shrinks_negatives() const {
    return low == -kInfinity && high == kInfinity && negative_slope >= 0 && negative_slope <= 1;
  }
};

/// A node that is a Relu, a LeakyRelu, or a Clip whose bounds are absent or constant numbers, of real values. A bound
/// of the largest float means no bound, as exporters write it. Where the lower bound of a Clip is above the upper one,
/// all numbers become the upper one, as in ONNX. None for another node.
std::optional<Activation> find_activation(const Graph& graph, NodeId id);

/// The same for a Relu or a Clip only.
std::optional<Activation> find_clamp(const Graph& graph, NodeId id);

/// The non-decreasing activation that alone reads the first output of node `id`; the identity where there is none.
Activation activation_after(const Graph& graph, NodeId id);

}  // namespace bitfold
