// Converts one accumulator to an output element in plain C++. The portable kernels use it, and tests compare with it.
#pragma once

#include <cstdint>

#include "kernels/conv_output.h"
#include "numeric/rounding.h"

namespace bitfold {

/// The code of an accumulator: the fused LeakyRelu if there is one, then requantize() of affine.h (invariant 3).
inline std::uint8_t code_of(std::int32_t accumulator, float multiplier, const ConvOutput& output) {
  const auto low = static_cast<float>(output.qmin - output.zero_point);
  const auto high = static_cast<float>(output.qmax - output.zero_point);
  float steps = static_cast<float>(accumulator) * multiplier;
  if (steps < 0) steps *= output.negative_gain;
  steps = steps < low ? low : steps;
  steps = steps > high ? high : steps;
  return static_cast<std::uint8_t>(round_half_even(steps) + output.zero_point);
}

/// Writes the output of one accumulator to element `index` of y.
inline void store_accumulator(std::int32_t accumulator, float multiplier, const ConvOutput& output, void* y,
                              std::int64_t index) {
  switch (output.kind) {
    case AccumulatorOutput::int32:
      static_cast<std::int32_t*>(y)[index] = accumulator;
      return;
    case AccumulatorOutput::float32:
      static_cast<float*>(y)[index] = static_cast<float>(accumulator) * multiplier;
      return;
    case AccumulatorOutput::code:
      static_cast<std::uint8_t*>(y)[index] = code_of(accumulator, multiplier, output);
      return;
  }
}

}  // namespace bitfold
