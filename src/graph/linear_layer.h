// Layers whose output channels can be scaled and shifted through their constants.
#pragma once

#include <cstdint>
#include <optional>

#include "bitfold/graph.h"

namespace bitfold {

/// A Conv, ConvTranspose, Gemm, or MatMul of matrices, with plain float32 constants as weight and bias.
struct LinearLayer {
  NodeId node = NodeId::none;
  std::int64_t channel_count = 0;  ///< Output channels, along axis 1.
  std::int64_t input_count = 0;    ///< Input channels of all groups.
};

/// The node as a linear layer; empty if it is not one. The weight may have other readers, because passes copy it before
/// changing it.
std::optional<LinearLayer> linear_layer(const Graph& graph, NodeId id);

/// Calls visit(i, o, k) for every element i of a linear layer's weights of that shape, which connects input channel k
/// to output channel o.
template <class Visit>
void for_each_weight(const Op& op, const Shape& shape, const Visit& visit) {
  const auto* conv = std::get_if<Conv>(&op);
  const auto* transposed = std::get_if<ConvTranspose>(&op);
  const auto* gemm = std::get_if<Gemm>(&op);
  const std::int64_t rows = shape[0], columns = shape[1];
  const std::int64_t groups = conv != nullptr ? conv->group : transposed != nullptr ? transposed->group : 1;
  const std::int64_t inner = rows * columns == 0 ? 0 : element_count(shape) / (rows * columns);
  const bool is_output_first = conv != nullptr || (gemm != nullptr && gemm->trans_b);
  std::size_t i = 0;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c) {
      // Rows are contiguous channels of a group; columns count the channels of one group.
      const std::int64_t whole = r / (rows / groups) * columns + c;
      for (std::int64_t k = 0; k < inner; ++k, ++i) visit(i, is_output_first ? r : whole, is_output_first ? whole : r);
    }
}

/// The layer that produces `id`, if `id` has a single consumer, is not a graph output, and the values involved have no
/// grid. Changing the layer's constants then affects only this consumer. The weight may have other readers, because
/// passes copy it before changing it.
std::optional<LinearLayer> rewritable_producer(const Graph& graph, ValueId id);

/// Whether a BatchNorm folds into the layer before it: there is a rewritable_producer(), and the statistics are
/// constant, of that many channels, with finite positive variance + epsilon.
bool folds_backward(const Graph& graph, NodeId batch_norm);

/// A float32 constant without a grid; null for anything else, including ValueId::none.
const Tensor* plain_constant(const Graph& graph, ValueId id);

}  // namespace bitfold
