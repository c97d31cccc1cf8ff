// Elementwise loops with numpy broadcasting, split by whether an operand moves, so that the dense cases vectorize.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <string>
#include <type_traits>

#include "ops/loops.h"
#include "ops/operands.h"

namespace bitfold::ops {

/// out[i] = f(x[i]); both dense.
template <class R, class X, class F>
void map(const TensorView& x, const TensorView& out, F f) {
  const X* from = x.as<X>();
  R* to = out.as<R>();
  const std::int64_t n = out.size();
  for (std::int64_t i = 0; i < n; ++i) to[i] = f(from[i]);
}

/// r[i] = f(x[i * x_step], y[i * y_step]), with a loop that vectorizes for each usual pair of steps.
template <class R, class A, class B, class F>
void map_row(R* r, const A* x, const B* y, std::int64_t n, const std::array<std::int64_t, 3>& steps, F f) {
  if (steps[1] == 1 && steps[2] == 1) {
    for (std::int64_t i = 0; i < n; ++i) r[i] = f(x[i], y[i]);
  } else if (steps[1] == 1 && steps[2] == 0) {
    const B same = *y;
    for (std::int64_t i = 0; i < n; ++i) r[i] = f(x[i], same);
  } else if (steps[1] == 0 && steps[2] == 1) {
    const A same = *x;
    for (std::int64_t i = 0; i < n; ++i) r[i] = f(same, y[i]);
  } else {
    for (std::int64_t i = 0; i < n; ++i) r[i * steps[0]] = f(x[i * steps[1]], y[i * steps[2]]);
  }
}

/// A row that is repeated, such as the factors of the channels of a channels-last image, written out until it is long.
template <class T>
class RepeatedRow {
 public:
  static constexpr std::int64_t kShort = 64;  ///< Rows from this length on are not repeated.

  RepeatedRow(const T* row, std::int64_t n, std::int64_t rows) : rows_(std::min(rows, 2 * kShort / n)) {
    for (std::int64_t i = 0; i < rows_; ++i) std::copy_n(row, n, elements_.data() + i * n);
  }
  const T* data() const { return elements_.data(); }
  std::int64_t rows() const { return rows_; }

 private:
  std::array<T, 2 * kShort> elements_;
  std::int64_t rows_;
};

/// out[i] = f(a[i], b[i]), a and b broadcast to out. `out` may be `a` itself.
template <class R, class A, class B, class F>
void map(const TensorView& a, const TensorView& b, const TensorView& out, F f) {
  const Strides sr = dense_strides(out.shape), sa = broadcast_strides(a.shape, out.shape),
                sb = broadcast_strides(b.shape, out.shape);
  Loops<3> loops;
  for (std::size_t i = 0; i < out.shape.size(); ++i) loops.add(out.shape[i], {sr[i], sa[i], sb[i]});
  loops.for_each_plane([&](const auto& offsets, const auto& outer, const auto& inner) {
    R* r = out.as<R>() + offsets[0];
    const A* x = a.as<A>() + offsets[1];
    const B* y = b.as<B>() + offsets[2];
    const std::int64_t n = inner.size;
    const auto is_dense = [&](int k) { return inner.steps[k] == 1 && outer.steps[k] == n; };
    const auto repeats = [&](int k) { return inner.steps[k] == 1 && outer.steps[k] == 0; };
    const bool is_short = n < RepeatedRow<B>::kShort && outer.size > 1 && is_dense(0);
    if (is_short && is_dense(1) && repeats(2)) {
      const RepeatedRow<B> row(y, n, outer.size);
      for (std::int64_t i = 0; i < outer.size; i += row.rows())
        map_row(r + i * n, x + i * n, row.data(), std::min(row.rows(), outer.size - i) * n, {1, 1, 1}, f);
    } else if (is_short && repeats(1) && is_dense(2)) {
      const RepeatedRow<A> row(x, n, outer.size);
      for (std::int64_t i = 0; i < outer.size; i += row.rows())
        map_row(r + i * n, row.data(), y + i * n, std::min(row.rows(), outer.size - i) * n, {1, 1, 1}, f);
    } else {
      for (std::int64_t i = 0; i < outer.size; ++i)
        map_row(r + i * outer.steps[0], x + i * outer.steps[1], y + i * outer.steps[2], n, inner.steps, f);
    }
  });
}

/// Calls f with a value of the C++ type of an integer dtype.
template <class F>
void with_integer_type(DataType dtype, F f) {
  switch (dtype) {
    case DataType::int8:
      return f(std::int8_t{});
    case DataType::uint8:
      return f(std::uint8_t{});
    case DataType::int16:
      return f(std::int16_t{});
    case DataType::uint16:
      return f(std::uint16_t{});
    case DataType::int32:
      return f(std::int32_t{});
    case DataType::uint32:
      return f(std::uint32_t{});
    case DataType::int64:
      return f(std::int64_t{});
    case DataType::uint64:
      return f(std::uint64_t{});
    default:
      fail("type {} is not a number", to_string(dtype));
  }
}

/// Calls f with a value of the C++ type of a dtype in kNumber.
template <class F>
void with_number_type(DataType dtype, F f) {
  if (dtype == DataType::float32) return f(float{});
  with_integer_type(dtype, f);
}

/// Calls f with an unsigned integer of the element's width, to move elements of any type.
template <class F>
void with_width(DataType dtype, F f) {
  switch (bit_width(dtype)) {
    case 8:
      return f(std::uint8_t{});
    case 16:
      return f(std::uint16_t{});
    case 32:
      return f(std::uint32_t{});
    case 64:
      return f(std::uint64_t{});
    default:
      fail("elements of type {} are packed and cannot be moved one by one", to_string(dtype));
  }
}

/// The same for strings too, with std::string.
template <class F>
void with_moved_type(DataType dtype, F f) {
  if (dtype == DataType::string) return f(std::string());
  with_width(dtype, f);
}

/// Calls f with float, or with the unsigned integer of the element's width: sums, differences and products modulo 2^n
/// have the same bits for signed and unsigned integers.
template <class F>
void with_wrapping_type(DataType dtype, F f) {
  if (dtype == DataType::float32) return f(float{});
  with_width(dtype, f);
}

/// f(a, b), for integers modulo 2^n: in an unsigned type that integer promotion does not make signed.
template <class T, class F>
T wrapping(T a, T b, F f) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::common_type_t<std::make_unsigned_t<T>, unsigned>;
    return static_cast<T>(f(static_cast<U>(a), static_cast<U>(b)));
  } else {
    return f(a, b);
  }
}
template <class T>
T wrapping_add(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x + y; });
}
template <class T>
T wrapping_subtract(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x - y; });
}
template <class T>
T wrapping_multiply(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x * y; });
}

/// x < 0 ? negative : x, in bits, because compilers turn the comparison into a branch that is often mispredicted. The
/// result for -0 may be either.
inline float select_by_sign(float x, float negative) {
  const auto bits = std::bit_cast<std::int32_t>(x), mask = bits >> 31;
  return std::bit_cast<float>((std::bit_cast<std::int32_t>(negative) & mask) | (bits & ~mask));
}

/// The smaller and the larger of two numbers. NaN propagates, as in numpy. Two selections vectorize; GCC makes a branch
/// of one with two conditions.
template <class T>
T smaller(T a, T b) {
  const T least = b < a ? b : a;
  return b != b ? b : least;
}
template <class T>
T larger(T a, T b) {
  const T most = b > a ? b : a;
  return b != b ? b : most;
}

}  // namespace bitfold::ops
