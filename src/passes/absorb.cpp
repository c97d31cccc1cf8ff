// relu(h) = relu(h - c) + c wherever h >= c >= 0. With h normal, that fails for 0.13 % of a channel's numbers. The
// layer behind adds W c to its bias; with zeros padded, its sum over an edge would have to leave some of that out.
#include <algorithm>
#include <cmath>

#include "bitfold/batch_norm_table.h"
#include "graph/linear_layer.h"
#include "passes/rewrite.h"

namespace bitfold {
namespace {

constexpr double kDeviations = 3;

bool pads(const Op& op) {
  const auto* conv = std::get_if<Conv>(&op);
  if (conv == nullptr) return !std::holds_alternative<Gemm>(op) && !std::holds_alternative<MatMul>(op);
  const auto& p = conv->window.pads;
  return conv->window.auto_pad != AutoPad::none || std::any_of(p.begin(), p.end(), [](auto n) { return n != 0; });
}

// The layer that alone reads the Relu that alone reads `id`.
NodeId reader_behind_relu(const Graph& graph, ValueId id) {
  if (!graph.has_single_consumer(id)) return NodeId::none;
  const Node& relu = graph.node(graph.consumers(id).front());
  const auto* unary = std::get_if<Unary>(&relu.op);
  if (unary == nullptr || unary->kind != UnaryKind::relu || !graph.has_single_consumer(relu.outputs[0]))
    return NodeId::none;
  const NodeId reader = graph.consumers(relu.outputs[0]).front();
  const bool is_layer = linear_layer(graph, reader) && graph.node(reader).inputs[0] == relu.outputs[0];
  return is_layer && !pads(graph.node(reader).op) ? reader : NodeId::none;
}

std::size_t absorb(Graph& graph, ValueId id, ChannelNormals& normals) {
  const auto writer = rewritable_producer(graph, id);
  const NodeId reader = reader_behind_relu(graph, id);
  if (!writer || reader == NodeId::none) return 0;
  const std::size_t channels = normals.mean.size();
  const Node& node = graph.node(reader);
  const Shape weights = plain_constant(graph, node.inputs[1])->shape();
  const auto* conv = std::get_if<Conv>(&node.op);
  const auto ins =
      static_cast<std::size_t>(conv != nullptr ? weights[1] * conv->group
                               : std::holds_alternative<Gemm>(node.op) && std::get<Gemm>(node.op).trans_b ? weights[1]
                                                                                                          : weights[0]);
  if (static_cast<std::size_t>(writer->channel_count) != channels || ins != channels) return 0;
  std::vector<double> shift(channels), onward(static_cast<std::size_t>(linear_layer(graph, reader)->channel_count));
  std::size_t count = 0;
  for (std::size_t c = 0; c < channels; ++c) {
    const double excess = normals.mean[c] - kDeviations * normals.deviation[c];
    if (excess <= 0) continue;
    shift[c] = -excess;
    normals.mean[c] -= excess;
    ++count;
  }
  if (count == 0) return 0;
  const Tensor& w = *plain_constant(graph, node.inputs[1]);
  const auto* gemm = std::get_if<Gemm>(&node.op);
  const double alpha = gemm != nullptr ? static_cast<double>(gemm->alpha) : 1;
  for_each_weight(node.op, w.shape(), [&](std::size_t i, std::int64_t o, std::int64_t k) {
    onward[static_cast<std::size_t>(o)] -=
        alpha * static_cast<double>(w.data<float>()[i]) * shift[static_cast<std::size_t>(k)];
  });
  scale_and_shift(graph, *writer, std::vector<double>(channels, 1.0), shift);
  scale_and_shift(graph, *linear_layer(graph, reader), std::vector<double>(onward.size(), 1.0), onward);
  return count;
}

}  // namespace

BatchNormTable batch_norm_table(const Graph& graph) {
  BatchNormTable table;
  for (NodeId id : graph.nodes()) {
    const Node& node = graph.node(id);
    if (!std::holds_alternative<BatchNorm>(node.op)) continue;
    const Tensor *gamma = plain_constant(graph, node.inputs[1]), *beta = plain_constant(graph, node.inputs[2]);
    if (gamma == nullptr || beta == nullptr) continue;
    ChannelNormals& normals = table[graph.value(node.outputs[0]).name];
    for (float x : beta->data<float>()) normals.mean.push_back(static_cast<double>(x));
    for (float x : gamma->data<float>()) normals.deviation.push_back(std::fabs(static_cast<double>(x)));
  }
  return table;
}

std::size_t absorb_high_bias(Graph& graph, BatchNormTable& table) {
  infer_shapes(graph);
  std::size_t count = 0;
  for (auto& [name, normals] : table)
    if (const ValueId id = graph.find(name); id != ValueId::none) count += absorb(graph, id, normals);
  verify(graph, Stage::optimized);
  return count;
}

}  // namespace bitfold
