// Values that a Loop or Scan carries unchanged from a constant become constants of its body, where weights get a grid.
// Exporters of TensorFlow's loops carry every weight.
#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "ops/control.h"
#include "ops/operator.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

/// The value that reaches `id` through Identity nodes.
ValueId origin_of(const Graph& graph, ValueId id) {
  for (NodeId node = graph.producer(id); node != NodeId::none; node = graph.producer(id)) {
    if (!ops::is<Unary>(graph.node(node).op, UnaryKind::identity) || graph.value(id).quant) break;
    id = graph.node(node).inputs[0];
  }
  return id;
}

/// The body with constants in place of the inputs whose number `constants` has, and without the outputs in `dropped`.
Graph with_constants(const Graph& body, const std::map<std::size_t, Value>& constants,
                     const std::set<std::size_t>& dropped) {
  Graph made;
  made.name = body.name;
  made.opset = body.opset;
  made.metadata = body.metadata;
  std::vector<ValueId> copies(body.value_capacity(), ValueId::none);
  const auto copy = [&](ValueId id) {
    if (id == ValueId::none) return id;
    ValueId& to = copies[static_cast<std::size_t>(id)];
    if (to == ValueId::none) to = made.add_value(body.value(id));
    return to;
  };
  for (std::size_t i = 0; i < body.inputs().size(); ++i) {
    const ValueId id = body.inputs()[i];
    Value value = body.value(id);
    ValueId& to = copies[static_cast<std::size_t>(id)];
    if (const auto found = constants.find(i); found != constants.end()) {
      value.constant = found->second.constant;
      value.quant = found->second.quant;
      value.shape = found->second.shape;
      to = made.add_value(std::move(value));
    } else {
      to = made.add_input(value.name, value.dtype, {});
      made.value(to) = std::move(value);
    }
  }
  for (NodeId id : body.nodes()) {
    Node node = body.node(id);
    for (ValueId& in : node.inputs) in = copy(in);
    for (ValueId& out : node.outputs) out = copy(out);
    made.add_node(std::move(node));
  }
  for (std::size_t i = 0; i < body.outputs().size(); ++i)
    if (!dropped.contains(i)) made.mark_output(copy(body.outputs()[i]));
  return made;
}

template <class T>
void erase_at(std::vector<T>& list, const std::set<std::size_t>& places) {
  for (auto place = places.rbegin(); place != places.rend(); ++place)
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(*place));
}

int fold_node(Graph& graph, NodeId id) {
  Node node = graph.node(id);
  const ops::CarriedValues at = ops::carried_values(node);
  if (at.count == 0 || node.bodies.size() != 1) return 0;
  const Graph& body = *node.bodies[0];
  std::map<std::size_t, Value> constants;
  std::set<std::size_t> inputs, outputs, body_outputs;
  for (std::size_t i = 0; i < at.count; ++i) {
    const ValueId start = node.inputs[at.node_input + i], end = node.outputs[i];
    const ValueId inside = body.inputs()[at.body_input + i];
    const bool is_invariant = origin_of(body, body.outputs()[at.body_output + i]) == inside;
    if (!is_invariant || !graph.is_constant(start) || graph.value(start).dtype != body.value(inside).dtype) continue;
    // A graph output keeps its name, and a node keeps an output.
    if (end != ValueId::none && (graph.is_output(end) || graph.value(end).quant)) continue;
    if (body.is_output(inside) && std::ranges::count(body.outputs(), inside) > 1) continue;
    if (outputs.size() + 1 == node.outputs.size()) continue;
    constants.emplace(at.body_input + i, graph.value(start));
    inputs.insert(at.node_input + i);
    outputs.insert(i);
    body_outputs.insert(at.body_output + i);
    if (end != ValueId::none) graph.replace_uses(end, start);
  }
  if (constants.empty()) return 0;
  const auto made = std::make_shared<const Graph>(with_constants(body, constants, body_outputs));
  node = graph.node(id);  // replace_uses() may have changed its inputs
  graph.remove_node(id);
  erase_at(node.inputs, inputs);
  erase_at(node.outputs, outputs);
  node.bodies = {made};
  graph.add_node(std::move(node));
  return static_cast<int>(constants.size());
}

}  // namespace

int fold_invariants(Graph& graph) {
  int changes = 0;
  for (NodeId id : graph.topological_order())
    if (!graph.node(id).bodies.empty()) changes += fold_node(graph, id);
  return changes;
}

}  // namespace bitfold
