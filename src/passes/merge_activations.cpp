// Writes each activation in one canonical form, and merges chains of activations into one.
//
//   Clip(x, 0, inf) = Relu(x)          Max(x, c) = Clip(x, c, inf)        Min(x, c) = Clip(x, -inf, c)
//   LeakyRelu(x, 0) = Relu(x)          PRelu(x, one slope) = LeakyRelu(x)
//   Clip(Clip(x, a, b), c, d) = Clip(x, min(max(a, c), d), min(max(b, c), d)), Relu being Clip(0, inf)
#include <algorithm>
#include <limits>

#include "ops/operator.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

constexpr float kInfinity = Activation::kInfinity;
constexpr Activation kRelu{.low = 0};

/// Turns a node with one data input into the clamp in canonical form.
void set_clamp(Graph& graph, NodeId id, const Activation& clamp) {
  const std::string stem = graph.value(graph.node(id).outputs[0]).name;
  graph.resize_inputs(id, 1);
  if (clamp == kRelu) {
    graph.op(id) = Unary{UnaryKind::relu};
    return;
  }
  graph.op(id) = Clip{};
  const auto set = [&](std::size_t slot, float bound, const char* what) {
    set_constant_input(graph, id, slot, Tensor::from<float>({}, std::vector<float>{bound}), stem + what);
  };
  if (clamp.low > -kInfinity) set(1, clamp.low, ".min");
  if (clamp.high < kInfinity) set(2, clamp.high, ".max");
}

bool canonical_clip(Graph& graph, NodeId id) {
  if (!std::holds_alternative<Clip>(graph.node(id).op)) return false;
  if (graph.value(graph.node(id).inputs[0]).dtype != DataType::float32) return false;
  const auto clamp = find_clamp(graph, id);
  if (!clamp || *clamp != kRelu) return false;
  set_clamp(graph, id, *clamp);
  return true;
}

/// Min and Max with a single constant, as exporters write Relu6.
bool canonical_min_max(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const bool is_max = ops::is<Variadic>(node.op, VariadicKind::max);
  if (node.inputs.size() != 2 || (!is_max && !ops::is<Variadic>(node.op, VariadicKind::min))) return false;
  const std::size_t bound_slot = scalar_constant(graph, node.inputs[1]) ? 1 : 0;
  const auto bound = scalar_constant(graph, node.inputs[bound_slot]);
  const ValueId x = node.inputs[1 - bound_slot];
  const auto& shape = graph.value(x).shape;
  const std::size_t bound_rank = graph.value(node.inputs[bound_slot]).shape->size();
  if (!bound || *bound != *bound || graph.is_constant(x) || !shape || shape->size() < bound_rank) return false;
  const Activation clamp = is_max ? Activation{.low = *bound} : Activation{.high = *bound};
  graph.set_input(id, 0, x);
  set_clamp(graph, id, clamp);
  return true;
}

/// Whether it is a LeakyRelu or ThresholdedRelu, which are both a Relu if alpha is 0.
bool is_linear_or_zero(const Op& op) {
  return ops::is<Parametric>(op, ParametricKind::leaky_relu) ||
         ops::is<Parametric>(op, ParametricKind::thresholded_relu);
}

bool canonical_leaky(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (is_linear_or_zero(node.op) && std::get<Parametric>(node.op).alpha == 0) {
    graph.op(id) = Unary{UnaryKind::relu};
    return true;
  }
  if (!std::holds_alternative<PRelu>(node.op)) return false;
  const auto slope = scalar_constant(graph, node.inputs[1]);
  const auto& shape = graph.value(node.inputs[0]).shape;
  if (!slope || !shape || shape->size() < graph.value(node.inputs[1]).shape->size()) return false;
  graph.resize_inputs(id, 1);
  graph.op(id) = Parametric{.kind = ParametricKind::leaky_relu, .alpha = *slope};
  return true;
}

bool merge_with_producer(Graph& graph, NodeId id) {
  const auto second = find_clamp(graph, id);
  if (!second) return false;
  const ValueId between = graph.node(id).inputs[0];
  const NodeId producer = graph.producer(between);
  const auto first = producer == NodeId::none ? std::nullopt : find_clamp(graph, producer);
  if (!first || !graph.has_single_consumer(between) || graph.value(between).quant) return false;
  if (graph.value(between).dtype != DataType::float32) return false;
  graph.set_input(id, 0, graph.node(producer).inputs[0]);
  set_clamp(graph, id, {.low = (*second)(first->low), .high = (*second)(first->high)});
  return true;
}

}  // namespace

int merge_activations(Graph& graph) {
  int changes = 0;
  for (NodeId id : graph.topological_order()) {
    if (canonical_leaky(graph, id) || canonical_clip(graph, id) || canonical_min_max(graph, id)) ++changes;
    if (merge_with_producer(graph, id)) ++changes;
  }
  return changes;
}

}  // namespace bitfold
