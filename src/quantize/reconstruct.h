// Refines weights and biases with sample data, one layer after the other.
#pragma once

#include <optional>
#include <string>

#include "bitfold/graph.h"
#include "bitfold/quantize.h"
#include "quantize/paired_runs.h"

namespace bitfold::quantization {

/// The reason why a step was left out, for the layer's decision.
struct Reason {
  std::string text;
};

/// Rounds the weights of product `id` again and corrects its bias according to the recipe: the layer's outputs for its
/// inputs in the quantized network should equal the float layer's for its inputs in the float network. `graph` is the
/// quantized graph of `runs`; ids are the same in both. If this is impossible, leaves the node unchanged and returns
/// the reason.
std::optional<Reason> reconstruct(const Graph& float_graph, Graph& graph, NodeId id, const Recipe& recipe,
                                  PairedRuns& runs);

/// Corrects the bias of product `id` for inputs whose channels have these means (Nagel et al. 2019, section 4.2.1).
/// Changes nothing unless there is one mean per input channel, and no accumulator can exceed int32.
void correct_bias(const Graph& float_graph, Graph& graph, NodeId id, const std::vector<double>& means);

}  // namespace bitfold::quantization
