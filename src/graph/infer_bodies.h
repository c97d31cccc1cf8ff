// Infers the shapes of If, Loop and Scan from their bodies. Internal to graph/.
#pragma once

#include <span>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

/// Types and shapes of the outputs of a node with bodies.
std::vector<ValueInfo> infer_bodies(const Node& node, std::span<const ValueInfo> inputs);

/// Types and shapes of a graph's outputs for inputs with these types and shapes.
std::vector<ValueInfo> infer_outputs(const Graph& graph, std::span<const ValueInfo> inputs);

}  // namespace bitfold
