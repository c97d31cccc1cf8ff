// Folds BatchNorm into the layer before it. With k[c] = gamma[c] / sqrt(variance[c] + epsilon),
//
//   k (W x + b - mean) + beta  =  (k W) x + k (b - mean) + beta
//
// Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (2018),
// section 3.2. Computed in double and rounded once. The value keeps the name of the BatchNorm's output, which the rest
// of the network refers to.
//
// A BatchNorm without a layer to fold into is kept: it takes one pass over its input, while a Mul and an Add would take
// two.
#include <cmath>

#include "passes/rewrite.h"

namespace bitfold {

int fold_batch_norm(Graph& graph) {
  int changes = 0;
  for (NodeId id : graph.topological_order()) {
    if (!folds_backward(graph, id)) continue;
    const Node& node = graph.node(id);
    const LinearLayer layer = *rewritable_producer(graph, node.inputs[0]);
    const auto statistic = [&](std::size_t slot) { return plain_constant(graph, node.inputs[slot])->data<float>(); };
    const auto gamma = statistic(1), beta = statistic(2), mean = statistic(3), variance = statistic(4);
    const auto epsilon = static_cast<double>(std::get<BatchNorm>(node.op).epsilon);
    std::vector<double> scale(gamma.size()), shift(gamma.size());
    for (std::size_t c = 0; c < scale.size(); ++c) {
      scale[c] = static_cast<double>(gamma[c]) / std::sqrt(static_cast<double>(variance[c]) + epsilon);
      shift[c] = static_cast<double>(beta[c]) - scale[c] * static_cast<double>(mean[c]);
    }
    scale_and_shift(graph, layer, scale, shift);
    absorb_into(graph, layer.node, id);
    ++changes;
  }
  return changes;
}

}  // namespace bitfold
