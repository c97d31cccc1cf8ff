#include "ops/power.h"

#include <cmath>
#include <limits>

#include "ops/rows.h"

namespace bitfold::ops {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// x^exponent for exponents from 2 on. The product in double is rounded to float once.
template <int exponent>
float whole_power(float x) {
  const double base = x;
  double result = base;
  for (int i = 1; i < exponent; ++i) result *= base;
  return static_cast<float>(result);
}

/// pow() ignores the sign of 0 and of infinity if the exponent is not whole; a square root does not.
float root_argument(float x) { return x == -kInfinity ? kInfinity : x + 0.0F; }

/// y = x^exponent for one exponent that is often used, faster than std::pow. Returns whether it has a loop for it.
bool power_by_products(const TensorView& x, const TensorView& exponent, const TensorView& y) {
  if (x.dtype != DataType::float32 || exponent.size() != 1 || x.size() != y.size()) return false;
  float value = 0;
  with_number_type(exponent.dtype, [&](auto zero) { value = static_cast<float>(*exponent.as<decltype(zero)>()); });
  const auto apply = [&](auto f) {
    map<float, float>(x, y, f);
    return true;
  };
  if (value == 2) return apply([](float v) { return v * v; });
  if (value == 3) return apply([](float v) { return whole_power<3>(v); });
  if (value == 4) return apply([](float v) { return whole_power<4>(v); });
  if (value == -1) return apply([](float v) { return 1 / v; });
  if (value == -2) return apply([](float v) { return static_cast<float>(1 / (static_cast<double>(v) * v)); });
  if (value == 0.5F) return apply([](float v) { return std::sqrt(root_argument(v)); });
  if (value == -0.5F)
    return apply([](float v) { return static_cast<float>(1 / std::sqrt(static_cast<double>(root_argument(v)))); });
  return false;
}

}  // namespace

void power(const Node& /*node*/, std::span<const TensorView> in, std::span<const TensorView> out) {
  if (power_by_products(in[0], in[1], out[0])) return;
  const auto with_base_type = [&](auto f) {
    if (in[0].dtype == DataType::float32) return f(float{});
    if (in[0].dtype == DataType::int32) return f(std::int32_t{});
    return f(std::int64_t{});
  };
  with_base_type([&](auto base_zero) {
    with_number_type(in[1].dtype, [&](auto exponent_zero) {
      using X = decltype(base_zero);
      using Y = decltype(exponent_zero);
      map<X, X, Y>(in[0], in[1], out[0], [](X x, Y y) -> X {
        if constexpr (std::is_same_v<X, float>) {
          return y == Y{2} ? x * x : std::pow(x, static_cast<float>(y));
        } else {
          // Converting a value outside the type's range is undefined; the nearest representable number is used.
          const double value = std::pow(static_cast<double>(x), static_cast<double>(y));
          if (!(value < static_cast<double>(std::numeric_limits<X>::max()))) return std::numeric_limits<X>::max();
          if (value < static_cast<double>(std::numeric_limits<X>::lowest())) return std::numeric_limits<X>::lowest();
          return static_cast<X>(value);
        }
      });
    });
  });
}

}  // namespace bitfold::ops
