// float16, bfloat16 and float64: types of reals in files and at a network's interface. Operators use float32.
#pragma once

#include <bit>
#include <cstdint>

#include "bitfold/tensor.h"

namespace bitfold {

/// float16, bfloat16 or float64.
constexpr bool is_other_real(DataType dtype) {
  return dtype == DataType::float16 || dtype == DataType::bfloat16 || dtype == DataType::float64;
}
constexpr bool is_half(DataType dtype) { return dtype == DataType::float16 || dtype == DataType::bfloat16; }
constexpr bool is_any_real(DataType dtype) { return dtype == DataType::float32 || is_other_real(dtype); }

// The conversions are inline and without branches, so that loops over elements vectorize.

namespace reals_detail {

/// `a` if `condition` holds, otherwise `b`. Compilers make a branch of a conditional expression.
constexpr std::int32_t select(bool condition, std::int32_t a, std::int32_t b) {
  const std::int32_t mask = -static_cast<std::int32_t>(condition);
  return (a & mask) | (b & ~mask);
}

}  // namespace reals_detail

/// Exact; a NaN stays a NaN.
inline float float16_to_float(std::uint16_t bits) {
  constexpr std::int32_t kRebias = 112 << 23;  // float32's exponents are 112 higher; 255 stands for infinities, not 143
  const std::int32_t sign = bits >> 15, magnitude = bits & 0x7fff;
  const std::int32_t rebias = reals_detail::select(magnitude >= 0x7c00, 2 * kRebias, kRebias);
  const std::int32_t normal = (magnitude << 13) + rebias;
  const auto subnormal = std::bit_cast<std::int32_t>(static_cast<float>(magnitude) * 0x1p-24F);  // or zero
  const std::int32_t result = reals_detail::select(magnitude < 0x400, subnormal, normal);
  return std::bit_cast<float>(static_cast<std::uint32_t>(sign) << 31 | static_cast<std::uint32_t>(result));
}
inline float bfloat16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// Rounds to nearest, ties to even; beyond the range the result is infinite. A NaN stays a NaN.
inline std::uint16_t float_to_float16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto magnitude = static_cast<std::int32_t>(bits & 0x7fffffffU);
  const std::int32_t odd = magnitude >> 13 & 1;
  const std::int32_t normal = (magnitude - (112 << 23) + 0xfff + odd) >> 13;
  // Below 2^-14 the float16 numbers are multiples of 2^-24. Adding 0.5, whose last bit is 2^-24, rounds to such a
  // multiple.
  const std::int32_t subnormal = std::bit_cast<std::int32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3f000000;
  const std::int32_t nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
  std::int32_t result = reals_detail::select(magnitude < 0x38800000, subnormal, normal);
  result = reals_detail::select(magnitude >= 0x477ff000, 0x7c00, result);  // 65520 and more
  result = reals_detail::select(magnitude > 0x7f800000, nan, result);
  return static_cast<std::uint16_t>(((bits & 0x80000000U) | static_cast<std::uint32_t>(result) << 16) >> 16);
}
inline std::uint16_t float_to_bfloat16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7fffU + (bits >> 16 & 1U)) >> 16, nan = bits >> 16 | 0x40U;
  return static_cast<std::uint16_t>(static_cast<std::int32_t>(bits & 0x7fffffffU) > 0x7f800000 ? nan : rounded);
}

/// A tensor of reals as float32: float16 and bfloat16 exactly, float64 rounded. A float32 tensor is returned as it is.
/// Throws Error for any other element type.
Tensor to_float32(const Tensor& reals);

/// Whether `half` (float16 or bfloat16) can store every element of a float32 tensor exactly, and none is a NaN.
bool is_exact_in(DataType half, const Tensor& reals);

}  // namespace bitfold
