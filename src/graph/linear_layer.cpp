#include "graph/linear_layer.h"

#include <algorithm>
#include <cmath>

namespace bitfold {
namespace {

/// Output channels of a layer with this weight; 0 for other operators and invalid shapes.
std::int64_t output_channels(const Graph& graph, const Node& node, const Shape& weight) {
  if (std::holds_alternative<Conv>(node.op)) return weight.size() >= 3 ? weight[0] : 0;
  if (const auto* transposed = std::get_if<ConvTranspose>(&node.op))
    return weight.size() >= 3 ? weight[1] * transposed->group : 0;
  if (weight.size() != 2) return 0;
  if (const auto* gemm = std::get_if<Gemm>(&node.op)) return weight[gemm->trans_b ? 0 : 1];
  if (std::holds_alternative<MatMul>(node.op)) {
    // Above rank 2, the channels of a MatMul are its last axis, not axis 1.
    const auto& x = graph.value(node.inputs[0]).shape;
    return x && x->size() == 2 ? weight[1] : 0;
  }
  return 0;
}

std::int64_t input_channels(const Op& op, const Shape& weight) {
  if (const auto* conv = std::get_if<Conv>(&op)) return weight[1] * conv->group;
  const auto* gemm = std::get_if<Gemm>(&op);
  return weight[gemm != nullptr && gemm->trans_b ? 1 : 0];
}

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
  const std::int64_t channels = output_channels(graph, node, weight->shape());
  if (channels <= 0) return std::nullopt;
  if (node.inputs.size() > 2 && node.inputs[2] != ValueId::none) {
    const Tensor* bias = plain_constant(graph, node.inputs[2]);
    if (bias == nullptr || !is_per_channel(*bias, channels)) return std::nullopt;
  }
  return LinearLayer{id, channels, input_channels(node.op, weight->shape())};
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
    if (statistic == nullptr || statistic->size() != layer->channel_count) return false;
    const auto data = statistic->data<float>();
    if (!std::all_of(data.begin(), data.end(), [](float v) { return std::isfinite(v); })) return false;
  }
  const auto variance = plain_constant(graph, node.inputs[4])->data<float>();
  return std::all_of(variance.begin(), variance.end(),
                     [&](float v) { return static_cast<double>(v) + static_cast<double>(op->epsilon) > 0; });
}

}  // namespace bitfold
