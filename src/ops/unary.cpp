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
float hard_sigmoid(float x, float alpha, float beta) { return std::max(0.0F, std::min(1.0F, alpha * x + beta)); }

/// The lowest integer wraps to itself, as in numpy.
template <class T>
T negated(T x) {
  if constexpr (std::is_integral_v<T>)
    return wrapping_subtract(T{0}, x);
  else
    return -x;
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
  if (const std::size_t bytes = size_bytes(out[0]); bytes > 0) std::memcpy(out[0].data, in[0].data, bytes);
}

/// The kinds that also exist for integers.
void arithmetic(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
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
      // max(x, a x) is one vector instruction, while a branch on the sign is often mispredicted.
      if (a > 0 && a <= 1) return apply([a](float x) { return std::max(x, a * x); });
      return apply([a](float x) { return x < 0 ? a * x : x; });
    case ParametricKind::elu:
      return apply([a](float x) { return x < 0 ? a * std::expm1(x) : x; });
    case ParametricKind::selu:
      return apply([a, b](float x) { return x > 0 ? b * x : b * a * std::expm1(x); });
    case ParametricKind::celu:
      return apply([a](float x) { return std::max(0.0F, x) + std::min(0.0F, a * std::expm1(x / a)); });
    case ParametricKind::hard_sigmoid:
      return apply([a, b](float x) { return hard_sigmoid(x, a, b); });
    case ParametricKind::thresholded_relu:
      return apply([a](float x) { return x > a ? x : 0.0F; });
  }
}

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
      row("Identity", 1, K::identity, kWholeBytes, identity, Role::movement,
          {.elementwise = true, .moves_elements = true, .keeps_order = true, .commutes_with_positive_scale = true},
          within_first),
      row("Relu", 6, K::relu, kReal | kSignedInteger, arithmetic, Role::clip, homogeneous, relu_bounds),
      row("Abs", 6, K::abs, kNumber, arithmetic, Role::arithmetic, homogeneous, abs_bounds),
      row("Neg", 6, K::neg, kReal | kSignedInteger, arithmetic, Role::in_float, homogeneous, negated_bounds),
      row("Sign", 9, K::sign, kNumber, arithmetic, Role::in_float, elementwise, from_minus_one_to_one),
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
        gelu.fields = {only<std::string>("approximate", "none")};
        return gelu;
      }(),
      real("Sin", 7, K::sin),
      real("Cos", 7, K::cos),
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
