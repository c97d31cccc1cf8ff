// Channels-last images, the preferred layout of oneDNN's convolutions. Operators between two convolutions that allow
// this layout run in it, so that images are not reordered twice for each.
#pragma once

#include <span>

#include "bitfold/graph.h"
#include "ops/operator.h"

namespace bitfold::reference {

/// A value during a run. The tensor's shape is the graph's, [N, C, spatial...]; if channels-last, its elements are in
/// the order [N, spatial..., C].
struct Held {
  Tensor tensor;
  bool has_channels_last = false;
};

/// Reorders the elements to channels-first.
void put_channels_first(Held& held);

/// The number of leading inputs of the node that are images of one shape and may all be channels-last; its only output
/// is then channels-last, too, and the other inputs are scalars. 0 if the node needs the graph's order.
std::size_t images_in_any_order(const Graph& graph, const Node& node);

/// Runs such a node on views with the graph's shapes and channels-last elements.
void run_channels_last(const Node& node, ops::Evaluate function, std::span<const TensorView> in,
                       std::span<const TensorView> out);

}  // namespace bitfold::reference
