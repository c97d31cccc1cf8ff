#include "quantize/activation.h"

#include "graph/clip_bounds.h"

namespace bitfold::quantization {

Activation activation_behind(const Graph& graph, NodeId id) {
  const ValueId y = graph.node(id).outputs[0];
  if (graph.is_output(y) || !graph.has_single_consumer(y)) return {};
  const NodeId next = graph.consumers(y).front();
  if (const auto bounds = clip_bounds(graph, next)) return {.low = bounds->lower, .high = bounds->upper};
  const auto* op = std::get_if<Parametric>(&graph.node(next).op);
  if (op == nullptr || op->kind != ParametricKind::leaky_relu || op->alpha < 0) return {};
  return {.negative_slope = op->alpha};
}

}  // namespace bitfold::quantization
