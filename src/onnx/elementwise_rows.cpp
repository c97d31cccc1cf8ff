// Operators that compute each output element from the input elements at the same place.
#include <limits>

#include "base/check.h"
#include "onnx/op_table.h"
#include "onnx/wire.h"

namespace bitfold {
namespace {

template <UnaryKind kind>
std::optional<Op> import_unary(NodeImport&) {
  return Unary{kind};
}

std::optional<Op> import_gelu(NodeImport& node) {
  if (node.attributes.word("approximate", "none") != "none") return std::nullopt;
  return Unary{UnaryKind::gelu};
}

// In inference Dropout passes its input on.
std::optional<Op> import_dropout(NodeImport& node) {
  node.attributes.ignore("ratio");
  node.attributes.ignore("seed");
  if (node.output_count > 1) return std::nullopt;  // the mask
  if (node.has(2)) {
    const Tensor* training = node.constant(2);
    if (training == nullptr || training->size() != 1 || training->bytes()[0] != std::byte{0}) return std::nullopt;
  }
  check(!node.inputs.empty(), "has no inputs");
  node.inputs.erase(node.inputs.begin() + 1, node.inputs.end());
  return Unary{UnaryKind::identity};
}

// The numbers of each parametric operator: ONNX's names and defaults; an empty name where there is none.
struct Parameters {
  const char* alpha_name;
  float alpha;
  const char* beta_name;
  float beta;
};
constexpr Parameters parameters_of(ParametricKind kind) {
  switch (kind) {
    case ParametricKind::leaky_relu:
      return {"alpha", 0.01F, nullptr, 0};
    case ParametricKind::elu:
      return {"alpha", 1, nullptr, 0};
    case ParametricKind::selu:
      return {"alpha", 1.67326319217681884765625F, "gamma", 1.05070102214813232421875F};
    case ParametricKind::celu:
      return {"alpha", 1, nullptr, 0};
    case ParametricKind::hard_sigmoid:
      return {"alpha", 0.2F, "beta", 0.5F};
    case ParametricKind::thresholded_relu:
      return {"alpha", 1, nullptr, 0};
  }
  return {};
}

template <ParametricKind kind>
std::optional<Op> import_parametric(NodeImport& node) {
  constexpr Parameters p = parameters_of(kind);
  Parametric op{kind, node.attributes.real(p.alpha_name, p.alpha), 0};
  if constexpr (p.beta_name != nullptr) op.beta = node.attributes.real(p.beta_name, p.beta);
  return op;
}
void export_parametric(const Op& op, onnx::NodeProto& node) {
  const auto& parametric = std::get<Parametric>(op);
  const Parameters p = parameters_of(parametric.kind);
  set_real(node, p.alpha_name, parametric.alpha);
  if (p.beta_name != nullptr) set_real(node, p.beta_name, parametric.beta);
}

std::optional<Op> import_clip(NodeImport&) { return Clip{}; }

// Before opset 11 the bounds were attributes; the type's extremes, the defaults, mean no bound.
std::optional<Op> import_clip_6(NodeImport& node) {
  constexpr float kLowest = std::numeric_limits<float>::lowest(), kHighest = std::numeric_limits<float>::max();
  const float low = node.attributes.real("min", kLowest), high = node.attributes.real("max", kHighest);
  if (low != kLowest) node.set_constant(1, "min", float_scalar(low));
  if (high != kHighest) node.set_constant(2, "max", float_scalar(high));
  return Clip{};
}

std::optional<Op> import_prelu(NodeImport&) { return PRelu{}; }
std::optional<Op> import_where(NodeImport&) { return Where{}; }

template <BinaryKind kind>
std::optional<Op> import_binary(NodeImport&) {
  return Binary{kind};
}

std::optional<Op> import_mod(NodeImport& node) {
  if (node.attributes.integer("fmod", 0) != 0) return std::nullopt;  // C's sign rule
  return Binary{BinaryKind::mod};
}

template <VariadicKind kind>
std::optional<Op> import_variadic(NodeImport& node) {
  check(!node.inputs.empty(), "has no inputs");
  return Variadic{kind};
}

std::optional<Op> import_cast(NodeImport& node) {
  const auto to = node.attributes.integer("to");
  check(to.has_value(), "attribute 'to' is missing");
  node.attributes.ignore("saturate");    // of conversions to float8
  node.attributes.ignore("round_mode");  // of conversions to float8e8m0
  const auto dtype = data_type_of_onnx(static_cast<int>(*to));
  if (!dtype) return std::nullopt;
  return Cast{*dtype};
}
void export_cast(const Op& op, onnx::NodeProto& node) { set_integer(node, "to", onnx_number(std::get<Cast>(op).to)); }

constexpr OpRow kRows[] = {
    {"Identity", 7, kLatestOpset, import_unary<UnaryKind::identity>, export_nothing},
    {"Dropout", 7, kLatestOpset, import_dropout, nullptr},
    {"Relu", 7, kLatestOpset, import_unary<UnaryKind::relu>, export_nothing},
    {"Sigmoid", 7, kLatestOpset, import_unary<UnaryKind::sigmoid>, export_nothing},
    {"Tanh", 7, kLatestOpset, import_unary<UnaryKind::tanh>, export_nothing},
    {"Exp", 7, kLatestOpset, import_unary<UnaryKind::exp>, export_nothing},
    {"Log", 7, kLatestOpset, import_unary<UnaryKind::log>, export_nothing},
    {"Sqrt", 7, kLatestOpset, import_unary<UnaryKind::sqrt>, export_nothing},
    {"Reciprocal", 7, kLatestOpset, import_unary<UnaryKind::reciprocal>, export_nothing},
    {"Abs", 7, kLatestOpset, import_unary<UnaryKind::abs>, export_nothing},
    {"Neg", 7, kLatestOpset, import_unary<UnaryKind::neg>, export_nothing},
    {"Sign", 9, kLatestOpset, import_unary<UnaryKind::sign>, export_nothing},
    {"Floor", 7, kLatestOpset, import_unary<UnaryKind::floor>, export_nothing},
    {"Ceil", 7, kLatestOpset, import_unary<UnaryKind::ceil>, export_nothing},
    {"Round", 11, kLatestOpset, import_unary<UnaryKind::round>, export_nothing},
    {"Erf", 9, kLatestOpset, import_unary<UnaryKind::erf>, export_nothing},
    {"Softplus", 7, kLatestOpset, import_unary<UnaryKind::softplus>, export_nothing},
    {"Softsign", 7, kLatestOpset, import_unary<UnaryKind::softsign>, export_nothing},
    {"HardSwish", 14, kLatestOpset, import_unary<UnaryKind::hard_swish>, export_nothing},
    {"Mish", 18, kLatestOpset, import_unary<UnaryKind::mish>, export_nothing},
    {"Gelu", 20, kLatestOpset, import_gelu, export_nothing},
    {"Sin", 7, kLatestOpset, import_unary<UnaryKind::sin>, export_nothing},
    {"Cos", 7, kLatestOpset, import_unary<UnaryKind::cos>, export_nothing},
    {"Not", 7, kLatestOpset, import_unary<UnaryKind::logical_not>, export_nothing},
    {"LeakyRelu", 7, kLatestOpset, import_parametric<ParametricKind::leaky_relu>, export_parametric},
    {"Elu", 7, kLatestOpset, import_parametric<ParametricKind::elu>, export_parametric},
    {"Selu", 7, kLatestOpset, import_parametric<ParametricKind::selu>, export_parametric},
    {"Celu", 12, kLatestOpset, import_parametric<ParametricKind::celu>, export_parametric},
    {"HardSigmoid", 7, kLatestOpset, import_parametric<ParametricKind::hard_sigmoid>, export_parametric},
    {"ThresholdedRelu", 10, kLatestOpset, import_parametric<ParametricKind::thresholded_relu>, export_parametric},
    {"Clip", 11, kLatestOpset, import_clip, export_nothing},
    {"Clip", 7, 10, import_clip_6, nullptr},
    {"PRelu", 7, kLatestOpset, import_prelu, export_nothing},
    {"Where", 9, kLatestOpset, import_where, export_nothing},
    {"Add", 7, kLatestOpset, import_binary<BinaryKind::add>, export_nothing},
    {"Sub", 7, kLatestOpset, import_binary<BinaryKind::sub>, export_nothing},
    {"Mul", 7, kLatestOpset, import_binary<BinaryKind::mul>, export_nothing},
    {"Div", 7, kLatestOpset, import_binary<BinaryKind::div>, export_nothing},
    {"Pow", 7, kLatestOpset, import_binary<BinaryKind::pow>, export_nothing},
    {"Mod", 10, kLatestOpset, import_mod, export_nothing},
    {"Equal", 7, kLatestOpset, import_binary<BinaryKind::equal>, export_nothing},
    {"Less", 7, kLatestOpset, import_binary<BinaryKind::less>, export_nothing},
    {"LessOrEqual", 12, kLatestOpset, import_binary<BinaryKind::less_or_equal>, export_nothing},
    {"Greater", 7, kLatestOpset, import_binary<BinaryKind::greater>, export_nothing},
    {"GreaterOrEqual", 12, kLatestOpset, import_binary<BinaryKind::greater_or_equal>, export_nothing},
    {"And", 7, kLatestOpset, import_binary<BinaryKind::logical_and>, export_nothing},
    {"Or", 7, kLatestOpset, import_binary<BinaryKind::logical_or>, export_nothing},
    {"Xor", 7, kLatestOpset, import_binary<BinaryKind::logical_xor>, export_nothing},
    {"Min", 7, kLatestOpset, import_variadic<VariadicKind::min>, export_nothing},
    {"Max", 7, kLatestOpset, import_variadic<VariadicKind::max>, export_nothing},
    {"Sum", 7, kLatestOpset, import_variadic<VariadicKind::sum>, export_nothing},
    {"Mean", 7, kLatestOpset, import_variadic<VariadicKind::mean>, export_nothing},
    {"Cast", 7, kLatestOpset, import_cast, export_cast},
};

}  // namespace

std::span<const OpRow> elementwise_rows() { return kRows; }

}  // namespace bitfold
