// Elementwise functions of several tensors with numpy broadcasting.
//
// Integers: sums and products wrap, Div truncates toward zero, Mod takes the divisor's sign (ONNX fmod = 0); floats:
// Mod is C's fmod (ONNX fmod = 1).
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

/// Arithmetic that wraps for integers instead of being undefined.
template <class T, class F>
T wrapping(T a, T b, F f) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(f(static_cast<U>(a), static_cast<U>(b)));
  } else {
    return f(a, b);
  }
}

template <class T>
T add(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x + y; });
}
template <class T>
T multiply(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x * y; });
}
template <class T>
T divide(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    if (b == -1) return wrapping(T{0}, a, [](auto x, auto y) { return x - y; });  // the lowest integer / -1 would trap
  return a / b;
}
template <class T>
T modulo(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    if (b == -1) return 0;
    const T rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  } else {
    return std::fmod(a, b);
  }
}

void check_no_zero(const Node& node, const TensorView& divisor) {
  if (divisor.dtype == DataType::float32) return;
  for (std::int64_t i = 0, n = divisor.size(); i < n; ++i)
    check(integer_at(divisor, i) != 0, "{} integer division by zero", where(node));
}

void arithmetic(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const BinaryKind kind = std::get<Binary>(node.op).kind;
  if (kind == BinaryKind::div || kind == BinaryKind::mod) check_no_zero(node, in[1]);
  with_number_type(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto apply = [&](auto f) { map<T, T, T>(in[0], in[1], out[0], f); };
    switch (kind) {
      case BinaryKind::add:
        return apply([](T a, T b) { return add(a, b); });
      case BinaryKind::sub:
        return apply([](T a, T b) { return wrapping(a, b, [](auto x, auto y) { return x - y; }); });
      case BinaryKind::mul:
        return apply([](T a, T b) { return multiply(a, b); });
      case BinaryKind::div:
        return apply([](T a, T b) { return divide(a, b); });
      case BinaryKind::mod:
        return apply([](T a, T b) { return modulo(a, b); });
      default:
        fail("{} is not an arithmetic operator", where(node));
    }
  });
}

/// The result has the type of the base; the exponent may have another type.
void power(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  with_number_type(in[0].dtype, [&](auto base_zero) {
    with_number_type(in[1].dtype, [&](auto exponent_zero) {
      using X = decltype(base_zero);
      using Y = decltype(exponent_zero);
      map<X, X, Y>(in[0], in[1], out[0], [](X x, Y y) -> X {
        if constexpr (std::is_same_v<X, float>) {
          return y == Y{2} ? x * x : std::pow(x, static_cast<float>(y));
        } else {
          // Converting a value outside the type's range is undefined; the nearest representable number is used.
          const double value = std::pow(static_cast<double>(x), static_cast<double>(y));
          if (!(value < static_cast<double>(std::numeric_limits<X>::max()))) return std::numeric_limits<X>::max();
          if (value < static_cast<double>(std::numeric_limits<X>::lowest())) return std::numeric_limits<X>::lowest();
          return static_cast<X>(value);
        }
      });
    });
  });
}

template <class T>
void compare(BinaryKind kind, std::span<const TensorView> in, const TensorView& out) {
  using R = std::uint8_t;
  switch (kind) {
    case BinaryKind::less:
      return map<R, T, T>(in[0], in[1], out, [](T a, T b) -> R { return a < b; });
    case BinaryKind::less_or_equal:
      return map<R, T, T>(in[0], in[1], out, [](T a, T b) -> R { return a <= b; });
    case BinaryKind::greater:
      return map<R, T, T>(in[0], in[1], out, [](T a, T b) -> R { return a > b; });
    case BinaryKind::greater_or_equal:
      return map<R, T, T>(in[0], in[1], out, [](T a, T b) -> R { return a >= b; });
    default:
      return map<R, T, T>(in[0], in[1], out, [](T a, T b) -> R { return a == b; });
  }
}

void comparison(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const BinaryKind kind = std::get<Binary>(node.op).kind;
  if (in[0].dtype == DataType::boolean) {
    map<std::uint8_t, std::uint8_t, std::uint8_t>(
        in[0], in[1], out[0], [](std::uint8_t a, std::uint8_t b) -> std::uint8_t { return (a != 0) == (b != 0); });
    return;
  }
  with_number_type(in[0].dtype, [&](auto zero) { compare<decltype(zero)>(kind, in, out[0]); });
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

/// From left to right: the first operand is broadcast into the output, then combined with the others in place.
void variadic(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const VariadicKind kind = std::get<Variadic>(node.op).kind;
  with_number_type(out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    map<T, T, T>(in[0], in[0], out[0], [](T a, T) { return a; });
    for (const TensorView& other : in.subspan(1)) {
      // NaN propagates, as in numpy.
      if (kind == VariadicKind::min)
        map<T, T, T>(out[0], other, out[0], [](T a, T b) { return b < a || b != b ? b : a; });
      else if (kind == VariadicKind::max)
        map<T, T, T>(out[0], other, out[0], [](T a, T b) { return b > a || b != b ? b : a; });
      else
        map<T, T, T>(out[0], other, out[0], [](T a, T b) { return add(a, b); });
    }
    const T count = static_cast<T>(in.size());
    if (kind == VariadicKind::mean) map<T, T>(out[0], out[0], [count](T a) { return static_cast<T>(a / count); });
  });
}

void prelu(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  map<float, float, float>(in[0], in[1], out[0], [](float x, float slope) { return x < 0 ? slope * x : x; });
}

void where_(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto shape = out[0].shape;
  const Strides sr = dense_strides(shape), sc = broadcast_strides(in[0].shape, shape);
  const Strides sa = broadcast_strides(in[1].shape, shape), sb = broadcast_strides(in[2].shape, shape);
  Loops<4> loops;
  for (std::size_t i = 0; i < shape.size(); ++i) loops.add(shape[i], {sr[i], sc[i], sa[i], sb[i]});
  with_width(out[0].dtype, [&](auto zero) {
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

}  // namespace
namespace {

Outputs infer_comparison(const Inputs& in) { return infer_elementwise(in, DataType::boolean); }
Outputs infer_where(const Inputs& in) { return infer_elementwise(in, in[1].dtype); }

}  // namespace

std::vector<OperatorInfo> binary_operators() {
  const Traits elementwise{.elementwise = true};
  const Traits linear{.elementwise = true, .commutes_with_positive_scale = true};
  const auto row = [](std::string_view name, int since, BinaryKind kind, TypeSet types, Evaluate evaluate,
                      Traits traits, Role role = Role::in_float) {
    return OperatorInfo{.name = name,
                        .since = since,
                        .prototype = Binary{kind},
                        .inputs = {{"A", types, 'T'}, {"B", types, 'T'}},
                        .outputs = {{"C", types, 'T'}},
                        .infer = infer_elementwise,
                        .evaluate = evaluate,
                        .traits = traits,
                        .role = role};
  };
  const auto comparison_row = [&](std::string_view name, int since, BinaryKind kind, TypeSet types,
                                  Evaluate evaluate = comparison) {
    OperatorInfo made = row(name, since, kind, types, evaluate, elementwise);
    made.outputs = {{"C", kBoolean}};
    made.infer = infer_comparison;
    return made;
  };
  const auto variadic_row = [](std::string_view name, int since, VariadicKind kind, Traits traits) {
    return OperatorInfo{.name = name,
                        .since = since,
                        .prototype = Variadic{kind},
                        .inputs = {{"data_0", kNumber, 'T', Presence::variadic}},
                        .outputs = {{"out", kNumber, 'T'}},
                        .infer = infer_elementwise,
                        .evaluate = variadic,
                        .traits = traits};
  };
  using K = BinaryKind;
  OperatorInfo pow = row("Pow", 13, K::pow, kNumber, power, elementwise);
  pow.inputs = {{"X", kNumber, 'T'}, {"Y", kNumber}};
  OperatorInfo mod = row("Mod", 10, K::mod, kNumber, arithmetic, elementwise);
  mod.fields = {only<std::int64_t>("fmod", 0)};
  return {
      row("Add", 7, K::add, kNumber, arithmetic, linear, Role::arithmetic),
      row("Sub", 7, K::sub, kNumber, arithmetic, linear),
      row("Mul", 7, K::mul, kNumber, arithmetic, elementwise, Role::arithmetic),
      row("Div", 7, K::div, kNumber, arithmetic, elementwise),
      pow,
      mod,
      comparison_row("Equal", 11, K::equal, kNumber | kBoolean),
      comparison_row("Less", 9, K::less, kNumber),
      comparison_row("LessOrEqual", 12, K::less_or_equal, kNumber),
      comparison_row("Greater", 9, K::greater, kNumber),
      comparison_row("GreaterOrEqual", 12, K::greater_or_equal, kNumber),
      comparison_row("And", 7, K::logical_and, kBoolean, logical),
      comparison_row("Or", 7, K::logical_or, kBoolean, logical),
      comparison_row("Xor", 7, K::logical_xor, kBoolean, logical),
      variadic_row("Min", 8, VariadicKind::min, linear),
      variadic_row("Max", 8, VariadicKind::max, linear),
      variadic_row("Sum", 8, VariadicKind::sum, linear),
      variadic_row("Mean", 8, VariadicKind::mean, linear),
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
                  {"X", kWholeBytes, 'T'},
                  {"Y", kWholeBytes, 'T'}},
       .outputs = {{"output", kWholeBytes, 'T'}},
       .infer = infer_where,
       .evaluate = where_,
       .traits = linear},
  };
}

}  // namespace bitfold::ops
