// How accumulators of a convolution become outputs. Plain data, included by files compiled for one instruction set.
#pragma once

#include <cstdint>

#include "kernels/convert/convert.h"

namespace bitfold {

/// Output channels per packed block of weights, biases and multipliers.
constexpr std::int64_t kBlockChannels = 16;

enum class AccumulatorOutput { int32, float32, code };

/// The bits of the float 2^23.
constexpr std::int32_t kFloatOrigin = 0x4B000000;

/// Constants that turn accumulators into steps of codes in one operation (quick_steps.h). Accumulators start from
/// `origins` in addition to the biases; their bits are then floats already, and fma(accumulator, multiplier, addend)
/// gives steps. 16 per block. Null unless outputs are codes from 0 to 255 without LeakyRelu and every multiplier is
/// below 1.
struct StepTerms {
  const std::int32_t* origins = nullptr;
  const float* addends = nullptr;

  // Always inlined: otherwise the linker could pick a copy compiled for a newer instruction set for all callers.
  [[gnu::always_inline]] StepTerms from(std::int64_t channel) const {
    return origins == nullptr ? StepTerms{} : StepTerms{origins + channel, addends + channel};
  }
};

/// y = code of (scale_y * (y - z_y)) + (scale_r * (r - z_r)) on the grid `sum`, as in CodeBinary::add.
struct ResidualAdd {
  ByteGrid product, residual, sum;
};

/// The conversion from accumulators to outputs.
struct ConvOutput {
  AccumulatorOutput kind = AccumulatorOutput::code;
  /// Applied to codes before the table; 0 <= qmin <= zero_point <= qmax.
  std::int32_t zero_point = 0, qmin = 0, qmax = 255;
  /// Slope of a fused LeakyRelu: negative values of accumulator * multiplier are multiplied by it before rounding. In
  /// [0, 1]; 1 means none. For outputs of codes only.
  float negative_gain = 1;
  bool has_table = false;
  std::uint8_t table[256] = {};
  bool has_residual = false;
  ResidualAdd add;
};

}  // namespace bitfold
