// Weights and biases refined with sample data, one layer after the other.
#pragma once

#include <string>

#include "bitfold/graph.h"
#include "bitfold/quantize.h"
#include "quantize/paired_runs.h"

namespace bitfold::quantization {

/// Rounds the weights of product `id` of `graph`, the quantized one of `runs`, anew and corrects its bias, as the
/// recipe says, so that it does to what the quantized network feeds it what the float layer does to what the float
/// network feeds it. Ids are the same in both graphs. Returns why not where it cannot be, and leaves the node as it is;
/// otherwise nothing.
std::string reconstruct(const Graph& float_graph, Graph& graph, NodeId id, const Recipe& recipe, PairedRuns& runs);

/// Corrects the bias of product `id` for inputs whose channels have these means, the weights as they are (Nagel et al.
/// 2019, section 4.2.1). Nothing is changed where the means are not those of its input channels, or where an
/// accumulator might leave int32.
void correct_bias(const Graph& float_graph, Graph& graph, NodeId id, const std::vector<double>& means);

}  // namespace bitfold::quantization
