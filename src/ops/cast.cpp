// Cast between element types.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

/// C's conversion, except that reals outside the range of an integer type, which C leaves undefined, saturate, and NaN
/// becomes 0.
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

namespace {

Outputs infer_cast(const Inputs& in) { return infer_elementwise(in, std::get<Cast>(in.node.op).to); }

}  // namespace

std::vector<OperatorInfo> cast_operators() {
  return {{.name = "Cast",
           .since = 9,
           .prototype = Cast{},
           .inputs = {{"input", kCastable}},
           .outputs = {{"output", kCastable}},
           .fields = {required(field("to", &Cast::to)), ignored<std::int64_t>("saturate"),
                      ignored<std::string>("round_mode")},
           .infer = infer_cast,
           .evaluate = cast,
           .traits = {.elementwise = true}}};
}

}  // namespace bitfold::ops
