// Images with channels last, as oneDNN's convolutions like them. What stands between two convolutions and is the same
// function in that order runs in it, so that images are not turned around twice for each.
#pragma once

#include <span>

#include "bitfold/graph.h"
#include "ops/operator.h"

namespace bitfold::reference {

/// A value while a graph runs. The tensor's shape is the graph's, [N, C, spatial...]; with channels last its elements
/// are in the order [N, spatial..., C].
struct Held {
  Tensor tensor;
  bool has_channels_last = false;
};

/// From then on they come first.
void put_channels_first(Held& held);

/// How many of the node's first inputs are images of one shape that may all have channels last, its only output then
/// having them last, too; the other inputs are scalars. 0 where no order but the graph's will do.
std::size_t images_in_any_order(const Graph& graph, const Node& node);

/// Runs such a node on views that have the graph's shapes and channels last.
void run_channels_last(const Node& node, ops::Evaluate function, std::span<const TensorView> in,
                       std::span<const TensorView> out);

}  // namespace bitfold::reference
