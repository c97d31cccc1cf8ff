#include "quantize/partial_run.h"

#include <algorithm>

#include "base/check.h"

namespace bitfold::quantization {
namespace {

std::size_t index(NodeId id) { return static_cast<std::size_t>(id); }

/// Nodes whose outputs `wanted` depends on, through nodes that are not done, by NodeId.
std::vector<bool> ancestors(const Graph& graph, ValueId wanted, const std::vector<bool>& done) {
  std::vector<bool> found(done.size());
  std::vector<ValueId> open{wanted};
  while (!open.empty()) {
    const ValueId id = open.back();
    open.pop_back();
    const NodeId producer = id == ValueId::none ? NodeId::none : graph.producer(id);
    if (producer == NodeId::none || done[index(producer)] || found[index(producer)]) continue;
    found[index(producer)] = true;
    for (ValueId in : graph.node(producer).inputs) open.push_back(in);
  }
  return found;
}

/// The inputs of `node`; an empty tensor for a constant, as Reference::run_node expects.
std::vector<Tensor> arguments(const Graph& graph, const Node& node, const Values& values) {
  std::vector<Tensor> inputs;
  for (ValueId in : node.inputs) {
    const bool is_given = in == ValueId::none || graph.is_constant(in);
    inputs.push_back(is_given ? Tensor() : *values[index(in)]);
  }
  return inputs;
}

}  // namespace

Values input_values(const Graph& graph, std::span<const Tensor> inputs) {
  Values values(graph.value_capacity());
  check(inputs.size() == graph.inputs().size(), "{} inputs are given, but the network has {}", inputs.size(),
        graph.inputs().size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const ValueId id = graph.inputs()[i];
    const auto& grid = graph.value(id).quant;
    values[index(id)] = grid && inputs[i].dtype() == DataType::float32 ? snap(inputs[i], *grid) : inputs[i];
  }
  return values;
}

void run_node(const Graph& graph, const Reference& reference, NodeId id, Values& values) {
  const Node& node = graph.node(id);
  std::vector<Tensor> outputs = reference.run_node(id, arguments(graph, node, values));
  for (std::size_t i = 0; i < outputs.size(); ++i)
    if (node.outputs[i] != ValueId::none) values[index(node.outputs[i])] = std::move(outputs[i]);
}

Segment::Segment(const Graph& graph, ValueId wanted, const std::vector<bool>& done) : done_(done) {
  const std::vector<NodeId> order = graph.topological_order();
  for (NodeId id : order) done_.resize(std::max(done_.size(), index(id) + 1));
  const std::vector<bool> needed = ancestors(graph, wanted, done_);
  for (NodeId id : order)
    if (needed[index(id)]) {
      steps_.push_back({id, {}});
      done_[index(id)] = true;
    }
  for (ValueId id : graph.values()) {
    const NodeId producer = graph.producer(id);
    const bool is_made = graph.is_input(id) || (producer != NodeId::none && done_[index(producer)]);
    const auto& readers = graph.consumers(id);
    if (is_made && std::any_of(readers.begin(), readers.end(), [&](NodeId reader) { return !done_[index(reader)]; }))
      live_.push_back(id);
  }
  // Values are freed after their last reader in this segment, or at once if there is none.
  std::vector<bool> is_dead(graph.value_capacity());
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
    const Node& node = graph.node(step->node);
    for (const auto& ids : {node.inputs, node.outputs})
      for (ValueId id : ids) {
        if (id == ValueId::none || id == wanted || graph.is_constant(id) || is_dead[index(id)]) continue;
        is_dead[index(id)] = true;
        if (!std::binary_search(live_.begin(), live_.end(), id)) step->dying.push_back(id);
      }
  }
}

void Segment::run(const Graph& graph, const Reference& reference, Values& values) const {
  for (const Step& step : steps_) {
    run_node(graph, reference, step.node, values);
    for (ValueId id : step.dying) values[index(id)].reset();
  }
}

}  // namespace bitfold::quantization
