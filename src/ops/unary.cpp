// Elementwise functions of one tensor, as defined by ONNX. Round is half to even.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

float sigmoid(float x) {
  if (x >= 0) return 1 / (1 + std::exp(-x));
  const float e = std::exp(x);  // exp(-x) would overflow
  return e / (1 + e);
}
float softplus(float x) { return std::max(x, 0.0F) + std::log1p(std::exp(-std::abs(x))); }
/// NaN stays NaN, because of the order of the arguments.
float hard_sigmoid(float x, float alpha, float beta) { return std::max(std::min(alpha * x + beta, 1.0F), 0.0F); }

/// The lowest integer wraps to itself, as in numpy.
template <class T>
T negated(T x) {
  if constexpr (std::is_integral_v<T>)
    return wrapping_subtract(T{0}, x);
  else
    return -x;
}
/// The nearest integer towards 0; a number outside the range of the type becomes the nearest limit of the range.
template <class T, class Wide>
T saturated(Wide x) {
  if constexpr (std::is_integral_v<T>) {
    if (x >= static_cast<Wide>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
    if (!(x > static_cast<Wide>(std::numeric_limits<T>::lowest()))) return std::numeric_limits<T>::lowest();
  }
  return static_cast<T>(x);
}
/// False for unsigned integers, for which compilers warn of the comparison.
template <class T>
bool is_negative(T x) {
  if constexpr (std::is_unsigned_v<T>)
    return false;
  else
    return x < T{0};
}

void identity(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  copy_run(out[0].dtype, in[0].data, out[0].data, size_bytes(out[0]));
}

/// The kinds that also exist for integers.
void unary_arithmetic(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const UnaryKind kind = std::get<Unary>(node.op).kind;
  with_number_type(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    switch (kind) {
      case UnaryKind::relu:
        return map<T, T>(in[0], out[0], [](T x) { return is_negative(x) ? T{0} : x; });
      case UnaryKind::abs:
        return map<T, T>(in[0], out[0], [](T x) { return is_negative(x) ? negated(x) : x; });
      case UnaryKind::neg:
        return map<T, T>(in[0], out[0], [](T x) { return negated(x); });
      default:
        return map<T, T>(in[0], out[0], [](T x) { return x > T{0} ? T{1} : is_negative(x) ? static_cast<T>(-1) : x; });
    }
  });
}

void logical_not(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  map<std::uint8_t, std::uint8_t>(in[0], out[0], [](std::uint8_t x) -> std::uint8_t { return x == 0 ? 1 : 0; });
}

void transcendental(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto apply = [&](auto f) { map<float, float>(in[0], out[0], f); };
  switch (std::get<Unary>(node.op).kind) {
    case UnaryKind::sigmoid:
      return apply(sigmoid);
    case UnaryKind::tanh:
      return apply([](float x) { return std::tanh(x); });
    case UnaryKind::exp:
      return apply([](float x) { return std::exp(x); });
    case UnaryKind::log:
      return apply([](float x) { return std::log(x); });
    case UnaryKind::sqrt:
      return apply([](float x) { return std::sqrt(x); });
    case UnaryKind::reciprocal:
      return apply([](float x) { return 1 / x; });
    case UnaryKind::floor:
      return apply([](float x) { return std::floor(x); });
    case UnaryKind::ceil:
      return apply([](float x) { return std::ceil(x); });
    case UnaryKind::round:
      return apply([](float x) { return std::nearbyint(x); });
    case UnaryKind::erf:
      return apply([](float x) { return std::erf(x); });
    case UnaryKind::softplus:
      return apply(softplus);
    case UnaryKind::softsign:
      return apply([](float x) { return x / (1 + std::abs(x)); });
    case UnaryKind::hard_swish:
      return apply([](float x) { return x * hard_sigmoid(x, 1.0F / 6, 0.5F); });
    case UnaryKind::mish:
      return apply([](float x) { return x * std::tanh(softplus(x)); });
    case UnaryKind::gelu:
      return apply([](float x) { return 0.5F * x * (1 + std::erf(x * static_cast<float>(1 / std::numbers::sqrt2))); });
    case UnaryKind::sin:
      return apply([](float x) { return std::sin(x); });
    case UnaryKind::cos:
      return apply([](float x) { return std::cos(x); });
    case UnaryKind::tan:
      return apply([](float x) { return std::tan(x); });
    case UnaryKind::asin:
      return apply([](float x) { return std::asin(x); });
    case UnaryKind::acos:
      return apply([](float x) { return std::acos(x); });
    case UnaryKind::atan:
      return apply([](float x) { return std::atan(x); });
    case UnaryKind::sinh:
      return apply([](float x) { return std::sinh(x); });
    case UnaryKind::cosh:
      return apply([](float x) { return std::cosh(x); });
    case UnaryKind::asinh:
      return apply([](float x) { return std::asinh(x); });
    case UnaryKind::acosh:
      return apply([](float x) { return std::acosh(x); });
    case UnaryKind::atanh:
      return apply([](float x) { return std::atanh(x); });
    default:
      fail("{} is not a function of reals", where(node));
  }
}

void parametric(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Parametric>(node.op);
  const float a = op.alpha, b = op.beta;
  const auto apply = [&](auto f) { map<float, float>(in[0], out[0], f); };
  switch (op.kind) {
    case ParametricKind::leaky_relu:
      return apply([a](float x) { return select_by_sign(x, a * x); });
    case ParametricKind::elu:
      return apply([a](float x) { return x < 0 ? a * std::expm1(x) : x; });
    case ParametricKind::selu:
      return apply([a, b](float x) { return x > 0 ? b * x : b * a * std::expm1(x); });
    case ParametricKind::celu:
      return apply([a](float x) { return std::max(x, 0.0F) + std::min(a * std::expm1(x / a), 0.0F); });
    case ParametricKind::hard_sigmoid:
      return apply([a, b](float x) { return hard_sigmoid(x, a, b); });
    case ParametricKind::thresholded_relu:
      return apply([a](float x) { return x > a ? x : 0.0F; });
    case ParametricKind::swish:
      return apply([a](float x) { return x * sigmoid(a * x); });
    case ParametricKind::shrink:
      fail("{} has integers too", where(node));
  }
}

/// Integers are compared and moved as double, then truncated.
void shrink(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Parametric>(node.op);
  with_number_type(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    using Wide = std::conditional_t<std::is_same_v<T, float>, float, double>;
    const Wide lambd = op.alpha, bias = op.beta;
    map<T, T>(in[0], out[0], [lambd, bias](T x) {
      const auto wide = static_cast<Wide>(x);
      if (wide < -lambd) return saturated<T>(wide + bias);
      if (wide > lambd) return saturated<T>(wide - bias);
      return T{0};
    });
  });
}

void gelu_tanh(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  constexpr float kFactor = 0.7978845608F;  // sqrt(2 / pi)
  map<float, float>(in[0], out[0],
                    [](float x) { return 0.5F * x * (1 + std::tanh(kFactor * (x + 0.044715F * x * x * x))); });
}

void is_nan(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  map<std::uint8_t, float>(in[0], out[0], [](float x) -> std::uint8_t { return std::isnan(x) ? 1 : 0; });
}

void is_inf(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<IsInf>(node.op);
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNone = std::numeric_limits<float>::quiet_NaN();
  // Nothing equals kNone.
  const float high = op.detect_positive ? kInfinity : kNone, low = op.detect_negative ? -kInfinity : kNone;
  map<std::uint8_t, float>(in[0], out[0], [high, low](float x) -> std::uint8_t {
    return static_cast<std::uint8_t>(static_cast<int>(x == high) | static_cast<int>(x == low));
  });
}

void bitwise_not(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  with_width(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    map<T, T>(in[0], out[0], [](T x) { return static_cast<T>(~x); });
  });
}

Outputs infer_is(const Inputs& in) { return infer_elementwise(in, DataType::boolean); }

/// If min > max, every element becomes max, as in ONNX.
void clip(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  with_number_type(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    using Limits = std::numeric_limits<T>;
    const T low = is_given(in, 1) ? *in[1].as<T>() : Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
    const T high = is_given(in, 2) ? *in[2].as<T>() : Limits::has_infinity ? Limits::infinity() : Limits::max();
    map<T, T>(in[0], out[0], [low, high](T x) {
      const T raised = x < low ? low : x;
      return raised > high ? high : raised;
    });
  });
}

RealBounds relu_bounds(const Op& /*op*/, std::span<const RealBounds> in) {
  return {std::max(0.0, in[0].low), std::max(0.0, in[0].high)};
}
RealBounds abs_bounds(const Op& /*op*/, std::span<const RealBounds> in) {
  return {std::max({0.0, in[0].low, -in[0].high}), in[0].magnitude()};
}
RealBounds negated_bounds(const Op& /*op*/, std::span<const RealBounds> in) { return {-in[0].high, -in[0].low}; }

/// Bounds of x < 0 ? alpha * x : x.
RealBounds leaky_relu_bounds(const Op& any, std::span<const RealBounds> in) {
  const double alpha = std::get<Parametric>(any).alpha;
  if (std::isnan(alpha) || !in[0].is_finite()) return {};
  const auto at = [alpha](double x) { return x < 0 ? alpha * x : x; };
  const RealBounds ends = hull({at(in[0].low), at(in[0].low)}, {at(in[0].high), at(in[0].high)});
  return in[0].low < 0 && in[0].high > 0 ? hull(ends, {0, 0}) : ends;
}

/// The function increases with all three inputs.
RealBounds clip_bounds(const Op& /*op*/, std::span<const RealBounds> in) {
  constexpr double kInfinity = RealBounds::kInfinity;
  const RealBounds low = in.size() > 1 && !in[1].is_empty() ? in[1] : RealBounds{-kInfinity, -kInfinity};
  const RealBounds high = in.size() > 2 && !in[2].is_empty() ? in[2] : RealBounds{kInfinity, kInfinity};
  return {std::min(std::max(in[0].low, low.low), high.low), std::min(std::max(in[0].high, low.high), high.high)};
}

/// The attribute that selects between the two forms of Gelu.
Field gelu_form(std::string_view own) {
  return {.name = "approximate",
          .get = [own](const Op&) -> std::optional<AttributeValue> { return AttributeValue(std::string(own)); },
          .set = [](Op& op, const AttributeValue& given) -> std::optional<std::string> {
            const auto& word = detail::as<std::string>("approximate", given);
            if (word == "none")
              op = Unary{UnaryKind::gelu};
            else if (word == "tanh")
              op = GeluTanh{};
            else
              return fmt::format("attribute 'approximate' is '{}', not 'none' or 'tanh'", word);
            return std::nullopt;
          },
          .type = AttributeValue(std::string()).index()};
}

}  // namespace

std::vector<OperatorInfo> unary_operators() {
  const Traits elementwise{.elementwise = true};
  const Traits homogeneous{.elementwise = true, .commutes_with_positive_scale = true};
  const auto row = [&](std::string_view name, int since, UnaryKind kind, TypeSet types, Evaluate evaluate, Role role,
                       Traits traits, BoundsRule bounds = nullptr) {
    return OperatorInfo{.name = name,
                        .since = since,
                        .prototype = Unary{kind},
                        .inputs = {{"X", types, 'T'}},
                        .outputs = {{"Y", types, 'T'}},
                        .infer = infer_elementwise,
                        .evaluate = evaluate,
                        .traits = traits,
                        .role = role,
                        .bounds = bounds};
  };
  const auto real = [&](std::string_view name, int since, UnaryKind kind, Role role = Role::in_float,
                        BoundsRule bounds = nullptr) {
    return row(name, since, kind, kReal, transcendental, role, elementwise, bounds);
  };
  const auto parametric_row = [&](std::string_view name, int since, Parametric prototype, Traits traits,
                                  std::string_view beta_name = {}) {
    std::vector<Field> fields{field("alpha", &Parametric::alpha)};
    if (!beta_name.empty()) fields.push_back(field(beta_name, &Parametric::beta));
    return OperatorInfo{.name = name,
                        .since = since,
                        .prototype = prototype,
                        .inputs = {{"X", kReal, 'T'}},
                        .outputs = {{"Y", kReal, 'T'}},
                        .fields = std::move(fields),
                        .infer = infer_same,
                        .evaluate = parametric,
                        .traits = traits,
                        .role = Role::arithmetic};
  };
  using K = UnaryKind;
  using P = ParametricKind;
  return {
      row("Identity", 1, K::identity, kMoved | kSequence | kOptional, identity, Role::movement,
          {.elementwise = true, .moves_elements = true, .keeps_order = true, .commutes_with_positive_scale = true},
          within_first),
      row("Relu", 6, K::relu, kReal | kSignedInteger, unary_arithmetic, Role::clip, homogeneous, relu_bounds),
      row("Abs", 6, K::abs, kNumber, unary_arithmetic, Role::arithmetic, homogeneous, abs_bounds),
      row("Neg", 6, K::neg, kReal | kSignedInteger, unary_arithmetic, Role::in_float, homogeneous, negated_bounds),
      row("Sign", 9, K::sign, kNumber, unary_arithmetic, Role::in_float, elementwise, from_minus_one_to_one),
      row("Not", 1, K::logical_not, kBoolean, logical_not, Role::in_float, elementwise),
      real("Sigmoid", 6, K::sigmoid, Role::arithmetic, from_zero_to_one),
      real("Tanh", 6, K::tanh, Role::arithmetic, from_minus_one_to_one),
      real("Exp", 6, K::exp),
      real("Log", 6, K::log),
      real("Sqrt", 6, K::sqrt),
      real("Reciprocal", 6, K::reciprocal),
      real("Floor", 6, K::floor),
      real("Ceil", 6, K::ceil),
      real("Round", 11, K::round),
      real("Erf", 9, K::erf, Role::in_float, from_minus_one_to_one),
      real("Softplus", 1, K::softplus, Role::arithmetic),
      real("Softsign", 1, K::softsign),
      real("HardSwish", 14, K::hard_swish, Role::arithmetic, within_first_and_zero),
      real("Mish", 18, K::mish, Role::arithmetic),
      [&] {
        OperatorInfo gelu = real("Gelu", 20, K::gelu, Role::arithmetic, within_first_and_zero);
        gelu.fields = {gelu_form("none")};
        return gelu;
      }(),
      {.name = "Gelu",
       .since = 20,
       .prototype = GeluTanh{},
       .inputs = {{"X", kReal, 'T'}},
       .outputs = {{"Y", kReal, 'T'}},
       .fields = {required(gelu_form("tanh"))},
       .infer = infer_elementwise,
       .evaluate = gelu_tanh,
       .traits = elementwise,
       .role = Role::arithmetic,
       .other_name = "GeluTanh"},
      real("Sin", 7, K::sin),
      real("Cos", 7, K::cos),
      real("Tan", 7, K::tan),
      real("Asin", 7, K::asin),
      real("Acos", 7, K::acos),
      real("Atan", 7, K::atan),
      real("Sinh", 9, K::sinh),
      real("Cosh", 9, K::cosh),
      real("Asinh", 9, K::asinh),
      real("Acosh", 9, K::acosh),
      real("Atanh", 9, K::atanh),
      [&] {
        OperatorInfo made = row("IsNaN", 9, K::is_nan, kReal, is_nan, Role::in_float, elementwise);
        made.outputs = {{"Y", kBoolean}};
        made.infer = infer_is;
        return made;
      }(),
      {.name = "IsInf",
       .since = 10,
       .prototype = IsInf{},
       .inputs = {{"X", kReal}},
       .outputs = {{"Y", kBoolean}},
       .fields = {field("detect_negative", &IsInf::detect_negative), field("detect_positive", &IsInf::detect_positive)},
       .infer = infer_is,
       .evaluate = is_inf,
       .traits = elementwise},
      row("BitwiseNot", 18, K::bitwise_not, kInteger, bitwise_not, Role::in_float, elementwise),
      [&] {
        OperatorInfo leaky = parametric_row("LeakyRelu", 6, {.kind = P::leaky_relu, .alpha = 0.01F}, homogeneous);
        leaky.bounds = leaky_relu_bounds;
        return leaky;
      }(),
      parametric_row("Elu", 6, {.kind = P::elu, .alpha = 1}, elementwise),
      parametric_row("Selu", 6,
                     {.kind = P::selu, .alpha = 1.67326319217681884765625F, .beta = 1.05070102214813232421875F},
                     elementwise, "gamma"),
      parametric_row("Celu", 12, {.kind = P::celu, .alpha = 1}, elementwise),
      parametric_row("HardSigmoid", 6, {.kind = P::hard_sigmoid, .alpha = 0.2F, .beta = 0.5F}, elementwise, "beta"),
      parametric_row("ThresholdedRelu", 10, {.kind = P::thresholded_relu, .alpha = 1}, elementwise),
      parametric_row("Swish", 24, {.kind = P::swish, .alpha = 1}, elementwise),
      {.name = "Shrink",
       .since = 9,
       .prototype = Parametric{.kind = P::shrink, .alpha = 0.5F},
       .inputs = {{"input", kNumber, 'T'}},
       .outputs = {{"output", kNumber, 'T'}},
       .fields = {field("lambd", &Parametric::alpha), field("bias", &Parametric::beta)},
       .infer = infer_same,
       .evaluate = shrink,
       .traits = elementwise},
      {.name = "Clip",
       .since = 11,
       .prototype = Clip{},
       .inputs = {{"input", kNumber, 'T'},
                  {"min", kNumber, 'T', Presence::optional, Use::parameter},
                  {"max", kNumber, 'T', Presence::optional, Use::parameter}},
       .outputs = {{"output", kNumber, 'T'}},
       .infer = infer_same,
       .evaluate = clip,
       .traits = elementwise,
       .role = Role::clip,
       .bounds = clip_bounds},
  };
}

}  // namespace bitfold::ops
