// What becomes of the accumulators of a convolution. Plain data: included by files compiled for one instruction set.
#pragma once

#include <cstdint>

#include "kernels/convert/convert.h"

namespace bitfold {

/// Output channels that are packed together: weights, biases and multipliers come in blocks of so many.
constexpr std::int64_t kBlockChannels = 16;

enum class AccumulatorOutput { int32, float32, code };

/// The bits of 2^23.
constexpr std::int32_t kFloatOrigin = 0x4B000000;

/// How accumulators become steps of codes in one operation (quick_steps.h): they start from `origins` besides biases,
/// and then are floats already, fma(accumulator, multiplier, addend) steps. 16 per block, or null where there are none:
/// they are only where outputs are codes from 0 to 255, of plain accumulators, and every multiplier is below 1.
struct StepTerms {
  const std::int32_t* origins = nullptr;
  const float* addends = nullptr;

  // Inlined wherever it is used: a copy compiled for one instruction set must not be taken for all.
  [[gnu::always_inline]] StepTerms from(std::int64_t channel) const {
    return origins == nullptr ? StepTerms{} : StepTerms{origins + channel, addends + channel};
  }
};

/// y = code of (scale_y * (y - z_y)) + (scale_r * (r - z_r)) on the grid `sum`, as CodeBinary::add has it.
struct ResidualAdd {
  ByteGrid product, residual, sum;
};

/// What becomes of accumulators.
struct ConvOutput {
  AccumulatorOutput kind = AccumulatorOutput::code;
  std::int32_t zero_point = 0, qmin = 0, qmax = 255;  ///< Of codes before the table; 0 <= qmin <= zero_point <= qmax.
  /// A LeakyRelu before rounding: what accumulator * multiplier gives is multiplied by it where it is below 0. 0 .. 1;
  /// 1 leaves it as it is. Of codes only.
  float negative_gain = 1;
  bool has_table = false;
  std::uint8_t table[256] = {};
  bool has_residual = false;
  ResidualAdd add;
};

}  // namespace bitfold
