// Reals of 8 and 4 bits. They occur in files, at a network's interface and as codes; no operator computes in them.
//
//   type             sign, exponent, fraction bits   largest   special values
//   float8e4m3fn     1, 4, 3                         448       NaN
//   float8e4m3fnuz   1, 4, 3                         240       NaN; no negative zero
//   float8e5m2       1, 5, 2                         57344     NaN, infinities
//   float8e5m2fnuz   1, 5, 2                         57344     NaN; no negative zero
//   float8e8m0       0, 8, 0                         2^127     NaN; powers of two only
//   float4e2m1       1, 2, 1                         6         none
#pragma once

#include <cstdint>

#include "bitfold/reals.h"
#include "bitfold/tensor.h"

namespace bitfold {

constexpr bool is_small_real(DataType dtype) {
  return dtype == DataType::float8e4m3fn || dtype == DataType::float8e4m3fnuz || dtype == DataType::float8e5m2 ||
         dtype == DataType::float8e5m2fnuz || dtype == DataType::float8e8m0 || dtype == DataType::float4e2m1;
}

/// `bits` are the low bits of a byte.
float small_real_to_float(DataType dtype, std::uint8_t bits);

/// Rounds to nearest, ties to even. Numbers beyond the largest one, infinities included, become the largest one if
/// `saturate`, otherwise an infinity or NaN. float4e2m1 always saturates, and its NaN is -0. `round_mode` applies to
/// float8e8m0 only; it has no negative numbers, and takes the absolute value.
std::uint8_t float_to_small_real(DataType dtype, float x, bool saturate = true, RoundMode round_mode = RoundMode::up);

}  // namespace bitfold
