// Float operators that compute each element from elements at the same place: the engine's own loops.
#include <algorithm>
#include <cmath>

#include "engine/lowering.h"
#include "engine/steps/elementwise.h"
#include "engine/written_function.h"
#include "graph/activation.h"
#include "ops/operator.h"

namespace bitfold::engine {
namespace {

/// A function and its parameters, as a step calls it.
struct Call {
  RealFunction function;
  float alpha = 0, beta = 0;
};

std::optional<Call> find_call(const Unary& op) {
  switch (op.kind) {
    case UnaryKind::sigmoid:
      return Call{RealFunction::sigmoid};
    case UnaryKind::tanh:
      return Call{RealFunction::tanh};
    case UnaryKind::exp:
      return Call{RealFunction::exp};
    case UnaryKind::log:
      return Call{RealFunction::log};
    case UnaryKind::sqrt:
      return Call{RealFunction::sqrt};
    case UnaryKind::reciprocal:
      return Call{RealFunction::reciprocal};
    case UnaryKind::abs:
      return Call{RealFunction::abs};
    case UnaryKind::neg:
      return Call{RealFunction::neg};
    case UnaryKind::sign:
      return Call{RealFunction::sign};
    case UnaryKind::floor:
      return Call{RealFunction::floor};
    case UnaryKind::ceil:
      return Call{RealFunction::ceil};
    case UnaryKind::round:
      return Call{RealFunction::round};
    case UnaryKind::erf:
      return Call{RealFunction::erf};
    case UnaryKind::softplus:
      return Call{RealFunction::softplus};
    case UnaryKind::softsign:
      return Call{RealFunction::softsign};
    case UnaryKind::hard_swish:
      return Call{RealFunction::hard_swish};
    case UnaryKind::mish:
      return Call{RealFunction::mish};
    case UnaryKind::gelu:
      return Call{RealFunction::gelu};
    case UnaryKind::sin:
      return Call{RealFunction::sin};
    case UnaryKind::cos:
      return Call{RealFunction::cos};
    case UnaryKind::tan:
      return Call{RealFunction::tan};
    case UnaryKind::asin:
      return Call{RealFunction::asin};
    case UnaryKind::acos:
      return Call{RealFunction::acos};
    case UnaryKind::atan:
      return Call{RealFunction::atan};
    case UnaryKind::sinh:
      return Call{RealFunction::sinh};
    case UnaryKind::cosh:
      return Call{RealFunction::cosh};
    case UnaryKind::asinh:
      return Call{RealFunction::asinh};
    case UnaryKind::acosh:
      return Call{RealFunction::acosh};
    case UnaryKind::atanh:
      return Call{RealFunction::atanh};
    case UnaryKind::identity:
    case UnaryKind::relu:
    case UnaryKind::logical_not:
    case UnaryKind::is_nan:
    case UnaryKind::bitwise_not:
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<Call> find_call(const Parametric& op) {
  switch (op.kind) {
    case ParametricKind::elu:
      return Call{RealFunction::elu, op.alpha};
    case ParametricKind::selu:
      return Call{RealFunction::selu, op.alpha, op.beta};
    case ParametricKind::celu:
      if (!(op.alpha > 0)) return std::nullopt;
      return Call{RealFunction::celu, op.alpha};
    case ParametricKind::hard_sigmoid:
      return Call{RealFunction::hard_sigmoid, op.alpha, op.beta};
    case ParametricKind::thresholded_relu:
      return Call{RealFunction::thresholded_relu, op.alpha};
    case ParametricKind::swish:
      return Call{RealFunction::swish, op.alpha};
    case ParametricKind::leaky_relu:
      return Call{RealFunction::leaky_relu, op.alpha};
    case ParametricKind::shrink:
      return std::nullopt;
  }
  return std::nullopt;
}

bool lower_batch_norm(Lowering& l, NodeId id, const BatchNorm& norm) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const auto gamma = l.constant_reals(node.inputs[1]), beta = l.constant_reals(node.inputs[2]);
  const auto mean = l.constant_reals(node.inputs[3]), variance = l.constant_reals(node.inputs[4]);
  const Shape& s = l.shape(x);
  if (!gamma || !beta || !mean || !variance || s.size() < 2) return false;
  std::vector<float> factors, terms;
  for (std::size_t c = 0; c < static_cast<std::size_t>(s[1]); ++c) {
    const double k =
        gamma->data<float>()[c] / std::sqrt(static_cast<double>(variance->data<float>()[c]) + norm.epsilon);
    factors.push_back(static_cast<float>(k));
    terms.push_back(static_cast<float>(beta->data<float>()[c] - k * mean->data<float>()[c]));
  }
  const Layout layout = l.layout(x);
  const std::int64_t inner = element_count(s) / std::max<std::int64_t>(1, s[0] * s[1]);
  const bool last = layout == Layout::channels_last;
  add_elementwise(l, x, y,
                  std::make_unique<ScaleShiftStep>(std::move(factors), std::move(terms), last ? s[0] * inner : s[0],
                                                   last ? 1 : inner),
                  op_name(node.op), "float");
  return true;
}

bool lower_clamp(Lowering& l, NodeId id, const Activation& clamp) {
  const Node& node = l.graph.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  if (l.dtype(x) != DataType::float32) return false;
  add_elementwise(l, x, y, std::make_unique<ClampStep>(clamp.low, clamp.high, element_count(l.shape(y))),
                  op_name(node.op), "float");
  return true;
}

bool lower_add(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  const ValueId a = node.inputs[0], b = node.inputs[1], y = node.outputs[0];
  if (l.shape(a) != l.shape(b) || l.dtype(y) != DataType::float32) return false;
  const Layout layout = l.layout(a) == Layout::channels_last ? Layout::channels_last : l.layout(b);
  const Slot left = l.reals(a, layout), right = l.reals(b, layout), destination = l.make(y, false, layout);
  auto& step = l.add(std::make_unique<AddStep>(element_count(l.shape(y))), node.name, op_name(node.op), "float");
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(left.buffer, Access::read);
  step.add_operand(right.buffer, Access::read);
  for (ValueId input : node.inputs)
    if (!l.graph.is_constant(input)) step.info.inputs.push_back(l.graph.value(input).name);
  step.info.outputs = {l.graph.value(y).name};
  l.define_reals(y, destination);
  return true;
}

/// Adds the step that computes y from x, on behalf of the node that computes y.
bool lower_function(Lowering& l, ValueId x, ValueId y, const Call& call, const std::string& operators) {
  if (l.dtype(x) != DataType::float32) return false;
  const RealFunctionKernels& kernels = real_function_kernels(l.isa);
  add_elementwise(l, x, y,
                  std::make_unique<FunctionStep>(kernels.find(call.function), call.alpha, call.beta,
                                                 element_count(l.shape(y)), l.threads),
                  operators, kernels.name);
  return true;
}

/// Several nodes that compute one function.
bool lower_written_function(Lowering& l, NodeId id) {
  for (ValueId x : l.graph.node(id).inputs) {
    if (x == ValueId::none || l.graph.is_constant(x)) continue;
    const auto written = find_written_function(l, x, id);
    if (!written || written->nodes.size() < 2 || std::ranges::find(written->nodes, id) == written->nodes.end())
      continue;
    claim(l, *written);
    return lower_function(l, x, written->output, {written->function, written->alpha}, operator_names(l, *written));
  }
  return false;
}

/// Lowers the operators that have a step here.
struct ElementwiseStep {
  Lowering& l;
  NodeId id;

  bool operator()(const BatchNorm& op) const { return lower_batch_norm(l, id, op); }
  bool operator()(const Binary& op) const { return op.kind == BinaryKind::add && lower_add(l, id); }
  bool operator()(const Unary& op) const { return lower_call(find_call(op)); }
  bool operator()(const Parametric& op) const { return lower_call(find_call(op)); }
  bool operator()(const GeluTanh& /*op*/) const { return lower_call(Call{RealFunction::gelu_tanh}); }
  template <class Other>
  bool operator()(const Other& /*op*/) const {
    return lower_call(std::nullopt);
  }

  bool lower_call(const std::optional<Call>& call) const {
    const Node& node = l.graph.node(id);
    if (call) return lower_function(l, node.inputs[0], node.outputs[0], *call, op_name(node.op));
    const auto clamp = find_clamp(l.graph, id);
    return clamp && lower_clamp(l, id, *clamp);
  }
};

}  // namespace

bool lower_elementwise(Lowering& l, NodeId id) {
  if (ops::info(l.graph.node(id).op).traits.elementwise && lower_written_function(l, id)) return true;
  return std::visit(ElementwiseStep{l, id}, l.graph.node(id).op);
}

}  // namespace bitfold::engine
