// Weighted sums of a few elements along each axis.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "bitfold/tensor.h"
#include "ops/operands.h"

namespace bitfold::ops {

/// The elements along one axis that each output reads, and their weights.
struct WeightedTaps {
  bool is_identity = false;           ///< Every output is the element of its index. The lists are empty.
  std::vector<std::size_t> first{0};  ///< Output i has the taps from first[i] to first[i + 1].
  std::vector<std::int64_t> index;
  std::vector<float> weight;
  std::vector<bool> is_outside;  ///< Whether output i takes a fixed value.

  void add(std::int64_t at, float by) {
    index.push_back(at);
    weight.push_back(by);
  }
  void finish(bool outside) {
    first.push_back(index.size());
    is_outside.push_back(outside);
  }
};

/// The sum over all combinations of the axes' taps. Integers are truncated, as in ONNX Runtime. Sums are in float: over
/// the taps of the last axis that is not the identity, then over the combinations of the taps of all axes before it.
void interpolate(const TensorView& in, std::span<const WeightedTaps> taps, const TensorView& out);

/// Gives `value` to the outputs that are outside along an axis.
void fill_outside(std::span<const WeightedTaps> taps, float value, const TensorView& out);

}  // namespace bitfold::ops
