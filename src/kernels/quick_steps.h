// Requantization in one operation: accumulators that are floats from the start.
//
// The bits of 2^23 plus an integer k, 0 <= k < 2^23, are the bits of the float 2^23 + k. So accumulators that start
// from these bits plus an origin o are floats without a conversion, and one fused multiply-add gives
//
//     fma(2^23 + o + accumulator, multiplier, addend) ~ accumulator * multiplier,     addend ~ -(2^23 + o) * multiplier
//
// which is then rounded as in the definition (invariant 3). If the zero point is 0, o is 0 as well: 2^23 * multiplier
// is a float, so the steps are exactly the definition's. For other zero points o is chosen so that the addend is nearly
// exact, and all 255 changes from one code to the next are checked to lie between the same accumulators.
//
// Outside the range of k, the spacing of floats differs (half below, twice above), so steps are not exact there. The
// range is placed so that codes are already saturated at its ends.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/aligned_array.h"
#include "kernels/conv_output.h"

namespace bitfold {

class QuickSteps {
 public:
  /// An object without channels, whose terms() returns null pointers.
  QuickSteps() = default;
  /// `multipliers` and `magnitudes` per channel; no accumulator's magnitude exceeds its channel's entry. Empty if some
  /// channel has no suitable origin, or if codes are not all of 0 .. 255 without LeakyRelu.
  QuickSteps(std::span<const float> multipliers, std::span<const std::int64_t> magnitudes, const ConvOutput& output);

  StepTerms terms() const { return {origins_.get(), addends_.get()}; }

 private:
  AlignedArray<std::int32_t> origins_;
  AlignedArray<float> addends_;
};

}  // namespace bitfold
