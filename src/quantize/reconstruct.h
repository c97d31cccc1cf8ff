// Refines weights and biases with sample data, one layer after the other.
#pragma once

#include <optional>
#include <string>

#include "bitfold/graph.h"
#include "bitfold/quantize.h"
#include "quantize/paired_runs.h"

namespace bitfold::quantization {

/// Why something was not done.
struct Reason {
  std::string text;
};

/// Rounds the weights of product `id` again and corrects its bias, as the recipe says: the layer's outputs for the
/// inputs that it gets in the quantized network should equal the float layer's for its inputs in the float network.
/// `graph` is the quantized one of `runs`; ids are the same in both. Where that is impossible, leaves the node as it is
/// and returns the reason.
std::optional<Reason> reconstruct(const Graph& float_graph, Graph& graph, NodeId id, const Recipe& recipe,
                                  PairedRuns& runs);

/// Corrects the bias of product `id` for inputs whose channels have these means (Nagel et al. 2019, section 4.2.1).
/// Changes nothing where there is not one mean per input channel, or where an accumulator might leave int32.
void correct_bias(const Graph& float_graph, Graph& graph, NodeId id, const std::vector<double>& means);

}  // namespace bitfold::quantization
