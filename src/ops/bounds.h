// Bounds of reals, and how they pass through operators.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "bitfold/ops.h"

namespace bitfold::ops {

/// The numbers from low to high.
struct RealBounds {
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  double low = -kInfinity, high = kInfinity;

  static RealBounds up_to(double magnitude) { return {-magnitude, magnitude}; }
  /// No number: the bounds of an absent input.
  static RealBounds empty() { return {kInfinity, -kInfinity}; }
  double magnitude() const { return std::max(std::abs(low), std::abs(high)); }
  bool is_empty() const { return low > high; }
  bool is_finite() const { return std::isfinite(low) && std::isfinite(high); }
  bool operator==(const RealBounds&) const = default;
};

/// The smallest bounds that contain both.
inline RealBounds hull(const RealBounds& a, const RealBounds& b) {
  return {std::min(a.low, b.low), std::max(a.high, b.high)};
}

/// Bounds of the outputs for inputs within their bounds; those of an absent input are empty. Outputs may be NaN if an
/// input with Use::data or Use::fill has infinite bounds.
using BoundsRule = RealBounds (*)(const Op& op, std::span<const RealBounds> inputs);

// Rules that several families share.

/// The output is between the extremes of all inputs.
RealBounds within_inputs(const Op& op, std::span<const RealBounds> inputs);
/// The output is between 0 and the extremes of the first input, because windows reach into the padding, or because the
/// function takes each number closer to 0.
RealBounds within_first_and_zero(const Op& op, std::span<const RealBounds> inputs);
RealBounds sum_of_inputs(const Op& op, std::span<const RealBounds> inputs);
inline RealBounds within_first(const Op& /*op*/, std::span<const RealBounds> inputs) { return inputs[0]; }
inline RealBounds from_zero_to_one(const Op& /*op*/, std::span<const RealBounds> /*inputs*/) { return {0, 1}; }
inline RealBounds from_minus_one_to_one(const Op& /*op*/, std::span<const RealBounds> /*inputs*/) { return {-1, 1}; }

}  // namespace bitfold::ops
