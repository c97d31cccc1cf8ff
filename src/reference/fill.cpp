// Operators that make tensors from shapes and numbers, and Cast between element types.
#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/families.h"
#include "reference/rows.h"

namespace bitfold::reference {
namespace {

void shape_of(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<ShapeOf>(node.op);
  const auto rank = static_cast<std::int64_t>(in[0].shape.size());
  const std::int64_t start = std::clamp<std::int64_t>(op.start < 0 ? op.start + rank : op.start, 0, rank);
  for (std::int64_t i = 0; i < out[0].size(); ++i)
    out[0].as<std::int64_t>()[i] = in[0].shape[static_cast<std::size_t>(start + i)];
}

void constant_of_shape(const Node& node, std::span<const TensorView>, std::span<const TensorView> out) {
  const Tensor& value = std::get<ConstantOfShape>(node.op).value;
  with_width(out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    T element{0};
    if (value.size() > 0) std::memcpy(&element, value.bytes(), sizeof(T));
    std::fill_n(out[0].as<T>(), out[0].size(), element);
  });
}

void range(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  with_number_type(out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    using Wide = std::conditional_t<std::is_same_v<T, float>, double, std::int64_t>;
    const Wide start = *in[0].as<T>(), delta = *in[2].as<T>();
    for (std::int64_t i = 0; i < out[0].size(); ++i)
      out[0].as<T>()[i] = static_cast<T>(start + static_cast<Wide>(i) * delta);
  });
}

/// C's conversion, but for reals beyond the range of an integer type, which C leaves undefined: they saturate, NaN is
/// 0.
template <class To, class From>
To converted(From x) {
  if constexpr (std::is_same_v<From, float> && std::is_integral_v<To>) {
    if (std::isnan(x)) return 0;
    if (x >= static_cast<float>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    if (x <= static_cast<float>(std::numeric_limits<To>::lowest())) return std::numeric_limits<To>::lowest();
  }
  return static_cast<To>(x);
}

template <class F>
void with_castable_type(DataType dtype, F f) {
  switch (dtype) {
    case DataType::float32:
      return f(float{});
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
      fail("a Cast of type {}", to_string(dtype));
  }
}

void cast(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  using B = std::uint8_t;
  const DataType from = in[0].dtype, to = out[0].dtype;
  if (to == DataType::boolean) {
    if (from == DataType::boolean) return map<B, B>(in[0], out[0], [](B x) -> B { return x != 0; });
    return with_castable_type(from, [&](auto zero) {
      using X = decltype(zero);
      map<B, X>(in[0], out[0], [](X x) -> B { return x != X{0}; });
    });
  }
  with_castable_type(to, [&](auto to_zero) {
    using R = decltype(to_zero);
    if (from == DataType::boolean) return map<R, B>(in[0], out[0], [](B x) { return static_cast<R>(x != 0 ? 1 : 0); });
    with_castable_type(from, [&](auto from_zero) {
      using X = decltype(from_zero);
      map<R, X>(in[0], out[0], [](X x) { return converted<R, X>(x); });
    });
  });
}

}  // namespace

OpFunction function_of(const ShapeOf&) { return shape_of; }
OpFunction function_of(const ConstantOfShape&) { return constant_of_shape; }
OpFunction function_of(const Range&) { return range; }
OpFunction function_of(const Cast&) { return cast; }

}  // namespace bitfold::reference
