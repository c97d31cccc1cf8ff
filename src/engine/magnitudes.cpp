#include "engine/magnitudes.h"

#include <algorithm>
#include <cmath>

#include "engine/lowering.h"
#include "graph/activation.h"
#include "numeric/release_pages.h"

namespace bitfold::engine {
namespace {

/// Limits the recursion if no value has been queried before.
constexpr int kMaxDepth = 100;

double largest(const Tensor& reals) {
  double most = 0;
  for (const float v : reals.data<float>()) {
    if (std::isnan(v)) return Magnitudes::kUnknown;
    most = std::max(most, std::abs(static_cast<double>(v)));
  }
  return most;
}

/// The largest sum of |w| into one output of a product. If each output channel has its own row, the largest row sum;
/// otherwise the sum over input channels of the largest weight.
double largest_row_sum(const Tensor& weights, bool rows_are_outputs) {
  const std::int64_t rows = weights.dim(0), columns = rows == 0 ? 0 : weights.size() / rows;
  double most = 0, sum = 0;
  const float* w = weights.data<float>().data();
  for (std::int64_t r = 0; r < rows; ++r, w += columns) {
    double row_sum = 0, row_most = 0;
    for (std::int64_t c = 0; c < columns; ++c) {
      if (std::isnan(w[c])) return Magnitudes::kUnknown;
      row_sum += std::abs(static_cast<double>(w[c]));
      row_most = std::max(row_most, std::abs(static_cast<double>(w[c])));
    }
    most = std::max(most, row_sum);
    sum += row_most;
  }
  return rows_are_outputs ? most : sum;
}

bool keeps_magnitude(const Op& op) {
  if (const auto* unary = std::get_if<Unary>(&op))
    return unary->kind == UnaryKind::identity || unary->kind == UnaryKind::abs || unary->kind == UnaryKind::neg ||
           unary->kind == UnaryKind::gelu || unary->kind == UnaryKind::hard_swish;
  if (const auto* variadic = std::get_if<Variadic>(&op)) return variadic->kind != VariadicKind::sum;
  return std::holds_alternative<Pool>(op) || std::holds_alternative<GlobalPool>(op) ||
         std::holds_alternative<Concat>(op) || std::holds_alternative<Split>(op) ||
         std::holds_alternative<Flatten>(op) || std::holds_alternative<Reshape>(op) ||
         std::holds_alternative<Transpose>(op) || std::holds_alternative<Squeeze>(op) ||
         std::holds_alternative<Unsqueeze>(op) || std::holds_alternative<Slice>(op) ||
         std::holds_alternative<Gather>(op) || std::holds_alternative<Expand>(op) || std::holds_alternative<Tile>(op) ||
         std::holds_alternative<DepthToSpace>(op) || std::holds_alternative<Pad>(op) ||
         std::holds_alternative<Requantize>(op);
}

/// Functions with results between -1 and 1 for every number.
bool is_within_one(const Op& op) {
  if (const auto* unary = std::get_if<Unary>(&op))
    return unary->kind == UnaryKind::sigmoid || unary->kind == UnaryKind::tanh || unary->kind == UnaryKind::erf ||
           unary->kind == UnaryKind::sign;
  const auto* softmax = std::get_if<Softmax>(&op);
  return softmax != nullptr && !softmax->log;
}

}  // namespace

double Magnitudes::constant(ValueId id) {
  return l_.weights.magnitude(id, [&] {
    const auto reals = l_.constant_reals(id);
    const double most = reals ? largest(*reals) : kUnknown;
    if (reals) release_mapped_pages(*l_.graph.value(id).constant);
    return most;
  });
}

double Magnitudes::product(NodeId id, double input) {
  const Node& node = l_.graph.node(id);
  const auto* gemm = std::get_if<Gemm>(&node.op);
  const bool rows_are_outputs = std::holds_alternative<Conv>(node.op) || (gemm != nullptr && gemm->trans_b);
  const double weights = l_.weights.row_sum(id, [&] {
    const auto reals = l_.constant_reals(node.inputs[1]);
    const double sum = reals && reals->rank() >= 2 ? largest_row_sum(*reals, rows_are_outputs) : kUnknown;
    if (reals) release_mapped_pages(*l_.graph.value(node.inputs[1]).constant);
    return sum;
  });
  double bias = 0;
  if (node.inputs.size() > 2 && node.inputs[2] != ValueId::none) bias = constant(node.inputs[2]);
  if (input == 0 && std::isinf(weights)) return kUnknown;  // avoids NaN
  const double alpha = gemm != nullptr ? std::abs(static_cast<double>(gemm->alpha)) : 1;
  const double beta = gemm != nullptr ? std::abs(static_cast<double>(gemm->beta)) : 1;
  return alpha * weights * input + beta * bias;
}

double Magnitudes::largest_input(const Node& node) {
  double most = 0;
  for (ValueId input : node.inputs)
    if (input != ValueId::none && l_.dtype(input) == DataType::float32) most = std::max(most, of(input));
  return most;
}

double Magnitudes::sum_of_inputs(const Node& node) {
  double sum = 0;
  for (ValueId input : node.inputs)
    if (input != ValueId::none) sum += of(input);
  return sum;
}

double Magnitudes::of_operator(const Node& node, NodeId id) {
  if (keeps_magnitude(node.op)) return largest_input(node);
  if (is_within_one(node.op)) return std::isinf(largest_input(node)) ? kUnknown : 1;
  if (const auto activation = find_activation(l_.graph, id)) {
    const double x = of(node.inputs[0]),
                 gain = std::max(1.0, std::abs(static_cast<double>(activation->negative_slope)));
    if (std::isinf(x)) return kUnknown;  // it may be NaN, which passes
    const double bound = std::max(std::isinf(activation->low) ? 0 : std::abs(static_cast<double>(activation->low)),
                                  std::isinf(activation->high) ? gain * x : static_cast<double>(activation->high));
    return std::max(bound, std::isinf(activation->low) ? gain * x : 0);
  }
  if (const auto* binary = std::get_if<Binary>(&node.op)) {
    if (binary->kind == BinaryKind::add || binary->kind == BinaryKind::sub) return sum_of_inputs(node);
    if (binary->kind != BinaryKind::mul) return kUnknown;
    const double a = of(node.inputs[0]), b = of(node.inputs[1]);
    return std::isinf(a) || std::isinf(b) ? kUnknown : a * b;
  }
  if (std::holds_alternative<Variadic>(node.op)) return sum_of_inputs(node);
  const bool is_product = std::holds_alternative<Conv>(node.op) || std::holds_alternative<Gemm>(node.op) ||
                          std::holds_alternative<MatMul>(node.op);
  if (is_product && l_.graph.is_constant(node.inputs[1])) return product(id, of(node.inputs[0]));
  return kUnknown;
}

double Magnitudes::computed(ValueId id, NodeId producer) {
  if (depth_ >= kMaxDepth) return kUnknown;
  ++depth_;
  const Node& node = l_.graph.node(producer);
  const double most = l_.dtype(id) == DataType::float32 ? of_operator(node, producer) : kUnknown;
  --depth_;
  return most <= kFinite ? most : kUnknown;
}

double Magnitudes::of(ValueId id) {
  const auto found = known_.find(id);
  if (found != known_.end()) return found->second;
  double most = kUnknown;
  const Value& value = l_.graph.value(id);
  if (value.constant)
    most = constant(id);
  else if (value.quant)
    most = std::ldexp(static_cast<double>(std::ranges::max(value.quant->scale)), value.quant->bits);
  else if (const NodeId producer = l_.graph.producer(id); producer != NodeId::none)
    most = computed(id, producer);
  return known_[id] = most;
}

}  // namespace bitfold::engine
