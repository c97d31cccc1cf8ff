#include "numeric/reals.h"

#include <algorithm>

#include "base/check.h"
#include "bitfold/reals.h"

namespace bitfold {

Tensor to_float32(const Tensor& reals) {
  if (reals.dtype() == DataType::float32) return reals;
  check(is_other_real(reals.dtype()), "tensor has element type {}, expected reals", to_string(reals.dtype()));
  Tensor widened = Tensor::uninitialized(DataType::float32, reals.shape());
  float* to = widened.mutable_data<float>().data();
  const auto convert = [&]<class T>(const T* from, auto f) {
    for (std::int64_t i = 0, n = reals.size(); i < n; ++i) to[i] = f(from[i]);
  };
  if (reals.dtype() == DataType::float64)
    convert(reinterpret_cast<const double*>(reals.bytes()), [](double x) { return static_cast<float>(x); });
  else if (reals.dtype() == DataType::float16)
    convert(reinterpret_cast<const std::uint16_t*>(reals.bytes()), [](std::uint16_t x) { return float16_to_float(x); });
  else
    convert(reinterpret_cast<const std::uint16_t*>(reals.bytes()),
            [](std::uint16_t x) { return bfloat16_to_float(x); });
  return widened;
}

Tensor convert_reals(const Tensor& reals, DataType dtype) {
  if (reals.dtype() == dtype) return reals;
  check(is_any_real(dtype), "cannot convert reals to {}", to_string(dtype));
  const Tensor wide = to_float32(reals);
  if (dtype == DataType::float32) return wide;
  Tensor result = Tensor::uninitialized(dtype, wide.shape());
  const float* from = wide.data<float>().data();
  const auto convert = [&]<class T>(T* to, auto f) {
    for (std::int64_t i = 0, n = wide.size(); i < n; ++i) to[i] = f(from[i]);
  };
  if (dtype == DataType::float64)
    convert(reinterpret_cast<double*>(result.mutable_bytes()), [](float x) { return static_cast<double>(x); });
  else if (dtype == DataType::float16)
    convert(reinterpret_cast<std::uint16_t*>(result.mutable_bytes()), [](float x) { return float_to_float16(x); });
  else
    convert(reinterpret_cast<std::uint16_t*>(result.mutable_bytes()), [](float x) { return float_to_bfloat16(x); });
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
