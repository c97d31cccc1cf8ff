#include "graph/linear_layer.h"

#include <algorithm>
#include <cmath>

#include "ops/operator.h"

namespace bitfold {
namespace {

/// A Gemm's C may be a whole matrix; only a number per channel, or a single number, can be changed per channel.
bool is_per_channel(const Tensor& bias, std::int64_t channels) {
  if (bias.rank() > 2 || (bias.rank() == 2 && bias.dim(0) != 1)) return false;
  return bias.size() == 1 || bias.size() == channels;
}

}  // namespace

const Tensor* plain_constant(const Graph& graph, ValueId id) {
  if (!graph.is_constant(id)) return nullptr;
  const Value& value = graph.value(id);
  return value.quant || value.constant->dtype() != DataType::float32 ? nullptr : &*value.constant;
}

std::optional<LinearLayer> linear_layer(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (node.inputs.size() < 2) return std::nullopt;
  const Tensor* weight = plain_constant(graph, node.inputs[1]);
  // A node that multiplies a constant by itself has no separate weight.
  if (weight == nullptr || node.inputs[0] == node.inputs[1]) return std::nullopt;
  const auto weights = ops::weight_matrix(node.op, weight->shape());
  if (!weights || weights->output_count() <= 0) return std::nullopt;
  // Above rank 2, the channels of a MatMul are its last axis.
  const auto& x = graph.value(node.inputs[0]).shape;
  if (weights->is_batched && (!x || x->size() != 2)) return std::nullopt;
  if (node.inputs.size() > 2 && node.inputs[2] != ValueId::none) {
    const Tensor* bias = plain_constant(graph, node.inputs[2]);
    if (bias == nullptr || !is_per_channel(*bias, weights->output_count())) return std::nullopt;
  }
  return LinearLayer{id, *weights};
}

std::optional<ops::WeightMatrix> constant_weights(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (node.inputs.size() < 2 || !graph.is_constant(node.inputs[1])) return std::nullopt;
  return ops::weight_matrix(node.op, graph.value(node.inputs[1]).constant->shape());
}

std::optional<LinearLayer> rewritable_producer(const Graph& graph, ValueId id) {
  if (id == ValueId::none || graph.value(id).quant || !graph.has_single_consumer(id)) return std::nullopt;
  const NodeId producer = graph.producer(id);
  return producer == NodeId::none ? std::nullopt : linear_layer(graph, producer);
}

bool folds_backward(const Graph& graph, NodeId batch_norm) {
  const Node& node = graph.node(batch_norm);
  const auto* op = std::get_if<BatchNorm>(&node.op);
  if (op == nullptr || node.inputs.size() != 5) return false;
  const auto layer = rewritable_producer(graph, node.inputs[0]);
  if (!layer) return false;
  for (std::size_t i = 1; i < 5; ++i) {
    const Tensor* statistic = plain_constant(graph, node.inputs[i]);
    if (statistic == nullptr || statistic->size() != layer->weights.output_count()) return false;
    const auto data = statistic->data<float>();
    if (!std::all_of(data.begin(), data.end(), [](float v) { return std::isfinite(v); })) return false;
  }
  const auto variance = plain_constant(graph, node.inputs[4])->data<float>();
  return std::all_of(variance.begin(), variance.end(),
                     [&](float v) { return static_cast<double>(v) + static_cast<double>(op->epsilon) > 0; });
}

}  // namespace bitfold
