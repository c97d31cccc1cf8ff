// Layers whose output channels can be scaled and shifted through their constants.
#pragma once

#include <cstdint>
#include <optional>

#include "bitfold/graph.h"

namespace bitfold {

/// A Conv, ConvTranspose, Gemm, or MatMul of matrices, with plain float32 constants as weight and bias.
struct LinearLayer {
  NodeId node = NodeId::none;
  std::int64_t channel_count = 0;  ///< Along axis 1 of its output.
};

/// The layer that produces `id`, when its constants can be changed without anyone but `id`'s one consumer noticing, and
/// the values involved carry no grid. A weight that other nodes read too does not matter: whoever changes it clones it.
std::optional<LinearLayer> rewritable_producer(const Graph& graph, ValueId id);

/// Whether a BatchNorm folds into the layer before it: rewritable_producer(), constant statistics of that many
/// channels, and a finite positive variance + epsilon.
bool folds_backward(const Graph& graph, NodeId batch_norm);

/// A float32 constant without a grid; null for anything else, ValueId::none included.
const Tensor* plain_constant(const Graph& graph, ValueId id);

}  // namespace bitfold
