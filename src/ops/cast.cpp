// Cast between element types.
#include <algorithm>
#include <cmath>
#include <limits>

#include "numeric/reals.h"
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

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

float number(Float16 x) { return float16_to_float(x.bits); }
float number(BFloat16 x) { return bfloat16_to_float(x.bits); }
int number(Boolean x) { return x.byte != 0 ? 1 : 0; }
template <class T>
T number(T x) {
  return x;
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
      if (std::isnan(x)) return 0;
      if (x >= static_cast<From>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
      if (x <= static_cast<From>(std::numeric_limits<To>::lowest())) return std::numeric_limits<To>::lowest();
    }
    return static_cast<To>(x);
  }
}

/// Calls f with a value of the C++ type of a dtype in kCastable.
template <class F>
void with_castable_type(DataType dtype, F f) {
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

void cast(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  with_castable_type(out[0].dtype, [&](auto to) {
    using R = decltype(to);
    with_castable_type(in[0].dtype, [&](auto from) {
      using X = decltype(from);
      map<R, X>(in[0], out[0], [](X x) { return converted<R>(number(x)); });
    });
  });
}

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
