// Conversion between element types.
#include <algorithm>
#include <cmath>
#include <limits>

#include "numeric/packed_bits.h"
#include "numeric/reals.h"
#include "numeric/small_reals.h"
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

/// Element access by type. Packed integers and small reals have one class each for all their types.
template <class T>
struct Elements {
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
    set_packed_bits(view.as<std::uint8_t>(), i, bits, static_cast<std::uint8_t>(converted<std::int64_t>(x)));
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
    auto* bytes = view.as<std::uint8_t>();
    const std::uint8_t bits = float_to_small_real(view.dtype, static_cast<float>(x), saturate, round_mode);
    if (is_packed)
      set_packed_bits(bytes, i, 4, bits);
    else
      bytes[i] = bits;
  }
};

/// Calls f with access to the elements of a view whose dtype is in kCastable.
template <class F>
void with_elements(const TensorView& view, bool saturate, RoundMode round_mode, F f) {
  if (is_small_real(view.dtype)) return f(SmallReals{view, saturate, round_mode});
  if (bit_width(view.dtype) < 8) return f(PackedIntegers{view});
  switch (view.dtype) {
    case DataType::float64:
      return f(Elements<double>{view});
    case DataType::float16:
      return f(Elements<Float16>{view});
    case DataType::bfloat16:
      return f(Elements<BFloat16>{view});
    case DataType::boolean:
      return f(Elements<Boolean>{view});
    default:
      with_number_type(view.dtype, [&](auto zero) { f(Elements<decltype(zero)>{view}); });
  }
}

void convert(const TensorView& from, const TensorView& to, bool saturate, RoundMode round_mode) {
  with_elements(to, saturate, round_mode, [&](const auto& r) {
    with_elements(from, saturate, round_mode, [&](const auto& x) {
      for (std::int64_t i = 0, n = to.size(); i < n; ++i) r.set(i, x.get(i));
    });
  });
}

void cast(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Cast>(node.op);
  convert(in[0], out[0], op.saturate, op.round_mode);
}
void cast_like(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<CastLike>(node.op);
  convert(in[0], out[0], op.saturate, op.round_mode);
}

Outputs infer_cast(const Inputs& in) { return infer_elementwise(in, std::get<Cast>(in.node.op).to); }
Outputs infer_cast_like(const Inputs& in) {
  ValueInfo y = like(in[1], in.shape(0));
  if (y.shape && is_integer(y.dtype))
    y.elements = elementwise_elements(Cast{y.dtype}, {in.node, in.infos.first(1)}, *y.shape, y.dtype);
  return {y};
}
Outputs infer_bit_cast(const Inputs& in) {
  const DataType to = std::get<BitCast>(in.node.op).to;
  check(in[0].dtype == DataType::unknown || bit_width(in[0].dtype) == bit_width(to),
        "elements of {} and {} differ in width", to_string(in[0].dtype), to_string(to));
  return {{.dtype = to, .shape = in.shape(0)}};
}

/// A file may omit both attributes; they affect small reals only.
template <class O>
std::vector<Field> rounding_fields() {
  return {field("saturate", &O::saturate),
          field("round_mode", &O::round_mode,
                std::vector<Word<RoundMode>>{
                    {"up", RoundMode::up}, {"down", RoundMode::down}, {"nearest", RoundMode::nearest}})};
}

}  // namespace

std::vector<OperatorInfo> cast_operators() {
  return {
      {.name = "Cast",
       .since = 9,
       .prototype = Cast{},
       .inputs = {{"input", kCastable}},
       .outputs = {{"output", kCastable}},
       .fields = std::vector{required(field("to", &Cast::to))} + rounding_fields<Cast>(),
       .infer = infer_cast,
       .evaluate = cast,
       .traits = {.elementwise = true}},
      {.name = "CastLike",
       .since = 15,
       .prototype = CastLike{},
       .inputs = {{"input", kCastable}, {"target_type", kCastable, 'T', Presence::required, Use::parameter}},
       .outputs = {{"output", kCastable, 'T'}},
       .fields = rounding_fields<CastLike>(),
       .infer = infer_cast_like,
       .evaluate = cast_like},
      {.name = "BitCast",
       .since = 26,
       .prototype = BitCast{},
       .inputs = {{"input", kCastable}},
       .outputs = {{"output", kCastable}},
       .fields = {required(field("to", &BitCast::to))},
       .infer = infer_bit_cast,
       .evaluate = copy_elements,
       .traits = {.elementwise = true}},
  };
}

}  // namespace bitfold::ops
