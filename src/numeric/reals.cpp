#include "numeric/reals.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "bitfold/reals.h"

namespace bitfold {

float float16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fU, fraction = bits & 0x3ffU;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000U | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = static_cast<float>(fraction) * 0x1p-24F;  // subnormal or zero
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

float bfloat16_to_float(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

std::uint16_t float_to_float16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits >> 16 & 0x8000U, magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>(sign | 0x7e00U | (magnitude >> 13 & 0x3ffU));
  if (magnitude >= 0x477ff000U) return static_cast<std::uint16_t>(sign | 0x7c00U);  // 65520 and more
  if (magnitude < 0x38800000U) {
    // Below 2^-14 the float16 numbers are multiples of 2^-24. Adding 0.5, whose last bit is 2^-24, rounds to such a
    // multiple.
    const float sum = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(sum) - 0x3f000000U));
  }
  const std::uint32_t odd = magnitude >> 13 & 1U;
  return static_cast<std::uint16_t>(sign | (magnitude - (112U << 23) + 0xfffU + odd) >> 13);
}

std::uint16_t float_to_bfloat16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>(bits >> 16 | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

Tensor to_float32(const Tensor& reals) {
  if (reals.dtype() == DataType::float32) return reals;
  check(is_other_real(reals.dtype()), "tensor has element type {}, expected reals", to_string(reals.dtype()));
  Tensor widened = Tensor::uninitialized(DataType::float32, reals.shape());
  const auto to = widened.mutable_data<float>();
  const auto convert = [&]<class T>(const T* from, auto f) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = f(from[i]);
  };
  if (reals.dtype() == DataType::float64)
    convert(reinterpret_cast<const double*>(reals.bytes()), [](double x) { return static_cast<float>(x); });
  else if (reals.dtype() == DataType::float16)
    convert(reinterpret_cast<const std::uint16_t*>(reals.bytes()), float16_to_float);
  else
    convert(reinterpret_cast<const std::uint16_t*>(reals.bytes()), bfloat16_to_float);
  return widened;
}

Tensor convert_reals(const Tensor& reals, DataType dtype) {
  if (reals.dtype() == dtype) return reals;
  check(is_any_real(dtype), "cannot convert reals to {}", to_string(dtype));
  const Tensor wide = to_float32(reals);
  if (dtype == DataType::float32) return wide;
  Tensor result = Tensor::uninitialized(dtype, wide.shape());
  const auto from = wide.data<float>();
  std::byte* bytes = result.mutable_bytes();
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (dtype == DataType::float64)
      reinterpret_cast<double*>(bytes)[i] = from[i];
    else
      reinterpret_cast<std::uint16_t*>(bytes)[i] =
          dtype == DataType::float16 ? float_to_float16(from[i]) : float_to_bfloat16(from[i]);
  }
  return result;
}

bool is_exact_in(DataType half, const Tensor& reals) {
  const auto elements = reals.data<float>();
  if (half == DataType::float16)
    return std::ranges::all_of(elements, [](float x) { return float16_to_float(float_to_float16(x)) == x; });
  return std::ranges::all_of(elements, [](float x) { return bfloat16_to_float(float_to_bfloat16(x)) == x; });
}

bool needs_conversion(DataType from, DataType to) { return from != to && is_any_real(from) && is_any_real(to); }

}  // namespace bitfold
