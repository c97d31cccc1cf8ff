// The constants of a product: weights as codes, and an int32 bias on the grid of the accumulators.
#pragma once

#include "bitfold/graph.h"
#include "bitfold/quantize.h"

namespace bitfold::quantization {

/// Replaces the weights and bias of a Conv, Gemm or MatMul whose input has its grid. A constant that others read too is
/// copied first. Returns for how many channels the weight scale was raised above what the weights need.
/// Throws Error when a weight or bias is not finite.
int quantize_constants(Graph& graph, NodeId id, const Recipe& recipe);

/// The grid of weights: from their extremes at 8 bits; below, from the clipped range with the least squared error.
QuantParams weight_grid(const Tensor& weights, int axis, const Recipe& recipe);

}  // namespace bitfold::quantization
