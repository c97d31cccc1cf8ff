// Assumed sizes of open dimensions, so that weights can be packed before the first run.
#pragma once

#include <vector>

#include "bitfold/graph.h"
#include "bitfold/tensor.h"

namespace bitfold::engine {

/// The shape with `size` for every open size.
Shape with_size(Shape shape, std::int64_t size);

/// Shapes of the graph's inputs to try in turn, because a network may refuse some sizes. Empty if an input has no known
/// rank. The first ones have batches of one sample, the most frequent case. A single candidate if all sizes are known.
std::vector<std::vector<Shape>> assumed_input_shapes(const Graph& graph);

}  // namespace bitfold::engine
