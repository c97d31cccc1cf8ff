// One element of each conversion in plain C++, for the portable kernels and the ends of runs that do not fill a vector.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/convert/convert.h"
#include "numeric/rounding.h"

namespace bitfold::convert_element {

/// The bounds of (3), applied before rounding, so that the rounded value fits int32.
struct Bounds {
  float low, high;
  explicit Bounds(const ByteGrid& grid)
      : low(static_cast<float>(grid.qmin - grid.zero_point)), high(static_cast<float>(grid.qmax - grid.zero_point)) {}
};

template <class Code>
Code quantize(float x, const ByteGrid& grid, const Bounds& bounds) {
  float steps = x / grid.scale;
  steps = steps > bounds.low ? steps : bounds.low;  // in this order, NaN becomes low
  steps = steps < bounds.high ? steps : bounds.high;
  return static_cast<Code>(round_half_even(steps) + grid.zero_point);
}

template <class Code>
float dequantize(Code code, const ByteGrid& grid) {
  return static_cast<float>(code - grid.zero_point) * grid.scale;
}

/// floor(x / width) + kHistogramBins / 2. Comparing with x itself keeps a negative x below 0 if its quotient
/// underflows.
inline std::int32_t bin(float x, float width, float inverse) {
  const auto truncated = static_cast<std::int32_t>(x * inverse);
  return truncated - (x < static_cast<float>(truncated) * width ? 1 : 0) + kHistogramBins / 2;
}

inline bool is_finite(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return (bits & 0x7F800000U) != 0x7F800000U;  // the exponent bits of infinities and NaN
}

inline std::uint8_t pack_4bit(std::uint8_t low, std::uint8_t high) {
  return static_cast<std::uint8_t>((low & 15) | (high & 15) << 4);
}

template <class Code>
Code unpack_4bit(const std::uint8_t* packed, std::int64_t i) {
  const int nibble = (packed[i / 2] >> (i % 2 * 4)) & 15;
  constexpr int kSign = static_cast<Code>(-1) < 0 ? 8 : 0;
  return static_cast<Code>((nibble ^ kSign) - kSign);
}

}  // namespace bitfold::convert_element

namespace bitfold {

extern const ConvertKernels kPortableConvertKernels;

}  // namespace bitfold
