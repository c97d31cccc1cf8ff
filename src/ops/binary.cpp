// Elementwise functions of several tensors with numpy broadcasting.
//
// Integer sums and products wrap, and integer Div truncates toward zero.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/operator.h"
#include "ops/power.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

template <class T>
T divide(T a, T b) {
  if constexpr (std::is_signed_v<T> && std::is_integral_v<T>)
    if (b == -1) return wrapping_subtract(T{0}, a);  // the lowest integer / -1 would trap
  return static_cast<T>(a / b);
}
/// The remainder with the divisor's sign, as numpy's mod.
float modulo(float a, float b) {
  const float rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0F, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;  // a NaN stays a NaN
}
template <class T>
T modulo(T a, T b) {
  if constexpr (std::is_unsigned_v<T>) {
    return static_cast<T>(a % b);
  } else {
    if (b == -1) return 0;
    const auto rest = static_cast<T>(a % b);
    return rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
  }
}
/// The remainder with the dividend's sign.
template <class T>
T c_fmod(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return std::is_signed_v<T> && b == static_cast<T>(-1) ? T{0} : static_cast<T>(a % b);
  else
    return std::fmod(a, b);
}

void arithmetic(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const BinaryKind kind = std::get<Binary>(node.op).kind;
  with_wrapping_type(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto apply = [&](auto f) { map<T, T, T>(in[0], in[1], out[0], f); };
    if (kind == BinaryKind::add) return apply([](T a, T b) { return wrapping_add(a, b); });
    if (kind == BinaryKind::sub) return apply([](T a, T b) { return wrapping_subtract(a, b); });
    return apply([](T a, T b) { return wrapping_multiply(a, b); });
  });
}

template <class T>
void check_no_zero(const Node& node, const TensorView& divisor) {
  if constexpr (std::is_integral_v<T>)
    for (std::int64_t i = 0, n = divisor.size(); i < n; ++i)
      if (divisor.as<T>()[i] == 0) fail("{} a divisor is 0", where(node));
}

void division(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Binary>(node.op);
  with_number_type(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    check_no_zero<T>(node, in[1]);
    const auto apply = [&](auto f) { map<T, T, T>(in[0], in[1], out[0], f); };
    if (op.kind == BinaryKind::div) return apply([](T a, T b) { return divide(a, b); });
    if (op.fmod) return apply([](T a, T b) { return c_fmod(a, b); });
    apply([](T a, T b) { return modulo(a, b); });
  });
}

void equal(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  using R = std::uint8_t;
  if (in[0].dtype == DataType::boolean)
    return map<R, R, R>(in[0], in[1], out[0], [](R a, R b) -> R { return (a != 0) == (b != 0); });
  if (in[0].dtype == DataType::string)
    return map<R, std::string, std::string>(in[0], in[1], out[0],
                                            [](const std::string& a, const std::string& b) -> R { return a == b; });
  with_wrapping_type(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    map<R, T, T>(in[0], in[1], out[0], [](T a, T b) -> R { return a == b; });
  });
}

void order(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  using R = std::uint8_t;
  const BinaryKind kind = std::get<Binary>(node.op).kind;
  const bool is_swapped = kind == BinaryKind::greater || kind == BinaryKind::greater_or_equal;
  const bool is_strict = kind == BinaryKind::less || kind == BinaryKind::greater;
  const TensorView &a = in[is_swapped ? 1 : 0], &b = in[is_swapped ? 0 : 1];
  with_number_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (is_strict) return map<R, T, T>(a, b, out[0], [](T x, T y) -> R { return x < y; });
    map<R, T, T>(a, b, out[0], [](T x, T y) -> R { return x <= y; });
  });
}

void logical(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  using B = std::uint8_t;
  const auto apply = [&](auto f) { map<B, B, B>(in[0], in[1], out[0], f); };
  switch (std::get<Binary>(node.op).kind) {
    case BinaryKind::logical_and:
      return apply([](B a, B b) -> B { return a != 0 && b != 0; });
    case BinaryKind::logical_or:
      return apply([](B a, B b) -> B { return a != 0 || b != 0; });
    default:
      return apply([](B a, B b) -> B { return (a != 0) != (b != 0); });
  }
}

void bitwise(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const BinaryKind kind = std::get<Binary>(node.op).kind;
  with_width(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto apply = [&](auto f) { map<T, T, T>(in[0], in[1], out[0], f); };
    if (kind == BinaryKind::bitwise_and) return apply([](T a, T b) { return static_cast<T>(a & b); });
    if (kind == BinaryKind::bitwise_or) return apply([](T a, T b) { return static_cast<T>(a | b); });
    apply([](T a, T b) { return static_cast<T>(a ^ b); });
  });
}

/// Shifts by a negative number or by the whole width leave only copies of the bit that fills.
template <class T>
T shifted_left(T x, T by) {
  using U = std::make_unsigned_t<T>;
  const auto count = static_cast<std::uint64_t>(by);  // negative numbers become large
  return count >= 8 * sizeof(T) ? T{0} : static_cast<T>(static_cast<std::uint64_t>(static_cast<U>(x)) << count);
}
template <class T>
T shifted_right(T x, T by) {
  const auto count = static_cast<std::uint64_t>(by);
  if (count >= 8 * sizeof(T)) return std::is_signed_v<T> && x < T{0} ? static_cast<T>(-1) : T{0};
  return static_cast<T>(x >> count);
}

void bit_shift(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const bool is_left = std::get<BitShift>(node.op).left;
  with_integer_type(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    if (is_left) return map<T, T, T>(in[0], in[1], out[0], [](T x, T by) { return shifted_left(x, by); });
    map<T, T, T>(in[0], in[1], out[0], [](T x, T by) { return shifted_right(x, by); });
  });
}

void swiglu(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const float alpha = std::get<SwiGlu>(node.op).alpha;
  map<float, float, float>(in[0], in[1], out[0],
                           [alpha](float a, float b) { return a / (1 + std::exp(-alpha * a)) * b; });
}

/// From left to right: the first operand is broadcast into the output, then combined with the others in place.
void variadic(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const VariadicKind kind = std::get<Variadic>(node.op).kind;
  with_number_type(out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    map<T, T, T>(in[0], in[0], out[0], [](T a, T) { return a; });
    for (const TensorView& other : in.subspan(1)) {
      if (kind == VariadicKind::min)
        map<T, T, T>(out[0], other, out[0], [](T a, T b) { return smaller(a, b); });
      else if (kind == VariadicKind::max)
        map<T, T, T>(out[0], other, out[0], [](T a, T b) { return larger(a, b); });
      else if constexpr (std::is_same_v<T, float>)
        map<T, T, T>(out[0], other, out[0], [](T a, T b) { return a + b; });
    }
    if constexpr (std::is_same_v<T, float>) {
      const T count = static_cast<T>(in.size());
      if (kind == VariadicKind::mean) map<T, T>(out[0], out[0], [count](T a) { return a / count; });
    }
  });
}

void prelu(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  map<float, float, float>(in[0], in[1], out[0], [](float x, float slope) { return select_by_sign(x, slope * x); });
}

void where_(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto shape = out[0].shape;
  const Strides sr = dense_strides(shape), sc = broadcast_strides(in[0].shape, shape);
  const Strides sa = broadcast_strides(in[1].shape, shape), sb = broadcast_strides(in[2].shape, shape);
  Loops<4> loops;
  for (std::size_t i = 0; i < shape.size(); ++i) loops.add(shape[i], {sr[i], sc[i], sa[i], sb[i]});
  with_moved_type(out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    loops.for_each_row([&](const auto& offsets, std::int64_t n, const auto& steps) {
      T* r = out[0].as<T>() + offsets[0];
      const auto* condition = in[0].as<std::uint8_t>() + offsets[1];
      const T *a = in[1].as<T>() + offsets[2], *b = in[2].as<T>() + offsets[3];
      for (std::int64_t i = 0; i < n; ++i)
        r[i * steps[0]] = condition[i * steps[1]] != 0 ? a[i * steps[2]] : b[i * steps[3]];
    });
  });
}

Outputs infer_comparison(const Inputs& in) { return infer_elementwise(in, DataType::boolean); }
Outputs infer_swiglu(const Inputs& in) {
  if (in.shape(0) && in.shape(1) && is_static(*in.shape(0)) && is_static(*in.shape(1)))
    check(*in.shape(0) == *in.shape(1), "inputs have shapes {} and {}, which must be equal", to_string(*in.shape(0)),
          to_string(*in.shape(1)));
  return {like(in[0], in.shape(0) ? in.shape(0) : in.shape(1))};
}
Outputs infer_where(const Inputs& in) { return infer_elementwise(in, in[1].dtype); }

RealBounds difference_bounds(const Op& /*op*/, std::span<const RealBounds> in) {
  return {in[0].low - in[1].high, in[0].high - in[1].low};
}
RealBounds product_bounds(const Op& /*op*/, std::span<const RealBounds> in) {
  if (!in[0].is_finite() || !in[1].is_finite()) return {};  // 0 times infinity
  const auto [low, high] =
      std::minmax({in[0].low * in[1].low, in[0].low * in[1].high, in[0].high * in[1].low, in[0].high * in[1].high});
  return {low, high};
}

}  // namespace

std::vector<OperatorInfo> binary_operators() {
  const Traits elementwise{.elementwise = true};
  const Traits linear{.elementwise = true, .commutes_with_positive_scale = true};
  const auto row = [](std::string_view name, int since, BinaryKind kind, TypeSet types, Evaluate evaluate,
                      Traits traits, Role role = Role::in_float, BoundsRule bounds = nullptr) {
    return OperatorInfo{.name = name,
                        .since = since,
                        .prototype = Binary{kind},
                        .inputs = {{"A", types, 'T'}, {"B", types, 'T'}},
                        .outputs = {{"C", types, 'T'}},
                        .infer = infer_elementwise,
                        .evaluate = evaluate,
                        .traits = traits,
                        .role = role,
                        .bounds = bounds};
  };
  const auto comparison_row = [&](std::string_view name, int since, BinaryKind kind, TypeSet types, Evaluate evaluate) {
    OperatorInfo made = row(name, since, kind, types, evaluate, elementwise);
    made.outputs = {{"C", kBoolean}};
    made.infer = infer_comparison;
    return made;
  };
  const auto variadic_row = [](std::string_view name, int since, VariadicKind kind, TypeSet types, Traits traits,
                               BoundsRule bounds) {
    return OperatorInfo{.name = name,
                        .since = since,
                        .prototype = Variadic{kind},
                        .inputs = {{"data_0", types, 'T', Presence::variadic}},
                        .outputs = {{"out", types, 'T'}},
                        .infer = infer_elementwise,
                        .evaluate = variadic,
                        .traits = traits,
                        .bounds = bounds};
  };
  using K = BinaryKind;
  OperatorInfo pow = row("Pow", 13, K::pow, kReal | kIndex, power, elementwise);
  pow.inputs = {{"X", kReal | kIndex, 'T'}, {"Y", kNumber}};
  OperatorInfo mod = row("Mod", 10, K::mod, kNumber, division, elementwise);
  mod.fields = {field("fmod", &Binary::fmod)};
  return {
      row("Add", 7, K::add, kNumber, arithmetic, linear, Role::arithmetic, sum_of_inputs),
      row("Sub", 7, K::sub, kNumber, arithmetic, linear, Role::in_float, difference_bounds),
      row("Mul", 7, K::mul, kNumber, arithmetic, elementwise, Role::arithmetic, product_bounds),
      row("Div", 7, K::div, kNumber, division, elementwise),
      pow,
      mod,
      comparison_row("Equal", 11, K::equal, kNumber | kBoolean | kString, equal),
      comparison_row("Less", 9, K::less, kNumber, order),
      comparison_row("LessOrEqual", 12, K::less_or_equal, kNumber, order),
      comparison_row("Greater", 9, K::greater, kNumber, order),
      comparison_row("GreaterOrEqual", 12, K::greater_or_equal, kNumber, order),
      comparison_row("And", 7, K::logical_and, kBoolean, logical),
      comparison_row("Or", 7, K::logical_or, kBoolean, logical),
      comparison_row("Xor", 7, K::logical_xor, kBoolean, logical),
      row("BitwiseAnd", 18, K::bitwise_and, kInteger, bitwise, elementwise),
      row("BitwiseOr", 18, K::bitwise_or, kInteger, bitwise, elementwise),
      row("BitwiseXor", 18, K::bitwise_xor, kInteger, bitwise, elementwise),
      {.name = "BitShift",
       .since = 11,
       .prototype = BitShift{},
       .inputs = {{"X", kInteger, 'T'}, {"Y", kInteger, 'T'}},
       .outputs = {{"Z", kInteger, 'T'}},
       .fields = {required(
           field<BitShift>("direction", &BitShift::left, std::vector<Word<bool>>{{"LEFT", true}, {"RIGHT", false}}))},
       .infer = infer_elementwise,
       .evaluate = bit_shift,
       .traits = elementwise},
      {.name = "SwiGLU",
       .since = 28,
       .prototype = SwiGlu{},
       .inputs = {{"A", kReal, 'T'}, {"B", kReal, 'T'}},
       .outputs = {{"Y", kReal, 'T'}},
       .fields = {field("alpha", &SwiGlu::alpha)},
       .infer = infer_swiglu,
       .evaluate = swiglu,
       .traits = elementwise},
      variadic_row("Min", 8, VariadicKind::min, kNumber, linear, within_inputs),
      variadic_row("Max", 8, VariadicKind::max, kNumber, linear, within_inputs),
      variadic_row("Sum", 8, VariadicKind::sum, kReal, linear, sum_of_inputs),
      variadic_row("Mean", 8, VariadicKind::mean, kReal, linear, within_inputs),
      {.name = "PRelu",
       .since = 9,
       .prototype = PRelu{},
       .inputs = {{"X", kReal, 'T'}, {"slope", kReal, 'T', Presence::required, Use::parameter}},
       .outputs = {{"Y", kReal, 'T'}},
       .infer = infer_elementwise,
       .evaluate = prelu,
       .traits = linear},
      {.name = "Where",
       .since = 9,
       .prototype = Where{},
       .inputs = {{"condition", kBoolean, 0, Presence::required, Use::parameter},
                  {"X", kMoved, 'T'},
                  {"Y", kMoved, 'T'}},
       .outputs = {{"output", kMoved, 'T'}},
       .infer = infer_where,
       .evaluate = where_,
       .traits = linear},
  };
}

}  // namespace bitfold::ops
