// What becomes of the accumulators of a convolution. Plain data: included by files compiled for one instruction set.
#pragma once

#include <cstdint>

#include "kernels/convert/convert.h"

namespace bitfold {

/// Output channels that are packed together: weights, biases and multipliers come in blocks of so many.
constexpr std::int64_t kBlockChannels = 16;

enum class AccumulatorOutput { int32, float32, code };

/// What is known of accumulators and their multipliers, whatever the image. Each holds together with those before it.
enum class StepRange {
  any,
  int32,  ///< accumulator * multiplier stays within int32.
  /// Where codes begin at the zero point and end 255 above it, accumulators may pass for floats (kFloatOrigin).
  float_bits,
};

/// The bits of 2^23. Integers from 0 to 2^23 - 1 added to them are the bits of 2^23 + integer: such an accumulator a is
/// a float already, and fma(a's float, m, -2^23 m) is a * m rounded once, as that of a converted accumulator is. The
/// integers below give floats below 2^23, and so negative steps; those above give more than a * m, and a code of 255
/// all the same where 2^23 m >= 256.
constexpr std::int32_t kFloatOrigin = 0x4B000000;
constexpr float kFloatOriginValue = 8388608.0F;

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
