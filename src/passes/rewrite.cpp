#include "passes/rewrite.h"

#include <algorithm>
#include <cassert>

namespace bitfold {
namespace {

constexpr std::string_view kWeightSuffix = ".weight";

/// "conv1.bias" for "conv1.weight", as frameworks name them.
std::string bias_name(const Graph& graph, ValueId weight) {
  std::string stem = graph.value(weight).name;
  if (stem.ends_with(kWeightSuffix)) stem.resize(stem.size() - kWeightSuffix.size());
  return graph.unique_name(stem + ".bias");
}

/// The current bias per channel, in double; zeros without a bias. Gemm's beta is applied.
std::vector<double> bias_of(const Graph& graph, const LinearLayer& layer) {
  std::vector<double> bias(static_cast<std::size_t>(layer.weights.output_count()), 0.0);
  const Node& node = graph.node(layer.node);
  if (node.inputs.size() < 3 || node.inputs[2] == ValueId::none) return bias;
  const double beta = static_cast<double>(layer.weights.beta);
  const auto data = plain_constant(graph, node.inputs[2])->data<float>();
  for (std::size_t c = 0; c < bias.size(); ++c) bias[c] = beta * static_cast<double>(data[data.size() == 1 ? 0 : c]);
  return bias;
}

}  // namespace

bool bypass(Graph& graph, NodeId id, ValueId source) {
  const ValueId result = graph.node(id).outputs[0];
  if (graph.value(result).quant != graph.value(source).quant) return false;
  if (graph.is_output(result) && (graph.producer(source) == NodeId::none || graph.is_output(source))) return false;
  graph.replace_value(result, source);
  graph.remove_node(id);
  return true;
}

void set_constant_input(Graph& graph, NodeId id, std::size_t slot, Tensor tensor, std::string_view stem) {
  if (slot >= graph.node(id).inputs.size()) graph.resize_inputs(id, slot + 1);
  const std::vector<ValueId>& inputs = graph.node(id).inputs;
  const ValueId present = inputs[slot];
  const bool is_own = graph.is_constant(present) && graph.has_single_consumer(present) && !graph.is_input(present) &&
                      std::count(inputs.begin(), inputs.end(), present) == 1;
  if (!is_own) {
    graph.set_input(id, slot, graph.add_constant(graph.unique_name(stem), std::move(tensor)));
    return;
  }
  Value& value = graph.value(present);
  value.dtype = tensor.dtype();
  value.shape = tensor.shape();
  value.constant = std::move(tensor);
}

void scale_and_shift(Graph& graph, const LinearLayer& layer, std::span<const double> scale,
                     std::span<const double> shift) {
  assert(std::ssize(scale) == layer.weights.output_count() && std::ssize(shift) == layer.weights.output_count());
  const ValueId weight = graph.node(layer.node).inputs[1];
  const std::string weight_name = graph.value(weight).name;
  if (std::any_of(scale.begin(), scale.end(), [](double s) { return s != 1.0; })) {
    Tensor scaled = *graph.value(weight).constant;
    const auto data = scaled.mutable_data<float>();
    layer.weights.for_each([&](std::size_t i, std::int64_t channel, std::int64_t) {
      data[i] = static_cast<float>(static_cast<double>(data[i]) * scale[static_cast<std::size_t>(channel)]);
    });
    set_constant_input(graph, layer.node, 1, std::move(scaled), weight_name);
  }
  const std::vector<double> old_bias = bias_of(graph, layer);
  std::vector<float> bias(old_bias.size());
  for (std::size_t c = 0; c < bias.size(); ++c) bias[c] = static_cast<float>(scale[c] * old_bias[c] + shift[c]);
  const Node& node = graph.node(layer.node);
  const bool has_bias = node.inputs.size() > 2 && node.inputs[2] != ValueId::none;
  if (!has_bias && std::all_of(bias.begin(), bias.end(), [](float b) { return b == 0; })) return;
  if (std::holds_alternative<MatMul>(node.op)) graph.op(layer.node) = Gemm{};
  if (auto* gemm = std::get_if<Gemm>(&graph.op(layer.node))) gemm->beta = 1;
  const std::string stem = has_bias ? graph.value(node.inputs[2]).name : bias_name(graph, weight);
  set_constant_input(graph, layer.node, 2, Tensor::from<float>({std::ssize(bias)}, bias), stem);
}

void absorb_into(Graph& graph, NodeId producer, NodeId id) {
  const ValueId result = graph.node(id).outputs[0];
  graph.remove_node(id);
  graph.set_output(producer, 0, result);
}

}  // namespace bitfold
