// Addresses of the taps of a window, for kernels that read images without a border. Included after avx2.h or avx512.h;
// each instruction set compiles it separately.
#pragma once

#include "kernels/depthwise/depthwise.h"

namespace bitfold {
namespace {

/// The rows of taps under a row of outputs; rows outside the image point to padding.
template <int kRows>
struct BorderRows {
  const std::uint8_t* rows[kRows];  ///< The first column of each row.
  std::int64_t steps[kRows];        ///< Bytes from one column to the next.
  const std::uint8_t* padding;

  /// For the windows of output row `row`, beginning at channel `channel`.
  BITFOLD_INLINE BorderRows(const DepthwiseTask& t, std::int64_t row, std::int64_t channel, const std::uint8_t* outside)
      : padding(outside) {
    for (int i = 0; i < kRows; ++i) {
      const std::int64_t y = row * t.stride_h - t.pad_top + i;
      const bool is_inside = y >= 0 && y < t.in_height;
      rows[i] = is_inside ? t.x + y * t.x_row + channel : padding;
      steps[i] = is_inside ? t.channels : 0;
    }
  }
};

/// Returns make(at), where at(i) is the address of row i in column x. kHasBorder: some may lie outside the image.
template <bool kHasBorder, class Make>
BITFOLD_INLINE auto column_of_3(const DepthwiseTask& t, const BorderRows<3>& of, std::int64_t x, const Make& make) {
  if constexpr (!kHasBorder)
    return make([&](int i) BITFOLD_INLINE_LAMBDA { return of.rows[0] + i * t.x_row + x * t.channels; });
  if (x < 0 || x >= t.in_width) return make([&](int) BITFOLD_INLINE_LAMBDA { return of.padding; });
  return make([&](int i) BITFOLD_INLINE_LAMBDA { return of.rows[i] + x * of.steps[i]; });
}

}  // namespace
}  // namespace bitfold
