#include "numeric/small_reals.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "bitfold/affine.h"
#include "numeric/packed_bits.h"

namespace bitfold {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// A format with a sign bit. Magnitudes count up in steps of one code, subnormal numbers first.
struct Format {
  int bits, fraction, bias;
  std::uint8_t largest;        ///< The magnitude of the largest number.
  std::uint8_t beyond;         ///< The magnitude for larger numbers, without saturation.
  bool has_infinity, has_nan;  ///< fnuz types have a NaN, in the place of -0.
  bool has_negative_zero;
};

Format format_of(DataType dtype) {
  switch (dtype) {
    case DataType::float8e4m3fn:
      return {8, 3, 7, 0x7e, 0x7f, false, true, true};
    case DataType::float8e4m3fnuz:
      return {8, 3, 8, 0x7f, 0x80, false, true, false};
    case DataType::float8e5m2:
      return {8, 2, 15, 0x7b, 0x7c, true, true, true};
    case DataType::float8e5m2fnuz:
      return {8, 2, 16, 0x7f, 0x80, false, true, false};
    case DataType::float4e2m1:
      return {4, 1, 1, 0x07, 0x07, false, false, true};
    default:
      fail("type {} is not a real of 8 or 4 bits", to_string(dtype));
  }
}

constexpr std::uint8_t kE8M0Nan = 0xff;

std::uint8_t float_to_e8m0(float x, bool saturate, RoundMode round_mode) {
  if (std::isnan(x)) return kE8M0Nan;
  const float magnitude = std::abs(x);
  if (std::isinf(magnitude)) return saturate ? kE8M0Nan - 1 : kE8M0Nan;
  if (magnitude == 0) return saturate ? 0 : kE8M0Nan;
  int exponent = 0;
  const float fraction = std::frexp(magnitude, &exponent);  // magnitude = fraction 2^exponent, fraction in [0.5, 1)
  const bool rounds_up =
      round_mode == RoundMode::up ? fraction > 0.5F : round_mode == RoundMode::nearest && fraction >= 0.75F;
  const int code = exponent - 1 + 127 + (rounds_up ? 1 : 0);
  if (code > 254) return saturate ? kE8M0Nan - 1 : kE8M0Nan;
  if (code < 0) return saturate ? 0 : kE8M0Nan;
  return static_cast<std::uint8_t>(code);
}

}  // namespace

float small_real_to_float(DataType dtype, std::uint8_t bits) {
  if (dtype == DataType::float8e8m0) return bits == kE8M0Nan ? kNan : std::ldexp(1.0F, bits - 127);
  const Format f = format_of(dtype);
  const int sign_bit = 1 << (f.bits - 1), magnitude = bits & (sign_bit - 1);
  const bool is_negative = (bits & sign_bit) != 0;
  if (!f.has_negative_zero && is_negative && magnitude == 0) return kNan;
  if (magnitude > f.largest)
    return f.has_infinity && magnitude == f.beyond ? (is_negative ? -kInfinity : kInfinity) : kNan;
  const int exponent = magnitude >> f.fraction, fraction = magnitude & ((1 << f.fraction) - 1);
  const int significand = exponent == 0 ? fraction : fraction + (1 << f.fraction);
  const float value = std::ldexp(static_cast<float>(significand), std::max(exponent, 1) - f.bias - f.fraction);
  return is_negative ? -value : value;
}

std::uint8_t float_to_small_real(DataType dtype, float x, bool saturate, RoundMode round_mode) {
  if (dtype == DataType::float8e8m0) return float_to_e8m0(x, saturate, round_mode);
  const Format f = format_of(dtype);
  const auto sign_bit = static_cast<std::uint8_t>(1 << (f.bits - 1));
  const std::uint8_t sign = std::signbit(x) ? sign_bit : 0;
  if (std::isnan(x)) {
    if (!f.has_nan || !f.has_negative_zero) return sign_bit;
    return static_cast<std::uint8_t>(sign | (f.has_infinity ? f.beyond + 2 : f.beyond));
  }
  const float magnitude = std::abs(x);
  int code = f.largest + 1;
  if (std::isfinite(magnitude)) {
    // The step between neighbours is 2^(exponent - fraction). The smallest exponent is that of subnormal numbers.
    const int exponent = magnitude == 0 ? 1 - f.bias : std::max(std::ilogb(magnitude), 1 - f.bias);
    const auto steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, f.fraction - exponent)));
    code = ((exponent + f.bias - 1) << f.fraction) + steps;
  }
  if (code > f.largest) {
    if (saturate || !f.has_nan) return static_cast<std::uint8_t>(sign | f.largest);
    return f.has_negative_zero ? static_cast<std::uint8_t>(sign | f.beyond) : f.beyond;
  }
  if (code == 0 && !f.has_negative_zero) return 0;
  return static_cast<std::uint8_t>(sign | code);
}

bool is_stored_as(DataType stored, DataType dtype) {
  const bool is_byte = stored == DataType::uint8 || stored == DataType::int8;
  const bool has_small_width = dtype != DataType::unknown && bit_width(dtype) < 8;
  return (is_byte && (is_small_real(dtype) || has_small_width)) ||
         (stored == DataType::uint16 && dtype == DataType::bfloat16);
}

Tensor from_stored(const Tensor& stored, DataType dtype) {
  check(is_stored_as(stored.dtype(), dtype), "{} elements do not hold the bits of {}", to_string(stored.dtype()),
        to_string(dtype));
  if (bit_width(dtype) >= 8)
    return Tensor::from_bytes(dtype, stored.shape(), std::span(stored.bytes(), stored.size_bytes()));
  Tensor packed(dtype, stored.shape());
  auto* to = reinterpret_cast<std::uint8_t*>(packed.mutable_bytes());
  for (std::int64_t i = 0; i < stored.size(); ++i)
    set_packed_bits(to, i, bit_width(dtype), std::to_integer<std::uint8_t>(stored.bytes()[i]));
  return packed;
}

Tensor to_stored(const Tensor& tensor) {
  const DataType dtype = tensor.dtype();
  const bool is_packed = bit_width(dtype) < 8;
  if (!is_packed && !is_small_real(dtype) && dtype != DataType::bfloat16) return tensor;
  if (!is_packed)
    return Tensor::from_bytes(dtype == DataType::bfloat16 ? DataType::uint16 : DataType::uint8, tensor.shape(),
                              std::span(tensor.bytes(), tensor.size_bytes()));
  if (dtype != DataType::float4e2m1) return unpack(tensor);
  Tensor stored(DataType::uint8, tensor.shape());
  auto* to = reinterpret_cast<std::uint8_t*>(stored.mutable_bytes());
  const auto* from = reinterpret_cast<const std::uint8_t*>(tensor.bytes());
  for (std::int64_t i = 0; i < tensor.size(); ++i) to[i] = packed_bits(from, i, bit_width(dtype));
  return stored;
}

}  // namespace bitfold
