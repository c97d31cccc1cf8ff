#include "graph/activation.h"

#include <algorithm>
#include <cmath>

#include "graph/linear_layer.h"
#include "ops/operator.h"

namespace bitfold {
namespace {

bool is_real(DataType type) {
  return type == DataType::float32 || type == DataType::float16 || type == DataType::bfloat16 ||
         type == DataType::float64;
}

/// The number in a one-element constant: a float32, or codes on a grid.
std::optional<float> constant_number(const Graph& graph, ValueId id) {
  if (!graph.is_constant(id)) return std::nullopt;
  const Value& value = graph.value(id);
  if (value.constant->size() != 1) return std::nullopt;
  if (value.quant) return dequantize(*value.constant, *value.quant).data<float>()[0];
  return scalar_constant(graph, id);
}

std::optional<Activation> clip(const Graph& graph, const Node& node) {
  Activation out;
  for (std::size_t slot = 1; slot < node.inputs.size(); ++slot) {
    if (node.inputs[slot] == ValueId::none) continue;
    const auto bound = constant_number(graph, node.inputs[slot]);
    if (!bound || std::isnan(*bound)) return std::nullopt;
    (slot == 1 ? out.low : out.high) = *bound;
  }
  using Float = std::numeric_limits<float>;
  if (out.low <= Float::lowest()) out.low = -Activation::kInfinity;
  if (out.high >= Float::max()) out.high = Activation::kInfinity;
  out.low = std::min(out.low, out.high);
  return out;
}

}  // namespace

std::optional<float> scalar_constant(const Graph& graph, ValueId id) {
  const Tensor* tensor = plain_constant(graph, id);
  if (tensor == nullptr || tensor->size() != 1) return std::nullopt;
  return tensor->data<float>()[0];
}

bool fills_with_zero(const Graph& graph, const Node& node) {
  if (!ops::fills(node.op)) return true;
  const ValueId fill = ops::input_with(node, ops::Use::fill);
  return fill == ValueId::none || scalar_constant(graph, fill) == 0.0F;
}

std::optional<Activation> find_activation(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (node.inputs.empty() || node.inputs[0] == ValueId::none || !is_real(graph.value(node.inputs[0]).dtype))
    return std::nullopt;
  if (ops::is<Unary>(node.op, UnaryKind::relu)) return Activation{.low = 0};
  if (ops::is<Parametric>(node.op, ParametricKind::leaky_relu))
    if (const float slope = std::get<Parametric>(node.op).alpha; !std::isnan(slope))
      return Activation{.negative_slope = slope};
  return std::holds_alternative<Clip>(node.op) ? clip(graph, node) : std::nullopt;
}

std::optional<Activation> find_clamp(const Graph& graph, NodeId id) {
  auto found = find_activation(graph, id);
  if (found && !found->is_clamp()) found.reset();
  return found;
}

Activation activation_after(const Graph& graph, NodeId id) {
  const ValueId y = graph.node(id).outputs[0];
  if (graph.is_output(y) || !graph.has_single_consumer(y)) return {};
  const NodeId next = graph.consumers(y).front();
  const auto found = find_activation(graph, next);
  return found && graph.node(next).inputs[0] == y && found->negative_slope >= 0 ? *found : Activation{};
}

}  // namespace bitfold
