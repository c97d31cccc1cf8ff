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
std::optional<LinearLayer> reader_behind_relu(const Graph& graph, ValueId id) {
  if (!graph.has_single_consumer(id)) return std::nullopt;
  const Node& relu = graph.node(graph.consumers(id).front());
  const auto* unary = std::get_if<Unary>(&relu.op);
  if (unary == nullptr || unary->kind != UnaryKind::relu || !graph.has_single_consumer(relu.outputs[0]))
    return std::nullopt;
  const NodeId reader = graph.consumers(relu.outputs[0]).front();
  const bool takes_biases = graph.node(reader).inputs[0] == relu.outputs[0] && !pads(graph.node(reader).op);
  return takes_biases ? linear_layer(graph, reader) : std::nullopt;
}

std::size_t absorb(Graph& graph, ValueId id, ChannelNormals& normals) {
  const auto writer = rewritable_producer(graph, id), reader = reader_behind_relu(graph, id);
  const auto channels = static_cast<std::int64_t>(normals.mean.size());
  if (!writer || !reader || writer->channel_count != channels || reader->input_count != channels) return 0;
  std::vector<double> shift(normals.mean.size()), onward(static_cast<std::size_t>(reader->channel_count));
  std::size_t count = 0;
  for (std::size_t c = 0; c < shift.size(); ++c) {
    const double excess = normals.mean[c] - kDeviations * normals.deviation[c];
    if (excess <= 0) continue;
    shift[c] = -excess;
    normals.mean[c] -= excess;
    ++count;
  }
  if (count == 0) return 0;
  const Node& node = graph.node(reader->node);
  const Tensor& w = *plain_constant(graph, node.inputs[1]);
  const auto* gemm = std::get_if<Gemm>(&node.op);
  const double alpha = gemm != nullptr ? static_cast<double>(gemm->alpha) : 1;
  for_each_weight(node.op, w.shape(), [&](std::size_t i, std::int64_t o, std::int64_t k) {
    onward[static_cast<std::size_t>(o)] -=
        alpha * static_cast<double>(w.data<float>()[i]) * shift[static_cast<std::size_t>(k)];
  });
  scale_and_shift(graph, *writer, std::vector<double>(shift.size(), 1.0), shift);
  scale_and_shift(graph, *reader, std::vector<double>(onward.size(), 1.0), onward);
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
