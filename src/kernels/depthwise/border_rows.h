// Where the taps of a window lie, for the kernels that leave no border in memory. Included behind avx2.h or
// avx512.h: each of them compiles it for its own instruction set.
#pragma once

#include "kernels/depthwise/depthwise.h"

namespace bitfold {
namespace {

/// The rows of taps under a row of outputs; outside the image, padding.
template <int kRows>
struct BorderRows {
  const std::uint8_t* rows[kRows];  ///< The image's first column.
  std::int64_t steps[kRows];        ///< From one column to the next.
  const std::uint8_t* padding;

  /// Of the windows of output row `row`, from `channel` on.
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

/// make(at) with at(i) the address of row i in column x; of kHasBorder, some may lie outside the image.
template <bool kHasBorder, class Make>
BITFOLD_INLINE auto column_of_3(const DepthwiseTask& t, const BorderRows<3>& of, std::int64_t x, const Make& make) {
  if constexpr (!kHasBorder)
    return make([&](int i) BITFOLD_INLINE_LAMBDA { return of.rows[0] + i * t.x_row + x * t.channels; });
  if (x < 0 || x >= t.in_width) return make([&](int) BITFOLD_INLINE_LAMBDA { return of.padding; });
  return make([&](int i) BITFOLD_INLINE_LAMBDA { return of.rows[i] + x * of.steps[i]; });
}

}  // namespace
}  // namespace bitfold
