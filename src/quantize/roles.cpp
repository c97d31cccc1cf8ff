#include "quantize/roles.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/check.h"
#include "graph/activation.h"
#include "graph/linear_layer.h"
#include "ops/custom.h"
#include "ops/operator.h"

namespace bitfold::quantization {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool is_float(const Graph& graph, ValueId id) { return graph.value(id).dtype == DataType::float32; }

std::string quoted(const Graph& graph, ValueId id) { return fmt::format("'{}'", graph.value(id).name); }

ValueId input(const Graph& graph, NodeId id, std::size_t slot) {
  const auto& inputs = graph.node(id).inputs;
  return slot < inputs.size() ? inputs[slot] : ValueId::none;
}

Classified refuse(std::string reason) { return {Role::none, std::move(reason)}; }

/// The reason why a node cannot run in integers; none if it can.
using Refusal = std::optional<std::string>;

// Shared by the products: data in slot 0, constant float weights in slot 1.
Refusal weight_problem(const Graph& graph, NodeId id) {
  const ValueId x = input(graph, id, 0), w = input(graph, id, 1);
  if (!graph.is_constant(w)) return "its weights are not constant";
  if (graph.is_constant(x)) return "its input is constant";
  const Value& weights = graph.value(w);
  if (weights.quant) return "its weights have a grid already";
  if (weights.constant->dtype() != DataType::float32)
    return fmt::format("its weights have element type {}", to_string(weights.constant->dtype()));
  const int rank = weights.constant->rank();
  const bool is_window = ops::window_of(graph.node(id).op) != nullptr;
  if (is_window ? rank != 3 && rank != 4 : rank != 2)
    return fmt::format("its weights have {} dimensions; only {} can run in integers", rank, is_window ? "3 or 4" : "2");
  if (weights.constant->size() == 0) return "its weights are empty";
  return std::nullopt;
}

Refusal bias_problem(const Graph& graph, NodeId id, std::int64_t channels) {
  const ValueId b = input(graph, id, 2);
  if (b == ValueId::none) return std::nullopt;
  if (!graph.is_constant(b)) return "its bias is not constant";
  const Value& bias = graph.value(b);
  if (bias.quant || bias.constant->dtype() != DataType::float32) return "its bias is not float32";
  const std::int64_t size = bias.constant->size();
  const bool is_row = size == channels && bias.constant->rank() >= 1 && bias.constant->shape().back() == channels;
  if (is_row || size == 1) return std::nullopt;
  return fmt::format("its bias has shape {}; it must have one number per output", to_string(bias.constant->shape()));
}

Refusal product_problem(const Graph& graph, NodeId id) {
  if (Refusal problem = weight_problem(graph, id)) return problem;
  return bias_problem(graph, id, constant_weights(graph, id)->output_count());
}

/// For nodes whose parameters decide, such as Clip and Pad.
Refusal parameter_problem(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (ops::info(node.op).role == ops::Role::clip && !find_clamp(graph, id)) return "its bounds are not constant";
  if (!fills_with_zero(graph, node)) return "it pads with something other than 0";
  return std::nullopt;
}

/// For nodes that run in integers if their neighbours do.
Refusal data_problem(const Graph& graph, NodeId id) {
  for (ValueId in : data_inputs(graph, id)) {
    if (graph.is_constant(in)) return fmt::format("its input {} is constant", quoted(graph, in));
    if (!is_float(graph, in))
      return fmt::format("its input {} has element type {}", quoted(graph, in), to_string(graph.value(in).dtype));
  }
  return std::nullopt;
}

Role role_of(ops::Role role) {
  switch (role) {
    case ops::Role::product:
      return Role::product;
    case ops::Role::movement:
      return Role::movement;
    case ops::Role::clip:
      return Role::clip;
    case ops::Role::arithmetic:
      return Role::arithmetic;
    case ops::Role::in_float:
      return Role::none;
  }
  return Role::none;
}

}  // namespace

std::vector<ValueId> data_inputs(const Graph& graph, NodeId id) {
  std::vector<ValueId> inputs;
  for (ValueId in : ops::inputs_with(graph.node(id), ops::Use::data))
    if (std::find(inputs.begin(), inputs.end(), in) == inputs.end()) inputs.push_back(in);
  return inputs;
}

std::vector<ValueId> used_outputs(const Graph& graph, NodeId id) {
  std::vector<ValueId> outputs;
  for (ValueId out : graph.node(id).outputs)
    if (out != ValueId::none) outputs.push_back(out);
  return outputs;
}

Classified classify(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const bool computes_float = std::any_of(node.outputs.begin(), node.outputs.end(),
                                          [&](ValueId out) { return out != ValueId::none && is_float(graph, out); });
  if (!computes_float) return refuse("its output is not float32");
  if (node.inputs.empty() || node.inputs[0] == ValueId::none) return refuse("it has no input that carries data");
  const ops::OperatorInfo& row = ops::info(node.op);
  const Role role = role_of(row.role);
  if (role == Role::none)
    return refuse(ops::is_unknown_operator(node.op) ? "the operator is unknown" : "the operator runs in float");
  const std::vector<ValueId> outputs = used_outputs(graph, id);
  if (!std::ranges::all_of(outputs, [&](ValueId out) { return is_float(graph, out); }))
    return refuse("one of its outputs is not float32");
  if (const auto reason = ops::why_in_float(node.op)) return refuse(std::string(*reason));
  Refusal problem = role == Role::product ? product_problem(graph, id) : data_problem(graph, id);
  if (!problem && role != Role::product) problem = parameter_problem(graph, id);
  return problem ? refuse(std::move(*problem)) : Classified{role, ""};
}

}  // namespace bitfold::quantization
