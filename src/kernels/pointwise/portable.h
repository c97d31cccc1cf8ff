// One element of each operator in plain C++, for the portable kernels and the ends of rows that do not fill a vector.
#pragma once

#include <cstdint>

#include "kernels/convert/portable.h"
#include "kernels/pointwise/pointwise.h"

namespace bitfold::pointwise_element {

inline float combine(CodeBinary kind, float a, float b) {
  return kind == CodeBinary::add ? a + b : kind == CodeBinary::sub ? a - b : a * b;
}

inline std::uint8_t binary(CodeBinary kind, std::uint8_t a, std::uint8_t b, const BinaryGrids& grids) {
  const float r = combine(kind, convert_element::dequantize(a, grids.a), convert_element::dequantize(b, grids.b));
  return convert_element::quantize<std::uint8_t>(r, grids.y, convert_element::Bounds(grids.y));
}

/// Calls visit(first channel of a pixel) for every image pixel in the window of output pixel (row, column); returns
/// their number.
template <class Visit>
inline std::int64_t for_taps(const std::uint8_t* x, const PoolShape& s, std::int64_t row, std::int64_t column,
                             Visit visit) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < s.kernel_h; ++i) {
    const std::int64_t h = row * s.stride_h - s.pad_top + i * s.dilation_h;
    if (h < 0 || h >= s.in_height) continue;
    for (std::int64_t j = 0; j < s.kernel_w; ++j) {
      const std::int64_t w = column * s.stride_w - s.pad_left + j * s.dilation_w;
      if (w < 0 || w >= s.in_width) continue;
      visit(x + (h * s.in_width + w) * s.channels);
      ++count;
    }
  }
  return count;
}

/// Constants that turn the sum over `inside` image pixels into the code of their average.
struct Averaging {
  std::int32_t zero_sum;  ///< The contribution of `inside` zero points to a sum of codes.
  float multiplier;
  Averaging(const PoolShape& shape, const AveragePool& pool, std::int64_t inside)
      : zero_sum(static_cast<std::int32_t>(inside * pool.x.zero_point)) {
    const std::int64_t whole = shape.kernel_h * shape.kernel_w;
    const std::int64_t count = pool.counts_padding ? whole : (inside > 0 ? inside : 1);
    multiplier = static_cast<float>(static_cast<double>(pool.x.scale) /
                                    (static_cast<double>(pool.y.scale) * static_cast<double>(count)));
  }
};

inline std::uint8_t average(std::int32_t sum, const Averaging& how, const ByteGrid& y) {
  const convert_element::Bounds bounds(y);
  float steps = static_cast<float>(sum - how.zero_sum) * how.multiplier;
  steps = steps < bounds.low ? bounds.low : steps;
  steps = steps > bounds.high ? bounds.high : steps;
  return static_cast<std::uint8_t>(round_half_even(steps) + y.zero_point);
}

}  // namespace bitfold::pointwise_element

namespace bitfold {

extern const PointwiseKernels kPortablePointwiseKernels;

}  // namespace bitfold
