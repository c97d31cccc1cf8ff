// Accumulators that are floats already, and become the steps of codes in one operation.
//
// The bits of 2^23 plus an integer k, 0 <= k < 2^23, are the bits of the float 2^23 + k. So accumulators that start
// from these bits, and from an origin o besides, are floats without a conversion, and a fused multiply-add makes
//
//     fma(2^23 + o + accumulator, multiplier, addend) ~ accumulator * multiplier,     addend ~ -(2^23 + o) * multiplier
//
// which is then rounded as the definition has it (invariant 3). Where the zero point is 0, so is o: 2^23 * multiplier
// is a float, so the steps are the definition's. Elsewhere o is chosen so that the addend is nearly exact, and then all
// 255 changes from one code to the next must lie between the same accumulators.
//
// Floats are half as far apart below the range of k, and twice as far above it: steps then fall more slowly, and rise
// faster. The range is placed so that codes are saturated at its ends, and stay so.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/aligned_array.h"
#include "kernels/conv_output.h"

namespace bitfold {

class QuickSteps {
 public:
  /// None.
  QuickSteps() = default;
  /// Of channels with such multipliers, whose accumulators are no further from 0 than `reach`. None where one of them
  /// has none, or where codes are not all of 0 .. 255, of plain accumulators.
  QuickSteps(std::span<const float> multipliers, std::span<const std::int64_t> reach, const ConvOutput& output);

  StepTerms terms() const { return {origins_.get(), addends_.get()}; }

 private:
  AlignedArray<std::int32_t> origins_;
  AlignedArray<float> addends_;
};

}  // namespace bitfold
