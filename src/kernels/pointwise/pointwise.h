// Operators on u8 codes other than matrix products: on one code, or a small window of codes, at a time.
//
//   lookup     y = table[x]: any function of one code, including the conversion between two 8-bit grids
//   binary     y = clamp(round_half_even(r / s_y) + z_y), r = float(a - z_a) * s_a OP float(b - z_b) * s_b, each
//              operation rounded to float32 separately, as when the simulation snaps the real result
//   max_pool   the largest code in the window; padding is ignored; a window entirely in the padding gives 0
//   average_pool  requantize(sum - n * z_x, float(double(s_x) / (double(s_y) * count)), z_y, qmin, qmax)
//              n is the number of image pixels in the window; count is n (at least 1) or, if padding counts, the
//              size of the window
//
// Images are NHWC. Every instruction set gives the same bytes (invariant 8). Nothing outside the named elements is
// accessed. lookup and binary may work in place; otherwise outputs must not overlap inputs.
#pragma once

#include <cstdint>

#include "bitfold/cpu.h"
#include "kernels/convert/convert.h"

namespace bitfold {

enum class CodeBinary { add, sub, mul };

/// A sum of codes in fewer operations than the definition. It is used only after checking that it gives the defined
/// code for every pair of codes. Clamped to [qmin, qmax], it is
///
///   integers   (a * (code_a - 128) + b * (code_b - 128) + term) >> shift
///   reals      round_half_even(real_a * code_a + (real_b * code_b + real_term)), two fused multiply-adds
struct QuickSum {
  enum class Form { none, integers, reals } form = Form::none;
  std::int32_t a = 0, b = 0, term = 0, shift = 0;
  float real_a = 0, real_b = 0, real_term = 0;
};

struct BinaryGrids {
  ByteGrid a, b, y;
  QuickSum sum;  ///< Set by prepared().
};

/// One NHWC image and a pooling window.
struct PoolShape {
  std::int64_t channels = 1, in_height = 1, in_width = 1, out_height = 1, out_width = 1;
  std::int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  std::int64_t pad_top = 0, pad_left = 0;
};

struct AveragePool {
  ByteGrid x, y;
  bool counts_padding = false;
};

struct PointwiseKernels {
  const char* name;
  Isa isa;

  void (*lookup)(const std::uint8_t* x, std::uint8_t* y, std::int64_t n, const std::uint8_t* table) noexcept;
  void (*binary)(CodeBinary kind, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y, std::int64_t n,
                 const BinaryGrids& grids) noexcept;
  /// Searches for a QuickSum. Null if the kernels do not use one.
  void (*find_quick_sum)(BinaryGrids& grids) noexcept;
  /// Computes output rows [begin, end) of one image; x and y point at the image's first pixels.
  void (*max_pool)(const std::uint8_t* x, std::uint8_t* y, const PoolShape& shape, std::int64_t begin,
                   std::int64_t end) noexcept;
  /// kernel_h * kernel_w * 255 must fit int32.
  void (*average_pool)(const std::uint8_t* x, std::uint8_t* y, const PoolShape& shape, const AveragePool& pool,
                       std::int64_t begin, std::int64_t end) noexcept;
};

/// The fastest kernels that `cap` allows; `cap` must not exceed what the CPU supports.
const PointwiseKernels& pointwise_kernels(Isa cap);

/// Prepares grids for many calls of binary(), which may become faster. Takes some 50 us and does not change the codes.
inline BinaryGrids prepared(const PointwiseKernels& kernels, CodeBinary kind, BinaryGrids grids) {
  if (kind == CodeBinary::add && kernels.find_quick_sum != nullptr) kernels.find_quick_sum(grids);
  return grids;
}

}  // namespace bitfold
