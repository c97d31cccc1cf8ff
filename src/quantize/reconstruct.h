// Weights and biases refined with sample data, one layer after the other.
#pragma once

#include <string>

#include "bitfold/batch.h"
#include "bitfold/graph.h"
#include "bitfold/quantize.h"

namespace bitfold::quantization {

/// Rounds the weights of product `id` of the quantized graph anew and corrects its bias, as the recipe says, so that it
/// does to what the quantized network feeds it what the float layer does to what the float network feeds it. Ids are
/// the same in both graphs. Returns why not where it cannot be, and leaves the node as it is; otherwise nothing.
std::string reconstruct(const Graph& float_graph, Graph& graph, NodeId id, const Recipe& recipe, BatchSource& samples);

}  // namespace bitfold::quantization
