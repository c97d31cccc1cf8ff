// Layers whose output channels can be scaled and shifted through their constants.
#pragma once

#include <optional>

#include "bitfold/graph.h"
#include "ops/weight_matrix.h"

namespace bitfold {

/// A Conv, ConvTranspose, Gemm, or MatMul of matrices, with plain float32 constants as weight and bias. Its output
/// channels are axis 1.
struct LinearLayer {
  NodeId node = NodeId::none;
  ops::WeightMatrix weights;
};

/// The node as a linear layer; empty if it is not one. The weight may have other readers, because passes copy it before
/// changing it.
std::optional<LinearLayer> linear_layer(const Graph& graph, NodeId id);

/// The weights of a product in input 1; empty if they are not constant, or the node is not a product.
std::optional<ops::WeightMatrix> constant_weights(const Graph& graph, NodeId id);

/// The layer that produces `id`, if `id` has a single consumer, is not a graph output, and the values involved have no
/// grid. Changing the layer's constants then affects only this consumer. The weight may have other readers, because
/// passes copy it before changing it.
std::optional<LinearLayer> rewritable_producer(const Graph& graph, ValueId id);

/// Whether a BatchNorm folds into the layer before it: there is a rewritable_producer(), and the statistics are
/// constant, have one entry per channel, and variance + epsilon is finite and positive.
bool folds_backward(const Graph& graph, NodeId batch_norm);

/// A float32 constant without a grid; null for anything else, including ValueId::none.
const Tensor* plain_constant(const Graph& graph, ValueId id);

}  // namespace bitfold
