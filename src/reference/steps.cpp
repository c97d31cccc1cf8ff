#include "reference/steps.h"

#include <algorithm>
#include <utility>

#include "graph/runnable.h"
#include "numeric/release_pages.h"

namespace bitfold::reference {
namespace {

ReferenceOptions options_of_body(const std::string& prefix, const ReferenceOptions& options) {
  ReferenceOptions own{
      .plain_loops = options.plain_loops, .max_memory_bytes = options.max_memory_bytes, .any_order = options.any_order};
  if (!options.on_body_value) return own;
  own.on_value = [prefix, tell = options.on_body_value](ValueId id, const Tensor& t) { tell(prefix, id, t); };
  own.on_body_value = [prefix, tell = options.on_body_value](const std::string& inner, ValueId id, const Tensor& t) {
    tell(prefix + inner, id, t);
  };
  return own;
}

// Outputs with grids keep the graph's order, because a grid may be per channel.
bool may_give_any_order(const Graph& graph, const Node& node, const ReferenceOptions& options) {
  if (options.plain_loops || (options.on_value && !options.any_order)) return false;
  return std::none_of(node.outputs.begin(), node.outputs.end(),
                      [&](ValueId out) { return out != ValueId::none && graph.value(out).quant; });
}

void check_is_made(const Graph& graph, NodeId id, ValueId input) {
  const bool is_made = input == ValueId::none || graph.is_constant(input) || graph.is_input(input) ||
                       graph.producer(input) != NodeId::none;
  check(is_made, "{} no node computes its input '{}'", where(graph, id), is_made ? "" : graph.value(input).name);
}

Step make_step(const Graph& graph, NodeId id, const ReferenceOptions& options, const std::vector<ValueInfo>& known) {
  const Node& node = graph.node(id);
  const ops::OperatorInfo& row = ops::info(node.op);
  bool constant_weights = true, shapes_tell = !node.inputs.empty() && row.evaluate != nullptr;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId input = node.inputs[i];
    check_is_made(graph, id, input);
    if (input == ValueId::none || graph.is_constant(input)) continue;
    constant_weights = constant_weights && i == 0;
    // Elements of a parameter, reals (Resize, Range) or integers, may determine the shape.
    const ops::Slot* slot = ops::slot_at(row.inputs, i);
    if (known[index(input)].dtype != DataType::float32 || (slot != nullptr && slot->use == ops::Use::parameter))
      shapes_tell = false;
  }
  std::vector<Reference> bodies;
  for (std::size_t b = 0; b < node.bodies.size(); ++b)
    bodies.emplace_back(*node.bodies[b], options_of_body(body_prefix(node, b), options));
  return {id,
          &row,
          std::move(bodies),
          constant_weights,
          images_in_any_order(graph, node),
          may_give_any_order(graph, node, options),
          shapes_tell,
          {}};
}

void find_dying(const Graph& graph, std::vector<Step>& steps) {
  std::vector<bool> is_needed(graph.value_capacity());
  for (ValueId id : graph.outputs()) is_needed[index(id)] = true;
  for (std::size_t s = steps.size(); s-- > 0;) {
    const Node& node = graph.node(steps[s].id);
    for (const auto* ids : {&node.inputs, &node.outputs})
      for (ValueId id : *ids) {
        if (id == ValueId::none || is_needed[index(id)]) continue;
        is_needed[index(id)] = true;
        steps[s].dying.push_back(id);
      }
  }
}

}  // namespace

Constants::Constants(const Graph& graph)
    : graph_(graph), reals_(graph.value_capacity()), decoded_(graph.value_capacity()) {
  for (ValueId id : graph.values()) {
    const Value& value = graph.value(id);
    if (!value.constant) continue;
    if (value.quant && value.constant->dtype() != DataType::float32) {
      decoded_[index(id)] = std::make_unique<Decoded>();
      continue;
    }
    Tensor reals = *value.constant;
    snap_value(
        graph, id, [] { return "[constant]"; }, reals);
    reals_[index(id)] = Held{std::move(reals)};
  }
}

Tensor Constants::decoded(ValueId id) const {
  Decoded& held = *decoded_[index(id)];
  std::call_once(held.once, [&] {
    const Value& value = graph_.value(id);
    try {
      held.reals = dequantize(*value.constant, *value.quant);
    } catch (const Error& error) {
      fail("[constant] value '{}': {}", value.name, error.what());
    }
    release_mapped_pages(*value.constant);
  });
  return held.reals;
}

std::vector<Step> plan_steps(const Graph& graph, const ReferenceOptions& options) {
  const std::vector<ValueInfo> known = infer_values(graph);
  check_runnable(graph, known);
  std::vector<Step> steps;
  for (NodeId id : graph.topological_order()) steps.push_back(make_step(graph, id, options, known));
  find_dying(graph, steps);
  return steps;
}

}  // namespace bitfold::reference
