#include "ops/bounds.h"

namespace bitfold::ops {

RealBounds within_inputs(const Op& /*op*/, std::span<const RealBounds> inputs) {
  RealBounds all = inputs[0];
  for (const RealBounds& input : inputs) all = hull(all, input);
  return all;
}

RealBounds within_first_and_zero(const Op& /*op*/, std::span<const RealBounds> inputs) {
  return hull(inputs[0], {0, 0});
}

RealBounds sum_of_inputs(const Op& /*op*/, std::span<const RealBounds> inputs) {
  RealBounds sum{0, 0};
  for (const RealBounds& input : inputs) sum = {sum.low + input.low, sum.high + input.high};
  return sum;
}

}  // namespace bitfold::ops
