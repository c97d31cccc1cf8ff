#include "quantize/roles.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/check.h"
#include "graph/activation.h"
#include "ops/operator.h"
#include "quantize/weights.h"

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

// Shared by the products: data in slot 0, constant float weights of `rank` in slot 1.
std::string weight_problem(const Graph& graph, NodeId id, std::size_t rank) {
  const ValueId x = input(graph, id, 0), w = input(graph, id, 1);
  if (!graph.is_constant(w)) return "its weights are not constant";
  if (graph.is_constant(x)) return "its input is constant";
  const Value& weights = graph.value(w);
  if (weights.quant) return "its weights have a grid already";
  if (weights.constant->dtype() != DataType::float32)
    return fmt::format("its weights are {}", to_string(weights.constant->dtype()));
  if (weights.constant->rank() != static_cast<int>(rank))
    return fmt::format("its weights have {} dimensions; {} can run in integers", weights.constant->rank(), rank);
  return weights.constant->size() == 0 ? "its weights are empty" : "";
}

std::string bias_problem(const Graph& graph, NodeId id, std::int64_t channels) {
  const ValueId b = input(graph, id, 2);
  if (b == ValueId::none) return "";
  if (!graph.is_constant(b)) return "its bias is not constant";
  const Value& bias = graph.value(b);
  if (bias.quant || bias.constant->dtype() != DataType::float32) return "its bias is not float32";
  const std::int64_t size = bias.constant->size();
  const bool is_row = size == channels && bias.constant->rank() >= 1 && bias.constant->shape().back() == channels;
  return is_row || size == 1
             ? ""
             : fmt::format("its bias of shape {} is not one number per output", to_string(bias.constant->shape()));
}

std::string product_problem(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const bool is_conv = std::holds_alternative<Conv>(node.op);
  std::string problem = weight_problem(graph, id, is_conv ? 4 : 2);
  if (!problem.empty()) return problem;
  const Tensor& weights = *graph.value(input(graph, id, 1)).constant;
  return bias_problem(graph, id, weights.dim(output_axis(node.op)));
}

/// The reason why a Clip or Pad with these parameters runs in float; empty if it does not.
std::string parameter_problem(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (ops::info(node.op).role == ops::Role::clip && !find_clamp(graph, id)) return "its bounds are not constant";
  const auto* pad = std::get_if<Pad>(&node.op);
  if (pad == nullptr || pad->mode != PadMode::constant) return "";
  const ValueId fill = ops::input_with(node, ops::Use::fill);
  return fill == ValueId::none || scalar_constant(graph, fill) == 0.0F ? "" : "it pads with something other than 0";
}

/// The reason why a node that runs in integers if its neighbours do cannot; empty if it can.
std::string data_problem(const Graph& graph, NodeId id) {
  for (ValueId in : data_inputs(graph, id)) {
    if (graph.is_constant(in)) return fmt::format("its input {} is constant", quoted(graph, in));
    if (!is_float(graph, in))
      return fmt::format("its input {} is {}", quoted(graph, in), to_string(graph.value(in).dtype));
  }
  return "";
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
  if (!computes_float) return refuse("it computes no float32 value");
  if (node.inputs.empty() || node.inputs[0] == ValueId::none) return refuse("it has no data input");
  const ops::OperatorInfo& row = ops::info(node.op);
  const Role role = role_of(row.role);
  if (role == Role::none)
    return refuse(row.is_internal && std::holds_alternative<Opaque>(node.op) ? "the operator is unknown"
                                                                             : "the operator runs in float");
  const std::vector<ValueId> outputs = used_outputs(graph, id);
  if (!std::ranges::all_of(outputs, [&](ValueId out) { return is_float(graph, out); }))
    return refuse("one of its outputs is not float32");
  if (row.why_in_float != nullptr)
    if (const std::string_view reason = row.why_in_float(node.op); !reason.empty()) return refuse(std::string(reason));
  std::string problem = role == Role::product ? product_problem(graph, id) : data_problem(graph, id);
  if (problem.empty() && role != Role::product) problem = parameter_problem(graph, id);
  return problem.empty() ? Classified{role, ""} : refuse(std::move(problem));
}

}  // namespace bitfold::quantization
