// The one rounding of the project: to the nearest integer, ties to the even one (docs/internals/arithmetic.md (4)).
//
// IEEE 754's default, what ONNX's QuantizeLinear asks for and what vector units do in one instruction. Unlike
// std::nearbyint it does not read the processor's rounding mode, which a caller may have changed, and it is a handful
// of instructions without SSE4.1.
#pragma once

#include <cstdint>

namespace bitfold {

namespace rounding_detail {

// Truncation is exact, and so is t - trunc(t) (both have t's exponent or less), so the comparisons with one half decide
// on the real number itself.
template <class Integer, class Real>
constexpr Integer to_nearest_even(Real t) {
  const auto whole = static_cast<Integer>(t);
  const Real rest = t - static_cast<Real>(whole);  // in (-1, 1), of t's sign
  // Bitwise, not logical: without branches the loops around this become vector code.
  const auto odd = static_cast<Integer>(whole & 1);
  const auto up = static_cast<Integer>(Integer{rest > Real(0.5)} | (Integer{rest == Real(0.5)} & odd));
  const auto down = static_cast<Integer>(Integer{rest < Real(-0.5)} | (Integer{rest == Real(-0.5)} & odd));
  return static_cast<Integer>(whole + up - down);
}

}  // namespace rounding_detail

/// |t| < 2^31: callers clamp first.
constexpr std::int32_t round_half_even(float t) { return rounding_detail::to_nearest_even<std::int32_t>(t); }

/// |t| < 2^63: callers clamp first.
constexpr std::int64_t round_half_even(double t) { return rounding_detail::to_nearest_even<std::int64_t>(t); }

}  // namespace bitfold
