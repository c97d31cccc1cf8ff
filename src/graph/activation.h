// What a Relu or Clip lets through, and what a LeakyRelu leaves of negative numbers.
#pragma once

#include <optional>

#include "bitfold/graph.h"

namespace bitfold {

/// The number in a one-element plain float32 constant.
std::optional<float> scalar_constant(const Graph& graph, ValueId id);

/// The reals a Relu or Clip lets through; infinite where it has no bound.
struct ClipBounds {
  float lower, upper;
  bool operator==(const ClipBounds&) const = default;
};

/// None for another node, or where its bounds are not constant numbers.
std::optional<ClipBounds> clip_bounds(const Graph& graph, NodeId id);

/// The slope of a LeakyRelu that shrinks negative numbers and keeps their sign, 0 to 1: an integer layer can pass it
/// before its accumulators are rounded. None for another operator or slope.
std::optional<float> shrinking_slope(const Op& op);

}  // namespace bitfold
