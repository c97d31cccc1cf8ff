// Access to single elements of every type, with conversion to and from the types of C++.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "numeric/packed_bits.h"
#include "numeric/reals.h"
#include "numeric/small_reals.h"
#include "ops/rows.h"

namespace bitfold::ops {

/// The element types that C++ lacks, as they lie in memory.
struct Float16 {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};
struct Boolean {
  std::uint8_t byte;
};

inline float number(Float16 x) { return float16_to_float(x.bits); }
inline float number(BFloat16 x) { return bfloat16_to_float(x.bits); }
inline int number(Boolean x) { return x.byte != 0 ? 1 : 0; }
template <class T>
T number(T x) {
  return x;
}

/// A real as an integer. Reals outside the range saturate, and NaN becomes 0.
template <class To, class From>
To saturated(From x) {
  constexpr To kLowest = std::numeric_limits<To>::lowest(), kHighest = std::numeric_limits<To>::max();
  const bool is_above = x >= static_cast<From>(kHighest), is_below = x <= static_cast<From>(kLowest);
  if constexpr (sizeof(To) == 8) {
    // Without instructions for vectors of 64-bit integers, one branch that is rarely taken is the fastest.
    if (x < static_cast<From>(kHighest) && x > static_cast<From>(kLowest)) [[likely]]
      return static_cast<To>(x);
    return is_above ? kHighest : is_below ? kLowest : To{0};
  } else {
    // All three results are computed, so that loops over elements vectorize.
    const bool is_inside = !is_above & !is_below & (x == x);
    const To inside = static_cast<To>(is_inside ? x : From{0}), raised = is_below ? kLowest : inside;
    return is_above ? kHighest : raised;
  }
}

/// C's conversion, except that reals outside the range of an integer type, which C leaves undefined, saturate, and NaN
/// becomes 0. Conversions to float16 and bfloat16 go through float32.
template <class To, class From>
To converted(From x) {
  if constexpr (std::is_same_v<To, Float16>) {
    return {float_to_float16(static_cast<float>(x))};
  } else if constexpr (std::is_same_v<To, BFloat16>) {
    return {float_to_bfloat16(static_cast<float>(x))};
  } else if constexpr (std::is_same_v<To, Boolean>) {
    return {static_cast<std::uint8_t>(x != From{0} ? 1 : 0)};
  } else {
    if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
      return saturated<To>(x);
    } else {
      return static_cast<To>(x);
    }
  }
}

/// Sets an element of a packed tensor. The last one also clears the bits after it, so that equal tensors have equal
/// bytes.
inline void set_packed(const TensorView& view, std::int64_t i, int bits, std::uint8_t value) {
  auto* bytes = view.as<std::uint8_t>();
  const std::int64_t per_byte = 8 / bits, used = i % per_byte + 1;
  set_packed_bits(bytes, i, bits, value);
  if (i + 1 == view.size()) bytes[i / per_byte] &= static_cast<std::uint8_t>((1U << (bits * used)) - 1);
}

/// Element access by type. Packed integers and small reals have one class each for all their types.
template <class T>
struct PlainElements {
  const TensorView& view;

  auto get(std::int64_t i) const { return number(view.as<T>()[i]); }
  template <class X>
  void set(std::int64_t i, X x) const {
    view.as<T>()[i] = converted<T>(x);
  }
};

/// int4, uint4, int2, uint2. Numbers outside the range lose their high bits.
struct PackedIntegers {
  const TensorView& view;
  int bits = bit_width(view.dtype);
  int sign_bit = view.dtype == DataType::int4 || view.dtype == DataType::int2 ? 1 << (bits - 1) : 0;

  int get(std::int64_t i) const { return (packed_bits(view.as<std::uint8_t>(), i, bits) ^ sign_bit) - sign_bit; }
  template <class X>
  void set(std::int64_t i, X x) const {
    set_packed(view, i, bits, static_cast<std::uint8_t>(converted<std::int64_t>(x)));
  }
};

struct SmallReals {
  const TensorView& view;
  bool saturate;
  RoundMode round_mode;
  bool is_packed = bit_width(view.dtype) < 8;

  float get(std::int64_t i) const {
    const auto* bytes = view.as<std::uint8_t>();
    return small_real_to_float(view.dtype, is_packed ? packed_bits(bytes, i, 4) : bytes[i]);
  }
  template <class X>
  void set(std::int64_t i, X x) const {
    const std::uint8_t bits = float_to_small_real(view.dtype, static_cast<float>(x), saturate, round_mode);
    if (is_packed)
      set_packed(view, i, 4, bits);
    else
      view.as<std::uint8_t>()[i] = bits;
  }
};

/// Whether the elements of a type in kCastable lie in memory as values of one C++ type.
inline bool is_plain(DataType dtype) { return !is_small_real(dtype) && bit_width(dtype) >= 8; }

/// Calls f with a value of the C++ type of a plain dtype in kCastable.
template <class F>
void with_plain_type(DataType dtype, F f) {
  switch (dtype) {
    case DataType::float64:
      return f(double{});
    case DataType::float16:
      return f(Float16{});
    case DataType::bfloat16:
      return f(BFloat16{});
    case DataType::boolean:
      return f(Boolean{});
    default:
      with_number_type(dtype, f);
  }
}

/// Calls f with access to the elements of a view whose dtype is in kCastable.
template <class F>
void with_elements(const TensorView& view, bool saturate, RoundMode round_mode, F f) {
  if (is_small_real(view.dtype)) return f(SmallReals{view, saturate, round_mode});
  if (bit_width(view.dtype) < 8) return f(PackedIntegers{view});
  with_plain_type(view.dtype, [&](auto zero) { f(PlainElements<decltype(zero)>{view}); });
}

}  // namespace bitfold::ops
