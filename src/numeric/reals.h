// float16, bfloat16 and float64: types of reals in files and at a network's interface. Operators use float32.
#pragma once

#include <cstdint>

#include "bitfold/tensor.h"

namespace bitfold {

/// float16, bfloat16 or float64.
constexpr bool is_other_real(DataType dtype) {
  return dtype == DataType::float16 || dtype == DataType::bfloat16 || dtype == DataType::float64;
}
constexpr bool is_half(DataType dtype) { return dtype == DataType::float16 || dtype == DataType::bfloat16; }
constexpr bool is_any_real(DataType dtype) { return dtype == DataType::float32 || is_other_real(dtype); }

/// Exact; a NaN stays a NaN.
float float16_to_float(std::uint16_t bits);
float bfloat16_to_float(std::uint16_t bits);
/// Rounds to nearest, ties to even; beyond the range the result is infinite. A NaN stays a NaN.
std::uint16_t float_to_float16(float x);
std::uint16_t float_to_bfloat16(float x);

/// A tensor of reals as float32: float16 and bfloat16 exactly, float64 rounded. A float32 tensor is returned as it is.
/// Throws Error for any other element type.
Tensor to_float32(const Tensor& reals);

/// Whether `half` (float16 or bfloat16) can store every element of a float32 tensor exactly, and none is a NaN.
bool is_exact_in(DataType half, const Tensor& reals);

}  // namespace bitfold
