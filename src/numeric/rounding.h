// Rounding to the nearest integer, ties to even (docs/internals/arithmetic.md (4)). The only rounding in the project.
//
// This is IEEE 754's default, specified by ONNX for QuantizeLinear, and one vector instruction. Unlike std::nearbyint
// it does not depend on the processor's rounding mode, which a caller may have changed, and it takes only a few
// instructions without SSE4.1.
#pragma once

#include <cstdint>

namespace bitfold {

namespace rounding_detail {

// Truncation is exact, and so is t - trunc(t), because both have at most t's exponent. So the comparisons with one half
// are exact.
template <class Integer, class Real>
constexpr Integer to_nearest_even(Real t) {
  const auto whole = static_cast<Integer>(t);
  const Real rest = t - static_cast<Real>(whole);  // in (-1, 1), with t's sign
  // Bitwise instead of logical operators: without branches, surrounding loops vectorize.
  const auto odd = static_cast<Integer>(whole & 1);
  const auto up = static_cast<Integer>(Integer{rest > Real(0.5)} | (Integer{rest == Real(0.5)} & odd));
  const auto down = static_cast<Integer>(Integer{rest < Real(-0.5)} | (Integer{rest == Real(-0.5)} & odd));
  return static_cast<Integer>(whole + up - down);
}

}  // namespace rounding_detail

/// Requires |t| < 2^31: callers clamp first.
constexpr std::int32_t round_half_even(float t) { return rounding_detail::to_nearest_even<std::int32_t>(t); }

/// Requires |t| < 2^63: callers clamp first.
constexpr std::int64_t round_half_even(double t) { return rounding_detail::to_nearest_even<std::int64_t>(t); }

}  // namespace bitfold
